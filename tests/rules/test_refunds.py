"""The refund quote: S0's matrix times its multipliers, every cell, every boundary (R-REF-1 to R-REF-5)."""

from fractions import Fraction
from itertools import product
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tokentill.rules.refund_policy import REASONS, Reason, RefundPolicy, Withdrawal
from tokentill.rules.refund_sentences import RefundTexts
from tokentill.rules.refund_texts import choice, sentence, sentences, span, waiver, why_not
from tokentill.rules.refunds import (
    Bought,
    Choice,
    Customer,
    Larger,
    Line,
    Option,
    Quote,
    Refused,
    Step,
    Usage,
    quote,
)

T0 = 1_770_000_000_000
NO_GUARANTEE = RefundPolicy(guarantee_percent=None)

# Rates in percent, worked out by hand: base of the matrix x value x time, clamped to 100 at the end.
CELLS = """
    time   |customer|used| technical | quality | unused | first time
    1 h    |new     |<5  |     100 |      55 |     100 |      55
    1 h    |new     |<25 |    82.5 |   41.25 |    82.5 |   41.25
    1 h    |new     |<50 |      55 |    27.5 |      55 |    27.5
    1 h    |new     |>50 |    27.5 |   13.75 |    27.5 |   13.75
    1 h    |> $100  |<5  |     100 |    60.5 |     100 |    60.5
    1 h    |> $100  |<25 |   90.75 |  45.375 |   90.75 |  45.375
    1 h    |> $100  |<50 |    60.5 |   30.25 |    60.5 |   30.25
    1 h    |> $100  |>50 |   30.25 |  15.125 |   30.25 |  15.125
    1 h    |> $1000 |<5  |     100 |      66 |     100 |      66
    1 h    |> $1000 |<25 |      99 |    49.5 |      99 |    49.5
    1 h    |> $1000 |<50 |      66 |      33 |      66 |      33
    1 h    |> $1000 |>50 |      33 |    16.5 |      33 |    16.5
    24 h   |new     |<5  |     100 |      50 |     100 |      50
    24 h   |new     |<25 |      75 |    37.5 |      75 |    37.5
    24 h   |new     |<50 |      50 |      25 |      50 |      25
    24 h   |new     |>50 |      25 |    12.5 |      25 |    12.5
    24 h   |> $100  |<5  |     100 |      55 |     100 |      55
    24 h   |> $100  |<25 |    82.5 |   41.25 |    82.5 |   41.25
    24 h   |> $100  |<50 |      55 |    27.5 |      55 |    27.5
    24 h   |> $100  |>50 |    27.5 |   13.75 |    27.5 |   13.75
    24 h   |> $1000 |<5  |     100 |      60 |     100 |      60
    24 h   |> $1000 |<25 |      90 |      45 |      90 |      45
    24 h   |> $1000 |<50 |      60 |      30 |      60 |      30
    24 h   |> $1000 |>50 |      30 |      15 |      30 |      15
    7 days |new     |<5  |     100 |      50 |     100 |      50
    7 days |new     |<25 |      75 |    37.5 |      75 |    37.5
    7 days |new     |<50 |      50 |      25 |      50 |      25
    7 days |new     |>50 |      25 |    12.5 |      25 |    12.5
    7 days |> $100  |<5  |     100 |      55 |     100 |      55
    7 days |> $100  |<25 |    82.5 |   41.25 |    82.5 |   41.25
    7 days |> $100  |<50 |      55 |    27.5 |      55 |    27.5
    7 days |> $100  |>50 |    27.5 |   13.75 |    27.5 |   13.75
    7 days |> $1000 |<5  |     100 |      60 |     100 |      60
    7 days |> $1000 |<25 |      90 |      45 |      90 |      45
    7 days |> $1000 |<50 |      60 |      30 |      60 |      30
    7 days |> $1000 |>50 |      30 |      15 |      30 |      15
    later  |new     |<5  |      80 |      40 |      80 |      40
    later  |new     |<25 |      60 |      30 |      60 |      30
    later  |new     |<50 |      40 |      20 |      40 |      20
    later  |new     |>50 |      20 |      10 |      20 |      10
    later  |> $100  |<5  |      88 |      44 |      88 |      44
    later  |> $100  |<25 |      66 |      33 |      66 |      33
    later  |> $100  |<50 |      44 |      22 |      44 |      22
    later  |> $100  |>50 |      22 |      11 |      22 |      11
    later  |> $1000 |<5  |      96 |      48 |      96 |      48
    later  |> $1000 |<25 |      72 |      36 |      72 |      36
    later  |> $1000 |<50 |      48 |      24 |      48 |      24
    later  |> $1000 |>50 |      24 |      12 |      24 |      12
"""

