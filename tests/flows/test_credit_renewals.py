"""Money credit pays for renewals of a plan: it is taken off the invoice that the provider has drafted (R-REF-4)."""

import asyncio
import itertools

import pytest
from msgspec.structs import replace

from tests.flows.test_crash import tell
from tests.flows.test_credit_orders import credit, gift
from tests.flows.test_subscribe import PRO, plan_of, started
from tests.support.scripted import HOUR, MONTH
from tests.support.shops import World
from tests.support.stores import ok
from tests.support.tripwire import Crash, Wire
from tokentill.ports import VendorDown, VendorRefused
from tokentill.rules import commands as c
from tokentill.rules import happenings as h
from tokentill.rules.credit import available
from tokentill.rules.purchases import Purchase, next_step
from tokentill.rules.refund_rows import Refund
from tokentill.rules.rows import Alert, Subscription


async def drafted(world: World, has: int) -> str:
    """Pro by subscription and so much credit; a month later the next invoice is drafted, of which nothing is told."""
    subscription = await started(world)
    await gift(world, has)
    world.clock.time += MONTH
    return world.provider.bill(subscription, "cycle", draft=True)


async def renewal(world: World) -> Purchase:
    [found] = [row for row in await world.purchases("acme") if row.kind == "renewal"]
    return found


async def told(world: World, *facts: h.AnyHappening) -> None:
    for fact in facts:
        await world.tell(fact)
        await world.settle()


@pytest.mark.parametrize("has", [5_000, PRO, 20_000])
async def test_credit_is_taken_off_before_the_invoice_is_collected(shop_world: World, has: int) -> None:
    """R-REF-4: also in part; what is left of the price is what the provider takes, which may be nothing."""
    world, pays = shop_world, min(has, PRO)
    invoice = await drafted(world, has)
    draft = world.provider.fact_of_draft(invoice)
    await told(world, draft)
    due = await renewal(world)
    assert (due.state, due.amount, due.credit_used) == ("created", PRO - pays, pays)
    assert await credit(world) == has - pays
    world.clock.time += HOUR
    paid = world.provider.collect(invoice)
    assert paid.amount == PRO - pays
    await told(world, paid, draft, paid)
    done = await renewal(world)
    assert (done.state, done.flagged, done.done) == (
        "delivered", None, ("spend_credit", "apply_credit", "deliver"),
    )  # fmt: skip
    assert (await plan_of(world), await world.balance("acme"), await credit(world)) == (
        "pro",
        200,
        has - pays,
    )
    quoted = await world.shop.refunding.quote("acme", done.id, "quality")
    assert not isinstance(quoted, Refund), "a renewal is given back where the catalog says so only"
    await world.clean()


@pytest.mark.parametrize("first", ["paid", "draft"])
async def test_an_invoice_that_is_collected_whole_leaves_the_credit(shop_world: World, first: str) -> None:
    """R-REF-4, R-PACK-3: the draft is told when the provider has collected it already, before its payment or after."""
    world = shop_world
    invoice = await drafted(world, 5_000)
    draft = world.provider.fact_of_draft(invoice)
    paid = world.provider.collect(invoice)
    await told(world, *((paid, draft) if first == "paid" else (draft, paid)))
    done = await renewal(world)
    assert (done.state, done.amount, done.credit_used, done.flagged) == ("delivered", PRO, 0, None)
    assert await credit(world) == 5_000
    await told(world, draft)
    assert (await renewal(world), await credit(world)) == (done, 5_000)
    await world.clean()


