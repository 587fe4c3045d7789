"""Refund of a plan: whose payment was given back for the period that runs, has no plan any more.

The provider is told to bill nothing more and the account to end the plan, both at once, after the money went back and
the tokens were taken. What packs brought stays. Where the plan runs on another payment by then, because a renewal came
while the refund waited, it goes on; that is decided once (`tokentill.rules.refund_steps.given`), and from then on each
call may be made again.

Readings: a plan that was given back does not go on until its period ends, because that would be a plan for nothing.

Requirement ids: R-REF-4, R-REF-5, R-PLAN-4.
"""

from __future__ import annotations

from tokentill.flows.means import Means, deed_key
from tokentill.flows.refund_facts import runs
from tokentill.flows.standing import Subscriptions
from tokentill.ports import VendorDown, VendorRefused
from tokentill.rules import commands as c
from tokentill.rules import happenings as h
from tokentill.rules.purchases import Purchase
from tokentill.rules.refund_rows import Refund
from tokentill.rules.rows import Subscription


class PlanEnd:
    """Ends plans that were given back."""

    def __init__(self, means: Means, subscriptions: Subscriptions) -> None:
        self._means = means
        self._subscriptions = subscriptions

    async def end(self, row: Refund, purchase: Purchase) -> str | None:
        """End the plan that ran on the purchase; why it must be tried again, None once it is over."""
        means = self._means
        name = f"{purchase.provider}:{purchase.subscription}"
        running = await means.rows.get(Subscription, name, row.organization)
        if running is not None and running.status != "ended":
            payments = means.payments.get(running.provider)
            try:
                if payments is not None:
                    await payments.end_subscription(running, now=True, key=deed_key(row.id, "end"))
            except VendorDown:
                return "the provider did not answer when the plan was to end"
            except VendorRefused as refused:
                text = f"The plan of refund {row.id} could not be ended at {running.provider}: {refused}. End it there."
                await means.alert(row.organization, "refund_plan_runs", row.id, text)
            over = h.Subscribed(
                at=max(await means.time_of(row.organization), running.read_at), purchase=purchase.id,
                organization=row.organization, subscription=running.ref, plan=running.plan, status="ended", ended=True,
            )  # fmt: skip
            await self._subscriptions.stand(running.provider, over, purchase)
        if await runs(means, purchase):
            await means.submit(
                row.organization, c.ChangePlan(plan=None, when="now"), deed_key(row.id, "no_plan")
            )
        return None
