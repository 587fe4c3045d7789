"""What the endpoint refuses, in OpenAI's and in Anthropic's shape, and that a refusal sells (R-PLAN-7, R-ABU-7)."""

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest

from tests.support.gateways import CATALOG, Gateway, running_gateway
from tokentill.flows.api_keys import Scope
from tokentill.rules import commands as c
from tokentill.rules.calls import PATHS
from tokentill.rules.rows import Switch
from tokentill.wiring import SystemIds

# R-SALE-5, R-SALE-8

CHAT = {"model": "big", "messages": [{"role": "user", "content": "answer=3"}]}


async def test_402_says_what_is_missing_and_what_can_be_bought(gateway: Gateway) -> None:
    key = await gateway.open(5, "poor")
    reply = await gateway.ask("/v1/chat/completions", CHAT, key=key)
    assert reply.status == 402
    error = reply.json["error"]
    assert (error["type"], error["code"]) == ("insufficient_quota", "insufficient_quota")
    more = error["tokentill"]
    assert (more["code"], more["layer"], more["balance"]) == ("exhausted", "balance", 5)
    assert more["needed"] > 5
    assert more["buy_link"] == "https://till.test/account/buy-credits"
    [offer] = more["offers"]
    assert (offer["kind"], offer["id"], offer["price"], offer["tokens"]) == ("pack", "small", 500, 100)
    assert offer["link"].startswith("https://till.test/")
    assert reply.receipt == {"charged": 0, "balance": 5, "held": 0}
    assert gateway.lab.calls == 0


async def test_402_offers_nothing_that_is_switched_off(gateway: Gateway) -> None:
    """The very next call after the switch does not, and the notice at the balance does not either (R-PACK-9)."""
    key = await gateway.open(5, "poor")
    rows = gateway.ledger.rows
    await rows.add(Switch(id="packs", on=False, reason="test", actor="test", at=1))
    more = (await gateway.ask("/v1/chat/completions", CHAT, key=key)).json["error"]["tokentill"]
    assert "offers" not in more
    assert more.get("buy_link") is None


async def test_402_in_anthropics_shape(gateway: Gateway) -> None:
    key = await gateway.open(0, "poor")
    body = {**CHAT, "max_tokens": 10}
    reply = await gateway.ask("/v1/messages", body, key="", x_api_key=key, authorization=f"Bearer {key}")
    assert reply.status == 402
    assert reply.json["type"] == "error"
    error = reply.json["error"]
    assert (error["type"], error["code"]) == ("billing_error", "insufficient_quota")
    assert error["tokentill"]["offers"]


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"authorization": ""}, "invalid_api_key"),
        ({"authorization": "Basic abc"}, "invalid_api_key"),
        ({"authorization": "Bearer tt_sk_wrong"}, "invalid_api_key"),
        ({"authorization": "Bearer tt_sk_" + "0" * 20 + "_" + "a" * 43 + "_00000000"}, "invalid_api_key"),
    ],
)
async def test_401(gateway: Gateway, headers: dict[str, Any], code: str) -> None:
    for path, kind in (("/v1/chat/completions", None), ("/v1/messages", "error")):
        reply = await gateway.ask(path, CHAT, **headers)
        assert (reply.status, reply.json["error"]["code"]) == (401, code)
        assert reply.json.get("type") == kind
        assert "Bearer" in reply.headers["www-authenticate"]
    assert gateway.lab.calls == 0


async def test_a_key_works_as_bearer_and_as_x_api_key(gateway: Gateway) -> None:
    async with gateway.client.post(
        f"{gateway.url}/v1/chat/completions", json=CHAT, headers={"x-api-key": gateway.key}
    ) as answer:
        assert answer.status == 200


async def test_a_revoked_key_is_refused_on_the_very_next_request(gateway: Gateway) -> None:
    assert (await gateway.ask("/v1/chat/completions", CHAT)).status == 200
    [key] = await gateway.fit.keys.list("acme") or ()
    await gateway.fit.keys.revoke("acme", key.id)
    reply = await gateway.ask("/v1/chat/completions", CHAT)
    assert (reply.status, "revoked" in reply.json["error"]["message"]) == (401, True)


@pytest.mark.parametrize(
    ("scope", "status"),
    [
        (Scope(models=("echo",)), 403),
        (Scope(features=("call",)), 403),
        (Scope(read_only=True), 403),
        (Scope(models=("big",), features=("tokens",)), 200),
    ],
)
async def test_what_a_key_is_not_for(gateway: Gateway, scope: Scope, status: int) -> None:
    key = await gateway.open(0, "acme", scope)
    reply = await gateway.ask("/v1/chat/completions", CHAT, key=key)
    assert reply.status == status
    if status == 403:
        assert reply.json["error"]["code"] == "key_scope"
    assert (await gateway.ask("/v1/balance", None, key=key, method="GET")).status == 200


async def test_404_is_for_models_that_are_not_sold(gateway: Gateway) -> None:
    reply = await gateway.chat("x", model="gpt-9")
    assert (reply.status, reply.json["error"]["code"]) == (404, "model_not_found")
    # There is no upstream of Anthropic's kind for this one.
    reply = await gateway.ask("/v1/messages", {**CHAT, "model": "spare"})
    assert (reply.status, reply.json["error"]["type"]) == (404, "not_found_error")


