"""Organizations are kept apart by the database itself (PostgreSQL row-level security).

The roles are looked at as the server knows them, so that a table or a grant added later cannot slip past.
"""

import asyncio
from pathlib import Path

import asyncpg
import pytest
import structlog.testing

from tests.support.postgres import Cluster
from tests.support.stores import Store, begin, charge, connect, envelope, new_key
from tests.support.wire import Wire
from tokentill.ports import StoreDown
from tokentill.rules import commands as c
from tokentill.rules.receipts import Receipt
from tokentill.store.postgres_connection import ROLES, Connection, Pool
from tokentill.store.postgres_connection import connect as connect_as
from tokentill.store.rows import KINDS, table

# R-PLAT-2

# Tables that belong to no organization; every other one is a tenant table.
SHARED = {"meta", "operator_key", "cursor"}
TENANT = ("organization", "snapshot", "entry", "person")
# The rows beside the journal; one without an organization is everybody's to see.
ROWS = {table(kind, "$").name for kind in KINDS}


async def filled(store: Store) -> None:
    """Two organizations, each with entries, a person and a snapshot."""
    ledger = await store.open()
    await begin(ledger, "acme", "beta", tokens=1_000)
    for name in ("acme", "beta"):
        await asyncio.gather(*(charge(ledger, name, user=f"user {number}") for number in range(100)))
    await ledger.close()


async def seen(connection: Connection) -> dict[str, int]:
    return {table: await connection.fetchval(f"select count(*) from {table}") for table in TENANT}


async def numbers(store: Store) -> dict[str, int]:
    connection = await connect(store)
    rows = await connection.fetch("select name, number from organization")
    await connection.close()
    return {row["name"]: row["number"] for row in rows}


async def test_every_table_is_shared_on_purpose_or_bound_to_organizations(postgres: Store) -> None:
    connection = await connect(postgres)
    tables = await connection.fetch(
        """
        select relname, relrowsecurity, relforcerowsecurity,
               exists (
                   select from pg_attribute
                   where attrelid = pg_class.oid and attname in ('organization', 'number') and attnotnull
               ) as bound,
               array(
                   select format('%s %s %s', polname, polcmd, polroles::regrole[]) from pg_policy
                   where polrelid = pg_class.oid order by 1
               ) as policies
        from pg_class
        where relnamespace = 'public'::regnamespace and relkind in ('r', 'p', 'm', 'f')
        """
    )
    await connection.close()
    assert {row["relname"] for row in tables} - SHARED == {*TENANT, *ROWS}
    for row in tables:
        if row["relname"] in SHARED:
            assert not row["bound"], f"{row['relname']} has an organization: it is a tenant table"
            continue
        assert row["relrowsecurity"], row["relname"]
        assert row["relforcerowsecurity"], f"{row['relname']}: its owner is not bound"
        assert row["bound"], row["relname"]
        assert row["policies"] == ["app * {tokentill_app}", "audit r {tokentill_audit}"], row["relname"]


async def test_a_table_added_without_a_policy_would_be_noticed(postgres: Store) -> None:
    connection = await connect(postgres)
    await connection.execute("create table invoice (organization bigint not null)")
    await connection.close()
    with pytest.raises(AssertionError):
        await test_every_table_is_shared_on_purpose_or_bound_to_organizations(postgres)


async def test_views_ask_with_the_readers_rights(postgres: Store) -> None:
    connection = await connect(postgres)
    views = await connection.fetch(
        "select relname, reloptions from pg_class where relnamespace = 'public'::regnamespace and relkind = 'v'"
    )
    functions = await connection.fetch(
        "select proname, prosecdef from pg_proc where pronamespace = 'public'::regnamespace"
    )
    await connection.close()
    assert [view["relname"] for view in views] == ["ai_token_usage_log"]
    assert all("security_invoker=true" in view["reloptions"] for view in views)
    assert not any(function["prosecdef"] for function in functions)


