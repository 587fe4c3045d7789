"""Invoices: what a payment provider says that a period was paid with, and when such an invoice begins nothing.

An invoice pays for a time, from `start` to `end`. Of two invoices the one that pays from later on is the newer, in
whatever order they are told. So an account that is on the newer one never goes back, and both orders lead to the same
end (R-PLAN-4, R-PACK-3). What pays for a time that is over brings nothing: tokens of a plan live within their own
period only (readings).

Requirement ids: R-PLAN-4, R-PACK-3, R-LIC-3.
"""

from __future__ import annotations

from msgspec import Struct

from tokentill.rules import commands as c
from tokentill.rules.catalog import DAY_MS, TOKENS_MAX
from tokentill.rules.refusals import Code, Refusal
from tokentill.rules.turn import Turn


class Paid(Struct, frozen=True):
    """What a period is paid with: `price` minor units that it is worth (None = the plan's), and the purchase.

    `since`: from when the provider's invoice pays, as far as it said. `end`: as the provider says, that of the period,
    or where it bills (`billed`) of all periods that its invoice pays for.
    """

    price: int | None = None
    since: int | None = None
    end: int | None = None
    billed: bool = False
    reference: str | None = None


def paid_by(command: c.Reset | c.ChangePlan, *, billed: bool) -> Paid:
    """What the command says of the payment."""
    return Paid(command.paid, command.start, command.end, billed, command.reference)


PLAIN = Paid()
"""Nothing is known of the payment but the plan."""

OLDER = "older_period"
OVER = "period_over"
"""Details of the refusal of an invoice that begins nothing: it pays for a time before, or for one that is over."""


def outdated(turn: Turn, command: c.Reset | c.ChangePlan) -> Refusal | None:
    """A refusal where an invoice pays for a time that is over, or before what the account is on (R-PLAN-4).

    So invoices lead to the same end in whatever order they are told, and one that is paid late begins no period anew.
    """
    start, end, state = command.start, command.end, turn.state
    if start is None or end is None:
        return None
    if end <= turn.now:
        message = "The time that this invoice pays for is over. Its tokens would have lapsed with it."
        return Refusal(Code.NOT_POSSIBLE, message, detail=OVER)
    known = state.paid_until == end if type(command) is c.Reset else False
    if known or (state.paid_from is not None and (start, end) < (state.paid_from, state.paid_until or 0)):
        message = "The account is on what a later invoice pays for, or on this very one, so nothing begins."
        return Refusal(Code.NOT_POSSIBLE, message, detail=OLDER)
    return None


def bad_paid(command: c.Reset | c.ChangePlan) -> Refusal | None:
    """A refusal unless what the command says of an invoice can be."""
    start, end, paid = command.start, command.end, command.paid
    if start is not None and not (type(start) is int and type(end) is int and 0 <= start < end < TOKENS_MAX):
        message = "start must lie before end, and both be given, in epoch milliseconds."
        return Refusal(Code.INVALID, message, detail="start")
    if paid is not None and not (type(paid) is int and 0 <= paid <= TOKENS_MAX):
        return Refusal(Code.INVALID, "paid must be a whole number of minor units, 0 or more.", detail="paid")
    return None


def bad_end(turn: Turn, end: int | None) -> Refusal | None:
    """A refusal unless `end` can be the end of a period as a provider bills it."""
    if end is None or (type(end) is int and turn.now < end <= turn.now + 400 * DAY_MS and end < TOKENS_MAX):
        return None
    message = "end must lie in the future, by 400 days at most, in epoch milliseconds."
    return Refusal(Code.INVALID, message, detail="end")
