"""The naive model says what the documents say, before it is held against anything (R-LED-1, R-PLAN-4 to R-PLAN-6)."""

import zoneinfo
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.desk import change_plan, ms, preset, without_limits
from tokentill.lab.naive import Naive
from tokentill.lab.naive.calendar import period_start
from tokentill.rules import commands as c
from tokentill.rules import periods
from tokentill.rules.catalog import Catalog, Cycle, Exhaustion, Overage, Rollover
from tokentill.rules.refusals import Code

ANALYSIS = without_limits(preset("analysis"))
DAY = 86_400_000


class Told:
    """The model, told one thing after another."""

    def __init__(self, catalog: Catalog, plan: str) -> None:
        self.naive = Naive(catalog)
        self.now = ms("2025-01-01")
        self.count = 0
        assert self.tell(c.Open(plan=plan)) is None

    def tell(self, command: c.Command, days: int = 0) -> Code | None:
        self.now += days * DAY
        self.count += 1
        return self.naive.submit(c.Envelope("acme", command, f"{self.count:032x}"), self.now).code

    def use(self, times: int, feature: str = "suite_analyzer") -> list[Code | None]:
        return [self.tell(c.Charge(feature=feature, user="ann")) for _ in range(times)]

    def left(self) -> int:
        remaining: int = self.naive.balance()["remaining"]
        return remaining


def test_pack_tokens_that_were_spent_do_not_come_back() -> None:
    """50 monthly and 25 of a pack, 60 used: 15 left; next month 65, not 75 (readings)."""
    model = Told(ANALYSIS, "starter")
    model.tell(c.Grant(tokens=25, origin="pack"))
    assert model.use(60) == [None] * 60
    assert model.left() == 15
    model.tell(c.Tick(), days=30)
    assert model.left() == 65


@pytest.mark.parametrize(("mode", "left"), [("none", 50), ("capped", 70), ("unlimited", 70)])
def test_option_c_fifty_granted_thirty_used_seventy_next_month(mode: str, left: int) -> None:
    rollover = Rollover(mode)  # type: ignore[arg-type]  # the parameters are its literals
    model = Told(change_plan(ANALYSIS, "starter", rollover=rollover), "starter")
    model.use(30)
    model.tell(c.Tick(), days=30)
    assert model.left() == left


def test_option_b_fifteen_beyond_the_plan_are_billed_at_its_end() -> None:
    """15 × $1.50 = $22.50 (S1 Option B)."""
    policy = Exhaustion(overage=Overage(150))
    model = Told(change_plan(ANALYSIS, "starter", exhaustion=policy), "starter")
    assert model.use(65) == [None] * 65
    model.tell(c.Tick(), days=30)
    assert model.naive.book.bills == [(15, 2_250, ms("2025-01-01"))]


def test_a_hard_block_at_nothing_left() -> None:
    """S2 §2: no grace uses."""
    model = Told(ANALYSIS, "starter")
    assert model.use(51) == [None] * 50 + [Code.EXHAUSTED]


def test_payment_fails_and_is_fixed() -> None:
    """S2 §5: AI off the same moment, everything back, plan tokens only within their own period."""
    model = Told(ANALYSIS, "starter")
    model.tell(c.Grant(tokens=25, origin="pack"))
    model.tell(c.Freeze())
    assert model.use(1) == [Code.LICENCE]
    assert model.naive.balance()["set_aside"] == 75
    model.tell(c.Restore(), days=3)
    assert model.left() == 75


zones = st.sampled_from(sorted(zoneinfo.available_timezones()))
moments = st.integers(ms("1990-01-01"), ms("2040-01-01"))


@given(zones, moments, st.integers(0, 60))
def test_its_calendar_is_the_calendar_of_the_rules(zone: str, anchor: int, number: int) -> None:
    """Two ways to find where a period begins, over every zone there is (R-PLAN-4)."""
    cycle = Cycle("month", zone=zone)
    starts = [period_start(anchor, cycle, n) for n in (number, number + 1)]
    assert tuple(starts) == periods.period_at(anchor, cycle, number)
    assert datetime.fromtimestamp(starts[0] // 1000, UTC).year < 2050
