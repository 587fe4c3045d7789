"""A dispute of a plan that is decided a period later, where the plan rolls over (R-PLAN-5, R-REF-6)."""

from pathlib import Path
from typing import Any

import pytest

from tests.flows.test_plan_disputes import contested
from tests.flows.test_subscribe import subscribe, use
from tests.support.desk import change_plan
from tests.support.scripted import MONTH
from tests.support.shops import World, make_world, selling
from tests.support.stores import Store, sqlite_url
from tokentill.rules.catalog import Rollover
from tokentill.rules.purchases import next_step


@pytest.fixture(params=["sqlite", "postgres"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """A shop whose plan carries over up to 100 tokens."""
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else sqlite_url(tmp_path)
    store = Store(request.param, url)
    catalog = change_plan(selling(), "pro", rollover=Rollover("capped", cap=100))
    made = await make_world(store, tmp_path, catalog=catalog)
    yield made
    await made.shop.close()
    await store.close()


@pytest.mark.parametrize(
    ("end", "state", "tokens"), [("won", "delivered", 300), ("lost", "charged_back", 200)]
)
async def test_what_would_have_rolled_over_is_there_when_the_dispute_is_won(
    world: World, end: Any, state: str, tokens: int
) -> None:
    await world.begin("acme", plan="starter")
    purchase, subscription = await subscribe(world, "acme")
    await use(world, 10)
    await world.tell(contested(purchase, "open"))
    await world.settle()
    world.clock.time += MONTH
    await world.tell(world.provider.fact_of_invoice(world.provider.bill(subscription, "cycle")))
    await world.settle()
    account = await world.account("acme")
    assert (account.free, account.aside) == (200, 100), "of 170 as many as the plan lets go on"
    for name in ("once", "again"):
        await world.tell(contested(purchase, end), name=name)
        await world.settle()
        found = await world.purchase(purchase)
        assert (found.state, next_step(found)) == (state, None)
        account = await world.account("acme")
        assert (account.free, account.aside) == (tokens, 0)
    await world.clean()
