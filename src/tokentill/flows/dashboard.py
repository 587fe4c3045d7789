"""Dashboard: what an organization has and what it used, read for its usage page.

Whoever holds the link of a purchase, or a key that can use everything, sees the organization; a key that is narrowed
sees the balance, as it does at the endpoint, and its own calls.

Requirement ids: R-SALE-4, R-SALE-6, R-SALE-8.
"""

from __future__ import annotations

from msgspec import Struct

from tokentill.flows.handing import brought
from tokentill.flows.means import Means
from tokentill.rules.account import Lot
from tokentill.rules.api_keys import LIVE_MAX, caller, narrowed, wrong_with
from tokentill.rules.balance import Balance, balance
from tokentill.rules.catalog import DAY_MS
from tokentill.rules.dashboard import Reading, Use
from tokentill.rules.handovers import handover_id
from tokentill.rules.links import Link
from tokentill.rules.purchases import Purchase
from tokentill.rules.purses import Purse, purse
from tokentill.rules.rows import ApiKey, Handover

DAYS = 30
PAGE = 500
ENTRIES_MAX = 5_000
"""So many entries are read for one page; where there are more, its figures begin later and say so."""


class Board(Struct, frozen=True, kw_only=True):
    """What the usage page shows. `lots` are those with tokens, each with the title of its purchase; `key` looks."""

    organization: str
    now: int
    balance: Balance
    lots: tuple[tuple[Lot, str], ...]
    use: Use
    key: ApiKey | None = None
    purse: Purse | None = None


class Sight(Struct, frozen=True):
    """What somebody may see: as a narrowed `key` does, or without one all of the organization."""

    key: ApiKey | None = None


async def opened(means: Means, link: Link) -> Sight | None:
    """What a link opens now. It ends with the key it was made for, and with the key that came with its purchase."""
    now = means.clock.now()
    if link.key:
        key = await means.rows.get(ApiKey, link.key, link.organization)
        if key is None or wrong_with(key, now) is not None:
            return None
        return Sight(key if narrowed(key) else None)
    purchase = await means.rows.get(Purchase, link.purchase, link.organization)
    if purchase is None:
        return None
    row = await means.rows.get(Handover, handover_id(purchase), link.organization)
    came = None if row is None else await brought(means, row)
    return Sight() if came is None or wrong_with(came, now) is None else None


async def board(means: Means, organization: str, key: ApiKey | None) -> Board:
    """The organization as everybody in it may see it, or as a narrowed `key` does. Raises `StoreDown`."""
    account = await means.ledger.account(organization)
    assert account is not None, "a link is of an organization that is there"
    catalog, now = means.ledger.catalog, account.moment(means.clock.now())
    keys = await means.rows.find(ApiKey, {"organization": organization}, limit=10 * LIVE_MAX)
    users = None if key is None else {caller(one) for one in keys if one.purse == key.purse}
    reading = Reading(catalog, {one.id: f"{one.name} …{one.shown}" for one in keys}, users)
    since = await _read(means, organization, reading, now - DAYS * DAY_MS)
    lots = [] if key is not None else [
        lot for lot in account.state.lots.values()
        if lot.unit == "token" and not lot.lapsed and lot.available + lot.held
    ]  # fmt: skip
    lots.sort(key=lambda lot: (lot.expires_at is None, lot.expires_at or 0, lot.id))
    bought = await means.rows.among(Purchase, [lot.reference for lot in lots if lot.reference])
    titles = {one.id: one.title for one in bought if one.organization == organization}
    return Board(
        organization=organization,
        now=now,
        balance=balance(account, catalog, now),
        lots=tuple((lot, titles.get(lot.reference or "", "")) for lot in lots),
        use=reading.use(since, now),
        key=key,
        purse=None if key is None else purse(account, key.purse),
    )


async def _read(means: Means, organization: str, reading: Reading, since: int) -> int:
    """Read the journal back to `since` and no further than `ENTRIES_MAX`; from when on it is whole."""
    before, seen = None, 0
    while page := await means.ledger.journal(organization, before, PAGE):
        for row in page.rows:
            if row.entry.time < since:
                return since
            reading.take(row.entry, row.user_name)
        before, seen = page.next, seen + len(page.rows)
        if before is None:
            return since
        if seen >= ENTRIES_MAX:
            return page.rows[-1].entry.time
    return since
