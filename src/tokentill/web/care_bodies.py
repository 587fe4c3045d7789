"""Bodies, queries and views of what customers say, and of margins.

Requirement ids: R-FIN-1, R-FIN-4.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta, Struct

from tokentill.rules.feedback import SCORE_MAX, SCORE_MIN, Feedback, Kind, MonthOfFeedback, Topic
from tokentill.rules.names import ROW_CHARS_MAX
from tokentill.web.bodies import Body, Name, Query, Text
from tokentill.web.shop_bodies import Before, Limit

Ident = Annotated[str, Meta(min_length=1, max_length=ROW_CHARS_MAX)]


class RatingBody(Body, frozen=True, kw_only=True):
    """How satisfied a customer is, 1 to 5, perhaps with one `purchase` of the organization."""

    TEXTS: ClassVar[tuple[str, ...]] = ("text", "purchase")
    score: Annotated[int, Meta(ge=SCORE_MIN, le=SCORE_MAX)]
    text: Text = ""
    purchase: Ident | None = None


class TicketBody(Body, frozen=True, kw_only=True):
    """That a customer asked for support: `tokens` is about limits and balances."""

    TEXTS: ClassVar[tuple[str, ...]] = ("text", "purchase")
    topic: Topic
    text: Text = ""
    purchase: Ident | None = None


class FeedbackQuery(Query, frozen=True, kw_only=True):
    """Ratings or tickets, in pages."""

    what: Kind = "rating"
    before: Before | None = None
    limit: Limit = 100


class MarginQuery(Query, frozen=True, kw_only=True):
    """A month such as 2026-03, by default the present one; of one organization or of all."""

    NAMES: ClassVar[tuple[str, ...]] = ("organization",)
    month: Annotated[str, Meta(pattern="^[0-9]{4}-(0[1-9]|1[0-2])$")] | None = None
    organization: Name | None = None


class FeedbackView(Struct, frozen=True, kw_only=True):
    """A rating with its `score`, or a ticket with its `topic`."""

    id: str
    organization: str
    kind: Kind
    score: int | None
    topic: Topic | None
    text: str
    purchase: str | None
    created_at: int


class FeedbackList(Struct, frozen=True, kw_only=True):
    """A page; `next` is the `before` of the page after, null at the end."""

    feedback: tuple[FeedbackView, ...]
    next: str | None


class FeedbackMonths(Struct, frozen=True, kw_only=True):
    """What was said in each month, newest first."""

    months: tuple[MonthOfFeedback, ...]


def view(row: Feedback) -> FeedbackView:
    """A rating or a ticket."""
    return FeedbackView(**{name: getattr(row, name) for name in FeedbackView.__struct_fields__})
