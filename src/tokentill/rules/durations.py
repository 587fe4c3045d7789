"""Lengths of time in milliseconds, the unit in which every rule counts it."""

from __future__ import annotations

MINUTE_MS = 60_000
HOUR_MS = 3_600_000
DAY_MS = 86_400_000

SECONDS_MAX = 1e12
"""No time that anybody means is as long."""


def milliseconds(seconds: object) -> int:
    """Whole milliseconds of a number of seconds, however small; `ValueError` for anything else."""
    if (
        isinstance(seconds, int | float)
        and not isinstance(seconds, bool)
        and -SECONDS_MAX < seconds < SECONDS_MAX
    ):
        return round(seconds * 1000)
    raise ValueError(f"a time must be a number of seconds such as 30 or 2.5, and {seconds!r:.40} is none")
