"""The test portal of the embedded provider, pressed as a browser presses it, on each engine (R-PLAT-1)."""

import asyncio
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tests.web.conftest import Till, running_till
from tokentill.catalogs import preset_text
from tokentill.flows.handing import link_of
from tokentill.web.asgi import override

ORG = "/v1/organizations/sim"
DAY = 86_400_000
CARD = "4242424242424242"
BACK = "https://shop.example/billing?a=1&b=2"


class Page(HTMLParser):
    """A page of the till: its words, its forms as (hidden fields, buttons), its table and its links."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__()
        self.status = status
        self.words = ""
        self.forms: list[tuple[dict[str, str], list[str]]] = []
        self.rows: list[list[str]] = []
        self.links: list[str] = []
        self.feed(text)

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append(({}, []))
            assert (found.get("method"), "action" in found) == ("post", False)
        elif tag == "input" and found["type"] == "hidden":
            self.forms[-1][0][found["name"]] = found["value"]
        elif tag == "button":
            self.forms[-1][1].append(found["value"])
            assert (found["name"], "tabindex" in found, "disabled" in found) == ("do", False, False)
        elif tag == "a":
            self.links.append(found["href"])
        elif tag == "tr":
            self.rows.append([])

    @override
    def handle_data(self, data: str) -> None:
        self.words = " ".join(f"{self.words} {data}".split())
        if self.rows and data.strip() and self.lasttag == "td":
            self.rows[-1].append(data.strip())

    @property
    def buttons(self) -> list[str]:
        return [button for _, buttons in self.forms for button in buttons]

    def fields(self, do: str) -> dict[str, str]:
        """What a browser sends when the button is pressed, which Enter and Space do, too."""
        [hidden] = [hidden for hidden, buttons in self.forms if do in buttons]
        return {**hidden, "do": do}


class Customer:
    """A customer of a till with the portal's link in hand."""

    def __init__(self, till: Till, start: int) -> None:
        self.till = till
        self.start = start
        self.url = ""
        self.checkout = ""

    async def open(self, url: str | None = None) -> Page:
        async with self.till.client.get(url or self.url) as answer:
            return Page(answer.status, await answer.text())

    async def press(self, do: str) -> Page:
        return await self.send((await self.open()).fields(do))

    async def send(self, fields: dict[str, str], url: str | None = None) -> Page:
        async with self.till.client.post(url or self.url, data=fields) as answer:
            return Page(answer.status, await answer.text())

    async def link(self) -> str:
        found = await self.till.done("POST", f"{ORG}/portal", {"return_url": BACK})
        return str(found["url"])

    async def days(self, days: int) -> None:
        await self.till.done("POST", f"{ORG}/clock", {"to": self.start + days * DAY})

    async def subscription(self) -> dict[str, Any]:
        found: dict[str, Any] = await self.till.done("GET", f"{ORG}/subscription")
        return found

    async def balance(self) -> tuple[str, int]:
        found = await self.till.done("GET", f"{ORG}/balance")
        return found["standing"], found["remaining"]


async def customer(till: Till) -> Customer:
    """A customer who pays for the plan pro by a good card, on a clock that is moved by hand."""
    opened = await till.done("POST", "/v1/organizations", {"id": "sim", "plan": "starter", "simulated": True})
    made = Customer(till, opened["time"])
    made.checkout = (await till.done("PUT", f"{ORG}/subscription", {"plan": "pro"}))["purchase"]["url"]
    await till.press(made.checkout, do="pay", card=CARD)
    made.url = await made.link()
    return made


async def test_it_shows_the_plan_the_card_and_what_was_paid(each_till: Till) -> None:
    """R-PLAT-1, R-PACK-7."""
    one = await customer(each_till)
    page = await one.open()
    assert page.status == 200
    assert "Test portal. No money moves, and no real card is accepted." in page.words
    assert "Pro $149.00 a month" in page.words
    assert "Next payment $149.00 on 2026-02-01" in page.words
    assert "Test card ending in 4242, pays" in page.words
    assert page.rows[1:] == [["2026-01-01", "Pro", "$149.00", "paid"]]
    assert page.buttons == ["leave", "mend", "spoil"]
    assert page.links == [BACK]


async def test_an_invoice_that_is_owed_is_paid_there(each_till: Till) -> None:
    """R-LIC-1, R-LIC-3: a card that fails, tries by hand however often, another card, and the invoice is paid."""
    one = await customer(each_till)
    await one.press("spoil")
    await one.days(32)
    assert (await one.subscription())["status"] == "past_due"
    page = await one.open()
    assert "AI is off and the tokens are set aside" in page.words
    assert "Owed $149.00 The card is tried again on 2026-02-04" in page.words
    assert [row[2:] for row in page.rows[1:]] == [["$149.00", "owed"], ["$149.00", "paid"]]
    for _ in range(8):
        page = await one.press("pay")
        assert "The card was declined. Nothing was paid." in page.words
    assert (await one.balance(), "pay" in page.buttons) == (("grace", 0), True)
    page = await one.press("mend")
    assert "Next payment $149.00 on 2026-03-01" in page.words
    assert [row[3] for row in page.rows[1:]] == ["paid", "paid"]
    assert (await one.balance(), "pay" in page.buttons) == (("active", 200), False)


