"""The refund policy of a catalog: every figure of the refund engine, with the documents' figures as defaults.

Percents are whole numbers. Amounts are minor units of the catalog's currency, durations carry their unit in
the name. `None` = no such limit.

Requirement ids: R-REF-1, R-REF-2, R-REF-3, R-REF-4, R-REF-6.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct, field

from tokentill.rules.refund_sentences import RefundTexts

Reason = Literal["technical", "quality", "unused", "first_time"]
REASONS: tuple[Reason, ...] = ("technical", "quality", "unused", "first_time")

S0_REASONS: dict[Reason, int] = {"technical": 100, "quality": 50, "unused": 100, "first_time": 50}

HOUR_S = 3_600
DAY_S = 86_400
WEEK_S = 604_800


class Band(Struct, frozen=True):
    """Usage below `below` percent of the purchase's own lot (the last band has 100 within) pays `rate` percent."""

    below: int
    rate: int


class Tier(Struct, frozen=True):
    """A customer who has spent strictly more than `above` minor units gets `percent` of the rate."""

    above: int
    percent: int


class Withdrawal(Struct, frozen=True):
    """A legal right of withdrawal: within `days` of payment at least the unused share, unless it was waived."""

    days: int = 14


class RefundPolicy(Struct, frozen=True, kw_only=True):
    """The figures; those of S0 unless a comment says otherwise."""

    enabled: bool = True
    """Whether customers can ask for refunds by themselves."""
    title: str = "Not what you expected?"
    text: str = "Tell us why. You see at once what you get back, and what else we can do for you."
    waiting: str = "A person looks at it. Your tokens are kept for you until then."
    bands: tuple[Band, ...] = (Band(5, 100), Band(25, 75), Band(50, 50), Band(101, 25))
    reasons: dict[str, int] = field(
        default_factory=lambda: {str(key): value for key, value in S0_REASONS.items()}
    )
    tiers: tuple[Tier, ...] = (Tier(100_000, 120), Tier(10_000, 110))
    """Highest first; in a currency without cents an operator writes other figures."""
    early_s: int = HOUR_S
    early_percent: int = 110
    late_s: int = WEEK_S
    late_percent: int = 80
    guarantee_percent: int | None = 50
    guarantee_s: int = DAY_S
    bonus_percent: int | None = 30
    credit_percent: int | None = 60
    upgrade: bool = True
    plans: bool = False
    """Whether the periods of plans are given back, too (readings)."""
    unused_share: bool = False
    """Never more than the unused share of the price, a stricter reading of "unused tokens" (readings)."""
    window_days: int = 90
    """How long after payment a refund can be asked for (readings)."""
    quote_ms: int = 3_600_000
    """How long a quote holds (ours)."""
    automatic_max: int | None = 10_000
    """Up to this a refund needs nobody; above, an operator decides (ours)."""
    four_eyes_above: int | None = 50_000
    """Above this two operators must agree (ours)."""
    review_refunds: int = 3
    """So many refunds of one organization within the window go to an operator (ours)."""
    review_accounts: int = 3
    """So many organizations on one payment method go to an operator (ours)."""
    review_usage_percent: int = 90
    """A refund after so much use goes to an operator (ours)."""
    withdrawal: dict[str, Withdrawal] = {}
    """By region as the operator names it; empty = none."""
    waiver_text: str = "I ask for my tokens at once, and I know that with this I lose my right of withdrawal."
    """What a customer agrees to who gives that right up at a purchase."""
    waiver_required: bool = False
    """Whether a customer's order needs it; by default nobody has to give the right up."""
    texts: RefundTexts = RefundTexts()
    """The sentences of quotes, as customers read them."""
