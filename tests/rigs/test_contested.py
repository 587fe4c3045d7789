"""Tokens of plans that are contested when their period ends, against the naive model and the auditor (R-PLAN-5).

As the model rig, on few commands that come together seldom there: periods that are paid one after the other on plans
that roll over, disputes that are opened, won and lost, payments that fail and are mended, and time in large steps.
"""

import itertools
import random

import pytest

from tests.support.rig_faulty import contested_comes_free
from tests.support.rig_model import START, Disagreement, Execute, Memory, Trio, play
from tokentill.lab import toys
from tokentill.lab.auditor import Violation
from tokentill.lab.workload import Coverage, Workload
from tokentill.lab.workload.stream import Step
from tokentill.rules import commands as c
from tokentill.rules import decide
from tokentill.rules import entries as e
from tokentill.rules.catalog import DAY_MS
from tokentill.web.asgi import override

PLANS = ("grace", "overage", "open_end")
ORDERS = ("order 1", "order 2", "order 3")
STEPS = 80


class Disputes(Workload):
    """The steps of one account."""

    @override
    def next(self) -> Step:
        m = self.memory
        self.count += 1
        m.now += m.pick((0, 0, 0, 1, 1_000, DAY_MS, 5 * DAY_MS, 15 * DAY_MS, 31 * DAY_MS))
        command: c.Command = self._command() if m.opened else c.Open(plan=None)
        return Step(m.now, c.Envelope(self.organization, command, f"{self.count:032x}"), m.chance(5))

    def _command(self) -> c.Command:
        m = self.memory
        order, roll = m.pick(ORDERS), m.dice.randrange(100)
        if roll < 20:
            if m.chance(30):
                return c.Reset(billed=True, reference=order)
            start, end = m.now - m.pick((0, 0, DAY_MS)), m.now + m.pick((10, 31)) * DAY_MS
            return c.Reset(billed=True, reference=order, start=start, end=end)
        if roll < 30:
            billed = m.chance(60)
            return c.ChangePlan(
                plan=m.pick((*PLANS, None)), billed=billed, reference=order if billed else None
            )
        if roll < 45:
            return c.SetAside(reference=order)
        if roll < 53:
            return c.GiveBack(reference=order)
        if roll < 62:
            return c.Revoke(reference=order, tokens=None if m.chance(80) else 1)
        if roll < 66:
            return c.Freeze(by_hand=m.chance(30))
        if roll < 74:
            return c.Restore(by_hand=m.chance(60))
        if roll < 84 and m.known:
            return c.Release(hold=m.pick(m.known).key)
        if roll < 90:
            return c.Reserve(feature="look", timeout_ms=m.pick((1_000, 3_600_000)))
        return c.Charge(feature="look")


def dispute(run_seed: int, execute: Execute) -> tuple[int, int, int]:
    """How many contested lots rolled over, were given back and were taken."""
    rolled = won = lost = 0
    dice = random.Random(run_seed)
    for _ in range(150):
        seed = dice.getrandbits(32)
        catalog = toys.catalog("time", None)
        till = Memory(catalog, execute)
        try:
            play(
                Trio(till, catalog, Coverage()), Disputes(random.Random(seed), catalog, "acme", START), STEPS
            )
            till.refold()
        except Exception as failure:
            failure.add_note(f"seed {seed}")
            raise
        journal = [e.decode(body) for body in till.journal]
        kept: set[int] = set()
        for entry, following in itertools.pairwise(journal):
            if (
                isinstance(entry, e.Granted)
                and entry.origin == "rollover"
                and isinstance(following, e.SetAside)
            ):
                kept.add(entry.lot)
        rolled += len(kept)
        won += sum(len(kept & set(x.lots)) for x in journal if isinstance(x, e.GivenBack))
        lost += sum(len(kept & {lot for lot, _ in x.moves}) for x in journal if isinstance(x, e.Revoked))
    return rolled, won, lost


def test_what_a_dispute_keeps_rolls_over_with_it(run_seed: int) -> None:
    rolled, won, lost = dispute(run_seed, decide.execute)
    assert min(rolled, won, lost) > 0, (rolled, won, lost)
    print(f"seed {run_seed}: {rolled} lots rolled over aside, {won} were given back and {lost} taken")


def test_contested_tokens_that_come_free_are_caught(run_seed: int) -> None:
    with pytest.raises((Disagreement, Violation)):
        dispute(run_seed, contested_comes_free())
