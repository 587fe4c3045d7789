"""The right of withdrawal and its waiver: recorded at the purchase, counted in the quote (R-REF-1)."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.support.shops import World, make_world, selling
from tests.support.stores import Store, ok, sqlite_url
from tokentill.flows.checkout import Ask
from tokentill.rules import commands as c
from tokentill.rules.purchases import Purchase
from tokentill.rules.refund_policy import Withdrawal
from tokentill.rules.refund_rows import Refund
from tokentill.rules.refund_texts import sentences
from tokentill.rules.refusals import Code, Refusal

PRICE = 2_900


async def world_of(folder: Path, *, required: bool) -> World:
    store = Store("sqlite", sqlite_url(folder))
    catalog = selling()
    policy = replace(
        catalog.refunds,
        withdrawal={"eu": Withdrawal(14)},
        guarantee_percent=None,
        waiver_required=required,
    )
    world = await make_world(store, folder, catalog=replace(catalog, refunds=policy))
    await world.begin("acme")
    await ok(world.ledger, "acme", c.Adjust(tokens=-200, reason="spent", actor="op"))
    return world


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = await world_of(tmp_path, required=False)
    yield made
    await made.shop.close()
    await made.store.close()


async def buy(world: World, *, waived: bool) -> Purchase:
    ask = Ask(organization="acme", withdrawal_waived=waived)
    ordered = await world.shop.checkout.buy_pack(ask, "token_pack_500")
    assert isinstance(ordered, Purchase), ordered
    return ordered


async def pay(world: World, ordered: Purchase) -> Purchase:
    await world.tell(*world.provider.pay(ordered.checkout or ""))
    await world.settle()
    return await world.purchase(ordered)


async def asked(world: World, purchase: Purchase) -> Refund:
    found = await world.shop.refunding.quote("acme", purchase.id, "quality", region="eu")
    assert isinstance(found, Refund)
    return found


@pytest.mark.parametrize("waived", [False, True])
async def test_a_waiver_is_kept_with_its_moment_and_the_quote_counts_it(
    world: World, waived: bool
) -> None:  # R-REF-1
    purchase = await pay(world, await buy(world, waived=waived))
    assert purchase.withdrawal_waived_at == (world.clock.now() if waived else None)
    await ok(world.ledger, "acme", c.Charge(feature="generate_goal", quantity=50))  # 150 of 500
    world.clock.time += 2 * 86_400_000
    quote = (await asked(world, purchase)).quote
    told = sentences(quote, world.ledger.catalog.refunds.texts)
    if waived:  # half of half: used below 50 %, for quality; on a first purchase that reason gives no more
        assert quote.amount == PRICE // 4
        assert "The right of withdrawal was given up at the purchase." in told
    else:
        assert quote.amount == PRICE * 350 // 500
        assert "The right of withdrawal gives at least the unused share: 350 of 500 tokens." in told


async def test_it_is_given_up_while_paying_and_not_afterwards(world: World) -> None:  # R-REF-1
    checkout = world.shop.checkout
    ordered = await buy(world, waived=False)
    first = await checkout.waive_withdrawal("acme", ordered.id)
    assert isinstance(first, Purchase)
    world.clock.time += 1_000
    again = await checkout.waive_withdrawal("acme", ordered.id)
    assert isinstance(again, Purchase)
    assert again.withdrawal_waived_at == first.withdrawal_waived_at, "the first moment stays"
    taken_back = await checkout.waive_withdrawal("acme", ordered.id, waived=False)
    assert isinstance(taken_back, Purchase)
    assert taken_back.withdrawal_waived_at is None
    purchase = await pay(world, ordered)
    late = await checkout.waive_withdrawal("acme", purchase.id)
    assert isinstance(late, Refusal)
    assert (await world.purchase(purchase)).withdrawal_waived_at is None
    assert isinstance(await checkout.waive_withdrawal("acme", "0" * 32), Refusal)


async def test_it_is_needed_only_where_the_catalog_says_so(tmp_path: Path) -> None:  # R-REF-1
    world = await world_of(tmp_path, required=True)
    refused = await world.shop.checkout.buy_pack(Ask(organization="acme"), "token_pack_500")
    assert isinstance(refused, Refusal)
    assert (refused.code, refused.detail) == (Code.NOT_POSSIBLE, "withdrawal_waived")
    assert world.ledger.catalog.refunds.waiver_text in refused.message
    assert await world.purchases("acme") == []
    await buy(world, waived=True)
    topup = Ask(organization="acme", source="topup")
    bought = await world.shop.checkout.buy_pack(topup, "token_pack_500")
    assert isinstance(bought, Purchase), "nobody is there to agree, so the right is kept"
    assert bought.withdrawal_waived_at is None
    await world.shop.close()
    await world.store.close()
