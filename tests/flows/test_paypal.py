"""A shop that sells by PayPal, on both engines: from the order to usable tokens, whatever is lost, forged or repeated.

Requirement ids: R-PACK-2, R-PACK-3, R-PLAT-1, R-REF-6.
"""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from msgspec.structs import replace

from tests.support.paypal import Checked
from tests.support.paypal_world import authority
from tests.support.shops import World
from tokentill.flows.pay import Terms
from tokentill.flows.shop import Shop
from tokentill.lab.paypal.server import Lab, serving
from tokentill.ports import BadSignature, Inbound
from tokentill.rules.purchases import Purchase, next_step
from tokentill.rules.refusals import Refusal
from tokentill.rules.rows import Payer, ProviderEvent
from tokentill.vendors.paypal.provider import PayPal

PACK = 500
MINUTE = 60_000


@dataclass
class Selling:
    """A shop with PayPal, and the PayPal."""

    world: World
    shop: Shop
    lab: Lab
    paypal: PayPal

    async def ordered(self, organization: str) -> Purchase:
        return await self.world.place(self.world.order(organization, provider="paypal"), shop=self.shop)

    async def told(self, *webhooks: Inbound) -> None:
        for webhook in webhooks:
            await self.shop.take_in("paypal", webhook)

    def approved(self, purchase: Purchase) -> list[Inbound]:
        self.lab.book.approve(purchase.checkout or "")
        return self.lab.outbox.take()


@pytest.fixture
async def selling(shop_world: World) -> AsyncIterator[Selling]:
    lab = Lab(shop_world.clock.now, authority())
    checked = Checked(lab)
    async with serving(lab, checked) as base:
        paypal = PayPal(
            lab.client_id, lab.secret, lab.webhook_id, base, shop_world.clock, ca_bundle=authority().bundle
        )
        shop = shop_world.open(provider=paypal)
        yield Selling(shop_world, shop, lab, paypal)
        await shop.close()
    await shop_world.clean()
    assert checked.misfits == []


async def test_a_webhook_of_the_approval_brings_usable_tokens(selling: Selling) -> None:
    world = selling.world
    await world.begin("acme")
    before = await world.balance("acme")
    purchase = await selling.ordered("acme")
    assert (purchase.state, await world.balance("acme")) == ("pending", before)
    await selling.told(*selling.approved(purchase))
    assert (await world.purchase(purchase)).state == "delivered"
    assert await world.balance("acme") == before + PACK
    await selling.told(*selling.lab.outbox.take())
    assert await world.balance("acme") == before + PACK
    assert await world.events() == {"done": 3}
    [payer] = await world.rows.find(Payer, {"organization": "acme"})
    assert (payer.provider, payer.saved, payer.label) == ("paypal", None, "PayPal")


async def test_without_any_webhook_the_clerk_finds_the_approval(selling: Selling) -> None:
    world = selling.world
    await world.begin("acme")
    before = await world.balance("acme")
    purchase = await selling.ordered("acme")
    selling.approved(purchase)
    world.clock.time += MINUTE
    await world.settle(selling.shop)
    assert await world.balance("acme") == before + PACK


async def test_a_hundred_of_each_event_at_once_are_one_delivery(selling: Selling) -> None:
    world = selling.world
    await world.begin("acme")
    before = await world.balance("acme")
    purchase = await selling.ordered("acme")
    approved = selling.approved(purchase)
    await asyncio.gather(*(selling.shop.receive("paypal", webhook) for webhook in approved * 100))
    await world.settle(selling.shop)
    later = selling.lab.outbox.take()
    await asyncio.gather(*(selling.shop.receive("paypal", webhook) for webhook in later * 100))
    await world.settle(selling.shop)
    assert await world.balance("acme") == before + PACK
    assert await world.events() == {"done": 3}
    assert selling.lab.book.taken == 1


async def test_webhook_and_look_at_the_same_time_are_one_delivery(selling: Selling) -> None:
    world = selling.world
    names = [f"org_{number}" for number in range(8)]
    await world.begin(*names)
    before = {name: await world.balance(name) for name in names}
    purchases = [await selling.ordered(name) for name in names]
    webhooks = [webhook for purchase in purchases for webhook in selling.approved(purchase)]
    world.clock.time += MINUTE
    await asyncio.gather(
        world.settle(selling.shop),
        *(selling.shop.receive("paypal", webhook) for webhook in webhooks),
    )
    world.clock.time += MINUTE
    await world.settle(selling.shop)
    await selling.told(*selling.lab.outbox.take())
    assert {name: await world.balance(name) - before[name] for name in names} == dict.fromkeys(names, PACK)
    assert selling.lab.book.taken == len(names)


