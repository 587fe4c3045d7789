"""Credit before the money of a pack: in one click with a code at Stripe, at PayPal's checkout, and each part back again.

R-REF-4, R-REF-5, R-PACK-8, R-SALE-3, R-PLAT-1. The plain pack is in tests/flows/test_refunding.py.
"""

import pytest
from msgspec.structs import replace

from tests.flows.test_credit_at_providers import PACK, PRICE, charged, credit, gift, saved
from tests.flows.test_with_paypal import World as PayPalWorld
from tests.flows.test_with_paypal import world as paypal
from tests.flows.test_with_stripe import refunding, store, world_of
from tests.support.stores import Store
from tests.support.stripe import VISA
from tokentill.flows.checkout import Ask
from tokentill.flows.shop import Shop
from tokentill.rules.catalog_shop import Promo
from tokentill.rules.purchases import Purchase
from tokentill.rules.refund_rows import Refund

__all__ = ["paypal", "store"]

CREDIT = 1_000


async def back(shop: Shop, bought: Purchase) -> tuple[str, int, int]:
    """How its refund ends, and how much of it is money and credit."""
    row = await shop.refunding.quote("acme", bought.id, "technical")
    assert isinstance(row, Refund), row
    done = await shop.refunding.accept("acme", row.id, "cash")
    assert isinstance(done, Refund), done
    return done.state, done.money, done.credit


@pytest.mark.parametrize(("gives", "price", "tokens"), [
    ({"bonus_tokens": 50}, PRICE, 550), ({"percent_off": 10}, PRICE - 290, 500),
])  # fmt: skip
async def test_one_click_with_a_code_at_stripe(
    store: Store, run_seed: int, gives: dict[str, int], price: int, tokens: int
) -> None:
    promo = Promo(code="MORE", **gives)  # type: ignore[arg-type]  # the rows name integer fields only
    async with world_of(store, run_seed, replace(refunding(), promos={"MORE": promo})) as world:
        await saved(world, VISA)
        payer = await world.shop.reader.saved_payer("acme")
        assert payer is not None
        await gift(world.ledger, CREDIT)
        ask = Ask(organization="acme", payer=payer.id, use_credit=True)
        bought = await world.shop.checkout.buy_pack(ask, PACK, "more")
        assert isinstance(bought, Purchase), bought
        assert (bought.state, bought.amount, bought.credit_used) == ("delivered", price - CREDIT, CREDIT)
        assert (charged(world)[1:], await credit(world.ledger)) == ([price - CREDIT], 0)
        assert (await world.stand())[1] == 700 + tokens
        await world.hear()
        assert await back(world.shop, bought) == ("settled", price - CREDIT, CREDIT)
        assert ((await world.stand())[1], await credit(world.ledger)) == (700, CREDIT)
        await world.hear()
        await world.clean()


async def test_a_checkout_at_paypal(paypal: PayPalWorld) -> None:
    world, book = paypal, paypal.theirs.lab.book
    await gift(world.ledger, CREDIT)
    bought = await world.shop.checkout.buy_pack(Ask(organization="acme", use_credit=True), PACK)
    assert isinstance(bought, Purchase), bought
    assert (bought.state, bought.amount, await credit(world.ledger)) == ("pending", PRICE - CREDIT, 0)
    book.approve(bought.checkout or "")
    await world.hear(times=2)
    assert [one["amount"]["value"] for one in book.captures.values()] == ["19.00"]
    assert await world.balance() == 700
    assert await back(world.shop, bought) == ("settled", PRICE - CREDIT, CREDIT)
    await world.hear(times=2)
    assert [one["amount"]["value"] for one in book.refunds.values()] == ["19.00"]
    assert (await world.balance(), await credit(world.ledger)) == (200, CREDIT)
    assert (await world.ledger.verify()).findings == ()
