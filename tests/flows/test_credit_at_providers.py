"""Credit before the money of every provider: the SDK of Stripe over a real socket to the lab, PayPal's API, test cards.

R-REF-4, R-PACK-11, R-PLAN-6, R-PLAT-1.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.flows.test_with_paypal import World as PayPalWorld
from tests.flows.test_with_paypal import world as paypal
from tests.flows.test_with_stripe import World as StripeWorld
from tests.flows.test_with_stripe import refunding, store, world_of
from tests.support.desk import change_plan
from tests.support.stores import MONTH, Store, ok, readable
from tests.support.stripe import ASKS_ALWAYS, VISA
from tests.vendors.test_embedded import GOOD, ONCE, Trying
from tests.vendors.test_embedded import world as embedded
from tokentill.flows.pay import Terms
from tokentill.flows.shop import Shop
from tokentill.rules import commands as c
from tokentill.rules.catalog import Exhaustion, Overage
from tokentill.rules.credit import available
from tokentill.rules.purchases import Purchase
from tokentill.rules.refund_rows import Refund
from tokentill.rules.refusals import Refusal
from tokentill.rules.rows import TopUp

__all__ = ["embedded", "paypal", "store"]

PACK, PRICE, BILL = "token_pack_500", 2_900, 1_500


@pytest.fixture
async def stripe(store: Store, run_seed: int) -> AsyncIterator[StripeWorld]:
    overage = Exhaustion(overage=Overage(price=150))
    async with world_of(store, run_seed, change_plan(refunding(), "pro", exhaustion=overage)) as made:
        yield made


async def credit(ledger: Any) -> int:
    account = await ledger.account("acme")
    return available(account.state)


async def gift(ledger: Any, amount: int) -> None:
    await ok(ledger, "acme", c.Grant(tokens=amount, origin="credit", unit="money"))


async def watched(shop: Shop, ceiling: int = PRICE) -> TopUp:
    """A top-up below 100 tokens."""
    row = await shop.topups.set("acme", threshold=100, pack=PACK, ceiling=ceiling)
    assert isinstance(row, TopUp), row
    return row


async def used_up(ledger: Any, left: int) -> None:
    """No more than so many tokens are left."""
    account = await ledger.account("acme")
    await ok(ledger, "acme", c.Adjust(tokens=left - account.free, reason="used before", actor="ann"))


async def beyond(ledger: Any, clock: Any) -> None:
    """Ten tokens beyond the plan, and the end of the period."""
    await used_up(ledger, 2)
    for _ in range(4):
        await ok(ledger, "acme", c.Charge(feature="generate_goal"))
    clock.time += MONTH
    await ok(ledger, "acme", c.Tick())


async def newest(shop: Shop, kind: str, count: int = 1) -> Purchase:
    """The newest purchase of the kind, once the journal was read so far that there are so many."""
    async with asyncio.timeout(60):
        while True:
            await shop.clerk.once()
            rows = [row for row in await shop.checkout.history("acme") if row.kind == kind]
            if len(rows) >= count:
                return rows[0]
            await asyncio.sleep(0.01)


async def saved(world: StripeWorld, card: str) -> None:
    """The customer has bought a pack and agreed to the card's being kept."""
    await world.begin()
    ordered = await world.buy(terms=Terms(save_method=True))
    world.lab.pay(ordered.checkout or "", card)
    await world.hear()


def charged(world: StripeWorld) -> list[int]:
    """What was charged at Stripe, oldest first."""
    newest_first = world.lab.world.all("payment_intent")
    return [one["amount"] for one in reversed(newest_first) if one["status"] == "succeeded"]


