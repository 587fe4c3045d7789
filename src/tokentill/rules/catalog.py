"""The catalog: everything an operator sells and every policy, as immutable typed values.

Code holds rules, catalogs hold numbers (requirements, preamble). A catalog is read once, checked
(`tokentill.rules.catalog_file`), and never changes: a new file is a new catalog with a new `version`,
and an entry of the journal names the version it was decided under, so that what was bought keeps its
terms. Nothing here decides anything.

Units: tokens are whole numbers of the catalog's smallest unit; money is whole minor units of `currency`
(cents for USD); durations carry their unit in the name. `None` always means "no limit" or "not offered",
as each field says.

Requirement ids: R-PLAN-1, R-PLAN-2, R-PLAN-3, R-PLAN-9, R-PACK-1, R-PACK-8, R-PACK-9, R-FIN-1,
R-SALE-5.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

from tokentill.rules import durations
from tokentill.rules.catalog_shop import (
    ALERTS,
    AlertRule,
    Checkout,
    KeyWhen,
    Promo,
    Question,
    Recommend,
    Rollout,
)
from tokentill.rules.models import Model, Upstream
from tokentill.rules.refund_policy import RefundPolicy

MINUTE_MS = durations.MINUTE_MS
HOUR_MS = durations.HOUR_MS
DAY_MS = durations.DAY_MS

TOKENS_MAX = 10**15
"""Largest amount of tokens any single command, price or plan may name."""
ACCOUNT_TOKENS_MAX = 2**62
"""Beyond this nothing is added by command to an account, so that no sum reaches 2**63, where databases end."""


ATTEMPTS_MAX = 100
"""Most failed attempts that a block may wait for; an account remembers no more of a user."""


class Unit(Struct, frozen=True):
    """What one token is called (a token is an analysis, a cent of cost or a model token, by catalog)."""

    one: str = "token"
    many: str = "tokens"


class AbuseLimits(Struct, frozen=True):
    """Limits of one user on one feature, resolved from defaults, plan and feature (R-ABU-1…6). None = off."""

    tokens_per_request_max: int | None = None
    requests_per_minute_max: int | None = None
    spacing_ms_min: int | None = None
    output_tokens_max: int | None = None
    burn_alert_tokens_per_hour: int | None = None
    burn_alert_percent_of_allowance: int | None = None
    attempts_max: int | None = None
    attempts_window_ms: int = HOUR_MS
    block_ms: int = HOUR_MS


class Rollover(Struct, frozen=True):
    """What happens to unused plan tokens at a reset (R-PLAN-5, S1 Option C).

    `cap` is the most that may be carried into a period; None under "capped" means one period's allowance.
    """

    mode: Literal["none", "capped", "unlimited"] = "none"
    cap: int | None = None


class Overage(Struct, frozen=True):
    """Tokens beyond the plan, billed at period end (S1 Option B). `price` is minor units for each token.

    `cap` is the spending cap in minor units of a customer who set none; None = no cap.
    """

    price: int
    cap: int | None = None


class Exhaustion(Struct, frozen=True):
    """What a plan does when the balance is below the cost of an operation (R-PLAN-6, R-PLAN-9).

    `grace_uses`: operations a period that are let through unpaid. `overage`: Option B. `packs`: Option A,
    packs are offered and may be bought. `wait`: Option D, "wait N days for the reset" is listed as a way out.
    `upgrade`: the next plan up is listed.
    """

    grace_uses: int = 0
    overage: Overage | None = None
    packs: bool = True
    wait: bool = True
    upgrade: bool = True


class Cycle(Struct, frozen=True):
    """How long a period is (R-PLAN-4): calendar months from the anchor day, or a fixed number of days."""

    kind: Literal["month", "days"] = "month"
    days: int = 30
    zone: str = "UTC"


class Plan(Struct, frozen=True):
    """A subscription. `rank` orders plans, lowest first, without gaps: the next plan up has the next rank.

    Two plans of one rank are the same level paid in another rhythm (monthly and annual).

    `price` is minor units for each payment, None = custom (asked for, not bought online).
    `periods_per_payment` 12 with a monthly cycle is an annual plan whose tokens still arrive monthly.
    `unlimited` meters without a token limit, up to `fair_use` tokens a period (None = no cap).
    `features` are the ids of the features this plan may run; `abuse` holds the resolved limits of every feature
    of the catalog, since abuse is judged before the plan. `margin_min` is what one payment must leave, in minor
    units, after the cost of all its tokens (R-FIN-1). `trial_days`: how long a first subscription is free.
    `bundled_tokens` come with each payment, on top of the allowance, and never expire (R-PACK-8). `prices` are the
    ids of this plan's price at payment providers. `key`: when its first payment brings a key (R-SALE-4), None = as the
    catalog's checkout says.
    """

    id: str
    rank: int
    title: str
    price: int | None
    tokens: int
    features: frozenset[str]
    abuse: Mapping[str, AbuseLimits]
    unlimited: bool = False
    fair_use: int | None = None
    periods_per_payment: int = 1
    audience: str = ""
    rollover: Rollover = Rollover()
    exhaustion: Exhaustion = Exhaustion()
    cycle: Cycle = Cycle()
    margin_min: int | None = None
    trial_days: int = 0
    bundled_tokens: int = 0
    key: KeyWhen | None = None
    prices: Mapping[str, str] = {}


class Pack(Struct, frozen=True):
    """Tokens bought once, on top of any plan (R-PACK-1). `price` minor units; `list_price` for "N % off".

    `valid_days` None = the tokens never expire. `plans`: who may buy it, empty = every plan (and none).
    `uses`, `tip`, `model`: texts of the delivery message (R-SALE-4). `bonus_tokens` come with it and `launch_price`
    holds until before `launch_until` (R-PACK-8). `rollout`: who is offered it, None = as all packs (R-PACK-9).
    `prices` are the ids of the pack's price at payment providers. `key`: when it brings a key (R-SALE-4), None = as
    the catalog's checkout says.
    """

    id: str
    title: str
    tokens: int
    price: int
    best_for: str = ""
    list_price: int | None = None
    valid_days: int | None = None
    plans: frozenset[str] = frozenset()
    enabled: bool = True
    model: str = ""
    uses: tuple[str, ...] = ()
    tip: str = ""
    refund_line: str = ""
    bonus_tokens: int = 0
    launch_price: int | None = None
    launch_until: int | None = None
    rollout: Rollout | None = None
    key: KeyWhen | None = None
    prices: Mapping[str, str] = {}


class Feature(Struct, frozen=True):
    """Something that costs tokens. A fixed price (`tokens` each), or metered per 1,000 model tokens.

    A metered feature (`metered`) states the rates and the caller names the tokens of each reservation.
    `group` is the part of the product it belongs to: degradation switches whole groups off (R-LIC-2).
    """

    id: str
    title: str
    group: str = "ai_features"
    tokens: int = 1
    metered: bool = False
    input_per_1000: int = 0
    output_per_1000: int = 0
    cached_per_1000: int = 0
    timeout_ms: int = 30_000


class LicenceStep(Struct, frozen=True):
    """`group` goes off `after_days` × 24 h after the first failed payment (R-LIC-2); 0 = the same moment."""

    group: str
    after_days: int


class Licence(Struct, frozen=True):
    """The degradation ladder on payment failure, in order (S2 §5).

    `renewal_wait_days`: where a payment provider bills, how long its next invoice is waited for after the end of
    what was paid; then payment counts as failed (R-PLAN-4).
    """

    grace_days: int = 14
    steps: tuple[LicenceStep, ...] = (
        LicenceStep("ai_features", 0),
        LicenceStep("sync_engine", 15),
        LicenceStep("reports", 15),
    )
    renewal_wait_days: int = 3


class Costs(Struct, frozen=True):
    """What the operator pays (R-FIN-1): minor units a million tokens; card fee in basis points plus fixed.

    A million, because a model token costs far less than a cent: $0.15 for a million is 15.
    """

    per_million_tokens: int = 0
    fee_basis_points: int = 290
    fee_fixed: int = 30


class LowBalance(Struct, frozen=True):
    """When the customer is warned (R-PLAN-8). None switches a threshold off.

    `expiring_days`: so many days before what is left of a bought lot expires.
    """

    percent: int | None = 20
    tokens: int | None = 10
    expiring_days: int | None = 7


class Texts(Struct, frozen=True):
    """What a customer reads. `{days}` in `low_balance` is the number of days until the reset.

    `exhausted_closed`, `low_balance_closed`: said instead while nothing can be bought (R-PACK-9).
    `monthly`, `additional`: what the two kinds of tokens are; empty = made from what the catalog says (R-PACK-7).
    """

    headline: str = "You've used all your tokens"
    exhausted: str = "You've reached your limit. Upgrade or purchase credits."
    exhausted_closed: str = "You've reached your limit."
    low_balance: str = "You're running low on tokens. Purchase more tokens or wait {days} days for reset."
    low_balance_no_reset: str = "You're running low on tokens. Purchase more tokens."
    low_balance_closed: str = "You're running low on tokens."
    payment_failed: str = "Update payment to restore AI"
    offline: str = "Your licence is offline. Contact support."
    purchase_link: str = "/account/buy-credits"
    packs_title: str = "Need more tokens?"
    packs_text: str = "Purchase additional tokens any time, without changing your subscription."
    monthly: str = ""
    additional: str = ""


class Catalog(Struct, frozen=True):
    """Everything sold and every policy. `version` is a digest of the whole content (16 hex digits)."""

    name: str
    title: str
    version: str
    currency: str
    unit: Unit
    plans: Mapping[str, Plan]
    packs: Mapping[str, Pack]
    features: Mapping[str, Feature]
    no_plan_abuse: Mapping[str, AbuseLimits]
    """Limits of each feature for an organization without a plan."""
    no_plan_features: frozenset[str] = frozenset()
    """Features that an organization without a plan may run on packs alone (preset `shop`)."""
    default_plan: str | None = None
    licence: Licence = Licence()
    costs: Costs = Costs()
    low_balance: LowBalance = LowBalance()
    texts: Texts = Texts()
    upgrade_credit: Literal["time", "tokens", "none"] = "time"
    holds_max: int = 10_000
    hold_margin_ms: int = 5_000
    """A hold outlives its operation's timeout by this much, so that a success at the last moment settles."""
    checkout: Checkout = Checkout()
    promos: Mapping[str, Promo] = {}
    rollout: Rollout = Rollout()
    """Who is offered packs at all."""
    alerts: tuple[AlertRule, ...] = tuple(ALERTS.values())
    recommend: Recommend = Recommend()
    faq: tuple[Question, ...] = ()
    """Questions and answers for customers; empty = those that follow from the catalog (R-PACK-7)."""
    refunds: RefundPolicy = RefundPolicy()
    upstreams: Mapping[str, Upstream] = {}
    models: Mapping[str, Model] = {}
    """What the endpoint sells, by the names that customers ask for (R-SALE-5)."""
