"""Waiting: when somebody should look again at a purchase, or at an event whose purchase is not known.

A look at an open checkout comes after a minute and then whenever it has been open for twice as long, so that
a payment of which no webhook told is found, and an old checkout costs next to nothing; one whose end nobody can tell,
because the provider is away, is not asked for all the time. A charge whose answer was lost is asked for again soon,
because money may have moved.

Times are epoch milliseconds.

Requirement ids: R-PACK-2, R-PACK-3.
"""

from __future__ import annotations

from tokentill.rules.durations import DAY_MS, HOUR_MS, MINUTE_MS
from tokentill.rules.purchases import HONOURED_MS, Purchase, next_step

LEASE_MS = 10_000
"""How long a step that was begun is left to whoever began it."""

START_MS = 2 * MINUTE_MS
"""A checkout that has not started by then never will: whoever asked for it was told so, or has gone."""

SWEEP_MS = MINUTE_MS
"""How often it is looked whether running operations have let go of tokens that are to be taken back."""

OVERDUE_MS = 10 * MINUTE_MS
"""How often a checkout whose time is over is looked at while its provider cannot say how it ended."""

CHARGE_MS = DAY_MS
"""How long a charge without an answer is asked for again, before a person must look."""

TRIES_MAX = 24
"""So often an event is tried before it is given up: for more than half a day."""


def overdue(purchase: Purchase, now: int) -> bool:
    """Whether an open checkout is past the time in which it may still be paid."""
    end = (purchase.expires_at or purchase.created_at) + HONOURED_MS
    return purchase.state in ("created", "pending") and now >= end


def unpaid_overage(purchase: Purchase) -> bool:
    """Whether the saved method did not pay a bill of overage, which is then left open to be paid by a checkout."""
    over = purchase.state in ("failed", "abandoned")
    return purchase.kind == "overage" and purchase.mode == "saved" and over


def look_at(purchase: Purchase, now: int) -> int | None:
    """When to look at the purchase again; None if nothing can happen without our being told."""
    if next_step(purchase) is not None:
        return now + LEASE_MS
    if purchase.sweep:
        return now + SWEEP_MS
    if unpaid_overage(purchase):
        return now
    if purchase.state not in ("created", "pending") or purchase.mode in ("invoice", "free"):
        return None
    age = max(0, now - purchase.created_at)
    if purchase.mode == "saved" and purchase.url is None:
        return now + max(LEASE_MS, age // 2)
    if purchase.state == "created":
        return purchase.created_at + START_MS if age < START_MS else now
    end = (purchase.expires_at or purchase.created_at) + HONOURED_MS
    return now + OVERDUE_MS if now >= end else min(end, now + max(MINUTE_MS, age))


def try_at(tries: int, now: int) -> int:
    """When to try an event again that was tried so often: at once at first, in the end every hour."""
    return now + min(HOUR_MS, 250 << min(tries, 20))
