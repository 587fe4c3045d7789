"""OpenAPI: the document of the API, written off the table of routes, so that it cannot forget one.

Every problem a route can answer stands under its status with the codes that lead there; the schemas are the
very types that are read and written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from tokentill import __version__
from tokentill.rules import names
from tokentill.rules.refusals import Code
from tokentill.web import examples, problems
from tokentill.web.routes import ORG, Route

_REF = "#/components/schemas/{name}"
_RULE = re.compile(r"\s*\((?:R-[A-Z]+-[0-9]+(?:, )?)+\)")

_TEXTS = {
    "Balance": "The balance. remaining + set_aside = monthly + additional - used - reserved. monthly: this period's "
    "plan tokens, carried ones included. additional: bought and given tokens as they stood when the period began, plus "
    "what came since. used, reserved: of these, in this period. remaining: free to spend now. set_aside: kept and not "
    "to be spent: everything while payment is failed, and at any time lots_set_aside, what single lots have that a "
    "refund or a dispute in progress is about. held also counts holds that outlived their lot or reach beyond it. "
    "credit is money credit in minor units. overage_amount is what this period's overage costs so far.",
    "Receipt": "The answer to a command that was done. operation: its id, which is also the hold's id. kind: the "
    "journal's word (hold, charge, release, refund, purchase, …). tokens: what it moved. balance: free tokens after "
    "it; held: reserved ones. released: tokens a partial settle gave back. deadline: until when the hold lasts. "
    "beyond: tokens that came from no lot, costing amount minor units. output_tokens_max: the cap to ask of the "
    "model. entry: number of the journal's entry. lot: number of the lot that was made.",
    "Rollover": "What happens to unused plan tokens at a reset. cap: the most that is carried over; null where it "
    "is capped means one period's allowance.",
}
"""Descriptions for readers of the API where the source speaks to its maintainers."""

_PARAMS = {
    "org": ("The organization's id.", names.NAME_CHARS_MAX),
    "user": ("The user's id, as the host knows it.", names.NAME_CHARS_MAX),
    "hold": ("The hold's id, or the idempotency key it was reserved with.", names.KEY_CHARS_MAX),
    "operation": ("The operation's id, or the idempotency key it was asked with.", names.KEY_CHARS_MAX),
    "key": ("The operator key's id.", names.KEY_CHARS_MAX),
    "provider": ("The payment provider: stripe, paypal or embedded.", names.KEY_CHARS_MAX),
    "purchase": ("The purchase's id.", names.KEY_CHARS_MAX),
    "refund": ("The refund's id.", names.KEY_CHARS_MAX),
    "method": ("The saved payment method's id.", names.KEY_CHARS_MAX),
    "code": ("The code's id, as lists show it.", names.KEY_CHARS_MAX),
    "endpoint": ("The endpoint's id.", names.KEY_CHARS_MAX),
    "alert": ("The alert's id.", names.ROW_CHARS_MAX),
    "message": ("The message's id.", names.ROW_CHARS_MAX),
    "event": ("The event's id.", names.ROW_CHARS_MAX),
}

_SHOP = frozenset(
    {
        "packs",
        "faq",
        "ratings",
        "tickets",
        "purchases",
        "topup",
        "payment-methods",
        "portal",
        "subscription",
        "codes",
        "clock",
        "refunds",
    }
)
_OFFICE = frozenset(
    {
        "feedback",
        "margin",
        "codes",
        "switches",
        "alerts",
        "events",
        "contact",
        "webhook-endpoints",
        "operator-messages",
        "refunds",
        "reconciliation",
    }
)

_KEY_HEADER = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Names the operation, so that sending the request again does nothing twice and gets the first "
    "answer. The same key with another body is refused with `key_reused`. Without it the till makes an id.",
    # A space within is part of the key; one at an end is not part of a header's value.
    "schema": {
        "type": "string",
        "minLength": 1,
        "maxLength": names.KEY_CHARS_MAX,
        "pattern": "^[!-~]([ -~]*[!-~])?$",
    },
}

_REPLAYED = {
    "Idempotent-Replayed": {
        "description": "`true` where this is the answer of an earlier request.",
        "schema": {"type": "string", "enum": ["true"]},
    }
}

_HEADERS: dict[int, dict[str, Any]] = {
    401: {"WWW-Authenticate": {"description": "How to authenticate.", "schema": {"type": "string"}}},
    429: {
        "Retry-After": {"description": "Whole seconds to wait.", "schema": {"type": "integer", "minimum": 1}}
    },
    503: {
        "Retry-After": {"description": "Whole seconds to wait.", "schema": {"type": "integer", "minimum": 1}}
    },
}

_DESCRIPTION = """The till for AI tokens: reserve before a model runs, settle what it used, release what failed.

