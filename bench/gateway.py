"""Model calls through the endpoint, against a bare proxy of the same libraries before the same upstream.

The upstream gives a prepared answer. The bare proxy reads the request, sends it on, reads the answer and sends that
back; it knows no key and keeps no account. It runs on uvicorn with httptools and uvloop, as the till does, and calls the
upstream with aiohttp as its documentation shows, by a session; the till has its connections and parser alone. The
endpoint does all that and checks the key, reserves, settles and keeps the journal, on
SQLite with full synchronization. Calls are answered whole; those that stream are measured too, and named so. Each is a
process of one worker; each comparison runs its sides in turn. Processor time is that of the whole process: unlike the
rates it hardly depends on what else the machine does, and it is what bounds a worker that has a core to itself.
"""

from __future__ import annotations

import asyncio
import cProfile
import multiprocessing
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import apsw
import uvicorn

from bench import world
from bench.http_client import Load, drive
from bench.report import Figure, at_least, at_most, known, median, ratios
from bench.world import Options
from tokentill import wiring
from tokentill.catalogs import preset_text
from tokentill.flows.api_keys import Issued
from tokentill.settings import Settings
from tokentill.web.asgi import Receive, Scope, Send
from tokentill.web.serving import listen, new_event_loop, serve, url_of

TITLE = "model calls through the endpoint against a bare proxy"

CONNECTIONS = 64
CROWD = 256
"""Callers at once, as many as there are streams at once."""
ORGANIZATIONS = 20
STREAMS = 256
CHUNKS = 40
PACE = 0.02
LONG = 64
"""Chunks of the streams whose rate is measured: an answer of some fifty words."""
LONG_PACE = 0.001

BODY = (
    b'{"model":"lab","messages":[{"role":"user","content":"Say something nice about tills, briefly."}],'
    b'"max_tokens":64}'
)
STREAMED = BODY[:-1] + b',"stream":true}'
STREAMED_LONG = BODY[:-1] + b',"stream":true,"seed":%d}' % LONG
"""The upstream takes the seed for a wish: so many chunks, at their own pace."""
ANSWER = (
    b'{"id":"chatcmpl-1","object":"chat.completion","created":1770000000,"model":"lab","choices":[{"index":0,'
    b'"message":{"role":"assistant","content":"A till that adds up is a joy for ever."},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":16,"completion_tokens":10,"total_tokens":26}}'
)
HEAD = b'{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1770000000,"model":"lab","choices":'

_spawn = multiprocessing.get_context("spawn")


async def _upstream(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer at once; a stream has its chunks at a steady pace, each with the moment it was sent."""
    if scope["type"] != "http":
        return
    body = (await receive()).get("body", b"")
    if b'"stream":true' not in body:
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(ANSWER))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": ANSWER})
        return
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]}
    )
    chunks, pace = (LONG, LONG_PACE) if b'"seed"' in body else (CHUNKS, PACE)
    for _ in range(chunks):
        said = b'[{"index":0,"delta":{"content":"%.6f "},"finish_reason":null}]}' % time.monotonic()
        await send(
            {"type": "http.response.body", "body": b"data: " + HEAD + said + b"\n\n", "more_body": True}
        )
        await asyncio.sleep(pace)
    end = HEAD + b'[{"index":0,"delta":{},"finish_reason":"stop"}]}'
    usage = HEAD + b'[],"usage":{"prompt_tokens":16,"completion_tokens":%d,"total_tokens":0}}' % chunks
    tail = b"data: " + end + b"\n\ndata: " + usage + b"\n\ndata: [DONE]\n\n"
    await send({"type": "http.response.body", "body": tail})


async def _whole(receive: Receive) -> bytes:
    return (await receive()).get("body", b"")  # type: ignore[no-any-return]  # a message is a plain mapping


async def _passed_back(send: Send, status: int, kind: bytes, chunks: AsyncIterator[bytes]) -> None:
    """Send an answer as it comes where it streams, else whole."""
    headers = [(b"content-type", kind)]
    if b"event-stream" not in kind:
        whole = b"".join([chunk async for chunk in chunks])
        headers.append((b"content-length", b"%d" % len(whole)))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": whole})
        return
    await send({"type": "http.response.start", "status": status, "headers": headers})
    async for chunk in chunks:
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


class Bare:
    """A proxy that does nothing but pass on, with aiohttp."""

    def __init__(self, base: str) -> None:
        self._base = base
        self._session: aiohttp.ClientSession | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on, and its answer back."""
        if scope["type"] != "http":
            return
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=1_000), auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(), timeout=aiohttp.ClientTimeout(total=None),
            )  # fmt: skip
        await self._pass_on(await _whole(receive), send)

    async def _pass_on(self, body: bytes, send: Send) -> None:
        assert self._session is not None
        headers = {"content-type": "application/json", "accept-encoding": "identity"}
        url = f"{self._base}/chat/completions"
        async with self._session.post(url, data=body, headers=headers, allow_redirects=False) as answer:
            kind = answer.headers["content-type"].encode()
            await _passed_back(send, answer.status, kind, answer.content.iter_any())


