"""The page of the embedded provider, pressed as a browser presses it: forms, and what stands there afterwards."""

from collections.abc import AsyncIterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.web.conftest import START, Till, running_till
from tokentill.catalogs import preset_text
from tokentill.web.asgi import override

ORG = "/v1/organizations/acme"
PAYS = "4242424242424242"
DECLINED = "4000000000000002"
NO_MONEY = "4000000000009995"
CONFIRMS = "4000002500003155"
DISPUTED = "4000000000000259"


class Forms(HTMLParser):
    """The buttons and the radio fields of a page, and its words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.buttons: list[str] = []
        self.cards: list[str] = []
        self.boxes: list[tuple[str, bool]] = []
        """Boxes to tick, each with whether it is ticked already."""
        self.words = ""
        self.feed(text)

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "button" and found.get("name") == "do":
            self.buttons.append(found.get("value") or "")
        if tag == "input" and found.get("name") == "card":
            self.cards.append(found.get("value") or "")
        if tag == "input" and found.get("type") == "checkbox":
            self.boxes.append((found.get("name") or "", "checked" in found or "required" in found))

    @override
    def handle_data(self, data: str) -> None:
        self.words = f"{self.words} {data.strip()}".strip()


async def ordered(till: Till) -> str:
    order = await till.done("POST", f"{ORG}/purchases", {"pack": "token_pack_500"})
    return str(order["url"])


async def look(till: Till, url: str) -> Forms:
    async with till.client.get(url) as answer:
        assert answer.status == 200
        return Forms(await answer.text())


async def press(till: Till, url: str, **fields: str) -> Forms:
    """Press a button, and what the browser shows then."""
    async with till.client.post(url, data=fields) as answer:
        assert answer.status == 200
        return Forms(await answer.text())


async def remaining(till: Till) -> int:
    return int((await till.done("GET", f"{ORG}/balance"))["remaining"])


async def test_what_the_page_says_and_offers(till: Till) -> None:
    # R-PLAT-1
    page = await look(till, await ordered(till))
    assert "No money moves" in page.words
    assert "$29.00" in page.words
    assert page.buttons == ["pay", "cancel"]
    assert set(page.cards) >= {PAYS, DECLINED, NO_MONEY, CONFIRMS, DISPUTED}


@pytest.mark.parametrize(("card", "words"), [(DECLINED, "was declined"), (NO_MONEY, "not enough money")])
async def test_a_card_that_does_not_pay_may_be_changed(till: Till, card: str, words: str) -> None:
    # R-PACK-3
    url = await ordered(till)
    page = await press(till, url, do="pay", card=card)
    assert words in page.words
    assert await remaining(till) == 200
    assert "Paid." in (await press(till, url, do="pay", card=PAYS)).words
    assert await remaining(till) == 700


@pytest.mark.parametrize("number", ["", "4111111111111111", "x" * 5000])
async def test_only_test_cards_are_accepted(till: Till, number: str) -> None:
    # R-PLAT-1
    url = await ordered(till)
    assert "Only the test cards" in (await press(till, url, do="pay", card=number)).words
    assert await remaining(till) == 200


async def test_a_bank_that_asks_is_answered(till: Till) -> None:
    url = await ordered(till)
    page = await press(till, url, do="pay", card=CONFIRMS)
    assert page.buttons == ["confirm", "refuse"]
    assert await remaining(till) == 200
    assert "was not confirmed" in (await press(till, url, do="refuse")).words
    await press(till, url, do="pay", card=CONFIRMS)
    assert "Paid." in (await press(till, url, do="confirm")).words
    assert await remaining(till) == 700


async def test_who_leaves_pays_nothing_and_pressing_again_changes_nothing(till: Till) -> None:
    # R-PACK-3
    url = await ordered(till)
    assert "closed and nothing was paid" in (await press(till, url, do="cancel")).words
    assert "closed" in (await press(till, url, do="pay", card=PAYS)).words
    assert await remaining(till) == 200


async def test_a_checkout_ends_by_itself(till: Till) -> None:
    url = await ordered(till)
    till.clock.pass_ms(31 * 60_000)
    assert "closed" in (await look(till, url)).words


async def test_a_paid_checkout_is_paid_once_and_may_be_disputed(till: Till) -> None:
    # R-PACK-3, R-REF-6
    url = await ordered(till)
    await press(till, url, do="pay", card=PAYS)
    await press(till, url, do="pay", card=PAYS)
    assert await remaining(till) == 700
    page = await press(till, url, do="dispute")
    assert page.buttons == ["won", "lost"]
    assert await remaining(till) == 200
    await press(till, url, do="won")
    assert await remaining(till) == 700


async def test_a_failed_invoice_is_paid_by_another_card(till: Till) -> None:  # R-LIC-1, R-LIC-3, R-PLAT-1
    own = "/v1/organizations/sim"
    opened = await till.done("POST", "/v1/organizations", {"id": "sim", "plan": "starter", "simulated": True})
    begun = await till.done("PUT", f"{own}/subscription", {"plan": "pro"})
    url = begun["purchase"]["url"]
    assert "Change the card" not in (await look(till, url)).words
    page = await press(till, url, do="pay", card="4242424242424242")
    assert "The new card pays the invoices to come." in page.words
    await press(till, url, do="spoil")
    await till.done("POST", f"{own}/clock", {"to": opened["time"] + 32 * 86_400_000})
    assert (await till.done("GET", f"{own}/balance"))["standing"] != "active"
    page = await press(till, url, do="spoil")
    assert "The last invoice could not be collected." in page.words
    assert (await till.done("GET", f"{own}/balance"))["standing"] != "active"
    page = await press(till, url, do="mend")
    assert "The new card pays the invoices to come." in page.words
    found = await till.done("GET", f"{own}/balance")
    assert (found["standing"], found["remaining"]) == ("active", 200)


async def test_the_page_lets_nothing_in_and_nobody_keep_it(till: Till) -> None:
    url = await ordered(till)
    async with till.client.get(url) as answer:
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["cache-control"] == "no-store"
        assert "<script" not in await answer.text()


async def test_an_address_that_nobody_was_told(till: Till) -> None:
    for path in ("/checkout/nothing", f"/checkout/{'a' * 200}", "/assets/nothing.css", "/assets/..%2Fapp.py"):
        async with till.client.get(till.url + path) as answer:
            assert answer.status == 404, path
    async with till.client.get(f"{till.url}/assets/checkout.css") as answer:
        assert answer.status == 200
        assert answer.headers["content-type"].startswith("text/css")


WITHDRAWAL = """
[refunds.withdrawal.eu]
days = 14
"""


@pytest.fixture
async def eu_till(tmp_path: Path) -> AsyncIterator[Till]:
    """A till whose catalog names a right of withdrawal."""
    catalog = tmp_path / "till.toml"
    catalog.write_text(preset_text("goals") + WITHDRAWAL)
    async with running_till(":memory:", str(catalog)) as till:
        await till.done("POST", "/v1/organizations", {"id": "acme", "plan": "pro"})
        yield till


async def test_nobody_is_asked_where_there_is_no_right_of_withdrawal(till: Till) -> None:
    # R-REF-1
    page = await look(till, await ordered(till))
    assert page.boxes == []
    assert "withdrawal" not in page.words


async def test_the_right_of_withdrawal_is_given_up_by_an_unticked_box_only(eu_till: Till) -> None:
    # R-REF-1
    till = eu_till
    packs = await till.done("GET", f"{ORG}/packs")
    assert packs["withdrawal"]["required"] is False
    url = await ordered(till)
    page = await look(till, url)
    assert page.boxes == [("waive", False)]
    assert packs["withdrawal"]["text"] in page.words
    assert "You need not tick this." in page.words
    page = await press(till, url, do="pay", card=DECLINED, waive="yes")
    assert page.boxes == [("waive", False)], "what was ticked for nothing is asked again"
    assert "Paid." in (await press(till, url, do="pay", card=PAYS)).words
    [plain] = (await till.done("GET", f"{ORG}/purchases"))["purchases"]
    assert plain["withdrawal_waived_at"] is None
    await press(till, await ordered(till), do="pay", card=PAYS, waive="yes")
    bought = (await till.done("GET", f"{ORG}/purchases"))["purchases"]
    assert sorted(one["withdrawal_waived_at"] is None for one in bought) == [False, True]


async def test_what_was_agreed_to_with_the_order_is_said_and_not_asked_again(eu_till: Till) -> None:
    # R-REF-1
    order = {"pack": "token_pack_500", "withdrawal_waived": True}
    made = await eu_till.done("POST", f"{ORG}/purchases", order)
    assert made["withdrawal_waived_at"] == START
    page = await look(eu_till, made["url"])
    assert page.boxes == []
    assert "You agreed to this with your order" in page.words
