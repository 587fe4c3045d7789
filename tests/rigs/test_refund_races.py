"""Spend, hold, reset, refund and dispute in random order and at once: no token counts twice, money out within money in.

An interleaving is one purchase of one organization, a pack or the first payment of a plan, on which random moves are
made, two at a time where they may be; then everything comes to rest, and the books must agree: what the provider gave
back is within what it took, open claims and tokens set aside are gone unless a dispute is open, and the journal
verifies.

Invariants 1 to 6 of the design. R-REF-5, R-REF-6.
"""

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from tests.support.rig_store import SNAPSHOT_BYTES
from tests.support.shops import World, make_world, selling
from tests.support.stores import Engine, Store, sqlite_url
from tokentill.flows.checkout import Ask
from tokentill.ports import VendorDown, VendorRefused
from tokentill.rules import commands as c
from tokentill.rules import happenings as h
from tokentill.rules.account import Account
from tokentill.rules.claims import open_claim
from tokentill.rules.credit import available
from tokentill.rules.purchases import Purchase, next_step
from tokentill.rules.receipts import Receipt
from tokentill.rules.refund_rows import RUNNING, Refund

ENGINES: tuple[Engine, ...] = ("sqlite", "postgres")
FEW = 60
PART = 200
PARTS = 25
TOGETHER = 12
MOVES = (
    "spend",
    "spend",
    "hold",
    "hold",
    "settle",
    "release",
    "reset",
    "ask",
    "ask",
    "ask",
    "again",
    "outside",
)
RARE = ("dispute", "desk", "withdraw", "trouble")
PLANS = 0.3
"""So many of the purchases are first payments of a plan."""

PLAN_TOKENS = 200
MONEY = (("USD", 2900), ("JPY", 3000), ("KWD", 9001), ("USD", 15_000), ("USD", 1))
"""Currencies of two, no and three digits; amounts that nobody, one and no operator at all must agree to."""


