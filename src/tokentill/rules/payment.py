"""Payment failure and repair: tokens set aside, and given back whole.

Setting aside moves nothing: while `failed_at` is set no token can be spent. Plan tokens go on lapsing with
their period, and a period that begins meanwhile brings its tokens only when payment is fixed; bought lots do
not age and get the time back. The ladder of what goes off when is `tokentill.rules.licence`.

Requirement ids: R-LIC-1, R-LIC-2, R-LIC-3, R-LIC-5.
"""

from __future__ import annotations

from tokentill.rules import commands as c
from tokentill.rules import entries as e
from tokentill.rules.catalog import DAY_MS
from tokentill.rules.plans import apply_due
from tokentill.rules.receipts import Receipt, receipt
from tokentill.rules.refusals import Code, Refusal
from tokentill.rules.resets import grant_period, open_lots
from tokentill.rules.turn import Turn

Reply = Receipt | Refusal


def freeze(turn: Turn, command: c.Freeze) -> Reply:
    """Payment failed: AI off the same moment, unused tokens set aside (R-LIC-1)."""
    state = turn.state
    at = turn.now if command.failed_at is None else command.failed_at
    if not (type(at) is int and 0 < at <= turn.now):
        return Refusal(
            Code.INVALID, "failed_at must be a time in the past, in epoch milliseconds.", detail="failed_at"
        )
    again = state.failed_at is not None
    entry = e.Frozen(
        **turn.signed(),
        tokens=turn.account.free,
        failed_at=at if state.failed_at is None else state.failed_at,
        stage_at=state.stage_at if again else at + DAY_MS,
        again=again,
        reason=command.reason,
    )
    turn.emit(entry)
    apply_due(turn)
    return receipt(entry)


def restore(turn: Turn, command: c.Restore) -> Reply:
    """Payment fixed on any day: AI and tokens back at once, whole (R-LIC-3)."""
    state = turn.state
    if state.failed_at is None:
        return Refusal(Code.NOT_POSSIBLE, "Payment has not failed, so there is nothing to restore.")
    extended = tuple(
        (lot.id, lot.expires_at + turn.now - max(lot.at, state.failed_at))
        for lot in open_lots(turn)
        if lot.expires_at is not None
    )
    plan, unpaid = turn.current_plan(), state.unpaid
    brings = plan.tokens if unpaid and plan is not None else 0
    entry = e.Restored(
        **turn.signed(), tokens=turn.account.free, extended=extended, reason=command.reason, brings=brings
    )
    turn.emit(entry)
    if unpaid and plan is not None:
        grant_period(turn, plan, 0)
    return receipt(entry)
