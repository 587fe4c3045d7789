"""Credit on renewals at Stripe: the official SDK over a real socket to the lab, each webhook twice and in any order.

R-REF-4, R-PACK-3, R-PLAT-1.
"""

from dataclasses import replace

import pytest

from tests.flows.test_credit_at_providers import charged, credit, gift
from tests.flows.test_with_stripe import ENTERPRISE, PRO, World, store, world
from tests.support.stripe import DECLINED, VISA
from tests.support.stripe_shapes import post
from tests.support.tripwire import Crash, Wire
from tokentill.flows.shop import open_shop
from tokentill.ports import Inbound
from tokentill.rules.purchases import Purchase, next_step
from tokentill.rules.receipts import Receipt
from tokentill.rules.refund_rows import Refund

__all__ = ["store", "world"]

HOUR_MS = 3_600_000
CREDIT = 5_000
REST = PRO - CREDIT


async def subscribed(world: World, has: int, card: str = VISA, plan: str = "pro") -> None:
    """A plan by subscription, so much credit, and the card that the next invoice is collected from."""
    await world.begin("starter")
    ordered = await world.subscribe(plan)
    world.lab.pay(ordered.checkout or "", VISA)
    await world.hear()
    await gift(world.ledger, has)
    subscription = await world.shop.subscribing.current("acme")
    assert subscription is not None
    if card != VISA:
        world.lab.change_card(subscription.ref, card)


async def an_hour(world: World) -> None:
    world.clock.time += HOUR_MS
    world.lab.catch_up()
    await world.hear()


async def renewal(world: World) -> Purchase:
    [found] = [row for row in await world.shop.checkout.history("acme") if row.kind == "renewal"]
    return found


def drafts(world: World) -> list[tuple[str, int]]:
    """The newest invoice, as where it stands and what is due."""
    return [(one["status"], one["amount_due"]) for one in world.lab.world.all("invoice")[:1]]


@pytest.mark.parametrize(("has", "rest"), [(CREDIT, REST), (PRO - 20, 50), (20_000, 0)])
async def test_credit_pays_for_a_renewal_and_comes_back_with_it(world: World, has: int, rest: int) -> None:
    """In part, all but less than Stripe takes, and all; then it is given back, money as money and credit as credit."""
    used = PRO - rest
    await subscribed(world, has)
    await world.days(30)
    due = await renewal(world)
    assert (due.state, due.amount, due.credit_used) == ("created", rest, used)
    assert (drafts(world), await credit(world.ledger)) == ([("draft", rest)], has - used)
    await an_hour(world)
    paid = await renewal(world)
    assert (paid.state, paid.amount, paid.list_amount, paid.credit_used) == ("delivered", rest, PRO, used)
    assert (paid.flagged, await world.stand()) == (None, ("pro", 200, False))
    assert charged(world) == ([PRO, rest] if rest else [PRO])
    row = await world.shop.refunding.quote("acme", paid.id, "unused")
    assert isinstance(row, Refund), row
    done = await world.shop.refunding.accept("acme", row.id, "cash")
    assert isinstance(done, Refund)
    assert (done.state, done.money, done.credit) == ("settled", rest, used)
    await world.hear()
    assert [one["amount"] for one in world.lab.world.all("refund")] == ([rest] if rest else [])
    assert (await credit(world.ledger), await world.stand()) == (has, (None, 0, False))
    await world.clean()


async def test_a_draft_that_is_told_too_late_is_collected_whole(world: World) -> None:
    """The till was away for a day; nothing is lost, and a month later credit pays for another plan (R-PLAN-4)."""
    await subscribed(world, CREDIT, plan="enterprise")
    await world.days(31)
    late = await renewal(world)
    assert (late.state, late.amount, late.credit_used) == ("delivered", ENTERPRISE, 0)
    assert (charged(world), await credit(world.ledger)) == ([ENTERPRISE, ENTERPRISE], CREDIT)
    assert isinstance(await world.shop.subscribing.downgrade("acme", "pro"), Receipt)
    await world.hear()
    await world.days(30)
    assert await world.stand() == ("enterprise", 2000, False)
    await an_hour(world)
    assert (charged(world), await credit(world.ledger)) == ([ENTERPRISE, ENTERPRISE, REST], 0)
    assert await world.stand() == ("pro", 200, False)
    await world.clean()


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_process_that_dies_as_it_takes_the_credit_off(world: World, when: str) -> None:
    """Another goes on two days later, when Stripe has collected the invoice and forgotten the key: off once, or not."""
    await subscribed(world, CREDIT)
    world.clock.time += 30 * 24 * HOUR_MS
    world.lab.catch_up()
    wire = Wire(1, only=f"{when} stripe.apply_credit")
    means = world.shop.means
    doomed = open_shop(replace(means, payments={"stripe": wire.across(means.payments["stripe"], "stripe")}))
    waiting = world.lab.webhooks()
    [draft] = [one for one in waiting if one.type == "invoice.created"]
    with pytest.raises(Crash):
        await doomed.take_in("stripe", Inbound(draft.body, draft.headers))
    assert drafts(world) == [("draft", PRO if when == "before" else REST)]
    assert ((await renewal(world)).doing, await credit(world.ledger)) == ("apply_credit", 0)
    world.clock.time += 48 * HOUR_MS
    world.lab.catch_up()
    await world.hear()
    await world.hear()
    done = await renewal(world)
    rest, left = (PRO, CREDIT) if when == "before" else (REST, 0)
    assert (done.state, done.amount, done.credit_used, done.flagged) == ("delivered", rest, PRO - rest, None)
    assert (charged(world), await credit(world.ledger)) == ([PRO, rest], left)
    assert len(world.lab.world.all("invoiceitem")) == (0 if when == "before" else 1)
    assert (await world.stand(), next_step(done)) == (("pro", 200, False), None)
    await world.clean()


@pytest.mark.parametrize("end", ["paid", "voided"])
async def test_a_renewal_that_fails_keeps_its_credit_while_it_is_owed(world: World, end: str) -> None:
    """R-LIC-1, R-LIC-3: the rest is owed and AI is off; paid later it is delivered, voided the credit is back."""
    await subscribed(world, CREDIT, DECLINED)
    await world.days(30)
    await an_hour(world)
    owed = await renewal(world)
    assert (owed.state, owed.amount, await credit(world.ledger)) == ("failed", REST, 0)
    assert (drafts(world), await world.stand()) == ([("open", REST)], ("pro", 0, True))
    if end == "paid":
        world.lab.pay_invoice(owed.invoice or "", VISA)
        await world.hear()
        assert ((await renewal(world)).state, await world.stand()) == ("delivered", ("pro", 200, False))
        assert (charged(world), await credit(world.ledger)) == ([PRO, REST], 0)
    else:
        await post(world.lab, f"invoices/{owed.invoice}/void", {})
        await world.hear()
        over = await renewal(world)
        assert (over.state, over.done) == (
            "abandoned",
            ("spend_credit", "apply_credit", "freeze", "return_credit", "restore"),
        )
        assert (charged(world), await credit(world.ledger)) == ([PRO], CREDIT)
    await world.clean()
