"""Plans by subscription: begun, renewed, failed, mended, changed and left, in every order of events (R-PLAN-4)."""

import asyncio
import itertools
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from tests.support.desk import change_plan
from tests.support.scripted import DOWN, HOUR, MONTH
from tests.support.shops import World, make_world, selling
from tests.support.stores import Store, ok, sqlite_url
from tokentill.flows.checkout import Ask
from tokentill.flows.standing import status_of
from tokentill.ports import VendorRefused
from tokentill.rules import commands as c
from tokentill.rules import entries as e
from tokentill.rules import happenings as h
from tokentill.rules.credit import available
from tokentill.rules.purchases import Purchase, next_step
from tokentill.rules.receipts import Receipt
from tokentill.rules.refusals import Code, Refusal
from tokentill.rules.rows import Subscription

PRO, ENTERPRISE = 14_900, 39_900


async def subscribe(world: World, organization: str, plan: str = "pro") -> tuple[Purchase, str]:
    """An organization on the free plan orders one and pays; the subscription's name at the provider."""
    ordered = await world.shop.subscribing.start(Ask(organization=organization), plan)
    assert isinstance(ordered, Purchase), ordered
    assert ordered.url is not None
    facts = world.provider.pay(ordered.checkout or "")
    for fact in facts:
        await world.tell(fact)
    await world.settle()
    return await world.purchase(ordered), list(world.provider.all("subscription"))[-1]


async def started(world: World, organization: str = "acme", plan: str = "pro") -> str:
    await world.begin(organization, plan="starter")
    _, subscription = await subscribe(world, organization, plan)
    return subscription


async def row(world: World, organization: str = "acme") -> Subscription:
    found = await world.shop.subscribing.current(organization)
    assert found is not None
    return found


async def plan_of(world: World, organization: str = "acme") -> str | None:
    return (await world.account(organization)).state.plan


def use(world: World, goals: int, organization: str = "acme") -> Any:
    return ok(world.ledger, organization, c.Charge(feature="generate_goal", quantity=goals))


async def test_a_plan_begins_with_its_first_payment(shop_world: World) -> None:  # R-PLAN-4, R-PACK-2
    world = shop_world
    await world.begin("acme", plan="starter")
    purchase, subscription = await subscribe(world, "acme")
    assert (purchase.state, purchase.subscription, purchase.kind) == ("delivered", subscription, "plan")
    assert (await plan_of(world), await world.balance("acme")) == ("pro", 200)
    period = (await world.account("acme")).state.period
    assert period is not None
    assert period.end == world.clock.time + MONTH, "the provider's end wins"
    standing = await row(world)
    assert (standing.plan, standing.amount, standing.saved) == ("pro", PRO, "pm_a")
    assert await world.events() == {"done": 3}
    await world.clean()


async def test_the_first_events_in_every_order(shop_world: World) -> None:  # R-PACK-3
    """The checkout, the invoice, the standing, an early failure, each twice, with and without our own id."""
    world = shop_world
    ends = set()
    for nth, (order, named) in enumerate(itertools.product(itertools.permutations(range(4)), (True, False))):
        name = f"org_{nth}"
        await world.begin(name, plan="starter")
        world.provider.own_ids = True
        ordered = await world.shop.subscribing.start(Ask(organization=name), "pro")
        assert isinstance(ordered, Purchase)
        paid, invoice, standing = world.provider.pay(ordered.checkout or "")
        assert isinstance(invoice, h.InvoicePaid)
        failed = world.provider.failed(invoice.invoice, at=1)
        facts: list[h.AnyHappening] = [paid, invoice, standing, failed]
        for place in (*order, *order):
            fact = facts[place]
            if not named and place != 0:
                # Only the checkout says whose it is; the others are found by what it told.
                fact = replace(fact, purchase=None, organization=None)
            await world.tell(fact, name=f"{nth}-{place}")
        await world.settle()
        if not named:
            # Nothing but its own id joins the checkout to its subscription, so the provider is asked.
            await world.tell(standing, name=f"{nth}-again")
            await world.settle()
        await world.later(10_000)
        found = await world.purchase(ordered)
        assert next_step(found) is None
        account = await world.account(name)
        current = await row(world, name)
        ends.add((
            found.state, found.done, len(found.lots), account.free, account.state.plan, account.state.failed_at,
            current.plan, current.amount, current.status, current.saved,
        ))  # fmt: skip
    assert ends == {("delivered", ("deliver",), 0, 200, "pro", None, "pro", PRO, "active", "pm_a")}
    assert set(await world.events()) == {"done"}
    await world.clean()


