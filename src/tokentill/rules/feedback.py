"""Feedback: what customers say, kept so that it can be counted: ratings of their satisfaction and support tickets.

S0 aims at 4.5 of 5.0, so a rating is 1 to 5. S1 counts tickets that are about token limits, so a ticket has a topic.
Both belong to an organization and may name a purchase of its own. Nothing else is asked for; the words are bounded.

`tally` is what is counted: the month in UTC, the kind, and the score or topic.

Requirement ids: R-FIN-4.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

from tokentill.rules.money import half_up
from tokentill.rules.rows import Row

Kind = Literal["rating", "ticket"]
Topic = Literal["tokens", "payment", "refund", "other"]
"""What a ticket is about; `tokens` are those about limits and balances."""

SCORE_MIN, SCORE_MAX = 1, 5
TEXT_CHARS_MAX = 1_000


class Feedback(Row, frozen=True, kw_only=True):
    """One rating or one ticket. `score` of a rating, `topic` of a ticket."""

    kind: Kind
    tally: str
    text: str = ""
    score: int | None = None
    topic: Topic | None = None
    purchase: str | None = None


class MonthOfFeedback(Struct, frozen=True, kw_only=True):
    """What was said in a month. `average` of the ratings, two decimals, null without one; `tickets` by their topic."""

    month: str
    ratings: int
    average: str | None
    tickets: dict[str, int]


def tally_of(month: str, kind: Kind, what: int | str) -> str:
    """What is counted of one rating or ticket."""
    return f"{month} {kind} {what}"


def summary(counts: Mapping[str, int]) -> tuple[MonthOfFeedback, ...]:
    """Each month from how often each tally was said, newest first."""
    scores: dict[str, dict[int, int]] = {}
    tickets: dict[str, dict[str, int]] = {}
    for tally, count in counts.items():
        month, kind, what = tally.split(" ")
        if kind == "rating":
            scores.setdefault(month, {})[int(what)] = count
        else:
            tickets.setdefault(month, {})[what] = count
    return tuple(
        MonthOfFeedback(
            month=month,
            ratings=sum(scores.get(month, {}).values()),
            average=_average(scores.get(month, {})),
            tickets=dict(sorted(tickets.get(month, {}).items())),
        )
        for month in sorted({*scores, *tickets}, reverse=True)
    )


def _average(scores: Mapping[int, int]) -> str | None:
    count = sum(scores.values())
    if not count:
        return None
    hundredths = half_up(sum(score * times for score, times in scores.items()) * 100, count)
    return f"{hundredths // 100}.{hundredths % 100:02}"
