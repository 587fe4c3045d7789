"""Ended holds: what is answered to a command on a hold that is not open any more (R-LED-3, R-LED-9).

A duplicate gets the first answer again. A success that comes after the deadline is charged 0, and recorded once
as the operator's loss.

Requirement ids: R-LED-3, R-LED-4, R-LED-9.
"""

from __future__ import annotations

from tokentill.rules import commands as c
from tokentill.rules import entries as e
from tokentill.rules.catalog import TOKENS_MAX
from tokentill.rules.receipts import Receipt, receipt
from tokentill.rules.refusals import Code, Refusal
from tokentill.rules.turn import Turn


def settle(turn: Turn, command: c.Settle) -> Receipt | Refusal:
    """A settle of a hold that is not open: a duplicate gets the first answer, a late success is charged 0."""
    held, ended = history(turn, command.hold)
    if ended is None:
        return unknown()
    whole = ended.tokens if held is None else held.tokens
    if type(ended) is e.Charged:
        asked = whole if command.tokens is None else command.tokens
        if asked == ended.tokens:
            return receipt(ended, replayed=True)
        message = f"This hold was settled already, with {ended.tokens} tokens charged."
        return Refusal(Code.HOLD_ENDED, message, detail="settled")
    if ended.reason != "timeout":
        return Refusal(
            Code.HOLD_ENDED, "This hold was released already, and nothing was charged.", detail="released"
        )
    if not any(type(entry) is e.Late for entry in turn.find(command.hold)):
        lost = min(whole if command.tokens is None else command.tokens, TOKENS_MAX)
        fields = turn.stamp()
        fields.update(key=command.hold, part=3, user=ended.user, feature=ended.feature)
        reason = "settled after its deadline"
        turn.emit(e.Late(**fields, lost=lost, status="failed", reason=reason, use=command.use))
    return Refusal(
        Code.HOLD_EXPIRED,
        "The operation took longer than its hold lasted, so nothing was charged and the tokens are back.",
        detail="timeout",
    )


def history(turn: Turn, hold: str) -> tuple[e.Held | None, e.Charged | e.Released | None]:
    """How a hold began and ended; its deadline may have ended it in this very turn, before anything was looked up."""
    held = ended = None
    for entry in (*turn.find(hold), *(made for made in turn.entries if made.key == hold)):
        if type(entry) is e.Held:
            held = entry
        elif entry.part == 1 and isinstance(entry, e.Charged | e.Released):
            ended = entry
    return held, ended


def unknown() -> Refusal:
    """No hold of this id was ever open."""
    return Refusal(Code.UNKNOWN_HOLD, "This organization has no hold of this id.")
