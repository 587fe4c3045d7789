"""The shop: every flow of selling, built from one set of means.

What ways in (web, client, command line) hold of the shop is one `Shop`.
"""

from __future__ import annotations

from dataclasses import dataclass

from tokentill.flows import overage, topup
from tokentill.flows.checkout import Ask, Checkout
from tokentill.flows.clerk import Clerk
from tokentill.flows.codes import Batch, Codes
from tokentill.flows.deliver import Delivery
from tokentill.flows.learn import Learning
from tokentill.flows.means import Means
from tokentill.flows.offer import Offers
from tokentill.flows.overage import Overages
from tokentill.flows.pay import Paying, Terms
from tokentill.flows.shopper import Reader
from tokentill.flows.standing import Subscriptions
from tokentill.flows.subscribe import Subscribing
from tokentill.flows.suspect import Suspicion
from tokentill.flows.switches import Switches
from tokentill.flows.topup import TopUps
from tokentill.flows.webhook import UnknownProvider, Webhooks
from tokentill.ports import Inbound
from tokentill.rules.purchases import Purchase
from tokentill.rules.rows import ProviderEvent, RedemptionCode, Subscription, TopUp

__all__ = ["Ask", "Batch", "Shop", "Terms", "UnknownProvider", "open_shop"]


@dataclass(frozen=True)
class Shop:
    """The flows of selling. Start the `clerk` where this process shall work on what is due; `close` at the end."""

    means: Means
    clerk: Clerk
    reader: Reader
    offers: Offers
    checkout: Checkout
    subscribing: Subscribing
    topups: TopUps
    codes: Codes
    switches: Switches
    overages: Overages
    webhooks: Webhooks
    learning: Learning
    delivery: Delivery

    async def receive(self, provider: str, inbound: Inbound) -> bool:
        """Take a webhook in: kept when this returns, worked on right after. False if it was known already.

        Raises `UnknownProvider`, `BadSignature`, `VendorDown` or `StoreDown`.
        """
        event = await self.webhooks.receive(provider, inbound)
        if event is None:
            return False
        self.clerk.hand(event)
        return True

    async def take_in(self, provider: str, inbound: Inbound) -> None:
        """Take a webhook in and return when the accounts know of it; as for `receive`, for who can wait."""
        event = await self.webhooks.receive(provider, inbound)
        if event is not None:
            await self.webhooks.process(event)

    async def close(self) -> None:
        """Finish what is being worked on, and let the providers go."""
        await self.clerk.stop()
        for payments in self.means.payments.values():
            await payments.close()


def open_shop(means: Means) -> Shop:
    """The shop over these means; its clerk is not started yet."""
    reader = Reader(means)
    delivery = Delivery(means)
    learning = Learning(means, delivery, Subscriptions(means, delivery), Suspicion(means))
    paying = Paying(means, delivery, learning)
    checkout = Checkout(means, delivery, paying, reader)
    webhooks = Webhooks(means, learning)
    clerk = Clerk(means.ledger, means.rows, means.clock)
    subscribing = Subscribing(means, checkout, reader)
    topups = TopUps(means, checkout, reader, clerk.wake)
    codes = Codes(means, checkout, reader)
    overages = Overages(means, reader)
    clerk.attend(ProviderEvent, webhooks.process)
    clerk.attend(Purchase, paying.attend)
    clerk.attend(Subscription, subscribing.attend)
    clerk.attend(TopUp, topups.attend)
    clerk.attend(RedemptionCode, codes.attend)
    clerk.follow(overage.NAME, overages.told)
    clerk.follow(topup.NAME, topups.told)
    return Shop(
        means=means,
        clerk=clerk,
        reader=reader,
        offers=Offers(means, reader),
        checkout=checkout,
        subscribing=subscribing,
        topups=topups,
        codes=codes,
        switches=Switches(means, reader),
        overages=overages,
        webhooks=webhooks,
        learning=learning,
        delivery=delivery,
    )
