"""What happens by itself in the naive model: holds time out, lots expire, the licence degrades, periods end."""

from __future__ import annotations

from tokentill.lab.naive.calendar import DAY_MS, number_starting_at, period_start
from tokentill.lab.naive.notebook import Answer, Disputed, LotNote, Notebook, UseNote
from tokentill.rules.catalog import TOKENS_MAX, Plan

LOT_KEPT_MS = 400 * DAY_MS
HOLD, LOT, LADDER, PERIOD, WARN = range(5)


def catch_up(book: Notebook, now: int) -> None:
    """Let everything happen that is due by `now`, in order of time; holds before lots before the reset."""
    book.now = now
    while True:
        due = [event for event in _coming(book) if event[0] <= book.now]
        if not due:
            return
        time, what, number, key = min(due)
        if what == HOLD:
            end_hold(book, next(use for use in book.open_holds() if use.key == key), "timeout")
        elif what == LOT:
            together = {event[2] for event in due if event[:2] == (time, LOT)}
            for lot in book.lots:
                lot.lapsed = lot.lapsed or lot.number in together
        elif what == WARN:
            book.lots[number - 1].warn_at = None
            book.warnings.append(("expiring", 0, number))
        elif what == LADDER:
            book.standing = standing(book, time)
        else:
            end_period(book, time)
        warn(book)


def soonest(book: Notebook) -> int | None:
    """When the next thing happens by itself."""
    return min((time for time, *_ in _coming(book)), default=None)


