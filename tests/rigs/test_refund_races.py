"""Spend, hold, reset, refund and dispute in random order and at once: no token counts twice, money out within money in.

An interleaving is one purchase of one organization, a pack or the first payment of a plan, on which random moves are
made, two at a time where they may be; a pack may be turned into larger ones, before and meanwhile. Then everything comes
to rest, and the books must agree: what the provider gave back of each payment is within what it took, open claims and
tokens set aside are gone unless a dispute is open, and the journal verifies.

Invariants 1 to 6 of the design. R-REF-4, R-REF-5, R-REF-6.
"""

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from tests.support.larger import with_third
from tests.support.rig_plan_plants import KEEPS, plant_in
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
from tokentill.rules.legs import legs
from tokentill.rules.purchases import Purchase, next_step
from tokentill.rules.receipts import Receipt
from tokentill.rules.refund_rows import RUNNING, Refund

ENGINES: tuple[Engine, ...] = ("sqlite", "postgres")
FEW = 60
PART = 200
PARTS = 50
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
RARE = ("dispute", "desk", "withdraw", "trouble", "refuse", "upgrade")
PLANS = 0.3
"""So many of the purchases are first payments of a plan."""

LARGER = 0.5
"""So many of the packs that can be are larger ones from the start, paid by the difference, once or twice."""

PLAN_TOKENS = 200
MONEY = (("USD", 2900), ("JPY", 3000), ("KWD", 9001), ("USD", 15_000), ("USD", 1))
"""Currencies of two, no and three digits; amounts that nobody, one and no operator at all must agree to."""


