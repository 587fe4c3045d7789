"""What every rig needs of a ledger: a catalog, a clock, opening it on either engine, and auditing it whole."""

from collections.abc import Sequence
from typing import Any, Literal, TypeVar

import msgspec

from tokentill.catalogs import preset_text
from tokentill.lab.auditor import Auditor, check_links
from tokentill.ports import JournalRow, Ledger
from tokentill.rules import catalog_file
from tokentill.rules import entries as e
from tokentill.rules.catalog import Catalog
from tokentill.rules.receipts import Receipt
from tokentill.rules.refusals import Refusal
from tokentill.store.postgres import PostgresLedger
from tokentill.store.sqlite import SqliteLedger

Engine = Literal["sqlite", "postgres"]
ENGINES: tuple[Engine, ...] = ("sqlite", "postgres")

SECRET = b"the secret of the rigs, 32 bytes"
NOON = 1_767_268_800_000
"""Noon UTC of 1 January 2026."""

SNAPSHOT_BYTES = 1_500
L = TypeVar("L", SqliteLedger, PostgresLedger)


def often(ledger: L) -> L:
    """The ledger, which does often what is seldom, so that the rigs see it: snapshots, moves, deciding ahead."""
    ledger.book.snapshot_bytes_min = SNAPSHOT_BYTES
    if isinstance(ledger, SqliteLedger):
        ledger.near_places = 0
        ledger.quiet_batches_min = 0
    return ledger


class Still:
    """A clock that shows what it was last set to."""

    def __init__(self, now: int = NOON) -> None:
        self.time = now

    def now(self) -> int:
        return self.time


def bench_with(tokens: int) -> Catalog:
    """The benchmark's catalog, no limits, its plan with a period's allowance of `tokens`."""
    text = preset_text("bench").replace("tokens = 1_000_000_000_000", f"tokens = {tokens}")
    catalog, _ = catalog_file.load(text, "bench.toml")
    assert catalog.plans["bench"].tokens == tokens
    return catalog


async def open_ledger(
    engine: Engine, url: str, catalog: Catalog, *, kind: Any = None, clock: Any = None, sweep: bool = False
) -> Ledger:
    """A ledger on `url`, a file's path or a PostgreSQL database; `kind` is a ledger with a planted fault."""
    kind = kind or {"sqlite": SqliteLedger, "postgres": PostgresLedger}[engine]
    ledger: Ledger = often(await kind.open(url, catalog, SECRET, clock or Still(), sweep=sweep))
    return ledger


async def journal(ledger: Ledger, organization: str) -> list[JournalRow]:
    """The organization's whole journal, oldest first."""
    rows: list[JournalRow] = []
    before: int | None = None
    while True:
        page = await ledger.journal(organization, before, 1000)
        assert page is not None, organization
        rows += page.rows
        before = page.next
        if before is None:
            return rows[::-1]


async def every_organization(ledger: Ledger) -> list[str]:
    names: list[str] = []
    while more := await ledger.organizations(names[-1] if names else "", 500):
        names += more
    return names


async def audit(ledger: Ledger, organizations: Sequence[str] | None = None) -> dict[str, Auditor]:
    """`verify`, and a second set of books for each organization, which must agree with its account (I1 to I12)."""
    verdict = await ledger.verify()
    assert verdict.findings == ()
    books: dict[str, Auditor] = {}
    for name in await every_organization(ledger) if organizations is None else organizations:
        rows = await journal(ledger, name)
        auditor = books[name] = Auditor()
        auditor.post_all(row.entry for row in rows)
        check_links(SECRET, name, [row.entry for row in rows], [row.link for row in rows])
        account = await ledger.account(name)
        assert account is not None
        auditor.compare(account)
    return books


def granted(rows: Sequence[JournalRow]) -> int:
    """Tokens that were given to work: charged less refunded."""
    total = 0
    for row in rows:
        if isinstance(row.entry, e.Charged):
            total += row.entry.tokens
        elif isinstance(row.entry, e.Refunded):
            total -= row.entry.tokens
    return total


def plain(reply: Receipt | Refusal) -> dict[str, Any]:
    """A reply as it goes through a channel; the first answer and its repetition look alike (I6, R-LED-9)."""
    fields: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(reply))
    fields.pop("replayed", None)
    return fields
