"""Lengths of time in milliseconds, the unit in which every rule counts it."""

from __future__ import annotations

MINUTE_MS = 60_000
HOUR_MS = 3_600_000
DAY_MS = 86_400_000
