"""The delivery message and the clocks through each face of the till (R-SALE-1, R-SALE-4)."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.client.conftest import FACES, World, world_of
from tokentill.catalogs import preset_text
from tokentill.client import Code, Refused
from tokentill.flows.testclock import tell
from tokentill.ports import EmbeddedPayments
from tokentill.rules import keys
from tokentill.rules.rows import ApiKey


async def pay(world: World, purchase: str) -> None:
    embedded = world.shop.means.payments["embedded"]
    assert isinstance(embedded, EmbeddedPayments)
    bought = await world.shop.checkout.purchase("acme", purchase)
    assert bought is not None
    await tell(embedded, await embedded.pay(bought.checkout or "", "4242424242424242"), world.shop.take_in)


@pytest.fixture(params=FACES)
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    """The preset `goals`, where a first purchase brings a key."""
    catalog = tmp_path / "keys.toml"
    catalog.write_text(preset_text("goals").replace("[checkout]", '[checkout]\nkey = "first"'))
    on_postgres = request.param == "postgres"
    database = request.getfixturevalue("postgres_url") if on_postgres else str(tmp_path / "till.db")
    async with world_of(request.param, database, tmp_path / "spool", str(catalog)) as made:
        yield made


async def test_from_the_offer_to_the_key(world: World) -> None:
    till, clock = world.till, world.clock
    offered = await till.packs("acme")
    clock.time += 7_000
    order = await till.buy("acme", "token_pack_500", offered_at=offered.shown_at)
    with pytest.raises(Refused) as refused:
        await till.hand_over("acme", order.id)
    assert refused.value.code is Code.NOT_POSSIBLE
    clock.time += 5_000
    await pay(world, order.id)
    found = await till.hand_over("acme", order.id)
    assert found.key is not None
    read = keys.read(found.key)
    assert read is not None
    stored = await world.shop.means.rows.get(ApiKey, read.id, "acme")
    assert stored is not None
    assert keys.matches(read.secret, stored.digest)
    assert found.message.startswith("Your tokens are here.\n\n500 tokens: 500 tokens delivered.\n")
    assert found.guide == ""  # this catalog sells no models
    again = await till.hand_over("acme", order.id)
    assert (again.key, again.key_shown) == (None, found.key[-4:])
    assert found.key not in again.message
    listed = await till.handovers()
    [times] = listed.purchases
    assert (times.purchase, times.offer_to_paid_ms, times.paid_to_key_ms) == (order.id, 12_000, 0)
    assert [(one.clock, one.count, one.within) for one in listed.clocks] == [
        ("offer_to_paid", 1, 1), ("paid_to_key", 1, 1), ("paid_to_first_call", 0, 0)]  # fmt: skip
    assert (await till.handovers(before=listed.next or "0")).purchases == ()
