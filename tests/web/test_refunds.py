"""Refunds over HTTP: a quote that explains itself, the money first, what operators decide, and the report."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.web.conftest import START, Till, running_till
from tests.web.test_shop import ORG, bought
from tokentill.catalogs import preset_text

REFUNDS = f"{ORG}/refunds"


async def test_a_refund_from_quote_to_money(each_till: Till) -> None:  # R-REF-4, R-REF-5
    till = each_till
    purchase = await bought(till)
    seen = await till.done("GET", f"{ORG}/purchases/{purchase['id']}/refund-reasons")
    assert [one["reason"] for one in seen["suggestions"]] == ["unused", "first_time"]
    order = {"reason": "unused", "text": "I bought too many."}
    quote = await till.done("POST", f"{ORG}/purchases/{purchase['id']}/refunds", order, key="q1")
    assert (await till.done("POST", f"{ORG}/purchases/{purchase['id']}/refunds", order, key="q1")) == quote
    assert (quote["state"], quote["amount"], quote["said"]) == ("quoted", 2900, "I bought too many.")
    assert quote["options"][0]["choice"] == "cash"
    assert {one["choice"] for one in quote["options"]} == {"cash", "bonus", "credit", "upgrade"}
    assert quote["options"][0]["text"].startswith("Get $29.00 back to where it came from.")
    assert quote["explained"][-1] == "That is 100 % of $29.00: $29.00."
    assert [one["name"] for one in quote["lines"]] == ["usage", "unused", "early", "clamp"]
    done = await till.done("POST", f"{REFUNDS}/{quote['id']}/accept", {"choice": "cash"})
    assert (done["state"], done["money"], done["settled_at"]) == ("settled", 2900, START)
    assert (await till.done("GET", f"{ORG}/balance"))["remaining"] == 200
    assert (await till.done("GET", f"{ORG}/purchases/{purchase['id']}"))["state"] == "refunded"
    listed = (await till.done("GET", REFUNDS))["refunds"]
    assert [one["id"] for one in listed] == [quote["id"]]
    shares = (await till.done("GET", "/v1/refunds/report"))["shares"]
    assert [(one["by"], one["name"], one["purchases"], one["refunds"]) for one in shares] == [
        ("approach", "none", 1, 1), ("pack", "token_pack_500", 1, 1), ("segment", "first", 1, 1),
    ]  # fmt: skip


@pytest.mark.parametrize("other", [{"reason": "quality"}, {"text": "No."}, {"user": "bob"}, {"region": "eu"}])
async def test_a_quotes_key_is_refused_for_another_one(till: Till, other: dict[str, str]) -> None:  # R-LED-9
    purchase = await bought(till)
    path = f"{ORG}/purchases/{purchase['id']}/refunds"
    asked = {"reason": "unused", "text": "Too many.", "user": "ann", "region": "de"}
    first = await till.done("POST", path, asked, key="q1")
    reused = await till.ask("POST", path, {**asked, **other}, key="q1")
    assert (reused.status, reused.code) == (422, "key_reused")
    assert await till.done("POST", path, asked, key="q1") == first
    second = await bought(till)
    elsewhere = await till.ask("POST", f"{ORG}/purchases/{second['id']}/refunds", asked, key="q1")
    assert (elsewhere.status, elsewhere.code) == (422, "key_reused")
    assert [one["id"] for one in (await till.done("GET", REFUNDS))["refunds"]] == [first["id"]]


async def test_credit_pays_for_the_next_pack(till: Till) -> None:  # R-REF-4
    purchase = await bought(till)
    quote = await till.done("POST", f"{ORG}/purchases/{purchase['id']}/refunds", {})
    await till.done("POST", f"{REFUNDS}/{quote['id']}/accept", {"choice": "credit"})
    assert (await till.done("GET", f"{ORG}/balance"))["credit"] == 1740
    later = await bought(till, use_credit=True)
    assert (later["state"], later["amount"], later["credit_used"]) == ("delivered", 1160, 1740)
    assert (await till.done("GET", f"{ORG}/balance"))["credit"] == 0


async def test_an_upgrade_is_paid_like_any_order(till: Till) -> None:  # R-REF-4
    purchase = await bought(till)
    quote = await till.done("POST", f"{ORG}/purchases/{purchase['id']}/refunds", {"reason": "quality"})
    row = await till.done("POST", f"{REFUNDS}/{quote['id']}/accept", {"choice": "upgrade"})
    assert (row["state"], row["item"]) == ("buying", "token_pack_2000")
    upgrade = await till.done("GET", f"{ORG}/purchases/{row['upgrade']}")
    assert upgrade["amount"] == 7900 - 2900
    await till.press(upgrade["url"], do="pay", card="4242424242424242")
    assert (await till.done("GET", f"{ORG}/balance"))["remaining"] == 2200


async def test_a_larger_pack_is_given_back_on_both_payments(each_till: Till) -> None:  # R-REF-4, R-REF-5
    till = each_till
    small = (await bought(till))["id"]
    asked = await till.done("POST", f"{ORG}/purchases/{small}/refunds", {"reason": "quality"})
    row = await till.done("POST", f"{REFUNDS}/{asked['id']}/accept", {"choice": "upgrade"})
    large = row["upgrade"]
    url = (await till.done("GET", f"{ORG}/purchases/{large}"))["url"]
    await till.press(url, do="pay", card="4242424242424242")
    first = await till.done("GET", f"{ORG}/purchases/{small}")
    last = await till.done("GET", f"{ORG}/purchases/{large}")
    assert (first["replaces"], first["replaced_by"], last["replaces"], last["replaced_by"]) == (
        None, large, small, None,
    )  # fmt: skip
    old = await till.ask("POST", f"{ORG}/purchases/{small}/refunds", {"reason": "unused"})
    assert (old.status, old.code, large in old.json["detail"]) == (409, "not_possible", True)
    quote = await till.done("POST", f"{ORG}/purchases/{large}/refunds", {"reason": "unused"})
    assert (quote["price"], quote["bought"], quote["amount"]) == (7900, 2000, 7900)
    assert quote["explained"][-1] == "That is 100 % of $79.00: $79.00."
    done = await till.done("POST", f"{REFUNDS}/{quote['id']}/accept", {"choice": "cash"})
    assert (done["state"], done["money"], done["given"]) == ("settled", 7900, 0)
    for number, amount in ((small, 2900), (large, 5000)):
        one = await till.done("GET", f"{ORG}/purchases/{number}")
        assert (one["state"], one["refunded"]) == ("refunded", amount)
    assert (await till.done("GET", f"{ORG}/balance"))["remaining"] == 200


async def test_operators_decide_with_a_reason(till: Till) -> None:  # R-REF-6
    purchase = await bought(till)
    policy = till.shop.means.ledger.catalog.refunds
    assert policy.review_usage_percent == 90
    while (await till.done("GET", f"{ORG}/balance"))["remaining"] >= 30:
        await till.done("POST", f"{ORG}/charges", {"feature": "generate_goal", "quantity": 3})
        till.clock.pass_ms(4_000)
    quote = await till.done("POST", f"{ORG}/purchases/{purchase['id']}/refunds", {})
    row = await till.done("POST", f"{REFUNDS}/{quote['id']}/accept", {"choice": "cash"})
    assert (row["state"], row["text"]) == ("waiting", policy.waiting)
    [case] = (await till.done("GET", "/v1/refunds"))["cases"]
    assert (case["needs"], case["signals"]) == ("operator", ["heavy_use"])
    assert case["seen"] == ["At least 90 % of the tokens were used."]
    empty = await till.ask("POST", f"{REFUNDS}/{row['id']}/approve", {"reason": " "})
    assert empty.code == "invalid_request"
    changed = await till.done("POST", f"{REFUNDS}/{row['id']}/adjust", {"amount": 500, "reason": "a gesture"})
    assert (changed["refund"]["state"], changed["refund"]["money"]) == ("settled", 500)
    assert changed["opinions"][0][1:4] == ["backend", "adjust", "a gesture"]
    late = await till.ask("POST", f"{REFUNDS}/{row['id']}/deny", {"reason": "too late"})
    assert (late.status, late.code) == (409, "not_possible")


@pytest.mark.parametrize("path", [f"{ORG}/purchases/none/refund-reasons", f"{REFUNDS}/none"])
async def test_what_is_not_there_is_said(till: Till, path: str) -> None:
    assert (await till.ask("GET", path)).code == "unknown_purchase"


@pytest.fixture
async def plans_till(tmp_path: Path) -> AsyncIterator[Till]:
    """A till whose catalog gives plans back."""
    catalog = tmp_path / "till.toml"
    text = preset_text("goals").replace("[refunds]", "[refunds]\nplans = true\n#", 1)
    catalog.write_text(text.replace('automatic_max = "100.00"', 'automatic_max = "off"'))
    async with running_till(":memory:", str(catalog)) as till:
        await till.done("POST", "/v1/organizations", {"id": "sim", "plan": "starter", "simulated": True})
        yield till


async def test_a_renewal_at_the_test_provider_is_given_back_and_the_plan_ends(
    plans_till: Till,
) -> None:  # R-REF-1, R-REF-5
    till, sim = plans_till, "/v1/organizations/sim"
    ordered = await till.done("POST", f"{sim}/purchases", {"plan": "pro"})
    assert await till.press(ordered["url"], do="pay", card="4242424242424242") == 303
    await till.done("POST", f"{sim}/clock", {"to": START + 40 * 86_400_000})
    renewal, first = (await till.done("GET", f"{sim}/purchases"))["purchases"]
    assert (renewal["kind"], first["kind"]) == ("renewal", "plan")
    quote = await till.done("POST", f"{sim}/purchases/{renewal['id']}/refunds", {"reason": "unused"})
    assert {one["choice"]: one["ends_plan"] for one in quote["options"]} == {
        "cash": True, "bonus": False, "credit": True,
    }  # fmt: skip
    done = await till.done("POST", f"{sim}/refunds/{quote['id']}/accept", {"choice": "cash"})
    assert (done["state"], done["money"]) == ("settled", 14_900 * 88 // 100), "late, and more than $100 spent"
    assert (await till.done("GET", f"{sim}/subscription"))["plan"] is None
    assert (await till.done("GET", f"{sim}/balance"))["remaining"] == 0
    await till.done("POST", f"{sim}/clock", {"to": START + 100 * 86_400_000})
    rows = (await till.done("GET", f"{sim}/purchases"))["purchases"]
    assert [one["state"] for one in rows] == ["partly_refunded", "delivered"], "nothing more is billed"
    shares = (await till.done("GET", "/v1/refunds/report"))["shares"]
    assert [(one["by"], one["name"], one["purchases"], one["refunds"]) for one in shares] == [
        ("approach", "none", 2, 1), ("plan", "pro", 2, 1), ("segment", "first", 1, 0), ("segment", "returning", 1, 1),
    ]  # fmt: skip


@pytest.fixture
async def german_till(tmp_path: Path) -> AsyncIterator[Till]:
    """A till whose catalog says in German what refunds are, and praises the credit."""
    catalog = tmp_path / "till.toml"
    texts = """
