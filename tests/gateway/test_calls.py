"""Calls of models from the key to the charge, whole and streamed, in both APIs."""

import asyncio
import re
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import pytest

from tests.support.gateways import CATALOG, Gateway, running_gateway
from tests.support.plain_asgi import WithoutExchange
from tokentill.web.app import Application
from tokentill.web.serving import serving

# R-SALE-5, R-LED-3, R-ABU-4


async def test_a_chat_is_charged_by_what_the_upstream_reports(gateway: Gateway) -> None:
    reply = await gateway.chat("answer=7 one two")
    assert (reply.status, reply.text) == (200, "w0 w1 w2 w3 w4 w5 w6 ")
    assert reply.receipt["charged"] == 3 + 7
    assert reply.receipt["balance"] == 100_000 - 10
    assert (reply.receipt["held"], reply.receipt["usage"]) == (0, "reported")
    assert await gateway.spent(100_000) == 10
    [asked] = gateway.lab.asked
    assert (asked["model"], asked["max_tokens"]) == ("big-there", 200)
    assert gateway.lab.headers[0]["authorization"].startswith("Bearer sk-lab")


async def test_a_stream_is_charged_before_its_last_chunk(gateway: Gateway) -> None:
    reply = await gateway.chat("answer=7 one two", stream=True)
    assert (reply.status, reply.text) == (200, "w0 w1 w2 w3 w4 w5 w6 ")
    assert reply.events[-1] == "[DONE]"
    assert reply.events[-2]["choices"][0]["finish_reason"] == "stop"
    assert reply.events[-2]["tokentill"]["charged"] == 10
    assert not any(one.get("usage") for one in reply.events[:-1])
    assert await gateway.spent(100_000) == 10


@pytest.mark.parametrize("version", ["1.1", "1.0"])
async def test_a_stream_leaves_alike_on_our_server_and_on_any(gateway: Gateway, version: str) -> None:
    body = b'{"model":"big","messages":[{"role":"user","content":"answer=7 pace=0.002"}],"stream":true}'
    head = f"POST /v1/chat/completions HTTP/{version}\r\nhost: x\r\nauthorization: Bearer {gateway.key}\r\n"
    last = "GET /the/end HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    answers = []
    async with serving(cast("Application", WithoutExchange(gateway.app))) as other:
        for url in (gateway.url, other):
            at = urlsplit(url)
            reader, writer = await asyncio.open_connection(at.hostname, at.port)
            writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
            answer = await reader.readuntil(b"[DONE]\n\n")
            if version == "1.1":
                answer += await reader.readuntil(b"0\r\n\r\n")
                writer.write(last.encode())
            answer += await reader.read()
            writer.close()
            answer = re.sub(
                rb'(date|operation|balance): .*|chatcmpl-\d+|"(operation|balance|entry)":[^,}]*', b"", answer
            )
            answers.append(sorted(re.sub(rb"(?m)^[0-9a-f]+\r$", b"", answer).splitlines()))
    assert answers[0] == answers[1]
    assert b"".join(answers[0]).count(b'"content":"w') == 7


async def test_whoever_asks_for_the_usage_gets_it(gateway: Gateway) -> None:
    reply = await gateway.chat("answer=7 one two", stream=True, stream_options={"include_usage": True})
    assert reply.events[-2]["usage"]["completion_tokens"] == 7
    assert reply.events[-2]["tokentill"]["charged"] == 10


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/completions", {"prompt": "answer=4 one"}),
        ("/v1/responses", {"input": "answer=4 one"}),
        ("/v1/messages", {"messages": [{"role": "user", "content": "answer=4 one"}], "max_tokens": 50}),
    ],
)
async def test_every_kind_of_call(gateway: Gateway, path: str, body: dict[str, object], stream: bool) -> None:
    reply = await gateway.ask(path, {"model": "big", **body, "stream": stream})
    assert reply.status == 200, reply.raw
    assert reply.receipt["charged"] == 2 + 4
    assert await gateway.spent(100_000) == 6


async def test_embeddings_are_charged_by_what_is_read(gateway: Gateway) -> None:
    reply = await gateway.ask("/v1/embeddings", {"model": "big", "input": ["one two", "three"]})
    assert reply.status == 200
    assert reply.receipt["charged"] == 3


async def test_a_fixed_price_is_for_each_answer(gateway: Gateway) -> None:
    assert (await gateway.chat("answer=50", model="fixed")).receipt["charged"] == 10
    assert (await gateway.chat("answer=50", model="fixed", n=3)).receipt["charged"] == 30


async def test_the_echo_answers_without_a_network(gateway: Gateway) -> None:
    reply = await gateway.chat("hello there", model="echo")
    assert reply.text == "Echo (no AI): hello there"
    assert reply.receipt["charged"] == 2 + 5
    reply = await gateway.chat("hello there", model="echo", stream=True, max_tokens=4)
    assert reply.text == "Echo (no AI): hello "
    assert reply.receipt["charged"] == 2 + 4
    assert gateway.lab.calls == 0


async def test_the_models_and_the_balance(gateway: Gateway) -> None:
    listed = (await gateway.ask("/v1/models", None, method="GET")).json
    assert [one["id"] for one in listed["data"]] == ["big", "fixed", "spare", "lost", "echo"]
    balance = (await gateway.ask("/v1/balance", None, method="GET")).json
    assert (balance["remaining"], balance["held"]) == (100_000, 0)


async def test_what_is_asked_for_is_lowered_to_what_may_be_written(gateway: Gateway) -> None:
    for asked, answers, sent in ((50, 1, 50), (1_000, 1, 200), (1_000, 4, 50), (None, 1, 200)):
        body: dict[str, Any] = {} if asked is None else {"max_tokens": asked}
        assert (await gateway.chat("answer=2", n=answers, **body)).status == 200
        assert gateway.lab.asked[-1]["max_tokens"] == sent


async def test_what_is_asked_for_is_lowered_to_what_is_affordable(gateway: Gateway) -> None:
    key = await gateway.open(80, "poor")
    reply = await gateway.chat("answer=100", key=key)
    assert reply.status == 200, reply.raw
    sent = gateway.lab.asked[-1]["max_tokens"]
    assert 16 <= sent < 80
    assert reply.receipt["charged"] == 1 + sent
    assert (await gateway.quiet("poor")).free == 80 - 1 - sent


async def test_the_account_is_asked_for_its_plan_only_where_that_makes_a_difference(tmp_path: Path) -> None:
    sizes = (
        "[plans.pro]\ntitle = 'Pro'\nprice = '1.00'\ntokens = 1_000\nfeatures = 'all'\n"
        "abuse = { tokens_per_request_max = 1_000 }\n[no_plan]\nabuse = { tokens_per_request_max = 300 }\n"
    )
    async with running_gateway(tmp_path, catalog=CATALOG.replace("[no_plan]\n", sizes)) as gateway:
        asked: list[str] = []
        ask = gateway.line._ledger.account

        async def account(organization: str) -> Any:
            asked.append(organization)
            return await ask(organization)

        gateway.line.account = account  # type: ignore[attr-defined]  # it stands before the ledger's own
        assert (await gateway.chat("answer=2")).status == 200
        assert (gateway.lab.asked[-1]["max_tokens"], asked) == (200, [])
        # Here 200 tokens of output do not fit any more under the 300 of an organization without a plan.
        assert (await gateway.chat("answer=2 " + "word " * 100)).status == 200
        assert gateway.lab.asked[-1]["max_tokens"] < 150
        assert asked == ["acme"]
