"""The sentences beside offers: each is arithmetic on the customer's own figures, said only where it is true.

Rates for people are rounded half-up to one decimal; what follows from them is computed from the exact figures.

Requirement ids: R-PACK-5, R-PACK-6.
"""

from __future__ import annotations

from fractions import Fraction

from tokentill.rules.burn import Burn
from tokentill.rules.catalog import DAY_MS, Catalog, Plan
from tokentill.rules.money import format_amount, half_up, per_token
from tokentill.rules.periods import days_left
from tokentill.rules.selling import Shopper
from tokentill.rules.upgrading import Comparison, Offered, Outlook, Step, Way


def recommendation_text(
    catalog: Catalog, best: Offered | None, view: Outlook, missing: int, *, to_reset: bool
) -> str:
    """What the recommendation follows from (R-PACK-6)."""
    many = catalog.unit.many
    days = days_left(view.now, view.until)
    span = f"the {_days(days)} to the reset" if to_reset else f"the next {_days(days)}"
    there = view.supply.plan + view.supply.other
    if view.burn.tokens:
        rate = f"You used {view.burn.tokens:,} {many} in {_days(view.burn.days)}, {_a_day(view.burn)} a day."
    else:
        rate = "There is no use yet to reckon from."
    if not view.need:
        lasts = f" At this rate what you have, {there:,} {many}, lasts {span}."
        return rate + (lasts if view.burn.tokens and days else "")
    if missing and view.need == missing:
        rate = f"What you want to do needs {missing:,} {many} more than you have."
        lack = ""
    else:
        lack = f" For {span} that leaves you {view.need:,} {many} short."
    if best is None:
        return rate + lack
    short = (
        "" if best.tokens >= view.need else ", and no pack you can buy now has so many; this is the largest"
    )
    return f"{rate}{lack} This pack brings {best.tokens:,}{short}."


def upgrade_texts(
    catalog: Catalog, shopper: Shopper, plan: Plan | None, up: Plan, found: Comparison, now: int
) -> tuple[str, ...]:
    """The arithmetic of an upgrade beside packs (R-PACK-5)."""
    lines = []
    if shopper.packs_count >= catalog.recommend.upgrade_packs and shopper.packs_tokens > 0:
        spent = format_amount(shopper.packs_amount, catalog.currency)
        each = per_token(shopper.packs_amount, shopper.packs_tokens, catalog.currency)
        lines.append(
            f"You bought {shopper.packs_count} packs: {spent} for {shopper.packs_tokens:,} {catalog.unit.many}, "
            f"{each} each."
        )
    lines.append(_step(catalog, plan, up, found.step))
    if found.need:
        lines += _ways(catalog, up, found, days_left(now, found.until))
    return tuple(lines)


def _step(catalog: Catalog, plan: Plan | None, up: Plan, step: Step) -> str:
    """What a period of the higher plan costs and brings more."""
    more = format_amount(abs(step.price), catalog.currency)
    words = f"{more} {'more' if step.price >= 0 else 'less'} a period" + (
        "" if plan is None else f" than {plan.title}"
    )
    if step.tokens is None:
        return f"{up.title} costs {words} and has no limit of {catalog.unit.many}."
    brings = f"and brings {step.tokens:,} more {catalog.unit.many}"
    each = ""
    if step.per_token is not None and step.price > 0:
        each = f", {_money_each(step.per_token, catalog.currency)} each"
    return f"{up.title} costs {words} {brings}{each}."


def _ways(catalog: Catalog, up: Plan, found: Comparison, days: int) -> list[str]:
    """What each way costs now and until the horizon, and which is cheaper where one is."""
    code = catalog.currency
    upgrade, stay = found.upgrade, found.stay
    credit = f", {format_amount(found.credit, code)} of your present plan credited" if found.credit else ""
    lines = [
        f"Upgrading to {up.title} costs {format_amount(upgrade.now, code)} now{credit}{_until(upgrade, code, days)}."
    ]
    if not upgrade.enough:
        lines.append(f"It would not bring all of the {found.need:,} {catalog.unit.many} you need.")
    if stay is None:
        return lines
    titles = [catalog.packs[name].title for name in stay.packs]
    packs = f"Twice {titles[0]}" if len(set(titles)) < len(titles) else " and ".join(titles)
    verb = "costs" if len(set(titles)) == 1 else "cost"
    enough = "" if stay.enough else f", which is less than the {found.need:,} {catalog.unit.many} you need"
    lines.append(f"{packs} {verb} {format_amount(stay.now, code)} now{_until(stay, code, days)}{enough}.")
    if found.cheaper == "stay":
        lines.append("For this need buying tokens is cheaper than upgrading.")
    elif found.cheaper == "upgrade":
        lines.append("For this need upgrading is cheaper than buying tokens.")
    return lines


def _until(way: Way, code: str, days: int) -> str:
    """What the way costs until the horizon, where that is another amount."""
    if way.horizon == way.now or not days:
        return ""
    amount = format_amount(abs(way.horizon), code)
    if way.horizon < 0:
        return f"; over the next {_days(days)} it saves {amount}"
    return f"; {amount} {'of it ' if way.horizon < way.now else ''}is for the next {_days(days)}"


def _money_each(amount: Fraction, code: str) -> str:
    """The price of one token of an exact amount in minor units."""
    return per_token(amount.numerator, amount.denominator, code)


def _a_day(burn: Burn) -> str:
    """The burn rate for people."""
    exact = burn.over(DAY_MS)
    tenths = half_up(exact.numerator * 10, exact.denominator)
    whole, rest = divmod(tenths, 10)
    return f"{whole:,}.{rest}" if rest else f"{whole:,}"


def _days(count: int) -> str:
    return "1 day" if count == 1 else f"{count} days"
