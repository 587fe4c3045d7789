"""The life of one payment at each payment provider, as the signed events that the provider sends about it.

The provider is real, or its lab on a socket; it has lived the whole life already, so what it is asked about an event is
how things stand now. The till that hears the events is opened anew for every telling (`Life.till`).
"""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from tests.support.desk import SECRET
from tests.support.paypal_world import opened
from tests.support.shops import World, selling
from tests.support.stores import Store, ok
from tests.support.stripe import DECLINED, T0, VISA
from tokentill.flows.checkout import Ask
from tokentill.lab.stripe import Delivery, StripeLab, serving, sign
from tokentill.ports import Inbound, Paying
from tokentill.rules import commands as c
from tokentill.rules.catalog import Catalog
from tokentill.rules.purchases import Purchase
from tokentill.vendors.embedded.provider import Embedded
from tokentill.vendors.embedded.signing import SIGNATURE
from tokentill.vendors.stripe import StripePayments

HOUR = 3_600_000
DAY = 24 * HOUR
WEEK = 7 * DAY
STRIPE_PACK = (
    "payment_intent.payment_failed", "payment_intent.succeeded", "checkout.session.completed", "charge.refunded",
    "charge.dispute.created", "charge.dispute.closed",
)  # fmt: skip
STRIPE_LATER = (
    "checkout.session.completed", "checkout.session.async_payment_succeeded", "radar.early_fraud_warning.created",
    "refund.created", "charge.dispute.updated", "charge.dispute.closed",
)  # fmt: skip
STRIPE_RENEWAL = {
    "renewal": (
        "invoice.created", "invoice.payment_failed", "customer.subscription.updated", "invoice.paid",
        "charge.dispute.created", "charge.dispute.closed",
    ),
    "given up": (
        "invoice.created", "invoice.payment_failed", "customer.subscription.updated", "customer.subscription.deleted",
        "invoice.paid",
    ),
    "voided": (
        "invoice.created", "invoice.payment_failed", "customer.subscription.updated", "invoice.voided",
    ),
}  # fmt: skip
STRIPE_RENEWAL["with credit"] = STRIPE_RENEWAL["renewal"]
STRIPE_PLAN = (
    "checkout.session.completed", "invoice.paid", "customer.subscription.created", "charge.refunded",
    "charge.dispute.created", "charge.dispute.closed",
)  # fmt: skip
STRIPE = {"pack": STRIPE_PACK, "plan": STRIPE_PLAN, "later": STRIPE_LATER}
PAYPAL = {
    "pack": (
        "CHECKOUT.ORDER.APPROVED", "PAYMENT.CAPTURE.COMPLETED", "CHECKOUT.ORDER.COMPLETED", "PAYMENT.CAPTURE.REFUNDED",
        "CUSTOMER.DISPUTE.CREATED", "CUSTOMER.DISPUTE.RESOLVED",
    ),
    "later": (
        "PAYMENT.CAPTURE.PENDING", "PAYMENT.CAPTURE.COMPLETED", "PAYMENT.CAPTURE.REVERSED",
        "CUSTOMER.DISPUTE.CREATED", "CUSTOMER.DISPUTE.UPDATED", "CUSTOMER.DISPUTE.RESOLVED",
    ),
}  # fmt: skip


DONE = frozenset({"done"})
SOME = DONE | {"ignored"}


class Life(Struct):
    """One payment: the provider, the order as it was placed, and what was told of it, in the order it happened.

    `foreign` are events like the first of them that are signed well and for somebody else; `unknown` is one of a type
    that nobody knows; `stale_ms`: an event is too old by then. `ends` is how the order ends, and with how many tokens.
    """

    provider: Any
    order: Purchase
    told: list[Inbound]
    foreign: list[Inbound]
    unknown: Inbound
    stale_ms: int
    now: int
    ends: tuple[str, int]
    before: list[Inbound] = []
    """Of a renewal: what was told of the subscription a month before; with credit, that its invoice is drafted, too."""
    before_at: int = T0
    heard: frozenset[str] = DONE
    """How its events stand in the end: where one says nothing by then, it is ignored."""
    credit: int = 0
    """What the customer has of it by then; it pays for the renewal."""
    then: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext
    """The provider as it was when that was told."""
    brings: bool = True
    """Whether money came in the end, or a trial began, so that there are tokens for it."""
    flagged: str | None = None
    """Why a person should look at it in the end."""
    credit_left: int = 0
    """What the customer has of the credit in the end."""
    catalog: Catalog | None = None
    """What is sold, where it is not what is sold in every life."""

    async def till(
        self, order: Purchase | None = None, *, ordered: bool = True, store: Store | None = None
    ) -> World:
        """A new till with this order on record, that has heard of nothing yet."""
        store = store or Store("memory", ":memory:")
        store.clock.time = self.now
        world = World(store, await store.open(catalog=self.catalog or selling()), self.provider)
        await world.begin(self.order.organization, plan="starter" if self.order.kind == "plan" else "pro")
        if ordered:
            await world.rows.add(replace(order or self.order, version=0))
        if self.before:
            world.clock.time = self.before_at
            await gift(world, self.credit)
            with self.then():
                await hear(world, self.provider.name, self.before)
            world.clock.time = self.now
        return world


