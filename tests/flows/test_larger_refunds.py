"""Larger packs that were paid for by the difference: a refund is reckoned on all payments, and goes back over them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from tests.flows.test_refunding import accepted, quoted, read
from tests.support.larger import ITEMS, PRICES, TOKENS, chain, first_pack, larger_of, packs
from tests.support.scripted import Scripted
from tests.support.shops import World, make_world
from tests.support.stores import Store, ok, sqlite_url
from tokentill.ports import Rows, VendorDown, VendorRefused
from tokentill.rules import commands as c
from tokentill.rules import happenings as h
from tokentill.rules.catalog import DAY_MS
from tokentill.rules.credit import available
from tokentill.rules.purchases import Purchase
from tokentill.rules.refund_rows import Guarantee, Refund
from tokentill.rules.refund_texts import sentences
from tokentill.rules.refusals import Refusal
from tokentill.rules.rows import Payer

SMALL, LARGE, THIRD = PRICES
DIFFERENCE = LARGE - SMALL


@pytest.fixture(params=["sqlite", "postgres"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else sqlite_url(tmp_path)
    made = await make_world(Store(request.param, url), tmp_path, catalog=packs())
    await made.begin("acme")
    await ok(made.ledger, "acme", c.Adjust(tokens=-200, reason="spent", actor="op"))
    yield made
    await made.clean()
    await made.shop.close()
    await made.store.close()


def given(world: World, *purchases: Purchase) -> list[int]:
    """What the provider gave back of each purchase's payment."""
    return [world.provider.refunded(purchase.payment or "") for purchase in purchases]