async def test_an_invoice_renews_the_plan_once(shop_world: World) -> None:  # R-PLAN-4, R-PACK-3
    world = shop_world
    subscription = await started(world)
    await use(world, 10)
    assert await world.balance("acme") == 170
    await world.later(MONTH)
    invoice = world.provider.bill(subscription, "cycle")
    fact = world.provider.fact_of_invoice(invoice)
    await asyncio.gather(*(world.tell(fact, name=f"event_{nth % 3}") for nth in range(30)))
    await world.settle()
    assert await world.balance("acme") == 200
    [renewal, _] = sorted(await world.purchases("acme"), key=lambda one: one.kind, reverse=True)
    assert (renewal.kind, renewal.state, renewal.amount) == ("renewal", "delivered", PRO)
    assert (await row(world)).period_end == world.clock.time + MONTH
    await world.clean()


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
async def test_failed_then_paid_in_every_order(shop_world: World, order: tuple[int, ...]) -> None:
    """R-LIC-1, R-LIC-3: it failed twice and was paid; whichever is told first, the end is the same."""
    world = shop_world
    subscription = await started(world)
    await ok(world.ledger, "acme", c.Grant(tokens=500, origin="pack"))
    await world.later(MONTH)
    invoice = world.provider.bill(subscription, "cycle")
    at = world.clock.time
    facts: list[h.AnyHappening] = [
        world.provider.failed(invoice, at),
        world.provider.failed(invoice, at + 1),
        world.provider.fact_of_invoice(invoice),
    ]
    await world.later(10)
    for place in order:
        await world.tell(facts[place])
        await world.settle()
    renewal = next(one for one in await world.purchases("acme") if one.kind == "renewal")
    assert (renewal.state, renewal.failed_at is not None) == ("delivered", True)
    account = await world.account("acme")
    assert (account.state.failed_at, account.free) == (None, 700)
    await world.clean()


async def test_a_failed_invoice_sets_everything_aside_until_it_is_paid(shop_world: World) -> None:  # R-LIC-1
    world = shop_world
    subscription = await started(world)
    await ok(world.ledger, "acme", c.Grant(tokens=500, origin="pack"))
    await world.later(MONTH)
    invoice = world.provider.bill(subscription, "cycle")
    await world.tell(world.provider.failed(invoice))
    await world.settle()
    account = await world.account("acme")
    assert account.state.failed_at == world.clock.time
    refused = await world.shop.checkout.buy_pack(Ask(organization="acme"), "token_pack_500")
    assert isinstance(refused, Refusal)
    assert refused.code == Code.PAYMENT_FAILED
    await world.later(3 * 24 * HOUR)
    await world.tell(world.provider.fact_of_invoice(invoice))
    await world.settle()
    account = await world.account("acme")
    assert (account.state.failed_at, account.free) == (None, 700)
    await world.clean()


async def status(world: World, organization: str = "acme") -> str | None:
    last = await world.shop.reader.last_subscription(organization)
    if last is None:
        return None
    account = await world.account(organization)
    return status_of(last, account.state, account.moment(world.clock.now()))


@pytest.mark.parametrize("said", [None, "past_due", "unpaid"])
async def test_the_status_is_what_holds_whatever_the_provider_tells_of_it(
    shop_world: World, said: str | None
) -> None:  # R-LIC-1, R-LIC-3
    """A provider may say that a subscription is past due, before the failed invoice or after, or not at all."""
    world = shop_world
    await world.begin("acme", plan="starter")
    assert await status(world) is None
    _, subscription = await subscribe(world, "acme")
    assert await status(world) == "active"
    for paid in (True, False):
        await world.later(MONTH)
        invoice = world.provider.bill(subscription, "cycle")
        await world.tell(world.provider.failed(invoice))
        await world.settle()
        assert await status(world) == "past_due"
        if said is not None:
            await world.tell(world.provider.standing(subscription, status=said))
            await world.settle()
            assert await status(world) == said
        if paid:
            await world.tell(replace(world.provider.fact_of_invoice(invoice), at=world.clock.time))
        else:
            await world.tell(h.InvoiceVoided(at=world.clock.time, subscription=subscription, invoice=invoice))
            await world.tell(world.provider.standing(subscription))
        await world.settle()
        assert await status(world) == "active"
    ended = world.provider.standing(subscription, ended=True, status="canceled")
    await world.tell(ended)
    await world.settle()
    assert await status(world) == "cancelled"
    _, second = await subscribe(world, "acme")
    assert second != subscription
    assert await status(world) == "active"
    await world.clean()


async def test_a_subscription_whose_invoice_never_came_is_past_due(shop_world: World) -> None:
    """R-LIC-1, R-PLAN-4: whether it failed or was never told, the next period is not paid."""
    world = shop_world
    subscription = await started(world)
    await world.later(MONTH + 4 * 24 * HOUR)
    await ok(world.ledger, "acme", c.Grant(tokens=1, origin="pack"))
    assert await status(world) == "past_due"
    await world.tell(world.provider.fact_of_invoice(world.provider.bill(subscription, "cycle")))
    await world.settle()
    assert await status(world) == "active"
    await world.clean()