async def test_the_roles_can_do_nothing_beyond_their_work(postgres: Store) -> None:
    connection = await connect(postgres)
    roles = await connection.fetch("select * from pg_roles where rolname like 'tokentill%' order by rolname")
    assert [role["rolname"] for role in roles] == ["tokentill_app", "tokentill_audit"]
    for role in roles:
        rights = ("rolsuper", "rolbypassrls", "rolcreaterole", "rolcreatedb", "rolcanlogin", "rolreplication")
        assert not any(role[right] for right in rights)
    owned = await connection.fetchval(
        "select count(*) from pg_class where relowner in ('tokentill_app'::regrole, 'tokentill_audit'::regrole)"
    )
    assert owned == 0
    granted = await connection.fetch(
        """
        select table_name, string_agg(privilege_type, ' ' order by privilege_type) as rights
        from information_schema.role_table_grants where grantee = 'tokentill_app' group by 1 order by 1
        """
    )
    assert {row["table_name"]: row["rights"] for row in granted} == {
        "ai_token_usage_log": "SELECT",
        "cursor": "INSERT SELECT UPDATE",
        "entry": "INSERT SELECT",
        "operator_key": "INSERT SELECT UPDATE",
        "organization": "INSERT SELECT UPDATE",
        "person": "DELETE INSERT SELECT",
        "snapshot": "INSERT SELECT UPDATE",
        **dict.fromkeys(ROWS, "DELETE INSERT SELECT UPDATE"),
    }
    audit = await connection.fetch(
        "select distinct privilege_type from information_schema.role_table_grants where grantee = 'tokentill_audit'"
    )
    assert [row["privilege_type"] for row in audit] == ["SELECT"]
    await connection.close()


async def test_nothing_is_seen_until_an_organization_is_named(postgres: Store) -> None:
    await filled(postgres)
    connection = await connect_as(postgres.url, "tokentill_app")
    assert await connection.fetchval("select current_user") == "tokentill_app"
    assert await seen(connection) == dict.fromkeys(TENANT, 0)
    for names, its in (("", ""), ("{}", "{}"), ("{nobody}", "{-1}")):
        await connection.execute("select set_config('tokentill.organizations', $1, false)", names)
        await connection.execute("select set_config('tokentill.numbers', $1, false)", its)
        assert await seen(connection) == dict.fromkeys(TENANT, 0)
    assert await connection.fetchval("select count(*) from ai_token_usage_log") == 0
    await connection.close()


async def test_only_the_named_organization_is_seen(postgres: Store) -> None:
    await filled(postgres)
    number = (await numbers(postgres))["acme"]
    connection = await connect_as(postgres.url, "tokentill_app")
    async with connection.transaction():
        await connection.execute("select set_config('tokentill.organizations', '{acme}', true)")
        await connection.execute("select set_config('tokentill.numbers', $1, true)", f"{{{number}}}")
        assert await seen(connection) == {"organization": 1, "snapshot": 1, "entry": 105, "person": 100}
        for table in TENANT[1:]:
            assert await connection.fetchval(f"select distinct organization from {table}") == number
        rows = await connection.fetch("select distinct organization_id from ai_token_usage_log")
        assert [row[0] for row in rows] == ["acme"]
    assert await seen(connection) == dict.fromkeys(TENANT, 0), "it ends with the transaction"
    await connection.close()


