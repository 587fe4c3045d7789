"""Serving: the application behind a socket, by uvicorn, from the first connection to a quiet end.

A stop (SIGTERM, Ctrl+C, or the end of `serving`) goes in this order: the application answers 503 with
`Retry-After` to what still comes while it finishes what it has begun; then the socket closes and idle
connections with it; then the call returns, and the caller closes the ledger. A second Ctrl+C does not wait.

How long a request may take to arrive and how large its head may be is for `tokentill.web.protocol` to say.
Behind a proxy, name it in `trusted_proxies`: only then does its `X-Forwarded-For` decide what the client's
address is.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
from collections.abc import AsyncIterator, Callable, Generator, Sequence

import uvicorn

from tokentill.web.app import Application
from tokentill.web.asgi import override
from tokentill.web.protocol import REQUEST_SECONDS_MAX, protocol

KEEP_ALIVE_SECONDS = 75
CONNECTIONS_MAX = 10_000
BACKLOG = 2048
LINGER_SECONDS = 2
"""What is still running after the drain is given this long before it is cancelled."""


async def serve(
    app: Application,
    host: str,
    port: int,
    *,
    drain_seconds: float = 10.0,
    trusted_proxies: Sequence[str] = (),
    reuse_port: bool = False,
    ready: Callable[[str], None] | None = None,
) -> None:
    """Serve until SIGTERM or Ctrl+C, then drain and return.

    `port` 0 takes a free one; `ready` is called with the URL once requests are taken. `reuse_port`: several
    processes may listen on the same port (a server on PostgreSQL with one process for each core). Raises
    `OSError` where it cannot listen. Run it under `new_event_loop`, which is twice as fast.
    """
    listening = listen(host, port, reuse_port=reuse_port)
    _rest_the_collector()
    server = _Server(_config(app, trusted_proxies), app, drain_seconds, signals=True)
    server.on_ready = lambda: ready(url_of(listening)) if ready is not None else None
    await server.serve(sockets=[listening])


@contextlib.asynccontextmanager
async def serving(
    app: Application,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    drain_seconds: float = 10.0,
    trusted_proxies: Sequence[str] = (),
    request_seconds_max: float = REQUEST_SECONDS_MAX,
) -> AsyncIterator[str]:
    """Serve while the block runs, without touching signals; gives the URL."""
    listening = listen(host, port)
    url = url_of(listening)
    server = _Server(_config(app, trusted_proxies, request_seconds_max), app, drain_seconds, signals=False)
    ready = asyncio.Event()
    server.on_ready = ready.set
    running = asyncio.ensure_future(server.serve(sockets=[listening]))
    waiting = asyncio.ensure_future(ready.wait())
    try:
        await asyncio.wait([running, waiting], return_when=asyncio.FIRST_COMPLETED)
        yield url
    finally:
        waiting.cancel()
        server.should_exit = True
        await running


def listen(host: str, port: int, *, reuse_port: bool = False) -> socket.socket:
    """A listening socket; raises `OSError`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.create_server((host, port), family=family, backlog=BACKLOG, reuse_port=reuse_port)
    # Accepted sockets inherit it. asyncio sets it only on sockets that name their protocol; without it an
    # answer in two writes waits 40 ms for the client's acknowledgement of the first.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listening.setblocking(False)
    return listening


def url_of(listening: socket.socket) -> str:
    """The address of a listening socket as a client writes it."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def new_event_loop() -> asyncio.AbstractEventLoop:
    """The loop to serve under: uvloop where there is one. For `asyncio.Runner(loop_factory=…)`."""
    try:
        import uvloop  # noqa: PLC0415 - there is none on Windows
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def _rest_the_collector() -> None:
    """Collect garbage less often: what serving makes is freed by counting, and accounts live long.

    Measured over HTTP, in eight runs in turn on a busy machine: a request of reserve and settle took 92 instead
    of 98 µs of the server's processor time (medians).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)


def _config(
    app: Application, trusted_proxies: Sequence[str], request_seconds_max: float = REQUEST_SECONDS_MAX
) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=protocol(request_seconds_max),
        ws="none",
        loop="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(trusted_proxies),
        forwarded_allow_ips=list(trusted_proxies),
        limit_concurrency=CONNECTIONS_MAX,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=LINGER_SECONDS,
    )


class _Server(uvicorn.Server):
    """uvicorn, which first lets the application drain."""

    def __init__(
        self, config: uvicorn.Config, app: Application, drain_seconds: float, *, signals: bool
    ) -> None:
        super().__init__(config)
        self._app = app
        self._drain_seconds = drain_seconds
        self._signals = signals
        self.on_ready: Callable[[], object] = lambda: None

    @override
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.on_ready()

    @override
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        draining = asyncio.ensure_future(self._app.drain(self._drain_seconds))
        while not draining.done() and not self.force_exit:
            await asyncio.wait([draining], timeout=0.1)
        draining.cancel()
        await super().shutdown(sockets)

    @override
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        if not self._signals:
            yield
            return
        with super().capture_signals():
            yield
            # A stop that went as asked is no crash: do not raise the signal again.
            self._captured_signals.clear()
