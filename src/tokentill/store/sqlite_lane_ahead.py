"""Deciding ahead: the next batch of a SQLite lane is decided while the one before commits (design idea 3).

During a commit the writer's thread holds no interpreter lock. So the loop of the callers first lets those run who
were answered just now, then decides what they sent, and no thread is woken for it. What is decided ahead rests on
memory alone: it is written only if the batch before was committed and nobody else wrote in between.

Requirement ids: R-LED-3, R-LED-5, R-LED-9.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from tokentill.store import faults
from tokentill.store.lane import Book, Job, Writes

BATCH_JOBS_MAX = 256
AHEAD_JOBS_MIN = 24
"""A batch of fewer commands is decided in less time than its commit takes, so halving batches would not pay."""
CALM_BATCHES_MIN = 16
"""So many batches must have passed since another process wrote, or since a batch could not be decided ahead."""
RECENT_BATCHES = 16


class Batch:
    """Commands that are stored together. `writes` is what was decided of them, None as long as nothing is.

    `apart` says that it is a part of a batch that failed. Then another part comes next, so nothing is decided ahead.
    """

    __slots__ = ("apart", "jobs", "names", "writes")

    def __init__(self, jobs: list[Job], *, apart: bool = False) -> None:
        self.jobs = jobs
        self.apart = apart
        self.names = list(dict.fromkeys([job.envelope.organization for job in jobs]))
        self.writes: Writes | None = None


class Recent:
    """The last few durations of something, in seconds."""

    def __init__(self) -> None:
        self._last = deque([0.0], RECENT_BATCHES)

    def add(self, seconds: float) -> None:
        """Remember one; the oldest is forgotten."""
        self._last.append(seconds)

    @property
    def middle(self) -> float:
        """What they take as a rule: one that took very long does not count for more."""
        return sorted(self._last)[len(self._last) // 2]

    @property
    def mostly(self) -> float:
        """What three of four do not exceed: a disk that is slow every other time is slow, one pause is not."""
        return sorted(self._last)[len(self._last) * 3 // 4]


class Ahead:
    """The time in which the next batch may be decided on the loop, and the batch that was.

    `queue` is the lane's: commands, and other things that end a batch here. `decide` gives the writes of a batch;
    `is_exact` tells whether accounts are known as they will be when the batch that is being committed is stored.
    """

    jobs_min = AHEAD_JOBS_MIN
    calm_batches_min = CALM_BATCHES_MIN

    def __init__(
        self,
        book: Book,
        queue: deque[Any],
        decide: Callable[[list[Job]], Writes],
        is_exact: Callable[[list[str]], bool],
    ) -> None:
        self.calm = 0
        """Batches since something spoke against deciding ahead."""
        self.job_takes, self.commit_takes = Recent(), Recent()
        self.batch: Batch | None = None
        """The writer's next batch. Without writes it could not be decided ahead, or what was decided is void."""
        self._book = book
        self._queue = queue
        self._decide = decide
        self._is_exact = is_exact
        self._committing = 0
        """Commands of the batch that is being committed, if the next may be decided meanwhile; otherwise 0."""
        self._lock = threading.Lock()

    # ---- the writer's thread -------------------------------------------------------------------------

    def pays(self, commands: int) -> bool:
        """Whether so many commands are stored sooner in two halves, one being decided while the other commits."""
        return (
            commands >= 2 * self.jobs_min
            and self.calm >= self.calm_batches_min
            and self.commit_takes.mostly <= commands * self.job_takes.middle
        )

    def begin(self, commands: int, loop: asyncio.AbstractEventLoop) -> None:
        """A batch of so many commands will now be committed: the loop may decide, after those it tells first."""
        self._committing = commands
        with suppress(RuntimeError):  # a loop that has ended has nobody who sends anything
            loop.call_soon_threadsafe(loop.call_soon, self.decide)

    def end(self) -> None:
        """The commit is over: from here on memory is the writer's alone."""
        with self._lock:
            self._committing = 0

    def drop(self) -> None:
        """The batch before was not stored, so what was decided after it is void."""
        if self.batch is not None:
            self._book.forget(self.batch.names)
            self.batch.writes = None

    def take(self) -> Batch | None:
        """The batch that was begun, if there is one."""
        batch, self.batch = self.batch, None
        return batch

    # ---- the callers' loop ---------------------------------------------------------------------------

    def decide(self) -> None:
        """Decide what waits, about half of all commands there are.

        A batch with a command that memory alone cannot answer stays in the queue for the writer.
        """
        queue = self._queue
        with self._lock:
            if not self._committing or self.batch is not None or len(queue) < self.jobs_min:
                return
            most = min(BATCH_JOBS_MAX, max(self.jobs_min, (len(queue) + self._committing) // 2))
            jobs: list[Job] = []
            while len(jobs) < min(most, len(queue)) and isinstance(queue[len(jobs)], Job):
                jobs.append(queue[len(jobs)])
            batch = Batch(jobs)
            if len(jobs) < self.jobs_min or not self._is_exact(batch.names) or self._book.lookups(jobs):
                self.calm = 0
                return
            for _ in jobs:
                queue.popleft()
            self.batch = batch
            try:
                batch.writes = self._decide(jobs)
                faults.hit("lane.decided_ahead")
            except BaseException as trouble:
                self.drop()  # an interruption from the keyboard comes here too, and memory is half changed
                if not isinstance(trouble, Exception):
                    raise
                # The writer meets it again, and tells whom it concerns.
