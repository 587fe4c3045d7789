"""Redemption codes: shown once, kept as digests, used once under any number of tries (R-PACK-8)."""

import asyncio
import contextlib
from typing import Any

from tests.support.shops import World
from tests.support.tripwire import Crash, Wire
from tokentill.flows.checkout import Ask
from tokentill.flows.codes import Batch
from tokentill.rules.purchases import Purchase
from tokentill.rules.refusals import Code, Refusal
from tokentill.rules.rows import RedemptionCode

DAY = 86_400_000


async def make(world: World, **more: Any) -> list[str]:
    made = await world.shop.codes.create(Batch(name="spring", tokens=100, **more))
    assert isinstance(made, list)
    return made


async def turned_away(world: World, organization: str, written: str) -> Code:
    reply = await world.shop.codes.redeem(Ask(organization=organization), written)
    assert isinstance(reply, Refusal)
    return reply.code


async def test_a_code_brings_its_tokens_once(shop_world: World) -> None:  # R-PACK-8
    world = shop_world
    await world.begin("acme", "other")
    one, two = await make(world, count=2, title="A present", valid_days=30)
    bought = await world.shop.codes.redeem(
        Ask(organization="acme", user="ann"), one.lower().replace("-", " ")
    )
    assert isinstance(bought, Purchase)
    assert (bought.state, bought.kind, bought.title, bought.amount) == ("delivered", "code", "A present", 0)
    lots = (await world.account("acme")).state.lots
    assert lots[bought.lots[0]].expires_at == world.clock.time + 30 * DAY
    assert await world.balance("acme") == 300
    again = await world.shop.codes.redeem(Ask(organization="acme"), one)
    assert again == bought, "whoever redeems it again is told that it is done"
    assert await turned_away(world, "other", one) == Code.CODE_INVALID
    assert await turned_away(world, "other", "AAAA-AAAA-AAAA-AAAA") == Code.CODE_INVALID
    assert await turned_away(world, "nobody", two) == Code.UNKNOWN_ORGANIZATION
    await world.clean()


async def test_a_hundred_tries_at_once(shop_world: World) -> None:  # R-PACK-8
    world = shop_world
    names = [f"org_{nth}" for nth in range(10)]
    await world.begin(*names)
    [written] = await make(world)
    shops = [world.shop, world.open()]
    found = await asyncio.gather(
        *(shops[nth % 2].codes.redeem(Ask(organization=names[nth % 10]), written) for nth in range(100))
    )
    winners = {one.organization for one in found if isinstance(one, Purchase)}
    assert len(winners) == 1
    assert {one.code for one in found if isinstance(one, Refusal)} == {Code.CODE_INVALID}
    assert sum([await world.balance(name) for name in names]) == 10 * 200 + 100
    await world.clean()


async def test_what_is_kept_gives_no_code_away(shop_world: World) -> None:  # R-PACK-8
    world = shop_world
    [written] = await make(world)
    [row] = await world.shop.codes.batch("spring")
    plain = written.replace("-", "")
    assert (row.shown, len(plain)) == (written[-4:], 16)
    assert plain not in repr(row)
    assert plain not in repr(row).replace("-", "")
    assert row.id == world.shop.codes.digest(written)
    assert world.open().codes.digest(written) == row.id
    assert len(set(await make(world, count=200))) == 200


async def test_one_that_was_withdrawn_or_has_expired(shop_world: World) -> None:  # R-PACK-8
    world = shop_world
    await world.begin("acme")
    one, two, three = await make(world, count=3, expires_at=world.clock.time + DAY)
    codes = world.shop.codes
    revoked = await codes.revoke(codes.digest(one))
    assert isinstance(revoked, RedemptionCode)
    assert await turned_away(world, "acme", one) == Code.CODE_INVALID
    await codes.redeem(Ask(organization="acme"), two)
    late = await codes.revoke(codes.digest(two))
    assert isinstance(late, Refusal)
    assert late.code == Code.NOT_POSSIBLE
    await world.later(DAY)
    assert await turned_away(world, "acme", three) == Code.CODE_INVALID
    nothing = await codes.revoke("0" * 40)
    assert isinstance(nothing, Refusal)


async def test_a_batch_must_make_sense(shop_world: World) -> None:
    world = shop_world
    wrong: list[dict[str, Any]] = [
        {"tokens": 0}, {"tokens": -1}, {"tokens": 10**18}, {"count": 0}, {"count": 1_001}, {"name": " "},
        {"name": "n" * 101}, {"valid_days": 0}, {"expires_at": world.clock.time},
    ]  # fmt: skip
    for fields in wrong:
        reply = await world.shop.codes.create(Batch(**{"name": "b", "tokens": 1, **fields}))
        assert isinstance(reply, Refusal), fields
        assert reply.code == Code.INVALID


async def test_a_crash_between_any_two_steps_of_redeeming(shop_world: World) -> None:  # R-PACK-8
    """The clerk alone goes on with it; a code that was marked reaches its organization."""
    world = shop_world
    for at in range(1, 40):
        name = f"acme_{at:02d}"
        await world.begin(name)
        [written] = await make(world)
        wire = Wire(at)
        shop = world.open(rows=wire.across(world.rows, "rows"), ledger=wire.across(world.ledger, "ledger"))
        died = False
        try:
            await shop.codes.redeem(Ask(organization=name), written)
        except Crash:
            died = True
        world.restart()
        await world.later(11_000)
        row = await world.rows.get(RedemptionCode, world.shop.codes.digest(written))
        assert row is not None
        assert await world.balance(name) == 200 + (100 if row.used_at else 0), wire.places[-1]
        again = await world.shop.codes.redeem(Ask(organization=name), written)
        assert isinstance(again, Purchase)
        assert (again.state, await world.balance(name)) == ("delivered", 300), wire.places[-1]
        if not died:
            assert at > 8
            break
    else:
        raise AssertionError("the story never ended")
    await world.clean()


async def test_a_code_that_expires_after_it_was_marked_is_honoured(shop_world: World) -> None:  # R-PACK-8
    """Whoever redeemed it died in between, and the clerk comes by when it has expired."""
    world = shop_world
    await world.begin("acme", "other")
    [written] = await make(world, expires_at=world.clock.time + 5_000)
    wire = Wire(1)
    while (await world.rows.find(RedemptionCode, {}, limit=1))[0].used_at is None:
        shop = world.open(rows=wire.across(world.rows, "rows"), ledger=wire.across(world.ledger, "ledger"))
        with contextlib.suppress(Crash):
            await shop.codes.redeem(Ask(organization="acme"), written)
        wire = Wire(wire.at + 1)
    assert await world.balance("acme") == 200
    await world.later(60_000)
    assert await world.balance("acme") == 300
    again = await world.shop.codes.redeem(Ask(organization="acme"), written)
    assert isinstance(again, Purchase)
    assert await world.balance("acme") == 300
    late = await world.shop.codes.redeem(Ask(organization="other"), written)
    assert isinstance(late, Refusal)
    assert late.code == Code.CODE_INVALID
