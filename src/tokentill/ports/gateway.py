"""Ports of the gateway: upstreams that answer model calls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol, runtime_checkable

from tokentill.rules.models import Upstream


class UpstreamDown(Exception):
    """The upstream gave no answer: it could not be reached, was too slow, cut the line, or sent too much.

    `why` is for counting and for the customer; the message never holds what was sent or answered.
    """

    def __init__(
        self, why: Literal["unreachable", "too_slow", "cut", "too_large", "no_key"], message: str
    ) -> None:
        super().__init__(message)
        self.why = why


class UpstreamReply(Protocol):
    """An answer whose head has arrived. Whoever gets it closes it, whatever happens."""

    status: int
    headers: Mapping[str, str]
    """Lower-case names; only those that may be passed on."""

    async def read(self) -> bytes:
        """The next bytes of the body as they come, none at its end. How long to wait for them is the caller's to say.

        Raises `UpstreamDown` where it ends too early or grows too large.
        """
        ...

    async def close(self) -> None:
        """Stop reading. A call that is still running is cut, so that the upstream stops working on it."""
        ...


@runtime_checkable
class Upstreams(Protocol):
    """Calls of models. Nothing is repeated here; failing over is the flow's to decide."""

    async def open(
        self, upstream: Upstream, path: str, body: bytes, headers: Mapping[str, str], first_byte_ms: int
    ) -> UpstreamReply:
        """Send the call and wait for the head of the answer. Raises `UpstreamDown`.

        `path` begins after the upstream's base URL, such as `/chat/completions`. `headers` are ours, checked.
        """
        ...

    async def close(self) -> None:
        """Let connections go."""
        ...
