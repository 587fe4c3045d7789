"""The report of model calls through each face of the till (R-SALE-5)."""

import pytest

from tests.client.conftest import World
from tokentill.client import Code, Refused
from tokentill.rules import commands as c
from tokentill.rules.entry import ModelUse
from tokentill.wiring import SystemIds

DAY_MS = 86_400_000


async def charged(world: World, used: int, counted: int) -> None:
    """A call on the record whose usage comes to `counted` and that was charged `used`."""
    world.clock.wait(5_000)
    key = SystemIds().operation()
    await world.ledger.submit(c.Envelope("acme", c.Reserve(feature="generate_goal"), key))
    use = ModelUse(model="m", key="k1", upstream="u", read=counted, cost=counted)
    await world.ledger.submit(c.Envelope("acme", c.Settle(hold=key, tokens=used, use=use)))


async def test_the_report_by_day_and_by_key(world: World) -> None:
    await charged(world, 2, 2)
    await charged(world, 3, 8)
    found = await world.till.reconcile()
    [line] = found.lines
    assert (line.organization, line.model, line.upstream, line.key) == ("acme", "m", "u", "k1")
    assert (line.calls, line.charged, line.cost, line.beyond_hold, line.unexplained) == (2, 5, 10, 5, 0)
    assert found.fits
    [line] = (await world.till.reconcile(by=["model"], organization="acme")).lines
    assert (line.model, line.day, line.key, line.charged) == ("m", "", "", 5)
    now = world.clock.now()
    assert (await world.till.reconcile(since=now - 2 * DAY_MS, until=now - DAY_MS)).lines == ()


async def test_a_charge_that_nothing_explains_shows(world: World) -> None:
    await charged(world, 1, 2)
    found = await world.till.reconcile()
    assert found.total.unexplained == 1
    assert not found.fits


@pytest.mark.parametrize(
    "query", [{"by": ["colour"]}, {"by": []}, {"since": 0}, {"since": 9, "until": 5}, {"until": -1}]
)
async def test_what_is_no_report_is_refused(world: World, query: dict[str, object]) -> None:
    with pytest.raises(Refused) as refused:
        await world.till.reconcile(**query)  # type: ignore[arg-type]  # it is what is wrong
    assert refused.value.code is Code.INVALID
