"""PostgreSQL goes away under load, again and again, and a standby takes over: nothing is lost, nothing doubled.

Several processes reserve, run and settle operations while the server is stopped at once, killed or restarted, and
while its place is taken by its standby. In the end the journal says of each operation what its caller was told.
COMMITs whose answers are lost have a rig of their own (`tests/store/test_lost_commit.py`).

Invariants 3, 4 and 6 of the design; I4, I6, I8, I9 of the test plan. R-LED-3, R-LED-4, R-LED-9, R-PLAT-5.
"""

import asyncio
import random
import sys
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import asyncpg
import pytest

from tests.support import rig_chaos as chaos
from tests.support.postgres import Cluster, private_cluster
from tests.support.rig_processes import PATIENCE_SECONDS, Processes
from tests.support.rig_store import bench_with, open_ledger
from tokentill.rules import commands as c
from tokentill.rules.receipts import Receipt
from tokentill.store.postgres import PostgresLedger
from tokentill.store.postgres_connection import Connection
from tokentill.store.postgres_lane import PostgresLane

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

PROCESSES = 3

Event = tuple[int, Callable[[], None]]
"""After so many operations this happens."""


def reached(told: list[chaos.Told], number: int) -> bool:
    return len(told) >= number


def under_load(
    processes: Processes, url: str, folder: Path, seed: int, operations: int, events: Sequence[Event]
) -> list[chaos.Told]:
    """Let the processes do so many operations each while things happen; what their callers were told."""
    told: list[chaos.Told] = []
    news = threading.Condition()
    children = [
        processes.start(
            chaos.operate,
            url=url,
            folder=str(folder / str(number)),
            seed=seed + number,
            operations=operations,
        )
        for number in range(PROCESSES)
    ]

    def listen(lines: Any) -> None:
        for line in lines:
            with news:
                told.append(line)
                news.notify()

    for child in children:
        assert child.channel.read() == {"ready": True}, processes.errors()
    listeners = [threading.Thread(target=listen, args=(child.channel.lines(),)) for child in children]
    for child, listener in zip(children, listeners, strict=True):
        child.channel.write("go")
        listener.start()
    for after, happen in events:
        with news:
            assert news.wait_for(partial(reached, told, after), PATIENCE_SECONDS), processes.errors()
        assert len(told) < PROCESSES * operations, "too late: nobody was at work any more"
        happen()
    for child, listener in zip(children, listeners, strict=True):
        listener.join(PATIENCE_SECONDS)
        assert child.wait() == 0, processes.errors()
    assert len(told) == PROCESSES * operations
    return told


def restarts(processes: Processes, folder: Path, seed: int, operations: int, every: int, down: float) -> str:
    """The server goes `every` so many operations, for up to `down` seconds; what was done and seen."""
    dice = random.Random(seed)
    begun = time.monotonic()
    with private_cluster() as cluster:

        def restart() -> None:
            how: Literal["immediate", "kill", "fast"] = dice.choice(
                ("immediate", "immediate", "kill", "fast")
            )
            cluster.stop(how)
            threading.Event().wait(dice.uniform(0, down))
            cluster.start()

        asyncio.run(chaos.begin(cluster.url()))
        events = [(after, restart) for after in range(every, PROCESSES * operations - every, every)]
        told = under_load(processes, cluster.url(), folder, seed, operations, events)
        asyncio.run(chaos.reckon(cluster.url(), told))
        deadlocks = asyncio.run(
            ask(cluster.url(), "select deadlocks from pg_stat_database where datname = 'postgres'")
        )
    assert deadlocks == 0
    seconds = time.monotonic() - begun
    return f"seed {seed}: {len(told)} operations, {len(events)} restarts, {seconds:.1f} s"


async def ask(url: str, question: str) -> Any:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(question)
    finally:
        await connection.close()


def test_restarts_under_load(processes: Processes, tmp_path: Path, run_seed: int) -> None:
    print(restarts(processes, tmp_path, run_seed, operations=400, every=150, down=0.2))


@pytest.mark.nightly
def test_restarts_under_load_for_long(processes: Processes, tmp_path: Path, run_seed: int) -> None:
    print(restarts(processes, tmp_path, run_seed, operations=6_700, every=250, down=2))


