"""R-PLAN-4, R-PLAN-5, R-LIC-1, R-LIC-3: periods, resets, rollover, plan changes. R-PLAN-8: warnings."""

import pytest
from msgspec import structs

from tests.support.desk import Desk, change_plan, ms, preset, without_limits
from tokentill.rules import commands as c
from tokentill.rules import entries as e
from tokentill.rules import warnings
from tokentill.rules.catalog import Catalog, Exhaustion, LowBalance, Overage, Rollover
from tokentill.rules.receipts import receipt
from tokentill.rules.refusals import Code

GOALS = without_limits(preset("goals"))
ANALYSIS = without_limits(preset("analysis"))


def starter(**changes: object) -> Catalog:
    return change_plan(ANALYSIS, "starter", **changes)


# R-PLAN-4: 31 January → 28 February → 31 March, each from the anchor
@pytest.mark.parametrize(
    ("anchor", "resets"),
    [
        ("2025-01-31", ["2025-02-28", "2025-03-31", "2025-04-30", "2025-05-31"]),
        ("2024-01-30", ["2024-02-29", "2024-03-30", "2024-04-30", "2024-05-30"]),
        ("2024-02-29", ["2024-03-29", "2024-04-29", "2024-05-29", "2024-06-29"]),
    ],
)
def test_resets_on_the_anchor_day(anchor: str, resets: list[str]) -> None:
    desk = Desk(GOALS, "pro", at=anchor)
    for reset in resets:
        assert desk.view().reset_at == ms(reset)
        desk.until(reset)


# R-PLAN-4: S1's 30-day cycle; "next reset: 16 days after the 15th"
def test_a_thirty_day_cycle() -> None:
    desk = Desk(ANALYSIS, "starter")
    desk.until("2025-01-15")
    assert desk.view().reset_at == ms("2025-01-31") == desk.now + 16 * 86_400_000


# R-PLAN-4, I12: one grant for each period, however late somebody comes by
def test_every_missed_period_is_granted_once() -> None:
    desk = Desk(GOALS, "pro")
    desk.until("2025-12-15")
    desk.view()
    desk.view()
    grants = [entry for entry in desk.journal if isinstance(entry, e.Granted)]
    assert len(grants) == 12
    assert len({entry.key for entry in grants}) == 12
    assert desk.view().remaining == 200


# R-PLAN-4: opening with an anchor in the past begins in the running period
def test_an_account_may_begin_in_the_middle_of_a_period() -> None:
    desk = Desk(GOALS, "pro", at="2025-03-20", anchor="2025-01-31")
    view = desk.view()
    assert (view.period_start, view.reset_at) == (ms("2025-02-28"), ms("2025-03-31"))


# R-PLAN-5: Option C, "50 granted, 30 used → 70 next month"
@pytest.mark.parametrize(
    ("rollover", "next_month"),
    [
        (Rollover("none"), 50),
        (Rollover("capped"), 70),
        (Rollover("capped", cap=15), 65),
        (Rollover("unlimited"), 70),
    ],
)
def test_rollover(rollover: Rollover, next_month: int) -> None:
    desk = Desk(starter(rollover=rollover), "starter")
    desk.charge("suite_analyzer", 30)
    desk.until("2025-01-31")
    assert desk.view().remaining == next_month


# R-PLAN-5: the cap defaults to one period's allowance; unlimited has none
@pytest.mark.parametrize(("mode", "after_a_year"), [("none", 50), ("capped", 100), ("unlimited", 13 * 50)])
def test_a_year_of_rollover(mode: str, after_a_year: int) -> None:
    desk = Desk(starter(rollover=Rollover(mode)), "starter")  # type: ignore[arg-type]  # one of its literals
    desk.wait(days=12 * 30)
    assert desk.view().remaining == after_a_year


# R-PLAN-5: what is held at the reset is pinned to its lot and not carried
def test_held_tokens_do_not_roll_over() -> None:
    desk = Desk(starter(rollover=Rollover("unlimited")), "starter")
    desk.until("2025-01-30T23:59:50")
    desk.hold("suite_analyzer", quantity=10)
    desk.until("2025-01-31")
    assert desk.view().remaining == 50 + 40


