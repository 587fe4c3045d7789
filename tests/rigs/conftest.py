"""What the rigs share."""

from collections.abc import Iterator

import pytest

from tests.support.rig_processes import Processes
from tests.support.rig_store import snapshot_often


@pytest.fixture(autouse=True)
def _snapshots(monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot_often(monkeypatch.setattr)


@pytest.fixture(scope="module")
def processes() -> Iterator[Processes]:
    """Real processes, quickly made."""
    with Processes() as processes:
        yield processes
        errors = processes.errors()
    if errors:
        print(errors)