async def spend(world: World, tokens: int) -> None:
    await ok(world.ledger, "acme", c.Charge(feature="generate_goal", quantity=tokens // 3))


async def test_it_is_quoted_on_all_that_was_paid_and_all_that_was_used(world: World) -> None:  # R-REF-4
    """$29 and $50 more; 45 of the first 500 tokens and 60 of the larger pack's are 105 of 2000: the second band."""
    small = await first_pack(world, "acme")
    await spend(world, 45)
    large = await larger_of(world, small, ITEMS[1], "card_b")
    assert (large.amount, large.carried, large.earlier[0].payment) == (DIFFERENCE, 45, small.payment)
    await spend(world, 60)
    row = await quoted(world, large, "technical")
    quote = row.quote
    assert (quote.price, quote.usage.granted, quote.usage.spent, quote.usage.left) == (LARGE, 2000, 105, 1895)
    assert quote.amount == LARGE * 75 * 110 // 10_000 + 1 == 6518, (
        "three quarters, 110 % within the hour, half up"
    )
    assert sentences(quote, world.ledger.catalog.refunds.texts)[-1] == "That is 82.5 % of $79.00: $65.18."
    done = await accepted(world, row)
    assert (done.state, done.money) == ("settled", 6518)
    assert given(world, large, small) == [DIFFERENCE, 6518 - DIFFERENCE], "the newest payment first"
    assert await world.balance("acme") == 0
    first, last = await world.purchase(small), await world.purchase(large)
    assert (first.state, last.state, last.accounted) == ("partly_refunded", "partly_refunded", 0)
    assert (await quoted(world, last, "technical")).quote.options[0].worth == 0
    asked = await world.shop.refunding.quote("acme", small.id, "technical")
    assert isinstance(asked, Refusal)
    assert asked.detail == large.id, "whoever asks for the first one is shown the way"


async def test_a_chain_of_three_goes_back_newest_first_and_never_beyond_a_payment(
    world: World,
) -> None:  # R-REF-4
    bought = await chain(world, "acme")
    assert [one.amount for one in bought] == [SMALL, DIFFERENCE, THIRD - LARGE]
    assert [one.replaced_by for one in bought] == [bought[1].id, bought[2].id, None]
    desk = world.shop.refund_desk
    await set_policy(world, automatic_max=0)
    last, total = bought[2], 0
    for part in (THIRD - LARGE + 1000, DIFFERENCE - 1000, 900):
        row = await accepted(world, await quoted(world, last, "technical"))
        assert row.state == "waiting"
        assert isinstance(await desk.adjust("acme", row.id, THIRD - total + 1, "ann", "more"), Refusal)
        done = await desk.adjust("acme", row.id, part, "ann", "a part")
        assert isinstance(done, Refund), done
        assert (done.state, done.money) == ("settled", part)
        total += part
    assert given(world, *reversed(bought)) == [THIRD - LARGE, DIFFERENCE, 900]
    await set_policy(world, automatic_max=None)
    rest = await accepted(world, await quoted(world, last, "technical"))
    assert rest.money == THIRD - total
    assert given(world, *bought) == [SMALL, DIFFERENCE, THIRD - LARGE]
    assert [(await world.purchase(one)).state for one in bought] == ["refunded"] * 3
    assert (await quoted(world, last, "technical")).quote.refused == "refunded"
    shares = {(one.by, one.name): one for one in await desk.report()}
    assert {name for by, name in shares if by == "pack"} == {ITEMS[2]}, "they are one purchase"
    whole = shares["pack", ITEMS[2]]
    assert (whole.purchases, whole.refunds, whole.amount, whole.refunded) == (1, 1, THIRD, THIRD)
    assert shares["segment", "first"].amount == THIRD


async def set_policy(world: World, **more: object) -> None:
    """The same shop, with another refund policy from now on."""
    catalog = world.ledger.catalog
    ledger = await world.store.open(catalog=replace(catalog, refunds=replace(catalog.refunds, **more)))
    world.ledger = ledger
    world.restart()


async def test_what_running_operations_carry_over_is_counted_and_taken(
    world: World,
) -> None:  # R-REF-4, R-REF-5
    small = await first_pack(world, "acme")
    hold = await ok(world.ledger, "acme", c.Reserve(feature="generate_goal", quantity=10))
    large = await larger_of(world, small, ITEMS[1])
    assert large.carried == 30
    assert (await quoted(world, large, "technical")).quote.usage.held == 30
    await ok(world.ledger, "acme", c.Settle(hold=hold.operation, tokens=6))
    running = await ok(world.ledger, "acme", c.Reserve(feature="generate_goal", quantity=20))
    row = await quoted(world, large, "technical")
    assert (row.quote.usage.spent, row.quote.usage.left, row.quote.usage.held) == (6, 2000 - 6 - 60, 60)
    assert (await accepted(world, row)).money == LARGE
    assert await world.balance("acme") == 0
    await ok(world.ledger, "acme", c.Release(hold=running.operation))
    await world.later(61_000)
    account = await world.account("acme")
    assert (account.free, account.held, account.state.aside) == (0, 0, {})


async def test_what_the_first_pack_still_holds_is_taken_when_it_comes_back(world: World) -> None:  # R-REF-5
    small = await first_pack(world, "acme")
    hold = await ok(world.ledger, "acme", c.Reserve(feature="generate_goal", quantity=10))
    large = await larger_of(world, small, ITEMS[1])
    assert (await accepted(world, await quoted(world, large, "technical"))).money == LARGE
    assert (await world.purchase(large)).sweep == "wait"
    await ok(world.ledger, "acme", c.Settle(hold=hold.operation, tokens=6))
    assert await world.balance("acme") == 0, "what it left is still set aside"
    await world.later(61_000)
    account = await world.account("acme")
    assert (account.free, account.held, account.state.aside) == (0, 0, {})


async def test_both_payments_are_the_purchase_in_question(world: World) -> None:  # R-REF-2, R-REF-4, readings
    """It is a first purchase as the first pack was; what was spent before it is counted without either payment."""
    small, large = await chain(world, "acme", ITEMS[1:2])
    first = await quoted(world, large, "first_time")
    assert (first.quote.refused, first.quote.price) == (None, LARGE)
    await first_pack(world, "acme", amount=10_000, list_amount=10_000)
    assert "customer" not in {line.name for line in (await quoted(world, large)).quote.lines}, (
        "$100 is not more"
    )
    await first_pack(world, "acme", amount=1, list_amount=1)
    assert "customer" in {line.name for line in (await quoted(world, large)).quote.lines}
    assert small.amount > 1


async def test_what_was_used_of_a_pack_that_is_long_gone_still_counts(world: World) -> None:  # R-REF-4
    """The lot of a pack that is used up is forgotten after 400 days; what was carried of it is not."""
    await set_policy(world, window_days=2_000, review_usage_percent=101)
    small = await first_pack(world, "acme")
    await spend(world, 450)
    world.clock.time += 300 * DAY_MS
    large = await larger_of(world, small, ITEMS[1])
    await spend(world, 300)
    world.clock.time += 110 * DAY_MS
    await spend(world, 3)
    lots = (await world.account("acme")).state.lots.values()
    assert not [lot for lot in lots if lot.reference == small.id]
    usage = (await quoted(world, large, "technical")).quote.usage
    assert large.carried is not None
    counted = sum(lot.spent for lot in lots if lot.reference == large.id) + large.carried
    assert (usage.granted, usage.spent, usage.left) == (2000, counted, 2000 - counted)
    third = await larger_of(world, large, ITEMS[2])
    assert third.carried == counted
    world.clock.time += 401 * DAY_MS
    await ok(world.ledger, "acme", c.Tick())
    assert (await quoted(world, third, "technical")).quote.usage.spent == counted


@pytest.mark.parametrize("which", [0, 1])
async def test_what_went_back_in_the_dashboard_takes_its_share_of_the_larger_pack(
    world: World, which: int
) -> None:  # R-REF-6
    """Ten dollars of the first or of the second payment are 10/79 of the larger pack; the last of it is all."""
    small = await first_pack(world, "acme")
    await spend(world, 45)
    large = await larger_of(world, small, ITEMS[1])
    unspent = TOKENS[1] - 45
    payment = (small, large)[which].payment or ""
    await world.tell(world.provider.refund_outside(payment, 1000))
    await world.settle()
    left = unspent - unspent * 1000 // LARGE
    assert await world.balance("acme") == left
    row = await quoted(world, large, "technical")
    assert row.quote.amount == LARGE - 1000
    await world.tell(world.provider.refund_outside(payment, (SMALL, DIFFERENCE)[which] - 1000))
    await world.settle()
    assert (await world.purchase(large)).state == "partly_refunded"
    rest = (DIFFERENCE, SMALL)[which]
    assert (await accepted(world, row)).state == "quoted", "less is left by now"
    done = await accepted(world, await quoted(world, large, "technical"))
    assert (done.state, done.money) == ("settled", rest)
    assert sorted(given(world, small, large)) == sorted((SMALL, DIFFERENCE))
    assert await world.balance("acme") == 0


async def test_dashboard_and_refund_at_once_give_back_what_was_paid(world: World) -> None:  # R-REF-5
    small, large = await chain(world, "acme", ITEMS[1:2])
    rows = [await quoted(world, large, "technical") for _ in range(3)]
    fact = world.provider.refund_outside(small.payment or "", 1000)
    shops = [world.shop, world.open()]
    await asyncio.gather(
        *(shop.refunding.accept("acme", row.id, "cash") for shop in shops for row in rows),
        world.shop.take_in("scripted", world.provider.told(fact)),
    )
    for _ in range(3):
        await world.later(61_000)
    for row in await world.shop.refund_desk.queue():
        await world.shop.refund_desk.approve("acme", row.id, "ann", "go on")
    row = await quoted(world, large, "technical")
    if row.quote.refused is None:
        await accepted(world, row)
    assert given(world, small, large) == [SMALL, DIFFERENCE]
    assert await world.balance("acme") == 0


@pytest.mark.parametrize("which", [0, 1])
async def test_a_dispute_of_either_payment_sets_the_larger_pack_aside(
    world: World, which: int
) -> None:  # R-REF-6
    small = await first_pack(world, "acme")
    await spend(world, 45)
    large = await larger_of(world, small, ITEMS[1])
    paid, amount = (small, large)[which], (SMALL, DIFFERENCE)[which]
    fact = h.Disputed(
        at=1, payment=paid.payment or "", dispute="d", state="open", amount=amount, currency="USD"
    )
    await world.tell(fact)
    await world.settle()
    assert await world.balance("acme") == 0
    assert (await world.purchase(large)).state == "disputed"
    assert (await quoted(world, large, "technical")).quote.refused == "settled"
    await world.tell(replace(fact, state="won"))
    await world.settle()
    assert await world.balance("acme") == TOKENS[1] - 45
    await world.tell(replace(fact, dispute="d2"), replace(fact, dispute="d2", state="lost"))
    await world.settle()
    unspent = TOKENS[1] - 45
    assert await world.balance("acme") == unspent - unspent * amount // LARGE, "what was paid otherwise stays"
    assert (await world.purchase(large)).state == "partly_refunded"
    assert (await quoted(world, large, "technical")).quote.refused == "settled"
    other = (large, small)[which]
    await world.tell(replace(fact, dispute="d3", state="lost", payment=other.payment or ""))
    await world.settle()
    assert await world.balance("acme") == 0
    assert (await world.purchase(large)).state == "charged_back"
    assert (await world.account("acme")).state.aside == {}


class Overtaken:
    """Rows of a process that is overtaken before it stores what it has learned of the purchase `number`."""

    def __init__(self, rows: Rows, number: str, meanwhile: Callable[[], Awaitable[object]]) -> None:
        self._rows, self._number, self._meanwhile = rows, number, meanwhile
        self._over = False

    async def put(self, row: Any) -> Any:
        if row.id == self._number and not self._over:
            self._over = True
            await self._meanwhile()
        return await self._rows.put(row)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._rows, name)


