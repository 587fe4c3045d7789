"""How uses go on in the naive model: settle, release, extend, refund."""

from __future__ import annotations

from tokentill.lab.naive import clockwork
from tokentill.lab.naive.admission import charge
from tokentill.lab.naive.calendar import DAY_MS
from tokentill.lab.naive.notebook import FOREVER, Answer, Notebook, UseNote, split
from tokentill.rules import commands as c
from tokentill.rules.catalog import TOKENS_MAX
from tokentill.rules.refusals import Code


def find(book: Notebook, key: str) -> UseNote | None:
    """The use of that key."""
    return next((note for note in book.uses if note.key == key), None)


def settle(book: Notebook, command: c.Settle) -> Answer:
    """Charge what the operation used; the rest goes back."""
    if command.tokens is not None and not 0 <= command.tokens <= TOKENS_MAX:
        return Answer(Code.INVALID)
    note = find(book, command.hold)
    if note is None or note.deadline == FOREVER:
        return Answer(Code.UNKNOWN_HOLD)
    tokens = note.tokens if command.tokens is None else command.tokens
    if note.state == "timeout":
        return Answer(Code.HOLD_EXPIRED)
    if note.state != "open":
        again = note.state == "settled" and tokens == note.charged and note.end_answer is not None
        return replay(note.end_answer) if again else Answer(Code.HOLD_ENDED)
    if tokens > note.tokens:
        return Answer(Code.EXCEEDS_HOLD)
    charge(book, note, tokens, book.limits(note.feature))
    if book.start is None:
        clockwork.bill(book, book.now)
    figures = {
        "kind": "charge",
        "tokens": tokens,
        "beyond": note.charged_beyond,
        "amount": note.amount,
        "released": sum(n for _, n in note.draws) - sum(n for _, n in note.spent),
    }
    note.end_answer = Answer(None, figures | {"balance": book.free(), "held": book.held()})
    return note.end_answer


def replay(answer: Answer | None) -> Answer:
    """The first answer again, marked as such."""
    assert answer is not None
    return Answer(None, answer.figures | {"replayed": True})


def release(book: Notebook, command: c.Release) -> Answer:
    """Charge nothing. A hold that was released or timed out gives the answer of that end."""
    note = find(book, command.hold)
    if note is None or note.deadline == FOREVER:
        return Answer(Code.UNKNOWN_HOLD)
    if note.state == "settled":
        return Answer(Code.HOLD_ENDED)
    if note.state != "open":
        return replay(note.end_answer)
    clockwork.end_hold(book, note, "timeout" if command.reason == "timeout" else "released")
    assert note.end_answer is not None
    return note.end_answer


def extend(book: Notebook, command: c.Extend) -> Answer:
    """A later deadline, never an earlier one."""
    if not 1 <= command.timeout_ms <= DAY_MS:
        return Answer(Code.INVALID)
    note = find(book, command.hold)
    if note is None or note.deadline == FOREVER:
        return Answer(Code.UNKNOWN_HOLD)
    if note.state != "open":
        return Answer(Code.HOLD_EXPIRED if note.state == "timeout" else Code.HOLD_ENDED)
    note.deadline = max(note.deadline, book.now + command.timeout_ms + book.catalog.hold_margin_ms)
    return Answer(None, {"kind": "extend", "deadline": note.deadline})


def refund(book: Notebook, command: c.Refund) -> Answer:
    """Give a charge back, beyond the lots first, then the lots in the reverse of the order they were drawn in."""
    if command.tokens is not None and not 1 <= command.tokens <= TOKENS_MAX:
        return Answer(Code.INVALID)
    note = find(book, command.operation)
    if note is not None and note.state == "open":
        return Answer(Code.NOT_POSSIBLE)
    if note is None or note.state != "settled":
        return Answer(Code.UNKNOWN_OPERATION)
    tokens = note.charged if command.tokens is None else command.tokens
    if note.refund_answer is not None:
        same = note.refund_answer.figures["tokens"] == tokens
        return replay(note.refund_answer) if same else Answer(Code.ALREADY_REFUNDED)
    if tokens > note.charged:
        return Answer(Code.EXCEEDS_CHARGE)
    if tokens == 0:
        return Answer(Code.NOT_POSSIBLE)
    beyond = min(tokens, note.charged_beyond)
    back = split(note.spent[::-1], tokens - beyond)
    if any(book.lot(number) is None for number, _ in back):
        return Answer(Code.NOT_POSSIBLE)
    note.refund = back
    for lot in book.lots:
        lot.spent_before = min(lot.spent_before, book.spent_in(lot))
    amount = beyond * note.price if note.amount else 0
    if book.start is None or note.charged_at >= book.counted_from:
        if note.kind == "overage":
            book.overage_credit += max(0, amount - book.overage_now()[1])
        _take_off(book, note.kind, beyond, amount)
    elif note.kind == "overage":
        book.overage_credit += amount
    figures = {"kind": "refund", "tokens": tokens, "beyond": beyond, "amount": amount}
    note.refund_answer = Answer(None, figures | {"balance": book.free(), "held": book.held()})
    return note.refund_answer


def _take_off(book: Notebook, kind: str | None, beyond: int, amount: int) -> None:
    """What this period used beyond the lots is less by what was given back; an earlier one is on its own bill."""
    if kind == "overage":
        book.overage.append((-beyond, -amount))
    elif kind == "unlimited":
        book.unlimited.append(-beyond)
    elif kind == "grace" and beyond:
        book.grace = max(0, book.grace - 1)
