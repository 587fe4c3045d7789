"""Plans and periods: opening, resets with rollover, plan changes, payment failure and repair.

A period's bounds are computed from the anchor, never from the period before (R-PLAN-4). A reset is an
expiry, the bill of the overage, the start of the period and the grant, all in the same moment; the grant
has a deterministic id (organization, plan, start), so that a period is granted once (invariant I12). A
reset that nobody came by to notice happens on the next command, each missed period in turn.

Rollover (R-PLAN-5): what is unspent and unheld in plan lots, old rollover included, is carried up to the
cap. While payment is failed periods go by without a grant; restoring grants the current one (readings).

An upgrade takes effect at once: the unused share of the old price is credited, a new period starts, the
full new allowance is granted. Downgrades and cancelling wait for the period's end (readings).

Requirement ids: R-PLAN-4, R-PLAN-5, R-PLAN-6, R-LIC-1, R-LIC-2, R-LIC-3, R-LIC-5, R-LED-2.
"""

from __future__ import annotations

from hashlib import blake2b

from msgspec import UNSET

from tokentill.rules import commands as c
from tokentill.rules import entries as e
from tokentill.rules import licence
from tokentill.rules.account import PLAN_PRIORITY, RANK_HOLD, RANK_LOT, RANK_STAGE, Account, Lot, Period
from tokentill.rules.catalog import DAY_MS, TOKENS_MAX, Catalog, Plan
from tokentill.rules.corrections import add_lot
from tokentill.rules.ledger import end_hold
from tokentill.rules.money import half_up
from tokentill.rules.periods import index_at, period_at
from tokentill.rules.receipts import Receipt, receipt
from tokentill.rules.refusals import Code, Refusal
from tokentill.rules.turn import Turn
from tokentill.rules.warnings import warn

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
    entry = e.Opened(**turn.signed(), anchor=anchor, brings=brings)
    turn.emit(entry)
    if name is not None:
        _take_plan(
            turn, turn.catalog.plans[name], anchor, index_at(anchor, turn.catalog.plans[name].cycle, turn.now)
        )
    return receipt(entry)


def unknown_plan(catalog: Catalog, name: str) -> Refusal:
    """There is no such plan; says which there are."""
    known = ", ".join(catalog.plans)
    return Refusal(
        Code.UNKNOWN_PLAN, f"The catalog has no plan of this name. It has: {known}.", detail=name[:128]
    )


