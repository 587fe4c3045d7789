"""Keys of customers: what one may be used for, and until when (R-SALE-8).

Whether a key still works is asked at every request, of the key as it is stored at that moment, so a revocation holds
from the next request on. That question is `wrong_with` and nothing else.

Requirement ids: R-SALE-8.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from tokentill.rules.rows import ApiKey

NEVER = 253_402_300_799_999
"""The last millisecond of the year 9999: a key that works until then was given no end."""
LIVE_MAX = 1_000
"""Keys of an organization that work at the same time."""
OVERLAP_MS_MAX = 30 * 86_400_000

Why = Literal["expired", "revoked", "read_only", "model", "feature"]


class Wrong(Struct, frozen=True):
    """Why a key does not do, and in words what the caller can do about it."""

    why: Why
    message: str


def wrong_with(key: ApiKey, now: int, model: str | None = None, feature: str | None = None) -> Wrong | None:
    """What keeps the key from running the model at `now`; without a model, from asking anything at all."""
    if key.revoked_at is not None and key.revoked_at <= now:
        return Wrong("revoked", "This key was revoked. Use another one.")
    if key.expires_at is not None and key.expires_at <= now:
        return Wrong("expired", "This key has expired. Use another one.")
    if model is None:
        return None
    if key.read_only:
        return Wrong("read_only", "This key may ask for the balance and the models, and run nothing.")
    if key.models and model not in key.models:
        return Wrong("model", f"This key may not use {model}. It may use {', '.join(key.models)}.")
    if key.features and feature not in key.features:
        return Wrong("feature", f"This key may not use {feature}. It may use {', '.join(key.features)}.")
    return None


def names(key: ApiKey, model: str, feature: str) -> bool:
    """Whether the model is one of those that the key is for."""
    return (not key.models or model in key.models) and (not key.features or feature in key.features)


def narrowed(key: ApiKey) -> bool:
    """Whether the key may use less than its organization has, or is one user's alone."""
    return bool(key.user or key.models or key.features) or key.spend_max is not None


def serves(key: ApiKey, now: int) -> bool:
    """Whether the key works and can use whatever its organization buys."""
    return wrong_with(key, now) is None and not key.read_only and not narrowed(key)


def revoked(key: ApiKey, at: int) -> ApiKey:
    """The key, which stops working at `at`; never later than it would have by an earlier revocation."""
    at = at if key.revoked_at is None else min(at, key.revoked_at)
    return replace(key, revoked_at=at, works_until=min(at, key.works_until))


def caller(key: ApiKey) -> str:
    """The user on whose record the calls of a key are; a key that is nobody's is a user of its own."""
    return key.user or f"key {key.id}"