# R-PLAN-4: an upgrade takes effect at once: credit for the unused share, a new period, the full allowance
def test_an_upgrade_takes_effect_at_once() -> None:
    desk = Desk(ANALYSIS, "starter")
    desk.charge("suite_analyzer", 50)
    desk.until("2025-01-16")
    receipt = desk.ok(c.ChangePlan(plan="professional"))
    assert (receipt.plan, receipt.credit, receipt.due) == ("professional", 2000, 7999)  # 39.99 / 2, half up
    view = desk.view()
    assert (view.plan, view.remaining, view.period_start) == ("professional", 150, ms("2025-01-16"))


# R-PLAN-4: how the unused share is measured is the catalog's choice
@pytest.mark.parametrize(("measure", "credit"), [("time", 2666), ("tokens", 1600), ("none", 0)])
def test_the_unused_share(measure: str, credit: int) -> None:
    desk = Desk(structs.replace(ANALYSIS, upgrade_credit=measure), "starter")
    desk.charge("suite_analyzer", 30)
    desk.until("2025-01-11")
    assert desk.ok(c.ChangePlan(plan="professional")).credit == credit


# R-PLAN-4: what a running operation holds is not used yet
def test_what_is_held_counts_as_unused() -> None:
    desk = Desk(structs.replace(ANALYSIS, upgrade_credit="tokens"), "starter")
    desk.charge("suite_analyzer", 30)
    desk.hold("suite_analyzer", quantity=10)
    assert desk.ok(c.ChangePlan(plan="professional")).credit == 1600


# R-PLAN-4
def test_without_a_plan_there_is_nothing_to_cancel() -> None:
    desk = Desk(GOALS)
    refusal = desk.no(c.ChangePlan(plan=None))
    assert (refusal.code, refusal.message) == (
        Code.NOT_POSSIBLE,
        "The organization has no plan, so there is nothing to cancel.",
    )


# R-PLAN-4: annual plans bring their tokens monthly; unused months count as unused
def test_an_annual_plan_grants_monthly() -> None:
    catalog = change_plan(GOALS, "pro", periods_per_payment=12, price=148_800)
    desk = Desk(catalog, "pro")
    desk.until("2025-02-01")
    assert desk.view().remaining == 200
    assert desk.ok(c.ChangePlan(plan="enterprise")).credit == 148_800 * 11 // 12


# R-PLAN-4: a downgrade and a cancellation wait for the period's end, and can be withdrawn
def test_a_downgrade_waits_for_the_period_end() -> None:
    desk = Desk(GOALS, "enterprise")
    desk.charge("generate_goal", 100)
    desk.ok(c.ChangePlan(plan="pro"))
    assert desk.view().remaining == 1700
    assert desk.view().scheduled_plan == "pro"
    desk.until("2025-02-01")
    view = desk.view()
    assert (view.plan, view.remaining, view.scheduled) == ("pro", 200, False)


# R-PLAN-4
def test_cancelling_keeps_the_period_and_the_packs() -> None:
    desk = Desk(GOALS, "pro")
    desk.ok(c.Grant(tokens=500, origin="pack"))
    desk.ok(c.ChangePlan(plan=None))
    assert desk.view().remaining == 700
    desk.until("2025-02-01")
    view = desk.view()
    assert (view.plan, view.reset_at, view.remaining) == (None, None, 500)
    assert desk.no(c.Charge(feature="generate_goal", user="ann")).code == Code.NO_PLAN
    desk.wait(days=400)
    assert desk.view().remaining == 500


# R-PLAN-4
def test_a_scheduled_change_can_be_withdrawn() -> None:
    desk = Desk(GOALS, "enterprise")
    desk.ok(c.ChangePlan(plan="pro"))
    desk.ok(c.ChangePlan(plan="enterprise"))
    desk.until("2025-02-01")
    assert desk.view().plan == "enterprise"
    assert desk.no(c.ChangePlan(plan="enterprise")).code == Code.NOT_POSSIBLE
    assert desk.no(c.ChangePlan(plan="gold")).code == Code.UNKNOWN_PLAN


