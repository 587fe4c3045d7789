"""Examples: real requests and answers, shown in the OpenAPI document. Tests hold them to the schemas."""

from __future__ import annotations

from typing import Any

from tokentill.web import shop_examples

_HOLD = "0199f3b2c4d87a51b6e09d3f4c2a1e88"

REQUESTS: dict[str, dict[str, Any]] = {
    "openOrganization": {"id": "acme", "plan": "pro"},
    "reserve": {"feature": "generate_goal", "user": "maria", "quantity": 1},
    "settle": {"tokens": 3},
    "release": {"reason": "failed"},
    "extend": {"timeout_ms": 30000},
    "charge": {"feature": "generate_goal", "user": "maria"},
    "refund": {"reason": "the goal could not be saved"},
    "grant": {"tokens": 500, "origin": "pack", "reference": "order 1042"},
    "adjust": {"tokens": -20, "reason": "counted twice on 3 May"},
    "changePlan": {"plan": "enterprise"},
    "setCap": {"cap": 5000},
    "unblock": {"reason": "a faulty client, mended"},
    "createOperatorKey": {"name": "backend"},
}

REPLIES: dict[str, dict[str, Any]] = {
    "reserve": {
        "operation": _HOLD,
        "kind": "hold",
        "tokens": 3,
        "balance": 197,
        "held": 3,
        "entry": 5,
        "time": 1767225600000,
        "deadline": 1767225635000,
        "output_tokens_max": 2000,
    },
    "settle": {
        "operation": _HOLD,
        "kind": "charge",
        "tokens": 3,
        "balance": 197,
        "held": 0,
        "entry": 6,
        "time": 1767225604000,
    },
    "release": {
        "operation": _HOLD,
        "kind": "release",
        "tokens": 3,
        "balance": 200,
        "held": 0,
        "entry": 6,
        "time": 1767225604000,
        "released": 3,
    },
}

PROBLEMS: dict[str, dict[str, Any]] = {
    "unauthorized": {
        "type": "urn:tokentill:problem:unauthorized",
        "title": "An operator key is needed",
        "status": 401,
        "code": "unauthorized",
        "detail": "This request carries no operator key. Send the header `Authorization: Bearer tt_op_…` with an "
        "operator key that is not revoked.",
    },
    "too_soon": {
        "type": "urn:tokentill:problem:too_soon",
        "title": "Too soon after the last request",
        "status": 429,
        "code": "too_soon",
        "detail": "Requests of a user must be 3 seconds apart. Wait a moment and send it again.",
        "layer": "abuse",
        "filed": "prevented",
        "retry_after_ms": 1800,
        "about": "3000",
    },
    "exhausted": {
        "type": "urn:tokentill:problem:exhausted",
        "title": "Not enough tokens",
        "status": 402,
        "code": "exhausted",
        "detail": "You've reached your limit. Upgrade or purchase credits.",
        "layer": "balance",
        "filed": "prevented",
        "headline": "You've used all your tokens",
        "balance": 2,
        "needed": 3,
        "held": 0,
        "reset_at": 1769904000000,
        "purchase_link": "/account/buy-credits",
        "ways_out": [
            {
                "kind": "pack",
                "label": "Buy 500 tokens ($29)",
                "id": "token_pack_500",
                "tokens": 500,
                "price": 2900,
                "currency": "USD",
                "per_token": "$0.058",
                "link": "/account/buy-credits",
            },
            {
                "kind": "upgrade",
                "label": "Upgrade to Enterprise ($399/mo)",
                "id": "enterprise",
                "tokens": 2000,
                "price": 39900,
                "currency": "USD",
                "per_token": "$0.1995",
                "link": "/account/buy-credits",
            },
            {"kind": "wait", "label": "Wait 12 days for the reset", "days": 12, "at": 1769904000000},
        ],
    },
    "invalid_request": {
        "type": "urn:tokentill:problem:invalid_request",
        "title": "The request is not valid",
        "status": 422,
        "code": "invalid_request",
        "detail": "The field `tokens` is not valid: expected a whole number, got a fraction. Nothing was changed. "
        "Correct the request and send it again.",
        "field": "tokens",
    },
}

REQUESTS |= shop_examples.REQUESTS
REPLIES |= shop_examples.REPLIES
PROBLEMS |= shop_examples.PROBLEMS
