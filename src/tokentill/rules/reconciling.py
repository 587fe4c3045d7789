"""Reconciling: what the journal charged for model calls, against what upstreams reported that they used (R-SALE-5).

Each call that ended is on record with what it used and how that is known. `cost` is what that comes to by the
catalog; where it is not what was charged, the difference has a name:

    beyond_hold    used more than was held; charged was all that was held
    failed         the call failed or nobody got its answer, so nothing was charged, but the upstream worked
    late           it ended after its hold had; nothing was charged
    unexplained    none of these: should be 0
    mispriced      `cost` is not what the catalog says today; only of entries of today's catalog: should be 0

So cost = charged + beyond_hold + failed + late + unexplained. What was charged and given back later is `refunded`
beside it. Of some calls the upstream did not report what is charged: they are counted as estimated (it said nothing),
delivered (the client went away) and cut (more than may be written). The upstream's own bill may differ by those.

Of a call that failed, what the upstream did is estimated from what came of its answer; where nothing came it counts as
nothing. Days are of UTC, by the moment at which a call ended. Calls that still run, those whose process died before they
ended, and charges that wait on disk to be stored, are in none of this.

Requirement ids: R-SALE-5, R-LED-4, R-LED-5.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Literal

from msgspec import Struct

from tokentill.rules import call_terms
from tokentill.rules import entries as e
from tokentill.rules.catalog import Catalog
from tokentill.rules.entry import ModelUse
from tokentill.rules.usage import Usage

By = Literal["day", "organization", "model", "upstream", "key"]
WAYS: tuple[By, ...] = ("day", "organization", "model", "upstream", "key")


class Reconciled(Struct):
    """The calls of one day, organization, model, upstream and key, as far as was asked by these; others are empty.

    `read`, `written` and `cached` are the model's tokens, all others are the till's.
    """

    day: str = ""
    organization: str = ""
    model: str = ""
    upstream: str = ""
    key: str = ""
    calls: int = 0
    charged_calls: int = 0
    estimated_calls: int = 0
    delivered_calls: int = 0
    cut_calls: int = 0
    read: int = 0
    written: int = 0
    cached: int = 0
    cost: int = 0
    charged: int = 0
    beyond_hold: int = 0
    failed: int = 0
    late: int = 0
    refunded: int = 0
    unexplained: int = 0
    mispriced: int = 0


class Reconciliation(Struct, frozen=True):
    """All lines from `since` to before `until` (epoch ms), in order, and their sum."""

    since: int
    until: int
    by: tuple[By, ...]
    lines: tuple[Reconciled, ...]
    total: Reconciled

    @property
    def fits(self) -> bool:
        """Whether every difference has a name."""
        return not self.total.unexplained and not self.total.mispriced


class Reconciling:
    """Takes entries in, in any order, and gives the report."""

    def __init__(self, catalog: Catalog, since: int, until: int, by: Iterable[By] = WAYS) -> None:
        self._catalog = catalog
        self._since = since
        self._until = until
        self._by = tuple(way for way in WAYS if way in set(by))
        self._lines: dict[tuple[str, ...], Reconciled] = {}
        self._total = Reconciled()

    def take(self, organization: str, entry: e.Entry) -> None:
        """An entry of the organization; those of other times, and those that are of no call, are passed over."""
        if not self._since <= entry.time < self._until:
            return
        if not isinstance(entry, e.Charged | e.Released | e.Late | e.Refunded) or entry.use is None:
            return
        whose = {
            "day": datetime.fromtimestamp(entry.time / 1000, UTC).date().isoformat(),
            "organization": organization,
            "model": entry.use.model,
            "upstream": entry.use.upstream or "",
            "key": entry.use.key,
        }
        place: dict[str, Any] = {str(way): whose[way] for way in self._by}
        line = self._lines.get(tuple(place.values()))
        if line is None:
            line = self._lines[tuple(place.values())] = Reconciled(**place)
        for one in (line, self._total):
            self._add(one, entry, entry.use)

    def report(self) -> Reconciliation:
        """What was taken in so far."""
        lines = tuple(self._lines[place] for place in sorted(self._lines))
        return Reconciliation(self._since, self._until, self._by, lines, self._total)

    def _add(
        self, line: Reconciled, entry: e.Charged | e.Released | e.Late | e.Refunded, use: ModelUse
    ) -> None:
        if isinstance(entry, e.Refunded):
            line.refunded += entry.tokens
            return
        line.calls += 1
        line.estimated_calls += use.counted == "estimated"
        line.delivered_calls += use.counted == "delivered"
        line.cut_calls += use.counted == "cut"
        line.read += use.read
        line.written += use.written
        line.cached += use.cached
        line.cost += use.cost
        line.mispriced += self._mispriced(entry, use)
        if isinstance(entry, e.Charged):
            line.charged_calls += 1
            line.charged += entry.tokens
            beyond = use.cost - entry.tokens
            if beyond > 0 and not (entry.returned or entry.lapsed):
                line.beyond_hold += beyond
            else:
                line.unexplained += beyond
        elif isinstance(entry, e.Released):
            line.failed += use.cost
        else:
            line.late += use.cost

    def _mispriced(self, entry: e.Entry, use: ModelUse) -> int:
        model = self._catalog.models.get(use.model)
        if entry.catalog != self._catalog.version or model is None or use.counted == "none":
            return 0
        feature = self._catalog.features[model.feature]
        return use.cost - call_terms.cost(feature, Usage(use.read, use.written, use.cached), use.times)