# R-PLAN-4: the payment provider's period end wins where it bills
def test_the_providers_period_wins() -> None:
    desk = Desk(GOALS, "pro")
    desk.charge("generate_goal", 10)
    desk.until("2025-01-20")
    desk.ok(c.Reset(end=ms("2025-02-22")))
    view = desk.view()
    assert (view.remaining, view.period_start, view.reset_at) == (200, ms("2025-01-20"), ms("2025-02-22"))
    desk.until("2025-02-22")
    assert desk.view().reset_at == ms("2025-03-22")


# R-PLAN-4: a change that waits for the period's end takes effect when the provider says that it has come
@pytest.mark.parametrize(
    ("to", "kinds", "plan", "remaining"),
    [("pro", ["expiry", "plan", "reset", "grant"], "pro", 200), (None, ["expiry", "plan"], None, 0)],
)
def test_the_providers_reset_applies_what_was_scheduled(
    to: str | None, kinds: list[str], plan: str | None, remaining: int
) -> None:
    desk = Desk(GOALS, "enterprise")
    desk.ok(c.ChangePlan(plan=to))
    desk.until("2025-01-31T22:00")
    told = desk.ok(c.Reset(end=ms("2025-03-01")), key="invoice 7")
    assert desk.kinds() == kinds
    view = desk.view()
    assert (view.plan, view.remaining, view.scheduled, told.plan) == (plan, remaining, False, plan)
    assert view.reset_at == (None if plan is None else ms("2025-03-01"))
    again = desk.ok(c.Reset(end=ms("2025-03-01")), key="invoice 7")
    assert (again.replayed, again.entry) == (True, told.entry)


# R-PLAN-6: Option B, "$39.99 + 15 × $1.50 = $62.49", billed at period end
def test_overage_is_billed_at_period_end() -> None:
    catalog = starter(exhaustion=Exhaustion(overage=Overage(price=150)))
    desk = Desk(catalog, "starter")
    desk.charge("suite_analyzer", 65)
    view = desk.view()
    assert (view.overage_tokens, view.overage_amount) == (15, 2250)
    desk.until("2025-01-31")
    desk.view()
    bill = next(entry for entry in desk.journal if isinstance(entry, e.OverageBilled))
    assert catalog.plans["starter"].price == 3999
    assert (bill.tokens, bill.amount, 3999 + bill.amount) == (15, 2250, 6249)
    assert desk.view().overage_amount == 0


# R-PLAN-6: what is settled after the plan was cancelled is on a bill of its own
def test_overage_without_a_period_is_billed_at_once() -> None:
    desk = Desk(starter(exhaustion=Exhaustion(overage=Overage(price=150))), "starter")
    desk.charge("suite_analyzer", 50)
    hold = desk.hold("suite_analyzer", quantity=4)
    desk.ok(c.ChangePlan(plan=None, when="now"))
    desk.ok(c.Settle(hold=hold, tokens=3))
    bill = desk.last[1]
    assert isinstance(bill, e.OverageBilled)
    assert (bill.tokens, bill.amount, bill.start, bill.end) == (3, 450, bill.time, bill.time)
    assert desk.view().overage_amount == 0
    desk.ok(c.Refund(operation=hold))
    assert desk.view().overage_credit == 450


# R-LED-7: overage given back after it was billed is taken off the next bill, and never makes one negative
def test_overage_given_back_after_its_bill() -> None:
    desk = Desk(starter(exhaustion=Exhaustion(overage=Overage(price=150))), "starter")
    operation = desk.ok(c.Charge(feature="suite_analyzer", user="ann", quantity=60)).operation
    desk.until("2025-01-31")
    told = desk.ok(c.Refund(operation=operation, tokens=10))
    assert (told.amount, desk.view().overage_credit) == (1500, 1500)
    for period_end, used, bill, left in [
        ("2025-03-02", 54, (0, 600), 900),
        ("2025-04-01", 60, (600, 900), 0),
    ]:
        desk.charge("suite_analyzer", quantity=used)
        desk.until(period_end)
        assert desk.view().overage_credit == left
        bills = [(entry.amount, entry.credit) for entry in desk.journal if isinstance(entry, e.OverageBilled)]
        assert bills[-1] == bill
    assert desk.replayed().dump() == desk.account.dump()


