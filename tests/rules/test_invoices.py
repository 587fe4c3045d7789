"""Invoices of a provider in any order, what they were really paid with, and payments that are contested.

R-PLAN-4, R-PACK-3: of two invoices the one that pays from later on is the newer, whichever is told first. R-REF-6: the
tokens of the period that a contested payment brought are set aside, and so are those that the same payment still brings.
"""

import itertools

import pytest
from msgspec import structs

from tests.support.desk import Desk, change_plan, ms, preset, without_limits
from tokentill.rules import commands as c
from tokentill.rules import entries as e
from tokentill.rules.catalog import Catalog, Rollover
from tokentill.rules.decide import none_found
from tokentill.rules.invoices import OLDER, OVER
from tokentill.rules.plans import unused_credit
from tokentill.rules.refusals import Code
from tokentill.rules.turn import Turn

GOALS = without_limits(preset("goals"))
PRO, ENTERPRISE = 14_900, 39_900


def paid(month: int, plan: str = "pro", year: int = 2025, **more: object) -> c.Reset:
    """The invoice of a month was paid."""
    end = f"{year + month // 12}-{month % 12 + 1:02d}-01"
    fields = {"reference": f"invoice {month}", "plan": plan, "billed": True, **more}
    return c.Reset(start=ms(f"{year}-{month:02d}-01"), end=ms(end), **fields)  # type: ignore[arg-type]  # a test's own


def begun(catalog: Catalog = GOALS, plan: str = "pro", **more: object) -> Desk:
    """On a plan since January, which a provider bills."""
    desk = Desk(catalog)
    fields = {"end": ms("2025-02-01"), "reference": "order", **more}
    first = c.ChangePlan(plan=plan, billed=True, start=ms("2025-01-01"), **fields)  # type: ignore[arg-type]  # as above
    desk.ok(first)
    return desk


def stands(desk: Desk) -> tuple[object, ...]:
    """How the account stands, whatever the way there."""
    view, state = desk.view(), desk.account.state
    lots = [(lot.reference, lot.available, lot.expires_at) for lot in state.lots.values() if not lot.lapsed]
    return (
        view.plan, view.remaining, view.set_aside, view.standing, view.period_start, view.reset_at, state.paid_from,
        state.paid_until, state.renewal_by, state.paid_reference, state.paid_price, lots,
    )  # fmt: skip


# weeks late, three invoices at once or a week apart: each order ends on the newest, and none begins anew (R-PLAN-4)
@pytest.mark.parametrize("apart", [0, 3])
@pytest.mark.parametrize("mode", ["none", "unlimited"])
def test_renewals_in_every_order_end_alike(mode: str, apart: int) -> None:
    catalog = change_plan(GOALS, "pro", rollover=Rollover(mode))  # type: ignore[arg-type]  # the parameters are its literals
    ends = []
    for order in itertools.permutations((2, 3, 4)):
        desk = begun(catalog)
        desk.until("2025-04-10")
        for month in order:
            desk.do(paid(month))
            desk.wait(days=apart)
        desk.until("2025-04-25")
        ends.append(stands(desk))
        assert sum(isinstance(one, e.Granted) and one.origin == "plan" for one in desk.journal) == 2
    assert len(set(map(str, ends))) == 1, ends
    carried = 0 if mode == "none" else 200
    assert ends[0][:4] == ("pro", 200 + carried, 0, "active")
    assert ends[0][4:6] == (ms("2025-04-01"), ms("2025-05-01"))


# an upgrade that is told after the renewal that followed it changes nothing any more, however short its own period
@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_an_upgrade_among_renewals_ends_alike(order: tuple[int, ...]) -> None:
    told: list[c.Command] = [
        paid(2),
        c.ChangePlan(
            plan="enterprise", when="now", billed=True, start=ms("2025-02-10"), end=ms("2025-03-10"), reference="up",
        ),
        c.Reset(
            plan="enterprise", billed=True, start=ms("2025-03-10"), end=ms("2025-04-10"), reference="after",
        ),
    ]  # fmt: skip
    desk = begun()
    desk.until("2025-03-12")
    for place in order:
        desk.do(told[place])
        desk.wait(days=1)
    assert stands(desk)[:3] == ("enterprise", 2000, 0)
    assert stands(desk)[4:6] == (ms("2025-03-10"), ms("2025-04-10"))
    assert desk.account.state.paid_reference == "after"


# the refusal says which of the two it is, and nothing is on the record but what was due
def test_what_an_invoice_that_begins_nothing_is_told() -> None:
    desk = begun()
    desk.until("2025-03-02")
    desk.ok(paid(3))
    before = stands(desk)
    over = desk.no(paid(2))
    assert (over.code, over.detail) == (Code.NOT_POSSIBLE, OVER)
    again = desk.no(paid(3))
    assert (again.code, again.detail) == (Code.NOT_POSSIBLE, OLDER)
    longer = c.Reset(start=ms("2025-02-20"), end=ms("2025-05-01"), billed=True)
    assert desk.no(longer).detail == OLDER
    assert desk.no(c.ChangePlan(plan="enterprise", start=1, end=ms("2025-05-01"))).detail == OLDER
    assert stands(desk) == before


