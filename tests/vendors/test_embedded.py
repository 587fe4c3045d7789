"""The embedded provider through the real flows: what each test card leads to (R-PLAT-1, R-PACK-2, R-PACK-3)."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.desk import SECRET
from tests.support.shops import World, selling
from tests.support.stores import Store
from tokentill.flows.checkout import Ask
from tokentill.flows.testclock import tell
from tokentill.ports import BadSignature, Inbound, Order, Paying, Started, VendorRefused
from tokentill.rules.happenings import Refunded
from tokentill.rules.purchases import Purchase
from tokentill.rules.rows import Payer
from tokentill.vendors.embedded.provider import Embedded
from tokentill.vendors.embedded.signing import SIGNATURE

ALLOWANCE = 200
GOOD, DECLINED, CONFIRMS = "4242 4242 4242 4242", "4000000000000002", "4000002500003155"
DISPUTES, SUSPECTED, ONCE = "4000000000000259", "4000000000005423", "4000000000000341"


class Trying(World):
    """Organizations that buy at the embedded provider."""

    def __init__(self, store: Store, ledger: Any) -> None:
        embedded: Any = Embedded(ledger.rows, SECRET, store.clock, lambda: "http://till.test")
        super().__init__(store, ledger, embedded)
        self.embedded: Embedded = embedded

    async def deliver(self, paying: Paying) -> Paying:
        await tell(self.embedded, paying, self.shop.receive)
        await self.settle()
        return paying

    async def bought(self, card: str, **more: Any) -> Purchase:
        """A pack ordered and paid by `card`."""
        ordered = await self.place(self.order("acme", **more), save_method=True)
        assert ordered.checkout is not None
        await self.deliver(await self.embedded.pay(ordered.checkout, card))
        return await self.purchase(ordered)

    async def dispute(self, purchase: Purchase, state: Any) -> Purchase:
        await self.deliver(await self.embedded.dispute(purchase.checkout or "", state))
        return await self.purchase(purchase)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[Trying]:
    store = Store("memory", ":memory:")
    made = Trying(store, await store.open(catalog=selling()))
    await made.begin("acme")
    yield made
    await made.clean()
    await made.shop.close()
    await store.close()


async def test_a_good_card_pays_and_the_tokens_are_there(world: Trying) -> None:  # R-PACK-3, R-PACK-10
    paid = await world.bought(GOOD)
    assert (paid.state, paid.url) == ("delivered", f"http://till.test/checkout/{paid.checkout}")
    assert await world.balance("acme") == ALLOWANCE + 500


async def test_a_declined_card_pays_nothing_and_another_may_follow(world: Trying) -> None:  # R-PACK-3
    declined = await world.bought(DECLINED)
    assert (declined.state, declined.decline_code, await world.balance("acme")) == (
        "pending",
        "card_declined",
        ALLOWANCE,
    )
    await world.deliver(await world.embedded.pay(declined.checkout or "", GOOD))
    assert (await world.purchase(declined)).state == "delivered"
    assert await world.balance("acme") == ALLOWANCE + 500


async def test_a_card_may_ask_for_a_confirmation(world: Trying) -> None:  # R-PACK-3
    asked = await world.bought(CONFIRMS)
    assert (asked.state, await world.balance("acme")) == ("pending", ALLOWANCE)
    await world.deliver(await world.embedded.confirm(asked.checkout or ""))
    assert (await world.purchase(asked)).state == "delivered"


async def test_no_real_card_is_accepted(world: Trying) -> None:  # R-PLAT-1
    ordered = await world.place(world.order("acme"))
    assert await world.embedded.pay(ordered.checkout or "", "5555555555554444") == Paying(
        "open", code="not_a_test_card"
    )


async def test_a_dispute_sets_aside_and_its_outcome_gives_back_or_takes(world: Trying) -> None:  # R-REF-6
    paid = await world.bought(DISPUTES)
    assert (paid.state, await world.balance("acme")) == ("disputed", ALLOWANCE)
    won = await world.dispute(paid, "won")
    assert (won.state, await world.balance("acme")) == ("delivered", ALLOWANCE + 500)
    lost = await world.dispute(await world.bought(DISPUTES), "lost")
    assert (lost.state, await world.balance("acme")) == ("charged_back", ALLOWANCE + 500)
    assert "dispute" in " ".join(await world.alerts())


async def test_an_early_fraud_warning_raises_an_alert_and_takes_nothing(world: Trying) -> None:  # R-PACK-4
    paid = await world.bought(SUSPECTED)
    assert (paid.state, await world.balance("acme")) == ("delivered", ALLOWANCE + 500)
    assert await world.alerts()


async def test_a_checkout_that_was_cancelled_cannot_be_paid(world: Trying) -> None:  # R-PACK-3
    ordered = await world.place(world.order("acme"))
    await world.deliver(await world.embedded.cancel(ordered.checkout or ""))
    assert (await world.purchase(ordered)).state == "abandoned"
    assert (await world.embedded.pay(ordered.checkout or "", GOOD)).state == "expired"
    assert (await world.embedded.cancel("nobody")).state == "unknown"


async def test_the_same_key_begins_the_same_checkout(world: Trying) -> None:  # R-PACK-2
    order = Order(
        purchase=world.order("acme"), success_url="https://shop.test/", cancel_url="https://shop.test/"
    )
    first, again = await world.embedded.checkout(order, "key"), await world.embedded.checkout(order, "key")
    assert first == again != await world.embedded.checkout(order, "another key")


async def test_a_saved_card_pays_in_one_click_unless_it_is_declined_later(world: Trying) -> None:  # R-SALE-3
    for card, state in ((GOOD, "paid"), (ONCE, "declined")):
        await world.bought(card)
        [payer] = [
            row
            for row in await world.rows.find(Payer, {"organization": "acme"})
            if row.saved == card.replace(" ", "")
        ]
        order = Order(purchase=world.order("acme", mode="saved"), success_url="", cancel_url="")
        told = await world.embedded.charge_saved(order, payer, f"click {card}")
        again = await world.embedded.charge_saved(order, payer, f"click {card}")
        assert not isinstance(told, Started)
        assert [fact.__struct_config__.tag for fact in told] == [state]
        assert state == "declined" or told == again


async def test_never_more_is_given_back_than_was_paid(world: Trying) -> None:  # R-REF-5
    paid = await world.bought(GOOD)
    [fact] = await world.embedded.refund(paid, 1000, "first")
    assert getattr(fact, "refunded", None) == 1000
    for wrong in (2901, 0, -1):
        with pytest.raises(VendorRefused):
            await world.embedded.refund(paid, wrong, "second")
    [unpaid] = [await world.place(world.order("acme"))]
    with pytest.raises(VendorRefused):
        await world.embedded.refund(unpaid, 1, "third")


@pytest.mark.parametrize("what", ["unsigned", "altered", "forged", "stale", "future", "garbage"])
async def test_an_event_that_is_not_ours_is_refused(world: Trying, what: str) -> None:  # R-PACK-3
    ordered = await world.place(world.order("acme"))
    [event] = (await world.embedded.pay(ordered.checkout or "", GOOD)).events
    now = world.clock.now() + {"stale": 300_001, "future": -300_001}.get(what, 0)
    changed = {
        "unsigned": Inbound(event.body, {}),
        "altered": Inbound(event.body.replace(b"2900", b"1"), event.headers),
        "forged": Inbound(event.body, {SIGNATURE: f"t={world.clock.now()},v1={'0' * 64}"}),
        "garbage": Inbound(event.body, {SIGNATURE: "t=soon,v1=é"}),
    }
    with pytest.raises(BadSignature):
        await world.embedded.event(changed.get(what, event), now)
    await world.shop.receive("embedded", event)
    await world.settle()


async def test_a_later_invoice_is_given_back_once_under_a_key_and_never_beyond(
    world: Trying,
) -> None:  # R-REF-5
    await world.begin("beta", plan="starter")
    ordered = await world.shop.subscribing.start(Ask(organization="beta"), "pro")
    assert isinstance(ordered, Purchase)
    await world.deliver(await world.embedded.pay(ordered.checkout or "", GOOD))
    world.clock.time += 40 * 86_400_000
    await world.settle()
    [renewal] = [row for row in await world.purchases("beta") if row.kind == "renewal"]
    for _ in range(2):
        [fact] = await world.embedded.refund(renewal, 4_900, "one")
        assert (fact.refunded, fact.payment) == (4_900, renewal.payment)  # type: ignore[union-attr]  # it is a refund
    with pytest.raises(VendorRefused, match="10000 can still be given back"):
        await world.embedded.refund(renewal, 10_001, "two")
    [fact] = await world.embedded.refund(renewal, 10_000, "two")
    assert await world.embedded.look(renewal) == (fact,)
    first = await world.purchase(ordered)
    assert not [one for one in await world.embedded.look(first) if isinstance(one, Refunded)]
