"""The client of upstreams against servers that answer byte by byte as they are told (R-SALE-5)."""

import asyncio
import contextlib
import socket
import traceback
from pathlib import Path

import pytest

from tests.support.upstream_bytes import (
    KEY,
    OK,
    WHOLE,
    Answer,
    abort,
    ask,
    certified,
    client,
    close,
    says,
    serving,
)  # fmt: skip
from tokentill.ports.gateway import UpstreamDown
from tokentill.rules.models import Upstream
from tokentill.vendors.upstream import BODY_BYTES_MAX


@pytest.mark.parametrize(
    "answer",
    [
        says(WHOLE),
        says(*(WHOLE[at : at + 1] for at in range(len(WHOLE)))),
        says(OK + b"transfer-encoding: chunked\r\n\r\n", b"2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\n"),
        says(
            OK + b"Transfer-Encoding: chunked\r\n\r\n",
            b"5\r",
            b"\nhel",
            b"lo\r\n0\r\n",
            b"trailer: x\r\n\r\n",
        ),
        says(b"HTTP/1.1 100 Continue\r\n\r\n", WHOLE),
        says(OK + b"\r\nhello", then=close),
        says(b"HTTP/1.0 200 OK\r\ncontent-type: application/json\r\n\r\nhello", then=close),
    ],
    ids=["whole", "bytes", "chunked", "chunked in pieces", "continue", "until closed", "1.0"],
)
async def test_an_answer_however_it_comes(answer: Answer) -> None:
    async with serving(answer) as (_, upstream), client() as upstreams:
        for _ in range(2):
            assert await ask(upstreams, upstream) == (200, {"content-type": "application/json"}, b"hello")


async def test_what_is_sent_is_the_body_and_few_headers() -> None:
    async with serving(says(WHOLE)) as (server, upstream), client() as upstreams:
        for body in (b'{"a": "\xc3\xa4"}', b"x" * 3_000_000):
            await ask(upstreams, upstream, body)
            assert server.bodies[-1] == body
            first, *lines = server.heads[-1].strip().splitlines()
            assert first == "POST /v1/chat/completions HTTP/1.1"
            sent = {line.partition(": ")[0].lower(): line.partition(": ")[2] for line in lines}
            assert sent["authorization"] == f"Bearer {KEY}"
            assert sent["host"] == f"127.0.0.1:{server.port}"
            assert sent["accept-encoding"] == "identity"
            assert sent["openai-beta"] == "x"
            assert sent.keys() <= {
                "authorization", "host", "accept-encoding", "openai-beta", "content-type", "content-length",
            }  # fmt: skip
        assert server.connections == 1


async def test_an_answer_before_the_request_was_read_is_taken_and_the_connection_is_not() -> None:
    refusal = b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno"
    async with serving(says(refusal), hasty=True) as (server, upstream), client() as upstreams:
        for _ in range(2):
            status, _, body = await ask(upstreams, upstream, b"x" * 30_000_000)
            assert (status, body) == (413, b"no")
        assert server.connections == 2


async def test_an_address_is_written_as_it_must_be() -> None:
    async with serving(says(WHOLE)) as (server, upstream), client() as upstreams:
        odd = Upstream("lab", "openai", f"{upstream.base_url}/ü%20x", "KEY")
        await ask(upstreams, odd)
        assert server.heads[-1].startswith("POST /v1/%C3%BC%20x/chat/completions HTTP/1.1\r\n")
    for wrong in ("http://127.0.0.1:99999/v1", "http://127.0.0.1:8x/v1"):
        async with client() as upstreams:
            with pytest.raises(UpstreamDown) as down:
                await ask(upstreams, Upstream("lab", "openai", wrong, "KEY"))
            assert down.value.why == "unreachable"


async def test_only_headers_of_the_list_come_back_and_no_cookie_is_kept() -> None:
    head = (
        OK + b"Set-Cookie: a=b\r\nX-Request-Id: 7\r\nretry-after: 3\r\nrequest-id: \xe9\r\nserver: x\r\n"
        b"content-length: 0\r\n\r\n"
    )
    async with serving(says(head)) as (server, upstream), client() as upstreams:
        _, headers, _ = await ask(upstreams, upstream)
        assert headers == {
            "content-type": "application/json",
            "x-request-id": "7",
            "retry-after": "3",
            "request-id": "é",
        }
        await ask(upstreams, upstream)
        assert "cookie" not in server.heads[-1].lower()