async def test_it_asks_for_what_credit_leaves(till: Till) -> None:
    """R-REF-4: from an hour before the invoice is collected on, and while it is owed."""
    one = await customer(till)
    await till.done("POST", f"{ORG}/grants", {"tokens": 900, "origin": "credit", "unit": "money"})
    await one.press("spoil")
    await till.done("POST", f"{ORG}/clock", {"to": one.start + 31 * DAY - 3_600_000})
    assert "Next payment $140.00 on 2026-02-01" in (await one.open()).words
    await one.days(32)
    page = await one.open()
    assert "Pro $149.00 a month" in page.words
    assert "Owed $140.00" in page.words
    assert "Pay $140.00 with this card" in page.words
    page = await one.press("mend")
    assert [row[2:] for row in page.rows[1:]] == [["$140.00", "paid"], ["$149.00", "paid"]]


async def test_the_same_card_may_pay_later_and_pressing_again_pays_nothing_more(each_till: Till) -> None:
    """R-LIC-3, R-PACK-3."""
    one = await customer(each_till)
    await one.press("spoil")
    await one.days(32)
    fields = (await one.open()).fields("pay")
    await each_till.press(one.checkout, do="mend")
    for _ in range(3):
        assert (await one.send(fields)).status == 200
    found = (await each_till.done("GET", f"{ORG}/purchases"))["purchases"]
    assert sorted(one["state"] for one in found) == ["delivered", "delivered"]
    assert await one.balance() == ("active", 200)


async def test_however_many_press_at_once_one_invoice_is_paid(each_till: Till) -> None:
    """R-PACK-3: the period that was owed begins, and no further one."""
    one = await customer(each_till)
    await one.press("spoil")
    await one.days(32)
    page = await one.open()
    await asyncio.gather(*(one.send(page.fields(do)) for do in ("mend", "mend", "mend", "pay", "pay")))
    page = await one.press("mend")
    assert "Next payment $149.00 on 2026-03-01" in page.words
    assert [row[3] for row in page.rows[1:]] == ["paid", "paid"]
    assert await one.balance() == ("active", 200)


async def test_a_trial_says_when_it_is_paid_for_first(tmp_path: Path) -> None:
    """R-PLAN-4, R-LIC-1: nothing has been taken yet, and nobody owes anything."""
    catalog = tmp_path / "till.toml"
    catalog.write_text(preset_text("goals").replace("[plans.pro]\n", "[plans.pro]\ntrial_days = 14\n"))
    async with running_till(":memory:", str(catalog)) as till:
        one = await customer(till)
        page = await one.open()
        assert "This is a trial. Nothing has been taken for it yet." in page.words
        assert "Next payment $149.00 on 2026-01-15" in page.words
        assert (await one.subscription())["status"] == "trialing"
        await one.days(15)
        page = await one.open(await one.link())
        assert "trial" not in page.words
        assert "Next payment $149.00 on 2026-02-15" in page.words
        assert (await one.subscription())["status"] == "active"


async def test_the_plan_is_cancelled_and_kept_after_all(each_till: Till) -> None:
    """R-PLAN-4: until its period ends everything stays as it is."""
    one = await customer(each_till)
    page = await one.press("leave")
    assert (
        "The plan ends on 2026-02-01. Until then it stays as it is, and nothing more is taken." in page.words
    )
    found = await one.subscription()
    assert (found["status"], found["scheduled"], found["ends_at"]) == ("active", True, found["period_end"])
    page = await one.press("stay")
    assert "Next payment $149.00 on 2026-02-01" in page.words
    found = await one.subscription()
    assert (found["scheduled"], found["ends_at"]) == (False, None)
    await one.days(32)
    assert await one.balance() == ("active", 200)
    await one.press("leave")
    await one.days(70)
    page = await one.open(await one.link())
    assert "No plan is billed here." in page.words
    assert page.buttons == []
    assert ((await one.subscription())["status"], await one.balance()) == ("cancelled", ("active", 0))


async def test_who_cancels_while_an_invoice_is_owed_may_still_pay_it(each_till: Till) -> None:
    """R-PLAN-4, R-LIC-3: the plan then ends with the period that was paid."""
    one = await customer(each_till)
    await one.press("spoil")
    await one.days(32)
    page = await one.press("leave")
    assert "The plan ends on 2026-03-01." in page.words
    assert "nothing more is taken" not in page.words
    await one.press("mend")
    assert await one.balance() == ("active", 200)
    await one.days(75)
    assert (await one.subscription())["status"] == "cancelled"


