"""A year of S1's example customers on a simulated clock, the figures worked out by hand (R-PLAN-4, R-PACK-1, R-LIC-1).

Preset `analysis`: Starter $39.99 for 50 tokens every 30 days, packs 25/$25, 50/$45, 100/$80. A year is 12 periods.
"""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support.desk import SECRET, preset, without_limits
from tests.support.scripted import Scripted
from tests.support.shops import World
from tests.support.stores import Store, ok
from tokentill.flows.shop import Ask, open_shop
from tokentill.flows.testclock import Moved, TestClock, tell
from tokentill.ports import Inbound, Paying
from tokentill.rules import commands as c
from tokentill.rules.balance import Balance, balance
from tokentill.rules.catalog import DAY_MS
from tokentill.rules.purchases import Purchase
from tokentill.rules.refusals import Code, Refusal
from tokentill.vendors.embedded.provider import Embedded

GOOD, ONCE, DECLINED = "4242424242424242", "4000000000000341", "4000000000000002"
FEATURE = "suite_analyzer"
PERIOD = 30 * DAY_MS


class Year(World):
    """One organization on a clock of its own."""

    def __init__(self, store: Store, ledger: Any) -> None:
        embedded: Any = Embedded(ledger.rows, SECRET, store.clock, lambda: "http://till.test")
        super().__init__(store, ledger, embedded)
        self.embedded: Embedded = embedded
        self.clockwork = TestClock(ledger, embedded, self.take, self.ids)
        self.start = store.clock.now()

    async def take(self, provider: str, inbound: Inbound) -> None:
        event = await self.shop.webhooks.receive(provider, inbound)
        assert event is not None
        await self.shop.webhooks.process(event)

    async def deliver(self, paying: Paying) -> None:
        await tell(self.embedded, paying, self.take)

    async def pay(self, purchase: Purchase | Refusal, card: str = GOOD) -> Purchase:
        assert isinstance(purchase, Purchase), purchase
        await self.deliver(await self.embedded.pay(purchase.checkout or "", card))
        return await self.purchase(purchase)

    async def subscribe(self, plan: str = "starter", card: str = GOOD) -> Purchase:
        await ok(self.ledger, "acme", c.Open(plan=None, simulated=True))
        return await self.pay(await self.shop.subscribing.start(Ask(organization="acme"), plan), card)

    async def buy(self, pack: str) -> Purchase:
        bought = await self.pay(await self.shop.checkout.buy_pack(Ask(organization="acme"), pack))
        assert bought.state == "delivered"
        return bought

    async def use(self, tokens: int) -> int:
        """Use so many analyses; how many were refused."""
        refused = 0
        for _ in range(tokens):
            reply = await self.ledger.submit(
                c.Envelope("acme", c.Charge(feature=FEATURE, user="u"), self.ids.operation())
            )
            refused += isinstance(reply, Refusal)
        return refused

    async def advance(self, days: int) -> Moved:
        account = await self.account("acme")
        moved = await self.clockwork.advance("acme", account.state.time + days * DAY_MS)
        assert isinstance(moved, Moved), moved
        await self.settle()
        return moved

    async def stand(self) -> Balance:
        return balance(await self.account("acme"), self.ledger.catalog)

    async def paid(self) -> int:
        """Everything that was paid, in cents."""
        return sum(row.amount for row in await self.purchases("acme") if row.paid_at is not None)

    async def off(self) -> list[str]:
        page = await self.ledger.journal("acme", None, 500)
        assert page is not None
        return [
            getattr(row.entry, "standing", "")
            for row in reversed(page.rows)
            if hasattr(row.entry, "standing")
        ]


@pytest.fixture(params=["memory", "postgres"])
async def year(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Year]:
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else ":memory:"
    store = Store(request.param, url)
    made = Year(store, await store.open(catalog=without_limits(preset("analysis"))))
    yield made
    await made.clean()
    await made.shop.close()
    await store.close()


class Row(NamedTuple):
    """Wait so many days, do these deeds, and this is how it stands then; every figure by hand."""

    days: int
    deeds: str
    tried: int
    """Invoices that were collected, or were tried in vain, while waiting."""
    paid: int
    """Cents since the beginning of the year."""
    plan: int
    """Tokens left of the plan's 50."""
    packs: int
    """Tokens left of packs, set aside or not."""
    standing: str = "active"


