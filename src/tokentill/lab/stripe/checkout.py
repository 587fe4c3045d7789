"""Hosted checkouts: begun by the seller, paid by the customer, expired by time or by the seller."""

from __future__ import annotations

from tokentill.lab.stripe import form as f
from tokentill.lab.stripe import shapes
from tokentill.lab.stripe.billing import Billing
from tokentill.lab.stripe.form import Form
from tokentill.lab.stripe.goods import Goods
from tokentill.lab.stripe.paying import Customer, Paying, check_amount
from tokentill.lab.stripe.refusals import Refused
from tokentill.lab.stripe.world import Object, World

OPEN_SECONDS_MIN = 30 * 60
OPEN_SECONDS_MAX = 24 * 3600


class Checkout:
    """Checkout sessions of one world."""

    def __init__(self, world: World, goods: Goods, paying: Paying, billing: Billing) -> None:
        self.world = world
        self.goods = goods
        self.paying = paying
        self.billing = billing

    # ---- the seller --------------------------------------------------------------------------------------

    def create(self, form: Form) -> Object:
        """POST /v1/checkout/sessions."""
        world = self.world
        mode = f.choice(form, "mode", ("payment", "subscription"))
        if mode is None:
            raise Refused("Missing required param: mode.", param="mode", code="parameter_missing")
        _check_mode(form, mode)
        rows = f.rows(form, "line_items")
        if len(rows) != 1:
            raise Refused("This lab takes exactly one line item.", param="line_items")
        price = self.goods.price_of(rows[0], "line_items")
        if (price["recurring"] is not None) != (mode == "subscription"):
            raise Refused(f"The price does not fit the mode {mode}.", param="line_items[0][price]")
        coupon = self.goods.redeem(f.rows(form, "discounts"))
        plan = f.table(form, "subscription_data")
        trial = f.whole(plan, "trial_period_days", 0, least=1) or 0
        subtotal = 0 if trial else price["unit_amount"]
        off = min(coupon["amount_off"], subtotal) if coupon is not None else 0
        if subtotal - off:
            check_amount(subtotal - off, price["currency"])
        customer = f.text(form, "customer")
        if customer is not None:
            world.get("customer", customer, "customer")
        made = shapes.session(
            world.id("cs_test_a1", 56),
            world.now,
            mode=mode,
            amount_subtotal=subtotal,
            amount_total=subtotal - off,
            currency=price["currency"],
            cancel_url=f.text(form, "cancel_url"),
            success_url=f.needed(form, "success_url"),
            client_reference_id=f.text(form, "client_reference_id"),
            customer=customer,
            customer_creation=_creation(form, mode, customer),
            customer_email=f.text(form, "customer_email"),
            expires_at=self._expires(form),
            metadata=f.metadata(form),
            total_details={"amount_discount": off, "amount_shipping": 0, "amount_tax": 0},
        )
        if world.public is not None:
            made["url"] = f"{world.public}/pay/{made['id']}"
        if coupon is not None:
            made["discounts"] = [{"coupon": coupon["id"], "promotion_code": None}]
        world.note(made["id"]).update(
            price=price, trial=trial, coupon=coupon, plan=plan, pay=f.table(form, "payment_intent_data")
        )
        return world.add(made)

    def _expires(self, form: Form) -> int:
        now = self.world.now
        at = f.whole(form, "expires_at", now + OPEN_SECONDS_MAX)
        assert at is not None, "it has a default"
        if not now + OPEN_SECONDS_MIN <= at <= now + OPEN_SECONDS_MAX:
            raise Refused(
                "The `expires_at` timestamp must be between 30 minutes and 24 hours from Checkout Session creation.",
                param="expires_at",
            )
        return at

    def expire(self, ident: str, _form: Form | None = None) -> Object:
        """POST /v1/checkout/sessions/:id/expire."""
        found = self.world.get("checkout.session", ident, "session")
        if found["status"] != "open":
            raise Refused(
                'Only Checkout Sessions with a status in ["open"] can be expired. '
                f"This Checkout Session has a status of {found['status']}."
            )
        self.lapse(found)
        return found

    def lapse(self, found: Object) -> None:
        """It is over, unpaid."""
        found.update(status="expired", url=None)
        if found["payment_intent"] is not None:
            self.paying.cancel(self.world.get("payment_intent", found["payment_intent"]), "automatic")
        self.world.emit("checkout.session.expired", found)

    # ---- the customer ------------------------------------------------------------------------------------

    def pay(
        self,
        ident: str,
        number: str,
        *,
        email: str = "customer@example.com",
        bank: Customer = "confirms",
        later: bool = False,
    ) -> Object:
        """The customer enters a card and presses the button; `Refused` where the card is.

        `bank` is what the customer does when the bank asks for a confirmation; `later` pays by a method whose
        money comes (or does not) hours after the checkout is complete.
        """
        found = self.world.get("checkout.session", ident, "session")
        if found["status"] != "open" or found["expires_at"] <= self.world.now:
            raise Refused(f"The checkout is {found['status']}, or its time is over.", param="session")
        method = self.paying.method(number, found["customer_email"] or email)
        note = self.world.note(ident)
        buyer = self._buyer(found, email)
        found["customer_details"] = {
            "address": shapes.nulls(shapes.ADDRESS),
            "business_name": None,
            "email": found["customer_email"] or email,
            "individual_name": None,
            "name": None,
            "phone": None,
            "tax_exempt": "none",
            "tax_ids": [],
        }
        if found["mode"] == "subscription":
            done = self._subscribe(found, note, method, buyer, bank)
        else:
            done = self._pay_once(found, note, method, buyer, bank, later=later)
        if done:
            found.update(status="complete", url=None)
            self.world.emit("checkout.session.completed", found)
        return found

    def _buyer(self, found: Object, email: str) -> Object | None:
        """The customer the payment belongs to: there already, made now, or nobody (a guest)."""
        if found["customer"] is not None:
            return self.world.get("customer", found["customer"])
        if found["mode"] == "payment" and found["customer_creation"] != "always":
            return None
        note = self.world.note(found["id"])
        if "buyer" not in note:
            note["buyer"] = self.goods.customer(email=found["customer_email"] or email)
        buyer: Object = note["buyer"]
        return buyer

    def _pay_once(
        self,
        found: Object,
        note: Object,
        method: Object,
        buyer: Object | None,
        bank: Customer,
        *,
        later: bool,
    ) -> bool:
        asked = note["pay"]
        if found["payment_intent"] is None:
            intent = self.paying.intent(
                found["amount_total"],
                found["currency"],
                customer=buyer and buyer["id"],
                description=f.text(asked, "description"),
                metadata=f.metadata(asked),
                setup_future_usage=f.text(asked, "setup_future_usage"),
            )
            found["payment_intent"] = intent["id"]
        intent = self.world.get("payment_intent", found["payment_intent"])
        if later:
            intent.update(status="processing", payment_method=method["id"])
            self.world.emit("payment_intent.processing", intent)
        else:
            self.paying.confirm(intent, method, customer=bank)
            if intent["status"] != "succeeded":
                return False
            found["payment_status"] = "paid"
        found["customer"] = buyer and buyer["id"]
        return True

    def _subscribe(
        self, found: Object, note: Object, method: Object, buyer: Object | None, bank: Customer
    ) -> bool:
        assert buyer is not None, "a subscription always has a customer"
        plan = note["plan"]
        made = self.billing.subscribe(
            buyer,
            note["price"],
            method,
            trial_days=note["trial"],
            coupon=note["coupon"],
            bank=bank,
            metadata=f.metadata(plan),
            description=f.text(plan, "description"),
        )
        if made is None:
            return False
        found.update(
            customer=buyer["id"],
            subscription=made["id"],
            invoice=made["latest_invoice"],
            payment_status="paid" if found["amount_total"] else "no_payment_required",
        )
        return True

    def settle(self, ident: str, *, succeeds: bool) -> Object:
        """The money of a payment that takes its time arrives, or does not."""
        found = self.world.get("checkout.session", ident, "session")
        intent = self.world.get("payment_intent", found["payment_intent"])
        if intent["status"] != "processing":
            raise Refused("Nothing of this checkout is on its way.")
        method = self.world.get("payment_method", intent["payment_method"])
        intent["status"] = "requires_confirmation"
        if succeeds:
            self.paying.confirm(intent, method)
            found["payment_status"] = "paid"
            self.world.emit("checkout.session.async_payment_succeeded", found)
            return found
        self.world.note(method["id"])["number"] = "4000000000000002"
        try:
            self.paying.confirm(intent, method)
        except Refused:
            self.world.emit("checkout.session.async_payment_failed", found)
        return found


def _check_mode(form: Form, mode: str) -> None:
    """What one mode takes and the other refuses."""
    wrong = "subscription_data" if mode == "payment" else "payment_intent_data"
    if wrong in form:
        raise Refused(f"You can not pass `{wrong}` in `{mode}` mode.", param=wrong)
    if mode == "subscription" and "customer_creation" in form:
        raise Refused("`customer_creation` can only be used in `payment` mode.", param="customer_creation")
    if "customer" in form and ("customer_email" in form or "customer_creation" in form):
        raise Refused("You may only specify one of these parameters: customer, customer_email.")


def _creation(form: Form, mode: str, customer: str | None) -> str | None:
    if mode == "subscription":
        return "always" if customer is None else None
    return f.choice(form, "customer_creation", ("always", "if_required"), None if customer else "if_required")
