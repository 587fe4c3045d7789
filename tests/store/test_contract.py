"""What a ledger is, on every engine: each method of the port, and what may be relied on."""

import asyncio
import time
from pathlib import Path
from typing import Any, cast

import pytest

from tests.support.stores import (
    MONTH,
    NOON,
    Store,
    begin,
    charge,
    clean,
    envelope,
    follow,
    new_key,
    no,
    ok,
    whole,
)
from tokentill.ports import Ledger, OperatorKey, StoreDown, Stretch
from tokentill.rules import commands as c
from tokentill.rules.balance import balance
from tokentill.rules.receipts import Receipt
from tokentill.rules.refusals import Code, Refusal

# R-LED-3, R-LED-5, R-LED-6, R-LED-9, R-PLAT-5


async def test_it_is_the_port(store: Store) -> None:
    ledger = await store.open()
    assert isinstance(ledger, Ledger)
    assert ledger.catalog.name == "goals"


async def test_reserve_settle_release(store: Store) -> None:
    ledger = await store.open()
    await begin(ledger, "acme")
    hold = await ok(ledger, "acme", c.Reserve(feature="generate_goal"))
    assert (hold.tokens, hold.balance, hold.held) == (3, 197, 3)
    settled = await ok(ledger, "acme", c.Settle(hold=hold.operation, tokens=2))
    assert (settled.tokens, settled.released, settled.balance, settled.held) == (2, 1, 198, 0)
    other = await ok(ledger, "acme", c.Reserve(feature="generate_goal"))
    released = await ok(ledger, "acme", c.Release(hold=other.operation))
    assert (released.balance, released.held) == (198, 0)
    account = await ledger.account("acme")
    assert account is not None
    now = balance(account, ledger.catalog)
    assert (now.remaining, now.used, now.held) == (198, 2, 0)
    await clean(ledger)


async def test_what_is_unknown_is_said_to_be(store: Store) -> None:
    ledger = await store.open()
    assert await ledger.account("nobody") is None
    assert await ledger.journal("nobody") is None
    assert await ledger.operation("nobody", new_key()) is None
    assert await ledger.organizations() == []
    refusal = await no(ledger, "nobody", c.Charge(feature="generate_goal"))
    assert refusal.code == Code.UNKNOWN_ORGANIZATION


async def test_an_organization_that_was_not_opened_leaves_nothing(store: Store) -> None:
    ledger = await store.open()
    assert (await no(ledger, "acme", c.Open(plan="no such plan"))).code == Code.UNKNOWN_PLAN
    assert await ledger.account("acme") is None
    assert await ledger.organizations() == []
    verdict = await ledger.verify()
    assert (verdict.organizations, verdict.entries) == (0, 0)
    await begin(ledger, "acme")
    assert (await no(ledger, "acme", c.Open(plan="pro"))).code == Code.ORGANIZATION_EXISTS


async def test_refused_and_opened_in_one_batch(store: Store) -> None:
    ledger = await store.open()
    replies = await asyncio.gather(
        ledger.submit(envelope("acme", c.Open(plan="no such plan"))),
        ledger.submit(envelope("acme", c.Open(plan="pro"))),
        ledger.submit(envelope("acme", c.Charge(feature="generate_goal"))),
        ledger.submit(envelope("other", c.Charge(feature="generate_goal"))),
    )
    assert [type(reply) for reply in replies] == [Refusal, Receipt, Receipt, Refusal]
    assert await ledger.organizations() == ["acme"]
    await clean(ledger)


async def test_a_replay_gets_the_first_answer(store: Store) -> None:
    # R-LED-9
    ledger = await store.open()
    await begin(ledger, "acme")
    key = new_key()
    first = await charge(ledger, "acme", key=key)
    again = await charge(ledger, "acme", key=key)
    assert again.replayed
    assert (again.entry, again.balance) == (first.entry, first.balance)
    other = await no(ledger, "acme", c.Charge(feature="generate_goal", quantity=2), key)
    assert other.code == Code.KEY_REUSED
    both = await asyncio.gather(*(charge(ledger, "acme", key="ab" * 16) for _ in range(2)))
    assert [reply.replayed for reply in both] == [False, True]
    account = await ledger.account("acme")
    assert account is not None
    assert account.free == 194


