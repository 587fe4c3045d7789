"""The shop over HTTP: offers, purchases at the test page, top-ups, methods and subscriptions."""

from typing import Any

import pytest

from tests.web.conftest import START, Till, running_till

ORG = "/v1/organizations/acme"
CARD = "4242424242424242"
DECLINED = "4000000000000002"
DAY = 86_400_000


async def bought(till: Till, key: str | None = None, **order: Any) -> Any:
    """A pack, paid on the page."""
    made = await till.done("POST", f"{ORG}/purchases", {"pack": "token_pack_500", **order}, key=key)
    assert await till.press(made["url"], do="pay", card=CARD) == 303
    return await till.done("GET", f"{ORG}/purchases/{made['id']}")


async def test_from_offer_to_tokens(each_till: Till) -> None:
    # R-PACK-1, R-PACK-2, R-PACK-10, R-PLAT-1
    till = each_till
    offers = await till.done("GET", f"{ORG}/packs?missing=300")
    assert [(one["id"], one["price"], one["per_token"]) for one in offers["packs"]] == [
        ("token_pack_500", 2900, "$0.058"),
        ("token_pack_2000", 7900, "$0.0395"),
    ]
    assert (offers["recommended"], offers["need"], offers["slots"]) == ("token_pack_500", 300, 2)
    asked = await till.ask("POST", f"{ORG}/purchases", {"pack": "token_pack_500"}, key="order 1")
    assert asked.status == 201
    order = asked.json
    assert (order["state"], order["amount"], order["currency"]) == ("pending", 2900, "USD")
    assert order["url"].startswith(f"{till.url}/checkout/")
    assert await till.press(order["url"], do="pay", card=CARD) == 303
    after = await till.done("GET", f"{ORG}/purchases/{order['id']}")
    assert (after["state"], after["url"], after["paid_at"]) == ("delivered", None, START)
    assert (await till.done("GET", f"{ORG}/balance"))["remaining"] == 700


async def test_the_customer_comes_back_to_where_the_order_says(till: Till) -> None:
    # R-PACK-2
    back = "https://app.example.com/thanks?order={purchase}"
    order = await till.done("POST", f"{ORG}/purchases", {"pack": "token_pack_500", "success_url": back})
    await till.press(order["url"], do="pay", card=CARD)
    async with till.client.get(order["url"]) as page:
        assert f'href="https://app.example.com/thanks?order={order["id"]}"' in await page.text()


async def test_an_order_is_made_once_under_its_key(each_till: Till) -> None:
    # R-LED-9, R-PACK-3
    first = await bought(each_till, key="once")
    again = await each_till.done("POST", f"{ORG}/purchases", {"pack": "token_pack_500"}, key="once")
    assert again == first
    other = await each_till.ask("POST", f"{ORG}/purchases", {"pack": "token_pack_2000"}, key="once")
    assert (other.status, other.code) == (422, "key_reused")
    assert len((await each_till.done("GET", f"{ORG}/purchases"))["purchases"]) == 1


async def test_the_third_pack_in_a_day_is_refused_and_an_open_checkout_can_be_left(till: Till) -> None:
    # R-PACK-4
    await bought(till)
    second = await till.done("POST", f"{ORG}/purchases", {"pack": "token_pack_2000"})
    third = await till.ask("POST", f"{ORG}/purchases", {"pack": "token_pack_500"})
    assert (third.status, third.code) == (429, "pack_limit")
    assert int(third.headers["Retry-After"]) > 0
    left = await till.done("POST", f"{ORG}/purchases/{second['id']}/cancel")
    assert (left["state"], left["url"]) == ("abandoned", None)
    assert (await till.ask("POST", f"{ORG}/purchases/{second['id']}/cancel")).code == "not_possible"
    assert (await till.done("POST", f"{ORG}/purchases", {"pack": "token_pack_500"}))["state"] == "pending"


async def test_history_is_newest_first_in_pages(till: Till) -> None:
    # R-PACK-7
    ids = []
    for number in range(3):
        ids.append((await bought(till, key=f"order {number}"))["id"])
        till.clock.pass_ms(2 * DAY)
    first = await till.done("GET", f"{ORG}/purchases?limit=2")
    assert [one["id"] for one in first["purchases"]] == [ids[2], ids[1]]
    second = await till.done("GET", f"{ORG}/purchases?limit=2&before={first['next']}")
    assert ([one["id"] for one in second["purchases"]], second["next"]) == ([ids[0]], None)
    assert (await till.done("GET", f"{ORG}/purchases?before={'0' * 32}"))["purchases"] == []


