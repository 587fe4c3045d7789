"""What a benchmark found: figures beside their targets, as a table to read and as JSON.

A figure is a ratio wherever it can be. Both sides of a ratio are measured in the same run, one after the
other and again, because the same machine is half as fast a minute later. The few absolute times there are
have a target that is absolute too.
"""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeVar

import apsw
import msgspec
from msgspec import Struct

T = TypeVar("T")

RESULTS = Path(__file__).parent / "results"

Bound = Literal["least", "most"]


class Figure(Struct, omit_defaults=True):
    """One figure. `bound` says whether `target` is the least or the most it may be; None: only to be known."""

    name: str
    value: float
    unit: str = "%"
    bound: Bound | None = None
    target: float | None = None
    note: str = ""

    @property
    def share(self) -> float | None:
        """How much of the target is reached; 1 and more is met."""
        if self.target is None:
            return None
        if self.bound == "least":
            return self.value / self.target
        return self.target / self.value if self.value > 0 else 1.0

    @property
    def verdict(self) -> str:
        """In words."""
        share = self.share
        if share is None:
            return ""
        if self.bound == "most" and self.target == 0:
            return "met" if self.value == 0 else "**missed**"
        return "met" if share >= 1 else f"**{share * 100:.0f} % of it**"


def at_least(name: str, value: float, target: float, unit: str = "%", note: str = "") -> Figure:
    """A figure that should be `target` or more."""
    return Figure(name, value, unit, "least", target, note)


def at_most(name: str, value: float, target: float, unit: str = "%", note: str = "") -> Figure:
    """A figure that should be `target` or less."""
    return Figure(name, value, unit, "most", target, note)


def known(name: str, value: float, unit: str = "%", note: str = "") -> Figure:
    """A figure without a target."""
    return Figure(name, value, unit, note=note)


class Section(Struct):
    """The figures of one benchmark and the run they are from."""

    title: str
    figures: list[Figure]
    seconds: float
    load_before: float
    load_after: float
    at: str


class Results(Struct):
    """Everything measured, by the name of the benchmark."""

    machine: dict[str, str]
    sections: dict[str, Section]


def machine() -> dict[str, str]:
    """What the figures depend on."""
    return {
        "cores": str(os.cpu_count()),
        "python": platform.python_version(),
        "sqlite": apsw.sqlite_lib_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def load() -> float:
    """How many processes wanted a core in the last minute."""
    return round(os.getloadavg()[0], 2)


def now() -> str:
    """The date and time, UTC."""
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime())


def number(value: float) -> str:
    """A figure as a person reads it."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"


def _row(figure: Figure) -> tuple[str, str, str, str, str]:
    sign = {"least": "≥", "most": "≤", None: ""}[figure.bound]
    target = "" if figure.target is None else f"{sign} {number(figure.target)} {figure.unit}"
    return figure.name, f"{number(figure.value)} {figure.unit}", target, figure.verdict, figure.note


def table(figures: Iterable[Figure]) -> str:
    """The figures as Markdown."""
    head = ("figure", "measured", "target", "", "")
    rows = [head, ("---",) * 5, *map(_row, figures)]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def as_text(results: Results) -> str:
    """Everything as Markdown."""
    about = ", ".join(f"{name} {value}" for name, value in results.machine.items())
    parts = [
        f"# Benchmarks\n\nMade by `make bench` ({about}). What each figure means: docs/reference/benchmarks.md."
    ]
    for name, section in results.sections.items():
        parts.append(
            f"## {name}: {section.title}\n\n{section.at} UTC, {section.seconds:.0f} s, load "
            f"{section.load_before} before and {section.load_after} after.\n\n{table(section.figures)}"
        )
    return "\n\n".join(parts) + "\n"


def read(folder: Path = RESULTS) -> Results:
    """The results kept in `folder`."""
    path = folder / "latest.json"
    if not path.exists():
        return Results(machine(), {})
    return msgspec.json.decode(path.read_bytes(), type=Results)


def write(results: Results, order: Sequence[str], folder: Path = RESULTS) -> None:
    """Keep the results, in the order of the benchmarks."""
    results.sections = {name: results.sections[name] for name in order if name in results.sections}
    folder.mkdir(exist_ok=True)
    encoded = msgspec.json.format(msgspec.json.encode(results), indent=1)
    (folder / "latest.json").write_bytes(encoded + b"\n")
    (folder / "latest.md").write_text(as_text(results))


def median(values: Iterable[float]) -> float:
    """The middle one."""
    return statistics.median(values)


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def taking_turns(rounds: int, **sides: Callable[[], float]) -> Mapping[str, list[float]]:
    """Measure the sides in turn, A B A B, each `rounds` times and once unmeasured before."""
    measured: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(rounds + 1):
        for name, side in sides.items():
            value = side()
            if turn:
                measured[name].append(value)
    return measured


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """The ratio of each pair of neighbours, in percent."""
    return [100 * a / b for a, b in zip(above, below, strict=True)]