async def test_nothing_can_be_written_for_another_organization(postgres: Store) -> None:
    await filled(postgres)
    by_name = await numbers(postgres)
    mine, other = by_name["acme"], by_name["beta"]
    connection = await connect_as(postgres.url, "tokentill_app")

    async def attempt(statement: str) -> str:
        async with connection.transaction():
            await connection.execute("select set_config('tokentill.organizations', '{acme}', true)")
            await connection.execute("select set_config('tokentill.numbers', $1, true)", f"{{{mine}}}")
            return await connection.execute(statement)

    entry = "insert into entry (id, organization, previous, seq, time, kind, status, tokens, balance, part, link, body)"
    for statement in (
        f"{entry} values (900000, {other}, 0, 1, 1, 'x', 'done', 1, 1, 0, '', '')",
        f"insert into person values ({other}, 'u', 'n')",
        f"insert into snapshot values ({other + 100}, 1, 1, '')",
        "insert into organization values (900, 'gamma', 1, '', 1)",
        "update organization set name = 'beta!' where name = 'acme'",
        f"update snapshot set organization = {other + 100}",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
            await attempt(statement)
    assert await attempt(f"delete from person where organization = {other}") == "DELETE 0"
    assert await attempt("update organization set seq = 0 where name = 'beta'") == "UPDATE 0"
    for statement in (
        "update entry set tokens = 0",
        "delete from entry",
        "truncate entry",
        "delete from organization",
        "delete from snapshot",
        "drop table person",
        "alter table entry disable row level security",
        "select * from meta",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await attempt(statement)
    await connection.close()


async def test_the_audit_role_reads_everything_and_writes_nothing(postgres: Store) -> None:
    await filled(postgres)
    connection = await connect_as(postgres.url, "tokentill_audit")
    assert await seen(connection) == {"organization": 2, "snapshot": 2, "entry": 210, "person": 200}
    for statement in (
        "update organization set seq = 0",
        "insert into person values (1, 'u', 'n')",
        "delete from person",
        "select nextval('entry_block')",
        "truncate entry",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)
    await connection.close()


async def test_the_owner_is_bound_too(postgres_cluster: Cluster) -> None:
    """A connection that forgot to become another role sees nothing, though it owns the tables."""
    administrator = await asyncpg.connect(postgres_cluster.url())
    await administrator.execute("create role till login createrole")
    await administrator.execute("create database till owner till")
    await administrator.close()
    store = Store("postgres", postgres_cluster.url("till").replace("//postgres@", "//till@"))
    with structlog.testing.capture_logs() as logs:
        await filled(store)
    assert logs == [], "nothing to complain about"
    connection = await connect(store)
    assert await connection.fetchval("select current_user") == "till"
    assert (
        await connection.fetchval("select relowner::regrole::text from pg_class where relname = 'entry'")
        == "till"
    )
    for setting, value in (("organizations", "{acme,beta}"), ("numbers", "{1,2}")):
        await connection.execute(f"set tokentill.{setting} = '{value}'")
    assert await seen(connection) == dict.fromkeys(TENANT, 0)
    assert await connection.fetchval("select count(*) from ai_token_usage_log") == 0
    await connection.execute("set role tokentill_audit")
    assert (await seen(connection))["organization"] == 2, "it may become who sees them"
    await connection.close()
    await store.close()


async def test_a_pooler_that_drops_the_role_is_told(postgres: Store, tmp_path: Path) -> None:
    """As PgBouncer does where it is told to ignore what a session asks for."""
    await filled(postgres)
    async with Wire(postgres.url, tmp_path)() as pooler:
        for role in ROLES:
            pooler.forgets = set()
            connection = await connect_as(pooler.url, role)
            assert await connection.fetchval("select current_user") == role
            await connection.close()
            pooler.forgets = {b"role"}
            with pytest.raises(StoreDown, match="such as a pooler"):
                await connect_as(pooler.url, role)


async def test_a_connection_used_again_has_forgotten_its_organization(postgres: Store) -> None:
    await filled(postgres)
    ledger = await postgres.open()
    for _ in range(3):
        assert await ledger.account("acme") is not None
    pool = Pool(postgres.url, "tokentill_app")

    async def backend(connection: Connection) -> int:
        return int(await connection.fetchval("select pg_backend_pid()"))

    async def name_one(connection: Connection) -> dict[str, int]:
        await connection.execute("select set_config('tokentill.organizations', '{acme}', true)")
        return await seen(connection)

    first = await pool.read(backend)
    assert (await pool.read(name_one))["organization"] == 1
    assert await pool.read(seen) == dict.fromkeys(TENANT, 0)
    assert await pool.read(backend) == first, "it was the same connection"
    await pool.close()


async def test_the_lane_names_no_more_than_its_batch(postgres: Store) -> None:
    ledger = await postgres.open()
    await begin(ledger, "acme", "beta")
    connection = ledger.lane._connection
    assert connection is not None
    assert await seen(connection) == dict.fromkeys(TENANT, 0)
    replies = await asyncio.gather(
        *(
            ledger.submit(envelope(name, c.Charge(feature="generate_goal"), new_key()))
            for name in ("acme", "beta")
        )
    )
    assert all(isinstance(reply, Receipt) for reply in replies)
    assert await seen(connection) == dict.fromkeys(TENANT, 0)
