"""R-PLAN-4: where a payment provider bills the plan. R-LIC-1, R-LIC-3: and what happens when its invoice is not paid."""

import pytest
from msgspec import structs

from tests.support.desk import DAY, Desk, change_plan, ms, preset, without_limits
from tokentill.rules import commands as c
from tokentill.rules import entries as e
from tokentill.rules.catalog import Catalog, Exhaustion, Overage, Rollover
from tokentill.rules.refusals import Code

GOALS = without_limits(preset("goals"))
END = ms("2025-02-01")


def billed(catalog: Catalog = GOALS, plan: str = "pro", end: int | None = END) -> Desk:
    """On a plan that a provider bills; its first invoice, for January, is paid."""
    desk = Desk(catalog)
    desk.ok(c.ChangePlan(plan=plan, end=end, billed=True))
    return desk


def periods(desk: Desk) -> list[tuple[int, int]]:
    """Start and end of every period."""
    return [(entry.start, entry.end) for entry in desk.journal if isinstance(entry, e.PeriodStarted)]


# the end of the period begins nothing by itself: its tokens can be used until the invoice is paid
def test_the_period_goes_on_until_the_invoice_is_paid() -> None:
    desk = billed()
    desk.charge("generate_goal", 10)
    assert (desk.view().billed, desk.view().renewal_due) == (True, False)
    desk.until("2025-02-02")
    view = desk.view()
    assert (view.renewal_due, view.remaining, view.reset_at, view.standing) == (True, 170, END, "active")
    desk.charge("generate_goal")
    told = desk.ok(c.Reset(end=ms("2025-03-01"), billed=True))
    assert (told.kind, told.tokens, told.period_end) == ("reset", 200, ms("2025-03-01"))
    view = desk.view()
    assert (view.renewal_due, view.remaining, view.used) == (False, 200, 0)


# periods are without a gap: a late invoice makes none shorter or longer; one after the wait begins where it comes
@pytest.mark.parametrize(
    ("paid", "start"),
    [
        ("2025-01-31T23:59", "2025-01-31T23:59"),
        ("2025-02-01", "2025-02-01"),
        ("2025-02-03T23:59:59.999", "2025-02-01"),
        ("2025-02-04", "2025-02-04"),
        ("2025-02-20", "2025-02-20"),
    ],
)
def test_where_the_next_period_begins(paid: str, start: str) -> None:
    desk = billed()
    desk.until(paid)
    desk.ok(c.Reset(end=ms("2025-03-01"), billed=True))
    view = desk.view()
    assert (view.period_start, view.reset_at) == (ms(start), ms("2025-03-01"))
    assert (view.remaining, view.standing) == (200, "active")


# without an end the cycle goes on from its own anchor: 31 January, 28 February, 31 March
def test_without_an_end_the_cycle_says_it() -> None:
    desk = Desk(GOALS, at="2025-01-31")
    desk.ok(c.ChangePlan(plan="pro", billed=True))
    for paid, end in [("2025-03-01", "2025-03-31"), ("2025-04-02", "2025-04-30")]:
        desk.until(paid)
        desk.ok(c.Reset(billed=True))
        assert desk.view().reset_at == ms(end)


# R-LIC-1, R-LIC-2: an invoice that stays missing is a failed payment, on the same ladder
@pytest.mark.parametrize(
    ("days", "standing"), [(2, "active"), (3, "past_due"), (4, "grace"), (17, "grace"), (18, "offline")]
)
def test_an_invoice_that_stays_missing(days: int, standing: str) -> None:
    desk = billed()
    desk.ok(c.Grant(tokens=500, origin="pack"))
    desk.wait(ms=END - desk.now, days=days)
    view = desk.view()
    assert view.standing == standing
    assert (view.remaining, view.set_aside) == ((700, 0) if days < 3 else (0, 500))
    frozen = [entry for entry in desk.journal if isinstance(entry, e.Frozen)]
    assert [(entry.failed_at, entry.reason) for entry in frozen] == (
        [] if days < 3 else [(END + 3 * DAY, "renewal missing")]
    )


