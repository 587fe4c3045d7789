"""A process that ends between any two steps of a renewal and its dispute (R-PACK-3, R-REF-6)."""

from typing import Any

from tests.flows.test_subscribe import PRO, subscribe
from tests.support.scripted import MONTH
from tests.support.shops import World
from tests.support.tripwire import Crash, Wire
from tokentill.rules import happenings as h
from tokentill.rules.purchases import next_step


async def test_a_renewal_that_is_disputed_survives_the_end_of_its_process(shop_world: World) -> None:
    """R-PACK-3, R-REF-6: it dies between any two calls, from the invoice to the lost dispute; another goes on."""
    # On PostgreSQL, where each way there takes longer, at every fifth of them.
    world, at, died = shop_world, 0, True
    while died:
        at, died = at + (1 if world.store.engine == "sqlite" else 5), False
        name = f"acme_{at:03d}"
        await world.begin(name, plan="starter")
        _, subscription = await subscribe(world, name)
        world.clock.time += MONTH
        invoice = world.provider.fact_of_invoice(world.provider.bill(subscription, "cycle"))
        wire = Wire(at)
        shop = wire.shop(world)
        told: list[h.AnyHappening] = [invoice, *(_dispute(invoice, state) for state in ("open", "lost"))]
        try:
            for fact in told:
                await shop.take_in(world.provider.name, world.provider.told(fact))
        except Crash:
            died = True
        again = world.restart()
        for fact in told:
            await again.take_in(world.provider.name, world.provider.told(fact))
        for _ in range(3):
            await world.later(11_000)  # what the dead process had taken in is left to it for a while
        [row] = [one for one in await world.purchases(name) if one.kind == "renewal"]
        account = await world.account(name)
        where = wire.places[-1]
        assert (row.state, row.done.count("deliver"), next_step(row)) == ("charged_back", 1, None), where
        assert (account.free, account.aside, account.state.plan, account.state.failed_at) == (
            0, 0, "pro", None,
        ), where  # fmt: skip
    assert at > 40
    await world.clean()


def _dispute(invoice: h.InvoicePaid, state: Any) -> h.Disputed:
    payment = invoice.payment or ""
    return h.Disputed(at=1, payment=payment, dispute=f"dp_{payment}", state=state, amount=PRO, currency="USD")
