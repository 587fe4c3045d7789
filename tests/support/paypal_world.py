"""A shop's side of PayPal: the vendor under test before a checked PayPal of its own, and a clock both follow."""

import contextlib
import functools
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from msgspec.structs import replace

from tests.support.paypal import Checked
from tokentill.lab.paypal.authority import Authority
from tokentill.lab.paypal.server import Lab, serving
from tokentill.ports import Inbound, Order
from tokentill.rules import happenings as h
from tokentill.rules.purchases import Purchase, derive, merge
from tokentill.vendors.paypal.provider import PayPal

NOW = 1_760_000_000_000
HOUR = 3_600_000
DAY = 24 * HOUR


@dataclass
class HandClock:
    """Time that moves by hand."""

    at: int = NOW

    def now(self) -> int:
        return self.at


@functools.cache
def authority() -> Authority:
    """The certificates of the run; they hold from ten days before `NOW`."""
    return Authority(NOW - 10 * DAY)


@dataclass
class World:
    clock: HandClock
    lab: Lab
    checked: Checked
    paypal: PayPal

    def purchase(
        self, amount: int = 4999, currency: str = "USD", ident: str = "p-1", **more: Any
    ) -> Purchase:
        return derive(
            Purchase(
                id=ident, organization="acme", kind="pack", item="pack50", title="50 tokens", amount=amount,
                currency=currency, tokens=50, provider="paypal", created_at=self.clock.at, slot_ms=DAY, **more,
            )
        )  # fmt: skip

    def order(self, purchase: Purchase, **more: Any) -> Order:
        success, cancel = "https://shop.example/done", "https://shop.example/cart"
        return Order(purchase=purchase, success_url=success, cancel_url=cancel, **more)

    async def started(self, purchase: Purchase | None = None, key: str = "checkout-1") -> Purchase:
        """A purchase whose checkout has begun."""
        purchase = purchase or self.purchase()
        started = await self.paypal.checkout(self.order(purchase), key)
        return derive(
            replace(purchase, checkout=started.checkout, url=started.url, expires_at=started.expires_at)
        )

    async def paid(self, purchase: Purchase | None = None) -> Purchase:
        """A purchase that was paid; its webhooks are thrown away."""
        purchase = await self.started(purchase)
        self.lab.book.approve(purchase.checkout or "")
        purchase = merged(purchase, await self.paypal.look(purchase))
        self.lab.outbox.take()
        return purchase

    async def heard(self, *webhooks: Inbound) -> list[h.AnyHappening]:
        """What webhooks say, oldest first."""
        found: list[h.AnyHappening] = []
        for webhook in webhooks:
            event = await self.paypal.event(webhook, self.clock.at)
            found += await self.paypal.happenings(event)
        return found

    async def told(self, *types: str) -> list[h.AnyHappening]:
        """What the webhooks that wait say."""
        return await self.heard(*self.lab.outbox.take(*types))

    def capture(self) -> str:
        """The newest capture."""
        return list(self.lab.book.captures)[-1]


def merged(purchase: Purchase, facts: Iterable[h.AnyHappening]) -> Purchase:
    for fact in facts:
        purchase = merge(purchase, fact)
    return purchase


def only(facts: Sequence[h.AnyHappening]) -> h.AnyHappening:
    """The one fact there is."""
    (fact,) = facts
    return fact


@contextlib.asynccontextmanager
async def opened(seconds: float = 5.0) -> AsyncIterator[World]:
    """A world of its own. Whatever did not fit a schema fails the test at its end."""
    clock = HandClock()
    lab = Lab(clock.now, authority())
    checked = Checked(lab)
    async with serving(lab, checked) as base:
        paypal = PayPal(
            lab.client_id,
            lab.secret,
            lab.webhook_id,
            base,
            clock,
            ca_bundle=authority().bundle,
            seconds=seconds,
        )
        try:
            yield World(clock, lab, checked, paypal)
        finally:
            await paypal.close()
    if checked.misfits:
        pytest.fail("\n".join(["what passed does not fit PayPal's schemas:", *checked.misfits]))
