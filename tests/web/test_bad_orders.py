"""What cannot be bought is refused with what to do instead; nothing is charged, and nothing is granted.

R-PACK-1, R-PACK-2, R-PACK-3, R-PACK-4, R-PACK-9, R-LED-10. An event of another amount or currency than was ordered is
in tests/flows/test_events.py; a negative price in a catalog is in tests/rules/test_catalog_file.py.
"""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.web.conftest import Till, running_till
from tokentill.catalogs import preset_text
from tokentill.ports import EmbeddedPayments
from tokentill.rules.rows import EmbeddedPayment

ORG = "/v1/organizations/acme"
BUY = f"{ORG}/purchases"
CARD = "4242424242424242"
STOPPED = """
[packs.token_pack_50]
title = "50 tokens"
tokens = 50
price = "5.00"
enabled = false
"""


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Till]:
    """A till that has one pack which is sold no more."""
    catalog = tmp_path / "stopped.toml"
    catalog.write_text(preset_text("goals") + STOPPED)
    async with running_till(str(tmp_path / "till.db"), str(catalog)) as till:
        await till.done("POST", "/v1/organizations", {"id": "acme", "plan": "pro"})
        yield till


async def stands(till: Till) -> tuple[int, int, list[str], int]:
    """Tokens, entries of the journal, purchases and payments at the provider: what a bad order must not change."""
    purchases = (await till.done("GET", f"{ORG}/purchases"))["purchases"]
    payments = await till.ledger.rows.find(EmbeddedPayment, {}, limit=100)
    left = (await till.done("GET", f"{ORG}/balance"))["remaining"]
    return left, await till.entries(), [one["id"] for one in purchases], len(payments)


@pytest.mark.parametrize(
    ("body", "status", "code", "says"),
    [
        # a wrong currency, and a price of one's own: no order states either
        ({"pack": "token_pack_500", "currency": "EUR"}, 422, "invalid_request", "currency"),
        ({"pack": "token_pack_500", "price": -2900}, 422, "invalid_request", "price"),
        ({"pack": "token_pack_500", "amount": -1}, 422, "invalid_request", "amount"),
        ({"pack": "token_pack_500", "tokens": 5000}, 422, "invalid_request", "tokens"),
        # packs that there are not, and one that is sold no more
        ({"pack": "token_pack_501"}, 404, "unknown_pack", "It can buy: token_pack_500, token_pack_2000."),
        ({"pack": "token_pack_50"}, 409, "pack_disabled", "Choose another pack"),
        ({"pack": ""}, 422, "invalid_request", "pack"),
        ({"plan": "platinum"}, 404, "unknown_plan", "It has: starter, pro, enterprise."),
        ({"pack": "token_pack_500", "provider": "cash"}, 404, "unknown_provider", "There is: embedded."),
        ({"pack": "token_pack_500", "promo": "FREE"}, 409, "promo_invalid", "code"),
        ({"pack": "token_pack_500", "one_click": True}, 409, "not_possible", "Order by a checkout."),
    ],
)
async def test_what_cannot_be_ordered(
    shop: Till, body: dict[str, Any], status: int, code: str, says: str
) -> None:
    """R-PACK-2, R-LED-10."""
    before = await stands(shop)
    reply = await shop.ask("POST", BUY, body)
    assert (reply.status, reply.code) == (status, code)
    assert says in f"{reply.json['detail']} {reply.json.get('field')}"
    assert await stands(shop) == before


async def test_over_the_limit(shop: Till) -> None:
    """R-PACK-4: it says when the next can be bought, and what frees one now."""
    for _ in range(2):
        await shop.done("POST", BUY, {"pack": "token_pack_500"})
    before = await stands(shop)
    reply = await shop.ask("POST", BUY, {"pack": "token_pack_500"})
    assert (reply.status, reply.code) == (429, "pack_limit")
    assert "2 packs in 24 hours" in reply.json["detail"]
    assert "as soon as an open checkout is cancelled" in reply.json["detail"]
    assert int(reply.headers["Retry-After"]) > 0
    assert await stands(shop) == before


async def test_what_is_switched_off(shop: Till) -> None:
    """R-PACK-9."""
    await shop.done("PUT", "/v1/switches", {"switch": "packs", "on": False, "reason": "test"})
    before = await stands(shop)
    reply = await shop.ask("POST", BUY, {"pack": "token_pack_500"})
    assert (reply.status, reply.code) == (409, "packs_off")
    assert "Try again later." in reply.json["detail"]
    assert await stands(shop) == before


@pytest.mark.parametrize(
    "change", [(b'"USD"', b'"EUR"'), (b"2900", b"-2900"), (b"2900", b"1"), (b"acme", b"bert")]
)
async def test_an_event_that_was_changed_on_its_way(shop: Till, change: tuple[bytes, bytes]) -> None:
    """R-PACK-3: another currency, a negative or a small amount, another organization: it is not signed like this."""
    order = await shop.done("POST", BUY, {"pack": "token_pack_500"})
    embedded = shop.shop.means.payments["embedded"]
    assert isinstance(embedded, EmbeddedPayments)
    events = (await embedded.pay(order["url"].rpartition("/")[2], CARD)).events
    before = await stands(shop)
    changed = [one for one in events if change[0] in one.body]
    assert changed
    for event in changed:
        altered = event.body.replace(*change)
        reply = await shop.ask("POST", "/v1/webhooks/embedded", raw=altered, headers=dict(event.headers))
        assert (reply.status, reply.code) == (400, "bad_signature")
        assert json.loads(reply.raw)["detail"]
    await shop.shop.clerk.once()
    assert await stands(shop) == before


@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [
        ("PUT", "topup", {"threshold": 50, "pack": "token_pack_500", "ceiling": -1}, "ceiling"),
        ("PUT", "topup", {"threshold": -1, "pack": "token_pack_500", "ceiling": 5000}, "threshold"),
        ("POST", "cap", {"cap": -1}, "cap"),
        ("POST", "grants", {"tokens": -5, "origin": "pack"}, "tokens"),
    ],
)
async def test_no_amount_is_negative(
    shop: Till, method: str, path: str, body: dict[str, Any], field: str
) -> None:
    """R-LED-10."""
    before = await stands(shop)
    reply = await shop.ask(method, f"{ORG}/{path}", body)
    assert (reply.status, reply.code, reply.json["field"]) == (422, "invalid_request", field)
    assert await stands(shop) == before
