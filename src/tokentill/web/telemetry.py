"""Telemetry: what the till counts of its requests, for Prometheus (R-PLAT-3).

Counters are plain numbers, turned into metrics only when somebody asks. Labels are route templates,
statuses and codes, never a user. Only what the endpoint counts is told by organization and by the id of a key.

Requirement ids: R-PLAT-3, R-SALE-1.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from tokentill.flows.shop import Shop
from tokentill.ports import Clock, Ledger
from tokentill.rules.handovers import Measured, measured
from tokentill.rules.purchases import Purchase
from tokentill.web.asgi import override
from tokentill.web.gateway.metrics import CallMetrics

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
"""Upper bounds of the latency histogram in seconds."""

PURCHASES_FRESH_MS = 15_000
"""Purchases are counted in the database at most this often."""


TIMED_MAX = 500
"""So many of the newest purchases are looked at for how long they took."""


class Telemetry(Collector):
    """The counts of one application in this process."""

    def __init__(self, ledger: Ledger, clock: Clock, shop: Shop | None = None) -> None:
        self._ledger = ledger
        self._clock = clock
        self._shop = shop
        self._purchases: Mapping[str, int] = {}
        self._purchases_at = 0
        self._clocks: Sequence[Measured] = ()
        self._events: dict[tuple[str, str], int] = {}
        self._requests: dict[tuple[str, int], int] = {}
        self._seconds: dict[str, tuple[list[int], list[float]]] = {}
        self._refused: dict[str, int] = {}
        self.tokens_charged = 0
        self.in_flight = 0
        self.calls = CallMetrics()
        self.incidents = 0

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count one answer of the route template `route`."""
        key = (route, status)
        self._requests[key] = self._requests.get(key, 0) + 1
        times = self._seconds.get(route)
        if times is None:
            times = self._seconds[route] = ([0] * (len(BUCKETS) + 1), [0.0])
        times[0][bisect_left(BUCKETS, seconds)] += 1
        times[1][0] += seconds

    def refused(self, code: str) -> None:
        """Count one refusal of the ledger."""
        self._refused[code] = self._refused.get(code, 0) + 1

    def event(self, provider: str, outcome: str) -> None:
        """Count a webhook of a provider that is set up here."""
        key = (provider, outcome)
        self._events[key] = self._events.get(key, 0) + 1

    async def refresh(self) -> None:
        """Count the purchases in the database and how long the newest took, unless that was done a moment ago."""
        now = self._clock.now()
        if self._shop is not None and not 0 < now - self._purchases_at < PURCHASES_FRESH_MS:
            self._purchases = await self._shop.means.rows.tally(Purchase, "state")
            timed = await self._shop.handovers.times(TIMED_MAX)
            self._clocks = measured(times for _, times in timed)
            self._purchases_at = now

    def text(self) -> bytes:
        """Everything in the Prometheus text format."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        return generate_latest(registry)

    @override
    def collect(self) -> Iterable[Metric]:
        """The metrics, for prometheus_client."""
        yield self._request_metric()
        yield self._latency_metric()
        refusals = CounterMetricFamily("tokentill_refusals", "Commands refused, by code.", labels=["code"])
        for code, count in sorted(self._refused.items()):
            refusals.add_metric([code], count)
        yield refusals
        charged, incidents, running = self.tokens_charged, self.incidents, self.in_flight
        yield CounterMetricFamily("tokentill_tokens_charged", "Tokens charged over HTTP.", value=charged)
        yield CounterMetricFamily("tokentill_incidents", "Requests that failed on a bug.", value=incidents)
        yield GaugeMetricFamily("tokentill_requests_in_flight", "Requests being answered.", value=running)
        yield from self.calls.collect()
        yield from self._ledger_metrics()
        if self._shop is not None:
            yield from self._shop_metrics(self._shop)

    def _request_metric(self) -> Metric:
        metric = CounterMetricFamily(
            "tokentill_requests", "Requests answered, by route and status.", labels=["route", "status"]
        )
        for (route, status), count in sorted(self._requests.items()):
            metric.add_metric([route, str(status)], count)
        return metric

    def _latency_metric(self) -> Metric:
        metric = HistogramMetricFamily(
            "tokentill_request_seconds", "From the whole head of a request to its answer.", labels=["route"]
        )
        for route, (counts, total) in sorted(self._seconds.items()):
            so_far, buckets = 0, []
            for bound, count in zip((*map(str, BUCKETS), "+Inf"), counts, strict=True):
                so_far += count
                buckets.append((bound, so_far))
            metric.add_metric([route], buckets=buckets, sum_value=total[0])
        return metric

    def _ledger_metrics(self) -> Iterator[Metric]:
        done = self._ledger.traffic()
        for name, text, value in (
            ("batches", "Batches of commands committed.", done.batches),
            ("commands", "Commands decided and committed.", done.commands),
        ):
            yield CounterMetricFamily(f"tokentill_ledger_{name}", text, value=value)

    def _clock_metrics(self) -> Iterator[Metric]:
        """The three clocks over the newest purchases (R-SALE-1)."""
        took = GaugeMetricFamily(
            "tokentill_purchase_seconds", "How long the newest purchases took.", labels=["clock", "quantile"]
        )
        counts = GaugeMetricFamily(
            "tokentill_purchases_timed",
            "The newest purchases by clock and in time or late.",
            labels=["clock", "was"],
        )
        for one in self._clocks:
            for quantile, value in (("0.5", one.median), ("0.95", one.p95)):
                if value is not None:
                    took.add_metric([one.clock, quantile], value / 1000)
            counts.add_metric([one.clock, "in_time"], one.within)
            counts.add_metric([one.clock, "late"], one.count - one.within)
        yield took
        yield counts

    def _shop_metrics(self, shop: Shop) -> Iterator[Metric]:
        events = CounterMetricFamily(
            "tokentill_webhooks", "Webhooks of payment providers.", labels=["provider", "outcome"]
        )
        for labels, count in sorted(self._events.items()):
            events.add_metric(labels, count)
        yield events
        states = GaugeMetricFamily(
            "tokentill_purchases", "Purchases in the database, by state.", labels=["state"]
        )
        for state, count in sorted(self._purchases.items()):
            states.add_metric([state], count)
        yield states
        yield from self._clock_metrics()
        work = CounterMetricFamily(
            "tokentill_clerk_work", "What the clerk worked on, and how it ended.", labels=["what", "outcome"]
        )
        for labels, count in sorted(shop.clerk.counts.items()):
            work.add_metric(labels, count)
        yield work
        if shop.clerk.running:
            late = max(0, self._clock.now() - shop.clerk.looked_at) / 1000
            text = "Seconds since the clerk looked for what is due."
            yield GaugeMetricFamily("tokentill_clerk_look_age_seconds", text, value=late)
