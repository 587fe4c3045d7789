"""Send: an envelope to the books until it is answered, within a number of tries and a deadline.

An answer that was lost is not a failure: whether the command was stored is not known. It is resolved by
sending the same envelope again; if the first try was stored after all, its answer comes back (R-LED-9).
Tries and time are bounded, and what is still unknown then is raised, never guessed.

Requirement ids: R-LED-3, R-LED-9.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from msgspec import Struct, structs

from tokentill.ports import JournalRow, StoreDown
from tokentill.rules.commands import Envelope
from tokentill.rules.receipts import Receipt
from tokentill.rules.refusals import Refusal


class Books(Protocol):
    """Where commands are sent: a `Ledger` in this process, or one over HTTP."""

    def submit(self, envelope: Envelope) -> Awaitable[Receipt | Refusal]:
        """Decide and store one command. Raises `StoreDown`."""
        ...

    async def operation(self, organization: str, operation: str) -> Sequence[JournalRow] | None:
        """Every entry of one operation, oldest first."""
        ...


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
) -> Receipt | Refusal:
    """The answer to `envelope`. Raises `StoreDown` when every try was lost.

    `on_trouble` is awaited once, after the first try that was lost.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + retry.total_ms_max / 1000
    tries = 0
    while True:
        tries += 1
        try:
            async with asyncio.timeout(retry.attempt_ms_max / 1000):
                return await books.submit(envelope)
        except (StoreDown, TimeoutError) as lost:
            if tries == 1 and on_trouble is not None:
                await on_trouble(lost)
            delay = _delay(retry, tries, lost, envelope)
            if tries >= retry.tries_max or loop.time() + delay >= end:
                if isinstance(lost, StoreDown):
                    raise
                raise StoreDown(
                    "There was no answer in time; whether the command was stored is not known."
                ) from lost
        await asyncio.sleep(delay)
        envelope = structs.replace(envelope, retry=True)


def _delay(retry: Retry, tries: int, lost: Exception, envelope: Envelope) -> float:
    """Seconds until the next try: doubling, spread by the envelope's own key, never sooner than was asked."""
    delay_ms = min(retry.delay_ms_max, retry.delay_ms_min << (tries - 1))
    spread = sum((envelope.key or envelope.organization).encode()) % 32
    delay_ms += delay_ms * spread // 64
    asked = lost.retry_after_ms if isinstance(lost, StoreDown) else None
    return max(delay_ms, asked or 0) / 1000
