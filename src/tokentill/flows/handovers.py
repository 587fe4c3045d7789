"""Handovers: the key that came with a purchase shown once, forgotten in time, and how long everything took.

`show` is asked by the page where a customer lands after paying, or by a host in its place. `told` follows the journal
for the first charge after each purchase. Handovers are due when their seed is to be forgotten.

Requirement ids: R-SALE-1, R-SALE-4, R-SALE-8.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from tokentill.flows.handing import delivered
from tokentill.flows.means import Means, later
from tokentill.flows.pay import unknown_purchase
from tokentill.ports import JournalRow
from tokentill.rules import entries as e
from tokentill.rules.delivery import Delivered
from tokentill.rules.handovers import GOOD, Times, handover_id, times_of
from tokentill.rules.purchases import Purchase
from tokentill.rules.refusals import Code, Refusal
from tokentill.rules.rows import Handover

NAME = "handovers"
"""Of the cursor."""

WAITING_MAX = 1_000


class Handovers:
    """Hands over what came with purchases."""

    def __init__(self, means: Means) -> None:
        self._means = means

    async def show(self, organization: str, number: str) -> Delivered | Refusal:
        """The delivery message of a purchase; with the key the first time it is asked, and never again."""
        means = self._means
        purchase = await means.rows.get(Purchase, number, organization)
        if purchase is None:
            return unknown_purchase()
        row = await means.rows.get(Handover, handover_id(purchase), organization)
        if row is None or purchase.state not in GOOD:
            message = "Nothing of this purchase is there to be handed over. See how it stands."
            return Refusal(Code.NOT_POSSIBLE, message, detail=purchase.state)
        first = await self._first(row)
        return await delivered(means, purchase, key=first)

    async def look(self, purchase: Purchase) -> tuple[Delivered, bool] | None:
        """The delivery message without the key, and whether `show` would have one; None where there is none."""
        if not self._means.ledger.catalog.models:
            return None
        row = await self._means.rows.get(Handover, handover_id(purchase), purchase.organization)
        if row is None or purchase.state not in GOOD:
            return None
        found = await delivered(self._means, purchase, key=row.shown_at is None)
        return replace(found, key=None), found.key is not None

    async def attend(self, row: Handover) -> Handover:
        """Its time is over: nobody can make the key again from here on."""
        return await self._means.change(row, lambda one: later(replace(one, seed=""), None))

    async def told(self, rows: Sequence[JournalRow]) -> None:
        """The journal goes on with these entries: write down the first charge after each purchase (R-SALE-1)."""
        charged: dict[str, list[int]] = {}
        for row in rows:
            if isinstance(row.entry, e.Charged):
                charged.setdefault(row.organization, []).append(row.entry.time)
        for organization, times in charged.items():
            equal: dict[str, str | int] = {"organization": organization, "waiting": 1}
            for waiting in await self._means.rows.find(Handover, equal, limit=WAITING_MAX):
                await self._called(waiting, times)

    async def times(self, limit: int = 100, before: str | None = None) -> list[tuple[str, Times]]:
        """The clocks of the newest purchases, each with the id of its handover, older than the id `before`."""
        rows = await self._means.rows.find(Handover, {}, before=before, limit=limit)
        found = await self._means.rows.among(Purchase, [row.purchase for row in rows])
        purchases = {purchase.id: purchase for purchase in found}
        return [(row.id, times_of(row, purchases[row.purchase])) for row in rows]

    async def _first(self, row: Handover) -> bool:
        """Whether this is the first time that the key is shown; of several at once only one is."""
        now = self._means.clock.now()
        while row.seed and row.shown_at is None:
            if await self._means.rows.put(replace(row, shown_at=now)) is not None:
                return True
            read = await self._means.rows.get(Handover, row.id, row.organization)
            assert read is not None, "a handover is never deleted"
            row = read
        return False

    async def _called(self, row: Handover, times: list[int]) -> None:
        purchase = await self._means.rows.get(Purchase, row.purchase, row.organization)
        assert purchase is not None, "a purchase is never deleted"
        after = [at for at in times if purchase.paid_at is not None and at >= purchase.paid_at]
        if after:
            await self._means.change(
                row, lambda one: replace(one, waiting=False, first_call_at=one.first_call_at or after[0])
            )
