"""What we ask Stripe is what its API takes: every parameter we send, held to the types of the official SDK."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support import stripe_types
from tests.support.stripe import order, plan, purchase
from tokentill.rules.rows import Payer
from tokentill.vendors.stripe import orders

SESSION = ("params/checkout/_session_create_params", "SessionCreateParams")
SUBSCRIPTION = ("params/_subscription_update_params", "SubscriptionUpdateParams")

CHECKOUTS: dict[str, orders.Params] = {
    "inline": orders.checkout(order(email="a@example.com")),
    "price": orders.checkout(order(price_ref="price_1", customer="cus_1")),
    "saving": orders.checkout(order(save_method=True)),
    "expires": orders.checkout(order(purchase(expires_at=1_795_003_600_000))),
    "plan": orders.checkout(order(plan(), interval="month", trial_days=14)),
    "plan of days": orders.checkout(order(plan(), interval="days", interval_days=30)),
    "plan with coupon": orders.checkout(order(plan(), interval="year"), "coupon_1"),
}
PAYER = Payer(id="p", provider="stripe", method="m", customer="cus_1", saved="pm_1")


@pytest.mark.parametrize("name", CHECKOUTS)
def test_a_checkout_asks_for_what_there_is(name: str) -> None:  # R-PACK-2
    assert stripe_types.problems(CHECKOUTS[name], *SESSION) == []


@pytest.mark.parametrize("credit", [0, 4000])
@pytest.mark.parametrize("price_ref", [None, "price_2"])
def test_a_change_asks_for_what_there_is(credit: int, price_ref: str | None) -> None:  # R-PLAN-4
    asked: dict[str, Any] = orders.change(
        order(plan(amount=10_000), interval="month", price_ref=price_ref), credit, "si_1", "prod_1"
    )
    assert stripe_types.problems(asked, *SUBSCRIPTION) == []


def test_a_saved_method_is_charged_as_the_api_takes_it() -> None:  # R-SALE-3
    asked = orders.charge(order(email="a@example.com"), PAYER)
    where = "params/_payment_intent_create_params"
    assert stripe_types.problems(asked, where, "PaymentIntentCreateParams") == []


def test_a_coupon_is_asked_for_as_the_api_takes_it() -> None:  # R-PACK-8
    asked = orders.coupon(order(plan(amount=9900, list_amount=14900), interval="month"))
    assert asked is not None
    assert asked["amount_off"] == 5000
    assert stripe_types.problems(asked, "params/_coupon_create_params", "CouponCreateParams") == []


def test_a_parameter_that_is_not_there_is_noticed() -> None:
    asked = {**CHECKOUTS["inline"], "success_uri": "https://shop.test"}
    assert stripe_types.problems(asked, *SESSION) != []
