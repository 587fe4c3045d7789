"""PostgreSQL in trouble: what passes is sat out, what stays is said, a bad command fails alone, nothing is lost."""

import asyncio
import random
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import asyncpg
import pytest

from tests.support.postgres import Cluster
from tests.support.stores import (
    Store,
    begin,
    charge,
    clean,
    connect,
    envelope,
    follow,
    new_key,
    ok,
    whole,
)
from tokentill.ports import StoreDown
from tokentill.rules import commands as c
from tokentill.rules.receipts import Receipt
from tokentill.store import faults
from tokentill.store.postgres import PostgresLedger
from tokentill.store.postgres_connection import Connection, lost
from tokentill.store.postgres_lane import PostgresLane
from tokentill.web.asgi import override

# R-LED-3, R-LED-4, R-PLAT-5


class Hasty(PostgresLane):
    retry_seconds = 0.3


class HastyLedger(PostgresLedger):
    lane_type = Hasty


class FewIds(PostgresLane):
    ids_a_block = 3


class FewIdsLedger(PostgresLedger):
    lane_type = FewIds


async def raise_on_entries(store: Store, state: str, times: int, name: str = "%") -> None:
    """Have the database raise an error of this state at the next entries of an organization, so many times."""
    connection = await connect(store)
    await connection.execute(f"""
        create sequence if not exists raised;
        select setval('raised', 1, false);
        grant usage on sequence raised to tokentill_app;
        create or replace function raise_now() returns trigger language plpgsql as $$
        begin
            if (select o.name like '{name}' from organization o where o.number = new.organization)
                and nextval('raised') <= {times} then
                raise exception 'planted' using errcode = '{state}';
            end if;
            return new;
        end $$;
        drop trigger if exists planted on entry;
        create trigger planted before insert on entry for each row execute function raise_now();
    """)
    await connection.close()


@pytest.mark.parametrize("state", ["40001", "40P01", "57014", "55P03", "53300", "25P03"])
async def test_what_passes_is_sat_out(postgres: Store, state: str) -> None:
    ledger = await postgres.open()
    await begin(ledger, "acme", "beta")
    await raise_on_entries(postgres, state, times=2)
    receipts = await asyncio.gather(*(charge(ledger, name) for name in ("acme", "beta") * 5))
    assert sorted(receipt.balance for receipt in receipts)[:2] == [185, 185]
    await clean(ledger)


@pytest.mark.parametrize("state", ["53100", "53200", "57P03", "58030", "25006"])
async def test_what_stays_is_said_and_nothing_was_changed(postgres: Store, state: str) -> None:
    ledger = await postgres.open(kind=HastyLedger)
    await begin(ledger, "acme")
    await raise_on_entries(postgres, state, times=1_000_000)
    with pytest.raises(StoreDown, match="planted"):
        await charge(ledger, "acme")
    assert len(await whole(ledger, "acme")) == 4
    assert "the last commands could not be stored" in (await ledger.health()).problems
    await raise_on_entries(postgres, state, times=0)
    assert (await charge(ledger, "acme")).balance == 197
    assert "the last commands could not be stored" not in (await ledger.health()).problems
    await clean(ledger)


async def test_an_organization_that_cannot_be_written_fails_alone(postgres: Store) -> None:
    ledger = await postgres.open()
    await begin(ledger, "acme", "beta", "zeta")
    await raise_on_entries(postgres, "P0001", times=1_000_000, name="beta")
    replies = await asyncio.gather(
        *(
            ledger.submit(envelope(name, c.Charge(feature="generate_goal")))
            for name in ("acme", "beta", "zeta") * 2
        ),
        return_exceptions=True,
    )
    assert [type(reply) for reply in replies] == [Receipt, asyncpg.RaiseError, Receipt] * 2
    await raise_on_entries(postgres, "P0001", times=0)
    assert [(await charge(ledger, name)).balance for name in ("acme", "beta", "zeta")] == [191, 197, 191]
    await clean(ledger)


async def test_text_that_the_database_cannot_hold_fails_alone(postgres: Store) -> None:
    ledger = await postgres.open()
    await begin(ledger, "acme")
    replies = await asyncio.gather(
        ledger.submit(envelope("acme", c.Charge(feature="generate_goal"))),
        ledger.submit(envelope("a\0b", c.Open(plan="pro"))),
        ledger.submit(envelope("acme", c.Charge(feature="generate_goal"))),
        return_exceptions=True,
    )
    assert [type(reply) for reply in replies] == [Receipt, asyncpg.CharacterNotInRepertoireError, Receipt]
    await clean(ledger)


