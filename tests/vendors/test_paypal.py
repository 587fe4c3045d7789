"""PayPal over real sockets: what is asked, what happens, and what becomes of the purchase.

Requirement ids: R-PLAT-1, R-PACK-2, R-PACK-3, R-REF-6.
"""

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import pytest
from msgspec.structs import replace

from tests.support.paypal_world import DAY, HOUR, NOW, World, merged, only, opened
from tokentill.ports import Order, Payments, VendorDown, VendorRefused
from tokentill.rules import happenings as h
from tokentill.rules.money import CURRENCIES
from tokentill.rules.purchases import merge
from tokentill.rules.rows import Payer, ProviderEvent, Subscription
from tokentill.vendors.paypal import money
from tokentill.vendors.paypal.provider import EVENTS, PayPal


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with opened() as found:
        yield found


# ---- checkout ----------------------------------------------------------------------------------------------


def test_it_is_a_payment_provider() -> None:
    clock = type("Clock", (), {"now": lambda _self: NOW})()
    assert isinstance(PayPal("a", "b", "c", "https://api-m.paypal.com", clock), Payments)


async def test_a_checkout_says_where_the_customer_pays(world: World) -> None:
    purchase = world.purchase()
    started = await world.paypal.checkout(world.order(purchase, email="kim@example.com"), "key-1")
    assert started.url == f"{world.lab.base}/checkoutnow?token={started.checkout}"
    assert started.expires_at == NOW + 3 * HOUR
    unit = world.lab.book.orders[started.checkout]["purchase_units"][0]
    assert unit["amount"] == {"currency_code": "USD", "value": "49.99"}
    assert unit["custom_id"] == unit["invoice_id"] == purchase.id
    context = world.lab.book.orders[started.checkout]["context"]
    assert context["user_action"] == "PAY_NOW"
    assert (context["return_url"], context["cancel_url"]) == (
        "https://shop.example/done",
        "https://shop.example/cart",
    )


async def test_a_title_and_an_address_that_paypal_would_refuse_are_left_out(world: World) -> None:
    purchase = replace(world.purchase(), title="t" * 500)
    await world.paypal.checkout(world.order(purchase, email="not an address"), "key-1")
    await world.paypal.checkout(world.order(replace(purchase, id="p-2", title="")), "key-2")
    assert world.checked.misfits == []


async def test_the_same_key_begins_one_checkout(world: World) -> None:
    purchase = world.purchase()
    first = await world.paypal.checkout(world.order(purchase), "key-1")
    assert await world.paypal.checkout(world.order(purchase), "key-1") == first
    other = await world.paypal.checkout(world.order(purchase), "k " * 200)
    assert other.checkout != first.checkout
    assert len(world.lab.book.orders) == 2


async def test_a_checkout_repeated_after_approval_leads_back_to_the_shop(world: World) -> None:
    purchase = await world.started()
    world.lab.book.approve(purchase.checkout or "")
    again = await world.paypal.checkout(world.order(purchase), "checkout-1")
    assert (again.checkout, again.url) == (purchase.checkout, "https://shop.example/done")


async def test_a_customer_pays_and_comes_back(world: World) -> None:
    purchase = await world.started()
    async with (
        aiohttp.ClientSession() as browser,
        browser.get(purchase.url or "", allow_redirects=False) as page,
    ):
        assert page.headers["location"].startswith("https://shop.example/done?token=")
    fact = only(await world.paypal.look(purchase))
    assert isinstance(fact, h.Paid)
    assert fact == h.Paid(
        at=NOW, purchase="p-1", payment=world.capture(), amount=4999, currency="USD", checkout=purchase.checkout,
        method=fact.method, label="PayPal",
    )  # fmt: skip
    assert fact.method is not None
    assert "LABPAYER" not in fact.method
    assert merge(purchase, fact).state == "paid"