# R-LED-3 over a reset: overage of a hold counts where it is settled
def test_a_held_overage_is_charged_to_the_period_it_ends_in() -> None:
    desk = Desk(starter(exhaustion=Exhaustion(overage=Overage(price=150))), "starter")
    desk.charge("suite_analyzer", 50)
    desk.until("2025-01-30T23:59:50")
    hold = desk.hold("suite_analyzer", quantity=4)
    desk.until("2025-01-31")
    desk.ok(c.Settle(hold=hold, tokens=3))
    assert desk.view().overage_amount == 450


# R-PLAN-8: "≤ 20 % of the allowance and ≤ 10 tokens, once per crossing"
def test_low_balance_warns_once_for_each_crossing() -> None:
    desk = Desk(GOALS, "pro")
    warned = []
    for _ in range(66):
        desk.charge("generate_goal")
        warned += [(entry.code, entry.tokens) for entry in desk.last if isinstance(entry, e.Warned)]
    assert warned == [("percent", 38), ("tokens", 8)]
    desk.ok(c.Grant(tokens=100, origin="pack"))
    desk.charge("generate_goal", quantity=25)
    assert [entry.code for entry in desk.last if isinstance(entry, e.Warned)] == ["percent"]


# R-PLAN-8: bought tokens that end are warned of a week before, once, if something is left of them
@pytest.mark.parametrize(
    ("days", "valid_days", "left", "warned"),
    [
        (7, 30, 500, [("2025-01-24", 500)]),
        (7, 30, 2, [("2025-01-24", 2)]),
        (7, 30, 0, []),
        (1, 30, 500, [("2025-01-30", 500)]),
        (7, 7, 500, []),
        (None, 30, 500, []),
        (7, None, 500, []),
    ],
)
def test_expiring_tokens_are_warned_of(
    days: int | None, valid_days: int | None, left: int, warned: list[tuple[str, int]]
) -> None:
    desk = Desk(structs.replace(GOALS, low_balance=LowBalance(None, None, days)))
    expires = None if valid_days is None else desk.now + valid_days * 86_400_000
    lot = desk.ok(c.Grant(tokens=500, origin="pack", expires_at=expires)).lot
    if left < 500:
        desk.ok(c.Revoke(lot=lot, tokens=500 - left))
    for day in range(2, 32):
        desk.until(f"2025-01-{day:02}")
        desk.view()
    found = [entry for entry in desk.journal if isinstance(entry, e.Warned) and entry.code == "expiring"]
    assert [(entry.time, entry.tokens) for entry in found] == [(ms(day), n) for day, n in warned]
    assert all((entry.lot, entry.expires_at) == (lot, expires) for entry in found)
    assert desk.replayed().dump() == desk.account.dump()


# R-PLAN-8, R-LIC-1: while payment is failed bought tokens do not age, and their warning waits with them
def test_the_warning_of_expiring_tokens_waits_with_them() -> None:
    desk = Desk(GOALS, "pro")
    desk.ok(c.Grant(tokens=500, origin="pack", expires_at=ms("2025-01-21")))
    desk.until("2025-01-10")
    desk.ok(c.Freeze())
    desk.until("2025-01-30")
    desk.ok(c.Restore())
    desk.until("2025-02-02")
    desk.view()
    assert not [entry for entry in desk.journal if isinstance(entry, e.Warned)]
    desk.until("2025-02-03")
    desk.view()
    assert [entry.expires_at for entry in desk.journal if isinstance(entry, e.Warned)] == [ms("2025-02-10")]


