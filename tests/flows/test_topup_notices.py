"""A customer is told why an automatic top-up stopped, and what to do: once for each stop (R-PACK-11, R-PLAN-8)."""

import asyncio
import json
from typing import Any

from msgspec.structs import replace

from tests.flows.test_topup import PACK, PRICE, ready, stand, use
from tests.support.shops import World
from tests.support.stores import ok
from tests.support.telling import Telling, plain
from tests.support.tripwire import Crash, Wire
from tokentill.rules import commands as c
from tokentill.rules.rows import Message, TopUp
from tokentill.rules.topups import STOPPED

SUBJECT = "Your automatic top-up has stopped"
TYPE = "topup.stopped"
FIGURES: dict[str, Any] = {"threshold": 100, "pack": PACK, "ceiling": PRICE}
OTHERS = ("balance.low", "balance.exhausted", "period.started")


async def full(world: World, organization: str) -> TopUp:
    """A top-up whose ceiling does not allow another pack, of an organization that has too little; not looked at yet."""
    row = await ready(world, organization, ceiling=PRICE)
    row = replace(await stand(world, organization), month="2026-01", spent=1)
    await world.rows.put(row)
    await ok(world.ledger, organization, c.Adjust(tokens=-150, reason="spent", actor="op"))
    return await stand(world, organization)


async def messages(world: World, organization: str) -> list[str]:
    found = await world.rows.find(Message, {"type": TYPE}, limit=1000)
    return sorted(one.id for one in found if one.organization == organization)


async def test_each_stop_is_told_once(telling: Telling) -> None:
    """Two processes stop it at once; the customer and the operator hear of it once, and of the next stop again."""
    world = telling.world
    await telling.write_to(organization="bert", quiet=OTHERS)
    await telling.call("bert", (TYPE,))
    await telling.call("", (TYPE,))
    row = await full(world, "bert")
    other = world.open(posting=telling.posting)
    await asyncio.gather(*(shop.topups.attend(row) for shop in (world.shop, other)))
    await world.follow()
    assert telling.office.subjects == [SUBJECT]
    assert STOPPED["ceiling"] in plain(telling.office.letters[0])
    assert "Until you switch it on again nothing is bought by itself." in plain(telling.office.letters[0])
    told = [json.loads(body) for _, body in telling.hook.got]
    assert [(one["type"], one["organization"], one["balance"]) for one in told] == [(TYPE, "bert", 50)] * 2
    assert told[0]["data"] == {
        "reason": "ceiling",
        "text": STOPPED["ceiling"],
        "pack": PACK,
        "purchase": None,
    }
    assert ((await stand(world, "bert")).due_at, (await stand(world, "bert")).untold) == (None, ())
    await use(world, 3, "bert")
    assert len(telling.office.letters) == 1, "it is off, so it does not stop"
    for _ in range(2):  # at the same moment of the clock
        assert isinstance(await world.shop.topups.set("bert", **FIGURES), TopUp)
        await world.follow()
    await telling.write_to(organization="bert", quiet=(TYPE,))
    await world.shop.topups.set("bert", **FIGURES)
    await world.follow()
    assert (telling.office.subjects, len(telling.hook.got)) == ([SUBJECT] * 3, 8), "mail can be turned off"
    assert len({json.loads(body)["id"] for _, body in telling.hook.got}) == 4
    await world.shop.topups.off("bert")
    await world.follow()
    assert len(telling.hook.got) == 8, "who switched it off is not told that it stopped"


async def test_a_payment_to_be_confirmed_comes_with_its_link(telling: Telling) -> None:
    world = telling.world
    await telling.write_to(organization="bert", quiet=OTHERS)
    await ready(world, "bert", saved="pm_confirm")
    await use(world, 102, "bert")
    [bought] = await world.purchases("bert")
    assert telling.office.subjects == [SUBJECT]
    text = plain(telling.office.letters[0])
    assert STOPPED["needs_confirmation"] in text
    assert bought.url is not None
    assert f"Confirm the payment: {bought.url}" in text
    await world.later(6_000)
    assert telling.office.subjects == [SUBJECT]


async def test_whoever_dies_in_between_leaves_it_to_be_told_once(telling: Telling) -> None:
    """Also where the customer has switched it on again before the next process told it; it stops again, and says so."""
    world = telling.world
    died, expected = True, dict[str, tuple[int, str]]()
    while died:
        at, died = len(expected) + 1, False
        name = f"acme_{at:02d}"
        await telling.write_to(organization=name, quiet=OTHERS)
        row = await full(world, name)
        wire = Wire(at)
        shop = wire.shop(world, posting=telling.posting)
        try:
            await shop.topups.attend(row)
        except Crash:
            died = True
        stopped = (await stand(world, name)).stopped is not None
        if at % 2:
            assert isinstance(await world.shop.topups.set(name, **FIGURES), TopUp)
        expected[name] = (2 if at % 2 and stopped else 1, wire.places[-1])
    assert len(expected) > 6
    await world.follow()
    await world.later(61_000)
    for name, (count, where) in expected.items():
        row = await stand(world, name)
        assert (row.enabled, row.stopped, row.untold, row.due_at) == (False, "ceiling", (), None), where
        ids = await messages(world, name)
        assert len(ids) == count, where
        assert all(one.startswith(f"{name}:topup:") and one.endswith(":mail") for one in ids), where
