"""Limiter: how often an address may present a wrong key, counted in this process.

A bucket of `burst` that refills one each `interval_ms`, kept as the one moment at which it would be full
again. Addresses are forgotten when their bucket is full; at most `ADDRESSES_MAX` are remembered, so that a
flood from many addresses costs bounded memory. IPv6 clients own whole /64 networks and count as one.
"""

from __future__ import annotations

from itertools import islice

ADDRESSES_MAX = 10_000


class Limiter:
    """Tokens for each address; time is epoch milliseconds given by the caller."""

    def __init__(self, burst: int, interval_ms: int) -> None:
        self._interval = interval_ms
        self._room = burst * interval_ms
        self._full_at: dict[str, int] = {}

    def wait_ms(self, address: str, now: int) -> int:
        """0 if the address may try now, else milliseconds until it may."""
        full_at = self._full_at.get(network(address))
        if full_at is None:
            return 0
        # A clock that was set back must not lock an address out for longer than a whole refill.
        ahead = min(full_at - now, self._room)
        return max(0, ahead + self._interval - self._room)

    def take(self, address: str, now: int) -> None:
        """Count one wrong key."""
        place = network(address)
        ahead = min(max(self._full_at.pop(place, now) - now, 0), self._room)
        if len(self._full_at) >= ADDRESSES_MAX:
            self._forget(now)
        self._full_at[place] = now + min(ahead + self._interval, self._room)

    def _forget(self, now: int) -> None:
        full = [place for place, full_at in self._full_at.items() if full_at <= now]
        oldest = full or list(islice(self._full_at, ADDRESSES_MAX // 10))
        for place in oldest:
            del self._full_at[place]


def network(address: str) -> str:
    """The address itself, or the /64 network of an IPv6 address."""
    if ":" not in address or address.startswith("::ffff:"):
        return address
    head, _, tail = address.partition("::")
    groups = head.split(":") if head else []
    after = tail.split(":") if tail else []
    groups += ["0"] * (8 - len(groups) - len(after)) + after
    return ":".join(groups[:4]) + "::/64"
