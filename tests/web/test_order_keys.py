"""R-LED-9 over HTTP: the key of an order says the same thing however it was paid, and nothing else."""

from typing import Any

import pytest

from tests.web.conftest import Till
from tests.web.test_shop import CARD, ORG

PACK = {"pack": "token_pack_500"}


@pytest.mark.parametrize(
    "other",
    [
        {"provider": "embedded"}, {"promo": "NONE"}, {"one_click": True}, {"payer": "x"}, {"user": "bob"},
        {"pack": "token_pack_2000"}, {"use_credit": True}, {"save_method": True},
    ],
)  # fmt: skip
async def test_another_order_under_the_same_key(till: Till, other: dict[str, Any]) -> None:
    first = await till.done("POST", f"{ORG}/purchases", PACK, key="once")
    reply = await till.ask("POST", f"{ORG}/purchases", {**PACK, **other}, key="once")
    assert (reply.status, reply.code) == (422, "key_reused")
    assert await till.done("POST", f"{ORG}/purchases", PACK, key="once") == first


async def test_one_click_is_the_same_order_when_the_method_is_forgotten(till: Till) -> None:
    # R-SALE-3
    made = await till.done("POST", f"{ORG}/purchases", {**PACK, "save_method": True})
    await till.press(made["url"], do="pay", card=CARD)
    first = await till.done("POST", f"{ORG}/purchases", {**PACK, "one_click": True}, key="once")
    assert first["state"] == "delivered"
    [method] = (await till.done("GET", f"{ORG}/payment-methods"))["methods"]
    await till.done("DELETE", f"{ORG}/payment-methods/{method['id']}")
    again = await till.done("POST", f"{ORG}/purchases", {**PACK, "one_click": True}, key="once")
    assert again["id"] == first["id"]
    refused = await till.ask("POST", f"{ORG}/purchases", {**PACK, "one_click": True})
    assert (refused.status, refused.code) == (409, "not_possible")
