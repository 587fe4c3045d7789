"""How payments fail and are fixed, and how plans change, in the naive model."""

from __future__ import annotations

from tokentill.lab.naive import clockwork
from tokentill.lab.naive.calendar import DAY_MS, number_starting_at, period_start
from tokentill.lab.naive.notebook import Answer, Notebook, done
from tokentill.rules import commands as c
from tokentill.rules.catalog import Plan
from tokentill.rules.refusals import Code


def freeze(book: Notebook, command: c.Freeze) -> Answer:
    """Payment failed: tokens are set aside from now on; a period that is over is over for its tokens."""
    failed_at = book.now if command.failed_at is None else command.failed_at
    if failed_at > book.now or failed_at < 0:
        return Answer(Code.INVALID)
    if book.failed_at is None:
        book.failed_at, book.aside_since = failed_at, book.now
        book.standing = clockwork.standing(book, book.now)
    answer = done("freeze", book.free(), balance=book.free(), held=book.held())
    clockwork.catch_up(book, book.now)
    return answer


def restore(book: Notebook, _command: c.Restore) -> Answer:
    """Payment fixed: everything is back, and what a period that began unpaid was due."""
    if book.failed_at is None:
        return Answer(Code.NOT_POSSIBLE)
    mend(book)
    restored = book.free()
    if book.unpaid:
        carried, book.kept = clockwork.may_carry(book.plan, book.kept), 0
        clockwork.grant_allowance(book, carried)
    return done("restore", restored)


def mend(book: Notebook) -> None:
    """Payment is not failed any more: bought lots get their time back, a missing invoice is waited for anew."""
    for lot in book.lots:
        if lot.expires_at is not None and not lot.of_plan and not lot.lapsed:
            more = book.now - max(book.aside_since, lot.given_at)
            lot.expires_at += more
            lot.warn_at = None if lot.warn_at is None else lot.warn_at + more
    book.failed_at, book.standing = None, "active"
    if book.paid_until is not None and book.paid_until <= book.now:
        book.wait_until = book.now + book.catalog.licence.renewal_wait_days * DAY_MS


def change_plan(book: Notebook, command: c.ChangePlan) -> Answer:
    """Another plan or none, at once or at the period's end."""
    if not end_fits(book, command.end):
        return Answer(Code.INVALID)
    if command.plan is not None and command.plan not in book.catalog.plans:
        return Answer(Code.UNKNOWN_PLAN)
    new = None if command.plan is None else book.catalog.plans[command.plan]
    if command.plan == book.plan_id:
        if not book.scheduled:
            return Answer(Code.NOT_POSSIBLE)
        book.scheduled, book.scheduled_plan, book.scheduled_billed = False, None, False
        return done("plan_scheduled", plan=command.plan)
    if not _at_once(book, new, command.when):
        book.scheduled, book.scheduled_plan = True, command.plan
        book.scheduled_billed = command.billed and command.plan is not None
        answer = done("plan_scheduled", plan=command.plan, balance=book.free(), held=book.held())
        clockwork.catch_up(book, book.now)
        return answer
    if book.failed_at is not None and command.plan is not None:
        return Answer(Code.NOT_POSSIBLE)
    if book.start == book.now:
        # A period is known by its start, so no two begin in one moment (I12).
        clockwork.catch_up(book, book.now + 1)
    credit = unused_credit(book)
    due = 0 if new is None else max(0, (new.price or 0) - credit)
    clockwork.close_period(book)
    clockwork.leave_plan(book, command.plan)
    if new is None:
        clockwork.end_plan(book)
    else:
        begin_paid(book, new, book.now, 0, 0, command.end, billed=command.billed)
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
    if book.paid_until is not None and book.now >= book.paid_until:
        return 0
    assert book.start is not None
    if mode == "time":
        unused, whole = max(0, book.end - max(book.start, book.now)), book.end - book.start
    else:
        lots = [lot for lot in book.lots if lot.origin == "plan" and not lot.lapsed]
        unused, whole = (
            sum(book.left_in(lot) + book.held_in(lot) for lot in lots),
            sum(lot.tokens for lot in lots),
        )
        if not whole:
            return 0
    later = max(0, first + paid - 1 - book.number)
    if book.end == book.paid_until:
        later = 0
    numerator, denominator = price * (unused + later * whole), whole * paid
    return (2 * numerator + denominator) // (2 * denominator)


def end_fits(book: Notebook, end: int | None) -> bool:
    """Whether a provider's period may end then."""
    return end is None or book.now < end <= book.now + 400 * DAY_MS


def begin_paid(
    book: Notebook, plan: Plan, start: int, number: int, carried: int, end: int | None, *, billed: bool
) -> None:
    """A period begins with a payment of its own, which a provider may say the end of."""
    if not number:
        book.anchor = start
    ends = [
        period_start(book.anchor, plan.cycle, n)
        for n in range(number + 1, number + plan.periods_per_payment + 1)
    ]
    if not billed:
        clockwork.begin_period(book, number, start, ends[0] if end is None else end, carried, billed=True)
        return
    until = ends[-1] if end is None else end
    last = plan.periods_per_payment == 1
    clockwork.begin_period(book, number, start, ends[0], carried, billed=True, until=until, last=last)


def reset(book: Notebook, command: c.Reset) -> Answer:
    """A period as the provider bills it; one that was waited for begins where the one before ended."""
    if not end_fits(book, command.end):
        return Answer(Code.INVALID)
    if book.plan_id is None or book.start == book.now:
        return Answer(Code.NOT_POSSIBLE)
    if command.end is not None and command.end == book.paid_until:
        return Answer(Code.NOT_POSSIBLE)
    billed = command.billed or book.scheduled_billed or (book.paid_until is not None and not book.scheduled)
    waited = book.paid_until is not None and book.paid_until <= book.now
    waited = waited and book.wait_until is not None and book.now < book.wait_until
    start = book.paid_until if waited and book.paid_until is not None else book.now
    if book.failed_at is not None and billed:
        mend(book)
    old, rest, carried = book.plan, clockwork.plan_tokens(book), clockwork.close_period(book)
    if book.scheduled:
        clockwork.leave_plan(book, book.scheduled_plan)
        carried = min(carried, clockwork.may_carry(book.plan, rest))
    plan = book.plan
    if plan is None:
        clockwork.end_plan(book)
        return done("plan", plan=None)
    number = None
    if waited and command.end is None and old is not None and old.cycle == plan.cycle and start != book.now:
        number = number_starting_at(book.anchor, plan.cycle, start)
    begin_paid(book, plan, start, number or 0, carried, command.end, billed=billed)
    tokens = 0 if book.unpaid else plan.tokens
    return done("reset", tokens, plan=plan.id, period_end=book.end)
