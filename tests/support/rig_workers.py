"""What the processes of the rigs do. Each function runs in a process of its own, forked by `rig_processes`."""

import asyncio
import os
import random
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import apsw
from msgspec.structs import replace

from tests.support.rig_plants import PLANTS
from tests.support.rig_processes import Channel
from tests.support.rig_scripts import ALLOWANCE, Script
from tests.support.rig_store import SECRET, Engine, Still, bench_with, open_ledger, plain
from tokentill.flows.charge import Charging, Done, Hold
from tokentill.flows.send import Ending, LedgerBooks, Retry
from tokentill.ports import Intent, Ledger, OperatorKey, StoreDown
from tokentill.rules import commands as c
from tokentill.rules.receipts import Receipt
from tokentill.rules.refusals import Refusal
from tokentill.store import faults
from tokentill.store.intents import FileIntents
from tokentill.wiring import SystemIds

TRIES_MAX = 50


class Fault(Exception):
    """What nobody expected."""


def trap(point: str, at: int, how: str, engine: Engine = "sqlite") -> Callable[[], int]:
    """At the `at`-th time that `point` is passed: kill this process, or raise. Tells how often it was passed.

    The points of a rollback are passed only if something fails, so then something does.
    """
    passed = 0

    def hook(name: str) -> None:
        nonlocal passed
        if point in faults.ROLLBACK and name == "lane.decided":
            raise Fault(name)
        if name != point:
            return
        passed += 1
        if passed != at:
            return
        if how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "bug":
            raise Fault(name)
        raise apsw.IOError(name) if engine == "sqlite" else ConnectionResetError(name)

    faults.install(hook)
    return lambda: passed


async def _insist(ledger: Ledger, envelope: c.Envelope) -> Receipt | Refusal:
    """Send until it is answered, as a client does that knows nothing of a try that failed."""
    for _ in range(TRIES_MAX):
        try:
            return await ledger.submit(envelope)
        except (StoreDown, Fault):
            envelope = replace(envelope, retry=True)
    raise AssertionError(f"{envelope} was never answered")


async def _act(channel: Channel, ledger: Ledger, steps: Any) -> None:
    for step in steps:
        reply = await _insist(ledger, step.envelope)
        place = (step.place.client, step.place.action, step.place.part)
        channel.write({"place": place, "reply": plain(reply)})


async def _add_keys(channel: Channel, ledger: Ledger, count: int) -> None:
    """Something that is written outside the accounts."""
    for number in range(count):
        name = f"{os.getpid()}-{number}"
        try:
            await ledger.add_operator_key(OperatorKey(name, name, 0, None, None), name.encode())
        except (StoreDown, Fault, ConnectionResetError):
            continue
        channel.write({"operator key": name})


def crash(channel: Channel, *, engine: Engine, url: str, seed: int, organizations: list[str], clients: int,
          actions: int, point: str, at: int, how: str, plant: str = "") -> None:  # fmt: skip
    """Run scripts, telling each answer, until the trap at `point` ends it or all is done."""
    passed = trap(point, at, how, engine)
    kind = PLANTS[engine, plant] if plant else None
    script = Script(seed, tuple(organizations), made=point == "lane.decided_ahead")

    async def run() -> None:
        try:
            ledger = await open_ledger(engine, url, bench_with(ALLOWANCE), kind=kind)
        except (Fault, StoreDown):
            ledger = await open_ledger(engine, url, bench_with(ALLOWANCE), kind=kind)
        for name in organizations:
            await _insist(
                ledger, c.Envelope(name, c.Open(), script.seed.to_bytes(16, "big").hex(), keyed=True)
            )
        work = [_act(channel, ledger, script.steps(client, 0, actions)) for client in range(clients)]
        await asyncio.gather(*work, _add_keys(channel, ledger, 4))
        await ledger.close()

    asyncio.run(run())
    channel.write({"passed": passed()})


def crash_under_load(channel: Channel, *, engine: Engine, url: str, seed: int, organizations: list[str],
                     starts: list[int]) -> None:  # fmt: skip
    """Run scripts for ever, client by client from action `starts[client]`; the test kills it."""
    script = Script(seed, tuple(organizations))

    async def run() -> None:
        ledger = await open_ledger(engine, url, bench_with(ALLOWANCE), sweep=True)
        for name in organizations:
            await ledger.submit(c.Envelope(name, c.Open(), script.seed.to_bytes(16, "big").hex(), keyed=True))
        await asyncio.gather(
            *(_act(channel, ledger, script.steps(client, start, None)) for client, start in enumerate(starts))
        )

    asyncio.run(run())


def charge(channel: Channel, *, engine: Engine, url: str, folder: str, organization: str, seed: int, runs: int,
           point: str, at: int) -> None:  # fmt: skip
    """Run operations and charge them, a few at a time, telling each that is done, until the trap ends it."""
    trap(point, at, "kill")

    async def run() -> None:
        ledger = await open_ledger(engine, url, bench_with(ALLOWANCE))
        await ledger.submit(c.Envelope(organization, c.Open(), seed.to_bytes(16, "big").hex(), keyed=True))
        # Now and then the books are away at the end, so that a charge has to be kept for later.
        books = Sometimes(LedgerBooks(ledger, SECRET), random.Random(seed))
        retry = Retry(tries_max=2, delay_ms_min=1)
        charging = Charging(books, FileIntents(Path(folder)), Still(), SystemIds(), retry)

        async def operation(hold: Hold) -> str:
            faults.hit("operation.begun")
            await asyncio.sleep(0)
            hold.charge(2)
            faults.hit("operation.done")
            return hold.id

        async def customer(number: int) -> None:
            for step in range(runs):
                key = f"{seed:x} {number} {step}"
                reserve = c.Reserve(feature="metered", tokens=5, timeout_ms=60_000)
                with suppress(StoreDown):
                    done = await charging.run(organization, reserve, operation, 60_000, key)
                    assert isinstance(done, Done), done
                    channel.write({"hold": done.result, "state": done.charge.state})

        await asyncio.gather(*map(customer, range(4)))
        await charging.close()
        await ledger.close()

    asyncio.run(run())


class Sometimes:
    """Books that are away for one try in five."""

    def __init__(self, books: LedgerBooks, dice: random.Random) -> None:
        self._books = books
        self._dice = dice

    async def submit(self, envelope: c.Envelope) -> Receipt | Refusal:
        if self._dice.randrange(5) == 0:
            raise StoreDown("away")
        return await self._books.submit(envelope)

    async def ending(self, organization: str, hold: str) -> Ending | None:
        return await self._books.ending(organization, hold)


def keep_intents(channel: Channel, *, folder: str, first: int, point: str, at: int, how: str) -> None:
    """Keep intents one after the other, telling each, until the trap ends it or twenty are kept."""
    passed = trap(point, at, how)

    async def run() -> None:
        intents = FileIntents(Path(folder))
        for number in range(first, first + 20):
            intent = Intent("acme", c.Settle(hold=f"{number:032x}"), number, number)
            try:
                await intents.keep(intent)
            except Fault:
                await intents.keep(intent)
            channel.write({"kept": number})

    asyncio.run(run())
    channel.write({"passed": passed()})