@pytest.mark.parametrize("ended", [False, True])
async def test_a_payment_that_is_told_while_it_is_not_known_whether_credit_was_applied(
    shop_world: World, *, ended: bool
) -> None:
    """R-REF-4, R-PACK-3, R-PLAN-4: the provider took it off and its answer was lost; nothing looks wrong meanwhile.

    Once it is known, the payment says what any says: until when the plan is paid, or that it ended after it.
    """
    world = shop_world
    invoice = await drafted(world, 5_000)
    world.provider.fail["apply_credit.answer"] = [VendorDown("gone")] * 100
    await told(world, world.provider.fact_of_draft(invoice))
    assert (await renewal(world)).doing == "apply_credit"
    paid = world.provider.collect(invoice)
    await told(world, paid)
    waits = await renewal(world)
    assert (waits.state, waits.flagged) == ("created", None)
    if ended:
        await told(world, world.provider.standing(paid.subscription, ended=True, ends_at=world.clock.time))
    world.provider.fail.clear()
    await world.later(11_000)
    done = await renewal(world)
    assert (done.state, done.amount, done.flagged, done.doing) == ("delivered", PRO - 5_000, None, None)
    assert (await credit(world), await world.alerts(), await world.events()) == (
        0,
        [],
        {"done": 6 if ended else 5},
    )
    standing = await world.rows.get(Subscription, f"scripted:{paid.subscription}", "acme")
    assert standing is not None
    assert standing.period_end == paid.end
    assert (await plan_of(world), await world.balance("acme")) == ((None, 0) if ended else ("pro", 200))
    await world.clean()


async def test_credit_that_was_spent_on_something_else_meanwhile(shop_world: World) -> None:  # R-REF-4
    world = shop_world
    invoice = await drafted(world, 5_000)
    wire = Wire(1, only="before ledger.submit")
    with pytest.raises(Crash):
        await tell(wire.shop(world), world.provider.told(world.provider.fact_of_draft(invoice)))
    await ok(world.ledger, "acme", c.SpendCredit(amount=4_000, reference="other", reason="other"))
    await world.later(11_000)
    due = await renewal(world)
    assert (due.amount, due.credit_used, due.doing, await credit(world)) == (PRO, 0, None, 1_000)
    await told(world, world.provider.collect(invoice), world.provider.fact_of_draft(invoice))
    assert ((await renewal(world)).state, await credit(world)) == ("delivered", 1_000)
    await world.clean()


@pytest.mark.parametrize("end", ["paid", "voided", "over"])
async def test_a_draft_that_is_not_collected_keeps_its_credit_until_it_is_over(
    shop_world: World, end: str
) -> None:
    """R-REF-4, R-LIC-1, R-LIC-3: it is owed, so what credit has paid stays paid; what is owed no more gives it back."""
    world = shop_world
    invoice = await drafted(world, 5_000)
    subscription = next(iter(world.provider.all("subscription")))
    await told(world, world.provider.fact_of_draft(invoice), world.provider.failed(invoice))
    owed = await renewal(world)
    assert (owed.state, owed.credit_used, await credit(world)) == ("failed", 5_000, 0)
    if end == "paid":
        await told(world, world.provider.collect(invoice))
        assert ((await renewal(world)).state, await world.balance("acme")) == ("delivered", 200)
    elif end == "voided":
        await told(world, h.InvoiceVoided(at=world.clock.time, subscription=subscription, invoice=invoice))
    else:
        await told(world, world.provider.standing(subscription, ended=True, ends_at=world.clock.time))
        assert (await plan_of(world)) is None
    assert await credit(world) == (0 if end == "paid" else 5_000)
    assert next_step(await renewal(world)) is None
    await world.clean()


@pytest.mark.parametrize("first", ["draft", "end", "neither"])
async def test_a_subscription_that_ends_with_a_draft_gives_its_credit_back(
    shop_world: World, first: str
) -> None:
    """R-REF-4, R-PLAN-4, R-PACK-3: it is not collected any more. If it is after all, credit pays its share.

    Where the end is told first, no credit is spent at all; where both are at once, none stays spent.
    """
    world = shop_world
    invoice = await drafted(world, 5_000)
    subscription = next(iter(world.provider.all("subscription")))
    draft = world.provider.fact_of_draft(invoice)
    end = world.provider.standing(subscription, ended=True, ends_at=world.clock.time)
    if first == "neither":
        await asyncio.gather(*(tell(world.shop, world.provider.told(fact)) for fact in (draft, end)))
        await world.later(11_000)
    else:
        await told(world, *((draft, end) if first == "draft" else (end, draft)))
    over = await renewal(world)
    assert (over.state, next_step(over), await credit(world)) == ("abandoned", None, 5_000)
    assert over.done == () or first != "end"
    world.clock.time += HOUR
    paid = world.provider.collect(invoice)
    await told(world, paid)
    assert ((await renewal(world)).state, await credit(world)) == ("delivered", paid.amount - PRO + 5_000)
    await world.clean()


