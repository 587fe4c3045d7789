"""What can be bought now, for every way in that has refusals and notices (R-PACK-9, R-PLAN-7, R-PLAN-8)."""

from collections.abc import Sequence
from typing import Any

from tests.support.shops import World
from tests.support.stores import ok
from tests.support.telling import Telling, plain
from tokentill.flows.ways import Ways
from tokentill.ports import Rows, StoreDown
from tokentill.rules import commands as c
from tokentill.rules.catalog import DAY_MS
from tokentill.rules.refusals import Refusal
from tokentill.rules.rows import Switch


class Away:
    """Rows of a database that cannot be reached."""

    async def find(self, *_given: Any, **_more: Any) -> Sequence[Any]:
        raise StoreDown("The database is away.")


class Counting:
    """Passes a search on, and counts the rows that it brought."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.read = 0

    async def find(self, *given: Any, **more: Any) -> Sequence[Any]:
        found = await self.rows.find(*given, **more)
        self.read += len(found)
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self.rows, name)


async def refused(world: World) -> Refusal:
    envelope = c.Envelope("acme", c.Charge(feature="generate_goal", quantity=500), "0" * 32)
    reply = await world.ledger.submit(envelope)
    assert isinstance(reply, Refusal)
    return reply


async def test_nothing_is_offered_that_nobody_knows_to_be_open(shop_world: World) -> None:  # R-PLAN-7
    """The refusal is answered all the same."""
    await shop_world.begin("acme")
    refusal = await refused(shop_world)
    assert len(refusal.ways_out) == 4
    shop = shop_world.open(rows=Away())
    assert [way.kind for way in (await shop.ways.refusal("acme", refusal)).ways_out] == ["wait"]


async def test_who_is_not_offered_packs_yet_is_not_shown_them_either(shop_world: World) -> None:  # R-PACK-9
    """Another process turns the switch, and a way in without a shop of its own asks at the next answer."""
    world = shop_world
    await world.begin("acme")
    refusal = await refused(world)
    means = world.shop.means
    ways = Ways.over(world.ledger, means.clock, means.ids, means.secret)
    assert await ways.refusal("acme", refusal) == refusal
    await world.restart().switches.turn("packs", on=False, reason="test", actor="ann")
    assert [way.kind for way in (await ways.refusal("acme", refusal)).ways_out] == ["upgrade", "wait"]
    assert isinstance(
        await world.restart().switches.turn("packs", on=True, reason="test", actor="ann"), Switch
    )
    assert await ways.refusal("acme", refusal) == refusal


async def test_what_was_bought_long_ago_is_not_read(shop_world: World) -> None:  # R-PACK-9, R-PACK-4
    """What an answer costs does not grow with the packs that an organization has had."""
    world = shop_world
    await world.begin("acme")
    ago = world.clock.now() - 100 * DAY_MS
    for number in range(50):
        old = world.order("acme", created_at=ago + number, paid_at=ago + number, slot_until=ago + DAY_MS)
        await world.rows.add(old)
    for _ in range(2):
        await world.place(world.order("acme"))
    counting = Counting(world.rows)
    shop = world.open(rows=counting)
    found = await shop.ways.refusal("acme", await refused(world))
    assert [way.kind for way in found.ways_out] == ["upgrade", "wait"], "both slots of the day are taken"
    assert counting.read == 2
    read = await shop.reader.shopper("acme")
    assert not isinstance(read, Refusal)
    assert (read[0].bought, read[0].packs_count, len(read[0].slots)) == (50, 0, 2)


async def test_a_letter_offers_what_can_be_bought_when_it_is_sent(
    telling: Telling,
) -> None:  # R-PLAN-8, R-PACK-9
    world = telling.world
    await telling.write_to()
    for switch in ("packs", "plans"):
        await world.shop.switches.turn(switch, on=False, reason="test", actor="ann")
    await ok(world.ledger, "acme", c.Adjust(tokens=-165, reason="spent", actor="test"))
    await world.follow()
    await ok(world.ledger, "acme", c.Adjust(tokens=-35, reason="spent", actor="test"))
    await world.follow()
    low, none = map(plain, telling.office.letters)
    assert "running low" in low
    assert "You've reached your limit." in none
    for text in (low, none):
        assert "urchase" not in text
        assert "buy-credits" not in text
        assert "pack" not in text
