"""The book: orders, captures, refunds and disputes, with PayPal's rules for them.

Every change may tell an event. Answers are kept by request id, so the same id twice does the same thing once.
Time and numbers are given; nothing here draws either.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

WHOLE = frozenset({"HUF", "JPY", "TWD"})
CURRENCIES = WHOLE | frozenset({
    "AUD", "BRL", "CAD", "CHF", "CNY", "CZK", "DKK", "EUR", "GBP", "HKD", "ILS", "MXN", "MYR", "NOK", "NZD", "PHP",
    "PLN", "SEK", "SGD", "THB", "USD",
})  # fmt: skip
EXPIRY_MS = 6 * 3_600_000
PAYER = "LABPAYER22222"

Json = dict[str, Any]


class Refusal(Exception):
    """An answer that refuses: HTTP status, the error's name, and the issue."""

    def __init__(self, status: int, name: str, issue: str) -> None:
        super().__init__(issue)
        self.status = status
        self.name = name
        self.issue = issue


def unprocessable(issue: str) -> Refusal:
    """Most of PayPal's refusals."""
    return Refusal(422, "UNPROCESSABLE_ENTITY", issue)


def unknown() -> Refusal:
    """There is no such object."""
    return Refusal(404, "RESOURCE_NOT_FOUND", "INVALID_RESOURCE_ID")


def numbers() -> Iterator[str]:
    """Ids as PayPal's look, counted."""
    return (f"{count:017d}" for count in itertools.count(10**16 + 1))


