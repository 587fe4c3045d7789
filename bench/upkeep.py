"""What the till costs when nobody charges: verifying the journal, memory at rest, the time it takes to start."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from msgspec import Struct

from bench import world
from bench.inprocess import CALLERS
from bench.report import Figure, at_least, at_most, known, median
from bench.stores import Place
from bench.world import Options

TITLE = "verify, memory at rest, start"

HEALTH = b"GET /v1/health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"


class Start(Struct):
    """A server that was started: seconds to its first answer, memory at rest in MB."""

    seconds: float
    memory: float


def verify(path: Path, pairs: int, rounds: int) -> tuple[float, int]:
    """Entries a second of verifying a journal, and how many it has."""

    async def work() -> tuple[float, int]:
        ledger = await Place("sqlite", str(path)).open()
        names = [f"org-{number}" for number in range(100)]
        await world.open_organizations(ledger, names)
        await world.drive(ledger, names, CALLERS, pairs=pairs)
        rates = []
        count = 0
        for _ in range(rounds):
            started = time.perf_counter()
            verdict = await ledger.verify()
            rates.append(verdict.entries / (time.perf_counter() - started))
            assert not verdict.findings, verdict.findings
            count = verdict.entries
        await ledger.close()
        return median(rates), count

    return world.run(work())


def start(folder: Path) -> Start:
    """Start `tokentill serve` and ask for its health until it answers."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("tokentill")), "serve", "--port", str(port)]
    started = time.perf_counter()
    with (folder / "log").open("ab") as log:
        server = subprocess.Popen(
            [*command, "--database", str(folder / "till.db")], stdout=log, stderr=log, cwd=folder
        )
    try:
        while not _answers(port):
            if server.poll() is not None or time.perf_counter() - started > 60:
                raise RuntimeError(f"the server did not start:\n{(folder / 'log').read_text()}")
            time.sleep(0.005)
        seconds = time.perf_counter() - started
        time.sleep(2)  # the sweeper has come by; now it is at rest
        return Start(seconds, _memory(server.pid))
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait()


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(HEALTH)
            return connection.recv(64).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def _memory(pid: int) -> float:
    """Resident memory in MB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 1e6


def run(options: Options) -> list[Figure]:
    """Measure."""
    with world.folder() as folder:
        rate, count = verify(folder / "verify.db", 2_000 if options.quick else 100_000, options.rounds)
        starts = []
        for number in range(options.rounds):
            (folder / str(number)).mkdir()
            starts.append(start(folder / str(number)))
    return [
        at_least("verify", rate, 50_000, "entries/s", f"a journal of {count:,}"),
        at_most("memory of `tokentill serve` at rest", median(run.memory for run in starts), 100, "MB"),
        at_most(
            "start to first answer", median(run.seconds for run in starts), 2, "s", "database made at it"
        ),
        known("slowest start", max(run.seconds for run in starts), "s"),
    ]
