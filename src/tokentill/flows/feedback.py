"""Feedback: take ratings and tickets in, once under their key, and count them (R-FIN-4).

Requirement ids: R-FIN-4.
"""

from __future__ import annotations

from collections.abc import Sequence

from tokentill.flows.means import Means, deed_key
from tokentill.rules.feedback import Feedback, Kind, MonthOfFeedback, Topic, summary, tally_of
from tokentill.rules.purchases import Purchase
from tokentill.rules.refusals import Code, Refusal, unknown_organization
from tokentill.rules.topups import month_of


class Feedbacks:
    """What customers say."""

    def __init__(self, means: Means) -> None:
        self._means = means

    async def rate(
        self, organization: str, score: int, text: str, purchase: str | None, key: str | None
    ) -> Feedback | Refusal:
        """Keep a rating of 1 to 5, perhaps of one purchase. Under the same key it is the same rating again."""
        return await self._keep(organization, "rating", score, None, text, purchase, key)

    async def ticket(
        self, organization: str, topic: Topic, text: str, purchase: str | None, key: str | None
    ) -> Feedback | Refusal:
        """Keep that there was a support ticket. Under the same key it is the same one again."""
        return await self._keep(organization, "ticket", None, topic, text, purchase, key)

    async def listed(self, kind: Kind, before: str | None, limit: int) -> Sequence[Feedback]:
        """Ratings or tickets."""
        return await self._means.rows.find(Feedback, {"kind": kind}, before=before, limit=limit)

    async def months(self) -> tuple[MonthOfFeedback, ...]:
        """What was said in each month, newest first."""
        return summary(await self._means.rows.tally(Feedback, "tally"))

    async def _keep(
        self,
        organization: str,
        kind: Kind,
        score: int | None,
        topic: Topic | None,
        text: str,
        purchase: str | None,
        key: str | None,
    ) -> Feedback | Refusal:
        means = self._means
        if await means.ledger.account(organization) is None:
            return unknown_organization()
        if purchase is not None and await means.rows.get(Purchase, purchase, organization) is None:
            return Refusal(
                Code.UNKNOWN_PURCHASE, "This organization has no purchase of this id.", detail="purchase"
            )
        now = means.clock.now()
        row = Feedback(
            id=deed_key("feedback", organization, key or means.ids.operation()),
            organization=organization,
            created_at=now,
            kind=kind,
            tally=tally_of(month_of(now), kind, topic or score or 0),
            text=text,
            score=score,
            topic=topic,
            purchase=purchase,
        )
        kept = (await means.rows.add(row)).row
        if (kept.kind, kept.score, kept.topic, kept.text, kept.purchase) != (
            kind,
            score,
            topic,
            text,
            purchase,
        ):
            return Refusal(
                Code.KEY_REUSED, "This idempotency key was used for something else. Use a new key."
            )
        return kept
