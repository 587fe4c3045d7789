"""Top up: buy the chosen pack by itself when the balance falls below the customer's threshold (R-PACK-11).

Whether it is bought, and when it stops itself, are rules (`tokentill.rules.topups`). Here: a consumer of the
journal that notices charges, and the row's own small machine. What is to be bought is written into the row before it
is ordered, so that a crash leaves an order to go on with and never two; at most what is left of the ceiling is charged
for it. Money credit pays first, as of any order; where it pays all, nothing is asked of a provider and no saved method
is needed, neither to switch it on. It stops with a reason and never starts itself again. The customer is told of each
stop before it is written down that it was.

Requirement ids: R-PACK-11, R-PACK-4, R-SALE-3, R-REF-4.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from msgspec.structs import replace

from tokentill.flows.checkout import CREDIT_GONE, MOST, Ask, Checkout
from tokentill.flows.means import Means, later, log
from tokentill.flows.shopper import Reader
from tokentill.ports import JournalRow
from tokentill.rules import entries as e
from tokentill.rules import topups
from tokentill.rules.credit import available
from tokentill.rules.purchases import Purchase, purchase_id
from tokentill.rules.refusals import Code, Refusal
from tokentill.rules.rows import TopUp
from tokentill.rules.waiting import LEASE_MS

NAME = "topups"
"""Of the cursor."""

WATCH_MS = 5_000
"""How often an order that is not paid yet is looked at."""

NO_METHOD = "no_method"
"""The detail of the refusal of an order that credit does not pay whole any more, where no method is saved."""

_STOPS: dict[Code, topups.Reason] = {
    Code.PACK_LIMIT: "limit",
    Code.UNKNOWN_PACK: "pack_gone",
    Code.PACK_DISABLED: "pack_gone",
    Code.PACK_NOT_FOR_PLAN: "pack_gone",
    Code.PACKS_OFF: "switched_off",
}

Telling = Callable[[TopUp], Awaitable[None]]
"""Tells the customer of the stops that were not told yet, each once however often it is called."""


class TopUps:
    """Watches balances and tops them up."""

    def __init__(
        self,
        means: Means,
        checkout: Checkout,
        reader: Reader,
        wake: Callable[[], None],
        tell: Telling | None = None,
    ) -> None:
        self._means = means
        self._checkout = checkout
        self._reader = reader
        self._wake = wake
        self._tell = tell

    # ---- what a customer does ------------------------------------------------------------------------

    async def get(self, organization: str) -> TopUp | None:
        """How the organization has set it; None if it never did."""
        return await self._means.rows.get(TopUp, organization, organization)

    async def set(
        self, organization: str, *, threshold: int, pack: str, ceiling: int, use_credit: bool = True
    ) -> TopUp | Refusal:
        """Switch it on with these figures; a balance below the threshold is topped up at once.

        `use_credit`: money credit pays as far as it reaches, and the saved method the rest; without one credit has to
        pay for whole packs, and where it does not now that is refused.
        """
        means = self._means
        read = await self._reader.shopper(organization)
        if isinstance(read, Refusal):
            return read
        known = await self.get(organization)
        now = means.clock.now()

        def with_figures(row: TopUp | None) -> TopUp | Refusal:
            catalog, shopper, figures = (
                means.ledger.catalog,
                read[0],
                {"threshold": threshold, "ceiling": ceiling},
            )
            return topups.setting(catalog, shopper, row, now, pack=pack, use_credit=use_credit, **figures)

        row = with_figures(known)
        if isinstance(row, Refusal):
            return row
        if await self._reader.saved_payer(organization) is None:
            lacks = topups.credit_lacks(means.ledger.catalog, row, available(read[1].state), now)
            if lacks is not None:
                return lacks
        if known is None:
            added = await means.rows.add(later(row, now))
            if added.how == "new":
                self._wake()
                return added.row
            row = replace(row, version=added.row.version, purchase=added.row.purchase)
            known = added.row

        def enabled(stored: TopUp) -> TopUp:
            fresh = with_figures(stored)
            assert isinstance(fresh, TopUp), "these figures were good a moment ago"
            return later(fresh, now)

        changed = await means.change(known, enabled)
        self._wake()
        return changed

    async def off(self, organization: str) -> TopUp | None:
        """Switch it off; an order on its way goes on. None if it was never on."""
        known = await self.get(organization)
        return None if known is None else await self._means.change(known, topups.switched_off)

    # ---- what the clerk does -------------------------------------------------------------------------

    async def told(self, rows: Sequence[JournalRow]) -> None:
        """The journal goes on with these entries: look at whoever has fewer tokens, or too few for its use.

        Not at a refund or a dispute alone: who gives something back has not asked for more. The next use is asked for.
        """
        for organization in sorted({row.organization for row in rows if _lacks(row.entry)}):
            known = await self.get(organization)
            if known is not None and known.enabled and known.purchase is None:
                await self.attend(known)

    async def attend(self, row: TopUp) -> TopUp:
        """Take the next step: order, look at what was ordered, or stop and tell why. Raises `StoreDown`."""
        return await self._told(await self._step(row))

    # ---- inside --------------------------------------------------------------------------------------

    async def _step(self, row: TopUp) -> TopUp:
        means = self._means
        if row.purchase is not None:
            return await self._watch(row)
        read = await self._reader.shopper(row.organization)
        if isinstance(read, Refusal):
            return await means.change(row, self._rests)
        shopper, account = read
        now, catalog = means.selling_time(account), means.ledger.catalog
        payer = await self._reader.saved_payer(row.organization)
        coins = None if payer is None else means.coins(payer.provider)
        todo = topups.decide(catalog, row, account, shopper, now, coins)
        if todo is None:
            return await means.change(row, self._rests)
        if isinstance(todo, topups.Stop):
            return await self._stop(row, todo.reason)
        return await self._order(row, todo, now)

    async def _told(self, row: TopUp) -> TopUp:
        """Tell the customer of each stop that was not told yet, and write down that it was."""
        if not row.untold:
            return row
        if self._tell is not None:
            await self._tell(row)

        def after(known: TopUp) -> TopUp:
            told = topups.told(known, row.untold)
            return told if told.enabled or told.purchase is not None else self._rests(told)

        return await self._means.change(row, after)

    def _rests(self, row: TopUp) -> TopUp:
        """The row that has nothing to do by itself, unless somebody is to be told of a stop, or orders meanwhile."""
        if row.purchase is not None:
            return row
        return later(row, self._means.clock.now() + LEASE_MS if row.untold else None)

    async def _order(self, row: TopUp, todo: topups.Buy, at: int) -> TopUp:
        """Write down what is to be bought `at` that moment, then order it."""
        means = self._means
        now = means.clock.now()
        meant = Purchase(
            id=purchase_id("topup", f"{row.organization}:{row.version}"),
            organization=row.organization,
            kind="pack",
            item=todo.pack,
            title="",
            amount=todo.amount,
            currency=means.ledger.catalog.currency,
        )
        begun = await means.rows.put(later(topups.begun(row, meant, at), now + LEASE_MS))
        if begun is None:
            return (
                row  # somebody else was first, or the customer changed it; it comes due or is charged again
            )
        return await self._watch(begun)

    async def _watch(self, row: TopUp) -> TopUp:
        """Go on with the order that the row waits for."""
        means = self._means
        number = row.purchase or ""
        known = await means.rows.get(Purchase, number, row.organization)
        ordered = await self._place(row, number) if known is None else known
        if isinstance(ordered, Refusal):
            return await self._refused(row, ordered)
        now = means.clock.now()

        def settled(known: TopUp) -> TopUp:
            after = topups.settled(known, ordered, now)
            if after.purchase is None:
                return later(after, now) if after.enabled else self._rests(after)
            if ordered.url is not None and ordered.state == "pending":
                after = topups.stopped(after, "needs_confirmation", now)
            return later(after, now + WATCH_MS)

        return await means.change(row, settled)

    async def _place(self, row: TopUp, number: str) -> Purchase | Refusal:
        payer = await self._reader.saved_payer(row.organization)
        ask = Ask(
            organization=row.organization,
            number=number,
            payer=None if payer is None else payer.id,
            source="topup",
            most=0 if payer is None else topups.room(row),
            use_credit=row.use_credit,
        )
        placed = await self._checkout.buy_pack(ask, row.pack)
        if payer is None and isinstance(placed, Refusal) and placed.detail == MOST:
            return Refusal(Code.NOT_POSSIBLE, topups.STOPPED["no_method"], detail=NO_METHOD)
        return placed

    async def _refused(self, row: TopUp, refusal: Refusal) -> TopUp:
        """The order was refused: nothing was spent, and it stops; where only the credit had gone, it tries again."""
        now = self._means.clock.now()
        again = refusal.detail == CREDIT_GONE
        stops: dict[str | None, topups.Reason] = {MOST: "ceiling", NO_METHOD: "no_method"}
        reason = stops.get(refusal.detail) or _STOPS.get(refusal.code, "declined")

        def undone(known: TopUp) -> TopUp:
            if known.purchase != row.purchase:
                return known
            freed = replace(known, purchase=None)
            return later(freed, now + WATCH_MS) if again else self._rests(topups.stopped(freed, reason, now))

        if not again:
            log.info("an auto top-up stopped", organization=row.organization, reason=reason)
        return await self._means.change(row, undone)

    async def _stop(self, row: TopUp, reason: topups.Reason) -> TopUp:
        now = self._means.clock.now()
        log.info("an auto top-up stopped", organization=row.organization, reason=reason)
        return await self._means.change(
            row, lambda known: self._rests(topups.stopped(known, reason, now)) if known.enabled else known
        )


def _lacks(entry: e.Entry) -> bool:
    """Whether after the entry the balance may be below a threshold, and the customer would want it topped up."""
    if isinstance(entry, e.Revoked):
        return entry.origin == "adjustment"
    return isinstance(entry, e.Charged | e.Expired) or (
        isinstance(entry, e.Refused) and entry.code is Code.EXHAUSTED
    )
