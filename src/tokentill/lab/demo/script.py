"""The script: every request of the demo, decided beforehand from the trace and a seed.

Moments and sizes are the trace's; who asks is drawn by weight, so that the same seed gives the same evening.
Some requests belong to scenes: a burst, a flood, a late payer who keeps trying. What becomes of each
operation is drawn too: it answers, fails, runs into its timeout, or its host vanishes without a word, and the
till has to end the hold by itself. A few requests are sent twice, as a client does that lost an answer.

The flooding user's sizes are the only ones that are not the trace's; none of those requests is served.

Requirement ids: R-LED-3, R-LED-9, R-ABU-1, R-ABU-2, R-ABU-6, R-LIC-1.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Literal

from msgspec import Struct

from tokentill.lab.demo.cast import BURSTING_USER, FLOODING_USER, Organization, organizations, person
from tokentill.lab.demo.chance import below
from tokentill.lab.trace import Line

Fate = Literal["answers", "fails", "times_out", "vanishes"]

FAIL_PERCENT = 2
TIME_OUT_PERCENT = 1
TWICE_PERCENT = 1
MINI_PERCENT = 25

FLOOD_SIZE = 40_000
"""What the flooding user pastes on top, in model tokens: more than its plan takes in one request."""

FLOOD_COUNT = 6
BURST_COUNT = 75
USES_A_MINUTE = 25
"""Requests that each ordinary user may make in a minute of the clock, well below the catalog's 60."""

VANISH_UNTIL = 0.6
"""Hosts vanish in the first part only, so that the till has ended their holds before the books are closed."""


class Request(Struct, frozen=True):
    """One use of the till: at `at` seconds, `read` and `written` model tokens of `feature`."""

    n: int
    at: float
    organization: str
    user: str
    feature: str
    read: int
    written: int
    fate: Fate = "answers"
    twice: bool = False
    """It is sent twice under one idempotency key, and so is its settle."""


class Act(Struct, frozen=True):
    """Something the operator does, or a payment provider tells, at `at` seconds."""

    at: float
    do: Literal["freeze", "restore", "unblock"]
    organization: str
    user: str | None = None


class Script(Struct, frozen=True):
    """The whole evening: `seconds` of the clock long; requests and acts in order of time."""

    cast: tuple[Organization, ...]
    requests: tuple[Request, ...]
    acts: tuple[Act, ...]
    seconds: float

    def in_order(self) -> Iterator[Request | Act]:
        """Everything that happens, by its moment."""
        everything: list[Request | Act] = [*self.acts, *self.requests]
        return iter(sorted(everything, key=lambda each: each.at))


class _Scene(Struct, frozen=True):
    """`count` requests of one organization from `start` (share of the script) on, one in `every`."""

    part: str
    start: float
    count: int
    every: int
    user: str | None = None
    flood: int = 0
    """How many of them, from the first on, are far too large."""


_SCENES = (
    _Scene("flooder", 0.15, 2 * FLOOD_COUNT, 4, FLOODING_USER, FLOOD_COUNT),
    _Scene("burster", 0.30, BURST_COUNT, 2, BURSTING_USER),
    _Scene("late_payer", 0.46, 6, 5),
    _Scene("late_payer", 0.70, 4, 5),
    _Scene("flooder", 0.72, 4, 7, FLOODING_USER),
)
_FREEZE, _RESTORE, _UNBLOCK = 0.45, 0.68, 0.69


class _Slot(Struct):
    """Who asks with one line of the trace."""

    organization: Organization
    user: str | None = None
    flood: bool = False
    scene: bool = False


def write(lines: Sequence[Line], speed: float, seed: int) -> Script:
    """The script of these lines, played `speed` times as fast as they happened."""
    cast = organizations()
    seconds = (lines[-1].at + 1) / 1000 / speed
    slots = _slots(cast, len(lines), seed)
    moments = [line.at / 1000 / speed for line in lines]
    users = _users(slots, moments)
    requests = tuple(
        _request(n, moment, line, slot, user, seed, moment / seconds)
        for n, (line, moment, slot, user) in enumerate(zip(lines, moments, slots, users, strict=True))
    )
    late = next(o.id for o in cast if o.part == "late_payer")
    flooder = next(o.id for o in cast if o.part == "flooder")

    def moment_of(share: float) -> float:
        return moments[int(share * len(moments))]

    acts = (
        Act(moment_of(_FREEZE), "freeze", late),
        Act(moment_of(_RESTORE), "restore", late),
        Act(moment_of(_UNBLOCK), "unblock", flooder, FLOODING_USER),
    )
    return Script(cast, requests, acts, seconds)


def _slots(cast: Sequence[Organization], count: int, seed: int) -> list[_Slot]:
    """Who asks, line by line: the scenes first, the rest by weight."""
    found: dict[int, _Slot] = {}
    for scene in _SCENES:
        organization = next(o for o in cast if o.part == scene.part)
        at = int(scene.start * count)
        for number in range(scene.count):
            while at in found:
                at += 1
            if at < count:
                found[at] = _Slot(organization, scene.user, number < scene.flood, scene=True)
            at += scene.every
    lots = [organization for organization in cast for _ in range(organization.weight)]
    return [found.get(at) or _Slot(lots[below(len(lots), seed, "who", at)]) for at in range(count)]


def _users(slots: Sequence[_Slot], moments: Sequence[float]) -> Iterator[str]:
    """The user of each slot: in turn, from a team that is large enough never to run into the rate limit."""
    busiest: dict[str, Counter[int]] = defaultdict(Counter)
    for slot, moment in zip(slots, moments, strict=True):
        busiest[slot.organization.id][int(moment // 60)] += 1
    turns: Counter[str] = Counter()
    for slot in slots:
        ident = slot.organization.id
        team = max(3, -(-max(busiest[ident].values()) // USES_A_MINUTE))
        yield slot.user or person(turns[ident] % team)
        turns[ident] += 1


def _request(n: int, moment: float, line: Line, slot: _Slot, user: str, seed: int, share: float) -> Request:
    """Request number `n`, at `share` of the evening."""
    mini = slot.organization.plan is not None and below(100, seed, "model", n) < MINI_PERCENT
    return Request(
        n=n,
        at=moment,
        organization=slot.organization.id,
        user=user,
        feature="gpt-4o-mini" if mini and not slot.flood else "gpt-4",
        read=line.read + (FLOOD_SIZE if slot.flood else 0),
        written=line.written,
        fate="answers" if slot.scene else _fate(n, seed, share),
        twice=not slot.scene and below(100, seed, "twice", n) < TWICE_PERCENT,
    )


def _fate(n: int, seed: int, share: float) -> Fate:
    drawn = below(100, seed, "fate", n)
    if drawn < FAIL_PERCENT:
        return "fails"
    if drawn < FAIL_PERCENT + TIME_OUT_PERCENT:
        return "vanishes" if share < VANISH_UNTIL and n % 2 else "times_out"
    return "answers"
