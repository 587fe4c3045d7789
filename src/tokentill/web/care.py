"""Care: what customers are told of tokens, and what they say about them.

As in `tokentill.web.shop`, a handler takes the shop and a call, and gives a view or a refusal.

Requirement ids: R-PACK-7.
"""

from __future__ import annotations

from tokentill.flows.shop import Shop
from tokentill.rules.explaining import Explanation, explain
from tokentill.rules.refusals import Refusal
from tokentill.web.call import Call
from tokentill.web.route import ORG
from tokentill.web.shop import account_of
from tokentill.web.shop_routes import trade


async def faq(shop: Shop, call: Call) -> Explanation | Refusal:
    """What monthly and additional tokens are for this organization (R-PACK-7)."""
    account = await account_of(shop, call.organization)
    if isinstance(account, Refusal):
        return account
    catalog = shop.means.ledger.catalog
    return explain(catalog, catalog.plans.get(account.state.plan or ""))


CARE = (
    trade("GET", f"{ORG}/faq", "getFaq", "What monthly and additional tokens are, and what customers ask about them",
          faq, Explanation),
)  # fmt: skip
"""The part of the table of routes that is about customers' questions."""
