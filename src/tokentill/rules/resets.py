"""Resets: how a period ends and the next begins, by the cycle or as a payment provider bills it.

A reset is an expiry, the bill of the overage, the start of the period and the grant, all in the same moment;
the grant has a deterministic id (organization, plan, start), so that a period is granted once (invariant I12).
A change of plan that waits for the period's end takes effect at the reset, whoever brings it about.

Rollover (R-PLAN-5): what is unspent and unheld in plan lots, old rollover included, is carried up to the cap. What of it
is set aside for a payment that is contested is carried as a lot that is set aside for the same payment, after what is
free: so it is there if the dispute is won, and taken back with the rest if it is lost. While payment is failed periods
go by without a grant; restoring grants the current one, and what was carried waits for it (readings).

Where a payment provider bills, the end of what its invoice paid for begins nothing by itself: the period goes on
until the next invoice is paid or fails. When it has been waited for long enough, payment counts as failed. A
plan that is paid for several periods still renews itself within them. Tokens of a plan do not outlive their
period while payment is failed.

Requirement ids: R-PLAN-4, R-PLAN-5, R-PLAN-6, R-LIC-1, R-LIC-3, R-LED-2.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

from msgspec import Struct

from tokentill.rules import commands as c
from tokentill.rules import entries as e
from tokentill.rules.account import PLAN_PRIORITY, Lot, Period
from tokentill.rules.catalog import DAY_MS, Plan
from tokentill.rules.corrections import add_lot
from tokentill.rules.invoices import PLAIN, Paid
from tokentill.rules.periods import period_at, start_at
from tokentill.rules.turn import Turn

CONTESTED = "payment contested"
"""Why tokens are set aside as they come."""


class Carried(Struct, frozen=True):
    """Tokens that roll over: those that are `free`, and those that stay set `aside`, each with the purchase."""

    free: int = 0
    aside: tuple[tuple[str, int], ...] = ()


NOTHING = Carried()
"""Nothing rolls over."""


def change(
    turn: Turn,
    plan: Plan,
    anchor: int,
    *,
    credit: int = 0,
    carried: int = 0,
    signed: bool = False,
    paid: Paid = PLAIN,
) -> e.PlanChanged:
    """Move to `plan`, a period of which must begin next; the entry is signed where it answers the command."""
    price = plan.price if paid.price is None else paid.price
    due = 0 if price is None else max(0, price - credit)
    entry = e.PlanChanged(
        **(turn.signed() if signed else turn.stamp()),
        plan=plan.id,
        before=turn.state.plan,
        anchor=anchor,
        credit=credit,
        due=due,
        currency=turn.catalog.currency,
        brings=0 if turn.state.failed_at is not None else brings(turn, plan, carried, paid.reference),
    )
    turn.emit(entry)
    return entry


def brings(turn: Turn, plan: Plan | None, carried: int, reference: str | None) -> int:
    """Tokens that are free with a period that was paid; those of a contested payment are not."""
    own = 0 if plan is None or contested(turn, reference) else plan.tokens
    return 0 if plan is None else carried + own


def contested(turn: Turn, reference: str | None) -> bool:
    """Whether the tokens of this payment are set aside as they come."""
    return reference is not None and reference == turn.state.contested


def begin_paid(
    turn: Turn,
    plan: Plan,
    anchor: int,
    number: int,
    carried: Carried = NOTHING,
    paid: Paid = PLAIN,
    *,
    signed: bool = False,
) -> e.PeriodStarted:
    """Begin period `number` from `anchor` with a payment of its own."""
    start, cycle_end = period_at(anchor, plan.cycle, number)
    periods, end = plan.periods_per_payment, paid.end
    terms = (plan.price if paid.price is None else paid.price, periods, number)
    if not paid.billed:
        period = Period(number, start, cycle_end if end is None else end)
        return _start(turn, plan, period, carried, terms, signed=signed, paid=paid)
    until = period_at(anchor, plan.cycle, number + periods - 1)[1] if end is None else end
    period = Period(number, start, _cut(cycle_end, until, last=periods == 1))
    return _start(turn, plan, period, carried, terms, until, signed=signed, paid=paid)


def _cut(cycle_end: int, until: int, *, last: bool) -> int:
    """The end of a period within a payment of a provider, whose own end is that of the last period."""
    return until if last or cycle_end > until else cycle_end


def _start(
    turn: Turn,
    plan: Plan | None,
    period: Period,
    carried: Carried,
    terms: tuple[int | None, int, int],
    until: int | None = None,
    *,
    signed: bool = False,
    paid: Paid = PLAIN,
) -> e.PeriodStarted:
    """Begin `period` and grant its allowance, unless payment is failed; `carried` tokens roll over into it.

    `terms`: of the payment it belongs to, its price, for how many periods, and the number of the first of them;
    `until`: the end of what a provider's invoice paid for.
    """
    unpaid = turn.state.failed_at is not None
    price, periods, first = terms
    wait = turn.catalog.licence.renewal_wait_days * DAY_MS
    entry = e.PeriodStarted(
        **(turn.signed() if signed else turn.stamp()),
        tokens=0 if unpaid or plan is None else plan.tokens,
        number=period.number,
        start=period.start,
        end=period.end,
        plan=turn.state.plan,
        unpaid=unpaid,
        brings=0 if unpaid else brings(turn, plan, carried.free, paid.reference),
        price=price,
        periods=periods,
        first=first,
        paid_until=until,
        renewal_by=None if until is None else until + wait,
        carried=carried.free if unpaid else 0,
        since=paid.since,
        reference=paid.reference,
    )
    turn.emit(entry)
    if not unpaid and plan is not None:
        grant_period(turn, plan, carried.free)
    for contested_by, tokens in carried.aside:
        roll = c.Grant(tokens=tokens, origin="rollover", expires_at=period.end)
        _aside(turn, add_lot(turn, roll, turn.stamp()), contested_by)
    return entry


def _aside(turn: Turn, lot: e.Granted, reference: str | None) -> None:
    """Set a lot aside as it comes."""
    turn.emit(
        e.SetAside(
            **turn.stamp(free=-lot.tokens),
            tokens=lot.tokens,
            moves=((lot.lot, lot.tokens),),
            lots=(lot.lot,),
            reference=reference,
            reason=CONTESTED,
        )
    )


def grant_period(turn: Turn, plan: Plan, carried: int) -> None:
    """Grant the running period's allowance, and what is carried into it; set aside at once where it is contested."""
    period, reference = turn.state.period, turn.state.paid_reference
    assert period is not None
    if carried:
        roll = c.Grant(tokens=carried, origin="rollover", expires_at=period.end)
        add_lot(turn, roll, turn.stamp())
    if plan.tokens:
        fields = turn.stamp()
        fields["key"] = period_id(plan.id, period)
        own = c.Grant(tokens=plan.tokens, origin="plan", expires_at=period.end, reference=reference)
        lot = add_lot(turn, own, fields)
        if contested(turn, reference):
            _aside(turn, lot, reference)


