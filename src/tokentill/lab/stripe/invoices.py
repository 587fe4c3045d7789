"""Invoices: drawn up, finalized, collected, failed, voided; and items, for one or for the next.

An invoice of the next period is a draft for an hour after it was told of, as at Stripe
(docs.stripe.com/invoicing/integration/workflow-transitions): so long items can be added to it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tokentill.lab.stripe import shapes_billing
from tokentill.lab.stripe.paying import Customer, Paying, least
from tokentill.lab.stripe.refusals import Refused
from tokentill.lab.stripe.world import Object, World

RETRIES_DAYS = (3, 5, 7)
"""Days between tries to collect an invoice; after the last the subscription ends."""

DAY = 86_400
DRAFT_SECONDS = 3_600
"""How long the invoice of the next period is a draft."""


class Invoices:
    """Invoices of one world."""

    def __init__(self, world: World, paying: Paying) -> None:
        self.world = world
        self.paying = paying
        self.on_paid: list[Callable[[Object], None]] = []
        self.on_void: list[Callable[[Object], None]] = []

    # ---- drawing up --------------------------------------------------------------------------------------

    def draft(
        self, customer: Object, currency: str, reason: str, subscription: Object | None = None
    ) -> Object:
        """A new draft, with the items that wait for it."""
        world = self.world
        made = shapes_billing.invoice(
            world.id("in_"), world.now, customer, currency=currency, billing_reason=reason
        )
        if subscription is not None:
            made["parent"] = {
                "quote_details": None,
                "subscription_details": {
                    "metadata": dict(subscription["metadata"]),
                    "subscription": subscription["id"],
                },
                "type": "subscription_details",
            }
        world.add(made)
        for item in reversed(world.all("invoiceitem")):
            wanted = item["parent"] and item["parent"]["subscription_details"]["subscription"]
            own = subscription["id"] if subscription is not None else None
            if item["customer"] == customer["id"] and item["invoice"] is None and wanted in (None, own):
                item["invoice"] = made["id"]
                self.line_of_item(made, item)
        return made

    def line_of_plan(self, invoice: Object, item: Object, start: int, end: int, amount: int) -> Object:
        """The line that pays for a period of a subscription."""
        details = {
            "invoice_item": None,
            "proration": False,
            "proration_details": {"credited_items": None},
            "subscription": item["subscription"],
            "subscription_item": item["id"],
        }
        parent = {
            "invoice_item_details": None,
            "subscription_item_details": details,
            "type": "subscription_item_details",
        }
        marks = invoice["parent"]["subscription_details"]["metadata"]
        return self._line(invoice, amount, item["price"], start, end, parent, metadata=dict(marks))

    def line_of_item(self, invoice: Object, item: Object) -> Object:
        """The line of an invoice item."""
        details = {
            "invoice_item": item["id"],
            "proration": False,
            "proration_details": {"credited_items": None},
            "subscription": None,
        }
        parent = {
            "invoice_item_details": details,
            "subscription_item_details": None,
            "type": "invoice_item_details",
        }
        price = self.world.get("price", item["pricing"]["price_details"]["price"])
        period, own = item["period"], {"metadata": dict(item["metadata"])}
        if item["description"] is not None:
            own["description"] = item["description"]
        return self._line(invoice, item["amount"], price, period["start"], period["end"], parent, **own)

    def _line(
        self, invoice: Object, amount: int, price: Object, start: int, end: int, parent: Object, **own: Any
    ) -> Object:
        name = self.world.get("product", price["product"])["name"]
        made = shapes_billing.line(
            self.world.id("il_"),
            invoice["id"],
            amount,
            price,
            start,
            end,
            parent=parent,
            **{"description": f"1 × {name}", **own},
        )
        invoice["lines"]["data"].append(made)
        return made

    def item(
        self,
        customer: Object,
        price: Object,
        subscription: str | None = None,
        *,
        invoice: Object | None = None,
        **own: Any,
    ) -> Object:
        """An item of a draft, or one that waits for the customer's next invoice."""
        world = self.world
        if invoice is not None and invoice["currency"] != price["currency"]:
            raise Refused("The invoice is in another currency.", param="currency")
        found: Object = {
            "id": world.id("ii_"),
            "object": "invoiceitem",
            "amount": price["unit_amount"],
            "currency": price["currency"],
            "customer": customer["id"],
            "customer_account": None,
            "date": world.now,
            "description": None,
            "discountable": True,
            "discounts": [],
            "invoice": None,
            "livemode": False,
            "metadata": {},
            "net_amount": price["unit_amount"],
            "parent": None,
            "period": {"end": world.now, "start": world.now},
            "pricing": {
                "price_details": {"price": price["id"], "product": price["product"]},
                "type": "price_details",
                "unit_amount_decimal": price["unit_amount_decimal"],
            },
            "proration": False,
            "quantity": 1,
            "quantity_decimal": "1",
            "tax_rates": [],
            "test_clock": None,
        }
        if subscription is not None:
            details = {"subscription": subscription, "subscription_item": None}
            found["parent"] = {"subscription_details": details, "type": "subscription_details"}
        found |= own
        if invoice is not None:
            found["invoice"] = invoice["id"]
            self.line_of_item(invoice, found)
            self._reckon(invoice)
            world.emit("invoice.updated", invoice)
        world.emit("invoiceitem.created", world.add(found))
        return found

    def discount(self, invoice: Object, coupon: Object) -> None:
        """Take a coupon's amount off."""
        off = min(coupon["amount_off"], sum(line["amount"] for line in invoice["lines"]["data"]))
        coupon["times_redeemed"] += 1
        most = coupon["max_redemptions"]
        coupon["valid"] = most is None or coupon["times_redeemed"] < most
        invoice["total_discount_amounts"] = [{"amount": off, "discount": self.world.id("di_")}]

    def told(self, invoice: Object, *, waits: bool = False) -> None:
        """The draft is made, and told of; one that `waits` is finalized by itself when its time has come."""
        self._reckon(invoice)
        if waits:
            invoice["automatically_finalizes_at"] = self.world.now + DRAFT_SECONDS
        self.world.emit("invoice.created", invoice)

    def _reckon(self, invoice: Object) -> int:
        """Sum it up: what is due is the total less what the customer has in balance; what becomes of the balance.

        Less than Stripe charges is not collected: it is owed with the next invoice.
        """
        subtotal = sum(line["amount"] for line in invoice["lines"]["data"])
        total = subtotal - sum(one["amount"] for one in invoice["total_discount_amounts"])
        balance = self.world.get("customer", invoice["customer"])["balance"]
        left: int = total + balance
        due = left if left >= least(invoice["currency"]) else 0
        invoice.update(
            subtotal=subtotal,
            total=total,
            amount_due=due,
            amount_remaining=due,
            starting_balance=balance,
            subtotal_excluding_tax=subtotal,
            total_excluding_tax=total,
        )
        return left - due

    def finalize(self, invoice: Object) -> None:
        """Reckon it up and open it."""
        world = self.world
        if invoice["status"] != "draft":
            raise Refused("This invoice is already finalized.", code="invoice_not_editable")
        customer = world.get("customer", invoice["customer"])
        ending = self._reckon(invoice)
        customer.update(balance=ending, currency=invoice["currency"])
        number = customer["next_invoice_sequence"]
        customer["next_invoice_sequence"] += 1
        invoice.update(
            status="open",
            automatically_finalizes_at=None,
            ending_balance=ending,
            effective_at=world.now,
            hosted_invoice_url=f"{world.public or 'https://invoice.stripe.com'}/pay/{invoice['id']}",
            invoice_pdf=f"https://pay.stripe.com/invoice/{invoice['id']}/pdf",
            number=f"{customer['invoice_prefix']}-{number:04}",
        )
        invoice["status_transitions"]["finalized_at"] = world.now
        world.emit("invoice.finalized", invoice)

    # ---- collecting --------------------------------------------------------------------------------------

    def collect(
        self,
        invoice: Object,
        method: Object | None,
        *,
        off_session: bool = True,
        customer: Customer = "leaves",
    ) -> bool:
        """Try to take what is due: True = paid, False = the customer must confirm; `Refused` where it failed."""
        if invoice["status"] != "open":
            raise Refused(f"Invoice is {invoice['status']}, not open.", code="invoice_not_open")
        if invoice["amount_due"] == 0:
            self._paid(invoice)
            return True
        invoice.update(attempted=True, attempt_count=invoice["attempt_count"] + 1)
        if method is None:
            self._failed(invoice)
            raise Refused(
                "This customer has no attached payment source or default payment method.",
                code="resource_missing",
            )
        link, intent = self._intent(invoice)
        try:
            self.paying.confirm(intent, method, off_session=off_session, customer=customer)
        except Refused:
            self._failed(invoice)
            raise
        if intent["status"] != "succeeded":
            self.world.emit("invoice.payment_action_required", invoice)
            return False
        now = self.world.now
        link.update(status="paid", amount_paid=invoice["amount_due"])
        link["status_transitions"]["paid_at"] = now
        self.world.emit("invoice_payment.paid", link)
        self._paid(invoice)
        return True

    def _intent(self, invoice: Object) -> tuple[Object, Object]:
        world = self.world
        for link in world.all("invoice_payment"):
            if link["invoice"] == invoice["id"]:
                return link, world.get("payment_intent", link["payment"]["payment_intent"])
        intent = self.paying.intent(
            invoice["amount_due"],
            invoice["currency"],
            customer=invoice["customer"],
            setup_future_usage="off_session",
            description="Subscription",
        )
        made = shapes_billing.invoice_payment(world.id("inpay_"), world.now, invoice, intent["id"])
        return world.add(made), intent

    def _paid(self, invoice: Object) -> None:
        world = self.world
        due = invoice["amount_due"]
        invoice.update(
            status="paid", amount_paid=due, amount_remaining=0, attempted=True, next_payment_attempt=None
        )
        invoice["status_transitions"]["paid_at"] = world.now
        for listener in self.on_paid:
            listener(invoice)
        world.emit("invoice.paid", invoice)
        world.emit("invoice.payment_succeeded", invoice)

    def _failed(self, invoice: Object) -> None:
        tries = invoice["attempt_count"]
        again = tries <= len(RETRIES_DAYS) and invoice["billing_reason"] == "subscription_cycle"
        invoice["next_payment_attempt"] = self.world.now + RETRIES_DAYS[tries - 1] * DAY if again else None
        self.world.emit("invoice.payment_failed", invoice)

    def void(self, invoice: Object) -> None:
        """Give an open invoice up."""
        if invoice["status"] != "open":
            raise Refused(
                f"You can only void open invoices, this one is {invoice['status']}.", code="invoice_not_open"
            )
        world = self.world
        invoice.update(status="void", next_payment_attempt=None)
        invoice["status_transitions"]["voided_at"] = world.now
        for link in world.all("invoice_payment"):
            if link["invoice"] == invoice["id"]:
                link["status"] = "canceled"
                self.paying.cancel(
                    world.get("payment_intent", link["payment"]["payment_intent"]), "void_invoice"
                )
        world.emit("invoice.voided", invoice)
        for listener in self.on_void:
            listener(invoice)

    def forget(self, invoice: Object, since: int) -> None:
        """An invoice of a change that did not happen: as if it had never been."""
        world = self.world
        for link in world.all("invoice_payment"):
            if link["invoice"] == invoice["id"]:
                world.drop(link)
        for item in world.all("invoiceitem"):
            if item["invoice"] == invoice["id"]:
                world.drop(item)
        world.untell("invoice", since)
        world.drop(invoice)


def check_editable(invoice: Object, customer: Object) -> None:
    """Items are for drafts only, and of the same customer."""
    if invoice["status"] != "draft":
        raise Refused(
            f"The invoice {invoice['id']} is {invoice['status']} and can take no more items.",
            code="invoice_not_editable",
            param="invoice",
        )
    if invoice["customer"] != customer["id"]:
        raise Refused("The invoice is of another customer.", param="customer")
