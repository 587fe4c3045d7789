"""A fair lock between processes on one machine, in two file locks.

Whoever holds the database must not win it again while another waits. So each first queues at the outer
lock and keeps it until it has the inner one: a process that lets the inner lock go and comes straight back
finds the outer lock taken by the next in line. The kernel frees both when a process dies.

Requirement ids: R-PLAT-5.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from types import TracebackType


def _nothing() -> None:
    """Nobody asked to be told."""


def _taken(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class Turnstile:
    """`with turnstile:` holds the lock of `path`; one thread of a process at a time."""

    def __init__(self, path: str) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        self._inner = os.open(path, flags, 0o600)
        try:
            self._outer = os.open(path + "-next", flags, 0o600)
        except OSError:
            os.close(self._inner)
            raise
        self.before_waiting: Callable[[], None] = _nothing
        """Called where another has the lock, another process most often, before it is waited for."""
        self.next_in_line: Callable[[], None] = _nothing
        """Called after that, once nobody else will have the lock in between."""

    def __enter__(self) -> None:
        if not _taken(self._outer):
            self.before_waiting()
            fcntl.flock(self._outer, fcntl.LOCK_EX)
        try:
            if not _taken(self._inner):
                self.before_waiting()
                self.next_in_line()
                fcntl.flock(self._inner, fcntl.LOCK_EX)
        finally:
            fcntl.flock(self._outer, fcntl.LOCK_UN)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        fcntl.flock(self._inner, fcntl.LOCK_UN)

    def close(self) -> None:
        """Give the files back."""
        for fd in (self._outer, self._inner):
            os.close(fd)


class NoTurnstile:
    """For a database in memory, which no other process can reach."""

    before_waiting: Callable[[], None] = _nothing
    next_in_line: Callable[[], None] = _nothing

    def __enter__(self) -> None:
        """Nothing to wait for."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to give back."""

    def close(self) -> None:
        """Nothing to give back."""
