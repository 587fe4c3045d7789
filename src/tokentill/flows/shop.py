"""The shop: every flow of selling, built from one set of means.

What ways in (web, client, command line) hold of the shop is one `Shop`.
"""

from __future__ import annotations

from dataclasses import dataclass

from tokentill.flows import handovers, overage, topup
from tokentill.flows.bills import Bills
from tokentill.flows.checkout import Ask, Checkout
from tokentill.flows.clerk import Clerk
from tokentill.flows.codes import Batch, Codes
from tokentill.flows.deliver import Delivery
from tokentill.flows.feedback import Feedbacks
from tokentill.flows.handovers import Handovers
from tokentill.flows.learn import Learning
from tokentill.flows.margins import LEASE_MS as MARGINS_LEASE_MS
from tokentill.flows.margins import Margins
from tokentill.flows.means import Means
from tokentill.flows.notices import Notices, Posting
from tokentill.flows.offer import Offers
from tokentill.flows.overage import Overages
from tokentill.flows.pay import Paying, Terms
from tokentill.flows.refund_desk import RefundDesk
from tokentill.flows.refund_plan import PlanEnd
from tokentill.flows.refund_quotes import Quotes
from tokentill.flows.refund_work import RefundWork
from tokentill.flows.refunding import Refunding
from tokentill.flows.shopper import Reader
from tokentill.flows.standing import Subscriptions
from tokentill.flows.subscribe import Subscribing
from tokentill.flows.suspect import Suspicion
from tokentill.flows.switches import Switches
from tokentill.flows.testclock import Billing, TestClock
from tokentill.flows.topup import TopUps
from tokentill.flows.ways import Ways
from tokentill.flows.webhook import UnknownProvider, Webhooks
from tokentill.ports import EmbeddedPayments, Inbound
from tokentill.rules.margins import MarginCheck
from tokentill.rules.purchases import Purchase
from tokentill.rules.refund_rows import Refund
from tokentill.rules.rows import (
    EmbeddedPayment,
    Handover,
    Message,
    ProviderEvent,
    RedemptionCode,
    Subscription,
    TopUp,
)

__all__ = ["Ask", "Batch", "Posting", "Shop", "Terms", "UnknownProvider", "open_shop"]


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
    bills: Bills
    webhooks: Webhooks
    learning: Learning
    delivery: Delivery
    refunding: Refunding
    refund_desk: RefundDesk
    feedback: Feedbacks
    margins: Margins
    ways: Ways
    """What can be bought now, which every way in asks before it offers something."""
    handovers: Handovers
    notices: Notices | None = None
    """Who is told of what happens; None where nothing was given to tell it with."""

    @property
    def testclock(self) -> TestClock | None:
        """What moves simulated clocks; only where the embedded provider takes the money."""
        embedded = self.means.payments.get("embedded")
        if not isinstance(embedded, EmbeddedPayments):
            return None
        return TestClock(self.means.ledger, embedded, self.take_in, self.means.ids)

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
        await self.webhooks.take_in(provider, inbound)

    async def close(self) -> None:
        """Finish what is being worked on, and let the providers go."""
        await self.clerk.stop()
        for payments in self.means.payments.values():
            await payments.close()
        if self.notices is not None:
            await self.notices.close()


def open_shop(means: Means, posting: Posting | None = None) -> Shop:
    """The shop over these means, which tells of what happens by `posting`; its clerk is not started yet."""
    reader = Reader(means)
    notices = None if posting is None else Notices(means, posting.mail, posting.outbound, posting.seal)
    telling = (None, None) if notices is None else (notices.receipt, notices.ready)
    delivery = Delivery(means, *telling)
    subscriptions = Subscriptions(means, delivery)
    learning = Learning(means, delivery, subscriptions, Suspicion(means))
    paying = Paying(means, delivery, learning)
    checkout = Checkout(means, delivery, paying, reader)
    webhooks = Webhooks(means, learning)
    clerk = Clerk(means.ledger, means.rows, means.clock)
    subscribing = Subscribing(means, checkout, reader)
    stopped = None if notices is None else notices.stopped
    topups = TopUps(means, checkout, reader, clerk.wake, stopped)
    codes = Codes(means, checkout, reader)
    overages = Overages(means, reader)
    clerk.attend(ProviderEvent, webhooks.process)
    embedded = means.payments.get("embedded")
    if isinstance(embedded, EmbeddedPayments):
        clerk.attend(EmbeddedPayment, Billing(means, embedded, webhooks.take_in).attend)
    quotes = Quotes(means)
    told = None if notices is None else notices.refund
    ending = PlanEnd(means, subscriptions)
    refund_work = RefundWork(means, delivery, learning, checkout, quotes, ending, told)
    clerk.attend(Purchase, paying.attend)
    clerk.attend(Refund, refund_work.advance)
    clerk.attend(Subscription, subscribing.attend)
    clerk.attend(TopUp, topups.attend)
    clerk.attend(RedemptionCode, codes.attend)
    margins = Margins(means)
    clerk.seed(margins.seed)
    clerk.attend(MarginCheck, margins.attend, MARGINS_LEASE_MS)
    handing = Handovers(means)
    clerk.attend(Handover, handing.attend)
    clerk.follow(handovers.NAME, handing.told)
    clerk.follow(overage.NAME, overages.told)
    clerk.follow(topup.NAME, topups.told)
    if notices is not None:
        clerk.attend(Message, notices.send)
        clerk.follow("notices", notices.tell)
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
        ways=Ways(means),
        feedback=Feedbacks(means),
        margins=margins,
        overages=overages,
        bills=paying.bills,
        webhooks=webhooks,
        learning=learning,
        delivery=delivery,
        refunding=Refunding(means, quotes, refund_work, paying),
        refund_desk=RefundDesk(means, refund_work),
        handovers=handing,
        notices=notices,
    )
