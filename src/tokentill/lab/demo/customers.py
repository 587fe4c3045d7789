"""The customers: how they come to the till, and what they do when it says that their tokens are used up.

A customer puts up with one such refusal, then takes a way out that the refusal itself names (R-PLAN-7): the
first pack in it, or for the growing one the plan. Then the refused request is sent again and goes through.

Requirement ids: R-PLAN-7, R-PACK-10.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence

from tokentill.lab.demo.cast import Organization
from tokentill.lab.demo.record import Record
from tokentill.lab.demo.script import Request
from tokentill.lab.demo.tally import Tally
from tokentill.lab.demo.till import Answer, Catalog, Refused, Till, TillTrouble
from tokentill.rules.catalog import DAY_MS, Feature
from tokentill.rules.pricing import metered_cost
from tokentill.rules.refusals import WayOut

PATIENCE = 1
"""Refusals for want of tokens that a customer puts up with before buying."""

STARTER = "gpt_4_starter"
STARTER_TOKENS = 20_000
OPENING_TOKENS_MIN = 2_500
OPENING_PERCENT = 40
"""A small customer comes with what is left of a starter pack: this part of what it will want, at most a pack."""


class Customers:
    """All organizations of the demo. `now` tells epoch ms, `clock` seconds since the replay began."""

    def __init__(
        self, till: Till, catalog: Catalog, tally: Tally, now: Callable[[], int], clock: Callable[[], float]
    ) -> None:
        self.records: dict[str, Record] = {}
        self._till = till
        self._catalog = catalog
        self._tally = tally
        self._now = now
        self._clock = clock
        self._refused: dict[str, int] = {}
        self._bought: dict[str, int] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def open_all(self, cast: Sequence[Organization], requests: Iterable[Request]) -> None:
        """Open every account, and give the small ones what they come with."""
        wanted: dict[str, int] = {}
        features = {feature.id: feature for feature in self._catalog.features}
        for request in requests:
            cost = metered_cost(features[request.feature], request.read, request.written)
            wanted[request.organization] = wanted.get(request.organization, 0) + cost
        await asyncio.gather(*(self._open(each, wanted.get(each.id, 0)) for each in cast))

    def feature(self, ident: str) -> Feature:
        """A feature of the catalog."""
        return next(feature for feature in self._catalog.features if feature.id == ident)

    def purchases(self, organization: str) -> int:
        """How often the organization has bought; asked before a request, so that a refusal can be dated."""
        return self._bought.get(organization, 0)

    async def run_out(self, organization: str, refusal: Refused, before: int) -> bool:
        """React to a refusal for want of tokens; True if it has been mended and is worth another try.

        `before` is what `purchases` said when the refused request was sent: if somebody of the same
        organization bought since, nothing more is needed.
        """
        async with self._locks.setdefault(organization, asyncio.Lock()):
            if self.purchases(organization) > before:
                return True
            self._refused[organization] = self._refused.get(organization, 0) + 1
            if self._refused[organization] <= PATIENCE:
                text = f"{organization} has run out of tokens: 402 “{refusal.detail}”"
                self._tally.tell(self._clock(), text)
                return False
            self._refused[organization] = 0
            await self._buy(self.records[organization], refusal.ways_out)
            self._bought[organization] = before + 1
            return True

    async def _open(self, organization: Organization, wanted: int) -> None:
        record = Record(organization.id, organization.part, organization.plan)
        self.records[organization.id] = record
        _done(await self._till.open(organization.id, organization.plan), f"open {organization.id}")
        if organization.plan is None:
            left = wanted * OPENING_PERCENT // 100
            record.opening = max(OPENING_TOKENS_MIN, min(STARTER_TOKENS, left))
            opening = self._till.grant_pack(
                organization.id, STARTER, record.opening, self._lapse(STARTER), f"opening {organization.id}"
            )
            _done(await opening, f"give {organization.id} what it comes with")

    async def _buy(self, record: Record, ways: Sequence[WayOut]) -> None:
        kind = "upgrade" if record.part == "grower" and not record.plans else "pack"
        way = next((way for way in ways if way.kind == kind), None)
        if way is None or way.id is None or way.tokens is None:
            raise TillTrouble(f"The till refused {record.organization} and named no {kind} as a way out.")
        key = f"buy {record.organization} {self.purchases(record.organization) + 1}"
        if kind == "pack":
            bought = self._till.grant_pack(record.organization, way.id, way.tokens, self._lapse(way.id), key)
            record.packs.append(way.id)
        else:
            bought = self._till.take_plan(record.organization, way.id, key)
            record.plans.append(way.id)
        _done(await bought, f"sell {way.id} to {record.organization}")
        self._tally.sold += 1
        self._tally.revenue += way.price or 0
        self._tally.tell(self._clock(), f"{record.organization} takes a way out: {way.label}")

    def _lapse(self, ident: str) -> int | None:
        """When a pack bought now lapses."""
        days = next(pack.valid_days for pack in self._catalog.packs if pack.id == ident)
        return None if days is None else self._now() + days * DAY_MS


def _done(answer: Answer | Refused, what: str) -> None:
    """Insist that what the operator asked was done."""
    if isinstance(answer, Refused):
        raise TillTrouble(f"The till refused to {what}: {answer.detail} ({answer.code})")
