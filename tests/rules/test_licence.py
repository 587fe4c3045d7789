"""R-LIC-1 … R-LIC-4: the payment-failed timeline of S2 §5."""

import pytest
from msgspec import structs

from tests.support.desk import Desk, change_plan, ms, preset, without_limits
from tokentill.rules import commands as c
from tokentill.rules import entries as e
from tokentill.rules import licence
from tokentill.rules.catalog import Rollover
from tokentill.rules.refusals import Code

GOALS = preset("goals")


# R-LIC-2: day 0 AI off, days 1–14 grace, day 15 sync off and offline
@pytest.mark.parametrize(
    ("days", "ms_more", "standing", "off"),
    [
        (0, 0, "past_due", ["ai_features"]),
        (0, 86_399_999, "past_due", ["ai_features"]),
        (1, 0, "grace", ["ai_features"]),
        (14, 86_399_999, "grace", ["ai_features"]),
        (15, 0, "offline", ["ai_features", "sync_engine", "reports"]),
        (400, 0, "offline", ["ai_features", "sync_engine", "reports"]),
    ],
)
def test_the_ladder(days: int, ms_more: int, standing: str, off: list[str]) -> None:
    desk = Desk(GOALS, "pro")
    desk.ok(c.Freeze())
    desk.wait(days=days, ms=ms_more)
    assert desk.view().standing == standing
    groups = licence.groups(desk.account.state, GOALS, desk.now)
    assert [group.group for group in groups if not group.on] == off
    changes = [entry.standing for entry in desk.journal if isinstance(entry, e.StandingChanged)]
    assert changes == ["grace", "offline"][: {"past_due": 0, "grace": 1, "offline": 2}[standing]]


# R-LIC-1: AI off the same moment, with S2's banner
def test_ai_is_refused_the_same_moment() -> None:
    desk = Desk(GOALS, "pro")
    desk.ok(c.Freeze())
    refusal = desk.no(c.Charge(feature="generate_goal", user="ann"))
    assert (refusal.code, refusal.layer) == (Code.LICENCE, "licence")
    assert refusal.message == "Update payment to restore AI"
    assert [way.kind for way in refusal.ways_out] == ["pay"]


# R-LIC-2: further failures of the same debt never restart the clock
def test_the_clock_never_restarts() -> None:
    desk = Desk(GOALS, "pro")
    desk.ok(c.Freeze())
    desk.wait(days=10)
    desk.ok(c.Freeze())
    desk.wait(days=5)
    assert desk.view().standing == "offline"


# R-LIC-2: a failure that is told late counts from when it happened
def test_a_late_event_counts_from_the_failure() -> None:
    desk = Desk(GOALS, "pro")
    desk.until("2025-01-20")
    desk.ok(c.Freeze(failed_at=ms("2025-01-04")))
    assert desk.view().standing == "offline"


# R-LIC-3: fixed on any day, whole, at once
@pytest.mark.parametrize("days", [0, 14, 15, 100])
def test_payment_fixed_on_any_day(days: int) -> None:
    desk = Desk(GOALS, "pro")
    desk.ok(c.Freeze())
    desk.wait(days=days)
    desk.ok(c.Restore())
    assert desk.view().standing == "active"
    desk.charge("generate_goal")
    assert all(group.on for group in licence.groups(desk.account.state, GOALS, desk.now))
    assert desk.no(c.Restore()).code == Code.NOT_POSSIBLE


# R-LIC-3: whole: what a reset would have carried comes back too, however many periods went by
@pytest.mark.parametrize(
    ("rollover", "until", "back"),
    [
        (Rollover("capped", cap=30), "2025-02-10", 230),
        (Rollover("unlimited"), "2025-02-10", 340),
        (Rollover("unlimited"), "2025-06-10", 340),
        (Rollover(), "2025-02-10", 200),
    ],
)
def test_what_rolls_over_is_not_lost_while_payment_is_failed(
    rollover: Rollover, until: str, back: int
) -> None:
    desk = Desk(change_plan(without_limits(GOALS), "pro", rollover=rollover), "pro")
    desk.charge("generate_goal", 20)
    desk.until("2025-01-30")
    desk.ok(c.Freeze())
    desk.until(until)
    assert desk.ok(c.Restore()).balance == back == desk.view().remaining


# R-LIC-3: told late, tokens get back the time they were set aside, not the days they were usable
def test_a_failure_told_late_gives_no_days_away() -> None:
    desk = Desk(GOALS, "pro")
    desk.ok(c.Grant(tokens=500, origin="pack", expires_at=ms("2025-06-01")))
    desk.until("2025-01-10")
    desk.ok(c.Freeze(failed_at=ms("2025-01-03")))
    desk.until("2025-01-12")
    desk.ok(c.Restore())
    assert desk.account.state.lots[2].expires_at == ms("2025-06-03")


# R-LIC-4: every feature with on/off and the reason
@pytest.mark.parametrize(
    ("plan", "frozen", "on", "code"),
    [
        ("pro", False, True, None),
        ("pro", True, False, Code.LICENCE),
        ("starter", False, False, Code.NOT_IN_PLAN),
        (None, False, False, Code.NO_PLAN),
    ],
)
def test_features_say_whether_and_why(plan: str | None, frozen: bool, on: bool, code: Code | None) -> None:
    desk = Desk(GOALS, plan)
    if frozen:
        desk.ok(c.Freeze())
    [feature] = licence.features(desk.account.state, GOALS, desk.now)
    assert (feature.feature, feature.on, feature.code) == ("generate_goal", on, code)
    assert on or feature.reason


# R-LIC-2, R-LIC-4: a feature that costs nothing stays on as long as its group does
def test_a_free_feature_stays_on_until_its_group_goes_off() -> None:
    sync = structs.replace(GOALS.features["generate_goal"], id="sync", group="sync_engine", tokens=0)
    catalog = structs.replace(GOALS, features={**GOALS.features, "sync": sync})
    catalog = change_plan(catalog, "pro", features=frozenset(catalog.features))
    desk = Desk(catalog, "pro")
    desk.ok(c.Freeze())
    assert [one.on for one in licence.features(desk.account.state, catalog, desk.now)] == [False, True]
    desk.charge("sync")
    desk.wait(days=15)
    desk.view()
    assert [one.on for one in licence.features(desk.account.state, catalog, desk.now)] == [False, False]
