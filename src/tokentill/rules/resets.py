"""Resets: how a period ends and the next begins, by the cycle or as a payment provider bills it.

A reset is an expiry, the bill of the overage, the start of the period and the grant, all in the same moment;
the grant has a deterministic id (organization, plan, start), so that a period is granted once (invariant I12).
A change of plan that waits for the period's end takes effect at the reset, whoever brings it about.

Rollover (R-PLAN-5): what is unspent, unheld and not set aside in plan lots, old rollover included, is carried
up to the cap. While payment is failed periods go by without a grant; restoring grants the current one (readings).

Requirement ids: R-PLAN-4, R-PLAN-5, R-PLAN-6, R-LIC-1, R-LED-2.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

from tokentill.rules import commands as c
from tokentill.rules import entries as e
from tokentill.rules.account import PLAN_PRIORITY, Lot, Period
from tokentill.rules.catalog import DAY_MS, TOKENS_MAX, Plan
from tokentill.rules.corrections import add_lot
from tokentill.rules.periods import period_at
from tokentill.rules.receipts import Receipt, receipt
from tokentill.rules.refusals import Code, Refusal
from tokentill.rules.turn import Turn


def take_plan(
    turn: Turn,
    plan: Plan,
    anchor: int,
    number: int,
    *,
    credit: int = 0,
    carried: int = 0,
    signed: bool = False,
) -> e.PlanChanged:
    """Move to `plan`, whose period `number` from `anchor` begins; the entry is signed where it answers the command."""
    entry = _change(turn, plan, anchor, credit=credit, carried=carried, signed=signed)
    start_period(turn, plan, Period(number, *period_at(anchor, plan.cycle, number)), carried, billed=True)
    return entry


def _change(
    turn: Turn, plan: Plan, anchor: int, *, credit: int = 0, carried: int = 0, signed: bool = False
) -> e.PlanChanged:
    due = 0 if plan.price is None else max(0, plan.price - credit)
    entry = e.PlanChanged(
        **(turn.signed() if signed else turn.stamp()),
        plan=plan.id,
        before=turn.state.plan,
        anchor=anchor,
        credit=credit,
        due=due,
        currency=turn.catalog.currency,
        brings=0 if turn.state.failed_at is not None else plan.tokens + carried,
    )
    turn.emit(entry)
    return entry


def start_period(
    turn: Turn, plan: Plan | None, period: Period, carried: int, *, billed: bool = False, signed: bool = False
) -> e.PeriodStarted:
    """Begin `period` and grant its allowance, unless payment is failed; `carried` tokens roll over into it.

    What was paid keeps its terms: a period within a payment for several has the price of that payment, the
    first after them (or a `billed` one) that of the catalog.
    """
    state = turn.state
    unpaid = state.failed_at is not None
    price, periods, first = state.paid_price, state.paid_periods, state.paid_first
    if billed or plan is None or not first < period.number < first + periods:
        price, periods, first = None, 1, period.number
        if plan is not None:
            price, periods = plan.price, plan.periods_per_payment
    entry = e.PeriodStarted(
        **(turn.signed() if signed else turn.stamp()),
        tokens=0 if unpaid or plan is None else plan.tokens,
        number=period.number,
        start=period.start,
        end=period.end,
        plan=state.plan,
        unpaid=unpaid,
        brings=0 if unpaid or plan is None else plan.tokens + carried,
        price=price,
        periods=periods,
        first=first,
    )
    turn.emit(entry)
    if not unpaid and plan is not None:
        grant_period(turn, plan, carried)
    return entry


def grant_period(turn: Turn, plan: Plan, carried: int) -> None:
    """Grant the running period's allowance, and what is carried into it."""
    period = turn.state.period
    assert period is not None
    if carried:
        roll = c.Grant(tokens=carried, origin="rollover", expires_at=period.end)
        add_lot(turn, roll, turn.stamp())
    if plan.tokens:
        fields = turn.stamp()
        fields["key"] = period_id(plan.id, period)
        add_lot(turn, c.Grant(tokens=plan.tokens, origin="plan", expires_at=period.end), fields)


def period_id(plan: str, period: Period) -> str:
    """The deterministic id of a period's grant, unique within an organization (design, I12)."""
    return blake2b(f"{plan}@{period.start}".encode(), digest_size=16, person=b"tokentill period").hexdigest()


def open_lots(turn: Turn) -> list[Lot]:
    """Lots that are not the plan's and have not lapsed."""
    return [lot for lot in turn.state.lots.values() if not lot.lapsed and lot.priority != PLAN_PRIORITY]


def plan_lots(turn: Turn) -> list[Lot]:
    """Lots of the plan, carried ones included, that have not lapsed."""
    return [lot for lot in turn.state.lots.values() if not lot.lapsed and lot.priority == PLAN_PRIORITY]


