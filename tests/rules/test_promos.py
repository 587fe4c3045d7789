"""R-PACK-8: codes and launch prices; the better of the two for the customer, and never a price that is raised."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.support.desk import ms, preset
from tokentill.rules.catalog import Catalog, Pack
from tokentill.rules.catalog_shop import Promo
from tokentill.rules.money import Coins
from tokentill.rules.promos import Terms, Uses, normal, terms
from tokentill.rules.refusals import Code, Refusal

ANALYSIS = preset("analysis")
PACK = ANALYSIS.packs["token_pack_50"]
NOW = ms("2026-03-15")
END = ms("2026-04-01")


def catalog(*promos: Promo) -> Catalog:
    return replace(ANALYSIS, promos={promo.code: promo for promo in promos})


def deal(promo: Promo, pack: Pack = PACK, now: int = NOW, uses: Uses | None = None, bought: int = 0) -> Terms:
    found = terms(catalog(promo), pack, now, promo.code, uses, bought)
    assert isinstance(found, Terms), found
    return found


def refused(
    promo: Promo, pack: Pack = PACK, now: int = NOW, uses: Uses | None = None, bought: int = 0
) -> str:
    found = terms(catalog(promo), pack, now, promo.code, uses, bought)
    assert isinstance(found, Refusal)
    assert found.code == Code.PROMO_INVALID
    return found.message


# R-PACK-8: the pack of 50 for $45
@pytest.mark.parametrize(
    ("gives", "price", "bonus", "text"),
    [
        ({"percent_off": 10}, 4050, 0, "Code SPRING: $4.50 off."),
        ({"percent_off": 33}, 3015, 0, "Code SPRING: $14.85 off."),
        ({"percent_off": 100}, 0, 0, "Code SPRING: $45.00 off."),
        ({"amount_off": 500}, 4000, 0, "Code SPRING: $5.00 off."),
        ({"amount_off": 9999}, 0, 0, "Code SPRING: $45.00 off."),
        ({"bonus_tokens": 5}, 4500, 5, "Code SPRING: 5 tokens more."),
    ],
)
def test_what_a_code_gives(gives: dict[str, int], price: int, bonus: int, text: str) -> None:
    found = deal(Promo(code="SPRING", **gives))  # type: ignore[arg-type]  # the rows name integer fields only
    assert (found.price, found.bonus, found.promo, found.text) == (price, bonus, "SPRING", text)


def test_a_share_is_rounded_once_half_up() -> None:
    odd = replace(PACK, price=1_05)
    assert deal(Promo(code="X10", percent_off=10), odd).price == 95  # 94.5
    assert deal(Promo(code="X01", percent_off=1), replace(PACK, price=1)).price == 1  # 0.99


# R-PACK-8: in steps of ten, and no less than 50
@pytest.mark.parametrize(
    ("price", "gives", "lowered"),
    [
        (2900, {"percent_off": 33}, 1940),  # 19.43, in the customer's favour
        (2900, {"amount_off": 1}, 2890),
        (2900, {"percent_off": 99}, 50),  # 0.29 cannot be paid, 0.50 can
        (2900, {"percent_off": 100}, 0),
        (2900, {"amount_off": 2_899}, 50),
        (40, {"percent_off": 50}, 40),  # what is below the least as it is becomes no dearer
        (2905, {"bonus_tokens": 5}, 2905),  # a code that lowers no price touches none
    ],
)
def test_a_price_with_a_code_can_be_paid(price: int, gives: dict[str, int], lowered: int) -> None:
    promo = Promo(code="CODE", **gives)  # type: ignore[arg-type]  # the rows name integer fields only
    found = terms(catalog(promo), replace(PACK, price=price), NOW, "CODE", coins=Coins(10, 50))
    assert isinstance(found, Terms)
    assert found.price == lowered


# R-PACK-8: the stacking rule
@pytest.mark.parametrize(
    ("launch", "gives", "price", "bonus", "promo"),
    [
        (4000, {"percent_off": 10}, 4000, 0, None),  # 40.00 beats 40.50
        (4050, {"percent_off": 10}, 4050, 0, None),  # as good: the code is kept for later
        (4100, {"percent_off": 10}, 4050, 0, "CODE"),  # off the usual price, in place of the launch price
        (4000, {"bonus_tokens": 25}, 4000, 0, None),  # more tokens never raise the price
    ],
)
def test_a_launch_price_and_a_code_are_not_added(
    launch: int, gives: dict[str, int], price: int, bonus: int, promo: str | None
) -> None:
    pack = replace(PACK, launch_price=launch, launch_until=END)
    found = deal(Promo(code="CODE", **gives), pack)  # type: ignore[arg-type]  # the rows name integer fields only
    assert (found.price, found.bonus, found.promo) == (price, bonus, promo)
    if promo is None:
        assert found.text == (
            f"The price of ${price // 100}.{price % 100:02} is as good as with the code CODE or better, "
            "so the code stays unused."
        )
        assert found.until == END
    else:
        assert found.text == "Code CODE: $0.50 off in place of the launch price."


@pytest.mark.parametrize("typed", ["spring-26", " SPRING-26 ", "Spring -26"])
def test_a_code_is_read_in_any_case(typed: str) -> None:
    assert normal(typed) == "SPRING-26"


@pytest.mark.parametrize("nothing", [None, "", "  "])
def test_no_code(nothing: str | None) -> None:
    assert terms(ANALYSIS, PACK, NOW, nothing) == Terms(4500, 0)


USED = (
    "The code CODE has been used by this organization, or stands in one of its open checkouts. "
    "Finish that one, or order without the code."
)
BASE = Promo(code="CODE", percent_off=10)


# R-PACK-8: each refusal says why and what to do
@pytest.mark.parametrize(
    ("promo", "more", "message"),
    [
        ({"starts": ms("2026-03-16")}, {},
         "The code CODE begins on 2026-03-16 00:00 UTC. Use it then, or order without it."),
        ({"ends": NOW}, {}, "The code CODE ended on 2026-03-15 00:00 UTC. Order without it."),
        ({"packs": frozenset({"token_pack_25", "token_pack_100"})}, {},
         "The code CODE is not for 50 Token Pack. It is for: 25 Token Pack, 100 Token Pack."),
        ({"first_purchase_only": True}, {"bought": 1}, "The code CODE is for a first purchase only. Order without it."),
        ({}, {"uses": Uses(1, 1)}, USED),
        ({"uses_max": 3}, {"uses": Uses(3, 0)}, "The code CODE has been used as often as it can be. Order without it."),
    ],
)  # fmt: skip
def test_why_a_code_does_not_hold(promo: dict[str, Any], more: dict[str, Any], message: str) -> None:
    assert refused(replace(BASE, **promo), **more) == message


@pytest.mark.parametrize(
    ("promo", "more"),
    [
        ({"starts": NOW}, {}),
        ({"ends": NOW + 1}, {}),
        ({"packs": frozenset({"token_pack_50"})}, {}),
        ({"first_purchase_only": True}, {}),
        ({"once_per_organization": False}, {"uses": Uses(9, 9)}),
        ({"uses_max": 3}, {"uses": Uses(2, 0)}),
    ],
)
def test_at_the_edge_it_holds(promo: dict[str, Any], more: dict[str, Any]) -> None:
    assert deal(replace(BASE, **promo), **more).price == 4050


def test_an_unknown_code() -> None:
    found = terms(ANALYSIS, PACK, NOW, "nonsense" * 20)
    assert isinstance(found, Refusal)
    assert found.message == "There is no code of this name. Check how it is spelled, or order without it."
    assert len(found.detail or "") == 64


@given(
    price=st.integers(0, 10**6),
    launch=st.none() | st.integers(0, 10**6),
    step=st.sampled_from((1, 10, 100)),
    least=st.integers(1, 300),
    gives=st.one_of(
        st.integers(1, 100).map(lambda n: {"percent_off": n}),
        st.integers(1, 10**6).map(lambda n: {"amount_off": n}),
        st.integers(1, 10**6).map(lambda n: {"bonus_tokens": n}),
    ),
)
def test_a_code_never_raises_a_price_and_none_is_below_zero(
    price: int, launch: int | None, step: int, least: int, gives: dict[str, int]
) -> None:  # R-PACK-8
    pack = replace(PACK, price=price, launch_price=launch, launch_until=None if launch is None else END)
    plain = terms(ANALYSIS, pack, NOW)
    assert isinstance(plain, Terms)
    promo = Promo(code="ANY", **gives)  # type: ignore[arg-type]  # integer fields only
    coded = terms(catalog(promo), pack, NOW, "ANY", coins=Coins(step, least))
    assert isinstance(coded, Terms)
    if coded.price not in (0, price, launch):
        assert coded.price % step == 0
        assert coded.price >= least
    assert 0 <= coded.price <= plain.price <= price
    assert (coded.price, -coded.bonus) <= (plain.price, -plain.bonus)
    assert (coded.promo is not None) == ((coded.price, -coded.bonus) < (plain.price, -plain.bonus))
