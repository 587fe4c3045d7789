"""A disk that is full or fails, at the first of its tasks, at the second, and so on to the last.

Each time a ledger on a good disk is set to work, then the n-th task of the disk (a write, a sync, a truncation,
a deletion, a read) fails, once or from then on until it is repaired. The caller is told `StoreDown` and
nothing else; what is stored is the state before or the state after; and when the disk works again the same
ledger goes on without being opened anew, doing everything once.

Invariants 1, 2, 4 and 6 of the design; I3, I6, I8 of the test plan. R-LED-3, R-LED-9, R-PLAT-5.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest
from msgspec import Struct
from msgspec.structs import replace

from tests.support.rig_disk import Disk, Record, empty
from tests.support.rig_plants import AnswersEarly
from tests.support.rig_store import SECRET, Still, bench_with, often, plain
from tokentill.ports import StoreDown
from tokentill.rules import commands as c
from tokentill.rules.receipts import Receipt
from tokentill.store import sqlite_reads as reads
from tokentill.store.sqlite import SqliteLedger
from tokentill.store.sqlite_connection import connect

ALLOWANCE = 1_000
NAME = "till.db"
CHECKPOINT_PAGES = 10
SECONDS = 30.0
HOLD = "b" * 32

STEPS = (
    c.Envelope("acme", c.Charge(feature="op3", user="ann"), "a" * 32),
    c.Envelope("acme", c.Reserve(feature="metered", tokens=10, timeout_ms=60_000), HOLD),
    c.Envelope("acme", c.Settle(hold=HOLD, tokens=4)),
    c.Envelope("acme", c.Refund(operation="a" * 32)),
    c.Envelope("bob", c.Open(), "c" * 32, keyed=True),
    c.Envelope("bob", c.Charge(feature="op", quantity=9 * ALLOWANCE), "d" * 32, keyed=True),
    c.Envelope("acme", c.Grant(tokens=7, origin="bonus"), "e" * 32, keyed=True),
    c.Envelope("acme", c.Charge(feature="op"), "f" * 32, keyed=True),
)
FREE = {"acme": ALLOWANCE - 4 + 7 - 1, "bob": ALLOWANCE}


class Trouble(Struct, frozen=True):
    """What goes wrong: an error of SQLite's, at some kinds of tasks, once or until the disk is repaired."""

    error: type[Exception]
    tasks: tuple[str, ...]
    lasting: bool


TROUBLES = {
    "full": Trouble(apsw.FullError, ("write",), lasting=True),
    "full once": Trouble(apsw.FullError, ("write",), lasting=False),
    "broken": Trouble(apsw.IOError, ("write", "sync", "truncate", "delete"), lasting=True),
    "broken once": Trouble(apsw.IOError, ("write", "sync", "truncate", "delete"), lasting=False),
    "unreadable": Trouble(apsw.IOError, ("read",), lasting=True),
    "unreadable once": Trouble(apsw.IOError, ("read",), lasting=False),
}


class Failing:
    """Makes the `at`-th task of the disk fail."""

    def __init__(self, trouble: Trouble, at: int) -> None:
        self._trouble = trouble
        self._at = at
        self.passed = 0

    def __call__(self, record: Record) -> None:
        # SQLite does not mind when it cannot delete its log at the end.
        if record.kind not in self._trouble.tasks or (
            record.kind == "delete" and record.file.endswith("-wal")
        ):
            return
        self.passed += 1
        if self.passed == self._at or (self.passed > self._at and self._trouble.lasting):
            raise self._trouble.error(f"{record.kind} of {record.file}")


def stored(path: Path) -> tuple[dict[str, int], set[tuple[str, str, int]]]:
    """What another process sees: each account's free tokens, and every operation. It must verify."""
    connection = connect(str(path))
    try:
        connection.execute("begin")
        assert reads.verify(connection, SECRET).findings == ()
        free = dict(
            connection.execute(
                "select name, balance from organization join entry on entry.id = last_row where organization.seq > 0"
            )
        )
        done = set(
            connection.execute(
                "select name, lower(hex(key)), part from entry join organization on number = organization "
                "where key is not null"
            )
        )
    finally:
        connection.close()
    return free, done


async def insist(
    ledger: SqliteLedger, envelope: c.Envelope, repair: Callable[[], None], seen: Counter[str]
) -> Any:
    """Send until it is answered; the disk is repaired after the second try."""
    for tried in range(4):
        try:
            reply = await asyncio.wait_for(ledger.submit(envelope), SECONDS)
        except StoreDown:
            seen["told that the store is down"] += 1
            envelope = replace(envelope, retry=True)
            await look(ledger, seen)
            if tried == 1:
                repair()
        else:
            return plain(reply)
    raise AssertionError(f"{envelope} was not answered on a good disk")