async def test_an_account_that_moved_under_its_lock_is_never_overwritten(postgres: Store) -> None:
    """Somebody who takes no locks got in between: the write counts what it wrote."""
    ledger = await postgres.open()
    await begin(ledger, "acme")
    connection = await connect(postgres)
    await connection.execute(
        "create function keep() returns trigger language plpgsql as $$ begin return null; end $$; "
        "create trigger keep before update on organization for each row execute function keep()"
    )
    with pytest.raises(AssertionError, match="sequence moved under its lock"):
        await charge(ledger, "acme")
    await connection.execute("drop trigger keep on organization")
    assert (await charge(ledger, "acme")).balance == 197
    await connection.close()
    await clean(ledger)


async def test_connections_that_are_killed_again_and_again(postgres: Store, run_seed: int) -> None:
    ledger = await postgres.open()
    await begin(ledger, "acme", "beta", tokens=10_000)
    chance = random.Random(run_seed)
    admin = await connect(postgres)
    done = 0

    async def work(name: str) -> None:
        nonlocal done
        for _ in range(60):
            hold = (await ok(ledger, name, c.Reserve(feature="generate_goal"), new_key())).operation
            await ok(ledger, name, c.Settle(hold=hold))
            with suppress(StoreDown):  # a read may say so; a command may not, for there is time
                await ledger.account(name)
            done += 1

    async def kill() -> None:
        while done < 240:
            wait_for = done + chance.randrange(4, 16)
            while done < min(wait_for, 240):
                await admin.fetchval("select 1")
            await admin.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity "
                "where datname = current_database() and application_name like 'tokentill%' and query <> ''"
            )

    await asyncio.gather(kill(), *(work(name) for name in ("acme", "beta") * 2))
    await admin.close()
    for name in ("acme", "beta"):
        account = await ledger.account(name)
        assert account is not None
        assert account.free == 10_200 - 2 * 60 * 3
        assert len(await whole(ledger, name)) == 5 + 2 * 2 * 60
    await clean(ledger)


async def test_the_server_crashes_at_every_step_of_a_batch(postgres_cluster: Cluster) -> None:
    store = Store("postgres", postgres_cluster.url())
    ledger = await store.open()
    await begin(ledger, "acme")
    points = [point for point in faults.POSTGRES if point.startswith("lane.")]
    charged = 0
    for number, point in enumerate(points):
        crashed = False

        def crash(passed: str, at: str = point, how: int = number) -> None:
            nonlocal crashed
            if passed == at and not crashed:
                crashed = True
                postgres_cluster.stop("kill" if how % 2 else "immediate")
                postgres_cluster.start()

        faults.install(crash)
        try:
            key = new_key()
            sent = [
                ledger.submit(envelope("acme", c.Charge(feature="generate_goal"), key)),
                ledger.submit(envelope("acme", c.Charge(feature="generate_goal"))),
            ]
            for answer in await asyncio.gather(*sent):
                charged += 1
                assert isinstance(answer, Receipt)
                assert (answer.balance, answer.replayed) == (200 - 3 * charged, False), point
        finally:
            faults.install(None)
        assert crashed, point
        assert (await charge(ledger, "acme", key=key)).replayed
    assert len(await whole(ledger, "acme")) == 4 + charged
    await clean(ledger)
    await store.close()


async def test_while_the_server_is_away(postgres_cluster: Cluster) -> None:
    store = Store("postgres", postgres_cluster.url())
    ledger = await store.open(kind=HastyLedger)
    await begin(ledger, "acme")
    postgres_cluster.stop("immediate")
    with pytest.raises(StoreDown):
        await charge(ledger, "acme")
    with pytest.raises(StoreDown):
        await ledger.account("acme")
    health = await ledger.health()
    assert not health.ok
    postgres_cluster.start()
    assert (await charge(ledger, "acme")).balance == 197
    await clean(ledger)
    await store.close()


async def test_closing_when_the_server_has_just_gone(postgres_cluster: Cluster) -> None:
    """Nobody has noticed yet: the connections break while they say goodbye."""
    store = Store("postgres", postgres_cluster.url())
    ledger = await store.open()
    await begin(ledger, "acme")
    assert await ledger.account("acme") is not None
    postgres_cluster.stop("kill")
    await store.close()


