"""On SQLite the callers' loop decides a batch while the writer stores the one before, and what it stood on must hold."""

import asyncio
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import apsw
import pytest
from msgspec.structs import replace

from tests.support.stores import Store, begin, charge, clean, envelope, ok, whole
from tokentill.ports import StoreDown
from tokentill.rules import commands as c
from tokentill.rules.receipts import Receipt
from tokentill.rules.refusals import Code, Refusal
from tokentill.store import faults
from tokentill.store.sqlite import SqliteLedger
from tokentill.web.asgi import override

# Design idea 3, R-LED-3, R-LED-4, R-LED-9, R-PLAT-5

GOAL = 3
"""What a goal costs."""


class Gate:
    """Stops the writer where it first passes a point, until it is opened; then `after` is called there."""

    def __init__(self, point: str, after: Callable[[], None]) -> None:
        self._point = point
        self._after = after
        self._loop = asyncio.get_running_loop()
        self.reached = asyncio.Event()
        self._opened = threading.Event()
        self.passed: Counter[str] = Counter()

    def __call__(self, point: str) -> None:
        self.passed[point] += 1
        if point == self._point and not self.reached.is_set() and not self._opened.is_set():
            self._loop.call_soon_threadsafe(self.reached.set)
            assert self._opened.wait(30)
            self._after()

    def open(self) -> None:
        self._opened.set()


class Measured(deque[Any]):
    """A queue, and what another thread does just after its length was taken."""

    then: Callable[[], None] = staticmethod(lambda: None)
    measured = 0
    at = 1

    @override
    def __len__(self) -> int:
        length = super().__len__()
        self.measured += 1
        if self.measured == self.at:
            self.then()
        return length


def nothing() -> None:
    """It goes on."""


def fail() -> None:
    raise apsw.FullError("the disk is full")


def wrong() -> None:
    raise ZeroDivisionError


@contextmanager
def gate(point: str, after: Callable[[], None] = nothing) -> Iterator[Gate]:
    made = Gate(point, after)
    faults.install(made)
    try:
        yield made
    finally:
        made.open()
        faults.install(None)


def send(ledger: SqliteLedger, name: str, count: int = 1) -> list[asyncio.Future[Receipt | Refusal]]:
    return [ledger.submit(envelope(name, c.Charge(feature="generate_goal"))) for _ in range(count)]


async def turn() -> None:
    """Let the loop do what it was about to do."""
    for _ in range(3):
        await asyncio.sleep(0)


async def test_a_batch_is_decided_while_the_one_before_is_stored(sqlite: Store) -> None:
    ledger = await sqlite.open()
    await begin(ledger, "acme")
    before = await clean(ledger)
    with gate("lane.written") as writer:
        first = send(ledger, "acme")
        await writer.reached.wait()
        second = send(ledger, "acme", 2)
        await turn()
        third = send(ledger, "acme")
        await turn()
        assert writer.passed["lane.decided_ahead"] == 3
        assert not any(future.done() for future in first + second + third)
        writer.open()
        replies = await asyncio.gather(*first, *second, *third)
    # What was decided in two goes while the writer was busy is stored as one batch.
    assert (writer.passed["lane.decided"], writer.passed["lane.committed"]) == (0, 2)
    assert [reply.balance for reply in replies if isinstance(reply, Receipt)] == [197, 194, 191, 188]
    assert await clean(ledger) == before + 4


async def test_of_many_the_writer_gets_one_half_at_once(sqlite: Store) -> None:
    ledger = await sqlite.open()
    await begin(ledger, "acme", tokens=1_000)
    with gate("lane.begun") as writer:
        replies = send(ledger, "acme", 40)
        await writer.reached.wait()
        await turn()
        assert [len(batch.jobs) for batch in (ledger._hand, ledger._next) if batch is not None] == [20, 20]
        writer.open()
        await asyncio.gather(*replies)
    assert writer.passed["lane.committed"] == 2
    await clean(ledger)


