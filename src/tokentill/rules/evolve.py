"""Evolve: an entry applied to an account, in place. The other half of decide (design idea 2).

Evolving reads the entry and the account only, never a catalog, a clock or chance, so that replaying a
journal always arrives at the same state. It does not judge: an entry that does not fit raises
`Misfit`, which in the engine is a bug and in `verify` a finding.

Requirement ids: R-LED-2, R-LED-3, R-LED-5, R-ABU-2, R-ABU-3, R-ABU-5, R-ABU-6, R-LIC-1, R-LIC-3, R-PLAN-4, R-PLAN-8,
R-SALE-8.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tokentill.rules import aside, counters, purses, terms
from tokentill.rules import entries as e
from tokentill.rules.account import (
    PLAN_PRIORITY,
    RANK_HOLD,
    RANK_LOT,
    RANK_WARN,
    Account,
    Hold,
    Lot,
    Misfit,
    State,
)

__all__ = ["Misfit", "evolve"]


def evolve(account: Account, entry: e.Entry) -> None:
    """Apply `entry` to `account`. Raises `Misfit` when its sequence, time, lots or holds do not fit."""
    state = account.state
    if entry.seq != state.seq + 1:
        raise Misfit(f"sequence {entry.seq} follows {state.seq}")
    if entry.time < state.time:
        raise Misfit(f"time {entry.time} is before {state.time}")
    state.seq = entry.seq
    state.time = entry.time
    _APPLY[type(entry)](account, entry)
    if state.warned:
        _rearm(account)


def _rearm(account: Account) -> None:
    left = account.left
    warned = account.state.warned
    for code in [code for code, threshold in warned.items() if left > threshold]:
        del warned[code]


def _lot(state: State, number: int) -> Lot:
    lot = state.lots.get(number)
    if lot is None:
        raise Misfit(f"lot {number} is not known")
    return lot


def _draw(account: Account, number: int, tokens: int) -> Lot:
    """Tokens leave `available` of a lot; the caller puts them into another of its columns."""
    lot = _lot(account.state, number)
    if not 0 < tokens <= lot.available:
        raise Misfit(f"{tokens} tokens of lot {number}, which has {lot.available} free")
    lot.available -= tokens
    if lot.unit == "token":
        if number in account.state.aside:
            account.aside -= tokens
            return lot
        account.free -= tokens
        if lot.available == 0:
            account.unlist_lot(lot)
    return lot


def _return(account: Account, lot: Lot, tokens: int) -> None:
    """Tokens come back to `available` of a lot that has not lapsed; the caller took them out of another column."""
    if lot.lapsed:
        raise Misfit(f"{tokens} tokens returned to lot {lot.id}, which has lapsed")
    if lot.available == 0:
        account.list_lot(lot)
        warn_at = account.state.expiring.get(lot.id)
        if warn_at is not None:
            account.push(warn_at, RANK_WARN, lot.id)
    lot.available += tokens
    if lot.id in account.state.aside:
        account.aside += tokens
    else:
        account.free += tokens


def _unhold(state: State, number: int, tokens: int) -> Lot:
    """Tokens leave `held` of a lot; the caller puts them into another of its columns."""
    lot = _lot(state, number)
    if not 0 < tokens <= lot.held:
        raise Misfit(f"{tokens} held tokens of lot {number}, which holds {lot.held}")
    lot.held -= tokens
    return lot


def _end_hold(account: Account, key: str | None) -> Hold:
    hold = account.state.holds.pop(key, None) if key is not None else None
    if hold is None:
        raise Misfit(f"hold {key} is not open")
    account.held -= hold.tokens
    account.beyond -= hold.beyond
    if account.state.purse_of:
        purses.ended(account.state, key, hold.tokens)
    if hold.beyond_kind == "overage":
        account.state.overage_held -= hold.beyond * hold.price
    elif hold.beyond_kind == "unlimited":
        account.state.unlimited_held -= hold.beyond
    return hold


def _opened(account: Account, entry: e.Opened) -> None:
    if account.state.opened:
        raise Misfit("the account is open already")
    account.state.opened = True
    account.state.anchor = entry.anchor
    account.state.simulated = entry.simulated


def _granted(account: Account, entry: e.Granted) -> None:
    state = account.state
    if entry.lot != state.lot_next or entry.tokens <= 0:
        raise Misfit(f"lot {entry.lot} of {entry.tokens} tokens where lot {state.lot_next} is next")
    account.drop_old_lots()
    lot = Lot(
        id=entry.lot,
        origin=entry.origin,
        priority=entry.priority,
        unit=entry.unit,
        at=entry.time,
        expires_at=entry.expires_at,
        granted=entry.tokens,
        available=entry.tokens,
        reference=entry.reference,
    )
    state.lots[entry.lot] = lot
    state.lot_next = entry.lot + 1
    if entry.unit == "token":
        account.free += entry.tokens
        account.list_lot(lot)
        given_back = entry.origin in ("refund", "rollover")
        if entry.origin == "plan" or not (given_back or _plan_lot_lives(state)):
            state.allowance = entry.tokens
    if entry.origin == "plan":
        state.unpaid = False
    if entry.expires_at is not None and entry.priority != PLAN_PRIORITY:
        account.push(entry.expires_at, RANK_LOT, entry.lot)
        if entry.warn_at is not None:
            state.expiring[entry.lot] = entry.warn_at
            account.push(entry.warn_at, RANK_WARN, entry.lot)


def _plan_lot_lives(state: State) -> bool:
    return any(lot.origin == "plan" and not lot.lapsed for lot in state.lots.values())


def _held(account: Account, entry: e.Held) -> None:
    state = account.state
    key = entry.key
    if key is None or key in state.holds:
        raise Misfit(f"hold {key} is open already")
    for number, tokens in entry.moves:
        _draw(account, number, tokens).held += tokens
    account.held += entry.tokens
    account.beyond += entry.beyond
    if entry.beyond_kind is not None:
        if entry.beyond_kind == "overage":
            state.overage_held += entry.beyond * entry.price
        elif entry.beyond_kind == "unlimited":
            state.unlimited_held += entry.beyond
        else:
            state.grace_used += 1
    state.holds[key] = Hold(
        tokens=entry.tokens,
        deadline=entry.deadline,
        at=entry.time,
        moves=entry.moves,
        user=entry.user,
        feature=entry.feature,
        beyond=entry.beyond,
        beyond_kind=entry.beyond_kind,
        price=entry.price,
        output_tokens_max=entry.output_tokens_max,
        rated=entry.rated,
        burned=entry.burned,
    )
    account.push(entry.deadline, RANK_HOLD, key)
    if entry.purse is not None:
        purses.held(state, entry)
    if entry.rated:
        counters.admitted(state, entry.user, entry.time)


def _extended(account: Account, entry: e.Extended) -> None:
    hold = account.state.holds.get(entry.hold)
    if hold is None or entry.deadline < hold.deadline:
        raise Misfit(f"hold {entry.hold} cannot be extended to {entry.deadline}")
    hold.deadline = entry.deadline
    account.push(entry.deadline, RANK_HOLD, entry.hold)


def _charged(account: Account, entry: e.Charged) -> None:
    state = account.state
    if entry.purse is not None or state.purse_of:
        purses.charged(state, entry)
    if entry.part == 0:
        for number, tokens in entry.moves:
            _draw(account, number, tokens).spent += tokens
        if entry.beyond_kind == "grace":
            state.grace_used += 1
        if entry.rated:
            counters.admitted(state, entry.user, entry.time)
    else:
        hold = _end_hold(account, entry.key)
        if hold.beyond_kind == "grace" and not entry.beyond:
            _give_grace_back(state, hold.at)
        for number, tokens in entry.moves:
            _unhold(state, number, tokens).spent += tokens
        if entry.returned or entry.lapsed:
            _give_back(account, entry)
    if entry.beyond_kind == "overage":
        state.overage_tokens += entry.beyond
        state.overage_amount += entry.amount
    elif entry.beyond_kind == "unlimited":
        state.unlimited_used += entry.beyond
    if entry.burned and entry.user is not None and entry.tokens:
        counters.burned(state, entry.user, entry.time, entry.tokens)


def _give_back(account: Account, entry: e.Charged | e.Released) -> None:
    """Held tokens that were not charged go back to their lots; those of lapsed lots expire instead."""
    for number, tokens in entry.returned:
        _return(account, _unhold(account.state, number, tokens), tokens)
    for number, tokens in entry.lapsed:
        lot = _unhold(account.state, number, tokens)
        if not lot.lapsed:
            raise Misfit(f"{tokens} tokens of lot {number} expired, which has not lapsed")
        lot.expired += tokens


def _released(account: Account, entry: e.Released) -> None:
    state = account.state
    hold = _end_hold(account, entry.key)
    _give_back(account, entry)
    if hold.beyond_kind == "grace":
        _give_grace_back(state, hold.at)


def _give_grace_back(state: State, at: int) -> None:
    """A grace use of this period that came to nothing can be used again."""
    if state.grace_used and (state.period is None or at >= max(state.period.start, state.counted_from)):
        state.grace_used -= 1


def _refunded(account: Account, entry: e.Refunded) -> None:
    state = account.state
    for number, tokens in entry.returned + entry.lapsed:
        lot = _lot(state, number)
        if tokens > lot.spent:
            raise Misfit(f"{tokens} tokens refunded of lot {number}, which spent {lot.spent}")
        lot.spent -= tokens
        lot.spent_before = min(lot.spent_before, lot.spent)
    for number, tokens in entry.returned:
        _return(account, state.lots[number], tokens)
    for number, tokens in entry.lapsed:
        state.lots[number].expired += tokens
    if entry.beyond_kind == "overage":
        state.overage_tokens = max(0, state.overage_tokens - entry.beyond)
        state.overage_amount = max(0, state.overage_amount - entry.amount)
    elif entry.beyond_kind == "unlimited":
        state.unlimited_used = max(0, state.unlimited_used - entry.beyond)
    elif entry.beyond_kind == "grace":
        state.grace_used = max(0, state.grace_used - 1)
    state.overage_credit += entry.credited
    purses.refunded(state, entry)


def _revoked(account: Account, entry: e.Revoked) -> None:
    for number, tokens in entry.moves:
        _draw(account, number, tokens).revoked += tokens


def _credit_spent(account: Account, entry: e.CreditSpent) -> None:
    for number, amount in entry.moves:
        lot = _draw(account, number, amount)
        if lot.unit != "money":
            raise Misfit(f"lot {number} is no money credit")
        lot.spent += amount


def _expired(account: Account, entry: e.Expired) -> None:
    for number, tokens in entry.moves:
        _draw(account, number, tokens).expired += tokens
    for number in entry.lots:
        _lot(account.state, number).lapsed = True
        account.state.expiring.pop(number, None)
    if entry.carried:
        account.state.carried = entry.carried


def _warned(account: Account, entry: e.Warned) -> None:
    if entry.lot is None:
        account.state.warned[entry.code] = entry.threshold
    elif account.state.expiring.pop(entry.lot, None) is None:
        raise Misfit(f"lot {entry.lot} is not waiting to be warned of")


def _noted(account: Account, entry: e.Advanced | e.Late | e.Reviewed) -> None:
    """On the record only."""


_APPLY: dict[type[e.Base], Callable[[Account, Any], None]] = {
    e.Opened: _opened,
    e.Advanced: _noted,
    e.Granted: _granted,
    e.Held: _held,
    e.Extended: _extended,
    e.Charged: _charged,
    e.Released: _released,
    e.Refunded: _refunded,
    e.Revoked: _revoked,
    e.SetAside: aside.set_aside,
    e.GivenBack: aside.given_back,
    e.CreditSpent: _credit_spent,
    e.Expired: _expired,
    e.PeriodStarted: terms.period_started,
    e.OverageBilled: terms.overage_billed,
    e.PlanChanged: terms.plan_changed,
    e.PlanScheduled: terms.plan_scheduled,
    e.Frozen: terms.frozen,
    e.StandingChanged: terms.standing_changed,
    e.Restored: terms.restored,
    e.CapSet: terms.cap_set,
    e.Refused: counters.refused,
    e.Blocked: counters.blocked,
    e.Unblocked: counters.unblocked,
    e.Alerted: counters.alerted,
    e.Warned: _warned,
    e.Late: _noted,
    e.Reviewed: _noted,
}
