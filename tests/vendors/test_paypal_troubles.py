"""PayPal when it fails: lost answers, slow and broken ones, tokens that end, and what errors say.

Requirement ids: R-PACK-2, R-PACK-3, R-PLAT-1.
"""

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from tests.support.paypal_world import HOUR, HandClock, World, merged, only, opened
from tokentill.ports import VendorDown, VendorRefused
from tokentill.rules import happenings as h
from tokentill.rules.purchases import Purchase
from tokentill.vendors.paypal.client import request_id
from tokentill.vendors.paypal.provider import PayPal
from tokentill.vendors.paypal.refusals import translated
from tokentill.web.asgi import override


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with opened() as found:
        yield found


@pytest.fixture
async def hasty() -> AsyncIterator[World]:
    """A world whose shop waits for an answer no longer than 0.3 s."""
    async with opened(seconds=0.3) as found:
        yield found


async def begin(world: World) -> Purchase:
    return await world.started()


async def begin_and_approve(world: World) -> Purchase:
    purchase = await world.started()
    world.lab.book.approve(purchase.checkout or "")
    return purchase


async def pay(world: World) -> Purchase:
    return await world.paid()


# ---- an answer that is lost --------------------------------------------------------------------------------

BROKEN = ["silent", "lost", "cut", "status", "garbage", "huge"]


@pytest.mark.parametrize("fault", BROKEN)
async def test_a_checkout_whose_answer_is_lost_is_repeated_safely(hasty: World, fault: str) -> None:
    order = hasty.order(hasty.purchase())
    hasty.lab.faults.append((fault, 503))
    with pytest.raises(VendorDown, match="Ask again"):
        await hasty.paypal.checkout(order, "key-1")
    started = await hasty.paypal.checkout(order, "key-1")
    assert list(hasty.lab.book.orders) == [started.checkout]


@pytest.mark.parametrize("fault", BROKEN)
async def test_a_capture_whose_answer_is_lost_is_repeated_safely(hasty: World, fault: str) -> None:
    purchase = await begin_and_approve(hasty)
    hasty.lab.faults += [("", 0), (fault, 503)]
    with pytest.raises(VendorDown):
        await hasty.paypal.look(purchase)
    facts = await hasty.paypal.look(purchase)
    assert isinstance(only(facts), h.Paid)
    assert merged(purchase, [*facts, *await hasty.told()]).state == "paid"
    assert hasty.lab.book.taken == 1


@pytest.mark.parametrize("fault", BROKEN)
async def test_a_refund_whose_answer_is_lost_is_repeated_safely(hasty: World, fault: str) -> None:
    purchase = await pay(hasty)
    hasty.lab.faults.append((fault, 500))
    with pytest.raises(VendorDown):
        await hasty.paypal.refund(purchase, 1000, "refund-1")
    fact = only(await hasty.paypal.refund(purchase, 1000, "refund-1"))
    assert isinstance(fact, h.Refunded)
    assert fact.refunded == 1000
    assert len(hasty.lab.book.refunds) == 1


@pytest.mark.parametrize("fault", BROKEN)
async def test_closing_is_repeated_safely(hasty: World, fault: str) -> None:
    purchase = await begin(hasty)
    hasty.lab.faults.append((fault, 500))
    if fault in ("garbage", "huge"):
        hasty.lab.faults.clear()
    else:
        with pytest.raises(VendorDown):
            await hasty.paypal.close_checkout(purchase)
    await hasty.paypal.close_checkout(purchase)
    hasty.lab.book.approve(purchase.checkout or "")
    assert isinstance(only(await hasty.paypal.look(purchase)), h.Ended)


async def test_a_server_that_is_gone_is_trouble() -> None:
    async with opened() as world:
        purchase = await world.started()
        paypal = PayPal("id", "secret", "WEBHOOK", world.lab.base, world.clock)
    with pytest.raises(VendorDown, match="cannot be reached"):
        await paypal.look(purchase)
    await paypal.close()


@pytest.mark.parametrize("status", [429, 500, 502, 503, 301, 302])
async def test_statuses_that_pass(world: World, status: int) -> None:
    purchase = await begin(world)
    world.lab.faults.append(("status", status))
    with pytest.raises(VendorDown, match=str(status)):
        await world.paypal.look(purchase)


async def test_a_slow_answer_in_time_is_an_answer(hasty: World) -> None:
    purchase = await begin(hasty)
    hasty.lab.faults.append(("slow", 50))
    assert await hasty.paypal.look(purchase) == ()


