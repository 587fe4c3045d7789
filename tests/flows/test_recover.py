"""Charges that could not be stored when their operation succeeded: kept, stored later once, or reviewed (R-LED-4)."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from tests.flows.conftest import ALLOWANCE, PRICE, World
from tokentill.flows.charge import Charge, Done, Hold
from tokentill.ports import Intent, StoreDown
from tokentill.rules import commands as c
from tokentill.rules import entries as e
from tokentill.store.intents import FileIntents, read_all


async def pending_charge(world: World) -> Charge:
    """Run one operation whose charge cannot be stored."""

    async def operation(hold: Hold) -> str:
        hold.charge(2)
        world.ledger.down = True
        return "a goal"

    outcome = await world.run(operation)
    assert isinstance(outcome, Done)
    assert outcome.result == "a goal", "the customer gets what was made"
    await world.charging.recovery.close()  # from here on a test works it off by hand
    return outcome.charge


async def test_a_charge_that_cannot_be_stored_is_kept_and_stored_later_once(world: World) -> None:
    """R-LED-4: storage fails after success → kept; never lost, never charged twice."""
    charge = await pending_charge(world)
    assert (charge.state, charge.tokens, charge.receipt) == ("pending", 2, None)
    [state] = await world.intents()
    assert (state.intent.organization, state.intent.tokens, state.outcome) == ("acme", 2, None)

    assert await world.charging.recovery.once() == 1, "still away"
    world.ledger.down = False
    assert await world.charging.recovery.once() == 0
    assert await world.charging.recovery.once() == 0
    assert await world.kinds() == ["hold", "charge"]
    now = await world.balance()
    assert (now.remaining, now.reserved) == (ALLOWANCE - 2, 0)
    [state] = await world.intents()
    assert state.outcome == "settled"


async def test_it_is_stored_by_the_next_start_if_the_process_dies(world: World) -> None:
    """R-LED-4: the intent is durable."""
    await pending_charge(world)
    world.ledger.down = False
    await world.restart().recovery.once()
    assert await world.kinds() == ["hold", "charge"]
    assert (await world.balance()).remaining == ALLOWANCE - 2


async def test_it_is_stored_in_the_background(world: World) -> None:
    """R-LED-4: nobody has to ask."""
    await pending_charge(world)
    world.ledger.down = False
    charging = world.restart()
    charging.recovery.wake()
    await world.until("charge")
    assert (await world.balance()).remaining == ALLOWANCE - 2


async def test_one_that_comes_while_others_are_worked_off_is_not_forgotten(world: World) -> None:
    """R-LED-4: waking what is just about to rest."""
    await pending_charge(world)
    world.ledger.down = False
    recovery = world.restart().recovery
    settling, go_on = asyncio.Event(), asyncio.Event()

    async def gate() -> None:
        settling.set()
        await go_on.wait()

    world.ledger.lose(c.Settle, gate)
    recovery.wake()
    await settling.wait()
    world.clock.wait(3_000)
    world.ledger.lose(c.Settle, "before", times=3)
    outcome = await world.run(world.operation(1))
    assert isinstance(outcome, Done)
    assert outcome.charge.state == "pending"
    recovery.wake()
    go_on.set()
    async with asyncio.timeout(30):
        while (await world.kinds()).count("charge") < 2:  # noqa: ASYNC110 the journal has no event
            await asyncio.sleep(0)
    assert (await world.balance()).remaining == ALLOWANCE - 3


async def test_one_whose_first_try_was_stored_after_all_is_not_charged_twice(world: World) -> None:
    """R-LED-4, pitfall 11: the answer was lost, and then the line."""

    async def operation(hold: Hold) -> str:
        hold.charge(2)
        world.ledger.lose(c.Settle, "after", times=3)
        return "a goal"

    outcome = await world.run(operation)
    assert isinstance(outcome, Done)
    assert outcome.charge.state == "pending", "not known"
    assert await world.charging.recovery.once() == 0
    assert await world.kinds() == ["hold", "charge"]
    [state] = await world.intents()
    assert state.outcome == "settled"


async def test_a_charge_that_is_stored_by_a_later_try_is_settled_at_once(world: World) -> None:
    """R-LED-4: the intent is written before the second try, and closed when that is stored."""
    world.ledger.lose(c.Settle, "before")
    outcome = await world.run(world.operation(2))
    assert isinstance(outcome, Done)
    assert outcome.charge.state == "settled"
    [state] = await world.intents()
    assert state.outcome == "settled"


async def test_one_whose_hold_has_ended_is_listed_for_review_and_charges_nothing(world: World) -> None:
    """R-LED-4: never charged for nothing; a person looks at it, the loss is on the record."""
    await pending_charge(world)
    world.clock.wait(120_000)
    world.ledger.down = False
    assert await world.charging.recovery.once() == 0
    kinds = await world.kinds()
    assert "charge" not in kinds
    assert kinds.count("review") == 1
    rows = (await world.ledger.journal("acme", None, 10)).rows
    losses = [row.entry.lost for row in rows if isinstance(row.entry, e.Late | e.Reviewed)]
    assert sorted(losses) == [0, 2]  # on record as late, so the review does not count it again
    assert (await world.balance()).remaining == ALLOWANCE
    [state] = await world.intents()
    assert state.outcome == "reviewed"


async def test_it_is_listed_once_by_however_many_processes(world: World) -> None:
    """R-LED-4: two processes share a spool and recover the same intent."""
    await pending_charge(world)
    world.clock.wait(120_000)
    world.ledger.down = False
    first, second = world.charging, world.restart()
    await asyncio.gather(first.recovery.once(), second.recovery.once())
    assert (await world.kinds()).count("review") == 1


async def test_a_review_that_cannot_be_stored_is_tried_again(world: World) -> None:
    """R-LED-4."""
    await pending_charge(world)
    world.clock.wait(120_000)
    world.ledger.down = False
    world.ledger.lose(c.Review, "before")
    assert await world.charging.recovery.once() == 1
    assert await world.charging.recovery.once() == 0
    assert (await world.kinds()).count("review") == 1


async def test_an_unexpected_failure_of_the_books_loses_no_charge(world: World) -> None:
    """R-LED-4: whatever the reason, the operation succeeded."""

    async def bug() -> None:
        raise RuntimeError("a bug")

    world.ledger.lose(c.Settle, bug)
    outcome = await world.run(world.operation(2))
    assert isinstance(outcome, Done)
    assert outcome.charge.state == "pending"
    await world.until("charge")
    assert (await world.balance()).remaining == ALLOWANCE - 2


async def test_a_process_that_is_stopped_while_it_settles_keeps_the_charge(world: World) -> None:
    """R-LED-4: even a cancelled settling leaves its intent behind."""
    settling = asyncio.Event()

    async def hangs() -> None:
        settling.set()
        await asyncio.Event().wait()

    world.ledger.lose(c.Settle, hangs)
    running = asyncio.create_task(world.run(world.operation(2)))
    await settling.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    [kept] = await world.intents()
    assert kept.intent.tokens == 2
    await world.restart().recovery.once()
    assert await world.kinds() == ["hold", "charge"]


async def test_one_that_cannot_even_be_kept_stays_in_memory_and_in_the_log(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """R-LED-4: the disk is full too."""
    world.spool.write_text("a file where the folder should be")
    with caplog.at_level(logging.CRITICAL):
        charge = await pending_charge(world)
    assert charge.state == "pending"
    assert "could not be kept" in caplog.text
    assert "acme" in caplog.text
    world.ledger.down = False
    world.spool.unlink()
    assert await world.charging.recovery.once() == 0
    assert await world.kinds() == ["hold", "charge"]


async def test_a_charge_is_not_reserved_while_the_books_are_away(world: World) -> None:
    """R-LED-4: nothing is kept of an operation that never ran."""
    world.ledger.down = True
    with pytest.raises(StoreDown):
        await world.run(world.operation())
    assert await world.intents() == []
    assert not world.spool.exists()


def intent(number: int) -> Intent:
    return Intent("acme", c.Settle(hold=f"{number:032x}", tokens=PRICE), PRICE, number, number + 1)


class TestFile:
    """The file of intents (R-LED-4)."""

    async def test_what_was_kept_is_read_again_in_order(self, tmp_path: Path) -> None:
        """R-LED-4."""
        intents = FileIntents(tmp_path / "spool")
        assert await intents.states() == []
        for number in range(3):
            await intents.keep(intent(number))
        await intents.end(intent(1), "settled", 7)
        states = await FileIntents(tmp_path / "spool").states()
        assert [state.intent for state in states] == [intent(0), intent(1), intent(2)]
        assert [state.outcome for state in states] == [None, "settled", None]
        assert states[1].ended_at == 7

    async def test_tills_that_share_a_folder_do_not_share_charges(self, tmp_path: Path) -> None:
        """R-LED-4: no charge is sent to another till than the one that held it."""
        one, other = FileIntents(tmp_path, "one"), FileIntents(tmp_path, "other")
        await one.keep(intent(1))
        await other.keep(intent(2))
        assert [state.intent.at for state in await one.states()] == [1]
        assert [state.intent.at for state in read_all(tmp_path)] == [1, 2]

    async def test_it_is_for_its_owner_alone(self, tmp_path: Path) -> None:
        """R-LED-4."""
        await FileIntents(tmp_path).keep(intent(0))
        assert (tmp_path / "intents.jsonl").stat().st_mode & 0o077 == 0

    @pytest.mark.parametrize("cut", range(1, 120, 7))
    async def test_a_line_cut_by_a_crash_hides_no_other(self, tmp_path: Path, cut: int) -> None:
        """R-LED-4: the cut line was never acknowledged."""
        intents = FileIntents(tmp_path)
        await intents.keep(intent(0))
        whole = (tmp_path / "intents.jsonl").read_bytes()
        await intents.keep(intent(1))
        with (tmp_path / "intents.jsonl").open("r+b") as file:
            file.truncate(len(whole) + cut)
        await intents.keep(intent(2))
        holds = [state.intent.at for state in await intents.states()]
        assert holds == [0, 2]

    async def test_many_writers_keep_their_lines_whole(self, tmp_path: Path) -> None:
        """R-LED-4: several processes share a folder; here threads stand for them, each with a handle of its own."""
        await asyncio.gather(*(FileIntents(tmp_path).keep(intent(number)) for number in range(40)))
        assert sorted(state.intent.at for state in await FileIntents(tmp_path).states()) == list(range(40))


async def test_what_is_pending_when_the_till_closes_waits_for_the_next_start(world: World) -> None:
    """R-LED-4: a charge that fails after that, in a caller that is still there, begins no work that nobody ends."""
    await pending_charge(world)
    running = asyncio.all_tasks()
    world.charging.recovery.wake()
    assert asyncio.all_tasks() == running
    world.ledger.down = False
    assert await world.restart().recovery.once() == 0
    assert await world.kinds() == ["hold", "charge"]