async def test_one_click_with_a_saved_method(till: Till) -> None:
    # R-SALE-3
    none = await till.ask("POST", f"{ORG}/purchases", {"pack": "token_pack_500", "one_click": True})
    assert (none.status, none.code) == (409, "not_possible")
    await bought(till, save_method=True)
    [method] = (await till.done("GET", f"{ORG}/payment-methods"))["methods"]
    assert set(method) == {"id", "provider", "label", "used_at"}
    order = {"pack": "token_pack_500", "payer": method["id"]}
    assert (await till.done("POST", f"{ORG}/purchases", order))["state"] == "delivered"
    assert (await till.done("GET", f"{ORG}/balance"))["remaining"] == 1200
    assert (await till.done("DELETE", f"{ORG}/payment-methods/{method['id']}"))["methods"] == []
    till.clock.pass_ms(2 * DAY)
    assert (await till.ask("POST", f"{ORG}/purchases", order)).code == "not_possible"


async def test_who_comes_back_can_ask_at_once(till: Till) -> None:
    # R-PACK-3
    order = await till.done("POST", f"{ORG}/purchases", {"pack": "token_pack_500"})
    assert (await till.done("POST", f"{ORG}/purchases/{order['id']}/look"))["state"] == "pending"
    assert await till.press(order["url"], do="pay", card=DECLINED) == 200
    assert (await till.done("GET", f"{ORG}/balance"))["remaining"] == 200
    assert await till.press(order["url"], do="pay", card=CARD) == 303
    assert (await till.done("POST", f"{ORG}/purchases/{order['id']}/look"))["state"] == "delivered"
    assert (await till.ask("POST", f"{ORG}/purchases/nothing/look")).code == "unknown_purchase"
    elsewhere = await till.ask("POST", "/v1/organizations/nobody/purchases/nothing/look")
    assert elsewhere.code == "unknown_organization"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "pack"),
        ({"pack": "token_pack_500", "plan": "pro"}, "pack"),
        ({"plan": "enterprise", "promo": "X"}, "promo"),
        ({"plan": "enterprise", "one_click": True}, "payer"),
        ({"pack": "token_pack_500", "one_click": True, "payer": "x"}, "payer"),
        ({"pack": "token_pack_500", "amount": 1}, "amount"),
        ({"pack": "token_pack_500", "success_url": "javascript:alert(1)"}, "success_url"),
    ],
)
async def test_an_order_that_contradicts_itself(till: Till, body: dict[str, Any], field: str) -> None:
    # R-LED-10: nobody states a price
    reply = await till.ask("POST", f"{ORG}/purchases", body)
    assert (reply.status, reply.code, reply.json["field"]) == (422, "invalid_request", field)


async def test_an_order_that_cannot_be_taken(till: Till) -> None:
    # R-PACK-2
    for body, code, status in (
        ({"pack": "nothing"}, "unknown_pack", 404),
        ({"pack": "token_pack_500", "provider": "cash"}, "unknown_provider", 404),
        ({"plan": "nothing"}, "unknown_plan", 404),
        ({"plan": "pro"}, "not_possible", 409),
        ({"pack": "token_pack_500", "promo": "NONE"}, "promo_invalid", 409),
    ):
        reply = await till.ask("POST", f"{ORG}/purchases", body)
        assert (reply.status, reply.code) == (status, code)
        assert len(reply.json["detail"]) > 20


async def test_a_subscription_from_its_first_payment_to_its_end(till: Till) -> None:
    # R-PLAN-4
    await till.done("POST", "/v1/organizations", {"id": "new", "plan": "starter"})
    new = "/v1/organizations/new"
    order = await till.done("POST", f"{new}/purchases", {"plan": "pro"})
    assert (order["kind"], order["amount"]) == ("plan", 14900)
    await till.press(order["url"], do="pay", card=CARD)
    now = await till.done("GET", f"{new}/subscription")
    assert (now["plan"], now["provider"], now["amount"], now["ends_at"]) == ("pro", "embedded", 14900, None)
    up = await till.done("PUT", f"{new}/subscription", {"plan": "enterprise"})
    assert (up["purchase"]["state"], up["subscription"]["plan"], up["receipt"]) == (
        "delivered", "enterprise", None,
    )  # fmt: skip
    down = await till.done("PUT", f"{new}/subscription", {"plan": "pro"})
    assert (down["subscription"]["plan"], down["subscription"]["next_plan"]) == ("enterprise", "pro")
    stay = await till.done("PUT", f"{new}/subscription", {"plan": "enterprise"})
    assert (stay["subscription"]["next_plan"], stay["purchase"]) == (None, None)
    left = await till.done("DELETE", f"{new}/subscription")
    assert left["subscription"]["ends_at"] == left["subscription"]["period_end"]
    assert left["receipt"]["kind"] == "plan_scheduled"


