"""A Hypothesis state machine over the till, the naive model and the auditor, on memory and on either engine.

Where `test_model.py` sends long streams by seed, here Hypothesis chooses each argument, so that it looks where
it has found something before and cuts a failure down to its bones (R-LED-1 to R-LED-10, R-PLAN-4 to R-PLAN-6,
R-ABU-1 to R-ABU-6, R-LIC-1 to R-LIC-3).
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.support.rig_faulty import FAULTS
from tests.support.rig_ledger import Stored, World
from tests.support.rig_model import ORGANIZATION, START, Disagreement, Memory, Reply, Till, Trio
from tests.support.rig_store import ENGINES, Engine
from tokentill.lab import toys
from tokentill.lab.auditor import Violation
from tokentill.lab.workload import Coverage, Step
from tokentill.rules import commands as c
from tokentill.rules.catalog import DAY_MS, Catalog
from tokentill.rules.receipts import Receipt

CATALOG = toys.catalog()
SMALL = st.integers(1, 12)
USERS = st.sampled_from(("ann", "bob", None))
FEATURES = st.sampled_from(tuple(toys.FEATURES))
PLANS = st.sampled_from((*toys.PLANS, None))
SOME = st.integers(0, 5)
"""Which of the last holds, charges or lots a rule is about."""


class Machine(RuleBasedStateMachine):
    """One account. `make_till` says what is tried; subclasses set it."""

    make_till: Callable[[Catalog], Till] = Memory
    coverage = Coverage()

    def __init__(self) -> None:
        super().__init__()
        self.trio = Trio(type(self).make_till(CATALOG), CATALOG, self.coverage)
        self.now = START
        self.sent: list[c.Envelope] = []
        self.holds: list[str] = []
        self.charges: list[str] = []
        self.lots: list[int] = []

    def send(self, command: c.Command, *, reopen: bool = False) -> Reply:
        number = len(self.sent) + 1
        envelope = c.Envelope(ORGANIZATION, command, f"{number:032x}", number % 3 != 0)
        self.sent.append(envelope)
        return self.trio.step(Step(self.now, envelope, reopen))

    @staticmethod
    def _one(known: list[Any], back: int, other: Any) -> Any:
        return known[-1 - back] if back < len(known) else other

    @initialize(plan=PLANS, days_ago=st.integers(0, 60), simulated=st.booleans())
    def open(self, plan: str | None, days_ago: int, simulated: bool) -> None:
        self.send(c.Open(plan=plan, anchor=self.now - days_ago * DAY_MS, simulated=simulated))

    @rule(feature=FEATURES, user=USERS, n=SMALL, least=st.none() | SMALL, timeout=st.integers(1, 90_000))
    def reserve(self, feature: str, user: str | None, n: int, least: int | None, timeout: int) -> None:
        metered = toys.FEATURES[feature].metered
        reply = self.send(
            c.Reserve(
                feature=feature,
                user=user,
                quantity=1 if metered else 1 + n // 4,
                tokens=n if metered else None,
                least=least,
                timeout_ms=timeout,
            )
        )
        if isinstance(reply, Receipt):
            self.holds.append(reply.operation)

    @rule(feature=FEATURES, user=USERS, n=SMALL)
    def charge(self, feature: str, user: str | None, n: int) -> None:
        metered = toys.FEATURES[feature].metered
        tokens, quantity = (n, 1) if metered else (None, 1 + n // 4)
        reply = self.send(c.Charge(feature=feature, user=user, quantity=quantity, tokens=tokens))
        if isinstance(reply, Receipt):
            self.charges.append(reply.operation)

    @rule(back=SOME, tokens=st.none() | st.integers(0, 14))
    def settle(self, back: int, tokens: int | None) -> None:
        hold = self._one(self.holds, back, "e" * 32)
        if isinstance(self.send(c.Settle(hold=hold, tokens=tokens)), Receipt):
            self.charges.append(hold)

    @rule(back=SOME, reason=st.sampled_from(("failed", "timeout", "cancelled")))
    def release(self, back: int, reason: Any) -> None:
        self.send(c.Release(hold=self._one(self.holds, back, "e" * 32), reason=reason))

    @rule(back=SOME, timeout=st.integers(0, 90_000))
    def extend(self, back: int, timeout: int) -> None:
        self.send(c.Extend(hold=self._one(self.holds, back, "e" * 32), timeout_ms=timeout))

    @rule(back=SOME, tokens=st.none() | SMALL)
    def refund(self, back: int, tokens: int | None) -> None:
        self.send(c.Refund(operation=self._one(self.charges, back, "e" * 32), tokens=tokens))

    @rule(
        tokens=st.integers(0, 20),
        origin=st.sampled_from(("grant", "pack", "bonus", "credit")),
        lasts=st.none() | st.integers(0, 40 * DAY_MS) | st.integers(0, 90_000),
        unit=st.sampled_from(("token", "token", "money")),
    )
    def grant(self, tokens: int, origin: Any, lasts: int | None, unit: Any) -> None:
        expires_at = None if lasts is None else self.now + lasts
        reply = self.send(c.Grant(tokens=tokens, origin=origin, expires_at=expires_at, unit=unit))
        if isinstance(reply, Receipt) and reply.lot is not None:
            self.lots.append(reply.lot)

    @rule(tokens=st.integers(-20, 20))
    def adjust(self, tokens: int) -> None:
        self.send(c.Adjust(tokens=tokens, reason="mend", actor="op"))

    @rule(back=SOME, tokens=SMALL)
    def revoke(self, back: int, tokens: int) -> None:
        self.send(c.Revoke(lot=self._one(self.lots, back, 99), tokens=tokens))

    @rule(back=SOME)
    def set_aside(self, back: int) -> None:
        self.send(c.SetAside(lot=self._one(self.lots, back, 99)))

    @rule(back=SOME)
    def give_back(self, back: int) -> None:
        self.send(c.GiveBack(lot=self._one(self.lots, back, 99)))

    @rule(amount=SMALL)
    def spend_credit(self, amount: int) -> None:
        self.send(c.SpendCredit(amount=amount, reference="p1"))

    @rule(days_ago=st.integers(0, 20))
    def freeze(self, days_ago: int) -> None:
        self.send(c.Freeze(failed_at=self.now - days_ago * DAY_MS))

    @rule()
    def restore(self) -> None:
        self.send(c.Restore())

    @rule(plan=PLANS, when=st.sampled_from(("auto", "now", "period_end")), billed=st.booleans())
    def change_plan(self, plan: str | None, when: Any, billed: bool) -> None:
        self.send(c.ChangePlan(plan=plan, when=when, billed=billed))

    @rule(days=st.none() | st.integers(0, 60), billed=st.booleans())
    def reset(self, days: int | None, billed: bool) -> None:
        self.send(c.Reset(end=None if days is None else self.now + days * DAY_MS, billed=billed))

    @rule(cap=st.none() | st.integers(-1, 2_000))
    def set_cap(self, cap: int | None) -> None:
        self.send(c.SetCap(cap=cap))

    @rule(user=st.sampled_from(("ann", "bob")))
    def attempt(self, user: str) -> None:
        self.send(c.Attempt(user=user, reason="not JSON"))

    @rule(user=st.sampled_from(("ann", "bob")))
    def unblock(self, user: str) -> None:
        self.send(c.Unblock(user=user, reason="asked", actor="op"))

    @rule(ms=st.integers(-10_000, 5_000) | st.integers(0, 120_000) | st.integers(0, 100 * DAY_MS))
    def pass_time(self, ms: int) -> None:
        self.now += ms
        self.send(c.Tick())

    @rule(ms=st.integers(-1, 5_000) | st.integers(0, 120_000) | st.integers(0, 100 * DAY_MS))
    def advance(self, ms: int) -> None:
        self.send(c.Advance(to=self.trio.till.time() + ms))

    @precondition(lambda self: self.sent)
    @rule(back=SOME)
    def replay(self, back: int) -> None:
        envelope = self._one(self.sent, back, self.sent[0])
        again = c.Envelope(ORGANIZATION, envelope.command, envelope.key, envelope.keyed, retry=True)
        self.trio.step(Step(self.now, again))

    @rule()
    def crash(self) -> None:
        self.send(c.Tick(), reopen=True)


def test_memory_agrees_with_the_model() -> None:
    run_state_machine_as_test(Machine)


@pytest.mark.parametrize("engine", ENGINES)
def test_engines_agree_with_the_model(
    engine: Engine, tmp_path: Path, request: pytest.FixtureRequest, pytestconfig: pytest.Config
) -> None:
    """Each example is an organization of its own in the one database."""
    url = str(tmp_path / "till.db") if engine == "sqlite" else request.getfixturevalue("postgres_url")
    few = 10 if engine == "sqlite" else 5
    examples = 2_000 if pytestconfig.getoption("--nightly") else few
    with World(engine, url, CATALOG) as world:

        def make_till(_catalog: Catalog) -> Till:
            return Stored(world, next(world.names))

        machine = type("OnEngine", (Machine,), {"make_till": staticmethod(make_till)})
        run_state_machine_as_test(machine, settings=settings(max_examples=examples))
        world.verify()


def test_a_planted_fault_is_found() -> None:
    def make_till(catalog: Catalog) -> Till:
        return Memory(catalog, FAULTS["check then deduct"]())

    machine = type("Faulty", (Machine,), {"make_till": staticmethod(make_till)})
    with pytest.raises((Disagreement, Violation)):
        run_state_machine_as_test(machine, settings=settings(max_examples=500, phases=(Phase.generate,)))
