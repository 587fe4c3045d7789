"""One lane on PostgreSQL against bare bulk inserts of the very same rows, and sixteen processes at once.

The server is our own, with fsync and synchronous_commit on. As on SQLite the engine's run is recorded; "bare"
stores the same rows again in the same batches, each batch one statement over arrays that commits by itself:
the lane's begin, locks, comparison and commit are left out with the deciding.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import asyncpg

from bench import processes, stores, world
from bench.inprocess import CALLERS, Recorded
from bench.report import Figure, at_least, at_most, known, median, ratios, taking_turns
from bench.stores import Place
from bench.world import CLOCK, SECRET, Options
from tests.support.postgres import Server
from tokentill.store.lane import Writes
from tokentill.store.postgres import PostgresLedger
from tokentill.store.postgres_lane import PostgresLane
from tokentill.store.statements import statements
from tokentill.web.asgi import override

T = TypeVar("T")

TITLE = "one lane on PostgreSQL against bare bulk inserts of the same rows"

SQL = statements("postgres")
COLUMNS = """id, organization, previous, seq, time, kind, status, user_id, feature, tokens, balance, reference, key,
part, link, body"""
TYPES = [*["bigint"] * 5, *["text"] * 4, "bigint", "bigint", "text", "bytea", "bigint", "bytea", "bytea"]
ARRAYS = ", ".join(f"${at}::{kind}[]" for at, kind in enumerate(TYPES, 1))
INSERT = f"insert into entry ({COLUMNS}) select * from unnest({ARRAYS})"
PROCESSES = 16


class RecordingLane(PostgresLane):
    """A lane that keeps what it stores, batch by batch."""

    recorded: list[Writes] | None = None

    @override
    async def _store(self, connection: Any, writes: Writes, fresh: dict[int, str]) -> None:
        if self.recorded is not None:
            self.recorded.append(writes)
        await super()._store(connection, writes, fresh)


class Recorder(PostgresLedger):
    """A ledger with such a lane."""

    lane_type = RecordingLane


class Crowd:
    """64 callers on so many organizations, and the same rows bare."""

    def __init__(self, maker: Server, organizations: int, pairs: int) -> None:
        self.maker = maker
        self.names = [f"org-{number}" for number in range(organizations)]
        self.pairs = pairs
        self.template = self.maker.create_database()
        processes.prepare(Place("postgres", self.maker.url(self.template)), self.names)
        self.recorded = self._on_copy(self._record)

    def _on_copy(self, work: Callable[[str], T]) -> T:
        name = self.maker.create_database(self.template)
        try:
            return work(self.maker.url(name))
        finally:
            self.maker.drop_database(name)

    def _record(self, url: str) -> Recorded:
        async def work() -> Recorded:
            ledger = await Recorder.open(url, world.catalog(), SECRET, CLOCK)
            lane = ledger.lane
            assert isinstance(lane, RecordingLane)
            lane.recorded = []
            await world.drive(ledger, self.names, CALLERS, pairs=self.pairs)
            await ledger.close()
            return Recorded([writes for writes in lane.recorded if writes.entries])

        return world.run(work())

    def engine(self) -> float:
        """Commands a second."""

        def measure(url: str) -> float:
            async def work() -> float:
                ledger = await Place("postgres", url).open()
                await world.drive(ledger, self.names, CALLERS, pairs=len(self.names) + CALLERS)
                done = await world.drive(ledger, self.names, CALLERS, pairs=self.pairs)
                await ledger.close()
                assert not done.troubles, done.troubles
                return done.rate

            return world.run(work())

        return self._on_copy(measure)

    def whole(self) -> float:
        """Commands whose rows, all of them, are stored bare in a second."""
        return self._bare(self._whole)

    def entries(self) -> float:
        """Commands whose entries are stored bare in a second."""
        return self._bare(self._entries)

    def _bare(self, store: Any) -> float:
        def measure(url: str) -> float:
            async def work() -> float:
                connection = await asyncpg.connect(url, server_settings={"jit": "off"})
                ready = [self._arguments(writes) for writes in self.recorded.batches]
                started = time.perf_counter()
                for arguments in ready:
                    await store(connection, arguments)
                took = time.perf_counter() - started
                await connection.close()
                return self.recorded.commands / took

            return world.run(work())

        return self._on_copy(measure)

    def _arguments(self, writes: Writes) -> list[Any]:
        return [
            *_columns([], 6),
            *_columns(writes.accounts, 6),
            *_columns(writes.entries, 16),
            *_columns(writes.snapshots, 4),
            *_columns(writes.persons, 3),
        ]

    @staticmethod
    async def _whole(connection: Any, arguments: list[Any]) -> None:
        await connection.fetchrow(SQL["write"], *arguments)

    @staticmethod
    async def _entries(connection: Any, arguments: list[Any]) -> None:
        await connection.execute(INSERT, *arguments[12:28])


def _columns(rows: Sequence[tuple[Any, ...]], width: int) -> list[tuple[Any, ...]]:
    return list(zip(*rows, strict=True)) if rows else [()] * width


def _compare(crowd: Crowd, label: str, options: Options) -> list[Figure]:
    turns = taking_turns(options.rounds, engine=crowd.engine, whole=crowd.whole, entries=crowd.entries)
    return [
        at_least(
            f"{label}: reserve + settle against all its rows bare",
            median(ratios(turns["engine"], turns["whole"])), 50, note=crowd.recorded.note,
        ),
        at_least(
            f"{label}: against its entries alone, bare", median(ratios(turns["engine"], turns["entries"])), 50,
            note="stricter: account rows left out",
        ),
        known(f"{label}: commands", median(turns["engine"]), "/s"),
    ]  # fmt: skip


def _sixteen(maker: Server, organizations: int, label: str, target: float, options: Options) -> list[Figure]:
    url = maker.url(maker.create_database())
    place, names = Place("postgres", url), processes.names(organizations)
    processes.prepare(place, names)
    done = processes.together(place, names, PROCESSES, 4, options.seconds)
    return [
        at_least(f"{PROCESSES} processes, {label}: reserve + settle", done.rate / 2, target, "/s"),
        at_most(f"{PROCESSES} processes, {label}: longest wait", 1000 * done.wait_max, 250, "ms"),
        at_most(
            f"{PROCESSES} processes, {label}: deadlocks and failed commands",
            asyncio.run(processes.deadlocks(url)) + done.troubles.total(), 0, "", "; ".join(list(done.troubles)[:3]),
        ),
    ]  # fmt: skip


def run(options: Options) -> list[Figure]:
    """Measure."""
    pairs = int(2_500 * options.seconds) + 64
    with stores.server() as maker:
        return [
            *_compare(Crowd(maker, 1, pairs), "one organization", options),
            *_compare(Crowd(maker, 1_000, pairs), "1,000 organizations", options),
            *_sixteen(maker, 1_000, "1,000 organizations", 1_200, options),
            *_sixteen(maker, 1, "one organization", 700, options),
        ]
