"""The lab's billing over its API: invoices by hand, what it refuses, and what it says it has not built."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.stripe import DECLINED, T0, VISA, Watch
from tests.support.stripe_shapes import post, session
from tokentill.lab.stripe import StripeLab
from tokentill.lab.stripe.world import API_VERSION

LINE = {
    "currency": "usd",
    "unit_amount": "2500",
    "product_data[name]": "Tokens",
    "recurring[interval]": "month",
}


async def ask(lab: StripeLab, method: str, path: str, **form: str) -> tuple[int, dict[str, Any]]:
    body = "&".join(f"{name}={value}" for name, value in form.items()).encode()
    headers = {"authorization": f"Bearer {lab.key}", "stripe-version": API_VERSION}
    answer = await lab.api.answer(method, f"/v1/{path}", headers, body)
    return answer.status, answer.body


async def a_subscription(lab: StripeLab) -> dict[str, Any]:
    made = await post(lab, "checkout/sessions", session("subscription", LINE))
    lab.pay(made["id"], VISA)
    return lab.world.all("subscription")[0]


async def test_an_invoice_by_hand() -> None:
    lab = StripeLab(Watch(T0))
    customer = await post(lab, "customers", {"email": "ada@example.com"})
    method = await post(lab, "payment_methods/pm_card_visa/attach", {"customer": customer["id"]})
    default = {"invoice_settings[default_payment_method]": method["id"], "name": "Ada"}
    await post(lab, f"customers/{customer['id']}", default)
    product = await post(lab, "products", {"name": "Overage"})
    item = {"price_data[currency]": "usd", "price_data[product]": product["id"]}
    for amount in ("700", "-200"):
        asked = {"customer": customer["id"], **item, "price_data[unit_amount]": amount}
        await post(lab, "invoiceitems", asked)
    drawn = await post(lab, "invoices", {"customer": customer["id"], "metadata[of]": "june"})
    assert (drawn["status"], len(drawn["lines"]["data"])) == ("draft", 2)
    opened = await post(lab, f"invoices/{drawn['id']}/finalize", {})
    assert (opened["status"], opened["amount_due"]) == ("open", 500)
    paid = await post(lab, f"invoices/{drawn['id']}/pay", {})
    assert (paid["status"], paid["amount_paid"], paid["amount_remaining"]) == ("paid", 500, 0)
    types = [event["type"] for event in reversed(lab.world.all("event"))]
    wanted = ["invoice.created", "invoice.finalized", "invoice_payment.paid", "invoice.paid"]
    assert [name for name in types if name in wanted] == wanted
    for verb in ("finalize", "pay", "void"):
        assert (await ask(lab, "POST", f"invoices/{drawn['id']}/{verb}"))[0] == 400


async def test_a_credit_beyond_the_total_is_kept_for_the_next_invoice() -> None:
    lab = StripeLab(Watch(T0))
    customer = await post(lab, "customers", {})
    product = await post(lab, "products", {"name": "Credit"})
    item = {"customer": customer["id"], "price_data[currency]": "usd", "price_data[product]": product["id"]}
    await post(lab, "invoiceitems", {**item, "price_data[unit_amount]": "-700"})
    drawn = await post(lab, "invoices", {"customer": customer["id"]})
    opened = await post(lab, f"invoices/{drawn['id']}/finalize", {})
    assert (opened["total"], opened["amount_due"], opened["ending_balance"]) == (-700, 0, -700)
    await post(lab, "invoiceitems", {**item, "price_data[unit_amount]": "1000"})
    drawn = await post(lab, "invoices", {"customer": customer["id"]})
    opened = await post(lab, f"invoices/{drawn['id']}/finalize", {})
    assert (opened["starting_balance"], opened["amount_due"]) == (-700, 300)
    status, body = await ask(lab, "POST", f"invoices/{drawn['id']}/pay")
    assert (status, body["error"]["code"]) == (400, "resource_missing")
    declined, body = await ask(
        lab,
        "POST",
        f"invoices/{drawn['id']}/pay",
        payment_method="pm_card_chargeDeclined",
        off_session="false",
    )
    assert (declined, body["error"]["code"]) == (402, "card_declined")


async def test_a_subscription_goes_on_with_another_price_without_an_invoice() -> None:
    lab = StripeLab(Watch(T0))
    found = await a_subscription(lab)
    item = found["items"]["data"][0]
    price = {"currency": "usd", "unit_amount": "900", "product": item["price"]["product"]}
    cheaper = await post(lab, "prices", {**price, "recurring[interval]": "month"})
    change = {"items[0][id]": item["id"], "items[0][price]": cheaper["id"], "proration_behavior": "none"}
    changed = await post(lab, f"subscriptions/{found['id']}", {**change, "description": "Cheaper"})
    assert changed["items"]["data"][0]["price"]["id"] == cheaper["id"]
    assert len(lab.world.all("invoice")) == 1
    lab.advance(32 * 86_400)
    assert lab.world.all("invoice")[0]["total"] == 900
    method = lab.paying.method(DECLINED)
    await post(lab, f"subscriptions/{found['id']}", {"default_payment_method": method["id"]})
    for form, amount in (
        ({"customer": found["customer"]}, 1),
        ({"status": "canceled"}, 0),
        ({"status": "all"}, 1),
    ):
        _, listed = await ask(lab, "GET", "subscriptions", **form)
        assert len(listed["data"]) == amount


async def test_the_invoice_of_the_next_period_is_a_draft_for_an_hour() -> None:
    """So long it takes items; what they leave below the least charge is owed with the next one."""
    lab = StripeLab(Watch(T0))
    found = await a_subscription(lab)
    lab.advance(30 * 86_400)
    [event] = [one for one in lab.world.all("event") if one["type"] == "invoice.created"][:1]
    draft = event["data"]["object"]
    assert (draft["status"], draft["amount_due"], draft["lines"]["data"][0]["amount"]) == (
        "draft",
        2500,
        2500,
    )
    assert draft["automatically_finalizes_at"] == lab.world.now + 3600
    item = {"customer": found["customer"], "invoice": draft["id"], "currency": "usd", "amount": "-2460"}
    stranger = await post(lab, "customers", {})
    for wrong in ({"customer": stranger["id"]}, {"currency": "eur"}, {"invoice": "in_nobody"}):
        assert (await ask(lab, "POST", "invoiceitems", **{**item, **wrong}))[0] in (400, 404)
    made = await post(lab, "invoiceitems", {**item, "description": "Less", "metadata[a]": "b"})
    assert (made["amount"], made["invoice"], made["metadata"]) == (-2460, draft["id"], {"a": "b"})
    _, listed = await ask(lab, "GET", "invoiceitems", invoice=draft["id"])
    assert [one["id"] for one in listed["data"]] == [made["id"]]
    lab.advance(3599)
    assert lab.world.get("invoice", draft["id"])["status"] == "draft"
    lab.advance(1)
    _, paid = await ask(lab, "GET", f"invoices/{draft['id']}")
    assert (paid["status"], paid["total"], paid["amount_paid"], paid["ending_balance"]) == ("paid", 40, 0, 40)
    status, body = await ask(lab, "POST", "invoiceitems", **item)
    assert (status, body["error"]["code"]) == (400, "invoice_not_editable")
    lab.advance(32 * 86_400)
    assert lab.world.all("invoice")[0]["amount_paid"] == 2540


async def test_a_draft_that_is_not_to_advance_stays_one() -> None:
    lab = StripeLab(Watch(T0))
    found = await a_subscription(lab)
    lab.advance(30 * 86_400)
    [draft, _] = lab.world.all("invoice")
    held = await post(lab, f"invoices/{draft['id']}", {"auto_advance": "false"})
    assert (held["auto_advance"], held["automatically_finalizes_at"]) == (False, None)
    lab.advance(86_400)
    assert draft["status"] == "draft"
    await post(lab, f"invoices/{draft['id']}", {"auto_advance": "true"})
    assert (await ask(lab, "DELETE", f"subscriptions/{found['id']}"))[0] == 200
    lab.advance(3600)
    assert draft["status"] == "paid", "its subscription's end does not stop it"


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ({"proration_behavior": "create_prorations", "billing_cycle_anchor[type]": "now"}, 501),
        ({"proration_behavior": "none", "items[0][price]": "price_1"}, 501),
        ({"payment_behavior": "pending_if_incomplete", "metadata[a]": "b"}, 400),
        ({"payment_behavior": "hope"}, 400),
        ({"billing_cycle_anchor": "now", "proration_behavior": "none"}, 400),
        ({"cancel_at_period_end": "perhaps"}, 400),
        ({"metadata[a]": "b" * 501}, 400),
    ],
)
async def test_what_is_not_built_is_refused_and_not_guessed(form: dict[str, str], status: int) -> None:
    lab = StripeLab(Watch(T0))
    found = await a_subscription(lab)
    assert (await ask(lab, "POST", f"subscriptions/{found['id']}", **form))[0] == status


async def test_a_subscription_is_not_changed_beside_its_schedule_or_after_its_end() -> None:
    lab = StripeLab(Watch(T0))
    found = await a_subscription(lab)
    made = await post(lab, "subscription_schedules", {"from_subscription": found["id"]})
    again = {"from_subscription": found["id"]}
    assert (await ask(lab, "POST", "subscription_schedules", **again))[0] == 400
    ending = {"cancel_at_period_end": "true"}
    assert (await ask(lab, "POST", f"subscriptions/{found['id']}", **ending))[0] == 400
    assert (await ask(lab, "POST", f"subscription_schedules/{made['id']}", end_behavior="cancel"))[0] == 501
    await post(lab, f"subscription_schedules/{made['id']}/release", {})
    assert (await ask(lab, "POST", f"subscription_schedules/{made['id']}/release"))[0] == 400
    assert (await ask(lab, "POST", f"subscription_schedules/{made['id']}"))[0] == 400
    assert (await ask(lab, "DELETE", f"subscriptions/{found['id']}", prorate="true"))[0] == 501
    assert (await ask(lab, "DELETE", f"subscriptions/{found['id']}"))[1]["status"] == "canceled"
    assert (await ask(lab, "DELETE", f"subscriptions/{found['id']}"))[0] == 404
    assert (await ask(lab, "POST", f"subscriptions/{found['id']}", **ending))[0] == 400


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("coupons", {"percent_off": "10", "currency": "usd"}),
        ("prices", {"currency": "usd", "unit_amount": "-1", "product_data[name]": "x"}),
        ("prices", {"currency": "usd", "product_data[name]": "x"}),
        ("prices", {"currency": "USD", "unit_amount": "100", "product_data[name]": "x"}),
        ("prices", {"currency": "usd", "unit_amount": "100", "product": "prod_nobody"}),
        ("prices", {**LINE, "recurring[interval_count]": "37"}),
        ("prices", {**LINE, "recurring[interval]": "fortnight"}),
        ("products", {"name": ""}),
        ("payment_intents", {"amount": "2500", "currency": "usd", "confirm": "true"}),
        ("payment_intents", {"amount": "999999999", "currency": "usd"}),
        ("billing_portal/sessions", {"customer": "cus_nobody"}),
        ("webhook_endpoints", {"url": "https://till.test/"}),
        ("checkout/sessions", {**session("subscription", LINE), "mode": "payment"}),
        ("checkout/sessions", {**session("subscription", LINE), "customer_creation": "always"}),
        (
            "checkout/sessions",
            {**session("subscription", LINE), "customer": "cus_1", "customer_email": "a@b.c"},
        ),
        ("checkout/sessions", {**session("subscription", LINE), "payment_intent_data[description]": "x"}),
    ],
)
async def test_what_stripe_would_refuse(path: str, form: dict[str, str]) -> None:
    lab = StripeLab(Watch(T0))
    status, body = await ask(lab, "POST", path, **form)
    assert status in (400, 404, 501)
    assert body["error"]["message"]


async def test_a_lookup_key_belongs_to_one_price() -> None:
    lab = StripeLab(Watch(T0))
    price = {**LINE, "lookup_key": "pro"}
    first = await post(lab, "prices", price)
    assert (await ask(lab, "POST", "prices", **price))[0] == 400
    second = await post(lab, "prices", {**price, "transfer_lookup_key": "true"})
    assert lab.world.get("price", first["id"])["lookup_key"] is None
    _, found = await ask(lab, "GET", "prices", **{"lookup_keys[]": "pro", "active": "true"})
    assert [one["id"] for one in found["data"]] == [second["id"]]


async def test_a_payment_that_was_made_is_not_cancelled() -> None:
    lab = StripeLab(Watch(T0))
    paid = await post(
        lab,
        "payment_intents",
        {"amount": "2500", "currency": "usd", "confirm": "true", "payment_method": "pm_card_visa"},
    )
    assert (await ask(lab, "POST", f"payment_intents/{paid['id']}/cancel"))[0] == 400
    begun = await post(lab, "payment_intents", {"amount": "2500", "currency": "usd"})
    assert (await post(lab, f"payment_intents/{begun['id']}/cancel", {}))["status"] == "canceled"
    asked = await ask(lab, "POST", "payment_intents", amount="2500", currency="usd", confirm="true",
                      payment_method="pm_card_authenticationRequired")  # fmt: skip
    assert (asked[0], asked[1]["status"]) == (200, "requires_action")
