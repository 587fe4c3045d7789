"""PayPal's errors, translated once: into trouble that may pass, or a refusal that says what to do.

What PayPal writes to describe an error is not passed on, since it may repeat what was sent.
"""

from __future__ import annotations

import re

import msgspec

from tokentill.ports import VendorDown, VendorRefused
from tokentill.vendors.paypal.wire import Problem

DECLINES = frozenset({
    "billing_agreement_not_found", "card_expired", "compliance_violation", "declined_due_to_related_txn",
    "domestic_transaction_required", "duplicate_invoice_id", "instrument_declined",
    "max_number_of_payment_attempts_exceeded", "payer_account_locked_or_closed", "payer_account_restricted",
    "payer_action_required", "payer_cannot_pay", "redirect_payer_for_alternate_funding",
    "transaction_blocked_by_payee", "transaction_limit_exceeded", "transaction_refused",
})  # fmt: skip
"""Why a capture may fail although nothing is wrong with the request: a try to pay that did not succeed."""

TAKEN = frozenset({"order_already_captured", "order_already_completed", "order_completed_or_voided"})
"""The order is over already; what became of it is in the order."""

FORGOTTEN = frozenset({"invalid_resource_id", "resource_not_found"})
"""There is no such object, or none any more."""

NOT_APPROVED = frozenset({"order_not_approved", "order_is_pending_approval"})
"""The customer has not agreed yet."""

_PASSES = frozenset({
    "order_completion_in_progress", "previous_request_in_progress", "rate_limit_reached", "resource_conflict",
})  # fmt: skip

_MESSAGES = {
    "invalid_client": "PayPal does not know the client id and secret. Check TOKENTILL_PAYPAL_CLIENT_ID and "
    "TOKENTILL_PAYPAL_SECRET, and that they belong to the environment of TOKENTILL_PAYPAL_API_BASE.",
    "not_authorized": "The PayPal app lacks the permission for this. Switch the feature on for the app in PayPal's "
    "developer dashboard.",
    "permission_denied": "The PayPal app lacks the permission for this. Switch the feature on for the app in "
    "PayPal's developer dashboard.",
    "invalid_resource_id": "PayPal does not know this payment. Check that the till and the payment are of the same "
    "environment (live or sandbox).",
    "resource_not_found": "PayPal does not know this payment. Check that the till and the payment are of the same "
    "environment (live or sandbox).",
    "capture_fully_refunded": "Everything of this payment has been given back already.",
    "refund_amount_exceeded": "That is more than can still be given back of this payment. Ask for less.",
    "refund_not_allowed": "PayPal does not allow a refund of this payment. Give the money back another way.",
    "refund_time_limit_exceeded": "PayPal gives back for 180 days only. Give the money back another way.",
    "refund_failed_insufficient_funds": "The PayPal account lacks the money for this refund. Add money, then try "
    "again.",
    "refund_not_permitted_due_to_chargeback": "The customer's bank has taken this payment back already.",
    "transaction_disputed": "This payment is disputed. Settle the dispute at PayPal instead.",
    "pending_capture": "PayPal still holds this payment. Wait until it is completed, then give back.",
    "partial_refund_not_allowed": "PayPal allows only the whole of this payment to be given back.",
    "payee_account_restricted": "The PayPal account that sells is restricted. See its notices at PayPal.",
    "payee_account_locked_or_closed": "The PayPal account that sells is locked or closed. Ask PayPal.",
    "max_value_exceeded": "PayPal does not take that much in one payment. Sell less at a time.",
}

_ISSUE = re.compile(r"[A-Z][A-Z0-9_]{1,79}")
_DEBUG = re.compile(r"[A-Za-z0-9-]{1,64}")


def translated(status: int, body: bytes) -> VendorDown | VendorRefused:
    """What an answer that is no success means."""
    if status >= 500 or status == 429 or status < 400:
        return VendorDown(f"PayPal answered {status}. Ask again later.")
    try:
        problem = msgspec.json.decode(body, type=Problem)
    except (msgspec.DecodeError, UnicodeDecodeError):
        problem = Problem()
    issues = [detail.issue for detail in problem.details]
    name = problem.name or problem.error.upper()
    found = next((word for word in (*issues, name) if _ISSUE.fullmatch(word)), f"HTTP_{status}")
    code = found.lower()
    if code in _PASSES or status in (408, 409):
        return VendorDown(f"PayPal is still busy with this ({found}). Ask again later.")
    trace = f" PayPal's debug id is {problem.debug_id}." if _DEBUG.fullmatch(problem.debug_id) else ""
    return VendorRefused(code, _MESSAGES.get(code, f"PayPal refused with {found}.{trace}"))
