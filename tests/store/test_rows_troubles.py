"""Rows when connections break, between processes, and between organizations."""

import asyncio
import json
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from msgspec.structs import replace

from tests.support import run
from tests.support.stores import NOON, Store, connect
from tests.support.wire import Wire
from tokentill.ports import Ledger, Rows, StoreDown
from tokentill.rules.purchases import Purchase
from tokentill.rules.rows import Message, ProviderEvent
from tokentill.store.postgres_connection import connect as connect_as

# R-PLAT-2, R-PLAT-5, R-PACK-3, R-PACK-4


def purchase(row_id: str, organization: str = "acme", **fields: Any) -> Purchase:
    about: dict[str, Any] = {"kind": "pack", "item": "p100", "title": "100", "amount": 900, "currency": "USD"}
    return Purchase(id=row_id, organization=organization, **(about | fields))


async def opened(store: Store) -> Rows:
    ledger: Ledger = await store.open()
    return ledger.rows


# ---- between processes ----------------------------------------------------------------------------------

ADDS_AND_CLAIMS = """
import asyncio, json, sys
from tests.store.test_rows_troubles import NOON, Message, Purchase, Store, opened, purchase
from tokentill.ports import Room

async def main():
    engine, url, name = sys.argv[1:]
    store = Store(engine, url)
    rows = await opened(store)
    room = Room(2, (("organization", "acme"), ("kind", "pack")), ("slot_until", NOON))
    print("ready", flush=True)
    sys.stdin.readline()
    added = await asyncio.gather(
        *(rows.add(purchase(f"{name}{number}", slot_until=NOON + 1), room) for number in range(25))
    )
    claimed = []
    while some := await rows.claim(Message, NOON, 60_000, limit=9):
        claimed += [row.id for row in some]
    print(json.dumps([sum(each.how == "new" for each in added), claimed]))
    await store.close()

asyncio.run(main())
"""


async def test_processes_share_a_room_and_never_a_claim(lasting: Store) -> None:
    rows = await opened(lasting)
    for number in range(60):
        message = Message(id=f"m{number}", channel="mail", to="a@b", type="x", body="", due_at=NOON)
        await rows.add(message)
    processes = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", ADDS_AND_CLAIMS, lasting.engine, lasting.url, name),
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for name in "ab"
    ]
    for process in processes:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
    outcomes = [json.loads((await process.communicate(b"\n"))[0]) for process in processes]
    assert sum(new for new, _ in outcomes) == 2
    left = [row.id for row in await rows.claim(Message, NOON, 60_000)]
    claimed = [*outcomes[0][1], *outcomes[1][1], *left]
    assert sorted(claimed) == sorted(f"m{number}" for number in range(60))


# ---- lost connections -----------------------------------------------------------------------------------


async def test_a_closed_store_says_so(store: Store) -> None:
    ledger = await store.open()
    rows: Rows = ledger.rows
    await ledger.close()
    with pytest.raises(StoreDown, match="closing"):
        await rows.add(purchase("p1"))


@pytest.fixture
async def wire(postgres: Store) -> AsyncIterator[Wire]:
    with tempfile.TemporaryDirectory(prefix="w-", dir=run.directory()) as folder:
        async with Wire(postgres.url, Path(folder))() as wire:
            postgres.url = wire.url
            yield wire
            await postgres.close()


async def test_after_a_lost_commit_the_caller_may_repeat(postgres: Store, wire: Wire) -> None:
    rows = await opened(postgres)
    for number, cut in enumerate(("before", "after")):
        row = purchase(f"p{number}")
        wire.cuts.append(cut)  # type: ignore[arg-type]  # one of the two
        with pytest.raises(StoreDown):
            await rows.add(row)
        stored = cut == "after"
        again = await rows.add(row)
        assert again.how == ("there" if stored else "new")
        assert again.row == replace(row, version=1)

        wire.cuts.append(cut)  # type: ignore[arg-type]  # as above
        changed = replace(again.row, state="paid")
        with pytest.raises(StoreDown):
            await rows.put(changed)
        put = await rows.put(changed)
        assert (put is None) == stored
        assert await rows.get(Purchase, row.id, "acme") == replace(changed, version=2)
    assert wire.cut == 4


