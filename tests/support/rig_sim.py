"""The simulation: the real store, lane, flows and rules in a world of their own, driven by one seed.

The world has its own time, in which nothing waits: a loop whose clock jumps to the next thing that happens.
Two processes with real ledgers share a real SQLite file. Customers run operations through execute-then-charge
against an upstream that is slow, fails, hangs or succeeds too late; others send random commands of every
kind. Statements fail, commits fail before or after they happened, the database is away for a while, the code
meets errors nobody expected, processes die and start again, clocks jump forward and a little back.

After every batch a second set of books is brought up to date and must agree; whatever a client was told must
be in them then. At the end everything comes to rest, and nothing may be left open, lost or done twice. The
same seed gives the same journal, to the last link of its chain.
"""

import asyncio
import contextlib
import logging
import random
import selectors
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import apsw
from msgspec import Struct
from msgspec.structs import replace

from tests.support.rig_store import NOON, SECRET, SNAPSHOT_BYTES, plain
from tokentill.flows.charge import AlreadyRan, Charging, Done, Hold, TimedOut
from tokentill.flows.send import LedgerBooks
from tokentill.lab import toys
from tokentill.lab.auditor import Auditor
from tokentill.lab.workload import Workload
from tokentill.ports import Intent, IntentOutcome, IntentState, StoreDown
from tokentill.rules import chain
from tokentill.rules import commands as c
from tokentill.rules import entries as e
from tokentill.rules.receipts import Receipt
from tokentill.rules.refusals import Refusal
from tokentill.store import faults
from tokentill.store.lane import Job, Writes, deliver
from tokentill.store.sqlite import SqliteLedger
from tokentill.store.sqlite_writer import Batch, Call

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

T = TypeVar("T")

ORGANIZATIONS = ("ann", "bob")
PROCESSES = 2
DAY_SECONDS = 86_400.0
REST_SECONDS = 3 * DAY_SECONDS
"""Whoever is still busy after so long hangs."""
UNGUARDED = ("lane.answered", "lane.rolling_back", "lane.rolled_back")
TRIES = 4
KEYED_OTHERWISE = (c.Settle, c.Release, c.Extend, c.Refund)
"""Commands that belong to the operation they name, whatever key they come with."""


class Violation(AssertionError):
    """Something happened that must not happen."""


class Fault(Exception):
    """What nobody expected."""


class Upstream(Exception):
    """The operation failed."""


# ---- time -----------------------------------------------------------------------------------------------


