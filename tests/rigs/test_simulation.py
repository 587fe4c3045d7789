"""Deterministic simulation: whole lives of the till, each from one seed (see `rig_sim`).

Invariants 1 to 6 of the design; I1 to I10 and I12 of the test plan. R-LED-1, R-LED-2, R-LED-3, R-LED-4, R-LED-5,
R-LED-9, R-PLAN-4, R-LIC-1, R-LIC-3.
"""

import time
from collections import Counter
from pathlib import Path

import apsw
import pytest

from tests.support import rig_sim as sim
from tests.support.rig_processes import Channel, Processes
from tokentill.lab.auditor import Violation as BooksDiffer
from tokentill.rules.evolve import Misfit

SEEDS = 200
FAILED_BEFORE = (3012663385, 1790828508, 526402584, 2759345729)
"""Seeds that once showed a violation; they are lived through every time."""
PARTS = 4
DAYS_A_MINUTE_MIN = 30


def live_all(seeds: range, folder: Path, kind: type[sim.SimLedger] = sim.SimLedger) -> Counter[str]:
    """Live through all seeds; what happened in them, counted."""
    total: Counter[str] = Counter()
    for seed in seeds:
        world = sim.World(seed, folder, kind=kind)
        try:
            world.live()
        except BaseException as trouble:
            trouble.add_note(f"seed {seed}")
            raise
        finally:
            world.path.unlink()
        total += world.seen
        total["seeds"] += 1
    return total


def report(total: Counter[str], seconds: float) -> str:
    days = total["milliseconds lived"] / 86_400_000
    return f"{days / seconds * 60:.0f} days a minute, {total['commands'] / seconds:.0f} commands/s, {dict(total)}"


@pytest.mark.parametrize("part", range(PARTS))
def test_two_hundred_lives(part: int, tmp_path: Path, run_seed: int) -> None:
    seeds = SEEDS // PARTS
    start = run_seed + part * seeds
    begun = time.monotonic()
    total = live_all(range(start, start + seeds), tmp_path)
    seconds = time.monotonic() - begun
    print(f"seeds from {start}: {report(total, seconds)}")
    assert total["milliseconds lived"] / 86_400_000 / seconds * 60 > DAYS_A_MINUTE_MIN


@pytest.mark.parametrize("seed", FAILED_BEFORE)
def test_lives_that_went_wrong_before(seed: int, tmp_path: Path) -> None:
    live_all(range(seed, seed + 1), tmp_path)


@pytest.mark.nightly
@pytest.mark.parametrize("part", range(50))
def test_ten_thousand_lives(part: int, tmp_path: Path, run_seed: int) -> None:
    start = run_seed + SEEDS + part * 200
    begun = time.monotonic()
    total = live_all(range(start, start + 200), tmp_path)
    print(f"seeds from {start}: {report(total, time.monotonic() - begun)}")


@pytest.mark.parametrize("kind", [sim.KeepsWhatFailed, sim.KeepsWhatStoodOnIt, sim.AnswersEarly])
def test_a_planted_fault_is_found(kind: type[sim.SimLedger], tmp_path: Path, run_seed: int) -> None:
    caught = (sim.Violation, BooksDiffer, Misfit, AssertionError, apsw.ConstraintError)
    with pytest.raises(caught) as found:
        live_all(range(run_seed, run_seed + SEEDS), tmp_path, kind)
    print(f"{kind.__name__}: {found.value}, {found.value.__notes__}")


def live_elsewhere(channel: Channel, *, seed: int, folder: str) -> None:
    """In another process, where sets are in another order and clocks stand elsewhere."""
    world = sim.World(seed, Path(folder)).live()
    channel.write({"digest": world.digest, "seen": world.seen})


def test_a_seed_is_a_life(processes: Processes, tmp_path: Path, run_seed: int) -> None:
    """The same seed gives the same journal to the last link, in this process and in another."""
    for seed in range(run_seed, run_seed + 5):
        world = sim.World(seed, tmp_path).live()
        elsewhere = tmp_path / str(seed)
        elsewhere.mkdir()
        child = processes.start(live_elsewhere, seed=seed, folder=str(elsewhere))
        assert child.channel.read() == {"digest": world.digest, "seen": world.seen}, processes.errors()
        child.close()
