"""The naive model itself: one account, one command at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import UNSET

from tokentill.lab.naive import admission, clockwork, lots, uses
from tokentill.lab.naive.calendar import DAY_MS, period_start
from tokentill.lab.naive.notebook import Answer, Notebook, done
from tokentill.rules import commands as c
from tokentill.rules.catalog import TOKENS_MAX, Catalog, Plan
from tokentill.rules.refusals import Code

_KEYED_BY_ANOTHER = (c.Settle, c.Release, c.Extend, c.Refund)


class Naive:
    """The naive model of one organization's account under one catalog."""

    def __init__(self, catalog: Catalog) -> None:
        self.book = Notebook(catalog)

    def submit(self, envelope: c.Envelope, now: int) -> Answer:
        """Do one command and say what the till must answer; `now` is never before the account's last entry."""
        book, command, key = self.book, envelope.command, envelope.key or ""
        now = book.now if book.simulated else now
        if not book.opened and not isinstance(command, c.Open):
            return Answer(Code.UNKNOWN_ORGANIZATION)
        if book.opened:
            clockwork.catch_up(book, now)
        else:
            book.now = now
        by_key = not isinstance(command, _KEYED_BY_ANOTHER)
        body = c.encode(command) if envelope.keyed else None
        if by_key and (envelope.keyed or envelope.retry) and key in book.answers:
            before, answer = book.answers[key]
            if envelope.keyed and before != body:
                return Answer(Code.KEY_REUSED)
            return answer if answer.code else Answer(None, answer.figures | {"replayed": True})
        if isinstance(command, c.Reserve | c.Charge):
            answer = admission.use(book, envelope, command)
        else:
            answer = _OPS[type(command)](book, command)
        down = isinstance(command, c.Charge | c.Settle | c.Revoke | c.SetAside)
        down = down or (isinstance(command, c.Adjust) and command.tokens < 0)
        down = down and answer.code is None and not answer.figures.get("replayed")
        clockwork.warn(book) if down else clockwork.rearm(book)
        if answer.code is None and not {"balance", "held"} & answer.figures.keys():
            answer.figures.update(balance=book.free(), held=book.held())
        if by_key and (answer.remembered if answer.code else not _says_nothing(command)):
            book.answers[key] = (body, answer)
        return answer

    def tick(self, now: int) -> None:
        """Let time pass."""
        if self.book.opened and not self.book.simulated:
            clockwork.catch_up(self.book, now)

    def balance(self) -> dict[str, Any]:
        """The balance as R-LED-1 lists it."""
        return self.book.balance()


def _says_nothing(command: c.Base) -> bool:
    """Commands that put nothing of their own on the record, so that there is nothing to answer again."""
    return isinstance(command, c.Tick | c.CountRefusals)


def _open(book: Notebook, command: c.Open) -> Answer:
    if book.opened:
        return Answer(Code.ORGANIZATION_EXISTS)
    plan = book.catalog.default_plan if command.plan is UNSET else command.plan
    if plan is not None and plan not in book.catalog.plans:
        return Answer(Code.UNKNOWN_PLAN)
    anchor = book.now if command.anchor is None else command.anchor
    if not 0 <= anchor <= book.now:
        return Answer(Code.INVALID)
    book.opened, book.anchor, book.simulated = True, anchor, command.simulated
    if plan is None:
        return done("open")
    book.plan_id = plan
    cycle, number = book.catalog.plans[plan].cycle, 0
    while period_start(anchor, cycle, number + 1) <= book.now:
        number += 1
    start, end = (period_start(anchor, cycle, n) for n in (number, number + 1))
    clockwork.begin_period(book, number, start, end, 0, billed=True)
    return done("open")


def _advance(book: Notebook, command: c.Advance) -> Answer:
    if not book.now <= command.to <= book.now + 400 * DAY_MS:
        return Answer(Code.INVALID)
    if not book.simulated:
        return Answer(Code.NOT_POSSIBLE)
    while (soonest := clockwork.soonest(book)) is not None and soonest <= command.to:
        clockwork.catch_up(book, max(book.now, soonest))
    book.now = command.to
    return done("advance", time=command.to)


def _freeze(book: Notebook, command: c.Freeze) -> Answer:
    failed_at = book.now if command.failed_at is None else command.failed_at
    if failed_at > book.now or failed_at < 0:
        return Answer(Code.INVALID)
    if book.failed_at is None:
        book.failed_at = failed_at
        book.standing = clockwork.standing(book, book.now)
    return done("freeze", book.free())


def _restore(book: Notebook, _command: c.Restore) -> Answer:
    if book.failed_at is None:
        return Answer(Code.NOT_POSSIBLE)
    for lot in book.lots:
        if lot.expires_at is not None and not lot.of_plan and not lot.lapsed:
            lot.expires_at += book.now - max(book.failed_at, lot.given_at)
    book.failed_at, book.standing = None, "active"
    restored = book.free()
    if book.unpaid:
        clockwork.grant_allowance(book)
    return done("restore", restored)


