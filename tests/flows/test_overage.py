"""Overage: each bill of the journal becomes one invoice, charged or left to be paid (R-PLAN-6)."""

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from tests.support.desk import change_plan
from tests.support.scripted import DOWN
from tests.support.shops import World, make_world, selling
from tests.support.stores import MONTH, Store, ok, sqlite_url
from tokentill.flows.pay import Terms
from tokentill.rules import commands as c
from tokentill.rules import happenings as h
from tokentill.rules.catalog import Exhaustion, Overage
from tokentill.rules.purchases import Purchase
from tokentill.rules.refusals import Code, Refusal
from tokentill.rules.rows import Payer


@pytest.fixture(params=["sqlite", "postgres"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else sqlite_url(tmp_path)
    store = Store(request.param, url)
    catalog = change_plan(selling(), "pro", exhaustion=Exhaustion(overage=Overage(price=150)))
    made = await make_world(store, tmp_path, catalog=catalog)
    yield made
    await made.shop.close()
    await store.close()


async def overdraw(world: World, organization: str = "acme") -> None:
    """Ten tokens beyond the plan, and the end of the period."""
    for _ in range(70):
        await ok(world.ledger, organization, c.Charge(feature="generate_goal"))
    world.clock.time += MONTH
    await ok(world.ledger, organization, c.Tick())
    await world.follow()


async def save(world: World, saved: str, organization: str = "acme") -> None:
    await world.rows.add(
        Payer(
            id=f"scripted:{organization}:{saved}", organization=organization, provider="scripted", method=saved,
            saved=saved, used_at=1,
        )
    )  # fmt: skip


@pytest.mark.parametrize(("step", "due"), [(1, 1_500), (40, 1_480)])
async def test_a_bill_is_charged_to_the_saved_method(world: World, step: int, due: int) -> None:
    """R-PLAN-6, R-PACK-2: of a currency that moves in larger steps, what nobody could pay is not billed."""
    world.provider.steps = {"USD": step}
    await world.begin("acme")
    await save(world, "pm_a")
    await overdraw(world)
    [bill] = await world.purchases("acme")
    assert (bill.kind, bill.amount, bill.state, bill.lots) == ("overage", due, "delivered", ())
    assert world.provider.money(bill.id) == due
    assert await world.shop.overages.open("acme") == []
    # Whoever reads the journal again makes no second bill.
    await world.rows.keep_position("overage", "")
    await world.follow()
    assert len(await world.purchases("acme")) == 1
    await world.clean()


async def test_a_bill_without_a_method_is_paid_by_a_checkout(world: World) -> None:  # R-PLAN-6, R-PACK-2
    await world.begin("acme")
    await overdraw(world)
    [bill] = await world.shop.overages.open("acme")
    assert (bill.state, bill.mode, bill.due_at) == ("created", "invoice", None)
    opened = await world.shop.checkout.pay("acme", bill.id, terms=Terms(email="a@b.c"))
    assert isinstance(opened, Purchase)
    assert opened.url == "https://pay.test/cs_1"
    again = await world.shop.checkout.pay("acme", bill.id)
    assert isinstance(again, Purchase)
    assert again.url == opened.url
    # The checkout expires; the invoice stays open and can be paid by another.
    await world.later(3_600_000)
    fresh = await world.shop.checkout.pay("acme", bill.id)
    assert isinstance(fresh, Purchase)
    assert fresh.url == "https://pay.test/cs_2"
    await world.tell(*world.provider.pay("cs_2"))
    await world.settle()
    assert (await world.purchase(bill)).state == "delivered"
    done = await world.shop.checkout.pay("acme", bill.id)
    assert isinstance(done, Refusal)
    assert done.code == Code.NOT_POSSIBLE
    for number, provider, code in ((bill.id, "", Code.NOT_POSSIBLE), ("0" * 32, "", Code.UNKNOWN_PURCHASE)):
        reply = await world.shop.checkout.pay("acme", number, provider)
        assert isinstance(reply, Refusal)
        assert reply.code == code
    await world.clean()


async def test_a_declined_bill_stays_open_and_freezes_nothing(world: World) -> None:  # R-PLAN-6
    await world.begin("acme")
    await save(world, "pm_declined")
    await overdraw(world)
    [bill] = await world.shop.overages.open("acme")
    assert (bill.mode, bill.state) == ("invoice", "created")
    assert await world.alerts() == ["overage_unpaid"]
    assert (await world.account("acme")).state.failed_at is None
    gone = await world.shop.checkout.pay("acme", bill.id, "nobody")
    assert isinstance(gone, Refusal)
    assert gone.code == Code.UNKNOWN_PROVIDER
    opened = await world.shop.checkout.pay("acme", bill.id)
    assert isinstance(opened, Purchase)
    await world.tell(*world.provider.pay(opened.checkout or ""))
    await world.settle()
    assert (await world.purchase(replace(bill))).state == "delivered"


async def test_a_bill_that_nobody_confirmed_can_still_be_paid(world: World) -> None:  # R-PLAN-6, R-PACK-3
    """The bank asked the customer, who was not there: the money is still owed."""
    await world.begin("acme")
    await save(world, "pm_confirm")
    await overdraw(world)
    [bill] = await world.shop.overages.open("acme")
    assert (bill.state, bill.url) == ("pending", "https://pay.test/cs_1")
    await world.later(3 * 3_600_000)
    [left] = await world.shop.overages.open("acme")
    assert (left.mode, await world.alerts()) == ("invoice", ["overage_unpaid"])
    opened = await world.shop.checkout.pay("acme", bill.id)
    assert isinstance(opened, Purchase)
    assert opened.url == "https://pay.test/cs_2"
    await world.tell(*world.provider.pay("cs_2"))
    await world.settle()
    assert (await world.purchase(bill)).state == "delivered"


async def test_a_decline_that_a_webhook_tells_leaves_the_bill_open(
    world: World,
) -> None:  # R-PLAN-6, R-PACK-3
    await world.begin("acme")
    await save(world, "pm_a")
    world.provider.fail["charge_saved"] = [DOWN]
    await overdraw(world)
    [bill] = await world.shop.overages.open("acme")
    assert (bill.state, bill.mode) == ("created", "saved")
    await world.tell(
        h.Declined(
            at=world.clock.time, purchase=bill.id, organization="acme", attempt="ch_1", code="stolen_card"
        )
    )
    await world.settle()
    assert (await world.purchase(bill)).mode == "invoice"
    assert isinstance(await world.shop.checkout.pay("acme", bill.id), Purchase)


async def test_a_bill_that_is_read_days_later_is_charged(world: World) -> None:  # R-PLAN-6
    """The till was down: the day in which an unanswered charge is asked for again begins when it is tried."""
    await world.begin("acme")
    await save(world, "pm_a")
    for _ in range(70):
        await ok(world.ledger, "acme", c.Charge(feature="generate_goal"))
    world.clock.time += MONTH
    await ok(world.ledger, "acme", c.Tick())
    world.clock.time += 3 * 86_400_000
    await world.follow()
    [bill] = await world.purchases("acme")
    assert (bill.state, world.provider.money(bill.id), await world.alerts()) == ("delivered", 1_500, [])
