"""Migrations make the schema that was committed, once, whole or not at all, whoever runs them at the same time."""

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import apsw
import asyncpg
import pytest
import structlog.testing

from tests.support import schema
from tests.support.postgres import Cluster
from tests.support.stores import SECRET, Store, begin, charge, clean, connect, follow, whole
from tokentill.ports import Room, StoreDown
from tokentill.rules.rows import Alert
from tokentill.store.migrations import migrations
from tokentill.store.postgres_migrate import migrate
from tokentill.store.sqlite_connection import check_version

# R-PLAT-2, R-PLAT-5

DIES = """
import asyncio, os, signal, sys
from tests.support.stores import Store
from tokentill.store import faults

faults.install(lambda point: os.kill(os.getpid(), signal.SIGKILL) if point == sys.argv[3] else None)
asyncio.run(Store(sys.argv[1], sys.argv[2]).open())
"""


async def described(store: Store) -> str:
    return await schema.of_postgres(store.url) if store.engine == "postgres" else schema.of_sqlite(store.url)


def empty(engine: str, request: pytest.FixtureRequest, folder: Path) -> Store:
    """A place where nothing was ever opened."""
    if engine == "postgres":
        return Store("postgres", request.getfixturevalue("postgres_url"))
    return Store("sqlite", str(folder / "till.db"))


both = pytest.mark.parametrize("engine", ["sqlite", "postgres"])


