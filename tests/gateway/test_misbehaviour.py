"""Every way in which an upstream can misbehave, and what is charged for it (R-LED-3, R-SALE-5, R-ABU-4)."""

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.gateways import CATALOG, Gateway, running_gateway
from tests.support.upstream_bytes import OK, abort, close, says, serving
from tokentill.rules.calls import counted
from tokentill.rules.commands import Extend
from tokentill.rules.entries import Alerted

TOKENS = 100_000
KINDS = ["chat/completions", "completions", "responses", "messages"]


async def test_an_upstream_that_hangs_costs_nothing(brisk: Gateway) -> None:
    for stream in (False, True):
        reply = await brisk.chat("do=hang", stream=stream)
        assert (reply.status, reply.json["error"]["code"]) == (504, "upstream_slow")
        assert reply.headers["x-tokentill-charged"] == "0"
    assert await brisk.spent(TOKENS) == 0
    assert brisk.lab.cancelled == 2


async def test_a_drip_that_outlasts_what_a_call_may_take_costs_nothing(brisk: Gateway) -> None:
    whole = await brisk.chat("answer=60 do=drip pace=0.05")
    assert whole.status == 504
    reply = await brisk.chat("answer=60 pace=0.05", stream=True)
    assert reply.status == 200
    assert reply.events[-1]["error"]["code"] == "upstream_slow"
    assert await brisk.spent(TOKENS) == 0


async def test_a_slow_stream_outlives_its_first_hold_while_bytes_flow(brisk: Gateway) -> None:
    reply = await brisk.chat("answer=8 pace=0.1", stream=True)
    assert reply.text.split()[-1] == "w7"
    assert reply.receipt["charged"] == 2 + 8
    assert brisk.line.sent(Extend)
    assert await brisk.spent(TOKENS) == 10


async def test_a_stream_whose_hold_cannot_be_lengthened_ends_with_a_reason(brisk: Gateway) -> None:
    headers = {"authorization": f"Bearer {brisk.key}"}
    body = {**asked("chat/completions", "answer=12 pace=0.1"), "stream": True}
    async with brisk.client.post(f"{brisk.url}/v1/chat/completions", json=body, headers=headers) as answer:
        assert b"data: " in await answer.content.readuntil(b"\n\n")
        brisk.line.down = True
        rest = await answer.read()
    assert b'"code":"store_unavailable"' in rest.split(b"\n\n")[-2]
    brisk.line.down = False
    assert await brisk.spent(TOKENS) == 0