async def gift(world: World, credit: int) -> None:
    """The customer gets so much credit."""
    if credit:
        await ok(world.ledger, "acme", c.Grant(tokens=credit, origin="credit", unit="money"))


async def gone(world: World) -> None:
    """The till is closed, its provider lives on."""
    await world.clean()
    await world.shop.clerk.stop()
    await world.store.close()


async def an_order(
    provider: Any, now: int, kind: str, catalog: Catalog | None = None
) -> tuple[World, Purchase]:
    """A till where somebody has just ordered a pack or a plan."""
    store = Store("memory", ":memory:")
    store.clock.time = now
    world = World(store, await store.open(catalog=catalog or selling()), provider)
    await world.begin("acme", plan="starter" if kind == "plan" else "pro")
    if kind == "plan":
        ordered = await world.shop.subscribing.start(Ask(organization="acme"), "pro")
        assert isinstance(ordered, Purchase), ordered
        return world, ordered
    return world, await world.place(world.order("acme", provider=provider.name))


@contextlib.asynccontextmanager
async def stripe(kind: str) -> AsyncIterator[Life]:
    """A checkout at Stripe's lab: declined, paid, given back in part, disputed, won.

    "later": the money comes days after the checkout, and the card network warns of it.
    """
    clock = Store("memory", ":memory:").clock
    clock.time = T0
    lab = StripeLab(clock)
    secret = str(lab.listen("http://127.0.0.1:9/stripe")["secret"])
    async with serving(lab) as base:
        payments = StripePayments(lab.key, [secret], clock, base=base, retries_max=0)
        world, ordered = await an_order(payments, T0, kind)
        lab.pay(ordered.checkout or "", DECLINED)
        lab.pay(ordered.checkout or "", VISA, later=kind == "later")
        if kind == "later":
            lab.settle(ordered.checkout or "")
        intents: Any = lab.world.all("payment_intent")
        payment = next(str(one["id"]) for one in intents if one["status"] == "succeeded")
        part = ordered.amount * 900 // 2900
        await payments.gateway.v1.refunds.create_async(params={"payment_intent": payment, "amount": part})
        if kind == "later":
            lab.warn(payment)
        dispute: Any = lab.dispute(payment)
        if kind == "later":
            lab.decide(dispute["id"], "under_review")
        lab.decide(dispute["id"], "won")
        sent = lab.webhooks()
        chosen = [next(one for one in reversed(sent) if one.type == name) for name in STRIPE[kind]]

        def edited(**values: object) -> Inbound:
            body = json.dumps({**json.loads(chosen[1].body), **values}).encode()
            return Inbound(body, {"stripe-signature": sign(body, secret, T0 // 1000)})

        before, brought = (0, 200) if kind == "plan" else (200, 500)
        told = [Inbound(one.body, one.headers) for one in chosen]
        yield Life(
            payments, ordered, told, [edited(account="acct_other"), edited(livemode=True)],
            edited(id="evt_unknown", type="issuing_card.created"), 301_000, T0,
            ("partly_refunded", before + brought - brought * part // ordered.amount),
            heard=SOME if kind == "later" else DONE,
        )  # fmt: skip
        await gone(world)
        await payments.close()


@contextlib.asynccontextmanager
async def renewal(kind: str) -> AsyncIterator[Life]:
    """A month later at Stripe's lab: declined, then paid, disputed and won; or given up, then paid; or voided.

    "with credit": as the first, and credit was taken off the invoice while it was a draft.
    """
    clock = Store("memory", ":memory:").clock
    clock.time = T0
    lab = StripeLab(clock)
    secret = str(lab.listen("http://127.0.0.1:9/stripe")["secret"])
    credit = 5_000 if kind == "with credit" else 0

    def signed(sent: Sequence[Delivery]) -> list[Inbound]:
        """Each is signed anew when it is sent again."""
        stamp = clock.time // 1000
        return [Inbound(one.body, {"stripe-signature": sign(one.body, secret, stamp)}) for one in sent]

    async with serving(lab) as base:
        payments = StripePayments(lab.key, [secret], clock, base=base, retries_max=0)
        world, ordered = await an_order(payments, T0, "plan")
        lab.pay(ordered.checkout or "", VISA)
        if credit:
            clock.time += 30 * DAY
            lab.catch_up()
        sent, before_at = lab.webhooks(), clock.time
        before = signed([one for one in sent if one.type in (*STRIPE_PLAN, "invoice.created")])
        then = _past(lab, clock)
        if credit:
            world.clock.time = before_at
            await gift(world, credit)
            await hear(world, "stripe", before)
        [subscription] = lab.world.all("subscription")
        lab.change_card(subscription["id"], DECLINED)
        clock.time = T0 + (50 if kind == "given up" else 31) * DAY
        lab.catch_up()
        invoice = next(one for one in lab.world.all("invoice") if one["status"] == "open")
        if kind == "voided":
            await payments.gateway.v1.invoices.void_invoice_async(invoice["id"])
        else:
            lab.pay_invoice(invoice["id"], VISA)
        if kind in ("renewal", "with credit"):
            intents: Any = lab.world.all("payment_intent")
            paid = next(str(one["id"]) for one in intents if one["status"] == "succeeded")
            dispute: Any = lab.dispute(paid)
            lab.decide(dispute["id"], "won")
        sent += lab.webhooks()
        told = signed(
            [next(one for one in reversed(sent) if one.type == name) for name in STRIPE_RENEWAL[kind]]
        )
        issued = json.dumps({**json.loads(told[0].body), "id": "evt_unknown", "type": "issuing_card.created"})
        nobody = Inbound(
            issued.encode(), {"stripe-signature": sign(issued.encode(), secret, clock.time // 1000)}
        )
        yield Life(
            payments, ordered, told, [], nobody, 301_000, clock.time,
            ("abandoned", 0) if kind == "voided" else ("delivered", 200), before, before_at, SOME, credit, then,
            brings=kind != "voided",
        )  # fmt: skip
        await gone(world)
        await payments.close()


def _past(lab: StripeLab, clock: Any) -> Callable[[], contextlib.AbstractContextManager[None]]:
    """The lab as it is now, to come back to for a while."""
    things, at = lab.world.__dict__, clock.time
    names = ("tables", "index", "notes")
    past = copy.deepcopy([things[name] for name in names])

    @contextlib.contextmanager
    def then() -> Iterator[None]:
        present, now = [things[name] for name in names], clock.time
        things.update(zip(names, copy.deepcopy(past), strict=True))
        clock.time = at
        yield
        clock.time = now
        things.update(zip(names, present, strict=True))

    return then


@contextlib.asynccontextmanager
async def paypal(kind: str) -> AsyncIterator[Life]:
    """An order at PayPal's lab: approved, taken, given back in part, disputed, won.

    "later": the money is pending at first, and PayPal takes a part of it back for the dispute that is won.
    """
    assert kind in ("pack", "later"), "no plan is sold there"
    async with opened() as theirs:
        outbox, book = theirs.lab.outbox, theirs.lab.book
        world, ordered = await an_order(theirs.paypal, theirs.clock.at, kind)
        if kind == "later":
            book.capture_status.append("PENDING")
        book.approve(ordered.checkout or "")
        await theirs.paypal.look(ordered)
        capture = list(book.captures)[-1]
        if kind == "later":
            book.settle(capture)
            book.reverse(capture, "9.00")
        else:
            await theirs.paypal.refund(replace(ordered, payment=capture), 900, "a refund")
        dispute = book.dispute(capture)
        if kind == "later":
            book.review(dispute)
        book.resolve(dispute, "RESOLVED_SELLER_FAVOUR")
        told = outbox.take(*PAYPAL[kind])
        assert tuple(json.loads(one.body)["event_type"] for one in told) == PAYPAL[kind]
        body = json.dumps({**json.loads(told[0].body), "id": "WH-UNKNOWN", "event_type": "VAULT.CREATED"})
        yield Life(
            theirs.paypal, ordered, told, [outbox.signed(told[1].body, webhook="SOMEBODYELSES")],
            outbox.signed(body.encode()), WEEK, theirs.clock.at,
            ("delivered", 700) if kind == "later" else ("partly_refunded", 700 - 500 * 900 // 2900),
            heard=SOME if kind == "later" else DONE,
        )  # fmt: skip
        await gone(world)


@contextlib.asynccontextmanager
async def embedded(kind: str) -> AsyncIterator[Life]:
    """The test page: two cards that are declined, one that pays, then a dispute that is won."""
    store = Store("memory", ":memory:")
    store.clock.time = T0
    ledger = await store.open(catalog=selling())
    provider = Embedded(ledger.rows, SECRET, store.clock, lambda: "http://till.test")
    world, ordered = await an_order(provider, T0, kind)
    number = ordered.checkout or ""
    told: list[Inbound] = []
    for card in (DECLINED, "4000000000009995", "4000000000005423"):
        told += await kept(provider, await provider.pay(number, card))
    for state in ("open", "won"):
        told += await kept(provider, await provider.dispute(number, "open" if state == "open" else "won"))
    stranger = Embedded(ledger.rows, b"another till's secret, of 32 byte", store.clock, str)
    yield Life(
        provider, ordered, told, [sealed(stranger, told[1].body)], coffee(provider), 300_001, T0,
        ("delivered", 200 if kind == "plan" else 700),
    )  # fmt: skip
    await gone(world)
    await store.close()


@contextlib.asynccontextmanager
async def embedded_renewal(kind: str) -> AsyncIterator[Life]:
    """A month later at the test provider: drafted, declined twice, paid with another card."""
    assert kind == "renewal"
    store = Store("memory", ":memory:")
    store.clock.time = T0
    ledger = await store.open(catalog=selling())
    provider = Embedded(ledger.rows, SECRET, store.clock, lambda: "http://till.test")
    world, ordered = await an_order(provider, T0, "plan")
    number = ordered.checkout or ""
    before = [*await kept(provider, await provider.pay(number, VISA))]
    assert await provider.change_card(number, DECLINED, T0) == Paying("idle"), "nothing is owed yet"
    store.clock.time = now = T0 + 35 * DAY
    told = [one for _ in range(3) for one in await kept(provider, await provider.renew(number, now))]
    told += await kept(provider, await provider.change_card(number, VISA, now))
    stranger = Embedded(ledger.rows, b"another till's secret, of 32 byte", store.clock, str)
    yield Life(
        provider, ordered, told, [sealed(stranger, told[0].body)], coffee(provider, now), 300_001, now,
        ("delivered", 200), before,
    )  # fmt: skip
    await gone(world)
    await store.close()


async def kept(provider: Embedded, paying: Paying) -> Sequence[Inbound]:
    for event in paying.events:
        await provider.heard(event)
    return paying.events


def sealed(till: Embedded, body: bytes, at: int = T0) -> Inbound:
    """A body signed by this till, which would never say it itself."""
    signature = till._signing._sign(str(at), body)
    return Inbound(body, {SIGNATURE: f"t={at},v1={signature}"})


def coffee(provider: Embedded, at: int = T0) -> Inbound:
    """An event of the test provider that nobody knows."""
    body = json.dumps({"id": "unknown", "type": "coffee", "happenings": []}).encode()
    return sealed(provider, body, at)


LIVES: dict[str, Callable[[str], contextlib.AbstractAsyncContextManager[Life]]] = {
    "stripe": stripe,
    "stripe renewal": renewal,
    "paypal": paypal,
    "embedded": embedded,
    "embedded renewal": embedded_renewal,
}


async def hear(world: World, name: str, told: Sequence[Inbound]) -> None:
    """Each event in this order, with nobody in between; what has no purchase yet is tried again at the end."""
    for one in told:
        await world.shop.take_in(name, one)
    await world.later(HOUR)
