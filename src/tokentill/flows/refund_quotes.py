"""Refund quotes: what could be given back of a purchase, put on record as it was shown.

Every quote is kept, whatever comes of it, because what customers were shown and did not take is worth knowing too.

Requirement ids: R-REF-4, R-REF-5, R-REF-6.
"""

from __future__ import annotations

from tokentill.flows.means import Means
from tokentill.flows.refund_facts import RefundFacts
from tokentill.rules.purchases import Purchase, purchase_id
from tokentill.rules.refund_policy import Reason
from tokentill.rules.refund_rows import Refund

Asked = tuple[Reason | None, str, str | None, str | None]
"""What a customer says: the reason, own words, which user, which region."""


class Quotes:
    """Quotes refunds."""

    def __init__(self, means: Means) -> None:
        self._means = means
        self.facts = RefundFacts(means)

    async def shown(self, purchase: Purchase, asked: Asked, number: str) -> Refund:
        """A quote as it is now, put on record under `number`."""
        means = self._means
        reason, text, user, region = asked
        now = await means.time_of(purchase.organization)
        account = await means.ledger.account(purchase.organization)
        row = Refund(
            id=number,
            organization=purchase.organization,
            created_at=now,
            purchase=purchase.id,
            quote=await self.facts.quoted(purchase, reason, now, region=region),
            item=purchase.item,
            segment="" if account is None else account.state.plan or "",
            approach=purchase.approach,
            reason=reason,
            text=text,
            since_ms=max(0, now - (purchase.paid_at or now)),
            user=user,
            region=region,
        )
        return (await means.rows.add(row)).row

    async def instead(self, row: Refund, purchase: Purchase) -> Refund:
        """The quote that is shown instead of one whose figures changed."""
        number = purchase_id("requote", row.id)
        return await self.shown(purchase, (row.reason, row.text, row.user, row.region), number)
