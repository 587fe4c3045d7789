"""Happenings: what a payment provider told us, in words that every provider shares.

A provider's event is read into happenings (`tokentill.ports.Payments.happenings`) and from there on nobody
knows which provider it was. A happening states a fact about one object of the provider. Facts are merged
into the purchase they belong to (`tokentill.rules.purchases`), in whatever order they come and however often:
merging is commutative, associative and idempotent, so no order of events can lead to another end.

`purchase` is our own id where the provider sent it back with the event (metadata, custom_id); where it did
not, the purchase is found by the payment, invoice or subscription that it names. Amounts are minor units of
`currency` (upper case ISO 4217); times epoch milliseconds.

Requirement ids: R-PACK-3, R-LIC-1, R-LIC-3, R-REF-6, R-PLAT-1.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

DisputeState = Literal["open", "won", "lost"]
InvoiceReason = Literal["create", "cycle", "update", "other"]


class Happening(Struct, frozen=True, kw_only=True, tag_field="what"):
    """A fact of the provider's; `at` is when it became true there, not when we heard of it."""

    at: int
    purchase: str | None = None
    organization: str | None = None


class Paid(Happening, frozen=True, kw_only=True, tag="paid"):
    """Money arrived, once: `payment` is what a refund will name, `method` a fingerprint of the card or account.

    What a subscription brings in is told by `InvoicePaid`; of its checkout this tells only what was saved.

    `saved` names a payment method that may be charged again without the customer, `customer` whose it is.
    """

    payment: str
    amount: int
    currency: str
    checkout: str | None = None
    method: str | None = None
    saved: str | None = None
    customer: str | None = None
    label: str | None = None
    """What the customer knows the card or account by."""


class Declined(Happening, frozen=True, kw_only=True, tag="declined"):
    """A try to pay failed; another may still succeed. `code` is the provider's reason."""

    payment: str | None = None
    attempt: str
    """Names this try, so that telling it twice counts once."""
    code: str = "declined"
    method: str | None = None


class Ended(Happening, frozen=True, kw_only=True, tag="ended"):
    """The checkout is over and nothing was paid in it: it expired or was cancelled."""

    checkout: str | None = None


class Refunded(Happening, frozen=True, kw_only=True, tag="refunded"):
    """`refunded` of the payment is given back in sum, this and every earlier refund counted."""

    payment: str
    refunded: int
    currency: str


class RefundFailed(Happening, frozen=True, kw_only=True, tag="refund_failed"):
    """A refund did not reach the customer and never will: a person must give the money back in another way."""

    payment: str
    refund: str
    amount: int
    currency: str
    code: str = "failed"


class Disputed(Happening, frozen=True, kw_only=True, tag="disputed"):
    """The customer's bank wants the money back: opened, or closed with an outcome."""

    payment: str
    dispute: str
    state: DisputeState
    amount: int
    currency: str


class Suspected(Happening, frozen=True, kw_only=True, tag="suspected"):
    """The card network says the payment may be fraud (early fraud warning); no money has moved."""

    payment: str
    warning: str


class InvoiceDrafted(Happening, frozen=True, kw_only=True, tag="invoice_drafted"):
    """The next invoice of a subscription is made and will be collected; until then credit can be applied to it.

    It bills a period of `plan` from `start` on. `at` is when it was made.
    """

    subscription: str
    invoice: str
    plan: str | None
    start: int


class InvoicePaid(Happening, frozen=True, kw_only=True, tag="invoice_paid"):
    """An invoice of a subscription was paid: a period of `plan` may begin, from `start` to `end`.

    `plan` is our plan id as the subscription carries it. A trial's first invoice has amount 0.
    """

    subscription: str
    invoice: str
    plan: str | None
    amount: int
    currency: str
    start: int
    end: int
    reason: InvoiceReason
    payment: str | None = None
    method: str | None = None
    customer: str | None = None


class InvoiceFailed(Happening, frozen=True, kw_only=True, tag="invoice_failed"):
    """An invoice of a subscription could not be collected (R-LIC-1); the provider tries again by itself.

    A first payment (`create`) or an upgrade (`update`) that fails is a declined try: nothing that was paid for ends.
    """

    subscription: str
    invoice: str
    amount: int
    currency: str
    reason: InvoiceReason = "cycle"
    customer: str | None = None


class InvoiceVoided(Happening, frozen=True, kw_only=True, tag="invoice_voided"):
    """The invoice will not be collected any more; its debt is gone."""

    subscription: str
    invoice: str


class Subscribed(Happening, frozen=True, kw_only=True, tag="subscribed"):
    """Where a subscription stands now, read from the provider and not from an old event.

    `ends_at`: it is cancelled as of then; `ended`: it is over. `trial_end`: until when nothing is charged.
    """

    subscription: str
    plan: str | None
    status: str
    period_end: int | None = None
    ends_at: int | None = None
    ended: bool = False
    trial_end: int | None = None
    customer: str | None = None
    saved: str | None = None


AnyHappening = (
    Paid
    | Declined
    | Ended
    | Refunded
    | RefundFailed
    | Disputed
    | Suspected
    | InvoiceDrafted
    | InvoicePaid
    | InvoiceFailed
    | InvoiceVoided
    | Subscribed
)
