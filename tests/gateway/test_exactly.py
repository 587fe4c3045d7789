"""Crowds, several processes, and processes that are killed: exactly what was paid for is served (R-LED-2, R-LED-3)."""

import asyncio
import os
import secrets
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support.desk import SECRET
from tests.support.gateways import CATALOG, LAB_KEY, upstream
from tests.support.rig_processes import Processes
from tests.support.rig_served import serve
from tokentill.flows.api_keys import ApiKeys, Issued
from tokentill.lab.upstream.server import LabUpstream
from tokentill.ports import Ledger
from tokentill.rules import commands as c
from tokentill.rules.account import Account
from tokentill.rules.entries import Charged
from tokentill.settings import Settings
from tokentill.wiring import SystemClock, SystemIds, open_ledger

# R-SALE-5

TOKENS = 1_000_000
AT_ONCE = 10
BODY = {"model": "fixed", "messages": [{"role": "user", "content": "answer=2 delay=0.02"}]}


class Tills:
    """Several processes that serve one database, and the upstream they share."""

    def __init__(self, processes: Processes, ledger: Ledger, settings: Settings, lab: LabUpstream) -> None:
        self.ledger = ledger
        self.lab = lab
        self._processes = processes
        self._settings = settings
        self._served: list[tuple[Any, str]] = []

    def start(self) -> None:
        """One more process."""
        arguments = [
            "--database",
            self._settings.database,
            "--catalog",
            self._settings.catalog,
            "--port",
            "0",
        ]
        environment = {
            "TOKENTILL_SECRET": SECRET.hex(), "LAB_KEY": LAB_KEY, "TOKENTILL_SPOOL": self._settings.spool or "",
        }  # fmt: skip
        child = self._processes.start(serve, arguments=arguments, environment=environment)
        said = b""
        while b"http://" not in said or b"\n" not in said.partition(b"http://")[2]:
            more = child.channel.socket.recv(4096)
            assert more, self._processes.errors()
            said += more
        self._served.append((child, "http://" + said.partition(b"http://")[2].split()[0].decode()))

    @property
    def urls(self) -> list[str]:
        return [url for _, url in self._served]

    def kill(self) -> None:
        """Kill the first process, as the system would."""
        child, _ = self._served.pop(0)
        os.kill(child.pid, signal.SIGKILL)
        self._processes.wait(child.pid)

    async def key(self, tokens: int) -> str:
        await self.ledger.submit(c.Envelope("acme", c.Open()))
        await self.ledger.submit(c.Envelope("acme", c.Grant(tokens=tokens), SystemIds().operation()))
        made = await ApiKeys(self.ledger, SystemClock(), SystemIds()).issue("acme", "server")
        assert isinstance(made, Issued)
        return made.text

    async def charged(self) -> list[Charged]:
        """Every charge on the record, newest first."""
        found: list[Charged] = []
        before = None
        while True:
            page = await self.ledger.journal("acme", before, 200)
            assert page is not None
            found += [row.entry for row in page.rows if isinstance(row.entry, Charged)]
            before = page.next
            if before is None:
                return found

    async def account(self) -> Account:
        account = await self.ledger.account("acme")
        assert account is not None
        return account

    async def quiet(self) -> Account:
        for _ in range(2_000):
            account = await self.account()
            if not account.state.holds:
                return account
            await asyncio.sleep(0.01)
        raise AssertionError("a hold is left after its deadline")


@asynccontextmanager
async def running_tills(folder: Path, database: str, count: int) -> AsyncIterator[Tills]:
    async with AsyncExitStack() as stack:
        lab = LabUpstream(LAB_KEY)
        base = await stack.enter_async_context(upstream(lab))
        file = folder / "gateway.toml"
        text = CATALOG.replace("{lab}", base).replace("{first_byte_ms}", "500").replace("{total_ms}", "5000")
        file.write_text(text.replace('feature = "call"', 'feature = "call"\nfirst_byte_ms = 2000'))
        settings = Settings(
            database=database, catalog=str(file), secret=SECRET.hex(), spool=str(folder / "spool")
        )
        ledger = await stack.enter_async_context(open_ledger(settings))
        with Processes() as processes:
            tills = Tills(processes, ledger, settings, lab)
            for _ in range(count):
                tills.start()
            yield tills


