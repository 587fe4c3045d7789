"""Connections to upstreams that are used again: no byte of one customer's answer reaches another (R-SALE-5)."""

import asyncio
import contextlib
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.upstream_bytes import KEY, OK, WHOLE, ask, client, says, serving
from tokentill.ports.gateway import UpstreamDown
from tokentill.rules.models import Upstream
from tokentill.vendors.upstream import HttpUpstreams, Wire

OTHER = OK + b"content-length: 5\r\n\r\nother"


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 101 X\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\ncontent-length: 63\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\ncontent-length: 63\r\n\r\n",
    ],
    ids=["101", "101 and upgrade", "204", "304"],
)
async def test_an_answer_without_a_body_leaves_no_connection_to_the_next(head: bytes) -> None:
    """Its body, or the real answer, may still come."""
    answers = 0

    async def answer(writer: asyncio.StreamWriter) -> None:
        nonlocal answers
        answers += 1
        if answers > 1:
            writer.write(WHOLE)
            return
        writer.write(head)
        asyncio.get_running_loop().call_later(0.01, writer.write, OTHER)

    async with serving(answer) as (server, upstream), client() as upstreams:
        with contextlib.suppress(UpstreamDown):
            await ask(upstreams, upstream)
        assert (await ask(upstreams, upstream))[2] == b"hello"
        assert server.connections == 2


@pytest.mark.parametrize("surplus", [OTHER, None], ids=["an answer", "the end"])
async def test_what_came_and_was_not_read_yet_is_nobodys_answer(surplus: bytes | None) -> None:
    """The loop may be busy while it comes."""
    writers: list[asyncio.StreamWriter] = []

    async def answer(writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        writer.write(WHOLE)

    async with serving(answer) as (server, upstream), client() as upstreams:
        assert (await ask(upstreams, upstream))[2] == b"hello"
        if surplus is None:
            writers[0].write_eof()
        else:
            writers[0].write(surplus)  # it is sent at once, and the next call begins before anybody reads it
        assert (await ask(upstreams, upstream))[2] == b"hello"
        assert server.connections == 2


async def test_a_connection_rests_for_its_time_though_nobody_calls() -> None:
    async with serving(says(WHOLE)) as (server, upstream):
        upstreams = HttpUpstreams({"KEY": KEY}, kept_s=0.02)
        for _ in range(2):
            await ask(upstreams, upstream)
        assert server.connections == 1
        async with asyncio.timeout(5):
            await server.closed.wait()
        await ask(upstreams, upstream)
        assert server.connections == 2
        await upstreams.close()


@pytest.mark.parametrize("size", [2, 30_000_000])
async def test_a_call_ends_though_the_till_lets_connections_go_meanwhile(size: int) -> None:
    """Also one whose request the upstream does not take."""
    hang = asyncio.Event()

    async def deaf(_: asyncio.StreamWriter) -> None:
        await hang.wait()

    async with serving(deaf, hasty=True) as (server, upstream), asyncio.timeout(10):
        upstreams = HttpUpstreams({"KEY": KEY})
        calling = asyncio.ensure_future(ask(upstreams, upstream, b"x" * size))
        while not server.heads:  # noqa: ASYNC110 it tells nobody
            await asyncio.sleep(0.001)
        await upstreams.close()
        with pytest.raises(UpstreamDown):
            await calling
        hang.set()


async def test_a_head_that_comes_as_the_time_ends_comes_too_late() -> None:
    """The timer and the bytes may be there in the same turn of a busy loop."""
    loop = asyncio.get_running_loop()

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(OK + b"content-length: 5\r\n\r\n")
        while loop.time() < begun + 0.1:
            pass  # the bytes lie there, and the call's 50 ms are over, before the loop goes on

    async with serving(answer) as (_, upstream), client() as upstreams:
        await ask_ready(upstreams, upstream)
        for _ in range(3):
            begun = loop.time()
            with pytest.raises(UpstreamDown) as down:
                await ask(upstreams, upstream, first_byte_ms=50)
            assert down.value.why == "too_slow"


async def ask_ready(upstreams: HttpUpstreams, upstream: Upstream) -> None:
    """Begin a call and leave it, so that what is made once is made."""
    calling = asyncio.ensure_future(ask(upstreams, upstream))
    await asyncio.sleep(0)
    calling.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await calling


@pytest.mark.parametrize("unsent", [0, 1])
def test_a_connection_with_unsent_bytes_of_a_call_is_not_kept(unsent: int) -> None:
    """The next request would stand behind them."""
    transport: Any = SimpleNamespace(
        get_extra_info=lambda _: SimpleNamespace(fileno=lambda: 0), get_write_buffer_size=lambda: unsent
    )
    protocol: Any = SimpleNamespace(closed=None, should_close=False, is_connected=lambda: True)
    connection: Any = None
    assert Wire(connection, protocol, transport).is_quiet is (unsent == 0)


@pytest.mark.parametrize("value", ["two\r\nlines", "a\x00b", "é", "\ud800"])
async def test_a_header_that_is_no_plain_line_is_not_sent(value: str) -> None:
    async with serving(says(WHOLE)) as (server, upstream), client() as upstreams:
        with pytest.raises(ValueError, match="printable") as wrong:
            await upstreams.open(upstream, "/x", b"{}", {"openai-beta": value}, 5_000)
        assert KEY not in repr(wrong.value)
        assert not server.heads


async def test_a_call_cannot_give_its_own_key_to_the_upstream() -> None:
    async with serving(says(WHOLE)) as (server, upstream), client() as upstreams:
        theirs = {
            "authorization": "Bearer theirs",
            "accept-encoding": "gzip",
            "anthropic-version": "2030-01-01",
        }
        for kind in ("openai", "anthropic"):
            there = Upstream("lab", kind, upstream.base_url, "KEY")
            reply = await upstreams.open(there, "/x", b"{}", theirs, 5_000)
            await reply.close()
        first, second = (head.lower().splitlines() for head in server.heads)
        assert f"authorization: bearer {KEY}" in first
        assert "accept-encoding: identity" in first
        assert f"x-api-key: {KEY}" in second
        assert [line for line in second if line.startswith("anthropic-version")] == [
            "anthropic-version: 2030-01-01"
        ]
