"""Money credit pays a bill of overage first, and what is left is charged or stays open (R-PLAN-6, R-REF-4)."""

import asyncio
import itertools

import pytest

from tests.flows.test_overage import overdraw, save, world
from tests.flows.test_topup import PACK, stand
from tests.flows.test_topup_credit import Meanwhile, credit, gift
from tests.support.scripted import DOWN
from tests.support.shops import World
from tests.support.stores import MONTH, ok
from tests.support.tripwire import Crash, Wire
from tokentill.flows.checkout import Ask
from tokentill.flows.shop import Shop
from tokentill.rules import commands as c
from tokentill.rules import happenings as h
from tokentill.rules.purchases import Purchase
from tokentill.rules.refusals import Code, Refusal

__all__ = ["world"]

BILL = 1_500


async def bill_of(world: World, organization: str = "acme") -> Purchase:
    [bill] = [row for row in await world.purchases(organization) if row.kind == "overage"]
    return bill


async def used(world: World, organization: str = "acme") -> None:
    """Ten tokens beyond the plan, and the end of the period, of which nobody has read yet."""
    await ok(world.ledger, organization, c.Adjust(tokens=-198, reason="used before", actor="ann"))
    for _ in range(4):
        await ok(world.ledger, organization, c.Charge(feature="generate_goal"))
    world.clock.time += MONTH
    await ok(world.ledger, organization, c.Tick())


async def told(world: World, shop: Shop, organization: str = "acme") -> None:
    """The shop reads the organization's bill in the journal."""
    page = await world.ledger.journal(organization, None, 100)
    assert page is not None
    await shop.overages.told(page.rows)


async def paid(world: World) -> tuple[int, int, str, int]:
    """What of the bill is charged, what credit pays, how it stands, and what credit is left."""
    bill = await bill_of(world)
    return bill.amount, bill.credit_used, bill.state, await credit(world)


async def test_credit_pays_in_part_and_the_method_the_rest(world: World) -> None:  # R-PLAN-6, R-REF-4
    await world.begin("acme")
    await save(world, "pm_a")
    await gift(world, 600)
    await overdraw(world)
    await world.later(11_000)
    assert await paid(world) == (BILL - 600, 600, "delivered", 0)
    bill = await bill_of(world)
    assert (bill.list_amount, bill.mode, world.provider.money(bill.id)) == (BILL, "saved", BILL - 600)
    # Whoever reads the journal again, or hears of the payment again, changes nothing.
    await gift(world, 5_000)
    await world.rows.keep_position("overage", "")
    await world.tell(*world.provider.facts_of_payment(bill.payment or ""), name="evt_1")
    await world.tell(*world.provider.facts_of_payment(bill.payment or ""), name="evt_2")
    await world.follow()
    assert await paid(world) == (BILL - 600, 600, "delivered", 5_000)
    assert (await bill_of(world)).done == ("spend_credit", "deliver")
    await world.clean()


@pytest.mark.parametrize("saved", ["pm_a", None])
async def test_what_credit_pays_whole_is_paid_at_once_and_no_provider_is_asked(
    world: World, saved: str | None
) -> None:  # R-PLAN-6, R-REF-4
    await world.begin("acme")
    if saved is not None:
        await save(world, saved)
    await gift(world, BILL + 100)
    await overdraw(world)
    assert await paid(world) == (0, BILL, "delivered", 100)
    bill = await bill_of(world)
    assert (bill.mode, bill.due_at, world.provider.log) == ("free", None, [])
    assert await world.shop.overages.open("acme") == []
    refused = await world.shop.checkout.pay("acme", bill.id)
    assert isinstance(refused, Refusal)
    assert refused.code == Code.NOT_POSSIBLE
    # What was used is not given back for the asking, whoever paid for it.
    assert isinstance(await world.shop.refunding.quote("acme", bill.id), Refusal)
    await world.clean()