# the wait is the catalog's
@pytest.mark.parametrize("days", [0, 1, 30])
def test_the_wait_is_the_catalogs(days: int) -> None:
    licence = structs.replace(GOALS.licence, renewal_wait_days=days)
    desk = billed(structs.replace(GOALS, licence=licence))
    desk.wait(ms=END - desk.now - 1, days=days)
    assert desk.view().standing == "active"
    desk.wait(ms=1)
    assert desk.view().standing == "past_due"


# R-LIC-1: told that payment failed, the tokens of the plan are set aside within their own period only
@pytest.mark.parametrize(
    ("failed", "set_aside"), [("2025-01-20", 700), ("2025-02-01", 500), ("2025-02-02", 500)]
)
def test_told_of_a_failure(failed: str, set_aside: int) -> None:
    desk = billed()
    desk.ok(c.Grant(tokens=500, origin="pack"))
    desk.until(failed)
    desk.ok(c.Freeze(by_hand=False))
    assert desk.view().set_aside == set_aside
    desk.until("2025-02-25")
    view = desk.view()
    assert (view.set_aside, view.standing, view.renewal_due) == (500, "offline", True)
    assert len(periods(desk)) == 1


# R-LIC-3: the paid invoice mends it; so does telling that it is mended, before or after
@pytest.mark.parametrize("order", ["reset", "restore reset", "reset restore"])
def test_mended(order: str) -> None:
    desk = billed()
    desk.ok(c.Grant(tokens=500, origin="pack"))
    desk.ok(c.Freeze(by_hand=False))
    desk.until("2025-02-02")
    for what in order.split():
        if what == "reset":
            desk.ok(c.Reset(end=ms("2025-03-01"), billed=True))
        elif desk.account.state.failed_at is None:
            assert desk.no(c.Restore()).code == Code.NOT_POSSIBLE
        else:
            desk.ok(c.Restore())
            assert (desk.view().remaining, desk.view().renewal_due) == (500, True)
    view = desk.view()
    assert (view.remaining, view.standing, view.period_start) == (700, "active", END)
    assert sum(isinstance(entry, e.Granted) and entry.origin == "plan" for entry in desk.journal) == 2


# mended, but the invoice is still missing: it is waited for once more
def test_an_invoice_is_waited_for_anew() -> None:
    desk = billed()
    desk.until("2025-02-10")
    desk.ok(c.Restore())
    desk.until("2025-02-12T23:59")
    assert desk.view().standing == "active"
    desk.until("2025-02-13")
    assert desk.view().standing == "past_due"


# R-PLAN-5: what may roll over does, whether the invoice comes in time, late, or after a failure
@pytest.mark.parametrize("paid", ["2025-02-01", "2025-02-03", "2025-02-09"])
def test_rollover_waits_for_the_invoice(paid: str) -> None:
    desk = billed(change_plan(GOALS, "pro", rollover=Rollover("capped", cap=30)))
    desk.charge("generate_goal", 20)
    desk.until(paid)
    desk.ok(c.Reset(end=ms("2025-03-01"), billed=True))
    assert desk.view().remaining == 230


# R-PLAN-6: what is used beyond the plan while waiting is on the bill of the period that goes on
def test_overage_while_waiting() -> None:
    desk = billed(change_plan(GOALS, "pro", exhaustion=Exhaustion(overage=Overage(price=10))))
    desk.until("2025-02-02")
    operation = desk.ok(c.Charge(feature="generate_goal", user="ann", quantity=70)).operation
    assert desk.view().overage_amount == 100
    desk.wait(hours=1)
    desk.ok(c.Reset(end=ms("2025-03-01"), billed=True))
    bills = [(entry.amount, entry.end) for entry in desk.journal if isinstance(entry, e.OverageBilled)]
    assert bills == [(100, END)]
    desk.ok(c.Refund(operation=operation))
    assert desk.view().overage_amount == 0


