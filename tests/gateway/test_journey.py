"""From an offer to the first call, as a customer goes: offer, order, checkout, key, and the unmodified `openai` client.

The till times it itself, and it stays within what is promised, on both engines. On the way the key stands on the page
that hands it over and nowhere else.
"""

import asyncio
import logging
import re
from pathlib import Path
from typing import Any

import openai
import pytest
import structlog

from tests.support.selling_models import Store, keys_in, running_store
from tokentill.client import Till
from tokentill.flows.api_keys import Issued
from tokentill.flows.keys import create_operator_key
from tokentill.rules import keys
from tokentill.rules.handovers import TARGETS
from tokentill.rules.keys import digest
from tokentill.rules.rows import ApiKey

# R-SALE-1, R-SALE-4, R-SALE-5, R-SALE-8


async def first_call_noted(till: Till, order: str) -> Any:
    """The clocks of the order, once the first call is among them."""
    async with asyncio.timeout(20):
        while True:
            [times] = [one for one in (await till.handovers()).purchases if one.purchase == order]
            if times.first_call_at is not None:
                return times
            await asyncio.sleep(0.02)


async def journey(store: Store, till: Till, organization: str) -> tuple[str, str, Any]:
    """A customer's whole way: the key, the page that showed it, and what the till measured."""
    offer = await till.packs(organization)
    assert any(pack.id == "gpt_4_professional" for pack in offer.packs)
    order = await till.buy(organization, "gpt_4_professional", offered_at=offer.shown_at)
    landing = await store.paid(order.url or "")
    assert (await till.purchase(organization, order.id)).state == "delivered"
    _, page = await store.page(landing, do="key")
    [key] = keys_in(page)
    endpoint = re.search(r"<dd><code>([^<]+)</code>", page)
    assert endpoint is not None
    async with openai.AsyncOpenAI(base_url=endpoint[1], api_key=key, max_retries=0) as client:
        answer = await client.chat.completions.create(
            model="echo", messages=[{"role": "user", "content": "Hello"}]
        )
    assert answer.choices[0].message.content
    return key, page, await first_call_noted(till, order.id)


@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
async def test_from_the_offer_to_the_first_call(
    engine: str, request: pytest.FixtureRequest, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    database = request.getfixturevalue("postgres_url") if engine == "postgres" else str(tmp_path / "till.db")
    caplog.set_level(logging.DEBUG)
    told: list[Any] = []
    structlog.configure(processors=[_teller(told)], cache_logger_on_first_use=False)
    try:
        async with running_store(tmp_path, database) as store:
            _, operator = await create_operator_key(store.ledger, store.fit._clock, store.fit._ids, "host")
            async with Till.connect(store.url, operator, spool=tmp_path / "client") as till:
                key, page, times = await journey(store, till, "acme")
                for clock, target in TARGETS.items():
                    took = getattr(times, f"{clock}_ms")
                    assert took is not None
                    assert 0 <= took < target, clock
                measured = {one.clock: one for one in (await till.handovers()).clocks}
                assert [(one.count, one.within) for one in measured.values()] == [(1, 1)] * 3
                metrics = (await store.page("/metrics"))[1]
                read = keys.read(key)
                assert read is not None
                [stored] = await store.ledger.rows.find(ApiKey, {"organization": "acme"})
                assert stored.digest == digest(read.secret)
                assert stored.used_at is not None
                entries = repr(await till.journal("acme", limit=100))
            assert key in page
            for place in (caplog.text, repr(told), metrics, entries):
                assert read.secret not in place
        assert read.secret.encode() not in kept_in(tmp_path)
    finally:
        structlog.reset_defaults()


async def test_thirty_who_buy_at_once_have_their_keys_in_time(tmp_path: Path) -> None:
    names = [f"customer_{at}" for at in range(30)]
    async with running_store(tmp_path, str(tmp_path / "till.db")) as store:
        await store.open(*names)
        _, operator = await create_operator_key(store.ledger, store.fit._clock, store.fit._ids, "host")
        async with Till.connect(store.url, operator, spool=tmp_path / "client") as till:
            found = await asyncio.gather(*(journey(store, till, name) for name in names))
            assert len({key for key, _, _ in found}) == len(names)
            for one in (await till.handovers(limit=100)).clocks:
                assert (one.count, one.within) == (len(names), len(names)), one


async def test_a_program_buys_what_a_refusal_offers(tmp_path: Path) -> None:
    # R-PLAN-7: the offer says what to order and what it will cost; then the same call runs with the same key.
    async with running_store(tmp_path, str(tmp_path / "till.db")) as store:
        made = await store.fit.keys.issue("acme", "server")
        assert isinstance(made, Issued)
        async with openai.AsyncOpenAI(base_url=f"{store.url}/v1", api_key=made.text) as client:
            with pytest.raises(openai.APIStatusError) as refused:
                await client.chat.completions.create(
                    model="echo", messages=[{"role": "user", "content": "x"}]
                )
        assert (refused.value.status_code, refused.value.code) == (402, "insufficient_quota")
        assert isinstance(refused.value.body, dict)
        offer, *others = [one for one in refused.value.body["tokentill"]["offers"] if one["kind"] == "pack"]
        assert all(offer["price"] < one["price"] for one in others)
        _, operator = await create_operator_key(store.ledger, store.fit._clock, store.fit._ids, "host")
        async with Till.connect(store.url, operator, spool=tmp_path / "client") as till:
            order = await till.buy("acme", offer["id"])
        assert (order.amount, order.currency, order.tokens) == (
            offer["price"], offer["currency"], offer["tokens"],
        )  # fmt: skip
        await store.paid(order.url or "")
        assert await store.call(made.text) == 200


def kept_in(folder: Path) -> bytes:
    """Everything in the files of a folder."""
    return b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())


def _teller(told: list[Any]) -> Any:
    def tell(_logger: Any, _method: str, event: Any) -> Any:
        told.append(dict(event))
        raise structlog.DropEvent

    return tell
