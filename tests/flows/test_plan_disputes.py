"""A plan, a renewal or an upgrade whose payment is disputed, and renewals told in any order (R-REF-6, R-PLAN-4)."""

import asyncio
import itertools
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from tests.flows.test_events import take_in
from tests.flows.test_subscribe import ENTERPRISE, PRO, plan_of, row, started, subscribe, use
from tests.support.desk import change_plan
from tests.support.scripted import HOUR, MONTH
from tests.support.shops import World, make_world, selling
from tests.support.stores import Store, ok, sqlite_url
from tokentill.flows.checkout import Ask
from tokentill.ports import Rows
from tokentill.rules import commands as c
from tokentill.rules import happenings as h
from tokentill.rules.purchases import Purchase, next_step
from tokentill.rules.refusals import Refusal
from tokentill.rules.rows import Alert, Payer

DAY = 24 * HOUR
BROUGHT = {"plan": 200, "renewal": 200, "upgrade": 2000}


async def paid_plan(world: World, organization: str, kind: str) -> Purchase:
    """The organization's purchase of this kind, delivered, with 500 tokens of a pack beside it."""
    await world.begin(organization, plan="starter")
    purchase, subscription = await subscribe(world, organization)
    await ok(world.ledger, organization, c.Grant(tokens=500, origin="pack"))
    if kind == "renewal":
        world.clock.time += MONTH
        await world.tell(world.provider.fact_of_invoice(world.provider.bill(subscription, "cycle")))
        await world.settle()
        purchase = next(one for one in await world.purchases(organization) if one.kind == kind)
    elif kind == "upgrade":
        await world.later(5 * DAY)
        found = await world.shop.subscribing.start(Ask(organization=organization), "enterprise")
        assert isinstance(found, Purchase)
        purchase = found
    assert (purchase.kind, purchase.state) == (kind, "delivered")
    assert await world.balance(organization) == 500 + BROUGHT[kind]
    return purchase


def contested(purchase: Purchase, state: h.DisputeState, at: int = 1) -> h.Disputed:
    return h.Disputed(
        at=at, payment=purchase.payment or "", dispute=f"dp_{purchase.organization}", state=state, currency="USD",
        amount=purchase.amount,
    )  # fmt: skip


async def text_of(world: World, code: str) -> list[str]:
    return sorted(one.text for one in await world.rows.find(Alert, {"code": code}, limit=100))


@pytest.mark.parametrize("kind", list(BROUGHT))
async def test_a_dispute_sets_aside_what_the_payment_brought(shop_world: World, kind: str) -> None:  # R-REF-6
    world, brought = shop_world, BROUGHT[kind]
    for end in ("won", "lost"):
        purchase = await paid_plan(world, end, kind)
        await use(world, 10, end)
        await world.tell(contested(purchase, "open"))
        await world.settle()
        assert await world.balance(end) == 500, "what the pack brought is nobody's dispute"
        assert (await world.account(end)).aside == brought - 30
        await world.tell(contested(purchase, end))
        await world.settle()
        found = await world.purchase(purchase)
        assert (found.state, next_step(found)) == ({"won": "delivered", "lost": "charged_back"}[end], None)
        assert await world.balance(end) == 500 + (brought - 30 if end == "won" else 0)
    assert [f"({brought - 30}) are set aside" in text for text in await text_of(world, "dispute")] == [
        True
    ] * 2
    await world.clean()


