"""Money credit that comes while a bill of overage is open pays it, also in part and more than once (R-REF-4)."""

import asyncio
import itertools

import pytest
from msgspec.structs import replace

from tests.flows.test_overage import save, world
from tests.flows.test_overage_credit import BILL, bill_of, paid, used
from tests.flows.test_topup_credit import Meanwhile, credit, gift
from tests.support.scripted import DOWN, HOUR
from tests.support.shops import World
from tests.support.stores import ok
from tests.support.tripwire import Crash, Wire
from tokentill.flows.shop import Shop
from tokentill.rules import commands as c
from tokentill.rules.margins import MarginReport
from tokentill.rules.purchases import Purchase, merge
from tokentill.rules.refusals import Refusal

__all__ = ["world"]

WAIT = 11_000


async def comes(world: World, amount: int, organization: str = "acme") -> None:
    """Credit comes, and whoever follows the journal hears of it."""
    await gift(world, amount, organization)
    await world.follow()


async def checkout(world: World, shop: Shop | None = None, organization: str = "acme") -> Purchase:
    """A checkout of the bill is opened."""
    bill = await bill_of(world, organization)
    opened = await (shop or world.shop).checkout.pay(organization, bill.id)
    assert isinstance(opened, Purchase), opened
    return opened


async def owed(world: World, organization: str = "acme") -> Purchase:
    """A bill that nothing pays yet."""
    await world.begin(organization)
    await used(world, organization)
    await world.follow()
    return await bill_of(world, organization)


async def revenue(world: World) -> list[tuple[str, str, int]]:
    """What the present month brought, by kind and item."""
    report = await world.shop.margins.report(None, "acme")
    assert isinstance(report, MarginReport)
    return [(one.kind, one.item, one.revenue) for one in report.lines if one.kind != "plan" and one.revenue]


async def test_it_pays_in_part_and_again_and_a_checkout_the_rest(
    world: World,
) -> None:  # R-REF-4, R-PLAN-6, R-FIN-1
    world.provider.leasts = {"USD": 50}
    await owed(world)
    before = {kind: brought for kind, _, brought in await revenue(world)}
    await comes(world, 500)
    assert await paid(world) == (BILL - 500, 500, "created", 0)
    await comes(world, 300)
    assert await paid(world) == (BILL - 800, 800, "created", 0)
    opened = await checkout(world)
    assert opened.amount == BILL - 800
    await world.tell(*world.provider.pay(opened.checkout or ""))
    await comes(world, 100)
    bill = await bill_of(world)
    assert await paid(world) == (BILL - 800, 800, "delivered", 100)
    assert (bill.done, world.provider.money(bill.id)) == (
        ("spend_credit", "spend_credit", "deliver"),
        BILL - 800,
    )
    # What credit pays brings nothing, and what is still to be paid for overage is nothing.
    lines = await revenue(world)
    overage = sum(brought for kind, _, brought in lines if kind == "overage") - before.get("overage", 0)
    deferred = sum(brought for kind, _, brought in lines if kind == "deferred") - before.get("deferred", 0)
    assert (overage, deferred) == (-800, BILL)
    # Whoever reads the journal again changes nothing.
    await world.rows.keep_position("overage", "")
    await world.follow()
    assert await bill_of(world) == bill
    await world.clean()


async def test_it_pays_the_oldest_bill_first_and_leaves_what_can_be_paid(
    world: World,
) -> None:  # R-REF-4, R-PLAN-6
    world.provider.leasts = {"USD": 50}
    first = await owed(world)
    world.clock.time += HOUR
    await used(world)
    await world.follow()
    [second] = [one for one in await world.purchases("acme") if one.kind == "overage" and one.id != first.id]
    await comes(world, first.amount + second.amount - 20)
    old, young = await world.purchase(first), await world.purchase(second)
    assert (old.state, old.mode, old.amount, old.credit_used, old.due_at) == (
        "delivered", "free", 0, BILL, None,
    )  # fmt: skip
    assert old.paid_at == world.clock.time > old.created_at
    assert (young.state, young.amount, young.due_at, await credit(world)) == ("created", 50, None, 30)
    assert (await world.shop.overages.open("acme"), world.provider.log) == ([young], [])
    await world.clean()


