"""The lab over HTTP, without an SDK in between: what its API lets in, how it answers, and its ways in for tests."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import aiohttp
import pytest

from tests.support.stripe import DECLINED, T0, VISA, Watch
from tokentill.lab.stripe import StripeLab, deliver_all, serving, sign
from tokentill.lab.stripe.form import parse
from tokentill.lab.stripe.periods import months_after
from tokentill.lab.stripe.refusals import Refused

VERSION = "2026-10-28.endive"


class Wire:
    """Requests to a lab."""

    def __init__(self, lab: StripeLab, base: str, session: aiohttp.ClientSession) -> None:
        self.lab = lab
        self.base = base
        self.session = session

    async def ask(
        self, method: str, path: str, form: dict[str, str] | None = None, **headers: str
    ) -> tuple[int, dict[str, Any], dict[str, str]]:
        sent = {"Authorization": f"Bearer {self.lab.key}", "Stripe-Version": VERSION}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        body = aiohttp.FormData(form or {}) if method == "POST" else None
        query = form if method == "GET" else None
        async with self.session.request(
            method, f"{self.base}/v1/{path}", data=body, params=query, headers=sent
        ) as answer:
            return answer.status, await answer.json(), dict(answer.headers)

    async def made(self, path: str, form: dict[str, str]) -> dict[str, Any]:
        status, body, _ = await self.ask("POST", path, form)
        assert status == 200, body
        return body

    async def test(self, name: str, **arguments: Any) -> tuple[int, Any]:
        async with self.session.post(f"{self.base}/_test/{name}", json=arguments) as answer:
            return answer.status, await answer.json()


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    lab = StripeLab(Watch(T0))
    async with serving(lab) as base, aiohttp.ClientSession() as session:
        yield Wire(lab, base, session)


SESSION = {
    "mode": "payment",
    "success_url": "https://shop.test/thanks?session={CHECKOUT_SESSION_ID}",
    "line_items[0][quantity]": "1",
    "line_items[0][price_data][currency]": "usd",
    "line_items[0][price_data][unit_amount]": "2500",
    "line_items[0][price_data][product_data][name]": "25 tokens",
}


# Forms


def test_forms_become_tables_and_lists() -> None:
    text = "a=1&m[x]=2&m[y][z]=3&l[0][p]=4&l[1][p]=5&e[]=6&e[]=7&n=&s=a+b%26c"
    assert parse(text) == {
        "a": "1",
        "m": {"x": "2", "y": {"z": "3"}},
        "l": [{"p": "4"}, {"p": "5"}],
        "e": ["6", "7"],
        "n": "",
        "s": "a b&c",
    }


@pytest.mark.parametrize(
    "text", ["a=1&a[b]=2", "a[b][c][d][e][f][g][h][i]=1", "a=%ff", "&".join(f"a{n}=1" for n in range(1001))]
)
def test_forms_that_contradict_themselves_are_refused(text: str) -> None:
    with pytest.raises(Refused):
        parse(text)


# Who may ask


@pytest.mark.parametrize(
    "authorization", ["", "Bearer", "Basic sk_test_lab", "Bearer sk_test_wrong_key_0000"]
)
async def test_without_the_key_nothing_is_answered(wire: Wire, authorization: str) -> None:
    status, body, _ = await wire.ask("GET", "customers", Authorization=authorization)
    assert status == 401
    assert body["error"]["type"] == "invalid_request_error"
    assert "wrong_key" not in json.dumps(body)


@pytest.mark.parametrize(
    ("version", "status"), [(VERSION, 200), ("2025-03-31.basil", 200), ("2024-06-20", 400), ("tomorrow", 400)]
)
async def test_the_version_is_one_whose_shapes_are_here(wire: Wire, version: str, status: int) -> None:
    assert (await wire.ask("GET", "customers", Stripe_Version=version))[0] == status


async def test_every_answer_has_an_id_of_its_own(wire: Wire) -> None:
    ids = {(await wire.ask("GET", "customers"))[2]["request-id"] for _ in range(3)}
    assert len(ids) == 3


@pytest.mark.parametrize(
    ("path", "form", "code"),
    [
        ("checkout/sessions", {"mode": "payment"}, None),
        ("checkout/sessions", {**SESSION, "colour": "red"}, "parameter_unknown"),
        ("checkout/sessions", {**SESSION, "expires_at": "1"}, None),
        ("checkout/sessions", {**SESSION, "line_items[0][price_data][unit_amount]": "1"}, "amount_too_small"),
        ("customers", {"expand[]": "nothing"}, None),
        ("payment_intents", {"currency": "usd"}, "parameter_missing"),
        ("payment_intents", {"amount": "many", "currency": "usd"}, "parameter_invalid_integer"),
        (
            "payment_intents",
            {"amount": "1491", "currency": "kwd"},
            "invalid_charge_amount_no_decimal_compatible",
        ),
        ("refunds", {"charge": "ch_nobody"}, "resource_missing"),
        ("nowhere", {}, None),
    ],
)
async def test_refusals_have_stripes_shape(
    wire: Wire, path: str, form: dict[str, str], code: str | None
) -> None:
    status, body, _ = await wire.ask("POST", path, form)
    assert status in (400, 404)
    assert body["error"]["type"] == "invalid_request_error"
    assert body["error"].get("code") == code
    assert body["error"]["message"]


# Idempotency


async def test_a_key_gives_the_first_answer_again(wire: Wire) -> None:
    first = await wire.ask("POST", "customers", {"email": "a@example.com"}, Idempotency_Key="k")
    again = await wire.ask("POST", "customers", {"email": "a@example.com"}, Idempotency_Key="k")
    assert first[1] == again[1]
    assert (first[2].get("idempotent-replayed"), again[2].get("idempotent-replayed")) == (None, "true")
    assert len(wire.lab.world.all("customer")) == 1


async def test_a_key_of_another_request_is_refused(wire: Wire) -> None:
    await wire.ask("POST", "customers", {"email": "a@example.com"}, Idempotency_Key="k")
    status, body, _ = await wire.ask("POST", "customers", {"email": "b@example.com"}, Idempotency_Key="k")
    assert (status, body["error"]["type"]) == (400, "idempotency_error")


async def test_a_key_that_is_being_used_is_a_conflict(wire: Wire) -> None:
    wire.lab.api.latency_seconds = 0.1
    both = await asyncio.gather(*[wire.ask("POST", "customers", {}, Idempotency_Key="k") for _ in range(2)])
    assert sorted(status for status, _, _ in both) == [200, 409]
    assert len(wire.lab.world.all("customer")) == 1


async def test_a_declined_card_is_remembered_and_a_bad_request_is_not(wire: Wire) -> None:
    bad = await wire.ask("POST", "customers", {"colour": "red"}, Idempotency_Key="k")
    good = await wire.ask("POST", "customers", {"email": "a@example.com"}, Idempotency_Key="k")
    assert (bad[0], good[0]) == (400, 200)
    charge = {
        "amount": "2500",
        "currency": "usd",
        "confirm": "true",
        "payment_method": "pm_card_chargeDeclined",
    }
    declined = [await wire.ask("POST", "payment_intents", charge, Idempotency_Key="d") for _ in range(2)]
    assert [status for status, _, _ in declined] == [402, 402]
    assert declined[0][1] == declined[1][1]
    assert declined[0][1]["error"]["payment_intent"]["status"] == "requires_payment_method"
    assert len(wire.lab.world.all("payment_intent")) == 1


async def test_a_key_is_forgotten_after_a_day(wire: Wire) -> None:
    await wire.ask("POST", "customers", {}, Idempotency_Key="k")
    wire.lab.advance(86_401)
    await wire.ask("POST", "customers", {}, Idempotency_Key="k")
    assert len(wire.lab.world.all("customer")) == 2


# Lists and expansion


async def test_lists_come_in_pages(wire: Wire) -> None:
    made = [(await wire.made("customers", {"email": f"{n}@example.com"}))["id"] for n in range(5)]
    _, first, _ = await wire.ask("GET", "customers", {"limit": "2"})
    assert [one["id"] for one in first["data"]] == [made[4], made[3]]
    assert (first["object"], first["has_more"]) == ("list", True)
    _, rest, _ = await wire.ask("GET", "customers", {"limit": "3", "starting_after": made[3]})
    assert ([one["id"] for one in rest["data"]], rest["has_more"]) == ([made[2], made[1], made[0]], False)
    _, back, _ = await wire.ask("GET", "customers", {"limit": "2", "ending_before": made[1]})
    assert [one["id"] for one in back["data"]] == [made[3], made[2]]
    for wrong in ({"limit": "0"}, {"limit": "101"}, {"starting_after": "cus_nobody"}):
        assert (await wire.ask("GET", "customers", wrong))[0] in (400, 404)
    _, found, _ = await wire.ask("GET", "customers", {"email": "3@example.com"})
    assert [one["id"] for one in found["data"]] == [made[3]]


async def test_other_objects_are_put_in_whole_where_asked(wire: Wire) -> None:
    made = await wire.made("checkout/sessions", SESSION)
    wire.lab.pay(made["id"], VISA)
    asked = {"expand[0]": "payment_intent.latest_charge.refunds", "expand[1]": "line_items"}
    _, found, _ = await wire.ask("GET", f"checkout/sessions/{made['id']}", asked)
    charge = found["payment_intent"]["latest_charge"]
    assert (charge["object"], charge["refunds"]["data"]) == ("charge", [])
    for wrong in ("metadata.colour", "payment_intent.latest_charge.customer.a.b", "mode"):
        path = f"checkout/sessions/{made['id']}"
        assert (await wire.ask("GET", path, {"expand[]": wrong}))[0] == 400


# Ways in for tests


async def test_helpers_over_http(wire: Wire) -> None:
    made = await wire.made("checkout/sessions", SESSION)
    status, declined = await wire.test("pay", session=made["id"], card=DECLINED)
    assert (status, declined["error"]["code"]) == (400, "card_declined")
    status, paid = await wire.test("pay", session=made["id"], card=VISA)
    assert (status, paid["status"]) == (200, "complete")
    assert (await wire.test("advance", seconds=60))[1]["now"] == T0 // 1000 + 60
    assert (await wire.test("nothing"))[0] == 404
    assert (await wire.test("pay", colour="red"))[0] == 400
    async with wire.session.get(f"{wire.base}/_test/events") as answer:
        types = [event["type"] for event in (await answer.json())["data"]]
    assert types[-3:] == ["charge.succeeded", "payment_intent.succeeded", "checkout.session.completed"]


async def test_a_person_pays_on_a_page(wire: Wire) -> None:
    wire.lab.world.public = wire.base
    made = await wire.made("checkout/sessions", SESSION)
    async with wire.session.get(made["url"]) as answer:
        assert "2500 USD" in await answer.text()
    async with wire.session.post(made["url"], data={"card": DECLINED}) as answer:
        assert "Your card was declined." in await answer.text()
    async with wire.session.post(made["url"], data={"card": VISA}, allow_redirects=False) as answer:
        assert (answer.status, answer.headers["location"]) == (
            303,
            f"https://shop.test/thanks?session={made['id']}",
        )
    async with wire.session.get(f"{wire.base}/pay/cs_nobody") as answer:
        assert answer.status == 404


# Webhooks on their way


class Till:
    """Takes webhooks as a till does: believes what is signed, and remembers."""

    def __init__(self) -> None:
        self.secret = ""
        self.taken: list[str] = []
        self.refused = 0
        self.closed = False

    async def __call__(self, url: str, body: bytes, headers: Any) -> int:
        stamp = int(headers["stripe-signature"].partition(",")[0].removeprefix("t="))
        if sign(body, self.secret, stamp) != headers["stripe-signature"]:
            self.refused += 1
            return 400
        if self.closed:
            return 503
        self.taken.append(json.loads(body)["id"])
        return 200


async def a_lab_with_events(**mischief: Any) -> tuple[StripeLab, Till]:
    lab, till = StripeLab(Watch(T0)), Till()
    till.secret = lab.listen("https://till.test/")["secret"]
    lab.misbehave(**mischief)
    for _ in range(20):
        lab.routes.goods.create_customer({"email": "a@example.com"})
    lab.world.tell()
    return lab, till


async def test_webhooks_come_once_and_in_order() -> None:
    lab, till = await a_lab_with_events()
    assert await lab.deliver(till) == 0
    assert till.taken == [event["id"] for event in reversed(lab.world.all("event"))]


async def test_webhooks_come_twice_and_in_another_order() -> None:
    lab, till = await a_lab_with_events(copies=2, shuffle=True)
    assert await lab.deliver(till) == 0
    sent = [event["id"] for event in reversed(lab.world.all("event"))]
    assert sorted(till.taken) == sorted(sent * 2)
    assert list(dict.fromkeys(till.taken)) != sent


async def test_false_webhooks_come_beside_the_true_ones() -> None:
    lab, till = await a_lab_with_events(alter=50, forge=50)
    await lab.deliver(till)
    assert len(till.taken) == 20
    assert till.refused > 5


async def test_what_was_not_taken_is_sent_again() -> None:
    lab, till = await a_lab_with_events(lose=50)
    till.closed = True
    assert await lab.deliver(till) == 20
    till.closed = False
    rounds = 0
    while await lab.deliver(till):
        rounds += 1
    assert rounds > 0
    assert len(set(till.taken)) == len(till.taken) == 20


async def test_the_same_seed_makes_the_same_mischief() -> None:
    orders = []
    for _ in range(2):
        lab, till = await a_lab_with_events(copies=2, shuffle=True, lose=30)
        while await lab.deliver(till):
            pass
        orders.append(till.taken)
    assert orders[0] == orders[1]


async def test_an_endpoint_hears_what_it_asked_for_only(wire: Wire) -> None:
    await wire.made(
        "webhook_endpoints", {"url": "https://till.test/", "enabled_events[]": "charge.succeeded"}
    )
    made = await wire.made("checkout/sessions", SESSION)
    wire.lab.pay(made["id"], VISA)
    assert [one.type for one in wire.lab.webhooks()] == ["charge.succeeded"]


async def test_webhooks_go_over_http_by_themselves() -> None:
    lab, other = StripeLab(Watch(T0)), StripeLab(Watch(T0))
    async with serving(other) as address, serving(lab, deliver=True):
        lab.listen(f"{address}/_test/catch_up")
        lab.routes.goods.create_customer({})
        lab.world.tell()
        for _ in range(500):
            await asyncio.sleep(0.01)
            if not lab.hooks.line:
                break
        assert lab.hooks.line == []
    async with serving(lab):
        lab.listen("http://127.0.0.1:9/")
        lab.routes.goods.create_customer({})
        lab.world.tell()
        assert await deliver_all(lab) > 0


@pytest.mark.parametrize(
    ("start", "months", "end"),
    [
        ("2027-01-31", 1, "2027-02-28"),
        ("2027-01-31", 2, "2027-03-31"),
        ("2028-01-31", 1, "2028-02-29"),
        ("2028-02-29", 12, "2029-02-28"),
        ("2027-12-15", 1, "2028-01-15"),
    ],
)
def test_months_are_counted_from_the_anchor(start: str, months: int, end: str) -> None:
    def seconds(day: str) -> int:
        return int(datetime.fromisoformat(f"{day}T10:00:00+00:00").timestamp())

    assert months_after(seconds(start), months) == seconds(end)
