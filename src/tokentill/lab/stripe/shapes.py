"""Objects of payments as the API answers them, with every field that clients may look for.

Each function makes one whole object from what is particular to it; what nobody sets here is null, as at Stripe.
Tests hold them to the published fixtures and to the types of the official SDK.
"""

from __future__ import annotations

from typing import Any

from tokentill.lab.stripe.world import Object


def nulls(names: str) -> Object:
    """Fields that are null."""
    return dict.fromkeys(names.split())


def base(kind: str, ident: str, created: int, **values: Any) -> Object:
    """What nearly every object has."""
    return {"id": ident, "object": kind, "created": created, "livemode": False, "metadata": {}, **values}


def empty(url: str) -> Object:
    """A list without anything in it."""
    return {"object": "list", "data": [], "has_more": False, "url": url}


ADDRESS = "city country line1 line2 postal_code state"


def customer(ident: str, created: int, **values: Any) -> Object:
    """A customer."""
    return base(
        "customer",
        ident,
        created,
        **nulls(
            "address currency customer_account default_source description discount email name phone shipping "
            "test_clock"
        ),
        balance=0,
        delinquent=False,
        invoice_prefix=ident[-8:].upper(),
        invoice_settings=nulls("custom_fields default_payment_method footer rendering_options"),
        next_invoice_sequence=1,
        preferred_locales=[],
        tax_exempt="none",
    ) | dict(values)


def payment_method(ident: str, created: int, brand: str, last4: str, mark: str, **values: Any) -> Object:
    """A card; `mark` is its fingerprint."""
    details = {
        "brand": brand,
        "checks": {"address_line1_check": None, "address_postal_code_check": None, "cvc_check": "pass"},
        "country": "US",
        "display_brand": brand,
        "exp_month": 12,
        "exp_year": 2099,
        "fingerprint": mark,
        "funding": "credit",
        "generated_from": None,
        "last4": last4,
        "networks": {"available": [brand], "preferred": None},
        "regulated_status": "unregulated",
        "three_d_secure_usage": {"supported": True},
        "wallet": None,
    }
    person = {"address": nulls(ADDRESS), **nulls("email name phone tax_id")}
    return base(
        "payment_method",
        ident,
        created,
        allow_redisplay="unspecified",
        billing_details=person,
        card=details,
        customer=None,
        customer_account=None,
        type="card",
    ) | dict(values)


def intent(ident: str, created: int, amount: int, currency: str, **values: Any) -> Object:
    """A payment intent."""
    return base(
        "payment_intent",
        ident,
        created,
        amount=amount,
        amount_capturable=0,
        amount_details={"tip": {}},
        amount_received=0,
        automatic_payment_methods=None,
        capture_method="automatic_async",
        client_secret=f"{ident}_secret_lab",
        confirmation_method="automatic",
        currency=currency,
        payment_method_options={"card": {"request_three_d_secure": "automatic"}},
        payment_method_types=["card"],
        status="requires_payment_method",
        **nulls(
            "application application_fee_amount canceled_at cancellation_reason customer customer_account "
            "description excluded_payment_method_types last_payment_error latest_charge managed_payments "
            "next_action on_behalf_of payment_method payment_method_configuration_details processing "
            "receipt_email review setup_future_usage shipping source statement_descriptor "
            "statement_descriptor_suffix transfer_data transfer_group"
        ),
    ) | dict(values)


def charge(ident: str, created: int, of: Object, method: Object, **values: Any) -> Object:
    """A charge of a payment intent by a payment method."""
    card = {
        key: method["card"][key]
        for key in ("brand", "country", "exp_month", "exp_year", "fingerprint", "funding", "last4")
    }
    return base(
        "charge",
        ident,
        created,
        amount=of["amount"],
        amount_captured=of["amount"],
        amount_refunded=0,
        billing_details=method["billing_details"],
        calculated_statement_descriptor="TOKENTILL LAB",
        captured=True,
        currency=of["currency"],
        customer=of["customer"],
        description=of["description"],
        disputed=False,
        fraud_details={},
        outcome={
            "advice_code": None,
            "network_advice_code": None,
            "network_decline_code": None,
            "network_status": "approved_by_network",
            "reason": None,
            "risk_level": "normal",
            "seller_message": "Payment complete.",
            "type": "authorized",
        },
        paid=True,
        payment_intent=of["id"],
        payment_method=method["id"],
        payment_method_details={
            "card": {
                **card,
                "amount_authorized": of["amount"],
                "checks": method["card"]["checks"],
                "network": card["brand"],
                "regulated_status": "unregulated",
                **nulls(
                    "authorization_code installments mandate network_token network_transaction_id "
                    "three_d_secure transaction_link_id wallet"
                ),
            },
            "type": "card",
        },
        receipt_email=of["receipt_email"],
        receipt_url=f"https://pay.stripe.com/receipts/{ident}",
        refunded=False,
        status="succeeded",
        **nulls(
            "application application_fee application_fee_amount balance_transaction failure_balance_transaction "
            "failure_code failure_message on_behalf_of receipt_number review shipping source source_transfer "
            "statement_descriptor statement_descriptor_suffix transfer_data transfer_group"
        ),
    ) | {"metadata": dict(of["metadata"]), **values}


