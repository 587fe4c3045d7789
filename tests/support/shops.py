"""A shop over a real ledger of an engine, with the scripted provider: what tests of selling share."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support.desk import preset, without_limits
from tests.support.scripted import Scripted
from tests.support.stores import SECRET, Store, ok, readable
from tokentill.flows.means import Means
from tokentill.flows.pay import Terms
from tokentill.flows.send import Retry
from tokentill.flows.shop import Posting, Shop, open_shop
from tokentill.ports import Ledger, Payments, Room, Rows
from tokentill.rules import commands as c
from tokentill.rules import happenings as h
from tokentill.rules.account import Account
from tokentill.rules.catalog import DAY_MS, Catalog
from tokentill.rules.purchases import Purchase
from tokentill.rules.refusals import Refusal
from tokentill.rules.rows import Alert, ProviderEvent
from tokentill.wiring import SystemIds

QUICK = Retry(tries_max=3, delay_ms_min=0, delay_ms_max=0, attempt_ms_max=5_000, total_ms_max=5_000)


def selling() -> Catalog:
    """The preset `goals` without limits on use."""
    return without_limits(preset("goals"))


class World:
    """Organizations that buy; `shop` may be thrown away and opened anew on the same store (`restart`)."""

    def __init__(self, store: Store, ledger: Ledger, provider: Scripted) -> None:
        self.store = store
        self.clock = store.clock
        self.ledger = ledger
        self.provider = provider
        self.ids = SystemIds()
        self.shop = self.open()
        self.dies_at_each = 1
        """Of so many crossings a process dies at one, where a test lets it die."""
        self._orders = 0

    def open(
        self, *, rows: Any = None, ledger: Any = None, provider: Any = None, posting: Posting | None = None,
        more: Mapping[str, Payments] | None = None,
    ) -> Shop:  # fmt: skip
        """A shop, perhaps with something put before one of its ports; `more`: further providers."""
        provider = provider or self.provider
        means = Means(
            ledger=ledger or self.ledger, rows=rows or self.ledger.rows,
            payments={provider.name: provider, **(more or {})},
            clock=self.clock, ids=self.ids, secret=SECRET, address=lambda: "https://shop.test", patience=QUICK,
        )  # fmt: skip
        return open_shop(means, posting)

    @property
    def rows(self) -> Rows:
        return self.ledger.rows

    def restart(self) -> Shop:
        """Another process on the same store."""
        self.shop = self.open()
        return self.shop

    def order(self, organization: str, **more: Any) -> Purchase:
        """An order of a pack of 500 tokens for $29."""
        self._orders += 1
        fields: dict[str, Any] = {
            "id": f"{self._orders:032x}", "organization": organization, "created_at": self.clock.now(), "kind": "pack",
            "item": "token_pack_500", "title": "500 tokens", "amount": 2900, "list_amount": 2900, "currency": "USD",
            "tokens": 500, "provider": self.provider.name, "slot_ms": DAY_MS,
        }  # fmt: skip
        return Purchase(**{**fields, **more})

    async def begin(self, *organizations: str, plan: str | None = "pro") -> None:
        for name in organizations:
            await ok(self.ledger, name, c.Open(plan=plan))

    async def place(
        self, ordered: Purchase, *rooms: Room, shop: Shop | None = None, **terms: Any
    ) -> Purchase:
        placed = await (shop or self.shop).checkout.place(ordered, rooms, Terms(**terms))
        assert isinstance(placed, Purchase), placed
        return placed

    async def refused(self, ordered: Purchase, *rooms: Room) -> Refusal:
        placed = await self.shop.checkout.place(ordered, rooms, Terms())
        assert isinstance(placed, Refusal), placed
        return placed

    async def tell(self, *facts: h.AnyHappening, shop: Shop | None = None, name: str | None = None) -> bool:
        """One event with these facts comes in; whether it was new."""
        return await (shop or self.shop).receive(self.provider.name, self.provider.told(*facts, name=name))

    async def settle(self, shop: Shop | None = None) -> None:
        """Everything that is due now is done."""
        async with asyncio.timeout(60):
            await (shop or self.shop).clerk.once()

    async def follow(self) -> None:
        """Every entry can be read by those who follow the journal, and everything that comes of it is done."""
        await readable(self.ledger)
        await self.settle()

    async def later(self, milliseconds: int) -> None:
        """Time passes, and what comes due is done."""
        self.clock.time += milliseconds
        await self.settle()

    async def purchase(self, purchase: Purchase) -> Purchase:
        found = await self.rows.get(Purchase, purchase.id, purchase.organization)
        assert found is not None
        return found

    async def purchases(self, organization: str) -> Sequence[Purchase]:
        return await self.rows.find(Purchase, {"organization": organization}, limit=1000)

    async def account(self, organization: str) -> Account:
        account = await self.ledger.account(organization)
        assert account is not None
        return account

    async def balance(self, organization: str) -> int:
        return (await self.account(organization)).free

    async def alerts(self) -> list[str]:
        return sorted(row.code for row in await self.rows.find(Alert, {}, limit=1000))

    async def events(self) -> dict[str, int]:
        """How many events stand how."""
        found: dict[str, int] = {}
        for row in await self.rows.find(ProviderEvent, {}, limit=1000):
            found[row.state] = found.get(row.state, 0) + 1
        return found

    async def clean(self) -> None:
        """Tokens are conserved and the journal fits."""
        assert (await self.ledger.verify()).findings == ()


async def make_world(store: Store, folder: Path, *, catalog: Catalog | None = None, **provider: Any) -> World:
    ledger = await store.open(catalog=catalog or selling())
    scripted = Scripted(str(folder / "provider.db"), store.clock.now, **provider)
    return World(store, ledger, scripted)
