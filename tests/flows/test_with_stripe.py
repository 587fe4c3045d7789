"""The whole way with Stripe: the official SDK over a real socket to the lab, webhooks in and tokens out (R-PLAT-1)."""

import random
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from tests.support.shops import QUICK, selling
from tests.support.stores import SECRET, Store, ok, sqlite_url
from tests.support.stripe import ASKS_ALWAYS, DECLINED, T0, VISA
from tokentill.flows.checkout import Ask
from tokentill.flows.means import Means
from tokentill.flows.pay import Terms
from tokentill.flows.shop import Shop, open_shop
from tokentill.lab.stripe import StripeLab, serving
from tokentill.ports import Inbound
from tokentill.rules import commands as c
from tokentill.rules.catalog import Catalog
from tokentill.rules.purchases import Purchase
from tokentill.rules.receipts import Receipt
from tokentill.rules.refund_rows import Refund
from tokentill.rules.rows import Alert, ProviderEvent
from tokentill.vendors.stripe import StripePayments
from tokentill.wiring import SystemIds

DAY = 86_400
PACK = "token_pack_500"
PENDING_REFUND = "4000000000007726"
PRO, ENTERPRISE = 14_900, 39_900


class World:
    """A shop that is paid through Stripe's lab, and whoever buys there."""

    def __init__(self, store: Store, ledger: Any, lab: StripeLab, shop: Shop, seed: int) -> None:
        self.clock, self.ledger, self.lab, self.shop = store.clock, ledger, lab, shop
        self._dice = random.Random(seed)

    async def begin(self, plan: str = "pro", organization: str = "acme") -> None:
        await ok(self.ledger, organization, c.Open(plan=plan))

    async def buy(self, **ask: Any) -> Purchase:
        bought = await self.shop.checkout.buy_pack(Ask(organization="acme", **ask), PACK)
        assert isinstance(bought, Purchase), bought
        return bought

    async def subscribe(self, plan: str = "pro") -> Purchase:
        ordered = await self.shop.subscribing.start(Ask(organization="acme"), plan)
        assert isinstance(ordered, Purchase), ordered
        return ordered

    async def hear(self) -> None:
        """Every webhook that waits, shuffled, each twice."""
        waiting = self.lab.webhooks() * 2
        self._dice.shuffle(waiting)
        now = self.clock.time
        for one in waiting:
            # Each came when it was sent, however far the clock has been moved since.
            sent = re.search(r"t=(\d+)", one.headers["stripe-signature"])
            assert sent is not None
            self.clock.time = int(sent[1]) * 1000
            await self.shop.receive("stripe", Inbound(one.body, one.headers))
        self.clock.time = now
        for _ in range(8):
            await self.shop.clerk.once()
            self.clock.time += 250

    async def days(self, count: int) -> None:
        self.clock.time += count * DAY * 1000
        self.lab.catch_up()
        await self.hear()

    async def of(self, purchase: Purchase) -> Purchase:
        found = await self.shop.checkout.purchase("acme", purchase.id)
        assert found is not None
        return found

    async def kinds(self) -> list[tuple[str, str, str]]:
        """The purchases, oldest first, as (kind, item, state)."""
        rows = sorted(await self.shop.checkout.history("acme"), key=lambda row: row.created_at)
        return [(row.kind, row.item, row.state) for row in rows]

    async def stand(self) -> tuple[str | None, int, bool]:
        """Plan, free tokens, and whether payment is failed."""
        account = await self.ledger.account("acme")
        assert account is not None
        return account.state.plan, account.free, account.state.failed_at is not None

    async def clean(self) -> None:
        assert (await self.ledger.verify()).findings == ()
        states = {row.state for row in await self.ledger.rows.find(ProviderEvent, {}, limit=1000)}
        assert states <= {"done", "ignored"}, states


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else sqlite_url(tmp_path)
    return Store(request.param, url)


