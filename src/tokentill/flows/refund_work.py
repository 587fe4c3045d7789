"""Refund work: a refund that was accepted, carried out so that a crash anywhere loses nothing.

Each state of a refund is written down before what it stands for is done, and all that is done may be done again: the
claim is on the purchase once, the provider is asked under one key, and so is the account. Of many at once one claim
is first (`tokentill.rules.claims`). The tokens are set aside first; the figures are then checked once more as of the
moment of acceptance, so that nobody spends while a refund is decided. What is quoted anew is shown, and nothing done.

The customer is told of the states that matter (`tokentill.rules.refund_notices`) before it is written down that it
was. No provider is asked inside a transaction.

Requirement ids: R-REF-4, R-REF-5, R-REF-6.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from msgspec.structs import replace

from tokentill.flows.carry import lots_of, own_of
from tokentill.flows.checkout import Checkout
from tokentill.flows.deliver import Delivery
from tokentill.flows.learn import Learning
from tokentill.flows.means import Means, deed_key, later, log
from tokentill.flows.pay import Terms
from tokentill.flows.refund_facts import guarantee_ids, runs, step_of
from tokentill.flows.refund_plan import PlanEnd
from tokentill.flows.refund_quotes import Quotes
from tokentill.ports import VendorDown, VendorRefused
from tokentill.rules import happenings as h
from tokentill.rules import refund_steps as steps
from tokentill.rules.catalog import DAY_MS
from tokentill.rules.claims import claimed, ended, fixed, rebased
from tokentill.rules.credit import available, usable
from tokentill.rules.legs import Part, claim_of, done_of, legs
from tokentill.rules.purchases import BILLED, Purchase, derive, purchase_id
from tokentill.rules.receipts import Receipt
from tokentill.rules.refund_notices import IN_PROGRESS, untold
from tokentill.rules.refund_review import review
from tokentill.rules.refund_rows import FINAL, Guarantee, Opinion, Refund, part_given
from tokentill.rules.refusals import Refusal
from tokentill.rules.rows import Payer
from tokentill.rules.waiting import LEASE_MS

OPEN = ("accepted", "paying", "giving", "ending", "buying", "undoing")
"""States in which something is done without anybody being asked."""

Telling = Callable[[Refund], Awaitable[None]]
"""Tells the customer how a refund stands, once however often it is called."""


class RefundWork:
    """Carries refunds out."""

    def __init__(
        self,
        means: Means,
        delivery: Delivery,
        learning: Learning,
        checkout: Checkout,
        quotes: Quotes,
        ending: PlanEnd,
        tell: Telling | None = None,
    ) -> None:
        self._means = means
        self._delivery = delivery
        self._learning = learning
        self._checkout = checkout
        self._quotes = quotes
        self._ending = ending
        self._tell = tell

    async def advance(self, row: Refund) -> Refund:
        """Everything that can be done now; the refund as it stands then. Raises `StoreDown`."""
        while row.state in OPEN:
            before = row.state
            if before == "accepted":
                row = await self._begin(row)
            elif before == "paying":
                row = await self._pay(row)
            elif before == "giving":
                row = await self._give(row)
            elif before == "ending":
                row = await self._end(row)
            elif before == "buying":
                row = await self._buy(row)
            else:
                row = await self._undo(row)
            if row.state == before:
                return row
        row = await self._told(row)
        if row.due_at is not None:
            row = await self._means.change(row, lambda one: one if one.state in OPEN else later(one, None))
        return await self._newest(row)

    async def _told(self, row: Refund) -> Refund:
        """Tell the customer of where the refund stands now, and write down that it was told."""
        if self._tell is None or not untold(row):
            return row
        await self._tell(row)
        state = row.state
        return await self._means.change(
            row, lambda one: replace(one, told=state) if one.state == state else one
        )

    async def _begin(self, row: Refund) -> Refund:
        """Set the tokens aside, look at the figures again, and find out who must agree."""
        means = self._means
        claim = steps.claim_for(row)
        purchase = await self.purchase(row)
        step = step_of(means, purchase)
        purchase = await means.change(purchase, lambda one: self._delivery.ready(claimed(one, claim, step)))
        purchase = await self._delivery.advance(purchase)
        known = claim_of(purchase, claim.refund)
        if known is None or known.state == "failed":
            return await self.to(row, lambda one: steps.undo(one, "failed", IN_PROGRESS))
        if purchase.doing is not None:
            return await self._again(row, "the tokens could not be set aside yet")
        at = row.accepted_at or row.created_at
        again = await self._quotes.facts.quoted(purchase, row.reason, at, row.id, row.region)
        if row.choice == "upgrade":
            found = steps.option_of(row.quote, "upgrade", row.larger)  # its price was agreed to
        else:
            assert row.choice is not None, "it was accepted"
            found = steps.option_of(again, row.choice)
        lost = row.choice != "upgrade" and (
            found is None or (found.money, found.credit, found.tokens) != (row.money, row.credit, row.tokens)
        )
        # use may have made the guarantee what the same figures come from
        guarantee = row.guarantee or (row.choice == "cash" and again.guarantee)
        if lost or (guarantee and not await self._use_guarantee(row, purchase)):
            return await self.to(row, lambda one: steps.undo(one, "changed", "changed"))
        assert found is not None, "else it is lost"
        seen = review(
            again, found, await self._quotes.facts.history(row, purchase), means.ledger.catalog.refunds
        )
        return await self.to(row, lambda one: steps.reviewed(one, seen, guarantee=guarantee))

    async def _use_guarantee(self, row: Refund, purchase: Purchase) -> bool:
        """Use the guarantee up, for the customer and the payment method; False if it was used before."""
        for name in guarantee_ids(purchase):
            use = Guarantee(id=name, created_at=row.created_at, refund=row.id, owner=row.organization)
            if (await self._means.rows.add(use)).row.refund != row.id:
                return False
        return True

    async def _pay(self, row: Refund) -> Refund:
        """Have the providers give the money back, payment by payment, each part under its own key."""
        means = self._means
        purchase = await self.purchase(row)
        if row.opinions:  # another operator may adjust it while this one agreed
            purchase = await means.change(purchase, lambda one: fixed(one, row.id, row.money))
        claim = claim_of(purchase, row.id)
        assert claim is not None, "it was claimed before"
        if claim.money < row.money:
            money = claim.money
            row = await means.change(row, lambda one: replace(one, money=money))
        for part in claim.parts:
            if part in done_of(purchase, claim) and (row.tries or part_given(row)):
                continue  # it was asked for before; at first all are, whatever went back in a dashboard by then
            problem, refused = "the provider has it pending", None
            try:
                refused = await self._ask_for_it(row, purchase, part)
            except VendorDown:
                problem = "the provider did not answer"
            purchase = await self.purchase(row)
            if part in done_of(purchase, claim):
                continue
            if refused is not None:
                return await self._refused(row, purchase, part, refused)
            if means.clock.now() - (row.accepted_at or 0) > steps.PAY_MS:
                text = f"Whether refund {row.id} reached the customer is not known after a day. Look at the provider."
                await means.alert(row.organization, "refund_unanswered", row.id, text)
            log.info("a refund is not through yet", refund=row.id, problem=problem)
            return await self._again(row, problem)
        return await self.to(row, steps.paid)

    async def _ask_for_it(self, row: Refund, purchase: Purchase, part: Part) -> str | None:
        """Ask for a part of the money and take in what the provider says; why it refuses, if it does.

        Raises `VendorDown`.
        """
        paid: Purchase | None = purchase
        if part.purchase != purchase.id:
            paid = await self._means.rows.get(Purchase, part.purchase, row.organization)
        assert paid is not None, "a purchase is never deleted"
        payments = self._means.payments.get(paid.provider)
        if payments is None:
            return "no_provider"
        # What operators let be asked again after it was refused is another call.
        tries = sum(one.what == "refused" for one in row.opinions)
        refused: str | None = None
        try:
            answer = await payments.refund(paid, part.money, deed_key(row.id, "pay", part.purchase, tries))
            if any(isinstance(one, h.RefundFailed) for one in answer):
                refused = "refund_failed"
        except VendorRefused as refusal:
            # An earlier try may have gone through without an answer: what the provider knows decides.
            refused = refusal.code
            try:
                answer = await payments.look(paid)
            except VendorRefused:
                answer = ()
        whose = {"purchase": paid.id, "organization": row.organization}
        facts = [one for one in answer if not isinstance(one, h.Subscribed)]
        await self._learning.learn(paid.provider, [replace(one, **whose) for one in facts])
        return refused

    async def _refused(self, row: Refund, purchase: Purchase, part: Part, why: str) -> Refund:
        """A provider refused: the refund comes to nothing or, where a part went back, operators decide of the rest."""
        means, seen = self._means, len(row.opinions)
        claim = claim_of(purchase, row.id)
        if claim is not None and done_of(purchase, claim):
            purchase = await means.change(purchase, lambda one: rebased(one, row.id))
            claim = claim_of(purchase, row.id)
        given = 0 if claim is None else sum(one.money for one in done_of(purchase, claim))
        by = next(leg.provider for leg in legs(purchase) if leg.purchase == part.purchase)
        opinion = Opinion(means.clock.now(), by, "refused", why, given)
        return await self.to(
            row, lambda one: steps.refused(one, opinion) if len(one.opinions) == seen else one
        )

    async def _give(self, row: Refund) -> Refund:
        """Take the tokens back, and grant what was chosen instead of money."""
        means = self._means
        purchase = await means.change(
            await self.purchase(row), lambda one: self._delivery.ready(ended(one, row.id, "settled"))
        )
        purchase = await self._delivery.advance(purchase)
        claim = claim_of(purchase, row.id)
        if claim is not None and claim.credit < row.credit:  # as of money, where an adjustment came half way
            credit = claim.credit
            row = await means.change(row, lambda one: replace(one, credit=credit))
        if steps.claim_for(row).takes and row.id not in purchase.taken:
            return await self._again(row, purchase.problem or "the tokens could not be taken back yet")
        for part, command in steps.grants(row, await self._bonus_until(row, purchase)):
            reply = await means.submit(row.organization, command, deed_key(row.id, part))
            if not isinstance(reply, Receipt):
                text = f"Refund {row.id} could not be granted: {reply.code}: {reply.message}"
                await means.alert(row.organization, "refund_stuck", row.id, text)
                return await self._again(row, f"{reply.code}: {reply.message}")
        on = row.ends_plan and await runs(means, purchase)
        return await self.to(row, lambda one: steps.given(one, means.clock.now(), runs=on))

    async def _end(self, row: Refund) -> Refund:
        """End the plan whose payment was given back."""
        problem = await self._ending.end(row, await self.purchase(row))
        if problem is not None:
            return await self._again(row, problem)
        return await self.to(row, lambda one: steps.settled(one, self._means.clock.now()))

    async def _bonus_until(self, row: Refund, purchase: Purchase) -> int | None:
        """Bonus tokens last as long as those that were bought; where these are over, as long as new ones would."""
        now = await self._means.time_of(row.organization)
        if purchase.kind in BILLED:
            return max(purchase.plan_end or 0, now + DAY_MS)
        bought = next(iter(own_of(await lots_of(self._means, purchase))), None)
        if bought is None or bought.expires_at is None or bought.expires_at > now:
            return None if bought is None else bought.expires_at
        return now + (purchase.valid_days or 1) * DAY_MS

    async def _buy(self, row: Refund) -> Refund:
        """Have the larger pack paid, and see whether it was."""
        means = self._means
        purchase = await means.rows.get(Purchase, row.upgrade or "", row.organization)
        if purchase is None or (purchase.state == "created" and purchase.url is None):
            old = await self.purchase(row)
            pack = means.ledger.catalog.packs.get(row.larger or "")
            shown = steps.option_of(row.quote, "upgrade", row.larger)
            if pack is None or shown is None:
                return await self.to(row, lambda one: steps.undo(one, "failed", "not_sold"))
            payer = None if row.payer is None else await means.rows.get(Payer, row.payer, row.organization)
            provider = old.provider if payer is None else payer.provider
            credit = 0
            if row.use_credit and purchase is None:
                account = await means.ledger.account(row.organization)
                has = 0 if account is None else available(account.state)
                credit = usable(shown.pay, has, means.coins(provider))
            ordered = steps.larger(row, old, pack, shown.pay, credit, means.clock.now(), provider)
            open_ms = means.ledger.catalog.checkout.open_ms
            if ordered.mode == "checkout":
                ordered = replace(ordered, expires_at=ordered.created_at + open_ms)
            placed = await self._checkout.place(derive(ordered), (), Terms())
            if isinstance(placed, Refusal):
                problem = f"{placed.code}: {placed.message}"
                return await self.to(row, lambda one: steps.undo(one, "failed", problem))
            purchase = placed
        if purchase.state in ("abandoned", "failed"):
            return await self.to(row, lambda one: steps.undo(one, "withdrawn", "not_paid"))
        if purchase.delivered_at is not None:
            return await self.to(row, lambda one: steps.settled(one, means.clock.now()))
        due_at = means.clock.now() + 60_000
        return await means.change(row, lambda one: later(one, due_at) if one.state == "buying" else one)

    async def _undo(self, row: Refund) -> Refund:
        """Give everything back that was set aside, and show a new quote where the figures changed.

        Of money that went back nevertheless the tokens' share is taken, as where it went back in the dashboard.
        """
        means = self._means
        claim = steps.claim_for(row).refund
        purchase = await means.change(
            await self.purchase(row), lambda one: self._delivery.ready(ended(one, claim, "failed"))
        )
        purchase = await self._delivery.advance(purchase)
        for use in await self._quotes.facts.guarantees(purchase):
            if use.refund == row.id and row.ends != "settled":
                await means.rows.drop(Guarantee, use.id)
        if row.ends == "changed":
            await self._quotes.instead(row, purchase)
        return await self.to(row, lambda one: steps.undone(one, means.clock.now()))

    # ---- inside --------------------------------------------------------------------------------------

    async def purchase(self, row: Refund) -> Purchase:
        """The purchase that the refund is of."""
        found = await self._means.rows.get(Purchase, row.purchase, row.organization)
        assert found is not None, "a purchase is never deleted"
        return found

    async def to(self, row: Refund, edit: steps.Edit) -> Refund:
        """The row after the edit; what follows is this process's for a while, then the clerk's."""
        now = self._means.clock.now()

        def changed(one: Refund) -> Refund:
            found = edit(one)
            if found.state == one.state:
                return found
            goes_on = found.state in OPEN or (self._tell is not None and untold(found))
            return later(replace(found, tries=0), now + LEASE_MS if goes_on else None)

        return await self._means.change(row, changed)

    async def _again(self, row: Refund, problem: str) -> Refund:
        now, state = self._means.clock.now(), row.state
        return await self._means.change(
            row, lambda one: steps.again(one, now, problem) if one.state == state else one
        )

    async def _newest(self, row: Refund) -> Refund:
        """The quote that is shown instead of the refund, where its figures changed; else the refund."""
        if row.state not in FINAL or row.ends != "changed":
            return row if row.next is None else await self._of(row, row.next)
        return await self._of(row, purchase_id("requote", row.id))

    async def _of(self, row: Refund, number: str) -> Refund:
        return await self._means.rows.get(Refund, number, row.organization) or row
