"""Refunds: what customers may be given back and what operators decide, the same in this process and over HTTP.

Requirement ids: R-REF-4, R-REF-5, R-REF-6.
"""

from __future__ import annotations

from collections.abc import Sequence

from tokentill.client.handing import Handing
from tokentill.wiring import refund_views as r


class Refunds(Handing):
    """What a till can do about refunds."""

    async def refund_reasons(self, organization: str, purchase: str) -> Sequence[r.SuggestionView]:
        """Reasons that the till sees by itself: failed operations, unused tokens, a first purchase."""
        found = await self._ask(r.ReasonList, "suggestRefundReasons", organization, purchase)
        return found.suggestions

    async def quote_refund(
        self,
        organization: str,
        purchase: str,
        reason: str | None = None,
        *,
        text: str = "",
        user: str | None = None,
        region: str | None = None,
        idempotency_key: str | None = None,
    ) -> r.RefundView:
        """What could be given back now; `options[0]` is the money, what follows are the alternatives (R-REF-4).

        `reason`: technical, quality, unused or first_time; the guarantee asks for none. `text`: the customer's words.
        `region`: where the customer lives, for a right of withdrawal.
        """
        body = {"reason": reason, "text": text, "user": user, "region": region}
        return await self._do(
            r.RefundView, "quoteRefund", organization, purchase, key=idempotency_key, body=body
        )

    async def accept_refund(
        self,
        organization: str,
        refund: str,
        choice: str = "cash",
        *,
        item: str | None = None,
        payer: str | None = None,
        use_credit: bool = False,
    ) -> r.RefundView:
        """Take one of the options: cash, bonus, credit or upgrade (to `item`, paid by `payer` or at a checkout).

        `use_credit`: money credit pays for the larger pack as far as it reaches.

        What comes back in state `quoted` is a new quote, since the old one was stale or its figures got worse; nothing
        was done then (R-REF-5).
        """
        body = {"choice": choice, "item": item, "payer": payer, "use_credit": use_credit}
        return await self._do(r.RefundView, "acceptRefund", organization, refund, body=body)

    async def withdraw_refund(self, organization: str, refund: str) -> r.RefundView:
        """Leave a refund before any money has moved; the tokens come back."""
        return await self._do(r.RefundView, "withdrawRefund", organization, refund)

    async def refund_of(self, organization: str, refund: str) -> r.RefundView:
        """One refund and where it stands."""
        return await self._ask(r.RefundView, "getRefund", organization, refund)

    async def refunds(self, organization: str, *, before: str | None = None, limit: int = 50) -> r.RefundList:
        """Every quote that was shown to the organization, and what became of it."""
        return await self._ask(r.RefundList, "listRefunds", organization, before=before, limit=limit)

    async def refund_queue(
        self, state: str = "waiting", *, before: str | None = None, limit: int = 50
    ) -> r.CaseList:
        """Refunds of all organizations that wait for an operator, or stand otherwise (R-REF-6)."""
        return await self._ask(r.CaseList, "listRefundQueue", state=state, before=before, limit=limit)

    async def approve_refund(self, organization: str, refund: str, reason: str) -> r.CaseView:
        """Agree to a refund as it is; where two must agree, the second one carries it out."""
        return await self._do(r.CaseView, "approveRefund", organization, refund, body={"reason": reason})

    async def deny_refund(self, organization: str, refund: str, reason: str) -> r.CaseView:
        """Refuse a refund; its tokens come back."""
        return await self._do(r.CaseView, "denyRefund", organization, refund, body={"reason": reason})

    async def adjust_refund(self, organization: str, refund: str, amount: int, reason: str) -> r.CaseView:
        """Agree to another amount of money or credit, in minor units."""
        body = {"amount": amount, "reason": reason}
        return await self._do(r.CaseView, "adjustRefund", organization, refund, body=body)

    async def refund_report(self, *, since: int = 0) -> r.RefundReport:
        """Refund rates by pack or plan, segment and sales approach, of purchases paid since then (R-REF-6)."""
        return await self._ask(r.RefundReport, "reportRefunds", since=since)
