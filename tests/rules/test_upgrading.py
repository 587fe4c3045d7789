"""R-PACK-5: what upgrading costs beside packs; "cheaper" only where it is (readings)."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.support.desk import DAY, preset
from tokentill.rules.burn import Burn, Supply
from tokentill.rules.upgrading import Comparison, Offered, Outlook, Way, compare, step_up

ANALYSIS, GOALS, SHOP = preset("analysis"), preset("goals"), preset("shop")
STARTER, PROFESSIONAL = ANALYSIS.plans["starter"], ANALYSIS.plans["professional"]
PACKS = [Offered(pack.id, pack.price, pack.tokens) for pack in ANALYSIS.packs.values()]


def full_period(need: int, slots: int | None = 2) -> Comparison:
    """The need is known on the first day: 50 of the plan will be used and `need` more."""
    burn = Burn(50 + need, 30 * DAY)
    view = Outlook(burn, Supply(50, 0, 50), need, 0, 30 * DAY, (), credit=3999, paid_until=30 * DAY)
    return compare(STARTER, PROFESSIONAL, PACKS, view, slots)


# R-PACK-5, readings: at full-period prices up to 25 the pack of 25, up to 50 the pack of 50, more the upgrade
@pytest.mark.parametrize("need", range(1, 101))
def test_the_arithmetic_of_the_readings(need: int) -> None:
    found = full_period(need)
    assert found.upgrade == Way(6000, 6000, (), enough=True)
    assert found.stay is not None
    if need <= 25:
        assert (found.cheaper, found.stay.packs, found.stay.now) == ("stay", ("token_pack_25",), 2500)
    elif need <= 50:
        assert (found.cheaper, found.stay.packs, found.stay.now) == ("stay", ("token_pack_50",), 4500)
    else:
        assert found.cheaper == "upgrade"
        assert found.stay.now == (7000 if need <= 75 else 8000)


def test_beyond_what_the_higher_plan_brings_it_is_not_called_cheaper() -> None:
    found = full_period(101)
    assert not found.upgrade.enough
    assert found.cheaper is None


# R-PACK-5, readings: "$60 for 100 more tokens is $0.60 each"; S1 §4 "$60/month increase"
def test_the_step_at_full_period_prices() -> None:
    step = step_up(STARTER, PROFESSIONAL)
    assert (step.price, step.tokens, step.per_token) == (6000, 100, Fraction(60))
    unlimited = step_up(PROFESSIONAL, replace(ANALYSIS.plans["enterprise"], price=50_000))
    assert (unlimited.price, unlimited.tokens, unlimited.per_token) == (40_001, None, None)
    first = step_up(None, STARTER)
    assert (first.price, first.tokens, first.per_token) == (3999, 50, Fraction(3999, 50))
    # A year's price counts for one of its twelve periods: $490.00 / 12 = $40.83 is $8.17 less than $49.00.
    yearly = step_up(SHOP.plans["developer"], SHOP.plans["developer_yearly"])
    assert (yearly.price, yearly.tokens, yearly.per_token) == (-817, 0, None)


# R-PACK-5: S1 §2, day 14 of 30: the unused share is 16/30 of $39.99 = $21.33
@pytest.mark.parametrize(
    ("need", "packs", "now", "cheaper"),
    [
        (
            10,
            ("token_pack_25",),
            2500,
            "stay",
        ),  # "10 more analyses"; the upgrade is $78.66 now, $32.00 till the reset
        (30, ("token_pack_50",), 4500, None),  # cheaper now, dearer until the reset: nothing is claimed
        (58, ("token_pack_25", "token_pack_50"), 7000, None),
        (100, ("token_pack_100",), 8000, "upgrade"),
    ],
)
def test_in_the_middle_of_the_month(need: int, packs: tuple[str, ...], now: int, cheaper: str | None) -> None:
    view = Outlook(Burn(), Supply(0, 0, 50), need, 0, 16 * DAY, (), credit=2133, paid_until=16 * DAY)
    found = compare(STARTER, PROFESSIONAL, PACKS, view, 2)
    # 99.99 less 21.33; and 16/30 of 99.99 = 53.33 less 21.33
    assert (found.upgrade.now, found.upgrade.horizon) == (7866, 3200)
    assert found.stay is not None
    assert (found.stay.packs, found.stay.now, found.stay.horizon) == (packs, now, now)
    assert found.cheaper == cheaper


def test_two_packs_only_where_two_may_be_bought() -> None:
    # R-PACK-4
    assert (full_period(60, 2).stay or Way(0, 0, (), enough=False)).packs == (
        "token_pack_25",
        "token_pack_50",
    )
    assert (full_period(60, 1).stay or Way(0, 0, (), enough=False)).packs == ("token_pack_100",)
    none = full_period(60, 0)
    assert (none.stay, none.cheaper) == (None, None)
    most = full_period(500, None).stay
    assert most is not None
    assert (most.packs, most.enough) == (("token_pack_100", "token_pack_100"), False)


def test_a_longer_horizon_counts_the_periods_in_it() -> None:
    # 60 days from the first day: staying pays Starter once more, upgrading Professional twice, less the credit.
    burn = Burn(100, 30 * DAY)
    view = Outlook(burn, Supply(50, 0, 50), 100, 0, 60 * DAY, (30 * DAY,), credit=3999, paid_until=30 * DAY)
    found = compare(STARTER, PROFESSIONAL, PACKS, view, 2)
    assert found.upgrade == Way(6000, 2 * 9999 - 3999, (), enough=True)
    assert found.stay == Way(8000, 8000 + 3999, ("token_pack_100",), enough=True)
    assert found.cheaper is None  # now the upgrade, until then the pack


def test_an_annual_plan_is_credited_only_for_the_time_until_the_horizon() -> None:
    yearly, business = SHOP.plans["developer_yearly"], SHOP.plans["business"]
    view = Outlook(Burn(), Supply(0, 0, 10**6), 5, 0, 30 * DAY, (), credit=49_000, paid_until=360 * DAY)
    found = compare(yearly, business, [], view, 2)
    assert found.upgrade.now == 0  # 399 less 490: nothing is charged
    month = Fraction(39_900 * 30, 31)  # January
    assert found.upgrade.horizon == round(month - Fraction(49_000 * 30, 360))


def test_without_a_need_nothing_is_compared() -> None:
    view = Outlook(Burn(), Supply(0, 9, 50), 0, 0, 16 * DAY)
    found = compare(STARTER, PROFESSIONAL, PACKS, view, 2)
    assert (found.stay, found.cheaper) == (Way(0, 0, (), enough=True), None)


# R-PACK-5: packs of goals cost so little that the upgrade is never called cheaper
def test_goals() -> None:
    packs = [Offered(pack.id, pack.price, pack.tokens) for pack in GOALS.packs.values()]
    pro, enterprise = GOALS.plans["pro"], GOALS.plans["enterprise"]
    for need in (1, 500, 501, 2000):
        view = Outlook(Burn(), Supply(0, 0, 200), need, 0, 15 * DAY, (), credit=7450, paid_until=15 * DAY)
        assert compare(pro, enterprise, packs, view, 2).cheaper == "stay"


@given(
    need=st.integers(1, 300),
    elapsed=st.integers(0, 29),
    left=st.integers(0, 50),
    bought=st.integers(0, 100),
    credit=st.integers(0, 3999),
    slots=st.none() | st.integers(0, 3),
)
def test_cheaper_is_said_only_when_it_is(
    need: int, elapsed: int, left: int, bought: int, credit: int, slots: int | None
) -> None:
    # R-PACK-5
    until = (30 - elapsed) * DAY
    view = Outlook(Burn(), Supply(left, bought, 50), need, 0, until, (), credit, until)
    found = compare(STARTER, PROFESSIONAL, PACKS, view, slots)
    if found.cheaper is None:
        return
    assert found.stay is not None
    winner, loser = (found.stay, found.upgrade) if found.cheaper == "stay" else (found.upgrade, found.stay)
    assert winner.enough
    assert winner.now < loser.now
    assert winner.horizon < loser.horizon
    if found.cheaper == "stay":
        assert sum(ANALYSIS.packs[name].tokens for name in found.stay.packs) >= need
    else:
        assert PROFESSIONAL.tokens - left >= need
