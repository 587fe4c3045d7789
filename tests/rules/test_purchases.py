"""Purchases: facts in any order, as often as you like, lead to one end (R-PACK-3)."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tokentill.rules import commands as c
from tokentill.rules import happenings as h
from tokentill.rules.purchases import (
    Purchase,
    begin,
    derive,
    finish,
    merge,
    next_step,
    step_commands,
    step_key,
)

T0 = 1_770_000_000_000


def ordered(**more: Any) -> Purchase:
    return derive(
        Purchase(
            id="0" * 31 + "1", organization="acme", created_at=T0, kind="pack", item="pack_25", title="25",
            amount=2500, currency="USD", tokens=25, provider="stripe", slot_ms=86_400_000, **more,
        )
    )  # fmt: skip


def paid(
    payment: str = "pi_1", amount: int = 2500, currency: str = "USD", at: int = T0 + 5, **more: Any
) -> h.Paid:
    return h.Paid(at=at, payment=payment, amount=amount, currency=currency, **more)


def dispute(state: h.DisputeState, name: str = "dp_1") -> h.Disputed:
    return h.Disputed(at=T0 + 9, payment="pi_1", dispute=name, state=state, amount=2500, currency="USD")


FACTS: list[h.AnyHappening] = [
    paid(),
    paid(method="card_a"),
    paid("pi_2", at=T0 + 7),
    paid("pi_3", amount=1),
    h.Declined(at=T0 + 1, attempt="a1", code="card_declined"),
    h.Declined(at=T0 + 2, attempt="a2", code="expired_card"),
    h.Ended(at=T0 + 3),
    h.Refunded(at=T0 + 8, payment="pi_1", refunded=1000, currency="USD"),
    h.Refunded(at=T0 + 9, payment="pi_1", refunded=2500, currency="USD"),
    dispute("open"),
    dispute("won"),
    dispute("lost", "dp_2"),
    h.Suspected(at=T0 + 8, payment="pi_1", warning="w1"),
]


@given(
    st.lists(st.sampled_from(FACTS), max_size=8).flatmap(
        lambda facts: st.tuples(st.just(facts), st.permutations(facts))
    )
)
def test_facts_lead_to_one_end_in_every_order_and_however_often(
    orders: tuple[list[h.AnyHappening], list[h.AnyHappening]],
) -> None:  # R-PACK-3
    ends = []
    for facts in orders:
        purchase = ordered()
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