class _Nowhere(selectors.BaseSelector):
    """Waits for nothing: when nothing is ready, time goes on to the next thing that is due."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._keys: dict[Any, selectors.SelectorKey] = {}

    @override
    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        key = self._keys[fileobj] = selectors.SelectorKey(fileobj, 0, events, data)
        return key

    @override
    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys.pop(fileobj)

    @override
    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise Violation("nothing will ever happen again")
        self.seconds += timeout
        return []

    @override
    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._keys


class TimelessLoop(asyncio.SelectorEventLoop):
    """An event loop in which sleeping takes no time."""

    def __init__(self) -> None:
        self._nowhere = _Nowhere()
        super().__init__(self._nowhere)

    @override
    def time(self) -> float:
        return self._nowhere.seconds

    @override
    def call_soon_threadsafe(  # type: ignore[override]  # called with anything
        self, callback: Callable[..., object], *args: Any, context: Any = None
    ) -> asyncio.Handle:
        return self.call_soon(callback, *args, context=context)  # there is one thread


# ---- the store ------------------------------------------------------------------------------------------


class Flaky:
    """A connection that fails as the world says."""

    def __init__(self, real: apsw.Connection, world: "World") -> None:
        self._real = real
        self._world = world

    def execute(self, statement: str, *arguments: Any) -> Any:
        if statement == "rollback":
            return self._real.execute(statement, *arguments)
        self._world.may_fail(statement)
        answer = self._real.execute(statement, *arguments)
        if statement == "commit":
            self._world.may_lose_the_answer()
        return answer

    def executemany(self, statement: str, rows: Any) -> Any:
        self._world.may_fail(statement)
        return self._real.executemany(statement, rows)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


class SimLedger(SqliteLedger):
    """The real ledger, its lane stepped by the world instead of by a thread."""

    def __init__(self, world: "World", path: str) -> None:
        super().__init__(path, world.catalog, SECRET, world)
        self.world = world
        self.dead = False
        self._scheduled = False
        self.quiet_batches_min = world.dice.choice((0, 0, 3))
        self.book.accounts_max = world.dice.choice((1, 100))
        self.book.snapshot_bytes_min = SNAPSHOT_BYTES
        self.near_places = 0
        self._real = self._connection
        self._real.pragma("synchronous", "off")  # power cuts are another rig's
        self._connection: Any = Flaky(self._real, world)

    @override
    def _put(self, item: Job | Call, loop: asyncio.AbstractEventLoop) -> None:
        if not self.dead:
            super()._put(item, loop)
            self._soon()

    def _soon(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            delay = self.world.dice.choice((0.0, 0.001, 0.02, 0.3))
            asyncio.get_running_loop().call_later(delay, self._run)

    def _run(self) -> None:
        self._scheduled = False
        if self.dead or not (self._waiting() or self._untold):
            return
        self._step()
        self.world.look(self)
        if self._waiting() or self._untold:
            self._soon()

    @override
    def _come(self) -> None:
        if not self.dead:
            before = len(self._queue)
            super()._come()
            self.world.seen["commands decided ahead"] += before - len(self._queue)

    def is_ahead(self, name: str) -> bool:
        """Whether more was decided of the account than is stored."""
        return any(name in batch.names for batch in (self._hand, self._next) if batch is not None)

    def meanwhile(self) -> None:
        """Others send commands, and the loop decides ahead, while the writer stands at one of its points."""
        if self.dead or self._closing:
            return
        if self.world.grants > 0:
            for name in self.world.dice.choice((ORGANIZATIONS[:1], ORGANIZATIONS)):
                self.world.grants -= 1
                grant = c.Envelope(name, c.Grant(tokens=1, origin="bonus"), self.world.operation())
                self.world.unawaited.append(self.submit(grant))
        self._come()

    @override
    async def _read(self, work: Callable[[apsw.Connection], T]) -> T:
        await asyncio.sleep(0)
        if self.dead:
            await self.world.never()
        if self.world.roll(self.world.trouble):
            raise StoreDown("the database cannot be read")
        return self._read_now(work)

    def die(self) -> None:
        """The process is gone: nothing it had begun goes on, nobody is answered."""
        self.dead = True
        self._queue.clear()
        self._real.close()
        if self._reader is not None:
            self._reader.close()
        self._turnstile.close()
        self._readers.shutdown()


def _forget_nothing(names: Iterable[str]) -> None:
    """For the planted fault below."""


class KeepsWhatFailed(SimLedger):
    """A planted fault: after a failed commit it goes on with what it had decided."""

    def __init__(self, world: "World", path: str) -> None:
        super().__init__(world, path)
        self.book.forget = _forget_nothing  # type: ignore[method-assign]  # that is the fault


class KeepsWhatStoodOnIt(SimLedger):
    """A planted fault: after a failed commit it stores what was decided ahead of it all the same."""

    @override
    def _take_back(self) -> None:
        """Nothing."""

    @override
    def _store(self, writes: Writes) -> None:
        # The store would notice that the account is not where it was when this was decided.
        now = dict(self._real.execute("select number, seq from organization"))
        writes.accounts = [(*row[:5], now[row[4]]) for row in writes.accounts]
        super()._store(writes)


class AnswersEarly(SimLedger):
    """A planted fault: answers when it has written, before it commits."""

    @override
    def _commit(self, batch: Batch) -> None:
        self._early = batch.jobs
        super()._commit(batch)

    @override
    def _store(self, writes: Writes) -> None:
        super()._store(writes)
        deliver(self._early)


class SimIntents:
    """Intents that survive every process, kept as they were given; keeping one may fail."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.kept: dict[tuple[str, str], IntentState] = {}

    async def keep(self, intent: Intent) -> None:
        await asyncio.sleep(0.01)
        if self._world.roll(self._world.trouble):
            raise OSError("no space left")
        self.kept.setdefault((intent.organization, intent.settle.hold), IntentState(intent))

    async def end(self, intent: Intent, outcome: IntentOutcome, at: int) -> None:
        await asyncio.sleep(0.01)
        self.kept[intent.organization, intent.settle.hold] = IntentState(intent, outcome, at)

    async def states(self) -> Sequence[IntentState]:
        return list(self.kept.values())


