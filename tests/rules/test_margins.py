"""What a month has left, from what was really used (R-FIN-1). Figures by hand."""

import pytest
from msgspec import structs

from tests.support.desk import Desk, change_plan, ms, preset, without_limits
from tokentill.rules import commands as c
from tokentill.rules import happenings as h
from tokentill.rules.catalog import Catalog, Exhaustion, Overage
from tokentill.rules.margins import Line, MarginLine, Reading, Source, judged, remedy, report, span, total
from tokentill.rules.purchases import Payment, Purchase, derive, merge
from tokentill.rules.takings import booked, since

GOALS = without_limits(preset("goals"))


def read(
    desk: Desk, month: str, *sold: Purchase, trials: tuple[tuple[int, int], ...] = ()
) -> tuple[Line, ...]:
    """The lines of the desk's organization in the month."""
    items = {row.id: row.item for row in sold}

    def source(number: int) -> Source | None:
        lot = desk.account.state.lots[number]
        if lot.origin == "pack":
            return "pack", items.get(lot.reference or "", "")
        return None if lot.origin in ("plan", "rollover") else ("given", "")

    start, end = span(month)
    reading = Reading(start, end, desk.now, desk.account.state.plan, source, trials, billed=lambda _: 0)
    costs = desk.catalog.costs
    reading.book(since(booked(sold, end, "USD", costs), booked(sold, start, "USD", costs)))
    for entry in reversed(desk.journal):
        if not reading.take(entry, desk.catalog.costs):
            break
    return reading.lines()


def pack(at: str, *back: tuple[str, int]) -> Purchase:
    """A pack of 500 for $29, paid then, and what had gone back of it when."""
    row = Purchase(
        id="bought", organization="acme", created_at=ms(at), kind="pack", item="token_pack_500", title="500 tokens",
        amount=2900, currency="USD", tokens=500, payments=(Payment(ms(at), "pi", 2900, "USD"),),
    )  # fmt: skip
    for when, gone in back:
        row = merge(row, h.Refunded(at=ms(when), payment="pi", refunded=gone, currency="USD"))
    return derive(row)


def test_a_whole_month_of_a_plan() -> None:  # R-FIN-1: S2 §4, "Pro tier margin = $147"
    desk = Desk(GOALS, "pro", at="2025-01-01")
    desk.charge("generate_goal", quantity=66)
    desk.until("2025-02-10")
    desk.view()
    [line] = read(desk, "2025-01")
    assert line == Line(kind="plan", item="pro", payments=1_000_000, revenue=14_900, fees=462, tokens=198)
    assert judged(GOALS, line) == MarginLine(
        kind="plan", item="pro", payments="1.00", revenue=14_900, tokens=198, cost=198, fees=462, gross=14_702,
        net=14_240, gross_percent="98.7", net_percent="95.6", per_payment=14_702, margin_min=10_000, below=False,
    )  # fmt: skip


def test_a_period_counts_where_it_ends_or_runs() -> None:  # R-FIN-1
    desk = Desk(GOALS, "pro", at="2025-01-17")
    desk.charge("generate_goal", quantity=66)
    running = read(desk, "2025-01")
    assert running == (
        Line(kind="plan", item="pro", payments=1_000_000, revenue=14_900, fees=462, tokens=198),
    )
    desk.until("2025-02-10")
    assert (read(desk, "2025-01"), read(desk, "2025-02")) == ((), running)
    desk.until("2025-03-02")
    desk.charge("generate_goal", quantity=10)
    assert (read(desk, "2025-02"), [line.tokens for line in read(desk, "2025-03")]) == (running, [30])


def test_an_upgrade_ends_what_came_before() -> None:  # R-FIN-1, R-PLAN-4
    desk = Desk(GOALS, "pro", at="2025-01-01")
    desk.charge("generate_goal", quantity=10)
    desk.until("2025-01-16")
    desk.ok(c.ChangePlan(plan="enterprise", when="now"))
    desk.charge("generate_goal", quantity=100)
    desk.until("2025-02-01")
    desk.view()
    [pro], [enterprise] = read(desk, "2025-01"), read(desk, "2025-02")
    assert (pro.item, pro.tokens, pro.revenue, pro.payments) == (
        "pro",
        30,
        7_210,
        483_871,
    )  # 15/31 of $149.00
    assert (enterprise.item, enterprise.tokens, enterprise.revenue) == ("enterprise", 300, 39_900)


