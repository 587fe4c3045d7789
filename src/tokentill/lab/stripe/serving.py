"""The lab behind a socket of this machine, and its webhooks on their way."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Generator, Mapping
from typing import TYPE_CHECKING, Any

import aiohttp
import uvicorn

from tokentill.lab.stripe.hooks import Send
from tokentill.lab.stripe.server import StripeLab

if TYPE_CHECKING:
    from typing_extensions import override
else:

    def override(method: Any) -> Any:
        """Say that a method replaces one of its base."""
        return method


DELIVER_SECONDS = 0.05
"""How often the line of webhooks is looked at."""

KEEP_ALIVE_SECONDS = 600
"""An idle connection is kept for longer than a client leaves it, which would else meet its end with a request."""

ANSWER_SECONDS = 10.0
AGAIN_SECONDS = 1.0
"""How long to wait after a webhook was not taken."""


@contextlib.asynccontextmanager
async def serving(
    lab: StripeLab, *, host: str = "127.0.0.1", port: int = 0, deliver: bool = False
) -> AsyncIterator[str]:
    """Serve a lab while the block runs; gives its address, which is the SDK's base address.

    `deliver`: send webhooks by themselves; otherwise they wait for `deliver_all` or `StripeLab.webhooks`.
    """
    listening = socket.create_server((host, port))
    url = f"http://{host}:{listening.getsockname()[1]}"
    config = uvicorn.Config(
        lab, log_level="critical", access_log=False, lifespan="off", timeout_keep_alive=KEEP_ALIVE_SECONDS
    )
    server = _Server(config)
    running = asyncio.ensure_future(server.serve(sockets=[listening]))
    sending = asyncio.ensure_future(keep_delivering(lab)) if deliver else None
    try:
        await server.ready.wait()
        yield url
    finally:
        if sending is not None:
            sending.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await sending
        server.should_exit = True
        await running


class _Server(uvicorn.Server):
    """A server that says when it listens and leaves signals to whoever runs it."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    @override
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then say so."""
        await super().startup(sockets)
        self.ready.set()

    @override
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Leave signals alone."""
        yield


async def keep_delivering(lab: StripeLab) -> None:
    """Send webhooks as they come, and again those that were not taken, until cancelled."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS)) as session:
        while True:
            left = await lab.deliver(_sender(session)) if lab.hooks.line else 0
            await asyncio.sleep(AGAIN_SECONDS if left else DELIVER_SECONDS)


async def deliver_all(lab: StripeLab) -> int:
    """Send every webhook that waits, once; how many were not taken."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS)) as session:
        return await lab.deliver(_sender(session))


def _sender(session: aiohttp.ClientSession) -> Send:
    """Posts webhooks over HTTP; 0 where there is no answer."""

    async def send(url: str, body: bytes, headers: Mapping[str, str]) -> int:
        try:
            async with session.post(url, data=body, headers=dict(headers)) as answer:
                return answer.status
        except (aiohttp.ClientError, TimeoutError, OSError):
            return 0

    return send