ELAPSED_S = {"1 h": 3_600, "24 h": 86_400, "7 days": 604_800, "later": 604_801}
SPENT = {"new": 0, "> $100": 10_001, "> $1000": 100_001}
USED = {"<5": 49, "<25": 249, "<50": 499, ">50": 1000}


def bought(price: int = 100_000, **more: Any) -> Bought:
    return Bought(id="p1", item="pack", title="Pack", currency="USD", paid=price, paid_at=T0, **more)


def usage(spent: int, granted: int = 1000, held: int = 0) -> Usage:
    return Usage(granted=granted, spent=spent, held=held, left=granted - spent - held)


def ask(
    used: int = 0,
    reason: Reason | None = "technical",
    elapsed_s: float = 86_400,
    policy: RefundPolicy = NO_GUARANTEE,
    what: Bought | None = None,
    **customer: Any,
) -> Quote:
    customer.setdefault("first_purchase", reason == "first_time")
    now = T0 + int(elapsed_s * 1000)
    return quote(what or bought(), usage(used), Customer(**customer), reason, now, policy)


def cells() -> list[tuple[str, str, str, Reason, Fraction]]:
    rows = [[cell.strip() for cell in line.split("|")] for line in CELLS.strip().splitlines()[1:]]
    return [
        (time, who, used, reason, Fraction(rate))
        for time, who, used, *rates in rows
        for reason, rate in zip(REASONS, rates, strict=True)
    ]


def test_the_table_has_every_cell() -> None:
    assert len(cells()) == 192
    assert {cell[:4] for cell in cells()} == set(product(ELAPSED_S, SPENT, USED, REASONS))


@pytest.mark.parametrize(("time", "who", "used", "reason", "rate"), cells())
def test_every_cell_of_the_matrix(time: str, who: str, used: str, reason: Reason, rate: Fraction) -> None:
    """R-REF-1, R-REF-2, R-REF-3: usage x reason x customer x time, of a price of $1000.00."""
    found = ask(USED[used], reason, ELAPSED_S[time], spent=SPENT[who])
    assert found.rate_millionths == rate * 10_000
    assert found.amount == rate * 1000


@pytest.mark.parametrize(
    ("spent", "rate"),
    [(0, 100), (49, 100), (50, 75), (249, 75), (250, 50), (499, 50), (500, 25), (1000, 25)],
)
def test_exactly_5_25_and_50_percent_belong_to_the_band_above(spent: int, rate: int) -> None:  # R-REF-1
    assert ask(spent).rate_millionths == rate * 10_000


@pytest.mark.parametrize(
    ("elapsed_s", "rate"),
    [
        (0, 55), (3_600, 55), (3_600.001, 50), (86_400, 50), (86_400.001, 50),
        (604_800, 50), (604_800.001, 40),
    ],
)  # fmt: skip
def test_an_hour_and_seven_days_are_within(elapsed_s: float, rate: int) -> None:  # R-REF-3
    assert ask(499, elapsed_s=elapsed_s).rate_millionths == rate * 10_000


@pytest.mark.parametrize(("spent", "rate"), [(10_000, 50), (10_001, 55), (100_000, 55), (100_001, 60)])
def test_exactly_100_and_1000_dollars_are_not_more(spent: int, rate: int) -> None:  # R-REF-2
    assert ask(499, spent=spent).rate_millionths == rate * 10_000


@pytest.mark.parametrize(
    ("elapsed_s", "used_before", "rate"),
    [(0, False, 50), (86_400, False, 50), (86_400.001, False, 0), (0, True, 0)],
)
def test_the_guarantee_gives_half_within_a_day_once_without_a_reason(  # R-REF-4
    elapsed_s: float, used_before: bool, rate: int
) -> None:
    found = ask(1000, None, elapsed_s, RefundPolicy(), guarantee_used=used_before)
    assert (found.rate_millionths, found.guarantee) == (rate * 10_000, rate == 50)


def test_the_guarantee_is_a_floor_after_all_factors() -> None:  # R-REF-2, R-REF-4
    below, above = ask(1000, policy=RefundPolicy()), ask(0, policy=RefundPolicy())
    assert (below.rate_millionths, below.guarantee) == (500_000, True)
    assert (above.rate_millionths, above.guarantee) == (1_000_000, False)


