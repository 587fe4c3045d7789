"""Execute-then-charge: the failure table of the documents, and the pitfalls of running first (R-LED-3, R-LED-4)."""

from __future__ import annotations

import asyncio

import pytest

from tests.flows.conftest import ALLOWANCE, PRICE, World
from tokentill.flows.charge import AlreadyRan, Done, Hold, TimedOut
from tokentill.ports import StoreDown
from tokentill.rules import commands as c
from tokentill.rules.refusals import Code, Refusal


def charged(outcome: object) -> int:
    """The tokens of an operation that succeeded and was charged."""
    assert isinstance(outcome, Done)
    assert outcome.result == "a goal"
    assert outcome.charge.state == "settled"
    assert outcome.charge.receipt is not None
    assert outcome.charge.receipt.tokens == outcome.charge.tokens
    return outcome.charge.tokens


@pytest.mark.parametrize(
    ("used", "cost"),
    [
        pytest.param(None, PRICE, id="without a word all that was reserved"),
        pytest.param(3, 3, id="all of it"),
        pytest.param(2, 2, id="part of it"),
        pytest.param(0, 0, id="an explicit nothing stays nothing"),
    ],
)
async def test_success_charges_exactly_what_was_used(world: World, used: int | None, cost: int) -> None:
    """R-LED-3."""
    outcome = await world.run(world.operation(used))
    assert charged(outcome) == cost
    now = await world.balance()
    assert (now.remaining, now.reserved, now.used) == (ALLOWANCE - cost, 0, cost)
    assert await world.kinds() == ["hold", "charge"]


async def test_the_charge_never_exceeds_the_hold(world: World) -> None:
    """R-LED-3, pitfall 2: what was used beyond the hold is not collected, and said."""
    outcome = await world.run(world.operation(7))
    assert charged(outcome) == PRICE
    assert isinstance(outcome, Done)
    assert outcome.charge.uncollected == 4


async def test_failure_charges_nothing_and_raises_what_the_operation_raised(world: World) -> None:
    """R-LED-4: operation fails → 0."""
    with pytest.raises(ValueError, match="no model"):
        await world.run(world.operation(fail=ValueError("no model")))
    assert (await world.balance()).remaining == ALLOWANCE
    assert await world.kinds() == ["hold", "release"]


async def test_timeout_charges_nothing(world: World) -> None:
    """R-LED-4: operation times out → 0."""
    stopped = asyncio.Event()

    async def hangs(_hold: Hold) -> str:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        return "a goal"

    with pytest.raises(TimedOut):
        await world.run(hangs, timeout_ms=1)
    await stopped.wait()
    assert (await world.balance()).remaining == ALLOWANCE
    assert await world.kinds() == ["hold", "release"]


async def test_success_after_the_timeout_is_charged_0_and_counted_as_a_loss(world: World) -> None:
    """R-LED-4, readings: late success → 0 charged, the operator's lost cost is counted."""
    more = asyncio.Event()

    async def stubborn(hold: Hold) -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await more.wait()
        hold.charge(2)
        return "a goal"

    with pytest.raises(TimedOut):
        await world.run(stubborn, timeout_ms=1)
    assert await world.kinds() == ["hold", "release"], "the tokens are back at once"
    more.set()
    await world.until("late")
    [late] = [row.entry for row in (await world.ledger.journal("acme", None, 5)).rows if row.entry.part == 3]
    assert late.lost == 2
    assert (await world.balance()).remaining == ALLOWANCE


async def test_success_before_the_timeout_whose_hold_ran_out_is_charged_0(world: World) -> None:
    """R-LED-4, pitfall 3: a hold that has ended is never revived."""

    async def slow(_hold: Hold) -> str:
        world.clock.wait(60_000)
        return "a goal"

    outcome = await world.run(slow)
    assert isinstance(outcome, Done)
    assert outcome.charge.state == "uncharged"
    assert outcome.charge.refusal is not None
    assert outcome.charge.refusal.code is Code.HOLD_EXPIRED
    assert outcome.charge.uncollected == PRICE
    assert await world.kinds() == ["hold", "release", "late"]
    assert (await world.balance()).remaining == ALLOWANCE


async def test_a_refused_reservation_runs_nothing(world: World) -> None:
    """R-LED-3: what cannot be paid is not run."""
    first = await world.run(world.operation())
    refused = await world.run(world.operation())
    assert charged(first) == PRICE
    assert isinstance(refused, Refusal)
    assert refused.code is Code.SPACING
    assert world.ran == 1


