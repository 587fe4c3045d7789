"""Buying through a hosted checkout: begun, paid, declined, expired, and never for another price."""

from __future__ import annotations

import pytest

from tests.support.stripe import (
    ASKS_ALWAYS,
    DECLINED,
    NO_MONEY,
    T0,
    VISA,
    Desk,
    key,
    order,
    plan,
    purchase,
)
from tokentill.ports.shop import VendorRefused
from tokentill.rules import happenings as h
from tokentill.rules.purchases import Purchase, merge

HOUR = 3_600_000


def merged(of: Purchase, facts: list[h.AnyHappening]) -> Purchase:
    for fact in facts:
        of = merge(of, fact)
    return of


async def test_a_pack_is_bought(desk: Desk) -> None:  # R-PACK-2, R-PACK-3
    started = await desk.payments.checkout(order(email="ada@example.com"), key(1))
    assert started.url.startswith("https://")
    assert started.expires_at == T0 + 24 * HOUR
    assert "error" not in desk.lab.pay(started.checkout, VISA)
    facts = await desk.hear()
    assert {type(fact) for fact in facts} == {h.Paid}
    assert {fact.purchase for fact in facts} == {purchase().id}
    paid = merged(purchase(), facts)
    assert (paid.state, len(paid.payments), paid.checkout) == ("paid", 1, started.checkout)
    assert paid.method is not None
    assert paid.flagged is None


async def test_the_purchase_of_a_pack_is_told_without_asking_stripe(desk: Desk) -> None:  # R-PACK-10
    started = await desk.payments.checkout(order(), key(1))
    desk.lab.pay(started.checkout, VISA)
    asked = len(desk.lab.api.asked)
    told = {
        one.type: await desk.read([one])
        for one in desk.lab.webhooks()
        if one.type in ("charge.succeeded", "checkout.session.completed")
    }
    assert len(told) == 2
    assert all(merged(purchase(), facts).state == "paid" for facts in told.values())
    assert len(desk.lab.api.asked) == asked


async def test_a_card_is_saved_where_the_customer_agreed(desk: Desk) -> None:  # R-SALE-3
    started = await desk.payments.checkout(order(save_method=True, email="ada@example.com"), key(1))
    desk.lab.pay(started.checkout, VISA)
    saved = [fact for fact in await desk.hear() if isinstance(fact, h.Paid) and fact.saved]
    assert len(saved) == 1
    assert saved[0].customer is not None
    assert (saved[0].label, saved[0].method) == (
        "visa •••• 4242",
        desk.lab.world.all("payment_method")[0]["card"]["fingerprint"],
    )


async def test_without_agreement_nothing_is_saved(desk: Desk) -> None:
    started = await desk.payments.checkout(order(), key(1))
    desk.lab.pay(started.checkout, VISA)
    assert [fact for fact in await desk.hear() if isinstance(fact, h.Paid) and fact.saved] == []


async def test_the_same_card_has_one_fingerprint_wherever_it_is_used(desk: Desk) -> None:  # R-PACK-4
    for number in (1, 2):
        started = await desk.payments.checkout(order(purchase(number)), key(number))
        desk.lab.pay(started.checkout, VISA)
    methods = {fact.method for fact in await desk.hear() if isinstance(fact, h.Paid) and fact.method}
    assert len(methods) == 1


async def test_declined_tries_are_told_and_the_next_card_pays(desk: Desk) -> None:  # R-PACK-3, R-PACK-4
    started = await desk.payments.checkout(order(), key(1))
    assert desk.lab.pay(started.checkout, DECLINED)["error"]["decline_code"] == "generic_decline"
    assert desk.lab.pay(started.checkout, NO_MONEY)["error"]["decline_code"] == "insufficient_funds"
    facts = await desk.hear()
    assert [fact.code for fact in facts if isinstance(fact, h.Declined)] == [
        "generic_decline",
        "insufficient_funds",
    ]
    failed = merged(purchase(checkout=started.checkout), facts)
    assert (failed.state, len(failed.declines)) == ("pending", 2)
    desk.lab.pay(started.checkout, VISA)
    assert merged(failed, await desk.hear()).state == "paid"


@pytest.mark.parametrize(
    ("bank", "state"), [("confirms", "paid"), ("fails", "pending"), ("leaves", "pending")]
)
async def test_a_bank_that_asks(desk: Desk, bank: str, state: str) -> None:
    started = await desk.payments.checkout(order(), key(1))
    desk.lab.pay(started.checkout, ASKS_ALWAYS, bank=bank)  # type: ignore[arg-type] # one of its words
    paid = merged(purchase(checkout=started.checkout), await desk.hear())
    assert paid.state == state


async def test_an_expired_checkout_is_over(desk: Desk) -> None:  # R-PACK-3
    started = await desk.payments.checkout(order(purchase(expires_at=T0 + HOUR)), key(1))
    assert started.expires_at == T0 + HOUR
    desk.lab.advance(3601)
    facts = await desk.hear()
    assert [type(fact) for fact in facts] == [h.Ended]
    assert merged(purchase(checkout=started.checkout), facts).state == "abandoned"


@pytest.mark.parametrize(
    ("wanted", "got"), [(60_000, 31 * 60_000), (48 * HOUR, 23 * HOUR), (2 * HOUR, 2 * HOUR)]
)
async def test_a_checkout_is_open_as_long_as_stripe_takes(desk: Desk, wanted: int, got: int) -> None:
    started = await desk.payments.checkout(order(purchase(expires_at=T0 + wanted)), key(1))
    assert started.expires_at == T0 + got


