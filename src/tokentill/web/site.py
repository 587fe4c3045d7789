"""Site: what every handler of one application shares, and what a handler is."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

from tokentill.ports import Clock, Health, Ids, Ledger
from tokentill.rules import chain
from tokentill.web.asgi import Answer
from tokentill.web.call import Call
from tokentill.web.gate import Gate
from tokentill.web.telemetry import Telemetry

HEALTH_FRESH_MS = 1000

_is_id = re.compile(r"[0-9a-f]{32}").fullmatch


class Site:
    """The ledger, where time and ids come from, the gate and the metrics."""

    __slots__ = ("_health", "_health_at", "_secret", "clock", "gate", "ids", "ledger", "openapi", "telemetry")

    def __init__(
        self,
        ledger: Ledger,
        secret: bytes,
        clock: Clock,
        ids: Ids,
        gate: Gate,
        telemetry: Telemetry,
        openapi: bytes,
    ) -> None:
        self.ledger = ledger
        self.clock = clock
        self.ids = ids
        self.gate = gate
        self.telemetry = telemetry
        self.openapi = openapi
        self._health: Health | None = None
        self._health_at = 0
        self._secret = secret

    def operation_id(self, text: str) -> str:
        """The operation that an id, a UUID or a caller's own key names."""
        return text if _is_id(text) else chain.operation_id(self._secret, text)

    async def health(self) -> Health:
        """How the store is doing, at most a second old."""
        now = self.clock.now()
        if self._health is None or not 0 <= now - self._health_at < HEALTH_FRESH_MS:
            self._health, self._health_at = await self.ledger.health(), now
        return self._health


Run = Callable[[Site, Call], Awaitable[Answer]]
"""A handler: from a read and admitted request to its answer."""
