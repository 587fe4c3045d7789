"""The till against the naive model and the auditor, step by step, on the rules alone and on either engine.

Random commands that reach every operation and every refusal; replays, retries, keys used twice, clocks that
jump both ways, accounts loaded anew. After each step the reply, every figure of the balance, what was billed
and alerted, and the invariants I1 to I10 and I12 must agree (R-LED-1 to R-LED-10, R-PLAN-4 to R-PLAN-6,
R-ABU-1 to R-ABU-6, R-LIC-1 to R-LIC-5). A failing seed goes into `seeds.txt` beside this file.
"""

import itertools
import random
from pathlib import Path

import pytest

from tests.support.rig_ledger import Stored, World
from tests.support.rig_model import Memory, Trio, compare_reply, play, play_in_memory, stage
from tests.support.rig_store import ENGINES, Engine
from tokentill.lab.workload import Coverage, Workload

STEPS = 150
SEEDS = [
    tuple(map(int, line.split()[:2]))
    for line in (Path(__file__).with_name("seeds.txt")).read_text().splitlines()
    if line and not line.startswith("#")
]


@pytest.mark.parametrize(("seed", "steps"), SEEDS)
def test_a_seed_that_failed_once(seed: int, steps: int) -> None:
    play_in_memory(seed, steps)


def runs(run_seed: int, count: int) -> None:
    """`count` seeds drawn from the seed of this run, and more until every refusal of every operation was met."""
    coverage = Coverage()
    dice = random.Random(run_seed)
    for number in itertools.count(1):
        play_in_memory(dice.getrandbits(32), STEPS, coverage)
        if number >= count and (number > 20 * count or not coverage.missing()):
            break
    print(f"{sum(coverage.seen.values())} steps, {len(coverage.seen)} pairs of operation and outcome")
    assert coverage.surprising() == []
    assert coverage.missing() == []


def test_rules_agree_with_the_model_and_reach_every_refusal(run_seed: int) -> None:
    runs(run_seed, 300)


@pytest.mark.nightly
@pytest.mark.parametrize("part", range(50))
def test_rules_agree_with_the_model_for_five_million_steps(part: int, run_seed: int) -> None:
    runs(run_seed + 1 + part, 100_000 // STEPS)


def test_a_run_is_determined_by_its_seed(run_seed: int) -> None:
    """The same seed makes the same journal, and the journal the same snapshot, byte for byte (I3)."""
    first, second = play_in_memory(run_seed, STEPS), play_in_memory(run_seed, STEPS)
    assert isinstance(first, Memory)
    assert first.journal == second.journal
    assert first.account().dump() == second.account().dump()


def stored_runs(engine: Engine, url: str, seed: int, count: int, steps: int) -> None:
    """`count` organizations, one after another in one database; afterwards `verify` finds nothing."""
    coverage = Coverage()
    catalog = stage(seed).memory.catalog
    with World(engine, url, catalog) as world:
        for number in range(count):
            organization = next(world.names)
            workload = stage(seed + number, organization)
            workload.memory.catalog = catalog
            trio = Trio(Stored(world, organization), catalog, coverage)
            try:
                (play_bursts if number % 2 else play)(trio, workload, steps)
            except Exception as failure:
                failure.add_note(f"organization {number} of seed {seed} on {engine}")
                raise
        world.verify()
    assert coverage.surprising() == []


def play_bursts(trio: Trio, workload: Workload, count: int) -> None:
    """Steps sent together, so that one batch decides them, and compared one by one in that order."""
    till = trio.till
    assert isinstance(till, Stored)
    dice = workload.memory.dice
    while workload.count < count:
        steps = [workload.next() for _ in range(1 + dice.randrange(6))]
        now = max(steps[0].now, till.time())
        replies, entries = till.submit_all([step.envelope for step in steps], now)
        trio.auditor.post_all(entries)
        if not trio.naive.book.simulated:
            trio.naive.book.now = now
        for step, reply in zip(steps, replies, strict=True):
            trio.coverage.mark(step.envelope.command, reply)
            # A change of plan may push an account's time on by a millisecond (I12).
            compare_reply(trio.naive.submit(step.envelope, max(now, trio.naive.book.now)), reply)
            workload.seen(step, reply)
        trio.compare_notes(entries)
        trio.compare_accounts()


def place(engine: Engine, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """Where the database is."""
    if engine == "sqlite":
        return str(tmp_path / "till.db")
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.mark.parametrize("engine", ENGINES)
def test_engines_agree_with_the_model(
    engine: Engine, run_seed: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    stored_runs(engine, place(engine, tmp_path, request), run_seed, 10 if engine == "sqlite" else 6, 100)


@pytest.mark.nightly
@pytest.mark.parametrize("engine", ENGINES)
def test_engines_agree_with_the_model_for_long(
    engine: Engine, run_seed: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    stored_runs(engine, place(engine, tmp_path, request), run_seed + 1, 1_000, STEPS)