async def test_a_closed_checkout_cannot_be_paid(desk: Desk) -> None:  # R-PACK-2
    started = await desk.payments.checkout(order(), key(1))
    begun = purchase(checkout=started.checkout)
    await desk.payments.close_checkout(begun)
    assert "error" in desk.lab.pay(started.checkout, VISA)
    await desk.payments.close_checkout(begun)
    await desk.payments.close_checkout(purchase())
    assert [type(fact) for fact in await desk.hear()] == [h.Ended]


async def test_closing_a_paid_checkout_changes_nothing(desk: Desk) -> None:
    started = await desk.payments.checkout(order(), key(1))
    desk.lab.pay(started.checkout, VISA)
    await desk.payments.close_checkout(purchase(checkout=started.checkout))
    assert merged(purchase(), await desk.hear()).state == "paid"


async def test_money_that_takes_its_time(desk: Desk) -> None:  # R-PACK-3
    begun = []
    for number in (1, 2):
        started = await desk.payments.checkout(order(purchase(number)), key(number))
        desk.lab.pay(started.checkout, VISA, later=True)
        begun.append(purchase(number, checkout=started.checkout))
    assert await desk.hear() == []
    assert begun[0].checkout is not None
    assert begun[1].checkout is not None
    desk.lab.settle(begun[0].checkout)
    assert merged(begun[0], await desk.hear()).state == "paid"
    desk.lab.settle(begun[1].checkout, succeeds=False)
    failed = merged(begun[1], await desk.hear())
    assert (failed.state, len(failed.declines)) == ("abandoned", 1)


async def test_a_price_that_costs_something_else_is_not_sold(desk: Desk) -> None:  # R-PACK-2
    price = await a_price(desk, 3000)
    with pytest.raises(VendorRefused, match="costs 3000 usd at Stripe, and 2500 USD was ordered") as refused:
        await desk.payments.checkout(order(price_ref=price), key(1))
    assert refused.value.code == "price_differs"
    assert desk.lab.world.all("checkout.session")[0]["status"] == "expired"


async def test_a_price_that_fits_is_used(desk: Desk) -> None:  # R-PACK-2
    price = await a_price(desk, 2500)
    started = await desk.payments.checkout(order(price_ref=price), key(1))
    assert desk.lab.world.note(started.checkout)["price"]["id"] == price


async def test_a_promotion_is_not_sold_at_the_list_price(desk: Desk) -> None:  # R-PACK-8
    price = await a_price(desk, 2500)
    cheaper = purchase(amount=2000, list_amount=2500, promo="SPRING")
    started = await desk.payments.checkout(order(cheaper, price_ref=price), key(1))
    assert desk.lab.world.get("checkout.session", started.checkout)["amount_total"] == 2000


async def a_price(desk: Desk, amount: int) -> str:
    v1 = desk.payments.gateway.v1
    data = {"currency": "usd", "unit_amount": amount, "product_data": {"name": "25 tokens"}}
    made = await v1.prices.create_async(params=data)
    return str(made.id)


async def test_the_same_order_under_the_same_key_is_one_checkout(desk: Desk) -> None:  # R-PACK-3
    first = await desk.payments.checkout(order(), key(1))
    desk.clock.time += 60_000
    assert await desk.payments.checkout(order(), key(1)) == first
    assert len(desk.lab.world.all("checkout.session")) == 1


async def test_another_order_under_the_same_key_is_refused(desk: Desk) -> None:
    await desk.payments.checkout(order(), key(1))
    with pytest.raises(VendorRefused) as refused:
        await desk.payments.checkout(order(purchase(2)), key(1))
    assert refused.value.code == "key_reused"


async def test_a_known_customer_buys_again(desk: Desk) -> None:
    made = await desk.payments.gateway.v1.customers.create_async(params={"email": "ada@example.com"})
    started = await desk.payments.checkout(order(customer=made.id, save_method=True), key(1))
    desk.lab.pay(started.checkout, VISA)
    assert {fact.customer for fact in await desk.hear() if isinstance(fact, h.Paid)} == {made.id}


@pytest.mark.parametrize(
    ("currency", "amount", "sent"),
    [
        ("JPY", 500, 500),
        ("ISK", 500, 50_000),
        ("UGX", 5000, 500_000),
        ("KWD", 1490, 1490),
        ("EUR", 1999, 1999),
    ],
)
async def test_every_kind_of_currency(desk: Desk, currency: str, amount: int, sent: int) -> None:  # R-PACK-2
    begun = purchase(currency=currency, amount=amount)
    started = await desk.payments.checkout(order(begun), key(1))
    assert desk.lab.world.get("checkout.session", started.checkout)["amount_total"] == sent
    desk.lab.pay(started.checkout, VISA)
    assert merged(begun, await desk.hear()).state == "paid"


async def test_the_portal(desk: Desk) -> None:  # R-PLAT-1
    started = await desk.payments.checkout(order(plan(), interval="month"), key(1))
    desk.lab.pay(started.checkout, VISA)
    customer = desk.lab.world.all("customer")[0]["id"]
    url = await desk.payments.portal(customer, "https://shop.test/account")
    assert url is not None
    assert url.startswith("https://billing.stripe.com/")
    with pytest.raises(VendorRefused) as refused:
        await desk.payments.portal("cus_nobody", "https://shop.test/account")
    assert refused.value.code == "resource_missing"
