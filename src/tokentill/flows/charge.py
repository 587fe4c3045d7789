"""Execute-then-charge: reserve the tokens, run the operation, charge on success, nothing otherwise (R-LED-3).

    operation succeeds       exactly what it used is charged, at most what was reserved
    operation fails          0
    operation times out      0, and a success that still comes is counted as the operator's loss
    caller goes away         0 if the operation had not succeeded; if it had, it is charged all the same
    books away at the end    the charge is kept as an intent and stored later, once (R-LED-4)

Settling never depends on the caller still being there: if it is cancelled meanwhile, the charge is kept and stored as
if the books were away. A process that dies while an operation runs leaves a hold, whose deadline gives the tokens back.

A key names one run. A second call under the same key never runs the operation again; it raises `AlreadyRan`.

What it does not do: run an operation again that failed, or keep its result.

Requirement ids: R-LED-3, R-LED-4, R-LED-7, R-LED-9, R-ABU-4.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, Generic, Literal, TypeVar

from msgspec import Struct, structs

from tokentill.flows.patience import Patience
from tokentill.flows.recover import Recovery
from tokentill.flows.send import Books, Retry, send
from tokentill.ports import Clock, Ids, Intent, Intents, StoreDown
from tokentill.rules.commands import Envelope, Extend, Release, Reserve, Settle
from tokentill.rules.durations import milliseconds
from tokentill.rules.entry import ModelUse
from tokentill.rules.receipts import Receipt
from tokentill.rules.refusals import Refusal

T = TypeVar("T")
LINGER_SECONDS = 5.0
"""How long `close` waits for what it cancelled to give its tokens back."""

Reason = Literal["failed", "timeout", "cancelled"]
RunState = Literal["running", "charged", "released"]

log = logging.getLogger(__name__)


class TimedOut(TimeoutError):
    """The operation did not end in time, so nothing was charged (R-LED-3)."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"The operation did not end within {seconds:g} s, so nothing was charged.")


class AlreadyRan(Exception):
    """An operation under this key has run or is running, so it was not run again (R-LED-9).

    `state` says how far it got; `receipt` is the answer to its reservation.
    """

    def __init__(self, state: RunState, receipt: Receipt) -> None:
        self.state = state
        self.receipt = receipt
        words = {
            "running": "is still running, or its caller has gone and its hold has not ended yet",
            "charged": "has run and was charged",
            "released": "has run and was not charged",
        }
        super().__init__(f"An operation under this key {words[state]}. Use a new key to run another.")


class Charge(Struct, frozen=True):
    """What became of the charge of an operation that succeeded.

    settled: stored, `receipt` is its receipt. pending: the books are away; it is kept and stored later.
    uncharged: the hold had ended before, so nothing was charged; `refusal` says why. `tokens` is what was
    or will be charged, `uncollected` what the operation used and nobody pays for.
    """

    state: Literal["settled", "pending", "uncharged"]
    tokens: int
    receipt: Receipt | None = None
    refusal: Refusal | None = None
    uncollected: int = 0


class Done(Struct, Generic[T], frozen=True):
    """An operation that succeeded: its result, and what became of its charge."""

    result: T
    charge: Charge


class Hold:
    """Tokens reserved for a running operation, and what it says it used.

    id: the operation's id. tokens: reserved, the most that can be charged. deadline: until when, epoch ms.
    output_tokens_max: the cap to ask of the model (R-ABU-4). ends_at: when the operation times out, seconds
    of the event loop's clock.
    """

    def __init__(self, charging: Charging, organization: str, receipt: Receipt, ends_at: float) -> None:
        self._charging = charging
        self.organization = organization
        self.id = receipt.operation
        self.tokens = receipt.tokens
        self.output_tokens_max = receipt.output_tokens_max
        self.deadline = receipt.deadline
        self.receipt = receipt
        self.ends_at = ends_at
        self.used: int | None = None
        self.output_tokens: int | None = None
        self.use: ModelUse | None = None
        """What a call of a model used, for the record."""
        self.outcome: Charge | None = None
        self.on_extended: Callable[[float], None] | None = None

    def charge(self, tokens: int, output_tokens: int | None = None) -> None:
        """Say what the operation used in all, to be charged when it succeeds; the last word counts.

        Without a word all that was reserved is charged. `output_tokens` is the size of the model's answer.
        """
        for amount in (tokens, output_tokens or 0):
            if type(amount) is not int or amount < 0:
                raise ValueError("tokens must be a whole number, 0 or more")
        self.used = tokens
        self.output_tokens = output_tokens

    async def extend(self, seconds: float) -> bool:
        """Ask for `seconds` from now on; False if the hold has ended already. Raises `StoreDown`."""
        return isinstance(await self._charging.extend(self, milliseconds(seconds)), Receipt)


