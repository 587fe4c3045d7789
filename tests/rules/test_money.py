from decimal import ROUND_HALF_UP, Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tokentill.rules.money import (
    CURRENCIES,
    MONEY_MAX,
    MoneyError,
    currency,
    format_amount,
    half_up,
    parse_amount,
    per_token,
    percent,
)

codes = st.sampled_from(sorted(CURRENCIES))


@pytest.mark.parametrize(
    ("text", "code", "amount"),
    [
        ("149.00", "USD", 14_900),
        ("149", "USD", 14_900),
        ("149.5", "USD", 14_950),
        ("0.00", "USD", 0),
        ("0", "USD", 0),
        ("0.01", "USD", 1),
        ("39.99", "USD", 3_999),
        ("00149.00", "USD", 14_900),
        ("149", "JPY", 149),
        ("1.490", "KWD", 1_490),
        ("1.4", "KWD", 1_400),
        ("10000000000000.00", "USD", MONEY_MAX),
    ],
)
def test_an_amount_is_read_exactly(text: str, code: str, amount: int) -> None:
    assert parse_amount(text, code) == amount


@pytest.mark.parametrize(
    ("text", "code", "why"),
    [
        ("149.001", "USD", "more digits behind the point than USD has (2)"),
        ("149.000", "USD", "more digits behind the point than USD has (2)"),
        ("149.0", "JPY", "more digits behind the point than JPY has (0)"),
        ("10000000000000.01", "USD", "larger than any amount the till takes"),
        ("-1.00", "USD", "is not an amount"),
        ("+1.00", "USD", "is not an amount"),
        (" 1.00", "USD", "is not an amount"),
        ("1.00\n", "USD", "is not an amount"),
        ("1,000.00", "USD", "is not an amount"),
        ("1_000", "USD", "is not an amount"),
        ("$1.00", "USD", "is not an amount"),
        (".50", "USD", "is not an amount"),
        ("1.", "USD", "is not an amount"),
        ("1e3", "USD", "is not an amount"),
        ("NaN", "USD", "is not an amount"),
        ("inf", "USD", "is not an amount"),
        ("", "USD", "is not an amount"),
        ("१४९", "USD", "is not an amount"),
        ("²", "USD", "is not an amount"),
        ("9" * 5_000, "USD", "is not an amount"),
        ("1.00", "usd", "'usd' is not a known currency code"),
        ("1.00", "XXX", "'XXX' is not a known currency code"),
    ],
)
def test_what_is_not_exactly_an_amount_is_refused(text: str, code: str, why: str) -> None:
    with pytest.raises(MoneyError) as refused:
        parse_amount(text, code)
    assert why in str(refused.value)


@pytest.mark.parametrize("value", [149.0, 149, True, None, Decimal("149.00"), b"149.00"])
def test_only_text_is_read(value: object) -> None:
    with pytest.raises(TypeError, match="read from text"):
        parse_amount(value, "USD")  # type: ignore[arg-type]  # the mistake that is refused


@pytest.mark.parametrize(
    ("amount", "code", "whole", "short"),
    [
        (14_900, "USD", "$149.00", "$149"),
        (14_950, "USD", "$149.50", "$149.50"),
        (3_999, "USD", "$39.99", "$39.99"),
        (399_900, "USD", "$3,999.00", "$3,999"),
        (5, "USD", "$0.05", "$0.05"),
        (0, "USD", "$0.00", "$0"),
        (-250, "USD", "-$2.50", "-$2.50"),
        (149, "JPY", "¥149", "¥149"),
        (1_490, "KWD", "KWD 1.490", "KWD 1.490"),
        (1_000, "KWD", "KWD 1.000", "KWD 1"),
        (1_000, "EUR", "€10.00", "€10"),
        (1_000, "BRL", "R$10.00", "R$10"),
        (1_000, "CHF", "CHF 10.00", "CHF 10"),
    ],
)
def test_an_amount_is_written_with_its_sign(amount: int, code: str, whole: str, short: str) -> None:
    assert format_amount(amount, code) == whole
    assert format_amount(amount, code, short=True) == short


@given(st.integers(0, MONEY_MAX), codes)
def test_what_is_written_reads_as_the_same(amount: int, code: str) -> None:
    text = format_amount(amount, code).removeprefix(currency(code).sign).replace(",", "")
    assert parse_amount(text, code) == amount


