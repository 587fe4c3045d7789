"""A call under an idempotency key runs once, and is answered again as long as its answer is kept (R-LED-9)."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.support.gateways import Gateway, running_gateway
from tokentill.rules.commands import Settle
from tokentill.rules.rows import StoredAnswer

# R-SALE-5

TOKENS = 100_000
KEY: dict[str, Any] = {"headers": {"idempotency_key": "order-1"}}


async def stored(gateway: Gateway) -> StoredAnswer:
    [row] = await gateway.ledger.rows.find(StoredAnswer, {"organization": "acme"})
    return row


@pytest.mark.parametrize("stream", [False, True])
async def test_a_retry_gets_the_answer_of_the_first(gateway: Gateway, stream: bool) -> None:
    first = await gateway.chat("answer=4", stream=stream, **KEY)
    again = await gateway.chat("answer=4", stream=stream, **KEY)
    assert (first.status, again.status) == (200, 200)
    assert again.raw == first.raw
    assert again.receipt == first.receipt
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert gateway.lab.calls == 1
    assert await gateway.spent(TOKENS) == 1 + 4


async def test_another_body_under_the_key_is_refused(gateway: Gateway) -> None:
    assert (await gateway.chat("answer=4", **KEY)).status == 200
    for reply in (
        await gateway.chat("answer=5", **KEY),
        await gateway.ask(
            "/v1/completions", {"model": "big", "prompt": "answer=4"}, idempotency_key="order-1"
        ),
    ):
        assert (reply.status, reply.json["error"]["code"]) == (422, "key_reused")
    assert gateway.lab.calls == 1


async def test_the_same_key_of_another_organization_is_another(gateway: Gateway) -> None:
    other = await gateway.open(1_000, "other")
    for key in (None, other):
        reply = await gateway.chat("answer=4", key=key, **KEY)
        assert (reply.status, "idempotent-replayed" in reply.headers) == (200, False)


async def test_a_retry_while_it_runs_is_told_to_wait(gateway: Gateway) -> None:
    running = asyncio.ensure_future(gateway.chat("answer=4 delay=0.5", **KEY))
    await gateway.until("calls")
    reply = await gateway.chat("answer=4 delay=0.5", **KEY)
    assert (reply.status, reply.json["error"]["code"], reply.headers["retry-after"]) == (409, "running", "1")
    assert (await running).status == 200
    assert gateway.lab.calls == 1


async def test_an_answer_is_kept_encrypted_and_wiped_when_it_expires(gateway: Gateway) -> None:
    await gateway.chat("answer=4", **KEY)
    row = await stored(gateway)
    assert row.state == "done"
    assert "w0 w1" not in repr(row)
    assert row.expires_at == row.created_at + 24 * 3_600_000 == row.due_at
    once = gateway.app.endpoint.gateway.once  # type: ignore[union-attr]  # this till has one
    assert await once.sweep() == 0

    class Later:
        def now(self) -> int:
            return row.expires_at

    once._clock = Later()
    refused = await gateway.chat("answer=4", **KEY)
    assert (refused.status, refused.json["error"]["code"]) == (409, "answer_gone")
    assert refused.headers["x-should-retry"] == "false"
    assert await once.sweep() == 1
    row = await stored(gateway)
    assert (row.state, row.sealed, row.facts, row.due_at) == ("gone", "", (), None)
    refused = await gateway.chat("answer=4", **KEY)
    assert (refused.status, refused.json["error"]["code"]) == (409, "answer_gone")
    assert gateway.lab.calls == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_a_call_that_failed_and_cost_nothing_may_run_again(gateway: Gateway, stream: bool) -> None:
    for _ in range(2):
        assert (await gateway.chat("do=error:500", stream=stream, **KEY)).status == 502
    assert gateway.lab.calls == 2
    assert (await stored(gateway)).state == "free"
    key = await gateway.open(0, "poor")
    assert (await gateway.chat("answer=4", key=key, **KEY)).status == 402
    gateway.key = await gateway.open(1_000, "poor")
    assert await gateway.spent(TOKENS) == 0


async def test_a_call_whose_client_left_with_a_part_never_runs_again(gateway: Gateway) -> None:
    body = {"model": "big", "messages": [{"role": "user", "content": "answer=40 pace=0.03"}], "stream": True}
    headers = {"authorization": f"Bearer {gateway.key}", "idempotency-key": "order-1"}
    async with gateway.client.post(
        f"{gateway.url}/v1/chat/completions", json=body, headers=headers
    ) as answer:
        for _ in range(5):
            await answer.content.readuntil(b"\n\n")
        answer.close()
    assert await gateway.spent(TOKENS) > 0
    for _ in range(100):
        if (await stored(gateway)).state != "running":
            break
        await asyncio.sleep(0.01)
    reply = await gateway.ask("/v1/chat/completions", body, idempotency_key="order-1")
    assert (reply.status, reply.json["error"]["code"]) == (409, "answer_gone")


class Crash(BaseException):
    """The process dies here."""


@pytest.mark.parametrize(("charged", "status", "calls"), [(True, 409, 1), (False, 200, 2)])
async def test_what_a_dead_process_left_is_told_by_the_account(
    gateway: Gateway, charged: bool, status: int, calls: int
) -> None:
    """The process dies before it can say how the call ended: it is charged or given back, its row says nothing."""
    gateway.line.lose(StoredAnswer, "before")
    await gateway.chat("answer=4 do=" if charged else "answer=4 do=error:500", **KEY)
    assert not gateway.line.faults
    assert (await stored(gateway)).state == "running"
    text = "answer=4 do=" if charged else "answer=4 do=error:500"
    reply = await gateway.chat(text, **KEY)
    assert reply.status == (status if charged else 502)
    assert gateway.lab.calls == calls
    assert await gateway.spent(TOKENS) == (2 + 4 if charged else 0)


async def test_a_charge_that_cannot_be_stored_is_stored_later_once(gateway: Gateway) -> None:
    # R-LED-4
    gateway.line.lose(Settle, "before", times=2)
    reply = await gateway.chat("answer=4")
    assert (reply.status, reply.receipt["charged"], reply.receipt["pending"]) == (200, 1 + 4, "true")
    assert await gateway.spent(TOKENS) == 1 + 4


async def test_a_settle_whose_answer_is_lost_is_charged_once(gateway: Gateway) -> None:
    gateway.line.lose(Settle, "after")
    for stream in (False, True):
        reply = await gateway.chat("answer=4", stream=stream)
        assert reply.receipt["charged"] == 1 + 4
    assert await gateway.spent(TOKENS) == 2 * 5


async def test_without_a_database_nothing_is_called(gateway: Gateway) -> None:
    gateway.line.down = True
    reply = await gateway.chat("answer=4")
    assert (reply.status, reply.json["error"]["code"]) == (503, "store_unavailable")
    assert gateway.lab.calls == 0


async def test_on_postgresql_too(tmp_path: Path, postgres_url: str) -> None:
    async with running_gateway(tmp_path, postgres_url) as gateway:
        first = await gateway.chat("answer=4", stream=True, **KEY)
        again = await gateway.chat("answer=4", stream=True, **KEY)
        assert (again.raw, again.headers["idempotent-replayed"]) == (first.raw, "true")
        assert (await gateway.chat("do=error:500", headers={"idempotency_key": "order-2"})).status == 502
        assert gateway.lab.calls == 2
        once: Any = gateway.app.endpoint.gateway.once  # type: ignore[union-attr]  # this till has one
        assert await once.sweep() == 0
        assert await gateway.spent(TOKENS) == 1 + 4