def standby_of(primary: Cluster, home: Path) -> Cluster:
    """A standby that has each COMMIT before it is answered."""
    standby = Cluster(home, primary.programs, primary.settings)
    standby.follow(primary)
    standby.start()

    async def wait_for(state: str) -> None:
        connection = await asyncpg.connect(primary.url())
        while await connection.fetchval("select max(sync_state) from pg_stat_replication") != state:
            await connection.execute("select pg_reload_conf()")
        await connection.close()

    asyncio.run(wait_for("async"))
    asyncio.run(ask(primary.url(), "alter system set synchronous_standby_names = '*'"))
    asyncio.run(wait_for("sync"))
    return standby


def either(primary: Cluster, standby: Cluster) -> str:
    """An address that leads to whichever of them takes commands."""
    return f"{primary.url()},{standby.sockets}&target_session_attrs=read-write"


def takeover(processes: Processes, folder: Path, seed: int, operations: int) -> str:
    """The primary is killed in the middle, and its standby takes over."""
    begun = time.monotonic()
    with private_cluster() as primary:
        asyncio.run(chaos.begin(primary.url()))
        standby = standby_of(primary, primary.home.parent / "q")

        def fail_over() -> None:
            primary.stop("kill")
            standby.promote()

        url = either(primary, standby)
        try:
            events = [(PROCESSES * operations // 2, fail_over)]
            told = under_load(processes, url, folder, seed, operations, events)
            asyncio.run(chaos.reckon(standby.url(), told))
        finally:
            standby.stop("immediate")
    return f"seed {seed}: {len(told)} operations, one takeover, {time.monotonic() - begun:.1f} s"


def test_a_standby_takes_over_under_load(processes: Processes, tmp_path: Path, run_seed: int) -> None:
    print(takeover(processes, tmp_path, run_seed, operations=300))


@pytest.mark.nightly
@pytest.mark.parametrize("part", range(10))
def test_a_standby_takes_over_again_and_again(
    processes: Processes, tmp_path: Path, run_seed: int, part: int
) -> None:
    print(takeover(processes, tmp_path, run_seed + 10 * part, operations=1_000))


class AnswersUnsynced(PostgresLane):
    """Planted fault: a COMMIT is answered before it is on the disk."""

    @override
    async def _connected(self) -> Connection:
        connection = await super()._connected()
        await connection.execute("set synchronous_commit = off")
        return connection


class AnswersUnsyncedLedger(PostgresLedger):
    """The ledger with that lane."""

    lane_type = AnswersUnsynced


@pytest.mark.parametrize("kind", [PostgresLedger, AnswersUnsyncedLedger])
def test_an_answer_that_was_not_kept_would_be_found(kind: type[PostgresLedger]) -> None:
    """Crashing right after an answer, the server would not yet have written by itself."""
    with private_cluster(wal_writer_delay="10s") as cluster:
        asyncio.run(chaos.begin(cluster.url()))
        told = asyncio.run(operated(cluster, kind))
        if kind is PostgresLedger:
            asyncio.run(chaos.reckon(cluster.url(), told))
        else:
            with pytest.raises(AssertionError, match="each was reserved once"):
                asyncio.run(chaos.reckon(cluster.url(), told))


async def operated(cluster: Cluster, kind: type[PostgresLedger]) -> list[chaos.Told]:
    """One operation, charged, and what its caller was told; then the server crashes."""
    ledger = await open_ledger("postgres", cluster.url(), bench_with(chaos.ALLOWANCE), kind=kind)
    name, hold = chaos.ORGANIZATIONS[0], "a" * 32
    await ledger.submit(c.Envelope(name, c.Reserve(feature="metered", tokens=5, timeout_ms=1000), hold))
    receipt = await ledger.submit(c.Envelope(name, c.Settle(hold=hold, tokens=2)))
    assert isinstance(receipt, Receipt)
    cluster.stop("immediate")
    cluster.start()
    await ledger.submit(c.Envelope(chaos.ORGANIZATIONS[1], c.Tick()))  # the connection that broke is left
    await ledger.close()
    return [{"organization": name, "hold": hold, "entry": receipt.entry, "balance": receipt.balance}]