@asynccontextmanager
async def world_of(store: Store, seed: int, catalog: Catalog) -> AsyncIterator[World]:
    """A shop that sells by the catalog, and its Stripe."""
    store.clock.time = T0
    lab = StripeLab(store.clock)
    endpoint: Any = lab.listen("http://127.0.0.1:9/stripe")
    async with serving(lab) as base:
        payments = StripePayments(lab.key, [endpoint["secret"]], store.clock, base=base, retries_max=0)
        ledger = await store.open(catalog=catalog)
        means = Means(
            ledger=ledger, rows=ledger.rows, payments={"stripe": payments}, clock=store.clock, ids=SystemIds(),
            secret=SECRET, address=lambda: "https://shop.test", patience=QUICK,
        )  # fmt: skip
        shop = open_shop(means)
        yield World(store, ledger, lab, shop, seed)
        await shop.close()
        await store.close()


def refunding() -> Catalog:
    """Plans are given back, too, and no refund waits for anybody."""
    catalog = selling()
    return replace(catalog, refunds=replace(catalog.refunds, plans=True, automatic_max=None))


@pytest.fixture
async def world(store: Store, run_seed: int) -> AsyncIterator[World]:
    async with world_of(store, run_seed, refunding()) as made:
        yield made


async def test_a_pack_and_then_another_in_one_click(world: World) -> None:  # R-PACK-2, R-PACK-3, R-SALE-3
    await world.begin()
    ordered = await world.buy(terms=Terms(email="ada@example.com", save_method=True))
    world.lab.pay(ordered.checkout or "", DECLINED)
    await world.hear()
    assert (await world.of(ordered)).state == "pending"
    world.lab.pay(ordered.checkout or "", VISA)
    await world.hear()
    assert ((await world.of(ordered)).state, await world.stand()) == ("delivered", ("pro", 700, False))
    [payer] = await world.shop.reader.payers("acme")
    assert (payer.label, payer.saved is not None) == ("visa •••• 4242", True)
    again = await world.buy(payer=payer.id)
    assert (again.state, await world.stand()) == ("delivered", ("pro", 1200, False))
    await world.hear()
    assert await world.stand() == ("pro", 1200, False)
    await world.clean()


async def test_a_card_whose_bank_asks_each_time(world: World) -> None:  # R-SALE-3
    await world.begin()
    ordered = await world.buy(terms=Terms(save_method=True))
    world.lab.pay(ordered.checkout or "", ASKS_ALWAYS)
    await world.hear()
    payer = await world.shop.reader.saved_payer("acme")
    assert payer is not None
    again = await world.buy(payer=payer.id)
    assert (again.state, again.url is not None) == ("pending", True)
    await world.clean()


async def test_a_dispute_and_an_early_warning(world: World) -> None:  # R-PACK-4, R-REF-6
    await world.begin()
    ordered = await world.buy()
    world.lab.pay(ordered.checkout or "", VISA)
    await world.hear()
    payment = (await world.of(ordered)).payment or ""
    world.lab.warn(payment)
    dispute: Any = world.lab.dispute(payment)
    await world.hear()
    assert ((await world.of(ordered)).state, await world.stand()) == ("disputed", ("pro", 200, False))
    world.lab.decide(dispute["id"], "lost")
    await world.hear()
    assert ((await world.of(ordered)).state, await world.stand()) == ("charged_back", ("pro", 200, False))
    codes = {row.code for row in await world.ledger.rows.find(Alert, {})}
    assert codes == {"dispute", "fraud_warning"}
    await world.clean()


async def test_a_checkout_that_expires_or_is_cancelled(world: World) -> None:  # R-PACK-2, R-PACK-4
    await world.begin()
    first, second = await world.buy(), await world.buy()
    cancelled = await world.shop.checkout.cancel("acme", first.id)
    assert isinstance(cancelled, Purchase)
    assert cancelled.state == "abandoned"
    await world.days(1)
    assert (await world.of(second)).state == "abandoned"
    await world.clean()


