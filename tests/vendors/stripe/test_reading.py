"""Objects read as happenings, where they are not as a card of today has them (R-PLAT-1)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.stripe import T0
from tokentill.rules import happenings as h
from tokentill.vendors.stripe import reading
from tokentill.vendors.stripe.orders import ORGANIZATION, PLAN, PURCHASE

MARKS = {PURCHASE: "p1", ORGANIZATION: "acme", PLAN: "old"}


@pytest.mark.parametrize(
    ("method", "fingerprint", "label"),
    [
        (
            {"type": "card", "card": {"brand": "visa", "last4": "4242", "fingerprint": "f"}},
            "f",
            "visa •••• 4242",
        ),
        (
            {
                "type": "us_bank_account",
                "us_bank_account": {"bank_name": "Bank", "last4": "6789", "fingerprint": "g"},
            },
            "g",
            "Bank •••• 6789",
        ),
        ({"type": "amazon_pay", "amazon_pay": {}}, None, "amazon pay"),
        ({"type": "link", "link": {"email": "a@example.com"}}, None, "link"),
        ("pm_1", None, None),
        (None, None, None),
    ],
)
def test_methods(method: Any, fingerprint: str | None, label: str | None) -> None:  # R-PACK-4
    assert (reading.fingerprint(method), reading.label(method)) == (fingerprint, label)


@pytest.mark.parametrize(
    ("price", "plan"),
    [
        ({"lookup_key": "tokentill_plan_pro", "metadata": {PLAN: "x"}}, "pro"),
        ({"lookup_key": "theirs", "metadata": {PLAN: "of_price"}}, "of_price"),
        ({"lookup_key": None, "product": {"metadata": {PLAN: "of_product"}}}, "of_product"),
        ({"lookup_key": None, "product": "prod_1"}, "old"),
        ({}, "old"),
    ],
)
def test_the_price_says_which_plan_before_the_marks_do(price: dict[str, Any], plan: str) -> None:  # R-PLAN-4
    assert reading.plan_of(price, MARKS) == plan
    assert reading.plan_of({}, {}) is None


OLDER = {"subscription": "sub_1", "subscription_details": {"metadata": MARKS}}
NEWER = {"parent": {"subscription_details": {"subscription": "sub_1", "metadata": MARKS}}}


@pytest.mark.parametrize("shape", [OLDER, NEWER])
@pytest.mark.parametrize(
    ("why", "reason", "purchase"),
    [
        ("subscription_create", "create", "p1"),
        ("subscription_update", "update", "p1"),
        ("subscription_cycle", "cycle", None),
        ("manual", "other", None),
    ],
)
def test_whose_an_invoice_is_in_every_version(
    shape: dict[str, Any], why: str, reason: str, purchase: str | None
) -> None:
    invoice = {**shape, "billing_reason": why}
    assert reading.subscription_of(invoice) == "sub_1"
    assert reading.reason(invoice) == reason
    assert reading.invoice_owner(invoice) == {"purchase": purchase, "organization": "acme"}
    assert not reading.foreign(invoice)
    assert reading.foreign({"billing_reason": why, "subscription": "sub_1"})


DISPUTE = {"id": "dp_1", "payment_intent": None, "charge": "ch_1", "amount": 2500, "currency": "usd"}


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("needs_response", h.Disputed),
        ("under_review", h.Disputed),
        ("won", h.Disputed),
        ("lost", h.Disputed),
        ("warning_needs_response", h.Suspected),
        ("warning_under_review", h.Suspected),
        ("warning_closed", None),
        ("prevented", None),
    ],
)
def test_every_state_of_a_dispute(status: str, kind: type | None) -> None:  # R-REF-6
    facts = reading.dispute({**DISPUTE, "status": status}, T0)
    assert [type(fact) for fact in facts] == ([] if kind is None else [kind])
    assert all(getattr(fact, "payment", None) == "ch_1" for fact in facts)


def test_a_checkout_that_cost_nothing_paid_nothing() -> None:
    free = {
        "metadata": MARKS,
        "status": "complete",
        "mode": "payment",
        "payment_status": "paid",
        "payment_intent": None,
    }
    assert reading.session(free, T0) == []


def test_a_subscription_that_was_marked_by_hand_has_no_purchase() -> None:
    found = {
        "id": "sub_1",
        "status": "active",
        "metadata": {ORGANIZATION: "acme"},
        "items": {"data": [{"price": {"lookup_key": "tokentill_plan_pro"}, "current_period_end": 5}]},
        "cancel_at": 4,
    }
    [fact] = reading.subscription(found, T0)
    assert isinstance(fact, h.Subscribed)
    assert (fact.organization, fact.purchase, fact.plan, fact.period_end, fact.ends_at) == (
        "acme",
        None,
        "pro",
        5000,
        4000,
    )
