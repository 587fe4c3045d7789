"""Claims of refunds on a purchase: one at a time, never more than was paid, nothing taken twice (R-REF-5, R-REF-6)."""

from itertools import permutations
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tokentill.rules import happenings as h
from tokentill.rules.claims import OUTSIDE, claimed, closed, ended, next_taking, resized
from tokentill.rules.legs import Claim, Taking, claim_of, given_back, outside
from tokentill.rules.purchases import Purchase, begin, finish, merge, next_step

T0 = 1_770_000_000_000


def delivered(amount: int = 3000, **more: Any) -> Purchase:
    ordered = Purchase(
        id="1" * 32, organization="acme", created_at=T0, kind="pack", item="pack", title="Pack", amount=amount,
        currency="USD", tokens=500, **more,
    )  # fmt: skip
    return work(merge(ordered, h.Paid(at=T0, payment="pi_1", amount=amount, currency="USD")))


def refunded(amount: int) -> h.Refunded:
    return h.Refunded(at=T0, payment="pi_1", refunded=amount, currency="USD")


def work(purchase: Purchase, held: int = 0) -> Purchase:
    """Every step taken."""
    while next_step(purchase) is not None:
        purchase = finish(begin(purchase), T0, figure=held)
    return purchase


def test_one_claim_is_open_at_a_time_and_sets_the_tokens_aside() -> None:  # R-REF-5
    purchase = claimed(delivered(), Claim("r1", money=1000))
    assert next_step(purchase) == "set_aside"
    assert claimed(purchase, Claim("r2", money=1)) == purchase
    assert claimed(purchase, Claim("r1", money=500)) == purchase, "the same refund claims once"
    failed = work(ended(work(purchase), "r1", "failed"))
    assert failed.done == ("deliver", "set_aside", "give_back")
    assert claim_of(claimed(failed, Claim("r2", money=1)), "r2") is not None


def test_our_own_refund_takes_everything_once_however_its_webhook_comes() -> None:  # R-REF-5, R-REF-6
    """Told before the answer, after it, or not at all: the tokens are taken when it is settled, and no second time."""
    for order in permutations(("webhook", "settle", "webhook")):
        purchase = work(claimed(delivered(), Claim("r1", money=1500)))
        for what in order:
            purchase = (
                merge(purchase, refunded(1500)) if what == "webhook" else ended(purchase, "r1", "settled")
            )
            purchase = work(purchase)
        assert purchase.done == ("deliver", "set_aside", "take_back", "give_back")
        assert (purchase.taken, purchase.accounted, given_back(purchase)) == (("r1",), 0, 1500)


def test_a_refund_from_outside_takes_its_share_and_the_last_of_it_all() -> None:  # R-REF-6
    purchase = merge(delivered(), refunded(1000))
    assert next_taking(purchase) == Taking(OUTSIDE, 1000, 3000)
    purchase = merge(work(purchase), refunded(2000))
    assert next_taking(purchase) == Taking(OUTSIDE, 1000, 2000)
    purchase = merge(work(purchase), refunded(3000))
    assert next_taking(purchase) == Taking(OUTSIDE)
    assert next_step(work(purchase)) is None


def test_a_failed_refund_whose_money_went_another_way_counts_as_from_outside() -> None:  # R-REF-6
    purchase = merge(work(claimed(delivered(), Claim("r1", money=3000))), refunded(3000))
    assert outside(purchase) == 0
    purchase = ended(purchase, "r1", "failed")
    assert (outside(purchase), next_taking(purchase)) == (3000, Taking(OUTSIDE))


def test_what_running_operations_hold_is_taken_when_they_let_go() -> None:  # R-REF-5
    purchase = ended(work(claimed(delivered(), Claim("r1", money=3000))), "r1", "settled")
    purchase = work(purchase, held=7)
    assert (purchase.sweep, purchase.done[-1]) == ("wait", "take_back")
    swept = work(replace(purchase, sweep="now"), held=2)
    assert swept.sweep == "wait"
    swept = work(replace(swept, sweep="now"))
    assert (swept.sweep, swept.done[-1]) == ("", "give_back")


def test_what_closes_a_claim_closes_it_for_good() -> None:  # R-REF-4
    purchase = work(claimed(delivered(), Claim("r1", takes=False, closes=True, aside=False)))
    assert not closed(purchase)
    purchase = work(ended(purchase, "r1", "settled"))
    assert closed(purchase)
    assert purchase.done == ("deliver",), "a bonus leaves the tokens where they are"
    assert claimed(purchase, Claim("r2", money=1)) == purchase


def test_an_operator_may_change_the_figures_within_what_was_paid() -> None:  # R-REF-6
    purchase = claimed(
        merge(delivered(credit_used=500, done=("spend_credit",)), refunded(1000)), Claim("r1", money=100)
    )
    for money, credit, fits in ((2000, 500, True), (2001, 0, False), (2000, 501, False)):
        found = claim_of(resized(purchase, "r1", money, credit), "r1")
        assert found is not None
        assert ((found.money, found.credit) == (money, credit)) is fits


moves = st.lists(
    st.tuples(
        st.sampled_from(("claim", "settle", "fail", "outside", "lost")),
        st.integers(1, 4),
        st.integers(1, 3000),
    ),
    max_size=12,
)


@given(moves)
def test_never_more_than_was_paid(told: list[tuple[str, int, int]]) -> None:  # R-REF-5
    """Whatever is asked in whatever order, our own claims and what came before them stay within the price."""
    purchase, outer = delivered(), 0
    for what, nth, amount in told:
        if what == "claim":
            purchase = claimed(purchase, Claim(f"r{nth}", money=amount))
        elif what == "outside":
            outer = min(
                3000 - sum(one.money for one in purchase.claims if one.state != "failed"), outer + amount
            )
            own = sum(one.money for one in purchase.claims if one.state == "settled")
            purchase = merge(purchase, refunded(outer + own))
        elif what == "lost":
            fact = h.Disputed(at=T0, payment="pi_1", dispute="d", state="lost", amount=1, currency="USD")
            purchase = merge(purchase, fact)
        else:
            purchase = ended(purchase, f"r{nth}", "settled" if what == "settle" else "failed")
        purchase = work(purchase)
        assert sum(one.money for one in purchase.claims if one.state != "failed") <= 3000
        assert len(purchase.taken) == len(set(purchase.taken))
        assert next_step(purchase) is None


def test_credit_is_taken_first_and_given_back_once() -> None:  # R-REF-4
    ordered = Purchase(
        id="2" * 32, organization="acme", created_at=T0, kind="pack", item="pack", title="Pack", amount=1000,
        currency="USD", tokens=500, credit_used=2000,
    )  # fmt: skip
    assert next_step(ordered) == "spend_credit"
    over = merge(work(ordered), h.Ended(at=T0))
    assert next_step(over) == "return_credit"
    over = work(over)
    assert (next_step(over), over.state) == (None, "abandoned")
    late = merge(over, h.Paid(at=T0, payment="pi_1", amount=1000, currency="USD"))
    assert work(late).done == ("spend_credit", "return_credit", "spend_credit", "deliver")


def test_an_order_that_credit_pays_whole_is_free_once_the_credit_is_taken() -> None:  # R-REF-4
    ordered = Purchase(
        id="2" * 32, organization="acme", created_at=T0, kind="pack", item="pack", title="Pack", amount=0,
        currency="USD", tokens=500, credit_used=2000, mode="free",
    )  # fmt: skip
    assert next_step(merge(ordered, h.Ended(at=T0))) is None, "without its credit it is nothing"
    assert work(ordered).done == ("spend_credit", "deliver")
