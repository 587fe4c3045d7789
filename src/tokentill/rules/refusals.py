"""Refusals: why a command changed nothing, in one closed list ordered by precedence.

A refusal is a value, never an exception. First it is said that there is no such organization, and that a key
was used for another command. Where several other reasons hold at once, the one that stands first in `Code` is
given: what the caller got wrong, then abuse → licence → plan → key → balance (R-ABU-8), so that nobody is sold tokens
that an unpaid licence or a block would not let them use.

Each refusal carries what a caller needs to go on (R-PLAN-7, R-ABU-7): the layer that refused, when a
retry can succeed, what it means, what to do, and every way out with its price.

Requirement ids: R-ABU-7, R-PLAN-7, R-LED-9, R-PACK-2, R-PACK-4.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from msgspec import Struct

Layer = Literal["request", "abuse", "licence", "plan", "key", "balance", "hold"]
Status = Literal["done", "prevented", "failed", "fraud_flagged"]


class Code(StrEnum):
    """Why a command or an order is refused, the first in the list wins. Texts: `docs/reference/refusals.md`."""

    INVALID = "invalid_request"
    UNKNOWN_ORGANIZATION = "unknown_organization"
    ORGANIZATION_EXISTS = "organization_exists"
    KEY_REUSED = "key_reused"
    UNKNOWN_FEATURE = "unknown_feature"
    UNKNOWN_PLAN = "unknown_plan"
    UNKNOWN_HOLD = "unknown_hold"
    UNKNOWN_OPERATION = "unknown_operation"
    UNKNOWN_LOT = "unknown_lot"
    UNKNOWN_PACK = "unknown_pack"
    UNKNOWN_PURCHASE = "unknown_purchase"
    UNKNOWN_PROVIDER = "unknown_provider"
    HOLD_EXPIRED = "hold_expired"
    HOLD_ENDED = "hold_ended"
    EXCEEDS_HOLD = "exceeds_hold"
    EXCEEDS_CHARGE = "exceeds_charge"
    ALREADY_REFUNDED = "already_refunded"
    EXCEEDS_UNHELD = "exceeds_unheld"
    NOT_POSSIBLE = "not_possible"
    PROMO_INVALID = "promo_invalid"
    CODE_INVALID = "code_invalid"
    PRICE_CUSTOM = "price_custom"
    PACK_DISABLED = "pack_disabled"
    PACKS_OFF = "packs_off"
    PLANS_OFF = "plans_off"
    BLOCKED = "blocked"
    TOO_LARGE = "too_large"
    RATE = "rate_limited"
    SPACING = "too_soon"
    PACK_LIMIT = "pack_limit"
    LICENCE = "licence"
    PAYMENT_FAILED = "payment_failed"
    NO_PLAN = "no_plan"
    NOT_IN_PLAN = "not_in_plan"
    PACK_NOT_FOR_PLAN = "pack_not_for_plan"
    HOLDS_MAX = "too_many_holds"
    KEY_LIMIT = "key_limit"
    HELD = "tokens_held"
    SPENDING_CAP = "spending_cap"
    EXHAUSTED = "exhausted"
    CHECKOUT_FAILED = "checkout_failed"
    PAYMENT_DECLINED = "payment_declined"


LAYERS: dict[Code, Layer] = {
    Code.BLOCKED: "abuse",
    Code.TOO_LARGE: "abuse",
    Code.RATE: "abuse",
    Code.SPACING: "abuse",
    Code.PACK_LIMIT: "abuse",
    Code.LICENCE: "licence",
    Code.PAYMENT_FAILED: "licence",
    Code.NO_PLAN: "plan",
    Code.NOT_IN_PLAN: "plan",
    Code.PACK_NOT_FOR_PLAN: "plan",
    Code.HOLDS_MAX: "hold",
    Code.KEY_LIMIT: "key",
    Code.HELD: "balance",
    Code.SPENDING_CAP: "balance",
    Code.EXHAUSTED: "balance",
    Code.UNKNOWN_HOLD: "hold",
    Code.HOLD_EXPIRED: "hold",
    Code.HOLD_ENDED: "hold",
    Code.EXCEEDS_HOLD: "hold",
}
"""The layer of each code; every code not named here belongs to the layer "request"."""

RETRYABLE = frozenset({Code.BLOCKED, Code.RATE, Code.SPACING, Code.PACK_LIMIT, Code.HOLDS_MAX, Code.HELD})
"""Refusals that say "wait": never remembered under an idempotency key, so that a retry may succeed."""


class WayOut(Struct, frozen=True, omit_defaults=True):
    """One way to get going again, with what it costs (R-PLAN-7).

    `kind`: upgrade | pack | wait | raise_cap | pay. `price` minor units of `currency`; `tokens` what it
    brings; `per_token` the price of one token as text with its currency, such as $0.058; `days` until the reset for
    `wait`.
    """

    kind: Literal["upgrade", "pack", "wait", "raise_cap", "pay"]
    label: str
    id: str | None = None
    tokens: int | None = None
    price: int | None = None
    currency: str | None = None
    per_token: str | None = None
    days: int | None = None
    at: int | None = None
    link: str | None = None


class Refusal(Struct, frozen=True, omit_defaults=True):
    """Why nothing changed, what it means and what to do.

    `retry_after_ms`: earliest retry that can succeed, None where waiting does not help. `status`: how the
    journal files it (R-ABU-7). `balance` and `needed` are tokens; of a key's limit `balance` is what the key may still
    use and `held` what its own operations hold. `detail` names the offending field or value.
    """

    code: Code
    message: str
    status: Status = "prevented"
    retry_after_ms: int | None = None
    headline: str | None = None
    detail: str | None = None
    balance: int | None = None
    needed: int | None = None
    held: int | None = None
    reset_at: int | None = None
    purchase_link: str | None = None
    ways_out: tuple[WayOut, ...] = ()

    @property
    def layer(self) -> Layer:
        """The layer of the decision that refused (R-ABU-7)."""
        return LAYERS.get(self.code, "request")


def unknown_organization() -> Refusal:
    """What whoever names an organization that was not opened is answered."""
    message = "There is no organization of this id. Open its account first, or correct the id."
    return Refusal(Code.UNKNOWN_ORGANIZATION, message)