async def test_the_same_paypal_account_is_the_same_method_and_another_is_not(world: World) -> None:
    methods = []
    for number, payer in enumerate(("LABPAYER22222", "LABPAYER22222", "LABPAYER33333")):
        purchase = await world.started(world.purchase(ident=f"p-{number}"), f"key-{number}")
        world.lab.book.approve(purchase.checkout or "", payer)
        fact = only(await world.paypal.look(purchase))
        assert isinstance(fact, h.Paid)
        methods.append(fact.method)
    assert methods[0] == methods[1] != methods[2]


async def test_a_customer_who_gives_up_is_led_back(world: World) -> None:
    purchase = await world.started()
    async with (
        aiohttp.ClientSession() as browser,
        browser.get(f"{purchase.url}&cancel=1", allow_redirects=False) as page,
    ):
        assert page.headers["location"].startswith("https://shop.example/cart?token=")
    assert await world.paypal.look(purchase) == ()


# ---- amounts -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("amount", "code", "text"),
    [
        (4999, "USD", "49.99"), (5, "EUR", "0.05"), (100, "GBP", "1.00"), (149, "JPY", "149"), (1, "JPY", "1"),
        (250_000, "HUF", "2500"), (99_900, "TWD", "999"), (12_345_678_901, "USD", "123456789.01"),
    ],
)  # fmt: skip
async def test_amounts_go_and_come_back_exactly(world: World, amount: int, code: str, text: str) -> None:
    purchase = await world.started(world.purchase(amount, code))
    order = world.lab.book.orders[purchase.checkout or ""]
    assert order["purchase_units"][0]["amount"] == {"currency_code": code, "value": text}
    world.lab.book.approve(purchase.checkout or "")
    purchase = merged(purchase, await world.paypal.look(purchase))
    assert (purchase.state, purchase.flagged) == ("paid", None)


@pytest.mark.parametrize(
    ("amount", "code", "why"),
    [
        (250_050, "HUF", "amount_not_payable"), (99_999, "TWD", "amount_not_payable"),
        (0, "USD", "amount_not_payable"), (1490, "KWD", "currency_not_supported"),
        (100, "INR", "currency_not_supported"), (100, "KRW", "currency_not_supported"),
    ],
)  # fmt: skip
async def test_amounts_that_paypal_does_not_take_are_refused_here(
    world: World, amount: int, code: str, why: str
) -> None:
    with pytest.raises(VendorRefused) as refused:
        await world.paypal.checkout(world.order(world.purchase(amount, code)), "key-1")
    assert refused.value.code == why
    assert world.lab.asked == []


def test_every_currency_of_paypal_is_one_of_ours_with_at_least_its_decimals() -> None:
    assert all(CURRENCIES[code].exponent >= decimals for code, decimals in money.DECIMALS.items())


@pytest.mark.parametrize(
    ("text", "code", "amount"),
    [
        ("49.99", "USD", 4999),
        ("49.9", "USD", 4990),
        ("49", "USD", 4900),
        (".5", "USD", 50),
        ("149.00", "JPY", 149),
    ],
)
def test_amounts_are_read_as_paypal_may_write_them(text: str, code: str, amount: int) -> None:
    assert money.minor(text, code) == amount