def period_id(plan: str, period: Period) -> str:
    """The deterministic id of a period's grant, unique within an organization (design, I12)."""
    return blake2b(f"{plan}@{period.start}".encode(), digest_size=16, person=b"tokentill period").hexdigest()


def open_lots(turn: Turn) -> list[Lot]:
    """Lots that are not the plan's and have not lapsed."""
    return [lot for lot in turn.state.lots.values() if not lot.lapsed and lot.priority != PLAN_PRIORITY]


def plan_lots(turn: Turn) -> list[Lot]:
    """Lots of the plan, carried ones included, that have not lapsed."""
    return [lot for lot in turn.state.lots.values() if not lot.lapsed and lot.priority == PLAN_PRIORITY]


def expire(turn: Turn, lots: list[Lot], carried: int = 0) -> None:
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
            carried=carried,
        )
        turn.emit(entry)


def end_period(turn: Turn, end: int) -> None:
    """What happens to the running period by itself: the reset by the cycle, or a renewal that is missing."""
    state, old = turn.state, turn.current_plan()
    assert state.period is not None
    if state.awaits_renewal:
        _renewal_missing(turn, end)
        return
    if state.paid_until is not None and state.period.end < state.paid_until:
        _go_on(turn, old, close_period(turn, old))
        return
    new = turn.scheduled_plan() if state.scheduled else old
    carried = close_period(turn, new)
    if not state.scheduled:
        _go_on(turn, old, carried)
    elif new is None:
        end_plan(turn, end, turn.stamp())
    else:
        anchor, number = following(turn, new, end)
        change(turn, new, anchor, carried=carried.free)
        begin_paid(turn, new, anchor, number, carried)


def _renewal_missing(turn: Turn, time: int) -> None:
    """The invoice of the next period was not paid: payment has failed, and the period is over for its tokens."""
    if turn.state.failed_at is not None:
        plan = turn.current_plan()
        rolls = plan is not None and plan.rollover.mode != "none"
        # What is set aside for a dispute waits with it for the period that is paid, and may roll over into that.
        lots = [lot for lot in plan_lots(turn) if not (rolls and lot.id in turn.state.aside)]
        expire(turn, lots, carried=_carry(plan, _unspent(turn)))
        return
    turn.emit(
        e.Frozen(
            **turn.stamp(),
            tokens=turn.account.free,
            failed_at=time,
            stage_at=time + DAY_MS,
            owed_at=time,
            reason="renewal missing",
        )
    )


