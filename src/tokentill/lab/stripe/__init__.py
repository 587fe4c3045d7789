"""A server of our own that speaks Stripe's wire protocol: `StripeLab`, served by `serving`."""

from tokentill.lab.stripe.cards import CARDS, Card
from tokentill.lab.stripe.hooks import Delivery, Mischief, sign
from tokentill.lab.stripe.server import StripeLab
from tokentill.lab.stripe.serving import deliver_all, serving

__all__ = ["CARDS", "Card", "Delivery", "Mischief", "StripeLab", "deliver_all", "serving", "sign"]
