"""One suite, every face of the till: in this process, over HTTP, and without async."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.client.conftest import World, world_of
from tests.support.desk import preset
from tokentill.client import AlreadyRan, Code, Refused, StoreDown, TimedOut
from tokentill.rules import commands as c
from tokentill.rules.refusals import Refusal

FEATURE = "generate_goal"


async def refused(call: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        await call
    return caught.value


async def test_an_account_from_its_opening_to_its_refund(world: World) -> None:
    """R-LED-1, R-LED-7, R-LED-8."""
    till = world.till
    opened = await till.open("beta", plan="enterprise")
    assert opened.kind == "open"
    granted = await till.grant("beta", 500, origin="pack", reference="order 1", reason="bought")
    assert (granted.kind, granted.tokens, granted.balance) == ("purchase", 500, 2500)
    charged = await till.consume("beta", FEATURE, user="u1", quantity=2)
    assert (charged.kind, charged.tokens) == ("charge", 6)
    back = await till.refund("beta", charged.operation, tokens=4, reason="bad goals")
    assert (back.kind, back.tokens, back.balance) == ("refund", 4, 2498)
    less = await till.adjust("beta", -8, "counted twice")
    assert less.balance == 2490

    now = await till.balance("beta")
    assert (now.monthly, now.additional, now.used, now.remaining) == (1992, 500, 2, 2490)
    assert list(await till.organizations()) == ["acme", "beta"]
    assert list(await till.organizations(after="acme", limit=1)) == ["beta"]

    operation = await till.operation("beta", charged.operation)
    assert operation is not None
    assert [line.kind for line in operation.entries] == ["charge", "refund"]
    assert operation.state == "refunded"
    assert await till.operation("beta", "0" * 32) is None


async def test_who_did_it_by_hand_is_on_the_record(world: World) -> None:
    """R-LED-8: the name of the operator key, or of whoever opened the till."""
    await world.till.adjust("acme", 5, "a gift")
    [line] = (await world.till.journal("acme", limit=1)).entries
    assert (line.actor, line.reason) == ("backend", "a gift")


async def test_the_journal_is_read_page_by_page(world: World) -> None:
    """R-LED-5."""
    for tokens in range(1, 6):
        await world.till.grant("acme", tokens)
    first = await world.till.journal("acme", limit=2)
    assert [line.tokens for line in first.entries] == [5, 4]
    assert first.next is not None
    second = await world.till.journal("acme", before=first.next, limit=2)
    assert [line.tokens for line in second.entries] == [3, 2]


async def test_plans_payment_and_caps(world: World) -> None:
    """R-PLAN-4, R-PLAN-6, R-LIC-1, R-LIC-3, R-LIC-4."""
    till = world.till
    assert (await till.plan("acme", "enterprise")).plan == "enterprise"
    assert (await till.balance("acme")).remaining == 2000
    await till.freeze("acme", reason="card declined")
    now = await till.balance("acme")
    assert (now.remaining, now.set_aside, now.standing) == (0, 2000, "past_due")
    features = await till.features("acme")
    assert [(one.feature, one.on) for one in features.features] == [(FEATURE, False)]
    assert (await refused(till.consume("acme", FEATURE))).code is Code.LICENCE
    await till.restore("acme", reason="paid")
    assert (await till.balance("acme")).remaining == 2000
    await till.cap("acme", 5_000)
    assert (await till.balance("acme")).cap == 5_000
    world.clock.wait(1_000)
    assert (await till.reset("acme")).kind == "reset"
    cancelled = await till.plan("acme", None)
    assert cancelled.kind == "plan_scheduled"


async def test_a_refusal_is_the_same_value_everywhere(world: World) -> None:
    """R-PLAN-7, R-ABU-7: every way out reaches the caller, over HTTP too."""
    await world.till.adjust("acme", -198, "for the test")
    refusal = (await refused(world.till.consume("acme", FEATURE, user="u1"))).refusal
    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.layer, refusal.status) == (Code.EXHAUSTED, "balance", "prevented")
    assert (refusal.balance, refusal.needed) == (2, 3)
    assert refusal.headline == preset("goals").texts.headline
    assert refusal.message == preset("goals").texts.exhausted
    assert refusal.purchase_link == "/account/buy-credits"
    assert {way.kind for way in refusal.ways_out} >= {"upgrade", "pack", "wait"}
    direct = await world.ledger.submit(c.Envelope("acme", c.Charge(feature=FEATURE, user="u2"), "1" * 32))
    assert refusal == direct


async def test_a_refusal_that_says_wait_says_how_long(world: World) -> None:
    """R-ABU-3, R-ABU-7."""
    await world.till.consume("acme", FEATURE, user="u1")
    world.clock.wait(1_000)
    refusal = (await refused(world.till.consume("acme", FEATURE, user="u1"))).refusal
    assert (refusal.code, refusal.layer, refusal.retry_after_ms) == (Code.SPACING, "abuse", 2_000)


async def test_asking_changes_nothing(world: World) -> None:
    """R-ABU-8."""
    before = await world.till.balance("acme")
    checks = await world.till.check("acme", FEATURE, user="u1", quantity=2)
    assert checks.tokens == 6
    assert checks.refusal is None
    assert {layer.layer for layer in checks.layers} >= {"abuse", "licence", "plan", "balance"}
    too_many = await world.till.check("acme", FEATURE, user="u1", quantity=100)
    assert too_many.refusal is not None
    assert too_many.refusal.code is Code.TOO_LARGE
    assert await world.till.balance("acme") == before
    assert (await refused(world.till.check("acme", "no such feature"))).code is Code.UNKNOWN_FEATURE


async def test_what_is_asked_of_nobody_is_refused(world: World) -> None:
    """R-LED-1."""
    till = world.till
    for call in (
        till.balance("nobody"),
        till.journal("nobody"),
        till.features("nobody"),
        till.check("nobody", FEATURE),
        till.grant("nobody", 1),
        till.forget_user("nobody", "u1"),
    ):
        assert (await refused(call)).code is Code.UNKNOWN_ORGANIZATION


@pytest.mark.parametrize("name", ["a/b", "ü ñ", "50%", "?x=1#y", "..x", 'quo"te'])
async def test_names_may_be_anything_a_person_writes(world: World, name: str) -> None:
    """R-LED-1: a name is never read as a path."""
    await world.till.open(name, plan="pro")
    await world.till.consume(name, FEATURE, user=name)
    [line] = (await world.till.journal(name, limit=1)).entries
    assert line.user_name == name
    assert await world.till.forget_user(name, name)
    assert not await world.till.forget_user(name, name)


async def test_operator_keys(world: World) -> None:
    """R-SALE-8: shown once, listed without the secret, revoked once."""
    made = await world.till.create_key("another")
    assert made.key.startswith(f"tt_op_{made.id}_")
    listed = {key.id: key for key in await world.till.keys()}
    assert listed[made.id].name == "another"
    assert await world.till.revoke_key(made.id)
    assert not await world.till.revoke_key(made.id)
    assert not await world.till.revoke_key("0" * 16)


async def test_what_is_sold(world: World) -> None:
    """R-PLAN-2, R-PACK-1."""
    catalog = await world.till.catalog()
    assert [(plan.id, plan.price, plan.tokens) for plan in catalog.plans] == [
        ("starter", 0, 0),
        ("pro", 14_900, 200),
        ("enterprise", 39_900, 2000),
    ]


async def test_how_the_till_is_doing(world: World) -> None:
    """R-PLAT-3: on PostgreSQL the clock that the test holds is seen to be wrong."""
    health = await world.till.health()
    on_postgres = world.face == "postgres"
    assert health.engine == ("postgres" if on_postgres else "sqlite")
    assert health.ok != on_postgres
    assert bool(health.problems) == on_postgres


class TestKeys:
    """Idempotency keys (R-LED-9)."""

    async def test_a_replay_gives_the_first_answer(self, world: World) -> None:
        """R-LED-9."""
        first = await world.till.grant("acme", 5, idempotency_key="gift 1")
        again = await world.till.grant("acme", 5, idempotency_key="gift 1")
        assert not first.replayed
        assert again.replayed
        assert (again.operation, again.entry, again.balance) == (first.operation, first.entry, first.balance)
        assert await world.remaining() == 205

    async def test_another_body_under_the_key_is_refused(self, world: World) -> None:
        """R-LED-9."""
        await world.till.grant("acme", 5, idempotency_key="gift 1")
        error = await refused(world.till.grant("acme", 6, idempotency_key="gift 1"))
        assert error.code is Code.KEY_REUSED
        assert await world.remaining() == 205

    async def test_an_operation_may_be_named_by_its_key(self, world: World) -> None:
        """R-LED-9."""
        await world.till.consume("acme", FEATURE, idempotency_key="goal 1")
        operation = await world.till.operation("acme", "goal 1")
        assert operation is not None
        assert operation.state == "charged"
        await world.till.refund("acme", "goal 1")
        assert await world.remaining() == 200

    @pytest.mark.parametrize("key", ["", "x" * 256, "ümlaut", "line\nbreak"])
    async def test_a_key_that_cannot_be_one_is_no_key(self, world: World, key: str) -> None:
        """R-LED-9: the same in every face."""
        with pytest.raises(ValueError, match="idempotency key"):
            await world.till.grant("acme", 5, idempotency_key=key)
        assert await world.remaining() == 200

    @pytest.mark.parametrize("fault", ["before", "after"])
    async def test_a_lost_answer_is_asked_for_again_under_the_same_key(
        self, world: World, fault: Any
    ) -> None:
        """R-LED-9, pitfall 11."""
        world.ledger.lose(c.Grant, fault)
        assert (await world.till.grant("acme", 5)).balance == 205
        assert await world.remaining() == 205
        first, second = world.ledger.sent(c.Grant)
        assert first.key == second.key

    async def test_an_outage_is_said_after_so_many_tries(self, world: World) -> None:
        """Pitfall 17."""
        world.ledger.down = True
        with pytest.raises(StoreDown):
            await world.till.grant("acme", 5)
        assert len(world.ledger.sent(c.Grant)) == 3


class TestHold:
    """`async with till.hold(…)` (R-LED-3)."""

    async def test_its_end_charges_what_was_said(self, world: World) -> None:
        """R-LED-3."""
        async with world.till.hold("acme", FEATURE, user="u1") as hold:
            assert hold.tokens == 3
            assert await world.remaining() == 197
            hold.charge(tokens=2)
        assert hold.outcome is not None
        assert (hold.outcome.state, hold.outcome.tokens) == ("settled", 2)
        assert await world.remaining() == 198
        assert await world.kinds() == ["hold", "charge"]

    async def test_an_exception_gives_everything_back(self, world: World) -> None:
        """R-LED-4."""
        with pytest.raises(ValueError, match="no model"):
            async with world.till.hold("acme", FEATURE, user="u1"):
                raise ValueError("no model")
        assert await world.remaining() == 200
        assert await world.kinds() == ["hold", "release"]

    async def test_a_refusal_keeps_the_block_from_running(self, world: World) -> None:
        """R-LED-3."""
        await world.till.adjust("acme", -198, "for the test")
        ran = False
        with pytest.raises(Refused) as caught:
            async with world.till.hold("acme", FEATURE):
                ran = True
        assert caught.value.code is Code.EXHAUSTED
        assert not ran

    async def test_a_key_names_one_run(self, world: World) -> None:
        """R-LED-9."""
        async with world.till.hold("acme", FEATURE, user="u1", idempotency_key="goal 1"):
            pass
        with pytest.raises(AlreadyRan) as again:
            async with world.till.hold("acme", FEATURE, user="u1", idempotency_key="goal 1"):
                pytest.fail("ran twice")
        assert again.value.state == "charged"
        assert await world.remaining() == 197

    async def test_a_success_whose_hold_ran_out_is_charged_nothing(self, world: World) -> None:
        """R-LED-4, readings: the operator's loss is on the record."""
        async with world.till.hold("acme", FEATURE, user="u1") as hold:
            world.clock.wait(60_000)
        assert hold.outcome is not None
        assert hold.outcome.state == "uncharged"
        assert await world.remaining() == 200
        [line] = (await world.till.journal("acme", limit=1)).entries
        assert (line.kind, line.details["lost"]) == ("late", 3)

    async def test_a_charge_that_cannot_be_stored_is_stored_later_once(self, world: World) -> None:
        """R-LED-4."""
        async with world.till.hold("acme", FEATURE, user="u1") as hold:
            hold.charge(2)
            world.ledger.down = True
        assert hold.outcome is not None
        assert hold.outcome.state == "pending"
        world.ledger.down = False
        while await world.till.recover():
            pass
        assert await world.remaining() == 198
        assert await world.kinds() == ["hold", "charge"]

    async def test_one_that_can_never_be_stored_is_listed_for_review(self, world: World) -> None:
        """R-LED-4."""
        async with world.till.hold("acme", FEATURE, user="u1"):
            world.ledger.down = True
        world.clock.wait(120_000)
        world.ledger.down = False
        while await world.till.recover():
            pass
        assert await world.remaining() == 200
        assert (await world.kinds()).count("review") == 1

    async def test_it_may_ask_for_more_time(self, world: World) -> None:
        """R-LED-3."""
        if world.face == "sync":
            pytest.skip("its hold is asked without await: test_sync has it")
        async with world.till.hold("acme", FEATURE, user="u1") as hold:
            assert await hold.extend(300)
            world.clock.wait(200_000)
        assert hold.outcome is not None
        assert hold.outcome.state == "settled"