async def test_what_was_claimed_in_a_lost_commit_comes_again_after_the_lease(
    postgres: Store, wire: Wire
) -> None:
    rows = await opened(postgres)
    await rows.add(purchase("p1", due_at=NOON))
    wire.cuts.append("after")
    with pytest.raises(StoreDown):
        await rows.claim(Purchase, NOON, 1_000)
    assert list(await rows.claim(Purchase, NOON, 1_000)) == []
    assert [row.id for row in await rows.claim(Purchase, NOON + 1_000, 1_000)] == ["p1"]


async def test_reads_and_idle_connections_survive_a_cut(postgres: Store, wire: Wire) -> None:
    rows = await opened(postgres)
    await rows.add(purchase("p1"))
    await rows.keep_position("notices", "1.1")
    for _ in range(3):
        wire.drop()
        assert await rows.get(Purchase, "p1", "acme") is not None
        wire.drop()
        assert len(await rows.find(Purchase, {})) == 1
        wire.drop()
        assert await rows.position("notices") == "1.1"
        wire.drop()
        await asyncio.sleep(0.05)
        event = ProviderEvent(id="e1", provider="x", type="y", body="")
        assert (await rows.add(event)).row.version == 1


async def test_a_database_that_is_away_is_said_to_be(postgres: Store, wire: Wire) -> None:
    rows = await opened(postgres)
    wire.refuse = True
    wire.drop()
    event = ProviderEvent(id="e1", provider="x", type="y", body="")
    for ask in (
        lambda: rows.add(event),
        lambda: rows.put(replace(event, version=1)),
        lambda: rows.get(ProviderEvent, "e1"),
        lambda: rows.find(ProviderEvent, {}),
        lambda: rows.claim(ProviderEvent, NOON, 1),
        lambda: rows.drop(ProviderEvent, "e1"),
        lambda: rows.position("x"),
        lambda: rows.keep_position("x", "1"),
    ):
        with pytest.raises(StoreDown):
            await ask()
    wire.refuse = False
    assert (await rows.add(event)).how == "new"


async def test_what_is_added_is_durable_whatever_the_servers_default(postgres: Store) -> None:
    connection = await connect(postgres)
    name = await connection.fetchval("select current_database()")
    await connection.execute(f'alter database "{name}" set synchronous_commit = off')
    await connection.close()
    ledger = await postgres.open()
    await ledger.rows.add(purchase("p1"))
    [idle] = ledger._keeping._idle
    assert await idle.fetchval("show synchronous_commit") == "on"


# ---- between organizations ------------------------------------------------------------------------------


async def test_a_transaction_sees_the_rows_of_whom_it_named_and_those_of_none(postgres: Store) -> None:
    rows = await opened(postgres)
    for organization in ("acme", "beta", ""):
        await rows.add(purchase(f"p-{organization}", organization))
    connection = await connect_as(postgres.url, "tokentill_app")

    async def seen() -> list[str]:
        return [row["id"] for row in await connection.fetch("select id from purchase order by id")]

    async def attempt(statement: str) -> None:
        async with connection.transaction():
            await connection.execute("select set_config('tokentill.organizations', '{acme}', true)")
            await connection.execute(statement)

    assert await seen() == ["p-"]
    async with connection.transaction():
        await connection.execute("select set_config('tokentill.organizations', '{acme}', true)")
        assert await seen() == ["p-", "p-acme"]
        assert await connection.execute("delete from purchase where id = 'p-beta'") == "DELETE 0"
        assert await connection.execute("update purchase set amount = 0 where id = 'p-beta'") == "UPDATE 0"
    for statement in (
        "update purchase set organization = 'beta' where id = 'p-acme'",
        'insert into purchase select (jsonb_populate_record(p, \'{"organization": "beta"}\')).* from purchase p',
        "truncate purchase",
        "drop table purchase",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await attempt(statement)
    assert await seen() == ["p-"], "it ends with the transaction"
    await connection.close()
    auditor = await connect_as(postgres.url, "tokentill_audit")
    assert await auditor.fetchval("select count(*) from purchase") == 3
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await auditor.execute("delete from purchase")
    await auditor.close()


async def test_names_that_look_like_sql_are_names(postgres: Store) -> None:
    rows = await opened(postgres)
    for name in ('a"b', "a,b", "{a}", "a\\b", "null", "a'b", " ", "NULL", "ä}"):
        await rows.add(purchase("p", name))
        assert (await rows.get(Purchase, "p", name)) is not None
        assert len(await rows.find(Purchase, {"organization": name})) == 1
        [due] = [await rows.put(replace(purchase("p", name, due_at=NOON), version=1))]
        assert due is not None
    assert len(await rows.claim(Purchase, NOON, 1)) == 9
