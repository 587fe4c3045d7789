"""The routes of the API: method and path, what answers them, and which parameters they take.

A parameter that a route does not name is refused, as Stripe refuses it. Routes of lists answer a list, of which
the API makes pages.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from msgspec import Struct

from tokentill.lab.stripe import form as f
from tokentill.lab.stripe import shapes_billing
from tokentill.lab.stripe.billing import OVER, Billing
from tokentill.lab.stripe.checkout import Checkout
from tokentill.lab.stripe.form import Form
from tokentill.lab.stripe.goods import Goods
from tokentill.lab.stripe.invoices import DRAFT_SECONDS, Invoices, check_editable
from tokentill.lab.stripe.paying import Paying
from tokentill.lab.stripe.refusals import Refused
from tokentill.lab.stripe.schedules import Schedules
from tokentill.lab.stripe.world import Object, World

PAGING = "limit starting_after ending_before"
_SEARCH = re.compile(r"metadata\['([^']{1,40})'\]:'([^']{0,500})'")


class Route(Struct, frozen=True):
    """One route; `handler` gets the ids of the path, then the form."""

    method: str
    path: str
    handler: Callable[..., Any]
    params: str = ""
    lists: bool = False

    def match(self, method: str, path: str) -> tuple[str, ...] | None:
        """The ids in the path, None where it is another route's."""
        if method != self.method:
            return None
        pattern = re.sub(r"\{\w+\}", r"([^/]+)", self.path)
        found = re.fullmatch(f"/v1/{pattern}", path)
        return found.groups() if found else None