@pytest.mark.parametrize("ident", ["order 7", "A" * 32, ""])
async def test_what_is_no_operations_id_is_refused(store: Store, ident: str) -> None:
    # R-LED-9
    ledger = await store.open()
    await begin(ledger, "acme")
    charge_it = c.Charge(feature="generate_goal")
    replies = await asyncio.gather(
        ledger.submit(c.Envelope("acme", charge_it, ident)),
        ledger.submit(c.Envelope("acme", charge_it, ident, keyed=True)),
        ledger.submit(c.Envelope("acme", c.Settle(hold=ident))),
        ledger.submit(c.Envelope("acme", c.Release(hold=ident), retry=True)),
        ledger.submit(c.Envelope("acme", c.Refund(operation=ident))),
        ledger.submit(c.Envelope("acme", c.Extend(hold=ident, timeout_ms=1), ident, keyed=True)),
    )
    assert [reply.code for reply in replies if isinstance(reply, Refusal)] == [
        Code.INVALID, Code.INVALID, Code.UNKNOWN_HOLD, Code.UNKNOWN_HOLD, Code.UNKNOWN_OPERATION, Code.INVALID,
    ]  # fmt: skip
    assert not await ledger.operation("acme", ident)
    await clean(ledger)


async def test_the_same_key_in_another_organization_is_another_operation(store: Store) -> None:
    # R-LED-9
    ledger = await store.open()
    await begin(ledger, "acme", "beta")
    key = new_key()
    assert not (await charge(ledger, "acme", key=key)).replayed
    assert not (await charge(ledger, "beta", key=key)).replayed


async def test_a_hold_ends_once(store: Store) -> None:
    # R-LED-3
    ledger = await store.open()
    await begin(ledger, "acme")
    hold = (await ok(ledger, "acme", c.Reserve(feature="generate_goal"))).operation
    replies = await asyncio.gather(
        *(ledger.submit(c.Envelope("acme", c.Settle(hold=hold))) for _ in range(3)),
        ledger.submit(c.Envelope("acme", c.Release(hold=hold))),
    )
    assert [getattr(reply, "replayed", None) for reply in replies] == [False, True, True, None]
    assert (await ok(ledger, "acme", c.Settle(hold=hold))).replayed
    rows = await ledger.operation("acme", hold)
    assert rows is not None
    assert [(row.entry.part, row.entry.tokens) for row in rows] == [(0, 3), (1, 3)]


async def test_a_refund_of_a_failed_operation_finds_its_charge(store: Store) -> None:
    # R-LED-7
    ledger = await store.open()
    await begin(ledger, "acme")
    key = new_key()
    await charge(ledger, "acme", key=key)
    assert (await ok(ledger, "acme", c.Refund(operation=key))).tokens == 3
    assert (await ok(ledger, "acme", c.Refund(operation=key))).replayed
    rows = await ledger.operation("acme", key)
    assert rows is not None
    assert [row.entry.part for row in rows] == [0, 2]
    assert await ledger.operation("acme", new_key()) == []


@pytest.mark.parametrize("size", [1, 3, 100])
async def test_the_journal_is_paged_newest_first(store: Store, size: int) -> None:
    # R-LED-5, R-LED-6
    ledger = await store.open()
    await begin(ledger, "acme", "beta")
    for number in range(8):
        await charge(ledger, "acme", user=f"user {number % 2}")
        await charge(ledger, "beta")
    rows = []
    page = await ledger.journal("acme", limit=size)
    while page is not None:
        assert len(page.rows) <= size
        rows += page.rows
        page = None if page.next is None else await ledger.journal("acme", page.next, size)
    assert [row.entry.seq for row in rows] == list(range(12, 0, -1))
    assert [row.id for row in rows] == sorted((row.id for row in rows), reverse=True)
    assert [row.user_name for row in rows[:4]] == ["user 1", "user 0", "user 1", "user 0"]
    assert {row.organization for row in rows} == {"acme"}
    assert rows[0].entry.user == ledger.opaque("acme", "user 1")


