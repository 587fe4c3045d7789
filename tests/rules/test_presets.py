"""The presets say what the documents say; each table here looks like the document's."""

import pytest

from tokentill.catalogs import PRESETS, preset_text
from tokentill.rules.catalog import (
    DAY_MS,
    HOUR_MS,
    AbuseLimits,
    Catalog,
    Cycle,
    LicenceStep,
    LowBalance,
    Rollover,
    Unit,
)
from tokentill.rules.catalog_file import load
from tokentill.rules.catalog_shop import ALERTS
from tokentill.rules.money import format_amount, per_token, percent

CATALOGS = {name: load(preset_text(name), f"{name}.toml") for name in PRESETS}
ANALYSIS, GOALS, SHOP, BENCH = (CATALOGS[name][0] for name in PRESETS)
S2_LIMITS = AbuseLimits(
    tokens_per_request_max=10,
    requests_per_minute_max=30,
    spacing_ms_min=3_000,
    output_tokens_max=2_000,
    burn_alert_tokens_per_hour=500,
    attempts_max=5,
    attempts_window_ms=HOUR_MS,
    block_ms=HOUR_MS,
)


def price(amount: int | None) -> str:
    return "Custom" if amount is None else format_amount(amount, "USD")


# R-PLAN-1: S1 §1, current subscription plans
def test_plans_of_analysis() -> None:
    plans = [
        (p.title, price(p.price), "Unlimited" if p.unlimited else p.tokens, p.audience)
        for p in ANALYSIS.plans.values()
    ]
    assert plans == [
        ("Starter", "$39.99", 50, "Small businesses"),
        ("Professional", "$99.99", 150, "Growing businesses"),
        ("Enterprise", "Custom", "Unlimited", "Large organizations"),
    ]


# R-PLAN-1: S1 §1, token consumption rate
def test_features_of_analysis() -> None:
    assert [(f.title, f.tokens) for f in ANALYSIS.features.values()] == [
        ("Suite Analyzer", 1),
        ("Spec Generator", 1),
        ("PDP Analyzer", 1),
        ("Demand Planner", 1),
    ]
    assert all(plan.features == set(ANALYSIS.features) for plan in ANALYSIS.plans.values())


# R-PACK-1: S1 §5 Option A
def test_packs_of_analysis() -> None:
    packs = [
        (
            p.title,
            price(p.price),
            per_token(p.price, p.tokens, "USD"),
            saving(p.price, p.list_price),
            p.best_for,
        )
        for p in ANALYSIS.packs.values()
    ]
    assert packs == [
        ("25 Token Pack", "$25.00", "$1.00", "", "Quick top-up"),
        ("50 Token Pack", "$45.00", "$0.90", "10.0", "Power users"),
        ("100 Token Pack", "$80.00", "$0.80", "20.0", "Large projects"),
    ]


# R-PACK-2: S1 §7 names the settings
def test_pack_ids_make_the_document_s_settings() -> None:
    assert [f"STRIPE_{id_.upper()}_PRICE_ID" for id_ in ANALYSIS.packs] == [
        "STRIPE_TOKEN_PACK_25_PRICE_ID",
        "STRIPE_TOKEN_PACK_50_PRICE_ID",
        "STRIPE_TOKEN_PACK_100_PRICE_ID",
    ]


# R-PACK-4: S1 §9 risk 2 "max 2 packs per 24 hours"; the patterns it does not list are all on
@pytest.mark.parametrize("catalog", [ANALYSIS, GOALS, SHOP], ids=lambda catalog: catalog.name)
def test_limits_of_selling(catalog: Catalog) -> None:
    assert (catalog.checkout.packs_max, catalog.checkout.packs_window_ms) == (2, 24 * HOUR_MS)
    assert {rule.pattern for rule in catalog.alerts} == set(ALERTS)
    assert catalog.recommend.upgrade_packs == 2  # S1 §9 risk 1


# R-PACK-8: S1 §10 "Should we bundle tokens with annual subscriptions?"
def test_the_annual_plan_of_the_shop_brings_a_bundle() -> None:
    annual, monthly = SHOP.plans["developer_yearly"], SHOP.plans["developer"]
    assert (annual.periods_per_payment, annual.rank, annual.tokens) == (12, monthly.rank, monthly.tokens)
    assert annual.bundled_tokens == 500_000
    assert (annual.price or 0) < 12 * (monthly.price or 0)


# R-PLAN-4: S1 §1 "Next billing cycle (30 days)"
def test_cycles() -> None:
    assert {plan.cycle for plan in ANALYSIS.plans.values()} == {Cycle("days", 30)}
    assert {plan.cycle for plan in (*GOALS.plans.values(), *SHOP.plans.values())} == {Cycle("month")}