@pytest.mark.parametrize("left", [False, True])
async def test_pieces_of_any_kind_are_charged_where_nothing_is_said(tmp_path: Path, left: bool) -> None:
    async def calls(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
        for end in (b"null", b"null", b'"function_call"'):
            delta = b'{"function_call":{"arguments":"eight ch"}}'
            writer.write(b'data: {"choices":[{"delta":%b,"finish_reason":%b}]}\n\n' % (delta, end))
            await writer.drain()
            await asyncio.sleep(0.2 if left else 0)
        writer.write(b"data: [DONE]\n\n")
        writer.close()

    async with serving(calls) as (_, upstream):
        catalog = CATALOG.replace("http://127.0.0.1:9/v1", upstream.base_url)
        async with running_gateway(tmp_path, catalog=catalog) as gateway:
            body = {**asked("chat/completions", "hello"), "model": "lost", "stream": True}
            headers = {"authorization": f"Bearer {gateway.key}"}
            url = f"{gateway.url}/v1/chat/completions"
            async with gateway.client.post(url, json=body, headers=headers) as answer:
                if left:
                    await answer.content.readuntil(b"\n\n")
                    answer.close()
                else:
                    assert b'"usage":"estimated"' in await answer.read()
            assert await gateway.spent(TOKENS) == counted(body) + (2 if left else 6)


async def test_embeddings_that_hold_none_cost_nothing(tmp_path: Path) -> None:
    async with serving(says(OK + b"content-length: 2\r\n\r\n{}")) as (_, upstream):
        catalog = CATALOG.replace("http://127.0.0.1:9/v1", upstream.base_url)
        async with running_gateway(tmp_path, catalog=catalog) as gateway:
            reply = await gateway.ask("/v1/embeddings", {"model": "lost", "input": "hello you there"})
            assert (reply.status, await gateway.spent(TOKENS)) == (502, 0)


async def test_a_drip_of_single_bytes_is_an_answer(gateway: Gateway) -> None:
    reply = await gateway.chat("answer=4 do=drip", stream=True)
    assert (reply.text, reply.receipt["charged"]) == ("w0 w1 w2 w3 ", 2 + 4)


@pytest.mark.parametrize("path", KINDS)
@pytest.mark.parametrize("stream", [False, True])
async def test_an_upstream_that_cuts_costs_nothing(gateway: Gateway, path: str, stream: bool) -> None:
    body = {"prompt": "answer=9 do=cut"} if path == "completions" else {"input": "answer=9 do=cut"}
    if path in ("chat/completions", "messages"):
        body = {"messages": [{"role": "user", "content": "answer=9 do=cut"}]}  # type: ignore[dict-item]  # another kind of call
    reply = await gateway.ask(f"/v1/{path}", {"model": "big", **body, "stream": stream})
    if stream:
        assert reply.status == 200
        assert "upstream_failed" in reply.raw.decode()
        assert "[DONE]" not in reply.raw.decode()
    else:
        assert reply.status == 502
    assert await gateway.spent(TOKENS) == 0


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("do", ["garbage", "flood", "error:500", "error:503", "error:401", "error:403"])
async def test_what_is_no_answer_costs_nothing(gateway: Gateway, do: str, stream: bool) -> None:
    reply = await gateway.chat(f"do={do}", stream=stream)
    assert (reply.status, reply.json["error"]["code"]) == (502, "upstream_failed")
    assert "as told" not in reply.raw.decode()
    assert await gateway.spent(TOKENS) == 0


@pytest.mark.parametrize(("do", "stream"), [("flood", False), ("endless", True), ("endless", False)])
async def test_two_gigabytes_are_cut_and_cost_nothing(gateway: Gateway, do: str, stream: bool) -> None:
    reply = await gateway.chat(f"do={do}", stream=stream)
    assert b"upstream_failed" in reply.raw
    assert await gateway.spent(TOKENS) == 0
    await gateway.until("cancelled")
    assert gateway.lab.flooded < 64 * 1024 * 1024


async def test_what_the_upstream_refuses_as_it_is_is_passed_on(gateway: Gateway) -> None:
    reply = await gateway.chat("do=error:400")
    assert (reply.status, reply.json["error"]["message"]) == (400, "as told")
    busy = await gateway.chat("do=error:429")
    assert (busy.status, busy.json["error"]["code"]) == (503, "upstream_busy")
    assert busy.headers["retry-after"] == "1"
    assert await gateway.spent(TOKENS) == 0


def asked(path: str, text: str) -> dict[str, Any]:
    """A call of the kind that the path is for."""
    said: dict[str, Any] = {"messages": [{"role": "user", "content": text}]}
    if path == "completions":
        said = {"prompt": text}
    elif path == "responses":
        said = {"input": text}
    return {"model": "big", **said}


@pytest.mark.parametrize("path", KINDS)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("usage", ["none", "zero", "huge", "garbage"])
async def test_what_an_upstream_may_say_of_usage(
    gateway: Gateway, path: str, usage: str, stream: bool
) -> None:
    # Sixteen bytes are read and 15 written; what the call can cost at most is held.
    reply = await gateway.ask(f"/v1/{path}", {**asked(path, f"usage={usage}"), "stream": stream})
    assert reply.status == 200
    spent = await gateway.spent(TOKENS)
    assert reply.receipt["charged"] == spent
    match usage:
        case "zero":
            assert (spent, reply.receipt["usage"]) == (0, "reported")
        case "huge":
            assert 200 < spent < 260
        case _ if usage == "garbage" and stream:
            assert reply.receipt["usage"] == "reported"
        case _:
            assert reply.receipt["usage"] == "estimated"
            assert 5 < spent < 40


@pytest.mark.parametrize("path", KINDS)
async def test_an_answer_above_its_cap_is_cut_and_flagged(tmp_path: Path, path: str) -> None:
    async with running_gateway(tmp_path) as gateway:
        gateway.lab.obeys = False
        body: dict[str, Any] = {"model": "big", "stream": True}
        if path == "completions":
            body["prompt"] = "answer=5000"
        elif path == "responses":
            body["input"] = "answer=5000"
        else:
            body["messages"] = [{"role": "user", "content": "answer=5000"}]
        reply = await gateway.ask(f"/v1/{path}", body)
        text = reply.raw.decode()
        assert reply.receipt["usage"] == "cut"
        assert "w199 " in text
        assert "w300 " not in text
        spent = await gateway.spent(TOKENS)
        assert 200 <= spent <= 260
        body["stream"] = False
        whole = await gateway.ask(f"/v1/{path}", body)
        assert whole.receipt["usage"] == "cut"
        assert len(whole.raw) < 4_000
        entries = [row.entry for row in (await gateway.ledger.journal("acme")).rows]  # type: ignore[union-attr]  # acme is there
        flagged = [entry for entry in entries if isinstance(entry, Alerted) and entry.code == "output_cap"]
        assert len(flagged) == 2


async def test_an_upstream_that_answers_after_its_time_costs_nothing(brisk: Gateway) -> None:
    asking = asyncio.ensure_future(brisk.chat("do=late"))
    reply = await asking
    brisk.lab.late.set()
    assert reply.status == 504
    assert await brisk.spent(TOKENS) == 0


async def test_the_next_upstream_answers_where_the_first_does_not(gateway: Gateway) -> None:
    for stream in (False, True):
        reply = await gateway.chat("answer=3", model="spare", stream=stream)
        assert (reply.status, reply.text) == (200, "w0 w1 w2 ")
    lost = await gateway.chat("answer=3", model="lost")
    assert (lost.status, lost.json["error"]["code"]) == (502, "upstream_failed")
    assert await gateway.spent(TOKENS) == 2 * (1 + 3)


async def silent(_: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def test_whatever_goes_wrong_before_the_first_byte_the_next_upstream_answers(tmp_path: Path) -> None:
    empty = b"content-length: 0\r\n\r\n"
    troubles = [
        says(f"HTTP/1.1 {status} X\r\n".encode() + empty) for status in (500, 529, 429, 408, 401, 307)
    ]
    troubles += [
        says(OK + empty),
        says(OK + b"content-length: 9\r\n\r\n", then=close),
        says(then=abort),
        silent,
    ]
    async with serving(says()) as (first, upstream):
        catalog = CATALOG.replace("http://127.0.0.1:9/v1", upstream.base_url)
        catalog = catalog.replace("[models.spare]", "[models.spare]\nfirst_byte_ms = 800")
        async with running_gateway(tmp_path, catalog=catalog) as gateway:
            for number, first.answer in enumerate(troubles, 1):
                reply = await gateway.chat("answer=3", model="spare", stream=number % 2 == 0)
                assert (reply.status, reply.text) == (200, "w0 w1 w2 "), number
                assert len(first.heads) == gateway.lab.calls == number
            assert await gateway.spent(TOKENS) == len(troubles) * (1 + 3)


@pytest.mark.parametrize("path", KINDS)
async def test_a_client_that_vanishes_at_any_chunk_pays_what_was_delivered(
    gateway: Gateway, path: str
) -> None:
    """Whoever leaves after the n-th event, for every n there is, pays what was read and the words that had come."""
    body = {**asked(path, "answer=6 pace=0.03"), "stream": True}
    whole = await gateway.ask(f"/v1/{path}", body)
    events = whole.raw.count(b"\n\n")
    full = await gateway.spent(TOKENS)
    assert full == whole.receipt["charged"] == 2 + 6
    # Anthropic's API tells at the beginning what was read; for the others it is counted.
    read = 2 if path == "messages" else counted(body)
    headers = {"authorization": f"Bearer {gateway.key}"}
    before = TOKENS - full
    for left_after in range(events):
        got = b""
        cancelled = gateway.lab.cancelled
        async with gateway.client.post(f"{gateway.url}/v1/{path}", json=body, headers=headers) as answer:
            for _ in range(left_after):
                got += await answer.content.readuntil(b"\n\n")
            answer.close()
        free = (await gateway.quiet()).free
        spent, before = before - free, free
        words = len(set(re.findall(rb"w\d ", got)))
        delivered = spent - read
        assert spent == full or words <= delivered <= 6 or (spent == 0 and not words)
        if words <= 2:
            await gateway.until("cancelled", cancelled + 1)
    async with gateway.client.post(f"{gateway.url}/v1/{path}", json=body, headers=headers) as answer:
        assert (await answer.read()).count(b"\n\n") == events
    assert before - (await gateway.quiet()).free == full


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_vanishes_before_the_first_byte_pays_nothing(
    gateway: Gateway, stream: bool
) -> None:
    asking = asyncio.ensure_future(gateway.chat("do=hang", stream=stream))
    await gateway.until("calls")
    assert (await gateway.account()).state.holds
    asking.cancel()
    assert await gateway.spent(TOKENS) == 0
    await gateway.until("cancelled")
