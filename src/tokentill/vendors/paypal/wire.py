"""What PayPal answers and tells, as far as the till reads it; fields it does not know are passed over."""

from __future__ import annotations

from datetime import datetime

import msgspec
from msgspec import Struct


class Money(Struct, frozen=True):
    """An amount as decimal text."""

    currency_code: str
    value: str


class Link(Struct, frozen=True):
    """Where an object's relative is: `rel` says how they are related."""

    href: str
    rel: str


class Status(Struct, frozen=True):
    """Why an object has its status."""

    reason: str | None = None


class Related(Struct, frozen=True):
    """The objects a capture belongs to."""

    order_id: str | None = None


class Supplement(Struct, frozen=True):
    """Where a webhook keeps the relatives of a capture."""

    related_ids: Related | None = None


class Capture(Struct, frozen=True):
    """Money taken for an order."""

    id: str
    status: str = ""
    amount: Money | None = None
    custom_id: str | None = None
    status_details: Status | None = None
    create_time: str | None = None
    update_time: str | None = None
    supplementary_data: Supplement | None = None
    links: list[Link] = []


class Breakdown(Struct, frozen=True):
    """What a refund was made of."""

    total_refunded_amount: Money | None = None


class Refund(Struct, frozen=True):
    """Money given back of a capture, or taken back."""

    id: str
    status: str = ""
    amount: Money | None = None
    custom_id: str | None = None
    seller_payable_breakdown: Breakdown | None = None
    create_time: str | None = None
    update_time: str | None = None
    links: list[Link] = []


class Collection(Struct, frozen=True):
    """What was paid and given back for a unit of an order."""

    captures: list[Capture] = []
    refunds: list[Refund] = []


class Unit(Struct, frozen=True):
    """What an order is for; ours have one unit."""

    custom_id: str | None = None
    payments: Collection | None = None


class Wallet(Struct, frozen=True):
    """The customer's PayPal account."""

    account_id: str | None = None


class Source(Struct, frozen=True):
    """What an order is paid with."""

    paypal: Wallet | None = None


class Buyer(Struct, frozen=True):
    """The customer, as older answers name them."""

    payer_id: str | None = None


class Order(Struct, frozen=True):
    """An order: created, approved by the customer, completed by our capture."""

    id: str
    status: str = ""
    purchase_units: list[Unit] = []
    payment_source: Source | None = None
    payer: Buyer | None = None
    create_time: str | None = None
    update_time: str | None = None
    links: list[Link] = []


class Outcome(Struct, frozen=True):
    """How a dispute ended."""

    outcome_code: str | None = None
    amount_refunded: Money | None = None


class Transaction(Struct, frozen=True):
    """A payment that is disputed; `custom` is the custom id of its order."""

    seller_transaction_id: str | None = None
    custom: str | None = None
    gross_amount: Money | None = None


class Dispute(Struct, frozen=True):
    """A dispute of one or more payments."""

    dispute_id: str
    status: str = ""
    disputed_transactions: list[Transaction] = []
    dispute_amount: Money | None = None
    dispute_outcome: Outcome | None = None
    create_time: str | None = None
    update_time: str | None = None


class Disputes(Struct, frozen=True):
    """A page of disputes."""

    items: list[Dispute] = []


class Reversal(Struct, frozen=True):
    """An approval that was not captured in time: the order is over."""

    order_id: str | None = None
    id: str | None = None
    purchase_units: list[Unit] = []


class Event(Struct, frozen=True):
    """A webhook's body; `resource` is one of the objects above."""

    id: str
    event_type: str
    resource: msgspec.Raw = msgspec.Raw(b"{}")
    create_time: str | None = None


class Token(Struct, frozen=True):
    """An access token and how many seconds it lasts."""

    access_token: str
    expires_in: int


class Detail(Struct, frozen=True):
    """One thing that is wrong with a request."""

    issue: str = ""


class Problem(Struct, frozen=True):
    """An answer that refuses; `error` is what the token's address calls `name`."""

    name: str = ""
    error: str = ""
    debug_id: str = ""
    details: list[Detail] = []


def milliseconds(*texts: str | None) -> int | None:
    """Epoch milliseconds of the first text that is a time with its zone; None if there is none."""
    for text in texts:
        try:
            moment = datetime.fromisoformat(text) if text else None
        except ValueError:
            continue
        if moment is not None and moment.tzinfo is not None:
            return int(moment.timestamp() * 1000)
    return None
