"""Facts: what PayPal's objects say, as the happenings that all providers share.

`custom_id` of our orders is the purchase's id. An order whose checkout was closed carries `CLOSED` before it:
PayPal cannot end an order, but it takes no money unless we ask it to, and of such an order we do not.

Requirement ids: R-PACK-3, R-REF-6, R-PLAT-1.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TypeVar
from urllib.parse import urlsplit

from tokentill.ports import VendorDown
from tokentill.rules import happenings as h
from tokentill.vendors.paypal import money, wire

CLOSED = "closed."
LABEL = "PayPal"
OPEN_MS = 3 * 3_600_000
"""How long after its creation a customer can be sent to an order."""
OVER_MS = 2 * OPEN_MS
"""How long after its creation an order that was not captured is over: once sent there, a customer has as long again."""

_TAKEN = frozenset({"COMPLETED", "PARTIALLY_REFUNDED", "REFUNDED"})
_FAILED = frozenset({"DECLINED", "DENIED", "FAILED"})
_NOT_GIVEN = frozenset({"CANCELLED", "FAILED"})
_WON = frozenset({"RESOLVED_SELLER_FAVOUR", "RESOLVED_WITH_PAYOUT", "CANCELED_BY_BUYER", "DENIED"})
_LOST = frozenset({"RESOLVED_BUYER_FAVOUR", "ACCEPTED"})

T = TypeVar("T")


def sure(value: T | None) -> T:
    """The value, which an object of this kind always has."""
    if value is None:
        raise VendorDown("PayPal's answer lacks a part. Ask again later.")
    return value


def minor(amount: wire.Money | None) -> int:
    """Minor units of an amount."""
    given = sure(amount)
    try:
        return money.minor(given.value, given.currency_code)
    except ValueError:
        raise VendorDown("PayPal's answer has an amount that cannot be read. Ask again later.") from None


def purchase_of(custom_id: str | None) -> str | None:
    """Our purchase's id, as it came back."""
    return (custom_id or "").removeprefix(CLOSED) or None


def unit(order: wire.Order) -> wire.Unit:
    """The one thing an order of ours is for."""
    return order.purchase_units[0] if order.purchase_units else wire.Unit()


def closed(order: wire.Order) -> bool:
    """Whether the checkout was closed, so that no money is to be taken."""
    return (unit(order).custom_id or "").startswith(CLOSED)


def payer(order: wire.Order) -> str | None:
    """A fingerprint of the customer's PayPal account, the same in every order; it does not tell which account."""
    wallet = None if order.payment_source is None else order.payment_source.paypal
    account = None if wallet is None else wallet.account_id
    account = account or (None if order.payer is None else order.payer.payer_id)
    if not account:
        return None
    return "paypal-" + blake2b(account.encode(), digest_size=12, person=b"paypal payer").hexdigest()


def up(links: list[wire.Link], kind: str) -> str | None:
    """The id of the `kind` of object (captures, orders) that an object belongs to, if it says so."""
    for link in links:
        parts = urlsplit(link.href).path.split("/")
        if link.rel == "up" and len(parts) >= 2 and parts[-2] == kind and parts[-1]:
            return parts[-1]
    return None


def of_capture(
    capture: wire.Capture, *, order: str | None = None, custom: str | None = None, method: str | None = None
) -> tuple[h.AnyHappening, ...]:
    """A capture that brought money, or failed; nothing while it is pending."""
    purchase = purchase_of(capture.custom_id or custom)
    related = None if capture.supplementary_data is None else capture.supplementary_data.related_ids
    order = order or (None if related is None else related.order_id) or up(capture.links, "orders")
    at = sure(wire.milliseconds(capture.update_time, capture.create_time))
    if capture.status in _TAKEN:
        paid = h.Paid(
            at=at, purchase=purchase, payment=capture.id, amount=minor(capture.amount),
            currency=sure(capture.amount).currency_code, checkout=order, method=method,
            label=LABEL,
        )  # fmt: skip
        return (paid,)
    if capture.status in _FAILED:
        reason = None if capture.status_details is None else capture.status_details.reason
        code = (reason or capture.status).lower()
        return (
            h.Declined(
                at=at, purchase=purchase, payment=capture.id, attempt=capture.id, code=code, method=method
            ),
        )
    return ()


