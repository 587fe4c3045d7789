"""The page where a customer lands hands over what was bought: with its link alone, and the key once."""

import re
from collections.abc import AsyncIterator

import pytest

from tests.web.conftest import Till, running_till
from tests.web.test_checkout import DISPUTED, PAYS, Forms
from tokentill.rules import keys
from tokentill.rules.handovers import KEPT_MS
from tokentill.rules.money import format_amount
from tokentill.rules.rows import ApiKey

# R-SALE-4, R-SALE-8

ORG = "/v1/organizations/acme"


@pytest.fixture
async def selling() -> AsyncIterator[Till]:
    """A till in memory that sells the preset `shop` to the organization `acme`."""
    async with running_till(":memory:", "shop") as running:
        await running.done("POST", "/v1/organizations", {"id": "acme", "plan": None})
        yield running


async def ordered(till: Till) -> str:
    """Where a pack is paid."""
    order = await till.done("POST", f"{ORG}/purchases", {"pack": "gpt_4_starter"})
    return str(order["url"])


async def bought(till: Till, card: str = PAYS) -> str:
    """Where the customer lands, who has paid by this card."""
    url = await ordered(till)
    assert await till.press(url, do="pay", card=card) == 303
    async with till.client.get(url) as answer:
        found = re.search(r'class="button" href="([^"]+)"', await answer.text())
    assert found is not None
    return found[1].replace("&amp;", "&")


async def page(till: Till, url: str, *, press: bool = False) -> tuple[int, str]:
    sent = till.client.post(url, data={"do": "key"}) if press else till.client.get(url)
    async with sent as answer:
        policy = answer.headers["content-security-policy"] if answer.status == 200 else ""
        assert "script" not in policy
        if answer.status == 200:
            assert answer.headers["referrer-policy"] == "no-referrer"
            assert answer.headers["cache-control"] == "no-store"
        return answer.status, await answer.text()


async def test_the_key_is_shown_once_when_it_is_asked_for(selling: Till) -> None:
    url = await bought(selling)
    for _ in range(2):  # opening it is not asking for it
        _, text = await page(selling, url)
        assert Forms(text).buttons == ["key", "quote"]
        assert "tt_sk_" not in text
    status, text = await page(selling, url, press=True)
    assert status == 200
    shown = re.findall(r"tt_sk_\w+-?[\w-]*", text)
    assert len(set(shown)) == 1
    read = keys.read(shown[0])
    assert read is not None
    [stored] = await selling.shop.means.rows.find(ApiKey, {"organization": "acme"})
    assert keys.matches(read.secret, stored.digest)
    words = Forms(text).words
    for said in (
        "GPT-4 Starter: 20,000 tokens delivered.", f"{selling.url}/v1", "Valid until 2026-04-01", "First experiments",
        "Start with simple prompts", "50% refund available within 24 hours", "from openai import OpenAI",
    ):  # fmt: skip
        assert said in words, said
    for press in (True, False):
        _, text = await page(selling, url, press=press)
        assert "tt_sk_" not in text
        assert f"the one ending in {stored.shown}" in Forms(text).words


async def test_without_its_link_a_purchase_says_how_it_stands_and_no_more(selling: Till) -> None:
    url = await bought(selling)
    other = await bought(selling)
    bare, _, link = url.partition("?link=")
    for wrong in (
        bare,
        f"{bare}?link=",
        f"{bare}?link={link[:-1]}",
        f"{bare}?link={other.partition('?link=')[2]}",
    ):
        _, text = await page(selling, wrong)
        assert "What you ordered is in your account" in text
        assert "API key" not in text
        assert "/account/usage" not in text
        status, _ = await page(selling, wrong, press=True)
        assert status == 404
    assert Forms((await page(selling, url))[1]).buttons == ["key", "quote"]


async def test_a_link_ends(selling: Till) -> None:
    url = await bought(selling)
    selling.clock.pass_ms(KEPT_MS)
    await selling.shop.clerk.once()
    _, text = await page(selling, url)
    assert Forms(text).buttons == ["quote"]
    assert "ask" in text.lower()
    selling.clock.pass_ms(30 * 86_400_000)
    _, text = await page(selling, url)
    assert "API key" not in text


