"""Waiting within a time, as `asyncio.timeout` has it, with one timer for all (R-LED-3)."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing

import pytest

from tokentill.flows.patience import Patience

Within = Callable[[float], AbstractAsyncContextManager[object]]


@pytest.fixture(params=["asyncio", "patience"])
def within(request: pytest.FixtureRequest) -> Within:
    """Both, for they must do the same."""
    patience = Patience()

    @asynccontextmanager
    async def patient(seconds: float) -> AsyncIterator[None]:
        with patience(seconds):
            yield

    return asyncio.timeout if request.param == "asyncio" else patient


async def test_whoever_waits_longer_is_told_and_nobody_else(within: Within) -> None:
    async def wait(seconds: float) -> str:
        try:
            async with within(0.05):
                await asyncio.sleep(seconds)
        except TimeoutError:
            return "late"
        return "done"

    waits = [wait(seconds) for seconds in (9, 0, 0.001, 9, 0)]
    assert await asyncio.gather(*waits) == ["late", "done", "done", "late", "done"]
    assert [await wait(0), await wait(9), await wait(0)] == ["done", "late", "done"]


async def test_one_who_is_cancelled_from_elsewhere_is_cancelled(within: Within) -> None:
    async def wait() -> None:
        async with within(0.01):
            try:
                await asyncio.sleep(9)
            finally:
                asking.cancel()  # after its time was over, too

    asking = asyncio.ensure_future(wait())
    with pytest.raises(asyncio.CancelledError):
        await asking
    early = asyncio.ensure_future(wait())
    await asyncio.sleep(0)
    early.cancel()
    with pytest.raises(asyncio.CancelledError):
        await early


async def test_errors_go_through_and_the_task_goes_on_afterwards(within: Within) -> None:
    with pytest.raises(KeyError):
        async with within(5):
            raise KeyError
    with pytest.raises(TimeoutError):
        async with within(0.001):
            await asyncio.sleep(9)
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()
    await asyncio.sleep(0)


async def test_a_wait_within_a_wait_ends_with_the_shorter(within: Within) -> None:
    for inner, outer in ((0.001, 5), (5, 0.001)):
        with pytest.raises(TimeoutError):
            async with within(outer), within(inner):
                await asyncio.sleep(9)


async def test_nothing_is_kept_of_those_who_waited() -> None:
    patience = Patience()
    for _ in range(100):
        with patience(5):
            await asyncio.sleep(0)
    assert not patience(5)._queue._waits


def test_another_loop_has_its_own_timer() -> None:
    patience = Patience()

    async def wait() -> None:
        with pytest.raises(TimeoutError), patience(0.001):
            await asyncio.sleep(9)

    for _ in range(2):
        asyncio.run(wait())


async def test_whoever_insists_once_leaves_no_timer_behind() -> None:
    patience = Patience()
    with closing(patience), patience(5):
        await asyncio.sleep(0)
    timers = [queue._timer for queue in patience._queues.values()]
    assert [timer is not None and timer.cancelled() for timer in timers] == [True]
