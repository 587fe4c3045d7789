"""What every engine must do with rows (the contract of the port `Rows`)."""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import inspect as shapes
from msgspec.structs import replace

from tests.support.stores import NOON, Store, begin, charge, clean
from tokentill.ports import Ledger, Room, Rows
from tokentill.rules.purchases import Purchase
from tokentill.rules.rows import Alert, Endpoint, Message, Payer, ProviderEvent, Row, TopUp
from tokentill.store.rows import ID_MAX, KINDS

# R-PLAT-2, R-PLAT-5, R-PACK-3, R-PACK-4


def purchase(row_id: str, organization: str = "acme", **fields: Any) -> Purchase:
    about: dict[str, Any] = {"kind": "pack", "item": "p100", "title": "100", "amount": 900, "currency": "USD"}
    return Purchase(id=row_id, organization=organization, **(about | fields))


def event(row_id: str, **fields: Any) -> ProviderEvent:
    return ProviderEvent(id=row_id, provider="stripe", type="paid", body="{}", **fields)


async def opened(store: Store) -> Rows:
    ledger: Ledger = await store.open()
    return ledger.rows


def ids(rows: Sequence[Row]) -> list[str]:
    return [row.id for row in rows]


# ---- every struct, every field --------------------------------------------------------------------------

NUMBERS = st.integers(-(2**63), 2**63 - 1)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=ID_MAX)


def values(shape: shapes.Type) -> st.SearchStrategy[Any]:
    """Anything that a field of this type may hold."""
    plain: dict[type[shapes.Type], st.SearchStrategy[Any]] = {
        shapes.IntType: NUMBERS,
        shapes.BoolType: st.booleans(),
        shapes.StrType: TEXTS,
        shapes.BytesType: st.binary(),
        shapes.NoneType: st.none(),
    }
    if isinstance(shape, shapes.LiteralType):
        return st.sampled_from(shape.values)
    if isinstance(shape, shapes.UnionType):
        return st.one_of([values(part) for part in shape.types])
    if isinstance(shape, shapes.VarTupleType):
        return st.lists(values(shape.item_type), max_size=3).map(tuple)
    if isinstance(shape, shapes.TupleType):
        return st.tuples(*(values(part) for part in shape.item_types))
    if isinstance(shape, shapes.StructType):
        return st.builds(shape.cls, **{field.name: values(field.type) for field in shape.fields})
    return plain[type(shape)]


def rows_of(kind: type[Row]) -> st.SearchStrategy[Row]:
    fields = {field.name: values(shapes.type_info(field.type)) for field in msgspec.structs.fields(kind)}
    fields["id"] = TEXTS.filter(bool)
    fields["organization"] = TEXTS.map(lambda text: text[:128])
    return st.builds(kind, **fields)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@given(data=st.data())
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_a_row_comes_back_as_it_went(store: Store, kind: type[Row], data: st.DataObject) -> None:
    rows: Rows = (store._opened[0] if store._opened else await store.open()).rows
    row = data.draw(rows_of(kind))
    added = await rows.add(row)
    if added.how == "there":
        await rows.drop(kind, row.id, row.organization)
        added = await rows.add(row)
    assert added.how == "new"
    assert added.row == replace(row, version=1)
    assert await rows.get(kind, row.id, row.organization) == added.row
    other = replace(
        data.draw(rows_of(kind)),
        id=row.id,
        organization=row.organization,
        version=1,
    )
    changed = await rows.put(other)
    assert changed == replace(other, version=2)
    assert await rows.get(kind, row.id, row.organization) == changed
    assert await rows.find(kind, {"id": row.id, "organization": row.organization}) == [changed]
    assert await rows.drop(kind, row.id, row.organization)


# ---- add ------------------------------------------------------------------------------------------------


async def test_a_row_that_is_there_stays_as_it_is(store: Store) -> None:
    rows = await opened(store)
    first = await rows.add(event("e1"))
    again = await rows.add(event("e1", problem="another"))
    assert (first.how, again.how) == ("new", "there")
    assert again.row == first.row == event("e1", version=1)
    assert (await rows.add(purchase("e1"))).how == "new", "each kind has ids of its own"
    assert (await rows.add(purchase("e1", "beta"))).how == "new", "and each organization"