async def test_a_freeze_by_hand_is_no_matter_of_the_subscription(shop_world: World) -> None:  # R-LIC-1
    world = shop_world
    subscription = await started(world)
    await ok(world.ledger, "acme", c.Freeze(failed_at=world.clock.time, reason="by hand", by_hand=True))
    assert await status(world) == "active"
    trial_end = world.clock.time + HOUR
    await world.tell(world.provider.standing(subscription, trial_end=trial_end))
    await world.settle()
    assert await status(world) == "trialing"
    await world.later(HOUR)
    assert await status(world) == "active"
    await world.clean()


@pytest.mark.parametrize("first", [0, 1])
async def test_nothing_is_restored_while_another_invoice_is_owed(shop_world: World, first: int) -> None:
    """R-LIC-3."""
    world = shop_world
    subscription = await started(world)
    invoices = []
    for _ in range(2):
        await world.later(MONTH)
        invoices.append(world.provider.bill(subscription, "cycle"))
        await world.tell(world.provider.failed(invoices[-1]))
        await world.settle()
    failed_at = (await world.account("acme")).state.failed_at
    await world.tell(world.provider.fact_of_invoice(invoices[first]))
    await world.settle()
    assert (await world.account("acme")).state.failed_at is not None, "the other is still owed"
    assert failed_at is not None
    other = invoices[1 - first]
    await world.tell(h.InvoiceVoided(at=world.clock.time, subscription=subscription, invoice=other))
    await world.settle()
    assert (await world.account("acme")).state.failed_at is None
    await world.clean()


@pytest.mark.parametrize("wrong", [{"amount": PRO - 1}, {"amount": 0}, {"currency": "EUR"}])
async def test_an_invoice_of_something_else_renews_nothing(
    shop_world: World, wrong: dict[str, Any]
) -> None:  # R-PACK-3
    """What a renewal costs is what the subscription was agreed at, whatever its event says."""
    world = shop_world
    subscription = await started(world)
    await use(world, 10)
    await world.later(MONTH)
    invoice = world.provider.fact_of_invoice(world.provider.bill(subscription, "cycle"))
    await world.tell(replace(invoice, **wrong))
    await world.settle()
    renewal = next(one for one in await world.purchases("acme") if one.kind == "renewal")
    assert (renewal.state, renewal.flagged, renewal.done) == ("mismatched", "mismatched", ())
    assert await world.alerts() == ["mismatched"]
    assert await world.balance("acme") == 170
    await world.clean()


