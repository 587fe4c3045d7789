"""Suspect: gather what the rules of suspicion look at, and raise what they find, once for each cause (R-PACK-4).

Nothing is blocked here: money that arrived is honoured, and a person looks.

Requirement ids: R-PACK-4, R-PACK-3, R-REF-6.
"""

from __future__ import annotations

from msgspec.structs import replace

from tokentill.flows.carry import chain_of
from tokentill.flows.means import Means, log
from tokentill.ports import Room
from tokentill.rules import happenings as h
from tokentill.rules import suspicion
from tokentill.rules.purchases import Purchase
from tokentill.rules.rows import Payer

RECENT_MAX = 5_000
"""So many of an organization's own purchases are looked at."""


class Suspicion:
    """Raises alerts by the catalog's rules."""

    def __init__(self, means: Means) -> None:
        self._means = means

    async def judge(self, purchase: Purchase, fact: h.AnyHappening, counts: Purchase) -> Purchase:
        """Look at what the happening made of the purchase; flagged, if it was honoured over the limit.

        `counts`: the larger pack that took its place and has its tokens, or itself.
        """
        means = self._means
        gave_up = purchase.ended or (purchase.mode == "saved" and bool(purchase.declines))
        if isinstance(fact, h.Paid | h.Ended | h.Declined) and gave_up and purchase.paid_at is not None:
            purchase = await self._over_limit(purchase)
        now = means.clock.now()
        declines, organizations = 0, 0
        if isinstance(fact, h.Declined):
            declines = await self._declines(purchase, now)
        if isinstance(fact, h.Paid | h.InvoicePaid) and fact.method is not None:
            organizations = await self._sharing(fact.method, now)
        aside = await self._aside(counts) if isinstance(fact, h.Disputed) else 0
        seen = suspicion.Seen(declines, organizations, aside)
        for alert in suspicion.alerts(means.ledger.catalog, purchase, seen, now):
            # What several organizations have part in is told once, as nobody's own.
            own = replace(alert, organization="") if alert.code == "shared_method" else alert
            if (await means.rows.add(own)).how == "new":
                log.warning("an operator should look", code=own.code, purchase=purchase.id)
        return purchase

    async def _declines(self, purchase: Purchase, now: int) -> int:
        window = suspicion.window(self._means.ledger.catalog, "declines")
        if window is None:
            return 0
        equal = {"organization": purchase.organization}
        rows = await self._means.rows.find(Purchase, equal, limit=RECENT_MAX)
        return suspicion.declines(rows, now - window)

    async def _aside(self, purchase: Purchase) -> int:
        """Tokens of the purchase that are set aside now."""
        account = await self._means.ledger.account(purchase.organization)
        aside = () if account is None else account.state.aside
        return sum(lot.available for lot in await chain_of(self._means, purchase) if lot.id in aside)

    async def _sharing(self, method: str, now: int) -> int:
        """Organizations that the method paid for lately, counted no further than the alert needs: each has one row."""
        rule = suspicion.rule_of(self._means.ledger.catalog, "shared_method")
        if rule is None or rule.window_ms is None:
            return 0
        room = Room(rule.count, (("method", method),), ("used_at", now - rule.window_ms))
        return await self._means.rows.count(Payer, room)

    async def _over_limit(self, purchase: Purchase) -> Purchase:
        """A payment that arrived after its slot had been given up: is it one too many?"""
        paid_at = purchase.paid_at
        if purchase.kind != "pack" or paid_at is None:
            return purchase
        equal = {"organization": purchase.organization, "kind": "pack"}
        rows = await self._means.rows.find(Purchase, equal, limit=RECENT_MAX)
        others = [row.paid_at for row in rows if row.paid_at is not None and row.id != purchase.id]
        if not suspicion.above_limit(self._means.ledger.catalog, paid_at, others):
            return purchase
        return await self._means.change(
            purchase, lambda row: row if row.flagged else replace(row, flagged="over_limit")
        )
