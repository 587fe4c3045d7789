"""Payment failure and repair: tokens set aside, and given back whole.

Setting aside moves nothing: while `failed_at` is set no token can be spent. Plan tokens go on lapsing with
their period, and a period that begins meanwhile brings its tokens only when payment is fixed; bought lots do
not age and get the time back. The ladder of what goes off when is `tokentill.rules.licence`.

A payment provider tells of payments that succeed, too: `reset` is an invoice of the plan that was paid.

Requirement ids: R-PLAN-4, R-LIC-1, R-LIC-2, R-LIC-3, R-LIC-5.
"""

from __future__ import annotations

from typing import Any

from tokentill.rules import commands as c
from tokentill.rules import entries as e
from tokentill.rules.catalog import DAY_MS
from tokentill.rules.plans import apply_due
from tokentill.rules.receipts import Receipt, receipt
from tokentill.rules.refusals import Code, Refusal
from tokentill.rules.resets import (
    bad_end,
    begin_paid,
    change,
    close_period,
    end_plan,
    following,
    grant_period,
    open_lots,
    waiting_carried,
)
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
        since=turn.now if at < turn.now and not again else None,
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
    plan = turn.current_plan() if state.unpaid else None
    carried = 0 if plan is None else waiting_carried(turn)
    entry = _mend(turn, turn.signed(), command.reason, brings=0 if plan is None else plan.tokens + carried)
    if plan is not None:
        grant_period(turn, plan, carried)
    return receipt(entry)


def _mend(turn: Turn, fields: dict[str, Any], reason: str | None, brings: int = 0) -> e.Restored:
    """Payment is not failed any more. An invoice that is still missing is waited for anew."""
    state = turn.state
    assert state.failed_at is not None
    since = state.failed_at if state.set_aside_at is None else state.set_aside_at
    extended = tuple(
        (lot.id, lot.expires_at + turn.now - max(lot.at, since))
        for lot in open_lots(turn)
        if lot.expires_at is not None
    )
    over = state.paid_until is not None and state.paid_until <= turn.now
    wait = turn.catalog.licence.renewal_wait_days * DAY_MS
    entry = e.Restored(
        **fields,
        tokens=turn.account.free,
        extended=extended,
        reason=reason,
        brings=brings,
        renewal_by=turn.now + wait if over else None,
    )
    turn.emit(entry)
    return entry


def reset(turn: Turn, command: c.Reset) -> Reply:
    """Begin a new period, as the payment provider bills it; its end wins over the cycle (readings).

    A scheduled change of plan takes effect with it: the new period is the new plan's, and a cancellation leaves
    none. Where the provider bills, its invoice is paid: that mends a failed payment, and a period that was waited
    for begins where the one before ended, so that a late invoice makes it neither shorter nor longer.
    """
    state = turn.state
    plan = turn.scheduled_plan() if state.scheduled else turn.current_plan()
    billed = command.billed or (state.scheduled_billed if state.scheduled else state.paid_until is not None)
    wrong = bad_end(turn, command.end)
    if wrong is not None:
        return wrong
    if plan is None and not state.scheduled:
        return Refusal(Code.NOT_POSSIBLE, "The organization has no plan, so it has no period to reset.")
    assert state.period is not None
    if state.period.start == turn.now:
        return Refusal(Code.NOT_POSSIBLE, "The period began this very moment already.")
    if command.end is not None and command.end == state.paid_until:
        return Refusal(Code.NOT_POSSIBLE, "This invoice is known already: the plan is paid until then.")
    start = turn.now
    if state.paid_until is not None and state.renewal_by is not None:
        start = state.paid_until if state.paid_until <= turn.now < state.renewal_by else turn.now
    anchor, number = start, 0
    if plan is not None and command.end is None and start < turn.now:
        anchor, number = following(turn, plan, start)
    if state.failed_at is not None and billed:
        _mend(turn, turn.stamp(), "invoice paid")
    carried = close_period(turn, plan)
    if plan is None:
        return receipt(end_plan(turn, turn.now, turn.signed()))
    if state.scheduled:
        change(turn, plan, anchor, carried=carried)
    return receipt(
        begin_paid(turn, plan, anchor, number, carried, end=command.end, billed=billed, signed=True)
    )
