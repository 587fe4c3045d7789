"""Reconciling, for operators: the journal against what upstreams reported (`tokentill.rules.reconciling`).

Requirement ids: R-SALE-5, R-LED-5.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from msgspec import Meta

from tokentill.flows.reconcile import reconcile
from tokentill.flows.shop import Shop
from tokentill.rules.catalog import DAY_MS
from tokentill.rules.reconciling import WAYS, Reconciliation
from tokentill.rules.refusals import Code, Refusal
from tokentill.web.bodies import Name, Query, Time
from tokentill.web.call import Call
from tokentill.web.shop_routes import trade

_WAY = f"({'|'.join(WAYS)})"
Ways = Annotated[str, Meta(max_length=100, pattern=f"^{_WAY}(,{_WAY})*$")]


class ReconciliationQuery(Query, frozen=True, kw_only=True):
    """Calls that ended from `since` to before `until`, by default since the beginning of yesterday, UTC.

    `by`: what lines are made of, of day, organization, model, upstream and key, with commas between.
    """

    NAMES: ClassVar[tuple[str, ...]] = ("organization",)
    since: Time | None = None
    until: Time | None = None
    organization: Name | None = None
    by: Ways = ",".join(WAYS)


async def report(shop: Shop, call: Call) -> Reconciliation | Refusal:
    """What was charged, against what upstreams reported."""
    query = call.query
    now = shop.means.clock.now()
    until = now + 1 if query.until is None else query.until
    since = (until - 1) // DAY_MS * DAY_MS - DAY_MS if query.since is None else query.since
    ways: Any = query.by.split(",")
    return await reconcile(shop.means.ledger, max(0, since), until, query.organization, ways)


RECONCILING = (
    trade("GET", "/v1/reconciliation", "reconcile", "What model calls were charged, against what upstreams reported",
          report, Reconciliation, Code.UNKNOWN_ORGANIZATION, query=ReconciliationQuery),
)  # fmt: skip
