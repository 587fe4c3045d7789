"""An hour of real traffic through the endpoint: what is charged is what the arithmetic says (R-SALE-5, R-LED-3)."""

import asyncio
from itertools import count
from pathlib import Path

import pytest

from tests.support.gateways import Gateway, Reply, running_gateway
from tokentill.flows.reconcile import reconcile
from tokentill.lab.trace import Line, hour, minutes
from tokentill.rules.reconciling import Reconciliation

INPUT, OUTPUT = 37, 113
"""Prices of 1,000 tokens that leave a rest in most calls, so that each call's rounding shows."""
CATALOG = f"""
name = "trace"

[no_plan]
features = "all"

[features.tokens]
title = "Model tokens"
metered = true
input_per_1000 = {INPUT}
output_per_1000 = {OUTPUT}

[upstreams.lab]
base_url = "{{lab}}"
key_env = "LAB_KEY"

[models.big]
feature = "tokens"
upstreams = ["lab:big-there"]
first_byte_ms = {{first_byte_ms}}
total_ms = {{total_ms}}
output_tokens_max = 4096

[abuse]
tokens_per_request_max = "off"
requests_per_minute_max = "off"
spacing_ms_min = "off"
output_tokens_max = "off"
burn_alert_tokens_per_hour = "off"
burn_alert_percent_of_allowance = "off"
attempts_max = "off"
"""
TOKENS = 10_000_000
AT_ONCE = 32
STREAMED_EVERY = 10


def price(line: Line) -> int:
    """What a call costs: both counts at their price, rounded up once."""
    return -(-(line.read * INPUT + line.written * OUTPUT) // 1000)


async def replay(gateway: Gateway, lines: tuple[Line, ...]) -> list[Reply]:
    """Each call of the trace, of as many words as it had tokens; the answers in the same order."""
    replies: dict[int, Reply] = {}
    left = zip(count(), lines, strict=False)

    async def worker() -> None:
        for number, line in left:
            text = f"answer={line.written}" + " word" * (line.read - 1)
            replies[number] = await gateway.chat(text, stream=number % STREAMED_EVERY == 0)

    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
    return [replies[number] for number in range(len(lines))]


@pytest.mark.parametrize("whole", [False, pytest.param(True, marks=pytest.mark.nightly)])
async def test_the_sum_charged_is_the_arithmetic(tmp_path: Path, whole: bool) -> None:
    lines = hour() if whole else minutes(0, 1)
    if whole:
        figures = (len(lines), sum(one.read for one in lines), sum(one.written for one in lines))
        assert figures == (19_366, 22_361_870, 4_088_665)
    database = str(tmp_path / "till.db")
    async with running_gateway(tmp_path, database, catalog=CATALOG, first_byte_ms=60_000, total_ms=120_000,
                               tokens=TOKENS) as gateway:  # fmt: skip
        replies = await replay(gateway, lines)
        assert {reply.status for reply in replies} == {200}
        assert [reply.receipt["charged"] for reply in replies] == [price(line) for line in lines]
        account = await gateway.quiet()
        assert account.free == TOKENS - sum(map(price, lines))
        newest = account.state.time
        found = await reconcile(gateway.ledger, newest - 3_600_000, newest + 1, by=["model"])
        assert isinstance(found, Reconciliation)
        assert found.fits
        total = found.total
        assert (total.calls, total.charged_calls) == (len(lines), len(lines))
        assert (total.read, total.written) == (
            sum(one.read for one in lines),
            sum(one.written for one in lines),
        )
        assert total.charged == total.cost == sum(map(price, lines))
        assert not (await gateway.ledger.verify()).findings
