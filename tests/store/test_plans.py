"""Hot statements find their rows by an index, whether the database is empty, fresh or large."""

import json
import re
from collections.abc import Iterator
from typing import Any

import apsw
import pytest

from tests.support.monitoring import FAILED, FRAUD
from tests.support.stores import Store, begin, charge, connect
from tokentill.store import postgres_connection
from tokentill.store.postgres_connection import Connection
from tokentill.store.statements import for_rows, statements

# Design idea 3

KEY = b"k" * 16
POSTGRES: dict[str, tuple[Any, ...]] = {
    "organizations_now": (["o1", "o2"],),
    "unchanged": (["o1", "o2"], b""),
    "refresh": (["o1", "o2"], [None, 5], [None, 5], 200),
    "load": ([1, 2],),
    "operations": ([1, 2], [KEY, KEY]),
    "write": (
        *([900_001], ["new"], [1], [b""], [1], [None]),
        *([2], [b""], [1], [None], [1], [1]),
        *(
            [900_002],
            [1],
            [0],
            [1],
            [1],
            ["k"],
            ["done"],
            [None],
            [None],
            [1],
            [1],
            [None],
            [KEY],
            [7],
            [b""],
            [b""],
        ),
        *([1], [1], [1], [b""]),
        *([1], ["u"], ["n"]),
    ),
    "is_stored": (1, b""),
    "previous_of": (1, 1),
    "last_row": (1,),
    "page": (1, 50),
    "operation": (KEY, 1),
    "forget_person": (1, "u"),
    "operator_key": ("k",),
}
"""The lane's statements, and those that read one organization; they act as `tokentill_app`."""
AUDIT: dict[str, tuple[Any, ...]] = {
    "organizations": ("", 100),
    "organizations_due": (1, 100),
    "soonest_due": (),
    "follow": (0, 0, 0, 1000),
    "oldest_unreadable": (0,),
    "newest_xid": (),
    "every_entry": (0, 5000),
}
SQLITE_APART = {
    "begin", "commit", "rollback", "data_version", "tables",  # no table
    "operator_keys", "add_operator_key", "operator_key_used", "revoke_operator_key",  # a handful of rows
    "every_organization", "every_snapshot", "every_state", "every_person",  # verify reads everything
}  # fmt: skip
OWN = {"chain", "json_each", "wanted", "CONSTANT", "(subquery-1)"}
"""What a statement makes itself is read whole."""


def nodes(plan: dict[str, Any], parent: str) -> Iterator[tuple[dict[str, Any], str]]:
    """Every node of a plan, with the kind of node above it."""
    yield plan, parent
    for part in plan.get("Plans", ()):
        yield from nodes(part, plan["Node Type"])


async def statements_of(connection: Connection) -> dict[str, str]:
    """The statements of the engine, and the one that the lane's function runs on a table."""
    body = await connection.fetchval("select prosrc from pg_proc where proname = 'enter_batch'")
    _, _, inner = body.removesuffix(";\nend\n").rpartition(";")
    for what, given in ((" into unchanged", ""), ("names", "$1::text[]"), ("links", "$2::bytea")):
        assert what in inner
        inner = inner.replace(what, given)
    return {**statements("postgres"), "unchanged": inner}


async def scanned_in_postgres(store: Store) -> dict[str, list[str]]:
    """Which statements read a whole table, and which, planned for what they are given and for anything."""
    found = await scanned_for_arguments(store)
    for name, whole in (await scanned_for_anything(store)).items():
        found.setdefault(name, []).extend(whole)
    return found


async def scanned_for_anything(store: Store) -> dict[str, list[str]]:
    """As the lane's connection plans its statements: once, and kept for a while."""
    found = {}
    connection = await postgres_connection.connect(store.url, "tokentill_app")
    sql = await statements_of(connection)
    await connection.execute(sql["keep_plans"])
    for name, arguments in POSTGRES.items():
        await connection.execute(f"prepare {name} as {sql[name]}")
        execute = f"execute {name} ({', '.join(['null'] * len(arguments))})"
        plan = json.loads(await connection.fetchval(f"explain (format json) {execute}"))
        whole = read_whole(plan[0]["Plan"])
        if whole:
            found[name] = whole
    await connection.close()
    return found


async def scanned_for_arguments(store: Store) -> dict[str, list[str]]:
    found = {}
    for role, some in (("tokentill_app", POSTGRES), ("tokentill_audit", AUDIT)):
        connection = await postgres_connection.connect(store.url, role)  # type: ignore[arg-type]  # it is one
        sql = await statements_of(connection)
        for name, arguments in some.items():
            transaction = connection.transaction()
            await transaction.start()
            await connection.execute("select set_config('tokentill.organizations', '{o1,o2,new}', true)")
            await connection.execute("select set_config('tokentill.numbers', '{1,2,900001}', true)")
            plan = json.loads(await connection.fetchval(f"explain (format json) {sql[name]}", *arguments))
            await transaction.rollback()
            whole = read_whole(plan[0]["Plan"])
            if whole:
                found[name] = whole
        await connection.close()
    return found