def test_on_a_first_purchase_the_larger_of_two_reasons_counts() -> None:  # R-REF-1
    kinder = RefundPolicy(
        guarantee_percent=None,
        reasons={"technical": 100, "quality": 50, "unused": 100, "first_time": 80},
    )
    assert ask(0, "quality", policy=kinder, first_purchase=True).rate_millionths == 800_000
    assert ask(0, "technical", policy=kinder, first_purchase=True).rate_millionths == 1_000_000
    assert ask(0, "first_time", first_purchase=False).refused == "not_first"


def test_what_is_held_is_neither_used_nor_taken_back() -> None:  # R-REF-5
    found = quote(bought(), usage(0, held=900), Customer(), "technical", T0, NO_GUARANTEE)
    assert (found.rate_millionths, found.options[0].take_back) == (1_000_000, 100)


def test_a_right_of_withdrawal_is_a_floor_where_it_holds_and_was_not_waived() -> None:  # R-REF-1
    policy = RefundPolicy(guarantee_percent=None, withdrawal={"eu": Withdrawal(14)})
    assert ask(300, "quality", 14 * 86_400, policy, region="eu").amount == 70_000
    assert ask(300, "quality", 14 * 86_400, policy, region="us").amount == 20_000
    assert ask(300, "quality", 14 * 86_400 + 1, policy, region="eu").amount == 20_000
    waived = ask(300, "quality", 86_400, policy, bought(waived=True), region="eu")
    assert waived.amount == 25_000
    assert "The right of withdrawal was given up at the purchase." in sentences(waived, RefundTexts())
    unused = ask(0, "unused", 86_400, policy, bought(waived=True), region="eu")
    assert unused.amount == 100_000, "it took nothing away, so it is not named"
    assert [line.name for line in unused.lines] == ["usage", "unused"]
    assert ask(300, "quality", 86_400, policy, bought(renewal=True), region="eu").amount == 25_000


@pytest.mark.parametrize("required", [False, True])
def test_a_waiver_is_put_plainly_and_only_where_there_is_a_right(required: bool) -> None:  # R-REF-1
    policy = RefundPolicy(withdrawal={"eu": Withdrawal(14)}, waiver_required=required)
    found = waiver(policy)
    assert found is not None
    assert (found.text, found.required) == (policy.waiver_text, required)
    assert ("You need not tick this." in found.hint) is not required
    assert waiver(RefundPolicy(waiver_required=required)) is None


def test_the_stricter_reading_never_pays_more_than_the_unused_share() -> None:  # R-REF-1
    strict = RefundPolicy(guarantee_percent=None, unused_share=True)
    assert ask(900, "unused", policy=strict).amount == 10_000
    assert ask(0, "unused", policy=strict).amount == 100_000


@pytest.mark.parametrize(
    ("more", "refused"),
    [
        ({"settled": True}, "settled"),
        ({"refunded": 100_000}, "refunded"),
        ({"price": 0}, "free"),
    ],
)
def test_what_is_settled_given_back_or_free_is_refused_in_words(more: dict[str, Any], refused: str) -> None:
    found = ask(what=bought(**more))  # R-REF-5
    assert (found.refused, found.options, found.amount) == (refused, (), 0)
    assert why_not(found, NO_GUARANTEE)


def test_the_window_closes_90_days_after_the_payment() -> None:  # R-REF-1
    assert ask(elapsed_s=90 * 86_400).refused is None
    assert ask(elapsed_s=90 * 86_400 + 0.001).refused == "too_late"


@pytest.mark.parametrize(
    ("currency", "price", "amount"), [("JPY", 25, 13), ("USD", 2501, 1251), ("KWD", 25_001, 12_501)]
)
def test_the_amount_is_rounded_once_half_up_in_minor_units(currency: str, price: int, amount: int) -> None:
    what = Bought(id="p", item="p", title="P", currency=currency, paid=price, paid_at=T0)  # R-REF-5
    found = quote(what, usage(499), Customer(), "technical", T0 + 86_400_000, NO_GUARANTEE)
    assert found.amount == amount
    assert sentences(found, RefundTexts())[-1].startswith("That is 50 % of ")


