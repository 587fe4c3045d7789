"""Facts: what the embedded provider says of a payment, as the happenings that all providers share."""

from __future__ import annotations

from hashlib import blake2b

from msgspec.structs import replace

from tokentill.rules import happenings as h
from tokentill.rules.purchases import Purchase
from tokentill.rules.rows import Draft, EmbeddedPayment
from tokentill.vendors.embedded.billing import period, period_end
from tokentill.vendors.embedded.cards import Card


class Facts:
    """Facts of payments; `key` makes the fingerprints of cards."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def everything(self, payment: EmbeddedPayment, now: int) -> tuple[h.AnyHappening, ...]:
        """Everything that is known of a payment."""
        facts: list[h.AnyHappening] = []
        whose = {"purchase": payment.purchase, "organization": payment.organization}
        if payment.paid_at is None:
            over = payment.state in ("cancelled", "expired") or now >= payment.expires_at
            return (h.Ended(at=now, checkout=payment.id, **whose),) if over else ()
        if payment.interval is None:
            facts.append(
                h.Paid(
                    at=payment.paid_at, payment=payment.id, amount=payment.amount, currency=payment.currency,
                    checkout=payment.id, method=self.fingerprint(payment.card), saved=payment.card,
                    customer=payment.organization, **whose,
                )
            )  # fmt: skip
        else:
            amount = 0 if payment.trial_days else payment.amount
            facts.append(self.invoice_paid(payment, "create", payment.paid_at, amount, payment.purchase))
            facts.append(self.standing(payment, payment.paid_at))
        if payment.warned:
            facts.append(
                h.Suspected(
                    at=payment.paid_at, payment=name_of(payment), warning=f"{payment.id}-warning", **whose
                )
            )
        if payment.dispute is not None:
            facts.append(self.disputed(payment, now))
        if payment.refunded:
            facts.append(self.refunded(payment, now))
        return tuple(facts)

    def refunded(self, payment: EmbeddedPayment, at: int) -> h.Refunded:
        """What was given back of the payment in sum."""
        return h.Refunded(
            at=at, purchase=payment.purchase, organization=payment.organization, payment=name_of(payment),
            refunded=payment.refunded, currency=payment.currency,
        )  # fmt: skip

    def refunded_later(self, payment: EmbeddedPayment, purchase: Purchase, at: int) -> tuple[h.Refunded, ...]:
        """What was given back in sum of the later invoice that paid for the purchase."""
        sums = [amount for invoice, _, amount in payment.invoice_refunds if invoice == purchase.payment]
        if not sums:
            return ()
        refunded = h.Refunded(
            at=at, purchase=purchase.id, organization=payment.organization, payment=purchase.payment or "",
            refunded=sum(sums), currency=payment.currency,
        )  # fmt: skip
        return (refunded,)

    def invoice_paid(
        self, payment: EmbeddedPayment, reason: h.InvoiceReason, at: int, amount: int, purchase: str | None
    ) -> h.InvoicePaid:
        """The invoice of the newest period was paid at `at`; `create` is the subscription's first."""
        if reason == "create" and payment.trial_days:
            assert payment.paid_at is not None, "a trial begins with its first payment"
            start, end, number = payment.paid_at, payment.anchor, 0
        else:
            number = 1 if reason == "create" else payment.billed
            start, end = period(payment, number - 1)
        invoice = (
            f"{payment.id}-{payment.anchor}-{number}" if reason == "update" else f"{payment.id}-{number}"
        )
        return h.InvoicePaid(
            at=at, purchase=purchase, organization=payment.organization, subscription=payment.id,
            invoice=invoice, plan=payment.plan, amount=amount, currency=payment.currency, start=start, end=end,
            reason=reason, payment=invoice, method=self.fingerprint(payment.card),
            customer=payment.organization,
        )  # fmt: skip

    def invoice_drafted(self, payment: EmbeddedPayment, draft: Draft, at: int) -> h.InvoiceDrafted:
        """The next invoice was drafted at `at`."""
        return h.InvoiceDrafted(
            at=at, organization=payment.organization, subscription=payment.id, invoice=draft.invoice, plan=draft.plan,
            start=period(payment, payment.billed)[0],
        )  # fmt: skip

    def invoice_collected(self, payment: EmbeddedPayment, draft: Draft, at: int) -> h.InvoicePaid:
        """What was drafted as the invoice of the newest period was paid at `at`."""
        fact = self.invoice_paid(payment, "cycle", at, draft.owed, None)
        return replace(fact, invoice=draft.invoice, payment=draft.invoice, plan=draft.plan)

    def invoice_failed(self, payment: EmbeddedPayment, draft: Draft, at: int) -> h.InvoiceFailed:
        """The drafted invoice could not be collected at `at`."""
        return h.InvoiceFailed(
            at=at, organization=payment.organization, subscription=payment.id, invoice=draft.invoice,
            amount=draft.owed, currency=payment.currency,
        )  # fmt: skip

    def invoice_voided(self, payment: EmbeddedPayment, draft: Draft, at: int) -> h.InvoiceVoided:
        """The drafted invoice will not be collected."""
        return h.InvoiceVoided(
            at=at, organization=payment.organization, subscription=payment.id, invoice=draft.invoice
        )

    def disputed(self, payment: EmbeddedPayment, at: int) -> h.Disputed:
        """Where the dispute of the payment stands."""
        state: h.DisputeState = (
            "won" if payment.dispute == "won" else "lost" if payment.dispute == "lost" else "open"
        )
        return h.Disputed(
            at=at, purchase=payment.purchase, organization=payment.organization,
            payment=name_of(payment), dispute=f"{payment.id}-dispute", state=state, amount=payment.amount,
            currency=payment.currency,
        )  # fmt: skip

    def standing(self, payment: EmbeddedPayment, at: int) -> h.Subscribed:
        """Where the subscription stands at `at`."""
        return h.Subscribed(
            at=at, purchase=payment.purchase, organization=payment.organization, subscription=payment.id,
            plan=payment.plan, status="ended" if payment.ended else "active", period_end=period_end(payment),
            ends_at=payment.ends_at, ended=payment.ended,
            trial_end=payment.anchor if payment.trial_days else None, customer=payment.organization,
            saved=payment.card,
        )  # fmt: skip

    def fingerprint(self, number: str) -> str:
        """A name for a card that does not tell its number."""
        return blake2b(number.encode(), digest_size=8, key=self._key, person=b"card").hexdigest()


def name_of(payment: EmbeddedPayment) -> str:
    """What a payment is called in facts; that of a subscription is its first invoice."""
    return payment.id if payment.interval is None else f"{payment.id}-1"


def declined(payment: EmbeddedPayment, card: Card, at: int) -> h.Declined:
    """The last try to pay failed."""
    return h.Declined(
        at=at, purchase=payment.purchase, organization=payment.organization, payment=payment.id,
        attempt=f"{payment.id}-{payment.tries}", code=card.code,
    )  # fmt: skip