async def test_a_capture_still_in_progress_is_asked_again(world: World) -> None:
    purchase = await begin_and_approve(world)
    world.lab.book.capture_fails.append("ORDER_COMPLETION_IN_PROGRESS")
    with pytest.raises(VendorDown, match="busy"):
        await world.paypal.look(purchase)


# ---- idempotency -------------------------------------------------------------------------------------------


async def test_each_change_carries_the_callers_key(world: World) -> None:
    purchase = await pay(world)
    await world.paypal.refund(purchase, 1000, "refund-1")
    keys = {
        path.rsplit("/", 1)[1]: headers["paypal-request-id"]
        for method, path, headers in world.lab.asked
        if method == "POST" and path.startswith("/v2/")
    }
    assert keys["orders"] == "checkout-1"
    assert keys["refund"] == "refund-1"
    assert len(keys["capture"]) == 32


@pytest.mark.parametrize("key", ["", "a b", "k" * 101, "schl\u00fcssel", "a\r\nX: y"])
def test_a_key_that_is_no_header_is_sent_as_its_digest(key: str) -> None:
    assert len(request_id(key)) == 40
    assert request_id(key) != request_id(key + "x")


# ---- the access token --------------------------------------------------------------------------------------


def tokens(world: World) -> int:
    return sum(path == "/v1/oauth2/token" for _, path, _ in world.lab.asked)


class Forgetful(dict[str, int]):
    """Tokens of which none is known, however new."""

    @override
    def get(self, key: str, default: Any = None) -> Any:
        return default


async def test_one_token_serves_many_calls_and_is_renewed_before_it_ends(world: World) -> None:
    purchase = await begin(world)
    await asyncio.gather(*(world.paypal.look(purchase) for _ in range(20)))
    assert tokens(world) == 1
    world.clock.at += 9 * HOUR - 59_000
    await world.paypal.look(purchase)
    assert tokens(world) == 2


async def test_the_first_calls_share_one_token(world: World) -> None:
    orders = [world.order(world.purchase(ident=f"p-{number}")) for number in range(10)]
    await asyncio.gather(*(world.paypal.checkout(order, order.purchase.id) for order in orders))
    assert tokens(world) == 1


async def test_a_token_that_was_revoked_is_replaced_once(world: World) -> None:
    purchase = await begin(world)
    world.lab.tokens.clear()
    await world.paypal.look(purchase)
    assert tokens(world) == 2
    world.lab.tokens = Forgetful()
    with pytest.raises(VendorRefused) as refused:
        await world.paypal.look(purchase)
    assert refused.value.code == "invalid_token"
    assert tokens(world) == 3


async def test_wrong_credentials_say_what_to_set(world: World) -> None:
    secret = "s3cr3t-of-the-shop"
    paypal = PayPal("somebody", secret, "WEBHOOK", world.lab.base, world.clock)
    with pytest.raises(
        VendorRefused, match="TOKENTILL_PAYPAL_CLIENT_ID and TOKENTILL_PAYPAL_SECRET"
    ) as refused:
        await paypal.checkout(world.order(world.purchase()), "key-1")
    assert refused.value.code == "invalid_client"
    await paypal.close()


# ---- no secrets --------------------------------------------------------------------------------------------


async def test_neither_errors_nor_logs_hold_a_secret(hasty: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    purchase = await begin_and_approve(hasty)
    told = []
    for fault in BROKEN:
        hasty.lab.faults.append((fault, 500))
        with pytest.raises(VendorDown) as down:
            await hasty.paypal.look(purchase)
        told.append(f"{down.value!r} {down.value.__cause__!r}")
    (token,) = hasty.lab.tokens
    text = " ".join(told) + repr(hasty.paypal) + repr(hasty.paypal._client) + caplog.text
    assert hasty.lab.secret not in text
    assert token not in text


def test_what_paypal_says_of_an_error_is_not_passed_on() -> None:
    body = msgspec.json.encode({
        "name": "INVALID_REQUEST", "message": "your secret is hunter2", "debug_id": "f00",
        "details": [{"issue": "SOME_ISSUE", "value": "hunter2", "description": "hunter2"}],
    })  # fmt: skip
    error = translated(400, body)
    assert isinstance(error, VendorRefused)
    assert error.code == "some_issue"
    assert str(error) == "PayPal refused with SOME_ISSUE. PayPal's debug id is f00."


# ---- errors ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (400, b"", "http_400"),
        (400, b"<html>", "http_400"),
        (400, b"\xff", "http_400"),
        (400, b"[]", "http_400"),
        (400, b'{"name": "lower case\\n"}', "http_400"),
        (403, b'{"name": "NOT_AUTHORIZED", "debug_id": "a b"}', "not_authorized"),
        (
            404,
            b'{"name": "RESOURCE_NOT_FOUND", "details": [{"issue": "INVALID_RESOURCE_ID"}]}',
            "invalid_resource_id",
        ),
        (401, b'{"error": "invalid_client"}', "invalid_client"),
        (422, b'{"name": "UNPROCESSABLE_ENTITY", "details": []}', "unprocessable_entity"),
    ],
)
def test_refusals_have_a_code_whatever_the_body_is(status: int, body: bytes, code: str) -> None:
    error = translated(status, body)
    assert isinstance(error, VendorRefused)
    assert error.code == code
    assert str(error)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, b""), (503, b"{}"), (429, b"{}"), (307, b""), (409, b"{}"), (408, b""),
        (422, b'{"details": [{"issue": "ORDER_COMPLETION_IN_PROGRESS"}]}'),
    ],
)  # fmt: skip
def test_trouble_that_may_pass(status: int, body: bytes) -> None:
    assert isinstance(translated(status, body), VendorDown)


