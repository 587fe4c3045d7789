"""R-PACK-11: auto top-up buys when it should, and stops with a reason when it cannot."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.support.desk import Desk, ms, preset, without_limits
from tokentill.rules import commands as c
from tokentill.rules.catalog_shop import Rollout
from tokentill.rules.credit import NO_CREDIT
from tokentill.rules.money import Coins
from tokentill.rules.purchases import Purchase, derive
from tokentill.rules.refusals import Code, Refusal
from tokentill.rules.rows import TopUp
from tokentill.rules.selling import Shopper
from tokentill.rules.topups import (
    STOPPED,
    Buy,
    Stop,
    begun,
    credit_lacks,
    decide,
    month_of,
    room,
    setting,
    settled,
    spent_in,
    stop,
    stopped,
    switched_off,
)

ANALYSIS = without_limits(preset("analysis"))
NOW = ms("2025-01-15")
ACME = Shopper(organization="acme", plan="starter")
ON = TopUp(id="acme", organization="acme", enabled=True, threshold=10, pack="token_pack_25", ceiling=10_000)


def desk(used: int = 45) -> Desk:
    found = Desk(ANALYSIS, "starter")
    for _ in range(used // 5):
        found.charge("suite_analyzer", quantity=5)
    found.until("2025-01-15")
    found.view()
    return found


def decided(topup: TopUp = ON, shopper: Shopper = ACME, used: int = 45, now: int = NOW) -> Buy | Stop | None:
    return decide(ANALYSIS, topup, desk(used).account, shopper, now)


# R-PACK-11
@pytest.mark.parametrize(("used", "buys"), [(35, False), (40, False), (45, True), (50, True)])
def test_below_the_threshold_it_buys(used: int, buys: bool) -> None:
    assert decided(used=used) == (Buy("token_pack_25", 2500) if buys else None)


def test_held_tokens_count_as_left() -> None:
    # R-PACK-11: what comes back when an operation fails must not have been bought in vain
    found = desk(35)
    found.hold("suite_analyzer", quantity=7)
    assert found.account.free == 8
    assert decide(ANALYSIS, ON, found.account, ACME, found.now) is None
    found.charge("suite_analyzer", 6)
    assert found.account.left == 9
    assert decide(ANALYSIS, ON, found.account, ACME, found.now) == Buy("token_pack_25", 2500)


@pytest.mark.parametrize(
    "topup",
    [replace(ON, enabled=False), replace(ON, stopped="declined"), replace(ON, purchase="p1")],
    ids=["off", "stopped", "one is on its way"],
)
def test_when_nothing_is_done(topup: TopUp) -> None:
    assert decided(topup) is None


def test_nothing_is_bought_while_payment_is_failed_or_tokens_have_no_limit() -> None:
    assert decided(shopper=replace(ACME, failed=True)) is None
    assert decided(shopper=replace(ACME, plan="enterprise")) is None


# R-PACK-11: each reason to stop, with its sentence
@pytest.mark.parametrize(
    ("topup", "shopper", "reason"),
    [
        (replace(ON, pack="gone"), ACME, "pack_gone"),
        (ON, replace(ACME, plan=None), "pack_gone"),
        (ON, replace(ACME, switched_off=frozenset({"topups"})), "switched_off"),
        (ON, replace(ACME, switched_off=frozenset({"packs"})), "switched_off"),
        (ON, replace(ACME, switched_off=frozenset({"pack:token_pack_25"})), "switched_off"),
        (ON, replace(ACME, slots=(NOW + 1, NOW + 1)), "limit"),
        (replace(ON, ceiling=2499), ACME, "ceiling"),
        (replace(ON, ceiling=5000, month="2025-01", spent=2501), ACME, "ceiling"),
    ],
)
def test_why_it_stops(topup: TopUp, shopper: Shopper, reason: str) -> None:
    found = decided(topup, shopper)
    assert found == Stop(reason, STOPPED[reason])  # type: ignore[arg-type]  # the table's words are reasons


def test_a_pack_that_is_not_rolled_out_any_more_is_gone() -> None:
    away = replace(ANALYSIS, rollout=Rollout(0))
    found = decide(away, ON, desk().account, ACME, NOW)
    assert isinstance(found, Stop)
    assert found.reason == "pack_gone"


# R-PACK-11: a monthly ceiling by calendar month
def test_the_ceiling_is_of_a_calendar_month() -> None:
    full = replace(ON, ceiling=5000, month="2025-01", spent=5000)
    assert isinstance(decided(full, now=ms("2025-01-31T23:59:59.999")), Stop)
    assert decided(full, now=ms("2025-02-01")) == Buy("token_pack_25", 2500)
    assert decided(replace(full, spent=2500)) == Buy("token_pack_25", 2500)  # exactly up to the ceiling


# R-PACK-11, R-REF-4: credit pays first, the ceiling is what the method is charged, and a rest can be charged
@pytest.mark.parametrize(
    ("has", "ceiling", "use", "coins", "charged"),
    [
        (0, 2500, True, (1, 1), 2500), (1000, 2500, True, (1, 1), 1500), (2500, 2500, True, (1, 1), 0),
        (9000, 2500, True, (1, 1), 0), (1000, 1500, True, (1, 1), 1500), (1000, 1499, True, (1, 1), None),
        (2500, 1, True, (1, 1), 0), (2480, 2500, True, (1, 50), 50), (2480, 49, True, (1, 50), None),
        (2499, 2500, True, (10, 1), 10), (9000, 2500, False, (1, 1), 2500), (9000, 2499, False, (1, 1), None),
    ],
)  # fmt: skip
def test_credit_pays_first(
    has: int, ceiling: int, use: bool, coins: tuple[int, int], charged: int | None
) -> None:
    found = desk()
    if has:
        found.ok(c.Grant(tokens=has, origin="credit", unit="money"))
    row = replace(ON, ceiling=ceiling, use_credit=use)
    said = decide(ANALYSIS, row, found.account, ACME, NOW, Coins(*coins))
    assert said == (stop("ceiling") if charged is None else Buy("token_pack_25", charged))


# R-PACK-11, R-REF-4: without a saved method credit pays alone, for whole packs, whatever the ceiling
@pytest.mark.parametrize(
    ("has", "use", "buys"), [(2500, True, True), (2499, True, False), (9000, False, False)]
)
def test_without_a_method_credit_pays_all_or_it_stops(has: int, use: bool, buys: bool) -> None:
    found = desk()
    found.ok(c.Grant(tokens=has, origin="credit", unit="money"))
    row = replace(ON, ceiling=1, use_credit=use)
    said = decide(ANALYSIS, row, found.account, ACME, NOW, None)
    assert said == (Buy("token_pack_25", 0) if buys else stop("no_method"))
    lacks = credit_lacks(ANALYSIS, row, has, NOW)
    assert (lacks is None) is buys
    assert lacks is None or (lacks.code, lacks.detail) == (Code.NOT_POSSIBLE, "payer")


def test_an_order_whose_credit_had_gone_stops_nothing() -> None:
    # R-PACK-11, R-REF-4
    gone = replace(purchase(), state="abandoned", problem=NO_CREDIT)
    after = settled(begun(ON, purchase(), NOW), gone, NOW)
    assert (after.purchase, after.enabled, after.stopped, after.spent) == (None, True, None, 0)


def purchase(state: str = "open", at: int = NOW) -> Purchase:
    row = Purchase(
        id="p1", organization="acme", created_at=at, kind="pack", item="token_pack_25", title="25 Token Pack",
        amount=2500, currency="USD", tokens=25, provider="stripe", mode="saved", source="topup",
    )  # fmt: skip
    if state == "failed":
        row = replace(row, declines=(("a1", at),))
    if state == "delivered":
        row = replace(row, delivered_at=at)
    return derive(row)


def test_it_waits_for_its_purchase() -> None:
    # R-PACK-11
    waits = begun(ON, purchase(), NOW)
    assert (waits.purchase, waits.month, waits.spent, room(waits)) == ("p1", "2025-01", 0, ON.ceiling)
    assert decided(waits) is None
    assert settled(waits, purchase(), NOW) == waits
    done = settled(waits, purchase("delivered"), NOW)
    assert (done.purchase, done.spent, done.enabled) == (None, 2500, True)
    other = replace(purchase("failed"), id="p2")
    assert settled(waits, other, NOW) == waits


def test_a_declined_payment_stops_it_and_does_not_count() -> None:
    # R-PACK-11
    after = settled(begun(ON, purchase(), NOW), purchase("failed"), NOW + 1)
    assert (after.purchase, after.spent, after.enabled) == (None, 0, False)
    assert (after.stopped, after.stopped_at) == ("declined", NOW + 1)
    assert [(one.reason, one.purchase, one.at) for one in after.untold] == [("declined", "p1", NOW + 1)]
    asked = stopped(begun(ON, purchase(), NOW), "needs_confirmation", NOW)
    assert settled(asked, purchase("failed"), NOW + 1) == replace(asked, purchase=None), "it has said so"
    off = switched_off(begun(ON, purchase(), NOW))
    assert settled(off, purchase("failed"), NOW + 1) == replace(off, purchase=None), "off, so nothing stopped"
    assert settled(asked, purchase("delivered"), NOW + 1).purchase is None
    over = settled(begun(ON, purchase(), NOW), purchase("failed"), ms("2025-02-02"))
    assert spent_in(over, "2025-01") == 0


@given(st.lists(st.sampled_from(["tick", "fail", "deliver", "month"]), max_size=30))
def test_it_never_starts_by_itself_and_never_exceeds_the_ceiling(steps: list[str]) -> None:
    # R-PACK-11
    account, row, now = desk().account, replace(ON, ceiling=6000), NOW
    spent: dict[str, int] = {}
    for step in steps:
        ever_stopped = row.stopped is not None
        if step == "tick":
            found = decide(ANALYSIS, row, account, ACME, now)
            if isinstance(found, Buy):
                row = begun(row, purchase(at=now), now)
                spent[month_of(now)] = spent.get(month_of(now), 0) + found.amount
            elif isinstance(found, Stop):
                row = stopped(row, found.reason, now)
        elif row.purchase is not None and step in ("fail", "deliver"):
            ended = purchase("failed" if step == "fail" else "delivered", at=now)
            row = settled(row, ended, now)
            if step == "fail":
                spent[month_of(now)] -= 2500
        elif step == "month" and row.purchase is None:
            now += 31 * 86_400_000
        assert not (ever_stopped and row.enabled)
        assert all(amount <= 6000 for amount in spent.values())


def test_switching_it_on() -> None:
    # R-PACK-11
    row = setting(ANALYSIS, ACME, None, NOW, threshold=10, pack="token_pack_25", ceiling=10_000)
    assert row == replace(ON, created_at=NOW)
    used = stopped(replace(ON, month="2025-01", spent=7500), "ceiling", NOW)
    again = setting(ANALYSIS, ACME, used, NOW, threshold=20, pack="token_pack_50", ceiling=20_000)
    assert isinstance(again, TopUp)
    assert (again.enabled, again.stopped, again.spent, again.pack) == (True, None, 7500, "token_pack_50")
    off = switched_off(again)
    assert (off.enabled, off.spent) == (False, 7500)


@pytest.mark.parametrize(
    ("figures", "code", "detail"),
    [
        ({"threshold": 0}, Code.INVALID, "threshold"),
        ({"threshold": True}, Code.INVALID, "threshold"),
        ({"ceiling": 2499}, Code.INVALID, "ceiling"),
        ({"pack": "gone"}, Code.UNKNOWN_PACK, "gone"),
    ],
)
def test_figures_that_cannot_be(figures: dict[str, Any], code: Code, detail: str) -> None:
    asked = {"threshold": 10, "pack": "token_pack_25", "ceiling": 10_000, **figures}
    refusal = setting(ANALYSIS, ACME, None, NOW, **asked)
    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.detail) == (code, detail)


def test_a_pack_for_other_plans_cannot_be_chosen() -> None:
    refusal = setting(
        ANALYSIS, replace(ACME, plan=None), None, NOW, threshold=10, pack="token_pack_25", ceiling=10_000
    )
    assert isinstance(refusal, Refusal)
    assert refusal.code == Code.PACK_NOT_FOR_PLAN


def test_the_threshold_is_about_purchased_tokens_too() -> None:
    found = desk(50)
    found.ok(c.Grant(tokens=25, origin="pack"))
    assert decide(ANALYSIS, ON, found.account, ACME, found.now) is None
