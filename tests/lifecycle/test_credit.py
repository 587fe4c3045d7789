"""Money credit pays renewals at the test provider: by the clerk in real time, and on the test clock (R-REF-4, R-PLAN-4).

Preset `analysis`: Starter $39.99 and Professional $99.99 every 30 days. Every figure by hand.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from msgspec.structs import replace

from tests.lifecycle.test_year import DECLINED, GOOD, PERIOD, Year, year
from tests.support.desk import change_plan, preset, without_limits
from tests.support.stores import Store, ok
from tokentill.flows.shop import Ask
from tokentill.ports import VendorRefused
from tokentill.rules import commands as c
from tokentill.rules import entries as e
from tokentill.rules.catalog import DAY_MS, HOUR_MS
from tokentill.rules.credit import available
from tokentill.rules.purchases import Purchase
from tokentill.rules.receipts import Receipt
from tokentill.rules.refusals import Refusal
from tokentill.rules.rows import Draft, EmbeddedPayment

__all__ = ["year"]

SPENT = ("spend_credit", "apply_credit", "deliver")


class Payer:
    """An organization that pays Starter, on a clock of its own or on that of everybody."""

    def __init__(self, year: Year, *, simulated: bool) -> None:
        self.year = year
        self.simulated = simulated
        self.now = year.clock.now()

    async def begin(self, plan: str = "starter") -> str:
        await ok(self.year.ledger, "acme", c.Open(plan=None, simulated=self.simulated))
        first = await self.year.pay(await self.year.shop.subscribing.start(Ask(organization="acme"), plan))
        return first.subscription or ""

    async def wait(self, milliseconds: int) -> int:
        """Time passes; how many invoices were collected or tried."""
        self.now += milliseconds
        if self.simulated:
            moved = await self.year.clockwork.advance("acme", self.now)
            assert not isinstance(moved, Refusal), moved
            return moved.invoices
        before = len([one for one in await self.renewals() if one.paid_at is not None])
        self.year.clock.time = self.now
        await self.year.settle()
        return len([one for one in await self.renewals() if one.paid_at is not None]) - before

    async def gift(self, amount: int) -> None:
        await ok(self.year.ledger, "acme", c.Grant(tokens=amount, origin="credit", unit="money"))

    async def credit(self) -> int:
        return available((await self.year.account("acme")).state)

    async def renewals(self) -> list[Purchase]:
        """Oldest first."""
        found = [row for row in await self.year.purchases("acme") if row.kind == "renewal"]
        return sorted(found, key=lambda row: row.created_at)

    async def figures(self) -> tuple[Any, ...]:
        """Of the newest renewal."""
        one = (await self.renewals())[-1]
        return one.state, one.amount, one.credit_used, one.done, one.flagged

    async def row(self) -> EmbeddedPayment:
        [found] = [
            row for row in await self.year.rows.find(EmbeddedPayment, {"organization": "acme"}) if row.plan
        ]
        return found

    async def journal(self, kind: type[Any]) -> list[int]:
        """Tokens of the entries of this kind that moved money, oldest first."""
        page = await self.year.ledger.journal("acme", None, 500)
        assert page is not None
        entries = [row.entry for row in reversed(page.rows) if isinstance(row.entry, kind)]
        return [entry.tokens for entry in entries if getattr(entry, "unit", "money") == "money"]


@pytest.mark.parametrize("simulated", [False, True], ids=["real time", "test clock"])
async def test_credit_pays_renewals_in_part_and_whole(year: Year, *, simulated: bool) -> None:
    """R-REF-4, R-PLAN-4, R-REF-5: $15.00 of one, all of the next; of the third the rest, which a card fails to pay."""
    payer = Payer(year, simulated=simulated)
    subscription = await payer.begin()
    await payer.gift(1_500)
    assert await payer.wait(PERIOD - HOUR_MS - 1) == 0
    assert (await payer.renewals(), await payer.credit()) == ([], 1_500)
    assert await payer.wait(1) == 0
    assert await payer.figures() == ("created", 2_499, 1_500, SPENT[:2], None)
    assert (await payer.credit(), (await payer.row()).billed) == (0, 1)
    assert await payer.wait(HOUR_MS) == 1
    assert await payer.figures() == ("delivered", 2_499, 1_500, SPENT, None)
    [first] = await payer.renewals()
    assert await year.embedded.apply_credit(first, "another key"), "it was taken off, and is no more"
    await year.embedded.refund(first, 1_000, "one")
    with pytest.raises(VendorRefused, match="1499 can still be given back"):
        await year.embedded.refund(first, 1_500, "two")
    await payer.gift(5_000)
    await year.deliver(await year.embedded.change_card(subscription, DECLINED, payer.now))
    assert await payer.wait(PERIOD) == 1
    assert await payer.figures() == ("delivered", 0, 3_999, SPENT, None)
    assert ((await year.stand()).standing, await payer.credit()) == ("active", 1_001)
    await payer.wait(PERIOD)
    assert await payer.figures() == ("failed", 2_998, 1_001, (*SPENT[:2], "freeze"), None)
    await payer.wait(3 * DAY_MS)
    assert ((await payer.row()).failures, (await year.stand()).standing) == (2, "grace")
    assert await payer.credit() == 0
    await year.deliver(await year.embedded.change_card(subscription, GOOD, payer.now))
    await year.settle()
    state, amount, used, _, flagged = await payer.figures()
    assert (state, amount, used, flagged) == ("delivered", 2_998, 1_001, None)
    assert await payer.wait(27 * DAY_MS) == 1
    assert await payer.figures() == ("delivered", 3_999, 0, ("deliver",), None)
    last = replace((await payer.renewals())[-1], credit_used=1_000)
    assert not await year.embedded.apply_credit(last, "key"), "it was collected whole"
    assert await payer.journal(e.CreditSpent) == [1_500, 3_999, 1_001]
    assert await year.paid() == 3_999 + 2_499 + 0 + 2_998 + 3_999
    assert ((await year.stand()).remaining, await year.alerts()) == (50, [])


async def upgraded(payer: Payer) -> int:
    """The invoice of Professional a month later is $99.99, less the credit."""
    upgrade = await payer.year.shop.subscribing.start(Ask(organization="acme"), "professional")
    assert isinstance(upgrade, Purchase), upgrade
    return 9_999


async def left(payer: Payer) -> int:
    """Cancelled, and kept after all."""
    year = payer.year
    assert isinstance(await year.shop.subscribing.cancel("acme"), Receipt)
    await payer.wait(15_000)
    assert ((await payer.renewals())[-1].state, await payer.credit()) == ("abandoned", 1_500)
    assert isinstance(await year.shop.subscribing.resume("acme"), Receipt)
    return 3_999


async def in_the_portal(payer: Payer) -> int:
    """The same at the provider."""
    year, row = payer.year, await payer.row()
    for leaving in (True, False):
        await year.deliver(await year.embedded.leave(row.id, payer.now, leaving=leaving))
    return 3_999


async def moved_down(payer: Payer) -> int:
    """To a lower plan from the period's end on, which the next invoice is of."""
    assert isinstance(await payer.year.shop.subscribing.downgrade("acme", "starter"), Receipt)
    return 3_999