@pytest.mark.parametrize(
    ("before", "amount", "money", "credit", "told"),
    [(0, 12_510, 12_510, 0, True), (24_990, 10, 10, 0, False), (12_501, 0, 0, 0, False)],
)
def test_money_is_rounded_up_to_what_the_provider_can_pay_and_no_further(  # R-REF-5
    before: int, amount: int, money: int, credit: int, told: bool
) -> None:
    """25.000 KWD, half of it: Stripe takes three-digit currencies in steps of ten; never more than was paid."""
    what = Bought(
        id="p", item="p", title="P", currency="KWD", paid=25_000 if before != 0 else 25_010, paid_at=T0, step=10,
        refunded=before, refunded_money=before,
    )  # fmt: skip
    used = 0 if before == 24_990 else 499
    found = quote(what, usage(used), Customer(), "technical", T0 + 86_400_000, NO_GUARANTEE)
    assert (found.amount, found.options[0].money, found.options[0].credit) == (amount, money, credit)
    assert found.options[0].worth == amount
    assert (
        "Rounded up to KWD 12.510, the next amount that can be paid." in sentences(found, RefundTexts())
    ) is told


def test_a_quote_explains_itself_step_by_step() -> None:  # R-REF-5
    found = ask(300, "quality", 700_000, RefundPolicy(), spent=20_000)
    assert sentences(found, RefundTexts()) == [
        "300 of 1000 tokens were used (30.0 %): 50 % is the base.",
        "The reason is the quality of the answers: times 50 %.",
        "More than $100.00 was spent here before: times 110 %.",
        "The payment was more than 7 days ago: times 80 %.",
        "That is 22 % of $1,000.00: $220.00.",
    ]


GERMAN = RefundTexts(
    usage="{used} von {bought} Token sind verbraucht ({share} %): {percent} % als Grundlage.",
    quality="Der Grund ist die Qualität der Antworten: mal {percent} %.",
    customer="Hier wurde vorher mehr als {amount} ausgegeben: mal {percent} %.",
    late="Die Zahlung liegt mehr als {span} zurück: mal {percent} %.",
    days="{count} Tage",
    total="{amount} sind {rate} % von {price}.",
    cash="Sie bekommen {money} zurück.",
    bonus="Behalten Sie {left} Token, und {tokens} kommen dazu.",
    credit="Nehmen Sie lieber {credit} als Guthaben!",
    tokens_go="Ihre {left} übrigen Token verfallen.",
)


def test_a_quote_explains_itself_in_the_words_of_the_catalog() -> None:  # R-REF-5
    found = ask(300, "quality", 700_000, RefundPolicy(), spent=20_000)
    assert sentences(found, GERMAN) == [
        "300 von 1000 Token sind verbraucht (30.0 %): 50 % als Grundlage.",
        "Der Grund ist die Qualität der Antworten: mal 50 %.",
        "Hier wurde vorher mehr als $100.00 ausgegeben: mal 110 %.",
        "Die Zahlung liegt mehr als 7 Tage zurück: mal 80 %.",
        "$220.00 sind 22 % von $1,000.00.",
    ]
    assert [choice(option, found, {}, GERMAN) for option in found.options] == [
        "Sie bekommen $220.00 zurück. Ihre 700 übrigen Token verfallen.",  # R-REF-4: first, whatever texts say
        "Behalten Sie 700 Token, und 300 kommen dazu.",
        "Nehmen Sie lieber $600.00 als Guthaben! Ihre 700 übrigen Token verfallen.",
    ]


def test_what_is_taken_off_and_rounded_stands_after_what_it_is_done_to() -> None:  # R-REF-5
    what = Bought(
        id="p", item="p", title="P", currency="KWD", paid=25_010, paid_at=T0, step=10, refunded=2_000,
        refunded_money=2_000,
    )  # fmt: skip
    found = quote(what, usage(499), Customer(), "technical", T0 + 86_400_000, NO_GUARANTEE)
    assert sentences(found, RefundTexts())[-3:] == [
        "That is 50 % of KWD 25.010: KWD 12.505.",
        "KWD 2.000 was given back before, which leaves KWD 10.505.",
        "Rounded up to KWD 10.510, the next amount that can be paid.",
    ]
    assert found.amount == 10_510
    late = replace(what, refunded=20_000, refunded_money=20_000)
    found = quote(late, usage(499), Customer(), "technical", T0 + 86_400_000, NO_GUARANTEE)
    assert sentences(found, RefundTexts())[-1] == "KWD 20.000 was given back before, which leaves KWD 0.000."


