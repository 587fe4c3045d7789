"""Leash: ends what a task is doing when the client that waits for it has gone.

As with `asyncio.timeout`, the task is cancelled inside the block and `Gone` is raised at its end; a cancellation from
elsewhere goes through as it is. What must be done to the end (settling) runs in tasks of its own.

Requirement ids: R-LED-3.
"""

from __future__ import annotations

import asyncio
from types import TracebackType


class Gone(Exception):
    """The client has gone; nobody waits for the answer."""


class Leash:
    """For one call. `pull` says that the client has gone, before, in or after the block."""

    __slots__ = ("_before", "_inside", "_pulled", "gone")

    def __init__(self) -> None:
        self.gone = False
        self._inside: asyncio.Task[object] | None = None
        self._before = 0
        self._pulled = False

    def pull(self) -> None:
        """The client has gone."""
        self.gone = True
        if self._inside is not None and not self._pulled:
            self._pulled = True
            self._inside.cancel()

    def __enter__(self) -> None:
        """Begin; raises `Gone` where the client has gone already."""
        if self.gone:
            raise Gone
        self._inside = asyncio.current_task()
        assert self._inside is not None, "a leash is for a task"
        self._before = self._inside.cancelling()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End; raises `Gone` where the block was ended because of it."""
        task, self._inside = self._inside, None
        assert task is not None
        if self._pulled and task.uncancel() <= self._before and isinstance(error, asyncio.CancelledError):
            raise Gone from error
