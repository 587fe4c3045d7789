"""The command that compares the journal with what upstreams reported."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Group
from rich.text import Text

from tokentill.cli import show
from tokentill.cli.accounts import Moment, epoch_ms
from tokentill.cli.frame import DONE, FOUND, Work, command
from tokentill.cli.shop import SALES
from tokentill.rules.reconciling import Reconciliation

_FIGURES = (
    "calls", "read", "written", "cached", "cost", "charged", "beyond_hold", "failed", "late", "refunded",
    "unexplained", "mispriced",
)  # fmt: skip
_COUNTED = (("estimated_calls", "estimated"), ("delivered_calls", "delivered"), ("cut_calls", "cut"))


def add(app: typer.Typer) -> None:
    """The command itself."""
    command(app, "reconcile", panel=SALES)(reconcile)


async def reconcile(
    work: Work,
    since: Moment = None,
    until: Moment = None,
    organization: Annotated[
        str | None, typer.Option(help="Of this organization; default: all.", show_default=False)
    ] = None,
    by: Annotated[
        str, typer.Option(help="What lines are made of: day, organization, model, upstream, key.")
    ] = "day,model,upstream",
) -> int:
    """Compare what model calls were charged with what upstreams reported; every difference by name.

    Of calls since the beginning of yesterday (UTC), unless --since says otherwise. Ends with 1 if a difference has no
    name.
    """
    ways = [way.strip() for way in by.split(",")]
    async with work.till() as till:
        found = await till.reconcile(
            since=epoch_ms(since), until=epoch_ms(until), organization=organization, by=ways
        )
    work.print(found, lambda: _report(found))
    return DONE if found.fits else FOUND


def _report(found: Reconciliation) -> Group | str:
    if not found.lines:
        return "No model call ended in this time."
    lines = [*found.lines, found.total]
    figures = [
        name for name in _FIGURES if name in ("calls", "cost", "charged") or getattr(found.total, name)
    ]
    rows = [
        [*(getattr(line, way) for way in found.by), *(show.number(getattr(line, name)) for name in figures)]
        for line in lines
    ]
    rows[-1][: len(found.by)] = ["all", *[""] * (len(found.by) - 1)]
    table = show.table([*found.by, *(f"#{name.replace('_', ' ')}" for name in figures)], rows)
    counts = [
        f"{getattr(found.total, name):,} {word}" for name, word in _COUNTED if getattr(found.total, name)
    ]
    said = f"Not as upstreams reported: {', '.join(counts)}. " if counts else ""
    said += (
        "Every difference has a name."
        if found.fits
        else "There are differences without a name: look at them."
    )
    return Group(table, Text(said))