# R-PLAN-8: tokens that come back to a lot that was empty are warned of then
def test_tokens_that_come_back_are_warned_of() -> None:
    desk = Desk(structs.replace(GOALS, low_balance=LowBalance(None, None)), "pro")
    desk.charge("generate_goal", quantity=66)
    desk.ok(c.Grant(tokens=4, origin="pack", expires_at=ms("2025-01-21")))
    hold = desk.hold("generate_goal", quantity=2, timeout_ms=86_400_000)
    desk.until("2025-01-14")
    desk.view()
    desk.wait(days=1)
    desk.view()
    assert hold not in desk.account.state.holds
    assert [(entry.code, entry.tokens) for entry in desk.journal if isinstance(entry, e.Warned)] == [
        ("expiring", 4)
    ]


# R-PLAN-8: what is held is not spent; coming and going warns nobody
def test_holds_that_come_and_go_do_not_warn() -> None:
    desk = Desk(GOALS, "pro")
    for _ in range(3):
        desk.ok(c.Release(hold=desk.hold("generate_goal", quantity=60), reason="cancelled"))
    assert not [entry for entry in desk.journal if isinstance(entry, e.Warned)]


# R-PLAN-8: for a pack-only customer, 20 % of what the newest lot brought
def test_low_balance_of_a_pack_only_customer() -> None:
    shop = without_limits(preset("shop"))
    desk = Desk(structs.replace(shop, low_balance=LowBalance(percent=20, tokens=None)))
    desk.ok(c.Grant(tokens=50_000, origin="pack"))
    feature = next(name for name, known in shop.features.items() if known.metered)
    desk.charge(feature, tokens=39_999)
    assert desk.kinds() == ["charge"]
    desk.charge(feature, tokens=1)
    assert desk.kinds() == ["charge", "warning"]


# R-LIC-1: failed payment sets the tokens aside the same moment; R-LIC-3: restored whole on any day
@pytest.mark.parametrize("days", [0, 1, 14, 15, 20])
def test_payment_failed_and_fixed_within_the_period(days: int) -> None:
    desk = Desk(GOALS, "pro")
    desk.ok(c.Grant(tokens=500, origin="pack", expires_at=ms("2025-06-01")))
    desk.charge("generate_goal", 10)
    desk.ok(c.Freeze())
    view = desk.view()
    assert (view.remaining, view.set_aside) == (0, 670)
    desk.wait(days=days)
    desk.ok(c.Restore())
    view = desk.view()
    assert (view.remaining, view.set_aside, view.standing) == (670, 0, "active")
    assert desk.account.state.lots[2].expires_at == ms("2025-06-01") + days * 86_400_000


# R-LIC-1: plan tokens only within their own period, packs always
def test_payment_fixed_in_a_later_period() -> None:
    desk = Desk(GOALS, "pro")
    desk.ok(c.Grant(tokens=500, origin="pack", expires_at=ms("2025-02-10")))
    desk.until("2025-01-30")
    desk.ok(c.Freeze())
    desk.until("2025-02-20")
    assert desk.view().set_aside == 500
    desk.ok(c.Restore())
    assert desk.kinds() == ["restore", "grant"]
    view = desk.view()
    assert (view.monthly, view.additional, view.reset_at) == (200, 500, ms("2025-03-01"))


# R-LIC-1: what runs while payment fails stays chargeable; what it gives back is set aside too
def test_operations_in_flight_survive_a_failed_payment() -> None:
    desk = Desk(GOALS, "pro")
    kept, given_back = desk.hold("generate_goal"), desk.hold("generate_goal")
    desk.ok(c.Freeze())
    desk.ok(c.Settle(hold=kept))
    desk.ok(c.Release(hold=given_back))
    assert desk.view().set_aside == 197


# R-LIC-5: no overage accrues while payment is failed
def test_no_overage_accrues_while_payment_is_failed() -> None:
    desk = Desk(starter(exhaustion=Exhaustion(overage=Overage(price=150))), "starter")
    desk.charge("suite_analyzer", 50)
    hold = desk.hold("suite_analyzer")
    desk.ok(c.Freeze())
    assert desk.ok(c.Settle(hold=hold)).amount == 0
    assert desk.view().overage_amount == 0
    assert desk.no(c.Charge(feature="suite_analyzer", user="ann")).code == Code.LICENCE


