"""The trace: an hour of real chat traffic, each request with its moment, what was read and what was written.

It ships with tokentill (`lab/data/README.md` has its source and licence). Sizes are model tokens, times
milliseconds since the first request of the slice asked for. Nothing is drawn and nothing is made up here.
"""

from __future__ import annotations

import csv
import gzip
from datetime import datetime
from functools import cache
from importlib.resources import files

from msgspec import Struct

from tokentill.rules.durations import MINUTE_MS

FILE = "azure_llm_2023_conv.csv.gz"
_MICROSECONDS = 26
"""How much of a time stamp Python can read; the trace has one digit more."""


class Line(Struct, frozen=True):
    """One request of the trace: `at` ms after the slice begins, `read` and `written` model tokens."""

    at: int
    read: int
    written: int


@cache
def hour() -> tuple[Line, ...]:
    """The whole trace in the order it happened."""
    packed = files("tokentill.lab").joinpath("data", FILE).read_bytes()
    rows = csv.DictReader(gzip.decompress(packed).decode("ascii").splitlines())
    lines: list[Line] = []
    start: datetime | None = None
    for row in rows:
        moment = datetime.fromisoformat(row["TIMESTAMP"][:_MICROSECONDS])
        start = start or moment
        at = round((moment - start).total_seconds() * 1000)
        lines.append(Line(at, int(row["ContextTokens"]), int(row["GeneratedTokens"])))
    return tuple(lines)


def minutes(first: int, count: int) -> tuple[Line, ...]:
    """The requests of `count` minutes from minute `first` on, their times counted from its beginning."""
    start, end = first * MINUTE_MS, (first + count) * MINUTE_MS
    return tuple(Line(line.at - start, line.read, line.written) for line in hour() if start <= line.at < end)