async def test_a_declined_bill_is_paid_with_credit_that_came_meanwhile(
    world: World,
) -> None:  # R-REF-4, R-PLAN-6
    await world.begin("acme")
    await save(world, "pm_confirm")
    await used(world)
    await world.follow()
    await comes(world, 600)
    assert await paid(world) == (BILL, 0, "pending", 600)  # it is being charged
    await world.later(3 * HOUR)
    assert await paid(world) == (BILL - 600, 600, "created", 0)
    assert (await checkout(world)).amount == BILL - 600
    await world.clean()


async def test_it_pays_no_bill_in_another_currency(world: World) -> None:  # R-REF-4, R-FIN-1
    """The bill was made before the catalog was in this one, and nothing is converted."""
    await world.rows.put(replace(await owed(world), currency="EUR"))
    await comes(world, 500)
    assert await paid(world) == (BILL, 0, "created", 500)
    await world.clean()


async def test_a_charge_that_was_never_answered_keeps_credit_away(world: World) -> None:  # R-REF-4, R-PACK-3
    """Money may have moved: a person looks, and credit pays only once the customer pays the bill otherwise."""
    await world.begin("acme")
    await save(world, "pm_a")
    world.provider.fail["charge_saved"] = [DOWN]
    await used(world)
    await world.follow()
    await world.later(25 * HOUR)
    await comes(world, 600)
    assert (await bill_of(world)).problem == "unanswered"
    assert await paid(world) == (BILL, 0, "created", 600)
    assert "unanswered" in await world.alerts()
    await checkout(world)
    await comes(world, 100)
    assert await paid(world) == (BILL - 700, 700, "created", 0)
    await world.clean()


async def test_a_checkout_that_is_open_is_closed_first(world: World) -> None:  # R-REF-4, R-PACK-3
    """Nobody pays the old amount any more, and where that is not sure credit waits."""
    await owed(world)
    opened = await checkout(world)
    world.provider.fail["close_checkout"] = [DOWN]
    await comes(world, 600)
    assert await paid(world) == (BILL, 0, "pending", 600)
    assert (await checkout(world)).url != opened.url  # the customer comes back, and is shown the rest
    assert await paid(world) == (BILL - 600, 600, "pending", 0)
    await comes(world, 100)
    assert await paid(world) == (BILL - 700, 700, "created", 0)
    assert world.provider.pay(opened.checkout or "") == ()
    await world.tell(*world.provider.pay((await checkout(world)).checkout or ""))
    await world.settle()
    assert await paid(world) == (BILL - 700, 700, "delivered", 0)
    await world.clean()


async def test_who_pays_at_that_moment_has_paid_and_keeps_the_credit(
    world: World,
) -> None:  # R-REF-4, R-PACK-3
    await owed(world)
    opened = await checkout(world)
    assert world.provider.pay(opened.checkout or "")  # and no webhook has told of it yet
    await comes(world, 600)
    assert await paid(world) == (BILL, 0, "delivered", 600)
    await world.clean()


async def test_a_checkout_that_was_being_opened_meanwhile_is_closed(
    world: World,
) -> None:  # R-REF-4, R-PACK-3
    bill = await owed(world)
    await gift(world, 600)

    class Slow:
        """The provider, at which a checkout takes so long that credit comes meanwhile."""

        def __getattr__(self, name: str) -> object:
            return getattr(world.provider, name)

        async def checkout(self, *order: object) -> object:
            started = await world.provider.checkout(*order)  # type: ignore[arg-type]  # as it was called
            await gift(world, 300)
            await world.follow()
            return started

    refused = await world.open(provider=Slow()).checkout.pay("acme", bill.id)
    assert isinstance(refused, Refusal)
    assert await paid(world) == (BILL - 900, 900, "created", 0)
    assert world.provider.pay("cs_1") == ()
    assert (await checkout(world)).amount == BILL - 900
    await world.clean()


