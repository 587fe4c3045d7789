"""Carry: what an account has of a purchase's own lots, and what of a pack goes over into its larger one.

An upgraded pack is paid with the difference of prices. Before its tokens come, the unspent tokens of the pack before
are taken back; what is not taken, spent or held by running operations, is what its owner keeps, and the larger pack
brings so much less. That number is read after the taking, when it changes no more, and is written down once with
the step, so that no crash counts it twice. The payments of the pack before become the larger one's
(`tokentill.rules.upgraded`), and so does whatever is told of them from then on (`passed_on`): the pack before says on
its own row which one took its place, and every fact about it comes to that row first.

The pack before may be gone by then: given back, or disputed, because the payment came long after its order was
given up. What was paid is honoured then: the difference buys its share of the larger pack, and nothing is carried.

Requirement ids: R-REF-4, R-REF-5, R-REF-6.
"""

from __future__ import annotations

from typing import Protocol

from msgspec.structs import replace

from tokentill.flows.means import Means
from tokentill.rules.account import LOT_KEPT_MS, Lot
from tokentill.rules.claims import claimed, ended
from tokentill.rules.legs import Claim, claim_of, given_back, legs
from tokentill.rules.purchases import Purchase
from tokentill.rules.upgraded import taken_over


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


async def chain_of(means: Means, purchase: Purchase) -> list[Lot]:
    """As `lots_of`, with the lots of the packs that it took the place of."""
    account = await means.ledger.account(purchase.organization)
    if account is None:
        return []
    names = {leg.purchase for leg in legs(purchase)}
    return [lot for lot in account.state.lots.values() if lot.reference in names and lot.unit == "token"]


def own_of(lots: list[Lot]) -> list[Lot]:
    """Of a purchase's lots those that it is about, without what came on top."""
    return [lot for lot in lots if lot.origin in ("pack", "plan")]


async def held_of(means: Means, purchase: Purchase) -> int:
    """Tokens of the purchase that running operations hold."""
    return sum(lot.held for lot in await chain_of(means, purchase))


async def forgotten(means: Means, purchase: Purchase) -> bool:
    """Whether a pack that it took the place of was bought so long ago that the account may not know its lot any more."""
    first = legs(purchase)[-1].paid_at
    return bool(purchase.earlier) and first + LOT_KEPT_MS < await means.time_of(purchase.organization)


async def carry(means: Means, delivery: Advance, purchase: Purchase) -> int:
    """Take back what is unspent of the pack before; how much of it is kept, and so is not in the larger one."""
    assert purchase.replaces is not None, "only an upgrade carries"
    before = await means.rows.get(Purchase, purchase.replaces, purchase.organization)
    assert before is not None, "a purchase is never deleted"
    claim = Claim(refund=purchase.id, closes=True, sweeps=False)

    def settled(row: Purchase) -> Purchase:
        row = ended(row if given_back(row) else claimed(row, claim), claim.refund, "settled")
        found = claim_of(row, claim.refund)
        if found is not None and found.state == "settled":
            row = replace(row, replaced_by=purchase.id, sweep="")
        return delivery.ready(row)

    before = await means.change(before, settled)
    if before.replaced_by != purchase.id:
        share = purchase.tokens * (purchase.amount + purchase.credit_used) // max(1, purchase.list_amount)
        return max(0, purchase.tokens - share)
    before = await delivery.advance(before)
    assert claim.refund in before.taken, "the step is taken before anything else"
    await _taken_over(means, delivery, before)
    lots = [lot for lot in await chain_of(means, before) if lot.origin == "pack"]
    if await forgotten(means, before):
        lots = [lot for lot in lots if lot.reference == before.id]
        return min(purchase.tokens, sum(map(_kept, lots)) + (before.carried or 0))
    return min(purchase.tokens, sum(map(_kept, lots)))


def _kept(lot: Lot) -> int:
    """What its owner has of a lot from which the unspent tokens were taken."""
    return lot.granted - lot.revoked - (lot.expired if lot.lapsed else 0)


async def passed_on(means: Means, delivery: Advance, purchase: Purchase) -> Purchase:
    """Have what is told of a pack known to the larger one that took its place, if one did; the one that counts."""
    if purchase.replaced_by is None:
        return purchase
    larger = await _taken_over(means, delivery, purchase)
    return await passed_on(means, delivery, await delivery.advance(larger))


async def _taken_over(means: Means, delivery: Advance, before: Purchase) -> Purchase:
    """The larger pack with what is known of the pack before, which others may learn more of at the same time."""
    larger = await means.rows.get(Purchase, before.replaced_by or "", before.organization)
    assert larger is not None, "a purchase is never deleted"
    larger = await means.change(larger, lambda row: delivery.ready(taken_over(row, before)))
    newest = await means.rows.get(Purchase, before.id, before.organization)
    assert newest is not None, "a purchase is never deleted"
    # Whoever learned more may have passed it on before this came with less.
    return larger if newest.version == before.version else await _taken_over(means, delivery, newest)
