"""How the demo's host behaves towards a till that is busy, fails, or does not know it."""

from collections.abc import Callable

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tokentill.lab.demo.tally import Tally
from tokentill.lab.demo.till import Answer, Refused, Till, TillTrouble

RECEIPT = {
    "operation": "ab" * 16,
    "kind": "hold",
    "tokens": 5,
    "balance": 95,
    "held": 5,
    "entry": 2,
    "time": 0,
}
Reply = Callable[[int], web.Response]


async def ask(reply: Reply) -> tuple[Answer | Refused, list[str | None], Tally]:
    """Reserve once from a till that answers its call number n with `reply(n)`; the keys it saw."""
    keys: list[str | None] = []

    async def handle(request: web.Request) -> web.Response:
        keys.append(request.headers.get("Idempotency-Key"))
        return reply(len(keys))

    app = web.Application()
    app.router.add_post("/v1/organizations/fig/holds", handle)
    tally = Tally(1)
    async with TestServer(app) as server, Till(str(server.make_url("/")), "key", tally, lambda: 0.0) as till:
        return await till.reserve("fig", "ann", "gpt-4", 5, 1_000, "request 1"), keys, tally


def problem(status: int, code: str, **fields: object) -> web.Response:
    return web.json_response(
        {"status": status, "code": code, "detail": f"it is {code}", **fields}, status=status
    )


async def test_a_busy_till_is_asked_again_under_the_same_key() -> None:
    """R-LED-9: what may have got lost is sent again under its key."""
    answer, keys, tally = await ask(
        lambda n: problem(503, "overloaded") if n < 3 else web.json_response(RECEIPT, status=201)
    )
    assert isinstance(answer, Answer)
    assert (answer.receipt.operation, answer.receipt.tokens, answer.replayed) == ("ab" * 16, 5, False)
    assert keys == ["request 1"] * 3
    assert (tally.calls, tally.tried_again) == (3, 2)


async def test_a_replayed_answer_says_so() -> None:
    answer, _, _ = await ask(
        lambda _: web.json_response(RECEIPT, status=201, headers={"Idempotent-Replayed": "true"})
    )
    assert isinstance(answer, Answer)
    assert answer.replayed


async def test_a_refusal_is_a_value_with_its_ways_out() -> None:
    """R-PLAN-7."""
    way = {"kind": "pack", "label": "Buy 500 tokens ($29)", "id": "small", "tokens": 500, "price": 2_900}
    answer, keys, _ = await ask(lambda _: problem(402, "exhausted", layer="balance", ways_out=[way]))
    assert isinstance(answer, Refused)
    assert (answer.status, answer.code, answer.detail) == (402, "exhausted", "it is exhausted")
    assert [(each.kind, each.id, each.tokens, each.price) for each in answer.ways_out] == [
        ("pack", "small", 500, 2_900)
    ]
    assert len(keys) == 1


@pytest.mark.parametrize(("status", "code"), [(401, "unauthorized"), (500, "internal_error")])
async def test_what_no_host_can_act_on_is_trouble(status: int, code: str) -> None:
    with pytest.raises(TillTrouble, match=rf"answered {status} to POST .*: it is {code}"):
        await ask(lambda _: problem(status, code))


async def test_trouble_without_a_problem_is_quoted() -> None:
    with pytest.raises(TillTrouble, match=r"answered 502 .*Bad Gateway"):
        await ask(lambda _: web.Response(status=502, text="<h1>Bad Gateway</h1>"))
