import calendar
import zoneinfo
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tokentill.rules.catalog import DAY_MS, HOUR_MS, MINUTE_MS, Cycle
from tokentill.rules.periods import YEAR_MAX, days_left, index_at, period_at, start_at

Start = Callable[[int, Cycle, int], int]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MS = timedelta(milliseconds=1)
YEARS = 40
DAYS_30 = Cycle(kind="days", days=30)
# Clocks that do something uncommon: half an hour, two hours, a lost day, winter time that is negative.
ODD_ZONES = [
    "Africa/Casablanca", "Africa/Cairo", "America/Havana", "America/New_York", "America/Sao_Paulo",
    "America/St_Johns", "Antarctica/Troll", "Asia/Beirut", "Asia/Gaza", "Asia/Kathmandu", "Asia/Pyongyang",
    "Asia/Tehran", "Australia/Lord_Howe", "Europe/Berlin", "Europe/Dublin", "Europe/Istanbul", "Pacific/Apia",
    "Pacific/Chatham", "Pacific/Fakaofo", "Pacific/Kiritimati",
]  # fmt: skip


def at(text: str, zone: str = "UTC", fold: int = 0) -> int:
    return (datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold) - EPOCH) // MS


def local(instant: int, zone: str) -> datetime:
    return (EPOCH + instant * MS).astimezone(ZoneInfo(zone))


def text(instant: int, zone: str = "UTC") -> str:
    return local(instant, zone).isoformat(timespec="minutes")


def zones(number: int) -> list[str]:
    """The odd zones and an even choice of all others."""
    rest = sorted(set(zoneinfo.available_timezones()) - set(ODD_ZONES))
    step = len(rest) / (number - len(ODD_ZONES))
    return [*ODD_ZONES, *(rest[int(i * step)] for i in range(number - len(ODD_ZONES)))]


