"""Commands about what came with purchases."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Group
from rich.table import Table
from rich.text import Text

from tokentill.cli import show
from tokentill.cli.accounts import Organization
from tokentill.cli.frame import Work, command
from tokentill.wiring import handover_views as h

WORDS = {
    "offer_to_paid": "offer to paid",
    "paid_to_key": "paid to a key that works",
    "paid_to_first_call": "paid to the first call",
}


def add(app: typer.Typer) -> None:
    """The commands."""
    command(app, "hand-over")(hand_over)
    command(app, "handovers")(handovers)


async def hand_over(
    work: Work,
    organization: Organization,
    purchase: Annotated[str, typer.Argument(help="The purchase's id.", show_default=False)],
) -> None:
    """Show the delivery message of a purchase; the key that came with it is shown this once."""
    async with work.till() as till:
        found = await till.hand_over(organization, purchase)
    work.print(found, lambda: Text(f"{found.message}\n{found.guide}"))


async def handovers(
    work: Work,
    limit: Annotated[int, typer.Option(help="How many purchases.", min=1, max=500)] = 50,
    before: Annotated[str | None, typer.Option(help="The page after this id.", show_default=False)] = None,
) -> None:
    """Show how long purchases took: offer to paid, paid to a key that works, paid to the first call."""
    async with work.till() as till:
        found = await till.handovers(before=before, limit=limit)
    nothing = "Nothing was handed over yet."
    work.print(found, lambda: Group(_clocks(found), _purchases(found)) if found.purchases else nothing)


def _seconds(ms: int | None) -> str:
    return "" if ms is None else f"{ms / 1000:,.3f} s"


def _clocks(found: h.HandoverList) -> Table:
    rows = [
        (
            WORDS[one.clock],
            f"under {one.target // 1000} s",
            f"{one.within} of {one.count}",
            _seconds(one.median),
            _seconds(one.p95),
        )
        for one in found.clocks
    ]
    return show.table(["clock", "shall be", "was", "half within", "95 % within"], rows)


def _purchases(found: h.HandoverList) -> Table:
    rows = [
        (
            one.purchase,
            one.organization,
            one.title,
            show.moment(one.ordered_at),
            _seconds(one.offer_to_paid_ms),
            _seconds(one.paid_to_key_ms),
            _seconds(one.paid_to_first_call_ms),
        )
        for one in found.purchases
    ]
    return show.table(["purchase", "organization", "what", "ordered (UTC)", *WORDS.values()], rows)