async def test_of_many_that_add_one_row_one_is_first(store: Store) -> None:
    rows = await opened(store)
    added = await asyncio.gather(*(rows.add(event("e1", problem=str(number))) for number in range(20)))
    new = [each for each in added if each.how == "new"]
    assert len(new) == 1
    assert all(each.row == new[0].row for each in added)


def slots(most: int, above: int = NOON, organization: str = "acme") -> Room:
    return Room(most, (("organization", organization), ("kind", "pack")), ("slot_until", above))


async def test_there_is_room_until_there_is_none(store: Store) -> None:
    rows = await opened(store)
    later = NOON + 1
    assert (await rows.add(purchase("p1", slot_until=later), slots(2))).how == "new"
    assert (await rows.add(purchase("p2", slot_until=later), slots(2))).how == "new"
    full = await rows.add(purchase("p3", slot_until=later), slots(2))
    assert full.how == "full"
    assert full.row == purchase("p3", slot_until=later)
    assert await rows.get(Purchase, "p3", "acme") is None
    there = await rows.add(purchase("p1", slot_until=later), slots(2))
    assert (there.how, there.row.version) == ("there", 1), "what is there needs no room"
    # Another organization's, another kind's, and once a slot has ended.
    assert (
        await rows.add(purchase("p1", "beta", slot_until=later), slots(2, organization="beta"))
    ).how == "new"
    plan = Room(1, (("organization", "acme"), ("kind", "plan")), ("slot_until", NOON))
    assert (await rows.add(purchase("p4", kind="plan", slot_until=later), plan)).how == "new"
    assert (await rows.add(purchase("p3", slot_until=later), slots(2, above=later))).how == "new"
    # Of several rooms each must have room.
    both = (slots(9), slots(3))
    assert (await rows.add(purchase("p5", slot_until=later), *both)).how == "full"


async def test_a_room_that_organizations_share(store: Store) -> None:
    rows = await opened(store)
    uses = Room(3, (("promo", "MAY"),), ("promo_until", NOON))
    added = [
        await rows.add(purchase("p", f"o{number}", promo="MAY", promo_until=NOON + 1), uses)
        for number in range(5)
    ]
    assert [each.how for each in added] == ["new"] * 3 + ["full"] * 2
    assert await rows.get(Purchase, "p", "o2") is not None, "it acts for its own organization again"


@pytest.mark.parametrize("ledgers", [1, 3])
@pytest.mark.parametrize("shared", [False, True])
async def test_a_room_is_never_overfilled(store: Store, ledgers: int, shared: bool) -> None:
    if store.engine == "memory" and ledgers > 1:
        pytest.skip("a database in memory is one ledger's")
    many = [await opened(store) for _ in range(ledgers)]
    room = Room(2, (("method", "card"),), ("slot_until", NOON)) if shared else slots(2)
    added = await asyncio.gather(
        *(
            many[number % ledgers].add(
                purchase(
                    f"p{number}",
                    f"o{number % 5}" if shared else "acme",
                    method="card",
                    slot_until=NOON + 1,
                ),
                room,
            )
            for number in range(50)
        )
    )
    assert sorted(each.how for each in added) == ["full"] * 48 + ["new"] * 2
    assert len(await many[0].find(Purchase, {"method": "card"})) == 2


# ---- put and drop ---------------------------------------------------------------------------------------


async def test_a_change_on_top_of_another_is_not_taken(store: Store) -> None:
    rows = await opened(store)
    row = (await rows.add(event("e1"))).row
    first = await rows.put(replace(row, state="done"))
    assert first == replace(row, state="done", version=2)
    assert await rows.put(replace(row, state="dead")) is None
    assert await rows.get(ProviderEvent, "e1") == first
    assert first is not None
    assert (await rows.put(replace(first, tries=1))) == replace(first, tries=1, version=3)
    assert await rows.put(replace(first, id="e2")) is None, "what is not there is not made"
    assert await rows.get(ProviderEvent, "e2") is None