def test_every_sentence_can_be_filled() -> None:  # R-REF-5
    """A step, a choice or a refusal without a text, or a place that nothing fills, would fail a customer's quote."""
    texts, found = RefundTexts(), ask(300, "quality", 700_000, RefundPolicy())
    for step in get_args(Step):
        assert sentence(Line(step, 50, 300, 1000), found, texts)
    for name in get_args(Refused):
        assert why_not(replace(found, refused=name), RefundPolicy())
    for name in get_args(Choice):
        for money, credit in ((0, 0), (1, 0), (0, 1), (1, 1)):
            option = Option(
                choice=name, worth=money + credit, cost=0, money=money, credit=credit, ends_plan=True
            )
            assert texts.plan_ends in choice(option, found, {}, texts)


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (1, "1 second"),
        (61, "61 seconds"),
        (60, "1 minute"),
        (3_600, "1 hour"),
        (172_800, "2 days"),
        (90_000, "25 hours"),
    ],
)
def test_a_length_of_time_is_told_in_the_largest_unit_that_fits(seconds: int, told: str) -> None:  # R-REF-5
    assert span(seconds, RefundTexts()) == told


def test_money_stands_first_and_only_what_beats_it_is_recommended() -> None:  # R-REF-4
    larger = (Larger("big", "Big", 3000, 200_000),)
    what, policy = bought(), RefundPolicy()
    found = quote(
        what,
        usage(600),
        Customer(),
        "quality",
        T0 + 200_000_000,
        policy,
        larger=larger,
        cost_per_million=10_000_000,
    )
    told = [
        (o.choice, o.worth, o.cost, o.money, o.credit, o.tokens, o.take_back, o.pay, o.recommended)
        for o in found.options
    ]
    assert told == [
        # choice    worth    cost    money   credit  tokens take  pay      recommended
        ("cash", 12_500, 12_500, 12_500, 0, 0, 400, 0, False),
        ("bonus", 70_000, 7_000, 0, 0, 300, 0, 0, True),  # 400 left + 300 more, at $1 each
        ("upgrade", 60_000, -76_000, 0, 0, 2400, 400, 100_000, True),  # 2400 left of 3000, worth $1600, for $1000
        ("credit", 60_000, 6_000, 0, 60_000, 0, 400, 0, True),  # 60 % of $1000, buys 600 tokens here
    ]  # fmt: skip
    texts = [choice(option, found, {"big": "Big"}, RefundTexts()) for option in found.options]
    assert texts[0] == "Get $125.00 back to where it came from. Your 400 unspent tokens go."
    assert all("400" in text or "2400" in text for text in texts)


def test_an_upgrade_pays_the_difference_of_list_prices() -> None:  # R-REF-4, readings
    """$1000.00 with half off: what is larger, and by how much, does not depend on the promotion."""
    larger = (Larger("big", "Big", 3000, 200_000), Larger("less", "Less", 600, 80_000))
    what = bought(50_000, list_price=100_000)
    found = quote(what, usage(600), Customer(), "quality", T0 + 200_000_000, RefundPolicy(), larger=larger)
    [upgrade] = [option for option in found.options if option.choice == "upgrade"]
    assert (upgrade.item, upgrade.pay, upgrade.tokens) == ("big", 100_000, 2400)


def test_an_alternative_that_the_money_beats_is_listed_and_not_recommended() -> None:  # R-REF-4
    found = ask(0, "technical", policy=RefundPolicy())
    assert [(o.choice, o.recommended) for o in found.options] == [
        ("cash", False),
        ("bonus", True),
        ("credit", False),
    ]


def test_an_alternative_is_instead_of_the_money_and_not_on_top_of_it() -> None:  # R-REF-4
    """A quarter in money first and 60 % as credit afterwards would be more than either."""
    larger = (Larger("big", "Big", 3000, 200_000),)
    what = bought(refunded=25_000, refunded_money=25_000)
    found = quote(what, usage(900), Customer(), "technical", T0 + 86_400_000, NO_GUARANTEE, larger=larger)
    assert [(o.choice, o.money, o.credit, o.take_back) for o in found.options] == [("cash", 0, 0, 0)]
    assert choice(found.options[0], found, {}, RefundTexts()) == "No money can be given back for this now."


def test_what_was_paid_with_credit_goes_back_as_credit() -> None:  # R-REF-4, readings
    what = Bought(id="p", item="p", title="P", currency="USD", paid=7_500, credit=2_500, paid_at=T0)
    cash = quote(what, usage(499), Customer(), "technical", T0 + 86_400_000, NO_GUARANTEE).options[0]
    assert (cash.money, cash.credit, cash.worth) == (3_750, 1_250, 5_000)


