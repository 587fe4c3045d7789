"""Low-balance warnings: once for each crossing, on the way down (R-PLAN-8).

What counts is what is left, free and held together, so that an operation that comes and goes warns nobody.
Thresholds: a share of the plan's allowance (of the newest lot without a plan), a number of tokens, and
nothing left. A crossing warns once; rising above the threshold arms it again (`evolve`).

Requirement ids: R-PLAN-8.
"""

from __future__ import annotations

from typing import Literal

from tokentill.rules import entries as e
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


def warn(turn: Turn) -> None:
    """Put on the record every threshold that what is left has come down to."""
    account = turn.account
    left = account.free + account.held
    low = turn.catalog.low_balance
    allowance = turn.state.allowance
    if left > (low.tokens or 0) and left * 100 > allowance * (low.percent or 0):
        return
    if turn.state.failed_at is not None:
        return
    for code, threshold in thresholds(turn):
        if left <= threshold and code not in turn.state.warned:
            turn.emit(e.Warned(**turn.stamp(), tokens=left, code=code, threshold=threshold))