def test_packs_gifts_and_what_was_given_back() -> None:  # R-FIN-1
    desk = Desk(GOALS, "pro", at="2025-01-01")
    desk.ok(c.Grant(tokens=500, origin="pack", reference="bought"))
    desk.ok(c.Grant(tokens=30, origin="bonus"))
    desk.charge("generate_goal", quantity=66)  # 198 of the plan
    desk.charge("generate_goal", quantity=20)  # 2 of the plan and 58 of the pack
    back = desk.ok(c.Charge(feature="generate_goal", quantity=10)).operation
    desk.ok(c.Refund(operation=back))
    desk.until("2025-02-01")
    desk.view()
    bought, plan = read(desk, "2025-01", pack("2025-01-05"))
    assert (bought.item, bought.tokens, bought.revenue, bought.payments) == (
        "token_pack_500",
        58,
        2_900,
        1_000_000,
    )
    assert plan.tokens == 200
    assert [line.kind for line in read(desk, "2025-02", pack("2025-01-05"))] == ["plan"]  # the one that runs


def test_money_that_goes_back_is_of_the_month_in_which_it_does() -> None:  # R-FIN-1
    desk = Desk(GOALS, "starter", at="2025-01-01")
    sold = pack("2025-01-05", ("2025-01-20", 900), ("2025-03-01", 2_900))

    def money(month: str) -> list[tuple[str, str, int]]:
        found = read(desk, month, sold)
        return [(line.kind, line.item, line.revenue) for line in found if line.kind != "plan"]

    item = "token_pack_500"
    assert money("2025-01") == [("pack", item, 2_900), ("refund", item, -900)]
    assert money("2025-02") == []
    assert money("2025-03") == [("refund", item, -2_000)]
    [back] = [judged(GOALS, line) for line in read(desk, "2025-03", sold) if line.kind == "refund"]
    assert (back.gross, back.net, back.gross_percent, back.per_payment) == (-2_000, -2_000, None, None)


def test_a_trial_and_an_unpaid_period_bring_nothing() -> None:  # R-FIN-1
    desk = Desk(GOALS, "pro", at="2025-01-01")
    desk.charge("generate_goal", quantity=10)
    trial = (ms("2025-01-01"), ms("2025-02-01"))
    [line] = read(desk, "2025-01", trials=(trial,))
    assert (line.tokens, line.revenue, line.payments) == (30, 0, 0)
    desk.until("2025-01-20")
    desk.ok(c.Freeze())
    desk.until("2025-03-20")
    desk.view()
    assert read(desk, "2025-02") == ()


def test_overage_stands_by_itself() -> None:  # R-FIN-1, R-PLAN-6
    catalog = change_plan(GOALS, "pro", exhaustion=Exhaustion(overage=Overage(price=150)))
    desk = Desk(catalog, "pro", at="2025-01-01")
    desk.charge("generate_goal", quantity=70)
    desk.until("2025-02-10")
    desk.view()
    deferred, overage, plan = read(desk, "2025-01")
    assert (deferred.kind, deferred.revenue) == ("deferred", -1_500)  # the bill is paid in the next month
    assert (overage.kind, overage.item, overage.tokens, overage.revenue) == ("overage", "pro", 10, 1_500)
    assert plan.tokens == 200


def dear(per_token: int) -> Catalog:
    return structs.replace(
        GOALS, costs=structs.replace(GOALS.costs, per_million_tokens=per_token * 1_000_000)
    )


@pytest.mark.parametrize(
    ("cost", "left", "below"),
    [(24, 10_100, False), (25, 9_900, True)],  # $0.24 and $0.25 for each of 200 tokens
)
def test_what_one_payment_leaves_must_be_more(cost: int, left: int, below: bool) -> None:
    catalog = dear(cost)
    line = Line(kind="plan", item="pro", payments=1_000_000, revenue=14_900, fees=462, tokens=200)
    found = judged(catalog, line)
    assert (found.per_payment, found.below) == (left, below)
    exact = structs.replace(line, revenue=10_000 + cost * 200)
    assert judged(catalog, exact).below  # "healthy > $100": $100.00 itself is not


def test_the_report_names_who_is_below_and_what_to_do() -> None:  # R-FIN-1
    catalog = dear(25)
    well = Line(kind="plan", item="pro", payments=1_000_000, revenue=14_900, tokens=10)
    badly = Line(kind="plan", item="pro", payments=1_000_000, revenue=14_900, tokens=2_000)
    found = report(catalog, "2025-01", {"acme": (well,), "bert": (badly,)}, closed=True)
    assert (found.organizations, found.below) == (2, ("bert",))
    [line] = found.lines
    assert (line.payments, line.tokens, line.gross) == ("2.00", 2_010, 29_800 - 50_250)
    assert found.remedies == (
        (
            "In 2025-01 a payment for Pro left -$102.25, which is not more than $100.00. Increase its price or reduce "
            "its tokens."
        ),
    )
    assert remedy(catalog, "2025-01", line) == found.remedies[0]
    assert total(()) == ()


@pytest.mark.parametrize(
    ("month", "start", "end"),
    [("2025-12", "2025-12-01", "2026-01-01"), ("2024-02", "2024-02-01", "2024-03-01")],
)
def test_months_are_those_of_utc(month: str, start: str, end: str) -> None:  # R-FIN-1
    assert span(month) == (ms(start), ms(end))
