"""Send: an envelope to the books until it is answered, within a number of tries and a total time.

An answer that was lost is not a failure: whether the command was stored is not known. It is resolved by
sending the same envelope again; if the first try was stored after all, its answer comes back (R-LED-9).
Tries and time are bounded, and what is still unknown then is raised, never guessed.

Requirement ids: R-LED-3, R-LED-9.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import closing
from typing import Literal, Protocol, TypeVar

from msgspec import Struct, structs

from tokentill.flows.patience import Patience
from tokentill.ports import Ledger, StoreDown
from tokentill.rules import chain
from tokentill.rules import entries as e
from tokentill.rules.commands import Envelope, Extend, Refund, Release, Settle
from tokentill.rules.receipts import Receipt
from tokentill.rules.refusals import Refusal

T = TypeVar("T")
Ending = Literal["charged", "released"]


class Books(Protocol):
    """Where commands are sent: the ledger of this process (`LedgerBooks`), or one over HTTP."""

    def submit(self, envelope: Envelope) -> Awaitable[Receipt | Refusal]:
        """Decide and store one command; the key of a keyed envelope may be any text. Raises `StoreDown`."""
        ...

    async def ending(self, organization: str, hold: str) -> Ending | None:
        """How the hold ended, None while it is open."""
        ...


_OF_HOLDS = (Settle, Release, Extend)
Narrow = Callable[[str, Refusal], Awaitable[Refusal]]
"""Makes of an organization's refusal one that offers only what can be bought now."""


class LedgerBooks:
    """The books of this process. `key` is the ledger's secret, with which any text may name an operation.

    `narrow` leaves out of a refusal what the organization cannot buy now (`tokentill.flows.ways`).
    """

    def __init__(self, ledger: Ledger, key: bytes, narrow: Narrow | None = None) -> None:
        self._ledger = ledger
        self._key = key
        self._narrow = narrow

    async def submit(self, envelope: Envelope) -> Receipt | Refusal:
        """Decide and store one command. Raises `StoreDown`."""
        command = envelope.command
        if envelope.keyed and envelope.key is not None:
            envelope = structs.replace(envelope, key=self.operation_id(envelope.key))
        if isinstance(command, _OF_HOLDS):
            hold = self.operation_id(command.hold)
            if hold != command.hold:
                envelope = structs.replace(envelope, command=structs.replace(command, hold=hold))
        elif isinstance(command, Refund):
            operation = self.operation_id(command.operation)
            envelope = structs.replace(envelope, command=structs.replace(command, operation=operation))
        reply = await self._ledger.submit(envelope)
        if self._narrow is None or isinstance(reply, Receipt) or not reply.ways_out:
            return reply
        return await self._narrow(envelope.organization, reply)

    def operation_id(self, text: str) -> str:
        """The operation that an id, a UUID or a caller's own key names (R-LED-9)."""
        return chain.operation_id(self._key, text)

    async def ending(self, organization: str, hold: str) -> Ending | None:
        """How the hold ended, None while it is open."""
        for row in await self._ledger.operation(organization, hold) or ():
            if isinstance(row.entry, e.Charged):
                return "charged"
            if isinstance(row.entry, e.Released):
                return "released"
        return None


class Retry(Struct, frozen=True, kw_only=True):
    """How long to insist. Delays double from `delay_ms_min` to `delay_ms_max`; all in milliseconds.

    `attempt_ms_max`: a try that is not answered by then counts as lost. `total_ms_max`: no try begins
    after it.
    """

    tries_max: int = 6
    delay_ms_min: int = 50
    delay_ms_max: int = 2_000
    attempt_ms_max: int = 10_000
    total_ms_max: int = 20_000


async def send(
    books: Books,
    envelope: Envelope,
    retry: Retry,
    on_trouble: Callable[[Exception], Awaitable[None]] | None = None,
    patience: Patience | None = None,
) -> Receipt | Refusal:
    """The answer to `envelope`. Raises `StoreDown` when every try was lost.

    `on_trouble` is awaited once, after the first try that was lost. Who sends much shares one `patience`.
    """

    def submit(again: bool) -> Awaitable[Receipt | Refusal]:  # noqa: FBT001 `insist` alone calls it
        return books.submit(structs.replace(envelope, retry=True) if again else envelope)

    return await insist(submit, retry, envelope.key or envelope.organization, on_trouble, patience)


async def insist(
    call: Callable[[bool], Awaitable[T]],
    retry: Retry,
    name: str,
    on_trouble: Callable[[Exception], Awaitable[None]] | None = None,
    patience: Patience | None = None,
) -> T:
    """The answer to `call`, which is told whether an earlier try was lost. Raises `StoreDown`.

    `name` spreads the tries of different callers over time.
    """
    if patience is None:
        with closing(Patience()) as own:
            return await insist(call, retry, name, on_trouble, own)
    loop = asyncio.get_running_loop()
    end = loop.time() + retry.total_ms_max / 1000
    tries = 0
    while True:
        tries += 1
        try:
            with patience(retry.attempt_ms_max / 1000):
                return await call(tries > 1)
        except (StoreDown, TimeoutError) as lost:
            if tries == 1 and on_trouble is not None:
                await on_trouble(lost)
            delay = _delay(retry, tries, lost, name)
            if tries >= retry.tries_max or loop.time() + delay >= end:
                if isinstance(lost, StoreDown):
                    raise
                raise StoreDown(
                    "There was no answer in time; whether the command was stored is not known."
                ) from lost
        await asyncio.sleep(delay)


def _delay(retry: Retry, tries: int, lost: Exception, name: str) -> float:
    """Seconds until the next try: doubling, spread by name, never sooner than was asked for."""
    delay_ms = min(retry.delay_ms_max, retry.delay_ms_min << (tries - 1))
    spread = sum(name.encode()) % 32
    delay_ms += delay_ms * spread // 64
    asked = lost.retry_after_ms if isinstance(lost, StoreDown) else None
    return max(delay_ms, asked or 0) / 1000
