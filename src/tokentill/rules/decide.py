"""Decide: one command on one account, at one moment, to entries and a reply (design idea 2).

`execute` is the only way in. It first applies what is due, so that an expired hold can never be spent even
if no sweeper runs; then gives the first answer again to a duplicate; then lets the rule decide. The account
is evolved by what was decided. Refusals are values.

An account that was never opened refuses everything but `Open`.

Requirement ids: R-LED-9, R-ABU-6, R-ABU-7, R-LED-4.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from tokentill.rules import abuse, chain, corrections, credit, ledger, payment, plans
from tokentill.rules import commands as c
from tokentill.rules import entries as e
from tokentill.rules.account import Account
from tokentill.rules.catalog import TOKENS_MAX, Catalog
from tokentill.rules.receipts import Receipt, receipt
from tokentill.rules.refusals import Code, Refusal, Status, unknown_organization
from tokentill.rules.turn import Find, Turn

_HOLD_COMMANDS = frozenset({c.Settle, c.Release, c.Extend})
_KEYED_BY_ANOTHER = frozenset({c.Settle, c.Release, c.Refund})
_CODES = frozenset(Code)


class Outcome(Struct, frozen=True, gc=False):
    """What a command led to: the entries to store, the reply, and a refusal to count in memory (user, code, minute)."""

    entries: list[e.Entry]
    reply: Receipt | Refusal
    counted: tuple[str | None, Code, int] | None = None


def may_look_up(envelope: c.Envelope) -> bool:
    """Whether a command that ends or extends no hold may have anything to be looked up; most have not."""
    return envelope.keyed or envelope.retry or type(envelope.command) is c.Refund


def hold_of(envelope: c.Envelope) -> str | None:
    """The hold that a command ends or extends; None where it does neither, though it may name one."""
    command: Any = envelope.command
    return command.hold if type(command) in _HOLD_COMMANDS else None


def lookup_key(account: Account, envelope: c.Envelope) -> str | None:
    """The operation whose entries `execute` will ask `find` for, None if it will not.

    Looked up: what a caller keyed itself, what may have been stored by an earlier try, holds that are not
    open any more, and charges to be refunded. What is no operation's id is never looked up.
    """
    command: Any = envelope.command
    kind = type(command)
    if kind in _HOLD_COMMANDS:
        key = None if command.hold in account.state.holds else command.hold
    elif kind is c.Refund:
        key = command.operation
    else:
        key = envelope.key if envelope.keyed or envelope.retry else None
    return key if key is not None and chain.is_operation(key) else None


def lookup_also(envelope: c.Envelope) -> str | None:
    """A second operation that `execute` will ask for: an extension, by its own key beside its hold."""
    if type(envelope.command) is not c.Extend or not (envelope.keyed or envelope.retry):
        return None
    key = envelope.key
    return key if key is not None and chain.is_operation(key) else None


def none_found(_operation: str) -> tuple[e.Entry, ...]:
    """A `find` that knows no operation."""
    return ()


def execute(
    account: Account, envelope: c.Envelope, catalog: Catalog, now: int, find: Find = none_found
) -> Outcome:
    """Decide `envelope` on `account` at `now` (epoch ms) under `catalog`, evolving the account.

    A simulated account has its own time, whatever `now` says. `find` gives every stored entry of an operation,
    those of this batch included. If this raises, the account must be thrown away and loaded again.
    """
    command = envelope.command
    kind = type(command)
    state = account.state
    if not state.opened and kind is not c.Open:
        return Outcome([], unknown_organization())
    if now < state.time or state.simulated:
        now = state.time
    if envelope.key is not None and not chain.is_operation(envelope.key):
        return Outcome([], Refusal(Code.INVALID, "An operation's id is of 32 hex digits.", detail="key"))
    body = chain.fingerprint(c.body(command)) if envelope.keyed else None
    turn = Turn(account, state, catalog, now, find, envelope.key, envelope.keyed, body)
    timers = account.timers
    if timers and timers[0][0] <= now:
        plans.apply_due(turn)
    reply = _first_answer(turn, envelope) if envelope.keyed or envelope.retry else None
    if reply is None:
        reply = _RULES[kind](turn, command)
    return Outcome(turn.entries, reply, turn.counted)


def _first_answer(turn: Turn, envelope: c.Envelope) -> Receipt | Refusal | None:
    """The answer a duplicate gets (R-LED-9), None if this command is the first under its key."""
    if envelope.key is None or type(envelope.command) in _KEYED_BY_ANOTHER:
        return None
    first = next((entry for entry in turn.find(envelope.key) if entry.part == 0), None)
    if first is None:
        return None
    if envelope.keyed and first.body != turn.body:
        message = "This idempotency key was used for another command. Use a new key for a new command."
        return Refusal(Code.KEY_REUSED, message)
    if type(first) is e.Refused and first.refusal is not None:
        return first.refusal
    return receipt(first, replayed=True)


def _attempt(turn: Turn, command: c.Attempt) -> Receipt | Refusal:
    """An invalid request that never became a command: on the record, counting toward the block (R-ABU-6)."""
    return abuse.record(turn, Refusal(Code.INVALID, command.reason[:200]), command, command.user)


def _unblock(turn: Turn, command: c.Unblock) -> Receipt | Refusal:
    if not command.reason.strip() or not command.actor.strip():
        message = "Lifting a block needs a reason and the name of who lifts it."
        return Refusal(Code.INVALID, message, detail="reason")
    counters = turn.state.users.get(command.user)
    if counters is None or counters.blocked_until <= turn.now:
        return Refusal(Code.NOT_POSSIBLE, "This user is not blocked.")
    entry = e.Unblocked(**turn.signed(), user=command.user, reason=command.reason, actor=command.actor)
    turn.emit(entry)
    return receipt(entry)


def _count_refusals(turn: Turn, command: c.CountRefusals) -> Receipt | Refusal:
    """The refusals of a minute that were counted in memory, one entry for each user and code (R-ABU-7)."""
    unknown = next((code for _, code, _, _ in command.refusals if code not in _CODES), None)
    if unknown is not None:
        return Refusal(Code.INVALID, "There is no refusal of this code.", detail=str(unknown)[:128])
    for user, code, minute, count in command.refusals:
        status: Status = "fraud_flagged" if code == Code.BLOCKED else "prevented"
        fields = turn.stamp()
        turn.emit(e.Refused(**fields, status=status, user=user, code=Code(code), count=count, minute=minute))
    return _tick(turn, command)


def _review(turn: Turn, command: c.Review) -> Receipt | Refusal:
    """A settle that could not be stored in time goes to a person (R-LED-4)."""
    lost = command.tokens if type(command.tokens) is int and 0 <= command.tokens <= TOKENS_MAX else 0
    entry = e.Reviewed(**turn.signed(), status="failed", lost=lost, reason=command.reason[:200])
    turn.emit(entry)
    return receipt(entry)


def _set_cap(turn: Turn, command: c.SetCap) -> Receipt | Refusal:
    """The customer's own ceiling for overage (R-PLAN-6)."""
    cap = command.cap
    if cap is not None and not (type(cap) is int and 0 <= cap <= TOKENS_MAX):
        return Refusal(Code.INVALID, "cap must be a whole number of minor units, 0 or more.", detail="cap")
    entry = e.CapSet(**turn.signed(), cap=cap)
    turn.emit(entry)
    return receipt(entry)


