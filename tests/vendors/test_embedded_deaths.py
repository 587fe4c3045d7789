"""A process that dies between what the embedded provider stores and what it tells (R-PLAT-1, R-PACK-3)."""

import itertools
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

import pytest

from tests.support.desk import SECRET
from tests.support.stores import NOON, ok
from tests.support.tripwire import Crash, Wire
from tests.vendors.test_embedded import DECLINED, GOOD, ONCE, Trying, world
from tokentill.flows.checkout import Ask
from tokentill.flows.shop import Shop
from tokentill.flows.testclock import Billing, tell
from tokentill.ports import VendorDown
from tokentill.rules import commands as c
from tokentill.rules.catalog import DAY_MS, HOUR_MS
from tokentill.rules.credit import available
from tokentill.rules.purchases import DECLINES_MAX, Purchase
from tokentill.rules.refusals import Refusal
from tokentill.rules.rows import EmbeddedPayment
from tokentill.vendors.embedded.book import UNTOLD_MAX
from tokentill.vendors.embedded.provider import Embedded

__all__ = ["world"]

DEATHS = (
    ("", 0),
    ("before rows.add", 1),
    ("after rows.add", 1),
    ("before rows.add", 2),
    ("after rows.add", 2),
)
"""Not at all; once it is stored at the provider, before it is an event, or before that is taken in; or at the next."""


class Process:
    """A process with a wire across all that it stores."""

    def __init__(self, world: Trying, death: str = "", at: int = 0) -> None:
        self.wire = Wire(at if death else 0, only=death)
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
    await ok(world.ledger, name, c.Grant(tokens=5_000, origin="credit", unit="money"))
    await on(world, process.shop, name)


async def on(world: Trying, shop: Shop, name: str) -> None:
    """The clock of the organization is moved over its next invoice."""
    clock = shop.testclock
    assert clock is not None
    assert not isinstance(await clock.advance(name, NOON + 32 * DAY_MS), Refusal)


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
    found = []
    deaths = DEATHS[:3] if story is ended else DEATHS  # an end is all that is told of it
    for number, (death, at) in enumerate(deaths):
        world.clock.time, name = NOON, f"org{number}"
        process, before = Process(world, death, at), await world.events()
        try:
            await story(world, process, name)
        except Crash:
            assert process.wire.dead
        assert process.wire.dead == bool(death)
        world.restart()
        if story is advanced:  # at once, so that nothing but its clock goes on with it
            await on(world, world.shop, name)
        for _ in range(4):
            await world.later(11_000)
        *stands, events = await outcome(world, name)
        found.append((stands, {state: count - before.get(state, 0) for state, count in events.items()}))
    lived, *died = found
    assert died == [lived] * (len(deaths) - 1)


async def test_what_cannot_be_told_holds_up_what_would_come_after(world: Trying) -> None:
    """R-PLAT-1: only so much waits on a payment; then nothing more happens to it until that is told; none is lost."""
    ordered = await world.place(world.order("acme"))
    for _ in range(UNTOLD_MAX):
        await world.embedded.pay(ordered.checkout or "", DECLINED)
    with pytest.raises(VendorDown):
        await world.embedded.pay(ordered.checkout or "", GOOD)
    await world.later(11_000)
    assert len((await world.purchase(ordered)).declines) == DECLINES_MAX
    await world.deliver(await world.embedded.pay(ordered.checkout or "", GOOD))
    assert ((await world.purchase(ordered)).state, await world.events()) == (
        "delivered",
        {"done": UNTOLD_MAX + 1},
    )


async def test_credit_is_taken_off_once_wherever_it_dies(world: Trying) -> None:
    """R-REF-4, R-PACK-3: between any two steps from the draft on; the next goes on before the collection, or at it."""
    credit, price, amounts = 5_000, 14_900, set()
    for at in itertools.count(1):
        world.clock.time, name = NOON, f"org{at:02d}"
        row = await begun(world, name, GOOD)
        await ok(world.ledger, name, c.Grant(tokens=credit, origin="credit", unit="money"))
        collected_at = row.next_at or 0
        world.clock.time = collected_at - HOUR_MS
        process = Process(world)
        process.wire.at = at
        with suppress(Crash):
            await process.billing.attend(await payment(world, name))
        world.restart()
        late = at % 2 == 1
        for _ in range(0 if late else 3):
            await world.later(11_000)
        world.clock.time = collected_at
        for _ in range(3 if late else 0):  # told, drafted, collected: all before anybody else goes on
            await Process(world).billing.attend(await payment(world, name))
        for _ in range(3):
            await world.later(11_000)
        [renewal] = [one for one in await world.purchases(name) if one.kind == "renewal"]
        left = available((await world.account(name)).state)
        assert (renewal.state, renewal.flagged, renewal.doing) == ("delivered", None, None), at
        assert (renewal.amount + renewal.credit_used, left) == (price, credit - renewal.credit_used), at
        assert late or renewal.credit_used == credit, process.wire.places[-1]
        assert [one.amount for one in renewal.payments] == [renewal.amount], at
        amounts.add(renewal.amount)
        if not process.wire.dead:
            break
    assert at > 20
    assert price - credit in amounts
