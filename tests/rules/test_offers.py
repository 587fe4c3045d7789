"""The packs as a customer sees them: the documents' tables, the recommendation, and nothing that is not true."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.support.desk import Desk, change_plan, ms, preset, without_limits
from tokentill.rules import commands as c
from tokentill.rules.catalog import Catalog, Exhaustion
from tokentill.rules.catalog_shop import Promo, Rollout
from tokentill.rules.offers import PackOffers, pack_offers, recommended
from tokentill.rules.promos import Uses
from tokentill.rules.refusals import Code
from tokentill.rules.selling import Shopper
from tokentill.rules.upgrading import Offered

ANALYSIS, GOALS, SHOP = (without_limits(preset(name)) for name in ("analysis", "goals", "shop"))
UPGRADE = (
    "Upgrading to Professional costs $78.66 now, $21.33 of your present plan credited; "
    "$32.00 of it is for the next 16 days."
)
BY_DAY = (20, *[0] * 6, 30, *[0] * 6)


def s1(catalog: Catalog = ANALYSIS) -> Desk:
    """S1 §2: 20 tokens in week 1, 30 in week 2; on 15 January nothing is left and the reset is 16 days away."""
    desk = Desk(catalog, "starter")
    desk.charge("suite_analyzer", 20)
    desk.until("2025-01-08")
    desk.charge("suite_analyzer", 30)
    desk.until("2025-01-15")
    desk.view()
    return desk


def offers(desk: Desk, catalog: Catalog | None = None, **more: Any) -> PackOffers:
    known = {key: more.pop(key) for key in list(more) if key in Shopper.__struct_fields__}
    shopper = Shopper(**{"organization": "acme", "plan": desk.account.state.plan, **known})
    return pack_offers(catalog or desk.catalog, desk.account, shopper, desk.now, **more)


# R-PACK-1: S1 §5 Option A, §7 "Need More Tokens?"
def test_the_packs_of_s1() -> None:
    found = offers(s1())
    assert (found.title, found.text) == (
        "Need more tokens?",
        "Purchase additional tokens any time, without changing your subscription.",
    )
    table = [(o.tokens, o.price, o.per_token, o.saving_percent, o.best_for) for o in found.packs]
    assert table == [
        (25, 2500, "$1.00", None, "Quick top-up"),
        (50, 4500, "$0.90", "10.0", "Power users"),
        (100, 8000, "$0.80", "20.0", "Large projects"),
    ]
    assert [o.saving for o in found.packs] == [None, 500, 2000]
    assert all(
        o.saving_plan_percent is None for o in found.packs
    )  # Starter is $0.80 a token: none costs less
    assert all(o.available and not o.hidden and o.until is None for o in found.packs)


# R-PACK-1: S2 buy extra; readings: 42.0 % and 60.5 %
def test_the_packs_of_s2() -> None:
    found = offers(Desk(GOALS, "pro"))
    assert [(o.tokens, o.price, o.per_token, o.saving_percent) for o in found.packs] == [
        (500, 2900, "$0.058", "42.0"),
        (2000, 7900, "$0.0395", "60.5"),
    ]
    # Pro is $0.745 a token: 0.745 - 0.058 = 0.687, which is 92.2 %.
    assert [o.saving_plan_percent for o in found.packs] == ["92.2", "94.7"]


# R-PACK-6: S1 §2
def test_the_recommendation_shows_its_arithmetic() -> None:
    found = offers(s1(), charged=BY_DAY)
    assert (found.left, found.need, found.days, found.recommended) == (0, 58, 16, "token_pack_100")
    assert [o.recommended for o in found.packs] == [False, False, True]
    assert found.reason == (
        "You used 50 tokens in 14 days, 3.6 a day. For the 16 days to the reset that leaves you 58 tokens short. "
        "This pack brings 100."
    )


# R-PACK-6: S1 §2 "urgent project requiring 10 more analyses"
def test_an_operation_at_hand() -> None:
    found = offers(s1(), charged=(0,) * 14, missing=10)
    assert (found.need, found.recommended) == (10, "token_pack_25")
    assert found.reason == "What you want to do needs 10 tokens more than you have. This pack brings 25."


def test_nobody_is_hurried_who_has_enough() -> None:
    # R-PACK-6
    desk = Desk(ANALYSIS, "starter")
    desk.charge("suite_analyzer", 5)
    desk.until("2025-01-15")
    desk.view()
    found = offers(desk)
    assert (found.need, found.recommended) == (0, None)
    assert found.reason == (
        "You used 5 tokens in 14 days, 0.4 a day. At this rate what you have, 45 tokens, lasts the 16 days to the reset."
    )
    fresh = offers(Desk(ANALYSIS, "starter"))
    assert (fresh.recommended, fresh.reason) == (None, "There is no use yet to reckon from.")


def test_where_no_pack_is_large_enough_the_largest_is_named_as_such() -> None:
    found = offers(s1(), charged=(100,) * 7)
    assert (found.need, found.recommended) == (1600, "token_pack_100")
    assert found.reason.endswith(
        "This pack brings 100, and no pack you can buy now has so many; this is the largest."
    )


# R-PACK-6: upsell with 150 tokens left, where the burn rate says they will not last (readings, S2)
def test_an_offer_before_exhaustion() -> None:
    desk = Desk(GOALS, "pro")
    desk.charge("generate_goal", quantity=16)
    desk.until("2025-01-08")
    desk.view()
    found = offers(desk)
    assert (found.left, found.need, found.recommended) == (152, 13, "token_pack_500")


packs = st.lists(
    st.builds(Offered, st.text(min_size=1, max_size=3), st.integers(0, 10**6), st.integers(1, 10**6)),
    max_size=6,
)


@given(packs, st.integers(-5, 10**6))
def test_the_recommended_pack_covers_the_need_or_is_the_largest(sold: list[Offered], need: int) -> None:
    # R-PACK-6
    best = recommended(sold, need)
    assert (best is None) == (need <= 0 or not sold)
    if best is None:
        return
    enough = [pack for pack in sold if pack.tokens >= need]
    if enough:
        assert best in enough
        assert best.price == min(pack.price for pack in enough)
    else:
        assert best.tokens == max(pack.tokens for pack in sold)


# R-PACK-5: S1 §9 risk 1, with the arithmetic
def test_the_upgrade_is_suggested_from_two_packs_on() -> None:
    one = offers(s1(), charged=BY_DAY, packs_count=1, packs_amount=2500, packs_tokens=25).upgrade
    two = offers(s1(), charged=BY_DAY, packs_count=2, packs_amount=5000, packs_tokens=50).upgrade
    assert one is not None
    assert two is not None
    assert (one.suggested, two.suggested) == (False, True)
    assert (two.plan, two.title, two.price) == ("professional", "Professional", 9999)
    assert two.lines == (
        "You bought 2 packs: $50.00 for 50 tokens, $1.00 each.",
        "Professional costs $60.00 more a period than Starter and brings 100 more tokens, $0.60 each.",
        UPGRADE,
        "25 Token Pack and 50 Token Pack cost $70.00 now.",
    )
    assert one.lines == two.lines[1:]


def test_cheaper_is_said_where_it_is() -> None:
    # R-PACK-5
    few = offers(s1(), charged=(0,) * 14, missing=10).upgrade
    many = offers(s1(), charged=(7,) * 14).upgrade
    assert few is not None
    assert many is not None
    assert few.lines[-2:] == (
        "25 Token Pack costs $25.00 now.",
        "For this need buying tokens is cheaper than upgrading.",
    )
    assert many.comparison.need == 112
    assert many.lines[-2:] == (
        "25 Token Pack and 100 Token Pack cost $105.00 now.",
        "For this need upgrading is cheaper than buying tokens.",
    )


@pytest.mark.parametrize(
    ("catalog", "plan", "more"),
    [
        (ANALYSIS, "professional", {}),  # the next price is on request
        (GOALS, "enterprise", {}),  # the highest
        (change_plan(ANALYSIS, "starter", exhaustion=Exhaustion(upgrade=False)), "starter", {}),
        (ANALYSIS, "starter", {"switched_off": frozenset({"plans"})}),
        (ANALYSIS, "starter", {"failed": True}),
    ],
)
def test_where_there_is_no_upgrade(catalog: Catalog, plan: str, more: dict[str, Any]) -> None:
    assert offers(Desk(catalog, plan), **more).upgrade is None


# R-PACK-4, R-PACK-9: why a pack cannot be bought now
def test_what_cannot_be_bought_says_why() -> None:
    desk = s1()
    limited = offers(desk, slots=(desk.now + 5, desk.now + 9), charged=BY_DAY)
    assert (limited.slots, limited.slot_free_at, limited.recommended) == (0, desk.now + 5, None)
    assert {o.refusal.code for o in limited.packs if o.refusal} == {Code.PACK_LIMIT}
    assert not any(o.available or o.hidden for o in limited.packs)
    hidden = replace(ANALYSIS, rollout=Rollout(0))
    assert all(o.hidden for o in offers(desk, hidden).packs)
    off = offers(desk, switched_off=frozenset({"pack:token_pack_100"}), charged=BY_DAY)
    assert [o.available for o in off.packs] == [True, True, False]
    assert off.recommended == "token_pack_50"  # the largest that can be bought


def test_without_a_plan_the_horizon_is_the_history() -> None:
    # R-PACK-6
    desk = Desk(SHOP)
    desk.ok(c.Grant(tokens=1_000, origin="pack"))
    found = offers(desk, charged=(1_000,) * 10)
    assert (found.need, found.days, found.recommended) == (29_000, 30, "gpt_4_professional")
    assert found.reason == (
        "You used 10,000 tokens in 10 days, 1,000 a day. For the next 30 days that leaves you 29,000 tokens short. "
        "This pack brings 50,000."
    )
    assert found.upgrade is not None
    assert (
        found.upgrade.lines[0]
        == "Developer costs $49.00 more a period and brings 1,000,000 more tokens, $0.000049 each."
    )


# R-PACK-8: a launch price, with its true end
def test_a_launch_price_is_shown_while_it_holds() -> None:
    desk = s1()
    end = ms("2025-02-01")
    pack = replace(ANALYSIS.packs["token_pack_50"], launch_price=4000, launch_until=end, bonus_tokens=10)
    catalog = replace(ANALYSIS, packs={pack.id: pack})
    [now] = offers(desk, catalog).packs
    assert (now.price, now.usual_price, now.list_price, now.until) == (4000, 4500, 5000, end)
    assert (now.tokens, now.bonus, now.per_token, now.saving_percent) == (50, 10, "$0.6667", "20.0")
    desk.until("2025-02-01")
    desk.view()
    [later] = offers(desk, catalog).packs
    assert (later.price, later.usual_price, later.until, later.saving_percent) == (4500, None, None, "10.0")


# R-PACK-8
def test_a_code_is_reckoned_into_every_pack_it_is_for() -> None:
    promo = Promo(code="BIG", percent_off=10, packs=frozenset({"token_pack_100"}), ends=ms("2025-02-01"))
    catalog = replace(ANALYSIS, promos={"BIG": promo})
    found = offers(s1(), catalog, code="big")
    assert [(o.price, o.promo) for o in found.packs] == [(2500, None), (4500, None), (7200, "BIG")]
    assert found.promo_refusal is None
    assert found.packs[2].note == "Code BIG: $8.00 off."
    assert (found.packs[2].saving_percent, found.packs[2].until) == ("28.0", ms("2025-02-01"))
    used = offers(s1(), catalog, code="big", uses=Uses(1, 1))
    assert used.promo_refusal is not None
    assert used.promo_refusal.code == Code.PROMO_INVALID
    assert [o.price for o in used.packs] == [2500, 4500, 8000]


@given(
    charged=st.lists(st.integers(0, 200), max_size=30).map(tuple),
    missing=st.integers(0, 300),
    count=st.integers(0, 5),
    percent=st.none() | st.integers(1, 100),
)
def test_nothing_is_said_that_is_not_so(
    charged: tuple[int, ...], missing: int, count: int, percent: int | None
) -> None:
    # R-PACK-5, R-PACK-6: no end that is none, no saving that is none, no hurry
    promos = {} if percent is None else {"ANY": Promo(code="ANY", percent_off=percent)}
    catalog = replace(ANALYSIS, promos=promos)
    found = offers(
        DEPLETED, catalog, charged=charged, missing=missing, packs_count=count, packs_amount=count * 2500,
        packs_tokens=count * 25, code="any" if promos else None,
    )  # fmt: skip
    for offer in found.packs:
        assert 0 <= offer.price <= ANALYSIS.packs[offer.id].price
        assert offer.until is None
        assert (offer.saving or 1) > 0
    lines = (found.reason, *(found.upgrade.lines if found.upgrade else ()))
    for line in lines:
        assert not any(
            word in line.lower() for word in ("hurry", "last chance", "only today", "now or never", "!")
        )
    best = next((offer for offer in found.packs if offer.recommended), None)
    assert (best is None) == (found.need == 0)
    if best is not None:
        sizes = [offer.tokens + offer.bonus for offer in found.packs]
        assert best.tokens + best.bonus >= found.need or best.tokens + best.bonus == max(sizes)


DEPLETED = s1()


def test_while_the_next_invoice_is_waited_for_nothing_is_reckoned() -> None:
    # R-PLAN-4: the period goes on after its end, and nobody knows until when
    desk = s1()
    period = desk.account.state.period
    assert period is not None
    shopper = Shopper(organization="acme", plan="starter")
    found = pack_offers(ANALYSIS, desk.account, shopper, period.end + 5, charged=BY_DAY)
    assert (found.need, found.days, found.until) == (0, 0, period.end + 5)
    assert found.reason == "You used 50 tokens in 14 days, 3.6 a day."
    asked = pack_offers(ANALYSIS, desk.account, shopper, period.end + 5, charged=BY_DAY, missing=10)
    assert asked.recommended == "token_pack_25"
    assert asked.upgrade is not None
    assert asked.upgrade.comparison.upgrade.now == 9999
