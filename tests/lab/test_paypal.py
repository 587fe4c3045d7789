"""The PayPal of the lab: it refuses what PayPal refuses, is the same every time, and is driven over HTTP too."""

import json
from typing import Any

import aiohttp
import pytest

from tests.support.paypal import Checked, documents
from tests.support.paypal_world import NOW, HandClock, authority
from tokentill.lab.paypal.book import Book, Refusal, numbers
from tokentill.lab.paypal.server import Lab, serving


def body(value: str = "10.00", code: str = "USD", ident: str = "p-1") -> dict[str, Any]:
    unit = {"amount": {"currency_code": code, "value": value}, "custom_id": ident, "invoice_id": ident}
    context = {
        "return_url": "https://shop.example/done", "cancel_url": "https://shop.example/cart",
        "user_action": "PAY_NOW", "shipping_preference": "NO_SHIPPING",
    }  # fmt: skip
    return {
        "intent": "CAPTURE",
        "purchase_units": [unit],
        "payment_source": {"paypal": {"experience_context": context}},
    }


def paid(book: Book) -> str:
    order = book.create(body())["id"]
    book.approve(order)
    book.capture(order)
    return next(iter(book.captures))


def issue(deed: Any, *given: Any) -> str:
    with pytest.raises(Refusal) as refused:
        deed(*given)
    return refused.value.issue


@pytest.fixture
def book() -> Book:
    return Book(HandClock().now, numbers())


@pytest.mark.parametrize(
    ("value", "code", "why"),
    [
        ("10.001", "USD", "DECIMAL_PRECISION"), ("10.00", "JPY", "DECIMALS_NOT_SUPPORTED"),
        ("10", "KRW", "INVALID_CURRENCY_CODE"), ("0.00", "USD", "CANNOT_BE_ZERO_OR_NEGATIVE"),
    ],
)  # fmt: skip
def test_amounts_that_paypal_does_not_take(book: Book, value: str, code: str, why: str) -> None:
    assert issue(book.create, body(value, code)) == why


def test_an_order_is_captured_once_and_only_when_approved(book: Book) -> None:
    order = book.create(body())["id"]
    assert issue(book.capture, order) == "ORDER_NOT_APPROVED"
    book.approve(order)
    assert book.capture(order)["status"] == "COMPLETED"
    assert issue(book.capture, order) == "ORDER_ALREADY_CAPTURED"
    assert issue(book.approve, order) == "ORDER_ALREADY_CAPTURED"
    assert issue(book.patch, order, []) == "ORDER_ALREADY_COMPLETED"
    assert issue(book.order, "X") == "INVALID_RESOURCE_ID"
    assert book.taken == 1


def test_refunds_have_their_limits(book: Book) -> None:
    capture = paid(book)
    assert issue(book.refund, "X", {}) == "INVALID_RESOURCE_ID"
    euros = {"amount": {"currency_code": "EUR", "value": "1.00"}}
    assert issue(book.refund, capture, euros) == "REFUND_CAPTURE_CURRENCY_MISMATCH"
    book.refund(capture, {"amount": {"currency_code": "USD", "value": "4.00"}})
    more = {"amount": {"currency_code": "USD", "value": "6.01"}}
    assert issue(book.refund, capture, more) == "REFUND_AMOUNT_EXCEEDED"
    rest = book.refund(capture, {})
    assert rest["amount"]["value"] == "6.00"
    assert rest["seller_payable_breakdown"]["total_refunded_amount"]["value"] == "10.00"
    assert issue(book.refund, capture, {}) == "CAPTURE_FULLY_REFUNDED"


def test_a_pending_payment_is_not_given_back(book: Book) -> None:
    book.capture_status.append("PENDING")
    assert issue(book.refund, paid(book), {}) == "PENDING_CAPTURE"


def test_only_what_paypal_lets_change_is_changed(book: Book) -> None:
    order = book.create(body())["id"]
    change = {"op": "replace", "path": "/purchase_units/@reference_id=='default'/payee", "value": "x"}
    assert issue(book.patch, order, [change]) == "NOT_PATCHABLE"


def test_two_runs_are_the_same() -> None:
    runs = []
    for _ in range(2):
        lab = Lab(HandClock().now, authority())
        lab.book.dispute(paid(lab.book))
        runs.append([webhook.body for webhook in lab.outbox.take()])
    assert runs[0] == runs[1]
    assert len(runs[0]) == 4


