"""Abuse counters of a user: what admitted requests and charged tokens leave behind in the account.

Part of evolving: everything here comes from entries, so a replay counts the same. An idle user's counters
are dropped after an hour, those of a user with attempts of the last day or a running block are kept, so
that an account's snapshot stays small.

Requirement ids: R-ABU-2, R-ABU-3, R-ABU-5, R-ABU-6.
"""

from __future__ import annotations

from collections.abc import Sequence

from tokentill.rules import entries as e
from tokentill.rules.account import Account, State, User
from tokentill.rules.catalog import ATTEMPTS_MAX, HOUR_MS, MINUTE_MS

RECENT_EXACT = 128
"""Up to this many requests a minute are kept to the millisecond, beyond it in half-second bins, counted late."""


def user(state: State, name: str | None, time: int) -> User:
    """The user's counters, made on first sight; idle users of the last hour go once a minute."""
    if state.users_pruned_at + MINUTE_MS < time:
        state.users_pruned_at = time
        idle = [
            key
            for key, counters in state.users.items()
            if counters.seen + HOUR_MS < time
            and counters.blocked_until <= time
            and not (counters.attempts and counters.attempts[-1] + 24 * HOUR_MS > time)
        ]
        for key in idle:
            del state.users[key]
    counters = state.users.get(name or "")
    if counters is None:
        counters = state.users[name or ""] = User()
    counters.seen = time
    return counters


def sum_since(pairs: Sequence[int], since: int) -> int:
    """What the flat pairs time, count that are later than `since` come to; they are in order of time."""
    if pairs and pairs[0] > since:
        return sum(pairs[1::2])
    return sum(pairs[at + 1] for at in range(0, len(pairs), 2) if pairs[at] > since)


def _forget(pairs: list[int], until: int) -> None:
    """Let go of the pairs that are no later than `until`."""
    gone = 0
    while gone < len(pairs) and pairs[gone] <= until:
        gone += 2
    if gone:
        del pairs[:gone]


def admitted(state: State, name: str | None, time: int) -> None:
    """A request of the user was admitted at `time`: it counts toward rate and spacing."""
    counters = user(state, name, time)
    counters.last = time
    recent = counters.recent
    _forget(recent, time - MINUTE_MS)
    if recent and (
        recent[-2] == time or (len(recent) > 2 * RECENT_EXACT and recent[-2] // 500 == time // 500)
    ):
        recent[-2] = time
        recent[-1] += 1
    else:
        recent += (time, 1)


def burned(state: State, name: str, time: int, tokens: int) -> None:
    """`tokens` were charged to the user at `time`: they count toward the hour's burn."""
    counters = user(state, name, time)
    burn = counters.burn
    minute = time // MINUTE_MS
    _forget(burn, minute - 60)
    if burn and burn[-2] == minute:
        burn[-1] += tokens
    else:
        burn += (minute, tokens)


def refused(account: Account, entry: e.Refused) -> None:
    """Evolve by a refusal on the record."""
    if entry.rated:
        admitted(account.state, entry.user, entry.time)
    known = user(account.state, entry.user, entry.time)
    if entry.minute is None:
        known.refused[entry.code] = entry.time // MINUTE_MS
    if entry.attempt:
        known.attempts.append(entry.time)
        del known.attempts[:-ATTEMPTS_MAX]


def blocked(account: Account, entry: e.Blocked) -> None:
    """Evolve by a block."""
    known = user(account.state, entry.user, entry.time)
    known.blocked_until = entry.until
    known.attempts.clear()


def unblocked(account: Account, entry: e.Unblocked) -> None:
    """Evolve by the lifting of a block."""
    known = user(account.state, entry.user, entry.time)
    known.blocked_until = 0
    known.attempts.clear()


def alerted(account: Account, entry: e.Alerted) -> None:
    """Evolve by an alert."""
    user(account.state, entry.user, entry.time).alerts[entry.code] = entry.time
