"""A million accounts and ten million entries in place, and ten thousand holds open in one account.

The same thousand organizations, spread over the million, are charged at the same rate as in a database that
holds nothing else? Once with keys in order of time, as the till makes them, once with random ones, as callers
may. The large databases are built by bulk inserts: rows of the right shape and size whose bytes nobody reads.
They are kept in the temporary folder for the next run, which adds its own entries to them.
"""

from __future__ import annotations

import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any

from msgspec import Struct

from bench import world
from bench.inprocess import CALLERS, INSERT
from bench.report import Figure, at_least, at_most, known, median, ratios
from bench.stores import Place
from bench.world import CLOCK, SECRET, Drive, Options, ordered_key, random_key
from tokentill.rules import chain
from tokentill.rules import commands as c
from tokentill.store.migrations import migrations
from tokentill.store.sqlite import SqliteLedger
from tokentill.store.sqlite_connection import connect

TITLE = "a million accounts, ten million entries, ten thousand open holds"

ACTIVE = 1_000
FAR = 4_102_444_800_000
"""A deadline in the year 2100."""
KEPT = "tokentill-bench-scale"
ORGANIZATION = "insert into organization (number, name, seq, head, last_row, due_at) values (?,?,?,?,?,?)"


class Size(Struct, frozen=True):
    """How large is large."""

    accounts: int
    entries: int


