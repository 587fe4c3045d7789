"""A price that a code lowers is one that can be paid, and the same wherever it is shown or charged (R-PACK-8)."""

import pytest
from msgspec.structs import replace

from tests.flows.test_with_stripe import PACK, refunding, store, world_of
from tests.support.stores import Store
from tests.support.stripe import VISA
from tokentill.flows.checkout import Ask
from tokentill.rules.catalog_shop import Promo
from tokentill.rules.offers import PackOffers
from tokentill.rules.purchases import Purchase
from tokentill.rules.refund_rows import Refund

__all__ = ["store"]


@pytest.mark.parametrize(
    ("currency", "gives", "price", "off"),
    [
        ("USD", {"percent_off": 33}, 1_943, "$9.57"),
        ("KWD", {"percent_off": 33}, 1_940, "KWD 0.960"),  # three decimals end in 0; 1.943 is rounded down
        ("KWD", {"amount_off": 5}, 2_890, "KWD 0.010"),
        ("USD", {"percent_off": 99}, 50, "$28.50"),  # the least that Stripe charges
        ("KWD", {"percent_off": 100}, 0, "KWD 2.900"),
    ],
)
async def test_what_is_shown_is_what_is_charged_and_given_back(
    store: Store, run_seed: int, currency: str, gives: dict[str, int], price: int, off: str
) -> None:
    """R-PACK-8, R-PACK-2, R-REF-5."""
    promo = Promo(code="ODD", **gives)  # type: ignore[arg-type]  # the rows name integer fields only
    catalog = replace(refunding(), currency=currency, promos={"ODD": promo})
    async with world_of(store, run_seed, catalog) as world:
        await world.begin()
        shown = await world.shop.offers.packs("acme", code="odd")
        assert isinstance(shown, PackOffers)
        [offer] = [one for one in shown.packs if one.id == PACK]
        assert (offer.price, offer.note) == (price, f"Code ODD: {off} off.")
        bought = await world.shop.checkout.buy_pack(Ask(organization="acme"), PACK, "odd")
        assert isinstance(bought, Purchase), bought
        assert (bought.amount, bought.promo) == (price, "ODD")
        if price:
            world.lab.pay(bought.checkout or "", VISA)
            await world.hear()
            [intent] = world.lab.world.all("payment_intent")
            assert (intent["amount_received"], intent["currency"]) == (price, currency.lower())
        assert ((await world.of(bought)).state, (await world.stand())[1]) == ("delivered", 700)
        if price:
            row = await world.shop.refunding.quote("acme", bought.id, "technical")
            assert isinstance(row, Refund), row
            done = await world.shop.refunding.accept("acme", row.id, "cash")
            assert isinstance(done, Refund)
            assert done.money == price
        await world.hear()
        await world.clean()
