"""Lives of a payment that end otherwise than with money that stays: nothing came, a refund failed, a trial, a bill void.

As `tests.support.events` has those of payments that are made; what is told in them is not told in any of those.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from tests.support import events
from tests.support.desk import SECRET, change_plan
from tests.support.events import (
    DAY,
    DONE,
    HOUR,
    SOME,
    WEEK,
    Life,
    an_order,
    coffee,
    gift,
    gone,
    hear,
    kept,
    sealed,
)
from tests.support.paypal_world import opened
from tests.support.shops import selling
from tests.support.stores import Store
from tests.support.stripe import DECLINED, T0, VISA
from tokentill.lab.stripe import StripeLab, serving, sign
from tokentill.ports import Inbound
from tokentill.vendors.embedded.provider import Embedded
from tokentill.vendors.stripe import StripePayments

PENDING_REFUNDS = "4000000000007726"
"""A card of Stripe's: what is given back to it is on its way at first."""
STRIPE = {
    "expired": ("payment_intent.payment_failed", "checkout.session.expired"),
    "never came": ("checkout.session.completed", "checkout.session.async_payment_failed"),
    "refund failed": (
        "charge.succeeded", "checkout.session.completed", "refund.created", "refund.updated", "refund.failed",
    ),
    "trial": (
        "checkout.session.completed", "customer.subscription.created", "invoice.paid",
        "customer.subscription.trial_will_end",
    ),
}  # fmt: skip
PAYPAL = {
    "denied": (
        "CHECKOUT.ORDER.APPROVED", "PAYMENT.CAPTURE.PENDING", "CHECKOUT.ORDER.COMPLETED", "PAYMENT.CAPTURE.DENIED",
        "PAYMENT.CAPTURE.DECLINED",
    ),
    "left": ("CHECKOUT.ORDER.APPROVED", "CHECKOUT.PAYMENT-APPROVAL.REVERSED", "CHECKOUT.ORDER.VOIDED"),
}  # fmt: skip
"""PayPal says denied or declined of a capture; which of them is its own matter, and here it says both."""
TRIAL_DAYS = 14


