"""Problems: every answer of 400 and above, in the one shape of RFC 9457, and the status of each refusal.

`type` is `urn:tokentill:problem:<code>` and never changes its meaning; `detail` says in plain sentences what
happened, what it means and what to do. A refusal's own fields stand beside them, so that a program can act:
which layer refused, when to retry, what is missing and every way out with its price (R-PLAN-7, R-ABU-7).
HTTP status codes for refusals exist here and nowhere else.

Requirement ids: R-PLAN-7, R-ABU-7.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from tokentill.rules.keys import redact
from tokentill.rules.refusals import Code, Layer, Refusal, Status, WayOut
from tokentill.web.asgi import CLOSE, PROBLEM_JSON, Answer, Headers

URN = "urn:tokentill:problem:"

STATUS: dict[Code, int] = {
    Code.INVALID: 422,
    Code.UNKNOWN_ORGANIZATION: 404,
    Code.ORGANIZATION_EXISTS: 409,
    Code.KEY_REUSED: 422,
    Code.UNKNOWN_FEATURE: 404,
    Code.UNKNOWN_PLAN: 404,
    Code.UNKNOWN_HOLD: 404,
    Code.UNKNOWN_OPERATION: 404,
    Code.UNKNOWN_LOT: 404,
    Code.UNKNOWN_PACK: 404,
    Code.UNKNOWN_PURCHASE: 404,
    Code.UNKNOWN_PROVIDER: 404,
    Code.HOLD_EXPIRED: 409,
    Code.HOLD_ENDED: 409,
    Code.EXCEEDS_HOLD: 422,
    Code.EXCEEDS_CHARGE: 422,
    Code.ALREADY_REFUNDED: 409,
    Code.EXCEEDS_UNHELD: 422,
    Code.NOT_POSSIBLE: 409,
    Code.PROMO_INVALID: 409,
    Code.CODE_INVALID: 409,
    Code.PRICE_CUSTOM: 409,
    Code.PACK_DISABLED: 409,
    Code.PACKS_OFF: 409,
    Code.PLANS_OFF: 409,
    Code.BLOCKED: 429,
    Code.TOO_LARGE: 422,
    Code.RATE: 429,
    Code.SPACING: 429,
    Code.PACK_LIMIT: 429,
    Code.LICENCE: 403,
    Code.PAYMENT_FAILED: 402,
    Code.NO_PLAN: 402,
    Code.NOT_IN_PLAN: 403,
    Code.PACK_NOT_FOR_PLAN: 403,
    Code.HOLDS_MAX: 429,
    Code.KEY_LIMIT: 402,
    Code.HELD: 429,
    Code.SPENDING_CAP: 402,
    Code.EXHAUSTED: 402,
    Code.CHECKOUT_FAILED: 502,
    Code.PAYMENT_DECLINED: 402,
}
"""402: paying helps, or a key that may spend more. 429: waiting helps. 403: this organization may not.
409: too late, or done already."""

TITLES: dict[str, str] = {
    "bad_signature": "The event is not signed as it must be",
    "provider_unavailable": "The payment provider cannot be reached",
    Code.INVALID: "The request is not valid",
    Code.UNKNOWN_ORGANIZATION: "Unknown organization",
    Code.ORGANIZATION_EXISTS: "The organization exists already",
    Code.KEY_REUSED: "The idempotency key was used for another command",
    Code.UNKNOWN_FEATURE: "Unknown feature",
    Code.UNKNOWN_PLAN: "Unknown plan",
    Code.UNKNOWN_HOLD: "Unknown hold",
    Code.UNKNOWN_OPERATION: "Unknown operation",
    Code.UNKNOWN_LOT: "Unknown lot",
    Code.UNKNOWN_PACK: "Unknown pack",
    Code.UNKNOWN_PURCHASE: "Unknown purchase",
    Code.UNKNOWN_PROVIDER: "Unknown payment provider",
    Code.HOLD_EXPIRED: "The hold has expired",
    Code.HOLD_ENDED: "The hold has ended",
    Code.EXCEEDS_HOLD: "More than was held",
    Code.EXCEEDS_CHARGE: "More than was charged",
    Code.ALREADY_REFUNDED: "The charge was refunded already",
    Code.EXCEEDS_UNHELD: "More than is free",
    Code.NOT_POSSIBLE: "Not possible now",
    Code.PROMO_INVALID: "The promotion code does not hold here",
    Code.CODE_INVALID: "The code cannot be redeemed",
    Code.PRICE_CUSTOM: "The price is on request",
    Code.PACK_DISABLED: "The pack is not sold",
    Code.PACKS_OFF: "Packs are not sold at the moment",
    Code.PLANS_OFF: "Plans are not sold at the moment",
    Code.BLOCKED: "The user is blocked",
    Code.TOO_LARGE: "Too many tokens in one request",
    Code.RATE: "Too many requests",
    Code.SPACING: "Too soon after the last request",
    Code.PACK_LIMIT: "Too many packs in a short time",
    Code.LICENCE: "Payment has failed",
    Code.PAYMENT_FAILED: "The last payment must be mended first",
    Code.NO_PLAN: "A plan is needed",
    Code.NOT_IN_PLAN: "The plan does not include this",
    Code.PACK_NOT_FOR_PLAN: "The pack is not sold on this plan",
    Code.HOLDS_MAX: "Too many open holds",
    Code.KEY_LIMIT: "The key's limit is reached",
    Code.HELD: "The tokens are held by running operations",
    Code.SPENDING_CAP: "The spending cap is reached",
    Code.EXHAUSTED: "Not enough tokens",
    Code.CHECKOUT_FAILED: "The checkout could not start",
    Code.PAYMENT_DECLINED: "The payment was declined",
    "malformed_json": "The body is not JSON",
    "unauthorized": "An operator key is needed",
    "too_many_wrong_keys": "Too many wrong keys",
    "not_found": "Nothing is here",
    "method_not_allowed": "This method is not possible here",
    "malformed_http": "This is not HTTP",
    "request_too_slow": "The request did not arrive in time",
    "head_too_large": "The head of the request is too large",
    "operator_key_exists": "The operator key was made already",
    "unknown_operator_key": "Unknown operator key",
    "body_too_large": "The body is too large",
    "unsupported_media_type": "The body must be JSON",
    "internal_error": "Something failed in the till",
    "store_unavailable": "The database cannot be reached",
    "overloaded": "Too many requests at once",
    "shutting_down": "The till is shutting down",
    "unhealthy": "The till is not healthy",
}

_TRY_LATER = "Nothing is known to be changed. Send the same request again with the same Idempotency-Key."


class Problem(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An answer of 400 or above (RFC 9457); of a refusal also what is needed to go on.

    `field` names the part of the request that is wrong. `filed` says how the journal files it. `balance`,
    `needed`, `held` are tokens. `incident` is the id under which the till logged what failed.
    """

    type: str
    title: str
    status: int
    code: str
    detail: str
    field: str | None = None
    layer: Layer | None = None
    filed: Status | None = None
    headline: str | None = None
    retry_after_ms: int | None = None
    balance: int | None = None
    needed: int | None = None
    held: int | None = None
    reset_at: int | None = None
    purchase_link: str | None = None
    ways_out: tuple[WayOut, ...] = ()
    about: str | None = None
    incident: str | None = None
    problems: tuple[str, ...] = ()


