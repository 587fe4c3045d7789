"""Recover: store the charges that could not be stored when their operation succeeded (R-LED-4).

Each intent is sent again until it is answered. If its hold is still open, or was settled by a try whose
answer was lost, it is charged, once. If the hold has ended meanwhile, nothing is charged and the intent is
listed in the journal for a person to look at.

Requirement ids: R-LED-4.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from hashlib import blake2b

from tokentill.flows.send import Books
from tokentill.ports import Clock, Intent, IntentOutcome, Intents, StoreDown
from tokentill.rules.commands import Envelope, Review
from tokentill.rules.receipts import Receipt
from tokentill.rules.refusals import Code, Refusal

DELAY_SECONDS_MIN = 1.0
DELAY_SECONDS_MAX = 60.0

log = logging.getLogger(__name__)


class Recovery:
    """The intents of a process, and the task that works them off while there are any."""

    def __init__(self, books: Books, intents: Intents, clock: Clock) -> None:
        self._books = books
        self._intents = intents
        self._clock = clock
        self._unkept: dict[str, Intent] = {}
        self._task: asyncio.Task[None] | None = None
        self._more = False
        self._closed = False

    async def keep(self, intent: Intent) -> None:
        """Make `intent` durable. Where even that fails it stays in memory, and in the log whole."""
        try:
            await self._intents.keep(intent)
        except OSError as error:
            log.critical("an intent could not be kept (%s), only this line has it: %r", error, intent)
            self._unkept[intent.settle.hold] = intent

    async def conclude(self, intent: Intent, answer: Receipt | Refusal) -> IntentOutcome:
        """Write down how `intent` ended; a refusal first goes on the record for review.

        Raises `StoreDown`; then the intent is still pending.
        """
        outcome: IntentOutcome = "settled"
        if isinstance(answer, Refusal):
            outcome = "reviewed"
            reason = f"hold {intent.settle.hold}: {answer.message}"
            # A settle that came too late put the loss on record already; it is counted once.
            lost = 0 if answer.code == Code.HOLD_EXPIRED else intent.tokens
            review = Review(hold=intent.settle.hold, tokens=lost, reason=reason)
            key = blake2b(f"review {intent.settle.hold}".encode(), digest_size=16).hexdigest()
            await self._books.submit(Envelope(intent.organization, review, key=key, keyed=True, retry=True))
            log.error("operation %s succeeded but was charged 0: %s", intent.settle.hold, answer.message)
        if self._unkept.pop(intent.settle.hold, None) is None:
            with suppress(OSError):  # then it is sent once more at next start, which changes nothing
                await self._intents.end(intent, outcome, self._clock.now())
        return outcome

    async def pending(self) -> Sequence[Intent]:
        """The intents that have no outcome yet."""
        kept = [state.intent for state in await self._intents.states() if state.outcome is None]
        return [*kept, *self._unkept.values()]

    async def once(self) -> int:
        """Try every pending intent once; the number that is still pending."""
        left = 0
        for intent in await self.pending():
            try:
                answer = await self._books.submit(Envelope(intent.organization, intent.settle, retry=True))
                await self.conclude(intent, answer)
            except (StoreDown, TimeoutError):
                left += 1
            except Exception:  # one that cannot be sent must not keep the others from being sent
                log.exception("the charge of operation %s cannot be sent", intent.settle.hold)
                left += 1
        return left

    def wake(self) -> None:
        """Work off what is pending, in the background; once closed, that is for the next start."""
        if self._closed:
            return
        self._more = True
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work())

    async def close(self) -> None:
        """Stop working; what is pending is kept for the next start."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _work(self) -> None:
        delay = DELAY_SECONDS_MIN
        while self._more:
            self._more = False
            if await self.once():
                self._more = True
                await asyncio.sleep(delay)
                delay = min(2 * delay, DELAY_SECONDS_MAX)