async def test_changes_that_are_tried_again_are_all_counted(store: Store) -> None:
    many = [await opened(store) for _ in range(1 if store.engine == "memory" else 2)]
    await many[0].add(event("e1"))

    async def count(rows: Rows) -> None:
        while True:
            row = await rows.get(ProviderEvent, "e1")
            assert row is not None
            if await rows.put(replace(row, tries=row.tries + 1)) is not None:
                return

    await asyncio.gather(*(count(many[number % len(many)]) for number in range(20)))
    row = await many[0].get(ProviderEvent, "e1")
    assert row is not None
    assert (row.tries, row.version) == (20, 21)


async def test_a_row_never_moves_to_another_organization(store: Store) -> None:
    rows = await opened(store)
    row = (await rows.add(purchase("p1"))).row
    with pytest.raises(AssertionError, match="never moves"):
        await rows.put(replace(row, organization="beta"))
    with pytest.raises(AssertionError, match="never stored"):
        await rows.put(purchase("p1"))
    assert await rows.get(Purchase, "p1", "acme") == row


async def test_a_row_is_dropped_once(store: Store) -> None:
    rows = await opened(store)
    row = (
        await rows.add(Endpoint(id="e", organization="acme", url="https://a", secret="s", events=("x",)))
    ).row
    assert not await rows.drop(Endpoint, "e")
    assert not await rows.drop(Endpoint, "e", "beta")
    assert await rows.drop(Endpoint, "e", "acme")
    assert not await rows.drop(Endpoint, "e", "acme")
    assert await rows.get(Endpoint, "e", "acme") is None
    assert await rows.put(row) is None
    assert (await rows.add(row)).row.version == 1, "it may come back"


# ---- find -----------------------------------------------------------------------------------------------


async def test_rows_are_found_by_what_they_hold(store: Store) -> None:
    rows = await opened(store)
    for number in range(10):
        await rows.add(
            purchase(
                f"p{number}",
                ("acme", "beta")[number % 2],
                state="paid" if number % 3 else "disputed",
                flagged="paid_twice" if number == 4 else None,
            )
        )
    assert ids(await rows.find(Purchase, {})) == [f"p{number}" for number in range(9, -1, -1)]
    assert ids(await rows.find(Purchase, {"organization": "acme"})) == ["p8", "p6", "p4", "p2", "p0"]
    assert ids(await rows.find(Purchase, {"state": "disputed"})) == ["p9", "p6", "p3", "p0"]
    assert ids(await rows.find(Purchase, {"state": "disputed", "organization": "acme"})) == ["p6", "p0"]
    assert ids(await rows.find(Purchase, {"organization": "acme", "state": "paid", "kind": "pack"})) == [
        "p8",
        "p4",
        "p2",
    ]
    assert ids(await rows.find(Purchase, {"flagged": "paid_twice"})) == ["p4"]
    assert ids(await rows.find(Purchase, {"id": "p7"})) == ["p7"]
    assert ids(await rows.find(Purchase, {"id": "p7", "organization": "acme"})) == []
    assert ids(await rows.find(Purchase, {"organization": ""})) == []
    assert ids(await rows.find(Purchase, {"flagged": "' or true --"})) == []


async def test_rows_are_found_from_a_number_on(store: Store) -> None:  # R-PACK-4, R-PACK-9
    rows = await opened(store)
    for number in range(5):
        await rows.add(purchase(f"p{number}", slot_until=number, paid_at=None if number == 3 else number))
    await rows.add(purchase("other", "beta", slot_until=9, paid_at=9))
    own = {"organization": "acme", "kind": "pack"}
    assert ids(await rows.find(Purchase, own, above=("slot_until", 2))) == ["p4", "p3"]
    assert ids(await rows.find(Purchase, own, above=("slot_until", 2), before="p4")) == ["p3"]
    assert ids(await rows.find(Purchase, own, above=("paid_at", 1))) == ["p4", "p2"]
    assert ids(await rows.find(Purchase, own, above=("paid_at", -1), limit=2)) == ["p4", "p2"]
    with pytest.raises(ValueError, match="not indexed by amount"):
        await rows.find(Purchase, own, above=("amount", 1))