def read_whole(plan: dict[str, Any]) -> list[str]:
    """What a plan reads without a condition on an index."""
    return [
        f"{node['Node Type']} {node.get('Index Name', node.get('Relation Name'))}"
        for node, parent in nodes(plan, "")
        if node["Node Type"] == "Seq Scan"
        or ("Index Name" in node and "Index Cond" not in node and parent != "Limit")
    ]


def scanned_in_sqlite(path: str) -> dict[str, list[str]]:
    database = apsw.Connection(path)
    found = {}
    for name, sql in statements("sqlite").items():
        if name in SQLITE_APART:
            continue
        # Only planned, so that any value will do.
        numbered = {int(number) for number in re.findall(r"\?(\d+)", sql)}
        arguments = ("[]",) * max(numbered, default=sql.count("?"))
        rows: list[Any] = database.execute(f"explain query plan {sql}", arguments).fetchall()
        steps = [row[3].split() for row in rows]
        whole = [
            " ".join(step)
            for step in steps
            if step[0] == "SCAN" and step[1] not in OWN and "USING" not in step
        ]
        if whole:
            found[name] = whole
    database.close()
    return found


async def fill_postgres(store: Store, entries: int) -> None:
    connection = await connect(store)
    await connection.execute(f"""
        insert into organization (number, name, seq, head, last_row, due_at)
        select n, 'o' || n, 1, '', n, n from generate_series(1000, 1000 + {entries} / 100) n;
        insert into entry (
            id, organization, previous, seq, time, kind, status, tokens, balance, key, part, link, body
        )
        select 1000000 + n, 1000 + n % ({entries} / 100), greatest(0, 1000000 + n - {entries} / 100),
            1 + n / ({entries} / 100), n, 'charge', 'done', 3, 3, decode(md5(n::text), 'hex'), 0, '',
            repeat('x', 40)::bytea
        from generate_series(1, {entries}) n;
        insert into snapshot select number, 1, number, '' from organization on conflict do nothing;
        insert into person select number, 'u', 'n' from organization on conflict do nothing;
    """)
    await connection.execute("analyze")
    await connection.close()


def fill_sqlite(path: str, entries: int) -> None:
    database = apsw.Connection(path)
    database.pragma("synchronous", "off")
    database.pragma("cache_size", -1_000_000)  # the keys are random: without room they are written many times
    database.execute(f"""
        begin;
        with recursive n (n) as (select 1000 union all select n + 1 from n where n < 1000 + {entries} / 100)
        insert into organization (number, name, seq, head, last_row, due_at)
        select n, 'o' || n, 1, x'', n, n from n;
        with recursive n (n) as (select 1 union all select n + 1 from n where n < {entries})
        insert into entry
        select 1000000 + n, 1000 + n % ({entries} / 100), max(0, 1000000 + n - {entries} / 100),
            1 + n / ({entries} / 100), n, 'charge', 'done', null, null, 3, 3, null, randomblob(16), 0, x'', zeroblob(40)
        from n;
        insert or ignore into snapshot select number, 1, number, x'' from organization;
        insert or ignore into person select number, 'u', 'n' from organization;
        commit;
        analyze;
    """)
    database.close()


@pytest.mark.parametrize("entries", [200_000, pytest.param(10_000_000, marks=pytest.mark.nightly)])
async def test_on_postgres(postgres: Store, entries: int) -> None:
    assert await scanned_in_postgres(postgres) == {}, "empty"
    ledger = await postgres.open()
    await begin(ledger, "o1", "o2")
    for _ in range(3):
        await charge(ledger, "o1", user="ann")
    assert await scanned_in_postgres(postgres) == {}, "fresh"
    connection = await connect(postgres)
    await connection.execute("vacuum analyze")
    await connection.close()
    assert await scanned_in_postgres(postgres) == {}, "fresh, analysed"
    await fill_postgres(postgres, entries)
    assert await scanned_in_postgres(postgres) == {}, "large"
    connection = await postgres_connection.connect(postgres.url, "tokentill_audit", patient=True)
    for query in (FRAUD, FAILED):
        plan = "\n".join(row[0] for row in await connection.fetch(f"explain {query}"))
        assert "on entry_time" in plan, plan
        assert "Seq Scan on entry" not in plan, plan
    await connection.close()


