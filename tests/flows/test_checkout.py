"""Ordering packs: the limit, promotions, one click, switches, and what a key means (R-PACK-2, R-PACK-4, R-PACK-8)."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from tests.support.scripted import DOWN
from tests.support.shops import World, make_world, selling
from tests.support.stores import Store, sqlite_url
from tokentill.flows.checkout import Ask
from tokentill.flows.means import deed_key
from tokentill.flows.pay import Terms
from tokentill.rules import links
from tokentill.rules.catalog import Catalog
from tokentill.rules.catalog_shop import Promo
from tokentill.rules.purchases import Purchase
from tokentill.rules.refusals import Code, Refusal
from tokentill.rules.rows import Payer

PACK = "token_pack_500"
DAY = 86_400_000


def ask(organization: str = "acme", **more: Any) -> Ask:
    return Ask(organization=organization, **more)


async def buy(world: World, organization: str = "acme", promo: str | None = None, **more: Any) -> Purchase:
    bought = await world.shop.checkout.buy_pack(ask(organization, **more), PACK, promo)
    assert isinstance(bought, Purchase), bought
    return bought


async def refused(world: World, organization: str = "acme", promo: str | None = None, **more: Any) -> Refusal:
    bought = await world.shop.checkout.buy_pack(ask(organization, **more), PACK, promo)
    assert isinstance(bought, Refusal), bought
    return bought


async def pay(world: World, purchase: Purchase, method: str = "card_a") -> Purchase:
    await world.tell(*world.provider.pay(purchase.checkout or "", method))
    await world.settle()
    return await world.purchase(purchase)


async def save_card(world: World, saved: str = "pm_a", organization: str = "acme") -> str:
    """A payment method that the organization agreed to save."""
    payer = Payer(
        id=f"scripted:{organization}:{saved}", organization=organization, provider="scripted", method=f"m_{saved}",
        saved=saved, customer="cus_1", used_at=1,
    )  # fmt: skip
    await world.rows.add(payer)
    return payer.id


def with_promo(**more: Any) -> Catalog:
    promo = Promo(code="LAUNCH", percent_off=50, **more)
    return replace(selling(), promos={"LAUNCH": promo})


@pytest.fixture(params=["sqlite", "postgres"])
async def promo_world(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else sqlite_url(tmp_path)
    store = Store(request.param, url)
    made = await make_world(store, tmp_path, catalog=with_promo(uses_max=3))
    yield made
    await made.shop.close()
    await store.close()


async def test_fifty_orders_at_once_get_two_slots(shop_world: World) -> None:  # R-PACK-4
    world = shop_world
    await world.begin("acme", "other")
    shops = [world.shop, world.open()]
    found = await asyncio.gather(
        *(shops[nth % 2].checkout.buy_pack(ask(), PACK) for nth in range(50)),
        shops[0].checkout.buy_pack(ask("other"), PACK),
    )
    bought = [one for one in found[:50] if isinstance(one, Purchase)]
    turned = [one for one in found[:50] if isinstance(one, Refusal)]
    assert (len(bought), {one.code for one in turned}) == (2, {Code.PACK_LIMIT})
    assert all((one.retry_after_ms or 0) > 0 for one in turned)
    assert isinstance(found[50], Purchase), "the limit is that of one organization"
    # Both are paid: the slots stay taken for the window of the catalog, and not a moment longer.
    for one in bought:
        await pay(world, one)
    await world.later(DAY - 1)
    assert (await refused(world)).code == Code.PACK_LIMIT
    await world.later(1)
    assert (await buy(world)).state == "pending"
    await world.clean()


async def test_an_open_checkout_holds_its_slot_until_it_can_be_paid_no_more(
    shop_world: World,
) -> None:  # R-PACK-4
    world = shop_world
    await world.begin("acme")
    first = await buy(world)
    await buy(world)
    assert (await refused(world)).code == Code.PACK_LIMIT
    cancelled = await world.shop.checkout.cancel("acme", first.id)
    assert isinstance(cancelled, Purchase)
    assert (cancelled.state, cancelled.problem) == ("abandoned", "cancelled")
    assert world.provider.log[-1] == "close_checkout"
    third = await buy(world)
    await world.later(2 * 3_600_000)
    assert (await world.purchase(third)).state == "abandoned", "it expired, and nobody was told"
    assert (await buy(world)).state == "pending"


async def test_one_that_is_left_while_it_is_being_opened_cannot_be_paid(
    shop_world: World,
) -> None:  # R-PACK-4
    world = shop_world
    await world.begin("acme")
    real = world.provider.checkout

    async def checkout(order: Any, key: str) -> Any:
        started = await real(order, key)
        await world.shop.checkout.cancel("acme", order.purchase.id)
        return started

    world.provider.checkout = checkout  # type: ignore[method-assign]  # to come in between
    assert (await refused(world)).code == Code.NOT_POSSIBLE
    [session] = world.provider.all("session").values()
    assert session["state"] == "closed"
    assert [row.state for row in await world.purchases("acme")] == ["abandoned"]


async def test_what_was_paid_cannot_be_cancelled(shop_world: World) -> None:  # R-PACK-3
    world = shop_world
    await world.begin("acme")
    purchase = await buy(world)
    world.provider.pay(purchase.checkout or "")
    found = await world.shop.checkout.cancel("acme", purchase.id)
    assert isinstance(found, Purchase)
    assert (found.state, await world.balance("acme")) == ("delivered", 700)
    other = await buy(world)
    world.provider.pay(other.checkout or "")
    world.provider.fail["look"] = [DOWN]
    unknown = await world.shop.checkout.cancel("acme", other.id)
    assert isinstance(unknown, Refusal)
    assert unknown.code == Code.CHECKOUT_FAILED, "it is paid, and how is not known yet"
    again = await world.shop.checkout.cancel("acme", purchase.id)
    assert isinstance(again, Refusal)
    assert again.code == Code.NOT_POSSIBLE
    nobody = await world.shop.checkout.cancel("acme", "0" * 32)
    assert isinstance(nobody, Refusal)
    assert nobody.code == Code.UNKNOWN_PURCHASE


async def test_a_payment_of_which_no_webhook_tells_is_found(shop_world: World) -> None:  # R-PACK-3
    world = shop_world
    await world.begin("acme")
    purchase = await buy(world)
    world.provider.pay(purchase.checkout or "")
    await world.later(60_000)
    assert (await world.purchase(purchase)).state == "delivered"
    assert await world.balance("acme") == 700


async def test_the_same_key_is_the_same_order(shop_world: World) -> None:  # R-PACK-2
    world = shop_world
    await world.begin("acme", "other")
    found = await asyncio.gather(*(buy(world, key="k1") for _ in range(20)))
    assert {(one.id, one.url) for one in found} == {(found[0].id, "https://pay.test/cs_1")}
    assert len(world.provider.all("session")) == 1
    other = await world.shop.checkout.buy_pack(ask(key="k1"), "token_pack_2000")
    assert isinstance(other, Refusal)
    assert other.code == Code.KEY_REUSED
    assert (await buy(world, "other", key="k1")).id != found[0].id
    assert (await buy(world, key="k2")).id != found[0].id


async def test_names_with_colons_are_no_other_organization(shop_world: World) -> None:  # R-PLAT-2, R-PACK-2
    """ "a:b" with the key "c" and "a" with the key "b:c" are two orders, at the provider too."""
    world = shop_world
    await world.begin("a:b", "a")
    one, other = await buy(world, "a:b", key="c"), await buy(world, "a", key="b:c")
    assert one.id != other.id
    assert one.url != other.url
    await pay(world, one)
    assert (await world.balance("a:b"), await world.balance("a")) == (700, 200)
    assert deed_key("a:b", "c") != deed_key("a", "b:c")


async def test_a_checkout_nobody_was_told_of_is_started_by_the_repetition(
    shop_world: World,
) -> None:  # R-PACK-2
    world = shop_world
    await world.begin("acme")
    ordered = world.order("acme")
    await world.rows.add(ordered)
    assert (await world.place(ordered)).url == "https://pay.test/cs_1"
    lost = world.order("acme")
    await world.rows.add(replace(lost, due_at=lost.created_at + 120_000))
    await world.later(120_000)
    gone = await world.purchase(lost)
    assert (gone.state, gone.problem, gone.slot_until) == ("abandoned", "never_started", 0)


async def test_uses_of_a_promotion_are_counted_under_many_at_once(promo_world: World) -> None:  # R-PACK-8
    world = promo_world
    names = [f"org_{nth}" for nth in range(12)]
    await world.begin(*names)
    shops = [world.shop, world.open()]
    found = await asyncio.gather(
        *(shops[nth % 2].checkout.buy_pack(ask(name), PACK, "launch") for nth, name in enumerate(names * 2))
    )
    bought = [one for one in found if isinstance(one, Purchase)]
    assert len(bought) == 3
    assert {(one.amount, one.promo) for one in bought} == {(1450, "LAUNCH")}
    assert len({one.organization for one in bought}) == 3, "each organization once"
    assert {one.code for one in found if isinstance(one, Refusal)} == {Code.PROMO_INVALID}
    # One is paid and one abandoned: the latter's use is free again, the former's never.
    await pay(world, bought[0])
    await world.shop.checkout.cancel(bought[1].organization, bought[1].id)
    again = await buy(world, bought[1].organization, "LAUNCH")
    assert again.amount == 1450
    assert (await refused(world, bought[0].organization, "LAUNCH")).code == Code.PROMO_INVALID
    await world.later(400 * DAY)
    assert (await refused(world, bought[0].organization, "LAUNCH")).code == Code.PROMO_INVALID


async def test_a_switch_stops_new_orders_at_once_and_honours_the_old(shop_world: World) -> None:  # R-PACK-9
    world = shop_world
    await world.begin("acme")
    ordered = await buy(world)
    other = world.open()
    turned = await other.switches.turn("packs", on=False, reason="a wrong price", actor="ann")
    assert not isinstance(turned, Refusal)
    assert (await refused(world)).code == Code.PACKS_OFF
    assert (await pay(world, ordered)).state == "delivered"
    await other.switches.turn("packs", on=True, reason="mended", actor="ann")
    await other.switches.turn(f"pack:{PACK}", on=False, reason="this one", actor="ann")
    assert (await refused(world)).code == Code.PACKS_OFF
    assert isinstance(await world.shop.checkout.buy_pack(ask(), "token_pack_2000"), Purchase)
    for wrong in (
        await other.switches.turn("nothing", on=False, reason="x", actor="y"),
        await other.switches.turn("packs", on=False, reason=" ", actor="y"),
    ):
        assert isinstance(wrong, Refusal)
        assert wrong.code == Code.INVALID
    assert [(row.id, row.on) for row in await world.shop.switches.all()] == [
        ("packs", True), (f"pack:{PACK}", False)]  # fmt: skip


async def test_one_click_is_delivered_when_it_is_answered(shop_world: World) -> None:  # R-SALE-3, R-PACK-10
    world = shop_world
    await world.begin("acme")
    payer = await save_card(world)
    bought = await buy(world, payer=payer)
    assert (bought.state, await world.balance("acme")) == ("delivered", 700)
    [fact] = world.provider.facts_of_payment("pi_1")
    await world.tell(fact)
    await world.settle()
    assert await world.balance("acme") == 700
    assert (await refused(world, payer="scripted:other:pm")).code == Code.NOT_POSSIBLE


async def test_one_click_that_is_declined_or_must_be_confirmed(shop_world: World) -> None:  # R-SALE-3
    world = shop_world
    await world.begin("acme")
    declined = await buy(world, payer=await save_card(world, "pm_declined"))
    assert (declined.state, declined.decline_code, declined.slot_until) == ("failed", "card_declined", 0)
    confirmed = await buy(world, payer=await save_card(world, "pm_confirm"))
    assert (confirmed.state, confirmed.url) == ("pending", "https://pay.test/cs_1")
    assert await world.balance("acme") == 200
    assert (await pay(world, confirmed)).state == "delivered"


@pytest.mark.parametrize("lost", ["charge_saved", "charge_saved.answer"])
async def test_a_charge_without_an_answer_is_asked_for_until_there_is_one(
    shop_world: World, lost: str
) -> None:  # R-PACK-3
    world = shop_world
    await world.begin("acme")
    world.provider.fail[lost] = [DOWN, DOWN, DOWN]
    bought = await buy(world, payer=await save_card(world))
    assert (bought.state, await world.balance("acme")) == ("created", 200)
    left = await world.shop.checkout.cancel("acme", bought.id)
    assert isinstance(left, Refusal)
    assert left.code == Code.NOT_POSSIBLE, "money may have moved"
    for _ in range(6):
        await world.later(30_000)
    bought = await world.purchase(bought)
    assert (bought.state, await world.balance("acme")) == ("delivered", 700)
    assert world.provider.money(bought.id) == bought.amount


async def test_a_charge_that_is_never_answered_asks_for_a_person(shop_world: World) -> None:  # R-PACK-3
    world = shop_world
    await world.begin("acme")
    world.provider.fail["charge_saved"] = [DOWN] * 200
    bought = await buy(world, payer=await save_card(world))
    for _ in range(60):
        await world.later(3_600_000)
    assert (await world.purchase(bought)).state == "abandoned"
    assert await world.alerts() == ["unanswered"]
    assert world.provider.log[-1] == "look", "after a day it is only looked for"


async def test_a_charge_that_was_taken_is_found_even_after_a_day(shop_world: World) -> None:  # R-PACK-3
    world = shop_world
    await world.begin("acme")
    world.provider.fail["charge_saved.answer"] = [DOWN]
    bought = await buy(world, payer=await save_card(world))
    world.provider.fail["look"] = [DOWN]
    await world.later(2 * DAY)
    assert (await world.purchase(bought)).state == "created"
    await world.later(2 * DAY)
    assert ((await world.purchase(bought)).state, await world.balance("acme")) == ("delivered", 700)
    assert world.provider.log.count("charge_saved") == 1


async def test_where_the_customer_comes_back_to(shop_world: World) -> None:  # R-PACK-2
    world = shop_world
    await world.begin("acme")
    orders = []
    real = world.provider.checkout

    async def checkout(order: Any, key: str) -> Any:
        orders.append(order)
        return await real(order, key)

    world.provider.checkout = checkout  # type: ignore[method-assign]  # to see what is sent
    bought = await buy(world)
    await buy(
        world, terms=Terms(success_url="https://app.test/ok", cancel_url="https://app.test/no", email="a@b.c")
    )
    page, _, link = orders[0].success_url.partition("?link=")
    assert page == f"https://shop.test/account/purchases/{bought.id}"
    assert links.read(world.shop.means.secret, link, world.clock.now()) is not None
    assert orders[0].cancel_url == "https://shop.test/account/buy-credits"
    assert (orders[1].success_url, orders[1].cancel_url, orders[1].email) == (
        "https://app.test/ok", "https://app.test/no", "a@b.c")  # fmt: skip
    assert (await refused(world, "nobody")).code == Code.UNKNOWN_ORGANIZATION


async def test_the_history_is_newest_first(shop_world: World) -> None:  # R-PACK-7
    world = shop_world
    await world.begin("acme")
    first, second = await buy(world), await buy(world)
    page = await world.shop.checkout.history("acme", limit=1)
    assert [row.id for row in page] == [second.id]
    page = await world.shop.checkout.history("acme", before=second.id)
    assert [row.id for row in page] == [first.id]
    assert await world.shop.checkout.purchase("acme", first.id) == first
