"""Objects of Stripe's read as happenings. Pure: values in, facts out.

A payment is named by its payment intent everywhere, because that is what a refund names and what every later
object (charge, refund, dispute, warning) leads to. An object that carries no mark of ours and no subscription
says nothing to us: other software may sell on the same account.

Requirement ids: R-PACK-3, R-PACK-4, R-LIC-1, R-REF-6, R-PLAT-1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tokentill.rules import happenings as h
from tokentill.vendors.stripe.amounts import from_wire
from tokentill.vendors.stripe.orders import ORGANIZATION, PLAN, PURCHASE

Found = Mapping[str, Any]

_REASONS: dict[str, h.InvoiceReason] = {
    "subscription_create": "create",
    "subscription_cycle": "cycle",
    "subscription_update": "update",
}
_DISPUTES: dict[str, h.DisputeState] = {
    "needs_response": "open",
    "under_review": "open",
    "won": "won",
    "lost": "lost",
}
INQUIRIES = frozenset({"warning_needs_response", "warning_under_review"})
"""A bank that only asks: no money has moved, so it is a suspicion and not yet a dispute."""

LOOKUP_PREFIX = "tokentill_plan_"


def ref(value: Any) -> str | None:
    """The id of another object, which Stripe sends alone or, where asked, with the whole object."""
    if isinstance(value, Mapping):
        value = value.get("id")
    return value if isinstance(value, str) and value else None


def owner(found: Found) -> dict[str, str | None]:
    """Our purchase and organization, as the object carries them."""
    marks = found.get("metadata") or {}
    return {"purchase": marks.get(PURCHASE), "organization": marks.get(ORGANIZATION)}


def ours(found: Found) -> bool:
    """Whether the object was made for a purchase of ours."""
    return PURCHASE in (found.get("metadata") or {})


def money(found: Found, field: str) -> tuple[int, str]:
    """An amount in minor units, and its currency."""
    code = str(found["currency"]).upper()
    return from_wire(int(found[field]), code), code


def fingerprint(method: Any) -> str | None:
    """What names the card or account wherever it is used; from a payment method or a charge's details."""
    if not isinstance(method, Mapping):
        return None
    details = method.get(str(method.get("type"))) or {}
    return details.get("fingerprint") if isinstance(details, Mapping) else None


def label(method: Any) -> str | None:
    """What a customer knows the card or account by."""
    if not isinstance(method, Mapping):
        return None
    kind = str(method.get("type"))
    details = method.get(kind) or {}
    if not isinstance(details, Mapping) or not details.get("last4"):
        return kind.replace("_", " ")
    return f"{details.get('brand') or details.get('bank_name') or kind} •••• {details['last4']}"


def session(found: Found, at: int, *, failed: bool = False) -> list[h.AnyHappening]:
    """A checkout of one payment: paid, over, or still to be paid."""
    if not ours(found):
        return []
    if found["status"] == "expired" or failed:
        return [h.Ended(at=at, checkout=found["id"], **owner(found))]
    if found["mode"] != "payment" or found["payment_status"] != "paid":
        return []
    payment = ref(found["payment_intent"])
    if payment is None:
        return []
    amount, code = money(found, "amount_total")
    return [
        h.Paid(
            at=at,
            payment=payment,
            amount=amount,
            currency=code,
            checkout=found["id"],
            customer=ref(found.get("customer")),
            **owner(found),
        )
    ]


def intent(found: Found, at: int) -> list[h.AnyHappening]:
    """A payment intent; its method whole where it was asked for."""
    if not ours(found):
        return []
    if found["status"] == "succeeded":
        method = found.get("payment_method")
        kept = isinstance(method, Mapping) and method.get("customer") is not None
        amount, code = money(found, "amount_received")
        return [
            h.Paid(
                at=at,
                payment=found["id"],
                amount=amount,
                currency=code,
                method=fingerprint(method),
                saved=ref(method) if kept else None,
                customer=ref(found.get("customer")),
                label=label(method),
                **owner(found),
            )
        ]
    return declined(found, at)


def declined(found: Found, at: int) -> list[h.AnyHappening]:
    """The last failed try of a payment intent, if there was one.

    That the customer must confirm is no decline: a checkout takes over (R-SALE-3).
    """
    error = found.get("last_payment_error")
    if not ours(found) or not error or error.get("code") == "authentication_required":
        return []
    method = error.get("payment_method")
    return [
        h.Declined(
            at=at,
            payment=found["id"],
            attempt=ref(error.get("charge")) or f"{found['id']}:{ref(method)}",
            code=error.get("decline_code") or error.get("code") or "declined",
            method=fingerprint(method),
            **owner(found),
        )
    ]


def charge(found: Found, at: int) -> list[h.AnyHappening]:
    """A charge that succeeded: it alone carries the card's fingerprint without asking."""
    payment = ref(found.get("payment_intent"))
    if payment is None or not ours(found) or not found.get("paid"):
        return []
    amount, code = money(found, "amount")
    details = found.get("payment_method_details")
    return [
        h.Paid(
            at=at,
            payment=payment,
            amount=amount,
            currency=code,
            method=fingerprint(details),
            customer=ref(found.get("customer")),
            label=label(details),
            **owner(found),
        )
    ]


def refunds(payment: str, found: Iterable[Found], at: int) -> list[h.AnyHappening]:
    """What was given back of a payment in sum, since its last refund, and each refund that came back undone."""
    facts: list[h.AnyHappening] = []
    sums: dict[str, int] = {}
    last = 0
    for refund in found:
        amount, code = money(refund, "amount")
        if refund["status"] == "succeeded":
            sums[code] = sums.get(code, 0) + amount
            last = max(last, int(refund.get("created") or 0) * 1000)
        elif refund["status"] == "failed":
            why = refund.get("failure_reason") or "failed"
            facts.append(
                h.RefundFailed(
                    at=at, payment=payment, refund=refund["id"], amount=amount, currency=code, code=why
                )
            )
    at = last or at
    facts += [h.Refunded(at=at, payment=payment, refunded=sum_, currency=code) for code, sum_ in sums.items()]
    return facts


