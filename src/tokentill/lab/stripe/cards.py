"""Test cards: numbers that each do one thing, the same numbers as Stripe's test mode has.

`decline` is the reason a charge is refused, with the code around it; `confirm` when the bank wants the
customer: never, always, or only off-session until it was set up. `after` is what follows a charge by itself:
a dispute, an inquiry, an early fraud warning. `refund` is how a refund goes.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Literal

from msgspec import Struct

from tokentill.lab.stripe.refusals import Refused


class Card(Struct, frozen=True):
    """What a card number does."""

    number: str
    text: str
    brand: str = "visa"
    decline: str | None = None
    code: str = "card_declined"
    confirm: Literal["never", "always", "until_set_up"] = "never"
    after: Literal["nothing", "dispute", "inquiry", "warning"] = "nothing"
    refund: Literal["succeeded", "pending", "failed"] = "succeeded"
    saved_only: bool = False
    """Declines charges only; it can be saved."""


CARDS: tuple[Card, ...] = (
    Card("4242424242424242", "Succeeds"),
    Card("5555555555554444", "Succeeds", "mastercard"),
    Card("378282246310005", "Succeeds", "amex"),
    Card("4000000000000002", "Is declined", decline="generic_decline"),
    Card("4000000000009995", "Has too little money", decline="insufficient_funds"),
    Card("4000000000009987", "Was lost", decline="lost_card"),
    Card("4000000000009979", "Was stolen", decline="stolen_card"),
    Card("4000000000000069", "Has expired", decline="expired_card", code="expired_card"),
    Card("4000000000000127", "Has another security code", decline="incorrect_cvc", code="incorrect_cvc"),
    Card(
        "4000000000000119", "Meets an error at its bank", decline="processing_error", code="processing_error"
    ),
    Card("4100000000000019", "Is blocked as fraud", decline="fraudulent"),
    Card("4000000000000341", "Can be saved, then is declined", decline="generic_decline", saved_only=True),
    Card("4000002500003155", "Is confirmed by the customer until it is set up", confirm="until_set_up"),
    Card("4000002760003184", "Is confirmed by the customer every time", confirm="always"),
    Card("4000000000003220", "Is confirmed by the customer every time", confirm="always"),
    Card(
        "4000008260003178",
        "Is confirmed, then has too little money",
        decline="insufficient_funds",
        confirm="always",
    ),
    Card("4000000000000259", "Succeeds, then is disputed", after="dispute"),
    Card("4000000000001976", "Succeeds, then its bank asks", after="inquiry"),
    Card("4000000000005423", "Succeeds, then a fraud warning comes", after="warning"),
    Card("4000000000007726", "Succeeds; refunds are pending first", refund="pending"),
    Card("4000000000005126", "Succeeds; refunds fail later", refund="failed"),
)
_BY_NUMBER = {card.number: card for card in CARDS}

NAMED = {
    "pm_card_visa": "4242424242424242",
    "pm_card_mastercard": "5555555555554444",
    "pm_card_amex": "378282246310005",
    "pm_card_chargeDeclined": "4000000000000002",
    "pm_card_chargeDeclinedInsufficientFunds": "4000000000009995",
    "pm_card_authenticationRequired": "4000002760003184",
    "pm_card_createDispute": "4000000000000259",
}
"""Payment methods that are there without being made, by the names Stripe gives them."""


def card(number: str) -> Card:
    """The card of this number, spaces aside."""
    found = _BY_NUMBER.get(number.replace(" ", ""))
    if found is None:
        raise Refused(
            "Your card number is incorrect.", status=402, kind="card_error", code="incorrect_number"
        )
    return found


def fingerprint(account: str, number: str) -> str:
    """What names a card within an account, the same however often it is entered."""
    return blake2b(f"{account}:{number}".encode(), digest_size=8).hexdigest()
