"""The tally: what has been seen so far, for the screen. The books are kept elsewhere (`record`).

Latencies are of calls to the till alone, in seconds, from sending to the whole answer.
"""

from __future__ import annotations

from array import array
from collections import Counter, deque

NEWS_MAX = 200
RECENT = 1_000
RATE_SECONDS = 5


class Tally:
    """Counts, latencies and news. `clock` in what follows is seconds since the replay began."""

    def __init__(self, requests: int) -> None:
        self.requests = requests
        self.asked = 0
        self.served = 0
        self.tokens = 0
        self.in_flight = 0
        self.uncharged: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self.sold = 0
        self.revenue = 0
        self.repeated = 0
        self.tried_again = 0
        self.calls = 0
        self.played: float | None = None
        """When the last request had been answered."""
        self.news: deque[tuple[float, str]] = deque(maxlen=NEWS_MAX)
        self.news_count = 0
        self._seconds = array("d")
        self._by_second: Counter[int] = Counter()

    @property
    def refused(self) -> int:
        """Answers that were refusals."""
        return self.refusals.total()

    def tell(self, clock: float, text: str) -> None:
        """Add a line of news."""
        self.news.append((clock, text))
        self.news_count += 1

    def answered(self, clock: float, seconds: float) -> None:
        """Count one call to the till that was answered."""
        self.calls += 1
        self._seconds.append(seconds)
        self._by_second[int(clock)] += 1

    def rate(self, clock: float) -> float:
        """Calls a second over the last whole seconds."""
        whole = min(RATE_SECONDS, int(clock))
        if not whole:
            return float(self.calls)
        return sum(self._by_second[int(clock) - back] for back in range(1, whole + 1)) / whole

    def latency(self, share: float, *, recent: bool = False) -> float:
        """The latency in seconds that `share` of the calls, or of the recent ones, did not exceed; 0 before any."""
        found = sorted(self._seconds[-RECENT:] if recent else self._seconds)
        return found[min(len(found) - 1, int(share * len(found)))] if found else 0.0
