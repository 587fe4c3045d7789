"""What a developer imports: the same interface in this process and over HTTP."""

from tokentill.client.errors import Fault, NotAllowed, NotHere, Refused
from tokentill.client.holding import current_hold
from tokentill.client.sync import SyncHold, SyncTill
from tokentill.client.till import Till
from tokentill.ports import OperatorKey, StoreDown
from tokentill.rules.balance import Balance
from tokentill.rules.receipts import Receipt
from tokentill.rules.refusals import Code, Refusal, WayOut
from tokentill.wiring import AlreadyRan, Charge, Done, Hold, JournalLine, JournalView, TimedOut

__all__ = [
    "AlreadyRan",
    "Balance",
    "Charge",
    "Code",
    "Done",
    "Fault",
    "Hold",
    "JournalLine",
    "JournalView",
    "NotAllowed",
    "NotHere",
    "OperatorKey",
    "Receipt",
    "Refusal",
    "Refused",
    "StoreDown",
    "SyncHold",
    "SyncTill",
    "Till",
    "TimedOut",
    "WayOut",
    "current_hold",
]
