"""Checkout: an order becomes a purchase, and a purchase a place to pay or money that was taken.

The order is decided by pure rules on the catalog, the account and the switches as they are at this moment; then
it is stored together with the check that there is still room for it, under the limit of packs and under that of
its promotion, in one transaction. Only then is a payment provider asked.

The same key of the same organization is the same order: its repetition goes on where the first try stopped.

Requirement ids: R-PACK-2, R-PACK-3, R-PACK-4, R-PACK-7, R-PACK-8, R-PACK-9, R-SALE-3.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from tokentill.flows.deliver import Delivery
from tokentill.flows.means import Means, deed_key, later
from tokentill.flows.pay import Paying, Terms, no_provider, provider_refused, unknown_purchase
from tokentill.flows.shopper import Reader
from tokentill.ports import Room, VendorDown, VendorRefused
from tokentill.rules.credit import NO_CREDIT, available
from tokentill.rules.ordering import Order, limits, order_pack
from tokentill.rules.promos import Uses, normal
from tokentill.rules.purchases import Purchase, Source, begin, derive, purchase_id
from tokentill.rules.refund_texts import Waiver, waiver
from tokentill.rules.refusals import Code, Refusal
from tokentill.rules.selling import limit_refusal, over_limit
from tokentill.rules.waiting import look_at

PAGE = 500
"""Purchases that are read at a time."""

MOST = "most"
"""The detail of the refusal of what costs more than it may."""

CREDIT_GONE = "credit"
"""The detail of the refusal of an order whose credit was spent on something else in the same moment."""


class Ask(Struct, frozen=True, kw_only=True):
    """Who orders, and how it is to be paid.

    `key`: the caller's idempotency key; the same one is the same order. `provider`: empty takes the first that is
    set up. `payer`: the id of a saved payment method, to be charged at once. `number`: the id of the purchase, where
    it is made from something else than the key.
    """

    organization: str
    key: str | None = None
    user: str | None = None
    provider: str = ""
    payer: str | None = None
    source: Source = "customer"
    number: str | None = None
    offered_at: int | None = None
    """When the offer was shown that led to the order, epoch ms; None where nobody said (R-SALE-1)."""
    use_credit: bool = False
    """Pay with money credit as far as it reaches."""
    withdrawal_waived: bool = False
    """The customer gives up the right of withdrawal."""
    most: int | None = None
    """Minor units that may be charged for it at most beside credit, None = what it costs."""
    method: str | None = None
    """How the caller named the saved method; None = as `payer`."""
    terms: Terms = Terms()

    def digest(self, kind: str, item: str, promo: str | None = None) -> str:
        """What is asked for, so that its repetition is known from another order under the same key (R-LED-9).

        Where the customer comes back to and gets its mail is no part of it. Empty where no key of a caller makes it.
        """
        if self.key is None or self.number is not None:
            return ""
        agreed = (self.use_credit, self.withdrawal_waived, self.terms.save_method)
        method = (self.payer or "") if self.method is None else self.method
        by = (self.user or "", self.provider, method)
        return deed_key("asked", kind, item, normal(promo or ""), *by, *map(int, agreed))


class Checkout:
    """Takes orders."""

    def __init__(self, means: Means, delivery: Delivery, paying: Paying, reader: Reader) -> None:
        self._means = means
        self._delivery = delivery
        self._paying = paying
        self._reader = reader

    async def buy_pack(self, ask: Ask, pack: str, promo: str | None = None) -> Purchase | Refusal:
        """Order a pack: a checkout with its address, or with a saved method what became of the charge.

        Raises `StoreDown`; the order may then be sent again under its key.
        """
        read = await self._reader.shopper(ask.organization)
        if isinstance(read, Refusal):
            return read
        shopper, account = read
        asked = ask.digest("pack", pack, promo)
        again = await self.again(ask, asked)
        if again is not None:
            # Its slot and its promotion are taken by itself, so that it would be refused now.
            return again
        order = await self.order(ask, asked)
        if isinstance(order, Refusal):
            return order
        uses = Uses(by_own=await self._own_uses(ask.organization, promo))
        if ask.use_credit:
            order = replace(order, credit=available(account.state))
        ordered = order_pack(self._means.ledger.catalog, shopper, order, pack, promo, uses)
        if isinstance(ordered, Refusal):
            return ordered
        if ask.most is not None and ordered.amount > ask.most:
            return Refusal(Code.NOT_POSSIBLE, "The pack costs more by now than it may.", detail=MOST)
        return await self.place(ordered, self.rooms(ordered), ask.terms)

    async def again(self, ask: Ask, asked: str) -> Purchase | Refusal | None:
        """The order that is on record under the key, gone on with; refused if it was another, None if there is none."""
        if ask.number is None and ask.key is None:
            return None
        number = ask.number or purchase_id(ask.organization, ask.key or "")
        known = await self._means.rows.get(Purchase, number, ask.organization)
        if known is None:
            return None
        return key_reused() if known.asked != asked else await self.resume(known, ask)

    async def order(self, ask: Ask, asked: str = "") -> Order | Refusal:
        """The part of an order that is alike for everything; `asked` is its digest."""
        means = self._means
        account = await means.ledger.account(ask.organization)
        providers = means.providers(account)
        provider = ask.provider or next(iter(providers), "")
        if ask.payer is not None:
            payer = await self._reader.saved_payer(ask.organization, ask.payer)
            if payer is None:
                return Refusal(
                    Code.NOT_POSSIBLE, "There is no saved payment method of this id.", detail="payer"
                )
            provider = payer.provider
        made = means.ids.operation() if ask.key is None else purchase_id(ask.organization, ask.key)
        return Order(
            id=ask.number or made,
            now=means.selling_time(account),
            provider=provider,
            providers=providers,
            mode="checkout" if ask.payer is None else "saved",
            source=ask.source,
            user=ask.user,
            payer=ask.payer,
            asked=asked,
            return_url=ask.terms.success_url,
            withdrawal_waived=ask.withdrawal_waived,
            own=means.coins(provider),
            coins=means.coins(),
            offered_at=ask.offered_at,
        )

    def rooms(self, ordered: Purchase) -> list[Room]:
        """What must be checked in the transaction that stores the order."""
        now = ordered.created_at
        return [
            Room(limit.most, limit.equal, (limit.column, now))
            for limit in limits(self._means.ledger.catalog, ordered)
        ]

    async def place(self, ordered: Purchase, rooms: Sequence[Room], terms: Terms) -> Purchase | Refusal:
        """Put an order on record if there is room for it, and have it paid. Raises `StoreDown`."""
        means = self._means
        ordered = begin(derive(ordered))
        added = await means.rows.add(later(ordered, look_at(ordered, means.clock.now())), *rooms)
        if added.how == "full":
            return await self._full(ordered)
        if added.row.asked != ordered.asked:
            return key_reused()  # another order under the same key was first, in this very moment
        return await self.resume(added.row, Ask(organization=ordered.organization, terms=terms))

    async def resume(self, purchase: Purchase, ask: Ask) -> Purchase | Refusal:
        """Go on with an order that is on record."""
        if purchase.doing is not None:
            purchase = await self._delivery.advance(purchase)
            if purchase.problem == NO_CREDIT and purchase.state == "abandoned":
                return Refusal(Code.NOT_POSSIBLE, "There is not enough credit any more.", detail=CREDIT_GONE)
        if purchase.state != "created" or purchase.url is not None:
            return purchase
        if purchase.mode == "saved":
            return await self._paying.charge(purchase)
        if purchase.mode == "checkout":
            return await self._paying.start(purchase, ask.terms)
        return purchase

    async def pay(
        self, organization: str, number: str, provider: str = "", terms: Terms | None = None
    ) -> Purchase | Refusal:
        """Open a checkout for an invoice that is still to be paid; the one that is open, if there is one."""
        means = self._means
        purchase = await means.rows.get(Purchase, number, organization)
        if purchase is None:
            return unknown_purchase()
        if purchase.kind == "overage" and purchase.doing is not None:
            # Credit pays first, and the checkout what it leaves.
            purchase = await self._delivery.advance(purchase)
        purchase = await self._paying.bills.credited(purchase)
        if purchase.kind != "overage" or purchase.mode != "invoice" or purchase.paid_at is not None:
            return Refusal(Code.NOT_POSSIBLE, "Only an invoice that is still open can be paid so.")
        if purchase.url is not None and means.clock.now() < (purchase.expires_at or 0):
            return purchase
        providers = means.providers(await means.ledger.account(organization))
        known = purchase.provider if purchase.provider in providers else next(iter(providers), "")
        chosen = provider or known
        if chosen not in providers:
            return no_provider(chosen)
        if chosen != purchase.provider:
            changed = await means.change(
                purchase, lambda row: _with_provider(row, chosen) if row.paid_at is None else row
            )
            purchase = changed
        return await self._paying.start(purchase, terms or Terms())

    @property
    def waiver(self) -> Waiver | None:
        """What a customer is asked about the right of withdrawal while paying; None where there is none."""
        return waiver(self._means.ledger.catalog.refunds)

    async def waive_withdrawal(
        self, organization: str, number: str, *, waived: bool = True
    ) -> Purchase | Refusal:
        """The customer gives up the right of withdrawal while paying, or takes that back; the first moment stays."""
        means = self._means
        purchase = await means.rows.get(Purchase, number, organization)
        if purchase is None:
            return unknown_purchase()
        now = await means.time_of(organization)

        def told(row: Purchase) -> Purchase:
            at = (row.withdrawal_waived_at or now) if waived else None
            return row if row.paid_at is not None else replace(row, withdrawal_waived_at=at)

        purchase = await means.change(purchase, told)
        if waived and purchase.withdrawal_waived_at is None:
            message = "The right of withdrawal is given up at the purchase, and this one is paid already."
            return Refusal(Code.NOT_POSSIBLE, message, detail=purchase.state)
        return purchase

    async def cancel(self, organization: str, number: str) -> Purchase | Refusal:
        """Leave an open checkout, so that it can be paid no more and its slot is free."""
        return await self._paying.cancel(organization, number)

    async def purchase(self, organization: str, number: str) -> Purchase | None:
        """One purchase of the organization."""
        return await self._means.rows.get(Purchase, number, organization)

    async def look(self, organization: str, number: str) -> Purchase | Refusal:
        """The customer came back: how the purchase stands at the provider now, if that is not known yet."""
        purchase = await self.purchase(organization, number)
        if purchase is None:
            return unknown_purchase()
        if purchase.state not in ("created", "pending"):
            return purchase
        try:
            return await self._paying.look(purchase)
        except VendorDown:
            message = "The payment provider cannot be reached. What was paid is known as soon as it answers."
            return Refusal(Code.CHECKOUT_FAILED, message, retry_after_ms=5_000, detail="provider_down")
        except VendorRefused as refused:
            return provider_refused(refused)

    async def history(
        self, organization: str, before: str | None = None, limit: int = 50
    ) -> Sequence[Purchase]:
        """The organization's purchases, newest first, older than the purchase of the id `before` (R-PACK-7)."""
        every: list[Purchase] = []
        last: str | None = None
        while True:
            equal = {"organization": organization}
            found = await self._means.rows.find(Purchase, equal, before=last, limit=PAGE)
            every += found
            if len(found) < PAGE:
                break
            last = found[-1].id
        # Their ids say nothing of time: an order's is made from its key.
        every.sort(key=lambda row: (row.created_at, row.id), reverse=True)
        start = 1 + next((at for at, row in enumerate(every) if row.id == before), -1)
        return [] if before is not None and not start else every[start : start + limit]

    # ---- inside --------------------------------------------------------------------------------------

    async def _own_uses(self, organization: str, promo: str | None) -> int:
        if not promo:
            return 0
        now = self._means.clock.now()
        return await self._reader.promo_uses(organization, promo, now)

    async def _full(self, ordered: Purchase) -> Refusal:
        """No room was left when the order was to be stored: which limit it was."""
        catalog, now = self._means.ledger.catalog, self._means.clock.now()
        read = await self._reader.shopper(ordered.organization)
        refused = read if isinstance(read, Refusal) else over_limit(catalog, read[0], now)
        if refused is None and ordered.promo is not None:
            message = f"The code {ordered.promo} has been used as often as it can be. Order without it."
            return Refusal(Code.PROMO_INVALID, message, detail=ordered.promo)
        # A slot has become free since; the customer may try again at once.
        return refused or limit_refusal(catalog, 1)


def key_reused() -> Refusal:
    """The key stands for another order."""
    message = "This idempotency key was used for another order. Use a new key for a new order."
    return Refusal(Code.KEY_REUSED, message)


def _with_provider(purchase: Purchase, provider: str) -> Purchase:
    """The open invoice, to be paid at another provider from here on."""
    return replace(purchase, provider=provider, checkout=None, url=None)
