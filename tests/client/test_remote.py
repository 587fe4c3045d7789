"""What is particular to HTTP: answers that are no till's, keys, retries (R-LED-9, R-PLAN-7)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import aiohttp.web
import pytest

from tests.client.conftest import world_of
from tests.support.flaky import INSIST
from tokentill.client import Fault, NotAllowed, NotHere, StoreDown, Till
from tokentill.client.errors import Refused
from tokentill.client.remote import Remote
from tokentill.rules import commands as c
from tokentill.rules.refusals import Code, Refusal, WayOut
from tokentill.web import problems

Answer = Callable[[aiohttp.web.Request], Awaitable[aiohttp.web.StreamResponse]]


@asynccontextmanager
async def answering(
    *answers: Answer | aiohttp.web.Response,
) -> AsyncIterator[tuple[str, list[aiohttp.web.Request]]]:
    """A server that gives these answers in turn, the last one for ever; its address, and what it was asked."""
    asked: list[aiohttp.web.Request] = []

    async def answer(base: aiohttp.web.BaseRequest) -> aiohttp.web.StreamResponse:
        request = cast("aiohttp.web.Request", base)
        asked.append(request)
        one = answers[min(len(asked), len(answers)) - 1]
        if isinstance(one, aiohttp.web.Response):
            return aiohttp.web.Response(status=one.status, body=one.body, headers=one.headers)
        return await one(request)

    runner = aiohttp.web.ServerRunner(aiohttp.web.Server(answer))
    await runner.setup()
    site = aiohttp.web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield site.name, asked
    finally:
        await runner.cleanup()


def problem(status: int, code: str, **headers: str) -> aiohttp.web.Response:
    body = f'{{"type": "x", "title": "x", "status": {status}, "code": "{code}", "detail": "It is {code}."}}'
    return aiohttp.web.Response(
        status=status, text=body, content_type="application/problem+json", headers=headers
    )


RECEIPT = '{"operation": "0", "kind": "grant", "tokens": 5, "balance": 5, "held": 0, "entry": 1, "time": 0}'
GRANTED = aiohttp.web.Response(status=201, text=RECEIPT)


async def drops(request: aiohttp.web.Request) -> aiohttp.web.StreamResponse:
    """Break the connection instead of answering."""
    assert request.transport is not None
    request.transport.abort()
    return aiohttp.web.Response()


@pytest.mark.parametrize(
    "lost",
    [
        pytest.param(drops, id="connection lost"),
        pytest.param(problem(503, "store_unavailable"), id="503 of the till"),
        pytest.param(aiohttp.web.Response(status=502, text="<html>"), id="502 of a proxy"),
        pytest.param(aiohttp.web.Response(status=504), id="504 of a proxy"),
    ],
)
async def test_what_may_have_been_stored_is_sent_again_under_the_same_key(
    lost: Answer | aiohttp.web.Response, tmp_path: Path
) -> None:
    """R-LED-9, pitfall 11."""
    async with (
        answering(lost, lost, GRANTED) as (url, asked),
        Till.connect(url, "tt_op_x", spool=tmp_path, retry=INSIST) as till,
    ):
        assert (await till.grant("acme", 5)).tokens == 5
    keys = {request.headers["Idempotency-Key"] for request in asked}
    assert len(asked) == 3
    assert len(keys) == 1
    assert len(keys.pop()) == 32


async def test_a_server_that_asks_for_time_gets_it(tmp_path: Path) -> None:
    """R-ABU-7: no try before `Retry-After` is over."""
    busy = problem(503, "overloaded", **{"Retry-After": "7"})
    async with answering(busy) as (url, asked):
        remote = Remote(url, None)
        with pytest.raises(StoreDown) as down:
            await remote.submit(c.Envelope("acme", c.Grant(tokens=5), "0" * 32))
        await remote.close()
    assert down.value.retry_after_ms == 7_000
    assert "overloaded" in str(down.value)
    assert len(asked) == 1


@pytest.mark.parametrize("code", ["unauthorized", "too_many_wrong_keys"])
async def test_a_key_that_is_not_taken(code: str, tmp_path: Path) -> None:
    """R-SALE-8."""
    async with (
        answering(problem(401, code)) as (url, asked),
        Till.connect(url, "tt_op_x", spool=tmp_path, retry=INSIST) as till,
    ):
        with pytest.raises(NotAllowed, match=code):
            await till.balance("acme")
    assert len(asked) == 1


@pytest.mark.parametrize(
    "strange",
    [
        pytest.param(problem(500, "internal_error"), id="a bug of the till"),
        pytest.param(aiohttp.web.Response(status=200, text="<html>hello</html>"), id="another server"),
        pytest.param(aiohttp.web.Response(status=200, text='{"plan": 1}'), id="another shape"),
        pytest.param(aiohttp.web.Response(status=404, text="not found"), id="another path"),
        pytest.param(problem(404, "not_found"), id="a till of another version"),
    ],
)
async def test_an_answer_that_is_no_tills_is_a_fault(strange: aiohttp.web.Response, tmp_path: Path) -> None:
    async with (
        answering(strange) as (url, asked),
        Till.connect(url, "tt_op_x", spool=tmp_path, retry=INSIST) as till,
    ):
        with pytest.raises(Fault):
            await till.balance("acme")
        with pytest.raises(Fault):
            await till.grant("acme", 5)
    assert len(asked) == 2, "and it is not asked again"


async def test_a_redirect_is_not_followed(tmp_path: Path) -> None:
    """The operator key goes nowhere else."""
    async with answering(GRANTED) as (elsewhere, asked):
        there = aiohttp.web.Response(status=307, headers={"Location": elsewhere})
        async with (
            answering(there) as (url, _),
            Till.connect(url, "tt_op_x", spool=tmp_path, retry=INSIST) as till,
        ):
            with pytest.raises(Fault):
                await till.grant("acme", 5)
    assert asked == []


@pytest.mark.parametrize("url", ["", "127.0.0.1:8420", "ftp://host", "http://"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="is no address of a till"):
        Till.connect(url)


@pytest.mark.parametrize(("url", "warned"), [("http://example.org", True), ("http://127.0.0.1:1", False)])
async def test_a_key_sent_in_the_clear_is_warned_of(
    url: str, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    Remote(url, "tt_op_canary")
    assert ("without encryption" in caplog.text) == warned
    assert "canary" not in caplog.text


async def test_an_address_may_have_a_path(tmp_path: Path) -> None:
    async with (
        answering(GRANTED) as (url, asked),
        Till.connect(f"{url}/till/", "tt_op_x", spool=tmp_path, retry=INSIST) as till,
    ):
        await till.grant("a/b", 5)
    assert asked[0].raw_path == "/till/v1/organizations/a%2Fb/grants"


async def test_what_only_the_server_may_say_is_not_sent() -> None:
    """R-LED-10: neither who acts, nor other limits, nor a balance."""
    bodies = []

    async def keep(request: aiohttp.web.Request) -> aiohttp.web.StreamResponse:
        bodies.append(await request.json())
        return aiohttp.web.Response(status=201, text=RECEIPT)

    async with answering(keep) as (url, _):
        remote = Remote(url, "tt_op_x")
        await remote.submit(c.Envelope("acme", c.Adjust(tokens=5, reason="r", actor="me"), "0" * 32))
        await remote.submit(c.Envelope("acme", c.Open(plan=None), "1" * 32))
        await remote.submit(c.Envelope("acme", c.Open(), "2" * 32))
        await remote.close()
    assert bodies == [{"tokens": 5, "reason": "r"}, {"id": "acme", "plan": None}, {"id": "acme"}]


async def test_what_cannot_be_done_from_afar_is_said(tmp_path: Path) -> None:
    remote = Remote("http://127.0.0.1:9", None)
    with pytest.raises(NotHere):
        await remote.verify()
    with pytest.raises(NotHere):
        await remote.submit(c.Envelope("acme", c.Tick(), "0" * 32))


@pytest.mark.parametrize("code", Code)
async def test_every_refusal_comes_back_as_it_went(code: Code, tmp_path: Path) -> None:
    """R-PLAN-7, R-ABU-7: through the till's own problems."""
    way = WayOut(
        "pack", "Buy 500 tokens ($29)", id="p", tokens=500, price=2900, currency="USD", per_token="$0.058"
    )
    refusal = Refusal(
        code,
        "What it means.",
        status="fraud_flagged",
        retry_after_ms=1500,
        headline="A headline",
        detail="tokens",
        balance=0,
        needed=3,
        held=1,
        reset_at=7,
        purchase_link="/buy",
        ways_out=(way,),
    )
    sent = problems.of_refusal(refusal)
    answer = aiohttp.web.Response(status=sent.status, body=sent.body, content_type="application/problem+json")
    async with (
        answering(answer) as (url, _),
        Till.connect(url, "tt_op_x", spool=tmp_path, retry=INSIST) as till,
    ):
        with pytest.raises(Refused) as refused:
            await till.grant("acme", 5)
    assert refused.value.refusal == refusal


async def test_a_hold_asks_the_catalog_for_its_time_once(tmp_path: Path) -> None:
    """R-LED-3: the feature's own timeout, over HTTP too."""
    async with world_of("http", str(tmp_path / "till.db"), tmp_path / "spool") as world:
        for user in ("u1", "u2"):
            async with world.till.hold("acme", "generate_goal", user=user) as hold:
                assert hold.deadline == world.clock.time + 35_000