# 50 a period, 55 in two of them: 12 x $39.99 + 2 x $25 = $529.88. Of 50 pack tokens 10 are used, 40 stay.
STEVE = [
    Row(0, "use 50", 0, 3_999, 0, 0),
    Row(30, "use 50", 1, 7_998, 0, 0),
    Row(30, "use 50", 1, 11_997, 0, 0),
    Row(30, "buy 25, use 55", 1, 18_496, 0, 20),
    Row(30, "use 50", 1, 22_495, 0, 20),
    Row(30, "use 50", 1, 26_494, 0, 20),
    Row(30, "use 50", 1, 30_493, 0, 20),
    Row(30, "use 50", 1, 34_492, 0, 20),
    Row(30, "buy 25, use 55", 1, 40_991, 0, 40),
    Row(30, "use 50", 1, 44_990, 0, 40),
    Row(30, "use 50", 1, 48_989, 0, 40),
    Row(30, "use 50", 1, 52_988, 0, 40),
]
# 30 in 11 periods and 200 in one: 12 x $39.99 + 2 x $80 = $639.88, $560.00 less than 12 x $99.99. What is left of
# the plan lapses; a third pack would be one more than two in 24 hours, on the account's own clock (R-PACK-4).
SAM = [
    Row(0, "use 30", 0, 3_999, 20, 0),
    Row(30, "use 30", 1, 7_998, 20, 0),
    Row(30, "use 30", 1, 11_997, 20, 0),
    Row(30, "use 30", 1, 15_996, 20, 0),
    Row(30, "use 30", 1, 19_995, 20, 0),
    Row(30, "use 30", 1, 23_994, 20, 0),
    Row(30, "use 30", 1, 27_993, 20, 0),
    Row(30, "use 30", 1, 31_992, 20, 0),
    Row(30, "use 30", 1, 35_991, 20, 0),
    Row(30, "use 30", 1, 39_990, 20, 0),
    Row(30, "buy 100, buy 100, limit 25, use 200", 1, 59_989, 0, 50),
    Row(30, "use 30", 1, 63_988, 20, 50),
]
# 80 in one period: 30 beyond the plan, so the pack of 50 for $45: 12 x $39.99 + $45 = $524.88.
PAULA = [
    Row(0, "use 20", 0, 3_999, 30, 0),
    Row(30, "use 20", 1, 7_998, 30, 0),
    Row(30, "use 20", 1, 11_997, 30, 0),
    Row(30, "use 20", 1, 15_996, 30, 0),
    Row(30, "use 20", 1, 19_995, 30, 0),
    Row(30, "use 50, refused 30, buy 50, use 30", 1, 28_494, 0, 20),
    Row(30, "use 20", 1, 32_493, 30, 20),
    Row(30, "use 20", 1, 36_492, 30, 20),
    Row(30, "use 20", 1, 40_491, 30, 20),
    Row(30, "use 20", 1, 44_490, 30, 20),
    Row(30, "use 20", 1, 48_489, 30, 20),
    Row(30, "use 20", 1, 52_488, 30, 20),
]
# Steve with a card that is declined twice. In the third period it is replaced on day 4, after the try of day 3; in the
# eighth on day 16, after the tries of days 3, 5, 7 and 14, when sync is off too. Whatever is not his plan's is kept all
# the while; each time the period goes on from the day on which its invoice was due. All twelve are paid in the end.
UNLUCKY_STEVE = [
    Row(0, "buy 25, use 40", 0, 6_499, 10, 25),
    Row(30, "use 52, card declined", 1, 10_498, 0, 23),
    Row(30, "refused 1", 1, 10_498, 0, 23, "past_due"),
    Row(1, "refused 1", 0, 10_498, 0, 23, "grace"),
    Row(3, "refused 1, card good, use 50", 1, 14_497, 0, 23),
    Row(26, "use 10", 1, 18_496, 40, 23),
    Row(30, "use 50", 1, 22_495, 0, 23),
    Row(30, "use 51", 1, 26_494, 0, 22),
    Row(30, "use 50, card declined", 1, 30_493, 0, 22),
    Row(30, "refused 1", 1, 30_493, 0, 22, "past_due"),
    Row(14, "refused 1", 4, 30_493, 0, 22, "grace"),
    Row(1, "refused 1", 0, 30_493, 0, 22, "offline"),
    Row(1, "card good, use 60", 0, 34_492, 0, 12),
    Row(14, "use 50", 1, 38_491, 0, 12),
    Row(30, "use 50", 1, 42_490, 0, 12),
    Row(30, "use 50", 1, 46_489, 0, 12),
    Row(30, "use 62", 1, 50_488, 0, 0),
]