async def test_a_top_up_at_stripe(stripe: StripeWorld) -> None:
    """In part, the rest less than Stripe takes, all of it; each webhook twice and in any order; and back again."""
    world = stripe
    await saved(world, VISA)
    await watched(world.shop, ceiling=PRICE)
    await gift(world.ledger, 1_000)
    await used_up(world.ledger, 99)
    part = await newest(world.shop, "pack", 2)
    await world.hear()
    part = await world.of(part)
    assert (part.state, part.amount, part.credit_used) == ("delivered", PRICE - 1_000, 1_000)
    assert (charged(world), await credit(world.ledger)) == ([PRICE, PRICE - 1_000], 0)
    row = await world.shop.refunding.quote("acme", part.id, "unused")
    assert isinstance(row, Refund), row
    done = await world.shop.refunding.accept("acme", row.id, "cash")
    assert isinstance(done, Refund)
    assert (done.state, done.money, done.credit) == ("settled", PRICE - 1_000, 1_000)
    await world.hear()
    assert [one["amount"] for one in world.lab.world.all("refund")] == [PRICE - 1_000]
    assert await credit(world.ledger) == 1_000
    world.clock.time += 2 * 86_400_000
    await gift(world.ledger, PRICE - 1_010)
    await used_up(world.ledger, 98)
    await ok(world.ledger, "acme", c.Charge(feature="generate_goal"))
    least = await newest(world.shop, "pack", 3)
    await world.hear()
    assert ((await world.of(least)).state, charged(world)[2:]) == ("delivered", [50])
    assert await credit(world.ledger) == 40
    await gift(world.ledger, PRICE)
    await used_up(world.ledger, 97)
    whole = await newest(world.shop, "pack", 4)
    assert (whole.state, whole.mode, whole.credit_used) == ("delivered", "free", PRICE)
    await world.hear()
    assert (charged(world)[3:], await credit(world.ledger)) == ([], 40)
    await world.clean()


async def test_a_top_up_that_the_bank_stops(stripe: StripeWorld) -> None:
    """Nobody confirms: the checkout ends, the credit comes back once, and the top-up stands still."""
    world = stripe
    await saved(world, ASKS_ALWAYS)
    await watched(world.shop)
    await gift(world.ledger, 1_000)
    await used_up(world.ledger, 99)
    asked = await newest(world.shop, "pack", 2)
    assert (asked.url is not None, asked.amount, await credit(world.ledger)) == (True, PRICE - 1_000, 0)
    await world.days(2)
    await world.hear()
    over = await world.of(asked)
    assert (over.state, over.done) == ("abandoned", ("spend_credit", "return_credit"))
    row = await world.shop.topups.get("acme")
    assert row is not None
    assert (row.enabled, row.spent, await credit(world.ledger)) == (False, 0, 1_000)
    await world.clean()


@pytest.mark.parametrize("has", [600, 1_460, BILL])
async def test_a_bill_of_overage_at_stripe(stripe: StripeWorld, has: int) -> None:
    world, rest = stripe, {600: 900, 1_460: 50, BILL: 0}[has]
    await saved(world, VISA)
    await gift(world.ledger, has)
    await beyond(world.ledger, world.clock)
    bill = await newest(world.shop, "overage")
    world.clock.time += 11_000
    await world.hear()
    bill = await world.of(bill)
    assert (bill.state, bill.amount, bill.credit_used) == ("delivered", rest, BILL - rest)
    assert (charged(world)[1:], await credit(world.ledger)) == ([rest] if rest else [], has - (BILL - rest))
    await world.clean()


async def test_a_bill_of_overage_at_paypal(paypal: PayPalWorld) -> None:
    """Nothing is saved there, so the rest is paid by a checkout."""
    world, clock = paypal, paypal.store.clock
    await gift(world.ledger, 600)
    await beyond(world.ledger, clock)
    world.theirs.clock.at = clock.time
    bill = await newest(world.shop, "overage")
    assert (bill.mode, bill.amount, bill.done) == ("invoice", BILL - 600, ("spend_credit",))
    opened = await world.shop.checkout.pay("acme", bill.id)
    assert isinstance(opened, Purchase), opened
    world.theirs.lab.book.approve(opened.checkout or "")
    paid = await world.shop.checkout.look("acme", bill.id)
    assert isinstance(paid, Purchase)
    assert (paid.state, await credit(world.ledger)) == ("delivered", 0)
    await world.hear(times=2)
    assert (await world.ledger.verify()).findings == ()


