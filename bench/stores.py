"""The stores that are measured: a database on SQLite or PostgreSQL, and ledgers on it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Literal

from msgspec import Struct

from bench import world
from bench.world import CLOCK, SECRET
from tests.support import run
from tests.support.postgres import Server, private_cluster
from tokentill.store.postgres import PostgresLedger
from tokentill.store.sqlite import SqliteLedger

Engine = Literal["sqlite", "postgres"]
AnyLedger = SqliteLedger | PostgresLedger


class Place(Struct, frozen=True):
    """A database: a path or an address."""

    engine: Engine
    url: str

    async def open(self, *, sweep: bool = True) -> AnyLedger:
        """A ledger on it, under the catalog without limits."""
        kind = SqliteLedger if self.engine == "sqlite" else PostgresLedger
        return await kind.open(self.url, world.catalog(), SECRET, CLOCK, sweep=sweep)


@contextlib.contextmanager
def server() -> Iterator[Server]:
    """A PostgreSQL of our own that is as careful with what it stores as in production."""
    run.join(controller=True)
    try:
        with private_cluster(
            fsync="on",
            full_page_writes="on",
            shared_buffers="512MB",
            max_wal_size="4GB",
            checkpoint_timeout="15min",
        ) as cluster:
            yield Server(cluster.url())
    finally:
        run.leave(controller=True)
