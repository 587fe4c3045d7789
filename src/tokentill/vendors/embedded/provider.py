"""The embedded provider: a payment provider inside the till, to try the whole shop without account or network.

It is a test and says so: no money moves, only the test cards below are accepted, and it refuses to be built in
production mode. Apart from that it behaves like the others: a hosted-looking checkout page, payments that
succeed, fail, need a confirmation or are disputed, subscriptions with invoices and retries, refunds. What happens
leaves it as signed events that take the very way of every provider's webhooks.

Requirement ids: R-PLAT-1, R-PACK-2, R-PACK-3, R-PLAN-4, R-LIC-1, R-LIC-3, R-REF-6, R-SALE-3.
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
from tokentill.vendors.embedded.cards import BY_NUMBER, CARDS, Card
from tokentill.vendors.embedded.facts import Facts, declined
from tokentill.vendors.embedded.signing import NAME, Signing, told

OPEN_MS = 1_800_000
PORTAL_MS = HOUR_MS
"""How long a link to the portal opens it."""

PLANS_MAX = 100
"""So many payments of an organization are looked through for its subscriptions."""


class Embedded:
    """The `Payments` port without a provider. `address` is where the till's own pages are reached."""

    name = NAME
    cards = tuple(TestCard(card.number, card.text) for card in CARDS)

    def __init__(self, rows: Rows, secret: bytes, clock: Clock, address: Callable[[], str]) -> None:
        self._rows = rows
        self._key = blake2b(secret, digest_size=32, person=b"embedded pay").digest()
        self._facts = Facts(self._key)
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
        await self._change(purchase.checkout or "", self._cancelled)

    async def charge_saved(self, order: Order, payer: Payer, key: str) -> Sequence[h.AnyHappening] | Started:
        """Charge the test card that was saved."""
        found = (await self._rows.add(self._payment(order, key))).row
        card = BY_NUMBER.get(payer.saved or "")
        if card is None:
            raise VendorRefused("no_method", "No payment method is saved. Pay by checkout once.")
        if card.does == "confirms" and found.state == "open":
            return Started(found.id, f"{self._address()}/checkout/{found.id}", found.expires_at)
        paid = await self._pay(found.id, card, again=True)
        return [fact for event in paid.events for fact in told(event.body).happenings]

    async def look(self, purchase: Purchase) -> Sequence[h.AnyHappening]:
        """What is known of the purchase now."""
        payment = None if purchase.checkout is None else await self.payment(purchase.checkout)
        if payment is None:
            found = await self._of_later(purchase)
            return () if found is None else self._facts.refunded_later(found, purchase, self._now(found))
        return self._facts.everything(payment, self._now(payment))

    async def refund(self, purchase: Purchase, amount: int, key: str) -> Sequence[h.AnyHappening]:
        """Give back: never more than was paid. The same key gives back once."""
        later = await self._of_later(purchase)
        if later is not None:
            more = await self._change(later.id, lambda row: billing.refunded(row, purchase, amount, key))
            assert more is not None, "a payment is never deleted"
            return self._facts.refunded_later(more, purchase, self._now(more))
        payment = await self._of(purchase)

        def given(row: EmbeddedPayment) -> EmbeddedPayment:
            if key in dict(row.refund_keys):
                return row
            if amount <= 0 or row.refunded + amount > row.amount:
                message = f"Of this payment {row.amount - row.refunded} can still be given back."
                raise VendorRefused("over_refund", message)
            return replace(row, refunded=row.refunded + amount, refund_keys=(*row.refund_keys, (key, amount)))

        found = await self._change(payment.id, given)
        assert found is not None, "a payment is never deleted"
        return (self._facts.refunded(found, self._now(found)),)

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
        before = await self.payment(subscription.ref)
        if before is None or before.ended:
            raise VendorRefused("no_subscription", "This subscription has ended. Begin a new one.")
        if not self._collects(before):
            raise VendorRefused("card_declined", "The card was declined. Change the card, then try again.")
        at = self._now(before, order.purchase.created_at)
        moved = await self._change(before.id, lambda row: billing.moved(row, order, at))
        assert moved is not None, "a payment is never deleted"
        return (self._facts.invoice_paid(moved, "update", at, order.purchase.amount, order.purchase.id),)

    async def end_subscription(self, subscription: Subscription, *, now: bool, key: str) -> None:
        """Cancel at the end of what is paid, or now."""
        del key  # ending twice is ending

        def end(row: EmbeddedPayment) -> EmbeddedPayment:
            if now:
                return replace(row, ended=True, next_at=None)
            return replace(row, ends_at=billing.period_end(row))

        await self._change(subscription.ref, end)

    async def renew_as(self, subscription: Subscription, order: Order | None, key: str) -> None:
        """From the next invoice on bill the order's plan; a cancellation to come is withdrawn."""
        del key  # saying it twice is saying it
        before = await self.payment(subscription.ref)
        if before is None or before.ended:
            raise VendorRefused("no_subscription", "This subscription has ended. Begin a new one.")

        def renewed(row: EmbeddedPayment) -> EmbeddedPayment:
            row = replace(row, ends_at=None)
            if order is None:
                return row
            price = order.purchase.list_amount or order.purchase.amount
            return replace(row, plan=order.purchase.item, recurring=price)

        await self._change(before.id, renewed)

    async def apply_credit(self, purchase: Purchase, key: str) -> bool:
        """No invoice is told of before it is collected, so it is collected whole."""
        del purchase, key
        return False

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
        found = await self._rows.find(EmbeddedPayment, {"id": ident}, limit=1)
        return found[0] if found else None

    async def pay(self, ident: str, number: str) -> Paying:
        """The customer enters a card on the page."""
        card = BY_NUMBER.get("".join(number.split()))
        if card is None:
            return Paying("open", code="not_a_test_card")
        return await self._pay(ident, card)

    async def confirm(self, ident: str) -> Paying:
        """The customer confirms in the name of the bank."""
        payment = await self.payment(ident)
        if payment is None or payment.state not in ("confirming", "open") or payment.card == "":
            return Paying("unknown" if payment is None else payment.state)
        return await self._take(payment, BY_NUMBER[payment.card])

    async def cancel(self, ident: str) -> Paying:
        """The customer leaves without paying."""
        found = await self._change(ident, self._cancelled)
        if found is None:
            return Paying("unknown")
        if found.state != "cancelled":
            return Paying(found.state)
        return Paying(
            "cancelled", self._events(found, "cancelled", self._facts.everything(found, self._now(found)))
        )

    async def dispute(self, ident: str, state: h.DisputeState) -> Paying:
        """The customer's bank opens or decides a dispute."""
        found = await self._change(ident, lambda row: replace(row, dispute=state))
        if found is None or found.paid_at is None:
            return Paying("unknown")
        fact = self._facts.disputed(found, self._now(found))
        return Paying(found.state, self._events(found, f"dispute.{state}", (fact,)))

    async def renew(self, ident: str, now: int) -> Paying:
        """Bill what is due of a subscription at `now`: the next invoice, or another try of the failed one."""
        payment = await self.payment(ident)
        if payment is None or payment.next_at is None or payment.next_at > now or payment.ended:
            return Paying("idle")
        if payment.ends_at is not None and payment.ends_at <= payment.next_at and payment.failed_at is None:
            found = await self._change(ident, lambda row: replace(row, ended=True, next_at=None))
            assert found is not None, "a payment is never deleted"
            return Paying(
                "ended", self._events(found, "ended", (self._facts.standing(found, payment.next_at),))
            )
        return await self._collect(payment, payment.next_at)

    async def change_card(self, ident: str, number: str, now: int) -> Paying:
        """The customer gives another card for a subscription; an open invoice is tried with it at once."""
        if number not in BY_NUMBER:
            return Paying("open", code="not_a_test_card")
        found = await self._change(ident, lambda row: replace(row, card=number))
        return Paying("unknown") if found is None else await self.collect(ident, now)

    def visitor(self, link: str) -> Link | None:
        """Whose portal a link opens now, and where it leads back to; None if we did not make it or it has ended."""
        return links.read(self._key, link, self._clock.now())

    async def subscriptions(self, organization: str) -> Sequence[EmbeddedPayment]:
        """The organization's subscriptions that run, newest first."""
        found = await self._rows.find(EmbeddedPayment, {"organization": organization}, limit=PLANS_MAX)
        running = [row for row in found if row.plan is not None and row.paid_at is not None and not row.ended]
        return sorted(running, key=lambda row: row.created_at, reverse=True)

    async def collect(self, ident: str, now: int) -> Paying:
        """The customer pays the invoice that is owed of a subscription, with the card that it has."""
        found = await self.payment(ident)
        if found is None or found.failed_at is None or found.ended:
            return Paying("idle")
        if not self._collects(found):  # a try by hand brings the end of the provider's own tries no nearer
            return Paying("declined", code="card_declined")
        return await self._collect(found, now)

    async def leave(self, ident: str, now: int, *, leaving: bool) -> Paying:
        """The customer cancels a subscription at the end of its period, or withdraws that."""

        def said(row: EmbeddedPayment) -> EmbeddedPayment:
            if row.ended or row.next_at is None or (row.ends_at is not None) is leaving:
                return row
            return replace(row, ends_at=billing.period_end(row) if leaving else None)

        found = await self._change(ident, said)
        if found is None or found.next_at is None:
            return Paying("unknown")
        fact = self._facts.standing(found, self._now(found, now))
        return Paying(found.state, self._events(found, f"standing.{found.version}", (fact,)))

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

    async def _change(
        self, ident: str, change: Callable[[EmbeddedPayment], EmbeddedPayment]
    ) -> EmbeddedPayment | None:
        while (payment := await self.payment(ident)) is not None:
            changed = change(payment)
            changed = replace(changed, due_at=changed.next_at)
            if changed == payment:
                return payment
            stored = await self._rows.put(changed)
            if stored is not None:
                return stored
        return None

    def _cancelled(self, row: EmbeddedPayment) -> EmbeddedPayment:
        return replace(row, state="cancelled") if row.state in ("open", "confirming", "declined") else row

    async def _pay(self, ident: str, card: Card, *, again: bool = False) -> Paying:
        payment = await self.payment(ident)
        if payment is None:
            return Paying("unknown")
        if payment.state == "paid":
            return Paying(
                "paid", self._events(payment, "paid", self._facts.everything(payment, self._now(payment)))
            )
        if payment.state in ("cancelled", "expired") or self._now(payment) >= payment.expires_at:
            return Paying("expired")
        if card.does == "declined" or (again and card.does == "once"):
            tried = await self._change(
                ident, lambda row: replace(row, state="declined", tries=row.tries + 1, card="")
            )
            assert tried is not None, "a payment is never deleted"
            return Paying(
                "declined",
                self._events(tried, f"declined.{tried.tries}", (declined(tried, card, self._now(tried)),)),
                card.code,
            )
        if card.does == "confirms":
            await self._change(ident, lambda row: replace(row, state="confirming", card=card.number))
            return Paying("confirming")
        return await self._take(payment, card)

    async def _take(self, payment: EmbeddedPayment, card: Card) -> Paying:
        at = self._now(payment)

        def paid(row: EmbeddedPayment) -> EmbeddedPayment:
            if row.state not in ("open", "confirming", "declined"):
                return row
            row = replace(
                row, state="paid", card=card.number, paid_at=at, warned=card.does == "suspected",
                dispute="open" if card.does == "disputes" else None,
            )  # fmt: skip
            if row.interval is None:
                return row
            anchor = at + row.trial_days * DAY_MS
            row = replace(row, anchor=anchor, billed=0 if row.trial_days else 1)
            return replace(row, next_at=anchor if row.trial_days else billing.period(row, 0)[1])

        found = await self._change(payment.id, paid)
        assert found is not None, "a payment is never deleted"
        return Paying(
            found.state, self._events(found, "paid", self._facts.everything(found, self._now(found)))
        )

    async def _collect(self, payment: EmbeddedPayment, at: int) -> Paying:
        """Try to take the money of the next invoice at `at`; idle where somebody else was first."""
        if self._collects(payment):
            found = await self._change(payment.id, lambda row: billing.billed(row, payment))
            if found is None or found.billed == payment.billed:
                return Paying("idle")
            fact = self._facts.invoice_paid(found, "cycle", at, found.recurring, None)
            return Paying("paid", self._events(found, f"invoice.paid.{found.billed}", (fact,)))
        found = await self._change(payment.id, lambda row: billing.failed(row, payment, at))
        if found is None or found.failures == payment.failures:
            return Paying("idle")
        facts: list[h.AnyHappening] = [
            h.InvoiceFailed(
                at=at, organization=found.organization, subscription=found.id,
                invoice=f"{found.id}-{found.billed + 1}", amount=found.recurring, currency=found.currency,
            )
        ]  # fmt: skip
        if found.ended:
            facts.append(self._facts.standing(found, at))
        name = f"invoice.failed.{found.billed + 1}.{found.failures}"
        return Paying("declined", self._events(found, name, tuple(facts)), "card_declined")

    def _collects(self, payment: EmbeddedPayment) -> bool:
        card = BY_NUMBER.get(payment.card)
        return card is not None and card.does not in ("declined", "once")

    def _now(self, payment: EmbeddedPayment, least: int = 0) -> int:
        """The time of an event: never before what it follows, whose account may be on a clock of its own."""
        return max(self._clock.now(), payment.created_at, payment.paid_at or 0, least)

    def _events(
        self, payment: EmbeddedPayment, name: str, facts: Sequence[h.AnyHappening]
    ) -> tuple[Inbound, ...]:
        """The facts as one signed event, ready to be handed to the webhook's way in."""
        return self._signing.events(payment.id, name, facts)
