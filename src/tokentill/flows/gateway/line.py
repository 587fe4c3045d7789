"""Line: the connection of one call to the upstream that answers it, with its clocks.

Until the first byte the targets of the model are tried in order. From then on the hold is made to last as long as
bytes may come, until the call has lasted as long as its model allows. One timer watches over both sides: an upstream
that falls silent is cut, and a client that does not take what came is as good as gone. It would otherwise outlast the
hold, and what it has got would be free.

Requirement ids: R-SALE-5, R-LED-3.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence

import structlog

from tokentill.flows.charge import Charging, Hold
from tokentill.flows.gateway.outcome import PassedOn, Trouble
from tokentill.ports.gateway import UpstreamDown, UpstreamReply, Upstreams
from tokentill.rules.calls import PATHS, Kind, ModelCall, written
from tokentill.rules.catalog import Catalog
from tokentill.rules.models import Model, Target, Upstream
from tokentill.rules.receipts import Receipt

ERROR_BYTES_MAX = 64 * 1024
ENDING_SECONDS = 0.05
"""How long an upstream that has said everything may take to end its answer, so that its connection can be kept."""
OURS = frozenset({401, 402, 403, 407})
"""What an upstream says of our own key or account; that is no business of the customer's."""
HOLD_TIMES = 3
"""So many times as long as an upstream may be silent a hold lasts, before it must be extended."""
log = structlog.get_logger("tokentill.gateway")
_NEW_LIMIT = "max_completion_tokens"


def speaks(upstream: Upstream, kind: Kind) -> bool:
    """Whether the upstream knows calls of this kind."""
    return upstream.kind == "echo" or (upstream.kind == "anthropic") == (kind == "messages")


def targets(catalog: Catalog, model: Model, kind: Kind) -> list[Target]:
    """Who may answer such a call, in order."""
    return [target for target in model.targets if speaks(catalog.upstreams[target.upstream], kind)]


