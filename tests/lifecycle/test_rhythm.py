"""Plans that are paid by the year, changed to ones that are paid by the month, at the test provider (R-PLAN-4)."""

from tests.lifecycle.test_year import Year
from tests.support.desk import change_plan, preset, without_limits
from tests.support.stores import Store, ok
from tokentill.flows.checkout import Ask
from tokentill.rules import commands as c
from tokentill.rules.purchases import Purchase
from tokentill.rules.refusals import Refusal


async def test_an_upgrade_from_a_year_to_a_month_goes_on_by_the_month() -> None:  # R-PLAN-4, R-PACK-3
    """A cancellation that was to come is withdrawn by it, and the next invoices are the new plan's."""
    store = Store("memory", ":memory:")
    catalog = change_plan(without_limits(preset("analysis")), "starter", periods_per_payment=12, price=39_990)
    year = Year(store, await store.open(catalog=catalog))
    await year.subscribe()
    await year.advance(30)
    assert not isinstance(await year.shop.subscribing.cancel("acme"), Refusal)
    upgraded = await year.shop.subscribing.start(Ask(organization="acme"), "professional")
    assert isinstance(upgraded, Purchase), upgraded
    row = await year.shop.subscribing.current("acme")
    assert row is not None
    assert (row.plan, row.amount, row.ends_at, row.next_plan) == ("professional", 9999, None, None)
    for _ in range(2):
        assert await year.use(10) == 0
        await year.advance(30)
        stand = await year.stand()
        assert (stand.plan, stand.remaining) == ("professional", 150)
    assert [row.state for row in await year.purchases("acme") if row.kind == "renewal"] == ["delivered"] * 2
    await year.clean()
    await year.shop.close()
    await store.close()


async def test_a_downgrade_from_a_year_to_a_month_comes_with_the_year_and_goes_on_by_the_month() -> None:
    """R-PLAN-4: nothing more is due before the year is over, and then each month is paid by itself."""
    store = Store("memory", ":memory:")
    catalog = change_plan(
        without_limits(preset("analysis")), "professional", periods_per_payment=12, price=99_990
    )
    year = Year(store, await store.open(catalog=catalog))
    await ok(year.ledger, "acme", c.Open(plan=None, simulated=True))
    await year.pay(await year.shop.subscribing.start(Ask(organization="acme"), "professional"))
    assert not isinstance(await year.shop.subscribing.downgrade("acme", "starter"), Refusal)
    stood = []
    for days in (330, 30, 30, 30):
        moved = (await year.advance(days)).invoices
        stand = await year.stand()
        stood.append((moved, await year.paid(), stand.plan, stand.remaining))
    assert stood == [
        (0, 99_990, "professional", 150),
        (1, 99_990 + 3_999, "starter", 50),
        (1, 99_990 + 2 * 3_999, "starter", 50),
        (1, 99_990 + 3 * 3_999, "starter", 50),
    ]
    await year.clean()
    await year.shop.close()
    await store.close()