@dataclass
class Book:
    """All there is at this PayPal. `tell(type, resource)` is called for each event, `base` begins its links."""

    now: Callable[[], int]
    ids: Iterator[str]
    base: str = ""
    tell: Callable[[str, str, Json], None] = lambda _kind, _type, _resource: None
    orders: dict[str, Json] = field(default_factory=dict)
    captures: dict[str, Json] = field(default_factory=dict)
    refunds: dict[str, Json] = field(default_factory=dict)
    disputes: dict[str, Json] = field(default_factory=dict)
    done: dict[tuple[str, str], Callable[[], Json]] = field(default_factory=dict)
    """What a request id did on a path: gives the object as it is now."""
    capture_fails: list[str] = field(default_factory=list)
    """Issues with which the next captures are refused, each once."""
    capture_status: list[str] = field(default_factory=list)
    """Statuses that the next captures get instead of COMPLETED, each once."""
    refund_status: list[str] = field(default_factory=list)
    taken: int = 0
    """How often money was taken, to be compared with how often it should have been."""

    # ---- what the shop asks --------------------------------------------------------------------------------

    def create(self, body: Json) -> Json:
        """A new order, which waits for its customer."""
        (unit,) = body["purchase_units"]
        _payable(unit["amount"])
        ident = next(self.ids)
        shown = {
            **unit,
            "reference_id": unit.get("reference_id", "default"),
            "payee": {"merchant_id": "LABSELLER2222"},
        }
        self.orders[ident] = {
            "id": ident,
            "intent": body["intent"],
            "status": "PAYER_ACTION_REQUIRED" if "payment_source" in body else "CREATED",
            "purchase_units": [shown],
            "payment_source": {"paypal": {}},
            "create_time": self.stamp(),
            "context": body.get("payment_source", {}).get("paypal", {}).get("experience_context", {}),
        }
        return self.order(ident)

    def order(self, ident: str) -> Json:
        """The order as it is shown."""
        order = self._order(ident)
        shown = {key: value for key, value in order.items() if key != "context"}
        links = [self._link("self", f"/v2/checkout/orders/{ident}")]
        if order["status"] in ("CREATED", "PAYER_ACTION_REQUIRED"):
            links.append(self._link("payer-action", f"/checkoutnow?token={ident}"))
        if order["status"] == "APPROVED":
            links.append(self._link("capture", f"/v2/checkout/orders/{ident}/capture", "POST"))
        return {**shown, "links": links}

    def patch(self, ident: str, changes: list[Json]) -> None:
        """Change the custom or invoice id of the one unit."""
        order = self._order(ident)
        if order["status"] not in ("CREATED", "PAYER_ACTION_REQUIRED", "APPROVED"):
            raise unprocessable("ORDER_ALREADY_COMPLETED")
        for change in changes:
            start = "/purchase_units/@reference_id=='default'/"
            name = change["path"].removeprefix(start)
            if name not in ("custom_id", "invoice_id") or change["op"] not in ("add", "replace"):
                raise unprocessable("NOT_PATCHABLE")
            order["purchase_units"][0][name] = change["value"]
        order["update_time"] = self.stamp()

    def capture(self, ident: str) -> Json:
        """Take the money of an approved order, once."""
        order = self._order(ident)
        unit = order["purchase_units"][0]
        if order["status"] == "COMPLETED":
            raise unprocessable("ORDER_ALREADY_CAPTURED")
        if order["status"] != "APPROVED":
            raise unprocessable("ORDER_NOT_APPROVED")
        if any(one.get("invoice_id") == unit.get("invoice_id") for one in self.captures.values()):
            raise unprocessable("DUPLICATE_INVOICE_ID")
        if self.capture_fails:
            raise unprocessable(self.capture_fails.pop(0))
        self._take(order, unit, self.capture_status.pop(0) if self.capture_status else "COMPLETED")
        return self.order(ident)

    def refund(self, capture_id: str, body: Json) -> Json:
        """Give back a part of a capture, or what is left of it."""
        capture = self.captures.get(capture_id)
        if capture is None:
            raise unknown()
        if capture["status"] == "REFUNDED":
            raise unprocessable("CAPTURE_FULLY_REFUNDED")
        if capture["status"] == "PENDING":
            raise unprocessable("PENDING_CAPTURE")
        code = capture["amount"]["currency_code"]
        left = Decimal(capture["amount"]["value"]) - self._given(capture_id)
        amount = body.get("amount") or {"currency_code": code, "value": str(left)}
        if amount["currency_code"] != code:
            raise unprocessable("REFUND_CAPTURE_CURRENCY_MISMATCH")
        _payable(amount)
        if Decimal(amount["value"]) > left:
            raise unprocessable("REFUND_AMOUNT_EXCEEDED")
        return self._give(capture, amount, self.refund_status.pop(0) if self.refund_status else "COMPLETED")

    def disputes_of(self, capture_id: str | None) -> Json:
        """The disputes of a payment, in short."""
        names = ("dispute_id", "create_time", "update_time", "reason", "status", "dispute_amount")
        items = [
            {name: one[name] for name in names}
            for one in self.disputes.values()
            if capture_id in (None, one["disputed_transactions"][0]["seller_transaction_id"])
        ]
        return {"items": items} if items else {}

    # ---- what the customer, the bank and PayPal do ---------------------------------------------------------

    def approve(self, ident: str, payer: str = PAYER) -> None:
        """The customer agrees to pay."""
        order = self._order(ident)
        if order["status"] not in ("CREATED", "PAYER_ACTION_REQUIRED", "APPROVED"):
            raise unprocessable("ORDER_ALREADY_CAPTURED")
        order["status"] = "APPROVED"
        order["update_time"] = self.stamp()
        order["payment_source"] = {"paypal": {"account_id": payer, "account_status": "VERIFIED"}}
        self.tell("checkout-order", "CHECKOUT.ORDER.APPROVED", self.order(ident))

    def void(self, ident: str) -> None:
        """The order is over."""
        self._order(ident)["status"] = "VOIDED"
        self.tell("checkout-order", "CHECKOUT.ORDER.VOIDED", self.order(ident))

    def lapse(self, ident: str) -> None:
        """The approval is taken back, since nobody captured it in time."""
        order = self._order(ident)
        order["status"] = "VOIDED"
        resource = {"order_id": ident, "purchase_units": order["purchase_units"]}
        self.tell("checkout-order", "CHECKOUT.PAYMENT-APPROVAL.REVERSED", resource)

    def settle(self, capture_id: str, status: str = "COMPLETED") -> None:
        """A pending capture completes, or is denied (DECLINED)."""
        capture = self.captures[capture_id]
        capture["status"] = status
        capture["update_time"] = self.stamp()
        if status != "COMPLETED":
            capture["status_details"] = {"reason": "ECHECK"}
        else:
            self.taken += 1
            capture.pop("status_details", None)
        self.tell(
            "capture",
            f"PAYMENT.CAPTURE.{'DENIED' if status == 'DECLINED' else status}",
            self.shown(capture_id),
        )

    def settle_refund(self, refund_id: str) -> None:
        """A pending refund completes."""
        refund = self.refunds[refund_id]
        refund["status"] = "COMPLETED"
        self._mark(self.captures[_parent(refund)])
        self.tell("refund", "PAYMENT.CAPTURE.REFUNDED", refund)

    def reverse(self, capture_id: str, value: str | None = None) -> None:
        """PayPal takes money back: all of it, or `value`."""
        capture = self.captures[capture_id]
        amount = {**capture["amount"], "value": value or capture["amount"]["value"]}
        self._give(capture, amount, "COMPLETED", "PAYMENT.CAPTURE.REVERSED")

    def dispute(self, capture_id: str, value: str | None = None) -> str:
        """The customer disputes a payment."""
        capture = self.captures[capture_id]
        ident = f"PP-D-{next(self.ids)[-6:]}"
        stamp = self.stamp()
        self.disputes[ident] = {
            "dispute_id": ident,
            "create_time": stamp,
            "update_time": stamp,
            "disputed_transactions": [
                {
                    "seller_transaction_id": capture_id,
                    "custom": capture.get("custom_id", ""),
                    "gross_amount": capture["amount"],
                }
            ],
            "reason": "UNAUTHORISED",
            "status": "OPEN",
            "dispute_amount": {**capture["amount"], "value": value or capture["amount"]["value"]},
            "dispute_life_cycle_stage": "CHARGEBACK",
            "dispute_channel": "EXTERNAL",
        }
        self.tell("dispute", "CUSTOMER.DISPUTE.CREATED", self.disputes[ident])
        return ident

    def review(self, ident: str) -> None:
        """A dispute moves on, still open."""
        self.disputes[ident] |= {"status": "UNDER_REVIEW", "update_time": self.stamp()}
        self.tell("dispute", "CUSTOMER.DISPUTE.UPDATED", self.disputes[ident])

    def resolve(self, ident: str, outcome: str) -> None:
        """A dispute ends with one of PayPal's outcome codes."""
        dispute = self.disputes[ident]
        ended: Json = {"outcome_code": outcome}
        if outcome in ("RESOLVED_BUYER_FAVOUR", "ACCEPTED"):
            ended["amount_refunded"] = dispute["dispute_amount"]
        dispute |= {"status": "RESOLVED", "dispute_outcome": ended, "update_time": self.stamp()}
        self.tell("dispute", "CUSTOMER.DISPUTE.RESOLVED", dispute)

    # ---- inside --------------------------------------------------------------------------------------------

    def stamp(self) -> str:
        """The time as PayPal writes it."""
        return datetime.fromtimestamp(self.now() / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def shown(self, capture_id: str) -> Json:
        """A capture as a webhook shows it."""
        capture = self.captures[capture_id]
        order = next(one["href"] for one in capture["links"] if one["rel"] == "up").rsplit("/", 1)[1]
        return {**capture, "supplementary_data": {"related_ids": {"order_id": order}}}

    def _order(self, ident: str) -> Json:
        order = self.orders.get(ident)
        if order is None:
            raise unknown()
        began = datetime.fromisoformat(order["create_time"]).timestamp() * 1000
        if order["status"] in ("CREATED", "PAYER_ACTION_REQUIRED") and self.now() >= began + EXPIRY_MS:
            raise unknown()
        return order

    def _take(self, order: Json, unit: Json, status: str) -> None:
        ident = next(self.ids)
        stamp = self.stamp()
        capture: Json = {
            "id": ident,
            "status": status,
            "amount": unit["amount"],
            "final_capture": True,
            "seller_protection": {"status": "NOT_ELIGIBLE"},
            "create_time": stamp,
            "update_time": stamp,
            "links": [
                self._link("self", f"/v2/payments/captures/{ident}"),
                self._link("refund", f"/v2/payments/captures/{ident}/refund", "POST"),
                self._link("up", f"/v2/checkout/orders/{order['id']}"),
            ],
        }
        capture |= {name: unit[name] for name in ("custom_id", "invoice_id") if name in unit}
        if status != "COMPLETED":
            capture["status_details"] = {"reason": "PENDING_REVIEW"}
        self.taken += status == "COMPLETED"
        self.captures[ident] = capture
        unit.setdefault("payments", {}).setdefault("captures", []).append(capture)
        order["status"] = "COMPLETED"
        order["update_time"] = stamp
        self.tell(
            "capture", f"PAYMENT.CAPTURE.{'DENIED' if status == 'DECLINED' else status}", self.shown(ident)
        )
        self.tell("checkout-order", "CHECKOUT.ORDER.COMPLETED", self.order(order["id"]))

    def _give(
        self, capture: Json, amount: Json, status: str, event: str = "PAYMENT.CAPTURE.REFUNDED"
    ) -> Json:
        ident = next(self.ids)
        given = {**amount, "value": str(self._given(capture["id"]) + Decimal(amount["value"]))}
        refund: Json = {
            "id": ident,
            "status": status,
            "amount": amount,
            "seller_payable_breakdown": {"gross_amount": amount, "total_refunded_amount": given},
            "create_time": self.stamp(),
            "update_time": self.stamp(),
            "links": [
                self._link("self", f"/v2/payments/refunds/{ident}"),
                self._link("up", f"/v2/payments/captures/{capture['id']}"),
            ],
        }
        refund |= {name: capture[name] for name in ("custom_id", "invoice_id") if name in capture}
        self.refunds[ident] = refund
        order = self.orders[
            next(one["href"] for one in capture["links"] if one["rel"] == "up").rsplit("/", 1)[1]
        ]
        order["purchase_units"][0]["payments"].setdefault("refunds", []).append(refund)
        if status == "COMPLETED":
            self._mark(capture)
            self.tell("refund", event, refund)
        return refund

    def _mark(self, capture: Json) -> None:
        whole = self._given(capture["id"]) >= Decimal(capture["amount"]["value"])
        capture["status"] = "REFUNDED" if whole else "PARTIALLY_REFUNDED"
        capture["update_time"] = self.stamp()

    def _given(self, capture_id: str) -> Decimal:
        of_it = (one for one in self.refunds.values() if _parent(one) == capture_id)
        return sum((Decimal(one["amount"]["value"]) for one in of_it), Decimal(0))

    def _link(self, rel: str, path: str, method: str = "GET") -> Json:
        return {"href": self.base + path, "rel": rel, "method": method}


def _parent(refund: Json) -> str:
    return str(next(one["href"] for one in refund["links"] if one["rel"] == "up").rsplit("/", 1)[1])


def _payable(amount: Json) -> None:
    """Refuse what PayPal does not take."""
    code, value = amount["currency_code"], amount["value"]
    if code not in CURRENCIES:
        raise unprocessable("INVALID_CURRENCY_CODE")
    _, _, decimals = value.partition(".")
    if code in WHOLE and decimals:
        raise unprocessable("DECIMALS_NOT_SUPPORTED")
    if len(decimals) > 2:
        raise unprocessable("DECIMAL_PRECISION")
    if Decimal(value) <= 0:
        raise unprocessable("CANNOT_BE_ZERO_OR_NEGATIVE")
