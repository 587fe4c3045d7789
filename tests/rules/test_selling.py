"""Who may buy which pack now, and why not."""

from typing import Any

import pytest
from msgspec.structs import replace

from tests.support.desk import HOUR, MINUTE, Desk, change_plan, ms, preset, without_limits
from tokentill.rules import commands as c
from tokentill.rules.catalog import Catalog, Exhaustion, Overage
from tokentill.rules.catalog_shop import Checkout, Rollout
from tokentill.rules.refusals import Code, Refusal
from tokentill.rules.selling import (
    Shopper,
    closed_ways,
    limit_refusal,
    narrowed,
    pack_refused,
    slot_free_at,
    slots_left,
)

GOALS = preset("goals")
NOW = ms("2026-03-15T12:00")
PACK = GOALS.packs["token_pack_500"]


def shopper(**more: Any) -> Shopper:
    return Shopper(**{"organization": "acme", "plan": "pro", **more})


def with_pack(**changes: Any) -> Catalog:
    return replace(GOALS, packs={**GOALS.packs, PACK.id: replace(PACK, **changes)})


def why(catalog: Catalog = GOALS, **more: Any) -> Code | None:
    refusal = pack_refused(catalog, shopper(**more), catalog.packs[PACK.id], NOW)
    return None if refusal is None else refusal.code


# R-PACK-1, R-PACK-4, R-PACK-9, R-LIC-1
def test_each_reason() -> None:
    assert why() is None
    assert why(with_pack(enabled=False)) == Code.PACK_DISABLED
    assert why(switched_off=frozenset({"packs"})) == Code.PACKS_OFF
    assert why(switched_off=frozenset({"pack:token_pack_500"})) == Code.PACKS_OFF
    assert why(switched_off=frozenset({"pack:token_pack_2000", "plans"})) is None
    assert why(slots=(NOW + 1, NOW + 2)) == Code.PACK_LIMIT
    assert why(failed=True) == Code.PAYMENT_FAILED
    assert why(plan="starter") == why(plan=None) == Code.PACK_NOT_FOR_PLAN
    no_packs = change_plan(GOALS, "pro", exhaustion=Exhaustion(packs=False))
    assert why(no_packs) == Code.PACK_NOT_FOR_PLAN


# R-PACK-9: a pack's own rollout stands in place of that of packs
def test_rollout() -> None:
    beta = replace(GOALS, rollout=Rollout(10, frozenset({"friend"})))
    assert why(beta, place=999) is None
    assert why(beta, place=1000) == Code.UNKNOWN_PACK
    assert why(beta, place=1000, organization="friend") is None
    assert why(replace(beta, packs=with_pack(rollout=Rollout(20)).packs), place=1999) is None


def test_the_reason_that_stands_first_is_given() -> None:
    # The order of `Code`: what is not sold, the limit, the debt, the plan.
    worst: dict[str, Any] = {
        "switched_off": frozenset({"packs"}),
        "slots": (NOW + 1,) * 2,
        "failed": True,
        "plan": None,
    }
    steps = []
    for name in worst:
        steps.append(why(**worst))
        worst = {
            **worst,
            name: {"switched_off": frozenset(), "slots": (), "failed": False, "plan": "pro"}[name],
        }
    assert steps == [Code.PACKS_OFF, Code.PACK_LIMIT, Code.PAYMENT_FAILED, Code.PACK_NOT_FOR_PLAN]
    order = list(Code)
    assert steps == sorted(filter(None, steps), key=order.index)


# R-PACK-4: S1 §9 risk 2 "max 2 packs per 24 hours", rolling
@pytest.mark.parametrize(
    ("slots", "left", "free_at"),
    [
        ((), 2, None),
        ((NOW,), 2, None),  # it has just freed
        ((NOW + 1,), 1, None),
        ((NOW + 5, NOW + 3), 0, NOW + 3),
        ((NOW + 5, NOW + 3, NOW + 9), 0, NOW + 5),  # one too many was honoured: two must free
    ],
)
def test_slots(slots: tuple[int, ...], left: int, free_at: int | None) -> None:
    assert slots_left(GOALS, shopper(slots=slots), NOW) == left
    assert slot_free_at(GOALS, shopper(slots=slots), NOW) == free_at


