"""SQLite: a batch is decided while the one before commits; it counts only if that one is stored, and nobody else wrote.

R-LED-3, R-LED-5, R-LED-9; invariants 2, 4 and 6 of the design.
"""

import asyncio
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from typing import Any

import apsw
import pytest

from tests.support.rig_store import Eager
from tests.support.stores import SECRET, Store, begin, charge, clean, envelope, goals, new_key, whole
from tokentill.ports import StoreDown
from tokentill.rules import commands as c
from tokentill.rules.account import Account
from tokentill.rules.receipts import Receipt
from tokentill.store import faults
from tokentill.store.lane import Book, Cached, Job, Writes
from tokentill.store.sqlite_lane_ahead import Ahead, Batch, Recent

SECONDS = 30.0
CALLERS = 8
WAIT_SECONDS = 0.05
"""Nothing is decided ahead of most commits; so long it might have been."""


class Fault(Exception):
    """What nobody expected."""


class Watch:
    """Counts the points that are passed; each commit waits a little for something to be decided ahead.

    Once something was, the next to pass a point does what is planted there. At "lane.committing" that is the writer
    before that commit; at "lane.remembered" after it; at "lane.collected" on coming to what was decided ahead.
    """

    def __init__(self) -> None:
        self.passed: Counter[str] = Counter()
        self.planted: dict[str, Callable[[], None]] = {}
        self._decided = threading.Semaphore(0)
        self._armed = self._ever = False

    def arm(self) -> None:
        self._armed = True

    def __call__(self, point: str) -> None:
        self.passed[point] += 1
        if point == "lane.decided_ahead":
            self._ever = True
            self._decided.release()
        elif point == "lane.committing" and self._armed:
            self._decided.acquire(timeout=WAIT_SECONDS)
        if self._ever and point in self.planted:
            self.planted.pop(point)()


@pytest.fixture
def watch() -> Iterator[Watch]:
    """Installed for the test."""
    found = Watch()
    faults.install(found)
    yield found
    faults.install(None)


async def charge_all(ledger: Any, *names: str, times: int = 1) -> list[Any]:
    """Charge each account from several callers at once, so often; what they were answered."""

    async def caller(name: str) -> list[Any]:
        found: list[Any] = []
        for _ in range(times):
            sent = c.Envelope(name, c.Charge(feature="generate_goal"), new_key())
            found += await asyncio.gather(ledger.submit(sent), return_exceptions=True)
        return found

    answers = await asyncio.wait_for(asyncio.gather(*map(caller, CALLERS * (names or ("acme",)))), SECONDS)
    return [answer for some in answers for answer in some]


async def books_are_right(ledger: Any, done: int, name: str = "acme") -> None:
    """So many charges are stored, of the tokens the account began with."""
    account = await ledger.account(name)
    assert account.free == 10_200 - 3 * done
    assert len([row for row in await whole(ledger, name) if row.entry.key is not None]) >= done
    await clean(ledger)


async def test_what_was_decided_ahead_is_stored_and_answered(sqlite: Store, watch: Watch) -> None:
    ledger = await sqlite.open(kind=Eager)
    await begin(ledger, "acme", tokens=10_000)
    watch.arm()
    answers = await charge_all(ledger, times=20)
    assert watch.passed["lane.decided_ahead"] > 0
    assert sorted(answer.balance for answer in answers) == list(range(10_200 - 3 * 160, 10_200, 3))
    await books_are_right(ledger, 160)


@pytest.mark.parametrize("trouble", [apsw.IOError, Fault])
async def test_a_commit_that_fails_takes_with_it_what_was_decided_after_it(
    sqlite: Store, watch: Watch, trouble: type[Exception]
) -> None:
    """What the disk refused is said; what a bug broke is done again; and what came after is decided anew."""
    ledger = await sqlite.open(kind=Eager)
    await begin(ledger, "acme", tokens=10_000)

    def fail() -> None:
        raise trouble("planted")

    watch.planted["lane.committing"] = fail
    watch.arm()
    answers = await charge_all(ledger)
    assert watch.passed["lane.decided_ahead"] > 0
    assert watch.passed["lane.rolled_back"] == 1
    receipts = [answer for answer in answers if isinstance(answer, Receipt)]
    told = [answer for answer in answers if isinstance(answer, StoreDown)]
    assert len(receipts) + len(told) == CALLERS
    assert bool(told) == (trouble is apsw.IOError)
    # No gap and no number twice: nothing of what was void was told or stored.
    assert sorted(receipt.balance for receipt in receipts) == list(
        range(10_200 - 3 * len(receipts), 10_200, 3)
    )
    await books_are_right(ledger, len(receipts))


