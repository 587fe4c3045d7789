"""Over HTTP: reserve and settle with an operator key and idempotency keys, against an empty route.

One server process with one worker, as `tokentill serve` runs it, on SQLite. The empty route answers 200 with
nothing in it before the application sees the request, so it costs what the socket, the HTTP parser and the
event loop cost. The client is a process of its own; both are driven over 64 connections, in turn.
"""

from __future__ import annotations

import asyncio
import cProfile
import multiprocessing
import os
import pstats
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from bench import world
from bench.http_client import Load, drive
from bench.report import Figure, at_least, at_most, known, median, ratios
from bench.world import Options, ordered_key
from tokentill import wiring
from tokentill.flows.keys import create_operator_key
from tokentill.settings import Settings
from tokentill.web.app import Application
from tokentill.web.asgi import Receive, Scope, Send
from tokentill.web.serving import new_event_loop, serve

TITLE = "reserve and settle over HTTP against an empty route"

CONNECTIONS = 64
ORGANIZATIONS = 100

_spawn = multiprocessing.get_context("spawn")


class WithEmptyRoute:
    """The application, and before it a route that does nothing."""

    def __init__(self, app: Application) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == "/empty":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})
            return
        await self.app(scope, receive, send)

    async def drain(self, seconds: float) -> bool:
        """As the application does."""
        return await self.app.drain(seconds)


def _names() -> list[str]:
    return [f"org-{number}" for number in range(ORGANIZATIONS)]


def _serve(path: str, pipe: Any, profile: str | None) -> None:
    """The server process: says where it is and with which key, and serves until it is told to end."""

    async def work() -> None:
        settings = Settings(database=path, catalog="bench")
        ledger = await wiring.make_ledger(settings)
        clock, ids = wiring.SystemClock(), wiring.SystemIds()
        await world.open_organizations(ledger, _names())
        _, key = await create_operator_key(ledger, clock, ids, "bench")
        app = WithEmptyRoute(wiring.build(settings, ledger))
        await serve(cast("Application", app), "127.0.0.1", 0, ready=lambda url: pipe.send((url, key)))
        await ledger.close()

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        if profile is None:
            runner.run(work())
        else:
            profiler = cProfile.Profile(time.thread_time)  # not the time it waits
            profiler.runcall(runner.run, work())
            profiler.dump_stats(profile)


class Serving:
    """A server process while it runs."""

    def __init__(self, path: Path, profile: str | None = None) -> None:
        ours, theirs = _spawn.Pipe()
        self._process = _spawn.Process(target=_serve, args=(str(path), theirs, profile))
        self._process.start()
        url, self.key = ours.recv()
        self.port = int(url.rpartition(":")[2])

    def stop(self) -> None:
        """Stop it as an operator would."""
        assert self._process.pid is not None
        os.kill(self._process.pid, signal.SIGTERM)
        self._process.join()
        if self._process.exitcode:
            raise RuntimeError("the server did not end well")

    def empty(self, seconds: float) -> Load:
        """Ask for nothing."""
        head = (
            b"GET /empty HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer %b\r\n\r\n" % self.key.encode()
        )
        return self._drive([_always(head) for _ in range(CONNECTIONS)], seconds)

    def charging(self, seconds: float) -> Load:
        """Reserve and settle."""
        names = _names()
        scripts = [pairs(self.key.encode(), names[at:] + names[:at]) for at in range(CONNECTIONS)]
        return self._drive(scripts, seconds)

    def _drive(self, scripts: list[Iterator[bytes]], seconds: float) -> Load:
        before = self._processor()
        load = world.run(drive("127.0.0.1", self.port, scripts, seconds))
        load.server = self._processor() - before
        if load.statuses:
            raise RuntimeError(f"the server answered {load.statuses}")
        return load

    def _processor(self) -> float:
        """Processor time of the server so far, in seconds."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _always(request: bytes) -> Iterator[bytes]:
    while True:
        yield request


def pairs(key: bytes, names: list[str]) -> Iterator[bytes]:
    """Reserve and settle, for one organization after the other."""
    reserve = b'{"feature":"op","user":"u1"}'
    settle = b"{}"
    common = b"host: localhost\r\nauthorization: Bearer " + key + b"\r\ncontent-type: application/json\r\n"
    while True:
        for name in names:
            hold = ordered_key().encode()
            path = b"/v1/organizations/" + name.encode() + b"/holds"
            yield b"POST %b HTTP/1.1\r\n%bidempotency-key: %b\r\ncontent-length: %d\r\n\r\n%b" % (
                path, common, hold, len(reserve), reserve,
            )  # fmt: skip
            yield b"POST %b/%b/settle HTTP/1.1\r\n%bcontent-length: %d\r\n\r\n%b" % (
                path, hold, common, len(settle), settle,
            )  # fmt: skip


def run(options: Options) -> list[Figure]:
    """Measure."""
    with world.folder() as folder:
        serving = Serving(folder / "till.db")
        try:
            serving.empty(0.3)
            serving.charging(0.3)
            empty: list[Load] = []
            charging: list[Load] = []
            for _ in range(options.rounds):
                empty.append(serving.empty(options.seconds))
                charging.append(serving.charging(options.seconds))
        finally:
            serving.stop()
        shares = _profile(folder, options)
    rates = [load.rate for load in empty], [load.rate for load in charging]
    busy = median(100 * load.processor / load.seconds for load in charging)
    return [
        at_least("requests of reserve + settle against the empty route", median(ratios(rates[1], rates[0])), 25),
        known("requests of reserve + settle", median(rates[1]), "/s", "each a durable command"),
        known("requests of the empty route", median(rates[0]), "/s"),
        known(
            "processor time of such a request",
            median(1e6 * load.server / load.requests for load in charging), "µs", "event loop and writer",
        ),
        known(
            "processor time of the empty route",
            median(1e6 * load.server / load.requests for load in empty), "µs",
        ),
        at_most("the client's share of a core", busy, 90, note="below 100 it is not the bottleneck"),
        *shares,
    ]  # fmt: skip


def _profile(folder: Path, options: Options) -> list[Figure]:
    """Where the event loop's time goes, from a server of its own under a profiler, which makes calls dearer."""
    path = folder / "profile"
    serving = Serving(folder / "profiled.db", str(path))
    serving.charging(options.seconds)
    serving.stop()
    areas = spent(pstats.Stats(str(path)))
    total = areas.total()
    return [
        known(f"profile: {area}", 100 * seconds / total, note="of the event loop's busy time")
        for area, seconds in areas.most_common()
        if seconds > 0.01 * total
    ]


def spent(stats: Any) -> Counter[str]:
    """Seconds by area. What a function of C costs is the area's that called it."""
    found: Counter[str] = Counter()
    for (file, _, _), (_, _, own, _, callers) in stats.stats.items():
        if file != "~":
            found[_area(file)] += own
        else:
            for (caller, _, _), (_, _, share, _) in callers.items():
                found[_area(caller)] += share
    return found


def _area(file: str) -> str:
    for room in ("web", "rules", "store", "flows"):
        if f"/tokentill/{room}/" in file:
            return f"tokentill.{room}"
    if "/uvicorn/" in file:
        return "uvicorn"
    return "the rest (event loop, sockets, profiler)"
