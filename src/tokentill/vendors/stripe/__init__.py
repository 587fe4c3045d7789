"""Stripe: the `Payments` port by the official SDK (R-PLAT-1).

Importing this package imports the SDK, which is slow and large; wiring imports it only where a key is set.
"""

from tokentill.vendors.stripe.payments import StripePayments
from tokentill.vendors.stripe.prices import SyncedPrice, sync_prices

__all__ = ["StripePayments", "SyncedPrice", "sync_prices"]
