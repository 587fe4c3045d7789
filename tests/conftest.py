"""What every test may ask for, and how a run is made repeatable."""

import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.support import postgres, run

SEED_VARIABLE = "TOKENTILL_TEST_SEED"

hypothesis.settings.register_profile(
    "ci",
    max_examples=100,
    deadline=None,  # a busy machine is not a failing test
    print_blob=True,
)
hypothesis.settings.register_profile(
    "nightly",
    parent=hypothesis.settings.get_profile("ci"),
    max_examples=5_000,
    stateful_step_count=200,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--nightly", action="store_true", help="run the long versions of the tests too")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    controller = not hasattr(config, "workerinput")
    # Set before Hypothesis reads it. The workers of xdist inherit the environment, not this option.
    if config.getoption("--hypothesis-seed") is None:
        drawn = random.SystemRandom().getrandbits(32) if controller else int(os.environ[SEED_VARIABLE])
        config.option.hypothesis_seed = drawn
        os.environ[SEED_VARIABLE] = str(drawn)
    if config.getoption("--hypothesis-profile") is None:
        profile = "nightly" if config.getoption("--nightly") else "ci"
        config.option.hypothesis_profile = profile
    run.join(controller=controller)


def pytest_unconfigure(config: pytest.Config) -> None:
    run.leave(controller=not hasattr(config, "workerinput"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--nightly"):
        return
    nightly = [item for item in items if item.get_closest_marker("nightly")]
    if nightly:
        config.hook.pytest_deselected(items=nightly)
        items[:] = [item for item in items if not item.get_closest_marker("nightly")]


def pytest_report_header(config: pytest.Config) -> str:
    return f"seed {config.option.hypothesis_seed}, commit {_commit()}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if terminalreporter.stats.get("failed") or terminalreporter.stats.get("error"):
        seed = config.option.hypothesis_seed
        terminalreporter.write_line(f"Repeat with --hypothesis-seed={seed} on commit {_commit()}")


def _commit() -> str:
    """The commit under test, with a + when files differ from it."""
    command = ["git", "describe", "--always", "--dirty=+", "--exclude=*", "--abbrev=12"]
    answer = subprocess.run(
        command,
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    return answer.stdout.strip() or "unknown"


@pytest.fixture(scope="session")
def run_seed(pytestconfig: pytest.Config) -> int:
    """The seed of this run, for random tests that do not use Hypothesis; printed in the header."""
    seed = pytestconfig.option.hypothesis_seed
    return int(seed) if str(seed).isdigit() else random.Random(str(seed)).getrandbits(32)


@pytest.fixture(scope="session")
def postgres_server() -> postgres.Server:
    """The PostgreSQL of this run, started by whichever worker asks first. It fails, it never skips."""
    return postgres.shared_server()


@pytest.fixture
def postgres_url(postgres_server: postgres.Server) -> Iterator[str]:
    """The URL of an empty database of the test's own."""
    database = postgres_server.create_database()
    yield postgres_server.url(database)
    postgres_server.drop_database(database)


@pytest.fixture
def postgres_cluster() -> Iterator[postgres.Cluster]:
    """A started PostgreSQL of the test's own, to stop, kill and start again."""
    with postgres.private_cluster() as cluster:
        yield cluster