async def ended(payer: Payer) -> int:
    """At once, by the till; nothing is collected any more."""
    row = await payer.year.shop.reader.subscription("acme")
    assert row is not None
    await payer.year.embedded.end_subscription(row, now=True, key="end")
    return 0


@pytest.mark.parametrize(
    ("change", "plan", "simulated"),
    [
        (upgraded, "starter", True), (left, "starter", False), (in_the_portal, "starter", True),
        (moved_down, "professional", False), (ended, "starter", False),
    ],
)  # fmt: skip
async def test_a_draft_that_is_dropped_gives_its_credit_back(
    year: Year, change: Callable[[Payer], Awaitable[int]], plan: str, *, simulated: bool
) -> None:
    """R-REF-4, R-PLAN-4: within the hour before it is collected; the next invoice is another, with credit of its own."""
    payer = Payer(year, simulated=simulated)
    await payer.begin(plan)
    assert await payer.wait(PERIOD) == 1
    await payer.gift(1_500)
    await payer.wait(PERIOD - HOUR_MS // 2)
    assert (await payer.figures())[:3] == (
        "created",
        {"starter": 3_999, "professional": 9_999}[plan] - 1_500,
        1_500,
    )
    price = await change(payer)
    await payer.wait(15_000)
    dropped = (await payer.renewals())[1]
    assert (dropped.state, dropped.done) == ("abandoned", (*SPENT[:2], "return_credit"))
    assert not await year.embedded.apply_credit(replace(dropped, invoice="another"), "key")
    await payer.wait(PERIOD)
    assert await payer.journal(e.Granted) == [1_500, 1_500]
    if price:
        assert await payer.figures() == ("delivered", price - 1_500, 1_500, SPENT, None)
        assert (await payer.credit(), await payer.journal(e.CreditSpent)) == (0, [1_500, 1_500])
    else:
        assert ((await payer.renewals())[-1], await payer.credit()) == (dropped, 1_500)
    assert (await year.alerts(), set(await year.events())) == ([], {"done"})


async def test_a_plan_that_changes_is_drafted_once_the_till_knows_of_it(year: Year) -> None:
    """R-REF-4, R-PLAN-4: who asked for the change has ten seconds to write it down; then the new plan is drafted."""
    payer = Payer(year, simulated=False)
    subscription = await payer.begin("professional")
    await payer.wait(PERIOD - HOUR_MS)
    assert ((await payer.row()).draft, await payer.renewals()) == (
        Draft(f"{subscription}-2", "professional", 9_999),
        [],
    )
    await payer.gift(1_500)
    assert await moved_down(payer) == 3_999
    await payer.wait(9_999)
    assert ((await payer.row()).draft, await payer.credit()) == (None, 1_500)
    await payer.wait(1)
    assert await payer.figures() == ("created", 2_499, 1_500, SPENT[:2], None)
    assert await payer.wait(HOUR_MS) == 1
    assert ((await payer.figures())[0], (await year.stand()).plan, await year.alerts()) == (
        "delivered",
        "starter",
        [],
    )


async def test_the_first_invoice_after_a_trial_is_drafted_too() -> None:
    """R-REF-4, R-PLAN-4: an hour before the trial ends; and a draft that nobody has credit for leaves no trace."""
    store = Store("memory", ":memory:")
    catalog = change_plan(without_limits(preset("analysis")), "starter", trial_days=14)
    payer = Payer(Year(store, await store.open(catalog=catalog)), simulated=True)
    subscription = await payer.begin()
    await payer.gift(1_000)
    assert await payer.wait(14 * DAY_MS - HOUR_MS) == 0
    assert await payer.figures() == ("created", 2_999, 1_000, SPENT[:2], None)
    assert await payer.wait(HOUR_MS) == 1
    [first] = await payer.renewals()
    assert (first.state, first.invoice, await payer.year.paid()) == ("delivered", f"{subscription}-1", 2_999)
    await payer.wait(PERIOD - HOUR_MS)
    assert (await payer.row()).draft == Draft(f"{subscription}-2", "starter", 3_999)
    assert isinstance(await payer.year.shop.subscribing.cancel("acme"), Receipt)
    assert await payer.wait(2 * HOUR_MS) == 0
    assert (await payer.row()).ended
    assert [row.id for row in await payer.renewals()] == [first.id]
    await payer.year.clean()
    await payer.year.shop.close()
    await store.close()


async def test_what_is_owed_is_paid_as_it_was_drafted(year: Year) -> None:
    """R-LIC-3, R-PLAN-4, R-REF-4: who moves down while an invoice is owed pays that one, less its credit."""
    payer = Payer(year, simulated=True)
    subscription = await payer.begin("professional")
    await payer.gift(1_500)
    await year.deliver(await year.embedded.change_card(subscription, DECLINED, payer.now))
    assert await payer.wait(PERIOD) == 1
    assert isinstance(await year.shop.subscribing.downgrade("acme", "starter"), Receipt)
    await year.deliver(await year.embedded.change_card(subscription, GOOD, payer.now))
    state, amount, used, _, flagged = await payer.figures()
    assert (state, amount, used, flagged) == ("delivered", 8_499, 1_500, None)
    assert await payer.wait(PERIOD) == 1
    assert await payer.figures() == ("delivered", 3_999, 0, ("deliver",), None)
    assert ((await year.stand()).plan, await payer.credit(), await year.alerts()) == ("starter", 0, [])
