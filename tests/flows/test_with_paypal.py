"""The whole way with PayPal: over a real socket to the lab, webhooks in and tokens out (R-PLAT-1)."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.desk import change_plan
from tests.support.paypal_world import World as PayPalWorld
from tests.support.paypal_world import opened
from tests.support.shops import QUICK, selling
from tests.support.stores import SECRET, Store, ok, sqlite_url
from tokentill.flows.checkout import Ask
from tokentill.flows.means import Means
from tokentill.flows.shop import Shop, open_shop
from tokentill.rules import commands as c
from tokentill.rules.catalog import Exhaustion, Overage
from tokentill.rules.purchases import Purchase
from tokentill.rules.refund_rows import Refund
from tokentill.rules.refusals import Code, Refusal
from tokentill.wiring import SystemIds

PACK = "token_pack_500"


class World:
    """A shop that is paid through PayPal's lab."""

    def __init__(self, store: Store, ledger: Any, theirs: PayPalWorld, shop: Shop) -> None:
        self.store, self.ledger, self.theirs, self.shop = store, ledger, theirs, shop

    async def buy(self) -> Purchase:
        bought = await self.shop.checkout.buy_pack(Ask(organization="acme"), PACK)
        assert isinstance(bought, Purchase), bought
        return bought

    async def hear(self, times: int = 1) -> None:
        """Every webhook that waits."""
        for one in self.theirs.lab.outbox.take():
            for _ in range(times):
                await self.shop.receive("paypal", one)
        for _ in range(8):
            await self.shop.clerk.once()
            self.store.clock.time += 250

    async def balance(self) -> int:
        account = await self.ledger.account("acme")
        assert account is not None
        return int(account.free)


