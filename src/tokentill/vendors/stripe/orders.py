"""What Stripe is asked for: the parameters of every call, as plain values made from orders.

Everything here follows from its arguments alone, so that a call that is repeated under its key is the same
call (Stripe refuses another one). Our own ids travel as metadata on every object that will be told of again:
the session, the payment intent and with it the charge, the subscription and with it its invoices.

Requirement ids: R-PACK-2, R-PACK-8, R-PLAN-4, R-REF-4, R-SALE-3.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tokentill.ports.shop import Order, VendorRefused
from tokentill.rules.purchases import Purchase
from tokentill.rules.rows import Payer
from tokentill.vendors.stripe.amounts import to_wire

PURCHASE = "tokentill_purchase"
ORGANIZATION = "tokentill_organization"
ITEM = "tokentill_item"
PLAN = "tokentill_plan"
KEY = "tokentill_key"

CREDIT = "Credit"
"""What a customer reads beside the credit that was taken off."""

CREDIT_PRODUCT = "tokentill_unused_share"
"""The product whose name stands beside the credit of an upgrade on the invoice."""

OPEN_SECONDS_MIN = 31 * 60
OPEN_SECONDS_MAX = 23 * 3600
"""How long a checkout may be open. Stripe takes half an hour to a day; the margin is for clocks that differ."""

Params = dict[str, Any]


def marks(purchase: Purchase, *, plan: bool = False) -> dict[str, str]:
    """The metadata that leads from an object of Stripe's to the purchase."""
    found = {PURCHASE: purchase.id, ORGANIZATION: purchase.organization, ITEM: purchase.item}
    return {**found, PLAN: purchase.item} if plan else found


def recurring(order: Order) -> Params:
    """How often a plan is paid."""
    if order.interval == "days":
        return {"interval": "day", "interval_count": order.interval_days}
    return {"interval": order.interval or "month"}


def first_price(order: Order) -> int:
    """What a plan costs without the promotion of its first payment, minor units."""
    return order.purchase.list_amount or order.purchase.amount


def coupon(order: Order) -> Params | None:
    """The discount of the first payment of a plan, None where there is none."""
    purchase = order.purchase
    off = first_price(order) - purchase.amount
    if order.interval is None or order.trial_days or off <= 0:
        return None
    return {
        "amount_off": to_wire(off, purchase.currency),
        "currency": purchase.currency.lower(),
        "duration": "once",
        "max_redemptions": 1,
        "name": purchase.promo or (CREDIT if purchase.credit_used else "Promotion"),
        "metadata": marks(purchase),
    }


def checkout(order: Order, coupon_id: str | None = None) -> Params:
    """A hosted checkout: of one payment, or of a subscription where the order has an interval."""
    purchase = order.purchase
    plan = order.interval is not None
    params: Params = {
        "mode": "subscription" if plan else "payment",
        "client_reference_id": purchase.id,
        "line_items": [_line(order)],
        "success_url": order.success_url,
        "cancel_url": order.cancel_url,
        "metadata": marks(purchase),
    }
    if order.customer is not None:
        params["customer"] = order.customer
    elif order.email is not None:
        params["customer_email"] = order.email
    if purchase.expires_at is not None:
        params["expires_at"] = _open_until(purchase)
    if coupon_id is not None:
        params["discounts"] = [{"coupon": coupon_id}]
    if plan:
        params["subscription_data"] = {"metadata": marks(purchase, plan=True), "description": purchase.title}
        if order.trial_days:
            params["subscription_data"]["trial_period_days"] = order.trial_days
        return params
    params["payment_intent_data"] = {"metadata": marks(purchase), "description": purchase.title}
    if order.save_method:
        params["payment_intent_data"]["setup_future_usage"] = "off_session"
        if order.customer is None:
            params["customer_creation"] = "always"
    return params


def due_at_once(order: Order) -> int:
    """What a checkout must ask for, as Stripe counts it."""
    return 0 if order.trial_days else to_wire(order.purchase.amount, order.purchase.currency)


def _line(order: Order) -> Params:
    purchase = order.purchase
    plan = order.interval is not None
    if order.price_ref is not None and (plan or purchase.list_amount in (0, purchase.amount)):
        return {"price": order.price_ref, "quantity": 1}
    amount = first_price(order) if plan else purchase.amount
    named: Params = {"name": purchase.title}
    data: Params = {
        "currency": purchase.currency.lower(),
        "unit_amount": to_wire(amount, purchase.currency),
        "product_data": named,
    }
    if plan:
        named["metadata"] = {PLAN: purchase.item}
        data["recurring"] = recurring(order)
    return {"price_data": data, "quantity": 1}


def _open_until(purchase: Purchase) -> int:
    """The end of a checkout in seconds, as near to what the purchase says as Stripe takes."""
    assert purchase.expires_at is not None
    created = purchase.created_at // 1000
    wanted = purchase.expires_at // 1000
    return min(max(wanted, created + OPEN_SECONDS_MIN), created + OPEN_SECONDS_MAX)


def charge(order: Order, payer: Payer) -> Params:
    """A payment with a saved method, without the customer at hand (R-SALE-3)."""
    if payer.saved is None or payer.customer is None:
        raise VendorRefused("no_saved_method", "No saved payment method. Let the customer pay in a checkout.")
    purchase = order.purchase
    params: Params = {
        "amount": to_wire(purchase.amount, purchase.currency),
        "currency": purchase.currency.lower(),
        "customer": payer.customer,
        "payment_method": payer.saved,
        "confirm": True,
        "off_session": True,
        "description": purchase.title,
        "metadata": marks(purchase),
        "expand": ["payment_method", "latest_charge"],
    }
    if order.email is not None:
        params["receipt_email"] = order.email
    return params


def new_price(order: Order, full: int, product: str | None) -> Params:
    """The price of a plan for a subscription that exists: the order's own, or one made for `product`."""
    if order.price_ref is not None:
        return {"price": order.price_ref}
    data = {
        "currency": order.purchase.currency.lower(),
        "product": product,
        "recurring": recurring(order),
        "unit_amount": to_wire(full, order.purchase.currency),
    }
    return {"price_data": data}


def change(order: Order, credit: int, item: str, product: str | None) -> Params:
    """A subscription moved to the order's plan now: the new price less our own credit, a new period.

    Stripe prorates nothing. The credit is a negative line on the invoice of this very change, so that either
    both happen or neither does.
    """
    purchase = order.purchase
    price = new_price(order, purchase.amount + credit, product)
    params: Params = {
        "items": [{"id": item, "quantity": 1, **price}],
        "billing_cycle_anchor": {"type": "now"},
        "proration_behavior": "none",
        "expand": ["latest_invoice"],
    }
    if credit:
        share = {
            "currency": purchase.currency.lower(),
            "product": CREDIT_PRODUCT,
            "unit_amount": -to_wire(credit, purchase.currency),
        }
        params["add_invoice_items"] = [{"price_data": share, "quantity": 1}]
    return params


def credit_item(purchase: Purchase, invoice: Mapping[str, Any]) -> Params:
    """The credit of a renewal as a line of its drafted invoice, which lessens what is due (R-REF-4)."""
    return {
        "customer": invoice["customer"],
        "invoice": invoice["id"],
        "amount": -to_wire(purchase.credit_used, purchase.currency),
        "currency": purchase.currency.lower(),
        "description": CREDIT,
        "metadata": marks(purchase),
    }
