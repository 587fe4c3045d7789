"""Every change happens once under its key, however often it is sent (R-LED-9)."""

import asyncio
from typing import Any

import pytest

from tests.web.conftest import SECRET, START, Till
from tokentill.rules.chain import operation_id
from tokentill.rules.commands import Charge, Envelope
from tokentill.web.routes import ROUTES

ORG = "/v1/organizations/acme"
GOAL = {"feature": "generate_goal", "user": "maria"}

ONCE: dict[str, tuple[str, dict[str, Any]]] = {
    "openOrganization": ("/v1/organizations", {"id": "other"}),
    "reserve": (f"{ORG}/holds", GOAL),
    "charge": (f"{ORG}/charges", GOAL),
    "grant": (f"{ORG}/grants", {"tokens": 5}),
    "adjust": (f"{ORG}/adjustments", {"tokens": -5, "reason": "counted twice"}),
    "freeze": (f"{ORG}/freeze", {"failed_at": START}),
    "changePlan": (f"{ORG}/plan", {"plan": "enterprise"}),
    "reset": (f"{ORG}/reset", {}),
    "setCap": (f"{ORG}/cap", {"cap": 500}),
    "review": (f"{ORG}/reviews", {"hold": "lost", "tokens": 3, "reason": "the database was away"}),
}
BY_OPERATION = {"settle", "release", "extend", "refund"}
"""Named by the operation in their path."""
ELSEWHERE = {"restore", "unblock", "createOperatorKey", "revokeOperatorKey", "eraseUser"}
"""Tested below, or where their own tests are."""


def test_every_route_that_changes_something_is_tested() -> None:
    own = [route for route in ROUTES if route.trade is None and not route.raw]
    assert {route.name for route in own if route.mutates} == set(ONCE) | BY_OPERATION | ELSEWHERE
    assert {
        route.name
        for route in ROUTES
        if route.method not in ("GET", "HEAD") and not route.mutates and not route.raw
    } == set()


@pytest.mark.parametrize("name", ONCE)
async def test_the_first_answer_comes_again_byte_for_byte(each_till: Till, name: str) -> None:
    # R-LED-9
    path, body = ONCE[name]
    each_till.clock.pass_ms(1)
    first = await each_till.ask("POST", path, body, key="once")
    assert first.status in (200, 201), first.raw
    assert "Idempotent-Replayed" not in first.headers
    entries = await each_till.entries()
    each_till.clock.pass_ms(60_000)
    again = await each_till.ask("POST", path, body, key="once")
    assert (again.status, again.raw) == (first.status, first.raw)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert await each_till.entries() - entries in (0, 1)  # a hold may have fallen due meanwhile


@pytest.mark.parametrize("name", [name for name in ONCE if name not in ("openOrganization", "reset")])
async def test_the_same_key_with_another_body_is_refused(till: Till, name: str) -> None:
    # R-LED-9
    path, body = ONCE[name]
    await till.done("POST", path, body, key="once")
    entries = await till.entries()
    other = {
        "reserve": {**GOAL, "user": "bob"},
        "charge": {**GOAL, "user": "bob"},
        "grant": {"tokens": 6},
        "adjust": {"tokens": -6, "reason": "counted twice"},
        "freeze": {"failed_at": START - 1},
        "changePlan": {"plan": "starter"},
        "setCap": {"cap": None},
        "review": {"hold": "lost", "tokens": 4, "reason": "the database was away"},
    }[name]
    reply = await till.ask("POST", path, other, key="once")
    assert (reply.status, reply.code) == (422, "key_reused")
    assert await till.entries() == entries


async def test_a_key_of_one_command_is_not_good_for_another(till: Till) -> None:
    # R-LED-9
    await till.done("POST", f"{ORG}/charges", GOAL, key="once")
    reply = await till.ask("POST", f"{ORG}/holds", GOAL, key="once")
    assert (reply.status, reply.code) == (422, "key_reused")


async def test_a_key_belongs_to_its_organization(till: Till) -> None:
    await till.done("POST", "/v1/organizations", {"id": "other", "plan": "pro"})
    first = await till.done("POST", f"{ORG}/charges", GOAL, key="once")
    second = await till.done("POST", "/v1/organizations/other/charges", GOAL, key="once")
    assert (first["balance"], second["balance"]) == (197, 197)