async def test_pages_meet_without_a_gap(store: Store) -> None:
    rows = await opened(store)
    for number in range(25):
        await rows.add(event(f"e{number:02}", state="dead"))
    for equal in ({}, {"state": "dead"}, {"organization": ""}):
        found: list[str] = []
        before: str | None = None
        while page := await rows.find(ProviderEvent, equal, before=before, limit=10):
            assert len(page) <= 10
            found += ids(page)
            before = found[-1]
        assert found == [f"e{number:02}" for number in range(24, -1, -1)]


async def test_ids_are_in_the_order_of_their_bytes(store: Store) -> None:
    rows = await opened(store)
    names = ["a", "B", "_", "ä", "Z", "é", "\U0001f600", "\uffff", "a-b", "ab"]
    for name in names:
        await rows.add(event(name))
    assert ids(await rows.find(ProviderEvent, {})) == sorted(names, key=str.encode, reverse=True)


# ---- claim ----------------------------------------------------------------------------------------------


async def test_what_is_due_is_claimed_once_until_the_lease_ends(store: Store) -> None:
    rows = await opened(store)
    for number in range(5):
        await rows.add(event(f"e{number}", due_at=NOON - number))
    await rows.add(event("later", due_at=NOON + 1))
    await rows.add(event("never"))
    claimed = await rows.claim(ProviderEvent, NOON, 1_000, limit=3)
    assert ids(claimed) == ["e4", "e3", "e2"], "soonest first"
    assert [(row.due_at, row.version) for row in claimed] == [(NOON + 1_000, 2)] * 3
    assert await rows.get(ProviderEvent, "e4") == claimed[0]
    assert ids(await rows.claim(ProviderEvent, NOON, 1_000)) == ["e1", "e0"]
    assert await rows.claim(ProviderEvent, NOON, 1_000) in ((), [])
    assert ids(await rows.claim(ProviderEvent, NOON + 999, 1_000)) == ["later"]
    # Who is done says so in the row; whose lease has ended is overtaken and can no longer change it.
    done = await rows.put(replace(claimed[0], due_at=None, state="done"))
    assert done is not None
    again = await rows.claim(ProviderEvent, NOON + 1_000, 1_000)
    assert sorted(ids(again)) == ["e0", "e1", "e2", "e3"]
    assert await rows.put(replace(claimed[1], due_at=None)) is None
    assert await rows.put(replace(next(row for row in again if row.id == "e3"), due_at=None)) is not None


async def test_claims_never_share_a_row(store: Store) -> None:
    many = [await opened(store) for _ in range(1 if store.engine == "memory" else 3)]
    for number in range(60):
        organization = "" if number % 3 == 0 else f"o{number % 3}"
        message = Message(
            id=f"m{number}",
            organization=organization,
            channel="mail",
            to="a@b",
            type="x",
            body="",
            due_at=NOON,
        )
        await many[0].add(message)
    found: list[str] = []

    async def work(rows: Rows) -> None:
        while some := await rows.claim(Message, NOON, 60_000, limit=7):
            found.extend(ids(some))

    await asyncio.gather(*(work(many[number % len(many)]) for number in range(6)))
    # One that was passed over because another claim was looking at it is got the next time.
    await work(many[0])
    assert sorted(found) == sorted(f"m{number}" for number in range(60))


# ---- what is refused ------------------------------------------------------------------------------------


async def test_a_search_without_an_index_is_refused(store: Store) -> None:
    rows = await opened(store)
    for equal in (
        {"title": "x"},
        {"organization": "acme", "title": "x"},
        {"nothing": "x"},
        {"slot_until": 1},
    ):
        with pytest.raises(ValueError, match="index"):
            await rows.find(Purchase, equal)
    with pytest.raises(ValueError, match="index"):
        await rows.add(purchase("p"), Room(1, (("title", "x"),)))
    with pytest.raises(ValueError, match="index"):
        await rows.add(purchase("p"), Room(1, (("organization", "acme"),), ("amount", 1)))
    with pytest.raises(ValueError, match="some value"):
        await rows.add(purchase("p"), Room(1, ()))
    with pytest.raises(ValueError, match="not compared"):
        await rows.find(Purchase, {"state": 1})
    with pytest.raises(ValueError, match="not compared"):
        await rows.find(Purchase, {"organization": "acme", "slot_until": "1"})
    assert await rows.find(Purchase, {}) == []