async def test_what_is_passed_on_late_does_not_undo_what_is_known_by_then(world: World) -> None:  # R-REF-6
    """One process learns that a dispute is open, and another one that it is lost before the first has passed it on."""
    small, large = await chain(world, "acme", ITEMS[1:2])
    fact = h.Disputed(
        at=1, payment=small.payment or "", dispute="d", state="open", amount=SMALL, currency="USD"
    )

    async def meanwhile() -> None:
        await world.tell(replace(fact, state="lost"))
        await world.settle()

    slow = world.open(rows=Overtaken(world.rows, large.id, meanwhile))
    await slow.take_in("scripted", world.provider.told(fact))
    found = await world.purchase(large)
    assert (found.state, [one.state for one in found.disputes]) == ("partly_refunded", ["lost"])
    assert await world.balance("acme") == TOKENS[1] - TOKENS[1] * SMALL // LARGE
    assert (await world.account("acme")).state.aside == {}
    await slow.close()


async def test_a_dispute_that_is_open_when_the_difference_is_paid_goes_over(world: World) -> None:  # R-REF-6
    small = await first_pack(world, "acme")
    row = await accepted(world, await quoted(world, small), "upgrade", item=ITEMS[1])
    upgrade = await world.rows.get(Purchase, row.upgrade or "", "acme")
    assert upgrade is not None
    fact = h.Disputed(
        at=1, payment=small.payment or "", dispute="d", state="open", amount=SMALL, currency="USD"
    )
    await world.tell(fact)
    await world.settle()
    await world.tell(*world.provider.pay(upgrade.checkout or ""))
    await world.settle()
    assert ((await world.purchase(upgrade)).state, await world.balance("acme")) == ("disputed", 0)
    await world.tell(replace(fact, state="won"))
    await world.settle()
    assert ((await world.purchase(upgrade)).state, await world.balance("acme")) == ("delivered", 2000)


