"""Objects of billing as the API answers them: products, prices, subscriptions and their invoices."""

from __future__ import annotations

from typing import Any

from tokentill.lab.stripe.shapes import ADDRESS, base, nulls
from tokentill.lab.stripe.world import Object

NO_TAX = {"disabled_reason": None, "enabled": False, "liability": None}


def product(ident: str, created: int, **values: Any) -> Object:
    """A product."""
    return base(
        "product",
        ident,
        created,
        active=True,
        images=[],
        marketing_features=[],
        type="service",
        updated=created,
        **nulls(
            "default_price description package_dimensions shippable statement_descriptor tax_code unit_label url"
        ),
    ) | dict(values)


def price(ident: str, created: int, amount: int, currency: str, **values: Any) -> Object:
    """A price of a product, for once or again and again."""
    return base(
        "price",
        ident,
        created,
        active=True,
        billing_scheme="per_unit",
        currency=currency,
        tax_behavior="unspecified",
        type="one_time",
        unit_amount=amount,
        unit_amount_decimal=str(amount),
        **nulls("custom_unit_amount lookup_key nickname recurring tiers_mode transform_quantity"),
    ) | dict(values)


def recurring(interval: str, count: int) -> Object:
    """How often a price is paid."""
    return {
        "interval": interval,
        "interval_count": count,
        "meter": None,
        "trial_period_days": None,
        "usage_type": "licensed",
    }


def coupon(ident: str, created: int, **values: Any) -> Object:
    """A coupon."""
    return base(
        "coupon",
        ident,
        created,
        duration="once",
        times_redeemed=0,
        valid=True,
        **nulls("amount_off currency duration_in_months max_redemptions name percent_off redeem_by"),
    ) | dict(values)


def item(ident: str, created: int, of: str, price: Object, start: int, end: int) -> Object:
    """What a subscription is to: one price, and the period it is paid for."""
    plan = {
        "id": price["id"],
        "object": "plan",
        "active": price["active"],
        "amount": price["unit_amount"],
        "amount_decimal": price["unit_amount_decimal"],
        "billing_scheme": "per_unit",
        "created": price["created"],
        "currency": price["currency"],
        "interval": price["recurring"]["interval"],
        "interval_count": price["recurring"]["interval_count"],
        "livemode": False,
        "metadata": dict(price["metadata"]),
        "product": price["product"],
        "usage_type": "licensed",
        **nulls("meter nickname tiers_mode transform_usage trial_period_days"),
    }
    found = base(
        "subscription_item",
        ident,
        created,
        billing_thresholds=None,
        current_period_end=end,
        current_period_start=start,
        discounts=[],
        plan=plan,
        price=price,
        quantity=1,
        subscription=of,
        tax_rates=[],
    )
    del found["livemode"]
    return found


def subscription(ident: str, created: int, **values: Any) -> Object:
    """A subscription."""
    return base(
        "subscription",
        ident,
        created,
        automatic_tax=NO_TAX,
        billing_cycle_anchor=created,
        billing_mode={"type": "flexible", "flexible": {"proration_discounts": "included"}},
        billing_schedules=[],
        cancel_at_period_end=False,
        cancellation_details=nulls("comment feedback reason"),
        collection_method="charge_automatically",
        default_tax_rates=[],
        discounts=[],
        invoice_settings={
            "account_tax_ids": None,
            "custom_fields": None,
            "description": None,
            "footer": None,
            "issuer": {"type": "self"},
        },
        payment_settings={
            "payment_method_options": None,
            "payment_method_types": None,
            "save_default_payment_method": "off",
        },
        start_date=created,
        status="active",
        trial_settings={"end_behavior": {"missing_payment_method": "create_invoice"}},
        **nulls(
            "application application_fee_percent billing_cycle_anchor_config billing_thresholds cancel_at canceled_at "
            "customer_account days_until_due default_payment_method default_source description ended_at "
            "latest_invoice managed_payments next_pending_invoice_item_invoice on_behalf_of pause_collection "
            "pending_invoice_item_interval pending_setup_intent pending_update schedule test_clock transfer_data "
            "trial_end trial_start"
        ),
    ) | dict(values)


