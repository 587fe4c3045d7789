"""How payments fail and are fixed, and how plans change, in the naive model."""

from __future__ import annotations

from tokentill.lab.naive import clockwork
from tokentill.lab.naive.calendar import DAY_MS, number_starting_at, period_start
from tokentill.lab.naive.notebook import Answer, Disputed, Notebook, done
from tokentill.rules import commands as c
from tokentill.rules.catalog import TOKENS_MAX, Plan
from tokentill.rules.refusals import Code


def freeze(book: Notebook, command: c.Freeze) -> Answer:
    """Payment failed: tokens are set aside from now on; a period that is over is over for its tokens."""
    failed_at = book.now if command.failed_at is None else command.failed_at
    if failed_at > book.now or failed_at < 0:
        return Answer(Code.INVALID)
    if book.failed_at is None:
        book.aside_since = book.now
    if command.by_hand:
        book.by_hand_at = min(failed_at, failed_at if book.by_hand_at is None else book.by_hand_at)
    else:
        book.owed_at = min(failed_at, failed_at if book.owed_at is None else book.owed_at)
    count_failure(book)
    answer = done("freeze", book.free(), balance=book.free(), held=book.held())
    clockwork.catch_up(book, book.now)
    return answer


def count_failure(book: Notebook) -> None:
    """The ladder counts from whatever was first of what still stands."""
    book.failed_at = min(at for at in (book.by_hand_at, book.owed_at) if at is not None)
    book.standing = clockwork.standing(book, book.now)


def restore(book: Notebook, command: c.Restore) -> Answer:
    """Payment fixed: everything is back, and what an unpaid period was due. What a hand froze, a hand frees."""
    if book.failed_at is None:
        return Answer(Code.NOT_POSSIBLE)
    if book.by_hand_at is not None and not command.by_hand:
        if book.owed_at is None:
            return Answer(Code.NOT_POSSIBLE)
        book.owed_at = None
        count_failure(book)
        answer = done("freeze", book.free(), balance=book.free(), held=book.held())
        clockwork.catch_up(book, book.now)
        return answer
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
    book.failed_at = book.by_hand_at = book.owed_at = None
    book.standing = "active"
    if book.paid_until is not None and book.paid_until <= book.now:
        book.wait_until = book.now + book.catalog.licence.renewal_wait_days * DAY_MS


def change_plan(book: Notebook, command: c.ChangePlan) -> Answer:
    """Another plan or none, at once or at the period's end."""
    if not says_sense(command):
        return Answer(Code.INVALID)
    if comes_late(book, command) or older(book, command):
        return Answer(Code.NOT_POSSIBLE)
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
    price = command.paid if command.paid is not None else None if new is None else new.price
    due = 0 if new is None else max(0, (price or 0) - credit)
    clockwork.close_period(book)
    book.disputed = Disputed()  # a change at once leaves nothing to go on
    clockwork.leave_plan(book, command.plan)
    if new is None:
        clockwork.end_plan(book)
    else:
        begin_paid(book, new, book.now, 0, 0, command, billed=command.billed)
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
    if book.paid_by is not None and book.paid_by == book.contested:
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


def says_sense(command: c.ChangePlan | c.Reset) -> bool:
    """Whether what is said of an invoice can be."""
    timed = command.start is None or (
        command.end is not None and 0 <= command.start < command.end < TOKENS_MAX
    )
    return timed and (command.paid is None or 0 <= command.paid <= TOKENS_MAX)


def comes_late(book: Notebook, command: c.ChangePlan | c.Reset) -> bool:
    """Whether the time that the invoice pays for is over."""
    return command.start is not None and command.end is not None and command.end <= book.now


def older(book: Notebook, command: c.ChangePlan | c.Reset) -> bool:
    """Whether the invoice pays from before the one that the account is on; of two from the same time the longer wins."""
    if command.start is None or command.end is None or book.invoice_start is None:
        return False
    if command.start == book.invoice_start:
        return command.end < (book.paid_until or 0)
    return command.start < book.invoice_start