@pytest.mark.parametrize(
    ("price", "tokens", "code", "text"),
    [
        # R-PACK-1: S1 §5 Option A
        (2_500, 25, "USD", "$1.00"),
        (4_500, 50, "USD", "$0.90"),
        (8_000, 100, "USD", "$0.80"),
        # R-PACK-1: S2 buy extra
        (2_900, 500, "USD", "$0.058"),
        (7_900, 2_000, "USD", "$0.0395"),
        # S1 §9 "$0.67/token" is 0.6666 exactly; Starter is not "$1" but
        (9_999, 150, "USD", "$0.6666"),
        (3_999, 50, "USD", "$0.7998"),
        (14_900, 200, "USD", "$0.745"),
        (900, 50_000, "USD", "$0.00018"),
        (0, 10, "USD", "$0.00"),
        (1_234_500, 1, "USD", "$12,345.00"),
        (100, 3, "USD", "$0.3333"),
        (200, 3, "USD", "$0.6667"),
        (1, 30_000, "USD", "$0.0000003333"),
        (100_000, 3, "USD", "$333.33"),
        (149, 3, "JPY", "¥49.67"),
        (149, 1, "JPY", "¥149"),
        (1, 1, "KWD", "KWD 0.001"),
    ],
)
def test_the_price_of_one_token(price: int, tokens: int, code: str, text: str) -> None:
    assert per_token(price, tokens, code) == text


@given(st.integers(0, 10**9), st.integers(1, 10**9), codes)
def test_the_price_of_one_token_is_exact_or_right_to_four_digits(price: int, tokens: int, code: str) -> None:
    text = per_token(price, tokens, code).removeprefix(currency(code).sign).replace(",", "")
    shown, exact = Decimal(text), Decimal(price) / tokens / currency(code).scale
    assert abs(shown - exact) <= exact * Decimal("0.0005")


@pytest.mark.parametrize(("price", "tokens"), [(100, 0), (100, -1), (-1, 1)])
def test_no_price_for_no_tokens(price: int, tokens: int) -> None:
    with pytest.raises(ValueError, match="positive number of tokens"):
        per_token(price, tokens, "USD")


# R-REF-5: once, half-up, in minor units; a sale and its refund round alike.
@pytest.mark.parametrize(
    ("numerator", "denominator", "rounded"),
    [
        (5, 2, 3),
        (-5, 2, -3),
        (4, 3, 1),
        (5, 3, 2),
        (1, 2, 1),
        (0, 7, 0),
        (7, 7, 1),
        (-1, 3, 0),
        (841, 10, 84),
    ],
)
def test_half_up(numerator: int, denominator: int, rounded: int) -> None:
    assert half_up(numerator, denominator) == rounded


@given(st.integers(-(10**18), 10**18), st.integers(1, 10**9))
@example(10**18 + 1, 2)
def test_half_up_agrees_with_decimal(numerator: int, denominator: int) -> None:
    twice = Decimal(2 * numerator) / Decimal(2 * denominator)
    if twice == twice.to_integral_value() or denominator == 2:
        assert half_up(numerator, denominator) == int(twice.quantize(Decimal(1), ROUND_HALF_UP))
    assert abs(half_up(numerator, denominator) * denominator - numerator) * 2 <= denominator
    assert half_up(-numerator, denominator) == -half_up(numerator, denominator)


def test_half_up_needs_a_denominator() -> None:
    with pytest.raises(ValueError, match="positive"):
        half_up(1, 0)


@pytest.mark.parametrize(
    ("part", "whole", "places", "text"),
    [
        (2_400, 2_900, 1, "82.8"),
        (14_700, 14_900, 2, "98.66"),
        (1, 3, 0, "33"),
        (1, 2, 0, "50"),
        (0, 5, 1, "0.0"),
        (-1, 3, 1, "-33.3"),
        (2_100, 5_000, 1, "42.0"),
        (12_100, 20_000, 1, "60.5"),
    ],
)
def test_percent(part: int, whole: int, places: int, text: str) -> None:
    assert percent(part, whole, places) == text


def test_every_currency_has_an_exponent_that_iso_knows() -> None:
    assert {unit.exponent for unit in CURRENCIES.values()} == {0, 2, 3}
    assert all(len(code) == 3 and code.isupper() for code in CURRENCIES)
    assert (currency("USD").scale, currency("JPY").scale, currency("KWD").scale) == (100, 1, 1_000)