async def test_without_a_method_the_rest_stays_open(world: World) -> None:  # R-PLAN-6, R-REF-4
    await world.begin("acme")
    await gift(world, 600)
    await overdraw(world)
    assert await paid(world) == (BILL - 600, 600, "created", 0)
    [bill] = await world.shop.overages.open("acme")
    opened = await world.shop.checkout.pay("acme", bill.id)
    assert isinstance(opened, Purchase)
    # A checkout that nobody pays leaves the bill owed, and what credit has paid of it paid.
    await world.later(3_600_000)
    await world.later(3_600_000)
    assert await paid(world) == (BILL - 600, 600, "pending", 0)
    fresh = await world.shop.checkout.pay("acme", bill.id)
    assert isinstance(fresh, Purchase)
    assert fresh.checkout != opened.checkout
    await world.tell(*world.provider.pay(fresh.checkout or ""))
    await world.settle()
    assert await paid(world) == (BILL - 600, 600, "delivered", 0)
    assert world.provider.money(bill.id) == BILL - 600
    await world.clean()


@pytest.mark.parametrize("saved", ["pm_declined", "pm_confirm"])
async def test_a_bill_is_owed_still_and_keeps_what_credit_paid(
    world: World, saved: str
) -> None:  # R-PLAN-6, R-REF-4
    """It is no order that came to nothing: what was used is owed, less by what credit has paid of it."""
    await world.begin("acme")
    await save(world, saved)
    await gift(world, 600)
    await overdraw(world)
    for _ in range(4):
        await world.later(3_600_000)
    bill = await bill_of(world)
    assert (bill.mode, bill.done, bill.amount, await credit(world)) == (
        "invoice", ("spend_credit",), BILL - 600, 0,
    )  # fmt: skip
    assert await world.alerts() == ["overage_unpaid"]
    opened = await world.shop.checkout.pay("acme", bill.id)
    assert isinstance(opened, Purchase)
    await world.tell(*world.provider.pay(opened.checkout or ""))
    await world.settle()
    assert await paid(world) == (BILL - 600, 600, "delivered", 0)
    await world.clean()


async def test_a_decline_that_is_told_late_leaves_the_rest_to_credit(
    world: World,
) -> None:  # R-PLAN-6, R-PACK-3
    """Told three times, it is one decline: what came of credit while the method was asked pays the rest, once."""
    await world.begin("acme")
    await save(world, "pm_a")
    await gift(world, 600)
    world.provider.fail["charge_saved"] = [DOWN]
    await overdraw(world)
    bill = await bill_of(world)
    declined = h.Declined(at=1, purchase=bill.id, organization="acme", attempt="ch_1", code="stolen_card")
    for name in ("evt_1", "evt_1", "evt_2"):
        await world.tell(declined, name=name)
    await world.settle()
    await gift(world, 5_000)
    for _ in range(3):
        await world.later(11_000)
    assert (await bill_of(world)).done == ("spend_credit", "spend_credit", "deliver")
    assert await paid(world) == (0, BILL, "delivered", 5_000 - BILL + 600)
    await world.clean()


async def test_credit_that_goes_elsewhere_meanwhile(world: World) -> None:  # R-PLAN-6, R-REF-4
    """The bill does without it: all is charged, and what is left of the credit stays."""
    await world.begin("acme")
    await save(world, "pm_a")
    await gift(world, 600)

    async def elsewhere() -> None:
        await ok(world.ledger, "acme", c.SpendCredit(amount=500, reference="another"))

    await used(world)
    shop = world.open(ledger=Meanwhile(world.ledger, elsewhere))
    await told(world, shop)
    await shop.checkout.resume(await bill_of(world), Ask(organization="acme"))
    assert await paid(world) == (BILL, 0, "delivered", 100)
    assert world.provider.money((await bill_of(world)).id) == BILL
    await world.clean()


async def test_credit_that_was_gone_and_is_there_again(world: World) -> None:  # R-PLAN-6, R-REF-4
    """One process finds none and has all charged, and another, that was slow, spends nothing of what came meanwhile."""
    await world.begin("acme")
    await save(world, "pm_a")
    await gift(world, 600)

    async def given_up() -> None:
        await ok(world.ledger, "acme", c.SpendCredit(amount=600, reference="another"))
        assert (await world.shop.delivery.advance(await bill_of(world))).credit_used == 0
        await gift(world, 600)

    await used(world)
    shop = world.open(ledger=Meanwhile(world.ledger, given_up))
    await told(world, shop)
    await shop.delivery.advance(await bill_of(world))
    await world.later(11_000)
    assert await paid(world) == (BILL, 0, "delivered", 600)
    await world.clean()