async def test_a_subscription_says_what_holds_while_an_invoice_is_owed(each_till: Till) -> None:
    """R-LIC-1: owed, paid by another card, and cancelled."""
    till, own, day = each_till, "/v1/organizations/sim", 86_400_000
    opened = await till.done("POST", "/v1/organizations", {"id": "sim", "plan": "starter", "simulated": True})

    async def status() -> tuple[str | None, str | None]:
        found = await till.done("GET", f"{own}/subscription")
        return found["provider"], found["status"]

    assert await status() == (None, None)
    url = (await till.done("PUT", f"{own}/subscription", {"plan": "pro"}))["purchase"]["url"]
    await till.press(url, do="pay", card=CARD)
    assert await status() == ("embedded", "active")
    await till.press(url, do="spoil")
    await till.done("POST", f"{own}/clock", {"to": opened["time"] + 32 * day})
    assert await status() == ("embedded", "past_due")
    await till.press(url, do="mend")
    assert await status() == ("embedded", "active")
    left = await till.done("DELETE", f"{own}/subscription")
    assert left["subscription"]["status"] == "active"
    await till.done("POST", f"{own}/clock", {"to": opened["time"] + 70 * day})
    assert await status() == (None, "cancelled")


async def test_a_top_up_needs_a_method_and_is_switched_on_and_off(till: Till) -> None:
    # R-PACK-11
    figures = {"threshold": 100, "pack": "token_pack_500", "ceiling": 5000}
    assert (await till.done("GET", f"{ORG}/topup"))["enabled"] is False
    assert (await till.ask("PUT", f"{ORG}/topup", figures)).code == "not_possible"
    await bought(till, save_method=True)
    on = await till.done("PUT", f"{ORG}/topup", figures)
    assert (on["enabled"], on["threshold"], on["ceiling"], on["currency"]) == (True, 100, 5000, "USD")
    assert on["use_credit"] is True
    kept = await till.done("PUT", f"{ORG}/topup", {**figures, "use_credit": False})
    assert (kept["use_credit"], (await till.done("GET", f"{ORG}/topup"))["use_credit"]) == (False, False)
    low = await till.ask("PUT", f"{ORG}/topup", {**figures, "ceiling": 100})
    assert (low.status, low.json["field"]) == (422, "ceiling")
    assert (await till.done("DELETE", f"{ORG}/topup"))["enabled"] is False


async def test_the_portal_needs_a_provider_that_has_one(till: Till) -> None:
    reply = await till.ask("POST", f"{ORG}/portal", {"return_url": "https://shop.example/"})
    assert (reply.status, reply.code) == (409, "not_possible")


async def test_a_simulated_organization_is_moved_through_its_invoices(till: Till) -> None:
    # R-PLAT-1, R-PLAN-4
    await till.done("POST", "/v1/organizations", {"id": "sim", "plan": "starter", "simulated": True})
    order = await till.done("POST", "/v1/organizations/sim/purchases", {"plan": "pro"})
    await till.press(order["url"], do="pay", card=CARD)
    moved = await till.done("POST", "/v1/organizations/sim/clock", {"to": START + 95 * DAY})
    assert moved == {"time": START + 95 * DAY, "invoices": 3}
    kinds = [one["kind"] for one in (await till.done("GET", "/v1/organizations/sim/purchases"))["purchases"]]
    assert sorted(kinds) == ["plan", "renewal", "renewal", "renewal"]
    real = await till.ask("POST", f"{ORG}/clock", {"to": START + DAY})
    assert real.status == 409


async def test_in_production_nothing_is_simulated() -> None:
    # R-PLAT-1
    async with running_till(":memory:", chosen={"production": "yes"}) as till:
        reply = await till.ask("POST", "/v1/organizations", {"id": "sim", "simulated": True})
        assert (reply.status, reply.code) == (409, "not_possible")
        assert (await till.ask("POST", f"{ORG}/clock", {"to": START})).code == "not_possible"
        reply = await till.ask("POST", f"{ORG}/purchases", {"pack": "token_pack_500"})
        assert (reply.status, reply.code) == (404, "unknown_provider")


async def test_a_till_without_a_shop_sells_nothing() -> None:
    async with running_till(":memory:", shop=None) as till:
        assert (await till.ask("GET", f"{ORG}/packs")).code == "not_found"


async def test_what_is_shown_of_a_purchase_holds_no_key_and_no_fingerprint(till: Till) -> None:
    await bought(till, save_method=True)
    text = str(await till.done("GET", f"{ORG}/purchases")) + str(
        await till.done("GET", f"{ORG}/payment-methods")
    )
    for secret in ("method'", "'payer'", "doing", "slot_until", "'customer':", "'saved'", "checkout'"):
        assert secret not in text.replace("'mode': 'checkout'", ""), secret