class Charging:
    """Runs operations and charges them. One for each set of books; closed by `close`."""

    def __init__(
        self, books: Books, intents: Intents, clock: Clock, ids: Ids, retry: Retry | None = None
    ) -> None:
        self._books = books
        self._ids = ids
        self._clock = clock
        self._retry = retry or Retry()
        # What is not released in this time is released by its deadline.
        self._retry_release = structs.replace(self._retry, tries_max=3, total_ms_max=2_000)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._operations: set[asyncio.Task[Any]] = set()
        self._patience = Patience()
        self._open: set[str] = set()
        self._one_ended: asyncio.Future[None] | None = None
        """Whoever waits until nothing runs is told so that a hold has ended."""
        self.recovery = Recovery(books, intents, clock)

    async def run(
        self,
        organization: str,
        reserve: Reserve,
        operation: Callable[[Hold], Awaitable[T]],
        timeout_ms: int,
        key: str | None = None,
    ) -> Done[T] | Refusal:
        """Reserve, run `operation`, charge.

        Raises what the operation raises, `TimedOut`, `AlreadyRan`, or `StoreDown` if it was not run at all.
        """
        hold = await self.begin(organization, reserve, timeout_ms, key)
        if isinstance(hold, Refusal):
            return hold
        task = self._spawn(_awaited(operation, hold))
        self._operations.add(task)
        task.add_done_callback(self._operations.discard)
        try:
            await self._until_done(task, hold)
        except asyncio.CancelledError:
            if _succeeded(task):
                self._detach(self._settle(hold))
                self._ended(hold)
            else:
                self._detach(self._give_up(task, hold, "cancelled"))
            raise
        if not task.done():
            await asyncio.shield(self._spawn(self._give_up(task, hold, "timeout")))
            raise TimedOut(timeout_ms / 1000)
        if task.cancelled():
            await self.abandon(hold, "cancelled")
            raise asyncio.CancelledError
        error = task.exception()
        if error is not None:
            await self.abandon(hold, "failed")
            raise error
        return Done(task.result(), await self.finish(hold))

    async def begin(
        self, organization: str, reserve: Reserve, timeout_ms: int, key: str | None = None
    ) -> Hold | Refusal:
        """Reserve the tokens. A caller that is cancelled meanwhile leaves no hold behind."""
        envelope = Envelope(organization, reserve, key or self._ids.operation(), keyed=key is not None)
        # Under a key made here a command is sent again to learn what became of it. Under the caller's that could find
        # another's run, so there the first sending goes on, whoever goes away.
        running = None if key is None else self._spawn(self._reserve_once(envelope))
        try:
            answer = await (self._send(envelope, self._retry) if running is None else asyncio.shield(running))
        except asyncio.CancelledError:
            unwanted = running or self._spawn(self._send(structs.replace(envelope, retry=True), self._retry))
            self._detach(self._release_unwanted(organization, unwanted))
            raise
        if isinstance(answer, Refusal):
            return answer
        loop = asyncio.get_running_loop()
        self._open.add(answer.operation)
        return Hold(self, organization, answer, loop.time() + timeout_ms / 1000)

    async def finish(self, hold: Hold) -> Charge:
        """The operation succeeded: charge it. If the caller is cancelled meanwhile, it is charged all the same."""
        try:
            return await self._settle(hold)
        finally:
            self._ended(hold)

    async def abandon(self, hold: Hold, reason: Reason) -> None:
        """The operation did not succeed: give everything back. A caller that goes away is not kept waiting."""
        releasing = self._spawn(self._release(hold.organization, hold.id, reason, hold.use))
        self._ended(hold)
        if reason != "cancelled":
            await asyncio.shield(releasing)

    async def late(self, hold: Hold) -> None:
        """The operation succeeded after it had timed out: charge 0, count the operator's loss (readings)."""
        settle, _, _ = _terms(hold)
        release = Release(hold=hold.id, reason="timeout", use=hold.use)
        try:
            # Its release may not have been stored. Settling a hold that is still open would charge it.
            await self._send(Envelope(hold.organization, release), self._retry_release)
            await self._send(Envelope(hold.organization, settle), self._retry_release)
        except Exception as error:  # noqa: BLE001 nothing of the customer's depends on it
            log.warning("the loss of operation %s could not be recorded: %r", hold.id, error)

    async def extend(self, hold: Hold, timeout_ms: int) -> Receipt | Refusal:
        """Let the operation run for `timeout_ms` more from now on."""
        command = Extend(hold=hold.id, timeout_ms=timeout_ms)
        answer = await self._send(Envelope(hold.organization, command), self._retry)
        if isinstance(answer, Receipt):
            hold.deadline = answer.deadline
            hold.ends_at = max(hold.ends_at, asyncio.get_running_loop().time() + timeout_ms / 1000)
            if hold.on_extended is not None:
                hold.on_extended(hold.ends_at)
        return answer

    async def submit(self, envelope: Envelope) -> Receipt | Refusal:
        """Send one command until it is answered. Raises `StoreDown`."""
        return await self._send(envelope, self._retry)

    async def _send(
        self,
        envelope: Envelope,
        retry: Retry,
        on_trouble: Callable[[Exception], Awaitable[None]] | None = None,
    ) -> Receipt | Refusal:
        return await send(self._books, envelope, retry, on_trouble, self._patience)

    async def close(self, seconds: float = 10.0) -> None:
        """Let what is running end for up to `seconds`; what still runs then is cancelled and charged 0."""
        await self._quiet(seconds)
        for operation in self._operations:
            operation.cancel()
        await self._quiet(LINGER_SECONDS)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(set(self._tasks))
        await self.recovery.close()

    async def _quiet(self, seconds: float) -> None:
        """Until nothing runs and no hold is open, for up to `seconds`."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while (self._tasks or self._open) and (left := end - loop.time()) > 0:
            self._one_ended = loop.create_future()
            busy = {*self._tasks, self._one_ended}
            await asyncio.wait(busy, timeout=left, return_when=asyncio.FIRST_COMPLETED)

    def _ended(self, hold: Hold) -> None:
        self._open.discard(hold.id)
        if self._one_ended is not None and not self._one_ended.done():
            self._one_ended.set_result(None)

    def _spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run `work` in a task of its own, kept until it is done."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _detach(self, work: Coroutine[Any, Any, Any]) -> None:
        """Run `work` to its end, whoever goes away meanwhile."""
        self._spawn(work).add_done_callback(_log_failure)

    async def _until_done(self, task: asyncio.Task[Any], hold: Hold) -> None:
        """Wait for the operation or its time, which it may have extended meanwhile."""
        loop = asyncio.get_running_loop()
        while not task.done() and (left := hold.ends_at - loop.time()) > 0:
            await asyncio.wait({task}, timeout=left)

    async def _reserve_once(self, envelope: Envelope) -> Receipt | Refusal:
        answer = await self._send(envelope, self._retry)
        if isinstance(answer, Receipt) and answer.replayed:
            state = await self._books.ending(envelope.organization, answer.operation) or "running"
            raise AlreadyRan(state, answer)
        return answer

    async def _release_unwanted(self, organization: str, reserving: asyncio.Task[Receipt | Refusal]) -> None:
        with suppress(AlreadyRan, StoreDown):
            answer = await reserving
            if isinstance(answer, Receipt):
                await self._release(organization, answer.operation, "cancelled")

    async def _give_up(self, task: asyncio.Task[Any], hold: Hold, reason: Reason) -> None:
        """Stop the operation and give its tokens back now; it may take its time to stop."""
        task.cancel()
        self._ended(hold)
        await self._release(hold.organization, hold.id, reason)
        self._detach(self._watch(task, hold))

    async def _watch(self, task: asyncio.Task[Any], hold: Hold) -> None:
        await asyncio.wait({task})
        if _succeeded(task):
            await self.late(hold)

    async def _release(
        self, organization: str, hold: str, reason: Reason, use: ModelUse | None = None
    ) -> None:
        try:
            command = Release(hold=hold, reason=reason, use=use)
            await self._send(Envelope(organization, command), self._retry_release)
        except Exception as error:  # noqa: BLE001 what the operation raised matters more to the caller
            log.warning("hold %s of %s is left to its deadline: %r", hold, organization, error)

    async def _settle(self, hold: Hold) -> Charge:
        settle, tokens, beyond = _terms(hold)
        if beyond:
            log.warning("operation %s used %d tokens beyond its hold, which are not charged", hold.id, beyond)
        intent = Intent(hold.organization, settle, tokens, self._clock.now(), hold.deadline)
        hold.outcome = charge = await self._store(intent, beyond)
        return charge

    async def _store(self, intent: Intent, beyond: int) -> Charge:
        envelope = Envelope(intent.organization, intent.settle)
        kept = False

        async def keep(_lost: Exception) -> None:
            nonlocal kept
            kept = True
            await self.recovery.keep(intent)

        try:
            answer = await self._send(envelope, self._retry, keep)
        except (
            BaseException
        ) as error:  # whatever happened, the operation succeeded: its charge must not be lost
            if not kept:
                await self.recovery.keep(intent)
            self.recovery.wake()
            if not isinstance(error, Exception):
                raise
            log.warning("the charge of operation %s is kept for later: %r", intent.settle.hold, error)
            return Charge("pending", intent.tokens, uncollected=beyond)
        if kept:
            await self.recovery.conclude(intent, answer)
        if isinstance(answer, Refusal):
            return Charge("uncharged", 0, refusal=answer, uncollected=intent.tokens + beyond)
        return Charge("settled", answer.tokens, answer, uncollected=beyond)


def _terms(hold: Hold) -> tuple[Settle, int, int]:
    """The command that charges a hold, the tokens it charges, and those used beyond the hold."""
    used = hold.tokens if hold.used is None else hold.used
    tokens = min(used, hold.tokens)
    settle = Settle(hold=hold.id, tokens=tokens, output_tokens=hold.output_tokens, use=hold.use)
    return settle, tokens, used - tokens


def _succeeded(task: asyncio.Task[Any]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.error("a task of the till failed", exc_info=task.exception())


async def _awaited(operation: Callable[[Hold], Awaitable[T]], hold: Hold) -> T:
    return await operation(hold)
