"""Metrics of the endpoint. Labels are models of the catalog and a few words, never an organization or a key.

Requirement ids: R-PLAT-3.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.metrics_core import CounterMetricFamily, Metric


class CallMetrics:
    """What calls came to, counted."""

    def __init__(self) -> None:
        self._calls: dict[tuple[str, str], int] = {}
        self._tokens: dict[str, int] = {}
        self._uncollected: dict[str, int] = {}

    def called(self, model: str, outcome: str, tokens: int, uncollected: int) -> None:
        """A call of the model ended."""
        key = (model, outcome)
        self._calls[key] = self._calls.get(key, 0) + 1
        if tokens:
            self._tokens[model] = self._tokens.get(model, 0) + tokens
        if uncollected:
            self._uncollected[model] = self._uncollected.get(model, 0) + uncollected

    def collect(self) -> Iterator[Metric]:
        """The metrics, for prometheus_client."""
        calls = CounterMetricFamily(
            "tokentill_model_calls", "Model calls that ended, by model and what they came to.",
            labels=["model", "outcome"],
        )  # fmt: skip
        for (model, outcome), count in sorted(self._calls.items()):
            calls.add_metric([model, outcome], count)
        yield calls
        for name, text, counts in (
            ("tokentill_model_tokens_charged", "Tokens charged for model calls.", self._tokens),
            ("tokentill_model_tokens_uncollected", "Tokens used beyond a hold.", self._uncollected),
        ):
            metric = CounterMetricFamily(name, text, labels=["model"])
            for model, count in sorted(counts.items()):
                metric.add_metric([model], count)
            yield metric
