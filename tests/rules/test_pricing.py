from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tokentill.catalogs import preset_text
from tokentill.rules.catalog import TOKENS_MAX, Costs, Feature, Pack, Plan
from tokentill.rules.catalog_file import load
from tokentill.rules.pricing import Margin, card_fee, cost, metered_cost, pack_margin, plan_margin, token_cost

GOALS, _ = load(preset_text("goals"), "goals.toml")
ANALYSIS, _ = load(preset_text("analysis"), "analysis.toml")
SHOP, _ = load(preset_text("shop"), "shop.toml")
MODEL = Feature("model", "Model", metered=True, input_per_1000=500, output_per_1000=1500, cached_per_1000=50)


# R-PLAN-1, R-PLAN-2
@pytest.mark.parametrize(
    ("feature", "quantity", "tokens"),
    [
        (ANALYSIS.features["suite_analyzer"], 1, 1),
        (ANALYSIS.features["demand_planner"], 10, 10),
        (GOALS.features["generate_goal"], 1, 3),
        (GOALS.features["generate_goal"], 66, 198),
        (GOALS.features["generate_goal"], 0, 0),
    ],
)
def test_a_fixed_price_times_the_quantity(feature: Feature, quantity: int, tokens: int) -> None:
    assert cost(feature, quantity) == tokens


@pytest.mark.parametrize(
    ("read", "written", "cached", "tokens"),
    [
        (1000, 200, 0, 800),
        (1000, 0, 0, 500),
        (0, 1000, 0, 1500),
        (1000, 0, 1000, 50),
        (1000, 200, 400, 300 + 20 + 300),
        (1, 0, 0, 1),
        (2, 0, 0, 1),
        (3, 0, 0, 2),
        (0, 1, 0, 2),
        (1, 1, 0, 2),
        (0, 0, 0, 0),
        (1, 0, 1, 1),
    ],
)
def test_a_metered_request_is_summed_and_rounded_up_once(
    read: int, written: int, cached: int, tokens: int
) -> None:
    assert metered_cost(MODEL, read, written, cached) == tokens


def test_the_shop_sells_model_tokens_one_for_one() -> None:
    # R-PLAN-3
    assert metered_cost(SHOP.features["gpt-4"], 1000, 200) == 1200
    assert metered_cost(SHOP.features["gpt-4o-mini"], 1000, 200) == 70
    assert metered_cost(SHOP.features["text-embedding-3-small"], 1000, 0) == 10


amounts = st.integers(0, TOKENS_MAX)
rates = st.integers(0, 10**9)


