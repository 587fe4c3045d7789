"""Subscription schedules: what a subscription will be to after its running period."""

from __future__ import annotations

from tokentill.lab.stripe import form as f
from tokentill.lab.stripe import shapes_billing
from tokentill.lab.stripe.form import Form
from tokentill.lab.stripe.goods import Goods
from tokentill.lab.stripe.periods import nth_end
from tokentill.lab.stripe.refusals import Refused
from tokentill.lab.stripe.shapes import nulls
from tokentill.lab.stripe.world import Object, World


class Schedules:
    """Subscription schedules of one world: a running phase and one after it, then let go."""

    def __init__(self, world: World, goods: Goods) -> None:
        self.world = world
        self.goods = goods

    def create(self, form: Form) -> Object:
        """POST /v1/subscription_schedules, from a subscription."""
        world = self.world
        found = world.get("subscription", f.needed(form, "from_subscription"), "from_subscription")
        if found["schedule"] is not None:
            raise Refused("The subscription already has a schedule.", param="from_subscription")
        item = found["items"]["data"][0]
        running = _phase(
            found, item["price"], item["current_period_start"], item["current_period_end"], found["metadata"]
        )
        made = world.add(shapes_billing.schedule(world.id("sub_sched_"), world.now, found, [running]))
        found["schedule"] = made["id"]
        world.emit("subscription_schedule.created", made)
        return made

    def update(self, ident: str, form: Form) -> Object:
        """POST /v1/subscription_schedules/:id: the running phase as it is, and one more."""
        world = self.world
        made = world.get("subscription_schedule", ident)
        if made["status"] != "active":
            raise Refused(f"The schedule is {made['status']}.")
        phases = f.rows(form, "phases")
        if len(phases) != 2 or f.choice(form, "end_behavior", ("release", "cancel")) != "release":
            raise Refused("This lab knows two phases, then release.", status=501, kind="api_error")
        running = made["phases"][0]
        if f.whole(phases[0], "start_date") != running["start_date"]:
            raise Refused("The running phase must start when it did.", param="phases[0][start_date]")
        end = f.whole(phases[0], "end_date") or running["end_date"]
        found = world.get("subscription", made["subscription"])
        rows = f.rows(phases[1], "items")
        price = self.goods.price_of(rows[0] if rows else {}, "phases[1][items]")
        lasts = f.table(phases[1], "duration")
        count = f.whole(lasts, "interval_count", 1) or 1
        often = {"interval": f.needed(lasts, "interval", "duration"), "interval_count": count}
        later = _phase(found, price, end, nth_end(end, often, 1), f.metadata(phases[1]))
        made["phases"] = [{**running, "end_date": end}, later]
        world.emit("subscription_schedule.updated", made)
        return made

    def release(self, ident: str, _form: Form | None = None) -> Object:
        """POST /v1/subscription_schedules/:id/release."""
        world = self.world
        made = world.get("subscription_schedule", ident)
        if made["status"] != "active":
            raise Refused(f"The schedule is {made['status']}.")
        found = world.get("subscription", made["subscription"])
        found["schedule"] = None
        made.update(
            status="released",
            released_at=world.now,
            released_subscription=found["id"],
            subscription=None,
            current_phase=None,
        )
        world.emit("subscription_schedule.released", made)
        return made

    def enter(self, found: Object) -> Object | None:
        """The price of the phase that begins now, if one does; the schedule then lets go."""
        if found["schedule"] is None:
            return None
        made = self.world.get("subscription_schedule", found["schedule"])
        due = [phase for phase in made["phases"] if phase["start_date"] <= self.world.now]
        self.release(made["id"])
        if len(due) < 2:
            return None
        found["metadata"] = {**found["metadata"], **due[-1]["metadata"]}
        return self.world.get("price", due[-1]["items"][0]["price"])


def _phase(found: Object, price: Object, start: int, end: int, marks: dict[str, str]) -> Object:
    item = {
        "billing_thresholds": None,
        "discounts": [],
        "metadata": {},
        "plan": price["id"],
        "price": price["id"],
        "quantity": 1,
        "tax_rates": [],
    }
    return {
        "add_invoice_items": [],
        "currency": found["currency"],
        "default_tax_rates": [],
        "discounts": [],
        "end_date": end,
        "items": [item],
        "metadata": dict(marks),
        "proration_behavior": "none",
        "start_date": start,
        **nulls(
            "application_fee_percent automatic_tax billing_cycle_anchor billing_thresholds collection_method "
            "default_payment_method description invoice_settings on_behalf_of transfer_data trial_end"
        ),
    }