# R-PLAN-4, R-PLAN-8: what is over has no unused share, and nobody is told to wait for it
@pytest.mark.parametrize("measure", ["time", "tokens"])
def test_what_is_over_is_over(measure: str) -> None:
    desk = billed(structs.replace(GOALS, upgrade_credit=measure))
    desk.charge("generate_goal", 60)
    desk.until("2025-02-02")
    notice = desk.view().notice
    assert notice is not None
    assert (notice.days, "days" in notice.text) == (None, False)
    refusal = desk.no(c.Charge(feature="generate_goal", user="ann", quantity=9))
    assert "wait" not in [way.kind for way in refusal.ways_out]
    assert desk.ok(c.ChangePlan(plan="enterprise")).credit == 0


# a change that waits: with its invoice if that is billed too, by itself if it is not
@pytest.mark.parametrize(
    ("to", "with_invoice", "at_the_end", "paid"),
    [
        ("pro", True, ("enterprise", True), ("pro", 200, True)),
        ("pro", False, ("pro", False), ("pro", 200, False)),
        (None, False, (None, False), (None, 0, False)),
    ],
)
def test_a_change_at_the_periods_end(
    to: str | None,
    with_invoice: bool,
    at_the_end: tuple[str | None, bool],
    paid: tuple[str | None, int, bool],
) -> None:
    desk = billed(plan="enterprise")
    desk.ok(c.ChangePlan(plan=to, billed=with_invoice))
    desk.until("2025-02-02")
    view = desk.view()
    assert (view.plan, view.renewal_due) == at_the_end
    if with_invoice:
        desk.ok(c.Reset(end=ms("2025-03-01")))
    view = desk.view()
    assert (view.plan, view.remaining, view.billed) == paid
    assert view.scheduled is False


# cancelled while the invoice is waited for: it ends at once
def test_cancelled_while_waiting() -> None:
    desk = billed()
    desk.until("2025-02-02")
    desk.ok(c.ChangePlan(plan=None))
    assert desk.kinds() == ["plan_scheduled", "expiry", "plan"]
    assert desk.view().plan is None


# an account stays billed until its plan is changed without
def test_billed_no_more() -> None:
    desk = billed()
    desk.until("2025-02-02")
    desk.ok(c.Reset(end=ms("2025-03-01")))
    assert desk.view().billed is True
    desk.ok(c.ChangePlan(plan="enterprise"))
    assert desk.view().billed is False
    desk.until("2025-03-05")
    assert (desk.view().renewal_due, desk.view().reset_at) == (False, ms("2025-04-02"))


# R-PLAN-4: paid by the year, the tokens still come by the month, and the provider's end is that of the year
def test_a_year_that_is_billed() -> None:
    desk = billed(
        change_plan(GOALS, "pro", periods_per_payment=12, price=148_800), end=ms("2026-01-01T06:00")
    )
    desk.until("2025-12-15")
    assert desk.view().remaining == 200
    assert periods(desk)[-1] == (ms("2025-12-01"), ms("2026-01-01T06:00"))
    assert len(periods(desk)) == 12
    desk.until("2026-01-02")
    assert desk.view().renewal_due is True
    desk.ok(c.Reset(end=ms("2027-01-01T06:00"), billed=True))
    assert periods(desk)[-1] == (ms("2026-01-01T06:00"), ms("2026-02-01T06:00"))


# the same invoice told twice under two keys brings its tokens once
def test_an_invoice_counts_once() -> None:
    desk = billed()
    desk.until("2025-02-01")
    desk.ok(c.Reset(end=ms("2025-03-01"), billed=True), key="event 1")
    desk.wait(hours=1)
    assert desk.no(c.Reset(end=ms("2025-03-01"), billed=True), key="event 2").code == Code.NOT_POSSIBLE
    assert desk.view().remaining == 200
    assert desk.no(c.ChangePlan(plan="enterprise", end=desk.now)).code == Code.INVALID