async def test_a_batch_that_fails_after_its_commit_voids_what_was_decided_after_it(
    sqlite: Store, watch: Watch
) -> None:
    """It is done again, found stored, and stores entries of its own; rows decided ahead would have their numbers."""
    ledger = await sqlite.open(kind=Eager)
    await begin(ledger, "acme", tokens=10_000)

    def fail() -> None:
        raise Fault("planted")

    watch.planted["lane.remembered"] = fail
    watch.arm()
    noted = ledger.submit(c.Envelope("acme", c.CountRefusals(refusals=((None, "invalid_request", 0, 1),))))
    answers = await charge_all(ledger)
    assert watch.passed["lane.decided_ahead"] > 0
    assert watch.passed["lane.rolled_back"] == 0
    assert isinstance(await noted, Receipt)
    assert sorted(answer.balance for answer in answers) == list(range(10_200 - 3 * CALLERS, 10_200, 3))
    await books_are_right(ledger, CALLERS)


async def test_nothing_is_decided_ahead_while_a_failed_batch_is_done_apart(
    sqlite: Store, watch: Watch
) -> None:
    """Its parts come first, and take the row numbers; the other half of the callers waits."""
    ledger = await sqlite.open(kind=Eager)
    names = [f"o{number}" for number in range(8)]
    await begin(ledger, *names, tokens=10_000)

    def fail() -> None:
        raise Fault("planted")

    watch.planted["lane.written"] = fail
    watch.arm()
    await asyncio.gather(charge_all(ledger, *names[:4], times=5), charge_all(ledger, *names[4:], times=5))
    assert watch.passed["lane.decided_ahead"] > 0
    assert watch.passed["lane.rolled_back"] == 1
    for name in names:
        await books_are_right(ledger, 5 * CALLERS, name)


async def test_another_process_that_writes_in_between_is_seen(sqlite: Store, watch: Watch) -> None:
    """What was decided ahead is thrown away, so the other's charge is never charged over."""
    ledger = await sqlite.open(kind=Eager)
    other = await sqlite.open()
    await begin(ledger, "acme", tokens=10_000)
    await charge(other, "acme")
    loop = asyncio.get_running_loop()

    def write() -> None:
        asyncio.run_coroutine_threadsafe(charge(other, "acme"), loop).result(SECONDS)

    watch.planted["lane.collected"] = write
    watch.arm()
    answers = await charge_all(ledger)
    assert watch.passed["lane.overtaken"] == 1
    assert watch.passed["lane.rolled_back"] == 0, "the database had to say that it does not fit"
    assert len({answer.balance for answer in answers}) == CALLERS
    await books_are_right(ledger, CALLERS + 2)


async def test_an_account_that_another_process_changed_is_not_decided_ahead(
    sqlite: Store, watch: Watch
) -> None:
    """The batch before saw that somebody wrote, and has not compared this account."""
    ledger = await sqlite.open(kind=Eager)
    other = await sqlite.open()
    await begin(ledger, "acme", "beta", tokens=10_000)
    await charge(other, "acme")
    watch.arm()
    await asyncio.gather(charge_all(ledger, "beta"), charge_all(ledger, "acme"))
    assert watch.passed["lane.rolled_back"] == 0, "the database had to say that it does not fit"
    await books_are_right(ledger, CALLERS + 1)
    await books_are_right(ledger, CALLERS, "beta")


async def test_a_bug_in_a_command_decided_ahead_fails_alone(sqlite: Store, watch: Watch) -> None:
    ledger = await sqlite.open(kind=Eager)
    await begin(ledger, "acme", tokens=10_000)
    watch.arm()
    wrong: Any = c.Charge(feature="generate_goal", quantity="many")  # type: ignore[arg-type]  # that is the bug
    sent = [envelope("acme", c.Charge(feature="generate_goal")) for _ in range(CALLERS)]
    sent.insert(CALLERS - 1, c.Envelope("acme", wrong, new_key()))
    answers = await asyncio.gather(*map(ledger.submit, sent), return_exceptions=True)
    assert [isinstance(answer, Receipt) for answer in answers] == [True] * (CALLERS - 1) + [False, True]
    await books_are_right(ledger, CALLERS)


