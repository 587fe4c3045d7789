"""Reconciling: what model calls were charged, against what upstreams reported. In this process and over HTTP.

Requirement ids: R-SALE-5.
"""

from __future__ import annotations

from collections.abc import Sequence

from tokentill.client.keying import Keying
from tokentill.rules.reconciling import Reconciliation


class Reconciling(Keying):
    """What a till can do about the bills of upstreams."""

    async def reconcile(
        self,
        *,
        since: int | None = None,
        until: int | None = None,
        organization: str | None = None,
        by: Sequence[str] = ("day", "organization", "model", "upstream", "key"),
    ) -> Reconciliation:
        """The journal's charges of model calls against the usage that upstreams reported, every difference by name.

        Of calls that ended from `since` to before `until`, by default since the beginning of yesterday, UTC; 100 days
        at most. `by`: what the lines are made of. Where it `fits`, no difference is without a name (R-SALE-5).
        """
        query = {"since": since, "until": until, "organization": organization, "by": ",".join(by)}
        return await self._ask(Reconciliation, "reconcile", **query)
