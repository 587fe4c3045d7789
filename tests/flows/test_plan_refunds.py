"""Periods of plans given back, where the catalog says so: the money, the tokens, the end of the plan (R-REF-1)."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from tests.flows.test_refunding import accepted, quoted, read
from tests.flows.test_subscribe import ENTERPRISE, PRO, plan_of, row, subscribe, use
from tests.support.scripted import DOWN, MONTH
from tests.support.shops import World, make_world, selling
from tests.support.stores import Store, ok, sqlite_url
from tests.support.tripwire import Crash, Wire
from tokentill.flows.checkout import Ask
from tokentill.ports import VendorRefused
from tokentill.rules import commands as c
from tokentill.rules import happenings as h
from tokentill.rules.catalog import Rollover
from tokentill.rules.credit import available
from tokentill.rules.purchases import Purchase
from tokentill.rules.refund_texts import choice, why_not
from tokentill.rules.refusals import Refusal

DAY = 86_400_000


def catalog(automatic_max: int | None = None, **plan: Any) -> Any:
    found = selling()
    plans = {**found.plans, "pro": replace(found.plans["pro"], **plan)}
    policy = replace(
        found.refunds, plans=True, guarantee_percent=None, automatic_max=automatic_max, review_accounts=10_000
    )
    return replace(found, plans=plans, refunds=policy)


@pytest.fixture(params=["sqlite", "postgres"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else sqlite_url(tmp_path)
    store = Store(request.param, url)
    made = await make_world(store, tmp_path, catalog=catalog())
    await made.begin("acme", plan="starter")
    yield made
    await made.shop.close()
    await store.close()


async def renew(world: World, subscription: str) -> Purchase:
    """The next invoice of the subscription is paid."""
    world.clock.time = (await row(world)).period_end or 0
    invoice = world.provider.bill(subscription, "cycle")
    await world.tell(world.provider.fact_of_invoice(invoice))
    await world.settle()
    [found] = [one for one in await world.purchases("acme") if one.invoice == invoice]
    assert found.kind == "renewal"
    return found


async def test_without_the_option_it_says_what_the_customer_can_do(shop_world: World) -> None:  # R-REF-1
    await shop_world.begin("acme", plan="starter")
    purchase, _ = await subscribe(shop_world, "acme")
    refused = await shop_world.shop.refunding.quote("acme", purchase.id, "unused")
    assert isinstance(refused, Refusal)
    assert refused.message.startswith(
        "Plans are not given back here. Cancel the plan: it ends with its period"
    )
    assert refused.detail == "plan"


async def test_the_first_period_goes_back_and_the_plan_ends_at_once(world: World) -> None:  # R-REF-1, R-REF-5
    purchase, subscription = await subscribe(world, "acme")
    await ok(world.ledger, "acme", c.Grant(tokens=500, origin="pack"))
    await use(world, 10)  # 30 of 200: below 25 %
    shown = await quoted(world, purchase)
    assert (shown.quote.usage.granted, shown.quote.usage.spent, shown.quote.usage.left) == (200, 30, 170)
    assert shown.quote.amount == PRO * 825 // 1000 + 1, (
        "75 % and 10 % more within the hour: 122.925 dollars, rounded"
    )
    assert [one.choice for one in shown.quote.options] == ["cash", "bonus", "credit"], (
        "no larger pack for a plan"
    )
    text = choice(shown.quote.options[0], shown.quote, {}, world.ledger.catalog.refunds.texts)
    assert "Your 170 unspent tokens go. Your plan ends at once, and nothing more is charged for it." in text
    done = await accepted(world, shown)
    assert (done.state, done.money, done.ends_plan) == ("settled", shown.quote.amount, True)
    assert world.provider.refunded(purchase.payment or "") == shown.quote.amount
    assert (await plan_of(world), await world.balance("acme")) == (None, 500), "what packs brought stays"
    assert world.provider.all("subscription")[subscription]["ended"] is True
    assert await world.shop.subscribing.current("acme") is None
    assert (await quoted(world, purchase)).quote.refused is None, (
        "the rest can be asked for, without its tokens"
    )
    await world.later(2 * MONTH)
    assert (await plan_of(world), await world.balance("acme")) == (None, 500)
    await world.clean()


async def test_the_provider_tells_of_the_end_too_and_nothing_happens_twice(world: World) -> None:  # R-REF-5
    purchase, subscription = await subscribe(world, "acme")
    await accepted(world, await quoted(world, purchase))
    await world.tell(world.provider.standing(subscription, status="canceled", ended=True))
    await world.settle()
    again, _ = await subscribe(world, "acme")
    assert (again.state, await plan_of(world), await world.balance("acme")) == ("delivered", "pro", 200)
    await world.tell(world.provider.standing(subscription, status="canceled", ended=True), name="late")
    await world.settle()
    assert await plan_of(world) == "pro", "the end of the one before is not the end of this one"
    await world.clean()


async def test_a_renewal_is_given_back_by_its_own_payment_and_tokens(world: World) -> None:  # R-REF-1
    first, subscription = await subscribe(world, "acme")
    await use(world, 50)
    renewal = await renew(world, subscription)
    shown = await quoted(world, renewal, "unused")
    assert (shown.quote.usage.granted, shown.quote.usage.spent) == (200, 0), (
        "the use of the period before is not its"
    )
    done = await accepted(world, shown)
    assert (done.state, done.money) == ("settled", PRO)
    assert world.provider.refunded(renewal.payment or "") == PRO
    assert world.provider.refunded(first.payment or "") == 0
    assert (await plan_of(world), await world.balance("acme")) == (None, 0)
    await world.clean()


async def test_a_period_that_is_over_is_judged_by_its_use_and_the_plan_goes_on(
    world: World,
) -> None:  # R-REF-1
    first, subscription = await subscribe(world, "acme")
    await use(world, 10)
    await renew(world, subscription)
    shown = await quoted(world, first, "unused")
    assert (shown.quote.usage.spent, shown.quote.usage.left) == (30, 0)
    assert [one.choice for one in shown.quote.options] == ["cash", "credit"]
    assert not shown.quote.options[0].ends_plan
    done = await accepted(world, shown)
    assert (done.state, done.money, done.ends_plan) == ("settled", PRO * 66 // 100, False), (
        "more than $100 was spent"
    )
    assert (await plan_of(world), await world.balance("acme")) == ("pro", 200)
    assert "end_subscription" not in world.provider.log
    await world.clean()


async def test_credit_ends_the_plan_too_and_a_bonus_keeps_it(world: World) -> None:  # R-REF-4
    purchase, _ = await subscribe(world, "acme")
    kept = await accepted(world, await quoted(world, purchase), "bonus")
    assert (kept.state, kept.tokens, await world.balance("acme")) == ("settled", 60, 260)
    assert (await plan_of(world), "end_subscription" in world.provider.log) == ("pro", False)
    await world.begin("other", plan="starter")
    ordered = await world.shop.subscribing.start(Ask(organization="other"), "pro")
    assert isinstance(ordered, Purchase)
    await world.tell(*world.provider.pay(ordered.checkout or ""))
    await world.settle()
    done = await accepted(world, await quoted(world, await world.purchase(ordered)), "credit")
    assert (done.state, done.credit) == ("settled", PRO * 60 // 100)
    account = await world.account("other")
    assert (account.state.plan, account.free, available(account.state)) == (None, 0, PRO * 60 // 100)
    await world.clean()


async def test_what_was_counted_toward_an_upgrade_is_not_given_back_again(world: World) -> None:  # R-REF-5
    first, _ = await subscribe(world, "acme")
    early = await quoted(world, first)
    up = await world.shop.subscribing.start(Ask(organization="acme"), "enterprise")
    assert isinstance(up, Purchase)
    up = await world.purchase(up)
    assert (up.credit, up.amount, up.state) == (PRO, ENTERPRISE - PRO, "delivered")
    late = await accepted(world, early)
    assert (late.state, late.quote.refused) == ("quoted", "counted"), "the quote before is over"
    assert "counted toward your upgrade" in (why_not(late.quote, world.ledger.catalog.refunds) or "")
    done = await accepted(world, await quoted(world, up))
    assert (done.state, done.money) == ("settled", ENTERPRISE - PRO)
    assert (await plan_of(world), await world.balance("acme")) == (None, 0)
    await world.clean()


async def test_what_was_carried_over_is_not_given_back_again(tmp_path: Path) -> None:  # R-REF-5, R-PLAN-5
    store = Store("sqlite", sqlite_url(tmp_path))
    world = await make_world(store, tmp_path, catalog=catalog(rollover=Rollover("unlimited")))
    await world.begin("acme", plan="starter")
    first, subscription = await subscribe(world, "acme")
    assert (await quoted(world, first)).quote.refused is None
    renewal = await renew(world, subscription)
    assert await world.balance("acme") == 400
    assert (await quoted(world, first)).quote.refused == "carried"
    assert (await quoted(world, renewal, "unused")).quote.usage.granted == 200
    await world.shop.close()
    await store.close()


async def test_of_a_year_paid_at_once_the_months_to_come_count_as_unused(tmp_path: Path) -> None:  # R-REF-1
    store = Store("sqlite", sqlite_url(tmp_path))
    world = await make_world(store, tmp_path, catalog=catalog(periods_per_payment=12))
    await world.begin("acme", plan="starter")
    purchase, _ = await subscribe(world, "acme")
    assert purchase.periods == 12
    await use(world, 60)
    shown = await quoted(world, purchase, "unused")
    usage = shown.quote.usage
    assert (usage.granted, usage.spent, usage.left, usage.coming) == (2400, 180, 20, 2200)
    done = await accepted(world, shown)
    assert (done.state, await plan_of(world)) == ("settled", None)
    await world.later(3 * MONTH)
    assert await world.balance("acme") == 0, "the months to come bring nothing"
    await world.clean()
    await world.shop.close()
    await store.close()


@pytest.mark.parametrize("call", ["refund", "refund.answer", "end_subscription"])
async def test_a_provider_that_does_not_answer_is_asked_again(world: World, call: str) -> None:  # R-REF-5
    purchase, subscription = await subscribe(world, "acme")
    world.provider.fail[call] = [DOWN] * 2
    shown = await quoted(world, purchase)
    await accepted(world, shown)
    for _ in range(6):
        await world.later(3_000)
    assert (await read(world, shown)).state == "settled"
    assert world.provider.refunded(purchase.payment or "") == PRO
    assert world.provider.all("subscription")[subscription]["ended"] is True
    assert (await plan_of(world), await world.balance("acme")) == (None, 0)
    await world.clean()


async def test_a_provider_that_will_not_end_the_plan_is_a_persons_business(world: World) -> None:  # R-REF-6
    purchase, _ = await subscribe(world, "acme")
    world.provider.fail["end_subscription"] = [VendorRefused("no", "Not here.")]
    done = await accepted(world, await quoted(world, purchase))
    assert (done.state, await plan_of(world)) == ("settled", None)
    assert "refund_plan_runs" in await world.alerts()


async def test_a_refund_that_comes_to_nothing_leaves_the_plan(world: World) -> None:  # R-REF-5
    purchase, _ = await subscribe(world, "acme")
    world.provider.fail["refund"] = [VendorRefused("too_old", "No.")]
    done = await accepted(world, await quoted(world, purchase))
    assert (done.state, await plan_of(world), await world.balance("acme")) == ("failed", "pro", 200)
    await world.clean()


async def test_a_plan_that_renews_while_its_refund_waits_goes_on(tmp_path: Path) -> None:  # R-REF-6
    store = Store("sqlite", sqlite_url(tmp_path))
    world = await make_world(store, tmp_path, catalog=catalog(automatic_max=1_000))
    await world.begin("acme", plan="starter")
    purchase, subscription = await subscribe(world, "acme")
    waiting = await accepted(world, await quoted(world, purchase))
    assert (waiting.state, await world.balance("acme")) == ("waiting", 0)
    await renew(world, subscription)
    done = await world.shop.refund_desk.approve("acme", waiting.id, "ann", "fair")
    assert not isinstance(done, Refusal)
    assert (done.state, done.ends_plan) == ("settled", False)
    assert (await plan_of(world), await world.balance("acme")) == ("pro", 200)
    await world.clean()
    await world.shop.close()
    await store.close()


async def test_a_dispute_decides_over_a_plan_as_well(world: World) -> None:  # R-REF-6
    purchase, _ = await subscribe(world, "acme")
    fact = h.Disputed(
        at=1, payment=purchase.payment or "", dispute="d", amount=PRO, currency="USD", state="open",
        purchase=purchase.id, organization="acme",
    )  # fmt: skip
    await world.tell(fact)
    await world.settle()
    assert (await quoted(world, purchase)).quote.refused == "settled"


async def test_a_process_that_ends_anywhere_leaves_a_refund_that_goes_on(world: World) -> None:  # R-REF-5
    at = 0
    while True:
        at += 1
        name = f"acme_{at:03d}"
        await world.begin(name, plan="starter")
        purchase, subscription = await subscribe(world, name)
        shown = await quoted(world, purchase)
        wire = Wire(at)
        shop = wire.shop(world)
        died = False
        try:
            await shop.refunding.accept(name, shown.id, "cash")
        except Crash:
            died = True
        await world.restart().refunding.accept(name, shown.id, "cash")
        for _ in range(3):
            await world.later(61_000)
        where = (at, wire.places[-1] if died else "nowhere")
        found = await read(world, shown)
        assert (found.state, found.ends_plan) == ("settled", True), where
        assert world.provider.refunded(purchase.payment or "") == PRO, where
        assert world.provider.all("subscription")[subscription]["ended"] is True, where
        account = await world.account(name)
        assert (account.state.plan, account.free, account.aside) == (None, 0, 0), where
        assert await world.shop.subscribing.current(name) is None, where
        if not died:
            break
    assert at > 15
    await world.clean()