async def test_a_page_before_a_row_of_another_organization_is_empty(store: Store) -> None:
    # R-PLAT-2
    ledger = await store.open()
    await begin(ledger, "acme", "beta")
    other = await ledger.journal("beta")
    assert other is not None
    page = await ledger.journal("acme", before=other.rows[0].id)
    assert page is not None
    assert (page.rows, page.next) == ((), None)


async def test_operations_are_those_of_the_organization(store: Store) -> None:
    # R-PLAT-2
    ledger = await store.open()
    await begin(ledger, "acme", "beta")
    key = new_key()
    await charge(ledger, "beta", key=key)
    assert await ledger.operation("acme", key) == []
    assert (await no(ledger, "acme", c.Refund(operation=key))).code == Code.UNKNOWN_OPERATION


async def test_organizations_are_listed_in_order(store: Store) -> None:
    ledger = await store.open()
    names = ["b", "B", "a/2", "a-1", "ä", "Z\N{GRINNING FACE}", "'; drop table entry; --", '{"}, {",', "a\\b"]
    await begin(ledger, *names)
    assert await ledger.organizations() == sorted(names)
    assert await ledger.organizations("a-1", 2) == ["a/2", "a\\b"]
    assert await ledger.organizations(max(names)) == []
    for name in names:
        await charge(ledger, name, user=name)
        page = await ledger.journal(name, limit=1)
        assert page is not None
        assert page.rows[0].user_name == name
    await clean(ledger)


async def test_a_users_name_can_be_forgotten(store: Store) -> None:
    ledger = await store.open()
    await begin(ledger, "acme", "beta")
    await charge(ledger, "acme", user="ann@example.org")
    await charge(ledger, "beta", user="ann@example.org")
    assert await ledger.forget_user("nobody", "ann@example.org") is False
    assert await ledger.forget_user("acme", "ann@example.org") is True
    assert await ledger.forget_user("acme", "ann@example.org") is False
    assert [row.user_name for row in await whole(ledger, "acme")][-1] is None
    assert [row.user_name for row in await whole(ledger, "beta")][-1] == "ann@example.org"
    await charge(ledger, "acme", user="ann@example.org")
    assert [row.user_name for row in await whole(ledger, "acme")][-1] == "ann@example.org"
    await clean(ledger)


async def test_operator_keys(store: Store) -> None:
    ledger = await store.open()
    first = OperatorKey("k1", "laptop", NOON, None, None)
    second = OperatorKey("k2", "server", NOON + 1, None, None)
    assert await ledger.add_operator_key(second, b"digest 2") is True
    assert await ledger.add_operator_key(first, b"digest 1") is True
    assert await ledger.add_operator_key(OperatorKey("k1", "other", NOON, None, None), b"digest 3") is False
    assert await ledger.operator_keys() == [first, second]
    assert await ledger.find_operator_key("k1") == (first, b"digest 1")
    assert await ledger.find_operator_key("k3") is None
    assert await ledger.revoke_operator_key("k1") is True
    assert await ledger.revoke_operator_key("k1") is False
    assert await ledger.revoke_operator_key("k3") is False
    assert [key.revoked_at for key in await ledger.operator_keys()] == [NOON, None]


async def test_when_an_operator_key_was_used(store: Store) -> None:
    # R-SALE-8
    ledger = await store.open()
    await ledger.add_operator_key(OperatorKey("k1", "laptop", NOON, None, None), b"digest 1")
    await ledger.add_operator_key(OperatorKey("k2", "server", NOON, None, None), b"digest 2")

    async def used() -> list[int | None]:
        await ledger.sweeper._say_uses()
        return [key.last_used_at for key in await ledger.operator_keys()]

    assert await used() == [None, None]
    ledger.key_used("k1", NOON + 5)
    ledger.key_used("k1", NOON + 3)
    ledger.key_used("nobody", NOON)
    assert [key.last_used_at for key in await ledger.operator_keys()] == [None, None], "not at once"
    assert await used() == [NOON + 5, None]
    ledger.key_used("k1", NOON + 4)
    assert await used() == [NOON + 5, None], "it never goes back"
    if store.engine != "memory":
        ledger.key_used("k2", NOON + 7)
        await ledger.close()
        ledger = await store.open()
        assert await used() == [NOON + 5, NOON + 7], "closing stores what waits"


