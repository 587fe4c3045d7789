"""What we ask Stripe is what its API takes: every parameter we send, held to the types of the official SDK."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.support import stripe_types
from tests.support.stripe import ASKS_ALWAYS, T0, VISA, Desk, key, order, plan, purchase
from tokentill import catalogs
from tokentill.ports.shop import Payments, Started
from tokentill.rules import catalog_file
from tokentill.rules.purchases import merge
from tokentill.rules.rows import Payer, Subscription
from tokentill.vendors.stripe import orders, sync_prices

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


# A whole life, as it went over the wire

ROUTES = {
    "checkout/sessions": SESSION,
    "checkout/sessions/:id": ("params/checkout/_session_retrieve_params", "SessionRetrieveParams"),
    "checkout/sessions/:id/expire": ("params/checkout/_session_expire_params", "SessionExpireParams"),
    "billing_portal/sessions": ("params/billing_portal/_session_create_params", "SessionCreateParams"),
    "coupons": ("params/_coupon_create_params", "CouponCreateParams"),
    "payment_intents": ("params/_payment_intent_create_params", "PaymentIntentCreateParams"),
    "payment_intents/:id": ("params/_payment_intent_retrieve_params", "PaymentIntentRetrieveParams"),
    "payment_intents/search": ("params/_payment_intent_search_params", "PaymentIntentSearchParams"),
    "refunds": ("params/_refund_create_params", "RefundCreateParams"),
    "refunds GET": ("params/_refund_list_params", "RefundListParams"),
    "disputes GET": ("params/_dispute_list_params", "DisputeListParams"),
    "radar/early_fraud_warnings GET": (
        "params/radar/_early_fraud_warning_list_params",
        "EarlyFraudWarningListParams",
    ),
    "subscriptions/:id": SUBSCRIPTION,
    "subscriptions/:id GET": ("params/_subscription_retrieve_params", "SubscriptionRetrieveParams"),
    "subscriptions/:id DELETE": ("params/_subscription_cancel_params", "SubscriptionCancelParams"),
    "subscription_schedules": (
        "params/_subscription_schedule_create_params",
        "SubscriptionScheduleCreateParams",
    ),
    "subscription_schedules/:id GET": (
        "params/_subscription_schedule_retrieve_params",
        "SubscriptionScheduleRetrieveParams",
    ),
    "subscription_schedules/:id": (
        "params/_subscription_schedule_update_params",
        "SubscriptionScheduleUpdateParams",
    ),
    "subscription_schedules/:id/release": (
        "params/_subscription_schedule_release_params",
        "SubscriptionScheduleReleaseParams",
    ),
    "invoices/:id": ("params/_invoice_update_params", "InvoiceUpdateParams"),
    "invoices/:id GET": ("params/_invoice_retrieve_params", "InvoiceRetrieveParams"),
    "invoiceitems": ("params/_invoice_item_create_params", "InvoiceItemCreateParams"),
    "invoices/:id/lines": ("params/_invoice_line_item_list_params", "InvoiceLineItemListParams"),
    "invoices/:id/void": ("params/_invoice_void_invoice_params", "InvoiceVoidInvoiceParams"),
    "products": ("params/_product_create_params", "ProductCreateParams"),
    "products/:id GET": ("params/_product_retrieve_params", "ProductRetrieveParams"),
    "prices": ("params/_price_create_params", "PriceCreateParams"),
    "prices GET": ("params/_price_list_params", "PriceListParams"),
    "prices/:id": ("params/_price_update_params", "PriceUpdateParams"),
    "prices/:id GET": ("params/_price_retrieve_params", "PriceRetrieveParams"),
}
"""Every route that we ask, with the SDK's class of what it takes."""


def route(method: str, path: str) -> str:
    """The name of a request's route in the table: its method is named where two routes share a path."""
    name = re.sub(
        r"/(cs_test|pi|sub_sched|sub|in|price|prod|tokentill)_\w+", "/:id", path.removeprefix("/v1/")
    )
    named = f"{name} {method}"
    return named if named in ROUTES else name


async def a_whole_life(desk: Desk) -> None:
    """Everything that the port can do, at least once."""
    payments: Payments = desk.payments
    assert isinstance(payments, Payments)
    catalog, _ = catalog_file.load(catalogs.preset_text("analysis"), "analysis")
    await sync_prices(desk.payments.gateway, catalog)
    await sync_prices(desk.payments.gateway, catalog)
    bought = purchase()
    started = await payments.checkout(order(save_method=True, email="ada@example.com"), key(1))
    done = desk.lab.pay(started.checkout, VISA)
    for fact in [*await desk.hear(), *await payments.look(bought)]:
        bought = merge(bought, fact)
    method = desk.lab.world.get("payment_intent", done["payment_intent"])["payment_method"]
    payer = Payer(id="p", provider="stripe", method="m", customer=done["customer"], saved=method)
    await payments.charge_saved(order(purchase(2, mode="saved"), email="ada@example.com"), payer, key(2))
    await payments.look(purchase(2, mode="saved"))
    await payments.refund(bought, 700, key(3))
    await payments.portal(done["customer"], "https://shop.test/")
    closed = await payments.checkout(order(purchase(3)), key(4))
    await payments.close_checkout(purchase(3, checkout=closed.checkout))
    await payments.close_checkout(purchase(3, checkout=closed.checkout))
    cheaper = plan(4, amount=9_900, list_amount=14_900)
    started = await payments.checkout(order(cheaper, interval="month"), key(5))
    desk.lab.pay(started.checkout, ASKS_ALWAYS)
    await payments.look(plan(4, checkout=started.checkout))
    name = desk.lab.world.get("checkout.session", started.checkout)["subscription"]
    row = Subscription(id=name, provider="stripe", ref=name, plan="pro", status="active")
    await payments.renew_as(row, order(plan(5, "starter", 5_000), interval="month"), key(6))
    upgrade = purchase(6, kind="upgrade", item="enterprise", amount=30_000)
    waiting = await payments.change_subscription(row, order(upgrade, interval="month"), 10_000, key(7))
    assert isinstance(waiting, Started)
    await payments.close_checkout(purchase(6, kind="upgrade", checkout=waiting.checkout))
    price = {"currency": "usd", "unit_amount": 5_000, "recurring": {"interval": "month"}}
    v1 = desk.payments.gateway.v1
    made = await v1.prices.create_async(params={**price, "product_data": {"name": "Starter"}})
    by_id = order(plan(8, "starter", 5_000), interval="month", price_ref=made.id)
    await payments.renew_as(row, by_id, key(8))
    await payments.end_subscription(row, now=False, key=key(9))
    await payments.renew_as(row, None, key(10))
    desk.lab.advance(
        desk.lab.world.get("subscription", name)["items"]["data"][0]["current_period_end"] - T0 // 1000
    )
    drafted = desk.lab.world.get("subscription", name)["latest_invoice"]
    renewal = purchase(9, kind="renewal", list_amount=14_900, credit_used=900, invoice=drafted)
    assert await payments.apply_credit(renewal, key(11))
    await payments.end_subscription(row, now=True, key=key(12))
    await desk.hear()


async def test_every_request_of_a_whole_life_is_as_the_api_takes_it(desk: Desk) -> None:  # R-PLAT-1
    await a_whole_life(desk)
    asked: dict[str, list[str]] = {}
    for method, path, form, _ in desk.lab.api.asked:
        name = route(method, path)
        asked.setdefault(name, []).extend(stripe_types.problems(form, *ROUTES[name], wire=True))
    assert {name: wrong for name, wrong in asked.items() if wrong} == {}
    assert set(asked) == set(ROUTES)
