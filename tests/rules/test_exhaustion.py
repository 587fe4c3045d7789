"""R-PLAN-6, R-PLAN-7, R-PLAN-9: what happens when the balance is below the cost, and every way out."""

import pytest

from tests.support.desk import Desk, change_plan, ms, preset, without_limits
from tokentill.rules import commands as c
from tokentill.rules.catalog import Exhaustion, Overage
from tokentill.rules.refusals import Code, Refusal

GOALS = without_limits(preset("goals"))
ANALYSIS = without_limits(preset("analysis"))


def exhausted(plan: str = "pro", **changes: object) -> Desk:
    desk = Desk(change_plan(GOALS, plan, **changes), plan)
    desk.charge("generate_goal", quantity=GOALS.plans[plan].tokens // 3)
    return desk


def ask(desk: Desk) -> Refusal:
    return desk.no(c.Charge(feature="generate_goal", user="ann"))


# R-PLAN-6, R-PLAN-7: S2 §2, hard block with its two messages and the modal's two ways
def test_hard_block_says_what_s2_says() -> None:
    refusal = ask(exhausted())
    assert refusal.code == Code.EXHAUSTED
    assert refusal.headline == "You've used all your tokens"
    assert refusal.message == "You've reached your limit. Upgrade or purchase credits."
    assert (refusal.balance, refusal.needed) == (2, 3)
    assert refusal.purchase_link == "/account/buy-credits"
    assert refusal.reset_at == ms("2025-02-01")
    labels = [way.label for way in refusal.ways_out]
    assert "Upgrade to Enterprise ($399/mo)" in labels
    assert "Buy 500 tokens ($29)" in labels
    assert labels[-1] == "Wait 31 days for the reset"


# R-PLAN-7: ways that bring enough first, cheapest first, waiting last; each with its price
def test_ways_out_are_priced_and_ranked() -> None:
    desk = Desk(ANALYSIS, "starter")
    desk.charge("suite_analyzer", 50)
    desk.until("2025-01-15")
    refusal = desk.no(c.Reserve(feature="suite_analyzer", user="ann", quantity=30))
    ways = [(way.kind, way.tokens, way.price, way.per_token) for way in refusal.ways_out]
    assert ways == [
        ("pack", 50, 4500, "$0.90"),
        ("pack", 100, 8000, "$0.80"),
        ("upgrade", 150, 9999, "$0.6666"),
        ("pack", 25, 2500, "$1.00"),
        ("wait", None, None, None),
    ]
    assert refusal.ways_out[-1].days == 16


# R-PLAN-7, readings: a Starter sees Pro first; on the highest plan no upgrade is shown
def test_the_next_plan_up() -> None:
    starter = Desk(GOALS, "starter")
    refusal = ask(starter)
    assert refusal.code == Code.NOT_IN_PLAN
    assert [way.label for way in refusal.ways_out] == ["Upgrade to Pro ($149/mo)"]
    top = ask(exhausted("enterprise"))
    assert {way.kind for way in top.ways_out} == {"pack", "wait"}


# R-PLAN-6: "exhaustion at 0" means below the cost of the operation
def test_a_balance_below_the_cost_is_exhausted() -> None:
    desk = exhausted()
    assert desk.view().remaining == 2
    assert ask(desk).code == Code.EXHAUSTED


# R-PLAN-6: n grace uses a period, then the block
def test_grace_uses() -> None:
    desk = exhausted(exhaustion=Exhaustion(grace_uses=2))
    desk.charge("generate_goal")
    desk.ok(c.Release(hold=desk.hold("generate_goal")))
    desk.charge("generate_goal")
    assert ask(desk).code == Code.EXHAUSTED
    assert desk.view().grace_used == 2
    desk.until("2025-02-01")
    assert desk.view().grace_used == 0


# R-PLAN-6: overage up to the spending cap the customer set, running operations included
def test_overage_stops_at_the_customers_cap() -> None:
    desk = exhausted(exhaustion=Exhaustion(overage=Overage(price=150, cap=None)))
    desk.ok(c.SetCap(cap=700))
    desk.charge("generate_goal")  # 2 from the plan, 1 beyond: 150
    hold = desk.hold("generate_goal")  # 450 held, 600 of 700
    assert ask(desk).code == Code.HELD  # only the running operation stands in the way
    desk.ok(c.Settle(hold=hold))
    assert desk.view().overage_amount == 600
    refusal = ask(desk)
    assert refusal.code == Code.SPENDING_CAP
    assert "raise_cap" in {way.kind for way in refusal.ways_out}
    desk.ok(c.SetCap(cap=None))
    desk.charge("generate_goal")
    assert desk.view().overage_amount == 1050


# R-PLAN-6: an unlimited plan meters without a limit, up to its fair use; packs are not spent under it
def test_unlimited_is_metered_up_to_fair_use() -> None:
    desk = Desk(change_plan(ANALYSIS, "enterprise", fair_use=100), "enterprise")
    desk.ok(c.Grant(tokens=1, origin="pack"))
    desk.charge("suite_analyzer", 100)
    view = desk.view()
    assert (view.unlimited_used, view.remaining) == (100, 1)
    desk.charge("suite_analyzer")
    assert desk.view().remaining == 0
    assert desk.no(c.Charge(feature="suite_analyzer", user="ann")).code == Code.EXHAUSTED


# R-PLAN-7, peers: if only holds stand in the way, wait and never pay
def test_tokens_held_by_running_operations_are_no_reason_to_buy() -> None:
    desk = Desk(GOALS, "pro")
    desk.hold("generate_goal", quantity=66)
    refusal = ask(desk)
    assert refusal.code == Code.HELD
    assert refusal.ways_out == ()
    assert refusal.retry_after_ms == 1000


# R-PLAN-9: options A to D switched per plan in the catalog, no code touched
@pytest.mark.parametrize(
    ("policy", "kinds"),
    [
        (Exhaustion(), {"upgrade", "pack", "wait"}),
        (Exhaustion(packs=False), {"upgrade", "wait"}),
        (Exhaustion(wait=False), {"upgrade", "pack"}),
        (Exhaustion(upgrade=False), {"pack", "wait"}),
        (Exhaustion(packs=False, upgrade=False), {"wait"}),
        (Exhaustion(overage=Overage(100, cap=0)), {"upgrade", "pack", "wait", "raise_cap"}),
    ],
)
def test_each_option_is_switched_in_the_catalog(policy: Exhaustion, kinds: set[str]) -> None:
    assert {way.kind for way in ask(exhausted(exhaustion=policy)).ways_out} == kinds


# R-PLAN-7: no plan at all still shows the way in
def test_without_a_plan_the_way_out_is_a_plan() -> None:
    refusal = ask(Desk(GOALS, None))
    assert refusal.code == Code.NO_PLAN
    assert [way.id for way in refusal.ways_out] == ["pro"]


# R-PLAN-6: a grace use that came to nothing can be used again
def test_a_grace_use_comes_back() -> None:
    desk = exhausted(exhaustion=Exhaustion(grace_uses=1))
    charged = desk.ok(c.Charge(feature="generate_goal", user="ann"))
    assert desk.view().grace_used == 1
    desk.ok(c.Refund(operation=charged.operation))
    assert desk.view().grace_used == 0
    hold = desk.hold("generate_goal")
    assert desk.view().grace_used == 1
    desk.ok(c.Settle(hold=hold, tokens=2))
    assert desk.view().grace_used == 0


# R-PLAN-6, R-PLAN-7: where only running operations fill the fair use, wait
def test_a_full_fair_use_that_comes_back_is_no_reason_to_pay() -> None:
    desk = Desk(change_plan(ANALYSIS, "enterprise", fair_use=10), "enterprise")
    desk.hold("suite_analyzer", quantity=10)
    assert desk.no(c.Reserve(feature="suite_analyzer", user="ann")).code == Code.HELD


# R-PLAN-7: how often a plan is paid stands behind its price
@pytest.mark.parametrize(("periods", "label"), [(1, "/mo)"), (3, "/quarter)"), (12, "/yr)"), (6, "/6 mo)")])
def test_the_price_says_how_often(periods: int, label: str) -> None:
    catalog = change_plan(GOALS, "enterprise", periods_per_payment=periods)
    desk = Desk(catalog, "pro")
    desk.charge("generate_goal", quantity=66)
    assert any(way.label.endswith(label) for way in ask(desk).ways_out)