# R-PLAN-2: S2 §4
def test_plans_of_goals() -> None:
    plans = [
        (p.title, price(p.price), p.tokens, p.unlimited, sorted(p.features)) for p in GOALS.plans.values()
    ]
    assert plans == [
        ("Starter", "$0.00", 0, False, []),
        ("Pro", "$149.00", 200, False, ["generate_goal"]),
        ("Enterprise", "$399.00", 2000, False, ["generate_goal"]),
    ]
    assert [price(p.margin_min) if p.margin_min else "" for p in GOALS.plans.values()] == [
        "",
        "$100.00",
        "$300.00",
    ]
    assert GOALS.features["generate_goal"].tokens == 3
    assert GOALS.costs.per_million_tokens == 1_000_000  # S2 §4 costPerTokenCents: 1
    assert GOALS.default_plan == "starter"


# R-PACK-1: S2 buy extra; the savings are computed, 37 % is not one of them
def test_packs_of_goals() -> None:
    packs = [
        (
            p.tokens,
            price(p.price),
            per_token(p.price, p.tokens, "USD"),
            saving(p.price, p.list_price),
            sorted(p.plans),
        )
        for p in GOALS.packs.values()
    ]
    assert packs == [
        (500, "$29.00", "$0.058", "42.0", ["enterprise", "pro"]),
        (2000, "$79.00", "$0.0395", "60.5", ["enterprise", "pro"]),
    ]


# R-PLAN-7: S2 §2 "Buy 500 tokens ($29)", "Upgrade to Enterprise ($399/mo)"
def test_labels_of_the_modal() -> None:
    pack, plan = GOALS.packs["token_pack_500"], GOALS.plans["enterprise"]
    assert f"Buy {pack.title} ({format_amount(pack.price, 'USD', short=True)})" == "Buy 500 tokens ($29)"
    assert f"Upgrade to {plan.title} ({format_amount(plan.price or 0, 'USD', short=True)}/mo)" == (
        "Upgrade to Enterprise ($399/mo)"
    )


# R-ABU-1, R-ABU-2, R-ABU-3, R-ABU-4, R-ABU-5, R-ABU-6: S2 §3
def test_abuse_limits() -> None:
    assert {limits for plan in GOALS.plans.values() for limits in plan.abuse.values()} == {S2_LIMITS}
    assert set(GOALS.no_plan_abuse.values()) == {S2_LIMITS}
    analysis = {limits for plan in ANALYSIS.plans.values() for limits in plan.abuse.values()}
    assert {(x.tokens_per_request_max, x.requests_per_minute_max, x.spacing_ms_min) for x in analysis} == {
        (10, 30, None)
    }
    assert {(x.output_tokens_max, x.burn_alert_tokens_per_hour, x.attempts_max) for x in analysis} == {
        (2_000, 500, 5)
    }


# R-PLAN-3, R-SALE-4: S0 delivery message
def test_the_package_of_the_delivery_message() -> None:
    pack = SHOP.packs["gpt_4_professional"]
    assert (pack.title, pack.tokens) == ("GPT-4 Professional", 50_000)
    assert pack.uses == ("Business analysis", "Technical documentation", "Research papers")
    assert pack.tip == "Start with simple prompts and build complexity!"
    assert pack.refund_line == "50% refund available within 24 hours"
    assert pack.valid_days
    assert pack.model in SHOP.features


def test_packages_of_the_shop_are_enough_by_themselves() -> None:
    # R-PLAN-3
    assert SHOP.no_plan_features == set(SHOP.features)
    assert all(not pack.plans for pack in SHOP.packs.values())
    assert all(feature.metered for feature in SHOP.features.values())


def test_a_usual_request_fits_the_limits_of_the_shop() -> None:
    """1,000 model tokens read and up to 2,000 written are reserved; caps are per plan, in model tokens."""
    caps = [SHOP.no_plan_abuse["gpt-4"], *(plan.abuse["gpt-4"] for plan in SHOP.plans.values())]
    assert [limits.tokens_per_request_max for limits in caps] == [10_000, 32_000, 32_000, 128_000]
    assert {limits.spacing_ms_min for limits in caps} == {None}
    assert min(pack.tokens for pack in SHOP.packs.values()) >= 10 * 1_200