@pytest.mark.parametrize(
    "wrong",
    [{"start": 5}, {"start": 9, "end": 9}, {"start": -1, "end": 9}, {"paid": -1}, {"paid": 1.5}, {"start": "1"}],
)  # fmt: skip
def test_nonsense_of_an_invoice_changes_nothing(wrong: dict[str, object]) -> None:  # R-LED-10
    desk = begun()
    before = stands(desk)
    assert desk.no(c.Reset(**wrong)).code == Code.INVALID  # type: ignore[arg-type]  # what must be refused
    assert desk.no(c.ChangePlan(plan="enterprise", **wrong)).code == Code.INVALID  # type: ignore[arg-type]  # as above
    assert desk.no(c.Reset(plan="no such plan")).code == Code.UNKNOWN_PLAN
    assert stands(desk) == before


# R-LIC-3: the invoice that was missing is paid when its time is over: mended, no tokens for it, the next is waited for
def test_a_missing_invoice_that_comes_after_its_time_mends() -> None:
    desk = begun()
    desk.ok(c.Grant(tokens=500, origin="pack"))
    desk.until("2025-03-10")
    assert desk.view().standing == "offline"
    desk.ok(paid(2))
    view = desk.view()
    assert (view.standing, view.remaining, view.renewal_due) == ("active", 500, True)
    desk.ok(paid(3))
    assert desk.view().remaining == 700


# R-PLAN-4: an account that has left its plan does not come back to it for an invoice of a time that is over
def test_an_old_invoice_does_not_bring_a_plan_back() -> None:
    desk = begun()
    desk.ok(c.ChangePlan(plan=None, when="now"))
    desk.until("2025-03-10")
    assert desk.no(paid(2)).detail == OVER
    assert desk.view().plan is None