async def do(year: Year, deed: str, first: Purchase) -> None:
    """One deed of a row."""
    verb, _, what = deed.partition(" ")
    match verb:
        case "use":
            assert await year.use(int(what)) == 0
        case "refused":
            assert await year.use(int(what)) == int(what)
        case "buy":
            await year.buy(f"token_pack_{what}")
        case "limit":
            over = await year.shop.checkout.buy_pack(Ask(organization="acme"), f"token_pack_{what}")
            assert isinstance(over, Refusal)
            assert over.code == Code.PACK_LIMIT
        case _:
            card = {"declined": DECLINED, "good": GOOD}[what]
            now = (await year.account("acme")).state.time
            await year.deliver(await year.embedded.change_card(first.subscription or "", card, now))


@pytest.mark.parametrize(
    ("rows", "in_all"),
    [
        (STEVE, 12 * 3999 + 2 * 2500), (SAM, 12 * 9999 - 56_000), (PAULA, 12 * 3999 + 4500),
        (UNLUCKY_STEVE, 12 * 3999 + 2500),
    ],
    ids=["steady steve", "seasonal sam", "project-based paula", "steady steve, whose card is declined"],
)  # fmt: skip
async def test_a_year_of_an_example_customer(year: Year, rows: list[Row], in_all: int) -> None:
    """R-PACK-1, R-PLAN-4, R-LIC-1, R-LIC-2, R-LIC-3: resets, packs, failures and restores, figure by figure."""
    first = await year.subscribe()
    for number, row in enumerate(rows, 1):
        tried = (await year.advance(row.days)).invoices if row.days else 0
        for deed in row.deeds.split(", "):
            await do(year, deed, first)
        account, stand = await year.account("acme"), await year.stand()
        lots = account.state.lots.values()
        packs = sum(lot.available for lot in lots if lot.origin == "pack")
        free, aside = (row.plan + row.packs, 0) if row.standing == "active" else (0, row.packs)
        assert (tried, await year.paid(), stand.remaining, stand.set_aside, packs, stand.standing) == (
            row.tried, row.paid, free, aside, row.packs, row.standing,
        ), (number, row)  # fmt: skip
    assert rows[-1].paid == in_all
    assert sum(row.days for row in rows) == 330, "the twelfth period"


async def test_every_period_begins_where_the_last_ended(year: Year) -> None:  # R-PLAN-4
    await year.subscribe()
    first = await year.stand()
    assert first.period_start is not None
    for number in range(1, 13):
        await year.advance(30)
        stand = await year.stand()
        assert (stand.period_start, stand.reset_at, stand.remaining, stand.renewal_due) == (
            first.period_start + number * PERIOD, first.period_start + (number + 1) * PERIOD, 50, False,
        )  # fmt: skip


async def test_a_payment_that_fails_sets_aside_and_another_card_restores(year: Year) -> None:
    """R-LIC-1, R-LIC-2, R-LIC-3: AI off at once, sync off on day 15, everything back when the money comes."""
    first = await year.subscribe(card=ONCE)
    await year.buy("token_pack_25")
    await year.use(10)
    await year.advance(30)
    stand = await year.stand()
    assert (stand.standing, stand.remaining, stand.set_aside) == ("past_due", 0, 25)
    refused = await year.ledger.submit(
        c.Envelope("acme", c.Charge(feature=FEATURE, user="u"), year.ids.operation())
    )
    assert isinstance(refused, Refusal)
    assert (refused.code, refused.message) == (Code.LICENCE, "Update payment to restore AI")
    await year.advance(1)
    assert (await year.stand()).standing == "grace"
    now = (await year.account("acme")).state.time
    await year.deliver(await year.embedded.change_card(first.subscription or "", GOOD, now))
    stand = await year.stand()
    assert (stand.standing, stand.remaining, stand.set_aside) == ("active", 75, 0)
    assert await year.paid() == 2 * 3999 + 2500


async def test_a_debt_that_is_never_paid_ends_offline_with_the_packs_kept(
    year: Year,
) -> None:  # R-LIC-2, R-LIC-3
    await year.subscribe(card=ONCE)
    await year.buy("token_pack_25")
    await year.advance(30 + 15)
    stand = await year.stand()
    assert (stand.standing, stand.remaining, stand.set_aside) == ("offline", 0, 25)
    await year.advance(
        7
    )  # the last try failed on day 21: the subscription is over, and nothing is owed for it
    stand = await year.stand()
    assert (stand.standing, stand.plan, stand.remaining, stand.set_aside) == ("active", None, 25, 0)
    assert await year.use(1) == 1  # packs need a plan in this catalog


