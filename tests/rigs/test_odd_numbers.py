"""A command built by hand may hold any number at all: nothing raises, and what is stored can be read again.

R-LED-5, R-LED-10; API6 of the security checks: zero, negative, fractional, not a number, beyond 2**63.
"""

import random

from msgspec import structs

from tests.support.rig_model import Memory, stage
from tokentill.rules import commands as c
from tokentill.rules import entries as e

ODD = (0, -1, 1, 2**63, -(2**63), 10**15, 10**15 + 1, 10**30, -(10**30), 1.5, 1.0, 2.0)
ODDER = (float("nan"), float("inf"), -float("inf"), True, False)
NUMBERS = {
    "anchor", "cap", "end", "expires_at", "failed_at", "least", "lot", "output_tokens", "quantity", "timeout_ms",
    "tokens",
}  # fmt: skip
RUNS = 300
STEPS = 60


def oddly(command: c.Command, dice: random.Random) -> c.Command:
    """The command with one of its numbers replaced."""
    fields = sorted(NUMBERS & {field.name for field in structs.fields(command)})
    if not fields:
        return command
    return structs.replace(command, **{dice.choice(fields): dice.choice(ODD + ODDER)})


def test_any_number_is_answered_and_nothing_odd_is_stored(run_seed: int) -> None:
    for run in range(RUNS):
        seed = run_seed + run
        workload, dice = stage(seed), random.Random(seed)
        till = Memory(workload.memory.catalog)
        for _ in range(STEPS):
            step = workload.next()
            if dice.randrange(3) == 0:
                command = oddly(step.envelope.command, dice)
                step = structs.replace(step, envelope=structs.replace(step.envelope, command=command))
            try:
                reply, entries = till.submit(step.envelope, step.now)
                assert [e.decode(e.encode(entry)) for entry in entries] == entries
            except Exception as failure:
                failure.add_note(f"seed {seed}: {step.envelope}")
                raise
            workload.seen(step, reply)
        till.refold()
