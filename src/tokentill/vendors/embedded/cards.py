"""Test cards: the only cards that the embedded provider takes, each for one thing that can happen."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct


class Card(Struct, frozen=True):
    """A test card: what it does, and what it shows."""

    number: str
    does: Literal["pays", "declined", "confirms", "disputes", "suspected", "once"]
    text: str
    code: str = ""


CARDS: tuple[Card, ...] = (
    Card("4242424242424242", "pays", "pays"),
    Card("4000000000000002", "declined", "is declined", "card_declined"),
    Card("4000000000009995", "declined", "has not enough money", "insufficient_funds"),
    Card("4000002500003155", "confirms", "asks for a confirmation, then pays"),
    Card("4000000000000259", "disputes", "pays, and the payment is disputed at once"),
    Card("4000000000005423", "suspected", "pays, and the card network warns of fraud"),
    Card("4000000000000341", "once", "pays once; every later charge is declined", "card_declined"),
)
BY_NUMBER = {card.number: card for card in CARDS}