@both
async def test_they_make_the_schema_that_was_committed(
    engine: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    store = empty(engine, request, tmp_path)
    await (await store.open()).close()
    committed = schema.FOLDER / f"schema.{engine}.txt"
    assert await described(store) == committed.read_text(), "run: python -m tests.support.schema"


@both
async def test_opening_again_changes_nothing(
    engine: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    store = empty(engine, request, tmp_path)
    ledger = await store.open()
    await begin(ledger, "acme")
    journal = await whole(ledger, "acme")
    await ledger.close()
    before = await described(store)
    again = await store.open()
    assert await whole(again, "acme") == journal
    assert await described(store) == before
    await store.close()


@both
async def test_any_number_may_open_an_empty_database_at_once(
    engine: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    store = empty(engine, request, tmp_path)
    ledgers = await asyncio.gather(*(store.open() for _ in range(5)))
    for number, ledger in enumerate(ledgers):
        await begin(ledger, f"o{number}")
    assert len(await ledgers[0].organizations()) == 5
    await store.close()


@both
@pytest.mark.parametrize("point", ["open.locked", "open.migrated"])
async def test_a_process_killed_on_the_way_leaves_what_was_there(
    engine: str, point: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    store = empty(engine, request, tmp_path)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", DIES, engine, store.url, point),
        cwd=Path(__file__).parents[2],
        stderr=subprocess.PIPE,
    )
    _, trouble = await process.communicate()
    assert process.returncode == -9, trouble.decode()
    nothing = await described(store) if engine == "postgres" else schema.of_sqlite(store.url)
    assert nothing.strip() in ("", "-- number 0")
    await begin(await store.open(), "acme")
    await store.close()


async def test_a_database_of_a_newer_program_is_left_alone(lasting: Store) -> None:
    await (await lasting.open()).close()
    number = len(migrations("postgres" if lasting.engine == "postgres" else "sqlite")) + 1
    if lasting.engine == "postgres":
        connection = await connect(lasting)
        await connection.execute("update meta set value = $1 where name = 'schema'", str(number))
        await connection.close()
    else:
        database = apsw.Connection(lasting.url)
        database.pragma("user_version", number)
        database.close()
    before = await described(lasting)
    with pytest.raises(StoreDown, match="opened by a newer one"):
        await lasting.open()
    assert await described(lasting) == before


# ---- roles of PostgreSQL --------------------------------------------------------------------------------


async def administer(cluster: Cluster, *statements: str) -> None:
    connection = await asyncpg.connect(cluster.url())
    for statement in statements:
        await connection.execute(statement)
    await connection.close()


def as_role(cluster: Cluster, role: str, database: str) -> str:
    return cluster.url(database).replace("//postgres@", f"//{role}@")


async def test_a_login_role_that_is_no_superuser(postgres_cluster: Cluster) -> None:
    databases = [f"till{number}" for number in range(4)]
    await administer(
        postgres_cluster,
        "create role till login createrole",
        *(f"create database {name} owner till" for name in databases),
    )
    urls = [as_role(postgres_cluster, "till", name) for name in databases]
    # Four databases of one server, none of which has the roles yet.
    await asyncio.gather(*(migrate(url, SECRET) for url in urls * 2))
    store = Store("postgres", urls[0])
    ledger = await store.open()
    await begin(ledger, "acme", "beta", tokens=1_000)
    await asyncio.gather(*(charge(ledger, "acme", user=f"user {number}") for number in range(100)))
    assert await ledger.forget_user("acme", "user 3")
    account = await ledger.account("acme")
    assert account is not None
    assert account.free == 900
    rows, _ = await follow(ledger, "", 110)
    assert len(rows) == await clean(ledger)
    uses = Room(1, (("code", "x"),))  # one that organizations share, so it is counted as the other role
    added = [
        await ledger.rows.add(Alert(id="a", organization=name, code="x", text="", due_at=1), uses)
        for name in ("acme", "beta")
    ]
    assert [each.how for each in added] == ["new", "full"]
    assert len(await ledger.rows.find(Alert, {"code": "x"})) == 1
    assert len(await ledger.rows.claim(Alert, 1, 1)) == 1
    store.clock.time += 10**10
    assert await ledger.sweeper.sweep() == 2
    await ledger.close()
    again = await store.open()
    await charge(again, "beta")
    await clean(again)
    await store.close()


async def test_a_login_role_that_may_not_make_roles_is_told_what_is_needed(postgres_cluster: Cluster) -> None:
    await administer(postgres_cluster, "create role till login", "create database till owner till")
    store = Store("postgres", as_role(postgres_cluster, "till", "till"))
    with pytest.raises(
        StoreDown, match=r"have an administrator run, once: (.+) to your login role"
    ) as raised:
        await store.open()
    needed = str(raised.value).partition("once: ")[2].replace("your login role", "till").removesuffix(".")
    assert needed.startswith("create role tokentill_app nologin; create role tokentill_audit nologin; grant")
    await administer(postgres_cluster, *needed.split("; "))
    with structlog.testing.capture_logs() as logs:
        await begin(await store.open(), "acme")
    assert logs == [], "what it is told to do leaves nothing to complain about"
    await store.close()


async def test_a_login_role_that_may_too_much_is_told(postgres_cluster: Cluster) -> None:
    await administer(
        postgres_cluster,
        "create role till login",
        "create role tokentill_app nologin",
        "create role tokentill_audit nologin",
        "grant tokentill_app, tokentill_audit to till",
        "create database till owner till",
    )
    store = Store("postgres", as_role(postgres_cluster, "till", "till"))
    with structlog.testing.capture_logs() as logs:
        await store.open()
    assert [(each["log_level"], each["role"]) for each in logs] == [
        ("warning", "tokentill_app"),
        ("warning", "tokentill_audit"),
    ]
    administrator = await asyncpg.connect(postgres_cluster.url("till"))
    for each in logs:
        await administrator.execute(each["mend"].removeprefix("as an administrator: "))
    await administrator.close()
    with structlog.testing.capture_logs() as logs:
        await begin(await store.open(), "acme")
    assert logs == []
    await store.close()


async def test_a_login_role_that_may_not_make_tables_is_told(postgres_cluster: Cluster) -> None:
    await administer(postgres_cluster, "create role till login createrole", "create database other")
    with pytest.raises(StoreDown, match="Let it own the database or the schema"):
        await Store("postgres", as_role(postgres_cluster, "till", "other")).open()


async def test_a_server_that_is_not_there_is_told() -> None:
    with pytest.raises(StoreDown, match="PostgreSQL cannot be reached"):
        await Store("postgres", "postgresql://till@/till?host=/nowhere").open()


async def test_what_is_answered_is_durable_whatever_the_servers_default(postgres: Store) -> None:
    # Invariant 6
    connection = await connect(postgres)
    name = await connection.fetchval("select current_database()")
    for value, wanted in (("off", "on"), ("local", "on"), ("remote_apply", "remote_apply")):
        await connection.execute(f'alter database "{name}" set synchronous_commit = {value}')
        ledger = await postgres.open()
        assert await ledger.lane._connection.fetchval("show synchronous_commit") == wanted
        await ledger.close()
    await connection.close()


@pytest.mark.parametrize(
    ("version", "taken"), [("3.40.1", False), ("3.51.2", False), ("3.51.3", True), ("3.100.0", True)]
)
def test_a_sqlite_that_can_damage_a_file_is_not_used(version: str, taken: bool) -> None:
    if taken:
        check_version(version)
    else:
        with pytest.raises(StoreDown, match=rf"{re.escape(version)} is too old; 3\.51\.3 or newer is needed"):
            check_version(version)