def _tick(turn: Turn, _command: c.Tick | c.CountRefusals) -> Receipt | Refusal:
    """What was due has been applied already; the receipt tells where the account stands."""
    account = turn.account
    return Receipt(
        operation=turn.key or "",
        kind="tick",
        tokens=0,
        balance=account.free,
        held=account.held,
        entry=account.state.seq,
        time=turn.now,
    )


_RULES: dict[type[c.Base], Callable[[Turn, Any], Receipt | Refusal]] = {
    c.Open: plans.open_account,
    c.Advance: plans.advance,
    c.Reserve: ledger.reserve,
    c.Settle: ledger.settle,
    c.Release: ledger.release,
    c.Extend: ledger.extend,
    c.Charge: ledger.charge,
    c.Refund: corrections.refund,
    c.Grant: corrections.grant,
    c.Adjust: corrections.adjust,
    c.Revoke: corrections.revoke,
    c.SetAside: corrections.set_aside,
    c.GiveBack: corrections.give_back,
    c.SpendCredit: credit.spend,
    c.Freeze: payment.freeze,
    c.Restore: payment.restore,
    c.ChangePlan: plans.change_plan,
    c.Reset: payment.reset,
    c.SetCap: _set_cap,
    c.Attempt: _attempt,
    c.Unblock: _unblock,
    c.CountRefusals: _count_refusals,
    c.Review: _review,
    c.Tick: _tick,
}