async def _serve_plain(app: Any, pipe: Any) -> None:
    listening = listen("127.0.0.1", 0)
    config = uvicorn.Config(
        app, http="httptools", loop="none", lifespan="off", log_config=None, access_log=False
    )
    pipe.send(f"{url_of(listening)}/v1")
    await uvicorn.Server(config).serve(sockets=[listening])


def serve_plain(base: str | None, pipe: Any) -> None:
    """The upstream, or the bare proxy before it."""
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(_serve_plain(_upstream if base is None else Bare(base), pipe))


def serve_till(folder: str, base: str, pipe: Any) -> None:
    """The till, with organizations and a key of each."""

    async def work() -> None:
        catalog = Path(folder) / "bench.toml"
        catalog.write_text(preset_text("bench").replace("http://127.0.0.1:8421/v1", base))
        settings = Settings(database=f"{folder}/till.db", catalog=str(catalog))
        ledger = await wiring.make_ledger(settings)
        fit = wiring.make_gatefit(settings, ledger)
        names = [f"org-{number}" for number in range(ORGANIZATIONS)]
        await world.open_organizations(ledger, names)
        keys = []
        for name in names:
            made = await fit.keys.issue(name, "bench")
            assert isinstance(made, Issued)
            keys.append(made.text)
        app = wiring.build(settings, ledger, fit=fit)
        await serve(app, "127.0.0.1", 0, ready=lambda url: pipe.send((f"{url}/v1", keys)))
        await fit.close()
        await ledger.close()

    profile = os.environ.get("BENCH_PROFILE")
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        if profile is None:
            runner.run(work())
        else:
            profiler = cProfile.Profile(time.thread_time)
            profiler.runcall(runner.run, work())
            profiler.dump_stats(profile)


class Side:
    """A server process while it runs."""

    def __init__(self, target: Any, *args: Any) -> None:
        ours, theirs = _spawn.Pipe()
        self.process = _spawn.Process(target=target, args=(*args, theirs))
        self.process.start()
        found = ours.recv()
        self.base, self.keys = found if isinstance(found, tuple) else (found, ["none"])
        self.port = int(self.base.rpartition(":")[2].partition("/")[0])

    def stop(self) -> None:
        """Stop it as an operator would."""
        assert self.process.pid is not None
        os.kill(self.process.pid, signal.SIGTERM)
        self.process.join(20)

    @property
    def memory(self) -> float:
        """Resident memory in MB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024

    @property
    def processor(self) -> float:
        """Processor time it has taken so far, in seconds."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def load(self, connections: int, seconds: float, body: bytes = BODY) -> Load:
        """Calls, as fast as they are answered."""
        before = self.processor
        load = load_of(self.port, self.keys, connections, seconds, body)
        load.server = self.processor - before
        return load


def load_of(port: int, keys: list[str], connections: int, seconds: float, body: bytes = BODY) -> Load:
    """Calls to a server on this machine, as fast as they are answered."""
    scripts = [_requests(keys, at, body) for at in range(connections)]
    load = world.run(drive("127.0.0.1", port, scripts, seconds))
    if load.statuses:
        raise RuntimeError(f"the server answered {load.statuses}")
    return load


def _requests(keys: list[str], at: int, body: bytes) -> Iterator[bytes]:
    while True:
        key = keys[at % len(keys)].encode()
        at += 1
        yield (
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer %b\r\n"
            b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (key, len(body), body)
        )


