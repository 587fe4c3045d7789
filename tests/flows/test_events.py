"""Events of a payment: twice, a hundred at once, in every order, unknown, wrong: one grant, one end (R-PACK-3).

Every case ends with the books verified, so no token appears or vanishes on the way.
"""

import asyncio
import itertools
from collections.abc import Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from tests.support.scripted import DOWN
from tests.support.shops import World
from tests.support.stores import ok
from tokentill.ports import BadSignature, Inbound
from tokentill.rules import commands as c
from tokentill.rules import happenings as h
from tokentill.rules.purchases import Purchase, next_step

PACK = 500
PRICE = 2900
TOGETHER = 48
"""So many purchases are under way at the same time."""


def facts(purchase: Purchase, nth: int, *, named: bool = True) -> list[h.AnyHappening]:
    """All that can be told of one payment: it is declined, ended too early, paid, contested, won, given back in part."""
    at, payment = purchase.created_at, f"pi_x{nth}"
    whose: dict[str, Any] = {"purchase": purchase.id, "organization": purchase.organization} if named else {}
    return [
        h.Declined(at=at + 1, attempt=f"try_{nth}", payment=payment, **whose),
        h.Ended(at=at + 2, checkout=purchase.checkout, **whose),
        h.Paid(
            at=at + 3, payment=payment, amount=PRICE, currency="USD", method="card_a", checkout=purchase.checkout,
            **whose,
        ),
        h.Disputed(at=at + 4, payment=payment, dispute=f"dp_{nth}", state="open", amount=PRICE, currency="USD"),
        h.Disputed(at=at + 5, payment=payment, dispute=f"dp_{nth}", state="won", amount=PRICE, currency="USD"),
        h.Refunded(at=at + 6, payment=payment, refunded=900, currency="USD"),
    ]  # fmt: skip


def end(purchase: Purchase) -> tuple[Any, ...]:
    """How a purchase ended, whatever the way there."""
    assert next_step(purchase) is None
    return (
        purchase.state, purchase.paid_at, purchase.payment and purchase.payment[:4], purchase.refunded,
        len(purchase.lots), purchase.flagged, purchase.done.count("deliver"), purchase.due_at,
        purchase.done.count("set_aside") - purchase.done.count("give_back"), purchase.done.count("take_back"),
    )  # fmt: skip


async def take_in(world: World, told: Sequence[h.AnyHappening]) -> None:
    """Each happening as an event of its own, in this order, with nobody in between."""
    for fact in told:
        event = await world.shop.webhooks.receive(world.provider.name, world.provider.told(fact))
        if event is not None:
            await world.shop.webhooks.process(event)


