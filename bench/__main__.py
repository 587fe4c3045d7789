"""Run benchmarks: `python -m bench [NAME…] [--quick] [--seconds S]`; `make bench` runs them all."""

from __future__ import annotations

import argparse
import importlib
import sys
import time

from bench import report
from bench.report import Figure, Section
from bench.world import Options

NAMES = (
    "core",
    "inprocess",
    "processes",
    "postgres",
    "web",
    "gateway",
    "selling",
    "refunds",
    "scale",
    "upkeep",
)

ASKED_FOR = ("litellm",)
"""Benchmarks that need a network, so that they run only where they are named."""


def main() -> None:
    """Measure what was asked for, print it, and keep it unless it was quick."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"which of {', '.join(NAMES)} (all of them without a name), or {', '.join(ASKED_FOR)}",
    )
    parser.add_argument(
        "--quick", action="store_true", help="only see that the scripts work; keeps no results"
    )
    parser.add_argument("--seconds", type=float, default=2.0, help="how long each side of a comparison runs")
    parser.add_argument("--keep", metavar="FOLDER", help="where databases that are slow to build are kept")
    asked = parser.parse_args()
    names = asked.names or NAMES
    unknown = set(names) - {*NAMES, *ASKED_FOR}
    if unknown:
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}")
    options = Options(seconds=asked.seconds, keep=asked.keep)
    if asked.quick:
        options = Options(seconds=0.2, rounds=1, quick=True, keep=asked.keep)
    results = report.read()
    results.machine = report.machine()
    missed: list[Figure] = []
    for name in (*NAMES, *ASKED_FOR):
        if name in names:
            section = measure(name, options)
            results.sections[name] = section
            missed += [figure for figure in section.figures if (figure.share or 1) < 1]
            if not asked.quick:
                report.write(results, (*NAMES, *ASKED_FOR))
    for figure in missed:
        print(f"not reached: {figure.name}", file=sys.stderr)


def measure(name: str, options: Options) -> Section:
    """Run one benchmark and print its table."""
    module = importlib.import_module(f"bench.{name}")
    before, started = report.load(), time.perf_counter()
    figures: list[Figure] = module.run(options)
    section = Section(
        module.TITLE, figures, round(time.perf_counter() - started, 1), before, report.load(), report.now()
    )
    print(f"\n{name}: {section.title}\n\n{report.table(figures)}", flush=True)
    return section


if __name__ == "__main__":
    main()
