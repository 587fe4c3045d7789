"""Ways: what an organization can buy at this moment, so that nothing else is offered to it.

An account's refusal names every way out that the catalog has. Whether packs or plans are switched off, what is being
introduced to whom and how many packs were bought stands in rows; it is read here for each answer that offers
something, so that a switch takes effect with the next one, in every process. Where it cannot be read nothing is
offered that has to be bought.

Requirement ids: R-PLAN-7, R-PLAN-8, R-PACK-4, R-PACK-9.
"""

from __future__ import annotations

from msgspec.structs import replace

from tokentill.flows.check import Checks
from tokentill.flows.means import Means
from tokentill.flows.shopper import Reader
from tokentill.ports import Clock, Ids, Ledger, StoreDown
from tokentill.rules.account import Account
from tokentill.rules.balance import Balance, balance
from tokentill.rules.refusals import Refusal
from tokentill.rules.selling import closed_ways, narrowed

Closed = frozenset[tuple[str, str]]


class Ways:
    """Leaves out of answers what cannot be bought."""

    def __init__(self, means: Means) -> None:
        self._means = means
        self._reader = Reader(means)

    @classmethod
    def over(cls, ledger: Ledger, clock: Clock, ids: Ids, secret: bytes) -> Ways:
        """For a way in that has no shop of its own; `secret` is the till's."""
        return cls(Means(ledger, ledger.rows, {}, clock, ids, secret))

    async def closed(self, organization: str) -> Closed:
        """What the organization cannot buy now, by kind and id of the way."""
        catalog = self._means.ledger.catalog
        try:
            read = await self._reader.shopper(organization)
        except StoreDown:
            packs, plans = (
                (("pack", pack) for pack in catalog.packs),
                (("upgrade", plan) for plan in catalog.plans),
            )
            return frozenset((*packs, *plans))
        if isinstance(read, Refusal):
            return frozenset()
        shopper, account = read
        return closed_ways(catalog, shopper, self._means.selling_time(account))

    async def refusal(self, organization: str, refusal: Refusal) -> Refusal:
        """The refusal with the ways out that are open (R-PLAN-7)."""
        if all(way.id is None for way in refusal.ways_out):
            return refusal
        return narrowed(self._means.ledger.catalog, refusal, await self.closed(organization))

    async def checks(self, organization: str, found: Checks) -> Checks:
        """What every layer says, with the ways out that are open."""
        if found.refusal is None or all(way.id is None for way in found.refusal.ways_out):
            return found
        catalog, closed = self._means.ledger.catalog, await self.closed(organization)
        layers = tuple(
            one if one.refusal is None else replace(one, refusal=narrowed(catalog, one.refusal, closed))
            for one in found.layers
        )
        return replace(found, refusal=narrowed(catalog, found.refusal, closed), layers=layers)

    async def balance(self, organization: str, account: Account) -> Balance:
        """The balance, whose notice offers what can be bought (R-PLAN-8)."""
        catalog = self._means.ledger.catalog
        found = balance(account, catalog)
        if found.notice is None:
            return found
        return balance(account, catalog, closed=await self.closed(organization))