async def crowd(urls: list[str], key: str, requests: int, at_once: int, **body: Any) -> list[tuple[int, str]]:
    """Status and operation of so many calls, so many at a time, spread over the processes; 0 = no whole answer."""
    room = asyncio.Semaphore(at_once)
    headers = {"authorization": f"Bearer {key}"}

    async def one(session: aiohttp.ClientSession, number: int) -> tuple[int, str]:
        url = f"{urls[number % len(urls)]}/v1/chat/completions"
        async with room:
            try:
                async with session.post(url, json=BODY | body, headers=headers) as answer:
                    await answer.read()
                    return answer.status, answer.headers.get("x-tokentill-operation", "")
            except aiohttp.ClientError:
                return 0, ""

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        return list(await asyncio.gather(*(one(session, number) for number in range(requests))))


def database_of(request: pytest.FixtureRequest, folder: Path, engine: str) -> str:
    return str(folder / "till.db") if engine == "sqlite" else str(request.getfixturevalue("postgres_url"))


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
async def test_a_budget_for_ten_calls_serves_ten(
    request: pytest.FixtureRequest, tmp_path: Path, engine: str, count: int
) -> None:
    # R-LED-2: 60 sent, 30 at a time.
    async with running_tills(tmp_path, database_of(request, tmp_path, engine), count) as tills:
        key = await tills.key(100)
        statuses = [status for status, _ in await crowd(tills.urls, key, 60, 30)]
        assert statuses.count(200) == 10
        assert set(statuses) <= {200, 402, 429}
        assert statuses.count(402) > 0
        assert (await tills.quiet()).free == 0
        assert len(await tills.charged()) == 10
        assert tills.lab.calls == 10


async def kill_under_load(tills: Tills, rounds: int) -> None:
    """Kill a process at random under load, again and again, and see that nothing is lost, doubled or left."""
    key = await tills.key(TOKENS)
    answered: set[str] = set()
    for round_ in range(rounds):
        stream = round_ % 2 == 1
        loads = [asyncio.ensure_future(crowd([url], key, 40, AT_ONCE, stream=stream)) for url in tills.urls]
        await asyncio.sleep(0.1 + secrets.randbelow(100) / 400)
        await asyncio.to_thread(tills.kill)
        await asyncio.to_thread(tills.start)
        for status, operation in [answer for load in loads for answer in await load]:
            assert status in {0, 200}
            answered |= {operation} if status else set()
    holds = (await tills.account()).state.holds.values()
    while any(hold.deadline >= SystemClock().now() for hold in holds):  # noqa: ASYNC110 time has no event
        await asyncio.sleep(0.01)
    account = await tills.account()
    assert not account.state.holds, "a hold is left after its deadline"
    charges = await tills.charged()
    operations = {entry.key for entry in charges}
    assert len(operations) == len(charges)
    assert {entry.tokens for entry in charges} == {10}
    assert account.free == TOKENS - 10 * len(charges)
    assert answered, "nothing was answered, so nothing is proven"
    assert answered <= operations, "what was delivered whole was charged"
    # What the upstream did and nobody pays for was in flight in a process that was killed.
    assert 0 <= tills.lab.calls - len(charges) <= rounds * AT_ONCE
    assert not (await tills.ledger.verify()).findings


@pytest.mark.parametrize("rounds", [3, pytest.param(100, marks=pytest.mark.nightly)])
@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
async def test_a_killed_process_leaves_no_hold_and_charges_nothing_twice(
    request: pytest.FixtureRequest, tmp_path: Path, engine: str, rounds: int
) -> None:
    # R-LED-3, R-LED-9
    async with running_tills(tmp_path, database_of(request, tmp_path, engine), 2) as tills:
        await kill_under_load(tills, rounds)
