"""Overage: the bill of a closed period becomes an invoice, charged to the saved method or left to be paid (R-PLAN-6).

A consumer of the journal: each bill there becomes one purchase, however often it is read. Who has no saved
method, or whose method was declined, pays by a checkout when they like; an operator is told of what stays open.

Money credit that there is when the bill is made pays first, and what it pays all of is paid at once. A bill is owed
whatever becomes of the try to pay its rest, so unlike an order it keeps what credit has paid of it. Credit that comes
while it is open pays too (`tokentill.flows.bills`): the journal tells of it, and the bill comes due.

Requirement ids: R-PLAN-6, R-PACK-3, R-REF-4.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from tokentill.flows.means import Means, later
from tokentill.flows.shopper import Reader
from tokentill.ports import JournalRow
from tokentill.rules import entries as e
from tokentill.rules.credit import available, usable
from tokentill.rules.ordering import bill_id, bill_with, is_open
from tokentill.rules.purchases import Purchase, begin, derive
from tokentill.rules.waiting import unpaid_overage

NAME = "overage"
"""Of the cursor."""


class Overages:
    """Makes invoices of bills."""

    def __init__(self, means: Means, reader: Reader) -> None:
        self._means = means
        self._reader = reader

    async def told(self, rows: Sequence[JournalRow]) -> None:
        """The journal goes on with these entries."""
        for row in rows:
            if isinstance(row.entry, e.OverageBilled) and row.entry.amount > 0:
                await self._bill(row.organization, row.entry)
        for organization in sorted({row.organization for row in rows if _brings_credit(row.entry)}):
            for bill in await self.open(organization):
                await self._means.change(bill, self._due)

    async def open(self, organization: str) -> Sequence[Purchase]:
        """Invoices of the organization that are still to be paid."""
        equal = {"organization": organization, "kind": "overage"}
        found = await self._means.every(Purchase, equal)
        return [row for row in found if row.paid_at is None and not row.voided]

    def _due(self, row: Purchase) -> Purchase:
        """The open bill, to be looked at now; one at work is looked at when that is done."""
        return later(row, self._means.clock.now()) if is_open(row) and row.doing is None else row

    async def _bill(self, organization: str, entry: e.OverageBilled) -> None:
        means = self._means
        payer = await self._reader.saved_payer(organization)
        amount = entry.amount - entry.amount % means.coins().step  # what nobody could pay is not billed
        bill = Purchase(
            id=bill_id(organization, entry.seq),
            organization=organization,
            created_at=means.clock.now(),  # from when on it is tried, however long nobody read the journal
            kind="overage",
            item="overage",
            title=f"{entry.tokens} {means.ledger.catalog.unit.many} beyond the plan",
            amount=amount,
            list_amount=amount,
            currency=entry.currency,
            provider=next(iter(means.payments), "") if payer is None else payer.provider,
            payer=None if payer is None else payer.id,
            source="provider",
            plan_start=entry.start,
            plan_end=entry.end,
        )
        row = begin(bill_with(bill, await self._credit(organization, bill)))
        await means.rows.add(
            later(row, None if row.mode == "invoice" and row.doing is None else means.clock.now())
        )

    async def _credit(self, organization: str, bill: Purchase) -> int:
        """How much of the bill credit can pay now, so that the rest can be paid at whichever provider there is."""
        account = await self._means.ledger.account(organization)
        return 0 if account is None else usable(bill.amount, available(account.state), self._means.coins())


def _brings_credit(entry: e.Entry) -> bool:
    """Whether there is more money credit after the entry: a refund's, an operator's, of a plan's unused share."""
    return isinstance(entry, e.Granted) and entry.unit == "money"


async def leave_open(means: Means, purchase: Purchase) -> Purchase:
    """The saved method did not pay the invoice: it stays open, to be paid by a checkout or by credit that came since."""

    def opened(row: Purchase) -> Purchase:
        if not unpaid_overage(row):
            return row
        return later(derive(replace(row, mode="invoice")), means.clock.now())

    text = f"Invoice {purchase.id} of {purchase.organization} for overage could not be charged: {purchase.problem}."
    await means.alert(purchase.organization, "overage_unpaid", purchase.id, text)
    return await means.change(purchase, opened)