@pytest.mark.parametrize("end", ["won", "lost"])
@pytest.mark.parametrize("kind", ["plan", "renewal"])
async def test_what_is_told_of_a_disputed_plan_in_every_order_ends_alike(
    tmp_path: Path, kind: str, end: Any, pytestconfig: pytest.Config, run_seed: int
) -> None:  # R-PACK-3, R-REF-6
    """The invoice fails, is paid, contested, won or lost, and given back in part, each twice: 120 orders, 40 by day."""
    store = Store("sqlite", sqlite_url(tmp_path))
    world = await make_world(store, tmp_path)
    orders = list(itertools.permutations(range(5)))
    if not pytestconfig.getoption("--nightly"):
        orders = orders[run_seed % 3 :: 3]
    names = [f"org_{nth:03d}" for nth in range(len(orders))]
    await world.begin(*names, plan="starter")
    told = await _told(world, names, kind)
    ends = set()

    async def one(nth: int) -> None:
        facts = _facts(world, told[nth], end)
        await take_in(world, [facts[place] for place in (*orders[nth], *orders[nth])])

    for first in range(0, len(orders), 24):
        await asyncio.gather(*map(one, range(first, min(first + 24, len(orders)))))
    await world.later(HOUR)
    for name in names:
        [found] = [each for each in await world.purchases(name) if each.kind == kind]
        account = await world.account(name)
        assert next_step(found) is None
        ends.add((
            found.state, found.done.count("deliver"), "take_back" in found.done,
            found.done.count("set_aside") - found.done.count("give_back"),
            found.done.count("freeze") - found.done.count("restore"),
            account.free, account.aside, account.state.failed_at, account.state.plan,
        ))  # fmt: skip
    left = 200 - 200 * 4_900 // PRO if end == "won" else 0
    state = "partly_refunded" if end == "won" else "charged_back"
    assert ends == {(state, 1, True, 0 if end == "won" else 1, 0, left, 0, None, "pro")}
    await world.clean()
    await world.shop.close()
    await store.close()


async def _told(world: World, names: list[str], kind: str) -> list[h.InvoicePaid]:
    """The invoice of each organization, of its first payment or of its renewal, which nobody was told of yet."""
    found = []
    for name in names:
        ordered = await world.shop.subscribing.start(Ask(organization=name), "pro")
        assert isinstance(ordered, Purchase)
        facts = world.provider.pay(ordered.checkout or "")
        first = next(fact for fact in facts if isinstance(fact, h.InvoicePaid))
        # What a payment is for is known by its invoice alone.
        await take_in(world, [fact for fact in facts if kind == "renewal" or fact is not first])
        found.append(first)
    if kind == "plan":
        return found
    world.clock.time += MONTH
    bills = [world.provider.bill(one.subscription, "cycle") for one in found]
    return [world.provider.fact_of_invoice(bill) for bill in bills]


def _facts(world: World, invoice: h.InvoicePaid, end: Any) -> list[h.AnyHappening]:
    """What is told of one payment."""
    whose: dict[str, Any] = {"payment": invoice.payment or "", "currency": "USD"}
    dispute: dict[str, Any] = {"dispute": f"dp_{invoice.invoice}", "amount": PRO, **whose}
    return [
        world.provider.failed(invoice.invoice, at=world.clock.time),
        invoice,
        h.Disputed(at=3, state="open", **dispute),
        h.Disputed(at=4, state=end, **dispute),
        h.Refunded(at=5, refunded=4_900, **whose),
    ]


async def test_a_dispute_of_a_period_that_is_over_says_so(shop_world: World) -> None:  # R-REF-6
    world = shop_world
    purchase = await paid_plan(world, "acme", "plan")
    await world.later(MONTH)
    subscription = list(world.provider.all("subscription"))[-1]
    await world.tell(world.provider.fact_of_invoice(world.provider.bill(subscription, "cycle")))
    await world.settle()
    await world.tell(contested(purchase, "open"))
    await world.settle()
    assert (await world.balance("acme"), (await world.account("acme")).aside) == (700, 0)
    [text] = await text_of(world, "dispute")
    assert "none of its tokens are left to set aside" in text
    await world.tell(contested(purchase, "lost"))
    await world.settle()
    assert (await world.balance("acme"), (await world.purchase(purchase)).state) == (700, "charged_back")
    assert "undelivered" not in await world.alerts()
    await world.clean()