async def test_an_upgrade_takes_effect_at_once_less_the_unused_share(shop_world: World) -> None:  # R-PLAN-4
    world = shop_world
    subscription = await started(world)
    await world.later(MONTH // 2)
    upgraded = await world.shop.subscribing.start(Ask(organization="acme", key="up"), "enterprise")
    assert isinstance(upgraded, Purchase)
    assert (upgraded.state, upgraded.kind, upgraded.credit) == ("delivered", "upgrade", PRO // 2)
    assert upgraded.amount == ENTERPRISE - PRO // 2
    assert (await plan_of(world), await world.balance("acme")) == ("enterprise", 2000)
    standing = await row(world)
    assert (standing.plan, standing.amount) == ("enterprise", ENTERPRISE)
    # The webhook of the same invoice, and the same order again, change nothing.
    invoice = list(world.provider.all("invoice"))[-1]
    await world.tell(world.provider.fact_of_invoice(invoice))
    await world.settle()
    again = await world.shop.subscribing.start(Ask(organization="acme", key="up"), "enterprise")
    assert isinstance(again, Purchase)
    assert again.id == upgraded.id
    assert world.provider.log.count("change_subscription") == 1
    await world.later(MONTH)
    await world.tell(world.provider.fact_of_invoice(world.provider.bill(subscription, "cycle")))
    await world.settle()
    renewal = next(one for one in await world.purchases("acme") if one.kind == "renewal")
    assert (renewal.item, renewal.amount, renewal.state) == ("enterprise", ENTERPRISE, "delivered")
    await world.clean()


async def test_an_upgrade_in_the_very_moment_of_a_renewal_takes_its_place(shop_world: World) -> None:
    """R-PLAN-4: as on a clock that was moved to the renewal and stands there; the next invoice is of the new plan."""
    world = shop_world
    subscription = await started(world)
    world.clock.time += MONTH
    await world.tell(world.provider.fact_of_invoice(world.provider.bill(subscription, "cycle")))
    await world.settle()
    upgrade = await world.shop.subscribing.start(Ask(organization="acme"), "enterprise")
    assert isinstance(upgrade, Purchase)
    assert upgrade.amount == ENTERPRISE - PRO
    standing = await row(world)
    assert (standing.plan, standing.amount, await plan_of(world)) == ("enterprise", ENTERPRISE, "enterprise")
    world.clock.time += MONTH
    await world.tell(world.provider.fact_of_invoice(world.provider.bill(subscription, "cycle")))
    await world.settle()
    renewed = max(await world.purchases("acme"), key=lambda one: one.plan_start or 0)
    assert (renewed.kind, renewed.item, renewed.state) == ("renewal", "enterprise", "delivered")
    assert await world.alerts() == []
    await world.clean()


@pytest.mark.parametrize("lost", ["change_subscription", "change_subscription.answer"])
async def test_an_upgrade_without_an_answer_is_told_by_its_webhook_or_asked_again(
    shop_world: World, lost: str
) -> None:  # R-PACK-3
    world = shop_world
    await started(world)
    world.provider.fail[lost] = [DOWN]
    upgraded = await world.shop.subscribing.start(Ask(organization="acme"), "enterprise")
    assert isinstance(upgraded, Purchase)
    assert upgraded.state == "created"
    if lost.endswith("answer"):
        world.provider.own_ids = False
        await world.tell(world.provider.fact_of_invoice(list(world.provider.all("invoice"))[-1]))
        await world.settle()
        assert (await world.purchase(upgraded)).state == "delivered"
    await world.later(30_000)
    assert (await world.purchase(upgraded)).state == "delivered"
    assert (await plan_of(world), await world.balance("acme")) == ("enterprise", 2000)
    await world.clean()


async def test_an_upgrade_that_is_declined_changes_nothing(shop_world: World) -> None:  # R-PLAN-4, R-LIC-1
    world = shop_world
    await started(world)
    world.provider.fail["change_subscription"] = [VendorRefused("card_declined", "The card was declined.")]
    upgraded = await world.shop.subscribing.start(Ask(organization="acme"), "enterprise")
    assert isinstance(upgraded, Purchase)
    assert (upgraded.state, upgraded.problem) == ("failed", "The card was declined.")
    assert (await plan_of(world), (await world.account("acme")).state.failed_at) == ("pro", None)


async def test_a_downgrade_waits_for_the_period_end(shop_world: World) -> None:  # R-PLAN-4
    world = shop_world
    subscription = await started(world, plan="enterprise")
    reply = await world.shop.subscribing.downgrade("acme", "pro")
    assert isinstance(reply, Receipt), reply
    assert (await plan_of(world), (await row(world)).next_plan) == ("enterprise", "pro")
    await world.later(MONTH)
    await world.tell(world.provider.fact_of_invoice(world.provider.bill(subscription, "cycle")))
    await world.settle()
    renewal = next(one for one in await world.purchases("acme") if one.kind == "renewal")
    assert (renewal.item, renewal.amount, renewal.state) == ("pro", PRO, "delivered")
    assert (await plan_of(world), await world.balance("acme")) == ("pro", 200)
    standing = await row(world)
    assert (standing.plan, standing.amount, standing.next_plan) == ("pro", PRO, None)
    higher = await world.shop.subscribing.downgrade("acme", "enterprise")
    assert isinstance(higher, Refusal)
    assert higher.code == Code.NOT_POSSIBLE
    await world.clean()


@pytest.mark.parametrize("order", list(itertools.permutations(range(2))))
async def test_an_invoice_that_is_paid_after_the_end_brings_its_period_in_either_order(
    shop_world: World, order: tuple[int, ...]
) -> None:  # R-PLAN-4, R-LIC-3
    """The provider gave it up, and then the customer paid what was owed: that month is had, and no other."""
    world = shop_world
    subscription = await started(world)
    await ok(world.ledger, "acme", c.Grant(tokens=500, origin="pack"))
    await world.later(MONTH)
    invoice = world.provider.bill(subscription, "cycle")
    await world.tell(world.provider.failed(invoice))
    await world.settle()
    await world.later(15 * 24 * HOUR)
    over = world.provider.standing(subscription, status="canceled", ended=True, ends_at=world.clock.time)
    await world.later(24 * HOUR)
    facts: list[h.AnyHappening] = [
        over,
        replace(world.provider.fact_of_invoice(invoice), at=world.clock.time),
    ]
    for place in order:
        await world.tell(facts[place])
        await world.settle()
    account = await world.account("acme")
    assert (account.state.plan, account.free, account.state.failed_at) == ("pro", 700, None)
    assert await world.shop.subscribing.current("acme") is None
    await world.later(MONTH)
    await ok(world.ledger, "acme", c.Tick())
    account = await world.account("acme")
    assert (account.state.plan, account.free, account.state.failed_at) == (None, 500, None)
    await world.clean()


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_an_invoice_that_failed_and_was_voided_ends_the_period_before_in_either_order(
    shop_world: World, order: tuple[int, ...]
) -> None:  # R-LIC-1, R-LIC-3, R-PACK-3
    world = shop_world
    subscription = await started(world)
    await ok(world.ledger, "acme", c.Grant(tokens=500, origin="pack"))
    await world.later(MONTH)
    invoice = world.provider.bill(subscription, "cycle")
    void = h.InvoiceVoided(at=world.clock.time + 5, subscription=subscription, invoice=invoice)
    for place in order:
        await world.tell((world.provider.failed(invoice), void)[place])
        await world.settle()
    account = await world.account("acme")
    assert (account.state.plan, account.free, account.state.failed_at) == ("pro", 500, None)
    [owed] = [one for one in await world.purchases("acme") if one.kind == "renewal"]
    assert (owed.state, owed.done) == ("abandoned", ("freeze", "restore"))
    await world.clean()


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize("dated", [True, False])
async def test_an_invoice_that_was_paid_before_the_end_ends_with_it_in_either_order(
    shop_world: World, order: tuple[int, ...], dated: bool
) -> None:  # R-PLAN-4, R-PACK-3
    """Somebody ended it at once in the provider's dashboard: what was paid before is no plan any more."""
    world = shop_world
    subscription = await started(world)
    await ok(world.ledger, "acme", c.Grant(tokens=500, origin="pack"))
    await world.later(MONTH)
    invoice = world.provider.fact_of_invoice(world.provider.bill(subscription, "cycle"))
    await world.later(24 * HOUR)
    ends_at = world.clock.time if dated else None
    over = world.provider.standing(subscription, status="canceled", ended=True, ends_at=ends_at)
    await world.later(HOUR)
    for place in order:
        await world.tell((invoice, over)[place])
        await world.settle()
    assert (await plan_of(world), await world.balance("acme")) == (None, 500)
    assert await world.shop.subscribing.current("acme") is None
    await world.later(2 * MONTH)
    await ok(world.ledger, "acme", c.Tick())
    account = await world.account("acme")
    assert (account.state.plan, account.free, account.state.failed_at) == (None, 500, None)
    await world.clean()


@pytest.mark.parametrize("first", ["failed", "end"])
async def test_the_last_invoice_of_a_subscription_that_is_over_is_not_owed_in_either_order(
    shop_world: World, first: str
) -> None:
    """R-LIC-3, R-PACK-3: the provider gives up with the first try; what packs brought can be used all the same."""
    world = shop_world
    subscription = await started(world)
    await ok(world.ledger, "acme", c.Grant(tokens=500, origin="pack"))
    world.clock.time += MONTH
    failed = world.provider.failed(world.provider.bill(subscription, "cycle"))
    end = world.provider.standing(subscription, status="canceled", ended=True, ends_at=world.clock.time)
    for fact in (failed, end) if first == "failed" else (end, failed):
        await world.tell(fact)
        await world.settle()
    [owed] = [one for one in await world.purchases("acme") if one.kind == "renewal"]
    account = await world.account("acme")
    assert (owed.state, next_step(owed), account.state.failed_at) == ("abandoned", None, None)
    assert (account.state.plan, account.free, account.aside) == (None, 500, 0)
    await world.clean()


async def test_leaving_ends_with_the_period_and_can_be_withdrawn(shop_world: World) -> None:  # R-PLAN-4
    world = shop_world
    subscription = await started(world)
    assert isinstance(await world.shop.subscribing.cancel("acme"), Receipt)
    assert (await row(world)).ends_at == world.clock.time + MONTH
    assert (await world.account("acme")).state.scheduled
    assert isinstance(await world.shop.subscribing.resume("acme"), Receipt)
    assert (await row(world)).ends_at is None
    assert not (await world.account("acme")).state.scheduled
    assert world.provider.all("subscription")[subscription]["ends"] is False
    nothing = await world.shop.subscribing.resume("acme")
    assert isinstance(nothing, Refusal)
    assert nothing.code == Code.NOT_POSSIBLE
    assert isinstance(await world.shop.subscribing.cancel("acme"), Receipt)
    await world.later(MONTH)
    await world.tell(world.provider.standing(subscription, status="canceled", ended=True))
    await world.settle()
    await ok(world.ledger, "acme", c.Tick())
    assert (await plan_of(world), await world.balance("acme")) == (None, 0)
    assert await world.shop.subscribing.current("acme") is None
    await world.clean()


async def test_who_stays_after_all_stays_at_the_price_that_was_agreed(shop_world: World) -> None:
    """R-PLAN-4, R-PACK-3: the plan costs new customers more since, and the provider goes on as before."""
    world = shop_world
    subscription = await started(world)
    assert isinstance(await world.shop.subscribing.cancel("acme"), Receipt)
    world.ledger.catalog = change_plan(selling(), "pro", price=PRO + 5_000)
    assert isinstance(await world.shop.subscribing.resume("acme"), Receipt)
    await world.later(MONTH)
    await world.tell(world.provider.fact_of_invoice(world.provider.bill(subscription, "cycle")))
    await world.settle()
    [renewal] = [one for one in await world.purchases("acme") if one.kind == "renewal"]
    assert (renewal.amount, renewal.state, await world.alerts()) == (PRO, "delivered", [])
    await world.clean()


async def test_leaving_withdraws_the_lower_plan_that_was_to_come(shop_world: World) -> None:
    """R-PLAN-4: whoever stays after all stays on the plan that runs, at the provider too."""
    world = shop_world
    subscription = await started(world, plan="enterprise")
    assert isinstance(await world.shop.subscribing.downgrade("acme", "pro"), Receipt)
    assert isinstance(await world.shop.subscribing.cancel("acme"), Receipt)
    assert isinstance(await world.shop.subscribing.resume("acme"), Receipt)
    world.clock.time += MONTH
    await world.tell(world.provider.fact_of_invoice(world.provider.bill(subscription, "cycle")))
    await world.settle()
    [renewed] = [one for one in await world.purchases("acme") if one.kind == "renewal"]
    assert (renewed.item, renewed.amount, renewed.state) == ("enterprise", ENTERPRISE, "delivered")
    assert (await plan_of(world), await world.alerts()) == ("enterprise", [])
    await world.clean()


async def test_moving_to_a_free_plan_ends_the_subscription(shop_world: World) -> None:  # R-PLAN-4
    world = shop_world
    subscription = await started(world)
    assert isinstance(await world.shop.subscribing.downgrade("acme", "starter"), Receipt)
    assert world.provider.all("subscription")[subscription]["ends"] is True
    # The provider tells of the end a moment before the account's own period is over.
    await world.later(MONTH - 1_000)
    await world.tell(world.provider.standing(subscription, status="canceled", ended=True))
    await world.later(2_000)
    await ok(world.ledger, "acme", c.Tick())
    assert await plan_of(world) == "starter"
    await world.clean()


async def test_what_the_provider_did_by_itself_reaches_the_account(shop_world: World) -> None:  # R-PLAN-4
    world = shop_world
    subscription = await started(world)
    ends = world.clock.time + MONTH
    await world.later(10)
    await world.tell(world.provider.standing(subscription, ends_at=ends))
    await world.settle()
    assert (await world.account("acme")).state.scheduled
    await world.later(10)
    await world.tell(world.provider.standing(subscription))
    await world.settle()
    assert not (await world.account("acme")).state.scheduled
    # An invoice stays unpaid until the provider gives up: the debt is gone with the subscription.
    await ok(world.ledger, "acme", c.Grant(tokens=500, origin="pack"))
    await world.later(MONTH)
    invoice = world.provider.bill(subscription, "cycle")
    await world.tell(world.provider.failed(invoice))
    await world.settle()
    assert (await world.account("acme")).state.failed_at is not None
    await world.later(10)
    await world.tell(world.provider.standing(subscription, status="canceled", ended=True))
    await world.settle()
    account = await world.account("acme")
    assert (account.state.plan, account.state.failed_at, account.free) == (None, None, 500)
    await world.clean()


@pytest.mark.parametrize("verb", ["cancel", "downgrade"])
async def test_a_change_whose_provider_is_away_is_made_later(
    shop_world: World, verb: str
) -> None:  # R-PLAN-4
    world = shop_world
    await started(world, plan="enterprise")
    call = "end_subscription" if verb == "cancel" else "renew_as"
    world.provider.fail[call] = [DOWN]
    subscribing = world.shop.subscribing
    reply = await (subscribing.cancel("acme") if verb == "cancel" else subscribing.downgrade("acme", "pro"))
    assert isinstance(reply, Refusal)
    assert (reply.code, reply.detail) == (Code.CHECKOUT_FAILED, "provider_down")
    busy = await subscribing.cancel("acme")
    assert isinstance(busy, Refusal)
    assert busy.code == Code.NOT_POSSIBLE
    world.restart()
    await world.later(10_000)
    standing = await row(world)
    assert standing.change is None
    assert (standing.next_plan, standing.ends_at is None) == (
        (None, False) if verb == "cancel" else ("pro", True)
    )
    assert (await world.account("acme")).state.scheduled


async def test_a_plan_without_a_subscription_is_the_accounts_own(shop_world: World) -> None:  # R-PLAN-4
    world = shop_world
    await world.begin("acme", plan="enterprise")
    assert isinstance(await world.shop.subscribing.downgrade("acme", "pro"), Receipt)
    assert (await world.account("acme")).state.scheduled
    assert isinstance(await world.shop.subscribing.resume("acme"), Receipt)
    assert world.provider.log == []
    for plan, code in (("nothing", Code.UNKNOWN_PLAN), ("enterprise", Code.NOT_POSSIBLE)):
        reply = await world.shop.subscribing.downgrade("acme", plan)
        assert isinstance(reply, Refusal)
        assert reply.code == code


async def test_one_checkout_for_a_plan_at_a_time(shop_world: World) -> None:  # R-PLAN-4
    """Each that is paid becomes a subscription that is billed, so two must not be open."""
    world = shop_world
    await world.begin("acme", plan="starter")
    shops = [world.shop, world.open()]
    found = await asyncio.gather(
        *(shops[nth % 2].subscribing.start(Ask(organization="acme"), "pro") for nth in range(20))
    )
    assert len({one.id for one in found if isinstance(one, Purchase)}) == 1
    assert {one.code for one in found if isinstance(one, Refusal)} <= {Code.NOT_POSSIBLE}
    first = next(one for one in found if isinstance(one, Purchase))
    again = await world.shop.subscribing.start(Ask(organization="acme"), "pro")
    assert isinstance(again, Purchase)
    assert again.id == first.id
    other = await world.shop.subscribing.start(Ask(organization="acme"), "enterprise")
    assert isinstance(other, Purchase)
    assert other.item == "enterprise"
    assert (await world.purchase(first)).state == "abandoned"
    # Paid in the very moment in which another plan is ordered.
    for fact in world.provider.pay(other.checkout or ""):
        await world.tell(fact)
    late = await world.shop.subscribing.start(Ask(organization="acme"), "pro")
    assert isinstance(late, Purchase | Refusal)
    await world.settle()
    assert len(world.provider.all("subscription")) == 1
    assert await plan_of(world) == "enterprise"


async def test_a_trial_begins_without_a_payment_and_once(tmp_path: Path) -> None:  # R-PLAN-4
    store = Store("sqlite", sqlite_url(tmp_path))
    world = await make_world(store, tmp_path, catalog=change_plan(selling(), "pro", trial_days=14))
    await world.begin("acme", plan="starter")
    ordered = await world.shop.subscribing.start(Ask(organization="acme"), "pro")
    assert isinstance(ordered, Purchase)
    assert (ordered.amount, ordered.list_amount, ordered.state) == (0, PRO, "pending")
    for fact in world.provider.pay(ordered.checkout or ""):
        await world.tell(fact)
    await world.settle()
    assert (await plan_of(world), await world.balance("acme")) == ("pro", 200)
    subscription = list(world.provider.all("subscription"))[-1]
    assert (await row(world)).amount == PRO
    await world.later(MONTH)
    await world.tell(world.provider.fact_of_invoice(world.provider.bill(subscription, "cycle")))
    await world.settle()
    renewal = next(one for one in await world.purchases("acme") if one.kind == "renewal")
    assert (renewal.amount, renewal.state) == (PRO, "delivered")
    await world.tell(world.provider.standing(subscription, status="canceled", ended=True))
    await world.settle()
    again = await world.shop.subscribing.start(Ask(organization="acme"), "pro")
    assert isinstance(again, Purchase)
    assert again.amount == PRO, "a trial is given once"
    await world.clean()
    await world.shop.close()
    await store.close()


async def test_an_upgrade_in_the_trial_is_credited_with_nothing(tmp_path: Path) -> None:  # R-PLAN-4
    """Nothing was paid for the trial, so the whole price of the higher plan is due; then a credit counts again."""
    store = Store("sqlite", sqlite_url(tmp_path))
    catalog = change_plan(selling(), "pro", trial_days=14)
    top = replace(catalog.plans["enterprise"], id="top", rank=99, price=99_900)
    world = await make_world(store, tmp_path, catalog=replace(catalog, plans={**catalog.plans, "top": top}))
    await world.begin("acme", plan="starter")
    await subscribe(world, "acme")
    await world.later(7 * 24 * HOUR)
    offers = await world.shop.offers.packs("acme")
    assert not isinstance(offers, Refusal)
    assert offers.upgrade is not None
    compared = offers.upgrade.comparison
    assert (compared.credit, compared.upgrade.now) == (0, ENTERPRISE), "what is shown is what will be charged"
    upgrade = await world.shop.subscribing.start(Ask(organization="acme"), "enterprise")
    assert isinstance(upgrade, Purchase)
    assert (upgrade.amount, upgrade.credit, upgrade.state) == (ENTERPRISE, 0, "delivered")
    noted = await world.ledger.journal("acme", None, 100)
    assert noted is not None
    notes = [one.entry for one in reversed(noted.rows) if isinstance(one.entry, e.PlanChanged)]
    assert [(one.plan, one.credit, one.due) for one in notes[-2:]] == [
        ("pro", 0, 0),
        ("enterprise", 0, ENTERPRISE),
    ]
    again = await world.shop.subscribing.start(Ask(organization="acme"), "top")
    assert isinstance(again, Purchase)
    assert (again.amount, again.credit, again.state) == (99_900 - ENTERPRISE, ENTERPRISE, "delivered")
    await world.clean()
    await world.shop.close()
    await store.close()


async def test_what_an_upgrade_is_credited_above_its_price_is_kept(
    tmp_path: Path,
) -> None:  # R-PLAN-4, R-LED-6
    """A plan that was paid for $5,000 is left at once for one of $399: the other $4,601 are credit in money."""
    store = Store("sqlite", sqlite_url(tmp_path))
    world = await make_world(store, tmp_path, catalog=change_plan(selling(), "pro", price=500_000))
    await world.begin("acme", plan="starter")
    await subscribe(world, "acme")
    upgrade = await world.shop.subscribing.start(Ask(organization="acme"), "enterprise")
    assert isinstance(upgrade, Purchase)
    assert (upgrade.amount, upgrade.credit, upgrade.state) == (0, 500_000, "delivered")
    account = await world.account("acme")
    assert available(account.state) == 500_000 - ENTERPRISE
    assert (account.state.plan, account.free) == ("enterprise", 2000)
    await world.clean()
    await world.shop.close()
    await store.close()


async def test_a_late_repetition_of_a_change_does_not_undo_the_one_after(
    shop_world: World,
) -> None:  # R-LED-9
    world = shop_world
    subscription = await started(world)
    flow = world.shop.subscribing
    left = await flow.cancel("acme", "first")
    assert isinstance(left, Receipt)
    assert isinstance(await flow.resume("acme", "second"), Receipt)
    again = await flow.cancel("acme", "first")
    assert isinstance(again, Receipt)
    assert (again.operation, again.replayed) == (left.operation, True)
    assert world.provider.all("subscription")[subscription]["ends"] is False
    assert (await row(world)).ends_at is None
    assert not (await world.account("acme")).state.scheduled


async def test_a_renewal_that_was_never_told_holds_nothing_back_for_ever(
    shop_world: World,
) -> None:  # R-LIC-3
    """The till set everything aside by itself; when the subscription ends there is nothing left to pay."""
    world = shop_world
    subscription = await started(world)
    await ok(world.ledger, "acme", c.Grant(tokens=500, origin="pack"))
    await world.later(2 * MONTH)
    await ok(world.ledger, "acme", c.Tick())
    assert (await world.account("acme")).state.failed_at is not None
    await world.tell(world.provider.standing(subscription, status="canceled", ended=True))
    await world.settle()
    state = (await world.account("acme")).state
    assert (state.failed_at, state.plan, await world.balance("acme")) == (None, None, 500)
    assert isinstance(await world.shop.subscribing.start(Ask(organization="acme"), "pro"), Purchase)
    await world.clean()


async def test_an_end_in_the_middle_of_a_change_reaches_the_account(shop_world: World) -> None:  # R-PLAN-4
    world = shop_world
    subscription = await started(world, plan="enterprise")
    world.provider.fail["renew_as"] = [DOWN]
    assert isinstance(await world.shop.subscribing.downgrade("acme", "pro"), Refusal)
    await world.tell(world.provider.standing(subscription, status="canceled", ended=True))
    await world.settle()
    assert await plan_of(world) is None
    world.provider.fail["renew_as"] = [VendorRefused("subscription_over", "It is over.")]
    await world.later(60_000)
    found = await world.rows.find(Subscription, {"organization": "acme"})
    assert [(one.status, one.change) for one in found] == [("ended", None)]
    assert await plan_of(world) is None


@pytest.mark.parametrize("second", ["pro", "enterprise"])
async def test_two_subscriptions_ask_for_a_person(
    shop_world: World, second: str
) -> None:  # R-PLAN-4, R-PACK-3
    """The customer paid in a checkout that had been given up for another: both are billed."""
    world = shop_world
    await world.begin("acme", plan="starter")
    first = await world.shop.subscribing.start(Ask(organization="acme"), "pro")
    assert isinstance(first, Purchase)
    late = world.provider.pay(first.checkout or "")
    await world.rows.put(replace(first, ended=True, state="abandoned", slot_until=0))
    other = await world.shop.subscribing.start(Ask(organization="acme"), second)
    assert isinstance(other, Purchase)
    for fact in world.provider.pay(other.checkout or ""):
        await world.tell(fact)
    await world.settle()
    assert "two_subscriptions" not in await world.alerts()
    for fact in late:
        await world.tell(fact)
    await world.settle()
    assert "two_subscriptions" in await world.alerts()
    # The operator ends one of them. The plan is what the other pays for.
    one = min(world.provider.all("subscription"))
    await world.tell(world.provider.standing(one, status="canceled", ended=True))
    await world.settle()
    assert await plan_of(world) == second
