"""Plans billed by Stripe: begun, renewed, failed and paid again, changed now or later, ended."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest

from tests.support.stripe import ASKS_ALWAYS, DECLINED, T0, VISA, Desk, key, order, plan, purchase
from tokentill.ports.shop import Order, Started, VendorRefused
from tokentill.rules import happenings as h
from tokentill.rules.purchases import Purchase, merge
from tokentill.rules.rows import Subscription

DAY = 86_400
MONTH = 32 * DAY


async def subscribed(desk: Desk, bought: Order | None = None, card: str = VISA) -> Subscription:
    """A plan that is paid, as the till remembers it; its events are heard."""
    started = await desk.payments.checkout(bought or order(plan(), interval="month"), key(1))
    done = desk.lab.pay(started.checkout, card)
    assert "error" not in done
    await desk.hear()
    name = done["subscription"]
    return Subscription(id=f"stripe:{name}", provider="stripe", ref=name, plan="pro", status="active")


def upgrade(amount: int = 30_000, credit: int = 10_000, **more: object) -> Order:
    bought = purchase(
        7, kind="upgrade", item="enterprise", title="Enterprise", amount=amount, credit=credit, slot_ms=0
    )
    return order(bought, interval="month", **more)


def invoices(facts: Sequence[h.AnyHappening]) -> list[h.InvoicePaid]:
    return [fact for fact in facts if isinstance(fact, h.InvoicePaid)]


def standing(facts: Sequence[h.AnyHappening]) -> h.Subscribed:
    return [fact for fact in facts if isinstance(fact, h.Subscribed)][-1]


def merged(of: Purchase, facts: Sequence[h.AnyHappening]) -> Purchase:
    for fact in facts:
        if fact.purchase == of.id:
            of = merge(of, fact)
    return of


# Beginning and renewing


async def test_a_plan_begins(desk: Desk) -> None:  # R-PLAN-4
    begun = plan()
    started = await desk.payments.checkout(order(begun, interval="month", email="ada@example.com"), key(1))
    desk.lab.pay(started.checkout, VISA)
    facts = await desk.hear()
    [paid] = invoices(facts)
    assert (paid.purchase, paid.organization, paid.plan) == (begun.id, "acme", "pro")
    assert (paid.amount, paid.currency, paid.reason, paid.start) == (14_900, "USD", "create", T0)
    assert paid.payment is not None
    assert paid.method is not None
    now = standing(facts)
    assert (now.plan, now.status, now.period_end, now.ended) == ("pro", "active", paid.end, False)
    assert now.saved is not None
    kept = [fact for fact in facts if isinstance(fact, h.Paid)]
    assert {(fact.saved, fact.label) for fact in kept} == {(now.saved, "visa •••• 4242")}
    assert merged(begun, facts).state == "paid"


async def test_a_declined_plan_is_a_declined_try_only(desk: Desk) -> None:  # R-PLAN-4
    started = await desk.payments.checkout(order(plan(), interval="month"), key(1))
    assert "error" in desk.lab.pay(started.checkout, DECLINED)
    assert await desk.hear() == []
    assert desk.lab.world.all("subscription") == []
    desk.lab.pay(started.checkout, VISA)
    assert merged(plan(), await desk.hear()).state == "paid"


async def test_renewals_are_purchases_of_their_own(desk: Desk) -> None:  # R-PLAN-4
    await subscribed(desk)
    desk.lab.advance(MONTH)
    desk.lab.advance(MONTH)
    renewals = invoices(await desk.hear())
    assert [(one.reason, one.purchase, one.organization) for one in renewals] == [("cycle", None, "acme")] * 2
    assert renewals[0].end == renewals[1].start
    assert renewals[0].invoice != renewals[1].invoice


async def test_a_year_of_renewals_in_one_step(desk: Desk) -> None:  # R-PLAN-4
    await subscribed(desk)
    desk.lab.advance(366 * DAY)
    renewals = invoices(await desk.hear())
    assert len(renewals) == 12
    assert all(one.end == two.start for one, two in itertools.pairwise(renewals))
    assert {one.at - one.start for one in renewals} == {3_600_000}, "each is a draft for an hour"


@pytest.mark.parametrize(
    ("interval", "days", "length"), [("year", 30, 365), ("days", 30, 30), ("days", 7, 7)]
)
async def test_other_rhythms(desk: Desk, interval: str, days: int, length: int) -> None:  # R-PLAN-4
    bought = order(plan(), interval=interval, interval_days=days)
    started = await desk.payments.checkout(bought, key(1))
    desk.lab.pay(started.checkout, VISA)
    [paid] = invoices(await desk.hear())
    assert paid.end - paid.start == length * DAY * 1000


async def test_a_trial_costs_nothing_until_it_ends(desk: Desk) -> None:
    begun = plan(amount=0, list_amount=14_900)
    started = await desk.payments.checkout(order(begun, interval="month", trial_days=14), key(1))
    desk.lab.pay(started.checkout, VISA)
    facts = await desk.hear()
    [free] = invoices(facts)
    assert (free.amount, free.payment, free.end - free.start) == (0, None, 14 * DAY * 1000)
    assert (standing(facts).status, standing(facts).trial_end) == ("trialing", free.end)
    desk.lab.advance(12 * DAY)
    assert [fact.status for fact in await desk.hear() if isinstance(fact, h.Subscribed)] == ["trialing"]
    desk.lab.advance(3 * DAY)
    [first] = invoices(await desk.hear())
    assert (first.amount, first.start, first.reason) == (14_900, free.end, "cycle")


async def test_a_promotion_is_for_the_first_payment_only(desk: Desk) -> None:  # R-PACK-8
    begun = plan(amount=9_900, list_amount=14_900, promo="SPRING")
    await subscribed(desk, order(begun, interval="month"))
    desk.lab.advance(MONTH)
    [renewal] = invoices(await desk.hear())
    assert renewal.amount == 14_900
    first = desk.lab.world.all("invoice")[-1]
    assert (first["subtotal"], first["total"]) == (14_900, 9_900)


# Failing and recovering


async def test_a_renewal_fails_and_is_paid_after_all(desk: Desk) -> None:  # R-LIC-1, R-LIC-3
    subscription = await subscribed(desk)
    desk.lab.change_card(subscription.ref, DECLINED)
    await desk.hear()
    desk.lab.advance(MONTH)
    facts = await desk.hear()
    [failed] = [fact for fact in facts if isinstance(fact, h.InvoiceFailed)]
    assert (failed.amount, failed.currency, failed.reason) == (14_900, "USD", "cycle")
    assert (failed.purchase, failed.organization, failed.subscription) == (None, "acme", subscription.ref)
    assert standing(facts).status == "past_due"
    debt = merge(purchase(2, kind="renewal", item="pro", amount=14_900, mode="invoice"), failed)
    assert debt.state == "failed"
    desk.lab.pay_invoice(failed.invoice, VISA)
    facts = await desk.hear()
    [paid] = invoices(facts)
    assert paid.invoice == failed.invoice
    assert merge(debt, paid).state == "paid"
    assert standing(await desk.payments.look(merge(debt, paid))).status == "active"


async def test_stripe_tries_again_by_itself(desk: Desk) -> None:  # R-LIC-3
    subscription = await subscribed(desk)
    desk.lab.change_card(subscription.ref, DECLINED)
    desk.lab.advance(MONTH)
    await desk.hear()
    desk.lab.change_card(subscription.ref, VISA)
    desk.lab.advance(4 * DAY)
    assert len(invoices(await desk.hear())) == 1


async def test_after_the_last_try_the_subscription_is_over(desk: Desk) -> None:  # R-LIC-1
    subscription = await subscribed(desk)
    desk.lab.change_card(subscription.ref, DECLINED)
    desk.lab.advance(MONTH + 20 * DAY)
    facts = await desk.hear()
    failed = [fact for fact in facts if isinstance(fact, h.InvoiceFailed)]
    assert len({fact.invoice for fact in failed}) == 1
    assert len(failed) == 4
    assert (standing(facts).status, standing(facts).ended) == ("canceled", True)


async def test_a_voided_invoice_is_a_debt_no_more(desk: Desk) -> None:  # R-LIC-3
    subscription = await subscribed(desk)
    desk.lab.change_card(subscription.ref, DECLINED)
    desk.lab.advance(MONTH)
    [failed] = [fact for fact in await desk.hear() if isinstance(fact, h.InvoiceFailed)]
    await desk.payments.gateway.v1.invoices.void_invoice_async(failed.invoice)
    [voided] = [fact for fact in await desk.hear() if isinstance(fact, h.InvoiceVoided)]
    assert (voided.invoice, voided.subscription, voided.organization) == (
        failed.invoice,
        subscription.ref,
        "acme",
    )


# Upgrading now


@pytest.mark.parametrize("credit", [0, 1, 10_000])
async def test_an_upgrade_costs_the_price_less_the_credit_exactly(
    desk: Desk, credit: int
) -> None:  # R-PLAN-4
    subscription = await subscribed(desk)
    desk.lab.advance(10 * DAY)
    bought = upgrade(amount=40_000 - credit, credit=credit)
    facts = await desk.payments.change_subscription(subscription, bought, credit, key(2))
    assert not isinstance(facts, Started)
    [paid] = invoices(facts)
    assert (paid.amount, paid.plan, paid.reason) == (40_000 - credit, "enterprise", "update")
    assert paid.start == T0 + 10 * DAY * 1000
    assert (standing(facts).plan, standing(facts).period_end) == ("enterprise", paid.end)
    known = merged(bought.purchase, facts)
    assert known.state == "paid"
    heard = await desk.hear()
    assert merged(known, heard) == known
    assert {one.purchase for one in invoices(heard)} == {bought.purchase.id}
    assert desk.lab.world.all("charge")[0]["amount"] == 40_000 - credit


async def test_after_an_upgrade_the_new_price_is_billed_whole(desk: Desk) -> None:  # R-PLAN-4
    subscription = await subscribed(desk)
    await desk.payments.change_subscription(subscription, upgrade(), 10_000, key(2))
    await desk.hear()
    desk.lab.advance(MONTH)
    [renewal] = invoices(await desk.hear())
    assert (renewal.amount, renewal.plan, renewal.purchase) == (40_000, "enterprise", None)


async def test_an_upgrade_under_one_key_is_charged_once(desk: Desk) -> None:
    subscription = await subscribed(desk)
    first = await desk.payments.change_subscription(subscription, upgrade(), 10_000, key(2))
    again = await desk.payments.change_subscription(subscription, upgrade(), 10_000, key(2))
    assert not isinstance(first, Started)
    assert not isinstance(again, Started)
    assert invoices(first) == invoices(again)
    assert len(desk.lab.world.all("charge")) == 2


async def test_an_upgrade_that_is_declined_changes_nothing(desk: Desk) -> None:  # R-PLAN-4
    subscription = await subscribed(desk)
    desk.lab.change_card(subscription.ref, DECLINED)
    await desk.hear()
    facts = await desk.payments.change_subscription(subscription, upgrade(), 10_000, key(2))
    assert isinstance(facts, list)
    [declined] = facts
    assert isinstance(declined, h.Declined)
    assert (declined.purchase, declined.code) == (upgrade().purchase.id, "generic_decline")
    assert not any(isinstance(fact, h.InvoicePaid | h.InvoiceFailed) for fact in await desk.hear())
    assert standing(await desk.payments.look(purchase(subscription=subscription.ref))).plan == "pro"
    assert [one["billing_reason"] for one in desk.lab.world.all("invoice")] == ["subscription_create"]
    assert desk.lab.world.all("invoiceitem") == []


async def test_a_declined_upgrade_keeps_what_was_planned(desk: Desk) -> None:  # R-PLAN-4
    subscription = await subscribed(desk)
    await desk.payments.renew_as(subscription, order(plan(8, "starter", 5_000), interval="year"), key(2))
    desk.lab.change_card(subscription.ref, DECLINED)
    told = await desk.payments.change_subscription(subscription, upgrade(), 10_000, key(3))
    assert isinstance(told, list)
    assert isinstance(told[0], h.Declined)
    desk.lab.change_card(subscription.ref, VISA)
    await desk.hear()
    desk.lab.advance(MONTH)
    [renewal] = invoices(await desk.hear())
    assert (renewal.plan, renewal.amount) == ("starter", 5_000)


@pytest.mark.parametrize(("card", "ends"), [(DECLINED, True), (VISA, False)])
async def test_only_an_upgrade_that_is_paid_withdraws_a_cancellation(
    desk: Desk, card: str, ends: bool
) -> None:
    subscription = await subscribed(desk)
    await desk.payments.end_subscription(subscription, now=False, key=key(2))
    desk.lab.change_card(subscription.ref, card)
    await desk.hear()
    await desk.payments.change_subscription(subscription, upgrade(), 10_000, key(3))
    assert (standing(await desk.hear()).ends_at is not None) == ends


async def test_an_upgrade_that_the_customer_must_confirm(desk: Desk) -> None:  # R-SALE-3
    subscription = await subscribed(desk, card=ASKS_ALWAYS)
    started = await desk.payments.change_subscription(subscription, upgrade(), 10_000, key(2))
    assert isinstance(started, Started)
    assert started.url.startswith("https://invoice.stripe.com/")
    assert started.expires_at > T0
    waiting = await desk.hear()
    assert not invoices(waiting)
    assert standing(waiting).plan == "pro"
    desk.lab.pay_invoice(started.checkout)
    facts = await desk.hear()
    [paid] = invoices(facts)
    assert (paid.purchase, paid.amount, paid.plan) == (upgrade().purchase.id, 30_000, "enterprise")
    assert standing(facts).plan == "enterprise"


@pytest.mark.parametrize("by_time", [True, False])
async def test_an_upgrade_that_nobody_confirms_is_dropped(desk: Desk, by_time: bool) -> None:  # R-SALE-3
    subscription = await subscribed(desk, card=ASKS_ALWAYS)
    started = await desk.payments.change_subscription(subscription, upgrade(), 10_000, key(2))
    assert isinstance(started, Started)
    begun = purchase(7, kind="upgrade", item="enterprise", checkout=started.checkout)
    if by_time:
        desk.lab.advance(DAY)
    else:
        await desk.payments.close_checkout(begun)
        await desk.payments.close_checkout(begun)
    facts = await desk.hear()
    assert merged(begun, facts).state == "abandoned"
    assert standing(facts).plan == "pro"


async def test_an_upgrade_in_a_trial_ends_the_trial(desk: Desk) -> None:
    begun = plan(amount=0, list_amount=14_900)
    subscription = await subscribed(desk, order(begun, interval="month", trial_days=14))
    facts = await desk.payments.change_subscription(subscription, upgrade(40_000, 0), 0, key(2))
    assert not isinstance(facts, Started)
    assert (standing(facts).status, invoices(facts)[0].amount) == ("active", 40_000)


async def test_an_upgrade_to_a_price_that_costs_something_else_is_refused(desk: Desk) -> None:
    subscription = await subscribed(desk)
    price = await a_price(desk, 39_999)
    with pytest.raises(VendorRefused) as refused:
        await desk.payments.change_subscription(subscription, upgrade(price_ref=price), 10_000, key(2))
    assert refused.value.code == "price_differs"
    assert len(desk.lab.world.all("invoice")) == 1


async def test_an_upgrade_to_a_price_by_its_id(desk: Desk) -> None:  # R-PACK-2
    subscription = await subscribed(desk)
    price = await a_price(desk, 40_000)
    facts = await desk.payments.change_subscription(subscription, upgrade(price_ref=price), 10_000, key(2))
    assert not isinstance(facts, Started)
    assert (invoices(facts)[0].plan, invoices(facts)[0].amount) == ("enterprise", 30_000)
    assert standing(facts).plan == "enterprise"


async def a_price(desk: Desk, amount: int) -> str:
    data = {
        "currency": "usd",
        "unit_amount": amount,
        "recurring": {"interval": "month"},
        "product_data": {"name": "Enterprise"},
    }
    made = await desk.payments.gateway.v1.prices.create_async(params=data)
    return str(made.id)


# Another plan later, and the end


@pytest.mark.parametrize("interval", ["month", "year"])
async def test_another_plan_from_the_next_period_on(desk: Desk, interval: str) -> None:  # R-PLAN-4
    subscription = await subscribed(desk)
    later = order(plan(8, "starter", 5_000), interval=interval)
    await desk.payments.renew_as(subscription, later, key(3))
    facts = await desk.hear()
    assert not invoices(facts)
    assert (
        standing([*facts, *await desk.payments.look(purchase(subscription=subscription.ref))]).plan == "pro"
    )
    desk.lab.advance(MONTH)
    facts = await desk.hear()
    [renewal] = invoices(facts)
    assert (renewal.plan, renewal.amount, renewal.reason) == ("starter", 5_000, "cycle")
    assert standing(facts).plan == "starter"
    days = (renewal.end - renewal.start) // (DAY * 1000)
    assert days in ((28, 29, 30, 31) if interval == "month" else (365, 366))


async def test_the_other_plan_is_thought_better_of(desk: Desk) -> None:  # R-PLAN-4
    subscription = await subscribed(desk)
    await desk.payments.renew_as(subscription, order(plan(8, "starter", 5_000), interval="month"), key(3))
    await desk.payments.renew_as(subscription, None, key(4))
    desk.lab.advance(MONTH)
    [renewal] = invoices(await desk.hear())
    assert (renewal.plan, renewal.amount) == ("pro", 14_900)


async def test_the_end_of_what_is_paid(desk: Desk) -> None:
    subscription = await subscribed(desk)
    for _ in range(2):
        await desk.payments.end_subscription(subscription, now=False, key=key(3))
    now = standing(await desk.hear())
    assert (now.status, now.ended, now.ends_at) == ("active", False, now.period_end)
    desk.lab.advance(MONTH)
    facts = await desk.hear()
    assert not invoices(facts)
    assert (standing(facts).status, standing(facts).ended) == ("canceled", True)
    with pytest.raises(VendorRefused) as refused:
        await desk.payments.change_subscription(subscription, upgrade(), 0, key(4))
    assert refused.value.code == "subscription_over"


async def test_a_cancellation_is_withdrawn(desk: Desk) -> None:
    subscription = await subscribed(desk)
    await desk.payments.end_subscription(subscription, now=False, key=key(3))
    await desk.payments.renew_as(subscription, None, key(4))
    assert standing(await desk.hear()).ends_at is None
    desk.lab.advance(MONTH)
    assert len(invoices(await desk.hear())) == 1


async def test_the_end_at_once(desk: Desk) -> None:
    subscription = await subscribed(desk)
    await desk.payments.renew_as(subscription, order(plan(8, "starter", 5_000), interval="month"), key(2))
    for number in (3, 4):
        await desk.payments.end_subscription(subscription, now=True, key=key(number))
    facts = await desk.hear()
    assert (standing(facts).status, standing(facts).ends_at) == ("canceled", T0)
    assert not invoices(facts)
