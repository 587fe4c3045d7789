"""Every amount is booked once, in whatever order it is told and however late (R-FIN-1, R-REF-5)."""

import itertools
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.support.desk import ms, preset
from tokentill.rules import happenings as h
from tokentill.rules.margins import Line
from tokentill.rules.outgoes import parts
from tokentill.rules.purchases import Purchase, merge
from tokentill.rules.takings import booked, since, takings

COSTS = preset("goals").costs
DAY = 86_400_000
MONTHS = [ms(f"2026-{month:02}-01") for month in range(1, 8)]


def order(kind: Any = "pack", **more: Any) -> Purchase:
    return Purchase(
        id="p", organization="acme", created_at=0, kind=kind, item="item", title="Item", amount=1_000, currency="USD",
        **more,
    )  # fmt: skip


def paid(at: int, amount: int = 1_000, **more: Any) -> h.Paid:
    return h.Paid(at=at, payment="pi", amount=amount, currency="USD", **more)


def back(at: int, total: int) -> h.Refunded:
    return h.Refunded(at=at, payment="pi", refunded=total, currency="USD")


def lost(at: int, amount: int) -> h.Disputed:
    return h.Disputed(at=at, payment="pi", dispute="dp", state="lost", amount=amount, currency="USD")


def moved(row: Purchase) -> list[tuple[int, int]]:
    return sorted((at, line.revenue) for at, line in takings(row, "USD", COSTS))


def test_each_part_that_goes_back_has_its_moment_in_every_order() -> None:  # R-PACK-3
    facts: list[h.AnyHappening] = [paid(1), back(10, 300), back(20, 500), back(25, 500), lost(30, 1_000)]
    for told in itertools.permutations(facts):
        row = order()
        for fact in (*told, *told):
            row = merge(row, fact)
        # The bank takes no more than is left of the payment.
        assert moved(row) == [(1, 1_000), (10, -300), (20, -200), (30, -500)]


def test_what_is_no_money_here_is_not_booked() -> None:
    row = merge(order(), h.Paid(at=1, payment="pi", amount=500, currency="EUR"))
    assert moved(merge(row, back(2, 500))) == []
    assert moved(merge(order(), back(2, 500))) == []  # of a payment that nobody told of
    won = h.Disputed(at=3, payment="pi", dispute="dp", state="won", amount=1_000, currency="USD")
    assert moved(merge(merge(order(), paid(1)), won)) == [(1, 1_000)]
    assert list(parts((), "pi", 5)) == []


def test_a_plan_is_deferred_until_its_periods_earn_it() -> None:
    for kind, item in (("plan", "item"), ("renewal", "item"), ("upgrade", "item"), ("overage", "overage")):
        row = merge(order(kind), paid(1) if kind == "overage" else invoice(1))
        assert [line for _, line in takings(row, "USD", COSTS)] == [
            Line(kind="deferred", item=item, revenue=1_000)
        ]


def invoice(at: int) -> h.InvoicePaid:
    return h.InvoicePaid(
        at=at, subscription="sub", invoice="in", plan="item", amount=1_000, currency="USD", start=at, end=at + DAY,
        reason="create", payment="pi",
    )  # fmt: skip


moments = st.integers(MONTHS[0], MONTHS[-1] - 1)


@st.composite
def stories(draw: st.DrawFn) -> tuple[str, list[tuple[int, h.AnyHappening]]]:
    """What happens to one purchase, each fact with when it is told, which is not before it is true."""
    kind = draw(st.sampled_from(("pack", "plan", "overage")))
    at = draw(moments)
    facts: list[h.AnyHappening] = [invoice(at) if kind == "plan" else paid(at)]
    facts += [back(draw(moments), total) for total in draw(st.lists(st.integers(1, 1_000), max_size=3))]
    if draw(st.booleans()):
        facts.append(lost(draw(moments), draw(st.integers(1, 1_500))))
    return kind, [(draw(st.integers(fact.at, MONTHS[-1] - 1)), fact) for fact in facts]


@given(st.lists(stories(), max_size=6))
def test_all_months_together_are_money_in_less_money_out(
    told: list[tuple[str, list[tuple[int, h.AnyHappening]]]],
) -> None:
    """R-FIN-1: each month is summed when it is over, with what is known by then, and never again."""
    total = 0
    before: tuple[Line, ...] = ()
    for end in MONTHS[1:]:
        rows = []
        for kind, facts in told:
            row = order(kind)
            for at, fact in facts:
                row = merge(row, fact) if at < end else row
            rows.append(row)
        sums = booked(rows, end, "USD", COSTS)
        total += sum(line.revenue for line in since(sums, before))
        before = sums
    expected = 0
    for _, facts in told:
        refunded = max((fact.refunded for _, fact in facts if isinstance(fact, h.Refunded)), default=0)
        disputed = sum(fact.amount for _, fact in facts if isinstance(fact, h.Disputed))
        expected += 1_000 - min(1_000, refunded + disputed)
    assert total == expected