async def _streams(side: Side, count: int) -> tuple[list[float], float]:
    """Seconds from a chunk's leaving the upstream to its coming here, of all streams; and the most memory meanwhile."""
    delays: list[float] = []
    peak = 0.0

    async def one(session: aiohttp.ClientSession, at: int) -> None:
        headers = {
            "authorization": f"Bearer {side.keys[at % len(side.keys)]}",
            "content-type": "application/json",
        }
        async with session.post(f"{side.base}/chat/completions", data=STREAMED, headers=headers) as answer:
            if answer.status != 200:
                raise RuntimeError(f"the server answered {answer.status}: {await answer.read()!r}")
            async for line in answer.content:
                now = time.monotonic()
                found = line.find(b'"content":"')
                if found > 0:
                    text = line[found + 11 : line.index(b" ", found)]
                    delays.append(now - float(text))

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        tasks = [asyncio.ensure_future(one(session, at)) for at in range(count)]
        while not all(task.done() for task in tasks):
            await asyncio.sleep(0.05)
            peak = max(peak, side.memory)
        for task in tasks:
            task.result()
    return delays, peak


def commits(path: Path, seconds: float) -> float:
    """Milliseconds of a bare durable commit of one row: of what a call needs two, one after the other."""
    connection = apsw.Connection(str(path))
    connection.execute(
        "pragma journal_mode = wal; pragma synchronous = full; create table t (body)"
    ).fetchall()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while (began := time.perf_counter()) < end:
        connection.execute("insert into t values (?)", (b"x" * 200,))
        times.append(1e3 * (time.perf_counter() - began))
    connection.close()
    return median(times)


def run(options: Options) -> list[Figure]:
    """Measure."""
    with world.folder() as folder:
        lab = Side(serve_plain, None)
        bare = Side(serve_plain, lab.base)
        till = Side(serve_till, str(folder), lab.base)
        sides = (bare, till)
        try:
            for side in sides:
                side.load(CONNECTIONS, 0.5)
            many: list[list[Load]] = [[], []]
            crowd: list[list[Load]] = [[], []]
            long: list[list[Load]] = [[], []]
            single: list[list[float]] = [[], []]
            durable: list[float] = []
            for turn in range(options.rounds):
                durable.append(2 * commits(folder / f"bare{turn}.db", options.seconds / 4))
                for number, side in enumerate(sides):
                    many[number].append(side.load(CONNECTIONS, options.seconds))
                    crowd[number].append(side.load(CROWD, options.seconds))
                    long[number].append(side.load(CONNECTIONS, options.seconds, STREAMED_LONG))
                    single[number].append(1e3 * median(side.load(1, options.seconds / 2).latencies))
            streams = 16 if options.quick else STREAMS
            few = [1e3 * median(world.run(_streams(side, 4))[0]) for side in sides]
            _, memory = world.run(_streams(till, streams))
        finally:
            for side in (*reversed(sides), lab):
                side.stop()
    rates, crowded, flowing = (
        [[load.rate for load in loads] for loads in both] for both in (many, crowd, long)
    )
    costs, streamed = (
        [[1e6 * load.server / load.requests for load in loads] for loads in both] for both in (many, long)
    )
    added = [theirs - ours for ours, theirs in zip(*single, strict=True)]
    return [
        at_least(
            "calls of the endpoint against the bare proxy", median(ratios(rates[1], rates[0])), 70,
            note=f"{CONNECTIONS} callers at once",
        ),
        at_least(f"the same with {CROWD} callers at once", median(ratios(crowded[1], crowded[0])), 70),
        at_least(
            f"streams of {LONG} chunks against the bare proxy", median(ratios(flowing[1], flowing[0])), 70,
            note="their pace, the upstream's, bounds the bare proxy too",
        ),
        at_least(
            "processor time of the bare proxy against the endpoint's", median(ratios(costs[0], costs[1])), 70,
            note="stricter: that of the thread which waits for the disk is in it",
        ),
        at_least("the same for streams", median(ratios(streamed[0], streamed[1])), 70, note="stricter"),
        at_least("calls", median(rates[1]), 1_000, "/s", note="one worker, key, reserve, settle, journal"),
        known("calls of the bare proxy", median(rates[0]), "/s"),
        known("processor time of a call", median(costs[1]), "µs", note="all threads of the process"),
        known("processor time of a call of the bare proxy", median(costs[0]), "µs"),
        known(f"processor time of a stream of {LONG} chunks", median(streamed[1]), "µs"),
        known("processor time of such a stream of the bare proxy", median(streamed[0]), "µs"),
        at_most("added to a call at concurrency 1", median(added), 1.0, "ms", note="difference of medians"),
        known("two bare durable commits, which are a part of it", median(durable), "ms"),
        at_most("added to a chunk of a stream", few[1] - few[0], 1.0, "ms", note="median of 4 streams"),
        at_most(f"resident memory under {streams} streams", memory, 120, "MB"),
    ]  # fmt: skip
