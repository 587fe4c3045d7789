"""The key that comes with a purchase, and its message: once, whatever happens on the way, on both engines."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from tests.support.desk import preset, without_limits
from tests.support.post import post_office, receiver
from tests.support.shops import World, make_world
from tests.support.stores import Store, ok, sqlite_url
from tests.support.telling import Telling, plain
from tests.support.tripwire import Crash, Wire
from tokentill.flows.api_keys import ApiKeys, Issued, Scope
from tokentill.flows.handing import delivered
from tokentill.rules import commands as c
from tokentill.rules import happenings as h
from tokentill.rules import keys
from tokentill.rules.catalog import DAY_MS
from tokentill.rules.catalog_shop import KeyWhen
from tokentill.rules.delivery import Delivered
from tokentill.rules.handovers import KEPT_MS, handover_id, key_of
from tokentill.rules.purchases import Purchase
from tokentill.rules.refusals import Code, Refusal
from tokentill.rules.rows import ApiKey, Handover, Message

# R-SALE-1, R-SALE-4, R-SALE-8

SHOP = without_limits(preset("shop"))
PACK: dict[str, Any] = {
    "item": "gpt_4_professional", "title": "GPT-4 Professional", "tokens": 50_000, "amount": 900,
    "list_amount": 900, "valid_days": 90,
}  # fmt: skip


@pytest.fixture(params=["sqlite", "postgres"])
async def shop(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    """The preset `shop` without limits on use."""
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else sqlite_url(tmp_path)
    store = Store(request.param, url)
    made = await make_world(store, tmp_path, catalog=SHOP)
    yield made
    await made.shop.close()
    await store.close()


@pytest.fixture
async def telling(shop: World) -> AsyncIterator[Telling]:
    async with AsyncExitStack() as stack:
        office, hook = (
            await stack.enter_async_context(post_office()),
            await stack.enter_async_context(receiver()),
        )
        made = Telling(shop, office, hook)
        await shop.begin("acme", plan=None)
        yield made


async def buy(world: World, organization: str = "acme", **more: Any) -> Purchase:
    """A pack that is paid and delivered."""
    ordered = await world.place(world.order(organization, **{**PACK, **more}))
    if ordered.checkout is not None:
        await world.tell(*world.provider.pay(ordered.checkout))
    await world.settle()
    return await world.purchase(ordered)


async def keys_of(world: World, organization: str = "acme") -> list[ApiKey]:
    return list(await world.rows.find(ApiKey, {"organization": organization}))


async def shown(world: World, purchase: Purchase) -> Delivered:
    found = await world.shop.handovers.show(purchase.organization, purchase.id)
    assert isinstance(found, Delivered), found
    return found


async def text_of(world: World, purchase: Purchase) -> str:
    """The key as it can be made again; whoever has the till's secret can, until it is handed out."""
    row = await world.rows.get(Handover, handover_id(purchase), purchase.organization)
    assert row is not None
    key = key_of(world.shop.means.secret, row, world.clock.now())
    assert key is not None
    return keys.write(key)


async def test_a_purchase_brings_a_key_that_is_kept_as_a_digest_and_shown_once(shop: World) -> None:
    await shop.begin("acme", plan=None)
    bought = await buy(shop)
    [stored] = await keys_of(shop)
    first = await shown(shop, bought)
    assert first.key is not None
    read = keys.read(first.key)
    assert read is not None
    assert (read.id, stored.shown) == (stored.id, first.key[-4:])
    assert keys.matches(read.secret, stored.digest)
    assert read.secret not in repr(stored)
    assert (first.tokens, first.endpoint, first.model) == (50_000, "https://shop.test/v1", "gpt-4")
    assert first.valid_until == bought.delivered_at + 90 * DAY_MS if bought.delivered_at else None
    again = await shown(shop, bought)
    assert (again.key, again.key_shown) == (None, stored.shown)


async def test_what_is_carried_from_a_smaller_pack_was_delivered_before(shop: World) -> None:
    await shop.begin("acme", plan=None)
    bought = await buy(shop, bonus=500)
    larger = replace(bought, carried=20_000)
    assert (await delivered(shop.shop.means, larger, key=False)).tokens == 30_500


async def test_of_many_who_ask_at_once_one_sees_the_key(shop: World) -> None:
    await shop.begin("acme", plan=None)
    bought = await buy(shop)
    shops = [shop.open() for _ in range(4)]
    found = await asyncio.gather(*(one.handovers.show("acme", bought.id) for one in shops))
    assert sum(isinstance(one, Delivered) and one.key is not None for one in found) == 1


async def test_the_same_event_many_times_makes_one_key(shop: World) -> None:
    # R-PACK-3
    await shop.begin("acme", plan=None)
    ordered = await shop.place(shop.order("acme", **PACK))
    facts = shop.provider.pay(ordered.checkout or "")
    others = [shop.shop, *(shop.open() for _ in range(3))]
    await asyncio.gather(*(shop.tell(*facts, shop=one, name=f"e{at}") for at, one in enumerate(others * 2)))
    await asyncio.gather(*(shop.settle(one) for one in others))
    assert len(await keys_of(shop)) == 1
    assert await shop.balance("acme") == 50_000


