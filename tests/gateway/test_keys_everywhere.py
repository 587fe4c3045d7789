"""What holds of a customer's key holds at once at every till on the database and in other processes, on both engines."""

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.desk import SECRET
from tests.support.gateways import Gateway, running_gateway
from tokentill.flows.api_keys import Issued, Scope

# R-SALE-8

HOUR = 3_600_000


class Tills:
    """Two tills on one database, each with connections and memory of its own, and a command line beside them."""

    def __init__(self, one: Gateway, two: Gateway, environment: dict[str, str]) -> None:
        self.one, self.two = one, two
        self._environment = environment

    async def statuses(self, key: str, model: str = "fixed") -> tuple[int, int]:
        """What a call with the key is answered at each."""
        first = await self.one.chat("answer=3", model, key)
        second = await self.two.chat("answer=3", model, key)
        return first.status, second.status

    async def run(self, *command: str) -> Any:
        """What a command of another process prints."""
        program = (sys.executable, "-c", "from tokentill.cli import main; main()")
        running = await asyncio.create_subprocess_exec(
            *program, *command, "--json", env=self._environment, stdout=asyncio.subprocess.PIPE
        )
        printed, _ = await running.communicate()
        assert running.returncode == 0, printed
        return json.loads(printed)


@pytest.fixture(params=["sqlite", "postgres"])
async def tills(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Tills]:
    database = (
        request.getfixturevalue("postgres_url") if request.param == "postgres" else str(tmp_path / "till.db")
    )
    async with AsyncExitStack() as stack:
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
        one = await stack.enter_async_context(running_gateway(tmp_path / "one", database))
        two = await stack.enter_async_context(running_gateway(tmp_path / "two", database, tokens=0))
        environment = {
            **os.environ, "TOKENTILL_DATABASE": database, "TOKENTILL_SECRET": SECRET.hex(),
            "TOKENTILL_CATALOG": str(tmp_path / "one" / "gateway.toml"), "TOKENTILL_SPOOL": str(tmp_path / "spool"),
        }  # fmt: skip
        yield Tills(one, two, environment)


def now() -> int:
    return time.time_ns() // 1_000_000


async def issued(tills: Tills, scope: Scope | None = None) -> Issued:
    made = await tills.one.fit.keys.issue("acme", "server", scope)
    assert isinstance(made, Issued)
    return made


async def test_a_key_revoked_in_another_process_is_refused_on_the_next_request(tills: Tills) -> None:
    made = await issued(tills)
    assert await tills.statuses(made.text) == (200, 200)
    await tills.run("api-key", "revoke", "acme", made.key.id)
    assert await tills.statuses(made.text) == (401, 401)


async def test_a_key_that_was_replaced_works_for_the_overlap_and_its_successor_at_once(tills: Tills) -> None:
    made = await issued(tills)
    replaced = await tills.run("api-key", "rotate", "acme", made.key.id, "--overlap-hours", "1")
    for key in (made.text, replaced["text"]):
        assert await tills.statuses(key) == (200, 200)
    again = await tills.run("api-key", "rotate", "acme", replaced["key"]["id"])
    assert await tills.statuses(replaced["text"]) == (401, 401)
    assert await tills.statuses(again["text"]) == (200, 200)


async def test_a_limit_counts_over_all_tills_and_is_changed_for_all(tills: Tills) -> None:
    made = await issued(tills, Scope(spend_max=30))
    assert await tills.statuses(made.text) == (200, 200)  # calls of 10 tokens
    assert await tills.statuses(made.text) == (200, 402)
    changed = await tills.run("api-key", "limit", "acme", made.key.id, "--spend-max", "40")
    assert (changed["spend_max"], changed["spent"]) == (40, 30)
    assert await tills.statuses(made.text) == (200, 402)


async def test_many_calls_at_once_at_both_get_no_more_than_the_limit(tills: Tills) -> None:
    made = await issued(tills, Scope(spend_max=50))
    found = await asyncio.gather(*(tills.statuses(made.text) for _ in range(10)))
    assert sorted(one for pair in found for one in pair) == [200] * 5 + [402] * 15


@pytest.mark.parametrize(
    ("scope", "model", "status"),
    [
        (Scope(models=("fixed",)), "fixed", 200),
        (Scope(models=("echo",)), "fixed", 403),
        (Scope(features=("call",)), "fixed", 200),
        (Scope(features=("tokens",)), "fixed", 403),
        (Scope(read_only=True), "fixed", 403),
    ],
)
async def test_what_a_key_is_for(tills: Tills, scope: Scope, model: str, status: int) -> None:
    made = await issued(tills, scope)
    assert await tills.statuses(made.text, model) == (status, status)
    for till in (tills.one, tills.two):
        assert (await till.ask("/v1/balance", None, key=made.text, method="GET")).status == 200


async def test_a_key_ends_at_its_time(tills: Tills) -> None:
    ends = now() + 4_000
    made = await issued(tills, Scope(expires_at=ends))
    status = 200
    async with asyncio.timeout(60):
        while status == 200:
            asked = now()
            status = (await tills.two.ask("/v1/balance", None, key=made.text, method="GET")).status
            assert status != 200 or asked < ends
    assert status == 401
    assert now() >= ends
    assert await tills.statuses(made.text) == (401, 401)


async def test_when_a_key_was_last_used_is_known_everywhere(tills: Tills) -> None:
    made = await issued(tills)
    [before] = [one for one in await tills.run("api-key", "list", "acme") if one["id"] == made.key.id]
    assert before["used_at"] is None
    assert (await tills.two.chat("answer=3", "fixed", made.text)).status == 200
    async with asyncio.timeout(20):
        while True:
            [found] = [one for one in await tills.run("api-key", "list", "acme") if one["id"] == made.key.id]
            if found["used_at"] is not None:
                break
    assert abs(found["used_at"] - now()) < HOUR