async def test_of_a_year_that_is_lost_the_months_to_come_are_worth_nothing(
    tmp_path: Path,
) -> None:  # R-REF-6, R-PLAN-4
    store = Store("sqlite", sqlite_url(tmp_path))
    catalog = change_plan(selling(), "pro", periods_per_payment=12)
    world = await make_world(store, tmp_path, catalog=catalog)
    await world.begin("acme", plan="starter")
    ordered = await world.shop.subscribing.start(Ask(organization="acme"), "pro")
    assert isinstance(ordered, Purchase)
    for fact in world.provider.pay(ordered.checkout or ""):
        await world.tell(
            replace(fact, end=fact.start + 12 * MONTH) if isinstance(fact, h.InvoicePaid) else fact
        )
    await world.settle()
    purchase = await world.purchase(ordered)
    assert (purchase.state, await world.balance("acme")) == ("delivered", 200)
    await world.tell(contested(purchase, "lost"))
    await world.settle()
    assert await world.balance("acme") == 0
    await world.later(2 * MONTH)
    await ok(world.ledger, "acme", c.Tick())
    account = await world.account("acme")
    assert (account.free, account.aside) == (0, 200)
    upgraded = await world.shop.subscribing.start(Ask(organization="acme"), "enterprise")
    assert isinstance(upgraded, Purchase)
    assert (upgraded.credit, upgraded.amount) == (0, ENTERPRISE), "money that went back is no credit"
    await world.clean()
    await world.shop.close()
    await store.close()


@pytest.mark.parametrize("apart", [0, 7 * DAY])
async def test_renewals_in_every_order_end_alike(shop_world: World, apart: int) -> None:  # R-PLAN-4, R-PACK-3
    """Three renewals and the upgrade between them, told weeks late and weeks apart: one end, and nothing begins anew."""
    world = shop_world
    ends, orders = set(), list(itertools.permutations(range(3)))
    for nth, order in enumerate(orders):
        name = f"org_{nth}"
        await world.begin(name, plan="starter")
        _, subscription = await subscribe(world, name)
        facts = []
        for _ in range(3):
            world.clock.time += MONTH
            facts.append(world.provider.fact_of_invoice(world.provider.bill(subscription, "cycle")))
        newest = facts[2].end
        for place in order:
            await world.tell(facts[place])
            await world.settle()
            world.clock.time += apart
        account, standing = await world.account(name), await row(world, name)
        paid = [one for one in await world.purchases(name) if one.kind == "renewal"]
        assert [one.problem for one in paid] == [None] * 3
        assert account.state.period is not None
        ends.add((
            account.free, account.state.plan, account.state.failed_at, account.state.period.end - newest,
            (account.state.paid_until or 0) - newest, account.state.paid_reference == next(
                one.id for one in paid if one.invoice == facts[2].invoice),
            (standing.period_end or 0) - newest, standing.plan, {one.state for one in paid} == {"delivered"},
        ))  # fmt: skip
    assert ends == {(200, "pro", None, 0, 0, True, 0, "pro", True)}
    alerts = await world.alerts()
    assert set(alerts) == {"late_period"}, (
        "what was paid for a time that is over is told, and nothing is stuck"
    )
    assert len(alerts) == 2 * len(orders)
    await world.clean()


async def test_a_renewal_that_is_told_after_the_upgrade_changes_nothing(
    shop_world: World,
) -> None:  # R-PLAN-4
    """It was agreed at the price of the plan before, and it is no reason to go back to that plan."""
    world = shop_world
    subscription = await started(world)
    await world.later(MONTH)
    renewal = world.provider.fact_of_invoice(world.provider.bill(subscription, "cycle"))
    await world.later(DAY)
    upgraded = await world.shop.subscribing.start(Ask(organization="acme"), "enterprise")
    assert isinstance(upgraded, Purchase)
    await use(world, 10)
    before = await row(world)
    await world.later(DAY)
    await world.tell(renewal)
    await world.settle()
    late = next(one for one in await world.purchases("acme") if one.kind == "renewal")
    assert (late.item, late.amount, late.state, late.flagged) == ("pro", PRO, "delivered", None)
    assert (await plan_of(world), await world.balance("acme")) == ("enterprise", 2000 - 30)
    now = await row(world)
    assert (now.plan, now.amount, now.period_end) == (before.plan, before.amount, before.period_end)
    await world.clean()