async def test_a_use_is_not_lost_while_the_database_is_away(store: Store) -> None:
    # R-SALE-8
    ledger = await store.open()
    await ledger.add_operator_key(OperatorKey("k1", "laptop", NOON, None, None), b"digest 1")
    sweeper, store_uses = ledger.sweeper, ledger.sweeper._store_uses

    async def away(_uses: object) -> None:
        ledger.key_used("k1", NOON + 8)
        raise StoreDown("away")

    sweeper._store_uses = away
    ledger.key_used("k1", NOON + 5)
    with pytest.raises(StoreDown):
        await sweeper._say_uses()
    sweeper._store_uses = store_uses
    await sweeper._say_uses()
    assert (await ledger.operator_keys())[0].last_used_at == NOON + 8


async def test_following_the_journal(store: Store) -> None:
    ledger = await store.open()
    nothing = await ledger.follow()
    assert nothing.rows == ()
    assert (await ledger.follow(nothing.position)).rows == ()
    await begin(ledger, "acme", "beta")
    for _ in range(3):
        await charge(ledger, "acme", user="ann")
        await charge(ledger, "beta")
    read, position = await follow(ledger, "", 14, limit=5)
    assert [row.entry.seq for row in read if row.organization == "acme"] == list(range(1, 8))
    assert read[-1].user_name is None
    assert read[-2].user_name == "ann"
    both = [*await whole(ledger, "acme"), *await whole(ledger, "beta")]
    assert read == sorted(both, key=lambda row: row.id)
    assert await ledger.follow(position) == Stretch((), position)
    await charge(ledger, "acme")
    new, _ = await follow(ledger, position, 1)
    assert [row.entry.seq for row in new] == [8]


async def test_all_engines_write_the_same_journal(sqlite: Store, postgres: Store) -> None:
    # R-LED-5, R-PLAT-5: the same commands lead to the same chain, so an auditor may compare.
    verdicts = []
    for store in (sqlite, postgres):
        ledger = await store.open()
        for name in ("beta", "acme"):
            await ok(ledger, name, c.Open(plan="pro"), f"{1:032x}")
            for number in range(2, 100):
                store.clock.time += 1000
                hold = await ok(
                    ledger, name, c.Reserve(feature="generate_goal", user="ann"), f"{number:032x}"
                )
                await ok(ledger, name, c.Settle(hold=hold.operation, tokens=1))
        verdicts.append(await ledger.verify())
    assert verdicts[0] == verdicts[1]
    assert verdicts[0].findings == ()
    assert (verdicts[0].organizations, verdicts[0].entries) == (2, 400)


async def test_what_is_due_is_applied_to_what_is_read_and_by_the_sweeper(store: Store) -> None:
    # R-PLAN-4
    ledger = await store.open()
    await begin(ledger, "acme", "beta")
    await charge(ledger, "acme")
    store.clock.time += MONTH
    account = await ledger.account("acme")
    assert account is not None
    assert account.state.period is not None
    assert (account.free, account.state.period.number) == (200, 1)
    assert len(await whole(ledger, "acme")) == 5
    assert await ledger.sweeper.sweep() == 2
    assert await ledger.sweeper.sweep() == 0
    assert [type(row.entry).__name__ for row in await whole(ledger, "acme")][5:] == [
        "Expired",
        "PeriodStarted",
        "Granted",
    ]
    await clean(ledger)


async def test_the_clock_of_the_world_does_not_move_a_simulated_account(store: Store) -> None:
    # R-PLAN-4
    ledger = await store.open()
    await ok(ledger, "acme", c.Open(plan="pro", simulated=True))
    opened = store.clock.time
    store.clock.time += 2 * MONTH
    assert await ledger.sweeper.sweep() == 0
    account = await ledger.account("acme")
    assert account is not None
    assert (account.state.time, len(await whole(ledger, "acme"))) == (opened, 4)
    await ok(ledger, "acme", c.Advance(to=opened + MONTH))
    assert len(await whole(ledger, "acme")) == 8
    assert await ledger.sweeper.sweep() == 0
    await clean(ledger)


