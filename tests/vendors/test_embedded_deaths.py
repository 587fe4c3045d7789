"""A process that dies between what the embedded provider stores and what it tells (R-PLAT-1, R-PACK-3)."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from tests.support.stores import SECRET, ok
from tests.support.tripwire import Crash, Wire
from tests.vendors.test_embedded import GOOD, ONCE, Trying, world
from tokentill.flows.checkout import Ask
from tokentill.flows.shop import Shop
from tokentill.flows.testclock import Billing, tell
from tokentill.rules import commands as c
from tokentill.rules.catalog import DAY_MS
from tokentill.rules.purchases import Purchase
from tokentill.rules.rows import EmbeddedPayment
from tokentill.vendors.embedded.provider import Embedded

__all__ = ["world"]

DEATHS = ("", "before rows.add", "after rows.add")
"""Not at all; once it is stored at the provider, before it is an event; once it is an event, before it is taken in."""


class Process:
    """A process with a wire across all that it stores."""

    def __init__(self, world: Trying, death: str) -> None:
        self.wire = Wire(1 if death else 0, only=death)
        rows = self.wire.across(world.rows, "rows")
        self.provider = Embedded(rows, SECRET, world.clock, lambda: "http://till.test")
        ledger = self.wire.across(world.ledger, "ledger")
        self.shop: Shop = world.open(rows=rows, ledger=ledger, provider=self.provider)
        self.billing = Billing(self.shop.means, self.provider, self.shop.take_in)


async def begun(world: Trying, name: str, card: str, *, simulated: bool = False) -> EmbeddedPayment:
    """A subscription that is paid by the card."""
    await ok(world.ledger, name, c.Open(plan="starter", simulated=simulated))
    ordered = await world.shop.subscribing.start(Ask(organization=name), "pro")
    assert isinstance(ordered, Purchase), ordered
    await world.deliver(await world.embedded.pay(ordered.checkout or "", card))
    return await payment(world, name)


async def payment(world: Trying, name: str) -> EmbeddedPayment:
    [found] = await world.rows.find(EmbeddedPayment, {"organization": name})
    return found


async def page(world: Trying, process: Process, name: str) -> None:
    await ok(world.ledger, name, c.Open(plan="pro"))
    ordered = await world.shop.checkout.buy_pack(Ask(organization=name), "token_pack_500")
    assert isinstance(ordered, Purchase), ordered
    await tell(
        process.provider, await process.provider.pay(ordered.checkout or "", GOOD), process.shop.take_in
    )


async def renewed(world: Trying, process: Process, name: str, card: str = GOOD) -> None:
    row = await begun(world, name, card)
    world.clock.time = row.next_at or 0
    for _ in range(3):
        await process.billing.attend(await payment(world, name))


async def failed(world: Trying, process: Process, name: str) -> None:
    await renewed(world, process, name, ONCE)


async def ended(world: Trying, process: Process, name: str) -> None:
    row = await begun(world, name, GOOD)
    await world.deliver(await world.embedded.leave(row.id, world.clock.now(), leaving=True))
    world.clock.time = row.next_at or 0
    await process.billing.attend(await payment(world, name))


async def advanced(world: Trying, process: Process, name: str) -> None:
    await begun(world, name, GOOD, simulated=True)
    clock = process.shop.testclock
    assert clock is not None
    await clock.advance(name, world.clock.now() + 32 * DAY_MS)


async def outcome(world: Trying, name: str) -> Sequence[Any]:
    """How everything stands, less names and times."""
    account, row = await world.account(name), await payment(world, name)
    bought = [(one.kind, one.state, one.amount, one.done, one.flagged) for one in await world.purchases(name)]
    state = account.state
    return (
        sorted(bought), account.free, account.aside, state.plan, state.failed_at is None, state.scheduled,
        (row.state, row.billed, row.failures, row.ended, row.untold), await world.events(),
    )  # fmt: skip


@pytest.mark.parametrize("story", [page, renewed, failed, ended, advanced])
async def test_the_next_process_tells_it_and_all_ends_as_if_it_had_lived(
    world: Trying, story: Callable[[Trying, Process, str], Awaitable[None]]
) -> None:
    """R-PLAT-1, R-PACK-3: a payment on the page, a renewal, one that fails, an end; in real time and on the clock."""
    found, start = [], world.clock.time
    for number, death in enumerate(DEATHS):
        world.clock.time, name = start, f"org{number}"
        process, before = Process(world, death), await world.events()
        try:
            await story(world, process, name)
        except Crash:
            assert process.wire.dead
        assert process.wire.dead == bool(death)
        world.restart()
        for _ in range(4):
            await world.later(11_000)
        *stands, events = await outcome(world, name)
        found.append((stands, {state: count - before.get(state, 0) for state, count in events.items()}))
    lived, *died = found
    assert died == [lived, lived]