def plan(**more: Any) -> Quote:
    """A plan's period of 1000 tokens for $1000, 200 used, asked after a day and a half."""
    usage_ = more.pop("usage", usage(200))
    larger = (Larger("big", "Big", 3000, 200_000),)
    what, now = bought(plan=True, **more), T0 + 130_000_000
    return quote(what, usage_, Customer(), "technical", now, NO_GUARANTEE, larger=larger)


def test_what_is_offered_for_a_period_that_runs() -> None:  # R-REF-1, R-REF-4
    found = plan(runs=True)
    told = [(o.choice, o.worth, o.take_back, o.ends_plan) for o in found.options]
    assert told == [("cash", 75_000, 800, True), ("bonus", 110_000, 0, False), ("credit", 60_000, 800, True)]
    assert choice(found.options[0], found, {}, RefundTexts()) == (
        "Get $750.00 back to where it came from. Your 800 unspent tokens go. Your plan ends at once, and nothing "
        "more is charged for it. Tokens of packs stay yours."
    )
    assert "Your plan ends at once" in choice(found.options[2], found, {}, RefundTexts())


def test_what_is_offered_for_a_period_that_is_over() -> None:  # R-REF-1, R-REF-4
    found = plan(usage=Usage(granted=1000, spent=200, held=0, left=0))
    assert [(o.choice, o.ends_plan) for o in found.options] == [("cash", False), ("credit", False)]


def test_a_payment_for_several_periods_is_judged_over_all_of_them() -> None:  # R-REF-1
    found = plan(runs=True, usage=Usage(granted=12_000, spent=500, held=0, left=500, coming=11_000))
    assert found.lines[0].value * 100 < 5 * found.lines[0].of
    bonus = next(option for option in found.options if option.choice == "bonus")
    assert bonus.worth == 100_000 * (11_500 + 3_600) // 12_000, "with what is still to come"


@pytest.mark.parametrize(("refused", "words"), [("counted", "your upgrade"), ("carried", "the next one")])
def test_what_was_given_for_elsewhere_is_not_given_back(refused: Any, words: str) -> None:  # R-REF-5
    found = plan(refused=refused)
    assert (found.refused, found.options) == (refused, ())
    assert words in (why_not(found, NO_GUARANTEE) or "")


POLICIES = st.builds(
    RefundPolicy,
    guarantee_percent=st.sampled_from([None, 50, 100]),
    unused_share=st.booleans(),
    withdrawal=st.sampled_from([{}, {"eu": Withdrawal(14)}]),
)
CUSTOMERS = st.builds(
    Customer,
    spent=st.integers(0, 300_000),
    first_purchase=st.just(True),
    guarantee_used=st.booleans(),
    region=st.sampled_from([None, "eu"]),
)


@given(
    POLICIES,
    CUSTOMERS,
    st.sampled_from([None, *REASONS]),
    st.integers(1, 10**12),
    st.integers(0, 10**12),
    st.integers(0, 100 * 86_400_000),
    st.lists(st.integers(0, 10_000), min_size=2, max_size=6),
    st.tuples(st.integers(0, 100), st.integers(0, 100), st.sampled_from([1, 10, 100])),
)
def test_the_rate_never_rises_with_usage_and_no_refund_exceeds_what_was_paid(  # R-REF-1, R-REF-5
    policy: RefundPolicy,
    customer: Customer,
    reason: Reason | None,
    price: int,
    before: int,
    elapsed: int,
    uses: list[int],
    shares: tuple[int, int, int],
) -> None:
    """`shares`: percent of the price that was money, of what was given back that was; the provider's step."""
    by_money, back, step = shares
    paid, gone = price * by_money // 100, min(before, price)
    given = min(gone * back // 100, paid)
    what = replace(
        bought(paid, credit=price - paid),
        refunded=gone,
        refunded_money=max(given, gone - (price - paid)),
        step=step,
    )
    found = [
        quote(what, usage(spent, 10_000), customer, reason, T0 + elapsed, policy) for spent in sorted(uses)
    ]
    rates = [one.rate_millionths for one in found]
    assert rates == sorted(rates, reverse=True)
    for one in found:
        assert 0 <= one.rate_millionths <= 1_000_000
        assert 0 <= one.amount <= price - what.refunded
        assert all(option.money % step == 0 for option in one.options)
        assert not one.options or one.options[0].money + what.refunded_money <= what.paid
        for option in one.options:
            assert option.take_back in (0, one.usage.left)
            assert option.choice != "cash" or option is one.options[0]
            assert option.money + option.credit <= price or option.choice == "credit"
