"""A command built by hand may hold any number at all: nothing raises, and what is stored can be read again.

R-LED-5, R-LED-10; API6 of the security checks: zero, negative, fractional, not a number, beyond 2**63.
"""

import random

import msgspec
import pytest
from msgspec import structs

from tests.support.rig_model import Execute, Memory, stage
from tokentill.rules import commands as c
from tokentill.rules import decide
from tokentill.rules import entries as e
from tokentill.rules.account import Account
from tokentill.rules.catalog import Catalog
from tokentill.rules.turn import Find

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


def send_odd_numbers(run_seed: int, execute: Execute) -> None:
    for run in range(RUNS):
        seed = run_seed + run
        workload, dice = stage(seed), random.Random(seed)
        till = Memory(workload.memory.catalog, execute)
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


def test_any_number_is_answered_and_nothing_odd_is_stored(run_seed: int) -> None:
    send_odd_numbers(run_seed, decide.execute)
    print(f"seed {run_seed}: {RUNS} runs of {STEPS} commands")


def test_a_number_that_is_taken_as_it_comes_is_caught(run_seed: int) -> None:
    """The planted fault grants what is no whole number."""

    def execute(
        account: Account, envelope: c.Envelope, catalog: Catalog, now: int, find: Find
    ) -> decide.Outcome:
        command = envelope.command
        if not isinstance(command, c.Grant) or type(command.tokens) is int:
            return decide.execute(account, envelope, catalog, now, find)
        sane = structs.replace(envelope, command=structs.replace(command, tokens=1))
        outcome = decide.execute(account, sane, catalog, now, find)
        entries = [
            structs.replace(entry, tokens=command.tokens) if isinstance(entry, e.Granted) else entry
            for entry in outcome.entries
        ]
        return decide.Outcome(entries, outcome.reply)

    with pytest.raises((AssertionError, msgspec.MsgspecError)):
        send_odd_numbers(run_seed, execute)
