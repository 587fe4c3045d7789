"""R-PACK-6: the burn rate and what will be lacking, in exact fractions."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.support.desk import DAY, Desk, ms, preset, without_limits
from tokentill.rules import commands as c
from tokentill.rules.burn import (
    Burn,
    Supply,
    burn_of,
    by_day,
    horizon,
    lacking,
    later_resets,
    resets,
    supply_of,
)
from tokentill.rules.catalog_shop import Recommend

ANALYSIS = without_limits(preset("analysis"))
STARTER = ANALYSIS.plans["starter"]


def s1() -> Desk:
    """S1 §2: 20 tokens in week 1, 30 in week 2; on 15 January nothing is left and the reset is 16 days away."""
    desk = Desk(ANALYSIS, "starter")
    desk.charge("suite_analyzer", 20)
    desk.until("2025-01-08")
    desk.charge("suite_analyzer", 30)
    desk.until("2025-01-15")
    desk.view()
    return desk


def test_the_burn_rate_of_s1() -> None:
    # R-PACK-6: 50 tokens in 14 days, whichever way it is known
    desk = s1()
    by_day = (20, *[0] * 6, 30, *[0] * 6)
    assert (
        burn_of(desk.account, by_day, desk.now) == burn_of(desk.account, (), desk.now) == Burn(50, 14 * DAY)
    )
    assert Burn(50, 14 * DAY).over(DAY) == Fraction(25, 7)
    assert burn_of(desk.account, (3, 0, 0), desk.now) == Burn(3, 3 * DAY)


def test_the_history_is_of_whole_days() -> None:
    # R-PACK-6: 24 hours each, counted back from now; the day that the account was opened on only if it is whole
    now = 10 * DAY + 5
    charges = [(0, 100), (5, 1), (DAY, 2), (9 * DAY + 4, 4), (9 * DAY + 5, 8), (10 * DAY, 16), (now, 32)]
    assert by_day(charges, 0, now, 30) == (3, 0, 0, 0, 0, 0, 0, 0, 4, 24)
    assert by_day(charges, 0, now, 2) == (4, 24)
    assert by_day(charges, 9 * DAY, now, 30) == (24,)
    assert by_day(charges, 10 * DAY, now, 30) == ()


def test_without_a_period_and_without_history_nothing_is_known() -> None:
    shop = Desk(without_limits(preset("shop")))
    assert burn_of(shop.account, (), shop.now) == Burn()
    assert Burn().over(DAY) == 0
    start = Desk(ANALYSIS, "starter")
    assert burn_of(start.account, (), start.now) == Burn()


def test_what_there_is() -> None:
    desk = s1()
    desk.ok(c.Grant(tokens=25, origin="pack"))
    assert supply_of(desk.account, STARTER) == Supply(0, 25, 50)
    assert supply_of(desk.account, ANALYSIS.plans["enterprise"]).allowance is None
    assert supply_of(desk.account, None).allowance == 0


def test_the_horizon() -> None:
    desk = s1()
    assert horizon(desk.account, ANALYSIS, desk.now) == ms("2025-01-31")
    far = replace(ANALYSIS, recommend=Recommend(horizon_days=60))
    assert horizon(desk.account, far, desk.now) == desk.now + 60 * DAY
    assert list(resets(desk.account, STARTER, desk.now + 60 * DAY)) == [ms("2025-01-31"), ms("2025-03-02")]
    assert list(resets(desk.account, STARTER, ms("2025-01-31"))) == []
    shop = Desk(without_limits(preset("shop")))
    assert horizon(shop.account, shop.catalog, shop.now) == shop.now + 30 * DAY
    assert list(resets(shop.account, None, shop.now + 30 * DAY)) == []
    assert list(later_resets(STARTER, 0, 61 * DAY)) == [30 * DAY, 60 * DAY]


# R-PACK-6
@pytest.mark.parametrize(
    ("supply", "days", "ends", "lack"),
    [
        (Supply(0, 0, 50), 16, (), 58),  # S1 §2: 16 days at 50 / 14 are 57.14…
        (Supply(10, 20, 50), 16, (), 28),
        (Supply(58, 0, 50), 16, (), 0),
        (Supply(0, 0, 50), 46, (16,), 115),  # then a period that asks for 107.14 and brings 50
        (Supply(0, 60, 50), 46, (16,), 55),  # what is bought lasts beyond the reset, plan tokens do not
        (Supply(90, 0, 50), 46, (16,), 58),
        (Supply(0, 0, None), 16, (), 0),
    ],
)
def test_what_will_be_lacking(supply: Supply, days: int, ends: tuple[int, ...], lack: int) -> None:
    moments = tuple(end * DAY for end in ends)
    assert lacking(Burn(50, 14 * DAY), supply, 0, moments, days * DAY) == lack


@given(
    st.integers(0, 500), st.integers(1, 60), st.integers(0, 300), st.integers(0, 300), st.integers(0, 300),
    st.integers(1, 90), st.integers(1, 90),
)  # fmt: skip
def test_more_tokens_or_a_nearer_horizon_never_lack_more(
    used: int, days: int, plan: int, other: int, more: int, near: int, far: int
) -> None:
    burn, ends = Burn(used, days * DAY), (30 * DAY, 60 * DAY)
    near, far = sorted((near, far))

    def lack(supply: Supply, until: int) -> int:
        return lacking(burn, supply, 0, tuple(end for end in ends if end < until * DAY), until * DAY)

    base = lack(Supply(plan, other, 50), far)
    assert lack(Supply(plan, other + more, 50), far) <= base
    assert lack(Supply(plan + more, other, 50), far) <= base
    assert lack(Supply(plan, other, 50), near) <= base
    assert max(0, base - more) <= lack(Supply(plan, other + more, 50), far)
