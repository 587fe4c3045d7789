"""Refunding: what customers ask, are shown, choose and think better of.

Quotes are `tokentill.flows.refund_quotes`, carrying out is `tokentill.flows.refund_work`, and what people decide on is
`tokentill.flows.refund_desk`.

Requirement ids: R-REF-4, R-REF-5, R-REF-6.
"""

from __future__ import annotations

from msgspec.structs import replace

from tokentill.flows.means import Means
from tokentill.flows.pay import Paying, unknown_purchase
from tokentill.flows.refund_facts import not_refundable
from tokentill.flows.refund_quotes import Quotes
from tokentill.flows.refund_work import RefundWork
from tokentill.rules import refund_steps as steps
from tokentill.rules.names import own_words
from tokentill.rules.purchases import Purchase, purchase_id
from tokentill.rules.refund_policy import Reason
from tokentill.rules.refund_rows import Refund, part_given
from tokentill.rules.refund_texts import why_not
from tokentill.rules.refunds import Choice
from tokentill.rules.refusals import Code, Refusal

TEXT_MAX = 2_000


class Refunding:
    """Quotes refunds and takes what is chosen of them."""

    def __init__(self, means: Means, quotes: Quotes, work: RefundWork, paying: Paying) -> None:
        self._means = means
        self._quotes = quotes
        self._work = work
        self._paying = paying
        self.facts = quotes.facts

    # ---- what customers do ---------------------------------------------------------------------------

    async def quote(
        self,
        organization: str,
        number: str,
        reason: Reason | None = None,
        text: str = "",
        user: str | None = None,
        *,
        region: str | None = None,
        key: str | None = None,
    ) -> Refund | Refusal:
        """What could be given back for the purchase now; the quote is kept, whatever comes of it.

        `key`: the caller's idempotency key; the same one is the same quote.
        """
        purchase = await self._means.rows.get(Purchase, number, organization)
        if purchase is None:
            return unknown_purchase()
        refused = not_refundable(self._means.ledger.catalog, purchase)
        if refused is not None:
            return refused
        made = self._means.ids.operation() if key is None else purchase_id("quote", f"{organization}:{key}")
        asked = (reason, own_words(text, TEXT_MAX), user, region)
        shown = await self._quotes.shown(purchase, asked, made)
        if (shown.purchase, shown.reason, shown.text, shown.user, shown.region) != (purchase.id, *asked):
            message = "This idempotency key was used for another quote. Use a new key for a new quote."
            return Refusal(Code.KEY_REUSED, message)
        return shown

    async def accept(
        self,
        organization: str,
        number: str,
        choice: Choice,
        item: str | None = None,
        payer: str | None = None,
        *,
        use_credit: bool = False,
    ) -> Refund | Refusal:
        """Take what was offered. A quote that is stale or whose figures got worse is shown anew instead.

        `use_credit`: money credit pays for the larger pack of an upgrade as far as it reaches.
        Raises `StoreDown`; then accept it again. The same choice twice is the same refund.
        """
        means = self._means
        row = await means.rows.get(Refund, number, organization)
        if row is None:
            return unknown_refund()
        texts = means.ledger.catalog.refunds.texts
        if row.state != "quoted":
            if row.choice in (None, choice):
                return await self._work.advance(row)  # its repetition goes on where the first try stopped
            return Refusal(Code.NOT_POSSIBLE, texts.chosen, detail="choice")
        shown = steps.option_of(row.quote, choice, item)
        if shown is None:
            why = why_not(row.quote, means.ledger.catalog.refunds) or texts.not_offered
            return Refusal(Code.NOT_POSSIBLE, why, detail=row.quote.refused or "choice")
        if not shown.worth and choice == "cash":
            return Refusal(Code.NOT_POSSIBLE, texts.no_money, detail="choice")
        purchase = await self._work.purchase(row)
        now = await means.time_of(organization)
        again = await self.facts.quoted(purchase, row.reason, now, region=row.region)
        if now > row.quote.valid_until or steps.worse(shown, steps.option_of(again, choice, shown.item)):
            return await self._anew(row)
        upgrade = purchase_id("refund", row.id)
        row = await self._work.to(
            row, lambda one: steps.accept(one, shown, now, upgrade, payer, use_credit=use_credit)
        )
        return await self._work.advance(row)

    async def withdraw(self, organization: str, number: str) -> Refund | Refusal:
        """The customer thinks better of it, before any money has moved."""
        row = await self._means.rows.get(Refund, number, organization)
        if row is None:
            return unknown_refund()
        if row.state == "buying":
            left = await self._paying.cancel(organization, row.upgrade or "")
            if isinstance(left, Refusal):
                return left
            return await self._work.advance(row)
        if row.state not in ("accepted", "waiting") or part_given(row):
            why = self._means.ledger.catalog.refunds.texts.under_way
            return Refusal(Code.NOT_POSSIBLE, why, detail=row.state)
        row = await self._work.to(
            row,
            lambda one: (
                steps.undo(one, "withdrawn")
                if one.state in ("accepted", "waiting") and not part_given(one)
                else one
            ),
        )
        return await self._work.advance(row)

    async def _anew(self, row: Refund) -> Refund:
        """The quote is over; the one that is shown instead."""
        shown = await self._quotes.instead(row, await self._work.purchase(row))
        await self._means.change(
            row, lambda one: replace(one, state="changed", next=shown.id) if one.state == "quoted" else one
        )
        return shown


def unknown_refund() -> Refusal:
    """There is no such refund."""
    return Refusal(Code.UNKNOWN_PURCHASE, "This organization has no refund of this id.", detail="refund")