async def test_credit_that_goes_elsewhere_meanwhile(world: World) -> None:  # R-REF-4
    """What is left of it pays, and the next that comes pays too."""
    bill = await owed(world)
    await gift(world, 600)

    async def elsewhere() -> None:
        await ok(world.ledger, "acme", c.SpendCredit(amount=500, reference="another"))

    shop = world.open(ledger=Meanwhile(world.ledger, elsewhere))
    await shop.bills.credited(bill)
    assert await paid(world) == (BILL - 100, 100, "created", 0)
    await comes(world, BILL)
    assert await paid(world) == (0, BILL, "delivered", 100)
    await world.clean()


async def test_a_bill_that_is_paid_while_credit_is_spent_on_it(world: World) -> None:  # R-REF-4, R-PACK-3
    """A provider that takes the money of a checkout which it had said was over: the credit is given back, once."""
    await owed(world)
    bill = await checkout(world)
    [late] = world.provider.pay(bill.checkout or "")
    begun = replace(bill, further=((world.clock.time, 600),), doing="spend_credit", due_at=world.clock.time)
    await world.rows.put(begun)
    await gift(world, 600)
    begun = await world.shop.means.change(begun, lambda row: merge(row, late))
    await asyncio.gather(*(world.open().delivery.advance(begun) for _ in range(2)))
    await world.follow()
    assert await paid(world) == (BILL, 0, "delivered", 600)
    await world.clean()


async def test_all_at_once(world: World) -> None:  # R-REF-4, R-PACK-3
    """Processes that hear of the credit, and a customer who wants to pay: it is spent once, and the rest is asked."""
    await owed(world)
    await gift(world, 400)
    shops = [world.open() for _ in range(4)]
    bill = await bill_of(world)
    await asyncio.gather(
        *(shop.bills.attend(bill) for shop in shops[:3]), shops[3].checkout.pay("acme", bill.id),
        gift(world, 300),
    )  # fmt: skip
    await world.follow()
    assert (await paid(world))[:2] == (BILL - 700, 700)
    assert await credit(world) == 0
    opened = await checkout(world)
    await world.tell(*world.provider.pay(opened.checkout or ""))
    await world.settle()
    assert await paid(world) == (BILL - 700, 700, "delivered", 0)
    await world.clean()


@pytest.mark.parametrize("has", [600, BILL])
async def test_a_death_between_any_two_steps(world: World, has: int) -> None:  # R-REF-4, R-PACK-3
    """From a checkout that is open to the bill's rest: credit is spent once, and nobody can pay the old amount."""
    start = world.clock.time
    # On PostgreSQL, where each way there takes longer, at every third of them.
    for at in itertools.count(1, 1 if world.store.engine == "sqlite" else 3):
        name, world.clock.time = f"acme_{at:02d}", start
        await owed(world, name)
        opened = await checkout(world, organization=name)
        await gift(world, has, name)
        wire = Wire(at)
        shop, died = wire.shop(world), False
        try:
            page = await world.ledger.journal(name, None, 100)
            assert page is not None
            await shop.overages.told(page.rows)
            await shop.bills.attend(await bill_of(world, name))
        except Crash:
            died = True
        world.restart()
        await world.follow()
        for _ in range(2):
            await world.later(WAIT)
        where, bill = wire.places[-1], await bill_of(world, name)
        assert (bill.amount, bill.credit_used, await credit(world, name)) == (BILL - has, has, 0), where
        assert bill.done == (("spend_credit",) if has < BILL else ("spend_credit", "deliver")), where
        assert world.provider.pay(opened.checkout or "") == (), where
        if not died:
            assert at > 6
            break
    await world.clean()
