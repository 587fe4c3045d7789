"""Shopper: who asks to buy, read at this moment, so that a switch, a limit or a failed payment takes effect at once.

Requirement ids: R-PACK-4, R-PACK-5, R-PACK-9.
"""

from __future__ import annotations

from collections.abc import Sequence

from tokentill.flows.means import Means
from tokentill.ports import Room
from tokentill.rules.account import Account
from tokentill.rules.catalog import DAY_MS
from tokentill.rules.promos import normal
from tokentill.rules.purchases import Purchase
from tokentill.rules.refusals import Refusal, unknown_organization
from tokentill.rules.rollout import place
from tokentill.rules.rows import Payer, Subscription, Switch
from tokentill.rules.selling import Shopper

PACKS_MAX = 5_000
"""So many of an organization's packs are counted; the limit itself is checked where an order is stored."""

SWITCHES_MAX = 1000


class Reader:
    """Reads what an order depends on."""

    def __init__(self, means: Means) -> None:
        self._means = means

    async def shopper(self, organization: str) -> tuple[Shopper, Account] | Refusal:
        """The organization as a shopper, and its account as of the last commit.

        Of its packs are read those whose slot is taken and those of this period; the others are only counted.
        """
        means = self._means
        account = await means.ledger.account(organization)
        if account is None:
            return unknown_organization()
        state = account.state
        now = means.selling_time(account)
        days = means.ledger.catalog.recommend.history_days
        since = state.period.start if state.period is not None else now - days * DAY_MS
        own = (("organization", organization), ("kind", "pack"))
        find, equal = means.rows.find, dict(own)
        taken = await find(Purchase, equal, above=("slot_until", now), limit=PACKS_MAX)
        recent = await find(Purchase, equal, above=("paid_at", since - 1), limit=PACKS_MAX)
        shopper = Shopper(
            organization=organization,
            plan=state.plan,
            failed=state.failed_at is not None,
            place=place(means.secret[:64], organization),
            slots=tuple(row.slot_until for row in taken),
            bought=await means.rows.count(Purchase, Room(PACKS_MAX, own, ("paid_at", 0))),
            switched_off=frozenset(row.id for row in await self.switches() if not row.on),
            packs_count=len(recent),
            packs_amount=sum(row.amount for row in recent),
            packs_tokens=sum(row.tokens + row.bonus for row in recent),
        )
        return shopper, account

    async def promo_uses(self, organization: str, promo: str, now: int) -> int:
        """How often the organization has used the promotion code for packs, open checkouts counted."""
        used = (("organization", organization), ("kind", "pack"), ("promo", normal(promo)))
        return await self._means.rows.count(Purchase, Room(PACKS_MAX, used, ("promo_until", now)))

    async def switches(self) -> Sequence[Switch]:
        """The kill switches that were ever touched."""
        return await self._means.rows.find(Switch, {}, limit=SWITCHES_MAX)

    async def payers(self, organization: str) -> Sequence[Payer]:
        """The organization's payment methods, the one used last first."""
        found = await self._means.rows.find(Payer, {"organization": organization})
        return sorted(found, key=lambda row: (-row.used_at, row.id))

    async def saved_payer(self, organization: str, payer: str | None = None) -> Payer | None:
        """The saved method of this id, else the one used last; None if there is none."""
        saved = [row for row in await self.payers(organization) if row.saved is not None]
        return next((row for row in saved if payer in (None, row.id)), None)

    async def subscription(self, organization: str) -> Subscription | None:
        """The organization's subscription that is not over, if there is one."""
        found = await self.last_subscription(organization)
        return None if found is None or found.status == "ended" else found

    async def last_subscription(self, organization: str) -> Subscription | None:
        """The subscription that runs, else the one that began last; None where there never was one."""
        found = await self._means.rows.find(Subscription, {"organization": organization})
        return max(found, key=lambda row: (row.status != "ended", row.created_at), default=None)