async def refused_half_way(world: World) -> tuple[Purchase, Purchase, Refund]:
    """The newest payment is back, and the provider refuses the earlier one."""
    small, large = await chain(world, "acme", ITEMS[1:2])
    row = await quoted(world, large, "technical")
    world.provider.refuse[small.id] = "too_old"
    done = await accepted(world, row)
    assert (done.state, done.problem, done.needs) == ("waiting", "too_old", "operator")
    assert [(one.actor, one.what, one.reason, one.amount) for one in done.opinions] == [
        ("scripted", "refused", "too_old", DIFFERENCE)
    ]
    assert given(world, small, large) == [0, DIFFERENCE]
    assert await world.balance("acme") == 0, "the tokens are kept until somebody decides"
    assert [one.id for one in await world.shop.refund_desk.queue()] == [row.id]
    left = await world.shop.refunding.withdraw("acme", row.id)
    assert isinstance(left, Refusal), "money has moved"
    return small, large, done


async def test_the_rest_that_a_provider_refuses_is_asked_for_again(world: World) -> None:  # R-REF-5, R-REF-6
    small, large, row = await refused_half_way(world)
    desk = world.shop.refund_desk
    again = await desk.approve("acme", row.id, "ann", "try again")
    assert isinstance(again, Refund)
    assert (again.state, len(again.opinions)) == ("waiting", 3)
    world.provider.refuse.clear()
    done = await desk.approve("acme", row.id, "ann", "and now")
    assert isinstance(done, Refund)
    assert (done.state, done.money, done.problem) == ("settled", LARGE, None)
    assert given(world, small, large) == [SMALL, DIFFERENCE]
    assert len(world.provider.all("refund")) == 2, "each payment gave back once"