async def test_a_hundred_at_once_are_one(each_till: Till) -> None:
    # R-LED-9
    replies = await asyncio.gather(
        *(each_till.ask("POST", f"{ORG}/charges", GOAL, key="once") for _ in range(100))
    )
    assert {reply.status for reply in replies} == {201}
    assert len({reply.raw for reply in replies}) == 1
    assert sum("Idempotent-Replayed" not in reply.headers for reply in replies) == 1
    assert (await each_till.done("GET", f"{ORG}/balance"))["used"] == 3


async def test_how_an_operation_ended_is_told_again(each_till: Till) -> None:
    # R-LED-9
    await each_till.done("POST", f"{ORG}/holds", GOAL, key="job-1")
    settle = f"{ORG}/holds/job-1/settle"
    first = await each_till.ask("POST", settle, {"tokens": 2})
    again = await each_till.ask("POST", settle, {"tokens": 2})
    assert (again.raw, again.headers.get("Idempotent-Replayed")) == (first.raw, "true")
    other = await each_till.ask("POST", settle, {"tokens": 1})
    assert (other.status, other.code) == (409, "hold_ended")
    released = await each_till.ask("POST", f"{ORG}/holds/job-1/release", {})
    assert (released.status, released.code) == (409, "hold_ended")
    refund = f"{ORG}/charges/job-1/refund"
    back = await each_till.ask("POST", refund, {"tokens": 2})
    assert (await each_till.ask("POST", refund, {"tokens": 2})).raw == back.raw
    extended = await each_till.ask("POST", f"{ORG}/holds/job-1/extend", {"timeout_ms": 1000})
    assert (extended.status, extended.code) == (409, "hold_ended")


async def test_a_refusal_to_charge_stays_and_a_wait_does_not(each_till: Till) -> None:
    # R-LED-9
    await each_till.done("POST", f"{ORG}/adjustments", {"tokens": -199, "reason": "to the last"})
    refused = await each_till.ask("POST", f"{ORG}/charges", GOAL, key="late")
    assert (refused.status, refused.code) == (402, "exhausted")
    await each_till.done("POST", f"{ORG}/grants", {"tokens": 100})
    each_till.clock.pass_ms(10_000)
    again = await each_till.ask("POST", f"{ORG}/charges", GOAL, key="late")
    assert (again.status, again.raw) == (402, refused.raw)
    each_till.clock.pass_ms(10_000)
    await each_till.done("POST", f"{ORG}/charges", GOAL, key="new")
    soon = await each_till.ask("POST", f"{ORG}/charges", GOAL, key="soon")
    assert (soon.status, soon.headers["Retry-After"]) == (429, "3")
    each_till.clock.pass_ms(3_000)
    assert (await each_till.ask("POST", f"{ORG}/charges", GOAL, key="soon")).status == 201


async def test_restore_and_unblock_happen_once(till: Till) -> None:
    # R-LED-9
    await till.done("POST", f"{ORG}/freeze", {})
    first = await till.ask("POST", f"{ORG}/restore", {}, key="paid")
    assert (await till.ask("POST", f"{ORG}/restore", {}, key="paid")).raw == first.raw
    for _ in range(5):
        await till.ask("POST", f"{ORG}/charges", {**GOAL, "quantity": 50})
    lifted = await till.ask("POST", f"{ORG}/users/maria/unblock", {"reason": "mended"}, key="lift")
    again = await till.ask("POST", f"{ORG}/users/maria/unblock", {"reason": "mended"}, key="lift")
    assert (lifted.status, again.raw) == (200, lifted.raw)


@pytest.mark.parametrize("sent", ["a1b2", '"a1b2"'])
async def test_a_key_may_stand_in_quotes(till: Till, sent: str) -> None:
    first = await till.done("POST", f"{ORG}/charges", GOAL, key="a1b2")
    again = await till.ask("POST", f"{ORG}/charges", GOAL, key=sent)
    assert again.json == first
    assert again.headers["Idempotent-Replayed"] == "true"


async def test_a_uuid_is_its_own_operation(till: Till) -> None:
    uuid = "01890a5d-ac96-774b-bcce-b302099a8057"
    held = await till.done("POST", f"{ORG}/holds", GOAL, key=uuid.upper())
    assert held["operation"] == uuid.replace("-", "")
    # The library names the same operation in the same way, so it may go on where HTTP began.
    again = Envelope("acme", Charge(feature="generate_goal"), operation_id(SECRET, uuid), keyed=True)
    reply = await till.ledger.submit(again)
    assert getattr(reply, "code", None) == "key_reused"