@pytest.mark.parametrize(
    ("text", "code"), [("49.999", "USD"), ("-1.00", "USD"), ("1e3", "USD"), ("", "XXX"), ("1.5", "JPY")]
)
def test_what_is_no_amount_is_not_read(text: str, code: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        money.minor(text, code)


# ---- capture -----------------------------------------------------------------------------------------------


async def test_an_approval_told_by_webhook_takes_the_money(world: World) -> None:
    purchase = await world.started()
    world.lab.book.approve(purchase.checkout or "")
    facts = await world.told("CHECKOUT.ORDER.APPROVED")
    assert isinstance(only(facts), h.Paid)
    assert only(facts).purchase == purchase.id
    assert world.lab.book.taken == 1
    told = await world.told("PAYMENT.CAPTURE.COMPLETED", "CHECKOUT.ORDER.COMPLETED")
    assert merged(purchase, [*facts, *told]) == merged(purchase, facts)


async def test_the_money_is_taken_once_when_webhook_and_return_race(world: World) -> None:
    for number in range(10):
        purchase = await world.started(world.purchase(ident=f"p-{number}"), f"key-{number}")
        world.lab.book.approve(purchase.checkout or "")
        (approved,) = world.lab.outbox.take()
        event = await world.paypal.event(approved, world.clock.at)
        tries = (world.paypal.look(purchase), world.paypal.happenings(event), world.paypal.look(purchase))
        found = await asyncio.gather(*tries)
        for facts in found:
            purchase = merged(purchase, facts)
        assert len(purchase.payments) == 1
        assert world.lab.book.taken == number + 1
        world.lab.outbox.take()


async def test_an_approval_told_again_after_days_takes_nothing_more(world: World) -> None:
    purchase = await world.started()
    world.lab.book.approve(purchase.checkout or "")
    (approved,) = world.lab.outbox.take()
    first = await world.heard(approved)
    world.clock.at += 3 * DAY
    assert await world.heard(approved) == first
    assert world.lab.book.taken == 1


async def test_two_orders_of_one_purchase_are_paid_once(world: World) -> None:
    purchase = world.purchase()
    one, two = [await world.started(purchase, key) for key in ("key-1", "key-2")]
    for started in (one, two):
        world.lab.book.approve(started.checkout or "")
    first, second = await world.paypal.look(one), await world.paypal.look(two)
    assert isinstance(only(first), h.Paid)
    fact = only(second)
    assert isinstance(fact, h.Declined)
    assert fact.code == "duplicate_invoice_id"
    assert world.lab.book.taken == 1


async def test_a_declined_capture_can_be_approved_again(world: World) -> None:
    purchase = await world.started()
    ident = purchase.checkout or ""
    world.lab.book.approve(ident)
    world.lab.book.capture_fails.append("INSTRUMENT_DECLINED")
    fact = only(await world.paypal.look(purchase))
    assert isinstance(fact, h.Declined)
    assert (fact.code, fact.purchase) == ("instrument_declined", "p-1")
    assert await world.paypal.look(purchase) == (fact,), "the same try, told again"
    purchase = merge(purchase, fact)
    assert purchase.state == "pending"
    world.clock.at += 60_000
    world.lab.book.approve(ident)
    purchase = merged(purchase, await world.paypal.look(purchase))
    assert (purchase.state, len(purchase.declines), world.lab.book.taken) == ("paid", 1, 1)


async def test_a_capture_that_somebody_else_made_is_read_off_the_order(world: World) -> None:
    """Two who saw the order in different states take its money under different ids, and PayPal refuses the second."""
    purchase = await world.started()
    world.lab.book.approve(purchase.checkout or "")
    seen = await world.paypal._order(purchase.checkout or "")
    first = await world.paypal.look(purchase)
    assert await world.paypal._settled(replace(seen, update_time=None)) == first
    assert world.lab.book.taken == 1


async def test_an_approval_that_was_taken_back_meanwhile_is_nothing(world: World) -> None:
    purchase = await world.started()
    world.lab.book.approve(purchase.checkout or "")
    world.lab.book.capture_fails.append("ORDER_NOT_APPROVED")
    assert await world.paypal.look(purchase) == ()


async def test_a_pending_capture_is_nothing_until_it_completes(world: World) -> None:
    purchase = await world.started()
    world.lab.book.approve(purchase.checkout or "")
    world.lab.book.capture_status.append("PENDING")
    assert await world.told("CHECKOUT.ORDER.APPROVED") == []
    assert await world.told() == []
    assert await world.paypal.look(purchase) == ()
    world.clock.at += DAY
    world.lab.book.settle(world.capture())
    fact = only(await world.told())
    assert isinstance(fact, h.Paid)
    assert fact.at == NOW + DAY
    assert (fact.purchase, fact.checkout) == ("p-1", purchase.checkout)
    assert merged(purchase, [fact, *await world.paypal.look(purchase)]).state == "paid"


async def test_a_pending_capture_that_is_denied_is_a_decline(world: World) -> None:
    purchase = await world.started()
    world.lab.book.approve(purchase.checkout or "")
    world.lab.book.capture_status.append("PENDING")
    await world.paypal.look(purchase)
    world.lab.outbox.take()
    world.lab.book.settle(world.capture(), "DECLINED")
    fact = only(await world.told("PAYMENT.CAPTURE.DENIED"))
    assert isinstance(fact, h.Declined)
    assert (fact.payment, fact.code) == (world.capture(), "echeck")
    seen = only(await world.paypal.look(purchase))
    assert isinstance(seen, h.Declined)
    assert replace(seen, method=None) == fact
    assert merge(purchase, fact).payments == ()


async def test_what_the_seller_must_mend_is_a_refusal_and_no_decline(world: World) -> None:
    purchase = await world.started()
    world.lab.book.approve(purchase.checkout or "")
    world.lab.book.capture_fails.append("AUTH_CAPTURE_NOT_ENABLED")
    with pytest.raises(VendorRefused, match="AUTH_CAPTURE_NOT_ENABLED") as refused:
        await world.paypal.look(purchase)
    assert refused.value.code == "auth_capture_not_enabled"


# ---- the end of a checkout ---------------------------------------------------------------------------------


async def test_a_closed_checkout_takes_no_money_though_it_is_approved(world: World) -> None:
    purchase = await world.started()
    await world.paypal.close_checkout(purchase)
    await world.paypal.close_checkout(purchase)
    world.lab.book.approve(purchase.checkout or "")
    fact = only(await world.told())
    assert isinstance(fact, h.Ended)
    assert (fact.purchase, fact.checkout) == ("p-1", purchase.checkout)
    assert only(await world.paypal.look(purchase)) == fact
    assert merge(purchase, fact).state == "abandoned"
    assert world.lab.book.taken == 0


async def test_closing_what_was_paid_or_forgotten_changes_nothing(world: World) -> None:
    purchase = await world.paid()
    await world.paypal.close_checkout(purchase)
    assert merged(purchase, await world.paypal.look(purchase)) == purchase
    await world.paypal.close_checkout(replace(purchase, checkout="0NEVER"))
    await world.paypal.close_checkout(replace(purchase, checkout=None))
    world.lab.faults.append(("status", 403))
    with pytest.raises(VendorRefused, match="lacks the permission"):
        await world.paypal.close_checkout(purchase)


async def test_an_order_that_nobody_paid_ends(world: World) -> None:
    purchase = await world.started()
    assert await world.paypal.look(purchase) == ()
    world.clock.at += 6 * HOUR
    fact = only(await world.paypal.look(purchase))
    assert isinstance(fact, h.Ended)
    assert merge(purchase, fact).state == "abandoned"


async def test_an_order_that_was_approved_and_never_taken_ends(world: World) -> None:
    purchase = await world.started()
    world.lab.book.approve(purchase.checkout or "")
    world.lab.outbox.take()
    world.lab.book.lapse(purchase.checkout or "")
    fact = only(await world.told("CHECKOUT.PAYMENT-APPROVAL.REVERSED"))
    assert isinstance(fact, h.Ended)
    assert (fact.purchase, fact.checkout) == ("p-1", purchase.checkout)
    assert only(await world.paypal.look(purchase)) == fact


async def test_a_voided_order_ends(world: World) -> None:
    purchase = await world.started()
    world.lab.book.void(purchase.checkout or "")
    assert isinstance(only(await world.told("CHECKOUT.ORDER.VOIDED")), h.Ended)


async def test_an_event_of_an_order_that_paypal_forgot_ends_the_checkout(world: World) -> None:
    purchase = await world.started()
    world.lab.book.approve(purchase.checkout or "")
    del world.lab.book.orders[purchase.checkout or ""]
    fact = only(await world.told())
    assert isinstance(fact, h.Ended)
    assert (fact.purchase, fact.checkout) == ("p-1", purchase.checkout)


async def test_an_order_that_cannot_be_asked_for_is_no_end(world: World) -> None:
    purchase = await world.started()
    world.lab.faults.append(("status", 403))
    with pytest.raises(VendorRefused):
        await world.paypal.look(purchase)


async def test_a_purchase_without_an_order_is_unknown_to_paypal(world: World) -> None:
    assert await world.paypal.look(world.purchase()) == ()
    assert world.lab.asked == []


# ---- refunds -----------------------------------------------------------------------------------------------


async def test_a_refund_in_parts(world: World) -> None:
    purchase = await world.paid()
    payment = purchase.payment or ""
    first = only(await world.paypal.refund(purchase, 1000, "refund-1"))
    assert first == h.Refunded(at=NOW, purchase="p-1", payment=payment, refunded=1000, currency="USD")
    purchase = merge(purchase, first)
    assert (purchase.state, purchase.refunded) == ("partly_refunded", 1000)
    second = only(await world.paypal.refund(purchase, 3999, "refund-2"))
    assert isinstance(second, h.Refunded)
    assert second.refunded == 4999
    assert merge(purchase, second).state == "refunded"
    told = await world.told("PAYMENT.CAPTURE.REFUNDED")
    assert told == [first, second]
    assert [fact for fact in await world.paypal.look(purchase) if isinstance(fact, h.Refunded)] == [second]


async def test_a_refund_repeated_under_its_key_gives_back_once(world: World) -> None:
    purchase = await world.paid()
    answers = [await world.paypal.refund(purchase, 1000, "refund-1") for _ in range(3)]
    assert answers[0] == answers[1] == answers[2]
    assert len(world.lab.book.refunds) == 1


async def test_more_than_was_paid_is_not_given_back(world: World) -> None:
    purchase = await world.paid()
    with pytest.raises(VendorRefused, match="more than can still") as refused:
        await world.paypal.refund(purchase, 5000, "refund-1")
    assert refused.value.code == "refund_amount_exceeded"
    await world.paypal.refund(purchase, 4999, "refund-2")
    with pytest.raises(VendorRefused, match="already"):
        await world.paypal.refund(purchase, 1, "refund-3")


async def test_what_was_not_paid_is_not_given_back(world: World) -> None:
    with pytest.raises(VendorRefused) as refused:
        await world.paypal.refund(world.purchase(), 1, "refund-1")
    assert refused.value.code == "not_paid"


async def test_a_pending_refund_is_told_when_it_completes(world: World) -> None:
    purchase = await world.paid()
    world.lab.book.refund_status.append("PENDING")
    assert await world.paypal.refund(purchase, 1000, "refund-1") == ()
    assert not [fact for fact in await world.paypal.look(purchase) if isinstance(fact, h.Refunded)]
    world.lab.book.settle_refund(next(iter(world.lab.book.refunds)))
    fact = only(await world.told())
    assert isinstance(fact, h.Refunded)
    assert fact.refunded == 1000
    assert only(await world.paypal.refund(purchase, 1000, "refund-1")) == fact


async def test_a_refund_that_fails_says_so(world: World) -> None:
    purchase = await world.paid()
    world.lab.book.refund_status.append("FAILED")
    with pytest.raises(VendorRefused) as refused:
        await world.paypal.refund(purchase, 1000, "refund-1")
    assert refused.value.code == "refund_failed"


async def test_a_refund_that_fails_later_is_told(world: World) -> None:
    purchase = await world.paid()
    world.lab.book.refund_status.append("PENDING")
    await world.paypal.refund(purchase, 1000, "refund-1")
    refund = next(iter(world.lab.book.refunds.values()))
    refund["status"] = "FAILED"
    failed = [fact for fact in await world.paypal.look(purchase) if isinstance(fact, h.RefundFailed)]
    assert failed == [
        h.RefundFailed(
            at=NOW,
            purchase="p-1",
            payment=purchase.payment or "",
            refund=refund["id"],
            amount=1000,
            currency="USD",
        )
    ]
    world.lab.outbox.tell("refund", "PAYMENT.CAPTURE.REFUNDED", refund)
    assert await world.told() == failed


async def test_a_refund_event_that_names_no_payment_is_looked_up(world: World) -> None:
    purchase = await world.paid()
    await world.paypal.refund(purchase, 1000, "refund-1")
    refund = dict(next(iter(world.lab.book.refunds.values())))
    del refund["links"]
    world.lab.outbox.take()
    world.lab.outbox.tell("refund", "PAYMENT.CAPTURE.REFUNDED", refund)
    fact = only(await world.told())
    assert isinstance(fact, h.Refunded)
    assert (fact.payment, fact.refunded) == (purchase.payment, 1000)

    refund["links"] = [{"href": world.lab.base, "rel": "self"}]
    next(iter(world.lab.book.refunds.values()))["links"] = refund["links"]
    world.lab.outbox.tell("refund", "PAYMENT.CAPTURE.REFUNDED", refund)
    with pytest.raises(VendorDown, match="lacks a part"):
        await world.told()


# ---- disputes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcome", "state"),
    [
        ("RESOLVED_BUYER_FAVOUR", "lost"), ("ACCEPTED", "lost"), ("RESOLVED_SELLER_FAVOUR", "won"),
        ("RESOLVED_WITH_PAYOUT", "won"), ("CANCELED_BY_BUYER", "won"), ("DENIED", "won"), ("NONE", "won"),
    ],
)  # fmt: skip
async def test_a_dispute_is_opened_and_decided(world: World, outcome: str, state: str) -> None:
    purchase = await world.paid()
    ident = world.lab.book.dispute(purchase.payment or "")
    world.lab.book.review(ident)
    opened_, reviewed = await world.told()
    assert opened_ == h.Disputed(
        at=NOW, purchase="p-1", payment=purchase.payment or "", dispute=ident, state="open", amount=4999,
        currency="USD",
    )  # fmt: skip
    assert reviewed == opened_
    assert merge(purchase, opened_).state == "disputed"
    world.lab.book.resolve(ident, outcome)
    decided = only(await world.told())
    assert isinstance(decided, h.Disputed)
    assert decided.state == state
    assert decided in await world.paypal.look(purchase)
    assert merged(purchase, [decided, opened_, reviewed]).state == (
        "charged_back" if state == "lost" else "paid"
    )