async def test_a_year_of_a_plan_with_a_failure(world: World) -> None:  # R-PLAN-4, R-LIC-1, R-LIC-3
    await world.begin("starter")
    ordered = await world.subscribe()
    world.lab.pay(ordered.checkout or "", VISA)
    await world.hear()
    assert ((await world.of(ordered)).state, await world.stand()) == ("delivered", ("pro", 200, False))
    await ok(world.ledger, "acme", c.Charge(feature="generate_goal", quantity=3))
    await world.days(32)
    assert await world.stand() == ("pro", 200, False)
    subscription = await world.shop.subscribing.current("acme")
    assert subscription is not None
    world.lab.change_card(subscription.ref, DECLINED)
    await world.days(31)
    assert await world.stand() == ("pro", 0, True)
    failed = [row for row in await world.shop.checkout.history("acme") if row.state == "failed"]
    assert len(failed) == 1
    world.lab.pay_invoice(failed[0].invoice or "", VISA)
    await world.hear()
    assert await world.stand() == ("pro", 200, False)
    assert await world.kinds() == [
        ("plan", "pro", "delivered"), ("renewal", "pro", "delivered"), ("renewal", "pro", "delivered"),
    ]  # fmt: skip
    await world.clean()


async def test_an_upgrade_a_downgrade_and_the_end(world: World) -> None:  # R-PLAN-4
    await world.begin("starter")
    ordered = await world.subscribe()
    world.lab.pay(ordered.checkout or "", VISA)
    await world.hear()
    await world.days(10)
    upgraded = await world.subscribe("enterprise")
    await world.hear()
    upgraded = await world.of(upgraded)
    assert (upgraded.state, upgraded.amount) == ("delivered", ENTERPRISE - upgraded.credit)
    assert 0 < upgraded.credit < PRO
    assert await world.stand() == ("enterprise", 2000, False)
    assert isinstance(await world.shop.subscribing.downgrade("acme", "pro"), Receipt)
    await world.hear()
    assert await world.stand() == ("enterprise", 2000, False)
    await world.days(32)
    assert await world.stand() == ("pro", 200, False)
    assert isinstance(await world.shop.subscribing.cancel("acme"), Receipt)
    await world.hear()
    assert isinstance(await world.shop.subscribing.resume("acme"), Receipt)
    await world.hear()
    await world.days(32)
    assert await world.stand() == ("pro", 200, False)
    assert isinstance(await world.shop.subscribing.cancel("acme"), Receipt)
    await world.days(33)
    await ok(world.ledger, "acme", c.Tick())
    assert await world.stand() == (None, 0, False)
    assert await world.shop.subscribing.current("acme") is None
    await world.clean()


async def test_a_plan_that_is_never_paid_again_ends(world: World) -> None:  # R-LIC-1, R-LIC-2
    await world.begin("starter")
    ordered = await world.subscribe()
    world.lab.pay(ordered.checkout or "", VISA)
    await world.hear()
    subscription = await world.shop.subscribing.current("acme")
    assert subscription is not None
    world.lab.change_card(subscription.ref, DECLINED)
    await world.days(32)
    assert await world.stand() == ("pro", 0, True)
    await world.days(30)
    assert await world.stand() == (None, 0, False)
    await world.clean()


@pytest.mark.parametrize(
    ("succeeds", "state", "tokens"), [(None, "settled", 0), (True, "settled", 0), (False, "failed", 500)]
)
async def test_a_refund_goes_the_whole_way(
    world: World, succeeds: bool | None, state: str, tokens: int
) -> None:  # R-REF-5, R-REF-6
    """Through at once; or on its way first, and then through, or failed, so that the tokens come back."""
    await world.begin()
    ordered = await world.buy()
    world.lab.pay(ordered.checkout or "", VISA if succeeds is None else PENDING_REFUND)
    await world.hear()
    row = await world.shop.refunding.quote("acme", ordered.id, "technical")
    assert isinstance(row, Refund)
    done = await world.shop.refunding.accept("acme", row.id, "cash")
    assert isinstance(done, Refund)
    assert done.state == ("settled" if succeeds is None else "paying")
    await world.hear()
    if succeeds is not None:
        [refund] = world.lab.world.all("refund")
        world.lab.finish_refund(refund["id"], succeeds=succeeds)
    for _ in range(3):
        await world.hear()
        world.clock.time += 60_000
    found = await world.ledger.rows.get(Refund, row.id, "acme")
    assert found.state == state
    purchase = await world.of(ordered)
    assert purchase.done.count("take_back") == int(tokens == 0)
    assert len(world.lab.world.all("refund")) == 1
    assert (await world.stand())[1] == 200 + tokens
    await world.clean()