def _change_plan(book: Notebook, command: c.ChangePlan) -> Answer:
    if command.plan is not None and command.plan not in book.catalog.plans:
        return Answer(Code.UNKNOWN_PLAN)
    new = None if command.plan is None else book.catalog.plans[command.plan]
    if command.plan == book.plan_id:
        if not book.scheduled:
            return Answer(Code.NOT_POSSIBLE)
        book.scheduled, book.scheduled_plan = False, None
        return done("plan_scheduled", plan=command.plan)
    if not _at_once(book, new, command.when):
        book.scheduled, book.scheduled_plan = True, command.plan
        return done("plan_scheduled", plan=command.plan)
    if book.failed_at is not None and command.plan is not None:
        return Answer(Code.NOT_POSSIBLE)
    if book.start == book.now:
        # A period is known by its start, so no two begin in one moment (I12).
        clockwork.catch_up(book, book.now + 1)
    credit = unused_credit(book)
    due = 0 if new is None else max(0, (new.price or 0) - credit)
    clockwork.close_period(book)
    clockwork.change_plan(book, command.plan, book.now)
    return done("plan", plan=command.plan, credit=credit, due=due)


def _at_once(book: Notebook, new: Plan | None, when: str) -> bool:
    if book.plan is None or when == "now":
        return True
    return when == "auto" and new is not None and new.rank > book.plan.rank


def unused_credit(book: Notebook) -> int:
    """What the rest of the running payment is worth, half up (readings: upgrade)."""
    mode, (price, paid, first) = book.catalog.upgrade_credit, book.paid
    if price is None or mode == "none" or book.unpaid or book.end is None:
        return 0
    assert book.start is not None
    if mode == "time":
        unused, whole = book.end - max(book.start, book.now), book.end - book.start
    else:
        lots = [lot for lot in book.lots if lot.origin == "plan" and not lot.lapsed]
        unused, whole = sum(book.left_in(lot) for lot in lots), sum(lot.tokens for lot in lots)
        if not whole:
            return 0
    later = max(0, first + paid - 1 - book.number)
    numerator, denominator = price * (unused + later * whole), whole * paid
    return (2 * numerator + denominator) // (2 * denominator)


def _reset(book: Notebook, command: c.Reset) -> Answer:
    if command.end is not None and not book.now < command.end <= book.now + 400 * DAY_MS:
        return Answer(Code.INVALID)
    if book.plan_id is None or book.start == book.now:
        return Answer(Code.NOT_POSSIBLE)
    rest, carried = clockwork.plan_tokens(book), clockwork.close_period(book)
    if book.scheduled:
        clockwork.leave_plan(book, book.scheduled_plan)
        carried = min(carried, clockwork.may_carry(book.plan, rest))
    plan = book.plan
    if plan is None:
        clockwork.end_plan(book)
        return done("plan", plan=None)
    book.anchor = book.now
    end = command.end or period_start(book.now, plan.cycle, 1)
    clockwork.begin_period(book, 0, book.now, end, carried, billed=True)
    tokens = 0 if book.unpaid else plan.tokens
    return done("reset", tokens, plan=plan.id, period_end=end)


def _set_cap(book: Notebook, command: c.SetCap) -> Answer:
    if command.cap is not None and not 0 <= command.cap <= TOKENS_MAX:
        return Answer(Code.INVALID)
    book.cap = command.cap
    return done("cap")


def _attempt(book: Notebook, command: c.Attempt) -> Answer:
    admission.attempt(book, command.user, None)
    return Answer(Code.INVALID)


def _unblock(book: Notebook, command: c.Unblock) -> Answer:
    if not command.reason.strip() or not command.actor.strip():
        return Answer(Code.INVALID)
    user = book.user(command.user)
    if user.blocked_until <= book.now:
        return Answer(Code.NOT_POSSIBLE)
    user.blocked_until, user.attempts = 0, []
    return done("unblock")


def _count_refusals(_book: Notebook, _command: c.CountRefusals) -> Answer:
    return done("tick")


def _review(_book: Notebook, _command: c.Review) -> Answer:
    return done("review")  # whatever it says: what needs a person must never be turned away


def _tick(_book: Notebook, _command: c.Tick) -> Answer:
    return done("tick")


_OPS: dict[type[c.Base], Callable[[Notebook, Any], Answer]] = {
    c.Open: _open,
    c.Advance: _advance,
    c.Settle: uses.settle,
    c.Release: uses.release,
    c.Extend: uses.extend,
    c.Refund: uses.refund,
    c.Grant: lots.grant,
    c.Adjust: lots.adjust,
    c.Revoke: lots.revoke,
    c.SetAside: lots.set_aside,
    c.GiveBack: lots.give_back,
    c.Freeze: _freeze,
    c.Restore: _restore,
    c.ChangePlan: _change_plan,
    c.Reset: _reset,
    c.SetCap: _set_cap,
    c.Attempt: _attempt,
    c.Unblock: _unblock,
    c.CountRefusals: _count_refusals,
    c.Review: _review,
    c.Tick: _tick,
}

__all__ = ["DAY_MS", "Naive", "unused_credit"]
