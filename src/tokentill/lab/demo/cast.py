"""The cast: forty made-up organizations that share the real traffic among them, each with its part to play.

business, developer   subscribers with a plan of that name
small                 customers without a plan, on packs alone: they run out, are refused, buy, go on
grower                a small one that takes the plan offered instead of another pack
late_payer            a subscriber whose payment fails half-way and is mended later
flooder               a subscriber one of whose users sends far too large requests and is blocked
burster               a subscriber one of whose users sends more than the rate allows
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Part = Literal["business", "developer", "small", "grower", "late_payer", "flooder", "burster"]

NAMES = (
    "acacia", "alder", "almond", "apple", "ash", "aspen", "bamboo", "beech", "birch", "cedar", "cherry",
    "chestnut", "cypress", "elder", "elm", "fig", "fir", "hazel", "holly", "juniper", "larch", "laurel", "lime",
    "linden", "maple", "mulberry", "myrtle", "oak", "olive", "palm", "pear", "pine", "plum", "poplar", "rowan",
    "spruce", "sycamore", "teak", "walnut", "willow",
)  # fmt: skip
TRADES = ("labs", "books", "travel", "health", "law", "games", "news", "design")
PEOPLE = (
    "ann",
    "ben",
    "cho",
    "dev",
    "eli",
    "fay",
    "gus",
    "hua",
    "ida",
    "jan",
    "kai",
    "lou",
    "mia",
    "noa",
    "oto",
)
FLOODING_USER = "max"
BURSTING_USER = "nightly-batch"

_SPECIAL: dict[int, Part] = {
    10: "business", 30: "business", 7: "late_payer", 16: "flooder", 24: "burster", 38: "grower",
}  # fmt: skip
_SMALL = (2, 5, 8)
_WEIGHTS: dict[Part, int] = {
    "business": 8, "developer": 3, "small": 2, "grower": 2, "late_payer": 3, "flooder": 2, "burster": 2,
}  # fmt: skip
"""How often each is asked for compared with the others."""


class Organization(Struct, frozen=True):
    """A customer of the demo; `plan` None = packs alone."""

    id: str
    part: Part

    @property
    def plan(self) -> str | None:
        """The plan it opens with."""
        if self.part in ("small", "grower"):
            return None
        return "business" if self.part == "business" else "developer"

    @property
    def weight(self) -> int:
        """Its share of the traffic."""
        return _WEIGHTS[self.part]


def organizations() -> tuple[Organization, ...]:
    """The whole cast, always the same."""
    return tuple(
        Organization(f"{name}-{TRADES[at % len(TRADES)]}", _part(at)) for at, name in enumerate(NAMES)
    )


def _part(at: int) -> Part:
    return _SPECIAL.get(at) or ("small" if at % 10 in _SMALL else "developer")


def person(at: int) -> str:
    """The name of an organization's user number `at`."""
    return PEOPLE[at] if at < len(PEOPLE) else f"user-{at + 1}"
