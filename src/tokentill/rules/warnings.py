"""Low-balance warnings: once for each crossing, on the way down (R-PLAN-8).

What counts is what the lots have left, free and held together, so that an operation that comes and goes warns
nobody; what is held beyond them is nobody's balance.
Thresholds: a share of the plan's allowance (of the newest lot without a plan), a number of tokens, and
nothing left. A crossing warns once; rising above the threshold arms it again, and so does a change of plan
(`evolve`). An unlimited plan never runs low; a plan that brings no tokens is measured like none.

Bought tokens that end are warned of some days before, once for each lot; like bought lots themselves the warning
waits while payment is failed.

Requirement ids: R-PLAN-8.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from tokentill.rules import entries as e
from tokentill.rules.account import Account, State
from tokentill.rules.catalog import DAY_MS, Catalog, Pack
from tokentill.rules.exhaustion import pack_way, packs_for, upgrade_ways
from tokentill.rules.periods import days_left
from tokentill.rules.refusals import WayOut
from tokentill.rules.turn import Turn


def thresholds(turn: Turn) -> tuple[tuple[Literal["percent", "tokens", "exhausted"], int], ...]:
    """The thresholds in tokens that hold for this account now."""
    low = turn.catalog.low_balance
    allowance = turn.state.allowance
    if not allowance:
        return ()
    found: list[tuple[Literal["percent", "tokens", "exhausted"], int]] = []
    if low.percent is not None:
        found.append(("percent", allowance * low.percent // 100))
    # A fixed number of tokens says nothing about a lot that never had so many.
    if low.tokens is not None and low.tokens < allowance:
        found.append(("tokens", low.tokens))
    found.append(("exhausted", 0))
    return tuple(found)


def expiry_warning(turn: Turn, expires_at: int | None) -> int | None:
    """When it is to be warned that a lot expires; None where it does not, or is too short for a warning."""
    days = turn.catalog.low_balance.expiring_days
    if expires_at is None or days is None or expires_at - days * DAY_MS <= turn.now:
        return None
    return expires_at - days * DAY_MS


def warn_expiring(turn: Turn, number: int) -> None:
    """Put on the record that what is left of a bought lot expires soon; once for each lot."""
    lot = turn.state.lots[number]
    turn.emit(
        e.Warned(
            **turn.stamp(),
            tokens=lot.available,
            code="expiring",
            threshold=0,
            lot=number,
            expires_at=lot.expires_at,
        )
    )


def warn(turn: Turn) -> None:
    """Put on the record every threshold that what is left has come down to."""
    account = turn.account
    left = account.left
    low = turn.catalog.low_balance
    allowance = turn.state.allowance
    if left > (low.tokens or 0) and left * 100 > allowance * (low.percent or 0):
        return
    plan = turn.current_plan()
    if turn.state.failed_at is not None or (plan is not None and plan.unlimited):
        return
    for code, threshold in thresholds(turn):
        if left <= threshold and code not in turn.state.warned:
            turn.emit(e.Warned(**turn.stamp(), tokens=left, code=code, threshold=threshold))


class Notice(Struct, frozen=True):
    """What a customer with a low balance is told, as long as it is low (R-PLAN-8).

    `left` tokens, free and held; `days` until the reset, None without one. `recommended` is the smallest pack
    that lasts until the reset at this period's own pace, the largest where none does, None where none is sold. `link`
    is None while nothing can be bought (R-PACK-9).
    """

    code: Literal["percent", "tokens", "exhausted"]
    text: str
    left: int
    days: int | None
    link: str | None
    recommended: WayOut | None


def notice(
    account: Account, catalog: Catalog, now: int, closed: frozenset[tuple[str, str]] = frozenset()
) -> Notice | None:
    """The warning that holds for the account now, None while nothing is low.

    `closed`: ways, by kind and id, that the organization cannot take now (`tokentill.rules.selling.closed_ways`).
    """
    state = account.state
    if not state.warned or state.failed_at is not None:
        return None
    code: Literal["percent", "tokens", "exhausted"] = "percent"
    if "exhausted" in state.warned:
        code = "exhausted"
    elif "tokens" in state.warned:
        code = "tokens"
    left = account.left
    waits = state.period is not None and state.period.end > now
    days = days_left(now, state.period.end) if waits and state.period is not None else None
    texts = catalog.texts
    plan = None if state.plan is None else catalog.plans.get(state.plan)
    packs = [pack for pack in packs_for(catalog, plan) if ("pack", pack.id) not in closed]
    if closed and not packs and all((way.kind, way.id) in closed for way in upgrade_ways(catalog, plan)):
        return Notice(code, texts.low_balance_closed, left, days, None, None)
    text = texts.low_balance_no_reset if days is None else texts.low_balance.format(days=days)
    pack = _recommended(packs, need_until_reset(state, left, now))
    way = None if pack is None else pack_way(catalog, pack, now)
    return Notice(code, text, left, days, texts.purchase_link, way)


def need_until_reset(state: State, left: int, now: int) -> int:
    """Tokens still lacking until the reset if this period's pace goes on; without a period, 0."""
    period = state.period
    if period is None or now <= period.start:
        return 0
    used = sum(lot.spent - lot.spent_before for lot in state.lots.values() if lot.unit == "token")
    return max(0, -(-used * (period.end - now) // (now - period.start)) - left)


def _recommended(packs: list[Pack], need: int) -> Pack | None:
    by_size = sorted(packs, key=lambda pack: (pack.tokens, pack.price))
    return next((pack for pack in by_size if pack.tokens >= need), by_size[-1] if by_size else None)