async def test_a_process_that_dies_anywhere_leaves_one_key_and_the_next_hands_it_out(shop: World) -> None:
    """One run for each crossing of the wire between the flows and the store; it dies there."""
    # R-PACK-3
    for at in range(1, 80):
        name = f"acme_{at:03d}"
        await shop.begin(name, plan=None)
        ordered = await shop.place(shop.order(name, **PACK))
        inbound = shop.provider.told(*shop.provider.pay(ordered.checkout or ""))
        wire = Wire(at)
        dying = shop.open(rows=wire.across(shop.rows, "rows"), ledger=wire.across(shop.ledger, "ledger"))
        died = False
        try:
            event = await dying.webhooks.receive("scripted", inbound)
            assert event is not None
            await dying.webhooks.process(event)
        except Crash:
            died = True
        shop.restart()
        await shop.shop.receive("scripted", inbound)
        await shop.later(61_000)
        where = wire.places[-1] if died else "nowhere"
        [stored] = await keys_of(shop, name)
        found = await shown(shop, await shop.purchase(ordered))
        assert found.key is not None, where
        read = keys.read(found.key)
        assert read is not None
        assert keys.matches(read.secret, stored.digest), where
        assert await shop.balance(name) == 50_000, where
        if not died:
            assert at > 12
            return
    raise AssertionError("it died at every crossing")


async def test_the_next_purchase_names_the_key_there_is_and_brings_one_where_none_works(shop: World) -> None:
    await shop.begin("acme", plan=None)
    await buy(shop)
    [first] = await keys_of(shop)
    second = await shown(shop, await buy(shop))
    assert (second.key, second.key_shown) == (None, first.shown)
    manager = ApiKeys(shop.ledger, shop.clock, shop.ids)
    replaced = await manager.rotate("acme", first.id)
    assert isinstance(replaced, Issued)
    third = await shown(shop, await buy(shop))
    assert (third.key, third.key_shown) == (None, replaced.key.shown)
    await manager.revoke("acme", replaced.key.id)
    fourth = await shown(shop, await buy(shop))
    assert fourth.key is not None


@pytest.mark.parametrize(
    ("scope", "new"),
    [(Scope(), 0), (Scope(read_only=True), 1), (Scope(models=("echo",)), 1), (Scope(spend_max=5), 1)],
)
async def test_a_key_that_cannot_use_what_is_bought_does_not_count(
    shop: World, scope: Scope, new: int
) -> None:
    await shop.begin("acme", plan=None)
    assert isinstance(await ApiKeys(shop.ledger, shop.clock, shop.ids).issue("acme", "server", scope), Issued)
    await buy(shop)
    assert len(await keys_of(shop)) == 1 + new


async def test_two_first_purchases_at_once_bring_one_key(shop: World) -> None:
    await shop.begin("acme", plan=None)
    placed = [await shop.place(shop.order("acme", **PACK)) for _ in range(4)]
    told = [shop.provider.pay(one.checkout or "") for one in placed]
    shops = [shop.open() for _ in range(4)]
    await asyncio.gather(*(shop.tell(*facts, shop=one) for facts, one in zip(told, shops, strict=True)))
    await asyncio.gather(*(shop.settle(one) for one in shops))
    assert len(await keys_of(shop)) == 1
    assert await shop.balance("acme") == 200_000
    found = [await shown(shop, one) for one in placed]
    assert sum(one.key is not None for one in found) == 1
    assert len({one.key_shown for one in found}) == 1


@pytest.mark.parametrize(("when", "count"), [("first", 1), ("always", 2), ("never", 0)])
async def test_the_catalog_says_what_brings_a_key(
    shop: World, tmp_path: Path, when: KeyWhen, count: int
) -> None:
    packs = {name: replace(pack, key=when) for name, pack in SHOP.packs.items()}
    ledger = await shop.store.open(catalog=replace(SHOP, packs=packs))
    world = World(shop.store, ledger, shop.provider)
    await world.begin("acme", plan=None)
    for _ in range(2):
        await buy(world)
    assert len(await keys_of(world)) == count
    await world.shop.close()


async def test_a_top_up_and_a_renewal_hand_nothing_over(shop: World) -> None:
    await shop.begin("acme", plan=None)
    await buy(shop, source="topup")
    assert await keys_of(shop) == []
    assert await shop.rows.find(Handover, {"organization": "acme"}) == []


