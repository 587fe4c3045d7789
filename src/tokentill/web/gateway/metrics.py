"""Metrics of the endpoint: by model and what calls came to, and by key and its organization.

Keys stand under their ids, as lists of keys show them, never under what a caller presents. The first `KEYS_MAX` keys
that call in this process have series of their own; all others are counted together as `other`.

Requirement ids: R-PLAT-3, R-SALE-8.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client.metrics_core import CounterMetricFamily, Metric

from tokentill.rules.rows import ApiKey

KEYS_MAX = 1_000
OTHER = ("other", "other")


class CallMetrics:
    """What calls came to, counted."""

    def __init__(self) -> None:
        self._calls: dict[tuple[str, str], int] = {}
        self._tokens: dict[str, int] = {}
        self._uncollected: dict[str, int] = {}
        self._keys: dict[tuple[str, str], list[int]] = {}
        """Calls and tokens charged, by organization and key."""

    def called(self, key: ApiKey, model: str, outcome: str, tokens: int, uncollected: int) -> None:
        """A call of the model with this key ended."""
        kind = (model, outcome)
        self._calls[kind] = self._calls.get(kind, 0) + 1
        if tokens:
            self._tokens[model] = self._tokens.get(model, 0) + tokens
        if uncollected:
            self._uncollected[model] = self._uncollected.get(model, 0) + uncollected
        counts = self._of((key.organization, key.id))
        counts[0] += 1
        counts[1] += tokens

    def _of(self, whose: tuple[str, str]) -> list[int]:
        counts = self._keys.get(whose)
        if counts is None:
            whose = whose if len(self._keys) < KEYS_MAX else OTHER
            counts = self._keys.setdefault(whose, [0, 0])
        return counts

    def collect(self) -> Iterator[Metric]:
        """The metrics, for prometheus_client."""
        text = "Model calls that ended, by model and what they came to."
        yield _counter("tokentill_model_calls", text, ("model", "outcome"), self._calls.items())
        for name, text, counts in (
            ("tokentill_model_tokens_charged", "Tokens charged for model calls.", self._tokens),
            ("tokentill_model_tokens_uncollected", "Tokens used beyond a hold.", self._uncollected),
        ):
            yield _counter(name, text, ("model",), (((model,), count) for model, count in counts.items()))
        for at, name, text in (
            (0, "tokentill_key_calls", "Model calls that ended, by organization and key id."),
            (
                1,
                "tokentill_key_tokens_charged",
                "Tokens charged for model calls, by organization and key id.",
            ),
        ):
            found = ((whose, counts[at]) for whose, counts in self._keys.items())
            yield _counter(name, text, ("organization", "key"), found)


def _counter(
    name: str, text: str, labels: tuple[str, ...], values: Iterable[tuple[tuple[str, ...], int]]
) -> Metric:
    metric = CounterMetricFamily(name, text, labels=labels)
    for label, count in sorted(values):
        metric.add_metric(label, count)
    return metric
