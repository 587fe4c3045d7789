"""What a pack costs at a moment, and the names of price ids."""

from typing import Any

import pytest
from msgspec.structs import replace

from tests.support.desk import ms, preset
from tokentill.rules.catalog import Catalog
from tokentill.rules.prices import launched_until, order_price_ref, price_now, price_ref, variables
from tokentill.web.views import catalog

ANALYSIS = preset("analysis")
PACK = ANALYSIS.packs["token_pack_50"]


def with_pack(**changes: Any) -> Catalog:
    return replace(ANALYSIS, packs={**ANALYSIS.packs, PACK.id: replace(PACK, **changes)})


# R-PACK-8: the launch price holds until before its end
@pytest.mark.parametrize(
    ("now", "launch", "price"),
    [
        ("2026-03-31T23:59:59.999", 4000, 4000),
        ("2026-04-01", 4000, 4500),
        ("2026-03-31", 4600, 4500),  # one that saves nothing is never asked
        ("2026-03-31", None, 4500),
    ],
)
def test_launch_price(now: str, launch: int | None, price: int) -> None:
    pack = replace(PACK, launch_price=launch, launch_until=ms("2026-04-01"))
    assert price_now(pack, ms(now)) == price
    assert launched_until(pack, ms(now)) == (ms("2026-04-01") if price < 4500 else None)


# R-PACK-2: S1 §7 "Environment Variables Needed"
def test_the_names_are_s1s() -> None:
    assert variables(ANALYSIS, "stripe") == {
        "token_pack_25": "STRIPE_TOKEN_PACK_25_PRICE_ID",
        "token_pack_50": "STRIPE_TOKEN_PACK_50_PRICE_ID",
        "token_pack_100": "STRIPE_TOKEN_PACK_100_PRICE_ID",
        "starter": "STRIPE_STARTER_PRICE_ID",
        "professional": "STRIPE_PROFESSIONAL_PRICE_ID",  # Enterprise is asked for, not bought
    }
    assert variables(preset("shop"), "paypal")["gpt_4_team"] == "PAYPAL_GPT_4_TEAM_PRICE_ID"


# R-PACK-2
def test_the_environment_comes_before_the_catalog() -> None:
    catalog = with_pack(prices={"stripe": "price_catalog"})
    pack = catalog.packs[PACK.id]
    name = "STRIPE_TOKEN_PACK_50_PRICE_ID"
    assert price_ref(catalog, {}, "stripe", pack) == "price_catalog"
    assert price_ref(catalog, {name: " "}, "stripe", pack) == "price_catalog"
    assert price_ref(catalog, {name: "price_env"}, "stripe", pack) == "price_env"
    assert price_ref(catalog, {name: "price_env"}, "paypal", pack) is None
    plan = catalog.plans["starter"]
    assert price_ref(catalog, {"STRIPE_STARTER_PRICE_ID": "price_plan"}, "stripe", plan) == "price_plan"


# R-PACK-2: S1's names go by the size
def test_the_only_pack_of_a_size_is_found_under_s1s_name() -> None:
    small = replace(PACK, id="small", tokens=25)
    large = replace(PACK, id="large", tokens=25)
    environment = {"STRIPE_TOKEN_PACK_25_PRICE_ID": "price_25"}
    assert price_ref(replace(ANALYSIS, packs={"small": small}), environment, "stripe", small) == "price_25"
    both = replace(ANALYSIS, packs={"small": small, "large": large})
    assert price_ref(both, environment, "stripe", small) is None
    own = replace(
        ANALYSIS, packs={"small": small, "token_pack_25": replace(PACK, id="token_pack_25", tokens=1)}
    )
    assert price_ref(own, environment, "stripe", small) is None


# R-PACK-2: a price id stands for one amount
def test_an_order_for_another_amount_goes_without_the_price_id() -> None:
    catalog = with_pack(prices={"stripe": "price_1"})
    pack = catalog.packs[PACK.id]
    assert order_price_ref(catalog, {}, "stripe", pack, 4500) == "price_1"
    assert order_price_ref(catalog, {}, "stripe", pack, 4000) is None


def test_the_public_catalog_says_until_when_a_launch_price_holds() -> None:  # R-PACK-1, R-PACK-8
    goals = preset("goals")
    packs = {
        **goals.packs,
        "token_pack_500": replace(
            goals.packs["token_pack_500"], launch_price=2000, launch_until=1000, bonus_tokens=300
        ),
    }
    launched = replace(goals, packs=packs)
    names = ("price", "usual_price", "until", "bonus", "per_token", "saving", "saving_percent")
    shown = {now: catalog(launched, now).packs[0] for now in (999, 1000)}
    assert [getattr(shown[999], name) for name in names] == [2000, 2900, 1000, 300, "$0.025", 3000, "60.0"]
    assert [getattr(shown[1000], name) for name in names] == [2900, None, None, 300, "$0.03625", 2100, "42.0"]
