"""A server that ends quietly and lets nobody hold a connection (R-PLAT-3)."""

import asyncio
import gc
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import aiohttp
import pytest
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from tests.support.plain_asgi import WithoutExchange
from tests.web.conftest import SECRET, TestClock, TestIds, Till, running_till
from tokentill.flows.keys import create_operator_key
from tokentill.ports import Ledger
from tokentill.settings import Settings
from tokentill.web.app import Application, build_app
from tokentill.web.protocol import HEAD_BYTES_MAX
from tokentill.web.serving import listen, new_event_loop, serving, url_of
from tokentill.wiring import open_ledger

ORG = "/v1/organizations/acme"


class Held:
    """A ledger that answers when it is told."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.asked = asyncio.Event()
        self.go = asyncio.Event()

    async def submit(self, envelope: Any) -> Any:
        self.asked.set()
        await self.go.wait()
        return await self._ledger.submit(envelope)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)


@pytest.fixture
async def opened() -> AsyncIterator[tuple[Application, Held, str]]:
    """An application that is not served yet, its ledger, and a key."""
    clock, ids = TestClock(), TestIds()
    settings = Settings(database=":memory:", catalog="goals", secret=SECRET.hex())
    async with open_ledger(settings, clock=clock, ids=ids) as ledger:
        _, key = await create_operator_key(ledger, clock, ids, "backend")
        held = Held(ledger)
        yield build_app(held, secret=SECRET, clock=clock, ids=ids), held, key


async def test_a_stop_finishes_what_was_begun_and_refuses_what_comes(
    opened: tuple[Application, Held, str],
) -> None:
    # R-PLAT-3
    app, held, key = opened
    sent = {"Authorization": f"Bearer {key}"}
    async with aiohttp.ClientSession(headers=sent) as client:
        serving_app = serving(app)
        url = await serving_app.__aenter__()
        begun = asyncio.ensure_future(
            client.post(f"{url}/v1/organizations", json={"id": "acme", "plan": "pro"})
        )
        await held.asked.wait()
        stopped = asyncio.ensure_future(serving_app.__aexit__(None, None, None))
        while not app.draining:  # noqa: ASYNC110 - what stops it has no event to wait for
            await asyncio.sleep(0)
        for path in ("/v1/catalog", "/v1/health", "/", "/nothing"):
            async with client.get(url + path) as late:
                problem = await late.json(content_type="application/problem+json")
                assert (late.status, problem["code"]) == (503, "shutting_down")
                assert late.headers["Retry-After"] == "1"
                assert late.headers["Connection"] == "close"
        assert not stopped.done()
        held.go.set()
        async with await begun as answer:
            assert answer.status == 201
        await stopped
        with pytest.raises(aiohttp.ClientConnectorError):
            await client.get(f"{url}/v1/health")


async def test_a_stop_does_not_wait_for_ever(opened: tuple[Application, Held, str]) -> None:
    # R-PLAT-3
    app, held, key = opened
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {key}"}) as client:
        async with serving(app, drain_seconds=0.01) as url:
            stuck = asyncio.ensure_future(client.post(f"{url}/v1/organizations", json={"id": "acme"}))
            await held.asked.wait()
        async with await stuck as answer:
            problem = await answer.json(content_type="application/problem+json")
            assert (answer.status, problem["code"]) == (503, "shutting_down")


async def test_a_client_that_leaves_does_not_undo_what_it_asked(
    opened: tuple[Application, Held, str],
) -> None:
    # R-LED-3
    app, held, key = opened
    async with serving(app) as url:
        body = b'{"id":"acme","plan":"pro"}'
        reader, writer = await connect(url)
        writer.write(head("POST", "/v1/organizations", key, len(body)) + body)
        await held.asked.wait()
        writer.close()
        held.go.set()
        del reader
        async with (
            aiohttp.ClientSession(headers={"Authorization": f"Bearer {key}"}) as client,
            client.get(f"{url}{ORG}/balance") as answer,
        ):
            assert (await answer.json())["remaining"] == 200


async def connect(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, port = url.removeprefix("http://").split(":")
    return await asyncio.open_connection(host, int(port))


def head(method: str, path: str, key: str, length: int) -> bytes:
    return (
        f"{method} {path} HTTP/1.1\r\nhost: till\r\nauthorization: Bearer {key}\r\n"
        f"content-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    ).encode()


async def problem_and_end(reader: asyncio.StreamReader) -> tuple[int, str]:
    """The one problem that is sent before the connection ends."""
    answer = await reader.read()
    top, _, body = answer.partition(b"\r\n\r\n")
    assert b"application/problem+json" in top
    problem = json.loads(body)
    assert int(top.split(b" ")[1]) == problem["status"]
    return problem["status"], problem["code"]


@pytest.mark.parametrize(
    "sent",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nhost: x\r\n\r\n",
        b"CONNECT till:80 HTTP/1.1\r\nhost: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\nbad header: 1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01",
    ],
    ids=lambda sent: ascii(sent)[:50],
)
async def test_what_is_not_http(till: Till, sent: bytes) -> None:
    reader, writer = await connect(till.url)
    writer.write(sent)
    assert await problem_and_end(reader) == (400, "malformed_http")
    writer.close()


@pytest.mark.parametrize(
    ("start", "more"), [(b"GET /", b"a" * 160), (b"GET / HTTP/1.1\r\nhost: x\r\n", b"x-a: b\r\n" * 20)]
)
async def test_a_head_without_end(till: Till, start: bytes, more: bytes) -> None:
    reader, writer = await connect(till.url)
    writer.write(start)
    ended = asyncio.ensure_future(reader.read())
    for _ in range(HEAD_BYTES_MAX // len(more) + 1):
        writer.write(more)
        await writer.drain()
    answer = await ended
    assert answer.startswith(b"HTTP/1.1 431 ")
    assert b'"code":"head_too_large"' in answer
    writer.close()


async def test_a_request_that_never_becomes_whole() -> None:
    async with running_till(":memory:", served={"request_seconds_max": 0.05}) as till:
        begun = head("POST", f"{ORG}/grants", till.key, 12)
        for sent in (b"", b"POST /v1/organi", begun, begun + b'{"tok'):
            reader, writer = await connect(till.url)
            writer.write(sent)
            assert await problem_and_end(reader) == (408, "request_too_slow")
            writer.close()
        assert (await till.done("GET", f"{ORG}/balance"))["additional"] == 0


async def test_a_whole_request_is_not_hurried(opened: tuple[Application, Held, str]) -> None:
    app, held, key = opened
    async with (
        serving(app) as url,
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {key}"}) as client,
    ):
        begun = asyncio.ensure_future(client.post(f"{url}/v1/organizations", json={"id": "acme"}))
        await held.asked.wait()
        held.go.set()
        async with await begun as answer:
            assert answer.status == 201


async def test_requests_in_one_stream_are_answered_in_order(till: Till) -> None:
    reader, writer = await connect(till.url)
    bodies = [b'{"tokens":%d}' % n for n in range(1, 6)]
    writer.write(b"".join(head("POST", f"{ORG}/grants", till.key, len(body)) + body for body in bodies))
    found = []
    for _ in bodies:
        top = await reader.readuntil(b"\r\n\r\n")
        length = int(top.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        found.append(json.loads(await reader.readexactly(length))["tokens"])
    assert found == [1, 2, 3, 4, 5]
    writer.close()


async def test_a_connection_stays_after_a_problem(till: Till) -> None:
    reader, writer = await connect(till.url)
    for body, status in ((b"{", 400), (b" " * 70_000, 413), (b'{"tokens":0}', 422), (b'{"tokens":1}', 201)):
        writer.write(head("POST", f"{ORG}/grants", till.key, len(body)) + body)
        top = await reader.readuntil(b"\r\n\r\n")
        assert int(top.split(b" ")[1]) == status
        await reader.readexactly(int(top.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
    writer.close()


async def test_the_server_does_not_say_what_it_is(till: Till) -> None:
    reply = await till.ask("GET", "/v1/catalog")
    assert "Server" not in reply.headers
    assert reply.headers["Cache-Control"] == "no-store"


async def test_a_port_that_is_taken_is_an_error_and_not_an_exit(till: Till) -> None:
    port = int(till.url.rsplit(":", 1)[1])
    with pytest.raises(OSError, match="in use"):
        listen("127.0.0.1", port)


def test_an_address_of_version_six_is_written_in_brackets() -> None:
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    with listen("::1", 0) as listening:
        assert url_of(listening).startswith("http://[::1]:")


PROGRAM = """
import asyncio, sys
from tokentill.settings import Settings
from tokentill.web.app import build_app
from tokentill.web.serving import new_event_loop, serve
from tokentill.wiring import SystemClock, SystemIds, open_ledger

