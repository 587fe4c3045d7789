"""The naive model itself: one account, one command at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import UNSET, structs

from tokentill.lab.naive import admission, clockwork, lots, plans, uses
from tokentill.lab.naive.admission import PRECEDENCE
from tokentill.lab.naive.calendar import DAY_MS, period_start
from tokentill.lab.naive.notebook import Answer, Notebook, done
from tokentill.rules import commands as c
from tokentill.rules.catalog import TOKENS_MAX, Catalog
from tokentill.rules.refusals import Code

_KEYED_BY_ANOTHER = (c.Settle, c.Release, c.Refund)


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
        body = c.encode(_whoever(command)) if envelope.keyed else None
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


def _whoever(command: c.Base) -> c.Base:
    """The command as anybody would send it, at any time."""
    if isinstance(command, c.Reserve | c.Charge):
        return structs.replace(command, purse_max=None)
    return structs.replace(command, actor="") if isinstance(command, c.Adjust | c.Unblock) else command


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


def _count_refusals(_book: Notebook, command: c.CountRefusals) -> Answer:
    known = all(code in PRECEDENCE for _, code, _, _ in command.refusals)
    return done("tick") if known else Answer(Code.INVALID)


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
    c.SpendCredit: lots.spend_credit,
    c.Freeze: plans.freeze,
    c.Restore: plans.restore,
    c.ChangePlan: plans.change_plan,
    c.Reset: plans.reset,
    c.SetCap: _set_cap,
    c.Attempt: _attempt,
    c.Unblock: _unblock,
    c.CountRefusals: _count_refusals,
    c.Review: _review,
    c.Tick: _tick,
}

__all__ = ["DAY_MS", "Naive"]
