"""Refund facts: what a quote and its review are made from, read at this moment.

Requirement ids: R-REF-1, R-REF-2, R-REF-4, R-REF-6.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import lcm
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from tokentill.flows.carry import chain_of, forgotten, own_of
from tokentill.flows.means import Means, later
from tokentill.rules import entries as e
from tokentill.rules.account import LOT_KEPT_MS
from tokentill.rules.catalog import Catalog
from tokentill.rules.claims import closed, open_claim
from tokentill.rules.legs import claim_of, given_back, left, legs, paid_credit, paid_money
from tokentill.rules.purchases import BILLED, FOREVER, Purchase
from tokentill.rules.refund_policy import DAY_S, Reason
from tokentill.rules.refund_review import History
from tokentill.rules.refund_rows import Guarantee, Refund
from tokentill.rules.refunds import Bought, Customer, Larger, Quote, Usage, quote
from tokentill.rules.refusals import Code, Refusal
from tokentill.rules.rows import Payer

PAYERS_MAX = 500
JOURNAL_PAGE = 500
JOURNAL_MAX = 20_000
"""Entries that are looked through for operations that failed."""

UNASKED = frozenset({"quoted", "changed", "withdrawn", "failed"})
"""States of refunds that nobody asked for in the end, or that came to nothing by themselves."""


class Suggestion(Struct, frozen=True):
    """A reason that the till itself sees, and what it saw; the customer states it or another one."""

    reason: Reason
    why: str


def not_refundable(catalog: Catalog, purchase: Purchase) -> Refusal | None:
    """Why nothing of this purchase is given back for the asking, however little was used; None: it can be quoted."""
    texts = catalog.refunds.texts
    if not catalog.refunds.enabled:
        return Refusal(Code.NOT_POSSIBLE, texts.not_here)
    if purchase.kind == "overage":
        return Refusal(Code.NOT_POSSIBLE, texts.used_beyond, detail=purchase.kind)
    if purchase.kind in BILLED and not catalog.refunds.plans:
        return Refusal(Code.NOT_POSSIBLE, texts.plans_kept, detail=purchase.kind)
    if purchase.replaced_by is not None:
        text = texts.replaced.format(purchase=purchase.replaced_by)
        return Refusal(Code.NOT_POSSIBLE, text, detail=purchase.replaced_by)
    if purchase.paid_at is None:
        return Refusal(Code.NOT_POSSIBLE, texts.unpaid)
    return None


class RefundFacts:
    """Reads what a refund depends on."""

    def __init__(self, means: Means) -> None:
        self._means = means

    async def quoted(
        self, purchase: Purchase, reason: Reason | None, now: int, refund: str = "", region: str | None = None
    ) -> Quote:
        """The quote at `now`. What the refund of this id has claimed already does not count against itself."""
        means = self._means
        catalog = means.ledger.catalog
        customer = await self.customer(purchase, refund)
        # Of what only honours a late difference, a share is there and not the pack.
        whole = purchase.kind == "pack" and bool(purchase.replaces is None or purchase.earlier)
        larger = tuple(
            Larger(pack.id, pack.title, pack.tokens, pack.price)
            for pack in catalog.packs.values()
            if pack.enabled and whole and purchase.currency == catalog.currency
        )
        what = bought(purchase, refund, step_of(means, purchase))
        if purchase.kind in BILLED:
            what = replace(
                what,
                plan=True,
                runs=await runs(means, purchase),
                refused=await self._worth_elsewhere(purchase, now),
            )
        return quote(
            what,
            await self.usage(purchase),
            replace(customer, region=region),
            reason,
            now,
            catalog.refunds,
            larger=larger,
            cost_per_million=catalog.costs.per_million_tokens,
        )

    async def usage(self, purchase: Purchase) -> Usage:
        """The use of the purchase's own lots; of a larger pack, with what was carried over from those before."""
        lots = await chain_of(self._means, purchase)
        own = own_of(lots)
        last = [lot for lot in own if lot.reference == purchase.id]
        spent = sum(lot.spent for lot in own)
        carried = (purchase.carried or 0) if purchase.earlier else 0
        if await forgotten(self._means, purchase):  # what was carried and is not there any more was used
            there = sum(lot.available + lot.held for lot in own if lot not in last)
            spent = max(spent, sum(lot.spent for lot in last) + carried - there)
        whole = bool(last) or carried >= purchase.tokens  # else its own lot is not known any more either
        found = Usage(
            granted=sum(lot.granted for lot in last) + carried if whole else 0,
            spent=spent,
            held=sum(lot.held for lot in lots),
            left=sum(lot.available for lot in lots),
        )
        if purchase.kind not in BILLED:
            return found
        old = (purchase.paid_at or 0) + LOT_KEPT_MS < await self._means.time_of(purchase.organization)
        if old or not own:
            return replace(found, granted=0)  # what was used of it is not known any more
        granted = max(found.granted, purchase.tokens * purchase.periods)
        return replace(found, granted=granted, coming=granted - found.granted)

    async def _worth_elsewhere(self, purchase: Purchase, now: int) -> Literal["counted", "carried"] | None:
        """Whether what was unused of a plan's payment was counted toward an upgrade, or carried over."""
        equal = {"organization": purchase.organization, "kind": "upgrade"}
        start, end = purchase.paid_at or 0, purchase.plan_end or FOREVER
        for row in await self._means.every(Purchase, equal):
            gone = row.state in ("failed", "abandoned")
            if row.id != purchase.id and row.credit and not gone and start <= row.created_at < end:
                return "counted"
        plan = self._means.ledger.catalog.plans.get(purchase.item)
        over = end <= now and not await runs(self._means, purchase)
        return "carried" if over and (plan is None or plan.rollover.mode != "none") else None

    async def customer(self, purchase: Purchase, refund: str = "") -> Customer:
        """Who asks: what was spent in life without this purchase, and whether it was the first."""
        rows = await self._means.every(Purchase, {"organization": purchase.organization})
        own = {leg.purchase for leg in legs(purchase)}
        others = [row for row in rows if row.paid_at is not None and row.id not in own and row.amount]
        first = legs(purchase)[-1]
        uses = await self.guarantees(purchase)
        return Customer(
            spent=sum(row.amount - row.refunded for row in others),
            first_purchase=not any(
                (row.paid_at or 0, row.id) < (first.paid_at, first.purchase) for row in others
            ),
            guarantee_used=any(use.refund != refund for use in uses),
        )

    async def guarantees(self, purchase: Purchase) -> Sequence[Guarantee]:
        """Uses of the guarantee by this customer or with this payment method."""
        found = [await self._means.rows.get(Guarantee, name) for name in guarantee_ids(purchase)]
        return [use for use in found if use is not None]

    async def history(self, row: Refund, purchase: Purchase) -> History:
        """What is known of the customer and of the payment method, beside this refund."""
        means = self._means
        window_ms = means.ledger.catalog.refunds.window_days * DAY_S * 1000
        since = (row.accepted_at or row.created_at) - window_ms
        refunds = await means.every(Refund, {"organization": row.organization})
        asked = [
            one
            for one in refunds
            if one.id != row.id and one.state not in UNASKED and (one.accepted_at or 0) > since
        ]
        accounts = 1
        for method in {leg.method for leg in legs(purchase) if leg.method is not None}:
            payers = await means.rows.find(Payer, {"method": method}, limit=PAYERS_MAX)
            accounts = max(accounts, len({payer.organization for payer in payers}))
        return History(
            refunds=len(asked),
            accounts=accounts,
            guarantees=sum(use.refund != row.id for use in await self.guarantees(purchase)),
            since_ms=row.since_ms,
            given=given_back(purchase, beside=row.id),
        )

    async def suggestions(self, purchase: Purchase) -> list[Suggestion]:
        """Reasons that the till sees by itself: failed operations, tokens that were not used, a first purchase."""
        found: list[Suggestion] = []
        policy = self._means.ledger.catalog.refunds
        texts = policy.texts
        failed = await self._failed(purchase)
        if failed:
            why = texts.one_failed if failed == 1 else texts.some_failed.format(count=failed)
            found.append(Suggestion("technical", why))
        usage = await self.usage(purchase)
        if usage.granted and usage.spent * 100 < policy.bands[0].below * usage.granted:
            found.append(
                Suggestion("unused", texts.hardly_used.format(used=usage.spent, bought=usage.granted))
            )
        if (await self.customer(purchase)).first_purchase:
            found.append(Suggestion("first_time", texts.was_first))
        return found

    async def _failed(self, purchase: Purchase) -> int:
        """Operations since the payment that failed, ran out of time, or were given back after all."""
        since = purchase.paid_at or purchase.created_at
        failed, seen, before = 0, 0, None
        while seen < JOURNAL_MAX:
            page = await self._means.ledger.journal(purchase.organization, before, JOURNAL_PAGE)
            if page is None or not page.rows:
                break
            late = [row.entry for row in page.rows if row.entry.time >= since]
            failed += sum(_is_failure(entry) for entry in late)
            seen, before = seen + len(page.rows), page.next
            if before is None or len(late) < len(page.rows):
                break
        return failed