@pytest.fixture(params=["sqlite", "postgres"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else sqlite_url(tmp_path)
    store = Store(request.param, url)
    async with opened() as theirs:
        store.clock.time = theirs.clock.at
        overage = Exhaustion(overage=Overage(price=150))
        ledger = await store.open(catalog=change_plan(selling(), "pro", exhaustion=overage))
        means = Means(
            ledger=ledger, rows=ledger.rows, payments={"paypal": theirs.paypal}, clock=store.clock, ids=SystemIds(),
            secret=SECRET, address=lambda: "https://shop.test", patience=QUICK,
        )  # fmt: skip
        await ok(ledger, "acme", c.Open(plan="pro"))
        shop = open_shop(means)
        yield World(store, ledger, theirs, shop)
        await shop.clerk.stop()
        await store.close()


async def test_a_customer_who_comes_back_has_the_tokens(world: World) -> None:  # R-PACK-2, R-PACK-10
    bought = await world.buy()
    open_still = await world.shop.checkout.look("acme", bought.id)
    assert isinstance(open_still, Purchase)
    assert open_still.state == "pending"
    world.theirs.lab.book.approve(bought.checkout or "")
    back = await world.shop.checkout.look("acme", bought.id)
    assert isinstance(back, Purchase)
    assert (back.state, await world.balance()) == ("delivered", 700)
    await world.hear(times=3)
    assert await world.balance() == 700
    nobody = await world.shop.checkout.look("acme", "0" * 32)
    assert isinstance(nobody, Refusal)
    assert nobody.code == Code.UNKNOWN_PURCHASE


async def test_one_who_does_not_come_back_has_them_too(world: World) -> None:  # R-PACK-3
    bought = await world.buy()
    world.theirs.lab.book.approve(bought.checkout or "")
    await world.hear(times=2)
    await world.hear(times=2)
    found = await world.shop.checkout.purchase("acme", bought.id)
    assert found is not None
    assert (found.state, await world.balance()) == ("delivered", 700)
    assert (await world.ledger.verify()).findings == ()


async def test_one_who_leaves_has_nothing(world: World) -> None:  # R-PACK-3
    bought = await world.buy()
    left = await world.shop.checkout.cancel("acme", bought.id)
    assert isinstance(left, Purchase)
    assert (left.state, left.slot_until, await world.balance()) == ("abandoned", 0, 200)


async def test_a_plan_is_not_sold_there(world: World) -> None:
    refused = await world.shop.subscribing.start(Ask(organization="acme"), "enterprise")
    assert isinstance(refused, Refusal)
    assert refused.code == Code.CHECKOUT_FAILED


async def test_a_provider_that_is_away_changes_nothing(world: World) -> None:
    bought = await world.buy()
    world.theirs.lab.book.approve(bought.checkout or "")
    world.theirs.lab.faults += [("status", 503)] * 20
    later = await world.shop.checkout.look("acme", bought.id)
    assert isinstance(later, Refusal)
    assert (later.code, later.retry_after_ms) == (Code.CHECKOUT_FAILED, 5_000)
    unchanged = await world.shop.checkout.purchase("acme", bought.id)
    assert unchanged is not None
    assert (unchanged.state, await world.balance()) == ("pending", 200)
    world.theirs.lab.faults.clear()
    back = await world.shop.checkout.look("acme", bought.id)
    assert isinstance(back, Purchase)
    assert (back.state, await world.balance()) == ("delivered", 700)


@pytest.mark.parametrize("status", ["COMPLETED", "PENDING"])
async def test_a_refund_goes_the_whole_way(world: World, status: str) -> None:  # R-REF-5, R-REF-6
    bought = await world.buy()
    world.theirs.lab.book.approve(bought.checkout or "")
    await world.shop.checkout.look("acme", bought.id)
    await world.hear()
    world.theirs.lab.book.refund_status.append(status)
    row = await world.shop.refunding.quote("acme", bought.id, "technical")
    assert isinstance(row, Refund)
    done = await world.shop.refunding.accept("acme", row.id, "cash")
    assert isinstance(done, Refund)
    assert done.state == ("settled" if status == "COMPLETED" else "paying")
    assert await world.balance() == 200, "the tokens wait, or are gone"
    if status == "PENDING":
        [refund] = world.theirs.lab.book.refunds
        world.theirs.lab.book.settle_refund(refund)
    await world.hear(times=2)
    for _ in range(4):
        world.store.clock.time += 60_000
        await world.hear()
    found = await world.ledger.rows.get(Refund, row.id, "acme")
    assert found.state == "settled"
    assert await world.balance() == 200
    assert (await world.ledger.verify()).findings == ()


async def test_a_larger_pack_goes_back_over_both_payments(world: World) -> None:  # R-REF-4, R-REF-5
    """The payment of the difference is through at once; that of the first pack is pending, and then told by webhook."""
    small = await world.buy()
    world.theirs.lab.book.approve(small.checkout or "")
    await world.shop.checkout.look("acme", small.id)
    row = await world.shop.refunding.quote("acme", small.id, "technical")
    assert isinstance(row, Refund)
    taken = await world.shop.refunding.accept("acme", row.id, "upgrade", "token_pack_2000")
    assert isinstance(taken, Refund)
    large = await world.ledger.rows.get(Purchase, taken.upgrade or "", "acme")
    assert large is not None
    world.theirs.lab.book.approve(large.checkout or "")
    await world.shop.checkout.look("acme", large.id)
    await world.hear()
    assert await world.balance() == 2_200
    world.theirs.lab.book.refund_status += ["COMPLETED", "PENDING"]
    row = await world.shop.refunding.quote("acme", large.id, "technical")
    assert isinstance(row, Refund)
    assert row.quote.amount == 7_900
    done = await world.shop.refunding.accept("acme", row.id, "cash")
    assert isinstance(done, Refund)
    assert done.state == "paying"
    first, second = world.theirs.lab.book.refunds
    world.theirs.lab.book.settle_refund(second)
    await world.hear(times=2)
    for _ in range(4):
        world.store.clock.time += 60_000
        await world.hear()
    assert len(world.theirs.lab.book.refunds) == 2
    found = await world.ledger.rows.get(Refund, row.id, "acme")
    assert found is not None
    assert (found.state, found.money) == ("settled", 7_900)
    assert await world.balance() == 200
    rows = [await world.ledger.rows.get(Purchase, one.id, "acme") for one in (small, large)]
    assert [(one.state, one.refunded) for one in rows if one] == [("refunded", 2_900), ("refunded", 5_000)]
    assert first != second
    assert (await world.ledger.verify()).findings == ()