async def test_what_stood_on_a_batch_that_failed_is_decided_again(sqlite: Store) -> None:
    ledger = await sqlite.open()
    await begin(ledger, "acme", "other")
    await charge(ledger, "other")
    with gate("lane.written", fail) as writer:
        first = send(ledger, "acme", 2)
        await writer.reached.wait()
        second, other = send(ledger, "acme"), send(ledger, "other")
        await turn()
        writer.open()
        for future in first:
            with pytest.raises(StoreDown, match="full"):
                await future
        replies = await asyncio.gather(*second, *other)
    assert [reply.balance for reply in replies if isinstance(reply, Receipt)] == [197, 194]
    rows = await whole(ledger, "acme")
    assert [row.entry.seq for row in rows] == [*range(1, len(rows) + 1)]
    await clean(ledger)


async def test_one_bad_command_does_not_take_down_what_stood_on_its_batch(sqlite: Store) -> None:
    ledger = await sqlite.open()
    await begin(ledger, "acme")
    with gate("lane.written", wrong) as writer:
        first = send(ledger, "acme", 2)
        await writer.reached.wait()
        second = send(ledger, "acme", 2)
        await turn()
        writer.open()
        replies = await asyncio.gather(*first, *second)
    balances = [reply.balance for reply in replies if isinstance(reply, Receipt)]
    assert balances == [197, 194, 191, 188]
    await clean(ledger)


async def test_a_fault_while_deciding_ahead_leaves_it_to_the_writer(sqlite: Store) -> None:
    ledger = await sqlite.open()
    await begin(ledger, "acme")
    await charge(ledger, "acme")
    passed: Counter[str] = Counter()

    def hook(point: str) -> None:
        passed[point] += 1
        if point == "lane.decided_ahead":
            raise ZeroDivisionError

    faults.install(hook)
    try:
        replies = await asyncio.gather(*send(ledger, "acme", 2))
    finally:
        faults.install(None)
    assert [reply.balance for reply in replies if isinstance(reply, Receipt)] == [194, 191]
    assert passed["lane.decided_ahead"] == passed["lane.decided"] == 1
    await clean(ledger)


async def test_what_was_decided_ahead_of_another_processs_write_is_decided_again(sqlite: Store) -> None:
    one, two = await sqlite.open(), await sqlite.open()
    await begin(one, "acme")
    await ok(one, "acme", c.Adjust(tokens=-195, reason="test", actor="ann"))
    with gate("lane.collected") as writer:
        late = send(one, "acme", 2)
        await writer.reached.wait()
        assert writer.passed["lane.decided_ahead"] == 1
        assert (await charge(two, "acme")).balance == 2
        writer.open()
        replies = await asyncio.gather(*late)
    assert [reply.code for reply in replies if isinstance(reply, Refusal)] == 2 * [Code.EXHAUSTED]
    await clean(two)


async def test_what_must_be_looked_up_is_decided_by_the_writer(sqlite: Store) -> None:
    ledger = await sqlite.open()
    await begin(ledger, "acme")
    hold = (await ok(ledger, "acme", c.Reserve(feature="generate_goal"))).operation
    with gate("lane.written") as writer:
        first = ledger.submit(envelope("acme", c.Settle(hold=hold)))
        await writer.reached.wait()
        again = ledger.submit(envelope("acme", c.Settle(hold=hold)))
        await turn()
        assert writer.passed["lane.decided_ahead"] == 1, "its hold is not open any more"
        writer.open()
        replies = await asyncio.gather(first, again)
    assert [reply.replayed for reply in replies if isinstance(reply, Receipt)] == [False, True]
    assert writer.passed["lane.decided"] == 1
    await clean(ledger)


async def test_a_command_that_only_names_an_open_hold_is_looked_up_when_it_is_sent_again(
    sqlite: Store,
) -> None:
    """A loss is listed while its hold may still be open; a second try finds the first (R-LED-9)."""
    ledger = await sqlite.open()
    await begin(ledger, "acme")
    hold = (await ok(ledger, "acme", c.Reserve(feature="generate_goal"))).operation
    review = envelope("acme", c.Review(hold=hold, tokens=1, reason="lost"))
    replies = [await ledger.submit(one) for one in (review, replace(review, retry=True))]
    assert [isinstance(reply, Receipt) and reply.replayed for reply in replies] == [False, True]
    await clean(ledger)


