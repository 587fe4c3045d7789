"""Money that moves: payment methods, payment intents and their charges, refunds, disputes, warnings."""

from __future__ import annotations

import copy
from typing import Literal

from tokentill.lab.stripe import shapes
from tokentill.lab.stripe.cards import NAMED, Card, card, fingerprint
from tokentill.lab.stripe.refusals import Refused, card_error, missing
from tokentill.lab.stripe.world import Object, World

Customer = Literal["confirms", "fails", "leaves"]
"""What the customer does when the bank asks for a confirmation."""

AMOUNT_MIN = 50
AMOUNT_MAX = 99_999_999
ZERO_DECIMAL = frozenset(
    ["bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "vnd", "vuv", "xaf", "xof", "xpf"]
)
HUNDREDS = frozenset({"isk", "ugx"})
THREE_DECIMAL = frozenset({"bhd", "jod", "kwd", "omr", "tnd"})
NOT_TAKEN = frozenset({"iqd", "lyd"})


def check_amount(amount: int, currency: str, *, free: bool = False) -> None:
    """Whether an amount of a currency is one that is taken."""
    if len(currency) != 3 or currency != currency.lower() or currency in NOT_TAKEN:
        raise Refused(f"Invalid currency: {currency}.", param="currency")
    if (currency in HUNDREDS and amount % 100) or (currency in THREE_DECIMAL and amount % 10):
        raise Refused(
            f"Invalid amount. An amount in {currency.upper()} must be evenly divisible.",
            code="invalid_charge_amount_no_decimal_compatible",
        )
    smallest = 0 if free else least(currency)
    if amount < smallest:
        told = f"Amount must be at least {smallest} {currency}."
        raise Refused(told, param="amount", code="amount_too_small")
    if amount > AMOUNT_MAX:
        raise Refused("Amount is too large.", param="amount", code="amount_too_large")


def least(currency: str) -> int:
    """The least that is charged."""
    return 1 if currency in ZERO_DECIMAL else AMOUNT_MIN


class Paying:
    """Payments of one world."""

    def __init__(self, world: World) -> None:
        self.world = world

    # ---- payment methods ---------------------------------------------------------------------------------

    def method(self, number: str, email: str | None = None) -> Object:
        """A payment method of the card that was entered."""
        world, entered = self.world, card(number)
        found = shapes.payment_method(
            world.id("pm_"),
            world.now,
            entered.brand,
            entered.number[-4:],
            fingerprint(world.account, entered.number),
        )
        found["billing_details"]["email"] = email
        world.note(found["id"])["number"] = entered.number
        return world.add(found)

    def named(self, ident: str) -> Object:
        """The payment method of this id, or one of those that are there without being made."""
        if ident in NAMED:
            return self.method(NAMED[ident])
        return self.world.get("payment_method", ident, "payment_method")

    def attach(self, method: Object, customer: Object) -> None:
        """Save the method for a customer."""
        if method["customer"] not in (None, customer["id"]):
            raise Refused("The payment method is already attached to another customer.")
        if method["customer"] is None:
            method["customer"] = customer["id"]
            self.world.emit("payment_method.attached", method)

    def card(self, method: Object) -> Card:
        """What the card of a method does."""
        return card(self.world.note(method["id"])["number"])

    # ---- payment intents ---------------------------------------------------------------------------------

    def intent(self, amount: int, currency: str, **values: object) -> Object:
        """A new payment intent."""
        check_amount(amount, currency)
        world = self.world
        found = world.add(shapes.intent(world.id("pi_"), world.now, amount, currency, **values))
        world.emit("payment_intent.created", found)
        return found

    def confirm(
        self, intent: Object, method: Object, *, off_session: bool = False, customer: Customer = "confirms"
    ) -> None:
        """Try to take the money. Raises `Refused` where the card does not give it; see the intent's status."""
        if intent["status"] not in ("requires_payment_method", "requires_confirmation", "requires_action"):
            raise Refused(
                f"This PaymentIntent's status is {intent['status']}, so it cannot be confirmed.",
                code="payment_intent_unexpected_state",
                payment_intent=copy.deepcopy(intent),
            )
        entered = self.card(method)
        intent.update(payment_method=method["id"], next_action=None, last_payment_error=None)
        set_up = self.world.note(method["id"]).get("set_up", False)
        asks = entered.confirm == "always" or (entered.confirm == "until_set_up" and not set_up)
        if asks and off_session:
            self._fail(intent, method, "authentication_required", "authentication_required")
        if asks and not off_session and not self._confirmed(intent, method, customer):
            return
        if entered.decline is not None and not (entered.saved_only and intent["amount"] == 0):
            self._fail(intent, method, entered.code, entered.decline)
        self._succeed(intent, method, entered)

    def _confirmed(self, intent: Object, method: Object, customer: Customer) -> bool:
        if customer == "confirms":
            return True
        if customer == "fails":
            code = "payment_intent_authentication_failure"
            self._fail(intent, method, code, None, charged=False)
        address = f"https://hooks.stripe.com/redirect/authenticate/{intent['id']}"
        intent.update(
            status="requires_action",
            next_action={
                "type": "redirect_to_url",
                "redirect_to_url": {"url": address, "return_url": None},
            },
        )
        self.world.emit("payment_intent.requires_action", intent)
        return False

    def _fail(
        self, intent: Object, method: Object, code: str, decline: str | None, *, charged: bool = True
    ) -> None:
        world = self.world
        message = "Your card was declined." if code == "card_declined" else f"Your card failed: {code}."
        error = {"code": code, "message": message, "type": "card_error", "payment_method": dict(method)}
        if decline is not None:
            error["decline_code"] = decline
        if charged:
            failed = shapes.charge(
                world.id("ch_"),
                world.now,
                intent,
                method,
                paid=False,
                captured=False,
                amount_captured=0,
                status="failed",
                failure_code=code,
                failure_message=message,
                receipt_url=None,
            )
            failed["outcome"].update(
                network_status="declined_by_network", reason=decline, type="issuer_declined"
            )
            world.add(failed)
            error["charge"] = intent["latest_charge"] = failed["id"]
            world.emit("charge.failed", failed)
        intent.update(status="requires_payment_method", payment_method=None, last_payment_error=error)
        world.emit("payment_intent.payment_failed", intent)
        more = {key: value for key, value in error.items() if key not in ("code", "message", "type")}
        raise card_error(code, message, payment_intent=copy.deepcopy(intent), **more)

    def _succeed(self, intent: Object, method: Object, entered: Card) -> None:
        world = self.world
        made = world.add(shapes.charge(world.id("ch_"), world.now, intent, method))
        intent.update(status="succeeded", latest_charge=made["id"], amount_received=intent["amount"])
        if intent["setup_future_usage"] is not None and intent["customer"] is not None:
            self.attach(method, world.get("customer", intent["customer"]))
            world.note(method["id"])["set_up"] = True
        world.emit("charge.succeeded", made)
        world.emit("payment_intent.succeeded", intent)
        if entered.after == "dispute":
            self.dispute(made)
        elif entered.after == "inquiry":
            self.dispute(made, status="warning_needs_response")
        elif entered.after == "warning":
            self.warn(made)

    def cancel(self, intent: Object, reason: str | None = None) -> None:
        """Give a payment up."""
        if intent["status"] in ("succeeded", "canceled"):
            raise Refused(
                f"You cannot cancel this PaymentIntent because it has a status of {intent['status']}.",
                code="payment_intent_unexpected_state",
            )
        intent.update(status="canceled", canceled_at=self.world.now, cancellation_reason=reason)
        self.world.emit("payment_intent.canceled", intent)

    # ---- refunds -----------------------------------------------------------------------------------------

    def refund(
        self, charge: Object, amount: int | None, metadata: dict[str, str], reason: str | None
    ) -> Object:
        """Give money back; never more than there is left."""
        world = self.world
        left = charge["amount"] - charge["amount_refunded"]
        if not charge["paid"]:
            raise Refused("This charge was not paid, so it cannot be refunded.", code="charge_not_paid")
        if self._contested(charge):
            raise Refused("This charge has been charged back.", code="charge_disputed")
        if left == 0:
            raise Refused(f"Charge {charge['id']} has already been refunded.", code="charge_already_refunded")
        wanted = left if amount is None else amount
        if wanted < 1:
            raise Refused("Invalid positive integer", param="amount", code="parameter_invalid_integer")
        if wanted > left:
            raise Refused(
                f"Refund amount ({wanted}) is greater than unrefunded amount on charge ({left})",
                param="amount",
            )
        goes = self.card(world.get("payment_method", charge["payment_method"])).refund
        status = "pending" if goes == "pending" else "succeeded"
        made = shapes.refund(
            world.id("re_"), world.now, charge, wanted, status=status, metadata=metadata, reason=reason
        )
        world.add(made)
        self._count_refund(charge, wanted)
        world.emit("refund.created", made)
        world.emit("charge.refunded", charge)
        return made

    def _contested(self, charge: Object) -> bool:
        states = {one["status"] for one in self.world.all("dispute") if one["charge"] == charge["id"]}
        return bool(states & {"needs_response", "under_review", "lost"})

    def _count_refund(self, charge: Object, amount: int) -> None:
        charge["amount_refunded"] += amount
        charge["refunded"] = charge["amount_refunded"] == charge["amount"]

    def finish_refund(self, refund: Object, *, succeeds: bool) -> None:
        """A refund that was on its way arrives, or fails and the money is back with the seller."""
        world = self.world
        if succeeds:
            world.change("refund.updated", refund, status="succeeded")
            return
        charge = world.get("charge", refund["charge"])
        self._count_refund(charge, -refund["amount"])
        refund.update(status="failed", failure_reason="lost_or_stolen_card")
        world.emit("refund.updated", refund)
        world.emit("refund.failed", refund)

    # ---- disputes and warnings ---------------------------------------------------------------------------

    def dispute(self, charge: Object, *, status: str = "needs_response", amount: int | None = None) -> Object:
        """The customer's bank wants the money back, or, for an inquiry, asks."""
        world = self.world
        values = {"status": status, "amount": charge["amount"] if amount is None else amount}
        made = world.add(shapes.dispute(world.id("dp_"), world.now, charge, **values))
        if status.startswith("warning_"):
            made["payment_method_details"]["card"]["case_type"] = "inquiry"
        else:
            charge["disputed"] = True
        world.emit("charge.dispute.created", made)
        if not status.startswith("warning_"):
            world.emit("charge.dispute.funds_withdrawn", made)
        return made

    def decide(self, dispute: Object, status: str) -> None:
        """A dispute goes on, or ends: won, lost, warning_closed."""
        if status in ("won", "lost", "warning_closed"):
            self.world.change("charge.dispute.closed", dispute, status=status)
            if status == "won":
                self.world.emit("charge.dispute.funds_reinstated", dispute)
        else:
            self.world.change("charge.dispute.updated", dispute, status=status)

    def warn(self, charge: Object) -> Object:
        """The card network says that a charge may be fraud."""
        world = self.world
        made = world.add(shapes.warning(world.id("issfr_"), world.now, charge))
        world.emit("radar.early_fraud_warning.created", made)
        return made

    def charge_of(self, ident: str) -> Object:
        """The charge of this id, or the one that paid this payment intent."""
        world = self.world
        if ident.startswith("pi_"):
            intent = world.get("payment_intent", ident, "payment_intent")
            if intent["latest_charge"] is None:
                raise Refused("This PaymentIntent does not have a successful charge.")
            ident = intent["latest_charge"]
        if ident not in world.tables.get("charge", {}):
            raise missing("charge", ident, "charge")
        return world.get("charge", ident)
