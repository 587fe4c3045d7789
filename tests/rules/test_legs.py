"""Claims on a larger pack that stands on several payments, against a naive account of the same (R-REF-4, R-REF-5).

The naive account knows nothing of claims: it keeps what is left of each payment, and gives back from the newest on.
"""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.rules.test_claims import T0, work
from tokentill.rules import happenings as h
from tokentill.rules.claims import (
    LOST,
    OUTSIDE,
    claimed,
    ended,
    fixed,
    next_taking,
    rebased,
    resized,
    trimmed,
)
from tokentill.rules.legs import (
    Claim,
    Part,
    Taking,
    claim_of,
    done_of,
    given_back,
    left,
    legs,
    outside,
    paid_money,
    told,
)
from tokentill.rules.purchases import Purchase, derive, merge, next_step
from tokentill.rules.upgraded import taken_over


def bought(number: int, amount: int, **more: Any) -> Purchase:
    ordered = Purchase(
        id=f"{number:032x}", organization="acme", created_at=T0, kind="pack", item="pack", title="Pack",
        amount=amount, currency="USD", tokens=500, provider="till", **more,
    )  # fmt: skip
    return work(merge(ordered, h.Paid(at=T0 + number, payment=f"pi_{number}", amount=amount, currency="USD")))


def chain(*amounts: int) -> list[Purchase]:
    """Packs in the place of one another, each paid with the difference; the one that counts is the last."""
    found = [bought(0, amounts[0])]
    for number, amount in enumerate(amounts[1:], 1):
        last = found[-1]
        found[-1] = replace(last, replaced_by=f"{number:032x}")
        found.append(taken_over(bought(number, amount, carried=0), last))
    return found


def back(number: int, refunded: int) -> h.Refunded:
    return h.Refunded(at=T0, payment=f"pi_{number}", refunded=refunded, currency="USD")


def passed(packs: list[Purchase], number: int, fact: h.AnyHappening) -> list[Purchase]:
    """The packs once a fact about one of them is known there and to every one after it."""
    found = [*packs]
    found[number] = work(merge(found[number], fact))
    for after in range(number + 1, len(found)):
        found[after] = work(taken_over(found[after], found[after - 1]))
    return found


def next_part(purchase: Purchase, refund: str) -> Part | None:
    """The first part of the claim that has not gone back."""
    claim = claim_of(purchase, refund)
    assert claim is not None
    done = done_of(purchase, claim)
    return next((part for part in claim.parts if part not in done), None)


def test_the_money_is_spread_over_the_payments_the_newest_first() -> None:  # R-REF-4
    *_, last = chain(2500, 2000, 5500)
    assert [leg.amount for leg in legs(last)] == [5500, 2000, 2500]
    claim = claim_of(claimed(last, Claim("r", money=8000)), "r")
    assert claim is not None
    assert claim.parts == (
        Part(f"{2:032x}", 5500),
        Part(f"{1:032x}", 2000),
        Part(f"{0:032x}", 500),
    )
    assert claim_of(claimed(last, Claim("r", money=10_001)), "r") is None


def test_a_part_is_what_its_payment_can_move() -> None:  # R-REF-5
    """Money moves in tens here: of 2,005 of the newest payment 2,000 go, and the rest comes from the one before."""
    *_, last = chain(2500, 2005)
    claim = claim_of(claimed(last, Claim("r", money=3000), 10), "r")
    assert claim is not None
    assert [part.money for part in claim.parts] == [2000, 1000]
    assert left(last, 10) == 4500


def test_parts_are_done_by_what_their_own_payment_gave_back() -> None:  # R-REF-5
    packs = chain(2500, 2000)
    packs[1] = work(claimed(packs[1], Claim("r", money=4000)))
    assert next_part(packs[1], "r") == Part(f"{1:032x}", 2000)
    packs = passed(packs, 1, back(1, 2000))
    assert next_part(packs[1], "r") == Part(f"{0:032x}", 2000)
    packs = passed(packs, 0, back(0, 1999))
    assert next_part(packs[1], "r") == Part(f"{0:032x}", 2000)
    packs = passed(packs, 0, back(0, 2000))
    assert next_part(packs[1], "r") is None
    assert outside(packs[1]) == 0


def test_what_went_back_otherwise_is_not_asked_for_again() -> None:  # R-REF-5
    packs = chain(2500, 2000)
    packs[1] = work(claimed(packs[1], Claim("r", money=4500)))
    packs = passed(passed(packs, 1, back(1, 2000)), 0, back(0, 700))
    again = rebased(packs[1], "r")
    assert next_part(again, "r") == Part(f"{0:032x}", 1800, 700)
    assert rebased(again, "r") == again
    claim = claim_of(again, "r")
    assert claim is not None
    assert sum(part.money for part in done_of(again, claim)) == 2700
    assert sum(part.money for part in claim.parts) == claim.money


def test_figures_that_are_on_their_way_change_no_more() -> None:  # R-REF-5, R-REF-6
    *_, last = chain(2500, 2000)
    last = fixed(claimed(last, Claim("r", money=4500)), "r", 3000)
    claim = claim_of(last, "r")
    assert claim is not None
    assert (claim.money, [part.money for part in claim.parts]) == (3000, [2000, 1000])
    assert resized(last, "r", 100, 0) == last
    assert fixed(last, "r", 10) == last


