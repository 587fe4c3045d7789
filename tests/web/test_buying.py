"""The page where refusals and warnings lead by default: it opens the packs, and buying from it works."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.selling_models import Store, running_store
from tests.web.test_checkout import Forms
from tokentill.flows.api_keys import Issued, Scope
from tokentill.flows.handing import BUY_PATH
from tokentill.rules.purchases import Purchase
from tokentill.rules.rows import Switch

# R-PLAN-7, R-PLAN-8, R-PACK-1


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with running_store(tmp_path, str(tmp_path / "till.db")) as made:
        yield made


async def issued(store: Store, scope: Scope | None = None) -> str:
    made = await store.fit.keys.issue("acme", "server", scope)
    assert isinstance(made, Issued)
    return made.text


async def opened(store: Store, key: str) -> tuple[int, str, str]:
    """The page that a pasted key leads to: its status, what stands there, and its address."""
    async with store.client.post(store.url + BUY_PATH, data={"key": key}) as answer:
        return answer.status, await answer.text(), str(answer.url)


def form_of(text: str, pack: str) -> dict[str, str]:
    """What the button of a pack sends."""
    [form] = [one for one in text.split("<form")[1:] if f'value="{pack}"' in one]
    hidden = dict(re.findall(r'name="(\w+)" value="([^"]*)"', form))
    return {**hidden, "pack": pack}


async def purchases(store: Store) -> list[Purchase]:
    return list(await store.ledger.rows.find(Purchase, {"organization": "acme"}))


async def test_from_a_402_to_a_call_by_the_link_and_the_key_alone(store: Store) -> None:
    key = await issued(store)
    async with store.client.post(
        f"{store.url}/v1/chat/completions", json={"model": "echo"}, headers={"authorization": f"Bearer {key}"}
    ) as refused:
        assert refused.status == 402
        assert (await refused.json())["error"]["tokentill"]["buy_link"] == store.url + BUY_PATH
    assert "Paste an API key to buy more" in (await store.page(BUY_PATH))[1]
    status, text, address = await opened(store, key)
    words = Forms(text).words
    assert status == 200
    for said in (
        "GPT-4 Starter",
        "20,000 tokens for $4",
        "$0.0002 each",
        "Valid for 90 days",
        "saves $1.00 (10.0 %)",
    ):
        assert said in words, said
    assert key not in text
    landing = ""
    for _ in range(2):  # The same form twice is one order.
        status, landing = await store.page(address, **form_of(text, "gpt_4_starter"))
        assert status == 200
    [order] = await purchases(store)
    assert (order.amount, order.offered_at) == (400, int(form_of(text, "gpt_4_starter")["shown"]))
    paid = re.search(r'href="([^"]+/checkout/[^"]+)"', landing)
    assert paid is not None
    await store.paid(paid[1])
    assert await store.call(key) == 200


async def test_who_may_not_order(store: Store) -> None:
    key = await issued(store, Scope(spend_max=5))
    status, text, address = await opened(store, key)
    assert (status, "not order any" in text) == (403, True)
    own = await issued(store)
    _, page, _ = await opened(store, own)
    for url in (address, BUY_PATH, f"{BUY_PATH}?link=00"):
        assert (await store.page(url, **form_of(page, "gpt_4_starter")))[0] == 403
    assert (await opened(store, "tt_sk_nothing"))[0] == 401
    assert await purchases(store) == []


async def test_what_is_not_sold_cannot_be_ordered(store: Store) -> None:
    # R-PACK-9
    _, text, address = await opened(store, await issued(store))
    sent = form_of(text, "gpt_4_starter")
    assert "no pack" in Forms((await store.page(address, **{**sent, "pack": "nothing"}))[1]).words
    await store.ledger.rows.add(Switch(id="packs", on=False, reason="test", actor="test", at=1))
    status, text = await store.page(address, **sent)
    assert (status, "<form" in text) == (200, False)
    assert await purchases(store) == []