Amounts are whole tokens, money is whole minor units of the catalog's currency, times are epoch milliseconds.
Every answer of 400 and above is a problem (RFC 9457) with a stable `type`; `detail` says what happened and
what to do. A refusal names the layer that refused, when a retry can succeed, and every way out with its
price. Every change takes an `Idempotency-Key`.
"""


def document(routes: Sequence[Route]) -> bytes:
    """The OpenAPI 3.1 document as JSON."""
    kinds: set[type[Struct]] = {problems.Problem}
    for route in routes:
        kinds.update(kind for kind in (route.body, route.reply) if kind is not None)
    _, schemas = msgspec.json.schema_components(
        sorted(kinds, key=lambda kind: kind.__name__), ref_template=_REF
    )
    schemas["Problem"]["properties"]["code"]["enum"] = sorted(problems.TITLES)
    for name, text in _TEXTS.items():
        schemas[name]["description"] = text
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    whole = {
        "openapi": "3.1.0",
        "info": {
            "title": "tokentill",
            "version": __version__,
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"operatorKey": []}],
        "paths": paths,
        "components": {
            "schemas": _tidied(schemas),
            "securitySchemes": {
                "operatorKey": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "tt_op_<id>_<secret>_<checksum>",
                }
            },
        },
    }
    return msgspec.json.encode(whole)


def _tidied(value: Any) -> Any:
    """Descriptions without the breaks and the rule numbers of the source."""
    if isinstance(value, dict):
        return {
            name: _text(part) if name == "description" and isinstance(part, str) else _tidied(part)
            for name, part in value.items()
        }
    return [_tidied(part) for part in value] if isinstance(value, list) else value


def _text(docstring: str) -> str:
    paragraphs = re.split(r"\n\s*\n", _RULE.sub("", docstring))
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _operation(route: Route) -> dict[str, Any]:
    found: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "tags": [_tag(route.path)],
        "parameters": [*_path_parameters(route.path), *_query_parameters(route)],
        "responses": {str(route.status): _success(route), **_failures(route)},
    }
    if route.mutates:
        found["parameters"].append(_KEY_HEADER)
    if route.open:
        found["security"] = []
    if route.body is not None:
        content: dict[str, Any] = {"schema": {"$ref": _REF.format(name=route.body.__name__)}}
        if route.name in examples.REQUESTS:
            content["example"] = examples.REQUESTS[route.name]
        required = any(field.required for field in msgspec.structs.fields(route.body))
        found["requestBody"] = {"required": required, "content": {"application/json": content}}
    if route.raw:
        schema = {"type": "object", "description": "As the provider sends it, signed in its headers."}
        found["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return found


def _tag(path: str) -> str:
    parts = [part for part in path.split("/") if part and part[0] != "{"]
    if len(parts) > 2 and parts[2] in ("purchases", "refunds"):
        return "shop"
    if parts[-1] in _OFFICE or (len(parts) > 1 and parts[1] in _OFFICE):
        return "office"
    if len(parts) > 2 and parts[2] in _SHOP:
        return "shop"
    if parts[:2] == ["v1", "organizations"]:
        return parts[2] if len(parts) > 2 and parts[2] in ("holds", "charges", "users") else "organizations"
    return "operator keys" if "operator-keys" in parts else "till"


def _path_parameters(path: str) -> Iterator[dict[str, Any]]:
    for part in path.split("/"):
        if part[:1] == "{":
            name = part[1:-1]
            text, longest = _PARAMS[name]
            schema = {"type": "string", "minLength": 1, "maxLength": longest}
            yield {"name": name, "in": "path", "required": True, "description": text, "schema": schema}


def _query_parameters(route: Route) -> Iterator[dict[str, Any]]:
    if route.query is None:
        return
    _, schemas = msgspec.json.schema_components([route.query], ref_template=_REF)
    for field in msgspec.structs.fields(route.query):
        schema = schemas[route.query.__name__]["properties"][field.encode_name]
        if "anyOf" in schema:
            schema = next(kind for kind in schema["anyOf"] if kind != {"type": "null"})
        yield {"name": field.encode_name, "in": "query", "required": field.required, "schema": schema}


def _success(route: Route) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": route.summary}
    if route.reply is not None:
        content: dict[str, Any] = {"schema": {"$ref": _REF.format(name=route.reply.__name__)}}
        if route.name in examples.REPLIES:
            content["example"] = examples.REPLIES[route.name]
        answer["content"] = {"application/json": content}
    elif route.path == "/metrics":
        answer["content"] = {"text/plain": {"schema": {"type": "string"}}}
    else:
        answer["content"] = {"application/json": {"schema": {"type": "object"}}}
    if route.mutates:
        answer["headers"] = _REPLAYED
    return answer


def _codes(route: Route) -> Iterator[tuple[int, str]]:
    """Every problem the route can answer."""
    for code in route.refusals:
        yield problems.STATUS[code], code
    if route.path.startswith(ORG):
        yield 404, Code.UNKNOWN_ORGANIZATION
    if not route.open:
        yield 401, "unauthorized"
        yield 429, "too_many_wrong_keys"
    yield 422, Code.INVALID
    if route.body is not None:
        yield 400, "malformed_json"
        yield 408, "request_too_slow"
        yield 413, "body_too_large"
        yield 415, "unsupported_media_type"
    if route.raw:
        yield 400, "bad_signature"
        yield 404, "unknown_provider"
        yield 408, "request_too_slow"
        yield 413, "body_too_large"
        yield 503, "provider_unavailable"
    if route.name == "createOperatorKey":
        yield 409, "operator_key_exists"
    if route.name == "revokeOperatorKey":
        yield 404, "unknown_operator_key"
    if route.name == "getHealth":
        yield 503, "unhealthy"
    yield 503, "store_unavailable"
    yield 503, "overloaded"
    yield 503, "shutting_down"
    yield 500, "internal_error"


def _failures(route: Route) -> dict[str, Any]:
    by_status: dict[int, list[str]] = {}
    for status, code in _codes(route):
        by_status.setdefault(status, []).append(code)
    return {str(status): _failure(status, codes) for status, codes in sorted(by_status.items())}


def _failure(status: int, codes: Sequence[str]) -> dict[str, Any]:
    lines = [f"`{code}`: {problems.TITLES[code]}." for code in dict.fromkeys(codes)]
    content: dict[str, Any] = {"schema": {"$ref": _REF.format(name="Problem")}}
    shown = next((code for code in codes if code in examples.PROBLEMS), None)
    if shown is not None:
        content["example"] = examples.PROBLEMS[shown]
    answer = {"description": "\n".join(lines), "content": {"application/problem+json": content}}
    if status in _HEADERS:
        answer["headers"] = _HEADERS[status]
    return answer
