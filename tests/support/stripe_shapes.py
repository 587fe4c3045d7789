"""Requests to a lab without a socket, and what it made held to the SDK's classes."""

from __future__ import annotations

from typing import Any

from tests.support import stripe_types
from tokentill.lab.stripe import StripeLab
from tokentill.lab.stripe.world import API_VERSION

CLASSES = {
    "billing_portal.session": ("billing_portal/_session", "Session"),
    "charge": ("_charge", "Charge"),
    "checkout.session": ("checkout/_session", "Session"),
    "coupon": ("_coupon", "Coupon"),
    "customer": ("_customer", "Customer"),
    "dispute": ("_dispute", "Dispute"),
    "event": ("_event", "Event"),
    "invoice": ("_invoice", "Invoice"),
    "invoice_payment": ("_invoice_payment", "InvoicePayment"),
    "invoiceitem": ("_invoice_item", "InvoiceItem"),
    "payment_intent": ("_payment_intent", "PaymentIntent"),
    "payment_method": ("_payment_method", "PaymentMethod"),
    "price": ("_price", "Price"),
    "product": ("_product", "Product"),
    "radar.early_fraud_warning": ("radar/_early_fraud_warning", "EarlyFraudWarning"),
    "refund": ("_refund", "Refund"),
    "subscription": ("_subscription", "Subscription"),
    "subscription_schedule": ("_subscription_schedule", "SubscriptionSchedule"),
    "webhook_endpoint": ("_webhook_endpoint", "WebhookEndpoint"),
}
"""Every kind of object the lab makes, and the SDK's class for it."""


def misshapen(lab: StripeLab) -> list[str]:
    """What of the lab's objects is not as the SDK's classes say."""
    return sorted(
        {
            f"{kind}: {problem}"
            for kind, objects in lab.world.tables.items()
            for found in objects.values()
            for problem in stripe_types.problems(found, *CLASSES[kind])
        }
    )


def session(mode: str, line: dict[str, str]) -> dict[str, str]:
    """The form of a checkout session of one line with a price of its own."""
    data = {
        f"line_items[0][price_data][{name}]".replace("[product_data[name]]", "[product_data][name]")
        .replace("[recurring[interval]]", "[recurring][interval]"): value
        for name, value in line.items()
    }  # fmt: skip
    return {"mode": mode, "success_url": "https://shop.test/", "line_items[0][quantity]": "1", **data}


async def post(lab: StripeLab, path: str, form: dict[str, str]) -> dict[str, Any]:
    """The answer to a POST, which must be a good one."""
    body = "&".join(f"{name}={value}" for name, value in form.items()).encode()
    headers = {"authorization": f"Bearer {lab.key}", "stripe-version": API_VERSION}
    answer = await lab.api.answer("POST", f"/v1/{path}", headers, body)
    assert answer.status == 200, answer.body
    return answer.body
