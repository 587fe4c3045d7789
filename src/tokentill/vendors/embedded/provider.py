"""The embedded provider: a payment provider inside the till, to try the whole shop without account or network.

It is a test and says so: no money moves, only the test cards below are accepted, and it refuses to be built in
production mode. Apart from that it behaves like the others: a hosted-looking checkout page, payments that
succeed, fail, need a confirmation or are disputed, subscriptions with invoices and retries, refunds. What happens
leaves it as signed events that take the very way of every provider's webhooks.

Requirement ids: R-PLAT-1, R-PACK-2, R-PACK-3, R-PLAN-4, R-LIC-1, R-LIC-3, R-REF-4, R-REF-6, R-SALE-3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b
from urllib.parse import urlencode

from msgspec.structs import replace

from tokentill.ports import Clock, Inbound, Order, Paying, Rows, Started, TestCard, VendorRefused
from tokentill.rules import happenings as h
from tokentill.rules import links
from tokentill.rules.catalog import DAY_MS, HOUR_MS
from tokentill.rules.links import Link
from tokentill.rules.purchases import Purchase
from tokentill.rules.rows import EmbeddedPayment, Payer, ProviderEvent, Subscription
from tokentill.vendors.embedded import billing
from tokentill.vendors.embedded.book import Book, say
from tokentill.vendors.embedded.cards import BY_NUMBER, CARDS, Card
from tokentill.vendors.embedded.facts import declined
from tokentill.vendors.embedded.signing import NAME, Signing, told
from tokentill.vendors.embedded.subscriptions import Subscriptions

OPEN = ("open", "confirming", "declined")
"""States in which it can still be paid."""

OPEN_MS = 1_800_000
PORTAL_MS = HOUR_MS
"""How long a link to the portal opens it."""


class Embedded:
    """The `Payments` port without a provider. `address` is where the till's own pages are reached."""

    name = NAME
    cards = tuple(TestCard(card.number, card.text) for card in CARDS)

    def __init__(self, rows: Rows, secret: bytes, clock: Clock, address: Callable[[], str]) -> None:
        self._rows = rows
        self._key = blake2b(secret, digest_size=32, person=b"embedded pay").digest()
        self._book = Book(rows, self._key, clock)
        self._facts = self._book.facts
        self._subscriptions = Subscriptions(self._book)
        self._signing = Signing(self._key, clock)
        self._clock = clock
        self._address = address

    # ---- the port ------------------------------------------------------------------------------------------

    def step(self, currency: str) -> int:
        """Every amount is as good as another where no money moves."""
        del currency
        return 1

    def least(self, currency: str) -> int:
        """The same holds for the smallest."""
        del currency
        return 1

    async def checkout(self, order: Order, key: str) -> Started:
        """Begin a checkout on the till's own page."""
        payment = self._payment(order, key)
        found = (await self._rows.add(payment)).row
        return Started(found.id, f"{self._address()}/checkout/{found.id}", found.expires_at)

    async def close_checkout(self, purchase: Purchase) -> None:
        """End an open checkout, so that it cannot be paid any more."""
        await self._book.change(purchase.checkout or "", _cancelled)

    async def charge_saved(self, order: Order, payer: Payer, key: str) -> Sequence[h.AnyHappening] | Started:
        """Charge the test card that was saved."""
        found = (await self._rows.add(self._payment(order, key))).row
        card = BY_NUMBER.get(payer.saved or "")
        if card is None:
            raise VendorRefused("no_method", "No payment method is saved. Pay by checkout once.")
        if card.does == "confirms" and found.state == "open":
            return Started(found.id, f"{self._address()}/checkout/{found.id}", found.expires_at)
        found, _ = await self._charge(found, card, tell=False)
        at = self._book.now(found)
        if found.state == "declined":
            return (declined(found, card, at),)
        return self._facts.everything(found, at) if found.state == "paid" else ()

    async def look(self, purchase: Purchase) -> Sequence[h.AnyHappening]:
        """What is known of the purchase now."""
        payment = None if purchase.checkout is None else await self.payment(purchase.checkout)
        if payment is None:
            found = await self._of_later(purchase)
            return () if found is None else self._facts.refunded_later(found, purchase, self._book.now(found))
        return self._facts.everything(payment, self._book.now(payment))

    async def refund(self, purchase: Purchase, amount: int, key: str) -> Sequence[h.AnyHappening]:
        """Give back: never more than was paid. The same key gives back once."""
        later = await self._of_later(purchase)
        if later is not None:
            more = await self._book.change(later.id, lambda row: billing.refunded(row, purchase, amount, key))
            assert more is not None, "a payment is never deleted"
            return self._facts.refunded_later(more, purchase, self._book.now(more))
        payment = await self._of(purchase)

        def given(row: EmbeddedPayment) -> EmbeddedPayment:
            if key in dict(row.refund_keys):
                return row
            if amount <= 0 or row.refunded + amount > row.amount:
                message = f"Of this payment {row.amount - row.refunded} can still be given back."
                raise VendorRefused("over_refund", message)
            return replace(row, refunded=row.refunded + amount, refund_keys=(*row.refund_keys, (key, amount)))

        found = await self._book.change(payment.id, given)
        assert found is not None, "a payment is never deleted"
        return (self._facts.refunded(found, self._book.now(found)),)

    async def portal(self, customer: str, return_url: str) -> str | None:
        """The test portal of the organization `customer`, for an hour, to whoever has the address."""
        if not await self._rows.find(EmbeddedPayment, {"organization": customer}, limit=1):
            raise VendorRefused("no_customer", "Nobody of this name has paid at the test provider.")
        link = Link(customer, self._clock.now() + PORTAL_MS, back=return_url)
        return f"{self._address()}/test-portal?{urlencode({'link': links.write(self._key, link)})}"

    async def change_subscription(
        self, subscription: Subscription, order: Order, credit: int, key: str
    ) -> Sequence[h.AnyHappening] | Started:
        """Move to the order's plan now: the difference is charged to the card that pays the subscription."""
        del credit, key  # the order's amount has the credit taken off; the new period is known by its start
        return await self._subscriptions.move(subscription, order)

    async def end_subscription(self, subscription: Subscription, *, now: bool, key: str) -> None:
        """Cancel at the end of what is paid, or now."""
        del key  # ending twice is ending
        await self._subscriptions.end(subscription, now=now)

    async def renew_as(self, subscription: Subscription, order: Order | None, key: str) -> None:
        """From the next invoice on bill the order's plan; a cancellation to come is withdrawn."""
        del key  # saying it twice is saying it
        await self._subscriptions.renew_as(subscription, order)

    async def apply_credit(self, purchase: Purchase, key: str) -> bool:
        """Take the purchase's credit off its drafted invoice; False where it is drafted no more."""
        del key  # an invoice has one credit
        return await self._subscriptions.apply_credit(
            purchase.subscription or "", purchase.invoice, purchase.credit_used
        )

    async def event(self, inbound: Inbound, now: int) -> ProviderEvent:
        """The event, if it is ours, unaltered, and not old."""
        return self._signing.event(inbound, now)

    async def happenings(self, event: ProviderEvent) -> Sequence[h.AnyHappening]:
        """What the event says."""
        return told(event.body).happenings

    async def close(self) -> None:
        """Nothing to let go."""

    # ---- what the customer, the bank and time do ---------------------------------------------------------

    async def payment(self, ident: str) -> EmbeddedPayment | None:
        """The payment of this id."""
        return await self._book.payment(ident)

    async def pay(self, ident: str, number: str) -> Paying:
        """The customer enters a card on the page."""
        payment, card = await self.payment(ident), BY_NUMBER.get("".join(number.split()))
        if card is None:
            return Paying("open", code="not_a_test_card")
        if payment is None:
            return Paying("unknown")
        found, charged = await self._charge(payment, card, tell=True)
        if found.state in ("cancelled", "expired") or (found.state != "paid" and not charged):
            return Paying("expired")
        return self._book.paying(found, code=card.code if found.state == "declined" else None)

    async def confirm(self, ident: str) -> Paying:
        """The customer confirms in the name of the bank."""
        payment = await self.payment(ident)
        if payment is None or payment.state not in ("confirming", "open") or payment.card == "":
            return Paying("unknown" if payment is None else payment.state)
        at = self._book.now(payment)
        found = await self._book.change(
            ident, lambda row: self._paid(row, BY_NUMBER[payment.card], at, tell=True)
        )
        assert found is not None, "a payment is never deleted"
        return self._book.paying(found)

    async def cancel(self, ident: str) -> Paying:
        """The customer leaves without paying."""

        def left(row: EmbeddedPayment) -> EmbeddedPayment:
            over = _cancelled(row)
            if over == row:
                return row
            return say(over, "cancelled", *self._facts.everything(over, self._book.now(over)))

        found = await self._book.change(ident, left)
        return Paying("unknown") if found is None else self._book.paying(found)

    async def dispute(self, ident: str, state: h.DisputeState) -> Paying:
        """The customer's bank opens or decides a dispute."""

        def disputed(row: EmbeddedPayment) -> EmbeddedPayment:
            if row.paid_at is None or row.dispute == state:
                return row
            row = replace(row, dispute=state)
            return say(row, f"dispute.{state}", self._facts.disputed(row, self._book.now(row)))

        found = await self._book.change(ident, disputed)
        return Paying("unknown") if found is None or found.paid_at is None else self._book.paying(found)

    async def renew(self, ident: str, now: int) -> Paying:
        """Do what is due of a subscription at `now`: draft or collect the next invoice, try one again, or end it."""
        return await self._subscriptions.renew(ident, now)

    def acts_at(self, payment: EmbeddedPayment) -> int | None:
        """When the provider does something about the payment by itself, the next time; None where it never will."""
        return billing.acts_at(payment)

    async def untold(self, ident: str) -> Paying:
        """What became true of a payment and could not be told yet."""
        found = await self.payment(ident)
        return Paying("unknown") if found is None else self._book.paying(found)

    async def heard(self, event: Inbound) -> None:
        """The event is kept, so it is told no more."""
        await self._book.heard(event)

    async def change_card(self, ident: str, number: str, now: int) -> Paying:
        """The customer gives another card for a subscription; an open invoice is tried with it at once."""
        return await self._subscriptions.change_card(ident, number, now)

    def visitor(self, link: str) -> Link | None:
        """Whose portal a link opens now, and where it leads back to; None if we did not make it or it has ended."""
        return links.read(self._key, link, self._clock.now())

    async def subscriptions(self, organization: str) -> Sequence[EmbeddedPayment]:
        """The organization's subscriptions that run, newest first."""
        return await self._subscriptions.running(organization)

    async def collect(self, ident: str, now: int) -> Paying:
        """The customer pays the invoice that is owed of a subscription, with the card that it has."""
        return await self._subscriptions.collect(ident, now)

    async def leave(self, ident: str, now: int, *, leaving: bool) -> Paying:
        """The customer cancels a subscription at the end of its period, or withdraws that."""
        return await self._subscriptions.leave(ident, now, leaving=leaving)

    # ---- inside ------------------------------------------------------------------------------------------

    def _payment(self, order: Order, key: str) -> EmbeddedPayment:
        purchase = order.purchase
        now = max(self._clock.now(), purchase.created_at)
        name = blake2b(key.encode(), digest_size=20, key=self._key, person=b"checkout").hexdigest()
        return EmbeddedPayment(
            id=name, organization=purchase.organization, created_at=now, purchase=purchase.id,
            title=purchase.title, amount=purchase.amount, currency=purchase.currency,
            expires_at=purchase.expires_at or now + OPEN_MS, success_url=order.success_url,
            cancel_url=order.cancel_url, plan=purchase.item if order.interval else None,
            recurring=purchase.list_amount or purchase.amount, interval=order.interval,
            interval_days=order.interval_days, trial_days=order.trial_days,
        )  # fmt: skip

    async def _of_later(self, purchase: Purchase) -> EmbeddedPayment | None:
        """The subscription whose later invoice paid for the purchase; None where it was paid on the page itself."""
        if purchase.checkout is not None or purchase.subscription is None or purchase.payment is None:
            return None
        return await self.payment(purchase.subscription)

    async def _of(self, purchase: Purchase) -> EmbeddedPayment:
        payment = await self.payment(purchase.checkout or purchase.payment or "")
        if payment is None or payment.paid_at is None:
            message = "Only what was paid on the test page itself can be given back, not a later invoice."
            raise VendorRefused("not_paid", message)
        return payment

    async def _charge(
        self, payment: EmbeddedPayment, card: Card, *, tell: bool
    ) -> tuple[EmbeddedPayment, bool]:
        """The payment after a try to pay it by the card, and whether it could be tried.

        `tell`: what became of it is to be told; else it is the answer of a saved card, which may be asked for again.
        """
        at = self._book.now(payment)

        def charged(row: EmbeddedPayment) -> EmbeddedPayment:
            if row.state not in OPEN or at >= row.expires_at:
                return row
            if card.does == "declined" or (card.does == "once" and not tell):
                row = replace(row, state="declined", tries=row.tries + 1, card="")
                return say(row, f"declined.{row.tries}", declined(row, card, at)) if tell else row
            if card.does == "confirms":
                return replace(row, state="confirming", card=card.number)
            return self._paid(row, card, at, tell=tell)

        found = await self._book.change(payment.id, charged)
        assert found is not None, "a payment is never deleted"
        return found, at < found.expires_at

    def _paid(self, row: EmbeddedPayment, card: Card, at: int, *, tell: bool) -> EmbeddedPayment:
        if row.state not in OPEN:
            return row
        row = replace(
            row, state="paid", card=card.number, paid_at=at, warned=card.does == "suspected",
            dispute="open" if card.does == "disputes" else None,
        )  # fmt: skip
        if row.interval is not None:
            anchor = at + row.trial_days * DAY_MS
            row = replace(row, anchor=anchor, billed=0 if row.trial_days else 1)
            row = replace(row, next_at=anchor if row.trial_days else billing.period(row, 0)[1])
        return say(row, "paid", *self._facts.everything(row, at)) if tell else row


def _cancelled(row: EmbeddedPayment) -> EmbeddedPayment:
    return replace(row, state="cancelled") if row.state in OPEN else row
