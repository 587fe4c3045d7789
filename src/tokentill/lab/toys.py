"""Small catalogs for random work: every policy the rules know, in numbers small enough to run into them.

No figure here means anything to a customer; the documents' figures are in `tokentill.catalogs`.

Requirement ids: R-PLAN-4, R-PLAN-5, R-PLAN-6, R-PLAN-9, R-ABU-1, R-ABU-2, R-ABU-3, R-ABU-6, R-LIC-2.
"""

from __future__ import annotations

from typing import Literal

from tokentill.rules.catalog import (
    AbuseLimits,
    Catalog,
    Cycle,
    Exhaustion,
    Feature,
    Licence,
    LicenceStep,
    LowBalance,
    Overage,
    Plan,
    Rollover,
    Unit,
)

OPEN = AbuseLimits(attempts_max=3, attempts_window_ms=600_000, block_ms=300_000)
STRICT = AbuseLimits(
    tokens_per_request_max=10,
    requests_per_minute_max=4,
    spacing_ms_min=3_000,
    output_tokens_max=50,
    burn_alert_tokens_per_hour=15,
    burn_alert_percent_of_allowance=50,
    attempts_max=5,
)
QUICK = AbuseLimits(requests_per_minute_max=3, attempts_max=2, block_ms=60_000)
LIMITS = {"ask": OPEN, "draw": QUICK, "goal": STRICT, "model": OPEN, "look": OPEN, "sync": OPEN, "only": OPEN}

FEATURES = {
    "ask": Feature("ask", "Ask", tokens=1),
    "draw": Feature("draw", "Draw", tokens=4, timeout_ms=2_000),
    "goal": Feature("goal", "Goal", tokens=3),
    "model": Feature("model", "Model", metered=True, input_per_1000=1_000, output_per_1000=2_000),
    "look": Feature("look", "Look", tokens=0),
    "sync": Feature("sync", "Sync", group="sync_engine", tokens=0),
    "only": Feature("only", "Only", tokens=2),
}
"""`only` is in few plans; `look` and `sync` cost nothing."""

USUAL = frozenset(FEATURES) - {"only"}


def _plan(name: str, rank: int, price: int | None, tokens: int, **policies: object) -> Plan:
    settings: dict[str, object] = {"features": USUAL, "abuse": LIMITS} | policies
    return Plan(id=name, rank=rank, title=name.title(), price=price, tokens=tokens, **settings)  # type: ignore[arg-type]  # named as the fields are


PLANS = {
    plan.id: plan
    for plan in (
        _plan("free", 0, 0, 0, features=frozenset({"look"})),
        _plan("hard", 1, 1_000, 20),
        _plan("grace", 2, 2_000, 12, exhaustion=Exhaustion(grace_uses=2), rollover=Rollover("capped")),
        _plan("yearly", 2, 20_000, 12, periods_per_payment=12, exhaustion=Exhaustion(grace_uses=2)),
        _plan(
            "overage", 3, 3_999, 30, exhaustion=Exhaustion(overage=Overage(150, 1_500)),
            rollover=Rollover("capped", 5), cycle=Cycle("days", 30),
        ),
        _plan(
            "open_end", 4, 7_001, 25, exhaustion=Exhaustion(grace_uses=1, overage=Overage(7)),
            rollover=Rollover("unlimited"), cycle=Cycle("month", zone="America/New_York"),
        ),
        _plan("fair", 5, 9_999, 0, unlimited=True, fair_use=40, features=frozenset(FEATURES)),
        _plan("endless", 6, None, 0, unlimited=True, features=frozenset(FEATURES)),
    )
}  # fmt: skip


def catalog(credit: Literal["time", "tokens", "none"] = "time", default_plan: str | None = "hard") -> Catalog:
    """A toy catalog; `credit` is how an upgrade values what is unused."""
    return Catalog(
        name=f"toy-{credit}",
        title="Toy",
        version="0123456789abcdef",
        currency="USD",
        unit=Unit(),
        plans=PLANS,
        packs={},
        features=FEATURES,
        no_plan_abuse=LIMITS,
        no_plan_features=frozenset({"ask", "model"}),
        default_plan=default_plan,
        licence=Licence(
            grace_days=14,
            steps=(
                LicenceStep("ai_features", 0),
                LicenceStep("sync_engine", 15),
                LicenceStep("reports", 20),
            ),
        ),
        low_balance=LowBalance(percent=20, tokens=10),
        upgrade_credit=credit,
        holds_max=5,
        hold_margin_ms=500,
    )