async def test_more_entries_than_a_block_has_ids(postgres: Store) -> None:
    """The rest gets ids of further blocks; rows point to each other as ever."""
    ledger = await postgres.open(kind=FewIdsLedger)
    other = await postgres.open(kind=FewIdsLedger)
    await begin(ledger, "acme", "beta", tokens=1_000)
    for turn in range(3):
        names = [f"new {turn} {number}" for number in range(3)]
        await asyncio.gather(*(ok(other, name, c.Open(plan="pro")) for name in names))
        await asyncio.gather(*(charge(ledger, name) for name in ("acme", "beta", *names) * 20))
        await asyncio.gather(*(charge(other, name) for name in ("acme", *names) * 20))
    rows = await whole(ledger, "acme")
    assert [row.id for row in rows] == sorted(row.id for row in rows)
    assert [row.entry.seq for row in rows] == list(range(1, 126))
    total = await clean(ledger)
    read, _ = await follow(ledger, "", total, limit=17)
    assert [row.entry.seq for row in read if row.organization == "acme"] == list(range(1, 126))


class Backwards(PostgresLane):
    """The planted fault: takes its locks in an order of its own."""

    @override
    async def _enter(self, connection: Connection, names: list[str]) -> tuple[int, bool]:
        return await super()._enter(connection, names[::-1])


class BackwardsLedger(PostgresLedger):
    lane_type = Backwards


async def deadlocks(store: Store, ledgers: Sequence[Any], names: list[str]) -> int:
    """How many there are once each ledger has charged each organization, all at once."""
    orders = [names, names[::-1], names[5:] + names[:5], names[::2] + names[1::2]]
    await asyncio.gather(
        *(charge(ledger, name) for ledger, order in zip(ledgers, orders, strict=True) for name in order)
    )
    connection = await connect(store)
    found = "select deadlocks from pg_stat_database where datname = current_database()"
    counted: int = await connection.fetchval(found)
    await connection.close()
    return counted


async def test_many_processes_on_the_same_organizations_never_deadlock(postgres: Store) -> None:
    # The proof's figure: 0 deadlocks.
    ledgers = [await postgres.open() for _ in range(4)]
    names = [f"o{number}" for number in range(10)]
    await begin(ledgers[0], *names, tokens=10_000)
    for _ in range(15):
        assert await deadlocks(postgres, ledgers, names) == 0
    for name in names:
        account = await ledgers[1].account(name)
        assert account is not None
        assert account.free == 10_200 - 15 * 4 * 3
    await clean(ledgers[2])


async def test_locks_in_another_order_are_caught(postgres: Store) -> None:
    ledgers = [await postgres.open(kind=kind) for kind in (PostgresLedger, BackwardsLedger) * 2]
    names = [f"o{number}" for number in range(10)]
    await begin(ledgers[0], *names, tokens=10_000)
    for _ in range(15):
        if await deadlocks(postgres, ledgers, names):
            break
    else:
        raise AssertionError("no deadlock was seen")
    await clean(ledgers[2])


async def test_a_process_that_freezes_with_its_locks_is_put_aside(postgres: Store) -> None:
    """The server ends its transaction before the others give up waiting."""
    ledger = await postgres.open()
    await begin(ledger, "acme")
    lane = ledger.lane._connection
    limits = {}
    for name in ("idle_in_transaction_session_timeout", "lock_timeout", "statement_timeout"):
        limits[name] = int(await lane.fetchval("select setting from pg_settings where name = $1", name))
    assert (
        0
        < limits["idle_in_transaction_session_timeout"]
        < limits["lock_timeout"]
        < limits["statement_timeout"]
    )
    assert limits["lock_timeout"] < 1000 * PostgresLane.retry_seconds


@pytest.mark.parametrize(
    ("trouble", "passing"),
    [
        (asyncpg.SerializationError(), True),
        (asyncpg.DeadlockDetectedError(), True),
        (asyncpg.ConnectionDoesNotExistError(), True),
        (asyncpg.AdminShutdownError(), True),
        (asyncpg.CannotConnectNowError(), True),
        (asyncpg.ReadOnlySQLTransactionError(), True),
        (asyncpg.DiskFullError(), True),
        (asyncpg.QueryCanceledError(), True),
        (asyncpg.InterfaceError("connection is closed"), True),
        (ConnectionResetError(), True),
        (TimeoutError(), True),
        (asyncpg.UniqueViolationError(), False),
        (asyncpg.InsufficientPrivilegeError(), False),
        (asyncpg.DataError("it does not fit"), False),
        (asyncpg.UndefinedTableError(), False),
        (AssertionError(), False),
    ],
)
def test_troubles_of_the_database_are_told_from_those_of_a_command(trouble: Exception, passing: bool) -> None:
    assert lost(trouble) is passing
