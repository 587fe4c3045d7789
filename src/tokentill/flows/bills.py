"""Bills: money credit that comes while a bill of overage is open pays it, also in part (R-REF-4).

The oldest bill first, as much of each as leaves a rest that can be paid. What is to be spent is written into the row
first, and the journal decides whether it is (`tokentill.flows.deliver`), so that whoever dies is followed by another who
does the same, and two at once do it once.

A customer may be paying the bill in a checkout at that moment. So the checkout is closed at the provider first, and
only where the provider says that it is over and was not paid, credit is used. Who pays just then has paid, and keeps
the credit. Where the provider does not say it, the bill is looked at again later.

Requirement ids: R-PLAN-6, R-REF-4.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from tokentill.flows.deliver import Delivery
from tokentill.flows.means import Means, later, log
from tokentill.ports import VendorDown, VendorRefused
from tokentill.rules import happenings as h
from tokentill.rules.credit import available, usable
from tokentill.rules.ordering import is_open, more_credit
from tokentill.rules.purchases import Purchase
from tokentill.rules.waiting import LEASE_MS, OVERDUE_MS

UNANSWERED = "unanswered"
"""The problem of a bill of which nobody knows whether the saved method has paid it."""

Answered = Callable[[Purchase, Sequence[h.AnyHappening]], Awaitable[Purchase]]
"""Takes in what a provider tells of a purchase."""


class Bills:
    """Has credit pay open bills."""

    def __init__(self, means: Means, delivery: Delivery, answered: Answered) -> None:
        self._means = means
        self._delivery = delivery
        self._answered = answered

    async def attend(self, bill: Purchase) -> Purchase:
        """Credit may have come for this open bill: use it for all that the organization has, the oldest first."""
        means, due_at = self._means, bill.due_at
        equal = {"organization": bill.organization, "kind": "overage"}
        found = [row for row in await means.every(Purchase, equal) if is_open(row)]
        for row in sorted(found, key=lambda one: (one.plan_end or 0, one.created_at, one.id)):
            credited = await self.credited(row)
            bill = credited if row.id == bill.id else bill
        waits = is_open(bill) and bill.checkout is not None and await self._usable(bill) > 0
        again = means.clock.now() + OVERDUE_MS if waits else None

        def looked(row: Purchase) -> Purchase:
            # Whoever told of more credit meanwhile, or did something with the bill, has moved the due date.
            mine = row.due_at == due_at and is_open(row) and row.doing is None
            return later(row, again) if mine else row

        return await means.change(bill, looked)

    async def credited(self, bill: Purchase) -> Purchase:
        """The purchase, of which credit has paid what it can, if it is an open bill. Raises `StoreDown`."""
        while is_open(bill):
            if bill.doing is not None:
                bill = await self._delivery.advance(bill)
                if bill.doing is not None:
                    break
                continue
            credit = await self._usable(bill)
            if not credit:
                break
            known = bill
            if known.checkout is not None:
                bill, over = await self._close(known)
                if not over:
                    break
            bill = await self._begin(bill, known, credit)
        return bill

    async def _begin(self, bill: Purchase, known: Purchase, credit: int) -> Purchase:
        """Write down that so much is to be spent, if the bill and its checkout are still as `known`."""
        now = self._means.clock.now()

        def begun(row: Purchase) -> Purchase:
            if (row.checkout, row.further, row.amount) != (known.checkout, known.further, known.amount):
                return row
            found = more_credit(row, credit, now)
            return row if found == row else later(found, now + LEASE_MS)

        return await self._means.change(bill, begun)

    async def _usable(self, bill: Purchase) -> int:
        """How much of the rest credit can pay now, so that what it leaves can be paid at whichever provider there is.

        Credit is money of the catalog's currency, and pays nothing in another.
        """
        if bill.problem == UNANSWERED or bill.currency != self._means.ledger.catalog.currency:
            return 0
        account = await self._means.ledger.account(bill.organization)
        return 0 if account is None else usable(bill.amount, available(account.state), self._means.coins())

    async def _close(self, bill: Purchase) -> tuple[Purchase, bool]:
        """Close the bill's checkout: the bill after that, and whether it is over for good and was not paid."""
        payments = self._means.payments.get(bill.provider)
        if payments is None:
            return bill, False
        try:
            with suppress(VendorRefused):
                await payments.close_checkout(bill)
            facts = await payments.look(bill)
        except (VendorDown, VendorRefused) as trouble:
            log.warning("a checkout could not be closed", purchase=bill.id, trouble=type(trouble).__name__)
            return bill, False
        over = any(isinstance(fact, h.Ended) for fact in facts)
        return await self._answered(bill, facts), over
