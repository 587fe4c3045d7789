"""Events of a random life of a purchase, in any order, twice, late or never sent again: one end (R-PACK-3)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.stripe import (
    ASKS_ALWAYS,
    DECLINED,
    NO_MONEY,
    T0,
    VISA,
    Desk,
    Watch,
    key,
    order,
    plan,
    purchase,
)
from tokentill.lab.stripe import Delivery, StripeLab, serving
from tokentill.ports.shop import Inbound
from tokentill.rules import happenings as h
from tokentill.rules.purchases import Purchase, merge
from tokentill.vendors.stripe import StripePayments

DISPUTES = "4000000000000259"
WARNS = "4000000000005423"

# What customers, banks and the seller do, in any order; what cannot be done just then is refused and that is all.
DEEDS = (
    f"pay {VISA}", f"pay {DECLINED}", f"pay {NO_MONEY}", f"pay {ASKS_ALWAYS}", f"pay {DISPUTES}", f"pay {WARNS}",
    f"later {VISA}", "settle", "fail", "expire", "refund 700", "refund 2500", "dispute", "won", "lost", "warn",
    "wait",
)  # fmt: skip


async def live(desk: Desk, begun: Purchase, deeds: Sequence[str]) -> list[Delivery]:
    """Do it all; every webhook that came of it."""
    plan_of_it = begun.kind == "plan"
    started = await desk.payments.checkout(order(begun, interval="month" if plan_of_it else None), key(1))
    for number, deed in enumerate(deeds):
        await act(desk, started.checkout, number, *deed.split())
    return desk.lab.webhooks()


async def act(desk: Desk, session: str, number: int, deed: str, what: str = "") -> None:
    lab = desk.lab
    payment = lab.world.get("checkout.session", session)["payment_intent"] or ""
    disputes = lab.world.all("dispute")
    match deed:
        case "pay":
            lab.pay(session, what)
        case "later":
            lab.pay(session, what, later=True)
        case "settle" | "fail":
            if payment:
                lab.settle(session, succeeds=deed == "settle")
        case "expire":
            lab.expire(session)
        case "refund":
            asked = {"payment_intent": payment, "amount": what}
            body = "&".join(f"{name}={value}" for name, value in asked.items()).encode()
            headers = {"authorization": f"Bearer {lab.key}", "idempotency-key": f"refund {number}"}
            await lab.api.answer("POST", "/v1/refunds", headers, body)
        case "dispute":
            lab.dispute(payment)
        case "won" | "lost":
            if disputes and disputes[0]["status"] == "needs_response":
                lab.decide(disputes[0]["id"], deed)
        case "warn":
            lab.warn(payment)
        case _:
            lab.advance(3600)


def ours(of: Purchase, facts: Sequence[h.AnyHappening]) -> list[h.AnyHappening]:
    """The facts that a till would find to belong to the purchase: by its id, or by its payment."""
    payments = {fact.payment for fact in facts if isinstance(fact, h.Paid) and fact.purchase == of.id}
    return [
        fact
        for fact in facts
        if fact.purchase == of.id or (fact.purchase is None and getattr(fact, "payment", None) in payments)
    ]


async def ends(begun: Purchase, deeds: Sequence[str], shuffle: st.DataObject) -> list[Purchase]:
    """Where the purchase ends: told in order, and in another order with some events twice."""
    watch = Watch(T0)
    lab = StripeLab(watch)
    endpoint = lab.listen("http://127.0.0.1:9/")
    async with serving(lab) as base:
        payments = StripePayments(lab.key, [endpoint["secret"]], watch, base=base, retries_max=0)
        desk = Desk(lab, payments, watch, base, endpoint["secret"])
        try:
            sent = await live(desk, begun, deeds)
            told = [await desk.read([one]) for one in sent]
        finally:
            await payments.close()
    again = shuffle.draw(st.lists(st.sampled_from(range(len(told))), max_size=4)) if told else []
    mixed = [told[nth] for nth in shuffle.draw(st.permutations([*range(len(told)), *again]))]
    found = []
    for telling in (told, mixed):
        known = begun
        for fact in ours(begun, [fact for facts in telling for fact in facts]):
            known = merge(known, fact)
        found.append(known)
    return found


@settings(max_examples=30)
@given(st.lists(st.sampled_from(DEEDS), min_size=1, max_size=8), st.data())
def test_the_life_of_a_pack_ends_the_same_in_every_order(deeds: list[str], shuffle: st.DataObject) -> None:
    one, other = asyncio.run(ends(purchase(), deeds, shuffle))
    assert one == other


@pytest.mark.nightly
@given(st.lists(st.sampled_from(DEEDS), min_size=1, max_size=12), st.data())
def test_the_life_of_a_pack_ends_the_same_in_every_order_at_length(
    deeds: list[str], shuffle: st.DataObject
) -> None:
    one, other = asyncio.run(ends(purchase(), deeds, shuffle))
    assert one == other


@settings(max_examples=15)
@given(st.lists(st.sampled_from(DEEDS), min_size=1, max_size=6), st.data())
def test_the_life_of_a_plan_ends_the_same_in_every_order(deeds: list[str], shuffle: st.DataObject) -> None:
    one, other = asyncio.run(ends(plan(), deeds, shuffle))
    assert one == other


async def test_a_webhook_a_hundred_times_at_once_pays_once(desk: Desk) -> None:
    started = await desk.payments.checkout(order(), key(1))
    desk.lab.pay(started.checkout, VISA)
    inbound = [Inbound(one.body, one.headers) for one in desk.lab.webhooks()] * 100
    events = await asyncio.gather(*[desk.payments.event(one, T0) for one in inbound])
    assert len({event.id for event in events}) == len(inbound) // 100
    told = await asyncio.gather(*[desk.payments.happenings(event) for event in events])
    known = purchase()
    for facts in told:
        for fact in facts:
            known = merge(known, fact)
    assert (known.state, len(known.payments), known.flagged) == ("paid", 1, None)