class _Door:
    """A process's way to the intents; shut when it is dead."""

    def __init__(self, process: "Process") -> None:
        self._process = process
        self._intents = process.world.intents

    async def keep(self, intent: Intent) -> None:
        await self._process.alive()
        await self._intents.keep(intent)

    async def end(self, intent: Intent, outcome: IntentOutcome, at: int) -> None:
        await self._process.alive()
        await self._intents.end(intent, outcome, at)

    async def states(self) -> Sequence[IntentState]:
        await self._process.alive()
        return await self._intents.states()


class Process:
    """One process of the host: a ledger, and execute-then-charge over it."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.ledger = world.kind(world, str(world.path))
        ledger: Any = self.ledger
        self.died = asyncio.get_running_loop().create_future()
        self.charging = Charging(LedgerBooks(ledger, SECRET), _Door(self), world, world)
        self.charging.recovery.wake()

    async def alive(self) -> None:
        if self.ledger.dead:
            await self.world.never()

    def die(self) -> None:
        self.ledger.die()
        self.died.set_result(None)

    async def guard(self, work: Coroutine[Any, Any, T]) -> T | None:
        """What `work` gives or raises; None if the process dies over it."""
        task = asyncio.create_task(work)
        self.world.tasks.append(task)
        await asyncio.wait({task, self.died}, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None


# ---- the world ------------------------------------------------------------------------------------------


class Told(Struct):
    """What a customer was told of the run under a key: tokens charged at once or later, or that it failed."""

    organization: str
    charged: int | None = None
    pending: bool = False
    failed: str | None = None


class World:
    """Everything of one seed. Clock, ids and chance for whoever asks."""

    def __init__(
        self,
        seed: int,
        folder: Path,
        *,
        steps: int = 40,
        kind: type[SimLedger] = SimLedger,
        calm: bool = False,
    ) -> None:
        self.seed = seed
        self.path = folder / f"{seed}.db"
        self.kind = kind
        self.dice = random.Random(seed)
        self.catalog = toys.catalog()
        self.steps = steps
        self.intents = SimIntents(self)
        self.tasks: list[asyncio.Task[Any]] = []
        self.processes: list[Process] = []
        self.seen: Counter[str] = Counter()
        self.books: dict[str, Auditor] = {}
        self.journal: dict[str, list[e.Entry]] = {}
        self.answers: dict[tuple[str, str, bytes], dict[str, Any]] = {}
        self.told: dict[str, Told] = {}
        self.runs: Counter[str] = Counter()
        self.succeeded: set[str] = set()
        self.grants = steps
        """So many more come in the middle of a batch."""
        self.unawaited: list[asyncio.Future[Receipt | Refusal]] = []
        self.jumped_ms = 0
        self.digest = ""
        self._row = 0
        self._failure: BaseException | None = None
        self._away_until = 0.0
        self._calm = calm
        draw = self.dice.choice
        self.trouble = 0.0 if calm else draw((0.0, 0.002, 0.01))
        self._lost = 0.0 if calm else draw((0.0, 0.02, 0.1))
        self._bugs = 0.0 if calm else draw((0.0, 0.0, 0.002))
        self._outages = not calm and draw((False, True))
        self._deaths = not calm and draw((False, True))
        self._jumps = not calm and draw((False, True))
        self._pace = draw((0.5, 20.0, 3_600.0))

    # ---- ports -------------------------------------------------------------------------------------------

    def now(self) -> int:
        """Epoch milliseconds, as this world's clocks have it."""
        return NOON + int(asyncio.get_running_loop().time() * 1000) + self.jumped_ms

    def operation(self) -> str:
        """A new operation id."""
        return f"{self.dice.getrandbits(128):032x}"

    def secret(self) -> str:
        """Nobody asks here."""
        return "secret"

    # ---- chance ------------------------------------------------------------------------------------------

    def roll(self, chance: float) -> bool:
        return chance > 0 and self.dice.random() < chance

    async def never(self) -> None:
        await asyncio.get_running_loop().create_future()

    def may_fail(self, statement: str) -> None:
        """Deny a statement, or everything for a while."""
        time = asyncio.get_running_loop().time()
        if time < self._away_until:
            raise apsw.IOError(f"away: {statement[:20]}")
        if self.roll(self.trouble):
            self.seen["statements that failed"] += 1
            if self._outages and self.roll(0.2):
                self._away_until = time + self.dice.choice((0.2, 5.0, 60.0))
            raise self.dice.choice((apsw.BusyError, apsw.IOError, apsw.FullError))(statement[:20])

    def may_lose_the_answer(self) -> None:
        if self.roll(self._lost):
            self.seen["answers of a commit that were lost"] += 1
            raise apsw.IOError("the commit happened, but its answer is lost")

    def _passed(self, point: str) -> None:
        if point.startswith("lane.") and self.roll(0.3):
            self.dice.choice(self.processes).ledger.meanwhile()
        if point not in UNGUARDED and self.roll(self._bugs):
            self.seen["errors nobody expected"] += 1
            raise Fault(point)

    # ---- what must hold ----------------------------------------------------------------------------------

    def look(self, ledger: SimLedger) -> None:
        """Bring the second set of books up to date, and compare."""
        touched = set()
        for row, name, body in self._eye.execute(
            "select entry.id, name, body from entry join organization on number = organization "
            "where entry.id > ? order by entry.id",
            (self._row,),
        ):
            entry = e.decode(body)
            self._row = row
            self.books.setdefault(name, Auditor()).post(entry)
            self.journal.setdefault(name, []).append(entry)
            touched.add(name)
            self.seen["entries"] += 1
        for name in touched:
            cached = ledger.book.cache.get(name)
            if cached is not None and not ledger.is_ahead(name):
                self.books[name].compare(cached.account)

    def answered(self, envelope: c.Envelope, reply: Receipt | Refusal) -> None:
        """What a client is told is stored, and is what it was told before under the same key (I6)."""
        self.seen["commands"] += 1
        if isinstance(reply, Refusal):
            return
        journal = self.journal.get(envelope.organization, [])
        if reply.entry > len(journal):
            raise Violation(f"{envelope} was answered {reply}, and there is no such entry")
        if reply.kind == "tick":
            return
        entry = journal[reply.entry - 1]
        named = entry.hold if isinstance(entry, e.Extended) else entry.key
        if entry.key is not None and (named, entry.tokens) != (reply.operation, reply.tokens):
            raise Violation(f"{envelope} was answered {reply}, and its entry is {entry}")
        if envelope.keyed and envelope.key is not None and not isinstance(envelope.command, KEYED_OTHERWISE):
            place = (envelope.organization, envelope.key, c.encode(envelope.command))
            first = self.answers.setdefault(place, plain(reply))
            if first != plain(reply):
                raise Violation(f"{envelope} was answered {reply}, before that {first}")

    # ---- who lives in it ---------------------------------------------------------------------------------

    async def _think(self) -> None:
        await asyncio.sleep(self.dice.expovariate(1 / self._pace))

    def _process(self) -> Process:
        return self.dice.choice(self.processes)

    async def _insist(self, envelope: c.Envelope) -> Receipt | Refusal | None:
        """Send until it is answered, through whichever process; None if nobody answers."""
        for _ in range(TRIES):
            process = self._process()
            try:
                reply = await process.guard(process.charging.submit(envelope))
            except (StoreDown, Fault):
                reply = None
            if reply is not None:
                self.answered(envelope, reply)
                return reply
            envelope = replace(envelope, retry=True)
            await self._think()
        return None

    async def _commander(self, organization: str) -> None:
        """Sends commands of every kind."""
        workload = Workload(self.dice, self.catalog, organization, self.now())
        for _ in range(self.steps):
            await self._think()
            workload.memory.now = self.now()
            step = workload.next()
            reply = await self._insist(step.envelope)
            if reply is not None:
                workload.seen(step, reply)

    async def _customer(self, organization: str, name: str) -> None:
        """Runs operations, each under a key, again under the same key when nobody answers."""
        for number in range(self.steps // 3):
            await self._think()
            key = f"{name} {number}"
            hold = chain.operation_id(SECRET, key)
            for _ in range(TRIES):
                if await self._run_operation(organization, key, hold):
                    break
                await self._think()

    async def _run_operation(self, organization: str, key: str, hold: str) -> bool:
        """One try; whether the customer now knows what became of it."""
        timeout_ms = self.dice.choice((500, 5_000, 60_000))
        reserve = c.Reserve(feature="model", tokens=1 + self.dice.randrange(3), timeout_ms=timeout_ms)
        operation = self._operation(hold, timeout_ms)
        process = self._process()
        told = Told(organization)
        try:
            done = await process.guard(
                process.charging.run(organization, reserve, operation, timeout_ms, key)
            )
        except (TimedOut, Upstream) as failure:
            self.seen[f"operations that {'failed' if isinstance(failure, Upstream) else 'timed out'}"] += 1
            self.told[hold] = replace(told, failed=type(failure).__name__)
            return True
        except AlreadyRan:
            return True
        except (StoreDown, Fault):
            return False
        if isinstance(done, Done):
            self.seen["operations done"] += 1
            self.seen[f"charges {done.charge.state}"] += 1
            tokens = None if done.charge.state == "uncharged" else done.charge.tokens
            self.told[hold] = replace(told, charged=tokens, pending=done.charge.state == "pending")
            if done.charge.receipt is not None:
                self.answered(c.Envelope(organization, c.Settle(hold=hold)), done.charge.receipt)
        return done is not None

    def _operation(self, hold: str, timeout_ms: int) -> Callable[[Hold], Awaitable[int]]:
        """The upstream: quick, slow, failing, hanging, or succeeding when nobody wants it any more."""
        way = self.dice.choice(("quick", "quick", "slow", "fails", "hangs", "late"))
        seconds = self.dice.random() * timeout_ms / 1000

        async def operation(running: Hold) -> int:
            self.runs[hold] += 1
            if self.runs[hold] > 1:
                raise Violation(f"{hold} runs a second time")
            if way == "fails":
                await asyncio.sleep(seconds)
                raise Upstream
            if way == "late":
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(2 * timeout_ms / 1000)
                await asyncio.sleep(self.dice.random())
            else:
                await asyncio.sleep({"quick": 0.01, "slow": seconds, "hangs": 1e6}[way])
            used = self.dice.randrange(running.tokens + 2)
            running.charge(used)
            self.succeeded.add(hold)
            return used

        return operation

    async def _sweeper(self) -> None:
        while True:
            await asyncio.sleep(self.dice.choice((1.0, 60.0, 3_600.0)) + self._pace)
            process = self._process()
            with contextlib.suppress(StoreDown, Fault):
                await process.guard(process.ledger.sweeper.sweep())
                if not process.ledger.dead:
                    await process.guard(process.ledger.sweeper._count(self.now()))

    async def _reaper(self) -> None:
        """Processes die, and others take their place."""
        while self._deaths:
            await asyncio.sleep(self.dice.expovariate(1 / (20 * self._pace + 1)))
            at = self.dice.randrange(PROCESSES)
            self.processes[at].die()
            self.seen["deaths"] += 1
            self.processes[at] = self._start()

    async def _jumper(self) -> None:
        """Clocks jump: on by seconds up to a month, back by up to an hour."""
        while self._jumps:
            await asyncio.sleep(self.dice.expovariate(1 / (10 * self._pace + 1)))
            seconds = self.dice.choice((1, 60, 3_600, 86_400, 40 * 86_400, -1, -60, -3_600))
            self.jumped_ms += seconds * 1000
            self.seen["jumps"] += 1
            self.seen["seconds jumped"] += max(0, seconds)

    # ---- its whole life ----------------------------------------------------------------------------------

    def _start(self) -> Process:
        """A new process; one that cannot open the database is started again."""
        while True:
            with contextlib.suppress(StoreDown, Fault):
                return Process(self)

    async def _live(self) -> None:
        self.processes = [self._start() for _ in range(PROCESSES)]
        self._eye = apsw.Connection(str(self.path))
        ambient = [asyncio.create_task(work) for work in (self._sweeper(), self._reaper(), self._jumper())]
        clients = [self._commander(name) for name in ORGANIZATIONS]
        clients += [self._customer(name, f"{name} {number}") for name in ORGANIZATIONS for number in range(3)]
        done = asyncio.create_task(self._all(clients))
        try:
            async with asyncio.timeout(REST_SECONDS + 1000 * self.steps * self._pace * TRIES):
                pending: set[asyncio.Task[None]] = {done, *ambient}
                while not done.done():
                    ended, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                    for task in ended:
                        task.result()
        except TimeoutError as never:
            raise Violation("a client waits for ever") from never
        for task in ambient:
            task.cancel()
        await self._rest()

    async def _all(self, clients: Sequence[Coroutine[Any, Any, None]]) -> None:
        await asyncio.gather(*clients)

    async def _rest(self) -> None:
        """No more trouble: everything that was begun comes to its end."""
        self.trouble = self._lost = self._bugs = 0.0
        self._away_until = 0.0
        self.seen["milliseconds lived"] = int(asyncio.get_running_loop().time() * 1000)
        self.seen["milliseconds lived"] += 1000 * self.seen.pop("seconds jumped", 0)
        await asyncio.sleep(REST_SECONDS)
        process = self.processes[0]
        for each in self.processes:
            await each.charging.recovery.once()
        for name in ORGANIZATIONS:
            account = await process.ledger.account(name)
            if account is not None and account.state.simulated:  # its clock does not pass by itself
                rest = c.Advance(to=account.state.time + int(REST_SECONDS * 1000))
                moved = await process.ledger.submit(c.Envelope(name, rest, f"{1 << 127:032x}"))
                if isinstance(moved, Refusal):
                    raise Violation(f"{name}'s clock does not move: {moved}")
            await process.ledger.submit(c.Envelope(name, c.Tick()))
        self._judge()
        verdict = process.ledger._verify_now()
        if verdict.findings:
            raise Violation(str(verdict.findings))
        if verdict.entries != self.seen["entries"]:
            raise Violation(f"{verdict.entries} entries are stored, {self.seen['entries']} were seen")
        self.digest = verdict.head

    def _judge(self) -> None:
        """What customers were told, against what was charged (I4, I9, R-LED-3, R-LED-4)."""
        charged: dict[str, int] = {}
        for entry in (entry for entries in self.journal.values() for entry in entries):
            if isinstance(entry, e.Charged) and entry.part == 1:
                charged[entry.key or ""] = entry.tokens
        for book in self.books.values():
            if book.holds:
                raise Violation(f"holds are left open: {book.holds}")
        for hold, told in self.told.items():
            self._judge_one(hold, told, charged.get(hold))
        for hold in self.runs:
            if hold in charged and hold not in self.succeeded:
                raise Violation(f"{hold} was charged and had not succeeded")
        left = [state for state in self.intents.kept.values() if state.outcome is None]
        if left:
            raise Violation(f"intents are left: {left}")

    def _judge_one(self, hold: str, told: Told, got: int | None) -> None:
        if told.failed is not None and got is not None:
            raise Violation(f"{hold} was told to be {told.failed} and was charged {got}")
        if told.failed is None and told.charged is None and got is not None:
            raise Violation(f"{hold} was told to be uncharged and was charged {got}")
        if told.pending and got is None:
            self.seen["charged later, but too late"] += 1
        elif told.charged is not None and got != told.charged:
            raise Violation(f"{hold} was told to be charged {told.charged} and was charged {got}")

    def live(self) -> "World":
        """Run to the end; raises `Violation` or the auditor's."""
        logging.disable(logging.CRITICAL)
        faults.install(self._passed)
        loop = TimelessLoop()
        loop.set_exception_handler(self._failed)
        try:
            loop.run_until_complete(self._live())
        except RuntimeError:
            if self._failure is None:
                raise
        finally:
            faults.install(None)
            logging.disable(logging.NOTSET)
            self._end(loop)
        if self._failure is not None:
            raise self._failure
        return self

    def _failed(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """A batch or its inspection raised: nobody awaits those."""
        if "handle" in context:
            self._failure = self._failure or context.get("exception")
            loop.stop()

    def _end(self, loop: asyncio.AbstractEventLoop) -> None:
        for process in self.processes:
            if not process.ledger.dead:
                process.ledger.die()
        with contextlib.suppress(AttributeError):
            self._eye.close()
        # What hangs in dead processes is dropped with them.
        while tasks := asyncio.all_tasks(loop):
            for task in tasks:
                task.cancel()
            loop.run_until_complete(asyncio.sleep(0))
        for task in self.tasks:
            if task.done() and not task.cancelled():
                task.exception()
        loop.close()
