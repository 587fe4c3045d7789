"""Offer: the packs as one customer sees them now, from its account, its purchases and its own use.

What is offered and recommended is decided by rules (`tokentill.rules.offers`). Here their figures are read: the
journal back to the catalog's days of history, at most `ENTRIES_MAX` entries of it. Where an organization does more
in that time, its burn rate is that of the whole days that were read.

Requirement ids: R-PACK-1, R-PACK-4, R-PACK-5, R-PACK-6, R-PACK-8, R-PACK-9.
"""

from __future__ import annotations

from tokentill.flows.means import Means
from tokentill.flows.shopper import Reader
from tokentill.rules import entries as e
from tokentill.rules.account import Account
from tokentill.rules.burn import by_day
from tokentill.rules.catalog import DAY_MS
from tokentill.rules.offers import PackOffers, pack_offers
from tokentill.rules.promos import Uses
from tokentill.rules.refusals import Refusal

ENTRIES_MAX = 5_000
"""So many entries of an organization are read for its burn rate."""

PAGE = 500


class Offers:
    """Shows packs, `entries_max` entries read for a burn rate, a `page` at a time."""

    def __init__(
        self, means: Means, reader: Reader, *, entries_max: int = ENTRIES_MAX, page: int = PAGE
    ) -> None:
        self._means = means
        self._reader = reader
        self._entries_max = entries_max
        self._page = page

    async def packs(
        self, organization: str, *, missing: int = 0, code: str | None = None
    ) -> PackOffers | Refusal:
        """The packs as the organization sees them now. Raises `StoreDown`.

        `missing`: tokens that an operation at hand lacks. `code`: the promotion code that was typed.
        """
        read = await self._reader.shopper(organization)
        if isinstance(read, Refusal):
            return read
        shopper, account = read
        now = max(self._means.clock.now(), account.state.time)
        return pack_offers(
            self._means.ledger.catalog,
            account,
            shopper,
            now,
            charged=await self._charged(organization, account, now),
            missing=missing,
            code=code,
            uses=Uses(by_own=await self._own_uses(organization, code, now)),
            coins=self._means.coins(),
        )

    async def _charged(self, organization: str, account: Account, now: int) -> tuple[int, ...]:
        """Tokens charged on each whole day of history, less what was given back."""
        if not account.state.opened:
            return ()
        days = self._means.ledger.catalog.recommend.history_days
        since = reached = now - days * DAY_MS
        charges: list[tuple[int, int]] = []
        before, seen = None, 0
        while True:
            page = await self._means.ledger.journal(organization, before, self._page)
            if page is None or not page.rows:
                break
            for row in page.rows:
                entry = row.entry
                if isinstance(entry, e.Charged):
                    charges.append((entry.time, entry.tokens))
                elif isinstance(entry, e.Refunded):
                    charges.append((entry.time, -entry.tokens))
            oldest = page.rows[-1].entry.time
            before, seen = page.next, seen + len(page.rows)
            if oldest < since:
                break
            if before is None:
                reached = max(since, oldest)  # the account's beginning
                break
            if seen >= self._entries_max:
                reached = oldest + 1  # of that very moment there may be more
                break
        return tuple(max(0, tokens) for tokens in by_day(charges, reached, now, days))

    async def _own_uses(self, organization: str, code: str | None, now: int) -> int:
        """How often the organization has used the code, open checkouts counted."""
        if not code:
            return 0
        return await self._reader.promo_uses(organization, code, now)
