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
from tokentill.rules.catalog import DAY_MS, Plan
from tokentill.rules.invoices import OVER, bad_end, bad_paid, outdated, paid_by
from tokentill.rules.plans import apply_due, unknown_plan
from tokentill.rules.receipts import Receipt, receipt
from tokentill.rules.refusals import Code, Refusal
from tokentill.rules.resets import (
    begin_paid,
    brings,
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
    at = turn.now if command.failed_at is None else command.failed_at
    if not (type(at) is int and 0 < at <= turn.now):
        return Refusal(
            Code.INVALID, "failed_at must be a time in the past, in epoch milliseconds.", detail="failed_at"
        )
    hand_at, owed_at = turn.state.hand_at, turn.state.owed_at
    if command.by_hand:
        hand_at = at if hand_at is None else min(hand_at, at)
    else:
        owed_at = at if owed_at is None else min(owed_at, at)
    entry = _frozen(turn, turn.signed(), hand_at, owed_at, command.reason)
    apply_due(turn)
    return receipt(entry)


def _frozen(
    turn: Turn, fields: dict[str, Any], hand_at: int | None, owed_at: int | None, reason: str | None
) -> e.Frozen:
    """Everything is set aside, by hand since `hand_at` or for an invoice since `owed_at`; the earlier counts.

    So it does not matter which was told first. Since when bought lots do not age is another matter, and stays.
    """
    state = turn.state
    failed_at = min(at for at in (hand_at, owed_at) if at is not None)
    began = turn.now if state.failed_at is None else state.set_aside_at or state.failed_at
    entry = e.Frozen(
        **fields,
        tokens=turn.account.free,
        failed_at=failed_at,
        stage_at=state.stage_at if failed_at == state.failed_at else failed_at + DAY_MS,
        again=state.failed_at is not None,
        since=None if began == failed_at else began,
        hand_at=hand_at,
        owed_at=owed_at,
        reason=reason,
    )
    turn.emit(entry)
    return entry


def restore(turn: Turn, command: c.Restore) -> Reply:
    """Payment fixed on any day: AI and tokens back at once, whole (R-LIC-3).

    What was frozen by hand stays so until somebody restores it by hand, whatever is paid meanwhile.
    """
    state = turn.state
    if state.failed_at is None:
        return Refusal(Code.NOT_POSSIBLE, "Payment has not failed, so there is nothing to restore.")
    if state.hand_at is not None and not command.by_hand:
        if state.owed_at is None:
            return Refusal(Code.NOT_POSSIBLE, "This was frozen by hand. Only an operator can restore it.")
        still = _frozen(turn, turn.signed(), state.hand_at, None, command.reason)
        apply_due(turn)
        return receipt(still)
    plan = turn.current_plan() if state.unpaid else None
    carried = 0 if plan is None else waiting_carried(turn)
    entry = _mend(turn, turn.signed(), command.reason, brings(turn, plan, carried, state.paid_reference))
    if plan is not None:
        grant_period(turn, plan, carried)
    return receipt(entry)


def _mend(turn: Turn, fields: dict[str, Any], reason: str | None, follow: int = 0) -> e.Restored:
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
        brings=follow,
        renewal_by=turn.now + wait if over else None,
    )
    turn.emit(entry)
    return entry


def reset(turn: Turn, command: c.Reset) -> Reply:
    """Begin a new period, as the payment provider bills it; its end wins over the cycle (readings).

    A scheduled change of plan takes effect with it: the new period is the new plan's, and a cancellation leaves
    none. An invoice that names its plan is of that plan, and what is scheduled beside it waits on. Where the provider
    bills, its invoice is paid: that mends a failed payment. The period begins where the invoice says, or one that was
    waited for where the one before ended, so that a late invoice makes it neither shorter nor longer.
    """
    state = turn.state
    wrong = bad_paid(command)
    late = None if wrong is not None else outdated(turn, command)
    if late is not None:
        return _too_late(turn, command, late)
    wrong = wrong or bad_end(turn, command.end)
    if wrong is not None:
        return wrong
    if command.plan is not None:
        plan, moves = turn.catalog.plans.get(command.plan), command.plan != state.plan
        if plan is None:
            return unknown_plan(turn.catalog, command.plan)
    else:
        plan, moves = turn.scheduled_plan() if state.scheduled else turn.current_plan(), state.scheduled
        if plan is None and not state.scheduled:
            return Refusal(Code.NOT_POSSIBLE, "The organization has no plan, so it has no period to reset.")
    if command.start is None and state.period is not None and state.period.start == turn.now:
        return Refusal(Code.NOT_POSSIBLE, "The period began this very moment already.")
    if command.end is not None and command.end == state.paid_until:
        return Refusal(Code.NOT_POSSIBLE, "This invoice is known already: the plan is paid until then.")
    return _begin(turn, command, plan, moves=moves)


def _too_late(turn: Turn, command: c.Reset, late: Refusal) -> Reply:
    """The answer to an invoice that begins nothing. If it is the one that was missing, payment is fixed with it."""
    state = turn.state
    newest = state.paid_until is not None and (command.start or 0) > (state.paid_from or 0)
    if late.detail == OVER and newest and state.owed_at is not None:
        return restore(turn, c.Restore(by_hand=False, reason="invoice paid"))
    return late


def _begin(turn: Turn, command: c.Reset, plan: Plan | None, *, moves: bool) -> Reply:
    """Close the running period and begin the one that was paid for; without a plan there is none."""
    state = turn.state
    billed = command.billed or (state.scheduled_billed if state.scheduled else state.paid_until is not None)
    start = _start(turn, command.start)
    anchor, number = start, 0
    if plan is not None and command.end is None and start < turn.now:
        anchor, number = following(turn, plan, start)
    if state.failed_at is not None and billed:
        if state.hand_at is None:
            _mend(turn, turn.stamp(), "invoice paid")
        elif state.owed_at is not None:
            _frozen(turn, turn.stamp(), state.hand_at, None, "invoice paid")
    carried = close_period(turn, plan)
    if plan is None:
        ended = end_plan(turn, turn.now, turn.signed())
        apply_due(turn)
        return receipt(ended)
    paid = paid_by(command, billed=billed)
    if moves:
        change(turn, plan, anchor, carried=carried.free, paid=paid)
    begun = begin_paid(turn, plan, anchor, number, carried, paid, signed=True)
    apply_due(turn)
    return receipt(begun)


def _start(turn: Turn, paid_from: int | None) -> int:
    """When the period begins: where the invoice says, else where the one that waited for it ended, else now.

    Two periods of one plan cannot begin in the same moment: a period's grant is known by its start.
    """
    state = turn.state
    if paid_from is None:
        waited = state.paid_until is not None and state.renewal_by is not None
        if waited and state.paid_until is not None and state.renewal_by is not None:
            return state.paid_until if state.paid_until <= turn.now < state.renewal_by else turn.now
        return turn.now
    if state.period is None or state.period.start < paid_from <= turn.now:
        return min(paid_from, turn.now)
    if state.period.start == turn.now:
        turn.now += 1
        apply_due(turn)
    return turn.now