def dispute(found: Found, at: int) -> list[h.AnyHappening]:
    """A dispute, or a bank's mere question."""
    payment = ref(found.get("payment_intent")) or ref(found.get("charge"))
    assert payment is not None, "a dispute has a charge"
    if found["status"] in INQUIRIES:
        return [h.Suspected(at=at, payment=payment, warning=found["id"], **owner(found))]
    state = _DISPUTES.get(found["status"])
    if state is None:
        return []
    amount, code = money(found, "amount")
    return [
        h.Disputed(
            at=at,
            payment=payment,
            dispute=found["id"],
            state=state,
            amount=amount,
            currency=code,
            **owner(found),
        )
    ]


def warning(found: Found, at: int) -> list[h.AnyHappening]:
    """An early fraud warning."""
    payment = ref(found.get("payment_intent")) or ref(found.get("charge"))
    assert payment is not None, "a warning has a charge"
    return [h.Suspected(at=at, payment=payment, warning=found["id"])]


def plan_of(price: Found, marks: Mapping[str, str]) -> str | None:
    """Our plan id: as the price says it, else its product, else what the subscription was begun with."""
    lookup = price.get("lookup_key") or ""
    if lookup.startswith(LOOKUP_PREFIX):
        return str(lookup.removeprefix(LOOKUP_PREFIX))
    product = price.get("product")
    of_product = product.get("metadata") if isinstance(product, Mapping) else None
    for known in (price.get("metadata"), of_product, marks):
        if known and PLAN in known:
            return str(known[PLAN])
    return None


def subscription(found: Found, at: int) -> list[h.AnyHappening]:
    """Where a subscription stands; its price's product whole."""
    marks = found.get("metadata") or {}
    items = found["items"]["data"]
    period_end = max((item["current_period_end"] for item in items), default=None)
    plan = plan_of(items[0]["price"], marks) if items else marks.get(PLAN)
    ended = found["status"] in ("canceled", "incomplete_expired")
    ends_at = found.get("ended_at") if ended else found.get("cancel_at")
    if ends_at is None and found.get("cancel_at_period_end"):
        ends_at = period_end
    if plan is None and not ours(found):
        return []
    return [
        h.Subscribed(
            at=at,
            subscription=found["id"],
            plan=plan,
            status=found["status"],
            period_end=_ms(period_end),
            ends_at=_ms(ends_at),
            ended=ended,
            trial_end=_ms(found.get("trial_end")),
            customer=ref(found.get("customer")),
            saved=ref(found.get("default_payment_method")),
            **owner(found),
        )
    ]


def subscription_of(invoice: Found) -> str | None:
    """The subscription an invoice is of; also as older versions of the API write it."""
    parent = invoice.get("parent") or {}
    details = parent.get("subscription_details") or {}
    return ref(details.get("subscription")) or ref(invoice.get("subscription"))


def invoice_owner(invoice: Found) -> dict[str, str | None]:
    """Our purchase and organization of an invoice.

    The subscription's marks name the purchase it was begun or changed with: of a renewal they are the
    organization's only, since each renewal is a purchase of its own.
    """
    if ours(invoice):
        return owner(invoice)
    parent = invoice.get("parent") or {}
    older = invoice.get("subscription_details") or {}
    marks = (parent.get("subscription_details") or older).get("metadata") or {}
    first = reason(invoice) in ("create", "update")
    return {"purchase": marks.get(PURCHASE) if first else None, "organization": marks.get(ORGANIZATION)}


def foreign(invoice: Found) -> bool:
    """Whether an invoice is of something that is not sold here."""
    return subscription_of(invoice) is None or invoice_owner(invoice)["organization"] is None


def marks_of(invoice: Found) -> Mapping[str, str]:
    """What the subscription was marked with when the invoice was made."""
    parent = invoice.get("parent") or {}
    return (parent.get("subscription_details") or {}).get("metadata") or {}


def reason(invoice: Found) -> h.InvoiceReason:
    """Why there is an invoice."""
    return _REASONS.get(invoice.get("billing_reason") or "", "other")


def invoice_line(invoice: Found) -> Found | None:
    """The line of an invoice that pays for a period of the plan: of several the one that ends last."""
    lines = [
        line
        for line in invoice["lines"]["data"]
        if (line.get("parent") or {}).get("type") == "subscription_item_details"
        and not line["parent"]["subscription_item_details"].get("proration")
    ]
    return max(lines, key=lambda line: (line["period"]["end"], line["id"]), default=None)


def line_price(line: Found) -> str | None:
    """The price a line is of."""
    details = (line.get("pricing") or {}).get("price_details") or {}
    return ref(details.get("price"))


def invoice_intent(invoice: Found) -> str | None:
    """The payment that paid an invoice; None where nothing was due."""
    for paid in (invoice.get("payments") or {}).get("data", ()):
        if paid["status"] == "paid" and paid["payment"]["type"] == "payment_intent":
            return ref(paid["payment"]["payment_intent"])
    return None


def paid_at(invoice: Found) -> int:
    """When an invoice was paid, milliseconds."""
    return int(invoice["status_transitions"]["paid_at"] or invoice["created"]) * 1000


def _ms(seconds: int | None) -> int | None:
    return None if seconds is None else seconds * 1000
