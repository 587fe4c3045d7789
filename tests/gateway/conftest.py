"""A till with an endpoint over an upstream of the lab."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.gateways import Gateway, running_gateway


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    """A till in memory, patient with its upstream."""
    async with running_gateway(tmp_path) as running:
        yield running


@pytest.fixture
async def brisk(tmp_path: Path) -> AsyncIterator[Gateway]:
    """A till in memory that waits half a second for a first byte and a second and a half for an answer."""
    async with running_gateway(tmp_path, first_byte_ms=500, total_ms=1_500) as running:
        yield running