def of_order(order: wire.Order, now: int) -> tuple[h.AnyHappening, ...]:
    """Everything an order tells: what was paid in it and given back, or that it is over."""
    one = unit(order)
    payments = one.payments or wire.Collection()
    facts: list[h.AnyHappening] = []
    for capture in payments.captures:
        facts += of_capture(capture, order=order.id, custom=one.custom_id, method=payer(order))
        facts += _given_back(capture, payments, one.custom_id)
    began = wire.milliseconds(order.create_time)
    over = order.status == "VOIDED" or closed(order) or (began is not None and now >= began + OVER_MS)
    if over and not payments.captures and order.status != "COMPLETED":
        facts.append(h.Ended(at=now, purchase=purchase_of(one.custom_id), checkout=order.id))
    return tuple(facts)


def _given_back(
    capture: wire.Capture, payments: wire.Collection, custom: str | None
) -> tuple[h.AnyHappening, ...]:
    """What was given back of a capture in sum, as its order lists it, and what could not be given back."""
    of_it = [one for one in payments.refunds if up(one.links, "captures") in (capture.id, None)]
    facts: list[h.AnyHappening] = [
        failed(one, capture.id, custom) for one in of_it if one.status in _NOT_GIVEN
    ]
    done = [one for one in of_it if one.status == "COMPLETED"]
    total = sum(minor(one.amount) for one in done)
    total = max([total, *(_total(one) or 0 for one in done)])
    if capture.status == "REFUNDED":
        total = minor(capture.amount)
    if total:
        at = wire.milliseconds(*(one.update_time or one.create_time for one in done), capture.update_time)
        facts.append(
            h.Refunded(
                at=sure(at), purchase=purchase_of(capture.custom_id or custom), payment=capture.id,
                refunded=total, currency=sure(capture.amount).currency_code,
            )
        )  # fmt: skip
    return tuple(facts)


def _total(refund: wire.Refund) -> int | None:
    """What was given back of the capture in sum once this refund was made, if it says so."""
    broken = refund.seller_payable_breakdown
    return (
        None
        if broken is None or broken.total_refunded_amount is None
        else minor(broken.total_refunded_amount)
    )


def failed(refund: wire.Refund, capture: str, custom: str | None = None) -> h.RefundFailed:
    """A refund that will never reach the customer."""
    return h.RefundFailed(
        at=sure(wire.milliseconds(refund.update_time, refund.create_time)),
        purchase=purchase_of(refund.custom_id or custom), payment=capture, refund=refund.id,
        amount=minor(refund.amount), currency=sure(refund.amount).currency_code,
    )  # fmt: skip


def of_refund(refund: wire.Refund, capture: str) -> tuple[h.AnyHappening, ...]:
    """A refund, or a reversal: completed, failed, or (nothing) still pending."""
    if refund.status in _NOT_GIVEN:
        return (failed(refund, capture),)
    if refund.status not in ("", "COMPLETED"):
        return ()
    total = _total(refund)
    back = h.Refunded(
        at=sure(wire.milliseconds(refund.update_time, refund.create_time)), purchase=purchase_of(refund.custom_id),
        payment=capture, refunded=minor(refund.amount) if total is None else max(total, minor(refund.amount)),
        currency=sure(refund.amount).currency_code,
    )  # fmt: skip
    return (back,)


def of_dispute(dispute: wire.Dispute) -> tuple[h.AnyHappening, ...]:
    """Where a dispute stands, for each payment that it is about."""
    at = sure(wire.milliseconds(dispute.update_time, dispute.create_time))
    facts = []
    for about in dispute.disputed_transactions:
        alone = len(dispute.disputed_transactions) == 1
        amount = dispute.dispute_amount if alone else about.gross_amount or dispute.dispute_amount
        facts.append(
            h.Disputed(
                at=at, purchase=purchase_of(about.custom), payment=sure(about.seller_transaction_id),
                dispute=dispute.dispute_id, state=standing(dispute), amount=minor(amount),
                currency=sure(amount).currency_code,
            )
        )  # fmt: skip
    return tuple(facts)


def standing(dispute: wire.Dispute) -> h.DisputeState:
    """Open, or how it ended for us. Where the outcome says neither, the money that was given back says it."""
    outcome = dispute.dispute_outcome or wire.Outcome()
    if dispute.status != "RESOLVED":
        return "open"
    if outcome.outcome_code in _LOST:
        return "lost"
    if outcome.outcome_code in _WON:
        return "won"
    return "lost" if outcome.amount_refunded is not None and minor(outcome.amount_refunded) else "won"
