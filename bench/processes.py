"""Several processes on the same few organizations: what sharing costs, and whether it is fair.

Each process is a till of its own on the one database, as on a machine with several workers. It is compared
with one process alone that has the same organizations for itself.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import asyncpg
from msgspec import Struct

from bench import stores, world
from bench.report import Figure, at_least, at_most, known, median, percentile
from bench.stores import Place
from bench.world import Drive, Options

TITLE = "four processes on the same 20 organizations"

PROCESSES = 4
CALLERS = 32
ORGANIZATIONS = 20

_spawn = multiprocessing.get_context("spawn")


class Share(Struct):
    """What one process did."""

    rate: float
    wait_max: float
    wait_p99: float
    troubles: Counter[str]


class Shared(Struct):
    """What all of them did together."""

    shares: list[Share]

    @property
    def rate(self) -> float:
        """Commands a second of all."""
        return sum(share.rate for share in self.shares)

    @property
    def fairness(self) -> float:
        """The slowest as a percentage of the fastest."""
        rates = [share.rate for share in self.shares]
        return 100 * min(rates) / max(rates)

    @property
    def wait_max(self) -> float:
        """The longest that a caller waited for an answer, in seconds."""
        return max(share.wait_max for share in self.shares)

    @property
    def troubles(self) -> Counter[str]:
        """What went wrong."""
        return sum((share.troubles for share in self.shares), Counter())


def names(count: int = ORGANIZATIONS) -> list[str]:
    """The organizations."""
    return [f"org-{number}" for number in range(count)]


def prepare(place: Place, organizations: Sequence[str]) -> None:
    """Open the organizations."""

    async def work() -> None:
        ledger = await place.open()
        await world.open_organizations(ledger, organizations)
        await ledger.close()

    world.run(work())


def together(
    place: Place, organizations: Sequence[str], processes: int, callers: int, seconds: float
) -> Shared:
    """So many processes at once, for so long."""
    barrier = _spawn.Barrier(processes)
    answers: Any = _spawn.SimpleQueue()
    started = [
        _spawn.Process(target=_share, args=(place, list(organizations), callers, seconds, barrier, answers))
        for _ in range(processes)
    ]
    for process in started:
        process.start()
    for process in started:
        process.join()
    if any(process.exitcode for process in started):
        raise RuntimeError("a process ended with an error; what it was is above")
    return Shared([answers.get() for _ in started])


def _share(
    place: Place, organizations: list[str], callers: int, seconds: float, barrier: Any, answers: Any
) -> None:
    async def work() -> Drive:
        ledger = await place.open()
        await world.drive(ledger, organizations, callers, pairs=2 * callers)
        barrier.wait()
        done = await world.drive(ledger, organizations, callers, until=time.monotonic() + seconds, timed=True)
        # Nobody stops before all have been measured, so that none is ever alone.
        await asyncio.get_running_loop().run_in_executor(None, barrier.wait)
        await ledger.close()
        return done

    done = world.run(work())
    answers.put(Share(done.rate, max(done.latencies), percentile(done.latencies, 0.99), done.troubles))


def compare(place: Place, label: str, options: Options) -> list[Figure]:
    """One alone and four together, in turn."""
    organizations = names()
    prepare(place, organizations)
    alone: list[Shared] = []
    shared: list[Shared] = []
    for _ in range(max(1, options.rounds - 2)):
        alone.append(together(place, organizations, 1, CALLERS, options.seconds))
        shared.append(together(place, organizations, PROCESSES, CALLERS, options.seconds))
    share = [100 * four.rate / one.rate for one, four in zip(alone, shared, strict=True)]
    troubles: Counter[str] = sum((run.troubles for run in alone + shared), Counter())
    return [
        at_least(f"{label}: four processes against one alone", median(share), 50),
        at_least(f"{label}: the slowest process against the fastest", median(run.fairness for run in shared), 70),
        at_most(f"{label}: longest wait for an answer", 1000 * max(run.wait_max for run in shared), 250, "ms"),
        at_most(
            f"{label}: commands that failed (locks, deadlocks, anything)", troubles.total(), 0, "",
            "; ".join(list(troubles)[:3]),
        ),
        known(f"{label}: one process alone", median(run.rate for run in alone), "/s"),
        known(f"{label}: four together", median(run.rate for run in shared), "/s"),
    ]  # fmt: skip


async def deadlocks(url: str) -> int:
    """How many deadlocks this database has seen."""
    connection = await asyncpg.connect(url)
    try:
        count: int = await connection.fetchval(
            "select deadlocks from pg_stat_database where datname = current_database()"
        )
        return count
    finally:
        await connection.close()


def run(options: Options) -> list[Figure]:
    """Measure."""
    with world.folder() as folder:
        figures = compare(Place("sqlite", str(folder / "till.db")), "SQLite", options)
    with stores.server() as server:
        url = server.url(server.create_database())
        figures += compare(Place("postgres", url), "PostgreSQL", options)
        figures.append(at_most("PostgreSQL: deadlocks it saw", world.run(deadlocks(url)), 0, ""))
    return figures
