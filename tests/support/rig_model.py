"""The model rig: a till, the naive model and the auditor side by side, one step at a time."""

import random
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from msgspec import structs

from tokentill.lab import toys
from tokentill.lab.auditor import Auditor
from tokentill.lab.naive import Answer, Naive, clockwork
from tokentill.lab.workload import Coverage, Step, Workload
from tokentill.rules import account as a
from tokentill.rules import commands as c
from tokentill.rules import decide, evolve
from tokentill.rules import entries as e
from tokentill.rules.balance import balance
from tokentill.rules.catalog import Catalog
from tokentill.rules.receipts import Receipt
from tokentill.rules.refusals import Refusal
from tokentill.rules.turn import Find

Reply = Receipt | Refusal
Execute = Callable[[a.Account, c.Envelope, Catalog, int, Find], decide.Outcome]
ORGANIZATION = "acme"
START = 1_700_000_000_000
SNAPSHOT_EVERY = 37


class Disagreement(AssertionError):
    """The till and the naive model say different things."""


class Till(Protocol):
    """Something that answers the envelopes of one organization."""

    def account(self) -> a.Account: ...

    def time(self) -> int:
        """The account's own time, that of its last entry."""
        ...

    def submit(self, envelope: c.Envelope, now: int) -> tuple[Reply, list[e.Entry]]:
        """The reply and what it put into the journal, due entries included."""
        ...

    def reopen(self) -> None:
        """As after a crash: what is not stored is gone."""
        ...


class Memory:
    """The rules alone over a journal in a list; `execute` may be replaced by a faulty one."""

    def __init__(self, catalog: Catalog, execute: Execute = decide.execute) -> None:
        self.catalog = catalog
        self.execute = execute
        self.now_account = a.Account()
        self.journal: list[bytes] = []
        self.operations: dict[str, list[e.Entry]] = {}
        self.snapshot = (0, self.now_account.dump())

    def account(self) -> a.Account:
        return self.now_account

    def time(self) -> int:
        return self.now_account.state.time

    def find(self, operation: str) -> Sequence[e.Entry]:
        return self.operations.get(operation, ())

    def submit(self, envelope: c.Envelope, now: int) -> tuple[Reply, list[e.Entry]]:
        asked = (decide.lookup_key(self.now_account, envelope), decide.lookup_also(envelope))

        def find(operation: str) -> Sequence[e.Entry]:
            # As the lane does it: only what was asked for beforehand is there.
            return self.find(operation) if operation in asked else ()

        outcome = self.execute(self.now_account, envelope, self.catalog, now, find)
        for entry in outcome.entries:
            self.journal.append(e.encode(entry))
            if entry.key is not None:
                self.operations.setdefault(entry.key, []).append(entry)
        if len(self.journal) - self.snapshot[0] > SNAPSHOT_EVERY:
            self.snapshot = (len(self.journal), self.now_account.dump())
        return outcome.reply, outcome.entries

    def reopen(self) -> None:
        """The snapshot and the tail of the journal after it, from their stored bytes."""
        count, stored = self.snapshot
        self._replace(a.Account.load(stored), self.journal[count:])

    def refold(self) -> None:
        """The whole journal from its start gives the same snapshot bytes (I3, determinism)."""
        self._replace(a.Account(), self.journal)

    def _replace(self, account: a.Account, tail: Sequence[bytes]) -> None:
        for body in tail:
            evolve.evolve(account, e.decode(body))
        if account.dump() != self.now_account.dump():
            raise Disagreement(f"folded again as {account.dump()!r}, was {self.now_account.dump()!r}")
        self.now_account = account


def compare_reply(answer: Answer, reply: Reply) -> None:
    """The model's answer against the till's."""
    code = reply.code if isinstance(reply, Refusal) else None
    said = {name: getattr(reply, name, None) for name in answer.figures}
    if (code, said) != (answer.code, answer.figures):
        raise Disagreement(f"till says {code} {said}, model {answer.code} {answer.figures}; {reply}")


def compare_balance(account: a.Account, catalog: Catalog, expected: dict[str, Any], now: int) -> None:
    """Every figure of R-LED-1, and that they add up."""
    if not account.state.opened:
        return
    said = balance(account, catalog, now)
    wrong = {k: (getattr(said, k), v) for k, v in expected.items() if getattr(said, k) != v}
    if wrong:
        raise Disagreement(f"balance (till, model): {wrong}")
    left = said.monthly + said.additional - said.used - said.reserved
    if left != said.remaining + said.set_aside:
        raise Disagreement(f"{left} left, but {said.remaining} remaining and {said.set_aside} set aside")


def compare_purses(account: a.Account, naive: Naive) -> None:
    """What every key with a purse has spent and holds (R-SALE-8)."""
    if account.state.purses != naive.book.purses():
        raise Disagreement(f"purses (till, model): {account.state.purses}, {naive.book.purses()}")


