"""Abuse prevention: the battery that runs before any reservation (R-ABU-1…8).

Order, first refusal wins: block after failed attempts, size of one request, requests a minute, spacing.
Limits are a user's on a feature, from the catalog or from the key that calls. None switches a layer off.

What counts toward rate and spacing: admitted requests, and final refusals that are remembered under a key, each
of which is an entry. No other refusal does, so hammering does not push the next chance away.
Exactly `spacing_ms_min` after the last passes; a request exactly 60,000 ms old has left the minute. A
request without a user is limited as the one nameless user of its organization.

Burn alerts flag and never block (R-ABU-5): more than the limit within the current and the 59 minutes before,
once an hour. Refusals file themselves as prevented, and fraud_flagged while a block lasts (R-ABU-7).

Requirement ids: R-ABU-1, R-ABU-2, R-ABU-3, R-ABU-4, R-ABU-5, R-ABU-6, R-ABU-7, R-ABU-8.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from tokentill.rules import commands as c
from tokentill.rules import entries as e
from tokentill.rules.account import State, User
from tokentill.rules.catalog import HOUR_MS, MINUTE_MS, AbuseLimits, Catalog
from tokentill.rules.counters import sum_since
from tokentill.rules.counters import user as counters_of
from tokentill.rules.refusals import Code, Refusal
from tokentill.rules.turn import Turn

NO_LIMITS = AbuseLimits()
ATTEMPT_CODES = frozenset({Code.INVALID, Code.UNKNOWN_FEATURE, Code.TOO_LARGE})
"""Refusals that count toward the block (readings: invalid requests and requests refused by size)."""


class LayerVerdict(Struct, frozen=True):
    """What one layer of the battery says: the refusal, or None where it passes; `limit` as the catalog has it."""

    layer: str
    limit: int | None
    refusal: Refusal | None


def limits_of(catalog: Catalog, plan: str | None, feature: str) -> AbuseLimits:
    """The resolved limits of a user of `plan` on `feature`."""
    known = catalog.plans.get(plan) if plan is not None else None
    table = catalog.no_plan_abuse if known is None else known.abuse
    return table.get(feature, NO_LIMITS)


def check(state: State, user: str | None, limits: AbuseLimits, tokens: int, now: int) -> Refusal | None:
    """The first refusal of the battery, None if every layer passes. Changes nothing."""
    counters = state.users.get(user or "")
    if counters is not None and counters.blocked_until > now:
        return _blocked(counters, now)
    if limits.tokens_per_request_max is not None and tokens > limits.tokens_per_request_max:
        return _too_large(limits.tokens_per_request_max, tokens)
    if counters is None:
        return None
    if limits.requests_per_minute_max is not None:
        refusal = _rate(counters, limits.requests_per_minute_max, now)
        if refusal is not None:
            return refusal
    if limits.spacing_ms_min is not None and now - counters.last < limits.spacing_ms_min:
        return _spacing(counters, limits.spacing_ms_min, now)
    return None


def battery(
    state: State, user: str | None, limits: AbuseLimits, tokens: int, now: int
) -> tuple[LayerVerdict, ...]:
    """Every layer's verdict on its own (`runAbuseCheckBattery`, R-ABU-8). Changes nothing."""
    counters = state.users.get(user or "") or User()
    size, rate, spacing = limits.tokens_per_request_max, limits.requests_per_minute_max, limits.spacing_ms_min
    return (
        LayerVerdict(
            "attempts", limits.attempts_max, _blocked(counters, now) if counters.blocked_until > now else None
        ),
        LayerVerdict("size", size, None if size is None or tokens <= size else _too_large(size, tokens)),
        LayerVerdict("rate", rate, None if rate is None else _rate(counters, rate, now)),
        LayerVerdict(
            "spacing",
            spacing,
            None if spacing is None or now - counters.last >= spacing else _spacing(counters, spacing, now),
        ),
    )


def _blocked(counters: User, now: int) -> Refusal:
    return Refusal(
        Code.BLOCKED,
        "This user is blocked for a while after too many failed attempts. The block ends by itself; "
        "the operator can lift it.",
        status="fraud_flagged",
        retry_after_ms=counters.blocked_until - now,
    )


def _too_large(limit: int, tokens: int) -> Refusal:
    return Refusal(
        Code.TOO_LARGE,
        f"One request may use at most {limit} tokens, and this one needs {tokens}. Split it into smaller ones.",
        needed=tokens,
        detail=str(limit),
    )


def _rate(counters: User, limit: int, now: int) -> Refusal | None:
    recent = counters.recent
    since = now - MINUTE_MS
    if len(recent) < 2 * limit and sum(recent[1::2]) < limit:
        return None
    count = sum_since(recent, since)
    if count < limit:
        return None
    # The next chance comes when enough of the oldest have left the minute.
    surplus = count - limit + 1
    leaves = now
    for at in range(0, len(recent), 2):
        if recent[at] > since:
            surplus -= recent[at + 1]
            leaves = recent[at] + MINUTE_MS
            if surplus <= 0:
                break
    return Refusal(
        Code.RATE,
        f"A user may make at most {limit} requests a minute. Wait a moment and send it again.",
        retry_after_ms=max(1, leaves - now),
        detail=str(limit),
    )


