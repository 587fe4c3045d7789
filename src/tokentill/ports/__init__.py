"""Ports: what flows and ways in may ask of the world. Built in `tokentill.wiring`, implemented in store and vendors.

Refusals come back as values; an exception from a port means the world failed, not the customer.
"""

from tokentill.ports.accounts import (
    Clock,
    Finding,
    Head,
    Heads,
    Health,
    Ids,
    Intent,
    IntentOutcome,
    Intents,
    IntentState,
    JournalRow,
    Ledger,
    OperatorKey,
    Page,
    StoreDown,
    Stretch,
    Traffic,
    Verdict,
)
from tokentill.ports.shop import (
    Added,
    BadSignature,
    EmbeddedPayments,
    Inbound,
    Order,
    Paying,
    Payments,
    Room,
    Rows,
    Started,
    TestCard,
    VendorDown,
    VendorRefused,
)

__all__ = [
    "Added", "BadSignature", "Clock", "EmbeddedPayments", "Finding", "Head", "Heads", "Health", "Ids",
    "Inbound", "Intent", "IntentOutcome", "IntentState", "Intents", "JournalRow", "Ledger", "OperatorKey",
    "Order", "Page", "Paying", "Payments", "Room", "Rows", "Started", "StoreDown", "Stretch", "TestCard",
    "Traffic", "VendorDown", "VendorRefused", "Verdict",
]  # fmt: skip
