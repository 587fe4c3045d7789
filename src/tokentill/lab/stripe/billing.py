"""Subscriptions: begun, changed at once or pending, marked, cancelled, and renewed as time goes.

What is built of a change is what the till asks for: a new price without proration, either silently from the next
invoice on or with a new period and its invoice at once. Anything else is refused as not built, never guessed.
"""

from __future__ import annotations

from typing import Any

from tokentill.lab.stripe import form as f
from tokentill.lab.stripe import shapes_billing
from tokentill.lab.stripe.form import Form
from tokentill.lab.stripe.goods import Goods
from tokentill.lab.stripe.invoices import DAY, Invoices
from tokentill.lab.stripe.paying import Customer
from tokentill.lab.stripe.periods import period_end
from tokentill.lab.stripe.refusals import Refused, card_error
from tokentill.lab.stripe.world import Object, World

PENDING_SECONDS = 23 * 3600
OVER = ("canceled", "incomplete_expired")
BEHAVIOURS = ("allow_incomplete", "error_if_incomplete", "pending_if_incomplete")


class Billing:
    """Subscriptions of one world."""

    def __init__(self, world: World, goods: Goods, invoices: Invoices) -> None:
        self.world = world
        self.goods = goods
        self.invoices = invoices
        invoices.on_paid.append(self._invoice_paid)
        invoices.on_void.append(self._invoice_void)

    # ---- beginning ---------------------------------------------------------------------------------------

    def subscribe(
        self,
        customer: Object,
        price: Object,
        method: Object,
        *,
        trial_days: int = 0,
        coupon: Object | None = None,
        bank: Customer = "confirms",
        **values: Any,
    ) -> Object | None:
        """A new subscription, its first invoice paid; None if the customer must still confirm."""
        world = self.world
        since = len(world.told)
        now = world.now
        found = shapes_billing.subscription(
            world.id("sub_"),
            now,
            currency=price["currency"],
            customer=customer["id"],
            default_payment_method=method["id"],
            **values,
        )
        end = now + trial_days * DAY if trial_days else period_end(now, price["recurring"], now)
        if trial_days:
            found.update(trial_start=now, trial_end=end, billing_cycle_anchor=end, status="trialing")
        item = shapes_billing.item(world.id("si_", 14), now, found["id"], price, now, end)
        found["items"] = _items(found, [item])
        invoice = self.invoices.draft(customer, price["currency"], "subscription_create", found)
        amount = 0 if trial_days else price["unit_amount"]
        self.invoices.line_of_plan(invoice, item, now, end, amount)
        if coupon is not None:
            self.invoices.discount(invoice, coupon)
        self.invoices.told(invoice)
        self.invoices.finalize(invoice)
        found["latest_invoice"] = invoice["id"]
        world.add(found)
        try:
            paid = self.invoices.collect(invoice, method, off_session=False, customer=bank)
        except Refused:
            paid = False
            self._unbegin(found, invoice, since)
            raise
        if not paid:
            self._unbegin(found, invoice, since)
            return None
        self.invoices.paying.attach(method, customer)
        world.note(method["id"])["set_up"] = True
        world.emit("customer.subscription.created", found)
        return found

    def _unbegin(self, found: Object, invoice: Object, since: int) -> None:
        self.invoices.forget(invoice, since)
        self.world.drop(found)

    # ---- changing ----------------------------------------------------------------------------------------

    def update(self, ident: str, form: Form) -> Object:
        """POST /v1/subscriptions/:id."""
        found = self.world.get("subscription", ident)
        if found["status"] in OVER:
            raise Refused("A canceled subscription can only update its cancellation_details and metadata.")
        behaviour = f.choice(form, "payment_behavior", BEHAVIOURS, "allow_incomplete") or ""
        if behaviour == "pending_if_incomplete":
            refused = {"metadata", "cancel_at_period_end", "description", "default_payment_method"} & set(
                form
            )
            if refused:
                names = ", ".join(sorted(refused))
                raise Refused(f"{names} cannot be used with payment_behavior pending_if_incomplete.")
        if found["schedule"] is not None and {"items", "cancel_at_period_end"} & set(form):
            raise Refused(f"The subscription is managed by the subscription schedule {found['schedule']}.")
        before = {name: found[name] for name in ("metadata", "cancel_at_period_end", "cancel_at")}
        if "items" in form or "billing_cycle_anchor" in form or "trial_end" in form:
            self._change(found, form, behaviour)
        self._plain(found, form)
        self.world.emit("customer.subscription.updated", found, before)
        return found

    def _plain(self, found: Object, form: Form) -> None:
        found["metadata"] = f.metadata(form, found["metadata"])
        if "description" in form:
            found["description"] = f.text(form, "description") or None
        if "default_payment_method" in form:
            method = self.world.get("payment_method", form["default_payment_method"])
            found["default_payment_method"] = method["id"]
        if "cancel_at_period_end" in form:
            ends = f.flag(form, "cancel_at_period_end")
            end = found["items"]["data"][0]["current_period_end"]
            found.update(
                cancel_at_period_end=ends,
                cancel_at=end if ends else None,
                canceled_at=self.world.now if ends else None,
            )

    def _change(self, found: Object, form: Form, behaviour: str) -> None:
        item = found["items"]["data"][0]
        if f.choice(form, "proration_behavior", ("none", "create_prorations", "always_invoice")) != "none":
            raise Refused("This lab knows changes without proration only.", status=501, kind="api_error")
        rows = f.rows(form, "items")
        if rows and rows[0].get("id") != item["id"]:
            raise Refused("This lab knows subscriptions of one item only.", status=501, kind="api_error")
        has_price = rows and ("price" in rows[0] or "price_data" in rows[0])
        price = self.goods.price_of(rows[0], "items") if has_price else item["price"]
        if price["recurring"] is None:
            raise Refused("The price is not recurring.", param="items[0][price]")
        if price["currency"] != found["currency"]:
            raise Refused("The price has another currency than the subscription.", param="items[0][price]")
        often = ("interval", "interval_count")
        same = all(price["recurring"][name] == item["price"]["recurring"][name] for name in often)
        anchor = f.choice(f.table(form, "billing_cycle_anchor"), "type", ("now", "unchanged"))
        now = anchor == "now" or form.get("trial_end") == "now"
        if now or not same:
            self._at_once(found, price, f.rows(form, "add_invoice_items"), behaviour)
        else:
            self.put_price(found, price)

    def put_price(self, found: Object, price: Object) -> None:
        """Bill another price from the next invoice on."""
        item = found["items"]["data"][0]
        item.update(price=price, plan=_plan_of(price, item))

    def _at_once(self, found: Object, price: Object, extras: list[Form], behaviour: str) -> None:
        """A new period of the price from now, billed now."""
        world = self.world
        since = len(world.told)
        customer = world.get("customer", found["customer"])
        begins, ends = world.now, period_end(world.now, price["recurring"], world.now)
        old = found["items"]["data"][0]
        item = {
            **old,
            "price": price,
            "plan": _plan_of(price, old),
            "current_period_start": begins,
            "current_period_end": ends,
        }
        for extra in extras:
            self.invoices.item(customer, self.goods.price_of(extra, "add_invoice_items"), found["id"])
        invoice = self.invoices.draft(customer, found["currency"], "subscription_update", found)
        self.invoices.line_of_plan(invoice, item, begins, ends, price["unit_amount"])
        self.invoices.told(invoice)
        self.invoices.finalize(invoice)
        change = {
            "items": _items(found, [item]),
            "billing_cycle_anchor": begins,
            "status": "active",
            "latest_invoice": invoice["id"],
        }
        if found["status"] == "trialing":
            change["trial_end"] = begins
        refused = self._collected(invoice, found)
        if refused is not None and behaviour == "error_if_incomplete":
            self.invoices.forget(invoice, since)
            raise refused
        if refused is not None and behaviour == "pending_if_incomplete":
            self._wait(found, change)
            return
        found.update(change)
        if refused is not None:
            found["status"] = "past_due"

    def _collected(self, invoice: Object, found: Object) -> Refused | None:
        """None if it was paid, else why not."""
        method = self.method_of(found)
        try:
            if self.invoices.collect(invoice, method, off_session=False, customer="leaves"):
                return None
        except Refused as refused:
            return refused
        return card_error(
            "subscription_payment_intent_requires_action",
            "Payment for this subscription requires additional user action before it can be completed.",
        )

    def method_of(self, found: Object) -> Object | None:
        """What pays a subscription: its own method, else the customer's."""
        customer = self.world.get("customer", found["customer"])
        name = found["default_payment_method"] or customer["invoice_settings"]["default_payment_method"]
        return None if name is None else self.world.get("payment_method", name)

    def _wait(self, found: Object, change: Object) -> None:
        """Let a change wait until its invoice is paid."""
        world = self.world
        end = found["items"]["data"][0]["current_period_end"]
        found["latest_invoice"] = change["latest_invoice"]
        found["pending_update"] = {
            "billing_cycle_anchor": change["billing_cycle_anchor"],
            "discount": None,
            "discounts": [],
            "expires_at": min(world.now + PENDING_SECONDS, end),
            "metadata": None,
            "subscription_items": change["items"]["data"],
            "trial_end": None,
            "trial_from_plan": None,
        }
        world.note(found["id"])["change"] = change

    def _invoice_paid(self, invoice: Object) -> None:
        found = self.of_invoice(invoice)
        if found is None:
            return
        waiting = self.world.note(found["id"]).pop("change", None)
        if waiting is not None and waiting["latest_invoice"] == invoice["id"]:
            found.update(waiting, pending_update=None)
            self.world.emit("customer.subscription.pending_update_applied", found)
            self.world.emit("customer.subscription.updated", found, {"pending_update": None})
        elif found["status"] in ("past_due", "unpaid"):
            self.world.change("customer.subscription.updated", found, status="active")

    def _invoice_void(self, invoice: Object) -> None:
        found = self.of_invoice(invoice)
        if found is None or self.world.note(found["id"]).pop("change", None) is None:
            return
        found["pending_update"] = None
        self.world.emit("customer.subscription.pending_update_expired", found)

    def of_invoice(self, invoice: Object) -> Object | None:
        """The subscription an invoice is of."""
        parent = invoice["parent"] or {}
        details = parent.get("subscription_details")
        if not details or details["subscription"] not in self.world.index:
            return None
        return self.world.get("subscription", details["subscription"])

    # ---- ending ------------------------------------------------------------------------------------------

    def cancel(self, ident: str, form: Form | None = None) -> Object:
        """DELETE /v1/subscriptions/:id; ends it now, without proration and a last invoice."""
        found = self.world.get("subscription", ident)
        if found["status"] in OVER:
            raise Refused(f"No such subscription: '{ident}'", status=404, code="resource_missing", param="id")
        if form and (f.flag(form, "invoice_now") or f.flag(form, "prorate")):
            raise Refused("This lab ends subscriptions without proration only.", status=501, kind="api_error")
        now = self.world.now
        found.update(status="canceled", ended_at=now, canceled_at=found["canceled_at"] or now, schedule=None)
        self.world.emit("customer.subscription.deleted", found)
        return found


def _items(found: Object, items: list[Object]) -> Object:
    url = f"/v1/subscription_items?subscription={found['id']}"
    return {"object": "list", "data": items, "has_more": False, "url": url}


def _plan_of(price: Object, item: Object) -> Object:
    """The older form of a price that an item carries too."""
    made = shapes_billing.item(item["id"], item["created"], item["subscription"], price, 0, 0)
    plan: Object = made["plan"]
    return plan
