"""On SQLite an account that comes into use moves to the end of its table, where the others in use lie."""

from typing import Any

import apsw
import pytest

from tests.support.stores import Store, begin, charge, clean, ok
from tokentill.ports import StoreDown
from tokentill.rules import commands as c
from tokentill.store import faults
from tokentill.store.sqlite import SqliteLedger

# Design idea 3, R-LED-3

NAMES = ["o1", "o2", "o3", "o4", "o5", "o6"]
NUMBERS = [1, 2, 3, 4, 5, 6]


class Near(SqliteLedger):
    """A ledger to which only the last two accounts are near."""

    near_places = 1


def order(path: str) -> list[tuple[str, int]]:
    """Name and number of every account, as they lie in the file."""
    database = apsw.Connection(path)
    rows: list[Any] = database.execute("select name, number from organization order by place").fetchall()
    database.close()
    return rows


async def six(sqlite: Store) -> list[tuple[str, int]]:
    first = await sqlite.open()
    await begin(first, *NAMES)
    await first.close()
    before = order(sqlite.url)
    assert before == list(zip(NAMES, NUMBERS, strict=True))
    return before


async def test_an_account_moves_once_when_it_comes_into_use(sqlite: Store) -> None:
    await six(sqlite)
    ledger = await sqlite.open(kind=Near)
    await charge(ledger, "o2")
    assert [name for name, _ in order(sqlite.url)] == ["o1", "o3", "o4", "o5", "o6", "o2"]
    await charge(ledger, "o4")
    await charge(ledger, "o2")
    moved = order(sqlite.url)
    assert moved == [("o1", 1), ("o3", 3), ("o5", 5), ("o6", 6), ("o2", 2), ("o4", 4)]
    await charge(ledger, "o1")
    await charge(ledger, "o2")  # it is in use already, and stays though it is not among the last two
    assert order(sqlite.url) == [*moved[1:], moved[0]]
    assert (await ledger.account("o2")).left == 200 - 3 * 3
    await clean(ledger)


async def test_an_account_that_is_near_stays(sqlite: Store) -> None:
    before = await six(sqlite)
    near = await sqlite.open(kind=Near)
    await charge(near, "o6")
    await charge(near, "o5")
    await near.close()
    ledger = await sqlite.open()
    for name in NAMES:
        await charge(ledger, name)
    assert order(sqlite.url) == before
    await clean(ledger)


async def test_the_sweeper_moves_no_account(sqlite: Store) -> None:
    before = await six(sqlite)
    ledger = await sqlite.open(kind=Near)
    await ok(ledger, "o1", c.Tick())
    assert order(sqlite.url) == before
    await charge(ledger, "o1")
    assert order(sqlite.url) == [*before[1:], before[0]]
    await clean(ledger)


async def test_a_move_is_undone_with_its_batch(sqlite: Store) -> None:
    before = await six(sqlite)
    ledger = await sqlite.open(kind=Near)

    def full(point: str) -> None:
        if point == "lane.written":
            raise apsw.FullError("the disk is full")

    faults.install(full)
    try:
        with pytest.raises(StoreDown):
            await charge(ledger, "o1")
    finally:
        faults.install(None)
    assert order(sqlite.url) == before
    await charge(ledger, "o1")
    assert order(sqlite.url) == [*before[1:], before[0]]
    await clean(ledger)


async def test_a_new_account_takes_a_new_number_whatever_has_moved(sqlite: Store) -> None:
    before = await six(sqlite)
    ledger = await sqlite.open(kind=Near)
    await charge(ledger, "o1")
    await begin(ledger, "o7")
    assert order(sqlite.url) == [*before[1:], before[0], ("o7", 7)]
    await clean(ledger)
