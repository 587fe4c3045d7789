"""Holding: tokens reserved for the block of an `async with` (R-LED-3).

The block's normal end charges what `hold.charge` said, all that was reserved without a word. An exception
gives everything back, and so does the end of its time, which cancels the block and raises `TimedOut`.

Requirement ids: R-LED-3, R-LED-4.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from types import TracebackType
from typing import TypeVar

from tokentill.client.errors import Refused
from tokentill.client.transport import Transport
from tokentill.rules.commands import Reserve
from tokentill.rules.refusals import Refusal
from tokentill.wiring import Charging, Hold, TimedOut

T = TypeVar("T")

_current: ContextVar[Hold | None] = ContextVar("tokentill_hold", default=None)


def current_hold() -> Hold | None:
    """The hold of the operation that is running here; None outside of one."""
    return _current.get()


def entered(hold: Hold) -> Callable[[], None]:
    """Let `current_hold` answer `hold` here, until what this returns is called."""
    token = _current.set(hold)
    return lambda: _current.reset(token)


def marked(operation: Callable[[Hold], Awaitable[T]]) -> Callable[[Hold], Awaitable[T]]:
    """The operation, with `current_hold` answering inside it; one that cannot be awaited is a `TypeError`."""

    async def run(hold: Hold) -> T:
        leave = entered(hold)
        try:
            begun = operation(hold)
            if not inspect.isawaitable(begun):
                raise TypeError(f"{operation!r} is not async; give it to a SyncTill. Nothing was charged")
            return await begun
        finally:
            leave()

    return run


class Holding:
    """The context manager that `till.hold` gives."""

    def __init__(
        self, transport: Transport, charging: Charging, organization: str, reserve: Reserve, key: str | None
    ) -> None:
        self._transport = transport
        self._charging = charging
        self._organization = organization
        self._reserve = reserve
        self._key = key
        self._hold: Hold | None = None
        self._timeout: asyncio.Timeout | None = None
        self._timeout_ms = 0
        self._leave: Callable[[], None] | None = None

    async def begin(self) -> Hold:
        """Reserve the tokens; for callers that run the block themselves."""
        reserve = self._reserve
        self._timeout_ms = reserve.timeout_ms or await self._transport.timeout_ms(reserve.feature)
        hold = await self._charging.begin(self._organization, reserve, self._timeout_ms, self._key)
        if isinstance(hold, Refusal):
            raise Refused(hold)
        self._hold = hold
        return hold

    async def end(self, error: BaseException | None) -> None:
        """Charge if the block ended without an error and in time. Raises `TimedOut` if it was late."""
        hold = self._hold
        assert hold is not None, "a block ends after it has begun"
        late = asyncio.get_running_loop().time() >= hold.ends_at
        if error is None and not late:
            await self._charging.finish(hold)
            return
        if error is None or (late and isinstance(error, TimeoutError)):
            await self._charging.abandon(hold, "timeout")
            if error is None:
                await self._charging.late(hold)
            raise TimedOut(self._timeout_ms / 1000) from error
        await self._charging.abandon(
            hold, "cancelled" if isinstance(error, asyncio.CancelledError) else "failed"
        )

    async def __aenter__(self) -> Hold:
        hold = await self.begin()
        timeout = self._timeout = asyncio.timeout_at(hold.ends_at)
        await timeout.__aenter__()
        hold.on_extended = timeout.reschedule
        self._leave = entered(hold)
        return hold

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._timeout is not None, "a block is left after it was entered"
        if self._leave is not None:
            self._leave()
        try:
            await self._timeout.__aexit__(kind, error, trace)
        except TimeoutError as timeout:
            await self.end(timeout)
        else:
            await self.end(error)
