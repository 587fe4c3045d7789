"""What comes after a payment: saved cards, refunds, disputes, warnings, and looking for what no webhook told."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from tests.support.stripe import ASKS_ALWAYS, ASKS_ONCE, DECLINED, T0, VISA, Desk, key, order, plan, purchase
from tokentill.ports.shop import Started, VendorRefused
from tokentill.rules import happenings as h
from tokentill.rules.purchases import Purchase, merge
from tokentill.rules.rows import Payer

SAVED_THEN_DECLINED = "4000000000000341"
PENDING_REFUND = "4000000000007726"


async def paid(desk: Desk, number: int = 1, card: str = VISA) -> Purchase:
    """A pack that is paid."""
    begun = purchase(number)
    started = await desk.payments.checkout(order(begun), key(number))
    desk.lab.pay(started.checkout, card)
    for fact in await desk.hear():
        begun = merge(begun, fact)
    assert begun.state in ("paid", "disputed")
    return begun


async def saved(desk: Desk, card: str) -> Payer:
    """A customer with a saved card, as the till remembers it."""
    started = await desk.payments.checkout(order(save_method=True), key(99))
    desk.lab.pay(started.checkout, card)
    await desk.hear()
    method = desk.lab.world.all("payment_method")[0]
    assert method["customer"] is not None
    mark = method["card"]["fingerprint"]
    return Payer(id="p", provider="stripe", method=mark, customer=method["customer"], saved=method["id"])


# Saved methods


async def test_one_click(desk: Desk) -> None:  # R-SALE-3
    payer = await saved(desk, ASKS_ONCE)
    begun = purchase(2, mode="saved")
    told = await desk.payments.charge_saved(order(begun), payer, key(2))
    assert isinstance(told, list)
    [fact] = told
    assert isinstance(fact, h.Paid)
    assert (fact.purchase, fact.amount, fact.saved, fact.method) == (
        begun.id,
        2500,
        payer.saved,
        payer.method,
    )
    known = merge(begun, fact)
    for heard in await desk.hear():
        known = merge(known, heard)
    assert (known.state, len(known.payments)) == ("paid", 1)


async def test_one_click_twice_under_one_key_takes_the_money_once(desk: Desk) -> None:  # R-SALE-3
    payer = await saved(desk, VISA)
    bought = order(purchase(2, mode="saved"))
    first = await desk.payments.charge_saved(bought, payer, key(2))
    assert await desk.payments.charge_saved(bought, payer, key(2)) == first
    assert len([one for one in desk.lab.world.all("charge") if one["paid"]]) == 2


async def test_a_saved_card_that_is_declined(desk: Desk) -> None:  # R-SALE-3, R-PACK-11
    payer = await saved(desk, VISA)
    assert payer.saved is not None
    desk.lab.world.note(payer.saved)["number"] = SAVED_THEN_DECLINED
    begun = purchase(2, mode="saved")
    told = await desk.payments.charge_saved(order(begun), payer, key(2))
    assert isinstance(told, list)
    [fact] = told
    assert isinstance(fact, h.Declined)
    assert (fact.purchase, fact.code) == (begun.id, "generic_decline")
    failed = merge(begun, fact)
    for heard in await desk.hear():
        failed = merge(failed, heard)
    assert (failed.state, len(failed.declines)) == ("failed", 1)


async def test_a_bank_that_wants_the_customer_leads_to_a_checkout(desk: Desk) -> None:  # R-SALE-3
    payer = await saved(desk, ASKS_ALWAYS)
    begun = purchase(2, mode="saved")
    started = await desk.payments.charge_saved(order(begun, customer=payer.customer), payer, key(2))
    assert isinstance(started, Started)
    assert await desk.hear() == []
    assert await desk.payments.charge_saved(order(begun, customer=payer.customer), payer, key(2)) == started
    desk.lab.pay(started.checkout, ASKS_ALWAYS)
    for fact in await desk.hear():
        begun = merge(begun, fact)
    assert begun.state == "paid"


async def test_without_a_saved_method_nothing_is_charged(desk: Desk) -> None:
    nobody = Payer(id="p", provider="stripe", method="m")
    with pytest.raises(VendorRefused) as refused:
        await desk.payments.charge_saved(order(), nobody, key(1))
    assert refused.value.code == "no_saved_method"


# Refunds


async def test_money_is_given_back_in_parts_and_never_more_than_was_paid(desk: Desk) -> None:  # R-REF-6
    bought = await paid(desk)
    for number, (amount, sum_) in enumerate([(1000, 1000), (1500, 2500)]):
        [fact] = await desk.payments.refund(bought, amount, key(10 + number))
        assert isinstance(fact, h.Refunded)
        assert (fact.refunded, fact.purchase) == (sum_, bought.id)
        bought = merge(bought, fact)
    assert bought.state == "refunded"
    with pytest.raises(VendorRefused) as refused:
        await desk.payments.refund(bought, 1, key(12))
    assert refused.value.code == "charge_already_refunded"
    for fact in await desk.hear():
        bought = merge(bought, fact)
    assert bought.refunded == 2500


async def test_an_over_refund_is_refused_whole(desk: Desk) -> None:  # R-REF-6
    bought = await paid(desk)
    await desk.payments.refund(bought, 2000, key(10))
    with pytest.raises(VendorRefused, match="greater than unrefunded amount"):
        await desk.payments.refund(bought, 501, key(11))
    assert desk.lab.world.all("charge")[0]["amount_refunded"] == 2000


async def test_a_refund_under_one_key_is_made_once(desk: Desk) -> None:  # R-REF-6
    bought = await paid(desk)
    first = await desk.payments.refund(bought, 1000, key(10))
    assert await desk.payments.refund(bought, 1000, key(10)) == first
    assert len(desk.lab.world.all("refund")) == 1


async def test_a_key_that_stripe_has_forgotten_moves_no_money_twice(desk: Desk) -> None:  # R-REF-6, R-SALE-3
    payer = await saved(desk, VISA)
    bought = order(purchase(2, mode="saved"))
    first = await desk.payments.charge_saved(bought, payer, key(2))
    assert isinstance(first, list)
    paid_for = merge(bought.purchase, first[0])
    given = await desk.payments.refund(paid_for, 1000, key(3))
    desk.clock.time += 3 * 86_400_000
    assert await desk.payments.charge_saved(bought, payer, key(2)) == first
    assert await desk.payments.refund(paid_for, 1000, key(3)) == given
    assert len([one for one in desk.lab.world.all("charge") if one["paid"]]) == 2
    assert len(desk.lab.world.all("refund")) == 1


@pytest.mark.parametrize("succeeds", [True, False])
async def test_a_refund_that_takes_its_time(desk: Desk, succeeds: bool) -> None:  # R-REF-6
    bought = await paid(desk, card=PENDING_REFUND)
    assert await desk.payments.refund(bought, 1000, key(10)) == []
    for fact in await desk.hear():
        bought = merge(bought, fact)
    assert (bought.refunded, bought.flagged) == (0, None)
    desk.lab.finish_refund(desk.lab.world.all("refund")[0]["id"], succeeds=succeeds)
    for fact in await desk.hear():
        bought = merge(bought, fact)
    assert (bought.refunded, bought.flagged) == ((1000, None) if succeeds else (0, "refund_failed"))


async def test_a_refund_made_at_stripe_is_heard(desk: Desk) -> None:  # R-REF-6
    bought = await paid(desk)
    v1 = desk.payments.gateway.v1
    await v1.refunds.create_async(params={"payment_intent": bought.payment, "amount": 700})
    facts = await desk.hear()
    assert {(fact.payment, fact.refunded) for fact in facts if isinstance(fact, h.Refunded)} == {
        (bought.payment, 700)
    }


async def test_nothing_is_given_back_of_what_was_not_paid(desk: Desk) -> None:
    with pytest.raises(VendorRefused) as refused:
        await desk.payments.refund(purchase(), 100, key(1))
    assert refused.value.code == "nothing_paid"


async def test_a_disputed_payment_is_not_given_back_as_well(desk: Desk) -> None:  # R-REF-6
    bought = await paid(desk)
    assert bought.payment is not None
    desk.lab.dispute(bought.payment)
    with pytest.raises(VendorRefused, match="until the dispute is over"):
        await desk.payments.refund(bought, 100, key(10))


# Disputes and warnings


@pytest.mark.parametrize(
    ("end", "state"), [("won", "paid"), ("lost", "charged_back"), ("under_review", "disputed")]
)
async def test_a_dispute(desk: Desk, end: str, state: str) -> None:  # R-REF-6
    bought = await paid(desk)
    assert bought.payment is not None
    made = desk.lab.dispute(bought.payment)
    [opened] = await desk.hear()
    assert isinstance(opened, h.Disputed)
    assert (opened.payment, opened.dispute, opened.state, opened.amount) == (
        bought.payment,
        made["id"],
        "open",
        2500,
    )
    desk.lab.decide(made["id"], end)
    for fact in [opened, *await desk.hear()]:
        bought = merge(bought, fact)
    assert bought.state == state


async def test_a_bank_that_only_asks_is_a_suspicion(desk: Desk) -> None:  # R-PACK-4, R-REF-6
    bought = await paid(desk, card="4000000000001976")
    assert (bought.state, len(bought.suspicions)) == ("paid", 1)
    inquiry = bought.suspicions[0]
    desk.lab.decide(inquiry, "warning_closed")
    assert await desk.hear() == []
    desk.lab.decide(inquiry, "needs_response")
    [fact] = await desk.hear()
    assert isinstance(fact, h.Disputed)


async def test_an_early_fraud_warning(desk: Desk) -> None:  # R-PACK-4
    bought = await paid(desk, card="4000000000005423")
    assert (bought.state, len(bought.suspicions)) == ("paid", 1)


# Looking


async def test_looking_finds_all_that_the_webhooks_told(desk: Desk) -> None:  # R-PACK-3
    begun = purchase()
    started = await desk.payments.checkout(order(begun), key(1))
    begun = replace(begun, checkout=started.checkout)
    assert await desk.payments.look(begun) == []
    desk.lab.pay(started.checkout, VISA)
    payment = desk.lab.world.get("checkout.session", started.checkout)["payment_intent"]
    desk.lab.warn(payment)
    await desk.payments.gateway.v1.refunds.create_async(params={"payment_intent": payment, "amount": 700})
    desk.lab.dispute(payment, amount=1800)
    heard = looked = begun
    for fact in await desk.hear():
        heard = merge(heard, fact)
    for fact in await desk.payments.look(begun):
        looked = merge(looked, fact)
    assert looked == heard
    assert (looked.state, looked.refunded, len(looked.suspicions)) == ("disputed", 700, 1)


async def test_looking_at_an_expired_checkout(desk: Desk) -> None:
    started = await desk.payments.checkout(order(), key(1))
    desk.lab.expire(started.checkout)
    [fact] = await desk.payments.look(purchase(checkout=started.checkout))
    assert isinstance(fact, h.Ended)


async def test_looking_for_a_charge_whose_answer_was_lost(desk: Desk) -> None:  # R-SALE-3
    payer = await saved(desk, VISA)
    begun = purchase(2, mode="saved")
    await desk.payments.charge_saved(order(begun), payer, key(2))
    for fact in await desk.payments.look(begun):
        begun = merge(begun, fact)
    assert begun.state == "paid"
    assert await desk.payments.look(purchase(3, mode="saved")) == []


async def test_looking_at_a_plan(desk: Desk) -> None:  # R-PLAN-4
    begun = plan()
    started = await desk.payments.checkout(order(begun, interval="month"), key(1))
    desk.lab.pay(started.checkout, VISA)
    for fact in await desk.payments.look(replace(begun, checkout=started.checkout)):
        begun = merge(begun, fact)
    assert (begun.state, begun.plan_start) == ("paid", T0)
    looked = merge_all(plan(), await desk.payments.look(begun))
    assert (looked.state, looked.invoice) == ("paid", begun.invoice)


def merge_all(of: Purchase, facts: object) -> Purchase:
    assert isinstance(facts, list)
    for fact in facts:
        of = merge(of, fact)
    return of


async def test_objects_of_other_software_say_nothing(desk: Desk) -> None:
    """Another shop sells on the same account: a checkout, a charge, a decline, a plan of its own."""
    v1 = desk.payments.gateway.v1
    line = {"currency": "usd", "unit_amount": 900, "product_data": {"name": "Mugs"}}
    common = {"success_url": "https://mugs.test/"}
    once = {"mode": "payment", "line_items": [{"price_data": line, "quantity": 1}]}
    made = await v1.checkout.sessions.create_async(params={**common, **once})
    desk.lab.pay(made.id, DECLINED)
    desk.lab.pay(made.id, VISA)
    monthly = {"price_data": {**line, "recurring": {"interval": "month"}}, "quantity": 1}
    made = await v1.checkout.sessions.create_async(
        params={**common, "mode": "subscription", "line_items": [monthly]}
    )
    desk.lab.pay(made.id, VISA)
    desk.lab.advance(40 * 86_400)
    assert await desk.hear() == []
