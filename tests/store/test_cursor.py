"""Cursors over the journal on PostgreSQL: nothing is read before everything older is complete (design idea 5)."""

import time

import pytest

from tests.support.stores import Store, begin, charge, connect, follow, whole

# R-LED-5, R-PLAT-3

INSERT = """
insert into entry (id, organization, previous, seq, time, kind, status, tokens, balance, part, link, body)
select nextval('entry_block'), organization, id, seq + 1, time, kind, status, tokens, balance, 9, link, body
from entry where organization = (select number from organization where name = $1) order by id desc limit 1
returning id
"""


async def test_a_transaction_that_still_writes_is_not_passed_over(postgres: Store) -> None:
    """The one that wrote first commits last; by ids alone its entry would be lost."""
    ledger = await postgres.open()
    await begin(ledger, "acme", "beta")
    _, position = await follow(ledger, "", 8)
    slow = await connect(postgres)
    transaction = slow.transaction()
    await transaction.start()
    early: int = await slow.fetchval(INSERT, "acme")
    await charge(ledger, "beta")
    late = (await whole(ledger, "beta"))[-1].id
    assert early < late
    assert (await ledger.follow(position)).rows == ()

    # Planted fault: a cursor on ids.
    other = await connect(postgres)
    fast = await other.fetch("select id from entry where id > $1 order by id", early - 1)
    assert [row["id"] for row in fast] == [late], "it would go on from there, past the one that is to come"
    await other.close()

    await transaction.commit()
    rows, _ = await follow(ledger, position, 2)
    assert [(row.id, row.organization) for row in rows] == [(early, "acme"), (late, "beta")]
    await slow.close()


async def test_a_reader_that_is_held_up_is_an_alarm(postgres: Store) -> None:
    ledger = await postgres.open()
    postgres.clock.time = time.time_ns() // 1_000_000 - 31_000
    await begin(ledger, "acme")
    await follow(ledger, "", 4)
    postgres.clock.time += 31_000
    assert (await ledger.health()).problems == ()
    slow = await connect(postgres)
    transaction = slow.transaction()
    await transaction.start()
    await slow.fetchval("select pg_current_xact_id()")
    await charge(ledger, "acme")
    assert (await ledger.health()).ok
    postgres.clock.time += 31_000
    health = await ledger.health()
    assert not health.ok
    assert any(
        "an old writing transaction holds up the journal's readers" in line for line in health.problems
    )
    await transaction.rollback()
    postgres.clock.time -= 31_000
    await follow(ledger, "", 5)
    assert (await ledger.health()).ok
    await slow.close()


@pytest.mark.parametrize("minutes", [-5, 5])
async def test_clocks_that_differ_are_unhealthy(postgres: Store, minutes: int) -> None:
    ledger = await postgres.open()
    postgres.clock.time = time.time_ns() // 1_000_000 + minutes * 60_000
    health = await ledger.health()
    assert not health.ok
    assert abs(health.clock_skew_ms + minutes * 60_000) < 2_000
    assert any("clock" in problem for problem in health.problems)


async def test_cursors_go_on_after_the_journal_moved_to_another_server(postgres: Store) -> None:
    """A dump restored on a younger server: its transaction ids are below those in the journal."""
    ledger = await postgres.open()
    await begin(ledger, "acme")
    _, position = await follow(ledger, "", 4)
    await charge(ledger, "acme")
    await ledger.close()
    connection = await connect(postgres)
    await connection.execute("alter table entry disable trigger all")
    await connection.execute("update entry set xid = xid + 5000000000")
    await connection.execute("alter table entry enable trigger all")
    moved = ".".join([str(int(position.partition(".")[0]) + 5_000_000_000), position.partition(".")[2]])
    for turn in range(2):
        ledger = await postgres.open()
        rows, moved = await follow(ledger, moved, 1)
        assert [row.entry.seq for row in rows] == [5 + turn]
        await charge(ledger, "acme")
        assert await connection.fetchval("select value from meta where name = 'xid_shift'") is not None
        await ledger.close()
    ledger = await postgres.open()
    rows, _ = await follow(ledger, "", 7)
    assert [row.entry.seq for row in rows] == list(range(1, 8))
    await connection.close()


async def test_a_position_of_another_kind_is_refused(postgres: Store) -> None:
    ledger = await postgres.open()
    with pytest.raises(ValueError, match="invalid literal"):
        await ledger.follow("nonsense")