async def test_a_bill_whose_checkout_at_paypal_is_open_when_credit_comes(paypal: PayPalWorld) -> None:
    """R-REF-4: who approves the old amount after that pays nothing, and the next checkout asks for the rest."""
    world, clock = paypal, paypal.store.clock
    await beyond(world.ledger, clock)
    world.theirs.clock.at = clock.time
    bill = await newest(world.shop, "overage")
    first = await world.shop.checkout.pay("acme", bill.id)
    assert isinstance(first, Purchase)
    await gift(world.ledger, 600)
    await readable(world.ledger)
    await world.shop.clerk.once()
    world.theirs.lab.book.approve(first.checkout or "")
    await world.hear()
    second = await world.shop.checkout.pay("acme", bill.id)
    assert isinstance(second, Purchase)
    assert (second.state, second.amount, second.credit_used) == ("pending", BILL - 600, 600)
    world.theirs.lab.book.approve(second.checkout or "")
    paid = await world.shop.checkout.look("acme", bill.id)
    assert isinstance(paid, Purchase)
    assert (paid.state, paid.flagged, await credit(world.ledger)) == ("delivered", None, 0)


async def test_a_bill_whose_checkout_at_stripe_is_open_when_credit_comes(stripe: StripeWorld) -> None:
    """R-REF-4: the session is expired at Stripe, and the next one is for the rest."""
    world = stripe
    await world.begin()
    await beyond(world.ledger, world.clock)
    bill = await newest(world.shop, "overage")
    first = await world.shop.checkout.pay("acme", bill.id)
    assert isinstance(first, Purchase)
    await gift(world.ledger, 600)
    await readable(world.ledger)
    await world.hear()
    second = await world.shop.checkout.pay("acme", bill.id)
    assert isinstance(second, Purchase)
    assert (second.checkout != first.checkout, second.amount, second.credit_used) == (True, BILL - 600, 600)
    assert world.lab.world.get("checkout.session", first.checkout or "")["status"] == "expired"
    world.lab.pay(second.checkout or "", VISA)
    await world.hear()
    assert ((await world.of(bill)).state, charged(world)) == ("delivered", [BILL - 600])
    await world.clean()


async def test_a_top_up_at_paypal_by_credit_alone(paypal: PayPalWorld) -> None:
    """R-PACK-11, R-REF-4: nothing is saved there, so credit pays for whole packs until it does not suffice."""
    world = paypal
    refused = await world.shop.topups.set("acme", threshold=100, pack=PACK, ceiling=PRICE)
    assert isinstance(refused, Refusal)
    await gift(world.ledger, PRICE + 100)
    await watched(world.shop)
    await used_up(world.ledger, 99)
    topped = await newest(world.shop, "pack")
    assert (topped.state, topped.mode, topped.credit_used, await world.balance()) == (
        "delivered",
        "free",
        PRICE,
        599,
    )
    world.store.clock.time += 11_000
    await used_up(world.ledger, 98)
    await readable(world.ledger)
    await world.shop.clerk.once()
    row = await world.shop.topups.get("acme")
    assert row is not None
    assert (row.enabled, row.stopped, row.spent, await credit(world.ledger)) == (False, "no_method", 0, 100)


@pytest.mark.parametrize(("card", "state", "left"), [(GOOD, "delivered", 0), (ONCE, "failed", 1_000)])
async def test_a_top_up_by_a_test_card(embedded: Trying, card: str, state: str, left: int) -> None:
    world = embedded
    await world.bought(card)
    await watched(world.shop)
    await gift(world.ledger, 1_000)
    await used_up(world.ledger, 99)
    topped = await newest(world.shop, "pack", 2)
    assert (topped.state, topped.amount, topped.credit_used) == (state, PRICE - 1_000, 1_000)
    assert (await credit(world.ledger), await world.balance("acme")) == (
        left,
        599 if state == "delivered" else 99,
    )
