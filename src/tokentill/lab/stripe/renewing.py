"""What happens by itself as time goes: renewals, tries to collect again, ends, and checkouts that expire.

`catch_up` does everything that is due, oldest first, each at its own moment: a world that is moved a year ahead
lives through twelve renewals with the times they would have had.
"""

from __future__ import annotations

from collections.abc import Callable

from tokentill.lab.stripe.billing import OVER, Billing
from tokentill.lab.stripe.checkout import Checkout
from tokentill.lab.stripe.invoices import DAY, RETRIES_DAYS, Invoices
from tokentill.lab.stripe.periods import period_end
from tokentill.lab.stripe.refusals import Refused
from tokentill.lab.stripe.schedules import Schedules
from tokentill.lab.stripe.world import Object, World

WARN_SECONDS = 3 * DAY
"""How long before its end a trial is told of."""

Due = tuple[int, str, Callable[[], None]]


class Renewing:
    """The deadlines of one world."""

    def __init__(
        self,
        world: World,
        checkout: Checkout,
        billing: Billing,
        invoices: Invoices,
        schedules: Schedules,
    ) -> None:
        self.world = world
        self.checkout = checkout
        self.billing = billing
        self.invoices = invoices
        self.schedules = schedules

    def catch_up(self) -> None:
        """Do all that is due by now, each thing at its moment."""
        world = self.world
        target = world.ahead_ms
        now = world.now
        while True:
            due = min((one for one in self._due() if one[0] <= now), default=None, key=lambda one: one[:2])
            if due is None:
                break
            world.ahead_ms = target - (now - due[0]) * 1000
            due[2]()
        world.ahead_ms = target

    def _due(self) -> list[Due]:
        world = self.world
        found: list[Due] = [
            (session["expires_at"], session["id"], _call(self.checkout.lapse, session))
            for session in world.all("checkout.session")
            if session["status"] == "open"
        ]
        for one in world.all("subscription"):
            if one["status"] not in OVER:
                found += self._of_subscription(one)
        for invoice in world.all("invoice"):
            again = invoice["next_payment_attempt"]
            if invoice["status"] == "open" and again is not None:
                found.append((again, invoice["id"], _call(self._try_again, invoice)))
            opens = invoice["automatically_finalizes_at"]
            if opens is not None:
                found.append((opens, invoice["id"], _call(self._finalize, invoice)))
        return found

    def _of_subscription(self, one: Object) -> list[Due]:
        end = one["items"]["data"][0]["current_period_end"]
        found: list[Due] = [(end, one["id"], _call(self._period_ends, one))]
        waiting = one["pending_update"]
        if waiting is not None:
            found.append((waiting["expires_at"], one["latest_invoice"], _call(self._give_up, one)))
        told = self.world.note(one["id"]).get("trial_told", False)
        if one["status"] == "trialing" and not told:
            found.append((one["trial_end"] - WARN_SECONDS, one["id"], _call(self._tell_of_trial, one)))
        return found

    def _tell_of_trial(self, one: Object) -> None:
        self.world.note(one["id"])["trial_told"] = True
        self.world.emit("customer.subscription.trial_will_end", one)

    def _give_up(self, one: Object) -> None:
        self.invoices.void(self.world.get("invoice", one["latest_invoice"]))

    def _period_ends(self, one: Object) -> None:
        if one["cancel_at_period_end"]:
            self.billing.cancel(one["id"])
            return
        self._renew(one)

    def _renew(self, one: Object) -> None:
        """The next period begins: a draft of its invoice, which is collected an hour later."""
        world = self.world
        item = one["items"]["data"][0]
        start = item["current_period_end"]
        price = self.schedules.enter(one)
        if price is not None:
            if price["recurring"] != item["price"]["recurring"]:
                one["billing_cycle_anchor"] = start
            self.billing.put_price(one, price)
        end = period_end(one["billing_cycle_anchor"], item["price"]["recurring"], start)
        item.update(current_period_start=start, current_period_end=end)
        if one["status"] == "trialing":
            one["status"] = "active"
        customer = world.get("customer", one["customer"])
        invoice = self.invoices.draft(customer, one["currency"], "subscription_cycle", one)
        self.invoices.line_of_plan(invoice, item, start, end, item["price"]["unit_amount"])
        self.invoices.told(invoice, waits=True)
        one["latest_invoice"] = invoice["id"]
        world.emit("customer.subscription.updated", one, {"latest_invoice": None})

    def _finalize(self, invoice: Object) -> None:
        """A draft is opened and collected, even where its subscription has ended meanwhile."""
        self.invoices.finalize(invoice)
        one = self.billing.of_invoice(invoice)
        if one is not None:
            self._collect(invoice, one)

    def _collect(self, invoice: Object, one: Object) -> None:
        try:
            paid = self.invoices.collect(invoice, self.billing.method_of(one), off_session=True)
        except Refused:
            paid = False
        if not paid and one["status"] not in (*OVER, "past_due"):
            self.world.change("customer.subscription.updated", one, status="past_due")

    def _try_again(self, invoice: Object) -> None:
        one = self.billing.of_invoice(invoice)
        invoice["next_payment_attempt"] = None
        if one is None or one["status"] in OVER:
            return
        self._collect(invoice, one)
        if invoice["status"] == "open" and invoice["attempt_count"] > len(RETRIES_DAYS):
            self.billing.cancel(one["id"])


def _call(what: Callable[[Object], None], found: Object) -> Callable[[], None]:
    return lambda: what(found)