encode = msgspec.json.Encoder().encode


class Halt(Exception):
    """Ends a request before it became a command, with the answer to give."""

    def __init__(self, answer: Answer, field: str | None = None) -> None:
        super().__init__(answer.code)
        self.answer = answer
        self.field = field


def answer(problem: Problem, headers: Headers = ()) -> Answer:
    """The answer that carries a problem."""
    return Answer(problem.status, encode(problem), PROBLEM_JSON, headers, problem.code)


def retry_after(retry_after_ms: int) -> tuple[bytes, bytes]:
    """The `Retry-After` header: whole seconds, rounded up, at least one."""
    return (b"retry-after", b"%d" % max(1, -(-retry_after_ms // 1000)))


def of_refusal(refusal: Refusal) -> Answer:
    """The answer to a command that was refused."""
    code = refusal.code
    layer = refusal.layer
    problem = Problem(
        type=URN + code,
        title=TITLES[code],
        status=STATUS[code],
        code=code,
        detail=refusal.message,
        field=refusal.detail if code is Code.INVALID else None,
        about=None if code is Code.INVALID else refusal.detail,
        layer=layer,
        filed=refusal.status,
        headline=refusal.headline,
        retry_after_ms=refusal.retry_after_ms,
        balance=refusal.balance,
        needed=refusal.needed,
        held=refusal.held,
        reset_at=refusal.reset_at,
        purchase_link=refusal.purchase_link,
        ways_out=refusal.ways_out,
    )
    ms = refusal.retry_after_ms
    if ms is None and problem.status == 429:
        ms = 1000
    return answer(problem, () if ms is None else (retry_after(ms),))


def plain(status: int, code: str, detail: str, headers: Headers = (), field: str | None = None) -> Answer:
    """The answer to a request that never became a command."""
    problem = Problem(
        type=URN + code, title=TITLES[code], status=status, code=code, detail=detail, field=field
    )
    return answer(problem, headers)


def invalid(detail: str, field: str | None = None) -> Halt:
    """The request is understood and not valid; nothing was changed."""
    # What is wrong may be a key in the wrong place; an answer that repeats it may end up in somebody's log.
    detail = redact(f"{detail} Nothing was changed. Correct the request and send it again.")
    field = None if field is None else redact(field)
    return Halt(plain(422, Code.INVALID, detail, field=field), field)


def unavailable(code: str, why: str, seconds: int = 1, *, close: bool = False) -> Answer:
    """503: the world failed, not the request; a retry under the same key is safe."""
    headers: Headers = (retry_after(seconds * 1000), CLOSE) if close else (retry_after(seconds * 1000),)
    return plain(503, code, f"{why} {_TRY_LATER}", headers)


def incident(ident: str) -> Answer:
    """500: a bug. The log has the rest under `ident`."""
    detail = (
        f"The till failed on this request and logged it as incident {ident}. {_TRY_LATER} "
        "Give the incident to the operator if it happens again."
    )
    problem = Problem(
        type=f"{URN}internal_error",
        title=TITLES["internal_error"],
        status=500,
        code="internal_error",
        detail=detail,
        incident=ident,
    )
    return answer(problem)