async def test_a_whole_life_in_any_order(selling: Selling, run_seed: int) -> None:
    """Approval, payment, refund and a dispute that is won: twelve organizations hear of them in orders of their own."""
    world = selling.world
    chance = random.Random(run_seed)
    names = [f"org_{number:02d}" for number in range(12)]
    await world.begin(*names)
    ends = set()
    for name in names:
        purchase = await selling.ordered(name)
        told = selling.approved(purchase)
        await selling.paypal.look(purchase)
        capture = list(selling.lab.book.captures)[-1]
        await selling.paypal.refund(replace(purchase, payment=capture), 900, f"refund-{name}")
        dispute = selling.lab.book.dispute(capture)
        selling.lab.book.resolve(dispute, "RESOLVED_SELLER_FAVOUR")
        told += selling.lab.outbox.take()
        assert len(told) == 6
        await selling.told(*chance.sample(told * 2, 12))
        found = await world.purchase(purchase)
        assert next_step(found) is None
        ends.add((found.state, found.refunded, found.done.count("deliver"), await world.balance(name)))
        selling.world.clock.time += MINUTE
    assert len(ends) == 1, ends
    assert selling.lab.book.taken == len(names)


async def test_a_lost_dispute_takes_the_tokens_back(selling: Selling) -> None:
    world = selling.world
    await world.begin("acme")
    before = await world.balance("acme")
    purchase = await selling.ordered("acme")
    await selling.told(*selling.approved(purchase))
    await selling.told(*selling.lab.outbox.take())
    dispute = selling.lab.book.dispute(list(selling.lab.book.captures)[-1])
    await selling.told(*selling.lab.outbox.take())
    assert await world.balance("acme") == before
    selling.lab.book.resolve(dispute, "RESOLVED_BUYER_FAVOUR")
    await selling.told(*selling.lab.outbox.take())
    assert (await world.purchase(purchase)).state == "charged_back"
    assert await world.balance("acme") == before


async def test_forged_altered_and_misdirected_webhooks_leave_no_row(selling: Selling) -> None:
    world = selling.world
    await world.begin("acme")
    purchase = await selling.ordered("acme")
    [true] = selling.approved(purchase)
    wrong = [
        Inbound(true.body.replace(b"APPROVED", b"COMPLETE"), true.headers),
        Inbound(true.body, {}),
        selling.lab.outbox.signed(true.body, webhook="ANOTHER"),
        selling.lab.outbox.signed(true.body, transmission_time="2020-01-01T00:00:00Z"),
        selling.lab.outbox.signed(true.body, cert_url="https://evil.example/v1/notifications/certs/CERT-1"),
    ]
    for webhook in wrong:
        with pytest.raises(BadSignature):
            await selling.shop.receive("paypal", webhook)
    assert await world.rows.find(ProviderEvent, {}, limit=10) == []
    assert selling.lab.book.taken == 0


async def test_a_checkout_that_cannot_start_leaves_nothing_pending(selling: Selling) -> None:
    world = selling.world
    await world.begin("acme")
    selling.lab.faults += [("status", 503)] * 10
    placed = await selling.shop.checkout.place(world.order("acme", provider="paypal"), (), Terms())
    assert isinstance(placed, Refusal)
    [row] = await world.purchases("acme")
    assert row.state == "abandoned"
    selling.lab.faults.clear()
    saving = await selling.shop.checkout.place(
        world.order("acme", provider="paypal"), (), Terms(save_method=True)
    )
    assert isinstance(saving, Refusal)
    assert "PayPal" in saving.message


async def test_a_checkout_that_was_cancelled_is_not_paid_though_the_customer_approves(
    selling: Selling,
) -> None:
    world = selling.world
    await world.begin("acme")
    before = await world.balance("acme")
    purchase = await selling.ordered("acme")
    ended = await selling.shop.checkout.cancel("acme", purchase.id)
    assert isinstance(ended, Purchase)
    assert ended.state == "abandoned"
    await selling.told(*selling.approved(purchase))
    assert (selling.lab.book.taken, await world.balance("acme")) == (0, before)


async def test_an_outage_of_paypal_delays_and_loses_nothing(selling: Selling) -> None:
    world = selling.world
    await world.begin("acme")
    before = await world.balance("acme")
    purchase = await selling.ordered("acme")
    [webhook] = selling.approved(purchase)
    await selling.paypal.event(webhook, world.clock.time)  # the certificate is known from now on
    selling.lab.faults += [("status", 503), ("cut", 0), ("", 0), ("cut", 0)]
    await selling.told(webhook)
    assert await world.events() == {"waiting": 1}
    for _ in range(8):
        world.clock.time += MINUTE
        with contextlib.suppress(TimeoutError):
            await world.settle(selling.shop)
    assert await world.balance("acme") == before + PACK
    assert selling.lab.book.taken == 1
