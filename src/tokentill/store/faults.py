"""Fault points: the named moments at which a test may end the process, or make the store fail.

The store says where it is; whoever asked to be told decides what happens there. Nobody asks in production:
then saying it costs one comparison, and no setting, environment variable or command can change that.

Requirement ids: R-LED-4.
"""

from __future__ import annotations

from collections.abc import Callable

Hook = Callable[[str], None]

SQLITE = (
    "open.locked",
    "open.migrated",
    "open.committed",
    "lane.decided_ahead",
    "lane.collected",
    "lane.locked",
    "lane.begun",
    "lane.loaded",
    "lane.looked_up",
    "lane.decided",
    "lane.entries_written",
    "lane.accounts_written",
    "lane.written",
    "lane.committed",
    "lane.unlocked",
    "lane.remembered",
    "lane.answered",
    "call.begun",
    "call.worked",
    "call.committed",
    "call.unlocked",
)
"""The points a command, or another write, passes on SQLite, in the order in which it passes them.

One that was decided ahead passes none from `loaded` to `decided`; it may be answered after the next one's `written`."""

POSTGRES = (
    "open.locked",
    "open.migrated",
    "open.committed",
    "lane.collected",
    "lane.begun",
    "lane.locked",
    "lane.loaded",
    "lane.looked_up",
    "lane.decided",
    "lane.written",
    "lane.committed",
    "lane.remembered",
    "lane.answered",
    "call.begun",
    "call.worked",
    "call.committed",
)
"""The same on PostgreSQL, where a batch is written in one statement and its locks end with its transaction."""

ROLLBACK = ("lane.rolling_back", "lane.rolled_back")
"""Passed only by a batch that failed."""

INTENTS = ("intent.opened", "intent.written", "intent.synced")
"""Passed by a charge that is kept for later."""

_hook: Hook | None = None


def install(hook: Hook | None) -> None:
    """Have `hook` called with the name of every point passed from now on; None ends it. For tests only."""
    global _hook  # noqa: PLW0603  # one for the process, because the points are anywhere in it
    _hook = hook


def hit(point: str) -> None:
    """This is the point `point`."""
    if _hook is not None:
        _hook(point)