async def test_an_account_that_lags_far_behind_is_followed_by_itself(sqlite: Store) -> None:
    """Few entries among many of others are searched for; those that lie together are read in one look."""
    one, two = await sqlite.open(), await sqlite.open()
    two.quiet_batches_min = 8
    await begin(one, "acme", "busy", tokens=1_000)
    await asyncio.gather(charge(two, "acme"), charge(two, "busy"))
    known = two.book.cache["acme"]
    await charge(one, "acme")
    for _ in range(20):
        await charge(one, "busy")
    assert (await charge(two, "acme")).balance == 1_200 - 3 * GOAL
    await charge(one, "acme")
    await charge(one, "busy")
    late = await asyncio.gather(charge(two, "acme"), charge(two, "busy"))
    assert [reply.balance for reply in late] == [1_200 - 5 * GOAL, 1_200 - 23 * GOAL]
    assert two.book.cache["acme"] is known, "it was followed, not loaded again"
    await clean(two)


async def test_another_write_never_overtakes_commands_that_were_sent_before_it(sqlite: Store) -> None:
    """A user's name is erased for good, also where a command that brought it was sent a moment before."""
    ledger = await sqlite.open()
    await begin(ledger, "acme", tokens=1_000)
    for number in range(30):
        user = f"user {number}"
        sent = ledger.submit(envelope("acme", c.Charge(feature="generate_goal", user=user)))
        assert await ledger.forget_user("acme", user)
        assert isinstance(await sent, Receipt)
    database = apsw.Connection(sqlite.url)
    assert database.execute("select count(*) from person").get == 0
    database.close()


async def test_an_answer_does_not_wait_for_who_has_the_database(sqlite: Store) -> None:
    """What is durable is told, also where the batch after it must wait for somebody without the turnstile."""
    ledger = await sqlite.open()
    await begin(ledger, "acme")
    other = apsw.Connection(sqlite.url)
    with gate("lane.committed") as writer:
        first = ledger.submit(envelope("acme", c.Charge(feature="generate_goal")))
        await writer.reached.wait()
        second = ledger.submit(envelope("acme", c.Charge(feature="generate_goal")))
        await turn()
        other.execute("begin immediate")
        writer.open()
        assert isinstance(await first, Receipt)
        assert not second.done()
        other.execute("rollback")
        assert isinstance(await second, Receipt)
    other.close()


async def test_what_waited_too_long_for_the_database_is_decided_again(sqlite: Store) -> None:
    """A hold's time begins when it is stored, not when it was first decided."""
    ledger = await sqlite.open()
    await begin(ledger, "acme")
    with gate("lane.collected") as writer:
        reserve = c.Reserve(feature="generate_goal", timeout_ms=60_000)
        sent = ledger.submit(envelope("acme", reserve))
        await writer.reached.wait()
        sqlite.clock.time += 5_000
        writer.open()
        held = await sent
    assert isinstance(held, Receipt)
    assert held.time == sqlite.clock.time
    assert (writer.passed["lane.decided_ahead"], writer.passed["lane.decided"]) == (1, 1)
    await clean(ledger)


async def test_an_interrupt_while_deciding_ahead_leaves_no_trace(sqlite: Store) -> None:
    """What comes after it, as a process ends, is decided on what is stored."""
    ledger = await sqlite.open()
    await begin(ledger, "acme")
    hold = (await ok(ledger, "acme", c.Reserve(feature="generate_goal"))).operation
    settle = ledger.submit(envelope("acme", c.Settle(hold=hold)))

    def interrupt(point: str) -> None:
        if point == "lane.decided_ahead":
            raise KeyboardInterrupt

    faults.install(interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            ledger._come()
    finally:
        faults.install(None)
    reply = await settle
    assert isinstance(reply, Receipt), reply
    assert reply.kind == "charge"
    await clean(ledger)


async def test_what_is_left_to_the_writer_stays_left_to_it(sqlite: Store) -> None:
    """Whatever comes between: what is taken back as a loop finds nothing, what is queued as the writer has taken all."""
    ledger = await sqlite.open()
    await begin(ledger, "acme")

    def leave() -> None:
        ledger._offered = True

    queue = ledger._queue = Measured()
    queue.then = leave
    ledger._offered = False
    with ledger._deciding:
        ledger._come()
    assert ledger._offered
    sent = ledger.submit(envelope("acme", c.Charge(feature="generate_goal")))
    queue.measured, queue.at = 0, 3
    batch, _ = ledger._take()
    assert (batch is not None, queue.measured, ledger._offered) == (True, 3, True)
    ledger._rouse()
    assert isinstance(await sent, Receipt)
    await clean(ledger)
