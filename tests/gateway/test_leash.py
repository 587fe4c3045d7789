"""The leash ends what a task does when its client has gone, and nothing else (R-LED-3)."""

import asyncio

import pytest

from tokentill.flows.gateway.leash import Gone, Leash


async def test_a_pull_ends_the_block_and_the_task_goes_on() -> None:
    leash = Leash()
    asyncio.get_running_loop().call_later(0.01, leash.pull)
    with pytest.raises(Gone), leash:
        await asyncio.Event().wait()
    await asyncio.sleep(0)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_who_has_gone_before_is_not_let_in() -> None:
    leash = Leash()
    leash.pull()
    with pytest.raises(Gone), leash:
        raise AssertionError("it must not begin")


async def test_a_pull_after_the_end_changes_nothing() -> None:
    leash = Leash()
    with leash:
        await asyncio.sleep(0)
    leash.pull()
    await asyncio.sleep(0)
    assert leash.gone


async def test_a_cancellation_from_elsewhere_stays_one() -> None:
    leash = Leash()

    async def work() -> None:
        with leash:
            await asyncio.Event().wait()

    task = asyncio.ensure_future(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
