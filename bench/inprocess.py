"""In one process on SQLite, synchronous=FULL: reserve and settle against bare inserts of the very same rows.

The engine's run is recorded: which rows it stored in which batch. "Bare" then stores these rows again, from
ready tuples, in the same batches, with the same statements, into the same schema with its index, triggers off,
each batch one durable transaction: all that is left out is deciding, hashing, callers and replies. "Append
only" stores the entries into a table that has no index at all.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from bench import world
from bench.report import Figure, at_least, at_most, known, median, percentile, ratios, taking_turns
from bench.world import CLOCK, SECRET, Drive, Options
from tokentill.rules import chain
from tokentill.rules import commands as c
from tokentill.rules import entries as e
from tokentill.store.lane import Writes
from tokentill.store.sqlite import SqliteLedger
from tokentill.store.sqlite_connection import SQL, connect
from tokentill.web.asgi import override

TITLE = "one process on SQLite against bare inserts of the same rows"

CALLERS = 64
INSERT = f"insert into entry values ({','.join('?' * 16)})"
APPEND = f"insert into bare values ({','.join('?' * 16)})"
BARE_TABLE = """create table bare (id integer primary key, organization integer, previous integer, seq integer,
time integer, kind text, status text, user text, feature text, tokens integer, balance integer, reference text,
key blob, part integer, link blob, body blob)"""


class Recorded(Struct):
    """What a run stored, batch by batch."""

    batches: list[Writes]

    @property
    def commands(self) -> int:
        """How many commands it was; each leaves one entry."""
        return sum(len(writes.entries) for writes in self.batches)

    @property
    def note(self) -> str:
        """About these batches."""
        rows = sum(len(w.entries) + len(w.accounts) + len(w.snapshots) + len(w.persons) for w in self.batches)
        batch = self.commands / len(self.batches)
        return f"batches of {batch:.0f}; {rows / self.commands:.2f} rows a command"


class Recorder(SqliteLedger):
    """A ledger that keeps what it stores, batch by batch."""

    recorded: list[Writes] | None = None

    @override
    def _store(self, writes: Writes) -> None:
        if self.recorded is not None:
            self.recorded.append(writes)
        super()._store(writes)


def begin(path: Path, names: Sequence[str]) -> None:
    """A database with these organizations open."""

    async def work() -> None:
        ledger = await SqliteLedger.open(str(path), world.catalog(), SECRET, CLOCK)
        await world.open_organizations(ledger, names)
        await ledger.close()

    world.run(work())


def copy(template: Path, path: Path) -> str:
    """A fresh copy of a database that is closed."""
    for suffix in ("-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    shutil.copy(template, path)
    return str(path)


def engine(path: str, names: Sequence[str], callers: int, pairs: int, *, timed: bool = False) -> Drive:
    """Drive a ledger on the database at `path`."""

    async def work() -> Drive:
        ledger = await SqliteLedger.open(path, world.catalog(), SECRET, CLOCK)
        await world.drive(
            ledger, names, callers, pairs=len(names) + callers
        )  # so that every account is loaded
        done = await world.drive(ledger, names, callers, pairs=pairs, timed=timed)
        await ledger.close()
        assert not done.troubles, done.troubles
        return done

    return world.run(work())


def record(path: str, names: Sequence[str], pairs: int) -> Recorded:
    """What the engine stores for so many pairs."""

    async def work() -> Recorded:
        ledger = await Recorder.open(path, world.catalog(), SECRET, CLOCK)
        assert isinstance(ledger, Recorder)
        ledger.recorded = []
        done = await world.drive(ledger, names, CALLERS, pairs=pairs)
        await ledger.close()
        assert not done.troubles, done.troubles
        return Recorded(ledger.recorded)

    return world.run(work())


def again(path: str, batches: Sequence[Writes], *, whole: bool) -> float:
    """Store recorded batches once more, bare; seconds. `whole`: account rows and snapshots too."""
    connection = connect(path)
    with_one: Any = connection.executemany
    started = time.perf_counter()
    for writes in batches:
        connection.execute(SQL["begin"])
        with_one(INSERT, writes.entries)
        if whole:
            with_one(SQL["write_account"], writes.accounts)
            if writes.dues:
                with_one(SQL["write_due"], writes.dues)
            if writes.snapshots:
                with_one(SQL["write_snapshot"], writes.snapshots)
            if writes.persons:
                with_one(SQL["write_person"], writes.persons)
        connection.execute(SQL["commit"])
    took = time.perf_counter() - started
    connection.close()
    return took


def append(path: str, batches: Sequence[Writes]) -> float:
    """Store the entries of recorded batches in a table without an index; seconds."""
    Path(path).unlink(missing_ok=True)
    connection = connect(path)
    connection.execute(BARE_TABLE)
    started = time.perf_counter()
    for writes in batches:
        connection.execute(SQL["begin"])
        connection.executemany(APPEND, writes.entries)
        connection.execute(SQL["commit"])
    took = time.perf_counter() - started
    connection.close()
    return took


class Clerk:
    """A lane that decides nothing: it seals entries that were made before, stores them and answers.

    Callers, futures, JSON, hashes, rows and one transaction a batch cost what they cost in Python; what is
    missing is the deciding, the account, and a thread of its own. All callers are in one batch, so that nothing
    overlaps.
    """

    def __init__(self, path: str, recorded: Recorded) -> None:
        self._connection = connect(path)
        self._rows = [row for writes in recorded.batches for row in writes.entries]
        self._entries = [e.decode(row[15]) for row in self._rows]
        self._at = 0
        self._head = b""
        self._waiting: list[asyncio.Future[Any]] = []
        self._loop = asyncio.get_running_loop()

    def submit(self, envelope: c.Envelope) -> asyncio.Future[Any]:
        """Take the next entry, whatever was asked."""
        del envelope
        future: asyncio.Future[Any] = self._loop.create_future()
        if not self._waiting:
            self._loop.call_soon(self._store)
        self._waiting.append(future)
        return future

    def _store(self) -> None:
        waiting, self._waiting = self._waiting, []
        link, encode, head, start = chain.linker(SECRET), e.encode, self._head, self._at
        self._at += len(waiting)
        rows = []
        for entry, row in zip(self._entries[start : self._at], self._rows[start : self._at], strict=True):
            body = encode(entry)
            head = link(head, body)
            key = None if entry.key is None else bytes.fromhex(entry.key)
            rows.append((
                row[0], row[1], row[2], entry.seq, entry.time, row[5], entry.status, entry.user, entry.feature,
                entry.tokens, entry.balance, None, key, entry.part, head, body,
            ))  # fmt: skip
        self._head = head
        connection = self._connection
        connection.execute(SQL["begin"])
        connection.executemany(INSERT, rows)
        connection.execute(
            SQL["write_account"], (rows[-1][3], head, rows[-1][0], None, rows[0][1], rows[0][3] - 1)
        )
        connection.execute(SQL["commit"])
        for future in waiting:
            future.set_result(None)

    def close(self) -> None:
        """Let the database go."""
        self._connection.close()


class Crowd:
    """64 callers on so many organizations, and the same rows bare."""

    def __init__(self, folder: Path, organizations: int, pairs: int) -> None:
        self.folder = folder
        self.names = [f"org-{number}" for number in range(organizations)]
        self.pairs = pairs
        self.template = folder / f"template-{organizations}.db"
        begin(self.template, self.names)
        self.recorded = record(self._fresh("recorded"), self.names, pairs)

    def _fresh(self, name: str) -> str:
        return copy(self.template, self.folder / f"{name}.db")

    def engine(self) -> float:
        """Commands a second."""
        return engine(self._fresh("engine"), self.names, CALLERS, self.pairs).rate

    def whole(self) -> float:
        """Commands whose rows, all of them, are stored bare in a second."""
        took = again(self._fresh("bare"), self.recorded.batches, whole=True)
        return self.recorded.commands / took

    def entries(self) -> float:
        """Commands whose entries are stored bare in a second."""
        took = again(self._fresh("bare"), self.recorded.batches, whole=False)
        return self.recorded.commands / took

    def append(self) -> float:
        """Commands whose entries are appended in a second, without an index."""
        took = append(str(self.folder / "append.db"), self.recorded.batches)
        return self.recorded.commands / took

    def clerk(self) -> float:
        """Commands a second of a lane that decides nothing."""

        async def work() -> float:
            clerk = Clerk(self._fresh("clerk"), self.recorded)
            done = await world.drive(clerk, self.names, CALLERS, pairs=self.recorded.commands // 2)
            clerk.close()
            return done.rate

        return world.run(work())

    def figures(self, what: str, measured: dict[str, list[float]]) -> list[Figure]:
        """The ratios."""
        rate = measured["engine"]
        return [
            at_least(
                f"{what}: reserve + settle against all its rows bare",
                median(ratios(rate, measured["whole"])), 50, note=self.recorded.note,
            ),
            at_least(
                f"{what}: against its entries alone, bare", median(ratios(rate, measured["entries"])), 50,
                note="stricter: account rows left out",
            ),
            at_least(
                f"{what}: against appending without an index", median(ratios(rate, measured["append"])), 15
            ),
            known(f"{what}: commands", median(rate), "/s"),
        ]  # fmt: skip


def run(options: Options) -> list[Figure]:
    """Measure."""
    pairs = int(8_000 * options.seconds) + 64
    with world.folder() as folder:
        hot, spread = Crowd(folder, 1, pairs), Crowd(folder, 1_000, pairs)
        turns = taking_turns(
            options.rounds,
            hot_engine=hot.engine, hot_whole=hot.whole, hot_entries=hot.entries, hot_append=hot.append,
            spread_engine=spread.engine, spread_whole=spread.whole, spread_entries=spread.entries,
            spread_append=spread.append, hot_clerk=hot.clerk,
        )  # fmt: skip
        return [
            *hot.figures("one organization", _part(turns, "hot_")),
            *spread.figures("1,000 organizations", _part(turns, "spread_")),
            at_least(
                "one hot organization against 1,000",
                median(ratios(turns["hot_engine"], turns["spread_engine"])),
                100,
            ),
            known(
                "one organization: a lane that decides nothing against all its rows bare",
                median(ratios(turns["hot_clerk"], turns["hot_whole"])),
                note="on one thread: callers, JSON, hashes and rows alone",
            ),
            *_alone(folder, hot, options),
        ]


def _part(turns: Any, prefix: str) -> dict[str, list[float]]:
    return {name[len(prefix) :]: values for name, values in turns.items() if name.startswith(prefix)}


def _alone(folder: Path, hot: Crowd, options: Options) -> list[Figure]:
    """One caller, who waits for each answer."""
    pairs = int(1_000 * options.seconds)
    singles = _singles(hot.recorded.batches, 2 * pairs)
    runs: list[Drive] = []

    def alone() -> float:
        runs.append(engine(copy(hot.template, folder / "alone.db"), hot.names, 1, pairs, timed=True))
        return runs[-1].rate

    def bare() -> float:
        return len(singles) / again(copy(hot.template, folder / "single.db"), singles, whole=True)

    turns = taking_turns(options.rounds, alone=alone, bare=bare)
    p99 = median(percentile(run.latencies, 0.99) for run in runs[1:])
    return [
        at_most("one caller: p99 of a command", 1000 * p99, 2, "ms"),
        at_least("one caller: reserve + settle", median(turns["alone"]) / 2, 1_500, "/s"),
        known(
            "one caller: against bare inserts of one row each", median(ratios(turns["alone"], turns["bare"]))
        ),
    ]


def _singles(batches: Sequence[Writes], count: int) -> list[Writes]:
    """The entries of recorded batches one at a time, each with its batch's account row."""
    found = []
    for writes in batches:
        for entry in writes.entries:
            account = (entry[3], entry[14], entry[0], None, entry[1], entry[3] - 1)
            found.append(
                replace(writes, entries=[entry], accounts=[account], dues=[], snapshots=[], persons=[])
            )
            if len(found) == count:
                return found
    return found