async def test_refusals_counted_in_memory_reach_the_journal(store: Store) -> None:
    # R-ABU-7
    ledger = await store.open()
    await begin(ledger, "acme")
    for _ in range(4):
        refusal = await no(ledger, "acme", c.Charge(feature="generate_goal", quantity=100, user="ann"))
        assert refusal.code == Code.EXHAUSTED
    store.clock.time += 60_000
    for counted in ledger.book.take_counted(store.clock.now()):
        await ledger.submit(counted)
    refused = [row.entry for row in await whole(ledger, "acme") if type(row.entry).__name__ == "Refused"]
    assert [cast(Any, entry).count for entry in refused] == [1, 3]
    await clean(ledger)


async def test_a_bad_command_fails_alone(store: Store) -> None:
    ledger = await store.open()
    await begin(ledger, "acme", "beta")
    bad = c.Grant(tokens=1, origin=cast(Any, "of no kind"))
    replies = await asyncio.gather(
        ledger.submit(envelope("beta", c.Charge(feature="generate_goal"))),
        ledger.submit(envelope("acme", c.Charge(feature="generate_goal"))),
        ledger.submit(envelope("acme", bad)),
        ledger.submit(envelope("acme", c.Charge(feature="generate_goal"))),
        return_exceptions=True,
    )
    assert [type(reply) for reply in replies] == [Receipt, Receipt, KeyError, Receipt]
    account = await ledger.account("acme")
    assert account is not None
    assert account.free == 194
    assert (await charge(ledger, "acme")).balance == 191
    await clean(ledger)


async def test_every_account_of_a_batch_stays_known_in_a_small_cache(store: Store) -> None:
    ledger = await store.open()
    ledger.book.accounts_max = 2
    names = [f"o{number}" for number in range(9)]
    await begin(ledger, *names)
    for _ in range(3):
        await asyncio.gather(*(charge(ledger, name) for name in names))
        names.reverse()
    assert len(ledger.book.cache) == 2
    await clean(ledger)


async def test_more_commands_and_organizations_than_a_batch_takes(store: Store) -> None:
    ledger = await store.open()
    names = [f"o{number}" for number in range(300)]
    await asyncio.gather(*(ok(ledger, name, c.Open(plan="pro")) for name in names))
    receipts = await asyncio.gather(*(charge(ledger, name) for name in names for _ in range(2)))
    assert sorted(receipt.balance for receipt in receipts) == [194] * 300 + [197] * 300
    assert await clean(ledger) == 1800


async def test_a_caller_that_left_loses_nothing(store: Store) -> None:
    # R-LED-3
    ledger = await store.open()
    await begin(ledger, "acme")
    key = new_key()
    future = ledger.submit(envelope("acme", c.Charge(feature="generate_goal"), key))
    future.cancel()
    assert (await charge(ledger, "acme", key=key)).replayed


async def test_what_was_queued_before_closing_is_answered(store: Store) -> None:
    ledger = await store.open()
    await begin(ledger, "acme")
    queued = [ledger.submit(envelope("acme", c.Charge(feature="generate_goal"))) for _ in range(20)]
    await ledger.close()
    assert all(isinstance(reply, Receipt) for reply in await asyncio.gather(*queued))
    with pytest.raises(StoreDown):
        await charge(ledger, "acme")
    await ledger.close()


def has_log(sqlite: Store) -> bool:
    return Path(f"{sqlite.url}-wal").exists()


async def test_a_closed_database_is_whole_in_its_one_file(sqlite: Store) -> None:
    """Even when the sweeper has just begun to read, on a connection of its own."""
    for _ in range(30):
        ledger = await sqlite.open(sweep=True)
        await asyncio.sleep(0)
        await ledger.close()
        assert not has_log(sqlite)


async def test_health(store: Store) -> None:
    # R-PLAT-3
    ledger = await store.open()
    store.clock.time = time.time_ns() // 1_000_000
    await begin(ledger, "acme")
    health = await ledger.health()
    assert (health.ok, health.problems, health.overdue_ms) == (True, (), 0)
    assert abs(health.clock_skew_ms) < 2000
    store.clock.time += MONTH + 120_000
    health = await ledger.health()
    assert not health.ok
    assert health.overdue_ms >= 120_000
    assert "the sweeper is more than a minute behind" in health.problems
