"""Selling through each face of the till: in this process, over HTTP, and without async."""

from __future__ import annotations

from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest

from tests.client.conftest import World
from tests.support.desk import DAY
from tokentill.client import Code, NotHere, Refused, Till
from tokentill.flows.testclock import tell
from tokentill.ports import EmbeddedPayments
from tokentill.settings import Settings
from tokentill.wiring import make_ledger, secret_of

CARD = "4242424242424242"


async def pay(world: World, url: str) -> None:
    """The customer pays on the test page."""
    embedded = world.shop.means.payments["embedded"]
    assert isinstance(embedded, EmbeddedPayments)
    await tell(embedded, await embedded.pay(url.rpartition("/")[2], CARD), world.shop.take_in)


async def refused(asked: Awaitable[Any]) -> Refused:
    with pytest.raises(Refused) as raised:
        await asked
    return raised.value


async def test_from_the_offer_to_the_tokens(world: World) -> None:
    """R-PACK-1, R-PACK-2, R-PACK-6, R-PACK-7."""
    till = world.till
    assert (await refused(till.portal("acme", "https://shop.example"))).code is Code.NOT_POSSIBLE
    offers = await till.packs("acme", missing=600)
    assert (offers.recommended, offers.need, offers.currency) == ("token_pack_2000", 600, "USD")
    order = await till.buy("acme", "token_pack_500", save_method=True, idempotency_key="order 1")
    assert (order.state, order.amount) == ("pending", 2900)
    assert order.url is not None
    assert await till.buy("acme", "token_pack_500", save_method=True, idempotency_key="order 1") == order
    await pay(world, order.url)
    paid = await till.purchase("acme", order.id)
    assert (paid.state, paid.url, paid.tokens) == ("delivered", None, 500)
    assert await world.remaining() == 700
    assert (await till.look_at_purchase("acme", order.id)).state == "delivered"

    [method] = await till.payment_methods("acme")
    again = await till.buy("acme", "token_pack_500", payer=method.id)
    assert (again.state, again.mode) == ("delivered", "saved")
    world.clock.wait(1_000)
    assert {one.id for one in (await till.purchases("acme")).purchases} == {order.id, again.id}
    late = await refused(till.buy("acme", "token_pack_500", one_click=True))
    assert late.code is Code.PACK_LIMIT
    assert late.refusal.retry_after_ms is not None

    on = await till.set_topup("acme", threshold=50, pack="token_pack_500", ceiling=5_000)
    assert (on.enabled, on.use_credit, (await till.topup("acme")).threshold) == (True, True, 50)
    kept = await till.set_topup("acme", threshold=50, pack="token_pack_500", ceiling=5_000, use_credit=False)
    assert kept.use_credit is False
    assert (await till.stop_topup("acme")).enabled is False
    assert list(await till.forget_payment_method("acme", method.id)) == []
    assert "/test-portal?link=" in await till.portal("acme", "https://shop.example")


async def test_a_refusal_of_the_shop_is_the_same_value_everywhere(world: World) -> None:
    """R-ABU-7, R-LED-10: what is not valid is refused alike, here and over HTTP."""
    till = world.till
    for asked, code, detail in (
        (till.buy("acme", "nothing"), Code.UNKNOWN_PACK, "nothing"),
        (till.buy("acme"), Code.INVALID, "pack"),
        (till.buy("acme", "token_pack_500", success_url="nowhere"), Code.INVALID, "success_url"),
        (till.purchase("acme", "nothing"), Code.UNKNOWN_PURCHASE, None),
        (till.packs("nobody"), Code.UNKNOWN_ORGANIZATION, None),
        (till.set_contact("acme", "no address"), Code.INVALID, "email"),
        (till.redeem("acme", "NONE"), Code.CODE_INVALID, None),
    ):
        found = (await refused(asked)).refusal
        assert (found.code, found.detail) == (code, detail)


async def test_subscriptions_and_the_clock(world: World) -> None:
    """R-PLAN-4, R-PLAT-1."""
    till = world.till
    await till.open("sim", plan="starter", simulated=True)
    order = await till.buy("sim", plan="pro")
    assert order.url is not None
    await pay(world, order.url)
    assert (await till.subscription("sim")).plan == "pro"
    moved = await till.move_clock("sim", world.clock.now() + 40 * DAY)
    assert moved.invoices == 1
    up = await till.change_subscription("sim", "enterprise")
    assert up.purchase is not None
    assert up.purchase.state == "delivered"
    down = await till.change_subscription("sim", "pro")
    assert down.subscription.next_plan == "pro"
    left = await till.cancel_subscription("sim")
    assert left.subscription.ends_at is not None


async def test_the_office(world: World) -> None:
    """R-PACK-8, R-PACK-9, R-PLAN-8."""
    till = world.till
    made = await till.create_codes("fair", 40, count=2)
    assert (await till.redeem("acme", made.codes[0])).state == "delivered"
    listed = (await till.codes("fair")).codes
    free = next(one for one in listed if one.used_at is None)
    assert (await till.revoke_code(free.id)).revoked
    off = await till.switch("packs", on=False, reason="a wrong price")
    assert (off.on, off.actor) == (False, "backend")
    assert [one.switch for one in await till.switches() if not one.on] == ["packs"]
    await world.shop.means.alert("acme", "dead_event", "e1", "Look.")
    [alert] = (await till.alerts()).alerts
    assert (await till.see_alert(alert.id)).seen_by == "backend"
    assert len((await till.alerts(seen=True)).alerts) == 1
    assert (await till.set_contact("acme", "ann@acme.example", quiet=["balance.low"])).name == ""
    assert (await till.contact("acme")).email == "ann@acme.example"
    assert await till.forget_contact("acme")
    for organization in (None, "acme"):
        added = await till.add_endpoint("https://hooks.example.com/", organization=organization)
        assert added.secret.startswith("whsec_")
        assert [one.id for one in await till.endpoints(organization)] == [added.id]
        assert await till.remove_endpoint(added.id, organization=organization)
    assert (await till.messages()).messages == ()
    assert (await refused(till.send_message("none"))).code is Code.NOT_POSSIBLE
    assert (await till.events()).events == ()
    assert (await refused(till.retry_event("none"))).code is Code.NOT_POSSIBLE


async def test_an_invoice_that_is_not_open_cannot_be_paid(world: World) -> None:
    """R-PLAN-6."""
    order = await world.till.buy("acme", "token_pack_500")
    assert (await refused(world.till.pay_invoice("acme", order.id))).code is Code.NOT_POSSIBLE
    assert (await world.till.cancel_purchase("acme", order.id)).state == "abandoned"


async def test_a_till_from_a_ledger_alone_sells_nothing(tmp_path: Path) -> None:
    settings = Settings(database=str(tmp_path / "till.db"), catalog="goals")
    ledger = await make_ledger(settings)
    async with Till.over(ledger, secret_of(settings), tmp_path / "spool") as till:
        await till.open("acme")
        with pytest.raises(NotHere):
            await till.packs("acme")
        with pytest.raises(NotHere):
            await till.open("sim", simulated=True)


async def test_an_embedded_till_sells_and_may_work_on_what_is_due(tmp_path: Path) -> None:
    """R-PLAT-5."""
    async with Till.embedded(tmp_path / "till.db", catalog="goals", clerk=True) as till:
        await till.open("acme", plan="pro")
        order = await till.buy("acme", "token_pack_500")
        assert order.url is not None
        assert order.url.startswith("http://127.0.0.1:8420/checkout/")
