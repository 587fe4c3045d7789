"""Which payment providers there are by the settings, and that none is set up by halves (R-PLAT-1, R-PLAT-5)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tokentill import wiring
from tokentill.ports import EmbeddedPayments, Payments
from tokentill.settings import HIDDEN, Settings, SettingsError

SECRET = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
STRIPE = {"stripe_key": "sk_test_1", "stripe_webhook_secret": "whsec_1, whsec_2"}
PAYPAL = {"paypal_client_id": "id", "paypal_secret": "s", "paypal_webhook_id": "w"}


@pytest.fixture
async def ledger() -> AsyncIterator[Any]:
    async with wiring.open_ledger(Settings(database=":memory:", secret=SECRET)) as opened:
        yield opened


async def providers(ledger: Any, **settings: Any) -> list[str]:
    """The names of the providers that are set up, in their order."""
    shop = wiring.make_shop(Settings(database=":memory:", secret=SECRET, **settings), ledger)
    found: dict[str, Any] = dict(shop.means.payments)
    assert all(isinstance(one, Payments) and one.name == name for name, one in found.items())
    await shop.close()
    return list(found)


async def test_without_a_word_there_are_test_payments_and_never_in_production(
    ledger: Any,
) -> None:  # R-PLAT-1
    assert await providers(ledger) == ["embedded"]
    assert await providers(ledger, embedded_payments="no") == []
    assert await providers(ledger, production="yes") == []
    assert await providers(ledger, **STRIPE, **PAYPAL) == ["stripe", "paypal", "embedded"]
    assert await providers(ledger, **STRIPE, **PAYPAL, production="yes") == ["stripe", "paypal"]
    with pytest.raises(SettingsError, match="no test payments"):
        await providers(ledger, production="yes", embedded_payments="yes")


@pytest.mark.parametrize(
    "given",
    [
        {**STRIPE, "stripe_key": "sk_live_1"},
        {**STRIPE, "stripe_key": "rk_live_1", "embedded_payments": "no"},
        {**PAYPAL, "paypal_api_base": "https://api-m.paypal.com"},
    ],
)
async def test_real_money_and_test_cards_never_buy_the_same_tokens(
    ledger: Any, given: dict[str, str]
) -> None:  # R-PLAT-1
    with pytest.raises(SettingsError, match="TOKENTILL_PRODUCTION=yes"):
        await providers(ledger, **given)
    given.pop("embedded_payments", None)
    assert len(await providers(ledger, **given, production="yes")) == 1


@pytest.mark.parametrize("given", [STRIPE, PAYPAL])
async def test_one_that_is_set_up_by_halves_is_refused(ledger: Any, given: dict[str, str]) -> None:
    first, *others = given
    for missing in others:
        some = {name: value for name, value in given.items() if name != missing}
        with pytest.raises(
            SettingsError, match=f"TOKENTILL_{first.upper()} is set, but TOKENTILL_{missing.upper()}"
        ):
            await providers(ledger, **some)


async def test_what_the_shop_is_given(ledger: Any) -> None:  # R-PACK-2
    environment = {"STRIPE_TOKEN_PACK_500_PRICE_ID": "price_1", "HOME": "elsewhere"}
    settings = Settings(database=":memory:", secret=SECRET, public_url="https://pay.example.com/")
    shop = wiring.make_shop(settings, ledger, environment=environment)
    assert shop.means.prices == {"STRIPE_TOKEN_PACK_500_PRICE_ID": "price_1"}
    assert shop.means.address() == "https://pay.example.com"
    assert isinstance(shop.means.payments["embedded"], EmbeddedPayments)
    await shop.close()
    address = wiring.Address(Settings())
    assert address() == ""
    address.listening("http://127.0.0.1:8420")
    assert address() == "http://127.0.0.1:8420"


def test_their_secrets_are_never_shown() -> None:
    assert {"stripe_key", "stripe_webhook_secret", "paypal_secret"} <= HIDDEN