[refunds.texts]
total = "{amount} sind {rate} % von {price}."
cash = "Sie bekommen {money} zurück."
credit = "Am besten nehmen Sie {credit} als Guthaben!"
tokens_go = "Ihre {left} übrigen Token verfallen."
not_first = "Das war nicht Ihr erster Kauf."
hardly_used = "{used} von {bought} Token sind verbraucht."
ask = "Was bekomme ich zurück?"
take_cash = "Geld zurück"
take_credit = "Guthaben nehmen"
is_settled = "Erledigt."
chosen = "Sie haben schon gewählt."
under_way = "Das Geld ist unterwegs."
"""
    catalog.write_text(preset_text("goals") + texts)
    async with running_till(":memory:", str(catalog)) as till:
        await till.done("POST", "/v1/organizations", {"id": "acme", "plan": "pro"})
        yield till


async def test_a_quote_speaks_the_language_of_the_catalog_and_the_money_stands_first(
    german_till: Till,
) -> None:  # R-REF-4, R-REF-5
    till = german_till
    purchase, second = await bought(till), await bought(till)
    seen = await till.done("GET", f"{ORG}/purchases/{purchase['id']}/refund-reasons")
    assert seen["suggestions"][0]["why"] == "0 von 500 Token sind verbraucht."
    quote = await till.done("POST", f"{ORG}/purchases/{purchase['id']}/refunds", {"reason": "unused"})
    assert quote["explained"][-1] == "$29.00 sind 100 % von $29.00."
    assert [quote["options"][0][name] for name in ("choice", "text")] == [
        "cash", "Sie bekommen $29.00 zurück. Ihre 500 übrigen Token verfallen.",
    ]  # fmt: skip
    later = await till.done("POST", f"{ORG}/purchases/{second['id']}/refunds", {"reason": "first_time"})
    assert later["refused_text"] == "Das war nicht Ihr erster Kauf."
    delivered = await till.done("POST", f"{ORG}/purchases/{purchase['id']}/hand-over")
    async with till.client.get(delivered["refunds"]) as answer:
        assert "Was bekomme ich zurück?" in await answer.text()
    async with till.client.post(delivered["refunds"], data={"do": "quote", "reason": "unused"}) as answer:
        page = await answer.text()
    assert page.index("Geld zurück") < page.index("Guthaben nehmen")
    number = page.partition('name="refund" value="')[2].partition('"')[0]
    chosen = {"do": "accept", "refund": number, "choice": "cash"}
    async with till.client.post(delivered["refunds"], data=chosen) as answer:
        assert "Erledigt." in await answer.text()
    other = await till.ask("POST", f"{ORG}/refunds/{number}/accept", {"choice": "credit"})
    withdrawn = await till.ask("POST", f"{ORG}/refunds/{number}/withdraw")
    assert [one.json["detail"] for one in (other, withdrawn)] == [
        "Sie haben schon gewählt.", "Das Geld ist unterwegs.",
    ]  # fmt: skip


async def test_a_plan_is_not_given_back_by_default_and_it_says_what_to_do(till: Till) -> None:  # R-REF-1
    await till.done("POST", "/v1/organizations", {"id": "new", "plan": "starter"})
    ordered = await till.done("POST", "/v1/organizations/new/purchases", {"plan": "pro"})
    await till.press(ordered["url"], do="pay", card="4242424242424242")
    refused = await till.ask("POST", f"/v1/organizations/new/purchases/{ordered['id']}/refunds", {})
    assert (refused.status, refused.code) == (409, "not_possible")
    assert "Cancel the plan" in refused.json["detail"]