async def test_what_is_not_there_is_not_handed_over(selling: Till) -> None:
    # R-REF-6
    url = await bought(selling, DISPUTED)
    for press in (False, True):
        _, text = await page(selling, url, press=press)
        assert "Your bank disputes this payment" in text
        assert "API key" not in text


async def test_the_refund_line_leads_to_a_refund(selling: Till) -> None:
    # R-REF-4, R-REF-5
    url = await bought(selling)
    assert Forms((await page(selling, url))[1]).buttons == ["key", "quote"]
    [purchase] = (await selling.done("GET", f"{ORG}/purchases"))["purchases"]
    delivered = await selling.done("POST", f"{ORG}/purchases/{purchase['id']}/hand-over")
    assert delivered["refunds"] == url
    assert f"50% refund available within 24 hours: {url}" in delivered["message"]
    async with selling.client.post(url, data={"do": "quote", "reason": "unused"}) as answer:
        text = await answer.text()
    assert "0 of 20000 tokens were used" in text
    assert text.index("Get the money back") < text.index("Take the credit")
    number = re.search(r'name="refund" value="([^"]+)"', text)
    assert number is not None
    chosen = {"do": "accept", "refund": number[1], "choice": "cash"}
    async with selling.client.post(url, data=chosen) as answer:
        text = await answer.text()
    assert "It is done." in text
    assert "This payment was given back to you." in text
    assert (await selling.done("GET", f"{ORG}/balance"))["remaining"] == 0
    async with selling.client.get(url) as answer:
        assert "See what you get back" not in await answer.text()


async def test_the_page_of_a_pack_that_became_a_larger_one_shows_the_way(selling: Till) -> None:
    # R-REF-4
    url = await bought(selling)
    [small] = (await selling.done("GET", f"{ORG}/purchases"))["purchases"]
    asked = await selling.done("POST", f"{ORG}/purchases/{small['id']}/refunds", {})
    row = await selling.done("POST", f"{ORG}/refunds/{asked['id']}/accept", {"choice": "upgrade"})
    large = await selling.done("GET", f"{ORG}/purchases/{row['upgrade']}")
    await selling.press(large["url"], do="pay", card="4242424242424242")
    _, text = await page(selling, url)
    assert f"This pack was turned into a larger one. Ask for that purchase instead: {large['id']}." in text
    assert "quote" not in Forms(text).buttons
    delivered = await selling.done("POST", f"{ORG}/purchases/{large['id']}/hand-over")
    async with selling.client.post(delivered["refunds"], data={"do": "quote", "reason": "unused"}) as answer:
        text = await answer.text()
    whole = format_amount(small["amount"] + large["amount"], "USD")
    assert f"That is 100 % of {whole}: {whole}." in text


async def test_a_refund_is_asked_for_with_the_purchases_own_link_alone(selling: Till) -> None:
    # R-REF-5
    url, other = await bought(selling), await bought(selling)
    async with selling.client.post(url, data={"do": "quote", "reason": "unused"}) as answer:
        number = re.search(r'name="refund" value="([^"]+)"', await answer.text())
    assert number is not None
    chosen = {"do": "accept", "refund": number[1], "choice": "cash"}
    bare = url.partition("?link=")[0]
    async with selling.client.post(bare, data=chosen) as answer:
        assert answer.status == 404
    async with selling.client.post(other, data=chosen) as answer:
        assert "It is done" not in await answer.text()
    async with selling.client.post(url, data={**chosen, "choice": "upgrade"}) as answer:
        assert "It is done" not in await answer.text()
    assert (await selling.done("GET", f"{ORG}/balance"))["remaining"] == 40_000


async def test_a_host_asks_in_the_place_of_the_page(selling: Till) -> None:
    url = await bought(selling)
    [purchase] = (await selling.done("GET", f"{ORG}/purchases"))["purchases"]
    first = await selling.done("POST", f"{ORG}/purchases/{purchase['id']}/hand-over")
    assert keys.read(first["key"]) is not None
    assert Forms((await page(selling, url))[1]).buttons == ["quote"]
    assert (await selling.ask("POST", f"{ORG}/purchases/nothing/hand-over")).code == "unknown_purchase"