async def test_an_operator_hears_of_credit_that_the_provider_will_not_take_off(shop_world: World) -> None:
    """R-REF-4, R-PACK-3: it is tried again all the same, until it is off or the invoice is collected whole."""
    world = shop_world
    invoice = await drafted(world, 5_000)
    world.provider.fail["apply_credit"] = [VendorRefused("permission", "The key may not do this.")]
    await told(world, world.provider.fact_of_draft(invoice))
    [alert] = await world.rows.find(Alert, {})
    assert (alert.code, "The key may not do this." in alert.text) == ("undelivered", True)
    await world.later(11_000)
    await told(world, world.provider.collect(invoice))
    done = await renewal(world)
    assert (done.state, done.amount, await credit(world)) == ("delivered", PRO - 5_000, 0)
    await world.clean()


async def test_credit_pays_no_renewal_in_another_currency(shop_world: World) -> None:
    """R-REF-4, R-FIN-1: the plan began before the catalog was in this currency, and nothing is converted."""
    world = shop_world
    invoice = await drafted(world, 5_000)
    subscription = world.provider.fact_of_draft(invoice).subscription
    standing = await world.rows.get(Subscription, f"scripted:{subscription}", "acme")
    assert standing is not None
    await world.rows.put(replace(standing, currency="EUR"))
    await told(world, world.provider.fact_of_draft(invoice))
    due = await renewal(world)
    assert (due.amount, due.currency, due.credit_used, await credit(world)) == (PRO, "EUR", 0, 5_000)
    await world.clean()


async def test_nothing_is_kept_of_a_draft_where_there_is_no_credit(shop_world: World) -> None:  # R-REF-4
    world = shop_world
    invoice = await drafted(world, 1)
    await ok(world.ledger, "acme", c.SpendCredit(amount=1, reference="other", reason="other"))
    await told(world, world.provider.fact_of_draft(invoice))
    assert [row.kind for row in await world.purchases("acme")] == ["plan"]
    await told(world, world.provider.collect(invoice))
    assert (await renewal(world)).amount == PRO
    await world.clean()


async def test_a_death_between_any_two_steps(shop_world: World) -> None:
    """R-REF-4, R-PACK-3: from the draft to the payment, credit is spent once and taken off once."""
    world = shop_world
    start = world.clock.time
    for at in itertools.count(1, 1 if world.store.engine == "sqlite" else 3):
        name, world.clock.time = f"acme_{at:02d}", start
        subscription = await started(world, name)
        await ok(world.ledger, name, c.Grant(tokens=5_000, origin="credit", unit="money"))
        world.clock.time += MONTH
        invoice = world.provider.bill(subscription, "cycle", draft=True)
        draft = world.provider.told(world.provider.fact_of_draft(invoice))
        wire = Wire(at)
        shop = wire.shop(world)
        died = False
        try:
            await tell(shop, draft)
            await tell(shop, world.provider.told(world.provider.collect(invoice)))
        except Crash:
            died = True
        where = wire.places[-1]
        await world.restart().receive("scripted", draft)
        await world.later(11_000)
        await world.tell(world.provider.collect(invoice))
        for _ in range(3):
            await world.later(11_000)
        [found] = [row for row in await world.purchases(name) if row.kind == "renewal"]
        left = available((await world.account(name)).state)
        off = world.provider.all("invoice")[invoice]["credit"] is not None
        assert (found.state, next_step(found), found.flagged) == ("delivered", None, None), where
        assert (found.amount, found.credit_used, left) == (
            (PRO - 5_000, 5_000, 0) if off else (PRO, 0, 5_000)
        ), where
        assert found.amount == world.provider.fact_of_invoice(invoice).amount, where
        assert await world.balance(name) == 200, where
        if not died:
            assert at > 4
            break
    await world.clean()
