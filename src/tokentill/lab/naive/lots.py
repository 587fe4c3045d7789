"""How lots are given, corrected, taken back and set aside in the naive model."""

from __future__ import annotations

from tokentill.lab.naive import clockwork
from tokentill.lab.naive.notebook import FOREVER, Answer, LotNote, Notebook, done
from tokentill.rules import commands as c
from tokentill.rules.catalog import ACCOUNT_TOKENS_MAX, TOKENS_MAX
from tokentill.rules.refusals import Code


def amount_fits(tokens: int) -> bool:
    """Whether a command may name so many tokens."""
    return 1 <= tokens <= TOKENS_MAX


def room(book: Notebook, tokens: int) -> bool:
    """Whether the account may have so many tokens more."""
    return book.left() + book.aside() + tokens <= ACCOUNT_TOKENS_MAX


def grant(book: Notebook, command: c.Grant) -> Answer:
    """A lot of tokens or money."""
    late = command.expires_at is not None and command.expires_at <= book.now
    if not amount_fits(command.tokens) or late or command.origin in ("plan", "rollover"):
        return Answer(Code.INVALID)
    if command.unit == "token" and not room(book, command.tokens):
        return Answer(Code.INVALID)
    lot = clockwork.add_lot(book, command.tokens, command.origin, command.expires_at, command.unit)
    lot.reference = command.reference
    kinds = {"pack": "purchase"}
    return done(kinds.get(command.origin, command.origin), command.tokens, lot=lot.number)


def adjust(book: Notebook, command: c.Adjust) -> Answer:
    """A correction up or down."""
    if not amount_fits(abs(command.tokens)) or not command.reason.strip() or not command.actor.strip():
        return Answer(Code.INVALID)
    if command.tokens > 0 and not room(book, command.tokens):
        return Answer(Code.INVALID)
    if command.tokens > 0:
        lot = clockwork.add_lot(book, command.tokens, "adjustment", None)
        return done("adjustment", command.tokens, lot=lot.number)
    if -command.tokens > book.free():
        return Answer(Code.EXCEEDS_UNHELD)
    for number, n in book.draw(-command.tokens):
        book.lots[number - 1].revoked += n
    return done("adjustment", -command.tokens)


def named(book: Notebook, command: c.Revoke | c.SetAside | c.GiveBack) -> list[LotNote] | Code:
    """The lots a command names: one by its number, or those of a purchase in the order they came."""
    if command.lot is not None:
        lot = book.lot(command.lot)
        return Code.UNKNOWN_LOT if lot is None else [lot]
    if command.reference is None:
        return Code.INVALID
    lots = [lot for lot in book.lots if not lot.gone and lot.unit == "token"]
    ours = [
        lot
        for lot in lots
        if lot.reference == command.reference or (lot.aside and lot.aside_for == command.reference)
    ]
    return ours or Code.UNKNOWN_LOT


def revoke(book: Notebook, command: c.Revoke) -> Answer:
    """Unheld tokens of these lots are gone, those of the oldest lot first."""
    if command.tokens is not None and not amount_fits(command.tokens):
        return Answer(Code.INVALID)
    if command.share is not None and (
        command.tokens is not None or not 0 < command.share[0] <= command.share[1]
    ):
        return Answer(Code.INVALID)
    lots = named(book, command)
    if isinstance(lots, Code):
        return Answer(lots)
    there = sum(book.left_in(lot) for lot in lots)
    left = tokens = there if command.tokens is None else command.tokens
    if command.share is not None:
        left = tokens = there * command.share[0] // command.share[1]
    if tokens > there:
        return Answer(Code.EXCEEDS_UNHELD)
    for lot in lots:
        n = min(left, book.left_in(lot))
        lot.revoked += n
        left -= n
    return done("revoke", tokens)


def spend_credit(book: Notebook, command: c.SpendCredit) -> Answer:
    """Money lots pay, whichever ends first and then whichever came first, coin by coin."""
    if command.amount and not amount_fits(command.amount):
        return Answer(Code.INVALID)
    money = [lot for lot in book.lots if lot.unit == "money" and not lot.gone]
    if sum(book.left_in(lot) for lot in money) < command.amount:
        return Answer(Code.NOT_POSSIBLE)
    draws: list[tuple[int, int]] = []
    left = command.amount
    for lot in sorted(money, key=lambda lot: (lot.expires_at or FOREVER, lot.number)):
        draws.append((lot.number, min(left, book.left_in(lot))))
        left -= draws[-1][1]
    book.credit_uses.append(draws)
    return done("credit_spent", command.amount)


def set_aside(book: Notebook, command: c.SetAside) -> Answer:
    """These lots stay as they are and cannot be spent (R-REF-5)."""
    lots = named(book, command)
    running = command.lot is None and command.reference is not None and command.reference == book.paid_by
    running = running and command.reference != book.contested
    if lots == Code.UNKNOWN_LOT and running:
        lots = []
    if isinstance(lots, Code):
        return Answer(lots)
    fresh = [lot for lot in lots if not lot.aside and not lot.lapsed]
    if (not fresh and not running) or (lots and lots[0].unit == "money"):
        return Answer(Code.NOT_POSSIBLE)
    if command.reference is not None and command.reference == book.paid_by:
        book.contested = command.reference
    for lot in fresh:
        lot.aside, lot.aside_for = True, command.reference
    return done("set_aside", sum(book.left_in(lot) for lot in fresh))


def give_back(book: Notebook, command: c.GiveBack) -> Answer:
    """These lots can be spent again."""
    lots = named(book, command)
    later = command.lot is None and command.reference is not None and command.reference == book.contested
    if lots == Code.UNKNOWN_LOT and later:
        lots = []
    if isinstance(lots, Code):
        return Answer(lots)
    kept = [lot for lot in lots if lot.aside]
    if not kept and not later:
        return Answer(Code.NOT_POSSIBLE)
    if command.reference is not None and command.reference == book.contested:
        book.contested = None
    for lot in kept:
        lot.aside = False
    return done("give_back", sum(book.left_in(lot) for lot in kept))
