"""What the lab made, held to the SDK's classes: shared by the tests that make objects of every kind."""

from __future__ import annotations

from tests.support import stripe_types
from tokentill.lab.stripe import StripeLab

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