def expire(turn: Turn, lots: list[Lot]) -> None:
    """Close `lots`: what is free in them expires, what is held in them can still be charged."""
    for unit in ("token", "money"):
        some = [lot for lot in lots if lot.unit == unit]
        if not some:
            continue
        moves = tuple((lot.id, lot.available) for lot in some if lot.available)
        entry = e.Expired(
            **turn.stamp(free=-turn.account.freed(moves) if unit == "token" else 0),
            tokens=sum(tokens for _, tokens in moves),
            moves=moves,
            lots=tuple(lot.id for lot in some),
            unit="token" if unit == "token" else "money",
        )
        turn.emit(entry)


def end_period(turn: Turn, end: int) -> None:
    """The reset by the cycle: what lapses, what is carried, what is billed, the scheduled plan, the next period."""
    state, old = turn.state, turn.current_plan()
    new = turn.scheduled_plan() if state.scheduled else old
    carried = _close_period(turn, new)
    if not state.scheduled:
        start_period(turn, old, _next_period(turn, old, end), carried)
        return
    if new is None:
        _end_plan(turn, end, turn.stamp())
        return
    # A like cycle goes on from the anchor it had.
    period = _next_period(turn, new, end)
    number = period.number if old is not None and old.cycle == new.cycle else 0
    take_plan(turn, new, state.anchor if number else end, number, carried=carried)


def _next_period(turn: Turn, plan: Plan | None, end: int) -> Period:
    """The period that starts at `end`; where the anchor does not lead there (the provider billed), a new anchor."""
    state = turn.state
    assert state.period is not None
    if plan is None:
        return Period(state.period.number + 1, end, end + (state.period.end - state.period.start))
    number = state.period.number + 1
    start, stop = period_at(state.anchor, plan.cycle, number)
    if start == end:
        return Period(number, start, stop)
    return Period(0, *period_at(end, plan.cycle, 0))


def _carry(plan: Plan | None, unspent: int) -> int:
    if plan is None or plan.rollover.mode == "none":
        return 0
    if plan.rollover.mode == "unlimited":
        return unspent
    return min(unspent, plan.tokens if plan.rollover.cap is None else plan.rollover.cap)


def bill_overage(turn: Turn) -> None:
    """Put the running period's overage on the bill, if there is any (Option B)."""
    state = turn.state
    if state.overage_tokens == 0 or state.period is None:
        return
    entry = e.OverageBilled(
        **turn.stamp(),
        tokens=state.overage_tokens,
        amount=state.overage_amount,
        currency=turn.catalog.currency,
        start=state.period.start,
        end=min(state.period.end, turn.now),
    )
    turn.emit(entry)


def reset(turn: Turn, command: c.Reset) -> Receipt | Refusal:
    """Begin a new period now, as the payment provider bills it; its end wins over the cycle (readings).

    A scheduled change of plan takes effect with it: the new period is the new plan's, and a cancellation leaves none.
    """
    state, end = turn.state, command.end
    plan = turn.scheduled_plan() if state.scheduled else turn.current_plan()
    if end is not None and not (
        type(end) is int and turn.now < end <= turn.now + 400 * DAY_MS and end < TOKENS_MAX
    ):
        return Refusal(
            Code.INVALID,
            "end must lie in the future, by 400 days at most, in epoch milliseconds.",
            detail="end",
        )
    if plan is None and not state.scheduled:
        return Refusal(Code.NOT_POSSIBLE, "The organization has no plan, so it has no period to reset.")
    if state.period is not None and state.period.start == turn.now:
        return Refusal(Code.NOT_POSSIBLE, "The period began this very moment already.")
    carried = _close_period(turn, plan)
    if plan is None:
        return receipt(_end_plan(turn, turn.now, turn.signed()))
    if end is None:
        end = period_at(turn.now, plan.cycle, 0)[1]
    if state.scheduled:
        _change(turn, plan, turn.now, carried=carried)
    return receipt(start_period(turn, plan, Period(0, turn.now, end), carried, billed=True, signed=True))


def _close_period(turn: Turn, new: Plan | None) -> int:
    """End the running period: its plan tokens lapse, its overage is billed. Gives what is carried into one of `new`."""
    old = turn.current_plan()
    unspent = sum(lot.available for lot in plan_lots(turn) if lot.id not in turn.state.aside)
    expire(turn, plan_lots(turn))
    bill_overage(turn)
    return _carry(old, unspent) if old is new else min(_carry(old, unspent), _carry(new, unspent))


def _end_plan(turn: Turn, anchor: int, fields: dict[str, Any]) -> e.PlanChanged:
    """The plan is cancelled: none from here on. `fields` are the entry's own."""
    entry = e.PlanChanged(**fields, plan=None, before=turn.state.plan, anchor=anchor)
    turn.emit(entry)
    return entry
