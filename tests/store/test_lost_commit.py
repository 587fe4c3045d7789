"""COMMIT was sent and the connection broke: what became of it is found out, never guessed (PostgreSQL).

Two lanes that guess show that these tests would notice.
"""

import asyncio
import random
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from tests.support import run
from tests.support.stores import Store, begin, charge, clean, envelope, new_key, ok, whole
from tests.support.wire import Cut, Wire
from tokentill.ports import StoreDown
from tokentill.rules import commands as c
from tokentill.rules.receipts import Receipt
from tokentill.store.postgres import PostgresLedger
from tokentill.store.postgres_lane import Batch, PostgresLane

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

# R-LED-3, R-LED-9


class Hasty(PostgresLane):
    """Does not wait between tries for long, so that tests are quick."""

    retry_seconds = 2.0


class Optimist(Hasty):
    """Planted fault: takes a lost answer for a yes."""

    @override
    async def _was_stored(self, batch: Batch) -> bool:
        batch.sent = None
        return True


class Pessimist(Hasty):
    """Planted fault: takes a lost answer for a no, and starts over."""

    @override
    async def _was_stored(self, batch: Batch) -> bool:
        batch.sent = None
        for job in batch.jobs:
            job.envelope = replace(job.envelope, retry=False)
        return False


def ledger_with(lane: type[PostgresLane]) -> type[PostgresLedger]:
    return type("Planted", (PostgresLedger,), {"lane_type": lane})


@pytest.fixture
async def wire(postgres: Store) -> AsyncIterator[Wire]:
    with tempfile.TemporaryDirectory(prefix="w-", dir=run.directory()) as folder:
        async with Wire(postgres.url, Path(folder))() as wire:
            postgres.url = wire.url
            yield wire
            await postgres.close()


async def storm(store: Store, wire: Wire, lane: type[PostgresLane], cuts: Sequence[Cut | None]) -> None:
    """Commands of every sort while COMMITs are cut; in the end each is there exactly once, as it was answered."""
    ledger = await store.open(kind=ledger_with(lane))
    names = [f"o{number}" for number in range(4)]
    await begin(ledger, *names, tokens=100_000)
    await asyncio.gather(*(charge(ledger, name) for name in names))
    wire.cuts.extend(cuts)
    before = wire.cut
    receipts: dict[str, list[Receipt]] = {name: [] for name in names}
    for turn in range(len(cuts)):
        replies = []
        for name in names[: 1 + turn % 4]:
            hold = new_key()
            replies += [
                (name, ledger.submit(envelope(name, c.Charge(feature="generate_goal")))),
                (
                    name,
                    ledger.submit(envelope(name, c.Charge(feature="generate_goal", user="ann"), new_key())),
                ),
                (name, ledger.submit(envelope(name, c.Reserve(feature="generate_goal"), hold))),
                (name, ledger.submit(c.Envelope(name, c.Extend(hold=hold, timeout_ms=60_000 + turn)))),
                (name, ledger.submit(c.Envelope(name, c.Settle(hold=hold)))),
                (name, ledger.submit(c.Envelope(name, c.Grant(tokens=1)))),
            ]
        answers = await asyncio.gather(*(reply for _, reply in replies), return_exceptions=True)
        for (name, _), answer in zip(replies, answers, strict=True):
            assert isinstance(answer, Receipt), f"each command was done: {answer!r}"
            receipts[name].append(answer)
    assert wire.cut - before == sum(cut is not None for cut in cuts), "every cut was met"
    for name in names:
        rows = await whole(ledger, name)
        assert [row.entry.seq for row in rows] == list(range(1, len(rows) + 1))
        answered = [receipt.entry for receipt in receipts[name]]
        assert answered == list(range(7, len(rows) + 1)), (
            "each entry was answered once, each answer is an entry"
        )
        for receipt in receipts[name]:
            entry = rows[receipt.entry - 1].entry
            assert (entry.tokens, entry.balance) == (receipt.tokens, receipt.balance)
    await clean(ledger)


@pytest.mark.parametrize("cut", ["before", "after"])
async def test_a_lost_commit_is_found_out(postgres: Store, wire: Wire, cut: Cut) -> None:
    await storm(postgres, wire, Hasty, [cut, None])


async def test_commits_lost_in_a_row(postgres: Store, wire: Wire) -> None:
    await storm(postgres, wire, Hasty, ["before", "before", "after", "before", "after"])


async def test_commits_lost_at_random(postgres: Store, wire: Wire, run_seed: int) -> None:
    chance = random.Random(run_seed)
    options: tuple[Cut | None, ...] = ("before", "after", None)
    await storm(postgres, wire, Hasty, [chance.choice(options) for _ in range(60)])


@pytest.mark.nightly
@pytest.mark.parametrize("part", range(4))
async def test_two_thousand_losses(postgres: Store, wire: Wire, run_seed: int, part: int) -> None:
    chance = random.Random(run_seed + part)
    options: tuple[Cut, ...] = ("before", "after")
    await storm(postgres, wire, Hasty, [chance.choice(options) for _ in range(500)])


@pytest.mark.parametrize(("lane", "cut"), [(Optimist, "before"), (Pessimist, "after")])
async def test_a_lane_that_guesses_is_caught(
    postgres: Store, wire: Wire, lane: type[PostgresLane], cut: Cut
) -> None:
    with pytest.raises(AssertionError, match=r"each (entry was answered once|command was done)"):
        await storm(postgres, wire, lane, [cut, None])


async def test_when_it_cannot_be_found_out_it_is_said_to_be_unknown(postgres: Store, wire: Wire) -> None:
    ledger = await postgres.open(kind=ledger_with(Hasty))
    await begin(ledger, "acme")
    key = new_key()
    wire.cuts.append("after")
    lost = ledger.submit(envelope("acme", c.Charge(feature="generate_goal"), key))
    wire.refuse = True
    with pytest.raises(StoreDown, match="Whether it was stored is not known"):
        await lost
    health = await ledger.health()
    assert not health.ok
    # Until the database is back, nobody waits.
    with pytest.raises(StoreDown):
        await charge(ledger, "acme")
    wire.refuse = False
    # Sent again under its key, it is found.
    assert (await charge(ledger, "acme", key=key)).replayed
    assert not (await charge(ledger, "acme")).replayed
    await clean(ledger)


async def test_reads_survive_a_cut(postgres: Store, wire: Wire) -> None:
    ledger = await postgres.open(kind=ledger_with(Hasty))
    await begin(ledger, "acme")
    assert await ledger.account("acme") is not None
    wire.drop()
    assert await ledger.account("acme") is not None
    assert await ledger.organizations() == ["acme"]
    wire.drop()
    assert (await charge(ledger, "acme", user="ann")).balance == 197
    wire.drop()
    assert await ledger.forget_user("acme", "ann")


async def test_another_process_may_have_gone_on_meanwhile(postgres: Store, wire: Wire) -> None:
    direct = await postgres.open()
    ledger = await postgres.open(kind=ledger_with(Hasty))
    await begin(ledger, "acme")
    wire.cuts.append("after")
    replies: list[Any] = await asyncio.gather(
        ledger.submit(envelope("acme", c.Charge(feature="generate_goal"))),
        *(direct.submit(envelope("acme", c.Charge(feature="generate_goal"))) for _ in range(5)),
    )
    assert sorted(reply.balance for reply in replies) == [200 - 3 * number for number in range(6, 0, -1)]
    await ok(ledger, "acme", c.Grant(tokens=1))
    await clean(direct)
