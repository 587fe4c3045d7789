"""Site: what every handler of one application shares, and what a handler is."""

from __future__ import annotations

import re
import traceback
from collections.abc import Awaitable, Callable
from pathlib import PurePath

import structlog
from msgspec.structs import replace

from tokentill.flows.shop import Shop
from tokentill.ports import Clock, Health, Ids, Ledger
from tokentill.rules import chain
from tokentill.rules.account import Account
from tokentill.rules.balance import Balance, balance
from tokentill.rules.receipts import Receipt
from tokentill.rules.refusals import Refusal
from tokentill.web import problems
from tokentill.web.asgi import Answer
from tokentill.web.call import Call
from tokentill.web.gate import Gate
from tokentill.web.problems import Halt
from tokentill.web.telemetry import Telemetry

HEALTH_FRESH_MS = 1000
CLERK_LATE_MS = 30_000
"""A clerk that has not looked for so long is stuck; it looks four times a second."""

log = structlog.get_logger("tokentill.web")

_is_id = re.compile(r"[0-9a-f]{32}").fullmatch


class Site:
    """The ledger, where time and ids come from, the gate and the metrics."""

    __slots__ = (
        "_health",
        "_health_at",
        "_secret",
        "clock",
        "gate",
        "ids",
        "ledger",
        "openapi",
        "shop",
        "telemetry",
    )

    def __init__(
        self,
        ledger: Ledger,
        secret: bytes,
        clock: Clock,
        ids: Ids,
        gate: Gate,
        telemetry: Telemetry,
        openapi: bytes,
        shop: Shop | None = None,
    ) -> None:
        self.ledger = ledger
        self.clock = clock
        self.ids = ids
        self.gate = gate
        self.telemetry = telemetry
        self.openapi = openapi
        self.shop = shop
        self._health: Health | None = None
        self._health_at = 0
        self._secret = secret

    async def open_ways(self, organization: str, reply: Receipt | Refusal) -> Receipt | Refusal:
        """The reply; a refusal offers only what the organization can buy now (R-PACK-9)."""
        if self.shop is None or not isinstance(reply, Refusal):
            return reply
        return await self.shop.ways.refusal(organization, reply)

    async def balance(self, organization: str, account: Account) -> Balance:
        """The balance, whose notice offers only what the organization can buy now (R-PLAN-8)."""
        if self.shop is None:
            return balance(account, self.ledger.catalog)
        return await self.shop.ways.balance(organization, account)

    @property
    def selling(self) -> Shop:
        """The shop; a till that sells nothing has no such routes."""
        if self.shop is None:
            raise Halt(
                problems.plain(404, "not_found", "This till sells nothing: it was built without a shop.")
            )
        return self.shop

    def operation_id(self, text: str) -> str:
        """The operation that an id, a UUID or a caller's own key names."""
        return text if _is_id(text) else chain.operation_id(self._secret, text)

    async def health(self) -> Health:
        """How the store is doing, at most a second old."""
        now = self.clock.now()
        if self._health is None or not 0 <= now - self._health_at < HEALTH_FRESH_MS:
            self._health, self._health_at = self._with_clerk(await self.ledger.health(), now), now
        return self._health

    def _with_clerk(self, found: Health, now: int) -> Health:
        """The store's health, and whether this process still takes up what is due of its sales."""
        clerk = None if self.shop is None else self.shop.clerk
        if clerk is None or not clerk.running or not clerk.looked_at:
            return found
        late = now - clerk.looked_at
        if late < CLERK_LATE_MS:
            return found
        problem = f"the clerk has not looked for what is due for {late // 1000} s"
        return replace(found, ok=False, problems=(*found.problems, problem))

    def incident(self, place: str, error: Exception) -> Answer:
        """Log a bug by where it happened. Messages of exceptions may hold what a client sent, so they stay out."""
        self.telemetry.incidents += 1
        ident = self.ids.operation()
        frames = traceback.extract_tb(error.__traceback__)
        where = [f"{PurePath(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]
        log.error("incident", incident=ident, route=place, error=type(error).__qualname__, where=where)
        return problems.incident(ident)


Run = Callable[[Site, Call], Awaitable[Answer]]
"""A handler: from a read and admitted request to its answer."""
