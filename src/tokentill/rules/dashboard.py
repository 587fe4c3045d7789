"""Dashboard: what was used, by day, model and key, read off the journal's newest entries. True figures only.

Tokens are what was charged less what was given back, each on the day it happened (UTC). Calls are charges. Where the
journal was not read back to the beginning of the time, the figures begin later and say so (`since`).

Requirement ids: R-SALE-4, R-SALE-6.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Literal

from msgspec import Struct

from tokentill.rules import entries as e
from tokentill.rules.catalog import DAY_MS, Catalog
from tokentill.rules.delivery import day

CALLS_MAX = 20
"""So many of the last calls are shown one by one."""

How = Literal["charged", "refunded", "nothing charged", "too late, nothing charged"]


class Line(Struct, frozen=True):
    """What was used on one day, of one model or by one key; `share` in percent of the largest such line."""

    name: str
    tokens: int
    calls: int
    share: int


class Call(Struct, frozen=True):
    """One of the last calls: when, what, by which key or user, how many tokens and how it ended."""

    at: int
    what: str
    by: str
    tokens: int
    how: How


class Refusals(Struct, frozen=True):
    """How often something was refused for one reason, and when last (epoch ms)."""

    code: str
    count: int
    last: int


class Use(Struct, frozen=True, kw_only=True):
    """What was used from `since` on (epoch ms)."""

    since: int
    tokens: int
    calls: int
    days: tuple[Line, ...]
    models: tuple[Line, ...]
    keys: tuple[Line, ...]
    last: tuple[Call, ...]
    refusals: tuple[Refusals, ...]


class Reading:
    """Takes entries newest first. `keys`: how keys are called, by id; `users`: only theirs, None = everybody's."""

    def __init__(self, catalog: Catalog, keys: Mapping[str, str], users: Collection[str] | None) -> None:
        self._catalog = catalog
        self._keys = keys
        self._users = users
        self._tokens: dict[str, Counter[str]] = {name: Counter() for name in ("day", "model", "key")}
        self._calls: dict[str, Counter[str]] = {name: Counter() for name in ("day", "model", "key")}
        self._last: list[Call] = []
        self._refused: dict[str, tuple[int, int]] = {}

    def take(self, entry: e.Entry, user: str | None) -> None:
        """One entry, and the name of the user it belongs to."""
        if self._users is not None and user not in self._users:
            return
        if isinstance(entry, e.Refused):
            count, last = self._refused.get(entry.code, (0, entry.time))
            self._refused[entry.code] = (count + entry.count, last)
        elif isinstance(entry, e.Charged):
            self._count(entry, user, entry.tokens, 1)
            self._call(entry, user, entry.tokens, "charged")
        elif isinstance(entry, e.Refunded):
            self._count(entry, user, -entry.tokens, 0)
            self._call(entry, user, entry.tokens, "refunded")
        elif isinstance(entry, e.Released):
            self._call(entry, user, 0, "nothing charged")
        elif isinstance(entry, e.Late):
            self._call(entry, user, 0, "too late, nothing charged")

    def use(self, since: int, now: int) -> Use:
        """What was taken, from `since` on; the days newest first, back to the first one with any use."""
        tokens, calls = self._tokens["day"], self._calls["day"]
        days = [day(at) for at in range(since - since % DAY_MS, now + 1, DAY_MS)]
        while days and days[0] not in tokens:
            del days[0]
        most = max((tokens[one] for one in days), default=0)
        return Use(
            since=since,
            tokens=sum(tokens.values()),
            calls=sum(calls.values()),
            days=tuple(
                Line(one, tokens[one], calls[one], _share(tokens[one], most)) for one in reversed(days)
            ),
            models=self._lines("model"),
            keys=self._lines("key"),
            last=tuple(self._last),
            refusals=tuple(Refusals(code, *found) for code, found in sorted(self._refused.items())),
        )

    def _count(self, entry: e.Charged | e.Refunded, user: str | None, tokens: int, calls: int) -> None:
        for name, value in (
            ("day", day(entry.time)), ("model", self._what(entry)), ("key", self._by(entry, user))
        ):  # fmt: skip
            self._tokens[name][value] += tokens
            self._calls[name][value] += calls

    def _call(
        self, entry: e.Charged | e.Refunded | e.Released | e.Late, user: str | None, tokens: int, how: How
    ) -> None:
        if len(self._last) < CALLS_MAX:
            self._last.append(Call(entry.time, self._what(entry), self._by(entry, user), tokens, how))

    def _what(self, entry: e.Charged | e.Refunded | e.Released | e.Late) -> str:
        """The model that was called, else the feature."""
        model = None if entry.use is None else self._catalog.models.get(entry.use.model)
        if model is not None:
            return model.title
        feature = self._catalog.features.get(entry.feature or "")
        return (entry.feature or "") if feature is None else feature.title

    def _by(self, entry: e.Charged | e.Refunded | e.Released | e.Late, user: str | None) -> str:
        """The key that called, else the user."""
        key = (user or "").removeprefix("key ") if entry.use is None else entry.use.key
        return self._keys.get(key, user or "")

    def _lines(self, name: str) -> tuple[Line, ...]:
        tokens, calls = self._tokens[name], self._calls[name]
        most = max(tokens.values(), default=0)
        ranked = sorted(tokens, key=lambda value: (-tokens[value], value))
        return tuple(
            Line(value, tokens[value], calls[value], _share(tokens[value], most)) for value in ranked
        )


def _share(tokens: int, most: int) -> int:
    return max(0, tokens * 100 // most) if most > 0 else 0