async def test_only_the_link_opens_it_and_only_for_an_hour(till: Till) -> None:
    """R-PLAT-1: there is no cookie, so what does not carry the link changes nothing, wherever it comes from."""
    one = await customer(till)
    fields = (await one.open()).fields("leave")
    bare, _, link = one.url.partition("?link=")
    purchase = (await till.done("GET", f"{ORG}/purchases"))["purchases"][0]["id"]
    kept = await till.shop.checkout.purchase("sim", purchase)
    assert kept is not None
    other = link_of(till.shop.means.secret, kept)
    wrong = ["", "00", "x" * 9_000, f"{link[:-2]}00", link.upper() + "0", other, f"{link}00"]
    for text in wrong:
        for page in (await one.open(f"{bare}?link={text}"), await one.send(fields, f"{bare}?link={text}")):
            assert (page.status, page.buttons, "sim" in page.words) == (403, [], False), text
    assert (await one.subscription())["ends_at"] is None
    async with till.client.get(one.url) as answer:
        policy = answer.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in policy
        assert (answer.headers["cache-control"], answer.headers["referrer-policy"]) == (
            "no-store",
            "no-referrer",
        )
        assert "set-cookie" not in answer.headers
        assert "<script" not in await answer.text()
    async with till.client.get(f"{till.url}/account/usage?link={link}") as answer:
        assert answer.status == 403, "it opens nothing else"
    till.clock.pass_ms(3_600_000)
    for page in (await one.open(), await one.send(fields)):
        assert (page.status, page.buttons) == (403, [])
        assert "This link has ended." in page.words
    assert (await one.subscription())["ends_at"] is None


async def test_one_customer_changes_nothing_of_another(till: Till) -> None:
    """R-PLAT-2: the link says whose the page is, whatever a form names."""
    one = await customer(till)
    await till.done("POST", "/v1/organizations", {"id": "other", "plan": "starter"})
    began = await till.done("PUT", "/v1/organizations/other/subscription", {"plan": "pro"})
    await till.press(began["purchase"]["url"], do="pay", card=CARD)
    url = (await till.done("POST", "/v1/organizations/other/portal", {"return_url": BACK}))["url"]
    fields = (await one.open()).fields("leave")
    for do in ("leave", "stay", "mend", "spoil", "pay", "bill", "nothing", ""):
        page = await one.send({**fields, "do": do, "invoice": "f" * 32}, url)
        assert page.status == 200
    assert (await one.subscription())["ends_at"] is None
    assert "ending in 4242" in (await one.open()).words


async def test_who_never_paid_there_has_no_portal(till: Till) -> None:
    """R-PLAT-1."""
    await till.done("POST", "/v1/organizations", {"id": "sim", "plan": "starter"})
    reply = await till.ask("POST", f"{ORG}/portal", {"return_url": BACK})
    assert (reply.status, reply.code) == (409, "not_possible")


@pytest.mark.parametrize("length", [8, 1_900])
async def test_it_leads_back_to_where_the_shop_says(till: Till, length: int) -> None:
    """R-PLAT-1: an address of any length that the API takes."""
    one = await customer(till)
    back = f"https://shop.example/{'a' * length}"
    url = (await till.done("POST", f"{ORG}/portal", {"return_url": back}))["url"]
    assert (await one.open(url)).links == [back]


async def test_a_bill_of_overage_is_paid_by_a_checkout(tmp_path: Path) -> None:
    """R-PLAN-6: the bill is listed as owed, leads to its checkout, and that back to the portal."""
    catalog = tmp_path / "till.toml"
    overage = 'overage = { price = "1.50", cap = "off" }'
    catalog.write_text(preset_text("goals").replace('overage = "off"', overage))
    async with running_till(":memory:", str(catalog)) as till:
        one = await customer(till)
        taken = {"tokens": -199, "reason": "a test"}
        await till.done("POST", f"{ORG}/adjustments", taken)
        await till.done("POST", f"{ORG}/charges", {"feature": "generate_goal"})
        await one.days(32)
        await till.shop.clerk.once()
        page = await one.open()
        assert [row[2:] for row in page.rows[1:]][-1] == ["$149.00", "paid"]
        assert ["$3.00", "owed"] in [row[2:] for row in page.rows[1:]]
        checkout = await one.press("bill")
        assert checkout.words.startswith("Test checkout")
        [bill] = await till.shop.overages.open("sim")
        back = await till.press(str(bill.url), do="pay", card=CARD)
        assert back == 303
        paid = await one.open(str(bill.url))
        assert paid.links == [one.url]
        page = await one.open(paid.links[0])
        assert [row[3] for row in page.rows[1:]] == ["paid"] * 3
        assert "bill" not in page.buttons
