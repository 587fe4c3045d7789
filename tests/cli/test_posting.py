"""How people and other systems are told of what happens, set up by settings (R-PLAN-8, R-PACK-7)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.post import post_office, receiver
from tokentill import wiring
from tokentill.client import Till
from tokentill.ports import StoreDown
from tokentill.rules.commands import Charge, Envelope, Open
from tokentill.rules.refusals import Refusal
from tokentill.settings import HIDDEN, Settings, SettingsError

SECRET = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"


async def test_a_balance_that_falls_is_told_by_mail(tmp_path: Path) -> None:
    """R-PLAN-8: from the journal to the mail server, by the shop that `serve` runs."""
    async with post_office() as office:
        settings = Settings(
            database=str(tmp_path / "till.db"),
            catalog="analysis",
            mail_url=office.url,
            mail_from="till@shop.example",
        )
        async with wiring.open_ledger(settings) as ledger:
            ids = wiring.SystemIds()
            await ledger.submit(Envelope("acme", Open(plan="starter"), ids.operation()))
            shop = wiring.make_shop(settings, ledger, environment={})
            assert shop.notices is not None
            await shop.notices.set_contact("acme", "ann@acme.example", "Ann", ())
            await shop.clerk.once()
            use = Charge(feature="suite_analyzer", user="ann", quantity=10)
            for _ in range(5):
                await ledger.submit(Envelope("acme", use, ids.operation()))
            await shop.clerk.once()
            await shop.close()
        assert set(office.to) == {"ann@acme.example"}
        assert len(office.subjects) >= 2
        assert str(office.letters[-1]["From"]).endswith("<till@shop.example>")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"mail_url": "smtp://127.0.0.1:25"}, "TOKENTILL_MAIL_FROM is not"),
        ({"mail_url": "http://127.0.0.1", "mail_from": "a@b.example"}, "smtp://"),
    ],
)
async def test_a_mail_server_that_is_set_up_by_halves_is_refused(given: dict[str, Any], said: str) -> None:
    settings = Settings(database=":memory:", secret=SECRET, **given)
    async with wiring.open_ledger(settings) as ledger:
        with pytest.raises(SettingsError, match=said):
            wiring.make_shop(settings, ledger, environment={})


async def test_a_webhook_reaches_this_machine_only_where_that_was_asked_for() -> None:
    """R-PLAN-8."""
    async with receiver() as there:
        strict = Settings(database=":memory:", secret=SECRET)
        async with wiring.open_ledger(strict) as ledger:
            shop = wiring.make_shop(strict, ledger, environment={})
            assert shop.notices is not None
            assert isinstance(await shop.notices.add_endpoint("", there.url, ()), Refusal)
            await shop.close()
        open_to_all = Settings(database=":memory:", secret=SECRET, private_webhooks="yes")
        async with wiring.open_ledger(open_to_all) as ledger:
            shop = wiring.make_shop(open_to_all, ledger, environment={})
            assert shop.notices is not None
            made = await shop.notices.add_endpoint("", there.url, ())
            assert not isinstance(made, Refusal)
            await ledger.submit(Envelope("acme", Open(plan="pro"), wiring.SystemIds().operation()))
            await shop.clerk.once()
            await shop.close()
        assert there.check(made[1])
    wrong = Settings(database=":memory:", secret=SECRET, private_webhooks="yes", production="yes")
    async with wiring.open_ledger(wrong) as ledger:
        with pytest.raises(SettingsError, match="public addresses only"):
            wiring.make_shop(wrong, ledger, environment={})


async def test_the_password_of_the_mail_server_is_not_shown() -> None:
    assert "mail_url" in HIDDEN


async def test_without_an_account_at_stripe_nothing_is_made_there() -> None:
    """R-PACK-2."""
    catalog, _ = wiring.read_catalog("goals")
    with pytest.raises(SettingsError, match="TOKENTILL_STRIPE_KEY"):
        await wiring.sync_stripe(Settings(), catalog)
    nobody = Settings(stripe_key="sk_test_1", stripe_api_base="http://127.0.0.1:9")
    with pytest.raises(StoreDown, match="Stripe"):
        await wiring.sync_stripe(nobody, catalog)


async def test_an_embedded_till_works_on_what_is_due(tmp_path: Path) -> None:
    """R-PLAN-8: with `clerk`, without a server."""
    async with Till.embedded(tmp_path / "till.db", catalog="goals", clerk=True) as till:
        await till.open("acme", plan="pro")
        made = await till.create_codes("fair", 40)
        assert (await till.redeem("acme", made.codes[0])).state == "delivered"
