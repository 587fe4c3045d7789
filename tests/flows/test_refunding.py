"""Refunds carried out: each way of being given back, each way of coming to nothing, and money that leaves once."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from tests.support.shops import World, make_world, selling
from tests.support.stores import Store, ok, sqlite_url
from tokentill.flows.checkout import Ask
from tokentill.flows.pay import Terms
from tokentill.ports import VendorDown, VendorRefused
from tokentill.rules import commands as c
from tokentill.rules import happenings as h
from tokentill.rules.catalog import DAY_MS, HOUR_MS
from tokentill.rules.claims import resized
from tokentill.rules.credit import available
from tokentill.rules.purchases import Purchase
from tokentill.rules.refund_policy import Withdrawal
from tokentill.rules.refund_rows import Guarantee, Refund
from tokentill.rules.refusals import Code, Refusal
from tokentill.rules.rows import Payer

PACK = 500
PRICE = 2900


async def bought(world: World, name: str = "acme", method: str = "card_a", **more: Any) -> Purchase:
    """A pack of 500 tokens for $29, delivered."""
    purchase = await world.place(world.order(name, **more))
    await world.tell(*world.provider.pay(purchase.checkout or "", method))
    await world.settle()
    found = await world.purchase(purchase)
    assert found.state == "delivered"
    return found


async def quoted(world: World, purchase: Purchase, reason: Any = "technical") -> Refund:
    found = await world.shop.refunding.quote(purchase.organization, purchase.id, reason, "It broke.")
    assert isinstance(found, Refund), found
    return found


async def accepted(world: World, row: Refund, choice: Any = "cash", **more: Any) -> Refund:
    found = await world.shop.refunding.accept(row.organization, row.id, choice, **more)
    assert isinstance(found, Refund), found
    return found


async def read(world: World, row: Refund) -> Refund:
    found = await world.rows.get(Refund, row.id, row.organization)
    assert found is not None
    return found


@pytest.fixture
async def world(shop_world: World) -> World:
    await shop_world.begin("acme")
    return shop_world


async def test_money_goes_back_once_and_the_tokens_with_it(world: World) -> None:  # R-REF-5
    purchase = await bought(world)
    row = await quoted(world, purchase)
    assert row.quote.options[0].choice == "cash", "the money first, always"
    done = await accepted(world, row)
    assert (done.state, done.money, done.credit) == ("settled", PRICE, 0)
    assert await world.balance("acme") == 200
    [told] = [world.provider.fact_of_refunds(purchase.payment or "")]
    assert told.refunded == PRICE
    await world.tell(told)
    await world.settle()
    again = await world.purchase(purchase)
    assert (again.state, again.done.count("take_back"), again.accounted) == ("refunded", 1, 0)
    assert (await accepted(world, row)).state == "settled"
    assert world.provider.log.count("refund") == 1
    assert (await quoted(world, purchase)).quote.refused == "refunded"
    await world.clean()


async def test_running_operations_are_safe_and_what_they_leave_is_taken(world: World) -> None:  # R-REF-5
    await ok(world.ledger, "acme", c.Adjust(tokens=-200, reason="spent", actor="op"))
    purchase = await bought(world)
    hold = await ok(world.ledger, "acme", c.Reserve(feature="generate_goal", quantity=5))
    assert (await accepted(world, await quoted(world, purchase))).state == "settled"
    account = await world.account("acme")
    assert (account.free, account.held) == (0, 15)
    await ok(world.ledger, "acme", c.Settle(hold=hold.operation, tokens=4))
    assert await world.balance("acme") == 0, "what it left is still set aside"
    await world.later(61_000)
    [lot] = [lot for lot in (await world.account("acme")).state.lots.values() if lot.origin == "pack"]
    assert (lot.spent, lot.revoked, lot.available, lot.held) == (4, 496, 0, 0)
    assert (await world.account("acme")).state.aside == {}
    await world.clean()


async def test_a_quote_that_is_stale_or_got_worse_is_shown_anew(world: World) -> None:  # R-REF-5
    purchase = await bought(world)
    first = await quoted(world, purchase)
    await ok(world.ledger, "acme", c.Adjust(tokens=-200, reason="spent", actor="op"))
    await ok(world.ledger, "acme", c.Charge(feature="generate_goal", quantity=60))
    second = await accepted(world, first)
    assert (second.state, second.id != first.id) == ("quoted", True)
    assert second.quote.amount < first.quote.amount
    assert (await read(world, first)).state == "changed"
    assert "refund" not in world.provider.log
    assert await world.balance("acme") == PACK - 180
    world.clock.time += HOUR_MS + 1
    third = await accepted(world, second)
    assert (third.state, third.quote.at) == ("quoted", world.clock.now())
    assert (await accepted(world, first)).id == second.id, "the answer to the first is what was shown then"
    assert (await accepted(world, third)).state == "settled"
    await world.clean()


async def test_a_quotes_key_is_that_quote_and_no_other(world: World) -> None:  # R-LED-9, R-REF-5
    refunding = world.shop.refunding
    purchase, other = await bought(world), await bought(world)
    first = await refunding.quote("acme", purchase.id, "technical", "It broke.", key="k")
    assert isinstance(first, Refund)
    world.clock.time += HOUR_MS
    assert await refunding.quote("acme", purchase.id, "technical", "It broke.", key="k") == first
    for refused in (
        await refunding.quote("acme", purchase.id, "quality", "It broke.", key="k"),
        await refunding.quote("acme", purchase.id, "technical", "It bored.", key="k"),
        await refunding.quote("acme", purchase.id, "technical", "It broke.", "ann", key="k"),
        await refunding.quote("acme", purchase.id, "technical", "It broke.", region="eu", key="k"),
        await refunding.quote("acme", other.id, "technical", "It broke.", key="k"),
    ):
        assert isinstance(refused, Refusal)
        assert refused.code == Code.KEY_REUSED
    assert isinstance(await refunding.quote("acme", other.id, "technical", key="k2"), Refund)
    assert len(await world.rows.find(Refund, {"organization": "acme"})) == 2


async def test_own_words_are_kept_as_far_as_they_can_be_shown(world: World) -> None:  # R-REF-5
    purchase = await bought(world)
    row = await world.shop.refunding.quote(
        "acme", purchase.id, "technical", "It\x00 broke.\n\ud800Twice." + "é" * 5_000
    )
    assert isinstance(row, Refund)
    kept = (await read(world, row)).text
    assert kept.startswith("It broke.\nTwice.é")
    assert len(kept) <= 2_000


async def test_a_provider_that_refuses_brings_the_tokens_back(world: World) -> None:  # R-REF-5
    purchase = await bought(world)
    world.provider.fail["refund"] = [VendorRefused("too_old", "No.")]
    row = await accepted(world, await quoted(world, purchase))
    assert (row.state, row.problem) == ("failed", "too_old")
    assert await world.balance("acme") == 200 + PACK
    assert (await world.purchase(purchase)).state == "delivered"
    again = await accepted(world, await quoted(world, purchase))
    assert again.state == "settled"
    await world.clean()


@pytest.mark.parametrize("call", ["refund", "refund.answer"])
async def test_a_provider_that_times_out_even_after_having_refunded(
    world: World, call: str
) -> None:  # R-REF-5
    purchase = await bought(world)
    world.provider.fail[call] = [VendorDown("away")] * 3
    row = await accepted(world, await quoted(world, purchase))
    assert row.state == "paying"
    assert await world.balance("acme") == 200, "the tokens wait"
    for _ in range(12):
        await world.later(3_000)
    assert (await read(world, row)).state == "settled"
    assert world.provider.refunded(purchase.payment or "") == PRICE
    await world.clean()


@pytest.mark.parametrize(("end", "state", "tokens"), [("done", "settled", 0), ("failed", "failed", PACK)])
async def test_a_refund_that_is_pending_waits(
    world: World, end: str, state: str, tokens: int
) -> None:  # R-REF-5
    purchase = await bought(world)
    world.provider.refunds = "pending"
    row = await accepted(world, await quoted(world, purchase))
    assert row.state == "paying"
    world.provider.end_refunds(end)
    [(key, _)] = world.provider.all("refund").items()
    fact: h.AnyHappening = world.provider.fact_of_refunds(purchase.payment or "")
    await world.tell(fact if end == "done" else world.provider.fact_of_failure(key))
    await world.settle()
    assert (await read(world, row)).state == state
    assert await world.balance("acme") == 200 + tokens
    await world.clean()


async def test_a_bonus_keeps_everything_and_closes_the_claim(world: World) -> None:  # R-REF-4
    purchase = await bought(world, valid_days=30)
    row = await accepted(world, await quoted(world, purchase), "bonus")
    assert (row.state, row.tokens) == ("settled", 150)
    assert await world.balance("acme") == 200 + PACK + 150
    pack, bonus = [
        lot for lot in (await world.account("acme")).state.lots.values() if lot.reference == purchase.id
    ]
    assert bonus.expires_at == pack.expires_at
    assert (await quoted(world, purchase)).quote.refused == "settled"
    assert "refund" not in world.provider.log
    await world.clean()


async def test_credit_never_expires_and_pays_for_a_later_pack_in_part(world: World) -> None:  # R-REF-4
    purchase = await bought(world)
    row = await accepted(world, await quoted(world, purchase), "credit")
    assert (row.state, row.credit) == ("settled", 1740)
    account = await world.account("acme")
    assert (available(account.state), account.free) == (1740, 200)
    [lot] = [lot for lot in account.state.lots.values() if lot.unit == "money"]
    assert lot.expires_at is None
    later = await bought(world, amount=PRICE - 1740, credit_used=1740)
    assert world.provider.money(later.id) == PRICE - 1740
    assert available((await world.account("acme")).state) == 0
    back = await accepted(world, await quoted(world, later))
    assert (back.money, back.credit) == (PRICE - 1740, 1740)
    assert available((await world.account("acme")).state) == 1740
    await world.clean()


async def test_an_order_that_comes_to_nothing_gives_its_credit_back_once(world: World) -> None:  # R-REF-4
    await ok(world.ledger, "acme", c.Grant(tokens=1000, origin="credit", unit="money"))
    ask = Ask(organization="acme", provider=world.provider.name, use_credit=True, key="k1")
    purchase = await world.shop.checkout.buy_pack(ask, "token_pack_500")
    assert isinstance(purchase, Purchase)
    assert (purchase.amount, purchase.credit_used, purchase.state) == (PRICE - 1000, 1000, "pending")
    assert available((await world.account("acme")).state) == 0
    await world.shop.checkout.cancel("acme", purchase.id)
    assert available((await world.account("acme")).state) == 1000
    await world.later(DAY_MS)
    assert available((await world.account("acme")).state) == 1000
    await ok(world.ledger, "acme", c.Grant(tokens=9000, origin="credit", unit="money"))
    free = await world.shop.checkout.buy_pack(replace(ask, key="k2"), "token_pack_500")
    assert isinstance(free, Purchase)
    assert (free.state, free.mode, free.amount, free.credit_used) == ("delivered", "free", 0, PRICE)
    assert available((await world.account("acme")).state) == 10_000 - PRICE
    await world.clean()


async def test_of_two_orders_for_the_same_credit_one_is_first(world: World) -> None:  # R-REF-4
    await ok(world.ledger, "acme", c.Grant(tokens=PRICE, origin="credit", unit="money"))
    first, second = [world.order("acme", amount=0, credit_used=PRICE, mode="free") for _ in range(2)]
    assert (await world.place(first)).state == "delivered"
    refused = await world.shop.checkout.place(second, (), Terms())
    assert isinstance(refused, Refusal)
    assert (await world.purchase(second)).state == "abandoned"
    assert await world.balance("acme") == 200 + PACK
    await world.clean()


async def test_an_upgrade_pays_the_difference_and_carries_what_was_used(world: World) -> None:  # R-REF-4
    await ok(world.ledger, "acme", c.Adjust(tokens=-200, reason="spent", actor="op"))
    packs = world.ledger.catalog.packs
    small, large = sorted(packs.values(), key=lambda pack: pack.price)[:2]
    purchase = await bought(
        world, item=small.id, amount=small.price, list_amount=small.price, tokens=small.tokens
    )
    await ok(world.ledger, "acme", c.Charge(feature="generate_goal", quantity=10))
    hold = await ok(world.ledger, "acme", c.Reserve(feature="generate_goal", quantity=2))
    row = await accepted(world, await quoted(world, purchase), "upgrade", item=large.id)
    assert row.state == "buying"
    upgrade = await world.rows.get(Purchase, row.upgrade or "", "acme")
    assert upgrade is not None
    assert upgrade.amount == large.price - small.price
    other = await accepted(world, await quoted(world, purchase), "cash")
    assert (other.state, other.problem) == ("failed", "in_progress"), "one thing at a time"
    await world.tell(*world.provider.pay(upgrade.checkout or ""))
    await world.settle()
    assert (await read(world, row)).state == "settled"
    upgrade = await world.purchase(upgrade)
    assert upgrade.carried == 36, "30 were spent and 6 are held"
    assert await world.balance("acme") == large.tokens - 36
    await ok(world.ledger, "acme", c.Release(hold=hold.operation))
    assert await world.balance("acme") == large.tokens - 30, (
        "what a running operation gives back stays the customer's"
    )
    await world.clean()


async def test_an_upgrade_that_is_not_paid_leaves_everything_as_it_was(world: World) -> None:  # R-REF-4
    packs = world.ledger.catalog.packs
    small, large = sorted(packs.values(), key=lambda pack: pack.price)[:2]
    purchase = await bought(world, item=small.id, amount=small.price, tokens=small.tokens)
    row = await accepted(world, await quoted(world, purchase), "upgrade", item=large.id)
    withdrawn = await world.shop.refunding.withdraw("acme", row.id)
    assert isinstance(withdrawn, Refund)
    assert withdrawn.state == "withdrawn"
    assert await world.balance("acme") == 200 + small.tokens
    upgrade = await world.rows.get(Purchase, row.upgrade or "", "acme")
    assert upgrade is not None
    late = h.Paid(
        at=world.clock.now(), purchase=upgrade.id, organization="acme", payment="pi_late", amount=upgrade.amount,
        currency="USD",
    )  # fmt: skip
    assert (await accepted(world, await quoted(world, purchase), "cash")).state == "settled"
    await world.tell(late)
    await world.settle()
    share = large.tokens * upgrade.amount // large.price
    assert await world.balance("acme") == 200 + share, "the difference is honoured for what it buys"
    await world.clean()


async def test_the_guarantee_is_used_once_by_customer_and_payment_method(
    world: World,
) -> None:  # R-REF-4, R-REF-6
    await world.begin("other")
    purchase = await bought(world)
    await ok(world.ledger, "acme", c.Adjust(tokens=-200, reason="spent", actor="op"))
    await ok(world.ledger, "acme", c.Charge(feature="generate_goal", quantity=100))
    row = await quoted(world, purchase, None)
    assert (row.quote.guarantee, row.quote.amount) == (True, PRICE // 2)
    assert (await accepted(world, row)).state == "settled"
    assert len(await world.rows.find(Guarantee, {})) == 2
    second = await bought(world, "other")
    assert not (await quoted(world, second, None)).quote.guarantee, "the same card"
    third = await bought(world, "other", method="card_b")
    assert (await quoted(world, third, None)).quote.guarantee
    again = await accepted(world, await quoted(world, second))
    assert (again.state, again.signals) == ("waiting", ("repeated_guarantee",))


async def test_a_guarantee_that_came_to_hold_after_the_quote_is_used_too(world: World) -> None:  # R-REF-4
    """The quote is half by its usage; used further before it is accepted, it is half by the guarantee alone."""
    purchase = await bought(world)
    await ok(world.ledger, "acme", c.Adjust(tokens=-200, reason="spent", actor="op"))
    await ok(world.ledger, "acme", c.Charge(feature="generate_goal", quantity=66))
    world.clock.time += 2 * HOUR_MS
    row = await quoted(world, purchase)
    assert (row.quote.guarantee, row.quote.amount) == (False, PRICE // 2)
    await ok(world.ledger, "acme", c.Charge(feature="generate_goal", quantity=66))
    done = await accepted(world, row)
    assert (done.state, done.money, done.guarantee) == ("settled", PRICE // 2, True)
    assert {use.refund for use in await world.rows.find(Guarantee, {})} == {row.id}
    second = await bought(world)
    assert not (await quoted(world, second, None)).quote.guarantee
    await world.clean()


async def test_of_many_at_once_with_one_card_one_uses_the_guarantee(world: World) -> None:  # R-REF-4, R-REF-6
    names = [f"org_{number}" for number in range(6)]
    rows = []
    for name in names:
        await world.begin(name)
        purchase = await bought(world, name)
        await ok(world.ledger, name, c.Adjust(tokens=-200, reason="spent", actor="op"))
        await ok(world.ledger, name, c.Charge(feature="generate_goal", quantity=100))
        rows.append(await quoted(world, purchase, None))
    assert all(row.quote.guarantee for row in rows)
    shops = [world.shop, world.open()]
    await asyncio.gather(
        *(shop.refunding.accept(row.organization, row.id, "cash") for row in rows for shop in shops)
    )
    for row in await world.shop.refund_desk.queue():
        await world.shop.refund_desk.approve(row.organization, row.id, "ann", "one card, looked at")
    await world.later(61_000)
    ends = [await read(world, row) for row in rows]
    assert sorted(row.state for row in ends) == ["changed"] * 5 + ["settled"]
    assert sum(row.money for row in ends if row.state == "settled") == PRICE // 2
    uses = await world.rows.find(Guarantee, {})
    assert sorted(use.id.partition(":")[0] for use in uses) == ["method", "organization"]
    await world.clean()


async def test_more_than_the_limit_waits_for_an_operator_and_much_more_for_two(
    world: World,
) -> None:  # R-REF-6
    desk = world.shop.refund_desk
    purchase = await bought(world, amount=60_000, list_amount=60_000)
    row = await accepted(world, await quoted(world, purchase))
    assert (row.state, row.needs) == ("waiting", "two_operators")
    assert await world.balance("acme") == 200, "the tokens are kept until then"
    assert [one.id for one in await desk.queue()] == [row.id]
    assert isinstance(await desk.approve("acme", row.id, "ann", " "), Refusal)
    one = await desk.approve("acme", row.id, "ann", "fair")
    assert isinstance(one, Refund)
    assert one.state == "waiting"
    assert isinstance(await desk.approve("acme", row.id, "ann", "again"), Refusal)
    two = await desk.approve("acme", row.id, "bob", "fair")
    assert isinstance(two, Refund)
    assert (two.state, two.money) == ("settled", 60_000)
    assert [opinion.actor for opinion in two.opinions] == ["ann", "bob"]
    await world.clean()


async def test_one_operator_cannot_pass_the_second_limit_in_parts(world: World) -> None:  # R-REF-6
    desk = world.shop.refund_desk
    purchase = await bought(world, amount=60_000, list_amount=60_000)
    first = await accepted(world, await quoted(world, purchase))
    done = await desk.adjust("acme", first.id, 30_000, "ann", "a half")
    assert isinstance(done, Refund)
    assert done.state == "settled"
    second = await accepted(world, await quoted(world, await world.purchase(purchase)))
    assert (second.state, second.needs) == ("waiting", "two_operators")
    waits = await desk.adjust("acme", second.id, 25_000, "ann", "and most of the rest")
    assert isinstance(waits, Refund)
    assert (waits.state, waits.needs) == ("waiting", "two_operators")
    done = await desk.approve("acme", second.id, "bob", "fair")
    assert isinstance(done, Refund)
    assert (done.state, done.money) == ("settled", 25_000)
    await world.clean()


async def test_a_purchase_is_given_back_in_parts_and_never_beyond_its_price(world: World) -> None:  # R-REF-5
    """Money moves in steps of ten here. An operator gives parts, the dashboard gives one, quotes the rest at once."""
    world.provider.steps = {"KWD": 10}
    desk = world.shop.refund_desk
    purchase = await bought(world, amount=20_010, list_amount=20_010, currency="KWD")
    for part in (5_000, 3_010):
        row = await accepted(world, await quoted(world, purchase))
        assert row.state == "waiting"
        for wrong in (part + 1, 20_020):
            assert isinstance(await desk.adjust("acme", row.id, wrong, "ann", "no"), Refusal)
        done = await desk.adjust("acme", row.id, part, "ann", "a part")
        assert isinstance(done, Refund)
        assert (done.state, done.money) == ("settled", part)
    fact = world.provider.refund_outside(purchase.payment or "", 2_000)
    await world.tell(fact)
    await world.settle()
    rest = [await quoted(world, purchase) for _ in range(3)]
    assert {row.quote.amount for row in rest} == {10_000}
    await asyncio.gather(*(accepted(world, row) for row in rest))
    for row in await desk.queue():  # so many at once are looked at
        await desk.approve("acme", row.id, "ann", "the rest")
    await world.later(61_000)
    assert world.provider.refunded(purchase.payment or "") == 20_010
    assert (await quoted(world, purchase)).quote.refused == "refunded"
    await world.clean()


async def test_an_operator_denies_or_adjusts_with_a_reason(world: World) -> None:  # R-REF-6
    desk = world.shop.refund_desk
    purchase = await bought(world, amount=20_000, list_amount=20_000)
    row = await accepted(world, await quoted(world, purchase))
    denied = await desk.deny("acme", row.id, "ann", "used up elsewhere")
    assert isinstance(denied, Refund)
    assert (denied.state, denied.problem) == ("denied", "used up elsewhere")
    assert await world.balance("acme") == 200 + PACK
    row = await accepted(world, await quoted(world, purchase))
    assert isinstance(await desk.adjust("acme", row.id, 20_001, "ann", "more"), Refusal)
    done = await desk.adjust("acme", row.id, 5_000, "ann", "a part")
    assert isinstance(done, Refund)
    assert (done.state, done.money) == ("settled", 5_000)
    assert world.provider.refunded(purchase.payment or "") == 5_000
    shares = {(one.by, one.name): one for one in await desk.report()}
    assert shares["pack", "token_pack_500"].refunds == 1
    assert shares["approach", "none"].refunded == 5_000
    await world.clean()


async def test_an_adjustment_that_came_half_way_gives_no_more_than_it_says(
    world: World,
) -> None:  # R-REF-5, R-REF-6
    """Its process ended between the purchase and the refund; another operator approves what still waits."""
    purchase = await bought(world, amount=20_000, list_amount=20_000)
    row = await accepted(world, await quoted(world, purchase), "credit")
    assert (row.state, row.credit) == ("waiting", 12_000)
    await world.shop.means.change(await world.purchase(purchase), lambda one: resized(one, row.id, 0, 5_000))
    done = await world.shop.refund_desk.approve("acme", row.id, "bob", "fair")
    assert isinstance(done, Refund)
    assert (done.state, done.credit) == ("settled", 5_000)
    account = await world.ledger.account("acme")
    assert account is not None
    assert available(account.state) == 5_000
    await world.clean()


async def test_signals_send_a_refund_to_an_operator(world: World) -> None:  # R-REF-6
    purchase = await bought(world)
    for name in ("x", "y"):
        payer = Payer(id=f"scripted:{name}:card_a", organization=name, provider="scripted", method="card_a")
        await world.rows.add(payer)
    row = await accepted(world, await quoted(world, purchase))
    assert (row.state, row.signals) == ("waiting", ("shared_method",))
    assert isinstance(await world.shop.refunding.withdraw("acme", row.id), Refund)
    assert (await read(world, row)).state == "withdrawn"
    assert await world.balance("acme") == 200 + PACK


async def test_many_quotes_do_not_hide_many_refunds(world: World) -> None:  # R-REF-6
    for _ in range(3):
        done = await accepted(world, await quoted(world, await bought(world)), "cash")
        assert done.state == "settled"
    shown = await quoted(world, await bought(world))
    await asyncio.gather(
        *(world.rows.add(replace(shown, id=f"f{number:031x}", version=0)) for number in range(1_001))
    )
    row = await accepted(world, shown)
    assert (row.state, row.signals) == ("waiting", ("refund_rate",))


async def test_a_dispute_while_a_refund_waits(world: World) -> None:  # R-REF-6
    purchase = await bought(world, amount=20_000, list_amount=20_000)
    row = await accepted(world, await quoted(world, purchase))
    fact = {"payment": purchase.payment or "", "dispute": "d", "amount": 20_000, "currency": "USD"}
    await world.tell(h.Disputed(at=1, state="open", **fact))  # type: ignore[arg-type]  # names of fields
    await world.settle()
    await world.shop.refund_desk.deny("acme", row.id, "ann", "disputed")
    assert await world.balance("acme") == 200, "the dispute still keeps them"
    assert (await quoted(world, purchase)).quote.refused == "settled"
    await world.tell(h.Disputed(at=2, state="won", **fact))  # type: ignore[arg-type]  # names of fields
    await world.settle()
    assert await world.balance("acme") == 200 + PACK
    await world.clean()


async def test_reasons_that_the_till_sees_by_itself(world: World) -> None:  # R-REF-6
    early = await ok(world.ledger, "acme", c.Reserve(feature="generate_goal"))
    await ok(world.ledger, "acme", c.Release(hold=early.operation))
    world.clock.time += 1
    purchase = await bought(world)
    facts = world.shop.refunding.facts
    assert [one.reason for one in await facts.suggestions(purchase)] == ["unused", "first_time"]
    for reason in ("failed", "timeout", "cancelled"):
        hold = await ok(world.ledger, "acme", c.Reserve(feature="generate_goal"))
        await ok(world.ledger, "acme", c.Release(hold=hold.operation, reason=reason))
    charge = await ok(world.ledger, "acme", c.Charge(feature="generate_goal"))
    await ok(world.ledger, "acme", c.Refund(operation=charge.operation, reason="no answer"))
    await ok(world.ledger, "acme", c.Reserve(feature="generate_goal", timeout_ms=1_000))
    world.clock.time += 60_000
    await ok(world.ledger, "acme", c.Tick())
    [technical, unused, first] = await facts.suggestions(purchase)
    assert (technical.reason, technical.why) == ("technical", "4 operations have failed since the purchase.")
    assert (unused.reason, first.reason) == ("unused", "first_time")
    await ok(world.ledger, "acme", c.Grant(tokens=2_000))
    await asyncio.gather(*(ok(world.ledger, "acme", c.Charge(feature="generate_goal")) for _ in range(510)))
    assert (await facts.suggestions(purchase))[0].why.startswith("4 operations"), (
        "however much came after them"
    )


async def test_what_cannot_be_given_back_says_why(world: World) -> None:  # R-REF-5
    refunding = world.shop.refunding
    assert isinstance(await refunding.quote("acme", "0" * 32), Refusal)
    unpaid = await world.place(world.order("acme"))
    assert isinstance(await refunding.quote("acme", unpaid.id), Refusal)
    assert isinstance(await refunding.accept("acme", "0" * 32, "cash"), Refusal)
    purchase = await bought(world)
    world.clock.time += 91 * DAY_MS
    world.clock.time -= 88 * DAY_MS
    nothing = await quoted(world, purchase, None)  # no reason, and the guarantee is over
    assert (nothing.quote.amount, nothing.quote.options[0].take_back) == (0, 0)
    refused = await refunding.accept("acme", nothing.id, "cash")
    assert isinstance(refused, Refusal)
    assert "nothing was taken" in refused.message
    assert await world.balance("acme") == 200 + PACK
    world.clock.time += 88 * DAY_MS
    late = await quoted(world, purchase)
    assert late.quote.refused == "too_late"
    assert isinstance(await refunding.accept("acme", late.id, "cash"), Refusal)


async def test_refunds_can_be_switched_off(tmp_path: Path) -> None:  # R-REF-6
    store = Store("sqlite", sqlite_url(tmp_path))
    catalog = selling()
    catalog = replace(catalog, refunds=replace(catalog.refunds, enabled=False))
    world = await make_world(store, tmp_path, catalog=catalog)
    await world.begin("acme")
    purchase = await bought(world)
    assert isinstance(await world.shop.refunding.quote("acme", purchase.id), Refusal)
    await world.shop.close()
    await store.close()


async def test_a_right_of_withdrawal_gives_at_least_the_unused_share(tmp_path: Path) -> None:  # R-REF-4
    store = Store("sqlite", sqlite_url(tmp_path))
    catalog = selling()
    policy = replace(catalog.refunds, withdrawal={"eu": Withdrawal(14)}, guarantee_percent=None)
    world = await make_world(store, tmp_path, catalog=replace(catalog, refunds=policy))
    await world.begin("acme")
    purchase = await bought(world)
    world.clock.time += 2 * DAY_MS
    plain = await quoted(world, purchase, None)
    assert plain.quote.amount == 0
    row = await world.shop.refunding.quote("acme", purchase.id, region="eu")
    assert isinstance(row, Refund)
    assert row.quote.amount == PRICE
    assert (await accepted(world, row)).money == PRICE
    await world.shop.close()
    await store.close()
