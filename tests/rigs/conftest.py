"""What the rigs share."""

from collections.abc import Iterator

import pytest

from tests.support.rig_processes import Processes


@pytest.fixture(scope="module")
def processes() -> Iterator[Processes]:
    """Real processes, quickly made."""
    with Processes() as processes:
        yield processes
        errors = processes.errors()
    if errors:
        print(errors)