def warn(book: Notebook) -> None:
    """Warn of every threshold that what is left has come down to, once for each crossing (R-PLAN-8)."""
    rearm(book)
    low, left = book.catalog.low_balance, book.left()
    unlimited = book.plan is not None and book.plan.unlimited
    if book.failed_at is not None or unlimited or not book.measure:
        return
    thresholds = {"percent": None if low.percent is None else book.measure * low.percent // 100}
    thresholds |= {"tokens": low.tokens if (low.tokens or 0) < book.measure else None, "exhausted": 0}
    for code, threshold in thresholds.items():
        if threshold is not None and left <= threshold and code not in book.warned:
            book.warned[code] = threshold
            book.warnings.append((code, threshold, None))


def rearm(book: Notebook) -> None:
    """A threshold that the balance has risen above may warn again."""
    left = book.left()
    book.warned = {code: threshold for code, threshold in book.warned.items() if left <= threshold}


def _coming(book: Notebook) -> list[tuple[int, int, int, str]]:
    coming = [(use.deadline, HOLD, 0, use.key) for use in book.open_holds()]
    if book.failed_at is None:
        coming += [
            (lot.expires_at, LOT, lot.number, "")
            for lot in book.lots
            if lot.expires_at is not None and not lot.of_plan and not lot.lapsed
        ]
        coming += [
            (lot.warn_at, WARN, lot.number, "")
            for lot in book.lots
            if lot.warn_at is not None and book.left_in(lot) > 0
        ]
    else:
        rungs = ["past_due", "grace", "offline"]
        coming += [(at, LADDER, 0, "") for at in ladder(book)[rungs.index(book.standing) + 1 :]]
    at = period_deadline(book)
    if at is not None:
        coming.append((at, PERIOD, 0, ""))
    return coming


def ladder(book: Notebook) -> list[int]:
    """When the licence changes its standing: the day after the failure, and when grace is over (R-LIC-2)."""
    assert book.failed_at is not None
    return [book.failed_at + days * DAY_MS for days in (0, 1, book.catalog.licence.grace_days + 1)]


def standing(book: Notebook, at: int) -> str:
    """The rung of the ladder at a moment: day 0 is past due, then grace, then offline (R-LIC-2)."""
    if book.failed_at is None:
        return "active"
    _, first, last = ladder(book)
    return "offline" if at >= last else "grace" if at >= first else "past_due"


def end_hold(book: Notebook, use: UseNote, state: str) -> None:
    """A hold ends with nothing charged; a grace use of this period is given back."""
    use.state = state
    if use.kind == "grace" and (book.start is None or use.at >= book.counted_from) and book.grace:
        book.grace -= 1
    figures = {"kind": "release", "tokens": use.tokens, "released": use.tokens}
    use.end_answer = Answer(None, figures | {"balance": book.free(), "held": book.held()})


def period_deadline(book: Notebook) -> int | None:
    """When something happens to the period: its end, or the end of the wait for the provider's invoice."""
    if not waits_for_invoice(book):
        return book.end
    if book.failed_at is None:
        return book.wait_until
    spendable = any(lot.of_plan and not lot.lapsed and not lot.aside for lot in book.lots)
    return book.end if spendable else None


def waits_for_invoice(book: Notebook) -> bool:
    """Whether the period after this one begins only with the provider's invoice."""
    if book.end is None or book.paid_until is None or book.end < book.paid_until:
        return False
    return not book.scheduled or book.scheduled_billed


def end_period(book: Notebook, end: int) -> None:
    """The reset: plan tokens lapse or roll over, the scheduled plan begins, the next allowance is given."""
    if waits_for_invoice(book):
        invoice_missing(book, end)
        return
    within = book.paid_until is not None and book.paid_until > end
    old, rest = book.plan, plan_tokens(book)
    carried = close_period(book)
    if book.scheduled and not within:
        new = None if book.scheduled_plan is None else book.catalog.plans[book.scheduled_plan]
        number = None
        if old is not None and new is not None and old.cycle == new.cycle:
            number = number_starting_at(book.anchor, new.cycle, end)
        change_plan(book, book.scheduled_plan, end, number or 0, min(carried, may_carry(new, rest)))
        return
    plan = book.plan
    assert plan is not None
    number = number_starting_at(book.anchor, plan.cycle, end)
    if number is None:
        book.anchor, number = end, 0
    stop = period_start(book.anchor, plan.cycle, number + 1)
    if within:
        last = number + 1 >= book.paid[2] + book.paid[1]
        assert book.paid_until is not None
        begin_period(book, number, end, stop, carried, until=book.paid_until, last=last)
    else:
        begin_period(book, number, end, stop, carried)


def invoice_missing(book: Notebook, at: int) -> None:
    """Nobody paid for the next period: payment has failed, and the tokens of the one that is over are gone."""
    if book.failed_at is None:
        book.failed_at = book.owed_at = book.aside_since = at
        book.standing = "past_due"
        return
    book.kept = may_carry(book.plan, plan_tokens(book)) or book.kept
    none_roll = book.plan is None or book.plan.rollover.mode == "none"
    for lot in book.lots:
        lot.lapsed = lot.lapsed or (lot.of_plan and (none_roll or not lot.aside))


def change_plan(book: Notebook, plan: str | None, at: int, number: int = 0, carried: int = 0) -> None:
    """Another plan, or none, from a moment on; what the old one left goes on as far as both plans let it."""
    leave_plan(book, plan)
    if book.plan is None:
        end_plan(book)
    else:
        if not number:
            book.anchor = at
        end = period_start(book.anchor, book.plan.cycle, number + 1)
        begin_period(book, number, at, end, carried, billed=True)


def leave_plan(book: Notebook, plan: str | None) -> None:
    """From the plan that was to another: what was low is forgotten, and measured by what was bought last."""
    book.scheduled, book.scheduled_plan, book.scheduled_billed = False, None, False
    book.plan_id = plan
    book.warned = {}
    bought = [lot for lot in book.lots if not (lot.of_plan or lot.unit == "money" or lot.lapsed or lot.gone)]
    book.measure = bought[-1].tokens if bought else 0


def end_plan(book: Notebook) -> None:
    """There is no plan any more, so no period either."""
    book.start = book.end = book.paid_until = book.wait_until = None
    book.invoice_start = book.paid_by = None
    book.unpaid, book.kept, book.disputed = False, 0, Disputed()
    _forget_period(book)


def plan_tokens(book: Notebook) -> int:
    """What may go on of the plan's tokens: not those that are set aside, but those an unpaid period was due."""
    return book.kept + sum(
        book.left_in(lot) for lot in book.lots if lot.of_plan and not lot.lapsed and not lot.aside
    )


def close_period(book: Notebook) -> int:
    """Close the period: its overage is billed, its plan tokens lapse, all but those that may go on (R-PLAN-5)."""
    if book.start is not None:
        bill(book, book.start)
    unspent = plan_tokens(book)
    disputed = [
        (lot.aside_for, book.left_in(lot)) for lot in book.lots if lot.of_plan and lot.aside and lot.aside_for
    ]
    every = unspent + sum(tokens for _, tokens in disputed)
    book.disputed = Disputed(disputed, every, may_carry(book.plan, every))
    for lot in book.lots:
        lot.lapsed = lot.lapsed or lot.of_plan
    return may_carry(book.plan, unspent)


def roll_disputed(book: Notebook, carried: int) -> None:
    """What a dispute keeps aside goes on aside, as far as there is room beside the free tokens that go on."""
    room = min(book.disputed.most, may_carry(book.plan, book.disputed.every)) - carried
    for reference, tokens in book.disputed.lots:
        if n := min(room, tokens):
            lot = add_lot(book, n, "rollover", book.end)
            rearm(book)  # it came, and is set aside as it came
            lot.aside, lot.aside_for = True, reference
            room -= n
            if reference == book.paid_by:
                book.contested = reference
    book.disputed = Disputed()


def bill(book: Notebook, start: int) -> None:
    """Overage goes on the bill, less what was given back of earlier ones."""
    tokens, amount = book.overage_now()
    if tokens:
        off = min(amount, book.overage_credit)
        book.overage_credit -= off
        book.bills.append((tokens, amount - off, start))
        book.overage = []


def may_carry(plan: Plan | None, unspent: int) -> int:
    """How much of what was left a plan lets go on into the next period (R-PLAN-5)."""
    if plan is None or plan.rollover.mode == "none":
        return 0
    if plan.rollover.mode == "unlimited":
        return unspent
    return min(unspent, plan.tokens if plan.rollover.cap is None else plan.rollover.cap)


def _forget_period(book: Notebook) -> None:
    book.overage = []
    book.unlimited = []
    book.grace = 0


def begin_period(
    book: Notebook,
    number: int,
    start: int,
    end: int,
    carried: int,
    *,
    billed: bool = False,
    until: int | None = None,
    last: bool = False,
) -> None:
    """A period begins and brings its allowance, unless payment is failed; it is paid for where a payment ran out.

    `until`: where a provider bills, what its invoice paid for; the `last` period of it ends there.
    """
    _, periods, first = book.paid
    (since, reference, price), book.coming = book.coming, (None, None, None)
    within = not billed and (until is not None or first < number < first + periods)
    if not within:
        book.invoice_start, book.paid_by = since, reference
    if (
        (billed or number <= first or number >= first + periods)
        and book.plan is not None
        and not (until is not None and not billed)
    ):
        worth = book.plan.price if price is None else price
        book.paid = (worth, book.plan.periods_per_payment, number)
    if until is not None and (last or end > until):
        end = until
    _forget_period(book)
    for lot in book.lots:
        lot.spent_before = book.spent_in(lot)
    book.number, book.start, book.end = number, start, end
    book.paid_until, book.wait_until = until, None
    book.counted_from = start
    if until is not None:
        book.wait_until = until + book.catalog.licence.renewal_wait_days * DAY_MS
        book.counted_from = max(start, book.now)
    book.unpaid = book.failed_at is not None
    book.kept = carried if book.unpaid else 0
    if not book.unpaid:
        grant_allowance(book, carried)
    roll_disputed(book, carried)


def grant_allowance(book: Notebook, carried: int) -> None:
    """The plan's tokens of this period, and those carried into it, lapsing at its end."""
    book.unpaid = False
    if carried:
        add_lot(book, carried, "rollover", book.end)
    if book.plan is not None and book.plan.tokens:
        lot = add_lot(book, book.plan.tokens, "plan", book.end)
        lot.reference = book.paid_by
        if book.paid_by is not None and book.paid_by == book.contested:
            rearm(book)  # it came, and is set aside as it came
            lot.aside, lot.aside_for = True, book.paid_by


def add_lot(book: Notebook, tokens: int, origin: str, expires_at: int | None, unit: str = "token") -> LotNote:
    """A new lot, numbered after the last."""
    assert 0 < tokens <= TOKENS_MAX
    for old in book.lots:
        empty = book.left_in(old) == 0 and book.held_in(old) == 0
        old.gone = old.gone or (empty and old.given_at + LOT_KEPT_MS < book.now)
    lot = LotNote(
        number=len(book.lots) + 1,
        origin=origin,
        unit=unit,
        given_at=book.now,
        expires_at=expires_at,
        tokens=tokens,
        of_plan=origin in ("plan", "rollover"),
    )
    days = book.catalog.low_balance.expiring_days
    if expires_at is not None and days is not None and unit == "token" and not lot.of_plan:
        early = expires_at - days * DAY_MS
        lot.warn_at = early if early > book.now else None
    of_a_plan = any(each.origin == "plan" and not each.lapsed for each in book.lots)
    if origin == "plan" or not (of_a_plan or unit == "money" or origin in ("refund", "rollover")):
        book.measure = tokens
    book.lots.append(lot)
    return lot
