"""Orders: amounts from the catalog and a promotion only, and every reason why not, in order."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.support.desk import DAY, MINUTE, ms, preset
from tokentill.rules import happenings as h
from tokentill.rules.catalog import Catalog
from tokentill.rules.catalog_shop import Promo
from tokentill.rules.ordering import (
    Limit,
    Order,
    bill_id,
    bill_with,
    limits,
    order_code,
    order_pack,
    order_plan,
)
from tokentill.rules.promos import Uses
from tokentill.rules.purchases import FOREVER, Purchase, finish, merge, next_step
from tokentill.rules.refusals import Code, Refusal
from tokentill.rules.rows import RedemptionCode
from tokentill.rules.selling import Shopper

ANALYSIS, GOALS, SHOP = preset("analysis"), preset("goals"), preset("shop")
NOW = ms("2026-03-15")
ACME = Shopper(organization="acme", plan="starter")
ORDER = Order(id="p1", now=NOW, provider="stripe", providers=("stripe", "paypal"), user="ann")
HALF = Promo(code="HALF", percent_off=50, uses_max=100)
GIFT = Promo(code="GIFT", percent_off=100, once_per_organization=False)
FIRST = Promo(code="FIRST", percent_off=50, once_per_organization=False, first_purchase_only=True)
CODES = replace(ANALYSIS, promos={"HALF": HALF, "GIFT": GIFT, "FIRST": FIRST})


def pack(name: str = "token_pack_25", catalog: Catalog = CODES, **more: Any) -> Purchase:
    found = order_pack(catalog, more.pop("shopper", ACME), more.pop("order", ORDER), name, **more)
    assert isinstance(found, Purchase), found
    return found


def no(found: Purchase | Refusal) -> Code:
    assert isinstance(found, Refusal)
    return found.code


# R-PACK-1, R-PACK-2: S1 §7, "Products to create"
@pytest.mark.parametrize(
    ("name", "title", "tokens", "amount"),
    [
        ("token_pack_25", "25 Token Pack", 25, 2500),
        ("token_pack_50", "50 Token Pack", 50, 4500),
        ("token_pack_100", "100 Token Pack", 100, 8000),
    ],
)
def test_the_packs_of_s1(name: str, title: str, tokens: int, amount: int) -> None:
    row = pack(name)
    assert (row.title, row.tokens, row.amount, row.list_amount, row.currency) == (
        title,
        tokens,
        amount,
        amount,
        "USD",
    )
    assert (row.kind, row.mode, row.provider, row.user, row.state) == (
        "pack",
        "checkout",
        "stripe",
        "ann",
        "created",
    )
    assert (row.slot_ms, row.expires_at) == (DAY, NOW + 30 * MINUTE)
    assert row.slot_until > NOW + 30 * MINUTE
    assert limits(CODES, row) == (Limit(2, (("organization", "acme"), ("kind", "pack")), "slot_until"),)


def test_a_pack_keeps_the_terms_it_was_ordered_on() -> None:
    # R-PACK-3, R-PACK-8
    sold = replace(SHOP.packs["gpt_4_team"], bonus_tokens=5_000, launch_price=3500, launch_until=NOW + 1)
    row = pack("gpt_4_team", replace(SHOP, packs={"gpt_4_team": sold}), shopper=Shopper(organization="acme"))
    assert (row.amount, row.list_amount, row.tokens, row.bonus, row.valid_days) == (
        3500,
        4000,
        250_000,
        5_000,
        180,
    )


def test_a_promotion() -> None:
    # R-PACK-8
    row = pack(code="half")
    assert (row.amount, row.list_amount, row.promo, row.mode) == (1250, 2500, "HALF", "checkout")
    assert [(limit.most, limit.column) for limit in limits(CODES, row)] == [
        (2, "slot_until"),
        (1, "promo_until"),
        (100, "promo_until"),
    ]
    refusal = order_pack(CODES, ACME, ORDER, "token_pack_25", "half", Uses(1, 1))
    assert no(refusal) == Code.PROMO_INVALID


def test_what_costs_nothing_needs_no_provider() -> None:
    # R-PACK-8
    row = pack(code="gift", order=replace(ORDER, provider="", providers=()))
    assert (row.amount, row.mode, row.state, row.paid_at) == (0, "free", "paid", NOW)
    assert (row.expires_at, row.promo_until) == (None, FOREVER)


def test_a_saved_method() -> None:
    # R-SALE-3, R-PACK-11
    row = pack(order=replace(ORDER, mode="saved", source="topup", payer="stripe:acme:card"))
    assert (row.mode, row.source, row.payer, row.expires_at) == ("saved", "topup", "stripe:acme:card", None)


# R-PACK-2, R-PACK-4: the first reason in the order of codes
def test_why_a_pack_cannot_be_ordered() -> None:
    worst = replace(ACME, plan=None, failed=True, slots=(NOW + 1,) * 2, switched_off=frozenset({"packs"}))
    nowhere = replace(ORDER, provider="cash")
    steps = [
        no(order_pack(CODES, worst, nowhere, "gone", "nonsense")),
        no(order_pack(CODES, worst, nowhere, "token_pack_25", "nonsense")),
        no(order_pack(CODES, worst, ORDER, "token_pack_25", "nonsense")),
        no(order_pack(CODES, worst, ORDER, "token_pack_25")),
        no(order_pack(CODES, replace(worst, switched_off=frozenset()), ORDER, "token_pack_25")),
        no(order_pack(CODES, replace(worst, switched_off=frozenset(), slots=()), ORDER, "token_pack_25")),
        no(order_pack(CODES, Shopper(organization="acme"), ORDER, "token_pack_25")),
    ]
    assert steps == [
        Code.UNKNOWN_PACK,
        Code.UNKNOWN_PROVIDER,
        Code.PROMO_INVALID,
        Code.PACKS_OFF,
        Code.PACK_LIMIT,
        Code.PAYMENT_FAILED,
        Code.PACK_NOT_FOR_PLAN,
    ]
    order = list(Code)
    assert steps == sorted(steps, key=order.index)


def test_the_refusal_names_what_there_is() -> None:
    unknown = order_pack(GOALS, Shopper(organization="acme", plan="pro"), ORDER, "gone")
    assert isinstance(unknown, Refusal)
    assert unknown.message.endswith("It can buy: token_pack_500, token_pack_2000.")
    nowhere = order_pack(CODES, ACME, replace(ORDER, provider="cash"), "token_pack_25")
    assert isinstance(nowhere, Refusal)
    assert nowhere.message == "No payment provider of this name is set up. There is: stripe, paypal."


# R-PLAN-4: first payments and upgrades
@pytest.mark.parametrize(
    ("plan", "to", "subscribed", "credit", "kind", "amount", "mode"),
    [
        (None, "starter", False, 0, "plan", 3999, "checkout"),
        ("starter", "professional", True, 2133, "upgrade", 7866, "checkout"),
        ("starter", "professional", False, 2133, "plan", 9999, "checkout"),  # nobody billed the old plan here
        ("starter", "professional", True, 9999, "upgrade", 0, "free"),
        ("starter", "professional", True, 20_000, "upgrade", 0, "free"),
        ("starter", "professional", True, -5, "upgrade", 9999, "checkout"),
    ],
)
def test_orders_of_plans(
    plan: str | None, to: str, subscribed: bool, credit: int, kind: str, amount: int, mode: str
) -> None:
    row = order_plan(ANALYSIS, replace(ACME, plan=plan), ORDER, to, credit=credit, subscribed=subscribed)
    assert isinstance(row, Purchase)
    assert (row.kind, row.amount, row.mode) == (kind, amount, mode)
    assert row.list_amount == ANALYSIS.plans[to].price
    if kind == "upgrade":
        assert row.credit == max(0, credit)
        assert row.amount == max(0, (row.list_amount or 0) - row.credit)
    assert limits(ANALYSIS, row) == ()


def test_a_trial_asks_for_the_method_only() -> None:
    # R-PLAN-4, R-PACK-8
    yearly = replace(SHOP.plans["developer_yearly"], trial_days=14)
    catalog = replace(SHOP, plans={**SHOP.plans, yearly.id: yearly})
    nobody = Shopper(organization="acme")
    first = order_plan(catalog, nobody, ORDER, yearly.id, trial=True)
    again = order_plan(catalog, nobody, ORDER, yearly.id)
    assert isinstance(first, Purchase)
    assert isinstance(again, Purchase)
    assert (first.amount, first.mode, first.bonus, first.periods) == (0, "checkout", 0, 12)
    assert (again.amount, again.mode, again.bonus) == (49_000, "checkout", 500_000)


def test_a_free_plan_needs_no_provider() -> None:
    row = order_plan(GOALS, Shopper(organization="acme"), replace(ORDER, provider=""), "starter")
    assert isinstance(row, Purchase)
    assert (row.amount, row.mode, row.state) == (0, "free", "paid")


@pytest.mark.parametrize(
    ("shopper", "order", "plan", "code"),
    [
        (ACME, ORDER, "gold", Code.UNKNOWN_PLAN),
        (ACME, replace(ORDER, provider="cash"), "professional", Code.UNKNOWN_PROVIDER),
        (ACME, ORDER, "starter", Code.NOT_POSSIBLE),
        (replace(ACME, plan="professional"), ORDER, "starter", Code.NOT_POSSIBLE),
        (ACME, ORDER, "enterprise", Code.PRICE_CUSTOM),
        (replace(ACME, switched_off=frozenset({"plans"})), ORDER, "professional", Code.PLANS_OFF),
        (replace(ACME, failed=True), ORDER, "professional", Code.PAYMENT_FAILED),
    ],
)
def test_why_a_plan_cannot_be_ordered(shopper: Shopper, order: Order, plan: str, code: Code) -> None:
    # R-PLAN-4
    assert no(order_plan(ANALYSIS, shopper, order, plan)) == code


def test_a_lower_plan_and_another_rhythm_are_no_orders() -> None:
    # R-PLAN-4: they wait for the period's end
    monthly = Shopper(organization="acme", plan="developer")
    refusal = order_plan(SHOP, monthly, ORDER, "developer_yearly", subscribed=True)
    assert isinstance(refusal, Refusal)
    assert refusal.message == (
        "Developer, yearly is another rhythm of the present plan, so nothing is paid now. "
        "Change the plan; it begins when the period ends."
    )


CODE = RedemptionCode(id="d", shown="PW2C", batch="fair", tokens=40, title="Fair 2026", valid_days=30)


# R-PACK-8
def test_a_redemption_code() -> None:
    row = order_code(ANALYSIS, ACME, replace(ORDER, provider=""), CODE)
    assert isinstance(row, Purchase)
    assert (row.kind, row.item, row.title, row.tokens, row.valid_days) == (
        "code",
        "fair",
        "Fair 2026",
        40,
        30,
    )
    assert (row.amount, row.mode, row.state) == (0, "free", "paid")
    assert limits(ANALYSIS, row) == ()
    # The same order again is the same; another finds it used.
    used = replace(CODE, used_at=NOW, purchase="p1")
    assert isinstance(order_code(ANALYSIS, ACME, ORDER, used), Purchase)
    assert no(order_code(ANALYSIS, ACME, replace(ORDER, id="p2"), used)) == Code.CODE_INVALID


@pytest.mark.parametrize(
    "row",
    [None, replace(CODE, revoked=True), replace(CODE, expires_at=NOW)],
    ids=["none", "revoked", "expired"],
)
def test_a_code_that_cannot_be_redeemed(row: RedemptionCode | None) -> None:
    assert no(order_code(ANALYSIS, ACME, ORDER, row)) == Code.CODE_INVALID


@given(st.sampled_from(list(ANALYSIS.packs)), st.integers(1, 100), st.integers(0, 10**5))
def test_no_amount_is_below_zero(name: str, percent: int, credit: int) -> None:
    # R-PACK-8, R-PLAN-4
    catalog = replace(ANALYSIS, promos={"ANY": Promo(code="ANY", percent_off=percent)})
    row = pack(name, catalog, code="any")
    assert 0 <= row.amount <= row.list_amount
    assert (row.mode == "free") == (row.amount == 0)
    up = order_plan(ANALYSIS, ACME, ORDER, "professional", credit=credit, subscribed=True)
    assert isinstance(up, Purchase)
    assert 0 <= up.amount <= 9999


def test_a_code_for_the_first_purchase_is_not_used_in_two_open_checkouts() -> None:  # R-PACK-8, R-PACK-4
    row = pack(code="FIRST")
    assert Limit(1, (("organization", "acme"), ("promo", "FIRST")), "promo_until") in limits(CODES, row)
    again = order_pack(CODES, ACME, ORDER, "token_pack_25", "FIRST", Uses(by_own=1))
    assert no(again) == Code.PROMO_INVALID


# R-PLAN-6, R-REF-4: what credit does not pay of a bill is charged, or left to be paid
@pytest.mark.parametrize(
    ("credit", "payer", "mode", "steps"),
    [
        (0, "m1", "saved", []), (0, None, "invoice", []), (600, "m1", "saved", ["spend_credit"]),
        (600, None, "invoice", ["spend_credit"]), (1500, "m1", "free", ["spend_credit", "deliver"]),
        (1500, None, "free", ["spend_credit", "deliver"]),
    ],
)  # fmt: skip
def test_what_credit_pays_of_a_bill(credit: int, payer: str | None, mode: str, steps: list[str]) -> None:
    bill = bill_with(overage(payer), credit)
    assert (bill.amount, bill.credit_used, bill.mode) == (1500 - credit, credit, mode)
    assert bill_with(bill, 0) == bill_with(overage(payer), 0)
    took = []
    while (step := next_step(bill)) is not None:
        took.append(step)
        bill = finish(replace(bill, doing=step), NOW)
    assert took == steps
    # Whatever becomes of the rest, the credit stays where it was spent.
    for fact in (h.Declined(at=NOW, attempt="a", code="no"), h.Ended(at=NOW)):
        assert next_step(merge(bill, fact)) is None


def overage(payer: str | None) -> Purchase:
    return Purchase(
        id=bill_id("acme", 7), organization="acme", created_at=NOW, kind="overage", item="overage", title="10 tokens",
        amount=1500, list_amount=1500, currency="USD", provider="stripe", payer=payer, source="provider",
    )  # fmt: skip