class Race:
    """One organization with one purchase."""

    def __init__(self, world: World, name: str, dice: random.Random) -> None:
        self.world, self.name, self.dice = world, name, dice
        self.plan = False
        self.disputed = ""
        self.cards = 0
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
        await self._paid(placed)
        if currency == self.world.ledger.catalog.currency and self.dice.random() < LARGER:
            for _ in range(self.dice.randrange(1, 3)):
                await self._upgrade(sure=True)
            if self.dice.random() < 0.3:
                await self._refuse()

    async def _paid(self, placed: Purchase) -> None:
        self.cards += 1
        paid = self.world.provider.pay(placed.checkout or "", f"card_{self.name}_{self.cards}")
        if paid:
            await self.world.shop.take_in("scripted", self.world.provider.told(*paid))

    async def bought(self) -> list[Purchase]:
        """What came of all orders, in the order in which it was paid."""
        found = [one for one in await self.world.purchases(self.name) if one.delivered_at is not None]
        return sorted(found, key=lambda one: (one.paid_at or 0, len(one.earlier)))

    async def purchase(self) -> Purchase:
        """What can be asked of: the largest pack by now."""
        return next(one for one in reversed(await self.bought()) if one.replaced_by is None)

    async def _subscribe(self) -> None:
        """The purchase is the first payment of a plan."""
        await self.world.begin(self.name, plan="starter")
        ordered = await self.world.shop.subscribing.start(Ask(organization=self.name), "pro")
        assert isinstance(ordered, Purchase), ordered
        for fact in self.world.provider.pay(ordered.checkout or ""):
            await self.world.shop.take_in("scripted", self.world.provider.told(fact))

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
        found = await self.world.shop.refunding.quote(self.name, (await self.purchase()).id, reason)
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

    async def _refuse(self) -> None:
        """One of the payments can be given back no more, or can be again."""
        one = self.dice.choice(await self.bought())
        if self.world.provider.refuse.pop(one.id, None) is None:
            self.world.provider.refuse[one.id] = "too_old"

    async def _upgrade(self, *, sure: bool = False) -> None:
        """Turn the pack into a larger one; the difference is paid now, or at rest, or never."""
        refunding = self.world.shop.refunding
        found = await refunding.quote(self.name, (await self.purchase()).id, None)
        shown = [] if not isinstance(found, Refund) else found.quote.options
        items = [one.item for one in shown if one.choice == "upgrade"]
        if not isinstance(found, Refund) or not items:
            return
        row = await refunding.accept(self.name, found.id, "upgrade", self.dice.choice(items))
        if isinstance(row, Refund) and row.upgrade is not None and (sure or self.dice.random() < 0.6):
            await self._pay_for(row.upgrade)

    async def _pay_for(self, number: str) -> None:
        larger = await self.world.rows.get(Purchase, number, self.name)
        if larger is not None and larger.checkout is not None:
            await self._paid(larger)

    async def accept(self, row: Refund) -> None:
        choice: Any = self.dice.choice(("cash", "cash", "cash", "credit", "bonus"))
        await self.world.shop.refunding.accept(self.name, row.id, choice)

    async def _outside(self) -> None:
        one = self.dice.choice(await self.bought())
        left = one.amount - self.world.provider.refunded(one.payment or "")
        if left > 0:
            part = self.dice.choice((left, self.dice.randrange(1, left + 1)))
            fact = self.world.provider.refund_outside(one.payment or "", part)
            self.outside += part
            await self.world.shop.take_in("scripted", self.world.provider.told(fact))

    async def _dispute(self) -> None:
        after = {None: "open", "open": self.dice.choice(("won", "lost"))}
        if self.state not in after:
            return
        self.state = after[self.state]
        bought = await self.bought()
        self.disputed = self.disputed or self.dice.choice(bought).id
        one = next(one for one in bought if one.id == self.disputed)
        fact = h.Disputed(
            at=1, payment=one.payment or "", dispute=f"d_{self.name}", state=self.state, amount=one.amount,
            currency=one.currency,
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
        """The provider does what it is asked, and running operations end."""
        self.world.provider.fail.clear()
        for one in await self.bought():
            self.world.provider.refuse.pop(one.id, None)
        for hold in self.holds:
            await self.do(c.Release(hold=hold))

    async def decide(self) -> None:
        """Operators decide what waits for them, also where a part was just refused; larger packs are paid or left."""
        shop = self.world.shop
        for row in await self.world.rows.find(Refund, {"organization": self.name}, limit=500):
            if row.state == "waiting":
                for actor in ("cleo", "dora") * 2:  # a provider may refuse the rest in between
                    await shop.refund_desk.approve(self.name, row.id, actor, "the end")
        for row in await self.world.rows.find(Refund, {"organization": self.name}, limit=500):
            if row.state == "buying" and self.dice.random() < 0.5:
                await self._pay_for(row.upgrade or "")
            elif row.state == "buying":
                await shop.refunding.withdraw(self.name, row.id)

    async def check(self, seed: object) -> None:
        bought = {one.id: one for one in await self.bought()}
        heads = [one for one in bought.values() if one.replaced_by is None]
        where = (seed, self.name, bought)
        rows = await self.world.rows.find(Refund, {"organization": self.name}, limit=500)
        done = [row for row in rows if row.state == "settled"]
        assert not [row for row in rows if row.state in RUNNING], (where, rows)
        for one in bought.values():
            assert self.world.provider.refunded(one.payment or "") <= one.amount, where
            assert next_step(one) is None, where
            assert open_claim(one) is None, where
        given = sum(self.world.provider.refunded(one.payment or "") for one in bought.values())
        ours = sum(row.money for row in done)
        # What went back in the dashboard while ours was refused may be taken for ours: it is the same money.
        assert given - self.outside <= ours <= given, where
        assert ours + sum(row.credit for row in done) <= sum(one.amount for one in bought.values()), where
        account = await self.world.account(self.name)
        assert available(account.state) == sum(row.credit for row in done), where
        if not self.plan:
            assert bool(account.state.aside) == any(one.state == "disputed" for one in heads), where
        bonuses = {60} if self.plan else {0, *(one.tokens * 30 // 100 for one in bought.values())}
        for head in heads:
            chain = [bought[leg.purchase] for leg in legs(head)]
            assert [one.replaced_by for one in chain[1:]] == [one.id for one in chain[:-1]], where
            self.check_tokens(chain, account, [row for row in done if row.purchase == head.id], where)
        own = [
            lot for lot in account.state.lots.values() if lot.reference in bought and lot.origin == "bonus"
        ]
        assert all(lot.granted in bonuses for lot in own), where
        if self.plan:
            self.check_plan(heads[0], account, done, where)

    def check_tokens(
        self, chain: list[Purchase], account: Account, done: list[Refund], where: object
    ) -> None:
        """Of a pack and those before it, newest first: nothing is left of one that went back, and nothing came twice."""
        lots = [
            lot
            for lot in account.state.lots.values()
            if lot.reference in {one.id for one in chain} and lot.origin == "pack"
        ]
        head = chain[0]
        whole = [row for row in done if (row.money or row.credit) and row.ends != "settled"]
        if head.state in ("charged_back", "refunded") or whole:
            assert sum(lot.available + lot.held for lot in lots) == 0, where
        if len(chain) > 1:
            brought = sum(lot.granted for lot in lots if lot.reference == head.id)
            assert brought + (head.carried or 0) == head.tokens, where
            if not head.taken and not head.accounted:
                kept = sum(lot.granted - lot.revoked for lot in lots if lot.reference != head.id)
                assert kept == head.carried, where
                assert sum(lot.spent + lot.available for lot in lots) == head.tokens, where

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


async def races(engine: Engine, url: str, folder: Path, seed: int, count: int, plant: str = "") -> None:
    store = Store(engine, url, snapshot_bytes_min=SNAPSHOT_BYTES)
    catalog = with_third(selling())
    world = await make_world(
        store, folder, catalog=replace(catalog, refunds=replace(catalog.refunds, plans=True))
    )
    plant_in(world, plant)
    try:
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
                for race in batch:
                    await race.decide()
                await world.later(61_000)
            for race in batch:
                await race.check(seed)
        await world.clean()
    finally:
        await world.shop.close()
        await store.close()
    print(f"seed {seed}: {engine}, {count} interleavings")


@pytest.mark.parametrize("engine", ENGINES)
async def test_random_interleavings(
    engine: Engine, tmp_path: Path, run_seed: int, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue("postgres_url") if engine == "postgres" else sqlite_url(tmp_path)
    await races(engine, url, tmp_path, run_seed, FEW)


async def test_a_refund_that_leaves_the_tokens_is_caught(tmp_path: Path, run_seed: int) -> None:
    with pytest.raises(AssertionError):
        await races("sqlite", sqlite_url(tmp_path), tmp_path, run_seed, FEW, KEEPS)


@pytest.mark.nightly
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("engine", ENGINES)
async def test_ten_thousand_random_interleavings(
    engine: Engine, part: int, tmp_path: Path, run_seed: int, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue("postgres_url") if engine == "postgres" else sqlite_url(tmp_path)
    await races(engine, url, tmp_path, run_seed + part, PART)