# R-PLAN-8: it names the days until the reset and a pack that lasts until then at the customer's own pace
def test_the_notice_names_days_and_a_pack() -> None:
    desk = Desk(ANALYSIS, "starter")
    assert warnings.notice(desk.account, ANALYSIS, desk.now) is None
    desk.until("2025-01-15")
    desk.charge("suite_analyzer", 42)  # 3 a day for 14 days, so 48 more by the reset and 8 left
    notice = warnings.notice(desk.account, ANALYSIS, desk.now)
    assert notice is not None
    assert notice.text == ("You're running low on tokens. Purchase more tokens or wait 16 days for reset.")
    assert (notice.left, notice.days, notice.link) == (8, 16, "/account/buy-credits")
    assert notice.recommended is not None
    assert notice.recommended.label == "Buy 50 tokens ($45)"
    desk.charge("suite_analyzer", 8)
    notice = warnings.notice(desk.account, ANALYSIS, desk.now)
    assert notice is not None
    assert notice.code == "exhausted"
    desk.until("2025-01-31")
    desk.view()
    assert warnings.notice(desk.account, ANALYSIS, desk.now) is None


# R-PLAN-4: what was paid keeps its terms, whatever the catalog says later
def test_an_upgrade_credits_what_was_paid() -> None:
    desk = Desk(GOALS, "pro")
    desk.catalog = change_plan(GOALS, "pro", price=99_900, periods_per_payment=12)
    desk.until("2025-01-16T12:00:00")
    assert desk.ok(c.ChangePlan(plan="enterprise")).credit == 14_900 // 2


# R-PLAN-4: a downgrade at the period's end keeps the anchor of a like cycle
def test_a_downgrade_keeps_the_anchor() -> None:
    desk = Desk(GOALS, "enterprise", at="2025-01-31")
    desk.ok(c.ChangePlan(plan="pro"))
    desk.until("2025-02-28")
    assert desk.view().plan == "pro"
    assert desk.view().reset_at == ms("2025-03-31")


# R-PLAN-5: a change at the period's end carries what both plans allow
@pytest.mark.parametrize(
    ("new", "carried"), [(Rollover("unlimited"), 1999), (Rollover("capped", cap=7), 7), (Rollover(), 0)]
)
def test_a_change_of_plan_carries_what_both_allow(new: Rollover, carried: int) -> None:
    catalog = change_plan(
        change_plan(GOALS, "enterprise", rollover=Rollover("unlimited")), "pro", rollover=new
    )
    desk = Desk(catalog, "enterprise")
    desk.ok(c.Adjust(tokens=-1, reason="to make it odd", actor="kim"))
    desk.ok(c.ChangePlan(plan="pro"))
    desk.until("2025-02-01")
    assert desk.view().remaining == 200 + carried


# R-LED-9: the receipt of opening, changing or resetting shows the balance with the new allowance
def test_receipts_of_plans_show_what_they_bring() -> None:
    desk = Desk(GOALS, "pro")
    assert receipt(desk.journal[0]).balance == 200
    desk.until("2025-01-10")
    assert desk.ok(c.ChangePlan(plan="enterprise")).balance == 2000
    desk.until("2025-01-20")
    assert desk.ok(c.Reset()).balance == 2000
    desk.ok(c.Freeze())
    desk.until("2025-03-01")
    assert desk.ok(c.Restore()).balance == 2000 == desk.view().remaining


# R-PLAN-8: on a plan that brings nothing, low is measured against the newest lot
def test_low_balance_without_an_allowance() -> None:
    desk = Desk(change_plan(GOALS, "pro", tokens=0), "pro")
    desk.ok(c.Grant(tokens=500, origin="pack"))
    desk.charge("generate_goal", quantity=134)
    assert desk.kinds() == ["charge", "warning"]
    moved = Desk(ANALYSIS, "professional")
    moved.charge("suite_analyzer", 140)
    assert moved.view().notice is not None
    moved.ok(c.ChangePlan(plan="enterprise"))
    assert moved.view().notice is None
