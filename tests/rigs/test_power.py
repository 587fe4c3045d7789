"""Power cuts on SQLite: whatever the disk kept of what was not synced, nothing that was answered is lost.

A ledger with the real schema works on a disk that records every write and sync. Then the power is cut at every
place between two of them, each time leaving other parts of what was still open, and what is left is opened:
`verify` finds nothing and every acknowledged operation is there. Checkpoints and restarts of the log come as
often as commands, so that they are cut too.

`synchronous=FULL` loses nothing. A ledger with `synchronous=NORMAL`, one that answers before it commits, and a
disk that ignores a sync must each be caught.

Invariants 1, 2 and 6 of the design; I1, I3, I8 of the test plan. R-LED-5, R-PLAT-5.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from tests.support.rig_disk import Disk, Image, Record, empty, images
from tests.support.rig_plants import AnswersEarly, SyncsSeldom
from tests.support.rig_scripts import ALLOWANCE, Script
from tests.support.rig_store import SECRET, Still, bench_with, often, plain
from tokentill.ports import StoreDown
from tokentill.rules import commands as c
from tokentill.rules.receipts import Receipt
from tokentill.store import sqlite_reads as reads
from tokentill.store.sqlite import SqliteLedger
from tokentill.store.sqlite_connection import connect

IMAGES = 3_000
"""At the least; where nothing is open there is only one image."""
CLIENTS, ACTIONS = 4, 12
CHECKPOINT_PAGES = 12
REOPEN_EVERY = 40
NAME = "till.db"


class Lost(AssertionError):
    """A power cut took something that had been acknowledged."""


async def record(kind: type[SqliteLedger], folder: Path, script: Script, disk: Disk) -> None:
    """Let clients run their scripts in two sessions, noting each answer when it is given."""
    for start in (0, ACTIONS // 2):
        ledger = often(
            await kind.open(
                str(folder / NAME), bench_with(ALLOWANCE), SECRET, Still(), sweep=False, vfs=disk.name
            )
        )
        ledger._connection.wal_autocheckpoint(CHECKPOINT_PAGES)
        await session(ledger, script, disk, start, start + ACTIONS // 2)
        await ledger.close()


async def session(ledger: SqliteLedger, script: Script, disk: Disk, start: int, stop: int) -> None:
    async def submit(envelope: c.Envelope) -> None:
        reply = await ledger.submit(envelope)
        key = reply.operation if isinstance(reply, Receipt) else envelope.key
        part = {"charge": int(envelope.key is None), "release": 1, "refund": 2}
        kind = reply.kind if isinstance(reply, Receipt) else "refused"
        disk.acknowledged((envelope, (envelope.organization, key, part.get(kind, 0)), plain(reply)))

    async def client(number: int) -> None:
        for step in script.steps(number, start, stop):
            await submit(step.envelope)

    if not start:
        for name in script.organizations:
            await submit(c.Envelope(name, c.Open(), f"{script.seed:032x}", keyed=True))
    await asyncio.gather(*map(client, range(CLIENTS)))


def check(image: Image, told: list[Any], folder: Path) -> None:
    """Open what was left, as a new process would."""
    empty(folder)
    image.write(folder)
    try:
        connection = connect(str(folder / NAME))
    except StoreDown as trouble:
        raise Lost(f"cut after {image.cut}, {image.way} of the rest kept: {trouble}") from trouble
    connection.pragma("synchronous", "off")
    try:
        if not connection.execute("select 1 from sqlite_schema where name = 'entry'").fetchone():
            there = set()
        else:
            connection.execute("begin")
            verdict = reads.verify(connection, SECRET)
            assert verdict.findings == (), (image.cut, image.way, verdict.findings)
            rows = connection.execute(
                "select name, lower(hex(key)), part from entry join organization on number = organization "
                "where key is not null"
            )
            there = set(rows)
            connection.execute("rollback")
    finally:
        connection.close()
    lost = [mark for _, mark, _ in told[: image.acknowledged] if mark not in there]
    if lost:
        raise Lost(f"cut after {image.cut}, {image.way} of the rest kept: lost {lost}")


async def go_on(image: Image, told: list[Any], folder: Path) -> None:
    """A ledger on what was left gives every answer again, and goes on."""
    empty(folder)
    image.write(folder)
    ledger = often(
        await SqliteLedger.open(str(folder / NAME), bench_with(ALLOWANCE), SECRET, Still(), sweep=False)
    )
    ledger._connection.pragma("synchronous", "off")
    for number, (envelope, _, reply) in enumerate(told):
        again = plain(await ledger.submit(replace(envelope, retry=True)))
        if number < image.acknowledged and again != reply:
            raise Lost(f"cut after {image.cut}: {envelope} was answered {reply}, now {again}")
    assert (await ledger.verify()).findings == ()
    await ledger.close()


async def cut(
    kind: type[SqliteLedger], seed: int, count: int, folder: Path, *, spare: Any = None
) -> Counter[str]:
    """Record a run of `kind`, then open `count` images of it. `spare` names syncs that the disk ignores."""
    work, left = folder / "work", folder / "left"
    work.mkdir()
    left.mkdir()
    script = Script(seed, ("ann", "bob"))
    with Disk() as disk:
        await record(kind, work, script, disk)
    told = [record.told for record in disk.records if record.kind == "acknowledge"]
    records = disk.records if spare is None else list(without(disk.records, spare))
    dice = random.Random(seed)
    seen: Counter[str] = Counter()
    for number, image in enumerate(images(records, dice, count)):
        seen["images"] += 1
        seen[image.way] += 1
        check(image, told, left)
        if number % REOPEN_EVERY == 0:
            seen["gone on"] += 1
            await go_on(image, told, left)
    seen["acknowledged"] = len(told)
    seen["syncs"] = sum(record.kind == "sync" for record in records)
    return seen


def without(records: list[Record], name: str) -> Iterator[Record]:
    for each in records:
        if each.kind != "sync" or not each.file.endswith(name):
            yield each


async def test_full_sync_loses_nothing(tmp_path: Path, run_seed: int) -> None:
    """Three thousand images."""
    begun = time.monotonic()
    seen = await cut(SqliteLedger, run_seed, IMAGES * 4 // 3, tmp_path)
    print(f"seed {run_seed}: {seen['images']} images in {time.monotonic() - begun:.1f} s, {dict(seen)}")
    assert seen["images"] >= IMAGES


@pytest.mark.parametrize("kind", [SyncsSeldom, AnswersEarly])
async def test_a_ledger_that_answers_too_soon_is_caught(
    kind: type[SqliteLedger], tmp_path: Path, run_seed: int
) -> None:
    with pytest.raises(Lost):
        await cut(kind, run_seed, IMAGES, tmp_path)


@pytest.mark.parametrize("name", ["-wal", NAME])
async def test_a_disk_that_ignores_syncs_is_caught(name: str, tmp_path: Path, run_seed: int) -> None:
    """So the syncs of the log and those of the database file are both needed, and both are looked at."""
    with pytest.raises(Lost):
        await cut(SqliteLedger, run_seed, IMAGES, tmp_path, spare=name)


@pytest.mark.nightly
@pytest.mark.parametrize("part", range(10))
async def test_full_sync_loses_nothing_for_long(part: int, tmp_path: Path, run_seed: int) -> None:
    """A hundred thousand images and more."""
    print(f"seed {run_seed}:", await cut(SqliteLedger, run_seed + part, 12_000, tmp_path))