async def main():
    settings = Settings(database=sys.argv[1], secret=bytes(range(32)).hex())
    async with open_ledger(settings) as ledger:
        app = build_app(ledger, secret=bytes(range(32)), clock=SystemClock(), ids=SystemIds())
        await serve(app, "127.0.0.1", 0, ready=lambda url: print(url, flush=True))
    print("closed", flush=True)

with asyncio.Runner(loop_factory=new_event_loop) as runner:
    runner.run(main())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals as Unix has them")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_the_process_in_order(tmp_path: Path, number: signal.Signals) -> None:
    # R-PLAT-3
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        PROGRAM,
        str(tmp_path / "till.db"),
        stdout=asyncio.subprocess.PIPE,
        env=dict(os.environ),
    )
    assert process.stdout is not None
    url = (await process.stdout.readline()).decode().strip()
    async with aiohttp.ClientSession() as client:
        async with client.get(f"{url}/v1/health") as answer:
            assert answer.status == 200
        process.send_signal(number)
        assert await process.stdout.readline() == b"closed\n"
    assert await process.wait() == 0


def test_the_loop_to_serve_under_is_a_loop() -> None:
    loop = new_event_loop()
    assert loop.run_until_complete(asyncio.sleep(0, 7)) == 7
    loop.close()


PIECES = {
    "a read": ["GET {org}/balance HTTP/1.1\r\n{auth}\r\n"],
    "only its head": ["HEAD {org}/balance HTTP/1.1\r\n{auth}\r\n"],
    "the last": ["GET {org}/balance HTTP/1.1\r\nconnection: close\r\n{auth}\r\n"],
    "of old": ["GET {org}/balance HTTP/1.0\r\n{auth}\r\n"],
    "a problem": ["GET /v1/organizations/nobody/balance HTTP/1.1\r\n{auth}\r\n"],
    "no key": ["GET {org}/balance HTTP/1.1\r\nhost: x\r\n\r\n"],
    "a body": ["POST {org}/grants HTTP/1.1\r\n{auth}content-length: 8\r\n\r\n", '{{"c":12}}'],
    "a body in pieces": ["POST {org}/grants HTTP/1.1\r\n{auth}content-length: 8\r\n\r\n", '{{"c"', ":12}}"],
    "a body in chunks": [
        'POST {org}/grants HTTP/1.1\r\n{auth}transfer-encoding: chunked\r\n\r\n4\r\n{{"c"\r\n',
        "4\r\n:12}}\r\n0\r\n\r\n",
    ],
    "a body when asked": [
        "POST {org}/grants HTTP/1.1\r\n{auth}expect: 100-continue\r\ncontent-length: 2\r\n\r\n", "{{}}",
    ],
    "two at once": ["GET {org}/balance HTTP/1.1\r\n{auth}\r\n" * 2],
}  # fmt: skip
END = "GET /the/end HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"


