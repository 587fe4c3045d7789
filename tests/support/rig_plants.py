"""Planted faults: ledgers with one mistake each, which the rigs must catch."""

import asyncio
import sys
import threading
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

from tests.support.rig_store import Engine
from tokentill.store.lane import Job, Writes, deliver
from tokentill.store.postgres import PostgresLedger
from tokentill.store.postgres_connection import Connection
from tokentill.store.postgres_lane import PostgresLane
from tokentill.store.sqlite import SqliteLedger
from tokentill.store.sqlite_writer import Batch

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override


class AnswersEarly(SqliteLedger):
    """Answers when it has written, before it commits."""

    @override
    def _commit(self, batch: Batch) -> None:
        self._early = batch.jobs
        super()._commit(batch)

    @override
    def _store(self, writes: Writes) -> None:
        super()._store(writes)
        for job in self._early:
            job.future.get_loop().call_soon_threadsafe(deliver, [job])
        _let_run(self._early[0].future.get_loop())


def _let_run(loop: asyncio.AbstractEventLoop) -> None:
    """Give the loop time to do what it was told."""
    for _ in range(5):
        done = threading.Event()
        loop.call_soon_threadsafe(done.set)
        done.wait()


class SyncsSeldom(SqliteLedger):
    """`synchronous=NORMAL`: a commit is in the operating system's hands, not on the disk."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._connection.pragma("synchronous", "normal")


class BelievesItself(SqliteLedger):
    """Does not ask whether another process has written: decides on what it remembers."""

    @override
    def _refresh(self, names: Sequence[str], version: int) -> None:
        for name in names:
            if name in self.book.cache:
                self.book.cache[name].version = version
        super()._refresh(names, version)

    @override
    def _of_memory(self, count: int) -> list[Job]:
        return []


class ChecksThenDeducts(BelievesItself):
    """As above, and what it decided is written whatever has become of the account meanwhile."""

    @override
    def _store(self, writes: Writes) -> None:
        now = dict(self._connection.execute("select number, seq from organization"))
        writes.accounts = [(*row[:5], now[row[4]]) for row in writes.accounts]
        super()._store(writes)


class BelievesItselfLane(PostgresLane):
    """As above, on PostgreSQL."""

    @override
    async def _refresh(
        self, connection: Connection, jobs: Sequence[Job], names: Sequence[str]
    ) -> dict[int, str]:
        remembered = {name: deepcopy(self.book.cache[name]) for name in names if name in self.book.cache}
        fresh = await super()._refresh(connection, jobs, names)
        self.book.cache.update(remembered)
        return fresh


class BelievesItselfToo(PostgresLedger):
    """The ledger with that lane."""

    lane_type = BelievesItselfLane


PLANTS: dict[tuple[Engine, str], Any] = {
    ("sqlite", "answers early"): AnswersEarly,
    ("sqlite", "believes itself"): BelievesItself,
    ("postgres", "believes itself"): BelievesItselfToo,
    ("sqlite", "checks then deducts"): ChecksThenDeducts,
}