class Race:
    """One organization with one purchase."""

    def __init__(self, world: World, name: str, dice: random.Random) -> None:
        self.world, self.name, self.dice = world, name, dice
        self.purchase: Purchase
        self.holds: list[str] = []
        self.rows: list[Refund] = []
        self.outside = 0
        self.state: Any = None

    async def begin(self) -> None:
        self.plan = self.dice.random() < PLANS
        if self.plan:
            await self._subscribe()
            return
        await self.world.begin(self.name)
        currency, amount = self.dice.choice(MONEY)
        ordered = self.world.order(self.name, currency=currency, amount=amount, list_amount=amount)
        placed = await self.world.place(ordered)
        paid = self.world.provider.pay(placed.checkout or "", f"card_{self.name}")
        await self.world.shop.take_in("scripted", self.world.provider.told(*paid))
        self.purchase = await self.world.purchase(placed)
        assert self.purchase.state == "delivered"

    async def _subscribe(self) -> None:
        """The purchase is the first payment of a plan."""
        await self.world.begin(self.name, plan="starter")
        ordered = await self.world.shop.subscribing.start(Ask(organization=self.name), "pro")
        assert isinstance(ordered, Purchase), ordered
        for fact in self.world.provider.pay(ordered.checkout or ""):
            await self.world.shop.take_in("scripted", self.world.provider.told(fact))
        self.purchase = await self.world.purchase(ordered)
        assert self.purchase.state == "delivered"

    async def do(self, command: c.Command) -> Any:
        return await self.world.ledger.submit(c.Envelope(self.name, command, self.world.ids.operation()))

    async def move(self, what: str) -> None:
        await getattr(self, f"_{what}")()

    async def _spend(self) -> None:
        await self.do(c.Charge(feature="generate_goal", quantity=self.dice.randrange(1, 90)))

    async def _hold(self) -> None:
        reply = await self.do(c.Reserve(feature="generate_goal", quantity=self.dice.randrange(1, 60)))
        if isinstance(reply, Receipt):
            self.holds.append(reply.operation)

    async def _settle(self) -> None:
        if self.holds:
            await self.do(c.Settle(hold=self.holds.pop(self.dice.randrange(len(self.holds)))))

    async def _release(self) -> None:
        if self.holds:
            await self.do(c.Release(hold=self.holds.pop(self.dice.randrange(len(self.holds)))))

    async def _reset(self) -> None:
        await self.do(c.Reset())

    async def _ask(self) -> None:
        reason: Any = self.dice.choice(("technical", "quality", "unused", None))
        found = await self.world.shop.refunding.quote(self.name, self.purchase.id, reason)
        if isinstance(found, Refund):
            self.rows.append(found)
            await self.accept(found)

    async def _again(self) -> None:
        if self.rows:
            await self.accept(self.dice.choice(self.rows))

    async def _withdraw(self) -> None:
        if self.rows:
            await self.world.shop.refunding.withdraw(self.name, self.dice.choice(self.rows).id)

    async def _desk(self) -> None:
        if self.rows:
            desk = self.world.shop.refund_desk
            decide = self.dice.choice((desk.approve, desk.deny))
            who = self.dice.choice(("ann", "bob"))
            await decide(self.name, self.dice.choice(self.rows).id, who, "looked at")

    async def _trouble(self) -> None:
        trouble = VendorDown("away") if self.dice.random() < 0.6 else VendorRefused("no", "No.")
        call = self.dice.choice(("refund", "refund.answer")) if isinstance(trouble, VendorDown) else "refund"
        self.world.provider.fail[call] = [trouble]

    async def accept(self, row: Refund) -> None:
        choice: Any = self.dice.choice(("cash", "cash", "cash", "credit", "bonus"))
        await self.world.shop.refunding.accept(self.name, row.id, choice)

    async def _outside(self) -> None:
        payment = self.purchase.payment or ""
        left = self.purchase.amount - self.world.provider.refunded(payment)
        if left > 0:
            part = self.dice.choice((left, self.dice.randrange(1, left + 1)))
            fact = self.world.provider.refund_outside(payment, part)
            self.outside += part
            await self.world.shop.take_in("scripted", self.world.provider.told(fact))

    async def _dispute(self) -> None:
        after = {None: "open", "open": self.dice.choice(("won", "lost"))}
        if self.state not in after:
            return
        self.state = after[self.state]
        fact = h.Disputed(
            at=1, payment=self.purchase.payment or "", dispute=f"d_{self.name}", state=self.state,
            amount=self.purchase.amount, currency=self.purchase.currency,
        )  # fmt: skip
        await self.world.shop.take_in("scripted", self.world.provider.told(fact))

    async def run(self) -> None:
        for _ in range(self.dice.randrange(3, 12)):
            names = [self.dice.choice(RARE if self.dice.random() < 0.2 else MOVES) for _ in range(2)]
            if self.dice.random() < 0.5:
                await asyncio.gather(*map(self.move, names))
            else:
                for name in names:
                    await self.move(name)

    async def rest(self) -> None:
        """Operators decide what is left, and running operations end."""
        self.world.provider.fail.clear()
        for row in await self.world.rows.find(Refund, {"organization": self.name}, limit=500):
            if row.state == "waiting":
                for actor in ("cleo", "dora"):
                    await self.world.shop.refund_desk.approve(self.name, row.id, actor, "the end")
        for hold in self.holds:
            await self.do(c.Release(hold=hold))

    async def check(self, seed: object) -> None:
        purchase = await self.world.purchase(self.purchase)
        where = (seed, self.name, self.purchase.currency, purchase)
        given = self.world.provider.refunded(purchase.payment or "")
        rows = await self.world.rows.find(Refund, {"organization": self.name}, limit=500)
        done = [row for row in rows if row.state == "settled"]
        assert not [row for row in rows if row.state in RUNNING], where
        assert given <= purchase.amount, where
        ours = sum(row.money for row in done)
        # What went back in the dashboard while ours was refused may be taken for ours: it is the same money.
        assert given - self.outside <= ours <= given, where
        assert sum(row.money + row.credit for row in done) <= purchase.amount, where
        assert next_step(purchase) is None, where
        assert open_claim(purchase) is None, where
        account = await self.world.account(self.name)
        assert available(account.state) == sum(row.credit for row in done), where
        if not self.plan:
            assert bool(account.state.aside) == (purchase.state == "disputed"), where
        own = [
            lot for lot in account.state.lots.values() if lot.reference == purchase.id and lot.unit == "token"
        ]
        if purchase.state in ("charged_back", "refunded") or any(row.money or row.credit for row in done):
            assert sum(lot.available + lot.held for lot in own if lot.origin == "pack") == 0, where
        bonus = 60 if self.plan else 150
        assert all(lot.granted == bonus for lot in own if lot.origin == "bonus"), where
        if self.plan:
            self.check_plan(purchase, account, done, where)

    def check_plan(self, purchase: Purchase, account: Account, done: list[Refund], where: object) -> None:
        """A plan that was given back is over, and so is what its payment brought; otherwise it goes on."""
        own = [
            lot
            for lot in account.state.lots.values()
            if lot.reference == purchase.id and lot.origin == "plan"
        ]
        assert sum(lot.granted for lot in own) == PLAN_TOKENS, where
        ended = any(row.ends_plan for row in done)
        assert (account.state.plan is None) == ended, where
        standing = self.world.provider.all("subscription")[purchase.subscription or ""]
        assert standing["ended"] == ended, where
        if ended:
            assert (
                sum(lot.available + lot.held for lot in account.state.lots.values() if lot.origin == "plan")
                == 0
            ), where


async def races(engine: Engine, url: str, folder: Path, seed: int, count: int) -> None:
    store = Store(engine, url, snapshot_bytes_min=SNAPSHOT_BYTES)
    catalog = selling()
    world = await make_world(
        store, folder, catalog=replace(catalog, refunds=replace(catalog.refunds, plans=True))
    )
    for first in range(0, count, TOGETHER):
        batch = [
            Race(world, f"org_{nth}", random.Random(f"{seed} {engine} {nth}"))
            for nth in range(first, min(first + TOGETHER, count))
        ]
        for race in batch:
            await race.begin()
        await asyncio.gather(*(race.run() for race in batch))
        for race in batch:
            await race.rest()
        for _ in range(4):
            await world.later(61_000)
        for race in batch:
            await race.check(seed)
    await world.clean()
    await world.shop.close()
    await store.close()


@pytest.mark.parametrize("engine", ENGINES)
async def test_random_interleavings(
    engine: Engine, tmp_path: Path, run_seed: int, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue("postgres_url") if engine == "postgres" else sqlite_url(tmp_path)
    await races(engine, url, tmp_path, run_seed, FEW)


@pytest.mark.nightly
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("engine", ENGINES)
async def test_ten_thousand_random_interleavings(
    engine: Engine, part: int, tmp_path: Path, run_seed: int, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue("postgres_url") if engine == "postgres" else sqlite_url(tmp_path)
    await races(engine, url, tmp_path, run_seed + part, PART)