class Routes:
    """What answers each route of one world."""

    def __init__(
        self,
        world: World,
        goods: Goods,
        paying: Paying,
        checkout: Checkout,
        billing: Billing,
        invoices: Invoices,
        schedules: Schedules,
    ) -> None:
        self.world = world
        self.goods = goods
        self.paying = paying
        self.checkout = checkout
        self.billing = billing
        self.invoices = invoices
        self.table = (
            self._selling(goods, checkout) + self._moving() + self._billing(schedules) + self._telling()
        )

    # ---- the table ---------------------------------------------------------------------------------------

    def _get(self, path: str, kind: str) -> Route:
        return Route("GET", f"{path}/{{id}}", lambda ident, _form: self.world.get(kind, ident), "")

    def _list(self, path: str, kind: str, filters: str = "") -> Route:
        names = filters.split()

        def found(form: Form) -> list[Object]:
            wanted = {name: form[name] for name in names if name in form}
            return [
                one
                for one in self.world.all(kind)
                if all(_same(one.get(name), value) for name, value in wanted.items())
            ]

        return Route("GET", path, found, f"{filters} {PAGING}", lists=True)

    def _selling(self, goods: Goods, checkout: Checkout) -> list[Route]:
        product = "id name description metadata active"
        price = "currency unit_amount product product_data lookup_key transfer_lookup_key metadata recurring"
        customer = "email name phone description metadata invoice_settings"
        session = (
            "mode line_items success_url cancel_url client_reference_id customer customer_email customer_creation "
            "expires_at metadata payment_intent_data subscription_data discounts"
        )
        return [
            Route("POST", "customers", goods.create_customer, customer),
            Route("POST", "customers/{id}", goods.update_customer, customer),
            self._get("customers", "customer"),
            self._list("customers", "customer", "email"),
            Route("POST", "products", goods.create_product, product),
            Route("POST", "products/{id}", goods.update_product, product),
            self._get("products", "product"),
            self._list("products", "product"),
            Route("POST", "prices", goods.create_price, price),
            Route("POST", "prices/{id}", goods.update_price, "metadata active"),
            self._get("prices", "price"),
            Route("GET", "prices", goods.prices, f"lookup_keys active product {PAGING}", lists=True),
            Route(
                "POST",
                "coupons",
                goods.create_coupon,
                "id amount_off percent_off currency duration max_redemptions name metadata",
            ),
            self._get("coupons", "coupon"),
            Route("POST", "billing_portal/sessions", goods.portal, "customer return_url"),
            Route("POST", "checkout/sessions", checkout.create, session),
            Route("POST", "checkout/sessions/{id}/expire", checkout.expire),
            self._get("checkout/sessions", "checkout.session"),
            self._list(
                "checkout/sessions", "checkout.session", "payment_intent subscription customer status"
            ),
        ]

    def _moving(self) -> list[Route]:
        intent = (
            "amount currency customer payment_method confirm off_session description metadata receipt_email "
            "setup_future_usage"
        )
        return [
            Route("POST", "payment_intents", self._intent, intent),
            Route("GET", "payment_intents/search", self._search_intents, "query limit page", lists=True),
            Route("POST", "payment_intents/{id}/cancel", self._cancel_intent, "cancellation_reason"),
            self._get("payment_intents", "payment_intent"),
            self._list("payment_intents", "payment_intent", "customer"),
            self._get("payment_methods", "payment_method"),
            Route("POST", "payment_methods/{id}/attach", self._attach, "customer"),
            self._list("payment_methods", "payment_method", "customer type"),
            self._get("charges", "charge"),
            self._list("charges", "charge", "payment_intent customer"),
            Route("POST", "refunds", self._refund, "payment_intent charge amount metadata reason"),
            self._get("refunds", "refund"),
            self._list("refunds", "refund", "payment_intent charge"),
            self._get("disputes", "dispute"),
            self._list("disputes", "dispute", "payment_intent charge"),
            self._get("radar/early_fraud_warnings", "radar.early_fraud_warning"),
            self._list("radar/early_fraud_warnings", "radar.early_fraud_warning", "payment_intent charge"),
        ]

    def _billing(self, schedules: Schedules) -> list[Route]:
        change = (
            "metadata description default_payment_method cancel_at_period_end items billing_cycle_anchor "
            "proration_behavior payment_behavior add_invoice_items trial_end"
        )
        item = "customer price_data subscription invoice amount currency description metadata"
        return [
            Route("POST", "subscriptions/{id}", self.billing.update, change),
            Route("DELETE", "subscriptions/{id}", self.billing.cancel, "invoice_now prorate"),
            self._get("subscriptions", "subscription"),
            Route("GET", "subscriptions", self._subscriptions, f"customer status {PAGING}", lists=True),
            Route("POST", "subscription_schedules", schedules.create, "from_subscription"),
            Route("POST", "subscription_schedules/{id}/release", schedules.release),
            Route(
                "POST",
                "subscription_schedules/{id}",
                schedules.update,
                "phases end_behavior proration_behavior",
            ),
            self._get("subscription_schedules", "subscription_schedule"),
            Route("POST", "invoiceitems", self._invoice_item, item),
            self._get("invoiceitems", "invoiceitem"),
            self._list("invoiceitems", "invoiceitem", "customer invoice"),
            Route("POST", "invoices", self._invoice, "customer metadata auto_advance currency"),
            Route("POST", "invoices/{id}/finalize", self._finalize),
            Route("POST", "invoices/{id}/pay", self._pay_invoice, "payment_method off_session"),
            Route("POST", "invoices/{id}/void", self._void_invoice),
            Route("POST", "invoices/{id}", self._update_invoice, "metadata auto_advance"),
            Route("GET", "invoices/{id}/lines", self._lines, PAGING, lists=True),
            self._get("invoices", "invoice"),
            self._list("invoices", "invoice", "customer status"),
            self._list("invoice_payments", "invoice_payment", "invoice"),
        ]

    def _telling(self) -> list[Route]:
        return [
            self._get("events", "event"),
            self._list("events", "event", "type"),
            Route("POST", "webhook_endpoints", self._endpoint, "url enabled_events api_version metadata"),
            self._get("webhook_endpoints", "webhook_endpoint"),
            self._list("webhook_endpoints", "webhook_endpoint"),
        ]

    # ---- money -------------------------------------------------------------------------------------------

    def _intent(self, form: Form) -> Object:
        world = self.world
        amount = f.whole(form, "amount")
        if amount is None:
            raise Refused("Missing required param: amount.", param="amount", code="parameter_missing")
        customer = f.text(form, "customer")
        if customer is not None:
            world.get("customer", customer, "customer")
        method = None
        if "payment_method" in form:
            method = self.paying.named(f.needed(form, "payment_method"))
            if method["customer"] not in (None, customer):
                raise Refused("The payment method belongs to another customer.", param="payment_method")
            if f.flag(form, "off_session") and method["customer"] is None:
                raise Refused("The payment method is not saved for a customer.", param="payment_method")
        found = self.paying.intent(
            amount,
            f.needed(form, "currency"),
            customer=customer,
            description=f.text(form, "description"),
            metadata=f.metadata(form),
            receipt_email=f.text(form, "receipt_email"),
            setup_future_usage=f.text(form, "setup_future_usage"),
        )
        if f.flag(form, "confirm"):
            if method is None:
                raise Refused("Missing required param: payment_method.", param="payment_method")
            self.paying.confirm(found, method, off_session=f.flag(form, "off_session"), customer="leaves")
        return found

    def _cancel_intent(self, ident: str, form: Form) -> Object:
        found = self.world.get("payment_intent", ident, "intent")
        self.paying.cancel(found, f.text(form, "cancellation_reason"))
        return found

    def _search_intents(self, form: Form) -> list[Object]:
        query = _SEARCH.fullmatch(f.needed(form, "query"))
        if query is None:
            raise Refused("This lab searches by one key of metadata only.", status=501, kind="api_error")
        intents = self.world.all("payment_intent")
        return [one for one in intents if one["metadata"].get(query[1]) == query[2]]

    def _attach(self, ident: str, form: Form) -> Object:
        method = self.paying.named(ident)
        self.paying.attach(method, self.world.get("customer", f.needed(form, "customer"), "customer"))
        return method

    def _refund(self, form: Form) -> Object:
        of = f.text(form, "payment_intent") or f.needed(form, "charge")
        amount = f.whole(form, "amount")
        return self.paying.refund(self.paying.charge_of(of), amount, f.metadata(form), f.text(form, "reason"))

    # ---- billing -----------------------------------------------------------------------------------------

    def _subscriptions(self, form: Form) -> list[Object]:
        found = self.world.all("subscription")
        if "customer" in form:
            found = [one for one in found if one["customer"] == form["customer"]]
        status = form.get("status")
        if status is None:
            return [one for one in found if one["status"] not in OVER]
        return [one for one in found if status in ("all", one["status"])]

    def _invoice_item(self, form: Form) -> Object:
        customer = self.world.get("customer", f.needed(form, "customer"), "customer")
        named = f.text(form, "invoice")
        invoice = None if named is None else self.world.get("invoice", named, "invoice")
        if invoice is not None:
            check_editable(invoice, customer)
        about = f.text(form, "description")
        if "amount" in form:
            inline = {"currency": form.get("currency", ""), "unit_amount": form["amount"]}
            form = {**form, "price_data": {**inline, "product_data": {"name": about or "Item"}}}
        price = self.goods.price_of(form, "add_invoice_items")
        own = {"description": about, "metadata": f.metadata(form)}
        return self.invoices.item(customer, price, f.text(form, "subscription"), invoice=invoice, **own)

    def _invoice(self, form: Form) -> Object:
        customer = self.world.get("customer", f.needed(form, "customer"), "customer")
        found = self.invoices.draft(customer, f.text(form, "currency", "usd") or "usd", "manual")
        found["metadata"] = f.metadata(form)
        self.invoices.told(found)
        return found

    def _lines(self, ident: str, _form: Form) -> list[Object]:
        found: list[Object] = self.world.get("invoice", ident, "invoice")["lines"]["data"]
        return found

    def _finalize(self, ident: str, _form: Form) -> Object:
        found = self.world.get("invoice", ident, "invoice")
        self.invoices.finalize(found)
        return found

    def _pay_invoice(self, ident: str, form: Form) -> Object:
        found = self.world.get("invoice", ident, "invoice")
        customer = self.world.get("customer", found["customer"])
        of = self.billing.of_invoice(found)
        method = self.billing.method_of(of) if of is not None else None
        saved = customer["invoice_settings"]["default_payment_method"]
        if method is None and saved is not None:
            method = self.world.get("payment_method", saved)
        if "payment_method" in form:
            method = self.paying.named(f.needed(form, "payment_method"))
        self.invoices.collect(found, method, off_session=f.flag(form, "off_session", default=True))
        return found

    def _void_invoice(self, ident: str, _form: Form) -> Object:
        found = self.world.get("invoice", ident, "invoice")
        self.invoices.void(found)
        return found

    def _update_invoice(self, ident: str, form: Form) -> Object:
        found = self.world.get("invoice", ident, "invoice")
        values: Object = {"metadata": f.metadata(form, found["metadata"])}
        if "auto_advance" in form:
            advances = f.flag(form, "auto_advance")
            waits = advances and found["status"] == "draft"
            opens = self.world.now + DRAFT_SECONDS if waits else None
            values |= {"auto_advance": advances, "automatically_finalizes_at": opens}
        self.world.change("invoice.updated", found, **values)
        return found

    # ---- webhooks ----------------------------------------------------------------------------------------

    def _endpoint(self, form: Form) -> Object:
        events = f.words(form, "enabled_events")
        if not events:
            raise Refused("Missing required param: enabled_events.", param="enabled_events")
        return self.endpoint(f.needed(form, "url"), events)

    def endpoint(self, url: str, events: list[str]) -> Object:
        """A new endpoint; its secret is in the answer this once."""
        world = self.world
        made = shapes_billing.endpoint(world.id("we_"), world.now, url=url, enabled_events=events)
        secret = world.id("whsec_", 32)
        world.note(made["id"])["secret"] = secret
        world.add(made)
        return {**made, "secret": secret}


def _same(value: Any, wanted: Any) -> bool:
    return bool(value == wanted)
