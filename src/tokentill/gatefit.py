"""Gatefit: how the endpoint for model calls is put together. A part of the wiring, kept apart for its size.

Requirement ids: R-SALE-5, R-PLAT-5.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import structlog

from tokentill.flows.api_keys import ApiKeys
from tokentill.flows.charge import Charging
from tokentill.flows.gateway.gateway import Gateway
from tokentill.flows.gateway.once import Once
from tokentill.flows.gateway.outcome import Notes
from tokentill.flows.send import LedgerBooks
from tokentill.flows.ways import Ways
from tokentill.ports import Clock, Ids, Ledger
from tokentill.ports.gateway import Upstreams
from tokentill.rules.durations import HOUR_MS
from tokentill.vendors.echo import WithEcho
from tokentill.vendors.sealing import AesSeal
from tokentill.vendors.upstream import HttpUpstreams
from tokentill.web.gateway.endpoint import Endpoint
from tokentill.web.gateway.gate import KeyGate
from tokentill.web.limiter import Limiter

PURPOSE = "tokentill answer"

log = structlog.get_logger("tokentill.gateway")


class Gatefit:
    """Everything the endpoint is made of. `open` makes it, `close` ends it."""

    def __init__(  # noqa: PLR0913 what the endpoint is made of
        self,
        ledger: Ledger,
        charging: Charging,
        secret: bytes,
        clock: Clock,
        ids: Ids,
        random: Callable[[int], bytes],
        environment: Mapping[str, str],
        *,
        address: Callable[[], str] = str,
        answers_hours: int = 24,
        upstreams: Upstreams | None = None,
    ) -> None:
        books = LedgerBooks(ledger, secret)
        self._wanted = {one.key_env for one in ledger.catalog.upstreams.values() if one.key_env is not None}
        keys = {name: value for name, value in environment.items() if name in self._wanted and value.strip()}
        self._keys = frozenset(keys)
        self._ledger = ledger
        self._clock = clock
        self._ids = ids
        self._address = address
        self._charging = charging
        self._upstreams = WithEcho(upstreams or HttpUpstreams(keys))
        self.keys = ApiKeys(ledger, clock, ids)
        seal = AesSeal(secret, PURPOSE, random)
        self._ways = Ways.over(ledger, clock, ids, secret)
        self._once = Once(ledger, books, clock, seal, books.operation_id, answers_hours * HOUR_MS)

    def open(self, notes: Notes, wrong_keys: Limiter) -> Endpoint:
        """The endpoint."""
        gateway = Gateway(self._ledger, self._charging, self._upstreams, self._once, self._clock, notes)
        gate = KeyGate(self.keys, self._clock, wrong_keys)
        self._gateway = gateway
        return Endpoint(gateway, gate, self._ledger, self._ids, self._address, self._ways)

    def start(self) -> None:
        """Work on what is due in the background, and store the charges that other processes left (R-LED-4).

        What is sold and cannot be called, since its upstream's key is not in the environment, is told to the operator.
        """
        for name in sorted(self._wanted - self._keys):
            log.warning(
                "an upstream cannot be called without its key: set the environment variable", name=name
            )
        self._once.start()
        self._charging.recovery.wake()

    async def close(self) -> None:
        """Let what runs end."""
        await self._gateway.close()
        await self.keys.close()