@pytest.mark.parametrize("pieces", PIECES.values(), ids=PIECES)
async def test_the_short_way_answers_as_the_events_do(pieces: list[str], till: Till) -> None:
    auth = f"host: x\r\nauthorization: Bearer {till.key}\r\ncontent-type: application/json\r\n"
    answers = []
    # What comes when the server has closed resets the connection, and the answer with it: then all is sent at once.
    closes = "connection: close" in pieces[0] or "HTTP/1.0" in pieces[0]
    sent = ["".join([*pieces, END])] if closes else [*pieces, END]
    async with serving(cast("Application", WithoutExchange(till.app))) as other:
        for url in (till.url, other):
            reader, writer = await connect(url)
            for piece in sent:
                writer.write(piece.format(org=ORG, auth=auth).encode())
                await asyncio.sleep(0.02)
            answer = (await reader.read()).decode()
            writer.close()
            answers.append(sorted(line for line in answer.splitlines() if not line.startswith("date")))
    assert answers[0] == answers[1]
    assert len(answers[0]) > 5


async def test_what_a_request_leaves_behind_is_freed_at_once(till: Till) -> None:
    """Without the garbage collector, which rests while the till serves."""
    reader, writer = await connect(till.url)
    request = head("POST", f"{ORG}/grants", till.key, 2) + b"{}"

    async def ask() -> None:
        writer.write(request)
        top = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(top.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]))

    def cycles() -> int:
        return sum(isinstance(thing, RequestResponseCycle) for thing in gc.get_objects())

    await ask()
    gc.collect()
    gc.disable()
    try:
        before = cycles()
        for _ in range(10):
            await ask()
        assert cycles() <= before + 1
    finally:
        gc.enable()
        writer.close()