def refund(ident: str, created: int, of: Object, amount: int, **values: Any) -> Object:
    """A refund of a charge."""
    found = base(
        "refund",
        ident,
        created,
        amount=amount,
        charge=of["id"],
        currency=of["currency"],
        customer=of["customer"],
        destination_details={
            "card": {"reference_status": "pending", "reference_type": "unknown", "type": "refund"},
            "type": "card",
        },
        payment_intent=of["payment_intent"],
        payment_method=of["payment_method"],
        status="succeeded",
        **nulls(
            "balance_transaction customer_account reason receipt_number source_transfer_reversal transfer_reversal"
        ),
    ) | dict(values)
    del found["livemode"]
    return found


EVIDENCE = (
    "access_activity_log billing_address cancellation_policy cancellation_policy_disclosure cancellation_rebuttal "
    "customer_communication customer_email_address customer_name customer_purchase_ip customer_signature "
    "duplicate_charge_documentation duplicate_charge_explanation duplicate_charge_id product_description receipt "
    "refund_policy refund_policy_disclosure refund_refusal_explanation service_date service_documentation "
    "shipping_address shipping_carrier shipping_date shipping_documentation shipping_tracking_number "
    "uncategorized_file uncategorized_text"
)


def dispute(ident: str, created: int, of: Object, **values: Any) -> Object:
    """A dispute of a charge."""
    return base(
        "dispute",
        ident,
        created,
        amount=of["amount"],
        balance_transactions=[],
        charge=of["id"],
        currency=of["currency"],
        enhanced_eligibility_types=[],
        evidence={**nulls(EVIDENCE), "enhanced_evidence": {}},
        evidence_details={
            "due_by": created + 7 * 86_400,
            "enhanced_eligibility": {},
            "has_evidence": False,
            "past_due": False,
            "submission_count": 0,
            "submission_method": "not_submitted",
        },
        is_charge_refundable=False,
        payment_intent=of["payment_intent"],
        payment_method_details={
            "card": {
                "brand": "visa",
                "case_type": "chargeback",
                "network_reason_code": "10.4",
                "network": "visa",
            },
            "type": "card",
        },
        reason="fraudulent",
        status="needs_response",
    ) | dict(values)


def warning(ident: str, created: int, of: Object) -> Object:
    """An early fraud warning of a charge."""
    found = base(
        "radar.early_fraud_warning",
        ident,
        created,
        actionable=True,
        charge=of["id"],
        fraud_type="made_with_stolen_card",
        payment_intent=of["payment_intent"],
    )
    del found["metadata"]
    return found


def session(ident: str, created: int, **values: Any) -> Object:
    """A checkout session."""
    return base(
        "checkout.session",
        ident,
        created,
        adaptive_pricing={"enabled": False},
        automatic_tax={"enabled": False, "liability": None, "provider": None, "status": None},
        collected_information=nulls("business_name individual_name shipping_details"),
        custom_fields=[],
        custom_text=nulls("after_submit shipping_address submit terms_of_service_acceptance"),
        discounts=[],
        expires_at=created + 86_400,
        invoice_creation=None,
        payment_method_collection="always",
        payment_method_options={},
        payment_method_types=["card"],
        payment_status="unpaid",
        phone_number_collection={"enabled": False},
        saved_payment_method_options=None,
        shipping_options=[],
        status="open",
        ui_mode="hosted_page",
        url=f"https://checkout.stripe.com/c/pay/{ident}",
        **nulls(
            "after_expiration allow_promotion_codes amount_subtotal amount_total billing_address_collection "
            "cancel_url client_reference_id client_secret consent consent_collection currency currency_conversion "
            "customer customer_account customer_creation customer_details customer_email integration_identifier "
            "invoice locale managed_payments mode origin_context payment_intent payment_link "
            "payment_method_configuration_details permissions recovered_from setup_intent "
            "shipping_address_collection shipping_cost submit_type subscription success_url total_details "
            "wallet_options"
        ),
    ) | dict(values)


def portal(ident: str, created: int, **values: Any) -> Object:
    """A visit to the customer portal."""
    found = base(
        "billing_portal.session",
        ident,
        created,
        configuration="bpc_lab",
        url=f"https://billing.stripe.com/p/session/{ident}",
        **nulls("customer customer_account flow locale on_behalf_of return_url"),
    ) | dict(values)
    del found["metadata"]
    return found
