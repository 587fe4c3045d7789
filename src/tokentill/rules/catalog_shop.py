"""The part of a catalog that says how things are sold: checkouts, promotions, rollout, alerts, recommendations.

Values only, as in `tokentill.rules.catalog`, whose units hold here too: whole tokens, minor units of the
catalog's currency, milliseconds where a name ends in `_ms`, epoch milliseconds for moments. The end of a
promotion or a launch price is exclusive: at that very moment it holds no longer.

Requirement ids: R-PACK-2, R-PACK-4, R-PACK-5, R-PACK-6, R-PACK-7, R-PACK-8, R-PACK-9.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from tokentill.rules.durations import DAY_MS, HOUR_MS, MINUTE_MS

PROVIDERS = ("stripe", "paypal")
"""The payment providers that have price ids of their own."""


KeyWhen = Literal["first", "always", "never"]
"""When a purchase brings a key: where the organization has none that can use all it buys, always, or never."""


class Checkout(Struct, frozen=True):
    """How packs and plans are bought (R-PACK-2, R-PACK-4).

    At most `packs_max` packs of an organization in any `packs_window_ms`, open checkouts counted; None = no limit.
    A checkout is open for `open_ms`. The links are paths of the till's own pages or https addresses;
    `{purchase}` in them is the purchase's id.
    """

    packs_max: int | None = 2
    packs_window_ms: int = DAY_MS
    open_ms: int = 30 * MINUTE_MS
    success_link: str = "/account/purchases/{purchase}"
    cancel_link: str = "/account/buy-credits"
    key: KeyWhen | None = None
    """When what is bought brings a key (R-SALE-4); None = "first" where models are sold, else "never"."""


class Promo(Struct, frozen=True):
    """A promotion code (R-PACK-8): exactly one of `percent_off`, `amount_off` and `bonus_tokens` is set.

    `packs`: for which packs, empty = every pack. It holds from `starts` until before `ends`; `uses_max` counts
    all organizations together.
    """

    code: str
    title: str = ""
    percent_off: int | None = None
    amount_off: int | None = None
    bonus_tokens: int | None = None
    packs: frozenset[str] = frozenset()
    starts: int | None = None
    ends: int | None = None
    uses_max: int | None = None
    once_per_organization: bool = True
    first_purchase_only: bool = False


class Rollout(Struct, frozen=True):
    """Who is offered something that is being introduced (R-PACK-9): those named, and `percent` of all others."""

    percent: int = 100
    organizations: frozenset[str] = frozenset()


Pattern = Literal[
    "declines", "shared_method", "fraud_warning", "dispute", "over_limit", "mismatched", "paid_twice"
]


class AlertRule(Struct, frozen=True):
    """A suspicious pattern that an operator wants to hear of (R-PACK-4).

    `count` declines of an organization, or organizations that paid with one method, within `window_ms`. The other
    patterns are single events, which have neither.
    """

    pattern: Pattern
    count: int = 1
    window_ms: int | None = None


ALERTS: dict[str, AlertRule] = {
    "declines": AlertRule("declines", 5, HOUR_MS),
    "shared_method": AlertRule("shared_method", 3, 30 * DAY_MS),
    "fraud_warning": AlertRule("fraud_warning"),
    "dispute": AlertRule("dispute"),
    "over_limit": AlertRule("over_limit"),
    "mismatched": AlertRule("mismatched"),
    "paid_twice": AlertRule("paid_twice"),
}
"""Every pattern with the figures it has unless the catalog says others; all of them hold where it lists none."""


class Recommend(Struct, frozen=True):
    """What a recommendation looks at (R-PACK-5, R-PACK-6).

    `history_days`: how many days of use make the burn rate. `horizon_days`: how far the need is reckoned, None = to
    the reset; for whoever has no reset to wait for, as many days as the history has. `upgrade_packs`: from so many
    packs in a period on, what an upgrade would cost is shown.
    """

    history_days: int = 30
    horizon_days: int | None = None
    upgrade_packs: int = 2


class Question(Struct, frozen=True):
    """A question that customers ask, and its answer (R-PACK-7)."""

    question: str
    answer: str
