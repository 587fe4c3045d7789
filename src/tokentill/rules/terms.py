"""Evolving what holds for an account: its plan, its period and what it was paid for, its licence.

The part of evolving that is about terms, not tokens.

Requirement ids: R-PLAN-4, R-PLAN-5, R-PLAN-6, R-LIC-1, R-LIC-2, R-LIC-3.
"""

from __future__ import annotations

from tokentill.rules import entries as e
from tokentill.rules.account import RANK_LOT, RANK_STAGE, RANK_WARN, Account, Misfit, Period


def period_started(account: Account, entry: e.PeriodStarted) -> None:
    """Evolve by a period that begins."""
    state = account.state
    state.period = Period(entry.number, entry.start, entry.end)
    if entry.number == 0:
        state.anchor = entry.start
    state.unpaid = entry.unpaid
    state.paid_until, state.renewal_by, state.carried = entry.paid_until, entry.renewal_by, entry.carried
    state.counted_from = entry.time if entry.paid_until is not None and entry.time > entry.start else 0
    state.paid_price, state.paid_periods, state.paid_first = entry.price, entry.periods, entry.first
    state.paid_from, state.paid_reference = entry.since, entry.reference
    state.overage_tokens = state.overage_amount = state.grace_used = state.unlimited_used = 0
    for lot in state.lots.values():
        lot.spent_before = lot.spent
    account.push_period()


def overage_billed(account: Account, entry: e.OverageBilled) -> None:
    """Evolve by overage that was put on the bill."""
    state = account.state
    state.overage_tokens -= entry.tokens
    state.overage_amount -= entry.amount + entry.credit
    state.overage_credit -= entry.credit


def plan_changed(account: Account, entry: e.PlanChanged) -> None:
    """Evolve by another plan, or none."""
    state = account.state
    state.plan = entry.plan
    state.anchor = entry.anchor
    # Until the new plan grants something, what was low is measured by the newest lot that was bought.
    state.allowance = account.newest_bought()
    state.warned.clear()
    state.scheduled = state.scheduled_billed = False
    state.scheduled_plan = None
    if entry.plan is None:
        state.period = state.paid_until = state.renewal_by = state.paid_from = state.paid_reference = None
        state.unpaid = False
        state.carried = 0
        state.overage_tokens = state.overage_amount = state.grace_used = state.unlimited_used = 0


def plan_scheduled(account: Account, entry: e.PlanScheduled) -> None:
    """Evolve by a change of plan that waits."""
    account.state.scheduled = not entry.cancelled
    account.state.scheduled_plan = None if entry.cancelled else entry.plan
    account.state.scheduled_billed = entry.billed
    account.push_period()


def frozen(account: Account, entry: e.Frozen) -> None:
    """Evolve by a payment that failed, or one cause of two that is gone."""
    state = account.state
    state.hand_at = entry.hand_at
    state.owed_at = entry.failed_at if entry.hand_at is None else entry.owed_at
    if entry.failed_at == state.failed_at:
        return
    state.failed_at = entry.failed_at
    state.set_aside_at = entry.since
    state.standing = "past_due"
    _stage(account, entry.stage_at)
    account.push_period()


def _stage(account: Account, stage_at: int | None) -> None:
    account.state.stage_at = stage_at
    if stage_at is not None:
        account.push(stage_at, RANK_STAGE, 0)


def standing_changed(account: Account, entry: e.StandingChanged) -> None:
    """Evolve by a rung of the licence."""
    account.state.standing = entry.standing
    _stage(account, entry.stage_at)


def restored(account: Account, entry: e.Restored) -> None:
    """Evolve by a payment that was fixed."""
    state = account.state
    state.failed_at = state.set_aside_at = state.hand_at = state.owed_at = None
    state.unpaid = False
    if entry.brings:
        state.carried = 0
    if entry.renewal_by is not None:
        state.renewal_by = entry.renewal_by
    account.push_period()
    state.standing = "active"
    state.stage_at = None
    for number, expires_at in entry.extended:
        lot = state.lots.get(number)
        if lot is None:
            raise Misfit(f"lot {number} is not known")
        listed = lot.available > 0 and lot.unit == "token"
        if listed:
            account.unlist_lot(lot)
        if number in state.expiring:
            state.expiring[number] += expires_at - (lot.expires_at or 0)
            account.push(state.expiring[number], RANK_WARN, number)
        lot.expires_at = expires_at
        if listed:
            account.list_lot(lot)
        account.push(expires_at, RANK_LOT, number)


def cap_set(account: Account, entry: e.CapSet) -> None:
    """Evolve by a spending cap."""
    account.state.cap = entry.cap