async def test_a_refund_or_a_dispute_takes_the_tokens_and_leaves_the_key(shop: World) -> None:
    # R-REF-6
    await shop.begin("acme", plan=None)
    bought = await buy(shop)
    text = await text_of(shop, bought)
    assert bought.payment is not None
    for state in ("open", "lost"):
        fact = h.Disputed(
            at=1, payment=bought.payment, state="open" if state == "open" else "lost", dispute="dp", amount=900,
            currency="USD", purchase=bought.id, organization="acme",
        )  # fmt: skip
        await shop.tell(fact)
        await shop.settle()
        refused = await shop.shop.handovers.show("acme", bought.id)
        assert isinstance(refused, Refusal)
        assert refused.code is Code.NOT_POSSIBLE
    assert await shop.balance("acme") == 0
    [stored] = await keys_of(shop)
    assert stored.revoked_at is None
    use = c.Charge(feature="echo", tokens=1)
    answer = await shop.ledger.submit(c.Envelope("acme", use, shop.ids.operation()))
    assert isinstance(answer, Refusal)
    assert answer.code is Code.EXHAUSTED
    assert text.endswith(stored.shown)


async def test_what_was_not_asked_for_in_time_can_be_made_by_nobody(shop: World) -> None:
    await shop.begin("acme", plan=None)
    bought = await buy(shop)
    shop.clock.time += KEPT_MS
    assert (await shown(shop, bought)).key is None  # whether or not a clerk was there
    await shop.settle()
    row = await shop.rows.get(Handover, handover_id(bought), "acme")
    assert row is not None
    assert (row.seed, row.due_at, key_of(shop.shop.means.secret, row, bought.created_at)) == ("", None, None)
    late = await shown(shop, bought)
    assert (late.key, late.key_shown) == (None, (await keys_of(shop))[0].shown)


async def test_what_cannot_be_handed_over(shop: World) -> None:
    await shop.begin("acme", "other", plan=None)
    waiting = await shop.place(shop.order("acme", **PACK))
    bought = await buy(shop)
    for organization, number, code in (
        ("acme", waiting.id, Code.NOT_POSSIBLE),
        ("acme", "nothing", Code.UNKNOWN_PURCHASE),
        ("other", bought.id, Code.UNKNOWN_PURCHASE),
    ):
        refused = await shop.shop.handovers.show(organization, number)
        assert isinstance(refused, Refusal)
        assert refused.code is code


async def test_the_message_goes_out_once_with_the_key_to_who_shall_have_it(telling: Telling) -> None:
    world = telling.world
    await telling.write_to(quiet=("balance.low", "purchase.delivered", "plan.changed"))
    await telling.call(events=("purchase.ready",))
    await telling.call(organization="", events=())
    bought = await buy(world)
    await world.follow()
    await world.follow()
    text = await text_of(world, bought)
    [letter] = [one for one in telling.office.letters if str(one["Subject"]) == "Your tokens are here"]
    words = plain(letter)
    for line in (
        "GPT-4 Professional: 50,000 tokens delivered.", f"API key: {text}", "Endpoint: https://shop.test/v1",
        "Usage dashboard: https://shop.test/account/usage?link=", "Valid until: 2026-04-01",
        "Ready to use for: Business analysis, Technical documentation, Research papers",
        "Tip: Start with simple prompts and build complexity!", "Refund policy: 50% refund available within 24 hours",
        "curl https://shop.test/v1/chat/completions", "from openai import OpenAI", '"model": "gpt-4"',
    ):  # fmt: skip
        assert line in " ".join(words.split()), line
    told = [json.loads(body) for _, body in telling.hook.got if b'"purchase.ready"' in body]
    assert sorted(one["data"].get("key", "") for one in told) == ["", text]
    assert all(one["data"]["purchase"] == bought.id and one["data"]["tokens"] == 50_000 for one in told)
    assert all(("dashboard" in one["data"]) == ("key" in one["data"]) for one in told)


async def test_no_key_lies_in_a_message_that_waits(telling: Telling) -> None:
    telling.office.answer = "451 later"
    telling.hook.status = 500
    world = telling.world
    await telling.write_to()
    await telling.call(events=("purchase.ready",))
    bought = await buy(world)
    text = await text_of(world, bought)
    waiting = await world.rows.find(Message, {"type": "purchase.ready"})
    assert {message.state for message in waiting} == {"pending"}
    assert all(text not in repr(message) and "link=" not in repr(message) for message in waiting)
    telling.office.answer, telling.hook.status = None, 204
    await world.later(6_000)
    assert any(text in plain(letter) for letter in telling.office.letters)


async def test_the_clocks_of_a_purchase(shop: World) -> None:
    await shop.begin("acme", plan=None)
    start = shop.clock.time
    ordered = await shop.place(shop.order("acme", **PACK, offered_at=start - 9_000))
    shop.clock.time += 12_000
    facts = shop.provider.pay(ordered.checkout or "")
    shop.clock.time += 1_500
    await shop.tell(*facts)
    await shop.settle()
    [(_, times)] = await shop.shop.handovers.times()
    assert [times.took(clock) for clock in ("offer_to_paid", "paid_to_key", "paid_to_first_call")] == [
        21_000, 1_500, None]  # fmt: skip
    shop.clock.time += 60_000
    for _ in range(2):
        await ok(shop.ledger, "acme", c.Charge(feature="echo", tokens=1))
        await shop.follow()
        shop.clock.time += 5_000
    [(_, times)] = await shop.shop.handovers.times()
    assert times.took("paid_to_first_call") == 61_500