@contextlib.asynccontextmanager
async def stripe(kind: str) -> AsyncIterator[Life]:
    """A checkout at Stripe's lab that expires, whose money never comes, or of which a refund fails; or a trial."""
    clock = Store("memory", ":memory:").clock
    clock.time = T0
    lab = StripeLab(clock)
    secret = str(lab.listen("http://127.0.0.1:9/stripe")["secret"])
    catalog = change_plan(selling(), "pro", trial_days=TRIAL_DAYS) if kind == "trial" else None

    def signed(body: bytes) -> Inbound:
        return Inbound(body, {"stripe-signature": sign(body, secret, clock.time // 1000)})

    async with serving(lab) as base:
        payments = StripePayments(lab.key, [secret], clock, base=base, retries_max=0)
        what = "plan" if kind == "trial" else "pack"
        world, ordered = await an_order(payments, T0, what, catalog)
        checkout = ordered.checkout or ""
        if kind == "expired":
            lab.pay(checkout, DECLINED)
            lab.expire(checkout)
        elif kind == "never came":
            lab.pay(checkout, VISA, later=True)
            lab.settle(checkout, succeeds=False)
        elif kind == "refund failed":
            lab.pay(checkout, PENDING_REFUNDS)
            await _refunded(lab, payments)
        else:
            lab.pay(checkout, VISA)
            clock.time += (TRIAL_DAYS - 3) * DAY
            lab.catch_up()
        sent = lab.webhooks()
        chosen = [next(one for one in reversed(sent) if one.type == name) for name in STRIPE[kind]]
        first: dict[str, Any] = json.loads(chosen[0].body)
        unknown = json.dumps({**first, "id": "evt_unknown", "type": "issuing_card.created"}).encode()
        foreign = json.dumps({**first, "account": "acct_other"}).encode()
        ends = {"refund failed": ("delivered", 700), "trial": ("delivered", 200)}
        yield Life(
            payments, ordered, [signed(one.body) for one in chosen], [signed(foreign)], signed(unknown), 301_000,
            clock.time, ends.get(kind, ("abandoned", 200)), heard=SOME if kind == "never came" else DONE,
            brings=kind in ends, flagged="refund_failed" if kind == "refund failed" else None, catalog=catalog,
        )  # fmt: skip
        await gone(world)
        await payments.close()


async def _refunded(lab: StripeLab, payments: StripePayments) -> None:
    """A part is given back in Stripe's dashboard, arrives, and comes back."""
    [intent] = lab.world.all("payment_intent")
    params: Any = {"payment_intent": intent["id"], "amount": 900}
    refund = await payments.gateway.v1.refunds.create_async(params=params)
    for succeeds in (True, False):
        lab.finish_refund(refund.id, succeeds=succeeds)


@contextlib.asynccontextmanager
async def paypal(kind: str) -> AsyncIterator[Life]:
    """An order at PayPal's lab that is approved, and whose money is pending and denied; or of which none is taken."""
    async with opened() as theirs:
        outbox, book = theirs.lab.outbox, theirs.lab.book
        world, ordered = await an_order(theirs.paypal, theirs.clock.at, "pack")
        book.approve(ordered.checkout or "")
        if kind == "denied":
            book.capture_status.append("PENDING")
            await theirs.paypal.look(ordered)
            book.settle(theirs.capture(), "DECLINED")
        else:
            book.lapse(ordered.checkout or "")
            book.void(ordered.checkout or "")
        told = outbox.take()

        def also(one: Inbound, name: str, event: str) -> Inbound:
            body = {**json.loads(one.body), "id": name, "event_type": event}
            return outbox.signed(json.dumps(body).encode())

        if kind == "denied":
            told.append(also(told[-1], "WH-DECLINED", "PAYMENT.CAPTURE.DECLINED"))
        assert tuple(json.loads(one.body)["event_type"] for one in told) == PAYPAL[kind]
        yield Life(
            theirs.paypal, ordered, told, [outbox.signed(told[1].body, webhook="SOMEBODYELSES")],
            also(told[0], "WH-UNKNOWN", "VAULT.CREATED"), WEEK, theirs.clock.at,
            ("pending" if kind == "denied" else "abandoned", 200),
            heard=SOME if kind == "denied" else DONE, brings=False,
        )  # fmt: skip
        await gone(world)


@contextlib.asynccontextmanager
async def embedded(kind: str) -> AsyncIterator[Life]:
    """The test page: a card that is declined, then the customer leaves."""
    assert kind == "cancelled"
    store = Store("memory", ":memory:")
    store.clock.time = T0
    ledger = await store.open(catalog=selling())
    provider = Embedded(ledger.rows, SECRET, store.clock, lambda: "http://till.test")
    world, ordered = await an_order(provider, T0, "pack")
    told = [*await kept(provider, await provider.pay(ordered.checkout or "", DECLINED))]
    told += await kept(provider, await provider.cancel(ordered.checkout or ""))
    stranger = Embedded(ledger.rows, b"another till's secret, of 32 byte", store.clock, str)
    yield Life(
        provider, ordered, told, [sealed(stranger, told[1].body)], coffee(provider), 300_001, T0,
        ("abandoned", 200), brings=False,
    )  # fmt: skip
    await gone(world)
    await store.close()


@contextlib.asynccontextmanager
async def embedded_renewal(kind: str) -> AsyncIterator[Life]:
    """A month later at the test provider: credit was taken off the draft, and the customer leaves with the period.

    The draft was told before all of that: of one that is told later no credit is taken.
    """
    assert kind == "left"
    store = Store("memory", ":memory:")
    store.clock.time = T0
    ledger = await store.open(catalog=selling())
    provider = Embedded(ledger.rows, SECRET, store.clock, lambda: "http://till.test")
    world, ordered = await an_order(provider, T0, "plan")
    number, credit = ordered.checkout or "", 5_000
    first = await kept(provider, await provider.pay(number, VISA))
    payment = await provider.payment(number)
    assert payment is not None
    assert payment.next_at is not None
    store.clock.time = world.clock.time = drafted_at = payment.next_at - HOUR
    before = [sealed(provider, one.body, drafted_at) for one in first]
    before += await kept(provider, await provider.renew(number, drafted_at))
    await gift(world, credit)
    await hear(world, "embedded", before)
    store.clock.time = now = payment.next_at
    told = [*await kept(provider, await provider.leave(number, drafted_at, leaving=True))]
    told += await kept(provider, await provider.renew(number, now))
    stranger = Embedded(ledger.rows, b"another till's secret, of 32 byte", store.clock, str)
    yield Life(
        provider, ordered, told, [sealed(stranger, told[0].body, now)], coffee(provider, now), 300_001, now,
        ("abandoned", 0), before, drafted_at, DONE, credit, brings=False, credit_left=credit,
    )  # fmt: skip
    await gone(world)
    await store.close()


ENDINGS: dict[str, Callable[[str], contextlib.AbstractAsyncContextManager[Life]]] = {
    "stripe": stripe,
    "stripe renewal": events.renewal,
    "paypal": paypal,
    "embedded": embedded,
    "embedded renewal": embedded_renewal,
}
TOLD: Mapping[str, Mapping[str, Sequence[str]]] = {
    "stripe": {**events.STRIPE, **STRIPE},
    "stripe renewal": events.STRIPE_RENEWAL,
    "paypal": {**events.PAYPAL, **PAYPAL},
}
"""The types of the events that each life is told in, where the provider's reader goes by types."""
