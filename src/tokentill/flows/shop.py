"""The shop: every flow of selling, built from one set of means.

What ways in (web, client, command line) hold of the shop is one `Shop`.
"""

from __future__ import annotations

from dataclasses import dataclass

from tokentill.flows.checkout import Checkout
from tokentill.flows.clerk import Clerk
from tokentill.flows.deliver import Delivery
from tokentill.flows.learn import Learning
from tokentill.flows.means import Means
from tokentill.flows.pay import Paying
from tokentill.flows.standing import Subscriptions
from tokentill.flows.suspect import Suspicion
from tokentill.flows.webhook import Webhooks
from tokentill.ports import Inbound
from tokentill.rules.purchases import Purchase
from tokentill.rules.rows import ProviderEvent


@dataclass(frozen=True)
class Shop:
    """The flows of selling. `close` lets the clerk end and the providers go."""

    means: Means
    clerk: Clerk
    checkout: Checkout
    paying: Paying
    delivery: Delivery
    webhooks: Webhooks

    async def receive(self, provider: str, inbound: Inbound) -> bool:
        """Take a webhook in: kept when this returns, worked on right after. False if it was known already."""
        event = await self.webhooks.receive(provider, inbound)
        if event is None:
            return False
        self.clerk.hand(event)
        return True

    async def close(self) -> None:
        """Finish what is being worked on, and let the providers go."""
        await self.clerk.stop()
        for payments in self.means.payments.values():
            await payments.close()


def open_shop(means: Means) -> Shop:
    """The shop over these means; its clerk is not started yet."""
    delivery = Delivery(means)
    learning = Learning(means, delivery, Subscriptions(means, delivery), Suspicion(means))
    paying = Paying(means, delivery, learning)
    webhooks = Webhooks(means, learning)
    clerk = Clerk(means.ledger, means.rows, means.clock)
    clerk.attend(ProviderEvent, webhooks.process)
    clerk.attend(Purchase, paying.attend)
    checkout = Checkout(means, delivery, paying)
    return Shop(means, clerk, checkout, paying, delivery, webhooks)
