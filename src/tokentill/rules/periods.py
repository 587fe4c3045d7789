"""Periods: when a plan's n-th period begins and ends, always computed from the anchor (R-PLAN-4).

The anchor is the instant the plan began, in epoch milliseconds; period 0 begins at exactly that instant.
A period is the half-open interval start ≤ t < end, and each period's end is the next one's start, so that no
instant belongs to two periods or to none. Nothing is ever computed from the period before: 31 January is
followed by 28 or 29 February and then by 31 March again, for as long as the plan lasts.

Cycle "days": every period is exactly `days` × 24 hours; time zones play no part.

Cycle "month": the n-th period begins n calendar months after the anchor, on the anchor's day of the month or
on the month's last day where it has no such day, at the anchor's wall-clock time in the cycle's IANA zone.
Where clocks were put forward over that time (a gap, a whole day in some years of the Pacific), it begins at
the first instant after the gap; where they were put back and the time comes twice (an overlap), at the first.
One exception keeps period 0 whole: an anchor inside an overlap counts as it is, first or second.

Boundaries: instants before the anchor have no period, and no period of months begins after the year
`YEAR_MAX`. Rules of zones come from the machine's time zone data, which governments change: an entry of the
journal therefore names the end it was decided with.

What it does not decide: what happens at a reset, or the period end of a payment provider that bills it.

Requirement ids: R-PLAN-4, R-PLAN-8 (days until the reset).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from tokentill.rules.catalog import DAY_MS, Cycle

MONTHS = 12
YEAR_MAX = 9998
"""Last year in which a period may begin; the calendar of `datetime` ends a year later."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)


def period_at(anchor_ms: int, cycle: Cycle, n: int) -> tuple[int, int]:
    """Start and end of the n-th period, epoch milliseconds; raises `ValueError` beyond the calendar."""
    return start_at(anchor_ms, cycle, n), start_at(anchor_ms, cycle, n + 1)


def index_at(anchor_ms: int, cycle: Cycle, now_ms: int) -> int:
    """The n of the period that `now_ms` lies in; raises `ValueError` before the anchor."""
    if now_ms < anchor_ms:
        raise ValueError("there is no period before the anchor")
    if cycle.kind == "days":
        return (now_ms - anchor_ms) // (cycle.days * DAY_MS)
    zone = ZoneInfo(cycle.zone)
    anchor, now = _local(anchor_ms, zone), _local(now_ms, zone)
    # The month tells n up to one: earlier in the month than the anchor's day, the period before still runs.
    n = max(0, (now.year - anchor.year) * MONTHS + now.month - anchor.month)
    while n > 0 and start_at(anchor_ms, cycle, n) > now_ms:
        n -= 1
    while start_at(anchor_ms, cycle, n + 1) <= now_ms:
        n += 1
    return n


def days_left(now_ms: int, end_ms: int) -> int:
    """Days until `end_ms`, begun ones counted whole: 16 from the 15th to the 31st; 0 when it has passed."""
    return max(0, -(-(end_ms - now_ms) // DAY_MS))


def start_at(anchor_ms: int, cycle: Cycle, n: int) -> int:
    """The instant at which the n-th period begins."""
    if n < 0:
        raise ValueError("there is no period before the anchor")
    if cycle.kind == "days":
        return anchor_ms + n * cycle.days * DAY_MS
    return _month_start(anchor_ms, cycle.zone, n)


@lru_cache(maxsize=65_536)
def _month_start(anchor_ms: int, zone_name: str, n: int) -> int:
    if n == 0:
        return anchor_ms
    zone = ZoneInfo(zone_name)
    anchor = _local(anchor_ms, zone)
    years, month = divmod(anchor.month - 1 + n, MONTHS)
    year, month = anchor.year + years, month + 1
    if year > YEAR_MAX:
        raise ValueError(f"no period begins after the year {YEAR_MAX}")
    day = min(anchor.day, _days_in(year, month))
    return _instant(anchor.replace(year=year, month=month, day=day, tzinfo=None), zone)


def _days_in(year: int, month: int) -> int:
    """The number of days of a month."""
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month in {4, 6, 9, 11} else 31


def _local(instant_ms: int, zone: ZoneInfo) -> datetime:
    try:
        return (_EPOCH + instant_ms * _MS).astimezone(zone)
    except OverflowError:
        raise ValueError(f"{instant_ms} ms lies outside the calendar") from None


def _ms(moment: datetime) -> int:
    return (moment.astimezone(UTC) - _EPOCH) // _MS


def _instant(wall: datetime, zone: ZoneInfo) -> int:
    """The first instant at which the zone's clocks show `wall`, or the first after the gap that skips it."""
    early = wall.replace(tzinfo=zone, fold=0)
    late = wall.replace(tzinfo=zone, fold=1)
    before, after = _ms(early), _ms(late)
    if before <= after:
        return before
    # In a gap, fold 0 reads the old offset, which lands after it, and fold 1 the new one, which lands before.
    low, high = after, before
    offset = _local(high, zone).utcoffset()
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _local(middle, zone).utcoffset() == offset else (middle, high)
    return high
