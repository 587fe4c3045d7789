"""What tests of Stripe share: a clock, orders, and a desk that hears webhooks as a till does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from tokentill.lab.stripe import Delivery, StripeLab
from tokentill.ports.shop import Inbound, Order
from tokentill.rules import happenings as h
from tokentill.rules.purchases import Purchase, derive
from tokentill.vendors.stripe import StripePayments

T0 = 1_795_000_000_000
VISA = "4242424242424242"
DECLINED = "4000000000000002"
NO_MONEY = "4000000000009995"
ASKS_ONCE = "4000002500003155"
ASKS_ALWAYS = "4000002760003184"


class Watch:
    """A clock that is set by hand."""

    def __init__(self, now: int) -> None:
        self.time = now

    def now(self) -> int:
        return self.time


class Desk(Struct):
    """A lab, the payments through it, and the secret of the one endpoint."""

    lab: StripeLab
    payments: StripePayments
    clock: Watch
    base: str
    secret: str

    async def hear(self) -> list[h.AnyHappening]:
        """Every webhook that waits, verified and read, in the order it was sent."""
        return await self.read(self.lab.webhooks())

    async def read(self, deliveries: Sequence[Delivery]) -> list[h.AnyHappening]:
        facts: list[h.AnyHappening] = []
        for one in deliveries:
            event = await self.payments.event(Inbound(one.body, one.headers), self.clock.now())
            facts += await self.payments.happenings(event)
        return facts


def purchase(number: int = 1, **more: Any) -> Purchase:
    terms: dict[str, Any] = {
        "id": f"{number:032x}", "organization": "acme", "created_at": T0, "kind": "pack", "item": "pack_25",
        "title": "25 tokens", "amount": 2500, "currency": "USD", "tokens": 25, "provider": "stripe",
        "slot_ms": 86_400_000,
    }  # fmt: skip
    return derive(Purchase(**{**terms, **more}))


def order(of: Purchase | None = None, **more: Any) -> Order:
    urls = {"success_url": "https://shop.test/thanks", "cancel_url": "https://shop.test/"}
    return Order(purchase=of or purchase(), **{**urls, **more})


def plan(number: int = 1, item: str = "pro", amount: int = 14900, **more: Any) -> Purchase:
    return purchase(
        number, kind="plan", item=item, title=item.title(), amount=amount, tokens=200, slot_ms=0, **more
    )


def key(number: int) -> str:
    return f"key-{number:028}"
