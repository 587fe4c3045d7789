"""What an operator's amount becomes, and where a refund goes once everything is given (R-REF-5, R-REF-6)."""

from typing import Any

import pytest

from tests.rules.test_refund_review import asked
from tokentill.rules.refund_rows import Opinion, Refund, part_given
from tokentill.rules.refund_steps import approvers, given, judged, refused, split, undone


def row(**more: Any) -> Refund:
    return Refund(
        id="r", organization="acme", purchase="p", quote=asked(100), item="pack", choice="cash", **more
    )


# R-REF-6: the amount, money and credit of the quote, the most that can be money, the provider's step
@pytest.mark.parametrize(
    ("amount", "money", "credit", "left", "step", "found"),
    [
        (5_000, 9_000, 0, 9_000, 1, (5_000, 0)),
        (5_000, 6_000, 4_000, 6_000, 1, (3_000, 2_000)),
        (5_001, 6_000, 4_000, 6_000, 10, (3_010, 1_991)),  # 3,000.6 would be the share: up to the next ten
        (5_000, 6_000, 4_000, 2_990, 10, (2_990, 2_010)),  # no more is left of the money
        (7, 9_000, 0, 9_000, 10, (0, 7)),  # less than can be moved
        (9_003, 9_000, 0, 9_000, 1, (9_000, 3)),
    ],
)
def test_an_operators_amount_is_split_as_the_quote_was(
    amount: int, money: int, credit: int, left: int, step: int, found: tuple[int, int]
) -> None:
    assert split(amount, row(money=money, credit=credit), left, step) == found


@pytest.mark.parametrize(
    ("ends_plan", "runs", "state", "ends"),
    [
        (True, True, "ending", True),
        (True, False, "settled", False),  # it runs on another payment by now
        (False, True, "settled", False),
    ],
)
def test_only_the_plan_that_runs_on_the_payment_is_ended(
    ends_plan: bool, runs: bool, state: str, ends: bool
) -> None:
    found = given(row(state="giving", ends_plan=ends_plan), 7, runs=runs)
    assert (found.state, found.ends_plan) == (state, ends)
    assert (found.settled_at == 7) is (state == "settled")
    assert given(found, 8, runs=runs) == found, "once"


def opinion(actor: str, what: Any, amount: int | None = None) -> Opinion:
    return Opinion(1, actor, what, "because", amount)


def test_a_provider_that_refuses_before_anything_went_back_ends_it() -> None:  # R-REF-5
    found = refused(row(state="paying", money=4_500), opinion("stripe", "refused", 0))
    assert (found.state, found.ends, found.problem, found.opinions) == ("undoing", "failed", "because", ())
    assert refused(found, opinion("stripe", "refused", 0)) == found


@pytest.mark.parametrize(
    ("needs", "before", "wants", "now"),
    [
        ("nobody", (), "operator", ("cleo",)),
        ("two_operators", ("ann", "bob"), "two_operators", ("cleo", "ann")),
    ],
)
def test_what_a_provider_refuses_after_a_part_is_agreed_to_anew(
    needs: Any, before: tuple[str, ...], wants: str, now: tuple[str, ...]
) -> None:  # R-REF-6
    """Who agreed before did not know of it, so that as many must agree again, and the same ones may."""
    agreed = tuple(opinion(actor, "approve") for actor in before)
    found = refused(
        row(state="paying", money=4_500, needs=needs, opinions=agreed), opinion("till", "refused", 2_000)
    )
    assert (found.state, found.needs, found.problem, part_given(found)) == (
        "waiting", wants, "because", 2_000,
    )  # fmt: skip
    assert approvers(found) == ()
    for actor in now:
        assert found.state == "waiting"
        found = judged(found, opinion(actor, "approve"))
    assert (found.state, approvers(found)) == ("paying", now)


def test_what_is_denied_after_a_part_went_back_is_left_at_that_part() -> None:  # R-REF-5, R-REF-6
    waits = refused(row(state="paying", money=4_500, credit=300), opinion("till", "refused", 2_000))
    found = judged(waits, opinion("ann", "deny"))
    assert (found.state, found.ends, found.money, found.credit) == ("undoing", "settled", 2_000, 0)
    over = undone(found, 9)
    assert (over.state, over.settled_at) == ("settled", 9)
    assert undone(over, 10) == over
