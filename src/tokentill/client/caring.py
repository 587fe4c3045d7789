"""Caring: what customers are told of tokens and say about them, and what a month has left.

The same in this process and over HTTP.

Requirement ids: R-PACK-7, R-FIN-1, R-FIN-4.
"""

from __future__ import annotations

from collections.abc import Sequence

from tokentill.client.keying import Keying
from tokentill.wiring import Explanation, MarginReport, MonthOfFeedback, Topic
from tokentill.wiring import care_bodies as b
from tokentill.wiring import office_views as o


class Caring(Keying):
    """What a till can do about customers' questions."""

    async def faq(self, organization: str) -> Explanation:
        """What monthly and additional tokens are for this organization, and what customers ask (R-PACK-7)."""
        return await self._ask(Explanation, "getFaq", organization)

    async def rate(
        self,
        organization: str,
        score: int,
        text: str = "",
        *,
        purchase: str | None = None,
        idempotency_key: str | None = None,
    ) -> b.FeedbackView:
        """Keep how satisfied a customer is, 1 to 5, perhaps with one purchase (R-FIN-4)."""
        body = {"score": score, "text": text, "purchase": purchase}
        return await self._do(b.FeedbackView, "rate", organization, key=idempotency_key, body=body)

    async def ticket(
        self,
        organization: str,
        topic: Topic,
        text: str = "",
        *,
        purchase: str | None = None,
        idempotency_key: str | None = None,
    ) -> b.FeedbackView:
        """Keep that a customer asked for support: about tokens, payment, refund or other (R-FIN-4)."""
        body = {"topic": topic, "text": text, "purchase": purchase}
        return await self._do(b.FeedbackView, "recordTicket", organization, key=idempotency_key, body=body)

    async def feedback(
        self, what: str = "rating", *, before: str | None = None, limit: int = 100
    ) -> b.FeedbackList:
        """Ratings, or tickets, of every organization."""
        return await self._ask(b.FeedbackList, "listFeedback", what=what, before=before, limit=limit)

    async def feedback_months(self) -> Sequence[MonthOfFeedback]:
        """How many ratings and tickets there were in each month, and the average rating, newest first (R-FIN-4)."""
        return (await self._ask(b.FeedbackMonths, "countFeedback")).months

    async def forget_words(self, organization: str) -> bool:
        """Erase what a customer wrote with ratings, tickets and refunds; False if there was nothing (R-FIN-4)."""
        return (await self._do(o.Removed, "forgetWords", organization)).removed

    async def margin(self, month: str | None = None, *, organization: str | None = None) -> MarginReport:
        """What plans and packs have left in a month such as "2026-03", by default the present one (R-FIN-1)."""
        return await self._ask(MarginReport, "getMargin", month=month, organization=organization)