async def larger_pack(world: World) -> tuple[Purchase, Purchase]:
    """A pack, and the larger one in its place, each paid in a checkout."""
    await world.begin()
    small = await world.buy()
    world.lab.pay(small.checkout or "", VISA)
    await world.hear()
    row = await world.shop.refunding.quote("acme", small.id, "technical")
    assert isinstance(row, Refund)
    taken = await world.shop.refunding.accept("acme", row.id, "upgrade", "token_pack_2000")
    assert isinstance(taken, Refund)
    large = await world.ledger.rows.get(Purchase, taken.upgrade or "", "acme")
    assert large is not None
    world.lab.pay(large.checkout or "", VISA)
    await world.hear()
    return await world.of(small), await world.of(large)


async def test_a_larger_pack_goes_back_over_both_payments(world: World) -> None:  # R-REF-4, R-REF-5
    small, large = await larger_pack(world)
    row = await world.shop.refunding.quote("acme", large.id, "technical")
    assert isinstance(row, Refund)
    done = await world.shop.refunding.accept("acme", row.id, "cash")
    assert isinstance(done, Refund)
    assert (done.state, done.money) == ("settled", 7_900)
    for _ in range(2):
        await world.hear()
        world.clock.time += 60_000
    made = {one["payment_intent"]: one["amount"] for one in world.lab.world.all("refund")}
    assert made == {small.payment: 2_900, large.payment: 5_000}
    assert [(await world.of(one)).state for one in (small, large)] == ["refunded", "refunded"]
    assert (await world.stand())[1] == 200
    await world.clean()


async def test_a_dispute_of_the_first_payment_reaches_the_larger_pack(world: World) -> None:  # R-REF-6
    small, large = await larger_pack(world)
    dispute: Any = world.lab.dispute(small.payment or "")
    await world.hear()
    assert ((await world.of(large)).state, (await world.stand())[1]) == ("disputed", 200)
    world.lab.decide(dispute["id"], "lost")
    await world.hear()
    assert (await world.of(large)).state == "partly_refunded"
    assert (await world.stand())[1] == 200 + 2_000 - 2_000 * 2_900 // 7_900
    await world.clean()


async def test_a_plan_paid_with_credit_in_part_and_given_back(
    world: World,
) -> None:  # R-REF-1, R-REF-4, R-REF-5
    """The coupon is the credit; the refund is of the invoice's own payment, and the subscription ends at Stripe."""
    await world.begin("starter")
    await ok(world.ledger, "acme", c.Grant(tokens=4_900, origin="credit", unit="money"))
    ordered = await world.shop.subscribing.start(Ask(organization="acme", use_credit=True), "pro")
    assert isinstance(ordered, Purchase), ordered
    assert (ordered.amount, ordered.credit_used) == (PRO - 4_900, 4_900)
    world.lab.pay(ordered.checkout or "", VISA)
    await world.hear()
    assert await world.stand() == ("pro", 200, False)
    row = await world.shop.refunding.quote("acme", ordered.id, "unused")
    assert isinstance(row, Refund), row
    done = await world.shop.refunding.accept("acme", row.id, "cash")
    assert isinstance(done, Refund)
    assert (done.state, done.money, done.credit) == ("settled", PRO - 4_900, 4_900)
    [refund] = world.lab.world.all("refund")
    assert refund["amount"] == PRO - 4_900
    assert await world.stand() == (None, 0, False)
    await world.hear()
    await world.days(70)
    assert await world.stand() == (None, 0, False)
    assert [kind for kind, _, _ in await world.kinds()] == ["plan"], "nothing more was billed"
    await world.clean()