async def test_the_rest_is_one_that_every_provider_takes(world: World) -> None:  # R-PLAN-6, R-REF-4
    world.provider.leasts = {"USD": 50}
    await world.begin("acme")
    await save(world, "pm_a")
    await gift(world, BILL - 1)
    await overdraw(world)
    await world.later(11_000)
    assert await paid(world) == (50, BILL - 50, "delivered", 49)


async def test_the_margins_count_what_was_charged(world: World) -> None:  # R-FIN-1, R-REF-4
    await world.begin("acme")
    await save(world, "pm_a")
    await gift(world, 600)
    month = "2026-01"
    await overdraw(world)
    report = await world.shop.margins.report(None, "acme")
    assert not isinstance(report, Refusal)
    before = await world.shop.margins.report(month, "acme")
    assert not isinstance(before, Refusal)
    lines = [line for line in (*before.lines, *report.lines) if line.kind == "overage"]
    assert [(line.tokens, line.revenue, line.fees > 0) for line in lines] == [(10, BILL - 600, True)]


async def test_all_that_want_the_same_credit_at_once(world: World) -> None:  # R-REF-4, R-PACK-11, R-PLAN-6
    """A bill, a top-up and orders: what there is goes to some of them, once, and nothing of it is lost."""
    await world.begin("acme")
    await save(world, "pm_a")
    await world.shop.topups.set("acme", threshold=100, pack=PACK, ceiling=10_000)
    await gift(world, 2_000)
    await used(world)
    await ok(world.ledger, "acme", c.Adjust(tokens=-199, reason="used before", actor="ann"))
    shops = [world.open() for _ in range(3)]
    row = await stand(world)
    asks = [
        Ask(organization="acme", key=f"k{at}", payer="scripted:acme:pm_a", use_credit=True) for at in range(2)
    ]
    await asyncio.gather(
        told(world, shops[0]), shops[1].topups.attend(row), shops[2].topups.attend(row),
        *(shop.checkout.buy_pack(ask, PACK) for shop in shops for ask in asks),
    )  # fmt: skip
    for _ in range(4):
        await world.later(11_000)
    rows = await world.purchases("acme")
    kept = [one for one in rows if one.state == "delivered"]
    assert {one.state for one in rows} <= {"delivered", "abandoned"}
    assert [one.kind for one in kept].count("overage") == 1
    assert sum(one.credit_used for one in kept) + await credit(world) == 2_000
    for one in rows:
        assert world.provider.money(one.id) == (one.amount if one in kept else 0)
    await world.clean()


@pytest.mark.parametrize(("has", "saved"), [(600, "pm_a"), (BILL, "pm_a"), (600, "pm_declined"), (600, None)])
async def test_a_crash_between_any_two_steps(world: World, has: int, saved: str | None) -> None:
    """R-PLAN-6, R-REF-4: from the bill in the journal to the payment, credit is spent once, and so is money."""
    start = world.clock.time
    # On PostgreSQL, where each way there takes longer, at every third of them.
    for at in itertools.count(1, 1 if world.store.engine == "sqlite" else 3):
        name, world.clock.time = f"acme_{at:02d}", start
        await world.begin(name)
        if saved is not None:
            await save(world, saved, name)
        await gift(world, has, name)
        await used(world, name)
        wire = Wire(at)
        shop = wire.shop(world)
        died = False
        try:
            await told(world, shop, name)
            await shop.checkout.resume(await bill_of(world, name), Ask(organization=name))
        except Crash:
            died = True
        world.restart()
        await world.follow()
        for _ in range(3):
            await world.later(11_000)
        where = wire.places[-1]
        bill = await bill_of(world, name)
        money = BILL - has if saved == "pm_a" else 0
        steps = ("spend_credit", "deliver") if saved == "pm_a" else ("spend_credit",)
        assert bill.done == steps, where
        assert (bill.amount, bill.credit_used) == (BILL - has, has), where
        assert bill.mode == ("free" if has == BILL else "saved" if saved == "pm_a" else "invoice"), where
        assert (world.provider.money(bill.id), await credit(world, name)) == (money, 0), where
        if not died:
            assert at > 4
            break
    await world.clean()