async def test_a_metered_hold_may_be_cut_down_to_what_is_there(tmp_path: Path) -> None:
    """R-LED-3, R-PLAN-3: over HTTP too; not below what the caller can use."""
    async with world_of("http", str(tmp_path / "till.db"), tmp_path / "spool", catalog="shop") as world:
        await world.till.open("beta", plan=None)
        await world.till.grant("beta", 1_000, origin="pack")
        async with world.till.hold("beta", "gpt-4", user="u1", tokens=5_000, least=500) as hold:
            assert hold.tokens == 1_000
            hold.charge(900)
        error = await refused(world.till.reserve("beta", "gpt-4", user="u1", tokens=5_000, least=500))
        assert error.code is Code.EXHAUSTED


class TestCharge:
    """`till.charge(…)` (R-LED-3)."""

    async def test_success_gives_the_result_and_the_receipt(self, world: World) -> None:
        """R-LED-3."""

        async def operation(hold: Any) -> str:
            hold.charge(2)
            return f"a goal within {hold.output_tokens_max}"

        done = await world.till.charge("acme", FEATURE, operation, user="u1")
        assert done.result == "a goal within 2000"
        assert (done.charge.state, done.charge.tokens) == ("settled", 2)
        assert await world.remaining() == 198

    async def test_failure_and_timeout_charge_nothing(self, world: World) -> None:
        """R-LED-4."""
        go_on = asyncio.Event()

        async def fails(_hold: Any) -> str:
            raise ValueError("no model")

        async def hangs(_hold: Any) -> str:
            await go_on.wait()
            return "a goal"

        with pytest.raises(ValueError, match="no model"):
            await world.till.charge("acme", FEATURE, fails, user="u1")
        with pytest.raises(TimedOut):
            await world.till.charge("acme", FEATURE, hangs, user="u2", timeout=0.001)
        assert await world.remaining() == 200
        go_on.set()
        if world.face == "sync":
            await world.until("late")
        assert await world.remaining() == 200

    async def test_a_refusal_runs_nothing(self, world: World) -> None:
        """R-LED-3."""
        await world.till.adjust("acme", -198, "for the test")

        async def never(_hold: Any) -> str:
            pytest.fail("ran unpaid")

        assert (await refused(world.till.charge("acme", FEATURE, never))).code is Code.EXHAUSTED

    async def test_duplicates_with_the_same_key_run_once(self, world: World) -> None:
        """R-LED-9."""
        ran = 0

        async def operation(_hold: Any) -> str:
            nonlocal ran
            ran += 1
            return "a goal"

        calls = [
            world.till.charge("acme", FEATURE, operation, user="u1", idempotency_key="goal 1")
            for _ in range(5)
        ]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert sum(isinstance(outcome, AlreadyRan) for outcome in outcomes) == 4
        assert ran == 1
        assert await world.remaining() == 197