async def test_what_must_be_looked_up_waits_for_the_commit(sqlite: Store, watch: Watch) -> None:
    """A hold that the batch before ended, and a key that it stored, are found in the journal (R-LED-9)."""
    ledger = await sqlite.open(kind=Eager)
    await begin(ledger, "acme", tokens=10_000)
    watch.arm()
    key = new_key()
    once = envelope("acme", c.Charge(feature="generate_goal"), key)
    answers = await asyncio.gather(*(ledger.submit(once) for _ in range(CALLERS)))
    assert sum(not answer.replayed for answer in answers) == 1
    assert len({(answer.entry, answer.balance) for answer in answers}) == 1
    hold = new_key()
    await ledger.submit(c.Envelope("acme", c.Reserve(feature="generate_goal"), hold))
    ends = await asyncio.gather(
        *(ledger.submit(c.Envelope("acme", c.Settle(hold=hold))) for _ in range(CALLERS))
    )
    assert len({answer.entry for answer in ends}) == 1
    await books_are_right(ledger, 2)


async def test_accounts_in_a_small_cache_are_not_lost(sqlite: Store, watch: Watch) -> None:
    """An account is forgotten when the batch before is stored, though the next has changed it already."""
    ledger = await sqlite.open(kind=Eager)
    names = [f"o{number}" for number in range(4)]
    await begin(ledger, *names, tokens=10_000)
    ledger.book.accounts_max = 1
    watch.arm()
    for _ in range(3):
        await charge_all(ledger, *names, times=5)
    for name in names:
        await books_are_right(ledger, 3 * 5 * CALLERS, name)


def ahead(queue: Any, *, exact: bool = True) -> Ahead:
    def never(_jobs: list[Any]) -> Any:
        raise AssertionError("nothing is to be decided")

    book: Any = None
    return Ahead(book, queue, never, lambda _names: exact)


def test_it_pays_only_with_many_callers_a_quick_disk_and_no_other_writer() -> None:
    found = ahead(None)
    assert not found.pays(64), "nothing is known yet"
    found.calm = found.calm_batches_min
    for _ in range(9):
        found.job_takes.add(10e-6)
        found.commit_takes.add(300e-6)
    assert found.pays(64)
    assert not found.pays(2 * found.jobs_min - 1)
    found.commit_takes.add(1.0)
    assert found.pays(64), "one that took long says nothing"
    for _ in range(5):
        found.commit_takes.add(3e-3)
    assert not found.pays(64), "the disk is slow a third of the time: one large batch is better"
    found.calm = 0
    assert not found.pays(1_000)


def test_the_middle_of_recent_durations() -> None:
    recent = Recent()
    for seconds in (5.0, 1.0, 2.0, 900.0, 3.0, 1.0, 2.0, 4.0, 3.0):
        recent.add(seconds)
    assert (recent.middle, recent.mostly) == (3.0, 4.0)


async def test_who_interrupts_the_deciding_leaves_no_half_changed_account() -> None:
    loop = asyncio.get_running_loop()
    book = Book(goals(), SECRET)
    book.put(Cached("acme", 1, Account(), book.root("acme"), 0))
    envelopes = [c.Envelope("acme", c.Charge(feature="generate_goal"), new_key()) for _ in range(48)]
    queue = deque(book.job(each, loop.create_future()) for each in envelopes)

    def interrupted(_jobs: list[Job]) -> Writes:
        raise KeyboardInterrupt

    found = Ahead(book, queue, interrupted, lambda _names: True)
    found.begin(24, loop)
    with pytest.raises(KeyboardInterrupt):
        found.decide()
    assert "acme" not in book.cache
    batch = found.take()
    assert batch is not None
    assert batch.writes is None, "the writer decides it"
    assert [job.envelope for job in (*batch.jobs, *queue)] == envelopes
    found.end()


def test_nothing_is_decided_when_no_commit_is_under_way() -> None:
    found = ahead([object()])
    found.decide()
    assert found.batch is None
    found.batch = Batch([])
    assert found.take() is not None
    assert found.take() is None
