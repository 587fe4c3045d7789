"""When a period of a subscription ends: whole months from its anchor, on its day or the month's last."""

from __future__ import annotations

from calendar import monthrange
from datetime import UTC, datetime, timedelta

from tokentill.lab.stripe.world import Object

PERIODS_MAX = 10_000


def months_after(anchor: int, months: int) -> int:
    """The moment this many months after `anchor` (epoch seconds), on the same day or the month's last."""
    start = datetime.fromtimestamp(anchor, UTC)
    year, month = divmod(start.year * 12 + start.month - 1 + months, 12)
    day = min(start.day, monthrange(year, month + 1)[1])
    return int(start.replace(year=year, month=month + 1, day=day).timestamp())


def period_end(anchor: int, recurring: Object, now: int) -> int:
    """The end of the period that `now` lies in, counted from the anchor."""
    for nth in range(1, PERIODS_MAX):
        end = nth_end(anchor, recurring, nth)
        if end > now:
            return end
    raise AssertionError("a period ten thousand periods after its anchor")


def nth_end(anchor: int, recurring: Object, nth: int) -> int:
    """The end of the n-th period from the anchor."""
    count = recurring["interval_count"] * nth
    if recurring["interval"] in ("month", "year"):
        return months_after(anchor, count * (12 if recurring["interval"] == "year" else 1))
    days = count * (7 if recurring["interval"] == "week" else 1)
    return anchor + int(timedelta(days=days).total_seconds())
