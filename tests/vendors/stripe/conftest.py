"""The official SDK over a real socket to the lab, and orders to send through it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.stripe import T0, Desk, Watch
from tokentill.lab.stripe import StripeLab, serving
from tokentill.vendors.stripe import StripePayments


@pytest.fixture
def clock() -> Watch:
    return Watch(T0)


@pytest.fixture
def lab(clock: Watch) -> StripeLab:
    return StripeLab(clock)


@pytest.fixture
async def desk(lab: StripeLab, clock: Watch) -> AsyncIterator[Desk]:
    endpoint: dict[str, Any] = lab.listen("http://127.0.0.1:9/stripe")
    async with serving(lab) as base:
        payments = StripePayments(lab.key, [endpoint["secret"]], clock, base=base, retries_max=0)
        yield Desk(lab, payments, clock, base, endpoint["secret"])
        await payments.close()