def _go_on(turn: Turn, plan: Plan | None, carried: Carried) -> None:
    """The next period of the same plan begins where the one before ended.

    What was paid keeps its terms: a period within a payment for several has the price of that payment, the
    first after them that of the catalog. A plan that the catalog no longer has goes on with nothing.
    """
    state = turn.state
    before = state.period
    assert before is not None
    until = state.paid_until
    anchor, number = (state.anchor, before.number + 1) if plan is None else following(turn, plan, before.end)
    within = state.paid_first < number < state.paid_first + state.paid_periods
    terms = (state.paid_price, state.paid_periods, state.paid_first)
    paid = Paid(since=state.paid_from, reference=state.paid_reference)
    if plan is None:
        period = Period(number, before.end, before.end + (before.end - before.start))
        _start(turn, None, period, carried, (None, 1, number), until, paid=paid)
        return
    start, end = period_at(anchor, plan.cycle, number)
    if until is not None:
        end = _cut(end, until, last=number + 1 >= state.paid_first + state.paid_periods)
    elif not within or not number:
        terms, paid = (plan.price, plan.periods_per_payment, number), PLAIN
    _start(turn, plan, Period(number, start, end), carried, terms, until, paid=paid)


def following(turn: Turn, plan: Plan, at: int) -> tuple[int, int]:
    """Anchor and number of the period of `plan` that begins at `at`, the end of the one before.

    A like cycle goes on from the anchor it had; where that does not lead there, there is a new one.
    """
    state, old = turn.state, turn.current_plan()
    assert state.period is not None
    if old is None or old.cycle != plan.cycle:
        return at, 0
    number = state.period.number + 1
    while start_at(state.anchor, plan.cycle, number) < at:  # an invoice may have paid for longer than a cycle
        number += 1
    return (state.anchor, number) if start_at(state.anchor, plan.cycle, number) == at else (at, 0)


def close_period(turn: Turn, new: Plan | None) -> Carried:
    """End the running period: its plan tokens lapse, its overage is billed. Gives what is carried into one of `new`."""
    old, unspent, waiting = turn.current_plan(), _unspent(turn), _waiting(turn)
    expire(turn, plan_lots(turn))
    bill_overage(turn)
    free, every = (
        min(_carry(old, tokens), _carry(new, tokens))
        for tokens in (unspent, unspent + sum(tokens for _, tokens in waiting))
    )
    left, aside = every - free, []
    for reference, tokens in waiting:
        take = min(left, tokens)
        left -= take
        if take:
            aside.append((reference, take))
    return Carried(free, tuple(aside))


def end_plan(turn: Turn, anchor: int, fields: dict[str, Any], credit: int = 0) -> e.PlanChanged:
    """The plan is cancelled: none from here on. `fields` are the entry's own."""
    currency = turn.catalog.currency if credit else None
    before = turn.state.plan
    entry = e.PlanChanged(**fields, plan=None, before=before, anchor=anchor, credit=credit, currency=currency)
    turn.emit(entry)
    return entry


def _unspent(turn: Turn) -> int:
    """What could be carried: free tokens of the plan, and what an unpaid period could not bring."""
    aside = turn.state.aside
    return turn.state.carried + sum(lot.available for lot in plan_lots(turn) if lot.id not in aside)


def _waiting(turn: Turn) -> list[tuple[str, int]]:
    """What is set aside for a purchase of the plan's tokens, which may yet turn out to be free: the oldest first."""
    aside = turn.state.aside
    lots = [lot for lot in plan_lots(turn) if lot.available]
    return [(aside[lot.id], lot.available) for lot in lots if aside.get(lot.id)]


def waiting_carried(turn: Turn) -> int:
    """What was carried into a period that began unpaid and is still allowed by the plan of now."""
    return _carry(turn.current_plan(), turn.state.carried)


def _carry(plan: Plan | None, unspent: int) -> int:
    if plan is None or plan.rollover.mode == "none":
        return 0
    if plan.rollover.mode == "unlimited":
        return unspent
    return min(unspent, plan.tokens if plan.rollover.cap is None else plan.rollover.cap)


def bill_overage(turn: Turn) -> None:
    """Put the running period's overage on the bill (Option B), less what was given back since the last."""
    state = turn.state
    if state.overage_tokens == 0:
        return
    start, end = turn.now, turn.now
    if state.period is not None:
        start, end = state.period.start, min(state.period.end, turn.now)
    credit = min(state.overage_credit, state.overage_amount)
    entry = e.OverageBilled(
        **turn.stamp(),
        tokens=state.overage_tokens,
        amount=state.overage_amount - credit,
        currency=turn.catalog.currency,
        start=start,
        end=end,
        credit=credit,
    )
    turn.emit(entry)
