"""Purchases: facts in any order, as often as you like, lead to one end (R-PACK-3)."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokentill.rules import commands as c
from tokentill.rules import happenings as h
from tokentill.rules.catalog import DAY_MS
from tokentill.rules.deliveries import answered, step_commands
from tokentill.rules.purchases import (
    FOREVER,
    Kind,
    Purchase,
    begin,
    derive,
    finish,
    merge,
    next_step,
    purchase_id,
    step_key,
)
from tokentill.rules.receipts import Receipt
from tokentill.rules.refusals import Code, Refusal

T0 = 1_770_000_000_000


KINDS: list[Kind] = ["pack", "plan", "renewal", "upgrade", "overage", "code"]


def ordered(kind: Kind = "pack", **more: Any) -> Purchase:
    fields = {"item": "pack_25", "tokens": 25} if kind in ("pack", "code") else {"item": "pro"}
    return derive(
        Purchase(
            id="0" * 31 + "1", organization="acme", created_at=T0, kind=kind, title="25",
            amount=2500, currency="USD", provider="stripe", slot_ms=86_400_000, **fields, **more,
        )
    )  # fmt: skip


def paid(
    payment: str = "pi_1", amount: int = 2500, currency: str = "USD", at: int = T0 + 5, **more: Any
) -> h.Paid:
    return h.Paid(at=at, payment=payment, amount=amount, currency=currency, **more)


def dispute(state: h.DisputeState, name: str = "dp_1") -> h.Disputed:
    return h.Disputed(at=T0 + 9, payment="pi_1", dispute=name, state=state, amount=2500, currency="USD")


def invoice_paid(**more: Any) -> h.InvoicePaid:
    fields = {
        "at": T0 + 6, "subscription": "sub_1", "invoice": "in_1", "plan": "pro", "amount": 2500,
        "currency": "USD", "start": T0, "end": T0 + 30 * DAY_MS, "reason": "cycle", "payment": "pi_1",
    }  # fmt: skip
    return h.InvoicePaid(**{**fields, **more})


def invoice_failed(at: int = T0 + 4) -> h.InvoiceFailed:
    return h.InvoiceFailed(at=at, subscription="sub_1", invoice="in_1", amount=2500, currency="USD")


FACTS: list[h.AnyHappening] = [
    paid(),
    paid(method="card_a"),
    paid("pi_2", at=T0 + 7),
    paid("pi_3", amount=1),
    h.Declined(at=T0 + 1, attempt="a1", code="card_declined"),
    h.Declined(at=T0 + 2, attempt="a2", code="expired_card"),
    h.Declined(at=T0 + 3, attempt="a1", code="insufficient_funds"),
    h.Ended(at=T0 + 3),
    h.Refunded(at=T0 + 8, payment="pi_1", refunded=1000, currency="USD"),
    h.Refunded(at=T0 + 9, payment="pi_1", refunded=2500, currency="USD"),
    h.RefundFailed(at=T0 + 9, payment="pi_1", refund="re_1", amount=1000, currency="USD"),
    dispute("open"),
    dispute("won"),
    dispute("lost", "dp_2"),
    h.Suspected(at=T0 + 8, payment="pi_1", warning="w1"),
    paid("pi_4", checkout="cs_1", at=T0 + 5, currency="EUR"),
    paid("pi_1", checkout="cs_2"),
    invoice_paid(),
    invoice_paid(end=T0 + 31 * DAY_MS, method="card_b"),
    invoice_paid(invoice="in_2", payment=None, reason="update", at=T0 + 12),
    invoice_paid(invoice="in_3", payment="pi_5", amount=2400),
    invoice_failed(),
    invoice_failed(T0 + 3),
    h.InvoiceDrafted(at=T0 + 8, subscription="sub_1", invoice="in_1", plan="pro", start=T0),
    h.InvoiceVoided(at=T0 + 20, subscription="sub_1", invoice="in_1"),
    h.Subscribed(at=T0 + 2, subscription="sub_1", plan="pro", status="active"),
]


def test_there_is_a_fact_of_every_kind() -> None:
    assert {type(fact) for fact in FACTS} == set(h.AnyHappening.__args__)


@given(
    st.sampled_from(KINDS),
    st.lists(st.sampled_from(FACTS), max_size=8).flatmap(
        lambda facts: st.tuples(st.just(facts), st.permutations(facts))
    ),
)
def test_facts_lead_to_one_end_in_every_order_and_however_often(
    kind: Kind,
    orders: tuple[list[h.AnyHappening], list[h.AnyHappening]],
) -> None:  # R-PACK-3
    ends = []
    for facts in orders:
        purchase = ordered(kind)
        for fact in [*facts, *facts]:
            purchase = merge(purchase, fact)
        ends.append(purchase)
    assert ends[0] == ends[1]


def test_a_payment_of_another_amount_or_currency_delivers_nothing() -> None:  # R-PACK-3
    for wrong in (paid(amount=2499), paid(amount=2501), paid(currency="EUR")):
        purchase = merge(ordered(), wrong)
        assert (purchase.state, purchase.flagged, next_step(purchase)) == ("mismatched", "mismatched", None)


def test_a_paid_pack_is_delivered_once() -> None:  # R-PACK-3, R-PACK-10
    purchase = begin(merge(ordered(), paid()))
    assert (purchase.state, purchase.doing) == ("paid", "deliver")
    [(part, grant)] = step_commands(purchase, T0)
    assert isinstance(grant, c.Grant)
    assert (part, grant.tokens, grant.origin, grant.reference) == ("", 25, "pack", purchase.id)
    assert len(step_key(purchase)) == 32
    purchase = finish(purchase, T0 + 10, (1,))
    assert (purchase.state, purchase.lots, next_step(purchase)) == ("delivered", (1,), None)


def test_a_payment_after_the_end_of_the_checkout_is_honoured() -> None:  # R-PACK-4, readings
    purchase = merge(merge(ordered(), h.Ended(at=T0)), paid())
    assert (purchase.state, next_step(purchase)) == ("paid", "deliver")


def test_a_dispute_sets_aside_and_its_end_gives_back_or_takes() -> None:  # R-REF-6
    purchase = finish(begin(merge(ordered(), paid())), T0)
    purchase = begin(merge(purchase, dispute("open")))
    assert (purchase.state, purchase.doing) == ("disputed", "set_aside")
    purchase = finish(purchase, T0)
    assert next_step(merge(purchase, dispute("won"))) == "give_back"
    assert next_step(merge(purchase, dispute("lost"))) == "take_back"


COMMANDS: dict[str, list[tuple[str, type[c.Base]]]] = {
    "pack": [("", c.Grant), ("bonus", c.Grant)],
    "code": [("", c.Grant), ("bonus", c.Grant)],
    "plan": [("", c.ChangePlan), ("bonus", c.Grant)],
    "upgrade": [("", c.ChangePlan), ("bonus", c.Grant)],
    "renewal": [("", c.Reset), ("bonus", c.Grant)],
    "overage": [],
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_delivered_for_each_kind(kind: Kind) -> None:  # R-PACK-3, R-PLAN-4, R-LED-6
    fact = invoice_paid() if kind in ("plan", "upgrade", "renewal") else paid()
    purchase = begin(merge(ordered(kind, bonus=7, valid_days=30), fact))
    assert purchase.doing == "deliver"
    commands = step_commands(purchase, T0 + 9)
    assert [(part, type(command)) for part, command in commands] == COMMANDS[kind]
    for _, command in commands:
        if isinstance(command, c.Grant):
            assert (command.reference, command.expires_at) == (purchase.id, T0 + 9 + 30 * DAY_MS)
        if isinstance(command, c.ChangePlan | c.Reset):
            assert (command.end, command.billed) == (T0 + 30 * DAY_MS, True)
        if isinstance(command, c.ChangePlan):
            assert (command.plan, command.when) == ("pro", "now")


def test_a_subscription_is_told_by_its_invoices_alone() -> None:  # R-PACK-3
    purchase = merge(ordered("plan"), paid(checkout="cs_1"))
    assert (purchase.checkout, purchase.paid_at, next_step(purchase)) == ("cs_1", None, None)
    assert next_step(merge(purchase, invoice_paid())) == "deliver"


def test_a_failed_invoice_freezes_until_it_is_paid_or_voided() -> None:  # R-LIC-1, R-LIC-3
    owed = begin(merge(ordered("renewal"), invoice_failed()))
    assert (owed.state, owed.doing) == ("failed", "freeze")
    [(_, freeze)] = step_commands(owed, T0 + 1)
    assert isinstance(freeze, c.Freeze)
    assert freeze.failed_at == T0 + 1, "no later than the account's own time"
    owed = finish(owed, T0 + 5)
    assert next_step(owed) is None
    assert (
        next_step(merge(owed, h.InvoiceVoided(at=T0 + 9, subscription="sub_1", invoice="in_1"))) == "restore"
    )
    done = []
    purchase = begin(merge(owed, invoice_paid()))
    while purchase.doing is not None:
        done.append(purchase.doing)
        purchase = begin(finish(purchase, T0 + 9))
    assert sorted(done) == ["deliver", "restore"]
    assert next_step(merge(purchase, invoice_failed())) is None, "an old failure changes nothing"


def test_what_a_dispute_asks_of_the_account() -> None:  # R-REF-6
    purchase = finish(begin(merge(ordered(), paid())), T0)
    aside = begin(merge(purchase, dispute("open")))
    [(_, command)] = step_commands(aside, T0)
    assert command == c.SetAside(reference=purchase.id, reason="dispute")
    spent = Refusal(Code.UNKNOWN_LOT, "All of it is spent.")
    assert answered(aside, spent), "then there is nothing to set aside"
    assert not answered(aside, Refusal(Code.INVALID, "no"))
    lost = begin(merge(finish(aside, T0), dispute("lost")))
    [(_, command)] = step_commands(lost, T0)
    assert command == c.Revoke(origin="dispute", reference=purchase.id, reason="dispute lost")
    repaid = begin(merge(purchase, h.Refunded(at=T0, payment="pi_1", refunded=2500, currency="USD")))
    [(_, command)] = step_commands(repaid, T0)
    assert command == c.Revoke(origin="refund", reference=purchase.id, reason="paid back")
    receipt = Receipt(operation="", kind="", tokens=0, balance=0, held=0, entry=1, time=T0)
    assert answered(repaid, receipt)
    won = begin(merge(finish(aside, T0), dispute("won")))
    [(_, command)] = step_commands(won, T0)
    assert command == c.GiveBack(reference=purchase.id, reason="dispute won")


def test_the_use_of_a_promotion_counts_for_ever_once_paid() -> None:  # R-PACK-8
    purchase = ordered(promo="LAUNCH", expires_at=T0 + 60_000)
    assert purchase.promo_until == purchase.slot_until > T0
    assert merge(purchase, h.Ended(at=T0)).promo_until == 0
    assert merge(purchase, paid()).promo_until == FOREVER


def test_a_purchase_is_named_by_what_the_provider_calls_it() -> None:
    names = [("stripe", "in_1"), ("stripe", "in_2"), ("paypal", "in_1")]
    assert len({purchase_id(*name) for name in names}) == 3
    assert len(purchase_id("stripe", "in_1")) == 32


def test_a_refund_that_failed_is_flagged_for_a_person() -> None:  # R-REF-6
    failed = h.RefundFailed(at=T0 + 9, payment="pi_1", refund="re_1", amount=1000, currency="USD")
    purchase = merge(merge(ordered(), paid()), failed)
    assert (purchase.flagged, purchase.refunded) == ("refund_failed", 0)
