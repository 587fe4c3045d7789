"""A wire across every call that a flow makes of the world: at the n-th crossing something happens.

Between two such calls a flow only computes, so a process that dies right before or right after each of them has
died between every two steps.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from threading import RLock
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.support.shops import World
    from tokentill.flows.shop import Shop

READS = frozenset({"get", "find", "position", "account", "event", "happenings", "follow"})
"""Calls that change nothing: dying after one is dying before the next."""


class Crash(BaseException):
    """The process is gone. No `except Exception` sees it, as none sees a kill."""


class Wire:
    """Counts the crossings of all the ports it is stretched across; at number `at` it calls `trip`.

    With `only` those of this place are counted for that: so a certain one is met whatever else goes on beside it.
    """

    def __init__(self, at: int = 0, trip: Callable[[], None] | None = None, only: str = "") -> None:
        self.at = at
        self.only = only
        self.crossed = 0
        self.places: list[str] = []
        self.dead = False
        self._lock = RLock()  # the store's own threads cross it too, and no crossing may be lost
        self._trip = trip or self._crash

    def _crash(self) -> None:
        self.dead = True
        raise Crash

    def cross(self, place: str) -> None:
        with self._lock:
            if self.dead:
                raise Crash  # nothing of a dead process goes on
            self.crossed += 1
            self.places.append(place)
            counted = self.places.count(self.only) if self.only else self.crossed
            if counted == self.at and self.only in ("", place):
                self._trip()

    def across(self, port: Any, name: str) -> Any:
        """The port behind the wire."""
        return _Port(self, port, name)

    def shop(self, world: World, **more: Any) -> Shop:
        """A shop of this world in another process, with the wire across its rows, its ledger and its provider."""
        behind = {name: self.across(getattr(world, name), name) for name in ("rows", "ledger", "provider")}
        return world.open(**behind, **more)


class _Port:
    def __init__(self, wire: Wire, port: Any, name: str) -> None:
        self._wire = wire
        self._port = port
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        found = getattr(self._port, attribute)
        if attribute in READS or not (inspect.iscoroutinefunction(found) or attribute == "submit"):
            return found
        place = f"{self._name}.{attribute}"

        async def call(*given: Any, **named: Any) -> Any:
            self._wire.cross(f"before {place}")
            answer = await found(*given, **named)
            self._wire.cross(f"after {place}")
            return answer

        return call
