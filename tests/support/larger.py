"""Larger packs that were paid for by the difference: what tests of their refunds share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from tests.support.shops import World, selling
from tokentill.flows.shop import Shop
from tokentill.rules.catalog import Catalog
from tokentill.rules.purchases import Purchase
from tokentill.rules.refund_rows import Refund

ITEMS = ("token_pack_500", "token_pack_2000", "token_pack_6000")
TOKENS = (500, 2000, 6000)
PRICES = (2900, 7900, 19_900)


def with_third(catalog: Catalog) -> Catalog:
    """The catalog with a third pack, larger than both."""
    third = replace(
        catalog.packs[ITEMS[1]], id=ITEMS[2], title="6000 tokens", tokens=TOKENS[2], price=PRICES[2]
    )
    return replace(catalog, packs={**catalog.packs, ITEMS[2]: third})


def packs() -> Catalog:
    """The preset `goals` with a third pack, and every limit on refunds off."""
    catalog = with_third(selling())
    policy = replace(catalog.refunds, automatic_max=None, four_eyes_above=None, review_refunds=1000)
    found = replace(catalog, refunds=policy)
    assert [(found.packs[item].tokens, found.packs[item].price) for item in ITEMS] == list(
        zip(TOKENS, PRICES, strict=True)
    )
    return found


async def first_pack(world: World, name: str, **more: Any) -> Purchase:
    """The smallest pack, delivered."""
    placed = await world.place(world.order(name, **more))
    method = f"card_{name}"
    await world.shop.take_in(
        "scripted", world.provider.told(*world.provider.pay(placed.checkout or "", method))
    )
    return await world.purchase(placed)


async def larger_of(
    world: World, purchase: Purchase, item: str, method: str | None = None, shop: Shop | None = None, **more: Any
) -> Purchase:  # fmt: skip
    """The purchase turned into the larger pack `item`, with the difference paid by `method`."""
    shop, name = shop or world.shop, purchase.organization
    row = await shop.refunding.quote(name, purchase.id, "technical")
    assert isinstance(row, Refund), row
    row_ = await shop.refunding.accept(name, row.id, "upgrade", item, **more)
    assert isinstance(row_, Refund), row_
    bought = await world.rows.get(Purchase, row_.upgrade or "", name)
    assert bought is not None, row_
    if bought.checkout is not None:
        paid = world.provider.pay(bought.checkout, method or f"card_{name}")
        await shop.take_in("scripted", world.provider.told(*paid))
    found = await world.purchase(bought)
    assert found.state == "delivered", found
    return found


async def chain(world: World, name: str, items: Sequence[str] = ITEMS[1:], **more: Any) -> list[Purchase]:
    """The smallest pack, then one larger pack after another, each with the difference paid; all of them as they are."""
    found = [await first_pack(world, name, **more)]
    for item in items:
        found.append(await larger_of(world, found[-1], item))
    return [await world.purchase(one) for one in found]