async def run_through(
    kind: type[SqliteLedger], disk: Disk, folder: Path, trouble: Trouble, at: int
) -> Counter[str]:
    """One run with the `at`-th task failing."""
    seen: Counter[str] = Counter()
    path = folder / NAME
    ledger = often(
        await kind.open(str(path), bench_with(ALLOWANCE), SECRET, Still(), sweep=False, vfs=disk.name)
    )
    ledger._connection.wal_autocheckpoint(CHECKPOINT_PAGES)
    await ledger.submit(c.Envelope("acme", c.Open(), "0" * 32, keyed=True))
    await look(ledger, Counter())
    disk.before = failing = Failing(trouble, at)

    def repair() -> None:
        disk.before = None

    for envelope in STEPS:
        before = stored(path)
        reply = await insist(ledger, envelope, repair, seen)
        after = stored(path)
        new = after[1] - before[1]
        key = (
            envelope.key
            or getattr(envelope.command, "hold", None)
            or getattr(envelope.command, "operation", None)
        )
        # The answer is of something that is stored, and nothing else was.
        assert {each[:2] for each in new} >= {(envelope.organization, key)}, (at, reply, new)
        assert len(new) == 1 or isinstance(envelope.command, c.Open), (at, reply, new)
        if "entry" in reply and not isinstance(envelope.command, c.Open):
            assert after[0][envelope.organization] == reply["balance"]
    disk.before = None
    seen["tasks"] = failing.passed
    for envelope in STEPS:
        again = await ledger.submit(replace(envelope, retry=True))
        assert not isinstance(again, Receipt) or again.replayed
    assert stored(path)[0] == FREE
    assert (await ledger.verify()).findings == ()
    await ledger.close()
    return seen


async def look(ledger: SqliteLedger, seen: Counter[str]) -> None:
    """Reading, while the disk is as it is: an answer or `StoreDown`, nothing else."""
    for read in (ledger.account("acme"), ledger.journal("acme"), ledger.verify()):
        try:
            await asyncio.wait_for(read, SECONDS)
        except StoreDown:
            seen["reads that failed"] += 1


async def every_task(kind: type[SqliteLedger], trouble: Trouble, folder: Path) -> Counter[str]:
    """Runs with the first, the second … task failing, until a run has none left to fail."""
    total: Counter[str] = Counter()
    with Disk() as disk:
        at = 0
        while True:
            at += 1
            empty(folder)
            seen = await run_through(kind, disk, folder, trouble, at)
            if seen.pop("tasks") < at:
                return total
            total["runs"] += 1
            total += seen


@pytest.mark.parametrize("name", TROUBLES)
async def test_every_task_of_the_disk_fails(name: str, tmp_path: Path) -> None:
    total = await every_task(SqliteLedger, TROUBLES[name], tmp_path)
    print(f"{name}: {dict(total)}")
    assert total["runs"] >= 10
    assert total["told that the store is down"] > 0


async def test_answering_early_is_caught(tmp_path: Path) -> None:
    """The planted fault answers before the commit that then fails."""
    with pytest.raises(AssertionError):
        await every_task(AnswersEarly, TROUBLES["broken once"], tmp_path)


@pytest.mark.parametrize("name", ["full", "broken", "unreadable"])
async def test_a_disk_that_fails_when_a_database_is_made(name: str, tmp_path: Path) -> None:
    """Opening says `StoreDown`, and succeeds on the same folder when the disk works again."""
    runs = 0
    with Disk() as disk:
        while True:
            empty(tmp_path)
            disk.before = failing = Failing(TROUBLES[name], runs + 1)
            try:
                ledger = await SqliteLedger.open(
                    str(tmp_path / NAME), bench_with(ALLOWANCE), SECRET, Still(), sweep=False, vfs=disk.name
                )
            except StoreDown:
                disk.before = None
                ledger = await SqliteLedger.open(
                    str(tmp_path / NAME), bench_with(ALLOWANCE), SECRET, Still(), sweep=False, vfs=disk.name
                )
            disk.before = None
            reply = await ledger.submit(c.Envelope("acme", c.Open(), "0" * 32))
            assert isinstance(reply, Receipt)
            assert (await ledger.verify()).findings == ()
            await ledger.close()
            if failing.passed <= runs:
                break
            runs += 1
    print(f"{name}: {runs} runs")
    assert runs >= 5
