"""The monthly check of margins by the clerk, and on demand (R-FIN-1); ratings and tickets, kept once (R-FIN-4)."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from tests.support.desk import ms
from tests.support.shops import World, make_world, selling
from tests.support.stores import Store, ok, sqlite_url
from tokentill.flows import margins
from tokentill.rules import commands as c
from tokentill.rules.catalog import HOUR_MS
from tokentill.rules.feedback import Feedback
from tokentill.rules.margins import MarginCheck, MarginMonth, MarginReport
from tokentill.rules.refusals import Code, Refusal
from tokentill.rules.rows import Alert
from tokentill.rules.topups import month_of


@pytest.fixture(params=["sqlite", "postgres"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """A token costs the operator a dollar, so that 50 of 200 leave less than $100 of $149."""
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else sqlite_url(tmp_path)
    store = Store(request.param, url)
    catalog = selling()
    dear = structs.replace(catalog, costs=structs.replace(catalog.costs, per_million_tokens=100 * 1_000_000))
    made = await make_world(store, tmp_path, catalog=dear)
    made.clock.time = ms("2026-03-01")
    yield made
    await made.shop.close()
    await store.close()


async def use(world: World, organization: str, goals: int) -> None:
    await ok(world.ledger, organization, c.Charge(feature="generate_goal", quantity=goals))


async def months(world: World) -> dict[str, tuple[int, int]]:
    """Tokens and revenue of each organization's plan, as kept."""
    found = await world.rows.find(MarginMonth, {"month": "2026-03"}, limit=1000)
    return {row.organization: (row.lines[0].tokens, row.lines[0].revenue) for row in found}


async def report(world: World, month: str | None = None, organization: str | None = None) -> MarginReport:
    found = await world.shop.margins.report(month, organization)
    assert isinstance(found, MarginReport), found
    return found


async def test_the_month_is_checked_once_it_is_over(world: World) -> None:  # R-FIN-1
    names = [f"org{number}" for number in range(margins.BATCH + 3)]
    await world.begin(*names)
    await use(world, "org1", 20)  # $60.00 of $149.00
    await world.settle()
    [check] = await world.rows.find(MarginCheck, {})
    assert (check.id, check.due_at) == ("2026-03", ms("2026-04-01") + HOUR_MS)
    assert await world.alerts() == []
    world.clock.time = ms("2026-04-01")
    await world.settle()
    assert await months(world) == {}
    await world.later(HOUR_MS)
    kept = await months(world)
    assert set(kept) == set(names)
    assert (kept["org1"], kept["org2"]) == ((60, 14_900), (0, 14_900))
    assert await world.alerts() == []  # over all a payment leaves $146.39
    found = await report(world, "2026-03")
    assert (found.closed, found.organizations, found.below) == (True, len(names), ("org1",))
    await world.later(HOUR_MS)
    assert {row.id for row in await world.rows.find(MarginCheck, {})} == {"2026-03", "2026-04"}


async def test_too_little_raises_one_alert_whoever_checks(world: World) -> None:  # R-FIN-1
    await world.begin("acme", "bert")
    for name in ("acme", "bert"):
        await use(world, name, 20)
    await world.settle()
    world.clock.time = ms("2026-04-02")
    shops = [world.open() for _ in range(3)]
    async with asyncio.timeout(60):
        await asyncio.gather(*(shop.clerk.once() for shop in shops))
    [alert] = await world.rows.find(Alert, {"code": "margin_low"})
    assert alert.id == "margin_low:2026-03:pro"
    assert "left $89.00, which is not more than $100.00. Increase its price or reduce" in alert.text
    [check] = await world.rows.find(MarginCheck, {"id": "2026-03"})
    assert (check.done_at, check.due_at) == (ms("2026-04-02"), None)
    # A process that died in the middle left the rest, and whoever does it again changes nothing.
    before = await months(world)
    await world.rows.put(structs.replace(check, reached="acme", due_at=world.clock.time, done_at=None))
    await world.settle()
    assert await months(world) == before
    assert len(await world.rows.find(Alert, {"code": "margin_low"})) == 1


async def test_a_month_that_runs_is_summed_for_who_asks(world: World) -> None:  # R-FIN-1
    await world.begin("acme", "bert")
    await ok(world.ledger, "sim", c.Open(plan="pro", simulated=True))
    await use(world, "acme", 20)
    world.clock.time = ms("2026-03-16T12:00:00")
    whole = await report(world)
    assert (whole.month, whole.closed, whole.organizations) == (month_of(world.clock.time), False, 2)
    own = await report(world, "2026-03", "acme")
    assert [(line.item, line.payments, line.revenue, line.tokens) for line in own.lines] == [
        ("pro", "1.00", 14_900, 60)
    ]
    assert own.below == ("acme",)
    for month, organization, code in (
        ("2026-13", None, Code.INVALID),
        ("2026-04", None, Code.INVALID),
        (None, "nobody", Code.UNKNOWN_ORGANIZATION),
    ):
        refused = await world.shop.margins.report(month, organization)
        assert isinstance(refused, Refusal)
        assert refused.code == code


async def test_a_pack_counts_with_what_was_used_of_it(world: World) -> None:  # R-FIN-1
    await world.begin("acme")
    ordered = await world.place(world.order("acme", bonus=10))
    await world.tell(*world.provider.pay(ordered.checkout or ""))
    await world.settle()
    await use(world, "acme", 70)
    lines = {line.kind: line for line in (await report(world, None, "acme")).lines}
    assert (lines["plan"].tokens, lines["pack"].tokens) == (200, 10)
    pack = lines["pack"]
    assert (pack.item, pack.payments, pack.revenue, pack.cost, pack.gross) == (
        "token_pack_500",
        "1.00",
        2900,
        1000,
        1900,
    )


async def test_what_customers_say_is_kept_once(world: World) -> None:  # R-FIN-4, R-LED-9
    await world.begin("acme", "bert")
    said = world.shop.feedback
    ordered = await world.place(world.order("acme"))
    first = await said.rate("acme", 5, "Good.", ordered.id, "key")
    assert isinstance(first, Feedback)
    assert await said.rate("acme", 5, "Good.", ordered.id, "key") == first
    other = await said.rate("acme", 4, "Good.", ordered.id, "key")
    assert isinstance(other, Refusal)
    assert other.code == Code.KEY_REUSED
    assert isinstance(await said.rate("bert", 4, "", None, "key"), Feedback)
    assert isinstance(await said.ticket("bert", "tokens", "Where are they?", None, None), Feedback)
    foreign = await said.ticket("bert", "refund", "", ordered.id, None)
    nobody = await said.rate("nobody", 5, "", None, None)
    assert isinstance(foreign, Refusal)
    assert isinstance(nobody, Refusal)
    assert (foreign.code, nobody.code) == (Code.UNKNOWN_PURCHASE, Code.UNKNOWN_ORGANIZATION)
    [month] = await said.months()
    assert (month.ratings, month.average, month.tickets) == (2, "4.50", {"tokens": 1})
    assert len(await said.listed("rating", None, 10)) == 2
