"""Looking up a row, as every call looks up its key: what is stored now, however many ask, whoever writes (R-SALE-8)."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.support.stores import SECRET, Hand, Store, begin, charge, goals, sqlite_url
from tokentill.ports import Rows, StoreDown
from tokentill.rules.rows import Alert, ApiKey, Row
from tokentill.store.mark import Mark
from tokentill.store.rows import table
from tokentill.store.sqlite import SqliteLedger
from tokentill.store.sqlite_rows import KNOWN_S, SqliteRows
from tokentill.store.together import Together

R = TypeVar("R", bound=Row)
T = TypeVar("T")


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


# ---- what was looked up on SQLite stands as long as the mark does -----------------------------------------


class Table:
    """One key, and how often it was read; rows are read at once."""

    def __init__(self, mark: Mark) -> None:
        self.stored: ApiKey | None = key("k")
        self.reads = 0
        self.seconds = 0.0
        self.during: Callable[[], None] = lambda: None
        self.rows = SqliteRows(self.nothing, self.nothing, self.look, mark, lambda: self.seconds)

    async def nothing(self, work: Callable[[apsw.Connection], T], *, marks: bool = False) -> T:
        raise AssertionError("a look is no other read")

    def look(self, statement: str, given: str) -> list[tuple[Any, ...]] | None:
        self.reads += 1
        found = [] if self.stored is None else [table(ApiKey, "?").values(self.stored, 1)]
        self.during()
        return found

    async def looked(self) -> ApiKey | None:
        return await self.rows.look(ApiKey, "k")


async def test_a_row_is_read_once_as_long_as_nothing_is_written() -> None:
    here = Table(Mark(None))
    assert [await here.looked() for _ in range(5)] == [replace(key("k"), version=1)] * 5
    assert here.reads == 1


async def test_a_row_that_is_not_there_is_read_each_time() -> None:
    """Else whoever tries keys at random would fill the memory."""
    here = Table(Mark(None))
    here.stored = None
    assert [await here.looked() for _ in range(3)] == [None] * 3
    assert here.reads == 3


async def test_after_a_write_anywhere_a_row_is_read_again(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    ours, theirs = Mark(path), Mark(path)
    here = Table(ours)
    await here.looked()
    here.stored = replace(key("k"), revoked_at=1)
    with theirs:
        for _ in range(2):
            await here.looked()
        assert here.reads == 3, "while rows are written nothing that was read stands"
    for _ in range(2):
        found = await here.looked()
        assert found is not None
        assert found.revoked_at == 1
    assert here.reads == 4


async def test_what_is_written_during_a_look_does_not_stand() -> None:
    mark = Mark(None)
    here = Table(mark)

    def write() -> None:
        with mark:
            here.stored = replace(key("k"), revoked_at=1)
        here.during = lambda: None

    here.during = write
    await here.looked()
    found = await here.looked()
    assert found is not None
    assert found.revoked_at == 1


async def test_after_a_second_a_row_is_read_again_whatever_the_mark_says() -> None:
    """Somebody may have written with a tool of his own."""
    here = Table(Mark(None))
    await here.looked()
    here.seconds = KNOWN_S
    await here.looked()
    assert here.reads == 2


@pytest.mark.parametrize("path", [None, "lock"])
def test_a_process_that_dies_while_it_writes_leaves_everybody_reading_until_somebody_has_written(
    path: str | None, tmp_path: Path
) -> None:
    made = Mark(None if path is None else str(tmp_path / path))
    others = made if path is None else Mark(str(tmp_path / path))
    seen = [others.now()]
    for _ in range(3):
        made.__enter__()
        assert others.now() is None
        with others:
            assert made.now() is None
        seen.append(others.now())
    assert None not in seen
    assert len(set(seen)) == 4, "it never stands where it stood before"
    made.close()
    assert made.now() is None


@given(st.lists(st.sampled_from(["begin", "commit", "end", "look"]), max_size=40))
async def test_no_look_tells_what_was_before(steps: list[str]) -> None:
    """In whatever order a writer comes and goes, dies and comes again (R-SALE-8)."""
    mark = Mark(None)
    here = Table(mark)
    writing = False
    here.stored = committed = key("k")
    for number, step in enumerate(steps):
        if step == "begin" and not writing:
            mark.__enter__()
            writing = True
        elif step == "commit" and writing:
            here.stored = committed = replace(key("k"), used_at=number)
        elif step == "end" and writing:
            mark.__exit__(None, None, None)
            writing = False
        elif step == "look":
            found = await here.looked()
            assert found is not None
            assert found.used_at == committed.used_at


async def test_a_row_is_read_again_after_each_way_to_write_it(lasting: Store) -> None:
    """And not because of rows that nobody looks up (SQLite)."""
    ledger = await lasting.open()
    rows = ledger.rows
    mark = getattr(ledger, "mark", None)
    before = mark and mark.now()
    await rows.add(Alert(id="a", organization="acme", code="x", text=""))
    await rows.keep_position("reader", "1")
    assert mark is None or mark.now() == before
    seen = [before]
    added = (await rows.add(key("k"))).row
    seen.append(mark and mark.now())
    await rows.put(replace(added, due_at=1))
    seen.append(mark and mark.now())
    assert len(await rows.claim(ApiKey, 5, 10)) == 1
    seen.append(mark and mark.now())
    assert await rows.drop(ApiKey, "k", "acme")
    seen.append(mark and mark.now())
    assert mark is None or len(set(seen)) == 5
    assert await rows.look(ApiKey, "k") is None


async def test_one_database_has_one_mark_by_whatever_name(sqlite: Store, tmp_path: Path) -> None:
    here = await sqlite.open()
    other = tmp_path / "another name"
    other.symlink_to(sqlite.url)
    there = await Store("sqlite", str(other)).open()
    made = (await there.rows.add(key("k"))).row
    assert await here.rows.look(ApiKey, "k") == made
    gone = await there.rows.put(replace(made, revoked_at=1))
    assert await here.rows.look(ApiKey, "k") == gone
    await there.close()


def test_a_lock_that_is_empty_is_made_whole_before_it_is_shared(tmp_path: Path) -> None:
    """A file of holes would end the process where the disk is full."""
    path = tmp_path / "lock"
    path.touch()
    Mark(str(path)).close()
    assert path.stat().st_size == 5
    with pytest.raises(OSError, match="directory"):
        Mark(str(tmp_path))


@pytest.mark.parametrize("file", [".lock", ".lock-next"])
def test_a_lock_that_cannot_be_had_is_said_and_leaves_nothing_open(file: str, tmp_path: Path) -> None:
    path = sqlite_url(tmp_path)
    Path(path + file).mkdir()
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(StoreDown, match="cannot be used"):
        SqliteLedger(path, goals(), SECRET, Hand())
    assert len(list(Path("/proc/self/fd").iterdir())) == before