def test_the_rest_as_credit_stays_within_the_price() -> None:  # R-REF-4, R-REF-5
    packs = chain(2500, 2000)
    packs[1] = work(claimed(packs[1], Claim("r", money=4500)))
    packs = passed(packs, 1, back(1, 2000))
    claim = claim_of(trimmed(packs[1], "r", 2500), "r")
    assert claim is not None
    assert (claim.money, claim.credit, len(claim.parts)) == (2000, 2500, 1)
    assert trimmed(packs[1], "r", 2501) == packs[1]


def test_of_several_payments_one_lost_takes_its_share_and_the_last_everything() -> None:  # R-REF-6
    packs = chain(2500, 2000)
    lost = h.Disputed(at=T0, payment="pi_0", dispute="d", state="lost", amount=2500, currency="USD")
    before = replace(packs[0], disputes=merge(packs[0], lost).disputes)
    assert next_taking(taken_over(packs[1], derive(before))) == Taking(LOST, 2500, 4500)
    packs = passed(packs, 0, lost)
    assert (packs[0].state, packs[1].state, packs[1].accounted) == ("charged_back", "partly_refunded", 2500)
    packs = passed(packs, 1, replace(lost, payment="pi_1", dispute="e", amount=2000))
    assert (packs[1].state, packs[1].taken, next_step(packs[1])) == ("charged_back", ("dispute",), None)


def test_sums_that_are_passed_on_late_are_no_less() -> None:  # R-REF-6
    first, last = passed(chain(2500, 2000), 0, back(0, 1000))
    older = replace(first, refunds=(("pi_0", 400),))
    assert taken_over(last, older) == last


def test_the_pack_before_takes_nothing_any_more() -> None:  # R-REF-6
    packs = passed(chain(2500, 2000), 0, back(0, 1000))
    assert (packs[0].state, packs[0].accounted, packs[0].done.count("take_back")) == ("partly_refunded", 0, 0)
    assert (packs[1].accounted, packs[1].done.count("take_back")) == (1000, 1)
    packs = passed(
        packs, 0, h.Disputed(at=T0, payment="pi_0", dispute="d", state="open", amount=1, currency="USD")
    )
    assert ("set_aside" in packs[0].done, packs[1].done[-1]) == (False, "set_aside")


class Naive:
    """What is left of each payment, oldest first."""

    def __init__(self, *amounts: int) -> None:
        self.left = [*amounts]

    def outside(self, number: int, amount: int) -> int:
        """Money goes back in a dashboard; how much that can be."""
        took = min(amount, self.left[number])
        self.left[number] -= took
        return took

    def refund(self, amount: int, refuses: int | None) -> list[tuple[int, int]] | None:
        """What a refund of ours gives back of which payment, until one refuses; None where it is too much."""
        if amount > sum(self.left):
            return None
        gave: list[tuple[int, int]] = []
        for number in reversed(range(len(self.left))):
            take = min(amount, self.left[number])
            amount -= take
            if take and number == refuses:
                break
            if take:
                self.left[number] -= take
                gave.append((number, take))
        return gave


moves = st.lists(
    st.tuples(
        st.sampled_from(("outside", "refund", "refused")),
        st.integers(0, 2),
        st.integers(1, 12_000),
    ),
    max_size=10,
)


@settings(max_examples=200)
@given(st.tuples(*[st.integers(1, 6000)] * 3), moves)
def test_claims_agree_with_a_naive_account(
    amounts: tuple[int, int, int], told_: list[tuple[str, int, int]]
) -> None:
    """Whatever goes back by whom of which payment: no payment gives more than it was, the parts sum up exactly."""
    packs, naive = chain(*amounts), Naive(*amounts)
    gone = [0, 0, 0]
    for step, (what, number, amount) in enumerate(told_):
        if what == "outside":
            gone[number] += naive.outside(number, amount)
            packs = passed(packs, number, back(number, gone[number]))
        else:
            refund = f"r{step}"
            expected = naive.refund(amount, number if what == "refused" else None)
            asked = claimed(packs[2], Claim(refund, money=amount, takes=False))
            assert (claim_of(asked, refund) is None) is (expected is None)
            if expected is None:
                continue
            packs[2] = work(asked)
            gave: list[tuple[int, int]] = []
            while (part := next_part(packs[2], refund)) is not None:
                at = int(part.purchase, 16)
                if what == "refused" and at == number:
                    break
                gave.append((at, part.money))
                gone[at] += part.money
                packs = passed(packs, at, back(at, gone[at]))
            assert gave == expected
            whole = next_part(packs[2], refund) is None
            packs[2] = work(ended(packs[2], refund, "settled" if whole else "failed"))
        last = packs[2]
        assert [leg.amount - naive.left[int(leg.purchase, 16)] for leg in legs(last)] == [
            dict(last.refunds).get(f"pi_{2 - at}", 0) for at in range(3)
        ]
        assert given_back(last) == told(last) == sum(amounts) - sum(naive.left)
        assert left(last) == sum(naive.left)
        assert outside(last) == last.accounted == told(last) - _settled(last)
        assert paid_money(last) == sum(amounts)
        assert next_step(last) is None
        assert next_taking(last) in (None, Taking(OUTSIDE))


def _settled(purchase: Purchase) -> int:
    """What our own refunds gave back."""
    return sum(one.money for one in purchase.claims if one.state == "settled")
