"""Suspect: tell an operator of what looks wrong with a payment, once for each cause (R-PACK-4).

Which patterns count, and how many of them within what time, says the catalog. Nothing is blocked here: money
that arrived is honoured, and a person looks.

Requirement ids: R-PACK-4, R-PACK-3, R-REF-6.
"""

from __future__ import annotations

from msgspec.structs import replace

from tokentill.flows.means import Means
from tokentill.rules import happenings as h
from tokentill.rules.catalog_shop import AlertRule, Pattern
from tokentill.rules.purchases import Purchase
from tokentill.rules.rows import Payer

RECENT_MAX = 200
"""So many of an organization's newest purchases are looked at."""

TEXTS: dict[Pattern, str] = {
    "mismatched": "A payment of another amount or currency than was ordered arrived. Nothing was delivered.",
    "paid_twice": "The purchase was paid more than once. Give the second payment back.",
    "over_limit": "A payment arrived beyond the limit of packs. It was honoured.",
    "fraud_warning": "The card network says that the payment may be fraud.",
    "dispute": "The customer's bank wants the payment back.",
    "declines": "{count} tries to pay were declined within {minutes} minutes.",
    "shared_method": "{count} organizations paid with the same payment method.",
}


class Suspicion:
    """Raises alerts by the catalog's rules."""

    def __init__(self, means: Means) -> None:
        self._means = means

    async def judge(self, purchase: Purchase, fact: h.AnyHappening) -> Purchase:
        """Look at what the happening made of the purchase; the purchase, flagged if it was honoured over the limit."""
        if purchase.flagged in ("mismatched", "paid_twice"):
            await self._raise("mismatched" if purchase.flagged == "mismatched" else "paid_twice", purchase)
        if isinstance(fact, h.Suspected):
            await self._raise("fraud_warning", purchase)
        if isinstance(fact, h.Disputed):
            await self._raise("dispute", purchase)
        if isinstance(fact, h.Declined):
            await self._declines(purchase)
        if isinstance(fact, h.Paid) and fact.method is not None:
            await self._shared(purchase, fact.method)
        gave_up = purchase.ended or (purchase.mode == "saved" and bool(purchase.declines))
        if isinstance(fact, h.Paid | h.Ended | h.Declined) and gave_up and purchase.paid_at is not None:
            purchase = await self._over_limit(purchase)
        return purchase

    def _rule(self, pattern: Pattern) -> AlertRule | None:
        return next((rule for rule in self._means.ledger.catalog.alerts if rule.pattern == pattern), None)

    async def _raise(self, pattern: Pattern, purchase: Purchase, cause: str = "", **figures: int) -> None:
        if self._rule(pattern) is not None:
            text = f"{TEXTS[pattern].format(**figures)} Purchase {purchase.id}."
            await self._means.alert(purchase.organization, pattern, cause or purchase.id, text)

    async def _declines(self, purchase: Purchase) -> None:
        rule = self._rule("declines")
        if rule is None or rule.window_ms is None:
            return
        equal = {"organization": purchase.organization}
        rows = await self._means.rows.find(Purchase, equal, limit=RECENT_MAX)
        since = self._means.clock.now() - rule.window_ms
        count = sum(at > since for row in rows for _, at in row.declines)
        if count >= rule.count:
            # One alert for each window in which it goes on.
            cause = f"{purchase.organization}:{self._means.clock.now() // rule.window_ms}"
            await self._raise("declines", purchase, cause, count=count, minutes=rule.window_ms // 60_000)

    async def _shared(self, purchase: Purchase, method: str) -> None:
        rule = self._rule("shared_method")
        if rule is None or rule.window_ms is None:
            return
        payers = await self._means.rows.find(Payer, {"method": method}, limit=RECENT_MAX)
        since = self._means.clock.now() - rule.window_ms
        owners = {row.organization for row in payers if row.used_at > since}
        if len(owners) >= rule.count:
            await self._raise("shared_method", purchase, f"{purchase.provider}:{method}", count=len(owners))

    async def _over_limit(self, purchase: Purchase) -> Purchase:
        """A payment that arrived after its slot had been given up: is the limit exceeded by it?"""
        most = self._means.ledger.catalog.checkout.packs_max
        if most is None or purchase.kind != "pack":
            return purchase
        equal = {"organization": purchase.organization, "kind": "pack"}
        rows = await self._means.rows.find(Purchase, equal, limit=RECENT_MAX)
        if sum(row.slot_until > (purchase.paid_at or 0) for row in rows) <= most:
            return purchase
        await self._raise("over_limit", purchase)
        return await self._means.change(
            purchase, lambda row: row if row.flagged else replace(row, flagged="over_limit")
        )
