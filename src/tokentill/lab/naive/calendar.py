"""When the periods of a plan begin and end, counted one by one from the anchor with plain calendar arithmetic."""

from __future__ import annotations

import calendar
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from tokentill.rules.catalog import Cycle

DAY_MS = 86_400_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MINUTE = timedelta(minutes=1)


def period_start(anchor: int, cycle: Cycle, number: int) -> int:
    """Epoch ms at which period `number` of an account anchored at `anchor` begins (R-PLAN-4)."""
    if number == 0:
        return anchor
    if cycle.kind == "days":
        return anchor + number * cycle.days * DAY_MS
    zone = ZoneInfo(cycle.zone)
    local = (_EPOCH + timedelta(milliseconds=anchor)).astimezone(zone)
    months = local.year * 12 + local.month - 1 + number
    year, month = months // 12, months % 12 + 1
    day = min(local.day, calendar.monthrange(year, month)[1])
    wall = local.replace(year=year, month=month, day=day, tzinfo=None, fold=0)
    instant = wall.replace(tzinfo=zone).astimezone(UTC)
    if (
        instant.astimezone(zone).replace(tzinfo=None) != wall
    ):  # clocks skip this time: the first after the gap
        instant = instant.replace(second=0, microsecond=0)
        while (instant - _MINUTE).astimezone(zone).replace(tzinfo=None) > wall:
            instant -= _MINUTE
    return (instant - _EPOCH) // timedelta(milliseconds=1)


def number_starting_at(anchor: int, cycle: Cycle, start: int) -> int | None:
    """The number of the period that begins exactly at `start`, None where no period of this anchor does."""
    number = 0
    while period_start(anchor, cycle, number) < start:
        number += 1
    return number if period_start(anchor, cycle, number) == start else None
