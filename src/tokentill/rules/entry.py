"""An entry: what each of them has, and the words their fields are made of; the kinds are in `tokentill.rules.entries`.

Requirement ids: R-LED-5, R-LED-6.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from tokentill.rules.refusals import Status

Origin = Literal["plan", "rollover", "pack", "bonus", "credit", "grant", "adjustment", "refund"]
LotUnit = Literal["token", "money"]
Beyond = Literal["overage", "grace", "unlimited"]
Standing = Literal["active", "past_due", "grace", "offline"]
Moves = tuple[tuple[int, int], ...]


class ModelUse(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What a call of a model used: by which `key` (its id), which `model` of the catalog, and who answered.

    `counted` says how that is known: reported by the upstream; estimated where it said nothing; delivered, before the
    client went away; cut at what may be written; none, nothing came. `cost`: tokens of the till that this comes to
    by the catalog of the entry, `times` a fixed price; charged is at most what was held (R-SALE-5).
    """

    model: str
    key: str
    upstream: str | None = None
    read: int = 0
    written: int = 0
    cached: int = 0
    times: int = 1
    counted: Literal["reported", "estimated", "delivered", "cut", "none"] = "reported"
    cost: int = 0


class Base(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", gc=False):
    """What every entry has; see `tokentill.rules.entries`."""

    seq: int
    time: int
    catalog: str
    balance: int = 0
    held: int = 0
    tokens: int = 0
    status: Status = "done"
    user: str | None = None
    feature: str | None = None
    key: str | None = None
    part: int = 0
    body: str | None = None
    reason: str | None = None
    actor: str | None = None
    """Who did it by hand: the name of the operator key; None for the customer and for the clock."""