async def test_a_dispute_that_names_no_payment_is_looked_up(world: World) -> None:
    purchase = await world.paid()
    ident = world.lab.book.dispute(purchase.payment or "", "10.00")
    world.lab.outbox.take()
    short = {"dispute_id": ident, "status": "OPEN"}
    world.lab.outbox.tell("dispute", "CUSTOMER.DISPUTE.UPDATED", short)
    fact = only(await world.told())
    assert isinstance(fact, h.Disputed)
    assert (fact.payment, fact.amount) == (purchase.payment, 1000)


async def test_money_that_was_taken_back_without_a_dispute_is_given_back(world: World) -> None:
    purchase = await world.paid()
    world.lab.book.reverse(purchase.payment or "")
    fact = only(await world.told())
    assert isinstance(fact, h.Refunded)
    assert merge(purchase, fact).state == "refunded"


async def test_of_money_that_was_taken_back_in_a_dispute_the_dispute_decides(world: World) -> None:
    purchase = await world.paid()
    ident = world.lab.book.dispute(purchase.payment or "")
    world.lab.book.reverse(purchase.payment or "")
    facts = await world.told()
    assert [type(fact) for fact in facts] == [h.Disputed, h.Disputed]
    assert merged(purchase, facts).state == "disputed"
    world.lab.book.resolve(ident, "RESOLVED_SELLER_FAVOUR")
    assert merged(purchase, [*facts, *await world.told()]).state == "paid"


