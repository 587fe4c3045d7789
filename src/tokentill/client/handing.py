"""Handing over: the delivery message of a purchase, and how long purchases took. The same here and over HTTP.

Requirement ids: R-SALE-1, R-SALE-4.
"""

from __future__ import annotations

from tokentill.client.reconciling import Reconciling
from tokentill.wiring import handover_views as h


class Handing(Reconciling):
    """What a till can do about what came with purchases."""

    async def hand_over(self, organization: str, purchase: str) -> h.HandoverView:
        """The delivery message of a purchase, for a page of yours; its key is shown this once (R-SALE-4)."""
        return await self._do(h.HandoverView, "handOver", organization, purchase)

    async def handovers(self, *, before: str | None = None, limit: int = 50) -> h.HandoverList:
        """How long the newest purchases took by each of the three clocks, and each of them (R-SALE-1)."""
        return await self._ask(h.HandoverList, "listHandovers", before=before, limit=limit)