async def test_a_hold_by_hand(world: World) -> None:
    """R-LED-3: for whoever runs the operation elsewhere."""
    till = world.till
    held = await till.reserve("acme", FEATURE, user="u1", timeout=60)
    assert held.deadline == world.clock.time + 65_000
    extended = await till.extend("acme", held.operation, 120)
    assert extended.deadline == world.clock.time + 125_000
    settled = await till.settle("acme", held.operation, 1, output_tokens=10)
    assert (settled.tokens, settled.released) == (1, 2)
    assert (await till.settle("acme", held.operation, 1)).replayed
    assert (await refused(till.release("acme", held.operation))).code is Code.HOLD_ENDED
    other = await till.reserve("acme", FEATURE, user="u2")
    assert (await till.release("acme", other.operation, "cancelled")).kind == "release"
    assert await world.remaining() == 199


async def test_a_blocked_user_is_unblocked(world: World) -> None:
    """R-ABU-6."""
    for _ in range(5):
        await refused(world.till.consume("acme", FEATURE, user="mallory", quantity=100))
    assert (await refused(world.till.consume("acme", FEATURE, user="mallory"))).code is Code.BLOCKED
    await world.till.unblock("acme", "mallory", "a broken client, now mended")
    world.clock.wait(3_000)
    assert (await world.till.consume("acme", FEATURE, user="mallory")).tokens == 3