async def test_parallel_operations_cannot_spend_a_token_twice(world: World) -> None:
    """R-LED-3, pitfall 1: reserved before they run, so the last ones are refused."""
    left = asyncio.Event()

    async def waits(_hold: Hold) -> str:
        await left.wait()
        return "a goal"

    running = [asyncio.create_task(world.run(waits, user=f"u{n}")) for n in range(70)]
    async with asyncio.timeout(30):
        while (await world.balance()).reserved < 198:  # noqa: ASYNC110 the account has no event
            await asyncio.sleep(0)
    left.set()
    outcomes = await asyncio.gather(*running)
    assert sum(isinstance(outcome, Done) for outcome in outcomes) == 66
    refused = {outcome.code for outcome in outcomes if isinstance(outcome, Refusal)}
    assert refused <= {Code.HELD, Code.EXHAUSTED}
    assert (await world.balance()).remaining == 2


async def test_a_caller_that_goes_away_while_the_operation_runs_is_charged_nothing(world: World) -> None:
    """R-LED-3: cancelled mid-way → 0."""
    begun = asyncio.Event()

    async def waits(_hold: Hold) -> str:
        begun.set()
        await asyncio.Event().wait()
        return "a goal"

    running = asyncio.create_task(world.run(waits))
    await begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await world.until("release")
    assert (await world.balance()).remaining == ALLOWANCE


async def test_an_operation_that_cancels_itself_is_charged_nothing(world: World) -> None:
    """R-LED-3."""

    async def cancels(_hold: Hold) -> str:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await world.run(cancels)
    await world.until("release")
    assert (await world.balance()).remaining == ALLOWANCE


async def test_settling_does_not_depend_on_the_caller_still_being_there(world: World) -> None:
    """R-LED-3, pitfall 7."""
    settling, go_on = asyncio.Event(), asyncio.Event()

    async def gate() -> None:
        settling.set()
        await go_on.wait()

    world.ledger.lose(c.Settle, gate)
    running = asyncio.create_task(world.run(world.operation(2)))
    await settling.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    go_on.set()
    await world.until("charge")
    assert (await world.balance()).remaining == ALLOWANCE - 2


async def test_a_caller_that_goes_away_while_reserving_leaves_no_hold(world: World) -> None:
    """R-LED-3: nobody is left to run the operation, so the tokens come back at once."""
    reserving, go_on = asyncio.Event(), asyncio.Event()

    async def gate() -> None:
        reserving.set()
        await go_on.wait()

    world.ledger.lose(c.Reserve, gate)
    running = asyncio.create_task(world.run(world.operation()))
    await reserving.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    go_on.set()
    await world.until("release")
    assert world.ran == 0
    assert (await world.balance()).reserved == 0


@pytest.mark.parametrize("fault", ["before", "after"])
@pytest.mark.parametrize("kind", [c.Reserve, c.Settle])
async def test_a_lost_connection_is_resolved_by_sending_the_same_again(
    world: World, kind: type[c.Base], fault: str
) -> None:
    """R-LED-3, R-LED-9, pitfall 11: unknown is not failed; never lost, never doubled."""
    world.ledger.lose(kind, "after" if fault == "after" else "before")
    assert charged(await world.run(world.operation(2))) == 2
    assert world.ran == 1
    assert await world.kinds() == ["hold", "charge"]
    first, second = world.ledger.sent(kind)
    assert (first.key, first.command) == (second.key, second.command)
    assert (first.retry, second.retry) == (False, True)


async def test_tries_are_bounded_and_the_unknown_is_said(world: World) -> None:
    """Pitfall 17: no endless retry hides an outage."""
    world.ledger.down = True
    with pytest.raises(StoreDown):
        await world.run(world.operation())
    assert world.ran == 0
    assert len(world.ledger.sent(c.Reserve)) == 3


async def test_a_release_that_is_lost_for_good_is_done_by_the_deadline(world: World) -> None:
    """R-LED-4: zero is charged even then."""

    async def cuts_the_line(_hold: Hold) -> str:
        world.ledger.down = True
        raise ValueError("no model")

    with pytest.raises(ValueError, match="no model"):
        await world.run(cuts_the_line)
    world.ledger.down = False
    assert (await world.balance()).reserved == PRICE
    world.clock.wait(36_000)
    now = await world.balance()
    assert (now.reserved, now.remaining) == (0, ALLOWANCE)