@pytest.mark.parametrize(("has", "pays"), [(2_899, 50), (2_850, 50), (2_849, 51)])
async def test_credit_leaves_no_less_than_stripe_takes(world: World, has: int, pays: int) -> None:  # R-REF-4
    await world.begin()
    await ok(world.ledger, "acme", c.Grant(tokens=has, origin="credit", unit="money"))
    placed = await world.buy(use_credit=True)
    assert (placed.state, placed.amount, placed.credit_used) == ("pending", pays, 2_900 - pays)
    world.lab.pay(placed.checkout or "", VISA)
    await world.hear()
    assert (await world.of(placed)).state == "delivered"
    await world.clean()


async def test_a_plan_that_credit_pays_whole_and_a_renewal_given_back(
    world: World,
) -> None:  # R-REF-1, R-REF-4
    await world.begin("starter")
    await ok(world.ledger, "acme", c.Grant(tokens=PRO, origin="credit", unit="money"))
    ordered = await world.shop.subscribing.start(Ask(organization="acme", use_credit=True), "pro")
    assert isinstance(ordered, Purchase), ordered
    world.lab.pay(ordered.checkout or "", VISA)
    await world.hear()
    assert ((await world.of(ordered)).state, await world.stand()) == ("delivered", ("pro", 200, False))
    await world.days(32)
    [renewal] = [one for one in await world.shop.checkout.history("acme") if one.kind == "renewal"]
    assert (renewal.amount, renewal.state) == (PRO, "delivered")
    row = await world.shop.refunding.quote("acme", renewal.id, "unused")
    assert isinstance(row, Refund), row
    done = await world.shop.refunding.accept("acme", row.id, "cash")
    assert isinstance(done, Refund)
    assert (done.state, done.money) == ("settled", PRO)
    assert await world.stand() == (None, 0, False)
    await world.clean()


@pytest.mark.parametrize(
    ("currency", "amount", "money"), [("JPY", 2_501, 1_251), ("USD", 2_501, 1_251), ("KWD", 25_010, 12_510)]
)
async def test_half_of_every_kind_of_currency_goes_back(
    world: World, currency: str, amount: int, money: int
) -> None:  # R-REF-5
    """Rounded once, half up; of three digits up to the step of ten that Stripe takes."""
    await world.begin()
    ordered = Purchase(
        id="c" * 32, organization="acme", created_at=world.clock.now(), kind="pack", item="pack", title="Pack",
        amount=amount, list_amount=amount, currency=currency, tokens=500, provider="stripe",
    )  # fmt: skip
    placed = await world.shop.checkout.place(ordered, (), Terms())
    assert isinstance(placed, Purchase), placed
    world.lab.pay(placed.checkout or "", VISA)
    await world.hear()
    world.clock.time += 2 * 3_600_000
    row = await world.shop.refunding.quote("acme", placed.id, "quality")
    assert isinstance(row, Refund)
    done = await world.shop.refunding.accept("acme", row.id, "cash")
    assert isinstance(done, Refund)
    assert (done.state, done.money) == ("settled", money)
    [refund] = world.lab.world.all("refund")
    assert (refund["amount"], refund["currency"]) == (money, currency.lower())
    await world.hear()
    assert (await world.of(placed)).refunded == money
    await world.clean()


@pytest.mark.parametrize("fault", ["error", "limit", "done_then_error", "done_then_silence"])
async def test_a_refund_whose_answer_is_lost_is_made_once(world: World, fault: str) -> None:  # R-REF-5
    await world.begin()
    ordered = await world.buy()
    world.lab.pay(ordered.checkout or "", VISA)
    await world.hear()
    row = await world.shop.refunding.quote("acme", ordered.id, "technical")
    assert isinstance(row, Refund)
    for _ in range(2):
        world.lab.fail(fault)  # type: ignore[arg-type]  # one of its words
    done = await world.shop.refunding.accept("acme", row.id, "cash")
    assert isinstance(done, Refund)
    assert done.state == "paying"
    for _ in range(4):
        world.clock.time += 5_000
        await world.hear()
    found = await world.ledger.rows.get(Refund, row.id, "acme")
    assert found.state == "settled"
    [refund] = world.lab.world.all("refund")
    assert refund["amount"] == ordered.amount
    assert (await world.stand())[1] == 200
    await world.clean()
