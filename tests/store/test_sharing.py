"""Databases outlive ledgers and are shared by several: each sees what the others stored, none spends twice."""

import asyncio
from collections import defaultdict
from pathlib import Path

import pytest

from tests.support.stores import (
    MONTH,
    Store,
    begin,
    charge,
    clean,
    envelope,
    follow,
    new_key,
    no,
    ok,
    whole,
)
from tokentill.ports import JournalRow, StoreDown
from tokentill.rules import commands as c
from tokentill.rules.receipts import Receipt
from tokentill.rules.refusals import Code
from tokentill.store.sqlite_connection import connect

# R-LED-3, R-LED-9, R-PLAT-5


async def test_a_ledger_that_is_opened_again_goes_on(lasting: Store) -> None:
    first = await lasting.open()
    await begin(first, "acme")
    key = new_key()
    await charge(first, "acme", user="ann", key=key)
    hold = (await ok(first, "acme", c.Reserve(feature="generate_goal"))).operation
    before = await whole(first, "acme")
    await first.close()
    second = await lasting.open()
    assert await whole(second, "acme") == before
    assert (await charge(second, "acme", user="ann", key=key)).replayed
    settled = await ok(second, "acme", c.Settle(hold=hold))
    assert (settled.balance, settled.held) == (194, 0)
    await clean(second)


async def test_a_snapshot_and_what_came_after_it_make_the_account(lasting: Store) -> None:
    # R-LED-1
    first = await lasting.open()
    await begin(first, "acme", tokens=1_000_000)
    receipts: list[Receipt] = []
    for _ in range(3):
        receipts += await asyncio.gather(
            *(charge(first, "acme", user=f"user {number}") for number in range(100))
        )
    assert first.book.cache["acme"].snapshot_bytes > 0
    known = first.book.cache["acme"].account
    await first.close()
    second = await lasting.open()
    account = await second.account("acme")
    assert account is not None
    assert account.dump() == known.dump()
    assert (account.free, account.order) == (receipts[-1].balance, known.order)
    assert (await charge(second, "acme")).balance == receipts[-1].balance - 3
    assert await clean(second) == 306


async def test_another_secret_is_refused(lasting: Store) -> None:
    # R-LED-5
    await begin(await lasting.open(), "acme")
    with pytest.raises(StoreDown, match="secret is not the one"):
        await lasting.open(secret=b"x" * 32)


async def test_two_ledgers_see_each_others_writes(lasting: Store) -> None:
    one, two = await lasting.open(), await lasting.open()
    await begin(one, "acme")
    for number in range(1, 31):
        receipt = await charge(one if number % 3 else two, "acme")
        assert receipt.balance == 200 - 3 * number
    key = new_key()
    await charge(one, "acme", key=key)
    assert (await charge(two, "acme", key=key)).replayed
    hold = (await ok(one, "acme", c.Reserve(feature="generate_goal"))).operation
    await ok(two, "acme", c.Settle(hold=hold))
    assert (await ok(one, "acme", c.Settle(hold=hold))).replayed
    assert await whole(one, "acme") == await whole(two, "acme")
    assert (await no(two, "acme", c.Open(plan="pro"))).code == Code.ORGANIZATION_EXISTS
    await clean(two)


async def test_no_refusal_is_stale(lasting: Store) -> None:
    # R-PACK-10: tokens are usable at once, whichever process they arrived through.
    one, two = await lasting.open(), await lasting.open()
    await ok(one, "acme", c.Open(plan="pro"))
    await ok(one, "acme", c.Adjust(tokens=-200, reason="test", actor="test"))
    for ledger, other in ((one, two), (two, one)) * 3:
        assert (await no(ledger, "acme", c.Charge(feature="generate_goal"))).code == Code.EXHAUSTED
        await ok(other, "acme", c.Grant(tokens=3))
        assert (await charge(ledger, "acme")).balance == 0


async def test_a_wake_up_that_the_other_ledger_moved_earlier_is_kept(lasting: Store) -> None:
    # R-LED-3: due_at is a lower bound, whoever wrote it.
    one, two = await lasting.open(), await lasting.open()
    await begin(one, "acme")
    await ok(two, "acme", c.Reserve(feature="generate_goal", timeout_ms=1000))
    await charge(one, "acme")
    lasting.clock.time += 3_600_000
    assert await one.sweeper.sweep() == 1
    account = await two.account("acme")
    assert account is not None
    assert account.held == 0
    await clean(two)


async def test_several_ledgers_never_spend_a_token_twice(lasting: Store) -> None:
    # R-LED-3; invariant 4
    ledgers = [await lasting.open() for _ in range(3)]
    await begin(ledgers[0], "acme", "beta", tokens=700)
    replies = await asyncio.gather(
        *(
            ledgers[number % 3].submit(
                envelope(("acme", "beta")[number // 3 % 2], c.Charge(feature="generate_goal"))
            )
            for number in range(900)
        )
    )
    assert sum(isinstance(reply, Receipt) for reply in replies) == 600
    for name in ("acme", "beta"):
        account = await ledgers[0].account(name)
        assert account is not None
        assert account.free == 0
    await clean(ledgers[2])


async def test_one_organization_is_opened_once(lasting: Store) -> None:
    ledgers = [await lasting.open() for _ in range(3)]
    replies = await asyncio.gather(
        *(
            ledger.submit(envelope(f"o{number}", c.Open(plan="pro")))
            for ledger in ledgers
            for number in range(20)
        )
    )
    assert sum(isinstance(reply, Receipt) for reply in replies) == 20
    assert len(await ledgers[0].organizations()) == 20
    await clean(ledgers[1])


async def test_following_beside_four_writers_misses_nothing(lasting: Store) -> None:
    # Design idea 5: complete, and each organization's entries in sequence.
    writers = [await lasting.open() for _ in range(4)]
    reader = await lasting.open()
    names = [f"o{number}" for number in range(12)]
    await begin(writers[0], *names)

    async def write(number: int) -> None:
        for turn in range(40):
            own = {names[(number + turn * step) % 12] for step in (1, 5, 7)}
            await asyncio.gather(*(charge(writers[number], name) for name in own))

    written = asyncio.gather(*(write(number) for number in range(4)))
    rows: list[JournalRow] = []
    position = ""
    while not written.done():
        stretch = await reader.follow(position, 50)
        rows += stretch.rows
        position = stretch.position
    await written
    total = await clean(reader)
    rest, _ = await follow(reader, position, total - len(rows))
    rows += rest
    assert len(rows) == total
    by_name = defaultdict(list)
    for row in rows:
        by_name[row.organization].append(row.entry.seq)
    assert set(by_name) == set(names)
    for name in names:
        assert by_name[name] == list(range(1, len(await whole(reader, name)) + 1))


async def test_two_sweepers_do_what_is_due_once(lasting: Store) -> None:
    # R-PLAN-4
    one, two = await lasting.open(), await lasting.open()
    await begin(one, *(f"o{number}" for number in range(5)))
    lasting.clock.time += MONTH
    await asyncio.gather(one.sweeper.sweep(), two.sweeper.sweep())
    for number in range(5):
        kinds = [type(row.entry).__name__ for row in await whole(one, f"o{number}")]
        assert kinds.count("PeriodStarted") == 2
    await clean(one)


# the journal names customers' doings: nobody else on the machine can read it
def test_the_files_of_a_sqlite_database_are_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "till.db"
    connection = connect(str(path))
    connection.execute("create table t (x)")
    assert {file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == {0o600}
    connection.close()
