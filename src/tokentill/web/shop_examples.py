"""Examples of the shop, shown in the OpenAPI document. Tests hold them to the schemas."""

from __future__ import annotations

from typing import Any

_ORDER = "4f1c2b7d9a3e4c5f8b6a7d9e0c1f2a3b"
_AT = 1767225600000

REQUESTS: dict[str, dict[str, Any]] = {
    "buy": {
        "pack": "token_pack_500",
        "user": "maria",
        "email": "maria@acme.example",
        "success_url": "https://app.example.com/thanks?order={purchase}",
        "cancel_url": "https://app.example.com/packs",
    },
    "payInvoice": {"success_url": "https://app.example.com/invoices"},
    "setTopUp": {"threshold": 50, "pack": "token_pack_500", "ceiling": 8000, "use_credit": True},
    "openPortal": {"return_url": "https://app.example.com/billing"},
    "changeSubscription": {"plan": "enterprise"},
    "redeemCode": {"code": "ABCD-EFGH-2345-6789", "user": "maria"},
    "moveClock": {"to": _AT + 31 * 86_400_000},
    "limitApiKey": {"spend_max": 80_000},
    "createCodes": {"batch": "spring fair", "tokens": 40, "count": 2, "valid_days": 365},
    "turnSwitch": {"switch": "packs", "on": False, "reason": "a wrong price"},
    "setContact": {"email": "maria@acme.example", "name": "Maria", "quiet": ["period.started"]},
    "addEndpoint": {
        "url": "https://hooks.example.com/tokentill",
        "events": ["balance.low", "purchase.delivered"],
    },
    "addOwnEndpoint": {"url": "https://acme.example/hooks", "events": []},
}

REPLIES: dict[str, dict[str, Any]] = {
    "buy": {
        "id": _ORDER,
        "kind": "pack",
        "item": "token_pack_500",
        "title": "500 tokens",
        "state": "pending",
        "amount": 2900,
        "currency": "USD",
        "list_amount": 2900,
        "credit": 0,
        "credit_used": 0,
        "refunded": 0,
        "tokens": 500,
        "bonus": 0,
        "valid_days": None,
        "promo": None,
        "provider": "stripe",
        "mode": "checkout",
        "source": "customer",
        "user": "maria",
        "url": "https://checkout.stripe.com/c/pay/cs_test_a1",
        "expires_at": _AT + 1_800_000,
        "created_at": _AT,
        "paid_at": None,
        "delivered_at": None,
        "plan_start": None,
        "plan_end": None,
        "withdrawal_waived_at": None,
        "replaces": None,
        "replaced_by": None,
        "problem": None,
        "flagged": None,
    },
    "getTopUp": {
        "enabled": True,
        "threshold": 50,
        "pack": "token_pack_500",
        "ceiling": 8000,
        "use_credit": True,
        "currency": "USD",
        "month": "2026-01",
        "spent": 2900,
        "purchase": None,
        "stopped": None,
        "stopped_at": None,
        "stopped_text": None,
    },
    "getSubscription": {
        "plan": "pro",
        "scheduled": False,
        "scheduled_plan": None,
        "provider": "stripe",
        "status": "active",
        "amount": 14900,
        "currency": "USD",
        "period_end": _AT + 31 * 86_400_000,
        "next_plan": None,
        "ends_at": None,
        "trial_end": None,
    },
    "createCodes": {
        "batch": "spring fair",
        "tokens": 40,
        "codes": ["ABCD-EFGH-2345-6789", "HGFE-DCBA-9876-5432"],
    },
    "listSwitches": {
        "switches": [
            {"switch": "packs", "on": False, "reason": "a wrong price", "actor": "backend", "at": _AT},
            {"switch": "plans", "on": True, "reason": "", "actor": "", "at": None},
        ]
    },
    "addEndpoint": {
        "id": "0199f3b2c4d87a51b6e09d3f4c2a1e88",
        "url": "https://hooks.example.com/tokentill",
        "events": ["balance.low", "purchase.delivered"],
        "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=",
    },
    "listPaymentMethods": {
        "methods": [
            {
                "id": "2ff4276c02055329bfa772af43d25f94",
                "provider": "stripe",
                "label": "visa 4242",
                "used_at": _AT,
            }
        ]
    },
    "moveClock": {"time": _AT + 31 * 86_400_000, "invoices": 1},
}

PROBLEMS: dict[str, dict[str, Any]] = {
    "pack_limit": {
        "type": "urn:tokentill:problem:pack_limit",
        "title": "Too many packs in a short time",
        "status": 429,
        "code": "pack_limit",
        "detail": "At most 2 packs can be bought within 24 hours. Try again when the limit lets you.",
        "layer": "abuse",
        "filed": "prevented",
        "retry_after_ms": 5_400_000,
    },
    "payment_declined": {
        "type": "urn:tokentill:problem:payment_declined",
        "title": "The payment was declined",
        "status": 402,
        "code": "payment_declined",
        "detail": "The payment was declined (card_declined). Nothing was bought. Pay by a checkout, or with another "
        "method.",
        "about": _ORDER,
        "layer": "request",
        "filed": "prevented",
    },
}