async def test_no_redirect_is_followed() -> None:
    async with serving(says(WHOLE)) as (other, _), client() as upstreams:
        there = f"http://127.0.0.1:{other.port}/v1/chat/completions".encode()
        head = b"HTTP/1.1 307 Temporary Redirect\r\nlocation: " + there + b"\r\ncontent-length: 0\r\n\r\n"
        async with serving(says(head)) as (_, upstream):
            assert (await ask(upstreams, upstream))[0] == 307
        assert not other.heads


async def test_a_connection_is_used_again_unless_it_was_closed_or_not_read_to_its_end() -> None:
    async with serving(says(WHOLE)) as (server, upstream), client() as upstreams:
        for _ in range(3):
            await ask(upstreams, upstream)
        assert server.connections == 1
        await asyncio.gather(*(ask(upstreams, upstream) for _ in range(5)))
        assert server.connections == 5
        reply = await upstreams.open(upstream, "/x", b"{}", {}, 5_000)
        await reply.close()
    for farewell in (close, abort):
        async with serving(says(WHOLE, then=farewell)) as (server, upstream), client() as upstreams:
            for _ in range(3):
                await ask(upstreams, upstream)
                await server.closed.wait()
                server.closed.clear()
                await asyncio.sleep(0.01)
            assert server.connections == 3
    async with (
        serving(says(OK + b"connection: close\r\ncontent-length: 5\r\n\r\nhello")) as (
            server,
            upstream,
        ),
        client() as upstreams,
    ):
        for _ in range(2):
            await ask(upstreams, upstream)
        assert server.connections == 2


async def test_more_than_the_answer_is_not_taken_for_the_next() -> None:
    async with serving(says(WHOLE + WHOLE)) as (server, upstream), client() as upstreams:
        for _ in range(3):
            assert (await ask(upstreams, upstream))[2] == b"hello"
            await asyncio.sleep(0.01)
        assert server.connections == 3


async def test_what_comes_unasked_on_a_connection_that_rests_is_nobodys_answer() -> None:
    other = OK + b"content-length: 5\r\n\r\nother"

    def later(writer: asyncio.StreamWriter) -> None:
        asyncio.get_running_loop().call_later(0.005, writer.write, other)

    async with serving(says(WHOLE, then=later)) as (server, upstream), client() as upstreams:
        for _ in range(3):
            assert (await ask(upstreams, upstream))[2] == b"hello"
            await asyncio.sleep(0.02)
        assert server.connections == 3