async def test_an_operation_may_ask_for_more_time(world: World) -> None:
    """R-LED-3: the hold and the operation's own time grow together."""

    async def asks(hold: Hold) -> str:
        before = hold.deadline
        assert before is not None
        assert await hold.extend(120)
        assert hold.deadline == before + 90_000
        return "a goal"

    assert charged(await world.run(asks)) == PRICE


async def test_a_hold_that_has_ended_gets_no_more_time(world: World) -> None:
    """R-LED-3, pitfall 3."""

    async def asks(hold: Hold) -> str:
        world.clock.wait(60_000)
        assert not await hold.extend(120)
        return "a goal"

    outcome = await world.run(asks)
    assert isinstance(outcome, Done)
    assert outcome.charge.state == "uncharged"


class TestKeys:
    """A key names one run, however often it is asked for (R-LED-9, pitfall 5)."""

    async def test_a_second_call_does_not_run_again(self, world: World) -> None:
        """R-LED-9."""
        assert charged(await world.run(world.operation(2), key="order 7")) == 2
        with pytest.raises(AlreadyRan) as again:
            await world.run(world.operation(2), key="order 7")
        assert again.value.state == "charged"
        assert world.ran == 1
        assert await world.kinds() == ["hold", "charge"]

    async def test_of_two_at_once_one_runs(self, world: World) -> None:
        """R-LED-9."""
        go_on = asyncio.Event()

        async def waits(_hold: Hold) -> str:
            world.ran += 1
            await go_on.wait()
            return "a goal"

        both = [asyncio.create_task(world.run(waits, key="order 7")) for _ in range(2)]
        done, _ = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        [refused] = done
        error = refused.exception()
        assert isinstance(error, AlreadyRan)
        assert error.state == "running"
        go_on.set()
        outcomes = await asyncio.gather(*both, return_exceptions=True)
        assert sum(isinstance(outcome, Done) for outcome in outcomes) == 1
        assert world.ran == 1
        assert (await world.balance()).used == PRICE

    async def test_a_lost_answer_under_a_key_is_not_taken_for_a_first_run(self, world: World) -> None:
        """R-LED-9: whose run is stored cannot be told, so it is not run; the hold's deadline frees the tokens."""
        world.ledger.lose(c.Reserve, "after")
        with pytest.raises(AlreadyRan) as unsure:
            await world.run(world.operation(), key="order 7")
        assert unsure.value.state == "running"
        assert world.ran == 0
        world.clock.wait(36_000)
        assert (await world.balance()).remaining == ALLOWANCE

    async def test_a_failed_run_stays_failed_under_its_key(self, world: World) -> None:
        """R-LED-9: whoever wants to try again says so with a new key."""
        with pytest.raises(ValueError, match="no model"):
            await world.run(world.operation(fail=ValueError("no model")), key="order 7")
        with pytest.raises(AlreadyRan) as again:
            await world.run(world.operation(), key="order 7")
        assert again.value.state == "released"

    async def test_another_command_under_the_key_is_refused(self, world: World) -> None:
        """R-LED-9."""
        await world.run(world.operation(), key="order 7")
        world.clock.wait(10_000)
        refused = await world.run(world.operation(), key="order 7", user="u2")
        assert isinstance(refused, Refusal)
        assert refused.code is Code.KEY_REUSED

    async def test_a_refused_reservation_may_be_tried_again_under_its_key(self, world: World) -> None:
        """R-LED-9, pitfall 6: a refusal that says "wait" is not remembered."""
        await world.run(world.operation())
        assert isinstance(await world.run(world.operation(), key="order 8"), Refusal)
        world.clock.wait(3_000)
        assert charged(await world.run(world.operation(), key="order 8")) == PRICE


async def test_closing_lets_running_operations_end(world: World) -> None:
    """R-LED-3: a process that stops settles what it has begun."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def waits(_hold: Hold) -> str:
        begun.set()
        await go_on.wait()
        return "a goal"

    running = asyncio.create_task(world.run(waits))
    await begun.wait()
    closing = asyncio.create_task(world.charging.close())
    go_on.set()
    await closing
    assert charged(await running) == PRICE


async def test_closing_gives_back_what_does_not_end_in_time(world: World) -> None:
    """R-LED-3: what is cut off is charged nothing."""
    begun = asyncio.Event()

    async def hangs(_hold: Hold) -> str:
        begun.set()
        await asyncio.Event().wait()
        return "a goal"

    running = asyncio.create_task(world.run(hangs))
    await begun.wait()
    await world.charging.close(seconds=0)
    with pytest.raises(asyncio.CancelledError):
        await running
    assert (await world.balance()).remaining == ALLOWANCE
