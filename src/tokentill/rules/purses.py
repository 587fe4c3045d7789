"""Purses: what a customer's key may spend in all, counted by the account itself (R-SALE-8).

A use may name a purse and how much that purse may spend: tokens spent and held under its name are never more than
that. It is part of the one decision about a use, so it is exact however many uses come at once, and every way in which
tokens come back (a release, a deadline, a settle of less, a refund) gives them back to the purse as well. A purse counts
for ever. Keys that replace one another share one, so that a new key is no new allowance.

Only trusted callers name a purse, as with `limits`. Where nothing but running uses stand in the way, the refusal says
to wait; else it says what is left. Tokens beyond the lots (overage, grace, an unlimited plan) count like any other.

Requirement ids: R-SALE-8, R-LED-3, R-LED-7, R-ABU-8.
"""

from __future__ import annotations

from msgspec import Struct

from tokentill.rules import commands as c
from tokentill.rules import entries as e
from tokentill.rules.account import Account, Misfit, State
from tokentill.rules.catalog import TOKENS_MAX
from tokentill.rules.exhaustion import RETRY_MS
from tokentill.rules.refusals import Code, Refusal

PURSES_MAX = 10_000
"""Purses of an account. They are kept for ever, so this is far more than there are keys at a time."""
NAME_CHARS_MAX = 64


class Purse(Struct, frozen=True):
    """What was `spent` under one name and is `held` by running uses."""

    name: str
    spent: int = 0
    held: int = 0

    def left(self, most: int) -> int:
        """What may still be used, if it may be `most` in all."""
        return max(0, most - self.spent - self.held)


def purse(account: Account, name: str) -> Purse:
    """The purse of that name; one that was never used has spent nothing."""
    return Purse(name, *account.state.purses.get(name, ()))


def bad_terms(command: c.Reserve | c.Charge) -> Refusal | None:
    """What is wrong with how a use names its purse."""
    name, most = command.purse, command.purse_max
    if type(name) is not str or not (
        name.isascii() and name.isprintable() and 1 <= len(name) <= NAME_CHARS_MAX
    ):
        message = f"purse must be a name of 1 to {NAME_CHARS_MAX} plain characters."
        return Refusal(Code.INVALID, message, detail="purse")
    if most is not None and not (type(most) is int and 0 <= most <= TOKENS_MAX):
        message = f"purse_max must be a whole number from 0 to {TOKENS_MAX}."
        return Refusal(Code.INVALID, message, detail="purse_max")
    return None


def allowed(account: Account, name: str, most: int | None, tokens: int, least: int | None) -> int | Refusal:
    """How many of `tokens` the purse allows: all, fewer where at least `least` will do, or why it allows none."""
    state = account.state
    if name not in state.purses and len(state.purses) >= PURSES_MAX:
        message = (
            f"This organization has had {PURSES_MAX} keys with limits of their own, which is as many as are counted. "
            "Use one of them, or a key without a limit."
        )
        return Refusal(Code.KEY_LIMIT, message, balance=0, needed=least or tokens, held=0, detail="keys")
    if most is None:
        return tokens
    has = purse(account, name)
    left = has.left(most)
    if tokens <= left:
        return tokens
    if least is not None and least <= left:
        return left
    needed = least or tokens
    if has.spent + needed <= most:
        return Refusal(
            Code.HELD,
            "What this key may still use is held by its operations that are still running. It comes back or is "
            "spent when those end; send it again then.",
            retry_after_ms=RETRY_MS,
            balance=left,
            needed=needed,
            held=has.held,
            detail=str(most),
        )
    return Refusal(
        Code.KEY_LIMIT,
        f"This key may use {most} tokens in all. {left} of them are left, and this needs {needed}. "
        "Use another key, or make one with a higher limit.",
        balance=left,
        needed=needed,
        held=has.held,
        detail=str(most),
    )


# ---- evolving ----------------------------------------------------------------------------------------


def held(state: State, entry: e.Held) -> None:
    """Evolve by a hold that names a purse."""
    assert entry.purse is not None, "the caller has seen that it names one"
    assert entry.key is not None, "a hold has a key"
    state.purse_of[entry.key] = entry.purse
    _add(state, entry.purse, 0, entry.tokens, entry.purse_max)


def ended(state: State, key: str | None, tokens: int) -> None:
    """Evolve by the end of any hold: its purse holds no more of it."""
    name = None if key is None else state.purse_of.pop(key, None)
    if name is not None:
        _add(state, name, 0, -tokens)


def charged(state: State, entry: e.Charged) -> None:
    """Evolve by a charge, before its hold has ended: it counts toward the purse that the hold named."""
    if entry.part and state.purse_of.get(entry.key or "") != entry.purse:
        raise Misfit(
            f"the charge of hold {entry.key} counts toward {entry.purse}, which its hold does not name"
        )
    if entry.part and entry.purse is not None:
        _add(state, entry.purse, entry.tokens, 0)
    elif entry.purse is not None:
        _add(state, entry.purse, entry.tokens, 0, entry.purse_max)


def refunded(state: State, entry: e.Refunded) -> None:
    """Evolve by a charge given back: its purse has it again."""
    if entry.purse is not None:
        _add(state, entry.purse, -entry.tokens, 0)


def _add(state: State, name: str, spent: int, held: int, most: int | None = None) -> None:
    counts = state.purses.setdefault(name, [0, 0])
    counts[0] += spent
    counts[1] += held
    if min(counts) < 0 or (most is not None and (spent or held) and sum(counts) > most):
        raise Misfit(f"purse {name} comes to {counts[0]} spent and {counts[1]} held, of {most}")


def misfit(state: State) -> str | None:
    """What of the purses does not fit the holds that are open, None if everything does."""
    counted = dict.fromkeys(state.purses, 0)
    for key, name in state.purse_of.items():
        if key not in state.holds or name not in counted:
            return f"hold {key} of purse {name} is not open, or the purse is not there"
        counted[name] += state.holds[key].tokens
    for name, counts in state.purses.items():
        if counts[0] < 0 or counts[1] != counted[name]:
            return f"purse {name} has {counts[0]} spent and {counts[1]} held, but its holds are of {counted[name]}"
    return None