# R-PLAN-5, R-PLAN-6: S2 §1, §2; S1 §6
@pytest.mark.parametrize("catalog", [ANALYSIS, GOALS, SHOP], ids=lambda catalog: catalog.name)
def test_policies(catalog: Catalog) -> None:
    for plan in catalog.plans.values():
        assert plan.rollover == Rollover("none")
        assert (plan.exhaustion.grace_uses, plan.exhaustion.overage) == (0, None)
        assert plan.exhaustion.packs
        assert plan.exhaustion.upgrade
    assert catalog.unit == Unit("token", "tokens")


# R-LIC-1, R-LIC-2: S2 §5
@pytest.mark.parametrize("catalog", [ANALYSIS, GOALS, SHOP], ids=lambda catalog: catalog.name)
def test_licence(catalog: Catalog) -> None:
    assert catalog.licence.grace_days == 14
    assert catalog.licence.steps == (
        LicenceStep("ai_features", 0),
        LicenceStep("sync_engine", 15),
        LicenceStep("reports", 15),
    )
    assert catalog.texts.payment_failed == "Update payment to restore AI"


# R-PLAN-7, R-PLAN-8: S2 §2, S1 §7
@pytest.mark.parametrize("catalog", [ANALYSIS, GOALS, SHOP], ids=lambda catalog: catalog.name)
def test_texts(catalog: Catalog) -> None:
    assert catalog.texts.headline == "You've used all your tokens"
    assert catalog.texts.exhausted == "You've reached your limit. Upgrade or purchase credits."
    assert catalog.texts.purchase_link == "/account/buy-credits"
    assert catalog.texts.low_balance.format(days=16) == (
        "You're running low on tokens. Purchase more tokens or wait 16 days for reset."
    )
    assert catalog.texts.packs_title == "Need more tokens?"


def test_low_balance() -> None:
    # R-PLAN-8: S1 §6 "20% remaining", §7 "remainingTokens <= 10"
    assert ANALYSIS.low_balance == GOALS.low_balance == LowBalance(20, 10)


# R-LED-3: S2 atomic transactions
def test_operations_time_out_after_30_seconds() -> None:
    for catalog in (ANALYSIS, GOALS):
        assert {feature.timeout_ms for feature in catalog.features.values()} == {30_000}


def test_the_bench_has_its_limits_off() -> None:
    assert set(BENCH.plans["bench"].abuse.values()) == {AbuseLimits()}
    assert BENCH.plans["bench"].tokens == 10**12
    assert BENCH.low_balance == LowBalance(None, None)
    assert {id_: feature.tokens for id_, feature in BENCH.features.items()} == {
        "op": 1,
        "op3": 3,
        "metered": 0,
    }
    assert BENCH.default_plan == "bench"


@pytest.mark.parametrize(
    ("name", "codes"),
    [
        ("analysis", []),
        ("goals", ["price-inversion", "price-inversion", "limit-never-binds"]),
        ("shop", []),
        ("bench", []),
    ],
)
def test_warnings_about_the_presets(name: str, codes: list[str]) -> None:
    assert [warning.code for warning in CATALOGS[name][1]] == codes


def test_ranks_follow_the_file() -> None:
    for catalog, _ in CATALOGS.values():
        ranks = [plan.rank for plan in catalog.plans.values()]
        assert sorted(set(ranks)) == list(range(max(ranks) + 1))
    assert [plan.rank for plan in SHOP.plans.values()] == [0, 0, 1]  # by the month, by the year, the next


def test_each_preset_is_named_after_its_file() -> None:
    assert {name: catalog.name for name, (catalog, _) in CATALOGS.items()} == {name: name for name in PRESETS}
    with pytest.raises(KeyError):
        preset_text("../settings")


@pytest.mark.parametrize("name", ["analysis", "goals", "shop"])
def test_every_figure_names_its_source(name: str) -> None:
    """A line with a figure says S0, S1, S2, reading or ours, on it or on the line that opens its table."""
    unnamed = []
    opening = ""
    for line in preset_text(name).splitlines():
        code, _, comment = line.partition("#")
        if code.startswith("["):
            opening = comment
        figure = any(digit.isdigit() for digit in code.partition("=")[2])
        if figure and not any(word in comment + opening for word in ("S0", "S1", "S2", "reading", "ours")):
            unnamed.append(line)
    assert unnamed == []


def saving(amount: int, list_price: int | None) -> str:
    return percent(list_price - amount, list_price) if list_price else ""


def test_validity_is_in_days() -> None:
    assert [(pack.valid_days or 0) * DAY_MS for pack in SHOP.packs.values()] == [
        90 * DAY_MS,
        90 * DAY_MS,
        180 * DAY_MS,
        365 * DAY_MS,
    ]
