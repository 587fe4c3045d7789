"""The engines of the store, for tests that must hold on every one of them."""

import asyncio
import itertools
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import asyncpg

from tests.support.desk import SECRET as SECRET  # noqa: PLC0414 others take it from here
from tests.support.desk import preset, without_limits
from tokentill.ports import JournalRow, Ledger, StoreDown
from tokentill.rules import commands as c
from tokentill.rules.catalog import Catalog
from tokentill.rules.receipts import Receipt
from tokentill.rules.refusals import Refusal
from tokentill.store.lane import SNAPSHOT_BYTES_MIN
from tokentill.store.postgres import PostgresLedger
from tokentill.store.postgres_migrate import migrate
from tokentill.store.sqlite import SqliteLedger

Engine = Literal["sqlite", "memory", "postgres"]
NOON = 1_767_268_800_000
"""Noon UTC of 1 January 2026."""
MONTH = 31 * 86_400_000


class Hand:
    """A clock that is moved by hand."""

    def __init__(self, now: int = NOON) -> None:
        self.time = now

    def now(self) -> int:
        return self.time


def goals() -> Catalog:
    """The preset `goals` without its abuse limits, so that a test may charge as often as it likes."""
    return without_limits(preset("goals"))


async def prepared(url: str) -> None:
    """An empty PostgreSQL database gets what a ledger of these tests needs, to be a template of many."""
    await migrate(url, SECRET)


class Store:
    """A place for a database, and the ledgers that a test opened on it.

    `snapshot_bytes_min`: a snapshot is written when the entries since the last one are more than that.
    """

    def __init__(self, engine: Engine, url: str, *, snapshot_bytes_min: int = SNAPSHOT_BYTES_MIN) -> None:
        self.engine = engine
        self.url = url
        self.snapshot_bytes_min = snapshot_bytes_min
        self.clock = Hand()
        self._opened: list[Ledger] = []

    async def open(
        self,
        *,
        catalog: Catalog | None = None,
        secret: bytes = SECRET,
        sweep: bool = False,
        kind: Any = None,
    ) -> Any:
        """A ledger on this database, closed at the test's end; `kind` is one with something planted."""
        kinds: dict[Engine, Any] = {
            "sqlite": SqliteLedger,
            "memory": SqliteLedger,
            "postgres": PostgresLedger,
        }
        ledger = await (kind or kinds[self.engine]).open(
            self.url, catalog or goals(), secret, self.clock, sweep=sweep
        )
        ledger.book.snapshot_bytes_min = self.snapshot_bytes_min
        if isinstance(ledger, SqliteLedger):
            ledger.quiet_batches_min = 0  # decides ahead from the first batch on
        self._opened.append(ledger)
        return ledger

    async def close(self) -> None:
        for ledger in self._opened:
            with suppress(StoreDown):
                await ledger.close()


async def connect(store: Store) -> "asyncpg.Connection[asyncpg.Record]":
    """A connection of the login role, which is a superuser here."""
    return await asyncpg.connect(store.url)


def sqlite_url(folder: Path) -> str:
    return str(folder / "till.db")


# ---- what tests send ------------------------------------------------------------------------------------

_keys = itertools.count(1)


def new_key() -> str:
    """An operation id of this test process that was not used before."""
    return f"{next(_keys):032x}"


def envelope(organization: str, command: c.Command, key: str | None = None) -> c.Envelope:
    """A command on its way; with a `key` it is the caller's own."""
    return c.Envelope(organization, command, key or new_key(), key is not None)


async def ok(ledger: Ledger, organization: str, command: c.Command, key: str | None = None) -> Receipt:
    """The receipt of a command that must be done."""
    reply = await ledger.submit(envelope(organization, command, key))
    assert isinstance(reply, Receipt), reply
    return reply


async def readable(ledger: Ledger) -> None:
    """Wait until every entry can be read by those who follow the journal.

    On PostgreSQL that is when every older transaction has ended, those of other tests included.
    """
    accounts = [await ledger.account(name) for name in await ledger.organizations("", 1000)]
    total = sum(account.state.seq for account in accounts if account is not None)
    async with asyncio.timeout(60):
        while len((await ledger.follow("", 100_000)).rows) < total:  # noqa: ASYNC110 the journal has no event
            await asyncio.sleep(0.01)


async def no(ledger: Ledger, organization: str, command: c.Command, key: str | None = None) -> Refusal:
    """The refusal of a command that must be refused."""
    reply = await ledger.submit(envelope(organization, command, key))
    assert isinstance(reply, Refusal), reply
    return reply


async def begin(ledger: Ledger, *organizations: str, tokens: int = 0) -> None:
    """Open organizations on the plan `pro` with `tokens` more than its 200."""
    for name in organizations:
        await ok(ledger, name, c.Open(plan="pro"))
        if tokens:
            await ok(ledger, name, c.Grant(tokens=tokens))


async def charge(
    ledger: Ledger, organization: str, user: str | None = None, key: str | None = None
) -> Receipt:
    """Three tokens for a goal."""
    return await ok(ledger, organization, c.Charge(feature="generate_goal", user=user), key)


async def whole(ledger: Ledger, organization: str) -> list[JournalRow]:
    """The organization's journal, oldest first."""
    rows: list[JournalRow] = []
    before: int | None = None
    while True:
        page = await ledger.journal(organization, before, 7)
        assert page is not None
        rows += page.rows
        if page.next is None:
            return rows[::-1]
        before = page.next


async def follow(ledger: Ledger, position: str, rows: int, limit: int = 1000) -> tuple[list[JournalRow], str]:
    """The next `rows` rows of the journal, and where they end.

    On PostgreSQL they become readable when every older transaction has ended, those of other tests included.
    """
    read: list[JournalRow] = []
    async with asyncio.timeout(30):
        while len(read) < rows:
            stretch = await ledger.follow(position, limit)
            assert len(stretch.rows) <= limit
            read += stretch.rows
            position = stretch.position
    return read, position


async def clean(ledger: Ledger) -> int:
    """Verify finds nothing; the number of entries."""
    verdict = await ledger.verify()
    assert verdict.findings == ()
    return verdict.entries
