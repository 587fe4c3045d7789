"""Carry: what an account has of a purchase's own lots, and what of a pack goes over into its larger one.

An upgraded pack is paid with the difference of prices. Before its tokens come, the unspent tokens of the pack before
are taken back; what is not taken, spent or held by running operations, is what its owner keeps, and the larger pack
brings so much less. That number is read after the taking, when it changes no more, and is written down once with
the step, so that no crash counts it twice.

The pack before may be gone by then: given back, or disputed, because the payment came long after its order was
given up. What was paid is honoured then: the difference buys its share of the larger pack, and nothing is carried.

Requirement ids: R-REF-4, R-REF-5, R-REF-6.
"""

from __future__ import annotations

from typing import Protocol

from tokentill.flows.means import Means
from tokentill.rules.account import Lot
from tokentill.rules.claims import Claim, claim_of, claimed, ended, given_back
from tokentill.rules.purchases import Purchase


class Advance(Protocol):
    """Takes the steps of purchases."""

    def ready(self, purchase: Purchase) -> Purchase:
        """The purchase with its next step written down."""
        ...

    async def advance(self, purchase: Purchase) -> Purchase:
        """Take every step that the facts ask for."""
        ...


async def lots_of(means: Means, purchase: Purchase) -> list[Lot]:
    """The token lots that came with the purchase, the one that was bought first."""
    account = await means.ledger.account(purchase.organization)
    if account is None:
        return []
    return [
        lot for lot in account.state.lots.values() if lot.reference == purchase.id and lot.unit == "token"
    ]


def own_of(lots: list[Lot]) -> list[Lot]:
    """Of a purchase's lots those that it is about, without what came on top."""
    return [lot for lot in lots if lot.origin in ("pack", "plan")]


async def held_of(means: Means, purchase: Purchase) -> int:
    """Tokens of the purchase that running operations hold."""
    return sum(lot.held for lot in await lots_of(means, purchase))


async def carry(means: Means, delivery: Advance, purchase: Purchase) -> int:
    """Take back what is unspent of the pack before; how much of it is kept, and so is not in the larger one."""
    assert purchase.replaces is not None, "only an upgrade carries"
    before = await means.rows.get(Purchase, purchase.replaces, purchase.organization)
    assert before is not None, "a purchase is never deleted"
    claim = Claim(refund=purchase.id, closes=True, sweeps=False)

    def settled(row: Purchase) -> Purchase:
        row = row if given_back(row) else claimed(row, claim)
        return delivery.ready(ended(row, claim.refund, "settled"))

    before = await means.change(before, settled)
    found = claim_of(before, claim.refund)
    if found is None or found.state != "settled":
        share = purchase.tokens * (purchase.amount + purchase.credit_used) // max(1, purchase.list_amount)
        return max(0, purchase.tokens - share)
    before = await delivery.advance(before)
    assert claim.refund in before.taken, "the step is taken before anything else"
    bought = next((lot for lot in await lots_of(means, before) if lot.origin == "pack"), None)
    if bought is None:
        return 0
    return min(
        purchase.tokens, bought.granted - bought.revoked - (0 if bought.lapsed is False else bought.expired)
    )