def _spacing(counters: User, spacing: int, now: int) -> Refusal:
    return Refusal(
        Code.SPACING,
        f"Requests of a user must be {spacing / 1000:g} seconds apart. Wait a moment and send it again.",
        retry_after_ms=counters.last + spacing - now,
        detail=str(spacing),
    )


def record(turn: Turn, refusal: Refusal, command: c.Command, user: str | None) -> Refusal:
    """Put a refusal on the record as R-ABU-7 asks, and block at the last attempt allowed (R-ABU-6).

    Final refusals of a keyed one-shot charge are kept whole, to be given again; attempts are kept each;
    of the others the first of a user and code in a minute, the rest counted in memory (`turn.counted`). A
    user who is blocked or beyond the rate is a flood: whatever is refused then is of the others.
    """
    feature = getattr(command, "feature", None)
    known = feature in turn.catalog.features
    limits = getattr(command, "limits", None)
    if limits is None:
        limits = limits_of(turn.catalog, turn.state.plan, feature) if known and feature else None
    if limits is None:
        limits = _strictest_attempts(turn)
    counters = turn.state.users.get(user or "")
    flood = counters is not None and _floods(counters, limits, turn.now)
    remembered = turn.keyed and type(command) is c.Charge and refusal.retry_after_ms is None and not flood
    attempt = (
        refusal.code in ATTEMPT_CODES and user is not None and limits.attempts_max is not None and not flood
    )
    minute = turn.now // MINUTE_MS
    if not remembered and not attempt and counters and counters.refused.get(refusal.code) == minute:
        turn.counted = (user, refusal.code, minute)
        return refusal
    fields = turn.signed() if remembered else turn.stamp()
    turn.emit(
        e.Refused(
            **fields,
            code=refusal.code,
            status=refusal.status,
            user=user,
            feature=feature if known else None,
            tokens=refusal.needed or 0,
            refusal=refusal if remembered else None,
            attempt=attempt,
            rated=remembered and is_rated(limits),
        )
    )
    if attempt:
        _block(turn, user, limits)
    return refusal


def is_rated(limits: AbuseLimits) -> bool:
    """Whether requests are counted under these limits (R-ABU-2, R-ABU-3)."""
    return limits.requests_per_minute_max is not None or limits.spacing_ms_min is not None


def _floods(counters: User, limits: AbuseLimits, now: int) -> bool:
    rate = limits.requests_per_minute_max
    return counters.blocked_until > now or (rate is not None and _rate(counters, rate, now) is not None)


def _strictest_attempts(turn: Turn) -> AbuseLimits:
    """Limits for an attempt that names no known feature: the plan's feature with the fewest attempts allowed."""
    plan = turn.current_plan()
    table = turn.catalog.no_plan_abuse if plan is None else plan.abuse
    counted = [limits for limits in table.values() if limits.attempts_max is not None]
    return min(counted, key=lambda limits: limits.attempts_max or 0, default=NO_LIMITS)


def _block(turn: Turn, user: str | None, limits: AbuseLimits) -> None:
    counters = counters_of(turn.state, user, turn.now)
    since = turn.now - limits.attempts_window_ms
    attempts = sum(1 for time in counters.attempts if time > since)
    if limits.attempts_max is None or attempts < limits.attempts_max or counters.blocked_until > turn.now:
        return
    turn.emit(
        e.Blocked(
            **turn.stamp(),
            user=user,
            status="fraud_flagged",
            until=turn.now + limits.block_ms,
            attempts=attempts,
            reason="failed attempts",
        )
    )


def after_charge(turn: Turn, user: str | None, limits: AbuseLimits) -> None:
    """Alerts that a charge may set off (R-ABU-5): flagged on the record, blocking nothing."""
    if user is None:
        return
    if limits.burn_alert_tokens_per_hour is None and limits.burn_alert_percent_of_allowance is None:
        return
    counters = turn.state.users.get(user)
    if counters is None:
        return
    spent = sum_since(counters.burn, turn.now // MINUTE_MS - 60)
    limit = limits.burn_alert_tokens_per_hour
    if limit is not None and spent > limit:
        _alert(turn, user, counters, "burn", spent, limit)
    percent = limits.burn_alert_percent_of_allowance
    allowance = turn.state.allowance
    if percent is not None and allowance and spent * 100 > percent * allowance:
        _alert(turn, user, counters, "burn_share", spent, percent * allowance // 100)


def _alert(
    turn: Turn, user: str, counters: User, code: Literal["burn", "burn_share"], observed: int, limit: int
) -> None:
    if turn.now - counters.alerts.get(code, -HOUR_MS) < HOUR_MS:
        return
    turn.emit(
        e.Alerted(
            **turn.stamp(), user=user, status="fraud_flagged", code=code, observed=observed, limit=limit
        )
    )
