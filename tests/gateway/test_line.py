"""The one timer of a call: a silent upstream is cut, a client that takes nothing is as good as gone (R-LED-3)."""

import asyncio
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.gateways import Gateway
from tokentill.flows.charge import Charge
from tokentill.flows.gateway.line import HOLD_TIMES, Line
from tokentill.flows.gateway.stream import Pump
from tokentill.ports.gateway import UpstreamDown
from tokentill.rules.calls import ModelCall
from tokentill.rules.calls import read as read_call
from tokentill.rules.catalog import Catalog
from tokentill.rules.models import Model, Target
from tokentill.rules.usage import Usage
from tokentill.web.asgi import override

# R-SALE-5


TARGETS = (Target("lab", "x"),)


class Scripted:
    """An upstream whose answer comes when the test says so."""

    status = 200
    headers: Mapping[str, str] = {"content-type": "text/event-stream"}

    def __init__(self) -> None:
        self.queue: asyncio.Queue[bytes | None] = asyncio.Queue()

    async def open(self, *_: Any) -> "Scripted":
        return self

    async def read(self) -> bytes:
        chunk = await self.queue.get()
        if chunk is None:
            raise UpstreamDown("cut", "closed")
        return chunk

    async def close(self) -> None:
        self.queue.put_nowait(None)


def line(
    upstream: Scripted, gateway: Gateway, stalled: list[int], total_ms: int = 60_000
) -> tuple[Any, Catalog]:
    model = Model("big", "Big", "tokens", TARGETS, first_byte_ms=200, total_ms=total_ms)
    hold: Any = SimpleNamespace(ends_at=asyncio.get_running_loop().time() + HOLD_TIMES * 0.2 + 60)
    charging: Any = None
    made = Line(upstream, charging, hold, model, lambda: stalled.append(1))
    return made, gateway.ledger.catalog


def call() -> ModelCall:
    found = read_call("chat", b'{"model": "big", "stream": true}')
    assert isinstance(found, ModelCall)
    return found


async def test_an_upstream_that_falls_silent_is_cut(gateway: Gateway) -> None:
    upstream, stalled = Scripted(), list[int]()
    upstream.queue.put_nowait(b"one")
    made, catalog = line(upstream, gateway, stalled)
    assert await made.open(catalog, TARGETS, call(), 10, {}) is None
    assert await made.next() == b"one"
    for _ in range(3):
        asyncio.get_running_loop().call_later(0.12, upstream.queue.put_nowait, b"more")
        assert await made.next() == b"more"
    with pytest.raises(UpstreamDown) as down:
        await made.next()
    assert down.value.why == "too_slow"
    assert stalled == []
    await made.close()


async def test_a_call_that_takes_too_long_in_all_is_cut_though_bytes_flow(gateway: Gateway) -> None:
    upstream = Scripted()
    upstream.queue.put_nowait(b"one")
    made, catalog = line(upstream, gateway, [], total_ms=300)
    assert await made.open(catalog, TARGETS, call(), 10, {}) is None
    began = asyncio.get_running_loop().time()

    async def drip() -> None:
        while True:
            asyncio.get_running_loop().call_later(0.05, upstream.queue.put_nowait, b"more")
            await made.next()

    with pytest.raises(UpstreamDown) as down:
        await drip()
    assert down.value.why == "too_slow"
    assert asyncio.get_running_loop().time() - began < 1
    await made.close()


async def test_a_client_that_takes_nothing_is_as_good_as_gone(gateway: Gateway) -> None:
    upstream, stalled = Scripted(), list[int]()
    upstream.queue.put_nowait(b"one")
    made, catalog = line(upstream, gateway, stalled)
    assert await made.open(catalog, TARGETS, call(), 10, {}) is None
    await made.next()
    await asyncio.sleep(0.35)
    assert stalled == [1]
    await made.close()


class Bill:
    """Remembers how the stream ended."""

    def __init__(self) -> None:
        self.ended: list[str] = []

    async def charge(self, usage: Usage, counted: str) -> Charge:
        self.ended.append(f"charged {counted}")
        return Charge("settled", usage.written)

    async def drop(self, outcome: str, usage: Usage | None = None) -> None:
        assert usage is not None
        self.ended.append(f"{outcome}, {usage.written} came")

    def reads(self) -> int:
        return 1


async def test_a_fault_in_the_middle_of_a_stream_leaves_nothing_held(gateway: Gateway) -> None:
    """What came until then is free: the till is to blame."""

    class Faulty(Scripted):
        @override
        async def read(self) -> bytes:
            if self.queue.empty():
                raise ZeroDivisionError
            return await super().read()

    upstream, bill = Faulty(), Bill()
    event = b'data: {"object": "x", "choices": [{"delta": {"content": "a"}}]}\n\n'
    upstream.queue.put_nowait(event)
    made, catalog = line(upstream, gateway, [])
    assert await made.open(catalog, TARGETS, call(), 10, {}) is None
    hold: Any = None
    pump = Pump(call(), hold, 10, made, bill, lambda: False, asyncio.ensure_future, None)
    chunks = pump.chunks()
    assert await anext(chunks) == event
    with pytest.raises(ZeroDivisionError):
        await anext(chunks)
    assert bill.ended == ["failed, 1 came"]