async def test_it_is_driven_over_http() -> None:
    lab = Lab(HandClock().now, authority())
    async with serving(lab) as base, aiohttp.ClientSession() as session:
        order = lab.book.create(body())["id"]
        async with session.get(f"{base}/lab/help") as answer:
            assert f"/lab/{'approve'}/ID" in (await answer.json())["post"]
        async with session.post(f"{base}/lab/approve/{order}?payer=LABPAYER33333") as answer:
            assert answer.status == 204
        lab.book.capture(order)
        capture = next(iter(lab.book.captures))
        async with session.post(f"{base}/lab/dispute/{capture}?value=3.00") as answer:
            assert answer.status == 204
        for path in ("/lab/approve/X", "/lab/odd/" + order, "/nothing"):
            async with session.post(base + path) as answer:
                assert answer.status in (401, 404)
        async with session.get(f"{base}/v2/checkout/orders/{order}") as answer:
            assert (await answer.json())["error"] == "invalid_token"
    (dispute,) = lab.book.disputes.values()
    assert dispute["dispute_amount"]["value"] == "3.00"


async def test_what_does_not_fit_the_schemas_is_noticed() -> None:
    """The check itself: an odd request, an odd answer and an odd event each leave a note."""
    lab = Lab(HandClock().now, authority())
    checked = Checked(lab)
    async with serving(lab, checked) as base, aiohttp.ClientSession() as session:
        basic = aiohttp.encode_basic_auth(lab.client_id, lab.secret)
        form = {"Authorization": basic, "Content-Type": "application/x-www-form-urlencoded"}
        async with session.post(
            f"{base}/v1/oauth2/token", data=b"grant_type=client_credentials", headers=form
        ) as it:
            headers = {"Authorization": f"Bearer {(await it.json())['access_token']}"}
        address = f"{base}/v2/checkout/orders"
        fine = {**headers, "PayPal-Request-Id": "k-1"}
        async with session.post(address, data=json.dumps(body()), headers=fine) as answer:
            order = (await answer.json())["id"]
        assert checked.misfits == []
        assert checked.seen == len(documents()[:1]) or checked.seen > 1

        odd = body()
        odd["purchase_units"][0]["surprise"] = True
        async with session.post(
            address, data=json.dumps(odd), headers={**headers, "PayPal-Request-Id": "k" * 109}
        ):
            pass
        assert any("surprise" in misfit for misfit in checked.misfits)
        assert any("109" in misfit or "108" in misfit for misfit in checked.misfits)

        for method, path in (
            ("GET", f"{address}/{order}?x=1"),
            ("GET", f"{address}/odd-id"),
            ("GET", f"{base}/v2/x"),
        ):
            checked.misfits.clear()
            async with session.request(method, path, headers=headers):
                pass
            assert checked.misfits, path

        checked.misfits.clear()
        lab.book.orders[order]["status"] = "ODD"
        async with session.get(f"{address}/{order}", headers=headers):
            pass
        assert any("ODD" in misfit for misfit in checked.misfits)

        checked.misfits.clear()
        lab.book.tell("capture", "PAYMENT.CAPTURE.PENDING", {"id": 1})
        assert checked.misfits


async def test_a_repeated_request_id_answers_with_what_became_of_it() -> None:
    lab = Lab(HandClock().now, authority())
    lab.tokens["T"] = NOW + 1
    headers = {"Authorization": "Bearer T", "PayPal-Request-Id": "k-1"}
    async with serving(lab) as base, aiohttp.ClientSession(headers=headers) as session:
        async with session.post(f"{base}/v2/checkout/orders", data=json.dumps(body())) as first:
            order = await first.json()
        lab.book.approve(order["id"])
        async with session.post(f"{base}/v2/checkout/orders", data=json.dumps(body("99.00"))) as again:
            assert (first.status, again.status) == (201, 200)
            assert await again.json() == lab.book.order(order["id"])
        lab.book.capture_fails.append("INSTRUMENT_DECLINED")
        for _ in range(2):
            async with session.post(
                f"{base}/v2/checkout/orders/{order['id']}/capture", data=b"{}"
            ) as declined:
                assert (await declined.json())["details"] == [{"issue": "INSTRUMENT_DECLINED"}]
