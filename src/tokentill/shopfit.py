"""Shop fitting: payment providers, the mail server and webhooks as the settings say. What is not set up is not imported.

Requirement ids: R-PLAT-1, R-PACK-2, R-PLAN-8.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from tokentill.ports import Clock, Ledger, Payments, StoreDown, VendorDown, VendorRefused
from tokentill.rules.catalog import Catalog
from tokentill.settings import PREFIX, Settings, SettingsError

if TYPE_CHECKING:
    from tokentill.flows.notices import Posting
    from tokentill.vendors.stripe.prices import SyncedPrice

PAYPAL_BASES = {True: "https://api-m.paypal.com", False: "https://api-m.sandbox.paypal.com"}
"""Where PayPal is in production, and where it is not."""


class Address:
    """Where customers reach the till's own pages: as the settings say, else where it turns out to listen."""

    def __init__(self, settings: Settings) -> None:
        self.url = (settings.public_url or "").rstrip("/")

    def __call__(self) -> str:
        """The address, without a slash at the end; empty while it is not known."""
        return self.url

    def listening(self, url: str) -> None:
        """The till listens at `url`."""
        self.url = self.url or url


def posting_of(
    settings: Settings, title: str, secret: bytes, clock: Clock, random: Callable[[int], bytes]
) -> Posting:
    """What messages are sent with: the mail server that is set up, and webhooks to public addresses."""
    from tokentill.flows.notices import Posting  # noqa: PLC0415 as above
    from tokentill.vendors.mail import SmtpMail  # noqa: PLC0415 as above
    from tokentill.vendors.outbound import HttpOutbound  # noqa: PLC0415 as above
    from tokentill.vendors.sealing import AesSeal  # noqa: PLC0415 as above

    private = settings.private_webhooks == "yes"
    if private and settings.production == "yes":
        raise SettingsError("In production webhooks go to public addresses only. Leave out private_webhooks.")
    mail = None
    if settings.mail_url is not None:
        _needs(settings, "mail_url", "mail_from")
        try:
            mail = SmtpMail(settings.mail_url, settings.mail_from or "", title, clock)
        except ValueError as wrong:
            raise SettingsError(f"{PREFIX}MAIL_URL cannot be used: {wrong}.") from wrong
    return Posting(mail, HttpOutbound(private=private), AesSeal(secret, "webhooks", random))


def payments_of(
    settings: Settings, ledger: Ledger, secret: bytes, clock: Clock, address: Callable[[], str]
) -> dict[str, Payments]:
    """The payment providers that are set up, the one that is taken by default first."""
    found: dict[str, Payments] = {}
    production = settings.production == "yes"
    _not_by_halves(settings)
    if settings.stripe_key is not None:
        _needs(settings, "stripe_key", "stripe_webhook_secret")
        from tokentill.vendors.stripe import StripePayments  # noqa: PLC0415 its SDK is slow to load

        secrets_ = [one.strip() for one in (settings.stripe_webhook_secret or "").split(",") if one.strip()]
        found["stripe"] = StripePayments(settings.stripe_key, secrets_, clock, base=settings.stripe_api_base)
    if settings.paypal_client_id is not None:
        _needs(settings, "paypal_client_id", "paypal_secret", "paypal_webhook_id")
        from tokentill.vendors.paypal.provider import PayPal  # noqa: PLC0415 as above

        base = settings.paypal_api_base or PAYPAL_BASES[production]
        client, password = settings.paypal_client_id, settings.paypal_secret or ""
        try:
            found["paypal"] = PayPal(client, password, settings.paypal_webhook_id or "", base, clock)
        except ValueError as wrong:
            raise SettingsError(str(wrong)) from wrong
    if production and settings.embedded_payments == "yes":
        raise SettingsError("In production there are no test payments. Leave out embedded_payments.")
    if not production and settings.embedded_payments != "no":
        from tokentill.vendors.embedded.provider import Embedded  # noqa: PLC0415 as above

        found["embedded"] = Embedded(ledger.rows, secret, clock, address)
    return found


def _not_by_halves(settings: Settings) -> None:
    """Raise `SettingsError` where real money is taken beside test payments, which would be good for the same tokens."""
    if settings.production == "yes":
        return
    live = (settings.stripe_key or "").startswith(("sk_live_", "rk_live_"))
    real = settings.paypal_client_id is not None and settings.paypal_api_base == PAYPAL_BASES[True]
    if live or real:
        name = "STRIPE_KEY is a live one" if live else "PAYPAL_API_BASE is the real one"
        raise SettingsError(f"{PREFIX}{name}. Set {PREFIX}PRODUCTION=yes, or use the test account.")


def _needs(settings: Settings, given: str, *needed: str) -> None:
    """Raise `SettingsError` where `given` is set and one it needs is not."""
    for name in needed:
        if getattr(settings, name) is None:
            raise SettingsError(
                f"{PREFIX}{given.upper()} is set, but {PREFIX}{name.upper()} is not: it is needed too."
            )


async def sync_stripe(settings: Settings, catalog: Catalog) -> Sequence[SyncedPrice]:
    """Make products and prices of the catalog at Stripe, where they are missing. Raises `SettingsError`."""
    if settings.stripe_key is None:
        raise SettingsError(f"No Stripe account is set up. Give its secret key as {PREFIX}STRIPE_KEY.")
    from tokentill.vendors.stripe.gateway import Gateway  # noqa: PLC0415 as above
    from tokentill.vendors.stripe.prices import sync_prices  # noqa: PLC0415 as above

    gateway = Gateway(settings.stripe_key, base=settings.stripe_api_base)
    try:
        return await sync_prices(gateway, catalog)
    except VendorDown as down:
        raise StoreDown(f"Stripe cannot be reached: {down}") from down
    except VendorRefused as refused:
        raise SettingsError(f"Stripe refused ({refused.code}): {refused}") from refused
    finally:
        await gateway.close()
