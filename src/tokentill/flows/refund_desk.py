"""Refund desk: what operators see and decide of refunds, each with a reason and a name on the record; the report.

Requirement ids: R-REF-6.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from msgspec import Struct

from tokentill.flows.means import Means
from tokentill.flows.refund_facts import step_of
from tokentill.flows.refund_work import RefundWork
from tokentill.flows.refunding import unknown_refund
from tokentill.rules import refund_steps as steps
from tokentill.rules.claims import resized, trimmed
from tokentill.rules.legs import claim_of, given_back, gone_back, left, legs, paid_credit, paid_money
from tokentill.rules.purchases import BILLED, Purchase, State
from tokentill.rules.refund_rows import Opinion, Refund, RefundState, part_given
from tokentill.rules.refusals import Code, Refusal

ACTOR_MAX = 200
REASON_MAX = 1_000
PAID: tuple[State, ...] = (
    "paid", "delivered", "partly_refunded", "refunded", "disputed", "charged_back",
)  # fmt: skip


class Share(Struct, frozen=True):
    """Of the purchases of one sort (`name`) how many were refunded: how many there were, and what they were for."""

    by: str
    name: str
    purchases: int
    refunds: int
    amount: int
    refunded: int


class RefundDesk:
    """Decides refunds by hand, and counts them."""

    def __init__(self, means: Means, work: RefundWork) -> None:
        self._means = means
        self._work = work

    # ---- reading -------------------------------------------------------------------------------------

    async def refund(self, organization: str, number: str) -> Refund | None:
        """One refund of the organization."""
        return await self._means.rows.get(Refund, number, organization)

    async def of(self, organization: str, before: str | None = None, limit: int = 50) -> Sequence[Refund]:
        """The organization's refunds, older than the id `before`."""
        return await self._means.rows.find(Refund, {"organization": organization}, before=before, limit=limit)

    async def queue(
        self, state: RefundState = "waiting", before: str | None = None, limit: int = 50
    ) -> Sequence[Refund]:
        """Refunds of all organizations that stand so; those that wait for an operator."""
        return await self._means.rows.find(Refund, {"state": state}, before=before, limit=limit)

    # ---- deciding ------------------------------------------------------------------------------------

    async def approve(self, organization: str, number: str, actor: str, reason: str) -> Refund | Refusal:
        """Agree to the refund as it is. Where two must agree the second one carries it out."""
        return await self._judge(organization, number, "approve", actor, reason)

    async def deny(self, organization: str, number: str, actor: str, reason: str) -> Refund | Refusal:
        """Refuse the refund; the tokens come back. One that went back in part is left at that part and its share."""
        return await self._judge(organization, number, "deny", actor, reason)

    async def adjust(
        self, organization: str, number: str, amount: int, actor: str, reason: str
    ) -> Refund | Refusal:
        """Agree to another amount of money or credit, of what was not given back yet.

        Where a part went back and a provider refused the rest, the amount is that part and credit for the rest.
        """
        row = await self._waiting(organization, number, actor, reason)
        if isinstance(row, Refusal):
            return row
        if row.choice not in ("cash", "credit"):
            return Refusal(Code.NOT_POSSIBLE, "Only money and credit can be adjusted.", detail="amount")
        if type(amount) is not int or amount < 1:
            return Refusal(
                Code.INVALID, "amount must be a whole number of minor units, 1 or more.", detail="amount"
            )
        purchase = await self._work.purchase(row)
        changed = await self._divided(row, purchase, amount)
        if isinstance(changed, Refusal):
            return changed
        money, credit = changed
        means, claim = self._means, row.id
        opinion = Opinion(means.clock.now(), actor, "adjust", reason, amount)
        policy, given = means.ledger.catalog.refunds, given_back(purchase, beside=claim)
        row = await self._work.to(row, lambda one: steps.adjusted(one, opinion, money, credit, policy, given))
        return await self._work.advance(row)

    async def _divided(self, row: Refund, purchase: Purchase, amount: int) -> tuple[int, int] | Refusal:
        """Have the claim ask for the amount, of which so much is money and so much credit."""
        means, gone = self._means, part_given(row)
        step = step_of(means, purchase)
        money, credit = gone, amount - gone
        if not gone:
            money, credit = steps.split(amount, row, left(purchase, step, beside=row.id), step)
            if credit and not paid_credit(purchase) and row.choice == "cash" and money + step > amount:
                message = (
                    f"Money of this currency moves in steps of {step} minor units. Name a multiple of that."
                )
                return Refusal(Code.NOT_POSSIBLE, message, detail="amount")
        elif credit <= 0:
            message = f"{gone} minor units have gone back already. Name more than that, or deny the rest."
            return Refusal(Code.NOT_POSSIBLE, message, detail="amount")
        elif credit > row.credit and means.ledger.catalog.refunds.credit_percent is None:
            message = "The rest cannot be credit here. Approve it to ask the provider again, or deny it."
            return Refusal(Code.NOT_POSSIBLE, message, detail="amount")

        def edit(one: Purchase) -> Purchase:
            return trimmed(one, row.id, credit) if gone else resized(one, row.id, money, credit, step)

        purchase = await means.change(purchase, edit)
        known = claim_of(purchase, row.id)
        if known is None or (known.money, known.credit) != (money, credit):
            return Refusal(Code.NOT_POSSIBLE, "More than was paid cannot be given back.", detail="amount")
        return money, credit

    async def _judge(
        self, organization: str, number: str, what: str, actor: str, reason: str
    ) -> Refund | Refusal:
        row = await self._waiting(organization, number, actor, reason)
        if isinstance(row, Refusal):
            return row
        opinion = Opinion(self._means.clock.now(), actor, "deny" if what == "deny" else "approve", reason)
        if what == "approve" and actor in steps.approvers(row):
            return Refusal(
                Code.NOT_POSSIBLE, "You have agreed already; another operator must too.", detail="actor"
            )
        row = await self._work.to(row, lambda one: steps.judged(one, opinion))
        return await self._work.advance(row)

    async def _waiting(self, organization: str, number: str, actor: str, reason: str) -> Refund | Refusal:
        if not actor.strip() or not reason.strip():
            return Refusal(
                Code.INVALID, "A decision needs a reason and the name of who decides.", detail="reason"
            )
        if len(actor) > ACTOR_MAX or len(reason) > REASON_MAX:
            return Refusal(Code.INVALID, "The reason or the name is too long.", detail="reason")
        row = await self._means.rows.get(Refund, number, organization)
        if row is None:
            return unknown_refund()
        if row.state != "waiting":
            return Refusal(Code.NOT_POSSIBLE, "This refund does not wait for an operator.", detail=row.state)
        return row

    # ---- counting ------------------------------------------------------------------------------------

    async def report(self, since: int = 0) -> list[Share]:
        """How many purchases since then were refunded, by pack or plan, by segment and by sales approach.

        The segment is whether it was the organization's first purchase. What was given back counts however it was:
        by this engine, in the provider's dashboard, or by a lost dispute. Payments for plans are counted where they
        are given back. A pack that was turned into a larger one is counted as that, with what was paid for both.
        """
        plans = self._means.ledger.catalog.refunds.plans
        rows = [row for state in PAID for row in await self._means.every(Purchase, {"state": state})]
        rows.sort(key=lambda row: (row.paid_at or 0, row.id))
        seen: set[str] = set()
        began: dict[str, str] = {}
        figures: dict[tuple[str, str], Counter[str]] = {}
        for row in rows:
            known = row.kind in ("pack", "code") or (plans and row.kind in BILLED)
            if not known or row.amount + row.credit_used == 0:
                continue
            segment = "returning" if row.organization in seen else "first"
            segment = began[row.id] = began.get(legs(row)[-1].purchase, segment)
            seen.add(row.organization)
            if (row.paid_at or 0) < since or row.replaced_by is not None:
                continue
            price = paid_money(row) + paid_credit(row)
            gone = paid_money(row) if row.state == "charged_back" else gone_back(row)
            sort = "plan" if row.kind in BILLED else "pack"
            for key in ((sort, row.item), ("segment", segment), ("approach", row.approach or "none")):
                found = figures.setdefault(key, Counter())
                found.update(purchases=1, refunds=int(gone > 0), amount=price, refunded=gone)
        return [
            Share(by, name, found["purchases"], found["refunds"], found["amount"], found["refunded"])
            for (by, name), found in sorted(figures.items())
        ]