# ---- order of events ---------------------------------------------------------------------------------------


async def test_the_order_of_events_does_not_matter(world: World, run_seed: int) -> None:
    """Every order of the six events of a whole life, some of them twice, ends in the same purchase."""
    purchase = await world.started()
    world.lab.book.approve(purchase.checkout or "")
    (approved,) = world.lab.outbox.take()
    first = await world.heard(approved)
    world.clock.at += HOUR
    paid = merged(purchase, first)
    await world.paypal.refund(paid, 999, "refund-1")
    ident = world.lab.book.dispute(paid.payment or "")
    world.lab.book.resolve(ident, "RESOLVED_BUYER_FAVOUR")
    webhooks = [approved, *world.lab.outbox.take()]
    assert len(webhooks) == 6
    facts = [(await world.heard(webhook)) for webhook in webhooks]
    ends = set()
    for order in itertools.permutations(facts):
        found = merged(purchase, itertools.chain.from_iterable(order))
        ends.add(str(merged(found, order[0])))
    assert len(ends) == 1
    shuffled = random.Random(run_seed).sample(webhooks * 2, 12)
    assert str(merged(purchase, await world.heard(*shuffled))) in ends
    assert world.lab.book.taken == 1


# ---- what is not offered, and what is unknown --------------------------------------------------------------


