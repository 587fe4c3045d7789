"""A key with a limit of its own, at the endpoint (R-SALE-8)."""

import asyncio
from collections import Counter

from tests.support.gateways import Gateway
from tokentill.flows.api_keys import Issued, Scope

# R-SALE-8


async def test_a_call_that_the_key_may_not_pay_for_is_refused(gateway: Gateway) -> None:
    text = await gateway.open(1_000, "limited", Scope(spend_max=25))
    first = await gateway.chat("answer=3", "fixed", text)  # a call of 10 tokens
    assert first.status == 200
    assert (await gateway.chat("answer=3", "fixed", text)).status == 200
    reply = await gateway.chat("answer=3", "fixed", text)
    assert reply.status == 402
    error = reply.json["error"]
    assert "Use another key, or make one with a higher limit." in error["message"]
    more = error["tokentill"]
    told = tuple(more[name] for name in ("code", "layer", "balance", "needed", "held"))
    assert told == ("key_limit", "key", 5, 10, 0)
    assert "offers" not in more
    assert gateway.lab.calls == 2


async def test_another_limit_holds_from_the_next_call_on_and_the_balance_says_what_is_left(
    gateway: Gateway,
) -> None:
    # R-SALE-8
    text = await gateway.open(1_000, "limited", Scope(spend_max=15))
    [key] = await gateway.fit.keys.list("limited") or ()

    async def own() -> tuple[int | None, int, int | None]:
        told = (await gateway.ask("/v1/balance", None, key=text, method="GET")).json
        assert told["key"]["id"] == key.id
        return told["key"]["spend_max"], told["key"]["spent"], told["key"]["left"]

    assert await own() == (15, 0, 15)
    assert (await gateway.chat("answer=3", "fixed", text)).status == 200
    assert await own() == (15, 10, 5)
    assert (await gateway.chat("answer=3", "fixed", text)).status == 402
    await gateway.fit.keys.limit("limited", key.id, 20)
    assert (await gateway.chat("answer=3", "fixed", text)).status == 200
    await gateway.fit.keys.limit("limited", key.id, 5)  # less than was spent
    assert await own() == (5, 20, 0)
    assert (await gateway.chat("answer=3", "fixed", text)).status == 402
    await gateway.fit.keys.limit("limited", key.id, None)
    assert (await gateway.chat("answer=3", "fixed", text)).status == 200
    assert (await own())[::2] == (None, None)


async def test_a_key_that_replaces_another_has_what_that_one_left(gateway: Gateway) -> None:
    text = await gateway.open(1_000, "limited", Scope(spend_max=25))
    assert (await gateway.chat("answer=3", "fixed", text)).status == 200
    [old] = await gateway.fit.keys.list("limited") or ()
    made = await gateway.fit.keys.rotate("limited", old.id, 60_000)
    assert isinstance(made, Issued)
    assert (await gateway.chat("answer=3", "fixed", made.text)).status == 200
    for key in (text, made.text):
        assert (await gateway.chat("answer=3", "fixed", key)).status == 402
    has = await gateway.fit.keys.spent(made.key)
    assert (has.spent, has.held, has.left(25)) == (20, 0, 5)


async def test_many_calls_at_once_make_no_more_of_it(gateway: Gateway) -> None:
    text = await gateway.open(1_000, "limited", Scope(spend_max=30))
    replies = await asyncio.gather(*(gateway.chat("answer=3", "fixed", text) for _ in range(12)))
    assert Counter(reply.status for reply in replies) == {200: 3, 402: 9}
    assert await gateway.spent(1_000, "limited") == 30


async def test_an_answer_is_cut_to_what_the_key_has_left(gateway: Gateway) -> None:
    text = await gateway.open(1_000, "limited", Scope(spend_max=40))
    reply = await gateway.chat("answer=100", "big", text)
    assert reply.status == 200
    assert await gateway.spent(1_000, "limited") <= 40
    assert (await gateway.chat("answer=100", "big", text)).status == 402