class Line:
    """Of one call. `open` before anything else; `close` whatever happens."""

    def __init__(
        self,
        upstreams: Upstreams,
        charging: Charging,
        hold: Hold,
        model: Model,
        stalled: Callable[[], None],
    ) -> None:
        self._upstreams = upstreams
        self._charging = charging
        self._hold = hold
        self._model = model
        self._loop = asyncio.get_running_loop()
        self._silence = model.first_byte_ms / 1000
        self._ends_at = self._loop.time() + model.total_ms / 1000
        self._short_at = hold.ends_at - 2 * self._silence
        """From when on the hold may end before the next bytes have come and have been taken."""
        self._reply: UpstreamReply | None = None
        self._first = b""
        self._stalled = stalled
        self._waiting = False
        self._since = 0.0
        """Since when it has been as it is: waiting for the upstream, or for the client."""
        self._late = False
        self._timer: asyncio.TimerHandle | None = None
        self.content_type = ""
        self.upstream: str | None = None
        """Who answers, once somebody does."""

    async def open(
        self,
        catalog: Catalog,
        targets: Sequence[Target],
        call: ModelCall,
        limit: int | None,
        headers: Mapping[str, str],
    ) -> Trouble | PassedOn | None:
        """Find who of the targets answers, and wait for the first byte; None when there is one."""
        trouble: Trouble | None = None
        for target in targets:
            upstream = catalog.upstreams[target.upstream]
            modern = "api.openai.com" in upstream.base_url
            body = written(call, target.model, limit, _NEW_LIMIT if modern else "max_tokens")
            try:
                if self._loop.time() >= self._short_at:
                    await self._lengthen()
                found = await self._try(upstream, PATHS[call.kind], body, headers)
            except UpstreamDown as down:
                log.warning("an upstream did not answer", upstream=upstream.name, why=down.why)
                trouble = of_down(down)
            else:
                if not isinstance(found, Trouble):
                    return found
                trouble = found
            await self.close()
        assert trouble is not None, "a model that nobody answers was not let in"
        return trouble

    async def next(self) -> bytes:
        """The next bytes, none at the end. Raises `UpstreamDown`."""
        if self._first:
            first, self._first = self._first, b""
            return first
        reply = self._reply
        assert reply is not None
        now = self._since = self._loop.time()
        if now >= self._short_at:
            await self._lengthen()
            now = self._since = self._loop.time()
        if now >= self._ends_at:
            raise UpstreamDown("too_slow", "The call lasted longer than any call of the model may.")
        return await self._next(reply)

    async def _next(self, reply: UpstreamReply) -> bytes:
        """The next bytes of the answer, watched over by the timer."""
        self._waiting = True
        try:
            return await reply.read()
        except UpstreamDown as down:
            if self._late:
                raise UpstreamDown("too_slow", "The upstream fell silent, or took too long in all.") from down
            raise
        finally:
            self._waiting = False
            self._since = self._loop.time()

    async def finish(self) -> None:
        """Everything was said: let the answer end by itself, if it does so at once, and let the connection go."""
        reply = self._reply
        if reply is not None:
            with contextlib.suppress(UpstreamDown, TimeoutError):
                async with asyncio.timeout(ENDING_SECONDS):
                    while await reply.read():
                        pass
        await self.close()

    async def close(self) -> None:
        """Let go; an upstream that still works on the answer is cut, so that it stops."""
        reply, self._reply = self._reply, None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if reply is not None:
            await reply.close()

    async def _try(
        self, upstream: Upstream, path: str, body: bytes, headers: Mapping[str, str]
    ) -> Trouble | PassedOn | None:
        began = self._loop.time()
        self._reply = reply = await self._upstreams.open(
            upstream, path, body, headers, self._model.first_byte_ms
        )
        self._late = False
        self._since = began
        self._timer = self._loop.call_at(began + self._silence, self._watch)
        first = await self._next(reply)
        if reply.status == 200:
            if not first:
                raise UpstreamDown("cut", f"The upstream {upstream.name} sent nothing.")
            self._first = first
            self.upstream = upstream.name
            self.content_type = reply.headers.get("content-type", "")
            return None
        return await self._refused(reply, first)

    async def _refused(self, reply: UpstreamReply, first: bytes) -> Trouble | PassedOn:
        """What to make of an answer that is an error: try the next, or give it to the customer."""
        status = reply.status
        if status == 429:
            asked = reply.headers.get("retry-after", "")
            wait = int(asked) * 1000 if asked.isdigit() and len(asked) < 6 else 1_000
            return Trouble("upstream_busy", "The model is busy at the moment.", retry_after_ms=wait)
        if status in OURS or not 400 <= status < 500 or status == 408:
            return Trouble("upstream_failed", "The model did not answer. Nothing was charged.")
        body = first
        while chunk := await self.next():
            body += chunk
            if len(body) > ERROR_BYTES_MAX:
                return Trouble("upstream_failed", "The model did not answer. Nothing was charged.")
        return PassedOn(status, body)

    def _watch(self) -> None:
        """See whether the upstream has fallen silent, or the client takes nothing, and look again when it may have."""
        at = self._since + self._silence
        if self._waiting:
            at = min(at, self._ends_at)
        if self._loop.time() < at:
            self._timer = self._loop.call_at(at, self._watch)
        elif not self._waiting:
            self._stalled()
        elif self._reply is not None:
            self._late = True
            # Its connection is cut, so that whoever waits for it hears of it at once.
            self._cutting = asyncio.ensure_future(self._reply.close())

    async def _lengthen(self) -> None:
        """Make the hold last until the next bytes must have come, and then must have been taken."""
        answer = await self._charging.extend(self._hold, HOLD_TIMES * self._model.first_byte_ms)
        if not isinstance(answer, Receipt):
            raise UpstreamDown("too_slow", "The call lasted longer than its tokens were held.")
        self._short_at = self._hold.ends_at - 2 * self._silence


def of_down(down: UpstreamDown) -> Trouble:
    """What an upstream that gave no answer means to the customer."""
    if down.why == "too_slow":
        return Trouble("upstream_slow", "The model did not answer in time. Nothing was charged.")
    return Trouble("upstream_failed", "The model did not answer. Nothing was charged.")
