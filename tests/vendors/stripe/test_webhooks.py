"""Webhooks are believed only when they are Stripe's, new, whole, and meant for us (R-PACK-3)."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.support.stripe import T0, VISA, Desk, key, order
from tokentill.lab.stripe import Delivery, sign
from tokentill.ports.shop import BadSignature, Inbound
from tokentill.vendors.stripe import StripePayments

NOW = T0 // 1000


async def a_webhook(desk: Desk) -> Delivery:
    started = await desk.payments.checkout(order(), key(1))
    desk.lab.pay(started.checkout, VISA)
    return next(one for one in desk.lab.webhooks() if one.type == "checkout.session.completed")


async def test_a_webhook_of_stripe_is_kept_whole(desk: Desk) -> None:
    one = await a_webhook(desk)
    event = await desk.payments.event(Inbound(one.body, one.headers), T0)
    assert (event.id, event.type) == (f"stripe:{one.event}", "checkout.session.completed")
    assert (event.provider, event.created_at, event.due_at) == ("stripe", T0, T0)
    assert event.body.encode() == one.body


Change = Callable[[Delivery, str], tuple[bytes, dict[str, str]]]


def resigned(body: bytes, secret: str, at: int = NOW) -> tuple[bytes, dict[str, str]]:
    return body, {"stripe-signature": sign(body, secret, at)}


def edited(one: Delivery, secret: str, **values: object) -> tuple[bytes, dict[str, str]]:
    return resigned(json.dumps({**json.loads(one.body), **values}).encode(), secret)


WRONG: dict[str, Change] = {
    "no signature": lambda one, _: (one.body, {}),
    "an empty signature": lambda one, _: (one.body, {"stripe-signature": ""}),
    "a signature without a time": lambda one, _: (one.body, {"stripe-signature": "v1=" + "0" * 64}),
    "a signature with two times": lambda one, s: (
        one.body,
        {"stripe-signature": f"t=1,{sign(one.body, s, NOW)}"},
    ),
    "a time that is no number": lambda one, _: (one.body, {"stripe-signature": "t=now,v1=00"}),
    "no signature of this kind": lambda one, s: (
        one.body,
        {"stripe-signature": sign(one.body, s, NOW).replace("v1", "v0")},
    ),
    "forged": lambda one, _: resigned(one.body, "whsec_of_a_forger"),
    "altered": lambda one, _: (one.body.replace(b'"amount_total": 2500', b'"amount_total": 2'), one.headers),
    "one space more": lambda one, _: (one.body + b" ", one.headers),
    "five minutes old and more": lambda one, s: resigned(one.body, s, NOW - 301),
    "five minutes ahead and more": lambda one, s: resigned(one.body, s, NOW + 301),
    "another account": lambda one, s: edited(one, s, account="acct_other"),
    "live mode": lambda one, s: edited(one, s, livemode=True),
    "no mode": lambda one, s: edited(one, s, livemode=None),
    "not an event": lambda one, s: edited(one, s, object="charge"),
    "an event without an id": lambda one, s: edited(one, s, id=None),
    "a list": lambda _, s: resigned(b"[]", s),
    "not JSON": lambda _, s: resigned(b"paid!", s),
    "not text": lambda _, s: (b"\xff\xfe", {"stripe-signature": sign(b"\xff\xfe", s, NOW)}),
    "huge": lambda _, s: resigned(b" " * 1_000_001, s),
}


@pytest.mark.parametrize("name", WRONG)
async def test_what_only_claims_to_be_stripe_is_refused(desk: Desk, name: str) -> None:
    one = await a_webhook(desk)
    body, headers = WRONG[name](one, desk.secret)
    assert (body, headers) != (one.body, one.headers)
    with pytest.raises(BadSignature) as refused:
        await desk.payments.event(Inbound(body, headers), T0)
    assert "whsec" not in str(refused.value)


@pytest.mark.parametrize("drift", [-300, 0, 300])
async def test_clocks_may_differ_by_five_minutes(desk: Desk, drift: int) -> None:
    one = await a_webhook(desk)
    body, headers = resigned(one.body, desk.secret, NOW + drift)
    assert (await desk.payments.event(Inbound(body, headers), T0)).id == f"stripe:{one.event}"


async def test_a_secret_is_replaced_without_losing_an_event(desk: Desk) -> None:
    one = await a_webhook(desk)
    rotated = StripePayments(desk.lab.key, ["whsec_new", desk.secret], desk.clock, base=desk.base)
    assert (await rotated.event(Inbound(one.body, one.headers), T0)).id == f"stripe:{one.event}"
    body, headers = resigned(one.body, "whsec_new")
    assert (await rotated.event(Inbound(body, headers), T0)).id == f"stripe:{one.event}"
    both = {
        "stripe-signature": f"{sign(one.body, 'whsec_old', NOW)},v1={sign(one.body, 'whsec_new', NOW)[-64:]}"
    }
    assert (await rotated.event(Inbound(one.body, both), T0)).id == f"stripe:{one.event}"


async def test_without_a_secret_nothing_is_believed(desk: Desk) -> None:
    one = await a_webhook(desk)
    for secrets in ([], [""]):
        open_door = StripePayments(desk.lab.key, secrets, desk.clock, base=desk.base)
        with pytest.raises(BadSignature):
            await open_door.event(Inbound(one.body, one.headers), T0)


async def test_a_connected_account_hears_its_own_events_only(desk: Desk) -> None:
    one = await a_webhook(desk)
    connected = StripePayments(desk.lab.key, [desk.secret], desk.clock, base=desk.base, account="acct_1")
    with pytest.raises(BadSignature, match="another account"):
        await connected.event(Inbound(one.body, one.headers), T0)
    body, headers = edited(one, desk.secret, account="acct_1")
    assert (await connected.event(Inbound(body, headers), T0)).id == f"stripe:{one.event}"


async def test_a_live_key_hears_live_events_only(desk: Desk) -> None:
    one = await a_webhook(desk)
    live = StripePayments("sk_live_x", [desk.secret], desk.clock, base=desk.base)
    with pytest.raises(BadSignature, match="other mode"):
        await live.event(Inbound(one.body, one.headers), T0)


async def test_an_unknown_type_says_nothing(desk: Desk) -> None:
    one = await a_webhook(desk)
    body, headers = edited(one, desk.secret, type="treasury.something.new")
    event = await desk.payments.event(Inbound(body, headers), T0)
    assert await desk.payments.happenings(event) == []
