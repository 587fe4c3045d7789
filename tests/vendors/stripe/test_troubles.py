"""When Stripe is down, slow, busy or refuses: told apart, repeatable, and without a secret in any message (R-PLAT-1)."""

from __future__ import annotations

import asyncio
import logging

import pytest

from tests.support.stripe import T0, VISA, Desk, Watch, key, order, purchase
from tokentill.lab.stripe import StripeLab, serving
from tokentill.ports.shop import Started, VendorDown, VendorRefused
from tokentill.rules import happenings as h
from tokentill.rules.purchases import merge
from tokentill.vendors.stripe import StripePayments
from tokentill.vendors.stripe.gateway import Gateway

FAULTS = ("error", "limit", "done_then_error", "done_then_silence")


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_is_unknown_and_asking_again_under_the_key_is_safe(desk: Desk, fault: str) -> None:
    """R-PACK-2: nothing is begun twice, whether it was done before the fault or not."""
    desk.lab.fail(fault)  # type: ignore[arg-type] # one of its words
    with pytest.raises(VendorDown):
        await desk.payments.checkout(order(), key(1))
    started = await desk.payments.checkout(order(), key(1))
    assert [one["id"] for one in desk.lab.world.all("checkout.session")] == [started.checkout]


@pytest.mark.parametrize("fault", FAULTS)
async def test_money_is_given_back_once_whatever_is_lost(desk: Desk, fault: str) -> None:  # R-REF-6
    begun = purchase()
    started = await desk.payments.checkout(order(), key(1))
    desk.lab.pay(started.checkout, VISA)
    for fact in await desk.hear():
        begun = merge(begun, fact)
    desk.lab.fail(fault)  # type: ignore[arg-type] # one of its words
    with pytest.raises(VendorDown):
        await desk.payments.refund(begun, 1000, key(2))
    [fact] = await desk.payments.refund(begun, 1000, key(2))
    assert isinstance(fact, h.Refunded)
    assert fact.refunded == 1000


async def test_the_sdk_repeats_by_itself_under_the_same_key(desk: Desk) -> None:
    patient = StripePayments(desk.lab.key, [], desk.clock, base=desk.base, retries_max=1)
    desk.lab.fail("done_then_error")
    started = await patient.checkout(order(), key(1))
    await patient.close()
    assert [one["id"] for one in desk.lab.world.all("checkout.session")] == [started.checkout]


async def test_two_requests_under_one_key_at_once_are_one(desk: Desk) -> None:
    desk.lab.api.latency_seconds = 0.1
    both = await asyncio.gather(
        *[desk.payments.checkout(order(), key(1)) for _ in range(2)], return_exceptions=True
    )
    assert sorted(type(one).__name__ for one in both) == ["Started", "VendorDown"]
    desk.lab.api.latency_seconds = 0.0
    again = await desk.payments.checkout(order(), key(1))
    assert again in both


async def test_nobody_there(desk: Desk) -> None:
    nowhere = StripePayments(desk.lab.key, [], desk.clock, base="http://127.0.0.1:9", retries_max=0)
    with pytest.raises(VendorDown):
        await nowhere.checkout(order(), key(1))
    await nowhere.close()


async def test_an_answer_that_does_not_come_in_time(desk: Desk) -> None:
    hasty = StripePayments(desk.lab.key, [], desk.clock, base=desk.base, retries_max=0, timeout_seconds=0.05)
    desk.lab.api.latency_seconds = 0.3
    with pytest.raises(VendorDown):
        await hasty.checkout(order(), key(1))
    desk.lab.api.latency_seconds = 0.0
    await asyncio.sleep(0.4)
    assert isinstance(await desk.payments.checkout(order(), key(1)), Started)
    assert len(desk.lab.world.all("checkout.session")) == 1
    await hasty.close()


@pytest.mark.parametrize("wrong", ["sk_test_somebody_elses_0123456789", "rk_live_0123456789abcdef"])
async def test_a_wrong_key_is_named_as_such_and_not_shown(
    desk: Desk, caplog: pytest.LogCaptureFixture, wrong: str
) -> None:
    caplog.set_level(logging.DEBUG)
    stranger = StripePayments(wrong, ["whsec_very_secret"], desk.clock, base=desk.base)
    with pytest.raises(VendorRefused, match="stripe_key") as refused:
        await stranger.checkout(order(email="ada@example.com"), key(1))
    assert refused.value.code == "key"
    assert refused.value.__cause__ is None
    said = f"{refused.value!r} {stranger!r} {vars(refused.value)} {caplog.text}"
    for secret in (wrong, "whsec_very_secret", "ada@example.com"):
        assert secret not in said
    await stranger.close()


async def test_messages_of_stripe_are_passed_on_without_keys(desk: Desk) -> None:
    with pytest.raises(VendorRefused) as refused:
        await desk.payments.checkout(order(price_ref="sk_test_not_a_price"), key(1))
    assert refused.value.code == "resource_missing"
    assert "same account and mode" in str(refused.value)
    assert "not_a_price" not in str(refused.value)


async def test_an_amount_below_what_is_taken(desk: Desk) -> None:
    with pytest.raises(VendorRefused, match="Raise the price") as refused:
        await desk.payments.checkout(order(purchase(amount=10)), key(1))
    assert refused.value.code == "amount_too_small"


async def test_closing_before_anything_was_asked(desk: Desk) -> None:
    idle = StripePayments(desk.lab.key, [], desk.clock, base=desk.base)
    await idle.close()


async def test_a_connected_account_is_spoken_for() -> None:
    lab = StripeLab(Watch(T0), account="acct_1")
    async with serving(lab) as base:
        gateway = Gateway(lab.key, base=base + "/", account="acct_1", retries_max=0)
        await gateway.v1.customers.create_async(params={"email": "ada@example.com"})
        await gateway.close()
    assert lab.api.asked[0][3]["stripe-account"] == "acct_1"


async def test_nothing_is_reported_beside_the_request(desk: Desk) -> None:
    for number in (1, 2):
        await desk.payments.checkout(order(purchase(number)), key(number))
    assert "x-stripe-client-telemetry" not in desk.lab.api.asked[-1][3]


async def test_a_key_that_may_not_do_this(desk: Desk) -> None:
    stranger = StripePayments(desk.lab.key, [], desk.clock, base=desk.base, account="acct_other")
    with pytest.raises(VendorRefused, match="Give it the right at Stripe") as refused:
        await stranger.checkout(order(), key(1))
    assert refused.value.code == "permission"
    await stranger.close()


def test_the_mode_is_read_off_the_key() -> None:
    assert [Gateway(name).live for name in ("sk_test_1", "rk_test_1", "sk_live_1", "rk_live_1")] == [
        False,
        False,
        True,
        True,
    ]
