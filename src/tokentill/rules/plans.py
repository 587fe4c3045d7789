"""Plans: opening an account, changing its plan, and everything whose time has come.

A period's bounds are computed from the anchor, never from the period before (R-PLAN-4). How one ends and the
next begins is `tokentill.rules.resets`. A reset that nobody came by to notice happens on the next command,
each missed period in turn.

An upgrade takes effect at once: the unused share of the old price is credited, a new period starts, the
full new allowance is granted. Downgrades and cancelling wait for the period's end (readings).

Requirement ids: R-PLAN-4, R-LIC-1, R-LIC-2, R-LED-2.
"""

from __future__ import annotations

from msgspec import UNSET

from tokentill.rules import commands as c
from tokentill.rules import entries as e
from tokentill.rules import licence
from tokentill.rules.account import RANK_HOLD, RANK_LOT, RANK_STAGE, RANK_WARN, Account
from tokentill.rules.catalog import DAY_MS, TOKENS_MAX, Catalog, Plan
from tokentill.rules.invoices import bad_end, bad_paid, outdated, paid_by
from tokentill.rules.ledger import end_hold
from tokentill.rules.money import half_up
from tokentill.rules.periods import index_at
from tokentill.rules.receipts import Receipt, receipt
from tokentill.rules.refusals import Code, Refusal
from tokentill.rules.resets import (
    begin_paid,
    bill_overage,
    change,
    contested,
    end_period,
    end_plan,
    expire,
    open_lots,
    plan_lots,
)
from tokentill.rules.turn import Turn
from tokentill.rules.warnings import warn, warn_expiring

ADVANCE_MAX_MS = 400 * DAY_MS
"""A simulated clock moves so far in one step; so many entries at most go into one transaction."""

Reply = Receipt | Refusal


def open_account(turn: Turn, command: c.Open) -> Reply:
    """Begin an account, with the first period of its plan if it has one."""
    if turn.state.opened:
        return Refusal(Code.ORGANIZATION_EXISTS, "An organization of this id exists already.")
    name = turn.catalog.default_plan if command.plan is UNSET else command.plan
    if name is not None and name not in turn.catalog.plans:
        return unknown_plan(turn.catalog, str(name))
    anchor = turn.now if command.anchor is None else command.anchor
    if not (type(anchor) is int and 0 <= anchor <= turn.now):
        return Refusal(
            Code.INVALID, "anchor must be a time in the past, in epoch milliseconds.", detail="anchor"
        )
    brings = 0 if name is None else turn.catalog.plans[name].tokens
    entry = e.Opened(**turn.signed(), anchor=anchor, brings=brings, simulated=command.simulated)
    turn.emit(entry)
    if name is not None:
        plan = turn.catalog.plans[name]
        change(turn, plan, anchor)
        begin_paid(turn, plan, anchor, index_at(anchor, plan.cycle, turn.now))
    return receipt(entry)


def advance(turn: Turn, command: c.Advance) -> Reply:
    """Move a simulated clock on: what is due happens in order, each at its own time (design idea 4)."""
    to = command.to
    if not (type(to) is int and turn.now <= to <= turn.now + ADVANCE_MAX_MS and to < TOKENS_MAX):
        message = "to must be the account's time or up to 400 days later, in epoch milliseconds."
        return Refusal(Code.INVALID, message, detail="to")
    if not turn.state.simulated:
        message = "This account lives in real time. Only one that was opened as simulated can be advanced."
        return Refusal(Code.NOT_POSSIBLE, message)
    since = turn.now
    while (due := turn.account.next_due()) is not None and due[0] <= to:
        turn.now = max(turn.now, due[0])
        apply_due(turn)
    turn.now = to
    entry = e.Advanced(**turn.signed(), since=since)
    turn.emit(entry)
    return receipt(entry)


def unknown_plan(catalog: Catalog, name: str) -> Refusal:
    """There is no such plan; says which there are."""
    known = ", ".join(catalog.plans)
    return Refusal(
        Code.UNKNOWN_PLAN, f"The catalog has no plan of this name. It has: {known}.", detail=name[:128]
    )


def apply_due(turn: Turn) -> None:
    """Apply everything whose time has come, in order of time (design idea 4). Ends when nothing is due."""
    account = turn.account
    while True:
        top = account.next_due()
        if top is None or top[0] > turn.now:
            return
        time, rank, ident = top
        if rank == RANK_HOLD:
            assert isinstance(ident, str)
            end_hold(turn, ident, "timeout")
        elif rank == RANK_LOT:
            expire(
                turn,
                [lot for lot in open_lots(turn) if lot.expires_at is not None and lot.expires_at <= time],
            )
        elif rank == RANK_STAGE:
            _next_stage(turn, time)
        elif rank == RANK_WARN:
            assert isinstance(ident, int)
            warn_expiring(turn, ident)
        else:
            end_period(turn, time)
        warn(turn)