async def test_an_app_that_may_not_see_disputes_has_none(world: World) -> None:
    purchase = await pay(world)
    world.lab.book.dispute(purchase.payment or "")
    world.lab.outbox.take()
    world.lab.faults += [("", 0), ("status", 403)]
    assert [type(fact) for fact in await world.paypal.look(purchase)] == [h.Paid]
    world.lab.faults += [("", 0), ("status", 404)]
    with pytest.raises(VendorRefused):
        await world.paypal.look(purchase)


async def test_an_order_paypal_forgot_after_it_was_paid_is_not_ended(world: World) -> None:
    purchase = await pay(world)
    assert await world.paypal.look(replace(purchase, checkout="0FORGOTTEN")) == ()
    fact = only(await world.paypal.look(replace(world.purchase(), checkout="0FORGOTTEN")))
    assert isinstance(fact, h.Ended)


# ---- set-up ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "base",
    [
        "https://api-m.paypal.com", "https://api-m.paypal.com/", "https://api.sandbox.paypal.com",
        "http://127.0.0.1:8080", "http://localhost:8080", "https://[::1]:8080",
    ],
)  # fmt: skip
def test_addresses_of_paypal_and_of_this_machine_are_taken(base: str) -> None:
    PayPal("id", "secret", "WEBHOOK", base, HandClock())


@pytest.mark.parametrize(
    "base",
    [
        "http://api-m.paypal.com", "https://api-m.paypal.com.evil.example", "https://evil.example", "api-m.paypal.com",
        "https://api-m.paypal.com/v2", "https://api-m.paypal.com?x", "https://user@api-m.paypal.com", "",
        "http://127.0.0.1@evil.example", "ftp://localhost", "http://10.0.0.1:80",
    ],
)  # fmt: skip
def test_other_addresses_are_not(base: str) -> None:
    with pytest.raises(ValueError, match="TOKENTILL_PAYPAL_API_BASE"):
        PayPal("id", "secret", "WEBHOOK", base, HandClock())


@pytest.mark.parametrize(
    ("values", "setting"),
    [
        (("", "secret", "WEBHOOK"), "CLIENT_ID"), (("i:d", "secret", "WEBHOOK"), "CLIENT_ID"),
        (("id", "", "WEBHOOK"), "SECRET"), (("id", "se\ncret", "WEBHOOK"), "SECRET"),
        (("id", "secret", ""), "WEBHOOK_ID"),
    ],
)  # fmt: skip
def test_what_is_not_set_is_named_without_being_shown(values: tuple[str, str, str], setting: str) -> None:
    with pytest.raises(ValueError, match=f"TOKENTILL_PAYPAL_{setting}") as error:
        PayPal(*values, "https://api-m.paypal.com", HandClock())
    assert "cret" not in str(error.value)


async def test_an_approval_page_that_is_not_paypals_is_not_shown() -> None:
    paypal = PayPal("id", "secret", "WEBHOOK", "https://api-m.paypal.com", HandClock())
    assert (
        paypal._page("https://www.paypal.com/checkoutnow?token=1")
        == "https://www.paypal.com/checkoutnow?token=1"
    )
    for url in (
        "https://evil.example",
        "http://www.paypal.com",
        "https://paypal.com.evil.example",
        "javascript:1",
    ):
        with pytest.raises(VendorDown):
            paypal._page(url)


async def test_connections_are_let_go_and_opened_again(world: World) -> None:
    calls: list[Callable[[], Awaitable[object]]] = [world.paypal.close, world.paypal.close]
    purchase = await begin(world)
    for call in calls:
        await call()
    assert await world.paypal.look(purchase) == ()
    await world.paypal.close()
    gc.collect()