async def test_what_no_column_holds_is_refused(store: Store) -> None:
    rows = await opened(store)
    for row, reason in (
        (event(""), "1 to 400"),
        (event("x" * 401), "1 to 400"),
        (event("e", organization="x" * 129), "128"),
        (event("e", problem="a\0b"), "null"),
        (event("e\0"), "null"),
        (purchase("p", method="x" * 401), "indexed"),
    ):
        with pytest.raises(ValueError, match=reason):
            await rows.add(row)
    assert (await rows.add(event("\U0001f600" * 400, organization="\U0001f600" * 128))).how == "new"
    method = "\U0001f600" * 400
    assert (await rows.add(purchase("\U0001f601" * 400, "\U0001f600" * 128, method=method))).how == "new"


async def test_a_row_that_cannot_be_stored_fails_alone(store: Store) -> None:
    rows = await opened(store)
    found = await asyncio.gather(
        rows.add(event("e1")),
        rows.add(event("e2", tries=2**63)),
        rows.add(event("e3")),
        rows.add(event("e4", problem="\ud800")),
        return_exceptions=True,
    )
    assert [isinstance(each, Exception) for each in found] == [False, True, False, True]
    assert ids(await rows.find(ProviderEvent, {})) == ["e3", "e1"]


# ---- beside the accounts --------------------------------------------------------------------------------


async def test_a_consumer_remembers_its_position(store: Store) -> None:
    ledger = await store.open()
    rows: Rows = ledger.rows
    assert await rows.position("notices") == ""
    await rows.keep_position("notices", "12.7")
    await rows.keep_position("bills", "3")
    await rows.keep_position("notices", "13.1")
    assert (await rows.position("notices"), await rows.position("bills")) == ("13.1", "3")


async def test_rows_and_accounts_are_written_side_by_side(store: Store) -> None:
    ledger = await store.open()
    await begin(ledger, "acme", "beta", tokens=10_000)
    done = await asyncio.gather(
        *(charge(ledger, ("acme", "beta")[number % 2]) for number in range(40)),
        *(ledger.rows.add(Alert(id=f"a{number}", code="x", text="y")) for number in range(40)),
        *(charge(ledger, ("acme", "beta")[number % 2]) for number in range(40)),
    )
    assert len(done) == 120
    top_up = TopUp(id="acme", organization="acme", enabled=True, threshold=5, pack="p100", ceiling=100)
    await ledger.rows.add(top_up)
    await charge(ledger, "acme")
    account = await ledger.account("acme")
    assert account is not None
    assert account.free == 10_200 - 41 * 3
    await clean(ledger)


# ---- counting -------------------------------------------------------------------------------------------


async def test_rows_are_counted_by_a_column_that_has_an_index(store: Store) -> None:
    # R-PLAT-3
    rows = await opened(store)
    assert await rows.tally(Purchase, "state") == {}
    for number, organization in enumerate(("acme", "beta", "acme")):
        state = "paid" if number else "created"
        await rows.add(purchase(f"p{number}", organization, state=state))
    assert await rows.tally(Purchase, "state") == {"created": 1, "paid": 2}
    with pytest.raises(ValueError, match="no index"):
        await rows.tally(Purchase, "title")


async def test_rows_are_counted_no_further_than_a_room_is_full(store: Store) -> None:
    # R-PACK-4
    rows = await opened(store)
    for number in range(9):
        name = f"o{number}"
        payer = Payer(id=name, organization=name, provider="p", method="m", used_at=number, created_at=1)
        await rows.add(payer)
    assert await rows.count(Payer, Room(100, (("method", "m"),), ("used_at", 4))) == 4
    assert await rows.count(Payer, Room(3, (("method", "m"),), ("used_at", 4))) == 3
    assert await rows.count(Payer, Room(3, (("method", "n"),), ("used_at", 4))) == 0
    own = (("organization", "o7"), ("method", "m"))
    assert await rows.count(Payer, Room(3, own, ("used_at", 4))) == 1
    with pytest.raises(ValueError, match="not indexed"):
        await rows.count(Payer, Room(3, (("label", ""),)))