def as_of(account: Account, catalog: Catalog, now: int) -> Account:
    """`account`, a copy of its own, as it stands at `now`, everything due applied, to be looked at and thrown away."""
    turn = Turn.begin(account, catalog, now, lambda _operation: ())
    apply_due(turn)
    account.state.time = turn.now
    return account


def change_plan(turn: Turn, command: c.ChangePlan) -> Reply:
    """Upgrade now, downgrade or cancel at period end, or as `when` says (R-PLAN-4)."""
    state, catalog = turn.state, turn.catalog
    plan = None if command.plan is None else catalog.plans.get(command.plan)
    wrong = bad_paid(command) or outdated(turn, command) or bad_end(turn, command.end)
    if wrong is not None:
        return wrong
    if command.plan is not None and plan is None:
        return unknown_plan(catalog, command.plan)
    if command.plan == state.plan:
        if not state.scheduled:
            message = "The organization is on this plan already."
            if plan is None:
                message = "The organization has no plan, so there is nothing to cancel."
            return Refusal(Code.NOT_POSSIBLE, message)
        entry: e.Entry = e.PlanScheduled(**turn.signed(), plan=command.plan, cancelled=True)
        turn.emit(entry)
        return receipt(entry)
    if _is_immediate(turn, plan, command.when):
        return _change_now(turn, plan, command)
    assert state.period is not None
    at = state.period.end if state.paid_until is None else state.paid_until
    billed = command.billed and plan is not None
    entry = e.PlanScheduled(**turn.signed(), plan=command.plan, at=at, billed=billed)
    turn.emit(entry)
    apply_due(turn)  # the end may have passed already, with the renewal waited for
    return receipt(entry)


def _is_immediate(turn: Turn, plan: Plan | None, when: str) -> bool:
    if turn.state.period is None or when == "now":
        return True
    current = turn.current_plan()
    up = plan is not None and (current is None or plan.rank > current.rank)
    return up and when == "auto"


def _change_now(turn: Turn, plan: Plan | None, command: c.ChangePlan) -> Reply:
    if turn.state.failed_at is not None and plan is not None:
        return Refusal(Code.NOT_POSSIBLE, "Payment has failed. Fix it first, then change the plan.")
    if turn.state.period is not None and turn.state.period.start == turn.now:
        # Two periods of one plan cannot begin in the same moment: a period's grant is known by its start.
        turn.now += 1
        apply_due(turn)
    credit = unused_credit(turn)
    expire(turn, plan_lots(turn))
    bill_overage(turn)
    if plan is not None:
        paid = paid_by(command, billed=command.billed)
        entry = change(turn, plan, turn.now, credit=credit, signed=True, paid=paid)
        begin_paid(turn, plan, turn.now, 0, paid=paid)
        return receipt(entry)
    return receipt(end_plan(turn, turn.now, turn.signed(), credit))


def unused_credit(turn: Turn) -> int:
    """Minor units of the current plan's price that its unused share is worth, rounded half up (readings).

    The price is the one the period was begun with, whatever the catalog says today. By time: the part of the
    period still to come; by tokens: the unspent part of the allowance, held tokens included. A payment that
    covers several periods counts whole periods still to come as unused; while the next is waited for, none is. Nor is
    any of a payment that is contested: that money may be gone.
    """
    state = turn.state
    period, price, periods = state.period, state.paid_price, state.paid_periods
    if period is None or price is None or state.unpaid or contested(turn, state.paid_reference):
        return 0
    over = state.paid_until is not None and state.paid_until <= turn.now
    if over or turn.catalog.upgrade_credit == "none":
        return 0
    if turn.catalog.upgrade_credit == "tokens":
        lots = [lot for lot in plan_lots(turn) if lot.origin == "plan"]
        part, whole = sum(lot.available + lot.held for lot in lots), sum(lot.granted for lot in lots)
    else:
        part, whole = max(0, period.end - turn.now), period.end - period.start
    ahead = max(0, state.paid_first + periods - 1 - period.number)
    if state.paid_until is not None and period.end >= state.paid_until:
        ahead = 0
    if whole <= 0:
        return 0
    return half_up(price * (part + ahead * whole), whole * periods)


def _next_stage(turn: Turn, time: int) -> None:
    failed_at, ladder = turn.state.failed_at, turn.catalog.licence
    assert failed_at is not None
    entry = e.StandingChanged(
        **turn.stamp(),
        standing=licence.standing_at(failed_at, ladder, time),
        off=licence.groups_off(failed_at, ladder, time),
        stage_at=licence.next_stage(failed_at, ladder, time),
    )
    turn.emit(entry)
