"""Every refusal has its status, its title and its fields (R-PLAN-7, R-ABU-7)."""

import msgspec
import pytest

from tests.web.conftest import Till
from tokentill.rules.refusals import RETRYABLE, Code, Refusal, WayOut
from tokentill.web import problems

ORG = "/v1/organizations/acme"
GOAL = {"feature": "generate_goal", "user": "maria"}


@pytest.mark.parametrize("code", Code)
def test_every_refusal_has_a_status_and_a_title(code: Code) -> None:
    # R-ABU-7
    answer = problems.of_refusal(Refusal(code, "What happened. What to do."))
    problem = msgspec.json.decode(answer.body)
    assert problem["type"] == f"urn:tokentill:problem:{code}"
    assert problem["title"] == problems.TITLES[code]
    assert problem["status"] == answer.status == problems.STATUS[code]
    assert problem["layer"]
    assert dict(answer.headers).get(b"retry-after") == (b"1" if answer.status == 429 else None)


def test_waiting_is_429_paying_is_402_and_nothing_else_is() -> None:
    # R-PLAN-7, R-ABU-7
    assert {code for code, status in problems.STATUS.items() if status == 429} == RETRYABLE
    assert {code for code, status in problems.STATUS.items() if status == 402} == {
        Code.NO_PLAN,
        Code.KEY_LIMIT,
        Code.EXHAUSTED,
        Code.SPENDING_CAP,
        Code.PAYMENT_FAILED,
        Code.PAYMENT_DECLINED,
    }


def test_every_code_has_a_title() -> None:
    assert set(problems.TITLES) >= set(Code)
    assert set(problems.STATUS) == set(Code)


@pytest.mark.parametrize(
    ("milliseconds", "seconds"), [(0, b"1"), (1, b"1"), (1000, b"1"), (1001, b"2"), (2999, b"3")]
)
def test_retry_after_is_rounded_up(milliseconds: int, seconds: bytes) -> None:
    # R-ABU-7
    assert problems.retry_after(milliseconds) == (b"retry-after", seconds)


def test_a_refusal_loses_nothing_on_its_way() -> None:
    # R-PLAN-7
    refusal = Refusal(
        Code.EXHAUSTED,
        "m",
        "failed",
        5,
        "h",
        "d",
        1,
        2,
        3,
        4,
        "/buy",
        (WayOut("wait", "Wait 3 days", days=3),),
    )
    problem = msgspec.json.decode(problems.of_refusal(refusal).body)
    kept = {problem.get(name) for name in ("detail", "filed", "headline", "about", "purchase_link")}
    assert kept == {"m", "failed", "h", "d", "/buy"}
    assert [problem[name] for name in ("retry_after_ms", "balance", "needed", "held", "reset_at")] == [
        5,
        1,
        2,
        3,
        4,
    ]
    assert problem["ways_out"] == [{"kind": "wait", "label": "Wait 3 days", "days": 3}]


async def test_at_exhaustion_the_caller_gets_every_way_out_with_its_price(each_till: Till) -> None:
    # R-PLAN-7
    await each_till.done("POST", f"{ORG}/adjustments", {"tokens": -198, "reason": "nearly all"})
    reply = await each_till.ask("POST", f"{ORG}/holds", GOAL)
    assert (reply.status, reply.code) == (402, "exhausted")
    problem = reply.json
    assert problem["headline"] == "You've used all your tokens"
    assert problem["detail"] == "You've reached your limit. Upgrade or purchase credits."
    assert (problem["balance"], problem["needed"], problem["layer"]) == (2, 3, "balance")
    assert problem["purchase_link"] == "/account/buy-credits"
    assert "Retry-After" not in reply.headers
    ways = {way["kind"]: way for way in problem["ways_out"]}
    assert ways["upgrade"]["label"] == "Upgrade to Enterprise ($399/mo)"
    assert "Buy 500 tokens ($29)" in {way["label"] for way in problem["ways_out"]}
    assert ways["wait"]["days"] > 0
    assert [way.get("price") for way in problem["ways_out"]] == [2900, 7900, 39900, None]


async def test_tokens_that_are_only_held_mean_wait_and_not_pay(each_till: Till) -> None:
    # R-PLAN-7, R-ABU-7
    await each_till.done("POST", f"{ORG}/adjustments", {"tokens": -197, "reason": "nearly all"})
    await each_till.done("POST", f"{ORG}/holds", GOAL)
    reply = await each_till.ask("POST", f"{ORG}/holds", {**GOAL, "user": "bob"})
    assert (reply.status, reply.code, reply.headers["Retry-After"]) == (429, "tokens_held", "1")


async def test_a_plan_without_the_feature(each_till: Till) -> None:
    # R-PLAN-7
    await each_till.done("POST", "/v1/organizations", {"id": "free"})
    reply = await each_till.ask("POST", "/v1/organizations/free/charges", GOAL)
    assert (reply.status, reply.code, reply.json["layer"]) == (403, "not_in_plan", "plan")
    await each_till.done("POST", "/v1/organizations", {"id": "none", "plan": None})
    reply = await each_till.ask("POST", "/v1/organizations/none/charges", GOAL)
    assert (reply.status, reply.code, reply.json["layer"]) == (402, "no_plan", "plan")


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("/v1/organizations/nobody/holds", GOAL, "unknown_organization"),
        ("/v1/organizations/nobody/grants", {"tokens": 1}, "unknown_organization"),
        (f"{ORG}/holds", {"feature": "nothing"}, "unknown_feature"),
        (f"{ORG}/plan", {"plan": "nothing"}, "unknown_plan"),
        ("/v1/organizations", {"id": "x", "plan": "nothing"}, "unknown_plan"),
        (f"{ORG}/holds/nothing/settle", {}, "unknown_hold"),
        (f"{ORG}/holds/nothing/release", {}, "unknown_hold"),
        (f"{ORG}/holds/nothing/extend", {"timeout_ms": 1}, "unknown_hold"),
        (f"{ORG}/charges/nothing/refund", {}, "unknown_operation"),
    ],
)
async def test_what_is_unknown_is_404(till: Till, path: str, body: dict[str, object], code: str) -> None:
    reply = await till.ask("POST", path, body)
    assert (reply.status, reply.code) == (404, code)


@pytest.mark.parametrize(
    "path", ["", "/balance", "/journal", "/features", "/checks?feature=a", "/operations/x"]
)
async def test_an_unknown_organization_has_nothing_to_read(till: Till, path: str) -> None:
    reply = await till.ask("GET", f"/v1/organizations/nobody{path}")
    assert (reply.status, reply.code) == (404, "unknown_organization")


async def test_more_than_there_is(each_till: Till) -> None:
    await each_till.done("POST", f"{ORG}/holds", GOAL, key="job")
    reply = await each_till.ask("POST", f"{ORG}/holds/job/settle", {"tokens": 4})
    assert (reply.status, reply.code) == (422, "exceeds_hold")
    await each_till.done("POST", f"{ORG}/holds/job/settle", {})
    reply = await each_till.ask("POST", f"{ORG}/charges/job/refund", {"tokens": 4})
    assert (reply.status, reply.code) == (422, "exceeds_charge")
