"""Planted faults: ledgers with one mistake each, which the rigs must catch."""

import sys
import threading

from tokentill.store.lane import Job, Writes, deliver
from tokentill.store.sqlite import SqliteLedger

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override


def _let_run(job: Job) -> None:
    """Give the job's loop time to do what it was told."""
    for _ in range(5):
        done = threading.Event()
        job.loop.call_soon_threadsafe(done.set)
        done.wait()


class AnswersEarly(SqliteLedger):
    """Answers when it has written, before it commits."""

    @override
    def _commit(self, jobs: list[Job]) -> None:
        self._early = jobs
        super()._commit(jobs)

    @override
    def _store(self, writes: Writes) -> None:
        super()._store(writes)
        for job in self._early:
            job.loop.call_soon_threadsafe(deliver, [job])
        _let_run(self._early[0])


class SyncsSeldom(SqliteLedger):
    """`synchronous=NORMAL`: a commit is in the operating system's hands, not on the disk."""

    def __init__(self, *arguments: object, **options: object) -> None:
        super().__init__(*arguments, **options)  # type: ignore[arg-type]  # handed on as they come
        self._connection.pragma("synchronous", "normal")