def begin_paid(
    book: Notebook,
    plan: Plan,
    start: int,
    number: int,
    carried: int,
    command: c.ChangePlan | c.Reset,
    *,
    billed: bool,
) -> None:
    """A period begins with a payment of its own, which a provider may say the end of."""
    end = command.end
    book.coming = (command.start, command.reference, command.paid)
    if not number:
        book.anchor = start
    ends = [
        period_start(book.anchor, plan.cycle, n)
        for n in range(number + 1, number + plan.periods_per_payment + 1)
    ]
    if not billed:
        stop = ends[0] if end is None else end
        clockwork.begin_period(book, number, start, stop, carried, billed=True)
        return
    until = ends[-1] if end is None else end
    last = plan.periods_per_payment == 1
    clockwork.begin_period(book, number, start, ends[0], carried, billed=True, until=until, last=last)


def _no_reset(book: Notebook, command: c.Reset) -> Answer | None:
    """The answer where no period begins."""
    if not says_sense(command):
        return Answer(Code.INVALID)
    if comes_late(book, command):
        # It brings nothing any more. If it is what was missing, that is mended.
        missing = book.paid_until is not None and (command.start or 0) > (book.invoice_start or 0)
        return (
            restore(book, c.Restore(by_hand=False))
            if missing and book.owed_at is not None
            else Answer(Code.NOT_POSSIBLE)
        )
    if older(book, command) or (command.start is not None and command.end == book.paid_until):
        return Answer(Code.NOT_POSSIBLE)
    if not end_fits(book, command.end):
        return Answer(Code.INVALID)
    if command.plan is not None and command.plan not in book.catalog.plans:
        return Answer(Code.UNKNOWN_PLAN)
    if command.plan is None and book.plan_id is None:
        return Answer(Code.NOT_POSSIBLE)
    at_once = command.start is None and book.start == book.now
    known = command.end is not None and command.end == book.paid_until
    return Answer(Code.NOT_POSSIBLE) if at_once or known else None


def reset(book: Notebook, command: c.Reset) -> Answer:
    """A period as the provider bills it; one that was waited for begins where the one before ended."""
    refused = _no_reset(book, command)
    if refused is not None:
        return refused
    billed = command.billed or book.scheduled_billed or (book.paid_until is not None and not book.scheduled)
    waited = book.paid_until is not None and book.paid_until <= book.now
    waited = waited and book.wait_until is not None and book.now < book.wait_until
    start = book.paid_until if waited and book.paid_until is not None else book.now
    if command.start is not None:
        waited, start = False, _where_it_begins(book, command.start)
    if book.failed_at is not None and billed:
        if book.by_hand_at is None:
            mend(book)
        elif book.owed_at is not None:
            book.owed_at = None
            count_failure(book)
    old, rest, carried = book.plan, clockwork.plan_tokens(book), clockwork.close_period(book)
    moves = book.scheduled if command.plan is None else command.plan != book.plan_id
    if moves:
        clockwork.leave_plan(book, book.scheduled_plan if command.plan is None else command.plan)
        carried = min(carried, clockwork.may_carry(book.plan, rest))
    plan = book.plan
    if plan is None:
        clockwork.end_plan(book)
        return done("plan", plan=None)
    number = None
    if waited and command.end is None and old is not None and old.cycle == plan.cycle and start != book.now:
        number = number_starting_at(book.anchor, plan.cycle, start)
    begin_paid(book, plan, start, number or 0, carried, command, billed=billed)
    tokens = 0 if book.unpaid else plan.tokens
    answer = done("reset", tokens, plan=plan.id, period_end=book.end, balance=book.free(), held=book.held())
    clockwork.catch_up(book, book.now)
    return answer


def _where_it_begins(book: Notebook, since: int) -> int:
    """Where the invoice says, unless a period began then or later, or that is still to come."""
    if book.start is None:
        return min(since, book.now)
    if book.start < since <= book.now:
        return since
    if book.start == book.now:
        clockwork.catch_up(book, book.now + 1)
    return book.now