# a trial of which nothing was paid is worth nothing in an upgrade; what was paid is worth that, not the list price
@pytest.mark.parametrize(("worth", "credit"), [(0, 0), (10_000, 5_000), (None, PRO // 2)])
def test_an_upgrade_is_credited_with_what_was_paid(worth: int | None, credit: int) -> None:  # R-PLAN-4
    desk = begun(end=ms("2025-01-31"), paid=worth)
    trial = next(one for one in desk.journal if isinstance(one, e.PlanChanged))
    assert trial.due == (PRO if worth is None else worth)
    desk.until("2025-01-16")
    told = desk.ok(c.ChangePlan(plan="enterprise", billed=True))
    assert (told.credit, told.due) == (credit, ENTERPRISE - credit)


# R-REF-6: set aside, given back or taken, exactly as with a pack; what was spent stays spent
def test_a_contested_period_is_set_aside() -> None:
    desk = begun()
    desk.ok(c.Grant(tokens=500, origin="pack"))
    desk.charge("generate_goal", 10)
    told = desk.ok(c.SetAside(reference="order", reason="dispute"))
    assert (told.tokens, desk.view().remaining, desk.view().set_aside) == (170, 500, 170)
    assert unused_credit(Turn.begin(desk.account, GOALS, desk.now, none_found)) == 0, "that money may be gone"
    assert desk.ok(c.GiveBack(reference="order")).tokens == 170
    assert desk.view().remaining == 670
    desk.ok(c.SetAside(reference="order"))
    assert desk.ok(c.Revoke(reference="order", origin="dispute")).tokens == 170
    assert desk.view().remaining == 500
    assert desk.replayed().dump() == desk.account.dump()


# a period that is over has nothing left to set aside, and the one after was paid by another invoice
def test_of_a_period_that_is_over_nothing_remains() -> None:
    desk = begun()
    desk.until("2025-02-01")
    desk.ok(paid(2))
    refused = desk.no(c.SetAside(reference="order"))
    assert (refused.code, "nothing remains" in refused.message) == (Code.NOT_POSSIBLE, True)
    assert desk.view().remaining == 200


# of a year that is contested, the months to come are set aside as they come, until it is given back
def test_the_periods_that_a_contested_payment_still_brings() -> None:
    year = change_plan(GOALS, "pro", periods_per_payment=12)
    desk = begun(year, end=ms("2026-01-01"))
    desk.ok(c.SetAside(reference="order"))
    desk.until("2025-02-02")
    assert (desk.view().remaining, desk.view().set_aside, desk.view().monthly) == (0, 200, 200)
    desk.ok(c.Freeze(by_hand=False))
    desk.until("2025-03-02")
    assert desk.ok(c.Restore(by_hand=False)).balance == 0
    assert (desk.view().remaining, desk.view().set_aside) == (0, 200)
    desk.ok(c.GiveBack(reference="order"))
    assert desk.view().remaining == 200
    desk.until("2025-04-02")
    assert desk.view().remaining == 200
    assert desk.replayed().dump() == desk.account.dump()


# contested while a month was not granted: the month that is granted at last is set aside, too
def test_contested_while_payment_is_failed() -> None:
    year = change_plan(GOALS, "pro", periods_per_payment=12)
    desk = begun(year, end=ms("2026-01-01"))
    desk.ok(c.Freeze())
    desk.until("2025-02-02")
    assert desk.ok(c.SetAside(reference="order")).tokens == 0
    assert desk.no(c.SetAside(reference="order")).code == Code.NOT_POSSIBLE
    desk.ok(c.Restore())
    assert (desk.view().remaining, desk.view().set_aside) == (0, 200)
    assert desk.ok(c.GiveBack(reference="order")).tokens == 200


# what rolled over from a period before was paid by another invoice
def test_what_was_carried_over_is_not_contested() -> None:
    catalog = change_plan(GOALS, "pro", rollover=Rollover("unlimited"))
    desk = begun(catalog)
    desk.charge("generate_goal", 50)
    desk.until("2025-02-01")
    desk.ok(paid(2))
    assert desk.ok(c.SetAside(reference="invoice 2")).tokens == 200
    assert desk.view().remaining == 50


# a renewal that names its plan leaves what is scheduled beside it; one of the scheduled plan carries it out
def test_an_invoice_and_what_is_scheduled() -> None:
    desk = begun(plan="enterprise")
    desk.ok(c.ChangePlan(plan="pro", when="period_end", billed=True))
    desk.until("2025-02-01")
    desk.ok(paid(2, "enterprise"))
    assert (desk.view().plan, desk.view().scheduled_plan) == ("enterprise", "pro")
    desk.until("2025-03-01")
    desk.ok(paid(3))
    assert (desk.view().plan, desk.view().scheduled, desk.view().remaining) == ("pro", False, 200)


# R-LIC-3: what an operator froze, no invoice lifts; the failure of an invoice and the hand may come in any order
@pytest.mark.parametrize("order", list(itertools.permutations(("hand", "owed", "paid"))))
def test_a_freeze_by_hand_stays_until_it_is_restored_by_hand(order: tuple[str, ...]) -> None:
    desk = begun()
    desk.ok(c.Grant(tokens=500, origin="pack", expires_at=ms("2026-01-01")))
    desk.until("2025-02-05")
    for what in order:
        if what == "hand":
            desk.ok(c.Freeze(failed_at=ms("2025-02-03"), reason="fraud"))
        elif what == "owed" and order.index("paid") > order.index("owed"):
            desk.ok(c.Freeze(failed_at=ms("2025-02-04"), by_hand=False))
        elif what == "paid":
            desk.ok(paid(2))
    assert (desk.view().standing, desk.view().remaining) == ("grace", 0)
    assert desk.account.state.failed_at == ms("2025-02-03")
    assert desk.no(c.Restore(by_hand=False)).code == Code.NOT_POSSIBLE
    desk.ok(c.Restore(reason="looked at"))
    assert (desk.view().standing, desk.view().remaining) == ("active", 700)
    assert desk.replayed().dump() == desk.account.dump()


# R-LIC-2: the ladder counts from what was first; once the invoice is paid from when the operator froze it
def test_the_ladder_counts_from_what_still_stands() -> None:
    desk = begun(end=ms("2025-03-01"))
    desk.until("2025-01-20")
    desk.ok(c.Freeze(failed_at=ms("2025-01-02"), by_hand=False))
    desk.ok(c.Freeze(failed_at=ms("2025-01-19")))
    assert desk.view().standing == "offline"
    told = desk.ok(c.Restore(by_hand=False))
    assert (told.kind, desk.view().standing) == ("freeze", "grace")
    desk.ok(c.Freeze(failed_at=ms("2025-01-01"), by_hand=False))
    assert desk.view().standing == "offline"
    desk.ok(c.Restore())
    assert (desk.view().standing, desk.view().remaining) == ("active", 200)


# bought tokens get back all the time in which they could not be used, whatever was told late or lifted meanwhile
def test_bought_tokens_do_not_age_while_either_cause_stands() -> None:
    desk = begun(end=ms("2025-03-01"))
    lot = desk.ok(c.Grant(tokens=500, origin="pack", expires_at=ms("2025-06-01"))).lot or 0
    desk.until("2025-01-10")
    desk.ok(c.Freeze(failed_at=ms("2025-01-05")))
    desk.ok(c.Freeze(failed_at=ms("2025-01-02"), by_hand=False))
    desk.until("2025-01-15")
    desk.ok(c.Restore(by_hand=False))
    desk.until("2025-01-20")
    desk.ok(c.Restore())
    assert desk.account.state.lots[lot].expires_at == ms("2025-06-11"), "ten days, since it was told"
    assert structs.asdict(desk.account.state)["set_aside_at"] is None
