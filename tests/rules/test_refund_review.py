"""Who must agree to a refund (R-REF-6)."""

import pytest

from tokentill.rules.refund_policy import RefundPolicy
from tokentill.rules.refund_review import History, Signal, agreed, explain, review
from tokentill.rules.refunds import Bought, Customer, Quote, Usage, quote

T0 = 1_770_000_000_000
POLICY = RefundPolicy(automatic_max=10_000, four_eyes_above=50_000)


def asked(price: int, spent: int = 0) -> Quote:
    what = Bought(id="p", item="pack", title="Pack", currency="USD", paid=price, paid_at=T0)
    usage = Usage(granted=1000, spent=spent, held=0, left=1000 - spent)
    return quote(what, usage, Customer(), "technical", T0 + 86_400_000, POLICY)


@pytest.mark.parametrize(
    ("price", "needs"),
    [
        (10_000, "nobody"), (10_001, "operator"), (50_000, "operator"), (50_001, "two_operators"),
    ],
)  # fmt: skip
def test_the_limits_of_the_catalog_decide_who_must_agree(price: int, needs: str) -> None:
    found = asked(price)
    assert review(found, found.options[0], History(), POLICY).needs == needs


@pytest.mark.parametrize(("given", "needs"), [(0, "nobody"), (1, "operator"), (40_001, "two_operators")])
def test_a_limit_counts_what_other_refunds_of_the_purchase_gave_back(given: int, needs: str) -> None:
    found = asked(10_000)
    assert review(found, found.options[0], History(given=given), POLICY).needs == needs


@pytest.mark.parametrize(
    ("history", "spent", "signals"),
    [
        (History(refunds=2), 0, ()),
        (History(refunds=3), 0, ("refund_rate",)),
        (History(accounts=2), 0, ()),
        (History(accounts=3), 0, ("shared_method",)),
        (History(), 899, ()),
        (History(), 900, ("heavy_use",)),
        (History(guarantees=1, since_ms=86_400_000), 0, ("repeated_guarantee",)),
        (History(guarantees=1, since_ms=86_400_001), 0, ()),
        (History(guarantees=0, since_ms=0), 0, ()),
    ],
)
def test_what_is_suspicious_goes_to_an_operator(
    history: History, spent: int, signals: tuple[Signal, ...]
) -> None:
    found = asked(100, spent)
    judged = review(found, found.options[0], history, POLICY)
    assert (judged.signals, judged.needs) == (signals, "operator" if signals else "nobody")
    assert judged.seen == tuple(explain(one, history, POLICY) for one in signals)


def test_what_leaves_nothing_needs_nobody_however_dear_the_purchase_was() -> None:
    found = asked(1_000_000)
    bonus = next(option for option in found.options if option.choice == "bonus")
    assert review(found, bonus, History(), POLICY).needs == "nobody"


def test_two_operators_are_two_people() -> None:
    assert not agreed("two_operators", ("ann", "ann"))
    assert agreed("two_operators", ("ann", "bob"))
    assert not agreed("operator", ())
    assert agreed("nobody", ())
