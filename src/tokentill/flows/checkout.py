"""Checkout: an order becomes a purchase, and a purchase a place to pay or money that was taken.

The order is decided by pure rules on the catalog, the account and the switches as they are at this moment; then
it is stored together with the check that there is still room for it, under the limit of packs and under that of
its promotion, in one transaction. Only then is a payment provider asked.

The same key of the same organization is the same order: its repetition goes on where the first try stopped.

Requirement ids: R-PACK-2, R-PACK-3, R-PACK-4, R-PACK-8, R-PACK-9, R-SALE-3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tokentill.flows.deliver import Delivery
from tokentill.flows.means import Means, later
from tokentill.flows.pay import Paying, Terms
from tokentill.ports import Room
from tokentill.rules.purchases import Purchase, begin, derive
from tokentill.rules.refusals import Code, Refusal
from tokentill.rules.rows import Switch
from tokentill.rules.waiting import look_at

PURCHASES_MAX = 500


class Checkout:
    """Takes orders."""

    def __init__(self, means: Means, delivery: Delivery, paying: Paying) -> None:
        self._means = means
        self._delivery = delivery
        self._paying = paying

    async def place(self, ordered: Purchase, rooms: Sequence[Room], terms: Terms) -> Purchase | Refusal:
        """Put an order on record if there is room for it, and have it paid. Raises `StoreDown`."""
        means = self._means
        ordered = begin(derive(ordered))
        added = await means.rows.add(later(ordered, look_at(ordered, means.clock.now())), *rooms)
        purchase = added.row
        if added.how == "full":
            return await self._full(ordered, rooms)
        if added.how == "there" and not _same(purchase, ordered):
            message = "This idempotency key was used for another order. Use a new key for a new order."
            return Refusal(Code.KEY_REUSED, message)
        if purchase.doing is not None:
            return await self._delivery.advance(purchase)
        if purchase.state != "created" or purchase.url is not None:
            return purchase
        if purchase.mode == "saved":
            return await self._paying.charge(purchase)
        if purchase.mode == "checkout":
            return await self._paying.start(purchase, terms)
        return purchase

    async def purchase(self, organization: str, purchase_id: str) -> Purchase | None:
        """One purchase of the organization."""
        return await self._means.rows.get(Purchase, purchase_id, organization)

    async def history(
        self, organization: str, before: str | None = None, limit: int = 50
    ) -> Sequence[Purchase]:
        """The organization's purchases, newest first (R-PACK-7)."""
        equal = {"organization": organization}
        return await self._means.rows.find(Purchase, equal, before=before, limit=limit)

    async def _full(self, ordered: Purchase, rooms: Sequence[Room]) -> Refusal:
        raise NotImplementedError

    async def switches(self) -> Mapping[str, Switch]:
        """The kill switches as they are now, by id."""
        raise NotImplementedError


def _same(known: Purchase, ordered: Purchase) -> bool:
    """Whether the stored purchase is what is ordered now."""

    def terms(row: Purchase) -> tuple[object, ...]:
        return row.kind, row.item, row.promo, row.mode, row.provider, row.source

    return terms(known) == terms(ordered)