@pytest.mark.parametrize("what", ["subscription", "saving", "saved", "change", "renew", "end"])
async def test_what_is_not_offered_is_refused_with_what_to_do(world: World, what: str) -> None:
    order = world.order(world.purchase())
    payer = Payer(id="paypal:acme:x", provider="paypal", method="x")
    subscription = Subscription(id="paypal:s", provider="paypal", ref="s", plan="pro", status="active")
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "subscription": lambda: world.paypal.checkout(
            Order(purchase=order.purchase, success_url="", cancel_url="", interval="month"), "key"
        ),
        "saving": lambda: world.paypal.checkout(world.order(order.purchase, save_method=True), "key"),
        "saved": lambda: world.paypal.charge_saved(order, payer, "key"),
        "change": lambda: world.paypal.change_subscription(subscription, order, 0, "key"),
        "renew": lambda: world.paypal.renew_as(subscription, order, "key"),
        "end": lambda: world.paypal.end_subscription(subscription, now=True, key="key"),
    }
    with pytest.raises(VendorRefused, match="not offered with PayPal") as refused:
        await calls[what]()
    assert refused.value.code == "not_offered"
    assert await world.paypal.portal("customer", "https://shop.example") is None
    assert world.lab.asked == []


async def test_unknown_events_say_nothing(world: World) -> None:
    for type_ in ("PAYMENT.SALE.COMPLETED", "CHECKOUT.ORDER.SAVED", "BILLING.PLAN.CREATED", "APPROVED"):
        world.lab.outbox.tell("sale", type_, {"id": "X", "odd": [1, {"deep": None}]})
    assert await world.told() == []
    assert all(len(name) < 50 for name in EVENTS)


