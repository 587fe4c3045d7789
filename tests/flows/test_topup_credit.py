"""Money credit pays for what is topped up, as far as it reaches; the saved method pays the rest (R-PACK-11, R-REF-4)."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from msgspec.structs import replace

from tests.flows.test_refunding import accepted, quoted
from tests.flows.test_topup import PACK, PRICE, ready, stand, use
from tests.support.scripted import DOWN
from tests.support.shops import World
from tests.support.stores import ok
from tests.support.tripwire import Crash, Wire
from tokentill.rules import commands as c
from tokentill.rules.credit import NO_CREDIT, available
from tokentill.rules.purchases import begin, derive, purchase_id
from tokentill.rules.refusals import Refusal
from tokentill.rules.rows import Payer, TopUp
from tokentill.rules.topups import begun

HAS = 1_000
DAY = 86_400_000


async def gift(world: World, amount: int, organization: str = "acme") -> None:
    await ok(world.ledger, organization, c.Grant(tokens=amount, origin="credit", unit="money"))


async def credit(world: World, organization: str = "acme") -> int:
    return available((await world.account(organization)).state)


class Meanwhile:
    """The ledger, where something else happens right before credit is spent for the first time."""

    def __init__(self, ledger: Any, happens: Callable[[], Awaitable[object]]) -> None:
        self._ledger = ledger
        self._happens: Callable[[], Awaitable[object]] | None = happens

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    async def submit(self, envelope: c.Envelope) -> Any:
        happens = self._happens
        if happens is not None and isinstance(envelope.command, c.SpendCredit):
            self._happens = None
            await happens()
        return await self._ledger.submit(envelope)


async def test_credit_pays_in_part_and_the_method_the_rest(shop_world: World) -> None:  # R-PACK-11, R-REF-4
    world = shop_world
    await ready(world, ceiling=PRICE + 500)
    await gift(world, HAS)
    await use(world, 102)
    [bought] = await world.purchases("acme")
    assert (bought.state, bought.mode, bought.source) == ("delivered", "saved", "topup")
    assert (bought.amount, bought.credit_used, bought.list_amount) == (PRICE - HAS, HAS, PRICE)
    assert (world.provider.money(bought.id), await credit(world)) == (PRICE - HAS, 0)
    # A webhook that tells of it, late and twice, changes nothing.
    facts = world.provider.facts_of_payment(bought.payment or "")
    for name in ("evt_1", "evt_1", "evt_2"):
        await world.tell(*facts, name=name)
    await world.settle()
    assert (await world.purchase(bought)).done == ("spend_credit", "deliver")
    row = await stand(world)
    assert (row.spent, row.enabled, row.purchase) == (PRICE - HAS, True, None)
    assert (await world.balance("acme"), await credit(world)) == (98 + 500, 0)
    # What credit paid is not charged, so there is room for 1500 more and not for another pack without credit.
    await gift(world, PRICE - 1_500)
    await use(world, 501)
    assert ((await stand(world)).spent, await credit(world)) == (PRICE + 500, 0)
    await world.later(2 * DAY)
    await use(world, 501)
    assert (await stand(world)).stopped == "ceiling"
    await world.clean()


@pytest.mark.parametrize("saved", [True, False])
async def test_where_credit_pays_all_no_provider_is_asked(shop_world: World, saved: bool) -> None:
    """R-PACK-11, R-REF-4: no saved method is needed any more, neither to switch it on; then it stops and says why."""
    world = shop_world
    if saved:
        await ready(world, ceiling=PRICE)
        await gift(world, 2 * PRICE + 1)
    else:
        figures: dict[str, Any] = {"threshold": 100, "pack": PACK, "ceiling": PRICE}
        await world.begin("acme")
        await gift(world, PRICE - 1)
        refused = await world.shop.topups.set("acme", **figures)
        assert isinstance(refused, Refusal)
        assert "Pay once" in refused.message
        assert "let credit pay" in refused.message
        await gift(world, PRICE + 2)
        assert isinstance(await world.shop.topups.set("acme", **figures, use_credit=False), Refusal)
        assert isinstance(await world.shop.topups.set("acme", **figures), TopUp)
    for tokens in (102, 501):
        await use(world, tokens)
        assert (world.provider.log, await world.balance("acme")) == ([], 598 if tokens == 102 else 597)
        assert ((await stand(world)).spent, (await stand(world)).enabled) == (0, True)
        await world.rows.drop(Payer, "scripted:acme:pm_a", "acme")
    rows = await world.purchases("acme")
    assert {(row.state, row.mode, row.amount, row.credit_used) for row in rows} == {
        ("delivered", "free", 0, PRICE)
    }
    assert (len(rows), await credit(world)) == (2, 1)
    # Of what is left something would have to be charged, and there is no method.
    await world.later(2 * DAY)
    await use(world, 501)
    assert ((await stand(world)).stopped, await credit(world)) == ("no_method", 1)
    await world.clean()


async def test_a_customer_may_keep_the_credit(shop_world: World) -> None:  # R-PACK-11, R-REF-4
    world = shop_world
    await ready(world, use_credit=False)
    await gift(world, 2 * PRICE)
    await use(world, 102)
    [bought] = await world.purchases("acme")
    assert (bought.amount, bought.credit_used, bought.state) == (PRICE, 0, "delivered")
    assert ((await stand(world)).spent, await credit(world)) == (PRICE, 2 * PRICE)
    await world.clean()


@pytest.mark.parametrize("saved", ["pm_declined", "pm_confirm"])
async def test_a_payment_that_comes_to_nothing_gives_the_credit_back_once(
    shop_world: World, saved: str
) -> None:  # R-PACK-11, R-REF-4
    world = shop_world
    await ready(world, saved=saved)
    await gift(world, HAS)
    await use(world, 102)
    for _ in range(4):
        await world.later(3_600_000)
    [bought] = await world.purchases("acme")
    row = await stand(world)
    assert (row.enabled, row.purchase, row.spent) == (False, None, 0)
    assert (bought.done, bought.due_at) == (("spend_credit", "return_credit"), None)
    assert (await credit(world), await world.balance("acme")) == (HAS, 98)
    await world.clean()


async def test_a_rest_that_the_provider_would_not_take_is_charged_as_the_least(
    shop_world: World,
) -> None:  # R-PACK-11, R-REF-4
    world = shop_world
    world.provider.leasts = {"USD": 50}
    await ready(world)
    await gift(world, PRICE - 1)
    await use(world, 102)
    [bought] = await world.purchases("acme")
    assert (bought.amount, bought.state, (await stand(world)).spent) == (50, "delivered", 50)
    assert await credit(world) == 49
    await world.clean()


async def test_credit_that_goes_elsewhere_meanwhile(shop_world: World) -> None:  # R-PACK-11, R-REF-4
    """Another order spends it between the count and the spending: nothing stops, and the next try counts again."""
    world = shop_world
    row = await ready(world)
    await gift(world, HAS)

    async def elsewhere() -> None:
        await ok(world.ledger, "acme", c.SpendCredit(amount=HAS - 100, reference="another"))

    for _ in range(34):
        await ok(world.ledger, "acme", c.Charge(feature="generate_goal"))
    shop = world.open(ledger=Meanwhile(world.ledger, elsewhere))
    row = await shop.topups.attend(await stand(world))
    assert (row.enabled, row.stopped, row.purchase) == (True, None, None)
    await world.later(6_000)
    states = sorted((one.state, one.amount, one.credit_used) for one in await world.purchases("acme"))
    assert states == [("abandoned", PRICE - HAS, HAS), ("delivered", PRICE - 100, 100)]
    row = await stand(world)
    assert (row.enabled, row.purchase, row.spent, await credit(world)) == (True, None, PRICE - 100, 0)
    await world.clean()


async def test_credit_that_was_gone_and_is_there_again(shop_world: World) -> None:  # R-PACK-3, R-REF-4
    """One process finds none and gives the order up, and another, that was slow, spends nothing of what came since."""
    world = shop_world
    await ready(world)
    await gift(world, HAS)

    async def given_up() -> None:
        await ok(world.ledger, "acme", c.SpendCredit(amount=HAS, reference="another"))
        [meant] = await world.purchases("acme")
        assert (await world.shop.delivery.advance(meant)).problem == NO_CREDIT
        await gift(world, HAS)

    await ok(world.ledger, "acme", c.Adjust(tokens=-198, reason="used before", actor="ann"))
    shop = world.open(ledger=Meanwhile(world.ledger, given_up))
    row = await shop.topups.attend(await stand(world))
    [over] = await world.purchases("acme")
    assert (over.state, over.done, await credit(world)) == ("abandoned", (), HAS)
    assert (row.enabled, row.purchase) == (True, None)
    await world.later(6_000)
    [bought] = [one for one in await world.purchases("acme") if one.id != over.id]
    assert (bought.state, bought.credit_used, await credit(world)) == ("delivered", HAS, 0)
    await world.clean()


async def test_an_order_that_a_dead_process_left_without_its_credit(
    shop_world: World,
) -> None:  # R-PACK-11, R-REF-4
    """The order is on record and its credit went elsewhere since: a new one is made with what is left."""
    world = shop_world
    row = await ready(world)
    number = purchase_id("topup", f"acme:{row.version}")
    meant = world.order(
        "acme", id=number, amount=PRICE - HAS, credit_used=HAS, mode="saved", payer="scripted:acme:pm_a",
        source="topup",
    )  # fmt: skip
    await world.rows.add(replace(begin(derive(meant)), due_at=world.clock.time))
    await world.rows.put(replace(begun(row, meant, world.clock.time), due_at=world.clock.time))
    await use(world, 102)
    await world.later(6_000)
    assert (await world.purchase(meant)).problem == NO_CREDIT
    [bought] = [one for one in await world.purchases("acme") if one.id != number]
    assert (bought.state, bought.amount, (await stand(world)).spent) == ("delivered", PRICE, PRICE)
    await world.clean()


async def test_a_refund_gives_each_part_back_to_where_it_came_from(
    shop_world: World,
) -> None:  # R-REF-4, R-REF-5
    world = shop_world
    await ready(world)
    await gift(world, HAS)
    await use(world, 102)
    await world.shop.topups.off("acme")
    [bought] = await world.purchases("acme")
    row = await accepted(world, await quoted(world, bought))
    assert (row.state, row.money, row.credit) == ("settled", PRICE - HAS, HAS)
    assert (world.provider.refunded(bought.payment or ""), await credit(world)) == (PRICE - HAS, HAS)
    assert await world.balance("acme") == 98
    assert (await quoted(world, await world.purchase(bought))).quote.refused == "refunded"
    await world.clean()


async def test_a_charge_without_an_answer_keeps_its_credit(shop_world: World) -> None:  # R-PACK-3, R-REF-4
    world = shop_world
    await ready(world)
    await gift(world, HAS)
    world.provider.fail["charge_saved.answer"] = [DOWN]
    await use(world, 102)
    assert ((await stand(world)).purchase is not None, await credit(world)) == (True, 0)
    for _ in range(3):
        await world.later(11_000)
    [bought] = await world.purchases("acme")
    assert (bought.done, world.provider.money(bought.id)) == (("spend_credit", "deliver"), PRICE - HAS)
    assert ((await stand(world)).spent, await credit(world)) == (PRICE - HAS, 0)
    await world.clean()


async def crashed(world: World, name: str, at: int) -> tuple[str, bool]:
    """Attend the top-up of an organization, dying at that crossing; where, and whether it died."""
    wire = Wire(at)
    shop = wire.shop(world)
    died = False
    try:
        await shop.topups.attend(await stand(world, name))
    except Crash:
        died = True
    world.restart()
    return wire.places[-1], died


@pytest.mark.parametrize(
    ("has", "saved", "left", "done"),
    [
        (HAS, "pm_a", 0, ("spend_credit", "deliver")), (PRICE + HAS, "pm_a", HAS, ("spend_credit", "deliver")),
        (HAS, "pm_declined", HAS, ("spend_credit", "return_credit")),
    ],
    ids=["in part", "all of it", "declined"],
)  # fmt: skip
async def test_a_crash_between_any_two_steps(
    shop_world: World, has: int, saved: str, left: int, done: tuple[str, ...]
) -> None:  # R-PACK-11, R-REF-4
    world, pays = shop_world, "deliver" in done
    # On PostgreSQL, where each way there takes longer, at every third of them.
    for at in range(1, 80, 1 if world.store.engine == "sqlite" else 3):
        name = f"acme_{at:02d}"
        await ready(world, name, saved=saved)
        await gift(world, has, name)
        for _ in range(12):
            await ok(world.ledger, name, c.Charge(feature="generate_goal", quantity=3))
        where, died = await crashed(world, name, at)
        await world.follow()
        for _ in range(3):
            await world.later(11_000)
        [bought] = await world.purchases(name)
        row = await stand(world, name)
        assert (bought.done, bought.credit_used) == (done, min(has, PRICE)), where
        assert await credit(world, name) == left, where
        charged = PRICE - min(has, PRICE) if pays else 0
        assert (world.provider.money(bought.id), row.spent) == (charged, charged), where
        assert (row.enabled, row.purchase) == (pays, None), where
        assert await world.balance(name) == 200 - 108 + (500 if pays else 0), where
        if not died:
            assert at > 10
            break
    else:
        raise AssertionError("the story never ended")
    await world.clean()