class Trio:
    """Till, naive model and auditor, stepped together; anything they do not agree on raises."""

    def __init__(self, till: Till, catalog: Catalog, coverage: Coverage) -> None:
        self.till = till
        self.catalog = catalog
        self.naive = Naive(catalog)
        self.auditor = Auditor()
        self.coverage = coverage

    def step(self, step: Step) -> Reply:
        if step.reopen:
            self.till.reopen()
        # Time inside an account never runs backwards (design: details).
        now = max(step.now, self.till.time())
        reply, entries = self.till.submit(step.envelope, step.now)
        self.coverage.mark(step.envelope.command, reply)
        self.auditor.post_all(entries)
        self.auditor.answered(step.envelope, reply, entries)
        compare_reply(self.naive.submit(step.envelope, now), reply)
        self.compare_notes(entries)
        self.compare_accounts()
        return reply

    def compare_accounts(self) -> None:
        """The balance against the model, the state against the auditor's books."""
        account = self.till.account()
        book = self.naive.book
        if account.state.seq > self.auditor.seq and (clockwork.soonest(book) or book.now + 1) <= book.now:
            # A period whose invoice came late can be over as it begins. A stored account is read with what follows
            # from that; the books and the model have it from the next command.
            return
        compare_balance(account, self.catalog, self.naive.balance(), self.naive.book.now)
        self.auditor.compare(account)
        compare_purses(account, self.naive)

    def compare_notes(self, entries: Sequence[e.Entry]) -> None:
        """What was billed at a period's end, alerted and warned of (R-PLAN-6, R-PLAN-8, R-ABU-5)."""
        bills = [(x.tokens, x.amount, x.start) for x in entries if isinstance(x, e.OverageBilled)]
        alerts = [
            (x.user, x.observed, x.limit) for x in entries if isinstance(x, e.Alerted) and x.code == "burn"
        ]
        warnings = [(x.code, x.threshold, x.lot) for x in entries if isinstance(x, e.Warned)]
        book = self.naive.book
        said, expected = (bills, alerts, warnings), (book.bills, book.alerts, book.warnings)
        if said != expected:
            raise Disagreement(f"till billed, alerted and warned {said}, model {expected}")
        book.bills, book.alerts, book.warnings = [], [], []


def stage(seed: int, organization: str = ORGANIZATION) -> Workload:
    """The workload of a seed, its catalog included."""
    dice = random.Random(seed)
    catalog = toys.catalog(dice.choice(("time", "tokens", "none")), dice.choice(("hard", "overage", None)))
    return Workload(dice, catalog, organization, START + dice.randrange(10**11))


class Judge(Protocol):
    """Whatever takes a step and raises when it does not like what it sees."""

    def step(self, step: Step) -> Reply: ...


def play(judge: Judge, workload: Workload, count: int) -> list[Step]:
    """Step `count` times. A failure carries the steps up to it as notes that can be read and repeated."""
    steps: list[Step] = []
    for _ in range(count):
        step = workload.next()
        steps.append(step)
        try:
            workload.seen(step, judge.step(step))
        except Exception as failure:
            failure.add_note(f"after {len(steps)} steps")
            failure.steps = steps  # type: ignore[attr-defined]  # for whoever shrinks it
            raise
    return steps


def play_in_memory(
    seed: int, count: int, coverage: Coverage | None = None, execute: Execute = decide.execute
) -> Memory:
    """One seed on the rules alone; a failure is cut down to the fewest steps that show it."""
    workload = stage(seed)
    catalog = workload.memory.catalog
    till = Memory(catalog, execute)
    try:
        play(Trio(till, catalog, coverage or Coverage()), workload, count)
        till.refold()
    except Exception as failure:
        signs = (type(failure), str(failure)[:9])

        def fails(fewer: Sequence[Step]) -> bool:
            trio = Trio(Memory(catalog, execute), catalog, Coverage())
            try:
                for step in fewer:
                    trio.step(step)
            except Exception as other:  # noqa: BLE001  # whatever it is, it is compared
                return (type(other), str(other)[:9]) == signs
            return False

        steps: list[Step] = getattr(failure, "steps", [])
        failure.add_note(f"seed {seed} {count}, catalog {catalog.name}, default plan {catalog.default_plan}")
        failure.add_note(describe(shrink(steps, fails)))
        raise
    return till


def shrink(steps: Sequence[Step], fails: Callable[[Sequence[Step]], bool]) -> list[Step]:
    """The fewest steps that still fail, found by leaving out ever smaller runs of them."""
    kept = list(steps)
    size = max(1, len(kept) // 2)
    while True:
        before = len(kept)
        at = 0
        while at < len(kept):
            fewer = kept[:at] + kept[at + size :]
            if fails(fewer):
                kept = fewer
            else:
                at += size
        if size == 1 and len(kept) == before:
            return kept
        size = max(1, size // 2)


def describe(steps: Sequence[Step]) -> str:
    """Steps as lines: time since the step before, end of the key, K keyed, R retry, C reopened, the command."""
    lines = []
    before = steps[0].now if steps else 0
    for step in steps:
        envelope = step.envelope
        marks = (("K", envelope.keyed), ("R", envelope.retry), ("C", step.reopen))
        flags = "".join(mark for mark, on in marks if on)
        command = envelope.command
        fields = [(f.name, getattr(command, f.name), f.default) for f in structs.fields(command)]
        said = ", ".join(f"{name}={value!r}" for name, value, default in fields if value != default)
        lines.append(
            f"+{step.now - before} {(envelope.key or '')[-4:]} {flags} {type(command).__name__}({said})"
        )
        before = step.now
    return "\n".join(lines)
