"""The negative controls of the model rig: each planted fault is caught, by the auditor and by the model alone.

A rig that never fails proves nothing. R-LED-2, R-LED-3, R-LED-9; I1 to I6 and I10 of the test plan.
"""

from collections.abc import Callable

import pytest

from tests.support.rig_faulty import FAULTS
from tests.support.rig_model import (
    Disagreement,
    Execute,
    Memory,
    Reply,
    compare_balance,
    compare_reply,
    play,
    stage,
)
from tokentill.lab.auditor import Auditor, Violation
from tokentill.lab.naive import Naive
from tokentill.lab.workload import Step
from tokentill.rules.account import Misfit
from tokentill.rules.catalog import Catalog
from tokentill.rules.decide import execute

SEEDS = range(100)
STEPS = 150


class AuditorAlone:
    """The books without the model."""

    def __init__(self, till: Memory, _catalog: Catalog) -> None:
        self.till = till
        self.auditor = Auditor()

    def step(self, step: Step) -> Reply:
        reply, entries = self.till.submit(step.envelope, step.now)
        self.auditor.post_all(entries)
        self.auditor.answered(step.envelope, reply, entries)
        self.auditor.compare(self.till.account())
        return reply


class ModelAlone:
    """The model without the books."""

    def __init__(self, till: Memory, catalog: Catalog) -> None:
        self.till = till
        self.naive = Naive(catalog)

    def step(self, step: Step) -> Reply:
        now = max(step.now, self.till.time())
        reply, _ = self.till.submit(step.envelope, step.now)
        compare_reply(self.naive.submit(step.envelope, now), reply)
        compare_balance(self.till.account(), self.till.catalog, self.naive.balance(), self.naive.book.now)
        return reply


def caught(judge: type[AuditorAlone | ModelAlone], make: Callable[[], Execute]) -> BaseException | None:
    """The first failure over a few seeds, None if there is none."""
    for seed in SEEDS:
        workload = stage(seed)
        catalog = workload.memory.catalog
        try:
            play(judge(Memory(catalog, make()), catalog), workload, STEPS)
        except (Violation, Disagreement) as failure:
            failure.add_note(f"seed {seed}")
            return failure
        except Misfit:
            continue  # the rules themselves saw it first, which says nothing of the judge
    return None


@pytest.mark.parametrize("fault", FAULTS)
def test_the_auditor_alone_sees_the_fault(fault: str) -> None:
    failure = caught(AuditorAlone, FAULTS[fault])
    assert isinstance(failure, Violation), fault


@pytest.mark.parametrize("fault", FAULTS)
def test_the_model_alone_sees_the_fault(fault: str) -> None:
    failure = caught(ModelAlone, FAULTS[fault])
    assert isinstance(failure, Disagreement), fault


def test_without_a_fault_nothing_is_seen() -> None:
    assert caught(AuditorAlone, lambda: execute) is None
    assert caught(ModelAlone, lambda: execute) is None
