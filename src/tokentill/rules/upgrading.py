"""Upgrading: what an upgrade costs compared with packs, for the need at hand (R-PACK-5, readings).

Two ways lead to the tokens that will be lacking until the horizon: stay on the plan and buy one or two packs, or
upgrade. Each has two costs, and both are told:

- **now**: what is charged at once. Of an upgrade it is the new price less the unused share of the old one.
- **until the horizon**: what of the payments belongs to the time until then. A subscription counts for the part
  of its period that lies before the horizon, from its payment on; the credit counts whole. Packs count whole.

One way is called cheaper only where it costs less now and until the horizon and brings what is needed. Where the
two disagree nothing is called cheaper, and the figures are told. All comparisons are of exact fractions; money is
rounded once, half-up, where it is shown.

Beside it stands the plain arithmetic at full-period prices: S1's $99.99 - $39.99 = $60.00 for 150 - 50 = 100 more
tokens is $0.60 each.

Requirement ids: R-PACK-5.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import combinations_with_replacement
from typing import Literal

from msgspec import Struct

from tokentill.rules.burn import Burn, Supply, lacking, later_resets
from tokentill.rules.catalog import Plan
from tokentill.rules.money import half_up
from tokentill.rules.periods import start_at

PACKS_TOGETHER_MAX = 2


class Offered(Struct, frozen=True):
    """A pack that can be bought now: what it costs and brings, bonus included."""

    id: str
    price: int
    tokens: int


class Way(Struct, frozen=True):
    """One way to the tokens: minor units now and until the horizon, the packs bought, and whether it is enough."""

    now: int
    horizon: int
    packs: tuple[str, ...]
    enough: bool


class Step(Struct, frozen=True):
    """The arithmetic at full-period prices: what a period costs more, what it brings more, and each token of that.

    None for `tokens` where the plan is unlimited; None for `per_token` where it brings no more tokens.
    """

    price: int
    tokens: int | None
    per_token: Fraction | None


class Comparison(Struct, frozen=True):
    """Staying with packs against upgrading to `plan`, for `need` tokens until `until`.

    `stay` is None where no packs can be bought. `cheaper` is set only where it is true in every respect.
    """

    plan: str
    need: int
    until: int
    credit: int
    step: Step
    upgrade: Way
    stay: Way | None
    cheaper: Literal["stay", "upgrade"] | None


class Outlook(Struct, frozen=True):
    """What is known of the time until the horizon `until`.

    `need`: tokens lacking until then, at least what the burn rate will lack. `ends`: the present plan's resets
    before it. `credit`: what the unused share of the plan is worth, minor units; it is paid for until `paid_until`.
    """

    burn: Burn
    supply: Supply
    need: int
    now: int
    until: int
    ends: tuple[int, ...] = ()
    credit: int = 0
    paid_until: int | None = None


def step_up(plan: Plan | None, up: Plan) -> Step:
    """The arithmetic of an upgrade at full-period prices; a plan paid for several periods counts for one of them."""
    price = _each(up) - (Fraction(0) if plan is None else _each(plan))
    tokens = None if up.unlimited else up.tokens - (0 if plan is None else plan.tokens)
    each = price / tokens if tokens is not None and tokens > 0 else None
    return Step(rounded(price), tokens, each)


def compare(
    plan: Plan | None, up: Plan, packs: Sequence[Offered], view: Outlook, slots: int | None
) -> Comparison:
    """Both ways for what is needed, `up` having a price; `slots`: how many packs may be bought, None = no limit."""
    assert up.price is not None
    span = view.until - view.now
    kept = span if view.paid_until is None else min(span, max(0, view.paid_until - view.now))
    # Of the credit only the part until the horizon is gained: the rest would have been of use after it.
    gained = Fraction(view.credit * kept, max(1, (view.paid_until or view.until) - view.now))
    upgrade = Way(
        max(0, up.price - view.credit), rounded(_share(up, view.now, span) - gained), (), _suffices(up, view)
    )
    own = Fraction(0) if plan is None else _share(plan, view.now, span - kept)
    stay = _stay(packs, view.need, own, slots)
    cheaper = None if stay is None or not view.need else _cheaper(stay, upgrade)
    return Comparison(up.id, view.need, view.until, view.credit, step_up(plan, up), upgrade, stay, cheaper)


def rounded(amount: Fraction) -> int:
    """Minor units of an exact amount, half-up."""
    return half_up(amount.numerator, amount.denominator)


def _each(plan: Plan) -> Fraction:
    """What one period of a plan costs."""
    return Fraction(plan.price or 0, plan.periods_per_payment)


def _share(plan: Plan, start: int, span: int) -> Fraction:
    """The part of a plan's payments, the first at `start`, that belongs to so many milliseconds."""
    length = start_at(start, plan.cycle, plan.periods_per_payment) - start
    return Fraction((plan.price or 0) * span, length)


def _suffices(up: Plan, view: Outlook) -> bool:
    """Whether the higher plan brings what is needed; what is left of the present plan's tokens lapses on the way."""
    if up.unlimited:
        return True
    supply, now, until = view.supply, view.now, view.until
    at_once = view.need - lacking(view.burn, supply, now, view.ends, until) if view.ends else view.need
    raised = Supply(up.tokens, supply.other, up.tokens)
    later = tuple(later_resets(up, now, until))
    return up.tokens >= supply.plan + at_once and not lacking(view.burn, raised, now, later, until)


def _stay(packs: Sequence[Offered], need: int, own: Fraction, slots: int | None) -> Way | None:
    """The cheapest one or two packs that bring what is needed, the largest where none do."""
    if not need:
        return Way(0, rounded(own), (), enough=True)
    most = PACKS_TOGETHER_MAX if slots is None else min(PACKS_TOGETHER_MAX, slots)
    choices = [
        choice for count in range(1, most + 1) for choice in combinations_with_replacement(packs, count)
    ]
    if not choices:
        return None

    def rank(choice: tuple[Offered, ...]) -> tuple[int, int, int]:
        tokens, price = sum(pack.tokens for pack in choice), sum(pack.price for pack in choice)
        return (0, price, len(choice)) if tokens >= need else (1, -tokens, price)

    best = min(choices, key=rank)
    price = sum(pack.price for pack in best)
    enough = sum(pack.tokens for pack in best) >= need
    return Way(price, rounded(own + price), tuple(pack.id for pack in best), enough)


def _cheaper(stay: Way, upgrade: Way) -> Literal["stay", "upgrade"] | None:
    """The way that costs less in both respects and is enough; None where there is none."""
    if stay.enough and stay.now < upgrade.now and stay.horizon < upgrade.horizon:
        return "stay"
    if upgrade.enough and upgrade.now < stay.now and upgrade.horizon < stay.horizon:
        return "upgrade"
    return None
