"""The record: what the demo itself did and was told, organization by organization, for the reckoning.

It holds facts only: which operation was served with which sizes, which were not, what was bought. What that
should cost and leave is worked out afterwards, by `reckoning`.
"""

from __future__ import annotations

from collections import Counter
from typing import Literal

from msgspec import Struct, field

Uncharged = Literal["failed", "timed out", "vanished", "too late"]


class Served(Struct, frozen=True):
    """An operation that answered and was settled."""

    operation: str
    feature: str
    read: int
    written: int


class Record(Struct):
    """One organization's evening. `opening` are tokens it came with; `packs` and `plans` what it took since."""

    organization: str
    part: str
    plan: str | None
    opening: int = 0
    packs: list[str] = field(default_factory=list)
    plans: list[str] = field(default_factory=list)
    served: list[Served] = field(default_factory=list)
    uncharged: dict[str, Uncharged] = field(default_factory=dict)
    """Operations that were begun and must have cost nothing, each with why."""
    refusals: Counter[str] = field(default_factory=Counter)
    odd: list[str] = field(default_factory=list)
    """What the till answered that it should not have."""