async def test_an_upgrade_pays_the_difference_and_starts_a_full_period(
    year: Year,
) -> None:  # R-PLAN-4, readings
    """After 10 of 30 days: $99.99 less two thirds of $39.99 ($26.66) is $73.33, and 150 new tokens at once."""
    await year.subscribe()
    await year.use(50)
    await year.advance(10)
    upgraded = await year.shop.subscribing.start(Ask(organization="acme"), "professional")
    assert isinstance(upgraded, Purchase), upgraded
    await year.settle()
    stand = await year.stand()
    assert (upgraded.amount, stand.plan, stand.remaining) == (7333, "professional", 150)
    await year.advance(30)
    assert await year.paid() == 3999 + 7333 + 9999
    assert (await year.stand()).remaining == 150


async def test_a_pack_a_month_is_no_pack_above_the_limit(year: Year) -> None:  # R-PACK-4, R-PACK-11
    """Limits and ceilings follow the account's own clock: the whole year passes in seconds."""
    await year.subscribe()
    for _ in range(6):
        await year.buy("token_pack_25")
        await year.advance(30)
    paid = await year.paid()
    await year.buy("token_pack_25")
    payer = await year.shop.reader.saved_payer("acme")
    assert payer is not None
    await year.shop.topups.set("acme", threshold=500, pack="token_pack_25", ceiling=2500)
    await year.settle()  # one more, which is the second of the day and all that the month may cost
    row = await year.shop.topups.get("acme")
    assert row is not None
    assert (row.spent, row.month) == (2500, "2026-06")
    over = await year.shop.checkout.buy_pack(Ask(organization="acme"), "token_pack_25")
    assert isinstance(over, Refusal)
    assert over.code == Code.PACK_LIMIT
    assert await year.paid() == paid + 5000


async def test_a_simulated_organization_never_pays_real_money(year: Year, tmp_path: Path) -> None:  # R-PLAT-1
    """Another provider is set up beside the embedded one, and is the first: the default of everybody else."""
    real = Scripted(str(tmp_path / "real.db"), year.clock.now)
    shop = open_shop(replace(year.shop.means, payments={"scripted": real, "embedded": year.embedded}))
    await ok(year.ledger, "acme", c.Open(plan="starter", simulated=True))
    await ok(year.ledger, "other", c.Open(plan="starter"))
    own = await shop.checkout.buy_pack(Ask(organization="acme"), "token_pack_25")
    assert isinstance(own, Purchase)
    assert own.provider == "embedded"
    refused = await shop.checkout.buy_pack(Ask(organization="acme", provider="scripted"), "token_pack_25")
    assert isinstance(refused, Refusal)
    assert refused.code == Code.UNKNOWN_PROVIDER
    theirs = await shop.checkout.buy_pack(Ask(organization="other"), "token_pack_25")
    assert isinstance(theirs, Purchase)
    assert theirs.provider == "scripted"
    await real.close()


async def test_a_plan_that_is_tried_in_real_time_is_billed_there(year: Year) -> None:  # R-PLAT-1, R-PLAN-4
    """Three periods, by the clerk alone; a card that pays once fails then, and the subscription ends by itself."""
    await ok(year.ledger, "acme", c.Open(plan=None))
    await year.pay(await year.shop.subscribing.start(Ask(organization="acme"), "starter"))
    for _ in range(3):
        await year.use(5)
        await year.later(PERIOD + 1_000)
        assert ((await year.stand()).remaining, (await year.stand()).standing) == (50, "active")
    assert await year.paid() == 4 * 3999
    await ok(year.ledger, "other", c.Open(plan=None))
    other = await year.shop.subscribing.start(Ask(organization="other"), "starter")
    await year.pay(other, ONCE)
    await year.later(PERIOD + 1_000)
    assert (await year.account("other")).state.failed_at is not None
    for _ in range(25):
        await year.later(DAY_MS)
    state = (await year.account("other")).state
    assert (state.failed_at, state.plan) == (None, None)


async def test_a_clock_on_real_time_cannot_be_moved(year: Year) -> None:  # R-PLAN-4
    await ok(year.ledger, "real", c.Open(plan=None))
    refused = await year.clockwork.advance("real", year.start + DAY_MS)
    assert isinstance(refused, Refusal)
    assert refused.code == Code.NOT_POSSIBLE
    unknown = await year.clockwork.advance("nobody", year.start + DAY_MS)
    assert isinstance(unknown, Refusal)
    assert unknown.code == Code.UNKNOWN_ORGANIZATION