def invoice(ident: str, created: int, of: Object, **values: Any) -> Object:
    """An invoice to a customer."""
    return base(
        "invoice",
        ident,
        created,
        account_country="US",
        account_name="tokentill lab",
        amount_due=0,
        amount_overpaid=0,
        amount_paid=0,
        amount_remaining=0,
        amount_shipping=0,
        attempt_count=0,
        attempted=False,
        auto_advance=True,
        automatic_tax={**NO_TAX, "provider": None, "status": None},
        billing_reason="manual",
        collection_method="charge_automatically",
        customer=of["id"],
        customer_email=of["email"],
        customer_name=of["name"],
        customer_tax_exempt="none",
        customer_tax_ids=[],
        default_tax_rates=[],
        discounts=[],
        hosted_invoice_url=None,
        issuer={"type": "self"},
        lines={"object": "list", "data": [], "has_more": False, "url": f"/v1/invoices/{ident}/lines"},
        payment_settings={
            "default_mandate": None,
            "payment_method_options": None,
            "payment_method_types": None,
        },
        period_end=created,
        period_start=created,
        post_payment_credit_notes_amount=0,
        pre_payment_credit_notes_amount=0,
        starting_balance=of["balance"],
        status="draft",
        status_transitions=nulls("finalized_at marked_uncollectible_at paid_at voided_at"),
        subtotal=0,
        total=0,
        total_discount_amounts=[],
        total_pretax_credit_amounts=[],
        total_taxes=[],
        **nulls(
            "account_tax_ids application automatically_finalizes_at custom_fields customer_account "
            "customer_phone customer_shipping default_payment_method default_source description due_date effective_at "
            "ending_balance footer from_invoice invoice_pdf last_finalization_error latest_revision "
            "next_payment_attempt number on_behalf_of parent receipt_number rendering shipping_cost "
            "shipping_details statement_descriptor subtotal_excluding_tax test_clock total_excluding_tax "
            "webhooks_delivered_at"
        ),
        customer_address=nulls(ADDRESS),
    ) | dict(values)


def line(ident: str, of: str, amount: int, price: Object, start: int, end: int, **values: Any) -> Object:
    """A line of an invoice."""
    found = base(
        "line_item",
        ident,
        0,
        amount=amount,
        currency=price["currency"],
        description=None,
        discount_amounts=[],
        discountable=True,
        discounts=[],
        invoice=of,
        parent=None,
        period={"end": end, "start": start},
        pretax_credit_amounts=[],
        pricing={
            "price_details": {"price": price["id"], "product": price["product"]},
            "type": "price_details",
            "unit_amount_decimal": price["unit_amount_decimal"],
        },
        quantity=1,
        subscription=None,
        subtotal=amount,
        taxes=[],
    ) | dict(values)
    del found["created"]
    return found


def invoice_payment(ident: str, created: int, of: Object, intent: str, **values: Any) -> Object:
    """That a payment intent pays, or shall pay, an invoice."""
    found = base(
        "invoice_payment",
        ident,
        created,
        amount_paid=None,
        amount_requested=of["amount_due"],
        currency=of["currency"],
        invoice=of["id"],
        is_default=True,
        payment={"payment_intent": intent, "type": "payment_intent"},
        status="open",
        status_transitions={"canceled_at": None, "paid_at": None},
    ) | dict(values)
    del found["metadata"]
    return found


def schedule(ident: str, created: int, of: Object, phases: list[Object]) -> Object:
    """What a subscription will be to, phase after phase."""
    return base(
        "subscription_schedule",
        ident,
        created,
        billing_mode=of["billing_mode"],
        current_phase={"start_date": phases[0]["start_date"], "end_date": phases[0]["end_date"]},
        customer=of["customer"],
        default_settings={
            "application_fee_percent": None,
            "automatic_tax": NO_TAX,
            "billing_cycle_anchor": "automatic",
            "collection_method": "charge_automatically",
            "default_payment_method": None,
            "default_source": None,
            "description": None,
            "invoice_settings": {
                "account_tax_ids": None,
                "days_until_due": None,
                "issuer": {"type": "self"},
                **nulls("custom_fields description footer"),
            },
            "on_behalf_of": None,
            "transfer_data": None,
            "billing_thresholds": None,
        },
        end_behavior="release",
        pause_schedules=[],
        phases=phases,
        status="active",
        subscription=of["id"],
        **nulls(
            "application canceled_at completed_at customer_account released_at released_subscription test_clock"
        ),
    )


def endpoint(ident: str, created: int, **values: Any) -> Object:
    """Where webhooks go."""
    return base(
        "webhook_endpoint",
        ident,
        created,
        status="enabled",
        **nulls("api_version application description"),
    ) | dict(values)