def _is_failure(entry: e.Entry) -> bool:
    """Whether work came to nothing with this entry; what a caller cancelled did not fail."""
    return isinstance(entry, e.Refunded) or (isinstance(entry, e.Released) and entry.status == "failed")


async def runs(means: Means, purchase: Purchase) -> bool:
    """Whether the organization's plan runs on this payment now."""
    account = await means.ledger.account(purchase.organization)
    return (
        account is not None and account.state.plan is not None and account.state.paid_reference == purchase.id
    )


def step_of(means: Means, purchase: Purchase) -> int:
    """In how many minor units money goes back: what the providers of all its payments can move."""
    return lcm(*(means.step(leg.provider, purchase.currency) for leg in legs(purchase) if leg.amount))


def bought(purchase: Purchase, refund: str = "", step: int = 1) -> Bought:
    """The purchase as the quote sees it, without what the refund of this id has claimed.

    A larger pack costs what all of its payments were; its time begins with its own.
    """
    own = claim_of(purchase, refund)
    if own is not None and own.state == "open":
        purchase = replace(purchase, claims=tuple(one for one in purchase.claims if one != own))
    return Bought(
        id=purchase.id,
        item=purchase.item,
        title=purchase.title,
        currency=purchase.currency,
        paid=paid_money(purchase),
        paid_at=purchase.paid_at or 0,
        credit=paid_credit(purchase),
        list_price=purchase.list_amount,
        refunded=given_back(purchase),
        refunded_money=paid_money(purchase) - left(purchase, step),
        settled=closed(purchase),
        waived=purchase.withdrawal_waived_at is not None,
        renewal=purchase.kind == "renewal",
        step=step,
    )


def guarantee_ids(purchase: Purchase) -> list[str]:
    """Whose use of the guarantee the purchase's would be."""
    by = [f"method:{leg.provider}:{leg.method}" for leg in legs(purchase) if leg.method is not None]
    return [f"organization:{purchase.organization}", *dict.fromkeys(by)]


async def wake(means: Means, purchase: Purchase) -> None:
    """Have the refund looked at that waits for the purchase: for its money, or as an upgrade for its delivery."""
    rows: list[Refund] = []
    if purchase.replaces is not None:
        equal = {"purchase": purchase.replaces, "organization": purchase.organization}
        rows = [row for row in await means.rows.find(Refund, equal) if row.upgrade == purchase.id]
    claim = open_claim(purchase)
    found = None if claim is None else await means.rows.get(Refund, claim.refund, purchase.organization)
    rows += [] if found is None else [found]
    now = means.clock.now()
    for row in rows:
        if row.state in ("paying", "buying"):
            await means.change(row, lambda one: later(one, now) if one.state in ("paying", "buying") else one)