async def test_the_rest_may_have_been_given_back_in_the_dashboard_in_part(world: World) -> None:  # R-REF-5
    small, large = await chain(world, "acme", ITEMS[1:2])
    row = await quoted(world, large, "technical")
    world.provider.fail["refund"] = [VendorDown("away")]
    assert (await accepted(world, row)).state == "paying"
    await world.tell(world.provider.refund_outside(small.payment or "", 1000))
    await world.settle()
    await world.later(3_000)
    waits = await read(world, row)
    assert (waits.state, waits.problem) == ("waiting", "over_refund")
    assert waits.opinions[-1].amount == DIFFERENCE + 1000, "it is the same money"
    done = await world.shop.refund_desk.approve("acme", row.id, "ann", "the rest of it")
    assert isinstance(done, Refund)
    assert (done.state, done.money) == ("settled", LARGE)
    assert given(world, small, large) == [SMALL, DIFFERENCE]


async def test_what_went_back_in_the_dashboard_is_not_taken_for_ours(
    world: World,
) -> None:  # R-REF-5, R-REF-6
    """A quarter goes back by hand while a quarter of ours waits for an operator: the customer gets both."""
    await set_policy(world, automatic_max=0, early_percent=100, guarantee_percent=None)
    small, large = await chain(world, "acme", ITEMS[1:2])
    await spend(world, 1002)
    row = await accepted(world, await quoted(world, large, "technical"))
    assert (row.state, row.money) == ("waiting", LARGE // 4)
    await world.tell(world.provider.refund_outside(large.payment or "", LARGE // 4))
    await world.settle()
    done = await world.shop.refund_desk.approve("acme", row.id, "ann", "fair")
    assert isinstance(done, Refund)
    assert (done.state, done.money) == ("settled", LARGE // 4)
    assert given(world, small, large) == [0, LARGE // 4 * 2]


async def test_the_rest_may_have_been_given_back_in_the_dashboard_whole(world: World) -> None:  # R-REF-5
    small, large, row = await refused_half_way(world)
    await world.tell(world.provider.refund_outside(small.payment or "", SMALL))
    await world.settle()
    asked = world.provider.log.count("refund")
    done = await world.shop.refund_desk.approve("acme", row.id, "ann", "given back by hand")
    assert isinstance(done, Refund)
    assert (done.state, done.money, world.provider.log.count("refund")) == ("settled", LARGE, asked)
    assert given(world, small, large) == [SMALL, DIFFERENCE]
    assert (await world.balance("acme"), (await world.purchase(large)).accounted) == (0, 0)


async def test_the_rest_may_become_credit_where_credit_is_offered(world: World) -> None:  # R-REF-4, R-REF-6
    small, large, row = await refused_half_way(world)
    desk = world.shop.refund_desk
    for wrong in (DIFFERENCE, LARGE + 1):
        assert isinstance(await desk.adjust("acme", row.id, wrong, "ann", "credit"), Refusal)
    done = await desk.adjust("acme", row.id, LARGE, "ann", "the rest as credit")
    assert isinstance(done, Refund)
    assert (done.state, done.money, done.credit) == ("settled", DIFFERENCE, SMALL)
    assert available((await world.account("acme")).state) == SMALL
    assert given(world, small, large) == [0, DIFFERENCE]
    assert (await quoted(world, large, "technical")).quote.refused == "refunded"


async def test_the_rest_is_no_credit_where_none_is_offered(world: World) -> None:  # R-REF-6
    await set_policy(world, credit_percent=None)
    _, _, row = await refused_half_way(world)
    refused = await world.shop.refund_desk.adjust("acme", row.id, LARGE, "ann", "credit")
    assert isinstance(refused, Refusal)
    assert "cannot be credit" in refused.message


async def test_a_rest_that_is_denied_leaves_it_at_what_went_back(world: World) -> None:  # R-REF-5, R-REF-6
    small, large, row = await refused_half_way(world)
    done = await world.shop.refund_desk.deny("acme", row.id, "ann", "the card is closed")
    assert isinstance(done, Refund)
    assert (done.state, done.money, done.credit, done.settled_at is None) == ("settled", DIFFERENCE, 0, False)
    assert given(world, small, large) == [0, DIFFERENCE]
    assert await world.balance("acme") == 2000 - 2000 * DIFFERENCE // LARGE, (
        "only their share of the tokens is gone"
    )
    world.provider.refuse.clear()
    again = await accepted(world, await quoted(world, large, "technical"))
    assert (again.state, again.money) == ("settled", SMALL)
    assert given(world, small, large) == [SMALL, DIFFERENCE]


async def test_a_guarantee_of_which_a_part_went_back_is_used_up(world: World) -> None:  # R-REF-4, R-REF-6
    """Half of $79 is $39.50, and the payment of the difference was only $10."""
    third = await first_pack(world, "acme", amount=LARGE - 1000, list_amount=LARGE - 1000)
    large = await larger_of(world, third, ITEMS[1])
    assert large.amount == 1000
    await spend(world, 1200)
    row = await quoted(world, large, None)
    assert (row.quote.guarantee, row.quote.amount) == (True, LARGE // 2)
    world.provider.refuse[third.id] = "too_old"
    assert (await accepted(world, row)).state == "waiting"
    done = await world.shop.refund_desk.deny("acme", row.id, "ann", "the card is closed")
    assert isinstance(done, Refund)
    assert (done.state, done.money, done.guarantee) == ("settled", 1000, True)
    assert {use.refund for use in await world.rows.find(Guarantee, {})} == {row.id}


async def test_whom_the_newest_payment_refuses_gets_nothing_and_keeps_the_tokens(
    world: World,
) -> None:  # R-REF-5
    small, large = await chain(world, "acme", ITEMS[1:2])
    world.provider.fail["refund"] = [VendorRefused("too_old", "No.")]
    row = await accepted(world, await quoted(world, large, "technical"))
    assert (row.state, row.problem) == ("failed", "too_old")
    assert given(world, small, large) == [0, 0]
    assert await world.balance("acme") == TOKENS[1]


@pytest.mark.parametrize("end", ["done", "failed"])
async def test_the_earlier_payment_waits_for_the_newest(world: World, end: str) -> None:  # R-REF-5
    small, large = await chain(world, "acme", ITEMS[1:2])
    world.provider.refunds = "pending"
    row = await accepted(world, await quoted(world, large, "technical"))
    assert (row.state, given(world, small, large)) == ("paying", [0, DIFFERENCE])
    world.provider.refunds = "done"
    world.provider.end_refunds(end)
    [(key, _)] = world.provider.all("refund").items()
    back: h.AnyHappening = world.provider.fact_of_refunds(large.payment or "")
    await world.tell(back if end == "done" else world.provider.fact_of_failure(key))
    await world.settle()
    assert (await read(world, row)).state == ("settled" if end == "done" else "failed")
    assert given(world, small, large) == ([SMALL, DIFFERENCE] if end == "done" else [0, 0])
    assert await world.balance("acme") == (0 if end == "done" else TOKENS[1])


async def test_the_limits_count_all_of_it(world: World) -> None:  # R-REF-6
    """$79: more than one may agree to alone, though neither payment is."""
    await set_policy(world, automatic_max=DIFFERENCE, four_eyes_above=LARGE - 1)
    _, large = await chain(world, "acme", ITEMS[1:2])
    row = await accepted(world, await quoted(world, large, "technical"))
    assert (row.state, row.needs) == ("waiting", "two_operators")


async def test_the_guarantee_is_used_up_for_both_payment_methods(world: World) -> None:  # R-REF-4, R-REF-6
    small = await first_pack(world, "acme")
    await spend(world, 300)
    large = await larger_of(world, small, ITEMS[1], "card_b")
    await spend(world, 1200)
    row = await quoted(world, large, None)
    assert (row.quote.guarantee, row.quote.amount) == (True, LARGE // 2)
    assert (await accepted(world, row)).state == "settled"
    for number, method in enumerate(("card_acme", "card_b", "card_c")):
        name = f"other_{number}"
        await world.begin(name)
        placed = await world.place(world.order(name))
        await world.tell(*world.provider.pay(placed.checkout or "", method))
        await world.settle()
        shown = await quoted(world, await world.purchase(placed), None)
        assert shown.quote.guarantee is (method == "card_c")


async def test_what_was_paid_with_credit_goes_back_as_credit(world: World) -> None:  # R-REF-4, readings
    """$9 of the first pack and $20 of the difference were credit: of the whole $79 that is $50 in money."""
    await ok(world.ledger, "acme", c.Grant(tokens=900, origin="credit", unit="money"))
    small = await first_pack(world, "acme", amount=SMALL - 900, credit_used=900)
    await ok(world.ledger, "acme", c.Grant(tokens=2000, origin="credit", unit="money"))
    large = await larger_of(world, small, ITEMS[1], use_credit=True)
    assert (large.amount, large.credit_used) == (DIFFERENCE - 2000, 2000)
    row = await accepted(world, await quoted(world, large, "technical"))
    assert (row.state, row.money, row.credit) == ("settled", LARGE - 2900, 2900)
    assert given(world, small, large) == [SMALL - 900, DIFFERENCE - 2000]
    assert available((await world.account("acme")).state) == 2900


async def test_each_payment_goes_back_by_its_own_provider(world: World, tmp_path: Path) -> None:  # R-REF-5
    """The difference is paid with a method that is saved at another provider, and each gives its own back."""
    other = Scripted(str(tmp_path / "other.db"), world.clock.now, "other")
    shop = world.open(more={"other": other})
    small = await first_pack(world, "acme")
    payer = Payer(
        id="other:acme:card_o",
        organization="acme",
        created_at=1,
        provider="other",
        method="card_o",
        saved="pm_o",
    )
    await world.rows.add(payer)
    large = await larger_of(world, small, ITEMS[1], shop=shop, payer=payer.id)
    assert (large.provider, large.amount) == ("other", DIFFERENCE)
    row = await shop.refunding.quote("acme", large.id, "technical")
    assert isinstance(row, Refund)
    done = await shop.refunding.accept("acme", row.id, "cash")
    assert isinstance(done, Refund)
    assert (done.state, done.money) == ("settled", LARGE)
    assert (given(world, small), other.refunded(large.payment or "")) == ([SMALL], DIFFERENCE)
    await shop.close()


async def test_no_larger_pack_is_offered_in_another_currency(world: World) -> None:  # R-REF-4
    """A price of today in another currency is no price of it: the difference of the two would be none."""
    placed = await world.place(world.order("acme", currency="EUR"))
    await world.tell(*world.provider.pay(placed.checkout or ""))
    await world.settle()
    shown = await quoted(world, await world.purchase(placed))
    assert "upgrade" not in {one.choice for one in shown.quote.options}


async def test_a_payment_made_twice_is_given_back_apart(world: World) -> None:  # R-REF-6
    """The second payment of the first pack goes back in the dashboard: the larger pack keeps its tokens."""
    small, large = await chain(world, "acme", ITEMS[1:2])
    again = world.provider._paid(small.id, "acme", SMALL, "USD", None)
    await world.tell(*world.provider.facts_of_payment(again))
    await world.tell(world.provider.refund_outside(again, SMALL))
    await world.settle()
    assert await world.balance("acme") == TOKENS[1]
    first = await world.purchase(small)
    assert (first.flagged, (await world.purchase(large)).earlier[0].payment) == ("paid_twice", first.payment)
    assert (await quoted(world, large, "technical")).quote.amount == LARGE
