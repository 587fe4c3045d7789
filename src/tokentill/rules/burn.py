"""Burn: how fast an organization uses tokens, and how many it will lack (R-PACK-6).

The burn rate is what was charged over whole days of history, divided by those days: an exact fraction, never a
float. Without such days it is the pace of the running period. The need is what the rate asks for until the
horizon less what is there: plan tokens lapse at each reset and come anew, bought ones stay. Ends of lots inside
the horizon are not looked at.

What it does not decide: how far the horizon is, and what to do about a need.

Requirement ids: R-PACK-5, R-PACK-6.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction

from msgspec import Struct

from tokentill.rules.account import PLAN_PRIORITY, Account
from tokentill.rules.catalog import DAY_MS, Catalog, Plan
from tokentill.rules.periods import start_at


class Burn(Struct, frozen=True):
    """How fast: `tokens` over `ms` milliseconds. `ms` 0 = nothing is known."""

    tokens: int = 0
    ms: int = 0

    @property
    def days(self) -> int:
        """The days of history, begun ones counted whole."""
        return -(-self.ms // DAY_MS)

    def over(self, ms: int) -> Fraction:
        """Tokens that this pace uses in so much time."""
        return Fraction(self.tokens * ms, self.ms) if self.ms else Fraction(0)


class Supply(Struct, frozen=True):
    """What there is to use: tokens of the plan and others now, and what each reset brings (None = no limit)."""

    plan: int
    other: int
    allowance: int | None


def by_day(charges: Iterable[tuple[int, int]], since: int, now: int, most: int) -> tuple[int, ...]:
    """Tokens charged on each whole day of 24 hours before `now`, oldest first: at most `most` days, none before `since`.

    `charges` are times and tokens; `since` is when the account was opened.
    """
    days = min(most, max(0, now - since) // DAY_MS)
    sums = [0] * days
    for at, tokens in charges:
        ago = (now - at - 1) // DAY_MS if at < now else days
        if ago < days:
            sums[days - 1 - ago] += tokens
    return tuple(sums)


def burn_of(account: Account, charged: Sequence[int], now: int) -> Burn:
    """The burn rate of an account: tokens charged on each whole day of its history, else its period's pace."""
    if charged:
        return Burn(sum(charged), len(charged) * DAY_MS)
    period = account.state.period
    if period is None or now <= period.start:
        return Burn()
    lots = account.state.lots.values()
    return Burn(sum(lot.spent - lot.spent_before for lot in lots if lot.unit == "token"), now - period.start)


def supply_of(account: Account, plan: Plan | None) -> Supply:
    """What the account has to use now and at each reset."""
    lots = account.state.lots
    free = [lots[number] for _, _, number in account.order]
    from_plan = sum(lot.available for lot in free if lot.priority == PLAN_PRIORITY)
    allowance = 0 if plan is None else None if plan.unlimited else plan.tokens
    return Supply(from_plan, sum(lot.available for lot in free) - from_plan, allowance)


def horizon(account: Account, catalog: Catalog, now: int) -> int:
    """The moment up to which a need is reckoned: the reset, or so many days as the catalog says."""
    look = catalog.recommend
    period = account.state.period
    if look.horizon_days is None and period is not None:
        return max(now, period.end)  # the end has passed where the next invoice is waited for
    return now + (look.horizon_days or look.history_days) * DAY_MS


def resets(account: Account, plan: Plan | None, until: int) -> Iterator[int]:
    """The resets of the running period and those after it, before `until`."""
    period = account.state.period
    if period is None:
        return
    if period.end < until:
        yield period.end
    if plan is not None:
        yield from later_resets(plan, period.end, until)


def later_resets(plan: Plan, start: int, until: int) -> Iterator[int]:
    """The resets of a plan whose period begins at `start`, before `until`."""
    number = 1
    while (end := start_at(start, plan.cycle, number)) < until:
        yield end
        number += 1


def lacking(burn: Burn, supply: Supply, now: int, ends: Sequence[int], until: int) -> int:
    """Whole tokens that will be lacking until `until`, given the resets before it; 0 if all of the use is covered."""
    unlimited = supply.allowance is None
    plan = None if unlimited else Fraction(supply.plan)
    other, lack, start = Fraction(supply.other), Fraction(0), now
    for end in (*ends, until):
        use = burn.over(max(0, end - start))
        rest = Fraction(0) if plan is None else max(Fraction(0), use - plan)
        from_other = min(rest, other)
        other -= from_other
        lack += rest - from_other
        start = end
        plan = None if supply.allowance is None else Fraction(supply.allowance)
    return -(-lack.numerator // lack.denominator)
