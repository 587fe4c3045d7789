"""What every benchmark runs in: a folder to throw away, a catalog without limits, organizations and callers."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import uuid_utils
from msgspec import Struct, field

from tokentill.catalogs import preset_text
from tokentill.ports import StoreDown
from tokentill.rules import commands as c
from tokentill.rules.catalog import Catalog
from tokentill.rules.catalog_file import load as load_catalog
from tokentill.rules.receipts import Receipt
from tokentill.rules.refusals import Refusal
from tokentill.web.serving import new_event_loop
from tokentill.wiring import SystemClock

T = TypeVar("T")

SECRET = bytes(range(32))
CLOCK = SystemClock()


class Options(Struct, frozen=True):
    """How long to measure. `quick` says whether the scripts work, not how fast the till is."""

    seconds: float = 2.0
    rounds: int = 5
    quick: bool = False
    keep: str | None = None
    """The folder for databases that are large to build and kept for the next run."""


class Submits(Protocol):
    """The part of a ledger that callers use."""

    def submit(self, envelope: c.Envelope) -> Awaitable[Receipt | Refusal]:
        """Decide and store one command."""
        ...


class Drive(Struct):
    """What a crowd of callers did. Latencies in seconds, of single commands."""

    commands: int = 0
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    troubles: Counter[str] = field(default_factory=Counter)

    @property
    def rate(self) -> float:
        """Commands a second."""
        return self.commands / self.seconds


def catalog(name: str = "bench") -> Catalog:
    """A preset."""
    return load_catalog(preset_text(name), f"{name}.toml")[0]


def ordered_key() -> str:
    """A key as the till makes them: a UUID of version 7."""
    return uuid_utils.uuid7().hex


def random_key() -> str:
    """A key as a caller may make them."""
    return os.urandom(16).hex()


@contextlib.contextmanager
def folder(kept: str | None = None) -> Iterator[Path]:
    """A folder for this run, removed at the end; or the one that is kept."""
    if kept is not None:
        Path(kept).mkdir(parents=True, exist_ok=True)
        yield Path(kept)
        return
    path = Path(tempfile.mkdtemp(prefix="tokentill-bench-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on the loop the server runs on, with nothing left over from the work before."""
    gc.collect()
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(work)


async def open_organizations(ledger: Submits, names: Sequence[str]) -> None:
    """Open an account for each name that has none."""
    for start in range(0, len(names), 256):
        some = [c.Envelope(name, c.Open(), ordered_key()) for name in names[start : start + 256]]
        await asyncio.gather(*map(ledger.submit, some))


async def drive(
    ledger: Submits,
    names: Sequence[str],
    callers: int,
    *,
    pairs: int | None = None,
    seconds: float | None = None,
    until: float | None = None,
    timed: bool = False,
    new_key: Callable[[], str] = ordered_key,
) -> Drive:
    """`callers` at once, each reserving and settling one operation after another.

    Ends after `pairs` pairs in all, after `seconds`, or at the moment `until` of the monotonic clock. Callers
    begin at organizations far from each other and go on to the next, so that neighbours in a batch differ.
    """
    done = Drive()
    count = len(names)
    left = itertools.count(1)
    most = 1 << 62 if pairs is None else pairs
    end = time.monotonic() + (seconds or 1e9) if until is None else until
    submit = _timed(ledger, done.latencies) if timed else ledger.submit

    async def caller(number: int) -> None:
        at = number * count // callers
        while next(left) <= most and time.monotonic() < end:
            name, key = names[at % count], new_key()
            at += 1
            try:
                held = await submit(c.Envelope(name, c.Reserve(feature="op", user="u1"), key))
                settled = await submit(c.Envelope(name, c.Settle(hold=key)))
            except StoreDown as trouble:
                done.troubles[str(trouble)] += 1
                continue
            done.commands += 2
            for reply in (held, settled):
                if type(reply) is Refusal:
                    done.troubles[reply.code] += 1

    started = time.perf_counter()
    await asyncio.gather(*(caller(number) for number in range(callers)))
    done.seconds = time.perf_counter() - started
    return done


def _timed(ledger: Submits, latencies: list[float]) -> Callable[[c.Envelope], Awaitable[Receipt | Refusal]]:
    async def submit(envelope: c.Envelope) -> Receipt | Refusal:
        before = time.perf_counter()
        try:
            return await ledger.submit(envelope)
        finally:
            latencies.append(time.perf_counter() - before)

    return submit