@pytest.mark.parametrize("order", list(itertools.permutations(("hand", "failed", "paid"))))
async def test_a_freeze_by_hand_outlives_every_invoice(
    shop_world: World, order: tuple[str, ...]
) -> None:  # R-LIC-3
    world = shop_world
    subscription = await started(world)
    await ok(world.ledger, "acme", c.Grant(tokens=500, origin="pack"))
    await world.later(MONTH)
    invoice = world.provider.bill(subscription, "cycle")
    for what in order:
        await world.later(1_000)
        if what == "hand":
            await ok(world.ledger, "acme", c.Freeze(reason="looked at"))
        elif what == "failed":
            await world.tell(world.provider.failed(invoice))
        else:
            await world.tell(world.provider.fact_of_invoice(invoice))
        await world.settle()
    assert (await world.account("acme")).state.failed_at is not None
    await world.later(10_000)
    assert "undelivered" not in await world.alerts()
    await ok(world.ledger, "acme", c.Restore())
    account = await world.account("acme")
    assert (account.state.failed_at, account.free) == (None, 700)
    await world.clean()


async def test_a_forgotten_method_is_not_remembered_by_an_old_payment(shop_world: World) -> None:  # R-SALE-3
    world = shop_world
    await world.begin("acme")
    old = await world.place(world.order("acme"), save_method=True)
    [paid] = world.provider.pay(old.checkout or "")
    await world.tell(paid)
    await world.settle()
    saved = await world.shop.reader.saved_payer("acme")
    assert saved is not None
    await world.later(1_000)
    await world.shop.means.forget(saved)
    await world.tell(paid, name="told again")
    await world.settle()
    assert await world.shop.reader.saved_payer("acme") is None
    await world.later(1_000)
    new = await world.place(world.order("acme"), save_method=True)
    await world.tell(*world.provider.pay(new.checkout or ""))
    await world.settle()
    again = await world.shop.reader.saved_payer("acme")
    assert again is not None, "who agrees anew is remembered anew"
    assert again.id == saved.id


class Counting:
    """Rows that say how many of them were read of payment methods."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self.read = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._rows, name)

    async def find(self, kind: Any, *args: Any, **more: Any) -> Any:
        found = await self._rows.find(kind, *args, **more)
        self.read += len(found) if kind is Payer else 0
        return found


async def test_a_method_of_many_organizations_is_not_read_through(shop_world: World) -> None:  # R-PACK-4
    """A thousand share it: the alert comes at the third, and no payment reads the others' rows."""
    world = shop_world
    for nth in range(1_000):
        name, at = f"o{nth}", world.clock.time
        shared = Payer(
            id=f"scripted:{name}:card_shared", organization=name, provider="scripted", method="card_shared", used_at=at
        )  # fmt: skip
        await world.rows.add(shared)
    counting = Counting(world.rows)
    world.shop = world.open(rows=counting)
    await world.begin("acme")
    purchase = await world.place(world.order("acme"))
    counting.read = 0
    await world.tell(*world.provider.pay(purchase.checkout or "", "card_shared"))
    await world.settle()
    assert counting.read == 0
    [text] = await text_of(world, "shared_method")
    assert "3 or more organizations" in text


async def test_a_renewal_that_is_told_after_a_downgrade_was_asked_for(shop_world: World) -> None:  # R-PLAN-4
    """It is of the plan before, the lower plan still comes, and an event that is told again changes neither."""
    world = shop_world
    subscription = await started(world, plan="enterprise")
    await world.later(MONTH)
    renewal = world.provider.fact_of_invoice(world.provider.bill(subscription, "cycle"))
    assert not isinstance(await world.shop.subscribing.downgrade("acme", "pro"), Refusal)
    await world.later(DAY)
    for name in ("once", "again"):
        await world.tell(renewal, name=name)
        await world.settle()
        late = next(one for one in await world.purchases("acme") if one.kind == "renewal")
        assert (late.item, late.amount, late.state) == ("enterprise", ENTERPRISE, "delivered")
        assert (await plan_of(world), await world.balance("acme")) == ("enterprise", 2000)
        standing = await row(world)
        assert (standing.plan, standing.next_plan, standing.amount) == ("enterprise", "pro", PRO)
    await world.later(MONTH)
    await world.tell(world.provider.fact_of_invoice(world.provider.bill(subscription, "cycle")))
    await world.settle()
    assert (await plan_of(world), await world.balance("acme")) == ("pro", 200)
    assert "mismatched" not in await world.alerts()
    await world.clean()