def is_active(number: int, size: Size) -> bool:
    """Whether the account is one of those that are charged."""
    return number % (size.accounts // ACTIVE) == 0


def active(size: Size) -> list[str]:
    """The organizations that are charged, spread over all."""
    return [f"org-{number}" for number in range(1, size.accounts + 1) if is_active(number, size)]


def _organizations(size: Size) -> Iterator[tuple[Any, ...]]:
    rounds = size.entries // size.accounts
    last = size.entries - size.accounts
    for number in range(1, size.accounts + 1):
        name = f"org-{number}"
        if is_active(number, size):
            yield number, name, 0, chain.root(SECRET, name), 0, None
        else:
            yield number, name, rounds, os.urandom(16), last + number, FAR


def _entries(size: Size, *, ordered: bool) -> Iterator[tuple[Any, ...]]:
    """One entry of each account, then the next of each, as if all were charged in turn."""
    start = 1_700_000_000_000
    bits = random.Random(1).getrandbits  # filler, not secrets
    for row in range(1, size.entries + 1):
        number = (row - 1) % size.accounts + 1
        if is_active(number, size):
            continue
        at = start + row // 8
        key = ((at << 80 | bits(80)) if ordered else bits(128)).to_bytes(16, "big")
        seq = (row - 1) // size.accounts + 1
        body = (
            f'{{"kind":"charge","seq":{seq},"time":{at},"catalog":"6825b44c5e3a9677","balance":999999999999,'
            f'"tokens":1,"user":"0123456789abcdef","feature":"op","key":"{key.hex()}","part":1,"moves":[[1,1]],'
            f'"rated":false,"burned":false}}'
        ).encode()
        yield (
            row, number, max(0, row - size.accounts), seq, at, "charge", "done", "0123456789abcdef", "op", 1,
            999_999_999_999, None, key, 1, key[::-1], body,
        )  # fmt: skip


def build(path: Path, size: Size, *, ordered: bool) -> None:
    """Make a large database, whole or not at all."""
    draft = path.with_suffix(".draft")
    for old in (draft, Path(f"{draft}-wal"), Path(f"{draft}-shm")):
        old.unlink(missing_ok=True)

    async def begin() -> None:
        await (await SqliteLedger.open(str(draft), world.catalog(), SECRET, CLOCK)).close()

    world.run(begin())
    connection = connect(str(draft))
    connection.pragma("journal_mode", "off")
    connection.pragma("synchronous", "off")
    index = str(connection.execute("select sql from sqlite_schema where name = 'entry_key'").get)
    connection.execute("drop index entry_key; begin")
    connection.executemany(ORGANIZATION, _organizations(size))
    connection.executemany(INSERT, _entries(size, ordered=ordered))
    connection.execute("commit")
    connection.execute(index)
    connection.pragma("journal_mode", "wal")
    connection.close()
    draft.rename(path)


async def _open(path: Path, names: list[str]) -> SqliteLedger:
    ledger = await SqliteLedger.open(str(path), world.catalog(), SECRET, CLOCK)
    found = await ledger.account(names[0])
    if found is None or not found.state.opened:
        await world.open_organizations(ledger, names)
    return ledger


async def _compare(folder: Path, size: Size, options: Options) -> list[Figure]:
    """The large databases and small ones in turn, all open in this process."""
    names = active(size)
    kinds: dict[str, Callable[[], str]] = {"ordered": ordered_key, "random": random_key}
    ledgers: dict[tuple[str, str], SqliteLedger] = {}
    with world.folder() as small:
        for kind in kinds:
            ledgers[kind, "small"] = await _open(small / f"{kind}.db", names)
            ledgers[kind, "large"] = await _open(folder / _file(kind, size), names)
        rates: dict[tuple[str, str], list[float]] = {side: [] for side in ledgers}
        for turn in range(options.rounds + 1):
            for side, ledger in ledgers.items():
                done = await world.drive(
                    ledger, names, CALLERS, seconds=options.seconds, new_key=kinds[side[0]]
                )
                assert not done.troubles, done.troubles
                if turn:
                    rates[side].append(done.rate)
        for ledger in ledgers.values():
            await ledger.close()
    return [
        at_least("keys in order: rate of the empty database", _kept(rates, "ordered"), 80),
        at_least("random keys: rate of the empty database", _kept(rates, "random"), 65),
        known("keys in order: commands in the large database", median(rates["ordered", "large"]), "/s"),
        known("random keys: commands in the large database", median(rates["random", "large"]), "/s"),
    ]


def _kept(rates: dict[tuple[str, str], list[float]], kind: str) -> float:
    return median(ratios(rates[kind, "large"], rates[kind, "small"]))


def _file(kind: str, size: Size) -> str:
    """Its name; one of an older schema has another."""
    schema = blake2b("".join(one.sql for one in migrations("sqlite")).encode(), digest_size=4)
    return f"{kind}-{size.accounts}-{size.entries}-{schema.hexdigest()}.db"


async def _holds(folder: Path, count: int, options: Options) -> list[Figure]:
    """One account with so many holds open against one with none, each charged by 64 callers."""
    ledger = await Place("sqlite", str(folder / "holds.db")).open()
    assert isinstance(ledger, SqliteLedger)
    await world.open_organizations(ledger, ["few", "many"])
    day = 24 * 3_600_000
    for start in range(0, count, 250):
        futures = [
            ledger.submit(c.Envelope("many", c.Reserve(feature="op", timeout_ms=day), ordered_key()))
            for _ in range(start, min(count, start + 250))
        ]
        for future in futures:
            await future
    batches: dict[str, list[float]] = {"few": [], "many": []}
    for turn in range(options.rounds + 1):
        for name, found in batches.items():
            before = ledger.batches
            done: Drive = await world.drive(ledger, [name], CALLERS, seconds=options.seconds)
            if turn:
                found.append(done.seconds / (ledger.batches - before))
    await ledger.close()
    started = time.perf_counter()
    ledger = await SqliteLedger.open(str(folder / "holds.db"), world.catalog(), SECRET, CLOCK)
    await ledger.submit(c.Envelope("many", c.Tick(), ordered_key()))
    took = time.perf_counter() - started
    await ledger.close()
    return [
        at_most(
            f"mean batch of an account with {count:,} open holds against one with none",
            median(many / few for few, many in zip(batches["few"], batches["many"], strict=True)), 3, "×",
        ),
        known("that account's first command after a restart", 1000 * took, "ms"),
    ]  # fmt: skip


def run(options: Options) -> list[Figure]:
    """Measure."""
    size = Size(20_000, 100_000) if options.quick else Size(1_000_000, 10_000_000)
    kept = options.keep or str(Path(tempfile.gettempdir()) / KEPT)
    with world.folder(kept) as folder:
        for kind in ("ordered", "random"):
            path = folder / _file(kind, size)
            if not path.exists():
                for old in folder.glob(f"{kind}-{size.accounts}-{size.entries}[-.]*"):
                    old.unlink()
                print(f"building {path.name}, once", flush=True)
                build(path, size, ordered=kind == "ordered")
        figures = world.run(_compare(folder, size, options))
        size_gb = sum(file.stat().st_size for file in folder.iterdir()) / 2**30
    with world.folder() as folder:
        figures += world.run(_holds(folder, 500 if options.quick else 10_000, options))
    figures.append(known("size of a large database", size_gb / 2, "GiB"))
    return figures