@given(amounts, amounts, rates, rates, st.integers(0, 100))
def test_metered_cost_is_the_ceiling_of_the_exact_sum(
    read: int, written: int, r: int, w: int, share: int
) -> None:
    cached = read * share // 100
    feature = Feature("f", "F", metered=True, input_per_1000=r, output_per_1000=w, cached_per_1000=r // 2)
    exact = Fraction((read - cached) * r + cached * (r // 2) + written * w, 1000)
    assert metered_cost(feature, read, written, cached) == ceil(exact)


@pytest.mark.parametrize(("read", "written", "cached"), [(-1, 0, 0), (0, -1, 0), (10, 0, 11), (10, 0, -1)])
def test_impossible_token_counts_are_bugs(read: int, written: int, cached: int) -> None:
    with pytest.raises(AssertionError):
        metered_cost(MODEL, read, written, cached)


def test_each_kind_of_price_has_its_own_function() -> None:
    with pytest.raises(AssertionError, match="metered"):
        cost(MODEL)
    with pytest.raises(AssertionError, match="fixed price"):
        metered_cost(GOALS.features["generate_goal"], 1, 1)


# R-FIN-1: S2 §4 prints 98.6 % and 94.9 % for the plans and 85 % for the packs; the right figures are these.
@pytest.mark.parametrize(
    ("sold", "revenue", "cost_", "fee", "gross", "gross_percent", "net_percent"),
    [
        ("pro", 14_900, 200, 462, 14_700, "98.66", "95.56"),
        ("enterprise", 39_900, 2_000, 1_187, 37_900, "94.99", "92.01"),
        ("token_pack_500", 2_900, 500, 114, 2_400, "82.76", "78.83"),
        ("token_pack_2000", 7_900, 2_000, 259, 5_900, "74.68", "71.41"),
    ],
)
def test_margins_of_goals(
    sold: str, revenue: int, cost_: int, fee: int, gross: int, gross_percent: str, net_percent: str
) -> None:
    margin = (
        plan_margin(GOALS.plans[sold], GOALS.costs)
        if sold in GOALS.plans
        else pack_margin(GOALS.packs[sold], GOALS.costs)
    )
    assert margin == Margin(revenue, cost_, fee)
    assert margin.gross == gross
    assert margin.net == gross - fee
    assert (margin.gross_percent(2), margin.net_percent(2)) == (gross_percent, net_percent)


@pytest.mark.parametrize(
    ("pack", "gross", "net"), [("token_pack_500", "82.8", "78.8"), ("token_pack_2000", "74.7", "71.4")]
)
def test_pack_margins_as_the_readings_state_them(pack: str, gross: str, net: str) -> None:
    margin = pack_margin(GOALS.packs[pack], GOALS.costs)
    assert (margin.gross_percent(), margin.net_percent()) == (gross, net)


# R-FIN-1: S2 §4 margin health check
@pytest.mark.parametrize(("plan", "minimum"), [("pro", 10_000), ("enterprise", 30_000)])
def test_the_plans_of_goals_are_healthy(plan: str, minimum: int) -> None:
    margin = plan_margin(GOALS.plans[plan], GOALS.costs)
    assert GOALS.plans[plan].margin_min == minimum
    assert margin is not None
    assert margin.gross > minimum


def test_margins_on_used_tokens_and_on_granted_tokens() -> None:
    pro, costs = GOALS.plans["pro"], GOALS.costs
    used, granted = plan_margin(pro, costs, 100), plan_margin(pro, costs)
    assert used == Margin(14_900, 100, 462)
    assert granted == Margin(14_900, 200, 462)
    assert pack_margin(GOALS.packs["token_pack_500"], costs, 0) == Margin(2_900, 0, 114)


def test_a_free_plan_has_no_percentage() -> None:
    margin = plan_margin(GOALS.plans["starter"], GOALS.costs)
    assert margin == Margin(0, 0, 0)
    assert margin.gross_percent() is None
    assert margin.net_percent() is None


def plan(
    price: int | None, tokens: int, *, unlimited: bool, fair_use: int | None = None, periods: int = 1
) -> Plan:
    return Plan(
        "p",
        0,
        "P",
        price,
        tokens,
        frozenset(),
        {},
        unlimited=unlimited,
        fair_use=fair_use,
        periods_per_payment=periods,
    )


def test_what_has_no_bound_has_no_margin_on_granted_tokens() -> None:
    costs = Costs(1_000_000, 290, 30)
    assert plan_margin(plan(None, 100, unlimited=False), costs) is None
    assert plan_margin(plan(10_000, 0, unlimited=True), costs) is None
    assert plan_margin(plan(10_000, 0, unlimited=True), costs, 300) == Margin(10_000, 300, 320)
    assert plan_margin(plan(10_000, 0, unlimited=True, fair_use=200), costs) == Margin(10_000, 200, 320)


def test_an_annual_payment_pays_for_the_tokens_of_twelve_periods() -> None:
    # R-PLAN-4
    assert plan_margin(plan(100_000, 200, unlimited=False, periods=12), Costs(1_000_000, 290, 30)) == Margin(
        100_000, 2_400, 2_930
    )


@pytest.mark.parametrize(
    ("tokens", "per_million", "minor"),
    [
        (0, 1_000_000, 0),
        (1, 1_000_000, 1),
        (49, 10_000, 0),
        (50, 10_000, 1),
        (1_200, 1_000, 1),
        (10**15, 15, 15 * 10**9),
    ],
)
def test_token_cost_rounds_half_up(tokens: int, per_million: int, minor: int) -> None:
    assert token_cost(tokens, Costs(per_million)) == minor


@pytest.mark.parametrize(("price", "fee"), [(0, 0), (2_900, 114), (7_900, 259), (1, 30), (17, 30), (18, 31)])
def test_card_fee_rounds_half_up(price: int, fee: int) -> None:
    """2.9 % of 17 cents is 0.493, of 18 cents 0.522."""
    assert card_fee(price, Costs(0, 290, 30)) == fee


@given(st.integers(1, 10**12), st.integers(1, TOKENS_MAX), st.integers(0, 10**9))
def test_a_margin_adds_up(price: int, tokens: int, per_million: int) -> None:
    margin = pack_margin(Pack("p", "P", tokens, price), Costs(per_million))
    assert margin.revenue == margin.net + margin.fee + margin.cost


def test_what_comes_on_top_costs_too() -> None:
    # R-FIN-1, R-PACK-8: 1,000 tokens cost a cent
    pack = replace(SHOP.packs["gpt_4_team"], bonus_tokens=50_000)
    assert pack_margin(pack, SHOP.costs).cost == 300
    yearly = plan_margin(SHOP.plans["developer_yearly"], SHOP.costs)
    assert yearly is not None
    assert yearly.cost == (12 * 1_000_000 + 500_000) // 1_000