async def test_an_event_of_another_shape_is_refused_for_a_person_to_see(world: World) -> None:
    world.lab.outbox.tell("capture", "PAYMENT.CAPTURE.COMPLETED", {"id": 7})
    with pytest.raises(VendorRefused) as refused:
        await world.told()
    assert refused.value.code == "unreadable_event"


async def test_an_event_lacking_a_part_may_be_tried_again(world: World) -> None:
    capture = {"id": "C", "status": "COMPLETED", "amount": {"currency_code": "USD", "value": "1.00"}}
    world.lab.outbox.tell("capture", "PAYMENT.CAPTURE.COMPLETED", capture)
    capture = {
        **capture,
        "create_time": "2026-01-01T00:00:00Z",
        "amount": {"currency_code": "USD", "value": "one"},
    }
    world.lab.outbox.tell("capture", "PAYMENT.CAPTURE.COMPLETED", capture)
    for webhook in world.lab.outbox.take():
        with pytest.raises(VendorDown):
            await world.heard(webhook)


async def test_events_are_kept_as_they_came(world: World) -> None:
    world.lab.outbox.tell(
        "capture", "PAYMENT.CAPTURE.PENDING", {"id": "C", "create_time": "2026-01-01T00:00:00Z"}
    )
    (webhook,) = world.lab.outbox.take()
    event = await world.paypal.event(webhook, world.clock.at)
    assert event == ProviderEvent(
        id=event.id,
        provider="paypal",
        type="PAYMENT.CAPTURE.PENDING",
        body=webhook.body.decode(),
        created_at=NOW,
    )
    assert event.id.startswith("paypal:WH-")
    assert event == await world.paypal.event(webhook, world.clock.at)