def _take_plan(
    turn: Turn,
    plan: Plan,
    anchor: int,
    number: int,
    *,
    credit: int = 0,
    carried: int = 0,
    signed: bool = False,
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
    _start_period(turn, plan, Period(number, *period_at(anchor, plan.cycle, number)), carried, billed=True)
    return entry


def _start_period(
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
            _expire(
                turn,
                [lot for lot in open_lots(turn) if lot.expires_at is not None and lot.expires_at <= time],
            )
        elif rank == RANK_STAGE:
            _next_stage(turn, time)
        else:
            _end_period(turn, time)
        warn(turn)


def as_of(account: Account, catalog: Catalog, now: int) -> Account:
    """`account`, a copy of its own, as it stands at `now`, everything due applied, to be looked at and thrown away."""
    turn = Turn.begin(account, catalog, now, lambda _operation: ())
    apply_due(turn)
    account.state.time = turn.now
    return account


def open_lots(turn: Turn) -> list[Lot]:
    """Lots that are not the plan's and have not lapsed."""
    return [lot for lot in turn.state.lots.values() if not lot.lapsed and lot.priority != PLAN_PRIORITY]


def _plan_lots(turn: Turn) -> list[Lot]:
    return [lot for lot in turn.state.lots.values() if not lot.lapsed and lot.priority == PLAN_PRIORITY]


def _expire(turn: Turn, lots: list[Lot]) -> None:
    for unit in ("token", "money"):
        some = [lot for lot in lots if lot.unit == unit]
        if not some:
            continue
        free = sum(lot.available for lot in some)
        entry = e.Expired(
            **turn.stamp(free=-free if unit == "token" else 0),
            tokens=free,
            moves=tuple((lot.id, lot.available) for lot in some if lot.available),
            lots=tuple(lot.id for lot in some),
            unit="token" if unit == "token" else "money",
        )
        turn.emit(entry)


def _end_period(turn: Turn, end: int) -> None:
    """The reset: what lapses, what is carried, what is billed, the scheduled plan, the next period."""
    state, catalog = turn.state, turn.catalog
    old = turn.current_plan()
    unspent = sum(lot.available for lot in _plan_lots(turn))
    carried = _carry(old, unspent)
    _expire(turn, _plan_lots(turn))
    _bill_overage(turn)
    if not state.scheduled:
        _start_period(turn, old, _next_period(turn, old, end), carried)
        return
    plan = None if state.scheduled_plan is None else catalog.plans.get(state.scheduled_plan)
    if plan is None:
        turn.emit(e.PlanChanged(**turn.stamp(), plan=None, before=state.plan, anchor=end))
        return
    # Both plans must allow what is carried, and a like cycle goes on from the anchor it had.
    period = _next_period(turn, plan, end)
    number = period.number if old is not None and old.cycle == plan.cycle else 0
    anchor = state.anchor if number else end
    _take_plan(turn, plan, anchor, number, carried=min(carried, _carry(plan, unspent)))


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


def _bill_overage(turn: Turn) -> None:
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


def change_plan(turn: Turn, command: c.ChangePlan) -> Reply:
    """Upgrade now, downgrade or cancel at period end, or as `when` says (R-PLAN-4)."""
    state, catalog = turn.state, turn.catalog
    plan = None if command.plan is None else catalog.plans.get(command.plan)
    if command.plan is not None and plan is None:
        return unknown_plan(catalog, command.plan)
    if command.plan == state.plan:
        if not state.scheduled:
            return Refusal(Code.NOT_POSSIBLE, "The organization is on this plan already.")
        entry: e.Entry = e.PlanScheduled(**turn.signed(), plan=command.plan, cancelled=True)
        turn.emit(entry)
        return receipt(entry)
    if _is_immediate(turn, plan, command.when):
        return _change_now(turn, plan)
    assert state.period is not None
    entry = e.PlanScheduled(**turn.signed(), plan=command.plan, at=state.period.end)
    turn.emit(entry)
    return receipt(entry)


def _is_immediate(turn: Turn, plan: Plan | None, when: str) -> bool:
    if turn.state.period is None or when == "now":
        return True
    current = turn.current_plan()
    up = plan is not None and (current is None or plan.rank > current.rank)
    return up and when == "auto"


def _change_now(turn: Turn, plan: Plan | None) -> Reply:
    if turn.state.failed_at is not None and plan is not None:
        return Refusal(Code.NOT_POSSIBLE, "Payment has failed. Fix it first, then change the plan.")
    if turn.state.period is not None and turn.state.period.start == turn.now:
        # Two periods of one plan cannot begin in the same moment: a period's grant is known by its start.
        turn.now += 1
        apply_due(turn)
    credit = unused_credit(turn)
    _expire(turn, _plan_lots(turn))
    _bill_overage(turn)
    if plan is not None:
        return receipt(_take_plan(turn, plan, turn.now, 0, credit=credit, signed=True))
    entry = e.PlanChanged(
        **turn.signed(),
        plan=None,
        before=turn.state.plan,
        anchor=turn.now,
        credit=credit,
        currency=turn.catalog.currency,
    )
    turn.emit(entry)
    return receipt(entry)


def unused_credit(turn: Turn) -> int:
    """Minor units of the current plan's price that its unused share is worth, rounded half up (readings).

    The price is the one the period was begun with, whatever the catalog says today. By time: the part of the
    period still to come; by tokens: the unspent part of the allowance. A payment that covers several periods
    counts whole periods still to come as unused.
    """
    state = turn.state
    period, price, periods = state.period, state.paid_price, state.paid_periods
    if period is None or price is None or state.unpaid:
        return 0
    if turn.catalog.upgrade_credit == "none":
        return 0
    if turn.catalog.upgrade_credit == "tokens":
        lots = [lot for lot in _plan_lots(turn) if lot.origin == "plan"]
        part, whole = sum(lot.available for lot in lots), sum(lot.granted for lot in lots)
    else:
        part, whole = max(0, period.end - turn.now), period.end - period.start
    ahead = max(0, state.paid_first + periods - 1 - period.number)
    if whole <= 0:
        return 0
    return half_up(price * (part + ahead * whole), whole * periods)


def reset(turn: Turn, command: c.Reset) -> Reply:
    """Begin a new period now, as the payment provider bills it; its end wins over the cycle (readings)."""
    plan, state, end = turn.current_plan(), turn.state, command.end
    if end is not None and not (
        type(end) is int and turn.now < end <= turn.now + 400 * DAY_MS and end < TOKENS_MAX
    ):
        return Refusal(
            Code.INVALID,
            "end must lie in the future, by 400 days at most, in epoch milliseconds.",
            detail="end",
        )
    if plan is None:
        return Refusal(Code.NOT_POSSIBLE, "The organization has no plan, so it has no period to reset.")
    if state.period is not None and state.period.start == turn.now:
        return Refusal(Code.NOT_POSSIBLE, "The period began this very moment already.")
    if end is None:
        end = period_at(turn.now, plan.cycle, 0)[1]
    carried = _carry(plan, sum(lot.available for lot in _plan_lots(turn)))
    _expire(turn, _plan_lots(turn))
    _bill_overage(turn)
    return receipt(_start_period(turn, plan, Period(0, turn.now, end), carried, billed=True, signed=True))


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
