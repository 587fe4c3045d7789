"""Review: which refunds need nobody, which an operator, which two, and what is suspicious (R-REF-6).

A refund goes through by itself up to a limit of the catalog. Above it, or where something is suspicious, an
operator approves, denies or adjusts it, with a reason; above a second limit two different operators must agree.
What is compared with the limits is what leaves the till: money and credit. Keeping the tokens with a bonus, or
paying for an upgrade, moves nothing out and needs nobody unless something is suspicious.

A signal denies nothing by itself. It says what was seen, so that a person can judge.

Requirement ids: R-REF-6.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from tokentill.rules.refund_policy import RefundPolicy
from tokentill.rules.refunds import Option, Quote

Needs = Literal["nobody", "operator", "two_operators"]
Signal = Literal["refund_rate", "shared_method", "heavy_use", "repeated_guarantee"]


class History(Struct, frozen=True, kw_only=True):
    """What is known of the customer and of the payment method of the purchase.

    `refunds`: refunds of the organization within the policy's window. `accounts`: organizations that the method
    has paid for. `guarantees`: times the guarantee was used by this customer or with this method. `since_ms`: how long
    after the payment it is asked. `given`: what other refunds of this purchase gave back, money and credit.
    """

    refunds: int = 0
    accounts: int = 1
    guarantees: int = 0
    since_ms: int = 0
    given: int = 0


class Review(Struct, frozen=True):
    """Who must agree, and what was seen; `seen` says each of the signals in a sentence."""

    needs: Needs
    signals: tuple[Signal, ...]
    seen: tuple[str, ...]


def review(quote: Quote, option: Option, history: History, policy: RefundPolicy) -> Review:
    """Who must agree to the customer's choice. A limit counts all refunds of the purchase: none is passed in parts."""
    found = signals(quote, history, policy)
    seen = tuple(explain(one, history, policy) for one in found)
    leaves = option.money + option.credit
    leaves += history.given if leaves else 0
    if policy.four_eyes_above is not None and leaves > policy.four_eyes_above:
        return Review("two_operators", found, seen)
    above = policy.automatic_max is not None and leaves > policy.automatic_max
    return Review("operator" if above or found else "nobody", found, seen)


def signals(quote: Quote, history: History, policy: RefundPolicy) -> tuple[Signal, ...]:
    """What is suspicious about the refund."""
    found: list[Signal] = []
    if history.refunds >= policy.review_refunds:
        found.append("refund_rate")
    if history.accounts >= policy.review_accounts:
        found.append("shared_method")
    if quote.usage.spent * 100 >= policy.review_usage_percent * quote.usage.granted:
        found.append("heavy_use")
    within = policy.guarantee_percent is not None and history.since_ms <= policy.guarantee_s * 1000
    if history.guarantees and within:  # it gives no second time; who asks in its time again is looked at
        found.append("repeated_guarantee")
    return tuple(found)


def explain(signal: Signal, history: History, policy: RefundPolicy) -> str:
    """A signal in a sentence, for the operator."""
    texts: dict[Signal, str] = {
        "refund_rate": f"{history.refunds} refunds of this organization within {policy.window_days} days.",
        "shared_method": f"The payment method has paid for {history.accounts} organizations.",
        "heavy_use": f"At least {policy.review_usage_percent} % of the tokens were used.",
        "repeated_guarantee": "The guarantee was used before by this customer or with this payment method, and it is "
        "asked within its time again.",
    }
    return texts[signal]


def agreed(needs: Needs, approvals: tuple[str, ...]) -> bool:
    """Whether enough different operators have approved."""
    return len(set(approvals)) >= {"nobody": 0, "operator": 1, "two_operators": 2}[needs]