@pytest.mark.parametrize("entries", [200_000, pytest.param(10_000_000, marks=pytest.mark.nightly)])
async def test_on_sqlite(sqlite: Store, entries: int) -> None:
    ledger = await sqlite.open()
    assert scanned_in_sqlite(sqlite.url) == {}, "empty"
    await begin(ledger, "o1", "o2")
    for _ in range(3):
        await charge(ledger, "o1", user="ann")
    database = apsw.Connection(sqlite.url)
    database.execute("analyze")
    database.close()
    assert scanned_in_sqlite(sqlite.url) == {}, "fresh, analysed"
    fill_sqlite(sqlite.url, entries)
    assert scanned_in_sqlite(sqlite.url) == {}, "large"


async def test_an_account_without_an_earlier_deadline_writes_no_index_on_sqlite(sqlite: Store) -> None:
    await (await sqlite.open()).close()
    database = apsw.Connection(sqlite.url)
    for statement, writes in (("write_account", False), ("write_accounts", False), ("write_due", True)):
        sql = statements("sqlite")[statement]
        given = (1,) * max((int(number) for number in re.findall(r"\?(\d+)", sql)), default=sql.count("?"))
        steps = [row[1] for row in database.execute(f"explain {sql}", given)]
        assert ("IdxInsert" in steps) is writes, statement
    database.close()


@pytest.mark.parametrize("accounts", [1, 2, 40])
async def test_the_accounts_of_a_batch_are_found_by_their_numbers_whatever_the_statistics_say(
    sqlite: Store, accounts: int
) -> None:
    """Somebody may have had them made when there were one or two accounts."""
    ledger = await sqlite.open()
    await begin(ledger, *(f"o{number}" for number in range(accounts)))
    await ledger.close()
    database = apsw.Connection(sqlite.url)
    database.execute("analyze")
    for count, sql in enumerate(for_rows(statements("sqlite")["write_accounts"], 64)[1:], 1):
        rows: list[Any] = database.execute(f"explain query plan {sql}", (1,) * 6 * count).fetchall()
        plan = [row[3] for row in rows]
        assert any("SEARCH organization" in step for step in plan), plan
        assert not any("SCAN organization" in step for step in plan), plan
    database.close()


async def test_a_statement_that_reads_a_whole_table_would_be_noticed(postgres: Store, sqlite: Store) -> None:
    connection = await connect(postgres)
    await connection.execute("alter table entry drop constraint entry_pkey; drop index entry_key, entry_xid")
    await connection.close()
    assert {"refresh", "load", "operations", "page", "operation"} <= set(await scanned_in_postgres(postgres))
    connection = await connect(postgres)
    await connection.execute("alter table organization drop constraint organization_name_key")
    await connection.close()
    assert {"unchanged", "organizations_now"} <= set(await scanned_in_postgres(postgres))
    await (await sqlite.open()).close()
    database = apsw.Connection(sqlite.url)
    database.execute("drop index entry_key")
    database.close()
    assert set(scanned_in_sqlite(sqlite.url)) == {"operation", "operations"}


async def test_an_account_is_not_searched_for_once_for_every_name_that_may_be_seen(postgres: Store) -> None:
    """The policy is a condition on the row that was found, never a second one on the index."""
    await begin(await postgres.open(), "o1", "o2")
    connection = await postgres_connection.connect(postgres.url, "tokentill_app")
    sql = await statements_of(connection)
    await connection.execute(sql["keep_plans"])
    for name in ("unchanged", "refresh"):
        await connection.execute(f"prepare {name} as {sql[name]}")
        execute = f"execute {name} ({', '.join(['null'] * len(POSTGRES[name]))})"
        plan = json.loads(await connection.fetchval(f"explain (format json) {execute}"))[0]["Plan"]
        searches = [node for node, _ in nodes(plan, "") if node.get("Index Name") == "organization_name_key"]
        assert searches, name
        for search in searches:
            assert "ANY" in search["Filter"], name
            assert "ANY" not in search["Index Cond"], name
    await connection.close()


def test_every_statement_of_the_lane_is_looked_at() -> None:
    """A statement added later is looked at too, unless it is named here with the reason."""
    apart = {
        "begin", "commit", "rollback", "enter", "more_ids", "new_numbers", "scope", "database_time",  # no table,
        # but for the function that "enter" calls: its statement is looked at as "unchanged"
        "operator_keys", "add_operator_key", "operator_key_used", "revoke_operator_key",  # a handful of rows
        "every_organization", "every_snapshot", "every_state", "every_person",  # verify reads everything
        "cursor", "move_cursor", "meta", "set_meta", "migration_lock", "has_meta", "next_xid", "missing_role",
        "can_set_role", "inherits_role", "lock_rooms", "keep_plans",
    }  # fmt: skip
    assert set(statements("postgres")) - apart == (set(POSTGRES) | set(AUDIT)) - {"unchanged"}