async def test_noise_in_the_middle_of_an_answer_ends_it() -> None:
    begun = asyncio.Event()

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(OK + b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n")
        await begun.wait()
        writer.write(b"no length\r\n")

    async with serving(answer) as (_, upstream), client() as upstreams, asyncio.timeout(5):
        reply = await upstreams.open(upstream, "/x", b"{}", {}, 5_000)
        assert await reply.read() == b"hello"
        begun.set()
        with pytest.raises(UpstreamDown) as down:
            await reply.read()
        assert down.value.why == "cut"
        await reply.close()


async def test_an_upstream_that_does_not_read_keeps_no_connection() -> None:
    hang = asyncio.Event()

    async def deaf(_: asyncio.StreamWriter) -> None:
        await hang.wait()

    async with serving(deaf, hasty=True) as (_, upstream), client() as upstreams:
        with pytest.raises(UpstreamDown) as down:
            await ask(upstreams, upstream, b"x" * 30_000_000, first_byte_ms=1_000)
        assert down.value.why == "too_slow"
        async with asyncio.timeout(5):
            while _connections_to(upstream):  # noqa: ASYNC110 the kernel has no event
                await asyncio.sleep(0.01)
        hang.set()


def _connections_to(upstream: Upstream) -> int:
    """How many connections to a server on this machine stand, as the kernel counts them."""
    port = int(upstream.base_url.rpartition(":")[2].partition("/")[0])
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[2].endswith(f":{port:04X}") and row[3] == "01" for row in rows)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (says(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"), "unreachable"),
        (says(b"\x00\xff" * 100, then=close), "unreachable"),
        (says(then=close), "unreachable"),
        (says(then=abort), "unreachable"),
        (says(b"HTTP/1.1 200 OK\r\ncontent-le", then=close), "unreachable"),
        (says(b"HTTP/1.1 200 OK\r\n" + b"x-a: " + b"a" * 1_000_000, then=close), "unreachable"),
        (says(OK + b"content-length: 10\r\n\r\nhello", then=close), "cut"),
        (says(OK + b"content-length: 10\r\n\r\nhello", then=abort), "cut"),
        (says(OK + b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n", then=close), "cut"),
        (says(OK + b"transfer-encoding: chunked\r\n\r\nno length\r\n", then=close), "unreachable"),
        (says(OK + b"\r\nhello", then=abort), "cut"),
    ],
    ids=["other protocol", "noise", "nothing", "reset", "half a head", "endless head", "short", "short and reset",
         "chunks without an end", "chunks without a length", "until reset"],
)  # fmt: skip
async def test_what_is_no_answer(answer: Answer, why: str) -> None:
    async with serving(answer) as (_, upstream), client() as upstreams:
        with pytest.raises(UpstreamDown) as down:
            await ask(upstreams, upstream)
        assert down.value.why == why
        shown = "".join(traceback.format_exception(down.value)) + repr(down.value.__cause__)
        assert KEY not in shown


async def test_two_gigabytes_are_cut_where_no_answer_is_so_long() -> None:
    sent = 0

    async def flood(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(OK + b"content-length: 2147483648\r\n\r\n")
        while sent < 2 << 30:
            writer.write(b"x" * 65_536)
            await writer.drain()
            sent += 65_536

    async with serving(flood) as (server, upstream), client() as upstreams:
        with pytest.raises(UpstreamDown) as down:
            await ask(upstreams, upstream)
        assert down.value.why == "too_large"
        await server.closed.wait()
        assert sent < 3 * BODY_BYTES_MAX


async def test_an_upstream_that_is_read_slowly_is_slowed_down() -> None:
    sent = 0

    async def flood(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
        writer.write(OK + b"content-length: 16777216\r\n\r\n")
        while sent < 16 << 20:
            writer.write(b"x" * 65_536)
            await writer.drain()
            sent += 65_536

    async with serving(flood) as (_, upstream), client() as upstreams:
        reply = await upstreams.open(upstream, "/x", b"{}", {}, 5_000)
        assert await reply.read()
        for _ in range(100):
            await asyncio.sleep(0.005)
        assert sent < 12 << 20, "what nobody reads stays with the upstream"
        while await reply.read():
            pass
        assert sent == 16 << 20
        await reply.close()


async def test_a_client_that_has_enough_cuts_the_line() -> None:
    async with (
        serving(says(OK + b"content-length: 10\r\n\r\nhello")) as (server, upstream),
        client() as upstreams,
    ):
        reply = await upstreams.open(upstream, "/x", b"{}", {}, 5_000)
        assert await reply.read() == b"hello"
        waiting = asyncio.ensure_future(reply.read())
        await asyncio.sleep(0)
        await reply.close()
        await server.closed.wait()
        with contextlib.suppress(UpstreamDown):
            assert not await waiting


async def test_clocks_and_what_cannot_be_reached() -> None:
    hang = asyncio.Event()

    async def silent(_: asyncio.StreamWriter) -> None:
        await hang.wait()

    async with serving(silent) as (server, upstream), client() as upstreams:
        with pytest.raises(UpstreamDown) as down:
            await ask(upstreams, upstream, first_byte_ms=50)
        assert down.value.why == "too_slow"
        hang.set()
        await server.closed.wait()
    for away, why in (
        (Upstream("lab", "openai", "http://127.0.0.1:9/v1", "KEY"), "unreachable"),
        (Upstream("lab", "openai", "http://[::1]:9/v1", "KEY"), "unreachable"),
        (Upstream("lab", "openai", "http://127.0.0.1:9/v1", "OTHER"), "no_key"),
    ):
        async with client() as upstreams:
            with pytest.raises(UpstreamDown) as down:
                await ask(upstreams, away)
            assert down.value.why == why


async def test_a_certificate_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tls = certified(tmp_path)
    async with serving(says(WHOLE), tls) as (server, upstream):
        async with client() as upstreams:
            with pytest.raises(UpstreamDown) as down:
                await ask(upstreams, upstream)
            assert down.value.why == "unreachable"
        assert not server.heads
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
        async with client() as upstreams:
            for _ in range(2):
                assert (await ask(upstreams, upstream))[2] == b"hello"