async def test_every_order_of_six_events(
    shop_world: World, pytestconfig: pytest.Config, run_seed: int
) -> None:  # R-PACK-3, R-PACK-10, R-REF-6
    """At night; else half of them on SQLite, and an eighth on PostgreSQL, where each takes longer."""
    world = shop_world
    orders = list(itertools.permutations(range(6)))
    if not pytestconfig.getoption("--nightly"):
        step = 2 if world.store.engine == "sqlite" else 8
        orders = orders[run_seed % step :: step]
    organizations = [f"org_{nth:03d}" for nth in range(len(orders))]
    await world.begin(*organizations)

    async def one(nth: int) -> None:
        purchase = await world.place(world.order(organizations[nth]))
        told = facts(purchase, nth, named=nth % 2 == 0)
        await take_in(world, [told[place] for place in orders[nth]])

    for first in range(0, len(orders), TOGETHER):
        await asyncio.gather(*map(one, range(first, min(first + TOGETHER, len(orders)))))
    await world.later(60_000)
    ends, balances = set(), set()
    for name in organizations:
        [purchase] = await world.purchases(name)
        ends.add(end(purchase))
        balances.add(await world.balance(name))
    assert len(ends) == 1, ends
    assert ends.pop()[:5] == ("partly_refunded", world.clock.time - 60_000 + 3, "pi_x", 900, 1)
    assert balances == {200 + PACK - PACK * 900 // PRICE}, "what was given back takes its share of the tokens"
    assert set(await world.events()) == {"done"}
    await world.clean()


@pytest.mark.parametrize("kind", range(6))
async def test_an_event_that_comes_a_hundred_times_at_once(shop_world: World, kind: int) -> None:  # R-PACK-3
    """In two processes, and each time with the payment that it is about told before."""
    world = shop_world
    await world.begin("acme")
    purchase = await world.place(world.order("acme"))
    told = facts(purchase, 0)
    if kind > 2:
        await world.tell(told[2])
        await world.settle()
    shops = [world.shop, world.open()]
    new = await asyncio.gather(
        *(world.tell(told[kind], shop=shops[nth % 2]) for nth in range(100)),
        # The same happening under other names: a provider may tell of it in several events.
        *(world.tell(told[kind], shop=shops[nth % 2], name=f"other_{nth}") for nth in range(20)),
    )
    assert sum(new[:100]) == 1
    assert sum(new[100:]) == 20
    await asyncio.gather(*(world.settle(shop) for shop in shops))
    await world.later(60_000)
    purchase = await world.purchase(purchase)
    paid = kind >= 2
    assert purchase.done.count("deliver") == int(paid)
    contested = {3: PACK, 5: PACK * 900 // PRICE}.get(kind, 0)
    assert await world.balance("acme") == 200 + (PACK if paid else 0) - contested
    await world.clean()
    await shops[1].clerk.stop()


@pytest.mark.parametrize("wrong", [{"amount": 2899}, {"amount": 2901}, {"amount": 0}, {"currency": "EUR"}])
async def test_a_payment_of_something_else_delivers_nothing(
    shop_world: World, wrong: dict[str, Any]
) -> None:  # R-PACK-3
    world = shop_world
    await world.begin("acme")
    purchase = await world.place(world.order("acme"))
    fields = {"amount": PRICE, "currency": "USD", **wrong}
    await world.tell(h.Paid(at=1, purchase=purchase.id, organization="acme", payment="pi_1", **fields))
    await world.settle()
    purchase = await world.purchase(purchase)
    assert (purchase.state, purchase.flagged, purchase.lots) == ("mismatched", "mismatched", ())
    assert await world.balance("acme") == 200
    assert await world.alerts() == ["mismatched"]
    await world.clean()


async def test_a_provider_that_is_away_for_days_loses_no_event(shop_world: World) -> None:  # R-PACK-3
    world = shop_world
    await world.begin("acme")
    purchase = await world.place(world.order("acme"))
    facts = world.provider.pay(purchase.checkout or "")
    world.provider.fail = {"happenings": [DOWN] * 1000, "look": [DOWN] * 1000}
    await world.tell(*facts)
    for _ in range(48):
        await world.later(3_600_000)
    assert (await world.events(), await world.alerts()) == ({"waiting": 1}, ["late_events"])
    assert world.provider.log.count("look") <= 50, "it is asked now and then, not all the time"
    world.provider.fail = {}
    await world.later(3_600_000)
    assert ((await world.purchase(purchase)).state, await world.balance("acme")) == ("delivered", 200 + PACK)
    await world.clean()


@pytest.mark.parametrize("back", ["refund", "dispute"])
@pytest.mark.parametrize("which", ["pi_1", "pi_2"])
async def test_of_two_payments_one_may_go_back(shop_world: World, back: str, which: str) -> None:  # R-PACK-3
    """The customer paid twice, and the bank or the operator gives one of them back: the other pays for the pack."""
    world = shop_world
    await world.begin("acme")
    purchase = await world.place(world.order("acme"))
    [first] = world.provider.pay(purchase.checkout or "")
    await world.tell(first)
    await world.settle()
    await world.tell(replace(first, payment="pi_2", at=first.at + 5))
    await world.settle()
    fact = (
        h.Refunded(at=9, payment=which, refunded=PRICE, currency="USD")
        if back == "refund"
        else h.Disputed(at=9, payment=which, dispute="d", state="lost", amount=PRICE, currency="USD")
    )
    await world.tell(fact)
    await world.settle()
    found = await world.purchase(purchase)
    assert (found.state, found.flagged, found.payment) == (
        "delivered",
        "paid_twice",
        {"pi_1": "pi_2"}.get(which, "pi_1"),
    )
    assert await world.balance("acme") == 200 + PACK
    other = {"pi_1": "pi_2", "pi_2": "pi_1"}[which]
    await world.tell(
        h.Disputed(at=10, payment=other, dispute="e", state="lost", amount=PRICE, currency="USD")
    )
    await world.settle()
    assert (await world.purchase(purchase)).state in ("charged_back", "refunded")
    assert await world.balance("acme") == 200
    await world.clean()


async def test_a_refund_that_did_not_arrive_asks_for_a_person(shop_world: World) -> None:  # R-PACK-4, R-REF-6
    world = shop_world
    await world.begin("acme")
    purchase = await world.place(world.order("acme"))
    facts = world.provider.pay(purchase.checkout or "")
    await world.tell(*facts)
    await world.settle()
    await world.tell(h.RefundFailed(at=2, payment="pi_1", refund="re_1", amount=900, currency="USD"))
    await world.settle()
    assert (await world.purchase(purchase)).flagged == "refund_failed"
    assert await world.alerts() == ["refund_failed"]


async def test_an_event_of_nobodys_purchase_waits_and_is_given_up(shop_world: World) -> None:  # R-PACK-3
    world = shop_world
    await world.begin("acme")
    await world.tell(h.Paid(at=1, payment="pi_9", amount=PRICE, currency="USD", purchase="0" * 32))
    await world.tell(h.Refunded(at=1, payment="pi_9", refunded=1, currency="USD"))
    await world.settle()
    assert await world.events() == {"waiting": 2}
    for _ in range(40):
        await world.later(3_600_000)
    assert await world.events() == {"dead": 2}
    assert await world.alerts() == ["dead_event", "dead_event"]
    assert await world.balance("acme") == 200


async def test_an_event_that_overtakes_its_order_waits_for_it(shop_world: World) -> None:  # R-PACK-3
    world = shop_world
    await world.begin("acme")
    ordered = world.order("acme")
    paid = h.Paid(
        at=1, payment="pi_1", amount=PRICE, currency="USD", purchase=ordered.id, organization="acme"
    )
    await world.tell(paid)
    await world.settle()
    assert await world.events() == {"waiting": 1}
    await world.place(ordered)
    await world.later(1_000)
    assert (await world.purchase(ordered)).state == "delivered"
    assert await world.balance("acme") == 200 + PACK


async def test_a_type_that_says_nothing_is_ignored_and_a_forged_one_refused(shop_world: World) -> None:
    world = shop_world  # R-PACK-3
    await world.tell()
    await world.settle()
    assert await world.events() == {"ignored": 1}
    real = world.provider.told(h.Ended(at=1, checkout="cs_1"))
    with pytest.raises(BadSignature):
        await world.shop.receive(world.provider.name, Inbound(real.body + b" ", real.headers))
    assert await world.events() == {"ignored": 1}


async def test_what_is_delivered_late_or_twice_is_honoured_and_flagged(shop_world: World) -> None:  # R-PACK-4
    world = shop_world
    await world.begin("acme")
    late, second, third = [await world.place(world.order("acme")) for _ in range(3)]
    await world.tell(h.Ended(at=1, purchase=late.id, organization="acme"))
    for nth, purchase in enumerate((second, third, late)):
        await world.tell(*world.provider.pay(purchase.checkout or ""))
        await world.settle()
        assert await world.balance("acme") == 200 + (nth + 1) * PACK
    assert (await world.purchase(late)).flagged == "over_limit"
    again = h.Paid(
        at=world.clock.now(), payment="pi_again", amount=PRICE, currency="USD", purchase=second.id, organization="acme"
    )  # fmt: skip
    await world.tell(again)
    await world.settle()
    assert (await world.purchase(second)).flagged == "paid_twice"
    assert await world.balance("acme") == 200 + 3 * PACK
    assert await world.alerts() == ["over_limit", "paid_twice"]


async def test_suspicious_patterns_raise_an_alert_once(shop_world: World) -> None:  # R-PACK-4
    world = shop_world
    await world.begin("a", "b", "c")
    for name in ("a", "b", "c"):
        purchase = await world.place(world.order(name))
        await world.tell(*world.provider.pay(purchase.checkout or "", "card_shared"))
    await world.settle()
    assert await world.alerts() == ["shared_method"]
    purchase = await world.place(world.order("a"))
    whose = {"purchase": purchase.id, "organization": "a"}
    for nth in range(4):
        await world.tell(h.Declined(at=world.clock.now(), attempt=f"t{nth}", **whose))
    await world.settle()
    assert await world.alerts() == ["shared_method"]
    await world.tell(h.Declined(at=world.clock.now(), attempt="t5", **whose))
    await world.tell(h.Suspected(at=world.clock.now(), payment="pi_1", warning="w"))
    await world.tell(
        h.Disputed(at=1, payment="pi_1", dispute="d", state="open", amount=PRICE, currency="USD")
    )
    await world.settle()
    assert await world.alerts() == ["declines", "dispute", "fraud_warning", "shared_method"]


async def test_a_dispute_sets_tokens_aside_and_its_end_decides(shop_world: World) -> None:  # R-REF-6
    world = shop_world
    await world.begin("won", "lost", "spent")
    for name in ("won", "lost", "spent"):
        purchase = await world.place(world.order(name))
        [paid] = world.provider.pay(purchase.checkout or "")
        assert isinstance(paid, h.Paid)
        await world.tell(paid)
        await world.settle()
        if name == "spent":
            while await world.balance(name) >= 3:
                await ok(world.ledger, name, c.Charge(feature="generate_goal", quantity=1))
        fields: dict[str, Any] = {
            "payment": paid.payment,
            "dispute": f"d_{name}",
            "amount": PRICE,
            "currency": "USD",
        }
        await world.tell(h.Disputed(at=1, state="open", **fields))
        await world.settle()
        assert await world.balance(name) == (0 if name == "spent" else 200)
        await world.tell(h.Disputed(at=2, state="won" if name == "won" else "lost", **fields))
        await world.settle()
    assert await world.balance("won") == 200 + PACK
    assert await world.balance("lost") == 200
    assert [(await world.purchases(name))[0].state for name in ("won", "lost", "spent")] == [
        "delivered", "charged_back", "charged_back"]  # fmt: skip
    await world.clean()


async def test_a_step_that_the_account_refuses_asks_for_a_person(shop_world: World) -> None:  # R-PACK-3
    world = shop_world
    await world.begin("acme")
    purchase = await world.place(world.order("nobody"))
    await world.tell(*world.provider.pay(purchase.checkout or ""))
    await world.settle()
    stuck = await world.purchase(purchase)
    assert (stuck.state, stuck.doing) == ("paid", "deliver")
    assert (stuck.problem or "").startswith("unknown_organization")
    assert await world.alerts() == ["undelivered"]
    await world.begin("nobody")
    await world.later(3_600_000)
    healed = await world.purchase(purchase)
    assert (healed.state, healed.problem, await world.balance("nobody")) == ("delivered", None, 200 + PACK)
