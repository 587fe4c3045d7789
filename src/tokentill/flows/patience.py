"""Patience: a limit on how long something is waited for, where very many wait and hardly any in vain.

`with patience(seconds)` does what `async with asyncio.timeout(seconds)` does, for a fraction of its time: all who wait
equally long share one timer, for whoever began first is also the first whose time is over.
"""

from __future__ import annotations

import asyncio
from collections import deque
from types import TracebackType


class Wait:
    """One who waits, in one task, once."""

    __slots__ = ("_before", "_over", "_queue", "task", "until")

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self.task: asyncio.Task[object] | None = None
        """None once the wait has ended."""
        self.until = 0.0
        self._before = 0
        self._over = False

    def end(self) -> None:
        """Its time is over."""
        if self.task is not None:
            self._over = True
            self.task.cancel()

    def __enter__(self) -> None:
        """Begin to wait."""
        task = asyncio.current_task()
        assert task is not None, "whoever waits is a task"
        self.task, self._before = task, task.cancelling()
        self._queue.join(self)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End; raises `TimeoutError` where the time was over."""
        task, self.task = self.task, None
        assert task is not None, "it was begun"
        self._queue.leave()
        if self._over and task.uncancel() <= self._before and isinstance(error, asyncio.CancelledError):
            raise TimeoutError from error


class Queue:
    """Those who wait equally long, on one event loop, whoever began first in front."""

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        self._loop = loop
        self._seconds = seconds
        self._waits: deque[Wait] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def join(self, wait: Wait) -> None:
        """Wait from now on."""
        wait.until = self._loop.time() + self._seconds
        self._waits.append(wait)
        if self._timer is None:
            self._timer = self._loop.call_at(wait.until, self._look)

    def leave(self) -> None:
        """Forget those in front whose wait has ended."""
        waits = self._waits
        while waits and waits[0].task is None:
            waits.popleft()

    def close(self) -> None:
        """Nobody waits any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        """End the waits whose time is over, and look again when the next one's may be."""
        now = self._loop.time()
        while self._waits and (self._waits[0].task is None or self._waits[0].until <= now):
            self._waits.popleft().end()
        self._timer = self._loop.call_at(self._waits[0].until, self._look) if self._waits else None


class Patience:
    """For those who wait on one event loop at a time. `patience(seconds)` is what they enter."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._queues: dict[float, Queue] = {}

    def __call__(self, seconds: float) -> Wait:
        """The block that is entered raises `TimeoutError` at its end if it took longer than `seconds` and was ended."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop, self._queues = loop, {}
        queue = self._queues.get(seconds)
        if queue is None:
            queue = self._queues[seconds] = Queue(loop, seconds)
        return Wait(queue)

    def close(self) -> None:
        """Nobody waits any more, so that no timer need be kept."""
        for queue in self._queues.values():
            queue.close()
