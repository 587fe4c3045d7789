"""What a dispute keeps when its period ends (R-PLAN-5, R-REF-6): won, all is there that would have rolled over.

The plan brings 200 tokens a month, of which 30 are used in January, whose payment is contested then.
"""

import pytest

from tests.rules.test_invoices import GOALS, begun, paid
from tests.support.desk import Desk, change_plan
from tokentill.rules import commands as c
from tokentill.rules import entries as e
from tokentill.rules.catalog import Rollover
from tokentill.rules.refusals import Code

UNLIMITED = Rollover("unlimited")


def january(rollover: Rollover, *, disputed: bool = True) -> Desk:
    """January is contested, or nobody contests it."""
    desk = begun(change_plan(GOALS, "pro", rollover=rollover))
    desk.charge("generate_goal", 10)
    if disputed:
        assert desk.ok(c.SetAside(reference="order", reason="dispute")).tokens == 170
    return desk


def renewed(desk: Desk, *months: int) -> Desk:
    for month in months:
        desk.until(f"2025-{month:02d}-01")
        desk.ok(paid(month))
    return desk


ROLLOVERS = [
    # the policy, what stays set aside in February, and what is there when the dispute is won
    (UNLIMITED, 170, 370),
    (Rollover("capped"), 170, 370),
    (Rollover("capped", cap=100), 100, 300),
    (Rollover("none"), 0, 200),
]


@pytest.mark.parametrize(("rollover", "aside", "won"), ROLLOVERS)
def test_what_rolls_over_is_set_aside_until_the_dispute_ends(
    rollover: Rollover, aside: int, won: int
) -> None:
    desk = renewed(january(rollover), 2)
    view = desk.view()
    assert (view.remaining, view.set_aside, view.monthly) == (200, aside, 200 + aside)
    if aside:
        assert desk.no(c.SetAside(reference="order")).code == Code.NOT_POSSIBLE
    back = desk.do(c.GiveBack(reference="order", reason="dispute won"))
    assert getattr(back, "tokens", 0) == aside
    assert (desk.view().remaining, desk.view().set_aside) == (won, 0)
    assert desk.view().remaining == renewed(january(rollover, disputed=False), 2).view().remaining
    assert desk.replayed().dump() == desk.account.dump()


@pytest.mark.parametrize(("rollover", "aside", "won"), ROLLOVERS)
def test_what_rolled_over_is_taken_with_the_rest_when_the_dispute_is_lost(
    rollover: Rollover, aside: int, won: int
) -> None:
    desk = renewed(january(rollover), 2)
    taken = desk.do(c.Revoke(reference="order", origin="dispute"))
    assert getattr(taken, "tokens", 0) == aside
    assert (desk.view().remaining, desk.view().set_aside) == (200, 0)
    assert renewed(desk, 3).view().set_aside == 0, won


@pytest.mark.parametrize("rollover", [one for one, *_ in ROLLOVERS])
@pytest.mark.parametrize("months", range(1, 5))
@pytest.mark.parametrize("again", [False, True])
def test_it_ends_as_if_nobody_had_contested_it(rollover: Rollover, months: int, again: bool) -> None:
    """However many periods go by; `again`: the next payment is contested, too."""
    ends = []
    for disputed in (True, False):
        desk = january(rollover, disputed=disputed)
        for month in range(2, 2 + months):
            renewed(desk, month)
            if disputed and again and month == 2:
                desk.ok(c.SetAside(reference="invoice 2"))
        for reference in ("invoice 2", "order"):
            desk.do(c.GiveBack(reference=reference))
        end = [desk.view().remaining, desk.view().set_aside]
        ends.append([*end, renewed(desk, 2 + months).view().remaining])
    assert ends[0] == ends[1]


def test_free_tokens_go_on_first_and_what_runs_does_not() -> None:
    """A cap of 60: of February 50 are left, so that of January there is room for 10."""
    desk = begun(change_plan(GOALS, "pro", rollover=Rollover("capped", cap=60)))
    hold = desk.ok(c.Reserve(feature="generate_goal", quantity=10)).operation
    desk.ok(c.SetAside(reference="order"))
    renewed(desk, 2)
    desk.do(c.Release(hold=hold, reason="failed"))
    assert (desk.view().remaining, desk.view().set_aside) == (200, 60)
    desk.charge("generate_goal", 50)
    renewed(desk, 3)
    assert (desk.view().remaining, desk.view().set_aside) == (250, 10)
    assert desk.ok(c.GiveBack(reference="order")).tokens == 10


@pytest.mark.parametrize("when", ["before the invoice", "after it"])
def test_it_waits_while_payment_is_failed(when: str) -> None:
    """R-LIC-3: the renewal is missing, so that the period is over; what is contested waits for the one that is paid."""
    desk = january(UNLIMITED)
    desk.until("2025-02-10")
    assert (desk.view().standing, desk.view().remaining) == ("grace", 0)
    assert desk.view().lots_set_aside == 170
    if when == "before the invoice":
        assert desk.ok(c.GiveBack(reference="order")).tokens == 170
        desk.wait(days=1)
        assert (desk.view().lots_set_aside, desk.view().remaining) == (0, 0)
    desk.ok(paid(2))
    if when == "after it":
        assert (desk.view().remaining, desk.view().set_aside) == (200, 170)
        desk.ok(c.GiveBack(reference="order"))
    assert (desk.view().remaining, desk.view().set_aside) == (370, 0)
    assert desk.replayed().dump() == desk.account.dump()


def test_a_period_without_payment_keeps_it_too() -> None:
    """R-LIC-3: of a plan that renews itself, frozen by hand when the period ends."""
    desk = Desk(change_plan(GOALS, "pro", rollover=UNLIMITED))
    desk.ok(c.ChangePlan(plan="pro", reference="order"))
    desk.ok(c.SetAside(reference="order"))
    desk.ok(c.Freeze())
    desk.wait(days=32)
    assert (desk.view().remaining, desk.view().lots_set_aside) == (0, 200)
    desk.ok(c.Restore())
    assert (desk.view().remaining, desk.view().set_aside) == (200, 200)
    desk.ok(c.GiveBack(reference="order"))
    assert desk.view().remaining == 400


def test_who_leaves_or_moves_at_once_carries_nothing_as_without_a_dispute() -> None:
    """R-PLAN-4: an upgrade at once and the end of the plan leave nothing to go on, contested or not."""
    for command in (c.ChangePlan(plan=None, when="now"), c.ChangePlan(plan="enterprise", when="now")):
        desk = january(UNLIMITED)
        desk.ok(command)
        assert desk.view().set_aside == 0
        rolled = [one for one in desk.journal if isinstance(one, e.Granted) and one.origin == "rollover"]
        assert rolled == []
