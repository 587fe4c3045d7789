"""Errors of the endpoint, in the shapes that OpenAI's and Anthropic's clients understand.

Beside the words that those clients know stands `tokentill`, for programs: which layer refused, when to try again,
what is missing, and every way out with its price and its link, so that a program can buy (R-PLAN-7, R-ABU-7).

    402  tokens are missing, and buying helps      401  no key, or none that works
    429  waiting helps: `Retry-After`              403  this key, plan or licence may not
    404  no such model                             409, 422  the idempotency key: running, gone, used for another
    502, 504  the model failed: nothing is charged

A call that came to nothing has a receipt too: its headers say that nothing was charged, and what is left and held
where the refusal knows it. What says of another call how it stands (the idempotency key) has none.

Requirement ids: R-PLAN-7, R-ABU-7, R-SALE-5.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import structs

from tokentill.flows.gateway.outcome import Trouble, Why, facts
from tokentill.rules.refusals import Code, Refusal
from tokentill.web import problems
from tokentill.web.asgi import JSON, Answer, Headers

STATUS: dict[Why, int] = {
    "unknown_model": 404,
    "key_scope": 403,
    "upstream_failed": 502,
    "upstream_slow": 504,
    "upstream_busy": 503,
    "store_unavailable": 503,
    "running": 409,
    "answer_gone": 409,
    "key_reused": 422,
}
OPENAI_TYPES = {
    400: "invalid_request_error",
    401: "invalid_request_error",
    402: "insufficient_quota",
    403: "permission_error",
    404: "invalid_request_error",
    409: "conflict_error",
    413: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
}
ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "invalid_request_error",
    413: "request_too_large",
    422: "invalid_request_error",
    429: "rate_limit_error",
    503: "overloaded_error",
}
_OF_ANOTHER: frozenset[Why] = frozenset({"running", "answer_gone", "key_reused"})
_NO_RETRY = (b"x-should-retry", b"false")
"""Both clients repeat some errors by themselves, unless they are told that it is of no use."""

encode = msgspec.json.Encoder().encode


def shape(
    kind: str,
    status: int,
    code: str,
    message: str,
    field: str | None = None,
    more: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The body of an error; `kind` messages = in Anthropic's shape, else in OpenAI's."""
    error: dict[str, Any] = {"message": message}
    if kind == "messages":
        error = {"type": ANTHROPIC_TYPES.get(status, "api_error"), **error, "code": code}
    else:
        error |= {"type": OPENAI_TYPES.get(status, "server_error"), "param": field, "code": code}
    if more:
        error["tokentill"] = more
    return {"type": "error", "error": error} if kind == "messages" else {"error": error}


def answer(
    kind: str,
    status: int,
    code: str,
    message: str,
    headers: Headers = (),
    field: str | None = None,
    more: dict[str, Any] | None = None,
) -> Answer:
    """An error as an answer."""
    return Answer(status, encode(shape(kind, status, code, message, field, more)), JSON, headers, code)


def of_trouble(kind: str, trouble: Trouble, address: str) -> Answer:
    """The answer to a call that came to nothing."""
    if trouble.refusal is not None:
        return of_refusal(kind, trouble.refusal, address)
    status, code = status_of(trouble)
    headers: Headers = () if trouble.why in _OF_ANOTHER else _receipt()
    if trouble.retry_after_ms is not None:
        headers = (*headers, problems.retry_after(trouble.retry_after_ms))
    elif trouble.why == "answer_gone":
        headers = (_NO_RETRY,)
    return answer(kind, status, code, trouble.message, headers)


def status_of(trouble: Trouble) -> tuple[int, str]:
    """Status and code of what is no refusal of the till's."""
    return STATUS[trouble.why], "model_not_found" if trouble.why == "unknown_model" else trouble.why


def of_refusal(kind: str, refusal: Refusal, address: str) -> Answer:
    """The answer to a call that the till refused, with everything that is needed to go on."""
    status = problems.STATUS[refusal.code]
    code = "insufficient_quota" if status == 402 else str(refusal.code)
    more: dict[str, Any] = {"code": refusal.code, "layer": refusal.layer, "filed": refusal.status}
    for name in ("headline", "balance", "needed", "held", "reset_at", "retry_after_ms"):
        value = getattr(refusal, name)
        if value is not None:
            more[name] = value
    if refusal.purchase_link is not None:
        more["buy_link"] = _whole(refusal.purchase_link, address)
    if refusal.ways_out:
        more["offers"] = [_offer(structs.asdict(way), address) for way in refusal.ways_out]
    ms = refusal.retry_after_ms
    if status == 429:
        ms = 1_000 if ms is None else ms
    again = _NO_RETRY if ms is None else problems.retry_after(ms)
    # A key with a limit of its own says in the body what is left of that.
    known = {"balance": refusal.balance, "held": refusal.held} if refusal.layer == "balance" else {}
    headers = (*_receipt(**known), again)
    return answer(kind, status, code, refusal.message, headers, _field(refusal), more)


def _receipt(**known: int | None) -> Headers:
    """The headers of the receipt of a call that came to nothing."""
    told = {"charged": 0} | {name: value for name, value in known.items() if value is not None}
    return tuple((name.encode(), value.encode()) for name, value in facts(told))


def _field(refusal: Refusal) -> str | None:
    return refusal.detail if refusal.code is Code.INVALID else None


def _offer(way: dict[str, Any], address: str) -> dict[str, Any]:
    """A way out, without what it does not say and with a link that can be opened from anywhere."""
    found = {name: value for name, value in way.items() if value is not None}
    if "link" in found:
        found["link"] = _whole(found["link"], address)
    return found


def _whole(link: str, address: str) -> str:
    return address + link if link.startswith("/") else link
