"""Looking up a row, as every call looks up its key: what is stored now, however many ask, whoever writes (R-SALE-8)."""

import asyncio
from collections.abc import Sequence
from typing import TypeVar

import pytest
from msgspec.structs import replace

from tests.support.stores import Store, begin, charge
from tokentill.ports import Rows, StoreDown
from tokentill.rules.rows import ApiKey, Row
from tokentill.store.together import Together

R = TypeVar("R", bound=Row)


def key(row_id: str, organization: str = "acme") -> ApiKey:
    return ApiKey(
        id=row_id, organization=organization, digest=b"d", name="", shown="", purse=row_id, works_until=1,
        features=("call",), read_only=True,
    )  # fmt: skip


async def test_a_row_is_found_whosever_it_is(store: Store) -> None:
    rows = (await store.open()).rows
    made = [(await rows.add(key(name, organization))).row for name, organization in ("aA", "bB")]
    assert [await rows.look(ApiKey, row.id) for row in made] == made
    assert await rows.look(ApiKey, "c") is None


async def test_what_another_till_has_stored_is_seen_by_the_next_look(lasting: Store) -> None:
    """Also while this one writes without a pause, and many look at once."""
    here, there = await lasting.open(), await lasting.open()
    await begin(here, "acme", tokens=1_000)
    row = (await there.rows.add(key("k"))).row
    looking = 0

    async def writes() -> None:
        for _ in range(60):
            await charge(here, "acme")

    async def looks() -> None:
        nonlocal looking
        while not writing.done():
            stored = row.version
            found = await here.rows.look(ApiKey, "k")
            assert found is not None
            assert found.version >= stored
            looking += 1
            await asyncio.sleep(0)

    writing = asyncio.ensure_future(writes())
    crowd = [asyncio.ensure_future(looks()) for _ in range(8)]
    while not writing.done():
        changed = await there.rows.put(replace(row, used_at=row.version))
        assert changed is not None
        row = changed
    await writing
    await asyncio.gather(*crowd)
    assert looking > 0
    assert await here.rows.look(ApiKey, "k") == row


async def test_of_many_that_look_at_once_each_finds_its_own(store: Store) -> None:
    rows: Rows = (await store.open()).rows
    made = [(await rows.add(key(f"k{number}"))).row for number in range(20)]
    found = await asyncio.gather(*(rows.look(ApiKey, row.id) for row in made * 3), rows.look(ApiKey, "other"))
    assert found == [*made, *made, *made, None]


async def test_a_look_that_fails_is_told_to_all_who_wait_and_the_next_one_works() -> None:
    down = True

    async def among(kind: type[R], ids: Sequence[str]) -> Sequence[R]:
        await asyncio.sleep(0)
        if down:
            raise StoreDown("the line is cut")
        return [key(one) for one in ids]  # type: ignore[misc]  # keys alone are asked for

    together = Together(among)
    told = await asyncio.gather(*(together.look(ApiKey, "k") for _ in range(3)), return_exceptions=True)
    assert [type(one) for one in told] == [StoreDown] * 3
    down = False
    assert await together.look(ApiKey, "k") == key("k")


async def test_a_look_that_runs_serves_nobody_who_asks_later() -> None:
    stored = key("k")
    reading, go_on = asyncio.Event(), asyncio.Event()

    async def among(_kind: type[Row], _ids: Sequence[str]) -> Sequence[Row]:
        found = stored
        reading.set()
        await go_on.wait()
        return [found]

    together = Together(among)  # type: ignore[arg-type]  # it knows one kind
    before = asyncio.ensure_future(together.look(ApiKey, "k"))
    await reading.wait()
    stored = replace(stored, revoked_at=1)
    after = asyncio.ensure_future(together.look(ApiKey, "k"))
    await asyncio.sleep(0)
    go_on.set()
    found = [await before, await after]
    assert [one and one.revoked_at for one in found] == [None, 1]


async def test_one_that_waits_no_more_takes_nothing_from_the_others() -> None:
    go_on = asyncio.Event()

    async def among(_kind: type[Row], ids: Sequence[str]) -> Sequence[Row]:
        await go_on.wait()
        return [key(one) for one in ids]

    together = Together(among)  # type: ignore[arg-type]  # as above
    first, second = (asyncio.ensure_future(together.look(ApiKey, "k")) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    go_on.set()
    assert await second == key("k")
    with pytest.raises(asyncio.CancelledError):
        await first