async def test_a_failed_payment_is_403_with_its_banner(gateway: Gateway) -> None:
    await gateway.ledger.submit(c.Envelope("acme", c.Freeze(), SystemIds().operation()))
    reply = await gateway.ask("/v1/chat/completions", CHAT)
    assert reply.status == 403
    assert reply.json["error"]["tokentill"]["layer"] == "licence"
    assert "Update payment to restore AI" in reply.raw.decode()


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", None),
        (b"[]", None),
        (b'{"messages": []}', "model"),
        (b'{"model": "big", "max_tokens": -1}', "max_tokens"),
        (b'{"model": "big", "stream": "yes"}', "stream"),
        (b'{"model": "big", "n": 0}', "n"),
    ],
)
async def test_400_names_the_field(gateway: Gateway, body: bytes, field: str | None) -> None:
    reply = await gateway.ask("/v1/chat/completions", None, raw=body)
    assert reply.status == 400
    assert reply.json["error"]["param"] == field


async def test_whatever_a_body_holds_the_till_does_not_fail_on_it(tmp_path: Path) -> None:
    chance = random.Random(7)
    fields = ["messages", "input", "prompt", "system", "tools", "n", "stream", "stream_options", "user", "type",
              "content", "text", "max_tokens", "max_output_tokens", "max_completion_tokens"]  # fmt: skip

    def anything(depth: int = 0) -> Any:
        match chance.randrange(6 if depth < 3 else 4):
            case 0 | 1:
                return chance.choice([None, True, False, 0, 1, -1, 7, 3.5, 10**20])
            case 2 | 3:
                return chance.choice(["", "user", "image", "tool_use", "é\u2028\x00", "x" * 600])
            case 4:
                return [anything(depth + 1) for _ in range(chance.randrange(4))]
            case _:
                pass
        return {chance.choice(fields): anything(depth + 1) for _ in range(chance.randrange(4))}

    catalog = CATALOG.replace("attempts_max = 5", 'attempts_max = "off"')
    async with running_gateway(tmp_path, catalog=catalog, tokens=10**9) as gateway:
        for _ in range(60):
            for path in PATHS.values():
                more = {chance.choice(fields): anything() for _ in range(chance.randrange(5))}
                reply = await gateway.ask(f"/v1{path}", {"model": "echo", **more})
                assert reply.status in (200, 400), (path, more, reply.raw)
        assert not (await gateway.quiet()).state.holds


async def test_invalid_calls_block_the_key_that_sends_them_and_no_other(gateway: Gateway) -> None:
    # R-ABU-6
    for _ in range(5):
        assert (await gateway.ask("/v1/chat/completions", None, raw=b"{")).status == 400
    reply = await gateway.ask("/v1/chat/completions", CHAT)
    assert (reply.status, reply.json["error"]["tokentill"]["layer"]) == (429, "abuse")
    assert int(reply.headers["retry-after"]) > 3_000
    other = await gateway.open(0)
    assert (await gateway.ask("/v1/chat/completions", CHAT, key=other)).status == 200


async def test_methods_sizes_and_headers(gateway: Gateway) -> None:
    reply = await gateway.ask("/v1/chat/completions", None, method="GET")
    assert (reply.status, reply.headers["allow"]) == (405, "POST")
    reply = await gateway.ask("/v1/chat/completions", None, raw=b"x" * (20 * 1024 * 1024 + 1))
    assert (reply.status, reply.json["error"]["type"]) == (413, "invalid_request_error")
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 3_000_000}}
    big = {**CHAT, "messages": [{"role": "user", "content": [image]}]}
    assert (await gateway.ask("/v1/chat/completions", big)).status == 200


async def test_tokens_that_others_hold_are_waited_for_and_never_a_402(gateway: Gateway) -> None:
    # Enough for one call at a time.
    key = await gateway.open(230, "tight")

    async def ask(pace: float, most: int = 200) -> Any:
        return await gateway.chat(f"answer=3 delay={pace}", key=key, max_tokens=most, model="fixed")

    await gateway.ledger.submit(
        c.Envelope("tight", c.Adjust(tokens=-220, reason="x", actor="y"), SystemIds().operation())
    )
    first, second = await asyncio.gather(ask(0.4), ask(0.4))
    assert sorted((first.status, second.status)) == [200, 402]


async def test_after_two_seconds_of_waiting_the_caller_is_told_to(gateway: Gateway) -> None:
    key = await gateway.open(10, "tight")
    holding = asyncio.ensure_future(gateway.chat("answer=3 delay=4", key=key, model="fixed"))
    await gateway.until("calls")
    reply = await gateway.chat("answer=3", key=key, model="fixed")
    assert (reply.status, reply.json["error"]["tokentill"]["code"]) == (429, "tokens_held")
    assert int(reply.headers["retry-after"]) >= 1
    assert (await holding).status == 200


async def test_wrong_keys_are_limited_by_address_and_right_ones_still_work(tmp_path: Any) -> None:
    # R-ABU-6
    async with running_gateway(
        tmp_path, limit={"wrong_keys_burst": 3, "wrong_key_interval_ms": 60_000}
    ) as gateway:
        assert (await gateway.ask("/v1/chat/completions", CHAT)).status == 200
        for _ in range(3):
            assert (await gateway.ask("/v1/chat/completions", CHAT, key="nonsense")).status == 401
        reply = await gateway.ask("/v1/chat/completions", CHAT, key="nonsense")
        assert (reply.status, reply.json["error"]["code"]) == (429, "too_many_wrong_keys")
        assert (await gateway.ask("/v1/chat/completions", CHAT)).status == 200
