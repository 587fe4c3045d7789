"""Refunds: quotes as pure arithmetic, and accepting one up to the last write, the payment provider left out.

The quote is asked with four usage bands in turn, for a customer of some value, with every alternative and two larger
packs. Accepting is the whole way on SQLite with synchronous=FULL: the claim, setting the tokens aside, the second look
at the figures, taking the tokens back and the end, each written down before it is done; the provider's place is taken
by one that answers at once.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import world
from bench.report import Figure, at_least, at_most, known, median, percentile
from bench.world import SECRET, Options
from tokentill.flows.means import Means
from tokentill.flows.shop import Shop, open_shop
from tokentill.rules import commands as c
from tokentill.rules import happenings as h
from tokentill.rules.purchases import Payment, Purchase, derive
from tokentill.rules.refund_policy import RefundPolicy
from tokentill.rules.refund_rows import Refund
from tokentill.rules.refunds import Bought, Customer, Larger, Usage, quote
from tokentill.settings import Settings
from tokentill.wiring import SystemClock, SystemIds, open_ledger

TITLE = "a refund quote, and accepting it without the provider"

QUOTES_TARGET = 50_000
ACCEPT_TARGET_MS = 20
PRICE = 2_900
CURRENCY = "USD"


def run(options: Options) -> list[Figure]:
    """Measure both."""
    rate = median([quotes(options.seconds / 2) for _ in range(options.rounds)])
    times = world.run(accepts(20 if options.quick else 400))
    return [
        at_least("quotes a second, in one process", rate, QUOTES_TARGET, "1/s"),
        at_most("accept, p99, without the provider", percentile(times, 0.99), ACCEPT_TARGET_MS, "ms"),
        known("accept, median, without the provider", percentile(times, 0.5), "ms"),
    ]


def quotes(seconds: float) -> float:
    """Quotes a second."""
    bought = Bought(id="p", item="pack", title="Pack", currency="USD", paid=PRICE, paid_at=0)
    uses = [Usage(500, spent, 0, 500 - spent) for spent in (0, 50, 200, 400)]
    customer = Customer(spent=15_000)
    policy = RefundPolicy()
    larger = (Larger("m", "More", 2_000, 7_900), Larger("l", "Most", 9_000, 29_000))
    count, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        for _ in range(250):
            for use in uses:
                quote(
                    bought,
                    use,
                    customer,
                    "quality",
                    90_000_000,
                    policy,
                    larger=larger,
                    cost_per_million=1_000,
                )
        count += 1_000
    return count / (time.perf_counter() - started)


class AtOnce:
    """A provider that gives money back at once and keeps nothing."""

    name = "at_once"

    def step(self, currency: str) -> int:
        """Every amount will do."""
        del currency
        return 1

    async def refund(self, purchase: Purchase, amount: int, key: str) -> Sequence[h.AnyHappening]:
        del key
        return (
            h.Refunded(
                at=purchase.created_at, payment=purchase.payment or "", refunded=amount, currency="USD"
            ),
        )

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"nobody calls {name} here")


async def accepts(count: int) -> list[float]:
    """Milliseconds of each of `count` refunds, one after the other, each of another organization."""
    with world.folder() as folder:
        return await _accepts(folder, count)


async def _accepts(folder: Path, count: int) -> list[float]:
    settings = Settings(database=str(folder / "till.db"), catalog="goals", secret=SECRET.hex())
    async with open_ledger(settings, clock=SystemClock(), ids=SystemIds()) as ledger:
        means = Means(
            ledger=ledger, rows=ledger.rows, payments={"at_once": AtOnce()}, clock=SystemClock(), ids=SystemIds(),
            secret=SECRET,
        )  # fmt: skip
        shop = open_shop(means)
        rows = [await _bought(shop, f"o{nth}") for nth in range(count)]
        times = []
        for row in rows:
            started = time.perf_counter()
            done = await shop.refunding.accept(row.organization, row.id, "cash")
            times.append((time.perf_counter() - started) * 1e3)
            assert isinstance(done, Refund), done
            assert done.state == "settled", done
    return times


async def _bought(shop: Shop, name: str) -> Refund:
    """A pack that was paid and delivered, and a quote of it."""
    means, now = shop.means, shop.means.clock.now()
    await means.submit(name, c.Open(plan="pro"), means.ids.operation())
    ordered = Purchase(
        id=means.ids.operation(), organization=name, created_at=now, kind="pack", item="token_pack_500",
        title="500 tokens", amount=PRICE, currency=CURRENCY, tokens=500, provider="at_once",
        payments=(Payment(now, f"pi_{name}", PRICE, CURRENCY, f"card_{name}"),),
    )  # fmt: skip
    added = await means.rows.add(derive(ordered))
    purchase = await shop.delivery.advance(added.row)
    row = await shop.refunding.quote(name, purchase.id, "technical")
    assert isinstance(row, Refund), row
    return row
