"""Credit on a renewal at Stripe: a line of its own on the invoice while that is a draft, once (R-REF-4)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from tests.support.stripe import VISA, Desk, Watch, key, order, plan, purchase
from tests.support.stripe_shapes import misshapen, post, session
from tokentill.lab.stripe import StripeLab, serving
from tokentill.ports.shop import VendorDown, VendorRefused
from tokentill.rules import happenings as h
from tokentill.rules.purchases import Purchase
from tokentill.rules.rows import Subscription
from tokentill.vendors.stripe import StripePayments
from tokentill.vendors.stripe.gateway import ask, keyed

HOUR, DAY = 3_600, 86_400
PRO, CREDIT = 14_900, 5_000
MONTHLY = {
    "currency": "usd", "unit_amount": "100", "product_data[name]": "Of somebody else", "recurring[interval]": "month",
}  # fmt: skip


async def drafted(desk: Desk) -> tuple[h.InvoiceDrafted, Purchase]:
    """A plan whose next invoice is a draft since now, as it was told; and its renewal, that credit shall pay in part."""
    started = await desk.payments.checkout(order(plan(), interval="month"), key(1))
    paid = desk.lab.pay(started.checkout, VISA)
    assert not [one for one in await desk.hear() if isinstance(one, h.InvoiceDrafted)], (
        "the first is no draft"
    )
    [item] = desk.lab.world.get("subscription", paid["subscription"])["items"]["data"]
    end = item["current_period_end"]
    desk.lab.advance(end - desk.lab.world.now)
    [draft] = [one for one in await desk.hear() if isinstance(one, h.InvoiceDrafted)]
    assert draft == h.InvoiceDrafted(
        at=end * 1000, subscription=paid["subscription"], invoice=draft.invoice, plan="pro", start=end * 1000,
        organization="acme",
    )  # fmt: skip
    return draft, renewal(draft)


def renewal(draft: h.InvoiceDrafted, **more: Any) -> Purchase:
    terms = {
        "kind": "renewal",
        "amount": PRO,
        "list_amount": PRO,
        "credit_used": CREDIT,
        "invoice": draft.invoice,
    }
    return purchase(2, **{**terms, **more})


def lines(desk: Desk, invoice: str) -> list[tuple[int, str]]:
    found = desk.lab.world.get("invoice", invoice)["lines"]["data"]
    return [(line["amount"], line["description"]) for line in found]


def paid(facts: list[h.AnyHappening]) -> list[tuple[int, str | None]]:
    return [(one.amount, one.plan) for one in facts if isinstance(one, h.InvoicePaid)]


async def test_credit_is_a_line_of_the_draft_and_the_rest_is_collected(desk: Desk) -> None:
    """Asked again when Stripe has forgotten the key, it is still one line."""
    draft, due = await drafted(desk)
    assert await desk.payments.apply_credit(due, key(2))
    assert lines(desk, draft.invoice) == [(PRO, "1 × Pro"), (-CREDIT, "Credit")]
    found = desk.lab.world.get("invoice", draft.invoice)
    assert (found["status"], found["total"], found["amount_due"]) == ("draft", PRO - CREDIT, PRO - CREDIT)
    assert misshapen(desk.lab) == []
    assert await desk.payments.apply_credit(due, key(3)), "under another key too"
    desk.lab.advance(HOUR)
    assert paid(await desk.hear()) == [(PRO - CREDIT, "pro")]
    assert desk.lab.world.all("charge")[0]["amount"] == PRO - CREDIT
    desk.lab.advance(2 * DAY)
    assert await desk.payments.apply_credit(due, key(2))
    assert len(lines(desk, draft.invoice)) == 2
    assert misshapen(desk.lab) == []


async def test_credit_that_pays_all_leaves_no_payment(desk: Desk) -> None:
    draft, due = await drafted(desk)
    assert await desk.payments.apply_credit(renewal(draft, credit_used=PRO), key(2))
    desk.lab.advance(HOUR)
    [told] = [one for one in await desk.hear() if isinstance(one, h.InvoicePaid)]
    assert (told.amount, told.payment, told.invoice) == (0, None, due.invoice)
    assert len(desk.lab.world.all("charge")) == 1


async def test_a_line_of_ours_is_found_among_more_than_are_listed_at_once(desk: Desk) -> None:
    draft, due = await drafted(desk)
    customer = desk.lab.world.get("invoice", draft.invoice)["customer"]
    more = {"customer": customer, "invoice": draft.invoice, "currency": "usd"}
    for number in range(100):
        await post(desk.lab, "invoiceitems", {**more, "amount": "1" if number % 2 else "-1"})
    assert await desk.payments.apply_credit(due, key(2))
    assert await desk.payments.apply_credit(due, key(3))
    assert [amount for amount, _ in lines(desk, draft.invoice)].count(-CREDIT) == 1


@pytest.mark.parametrize("wrong", [{"list_amount": PRO - 1}, {"currency": "EUR"}])
async def test_an_invoice_of_something_else_is_left_whole(desk: Desk, wrong: dict[str, Any]) -> None:
    """It will be told of as one that does not fit, and credit would only hide that."""
    draft, _ = await drafted(desk)
    assert not await desk.payments.apply_credit(renewal(draft, **wrong), key(2))
    assert lines(desk, draft.invoice) == [(PRO, "1 × Pro")]


async def test_what_is_finalized_when_it_is_read_says_nothing(desk: Desk) -> None:
    started = await desk.payments.checkout(order(plan(), interval="month"), key(1))
    desk.lab.pay(started.checkout, VISA)
    await desk.hear()
    desk.lab.advance(32 * DAY)
    facts = await desk.hear()
    assert not [one for one in facts if isinstance(one, h.InvoiceDrafted)]
    [told] = [one for one in facts if isinstance(one, h.InvoicePaid)]
    due = purchase(2, kind="renewal", list_amount=PRO, credit_used=CREDIT, invoice=told.invoice)
    assert not await desk.payments.apply_credit(due, key(2))
    assert lines(desk, told.invoice) == [(PRO, "1 × Pro")]


async def test_drafts_that_are_not_ours_or_are_not_collected_say_nothing(desk: Desk) -> None:
    other = await post(desk.lab, "checkout/sessions", session("subscription", MONTHLY))
    desk.lab.pay(other["id"], VISA)
    await desk.hear()
    desk.lab.advance(30 * DAY)
    assert [one["status"] for one in desk.lab.world.all("invoice")] == ["draft", "paid"]
    assert await desk.hear() == []
    draft, _ = await drafted(desk)
    told = desk.lab.world.all("event")
    [event] = [
        one
        for one in told
        if one["type"] == "invoice.created" and one["data"]["object"]["id"] == draft.invoice
    ]
    await post(desk.lab, f"invoices/{draft.invoice}", {"auto_advance": "false"})
    [endpoint] = desk.lab.world.all("webhook_endpoint")
    assert await desk.read([desk.lab.hooks.delivery(event, endpoint)]) == []


async def test_an_end_at_once_lets_the_draft_lie(desk: Desk) -> None:
    """Stripe says only of finalized invoices that an end stops their collection."""
    draft, due = await drafted(desk)
    name = draft.subscription
    row = Subscription(id=name, provider="stripe", ref=name, plan="pro", status="active")
    for number in (3, 4):
        await desk.payments.end_subscription(row, now=True, key=key(number))
    desk.lab.advance(2 * DAY)
    assert paid(await desk.hear()) == []
    assert desk.lab.world.get("invoice", draft.invoice)["status"] == "draft"
    assert len(desk.lab.world.all("charge")) == 1
    assert due.invoice == draft.invoice


async def test_an_upgrade_waits_until_the_next_period_is_paid(desk: Desk) -> None:
    """R-PLAN-4: made at once, the draft would be collected beside it, and nothing of it credited."""
    draft, _ = await drafted(desk)
    row = Subscription(id="s", provider="stripe", ref=draft.subscription, plan="pro", status="active")
    bought = order(purchase(7, kind="upgrade", item="enterprise", amount=30_000), interval="month")
    with pytest.raises(VendorRefused) as refused:
        await desk.payments.change_subscription(row, bought, 10_000, key(3))
    assert refused.value.code == "renewing"
    desk.lab.advance(HOUR)
    facts = await desk.payments.change_subscription(row, bought, 10_000, key(4))
    assert isinstance(facts, list)
    assert paid(facts) == [(30_000, "enterprise")]


# ---- between two requests -----------------------------------------------------------------------------------


@asynccontextmanager
async def meanwhile(lab: StripeLab, deed: Callable[[], object]) -> AsyncIterator[Desk]:
    """A desk at a lab to which something happens right before it gets an invoice item."""

    async def between(scope: Any, receive: Any, send: Any) -> None:
        if (scope.get("method"), scope.get("path")) == ("POST", "/v1/invoiceitems"):
            deed()
        await lab(scope, receive, send)

    secret: Any = lab.listen("http://127.0.0.1:9/stripe")["secret"]
    async with serving(cast("StripeLab", between)) as base:
        payments = StripePayments(lab.key, [secret], lab.world.clock, base=base, retries_max=0)
        yield Desk(lab, payments, cast("Watch", lab.world.clock), base, secret)
        await payments.close()


async def test_a_draft_that_is_finalized_in_the_very_moment_is_collected_whole(lab: StripeLab) -> None:
    async with meanwhile(lab, lambda: lab.advance(HOUR)) as desk:
        draft, due = await drafted(desk)
        assert not await desk.payments.apply_credit(due, key(2))
        assert paid(await desk.hear()) == [(PRO, "pro")]
        assert lines(desk, draft.invoice) == [(PRO, "1 × Pro")]


@pytest.mark.parametrize("fault", ["error", "done_then_error", "done_then_silence"])
async def test_an_answer_that_is_lost_is_asked_for_again(lab: StripeLab, fault: Any) -> None:
    """A line that was made counts, a day later too, when the invoice is paid and the key forgotten."""
    faults = [fault]
    async with meanwhile(lab, lambda: faults and lab.fail(faults.pop())) as desk:
        draft, due = await drafted(desk)
        with pytest.raises(VendorDown):
            await desk.payments.apply_credit(due, key(2))
        made = fault.startswith("done")
        lab.advance(HOUR + 2 * DAY if made else 60)
        assert await desk.payments.apply_credit(due, key(2))
        assert [amount for amount, _ in lines(desk, draft.invoice)] == [PRO, -CREDIT]


async def test_another_refusal_is_not_taken_for_an_answer(lab: StripeLab) -> None:
    """While it is a draft nobody knows how it will be collected; here the key was used for something else.

    Once it is collected whole that is known, whatever the refusal was: the right to make items may be missing for ever.
    """
    async with meanwhile(lab, str) as desk:
        draft, due = await drafted(desk)
        await ask(
            desk.payments.gateway.v1.customers.create_async(params={"name": "Ann"}, options=keyed(key(2)))
        )
        with pytest.raises(VendorRefused):
            await desk.payments.apply_credit(due, key(2))
        assert lines(desk, draft.invoice) == [(PRO, "1 × Pro")]
        lab.advance(HOUR)
        assert not await desk.payments.apply_credit(due, key(2))