def test_the_limit_says_when_there_is_room() -> None:
    # R-PACK-4
    refusal = pack_refused(GOALS, shopper(slots=(NOW + 3 * HOUR, NOW + 90 * MINUTE)), PACK, NOW)
    assert refusal is not None
    assert refusal.retry_after_ms == 90 * MINUTE
    assert refusal.layer == "abuse"
    assert refusal.message == (
        "An organization can buy 2 packs in 24 hours, and an open checkout counts. The next can be bought in "
        "1 hour and 30 minutes, or as soon as an open checkout is cancelled."
    )
    one = replace(GOALS, checkout=Checkout(packs_max=1, packs_window_ms=90 * MINUTE))
    assert limit_refusal(one, 1).message.startswith("An organization can buy 1 pack in 90 minutes")


def test_no_limit() -> None:
    free = replace(GOALS, checkout=Checkout(packs_max=None))
    many = shopper(slots=(NOW + 1,) * 50)
    assert (slots_left(free, many, NOW), slot_free_at(free, many, NOW)) == (None, None)


# R-PACK-9, R-PLAN-7: what is switched off is not offered as a way out either; waiting always is
def test_ways_out_that_are_open() -> None:
    desk = Desk(without_limits(GOALS), "pro")
    desk.charge("generate_goal", quantity=66)
    refusal = desk.no(c.Charge(feature="generate_goal", user="ann"))

    def after(**more: Any) -> Refusal:
        return narrowed(GOALS, refusal, closed_ways(GOALS, shopper(**more), NOW))

    def kinds(**more: Any) -> list[str]:
        return [way.kind for way in after(**more).ways_out]

    assert kinds() == ["pack", "pack", "upgrade", "wait"]
    assert kinds(switched_off=frozenset({"packs"})) == ["upgrade", "wait"]
    assert kinds(switched_off=frozenset({"plans", "pack:token_pack_500"})) == ["pack", "wait"]
    assert kinds(slots=(NOW + 1, NOW + 1)) == ["upgrade", "wait"]
    assert after() == refusal
    # Where nothing can be bought the words do not say so either.
    shut = after(switched_off=frozenset({"packs", "plans"}))
    assert ([way.kind for way in shut.ways_out], shut.message, shut.purchase_link) == (
        ["wait"], "You've reached your limit.", None
    )  # fmt: skip


def test_a_cap_can_be_raised_whatever_is_switched_off() -> None:  # R-PACK-9, R-PLAN-6
    catalog = change_plan(GOALS, "pro", exhaustion=Exhaustion(overage=Overage(price=150, cap=0)))
    desk = Desk(without_limits(catalog), "pro")
    desk.charge("generate_goal", quantity=66)
    refusal = desk.no(c.Charge(feature="generate_goal", user="ann"))
    shut = narrowed(
        catalog, refusal, closed_ways(catalog, shopper(switched_off=frozenset({"packs", "plans"})), NOW)
    )
    assert [way.kind for way in shut.ways_out] == ["raise_cap", "wait"]
    assert (shut.message, shut.purchase_link) == ("You've reached your limit.", "/account/buy-credits")


def test_a_pack_that_is_not_for_the_plan_offers_no_plan_that_is_switched_off() -> None:  # R-PACK-9
    refused = pack_refused(GOALS, shopper(plan="starter", switched_off=frozenset({"plans"})), PACK, NOW)
    assert refused is not None
    assert refused.ways_out == ()


def test_what_a_refusal_says() -> None:
    unknown = pack_refused(replace(GOALS, rollout=Rollout(0)), shopper(), PACK, NOW)
    assert unknown is not None
    assert (
        unknown.message
        == "There is no pack of this name for this organization. It can buy none at the moment."
    )
    plan = pack_refused(GOALS, shopper(plan="starter"), PACK, NOW)
    assert plan is not None
    assert plan.message == "500 tokens is not sold to organizations on the plan Starter."
    assert [way.label for way in plan.ways_out] == ["Upgrade to Pro ($149/mo)"]