def faults(start: Start, anchor: int, zone: str, periods: int) -> Iterator[str]:
    """What is wrong with the starts of the first periods of months, judged by the wall clock alone."""
    cycle = Cycle(kind="month", zone=zone)
    starts = [start(anchor, cycle, n) for n in range(periods)]
    if starts[0] != anchor:
        yield "period 0 does not begin at the anchor"
    if any(b <= a for a, b in pairwise(starts)):
        yield "not strictly increasing"
    first = local(anchor, zone).replace(tzinfo=None)
    for n, begun in enumerate(starts[1:], 1):
        years, month = divmod(first.month - 1 + n, 12)
        year, month = first.year + years, month + 1
        day = min(first.day, calendar.monthrange(year, month)[1])
        expected = first.replace(year=year, month=month, day=day, fold=0)
        shown = local(begun, zone)
        wall = shown.replace(tzinfo=None, fold=0)
        if wall == expected:
            back = local(begun - 26 * HOUR_MS, zone).utcoffset()
            now = shown.utcoffset()
            assert back is not None
            assert now is not None
            if (
                back > now
                and local(begun - (back - now) // MS, zone).replace(tzinfo=None, fold=0) == expected
            ):
                yield f"period {n} begins at the second {expected} instead of the first"
        elif not (local(begun - 1, zone).replace(tzinfo=None, fold=0) < expected < wall):
            yield f"period {n} begins at {wall} instead of {expected}"


# R-PLAN-4


def test_first_document_resets_on_31_january_16_days_after_the_15th() -> None:
    """S1 §1–2: 30 days; billing cycle January 1 to January 31; on the 15th the reset is 16 days away."""
    start, end = period_at(at("2025-01-01T00:00"), DAYS_30, 0)
    assert (text(start), text(end)) == ("2025-01-01T00:00+00:00", "2025-01-31T00:00+00:00")
    assert days_left(at("2025-01-15T00:00"), end) == 16


@pytest.mark.parametrize(
    ("anchor", "starts"),
    [
        ("2024-01-31", ["2024-02-29", "2024-03-31", "2024-04-30", "2024-05-31", "2024-06-30", "2024-07-31"]),
        ("2023-01-31", ["2023-02-28", "2023-03-31", "2023-04-30", "2023-05-31", "2023-06-30", "2023-07-31"]),
        ("2024-01-30", ["2024-02-29", "2024-03-30", "2024-04-30"]),
        ("2023-01-29", ["2023-02-28", "2023-03-29"]),
        ("2024-02-29", ["2024-03-29", "2024-04-29"]),
        ("2024-11-30", ["2024-12-30", "2025-01-30", "2025-02-28", "2025-03-30"]),
        ("2024-12-15", ["2025-01-15", "2025-02-15"]),
    ],
)
def test_months_are_counted_from_the_anchor(anchor: str, starts: list[str]) -> None:
    first = at(f"{anchor}T10:00")
    found = [text(start_at(first, Cycle(), n))[:10] for n in range(1, len(starts) + 1)]
    assert found == starts


@pytest.mark.parametrize(
    ("what", "zone", "anchor", "n", "start"),
    [
        (
            "summer and winter keep the wall clock",
            "Europe/Berlin",
            "2024-01-31T10:00",
            6,
            "2024-07-31T10:00+02:00",
        ),
        ("a gap ends", "America/New_York", "2024-02-10T02:30", 1, "2024-03-10T03:00-04:00"),
        ("the gap's own first instant", "America/New_York", "2024-02-10T02:00", 1, "2024-03-10T03:00-04:00"),
        ("just before the gap", "America/New_York", "2024-02-10T01:59", 1, "2024-03-10T01:59-05:00"),
        (
            "the first instant after the gap",
            "America/New_York",
            "2024-02-10T03:00",
            1,
            "2024-03-10T03:00-04:00",
        ),
        ("a gap at midnight", "Asia/Beirut", "2024-02-29T00:00", 13, "2025-03-29T00:00+02:00"),
        ("a gap of half an hour", "Australia/Lord_Howe", "2024-09-06T02:15", 1, "2024-10-06T02:30+11:00"),
        ("a whole day lost", "Pacific/Apia", "2011-11-30T12:00", 1, "2011-12-31T00:00+14:00"),
        ("an overlap's first", "America/New_York", "2024-10-03T01:30", 1, "2024-11-03T01:30-04:00"),
        ("an overlap's first in Berlin", "Europe/Berlin", "2024-09-27T02:30", 1, "2024-10-27T02:30+02:00"),
    ],
)
def test_clock_changes(what: str, zone: str, anchor: str, n: int, start: str) -> None:
    assert text(start_at(at(anchor, zone), Cycle(zone=zone), n), zone) == start, what


def test_an_anchor_in_the_second_of_two_equal_hours_is_kept() -> None:
    zone = "America/New_York"
    second = at("2024-11-03T01:30", zone, fold=1)
    start, end = period_at(second, Cycle(zone=zone), 0)
    assert (start, text(end, zone)) == (second, "2024-12-03T01:30-05:00")
    assert index_at(second, Cycle(zone=zone), second) == 0


def test_a_period_that_began_stays_begun_when_the_clock_falls_back_into_the_month_before() -> None:
    """St John's put its clocks back at 00:01 on 1 November 2009, to 23:01 on 31 October."""
    zone = "America/St_Johns"
    anchor = at("2009-10-01T00:00:30", zone)
    start = start_at(anchor, Cycle(zone=zone), 1)
    assert text(start, zone) == "2009-11-01T00:00-02:30"
    later = start + 10 * MINUTE_MS
    assert text(later, zone) == "2009-10-31T23:10-03:30"
    assert index_at(anchor, Cycle(zone=zone), later) == 1


def test_milliseconds_of_the_anchor_are_kept() -> None:
    anchor = at("2024-01-31T10:00:05.123")
    assert start_at(anchor, Cycle(), 1) == at("2024-02-29T10:00:05.123")


def test_a_year_of_monthly_periods_is_a_year() -> None:
    anchor = at("2024-02-29T12:00")
    assert text(start_at(anchor, Cycle(), 12)) == "2025-02-28T12:00+00:00"
    assert text(start_at(anchor, Cycle(), 48)) == "2028-02-29T12:00+00:00"


def check_matrix(
    chosen: list[str], days: Callable[[int], range | list[int]], start: Start = start_at
) -> list[str]:
    """The faults of 40 years of months from each anchor day of each zone, 15 at most."""
    found: list[str] = []
    for number, zone in enumerate(chosen):
        for day in days(number):
            hour = ("02:30", "00:00", "23:59:59.999", "01:15")[(number + day) % 4]
            anchor = at(f"2000-01-{day:02}T{hour}", zone)
            found += [f"{zone} {day} {hour}: {fault}" for fault in faults(start, anchor, zone, YEARS * 12)]
            if len(found) > 15:
                return found
    return found


def test_a_slice_of_the_calendar_matrix() -> None:
    """200 zones × 40 years × three of the anchor days, each day in about 20 zones."""
    assert check_matrix(zones(200), lambda n: [1 + n % 31, 1 + (n * 7 + 15) % 31, 31 - n % 3]) == []


@pytest.mark.nightly
def test_the_whole_calendar_matrix() -> None:
    """200 zones × 40 years × anchors 1–31."""
    assert check_matrix(zones(200), lambda _: range(1, 32)) == []


def test_the_checker_catches_months_counted_from_the_month_before() -> None:
    """The planted fault: 31 January → 28 February → 28 March."""

    def drifting(anchor: int, cycle: Cycle, n: int) -> int:
        for _ in range(n):
            anchor = start_at(anchor, cycle, 1)
        return anchor

    found = list(faults(drifting, at("2023-01-31T10:00"), "UTC", 4))
    assert found == [
        "period 2 begins at 2023-03-28 10:00:00 instead of 2023-03-31 10:00:00",
        "period 3 begins at 2023-04-28 10:00:00 instead of 2023-04-30 10:00:00",
    ]


@pytest.mark.parametrize(
    ("fault", "start"),
    [
        ("thirty days", lambda anchor, _, n: anchor + n * 30 * DAY_MS),
        ("an hour late", lambda anchor, cycle, n: start_at(anchor, cycle, n) + (n > 0) * HOUR_MS),
        ("a millisecond early", lambda anchor, cycle, n: start_at(anchor, cycle, n) - (n > 0)),
        ("the wrong anchor", lambda anchor, cycle, n: start_at(anchor + 1, cycle, n)),
        ("one period twice", lambda anchor, cycle, n: start_at(anchor, cycle, min(n, 7))),
    ],
)
def test_the_checker_catches_other_faults(fault: str, start: Start) -> None:
    assert check_matrix(["Europe/Berlin"], lambda _: [31], start) != [], fault


def test_the_checker_catches_what_lies_behind_the_end_of_a_gap_and_the_second_of_an_overlap() -> None:
    def careless(fold: int) -> Start:
        def start(anchor: int, cycle: Cycle, n: int) -> int:
            wall = local(start_at(anchor, Cycle(zone="UTC"), 0), cycle.zone)
            month = wall.month - 1 + n
            moved = wall.replace(year=wall.year + month // 12, month=month % 12 + 1, fold=fold)
            return (moved.astimezone(UTC) - EPOCH) // MS if n else anchor

        return start

    gap, overlap = at("2024-02-10T02:30", "America/New_York"), at("2024-10-03T01:30", "America/New_York")
    assert list(faults(careless(0), gap, "America/New_York", 2)) == [
        "period 1 begins at 2024-03-10 03:30:00 instead of 2024-03-10 02:30:00"
    ]
    assert list(faults(careless(1), overlap, "America/New_York", 2)) == [
        "period 1 begins at the second 2024-11-03 01:30:00 instead of the first"
    ]


instants = st.integers(at("1990-01-01T00:00"), at("2060-01-01T00:00"))
cycles = st.one_of(
    st.builds(Cycle, kind=st.just("days"), days=st.integers(1, 400)),
    st.builds(Cycle, kind=st.just("month"), zone=st.sampled_from(zones(200))),
)


@given(instants, cycles, st.integers(0, 600))
@example(at("2011-11-30T12:00", "Pacific/Apia"), Cycle(zone="Pacific/Apia"), 1)
def test_each_instant_belongs_to_the_one_period_around_it(anchor: int, cycle: Cycle, n: int) -> None:
    start, end = period_at(anchor, cycle, n)
    assert start < end
    for instant, expected in ((start, n), ((start + end) // 2, n), (end - 1, n), (end, n + 1)):
        assert index_at(anchor, cycle, instant) == expected


@given(instants, cycles, st.integers(0, 20 * 366 * DAY_MS))
def test_the_period_of_an_instant_holds_it(anchor: int, cycle: Cycle, later: int) -> None:
    start, end = period_at(anchor, cycle, index_at(anchor, cycle, anchor + later))
    assert start <= anchor + later < end


@given(instants, st.integers(1, 400), st.integers(0, 100_000))
def test_days_are_exact_multiples_of_24_hours_in_every_zone(anchor: int, days: int, n: int) -> None:
    start, end = period_at(anchor, Cycle(kind="days", days=days, zone="Pacific/Apia"), n)
    assert (start, end) == (anchor + n * days * DAY_MS, anchor + (n + 1) * days * DAY_MS)


@pytest.mark.parametrize("cycle", [Cycle(), DAYS_30])
def test_nothing_comes_before_the_anchor(cycle: Cycle) -> None:
    anchor = at("2024-01-31T10:00")
    with pytest.raises(ValueError, match="before the anchor"):
        index_at(anchor, cycle, anchor - 1)
    with pytest.raises(ValueError, match="before the anchor"):
        period_at(anchor, cycle, -1)


def test_the_calendar_ends() -> None:
    anchor = at("2024-01-31T10:00")
    months = (YEAR_MAX - 2024) * 12
    assert text(start_at(anchor, Cycle(), months)) == f"{YEAR_MAX}-01-31T10:00+00:00"
    with pytest.raises(ValueError, match=f"after the year {YEAR_MAX}"):
        start_at(anchor, Cycle(), months + 12)
    for far in (10**15, -(10**15)):
        with pytest.raises(ValueError, match="outside the calendar"):
            start_at(far, Cycle(), 1)


@pytest.mark.parametrize(
    ("left_ms", "days"),
    [
        (0, 0),
        (-5, 0),
        (1, 1),
        (DAY_MS - 1, 1),
        (DAY_MS, 1),
        (DAY_MS + 1, 2),
        (16 * DAY_MS, 16),
        (MINUTE_MS, 1),
    ],
)
def test_days_left_counts_begun_days(left_ms: int, days: int) -> None:
    # R-PLAN-8
    assert days_left(1_000, 1_000 + left_ms) == days
