"""What the months of a shop bring in sum is the money that came in less the money that went out (R-FIN-1)."""

import itertools
import random
from pathlib import Path
from typing import Any

import pytest

from tests.flows.test_subscribe import subscribe
from tests.support.desk import change_plan, ms
from tests.support.scripted import HOUR
from tests.support.shops import World, make_world, selling
from tests.support.stores import Store, readable, sqlite_url
from tokentill.flows import margins
from tokentill.flows.checkout import Ask
from tokentill.rules import commands as c
from tokentill.rules import happenings as h
from tokentill.rules.catalog import DAY_MS, Exhaustion, Overage
from tokentill.rules.margins import MarginReport
from tokentill.rules.purchases import Purchase
from tokentill.rules.refund_rows import Refund
from tokentill.rules.rows import Payer

OWES = "bert"
"""Who uses more than the plan has and has no saved method, so that bills stay open until credit or a checkout pays."""

MONTHS = ("2026-03", "2026-04", "2026-05", "2026-06", "2026-07")


@pytest.fixture(params=["sqlite", "postgres"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """A shop that bills overage, on the first of March."""
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else sqlite_url(tmp_path)
    store = Store(request.param, url)
    catalog = change_plan(selling(), "pro", exhaustion=Exhaustion(overage=Overage(price=150)))
    made = await make_world(store, tmp_path, catalog=catalog)
    made.clock.time = ms("2026-03-01")
    yield made
    await made.shop.close()
    await store.close()


class Story:
    """Customers who buy, use, upgrade and want money back, as the dice say; what moved is counted at the provider."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.dice = random.Random(seed)
        self.done: list[str] = []
        self.lost: dict[str, int] = {}
        self.late: list[h.AnyHappening] = []
        """What is true and will be told once its month was summed."""

    async def something(self, name: str) -> None:
        """One thing that happens to a customer."""
        what = self.dice.choice(
            (self.use, self.use, self.gift, self.pay)
            if name == OWES
            else (self.use, self.buy, self.give_back, self.lose, self.credit, self.gift, self.upgrade)
        )
        self.done.append(what.__name__)
        await what(name)
        await self.world.settle()

    async def use(self, name: str) -> None:
        charge = c.Charge(feature="generate_goal", quantity=self.dice.randint(20, 70))
        await self.world.shop.means.submit(name, charge, self.world.ids.operation())

    async def buy(self, name: str, *, use_credit: bool = False) -> None:
        bought = await self.world.shop.checkout.buy_pack(
            Ask(organization=name, use_credit=use_credit), "token_pack_500"
        )
        if isinstance(bought, Purchase) and bought.url is not None:
            await self.world.tell(*self.world.provider.pay(bought.checkout or ""))

    async def credit(self, name: str) -> None:
        """A pack is given back as credit, which pays for another or for an upgrade."""
        world = self.world
        for pack in await self._paid(name):
            quoted = await world.shop.refunding.quote(name, pack.id, "quality")
            if isinstance(quoted, Refund):
                await world.shop.refunding.accept(name, quoted.id, "credit")
                break
        await self.buy(name, use_credit=True)

    async def gift(self, name: str) -> None:
        """An operator grants credit, which pays for what is owed, and for what comes."""
        grant = c.Grant(tokens=self.dice.randint(1, 4_000), origin="credit", unit="money")
        await self.world.shop.means.submit(name, grant, self.world.ids.operation())
        await readable(self.world.ledger)

    async def pay(self, name: str) -> None:
        """The bills that are open are paid; somebody may only have begun to."""
        for bill in await self.world.shop.overages.open(name):
            opened = await self.world.shop.checkout.pay(name, bill.id)
            if isinstance(opened, Purchase) and self.dice.random() < 0.5:
                await self.world.tell(*self.world.provider.pay(opened.checkout or ""))

    async def give_back(self, name: str) -> None:
        """Somebody gives a part back in the provider's dashboard; perhaps that is told only next month."""
        for paid in (await self._paid(name))[:1]:
            left = paid.amount - self.world.provider.refunded(paid.payment or "")
            if left > 0 and paid.payment not in self.lost:
                fact = self.world.provider.refund_outside(paid.payment or "", self.dice.randint(1, left))
                await self._tell(fact)

    async def lose(self, name: str) -> None:
        """A dispute of a payment of which nothing went back is lost."""
        for paid in (await self._paid(name))[:1]:
            payment = paid.payment or ""
            if paid.amount and payment not in self.lost and not self.world.provider.refunded(payment):
                self.lost[payment] = paid.amount
                await self._tell(
                    h.Disputed(
                        at=self.world.clock.time, payment=payment, dispute=f"dp_{payment}", state="lost",
                        amount=paid.amount, currency="USD",
                    )
                )  # fmt: skip

    async def upgrade(self, name: str) -> None:
        ask = Ask(organization=name, use_credit=self.dice.random() < 0.5)
        await self.world.shop.subscribing.start(ask, "enterprise")

    async def renew(self, subscription: str) -> None:
        """The next invoice; most are drafted first, and credit is taken off those of which that is told in time."""
        provider, told = self.world.provider, self.dice.random()
        invoice = provider.bill(subscription, "cycle", draft=told < 0.8)
        if told < 0.6:
            await self.world.tell(provider.fact_of_draft(invoice))
            await self.world.settle()
        await self.world.tell(provider.collect(invoice))
        if told < 0.8:
            await self.world.tell(provider.fact_of_draft(invoice))

    async def _tell(self, fact: h.AnyHappening) -> None:
        if self.dice.random() < 0.3:
            self.late.append(fact)
        else:
            await self.world.tell(fact)

    async def _paid(self, name: str) -> list[Purchase]:
        """Packs and renewals of which money may go back."""
        kinds = ("pack", "renewal")
        found = [row for row in await self.world.purchases(name) if row.kind in kinds and row.payment]
        self.dice.shuffle(found)
        return [row for row in found if row.state in ("delivered", "partly_refunded")]

    def moved(self) -> int:
        """Money in less money out, by the provider's own books."""
        provider = self.world.provider
        came = [*provider.all("payment").values(), *provider.all("invoice").values()]
        went = [one["amount"] for one in provider.all("refund").values() if one["state"] == "done"]
        return int(sum(one["amount"] for one in came) - sum(went) - sum(self.lost.values()))


async def brought(world: World, month: str) -> dict[str, int]:
    """What a month brought, by kind of line."""
    report = await world.shop.margins.report(month, None)
    assert isinstance(report, MarginReport), report
    found: dict[str, int] = {}
    for line in report.lines:
        found[line.kind] = found.get(line.kind, 0) + line.revenue
    return found


@pytest.mark.parametrize("round_", range(3))
async def test_all_months_together_are_money_in_less_money_out(
    world: World, run_seed: int, round_: int
) -> None:
    """R-FIN-1: whatever happens, and however late it is told; a month that is over stays as it was summed."""
    story = Story(world, run_seed + round_)
    subscriptions = {}
    for name in ("acme", OWES):
        await world.begin(name, plan="starter")
        _, subscriptions[name] = await subscribe(world, name)
    await world.rows.drop(Payer, f"scripted:{OWES}:card_a", OWES)
    closed: dict[str, dict[str, int]] = {}
    for month, following in itertools.pairwise(MONTHS):
        for name in subscriptions:
            for _ in range(4):
                await story.something(name)
                await world.later(2 * DAY_MS)
        world.clock.time = ms(f"{following}-01") + 2 * HOUR
        for subscription in subscriptions.values():
            await story.renew(subscription)
        await world.settle()
        await world.later(margins.WAIT_MS)  # the month waits for its bills of overage
        closed[month] = await brought(world, month)
        for fact in story.late:
            await world.tell(fact)
        story.late = []
        await world.settle()
    every = {month: await brought(world, month) for month in MONTHS}
    assert sum(sum(kinds.values()) for kinds in every.values()) == story.moved(), (every, story.done)
    assert {month: every[month] for month in closed} == closed
    assert {"plan", "deferred"} <= {kind for kinds in every.values() for kind in kinds}
    await world.clean()


async def test_a_refund_after_its_month_is_of_the_month_in_which_it_is_made(world: World) -> None:
    """R-FIN-1, R-REF-5: the month of the sale is closed, and what is told late of it is booked when it is told."""
    await world.begin("acme")
    story = Story(world, 0)
    await story.buy("acme")
    await world.settle()
    [pack] = await world.purchases("acme")
    world.clock.time = ms("2026-04-01") - 1
    late = world.provider.refund_outside(pack.payment or "", 400)
    world.clock.time = ms("2026-04-10")
    await world.settle()
    sold = {"plan": 14_900, "pack": 2_900}  # the plan is paid to the host
    assert await brought(world, "2026-03") == sold
    await world.tell(late)
    await world.settle()
    assert await brought(world, "2026-03") == sold
    assert await brought(world, "2026-04") == {"plan": 14_900, "refund": -400}
    world.clock.time = ms("2026-06-10")
    await world.tell(world.provider.refund_outside(pack.payment or "", 2_500))
    await world.settle()
    await world.later(2_000)
    await world.later(2_000)
    found = [await brought(world, month) for month in MONTHS[:4]]
    assert [month.get("refund", 0) for month in found] == [0, -400, 0, -2_500]
    assert (found[0], [month.get("pack", 0) for month in found]) == (sold, [2_900, 0, 0, 0])
    report = await world.shop.margins.report("2026-04", "acme")
    assert isinstance(report, MarginReport)
    assert (report.closed, [line.revenue for line in report.lines]) == (True, [14_900, -400])


async def test_a_month_waits_for_its_bills_of_overage(world: World) -> None:
    """R-FIN-1: nobody was there when the month ended, so it is summed before anybody has read what it left to pay."""
    await world.begin("acme")
    await world.shop.means.submit(
        "acme", c.Charge(feature="generate_goal", quantity=70), world.ids.operation()
    )
    await world.settle()
    world.clock.time = ms("2026-04-02")
    await world.settle()
    await world.later(margins.WAIT_MS)
    assert await brought(world, "2026-03") == {"plan": 14_900, "overage": 1_500, "deferred": -1_500}
    report = await world.shop.margins.report("2026-03", "acme")
    assert isinstance(report, MarginReport)
    assert report.closed
