"""Handovers: a purchase's delivery message for a host that shows it itself, and how long purchases took.

Requirement ids: R-SALE-1, R-SALE-4.
"""

from __future__ import annotations

from tokentill.flows.shop import Shop
from tokentill.rules.refusals import Code, Refusal
from tokentill.web import handover_views as views
from tokentill.web.call import Call
from tokentill.web.route import ORG
from tokentill.web.shop_bodies import PageQuery
from tokentill.web.shop_routes import trade


async def hand_over(shop: Shop, call: Call) -> views.HandoverView | Refusal:
    """The delivery message; its key is shown this once."""
    found = await shop.handovers.show(call.organization, call.params[1])
    return found if isinstance(found, Refusal) else views.handover(found, shop.means.ledger.catalog.unit)


async def listed(shop: Shop, call: Call) -> views.HandoverList | Refusal:
    """How long the newest purchases took, by each clock."""
    query = call.query
    return views.handovers(await shop.handovers.times(query.limit, query.before), query.limit)


HANDOVERS = (
    trade("POST", f"{ORG}/purchases/{{purchase}}/hand-over", "handOver",
          "The delivery message of a purchase; the key that came with it is shown this once",
          hand_over, views.HandoverView, Code.UNKNOWN_PURCHASE, Code.NOT_POSSIBLE),
    trade("GET", "/v1/handovers", "listHandovers",
          "How long purchases took: offer to paid, paid to a key that works, paid to the first call",
          listed, views.HandoverList, query=PageQuery),
)  # fmt: skip
