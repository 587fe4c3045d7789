"""A shop in a storm, from one seed: orders, payments, events lost, doubled and shuffled, providers away, processes gone.

Whatever happens, in the end the money that was taken and the tokens that were brought agree, purchase by purchase.
R-PACK-3, R-PACK-4, R-PACK-8, R-REF-6; invariants 2 and 5 of the design.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.support.scripted import DOWN
from tests.support.shops import World
from tests.support.tripwire import Crash, Wire
from tokentill.flows.checkout import Ask
from tokentill.flows.codes import Batch
from tokentill.flows.shop import Shop
from tokentill.ports import Inbound
from tokentill.rules import happenings as h
from tokentill.rules.purchases import Purchase, next_step
from tokentill.rules.rows import Payer

PACKS = {"token_pack_500": 500, "token_pack_2000": 2_000}
CALLS = ("checkout", "charge_saved", "charge_saved.answer", "look", "close_checkout", "happenings")
ORGANIZATIONS = 6
DEEDS = 120
HOUR = 3_600_000


class Storm:
    """What customers, banks, networks and machines do, by chance."""

    def __init__(self, world: World, dice: random.Random) -> None:
        self.world, self.dice = world, dice
        self.names = [f"org_{nth}" for nth in range(ORGANIZATIONS)]
        self.underway: list[Inbound] = []
        self.codes: list[str] = []
        self.done: list[str] = []

    def shop(self) -> tuple[Shop, bool]:
        """A process; one in four dies after a few more calls."""
        world = self.world
        if self.dice.randrange(4):
            return world.shop, False
        wire = Wire(self.dice.randrange(1, 40))
        shop = wire.shop(world)
        return shop, True

    def sent(self, *facts: h.AnyHappening) -> None:
        self.underway += [self.world.provider.told(fact) for fact in facts]

    async def order(self, shop: Shop) -> None:
        name = self.dice.choice(self.names)
        payer = f"scripted:{name}:card" if self.dice.randrange(3) == 0 else None
        key = f"k{self.dice.randrange(40)}"
        await shop.checkout.buy_pack(Ask(organization=name, key=key, payer=payer), self.dice.choice([*PACKS]))

    async def pay(self, shop: Shop) -> None:
        """Whoever was told where to pay may do so; one webhook in five is never sent."""
        told = [
            row for row in await self.world.purchases(self.dice.choice(self.names)) if row.url is not None
        ]
        if told:
            facts = self.world.provider.pay(self.dice.choice(told).checkout or "")
            if self.dice.randrange(5):
                self.sent(*facts)

    async def decline(self, shop: Shop) -> None:
        sessions = list(self.world.provider.all("session").values())
        if sessions:
            one = self.dice.choice(sessions)
            attempt = f"try_{self.dice.randrange(99)}"
            self.sent(
                h.Declined(at=1, attempt=attempt, purchase=one["purchase"], organization=one["organization"])
            )

    async def tell(self, shop: Shop) -> None:
        for _ in range(min(3, len(self.underway))):
            one = self.dice.choice(self.underway)
            if self.dice.randrange(3):
                self.underway.remove(one)
            try:
                await shop.receive("scripted", one)
            except Crash:
                self.underway.append(one)
                raise
        await shop.clerk.once()

    async def cancel(self, shop: Shop) -> None:
        found = await self.world.purchases(self.dice.choice(self.names))
        if found:
            one = self.dice.choice(found)
            await shop.checkout.cancel(one.organization, one.id)

    async def dispute(self, shop: Shop) -> None:
        payments = list(self.world.provider.all("payment"))
        if payments:
            ident = self.dice.choice(payments)
            fields: dict[str, Any] = {
                "dispute": f"d_{ident}",
                "amount": 1,
                "currency": "USD",
                "payment": ident,
            }
            self.sent(h.Disputed(at=1, state="open", **fields))
            # Its outcome follows from its name, for a dispute ends once.
            self.sent(h.Disputed(at=2, state="lost" if len(ident) % 2 else "won", **fields))

    async def redeem(self, shop: Shop) -> None:
        if not self.codes:
            made = await self.world.shop.codes.create(Batch(name="storm", tokens=7, count=3))
            assert isinstance(made, list)
            self.codes = made
        await shop.codes.redeem(Ask(organization=self.dice.choice(self.names)), self.dice.choice(self.codes))

    async def away(self, shop: Shop) -> None:
        self.world.provider.fail.setdefault(self.dice.choice(CALLS), []).append(DOWN)

    async def wait(self, shop: Shop) -> None:
        self.world.clock.time += self.dice.choice([1_000, 15_000, 200_000, 2 * HOUR, 7 * HOUR])
        await shop.clerk.once()

    async def run(self) -> None:
        deeds: list[Callable[[Shop], Awaitable[None]]] = [
            self.order, self.order, self.order, self.pay, self.pay, self.tell, self.tell, self.decline, self.cancel,
            self.dispute, self.redeem, self.away, self.wait,
        ]  # fmt: skip
        for _ in range(DEEDS):
            deed = self.dice.choice(deeds)
            shop, doomed = self.shop()
            self.done.append(f"{deed.__name__}{' and die' if doomed else ''}")
            try:
                await deed(shop)
                await shop.clerk.stop()
            except Crash:
                await shop.clerk.stop()
        await self.calm()

    async def calm(self) -> None:
        """Everything that was held back arrives, and time passes."""
        self.world.provider.fail.clear()
        shop = self.world.restart()
        for one in self.underway:
            await shop.receive("scripted", one)
        for _ in range(30):
            await self.world.later(2 * HOUR)


@pytest.mark.parametrize("part", range(4))
async def test_money_and_tokens_agree_after_a_storm(shop_world: World, run_seed: int, part: int) -> None:
    world = shop_world
    storm = Storm(world, random.Random(f"{run_seed} {part}"))
    await world.begin(*storm.names)
    for name in storm.names:
        row = Payer(
            id=f"scripted:{name}:card",
            organization=name,
            provider="scripted",
            method=f"m_{name}",
            saved="pm",
            used_at=1,
        )
        await world.rows.add(row)
    await storm.run()
    where = (run_seed, part, storm.done)
    delivered = 0
    for name in storm.names:
        expected = 200
        for purchase in await world.purchases(name):
            taken = world.provider.money(purchase.id)
            ended(purchase, taken, where)
            if purchase.paid_at is not None and purchase.state != "charged_back":
                expected += purchase.tokens
            delivered += purchase.delivered_at is not None
        period = (await world.account(name)).state.period
        assert period is not None
        assert await world.balance(name) == expected, where
    assert delivered > 0, where
    await world.clean()


def ended(purchase: Purchase, taken: int, where: object) -> None:
    """The purchase is at rest, and what it is worth was paid once or not at all."""
    assert next_step(purchase) is None, where
    assert purchase.due_at is None, (purchase, where)
    assert purchase.done.count("deliver") == (1 if purchase.paid_at is not None else 0), where
    if purchase.kind == "code":
        assert taken == 0
        return
    assert taken in (0, purchase.amount), (purchase, where)
    assert (taken > 0) == (purchase.paid_at is not None), (purchase, where)
