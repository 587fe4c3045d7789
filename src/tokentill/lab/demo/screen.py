"""The screen: the evening as it goes on, and at its end the reckoning.

In a terminal one frame is drawn over the other; anywhere else the same facts come as plain lines, one every
few seconds and one for each piece of news. What is printed is a function of the `Tally` and the `Reckoning`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Sequence

from msgspec import Struct
from rich.box import SIMPLE_HEAD
from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from tokentill.lab.demo.reckoning import Check, Reckoning, Row
from tokentill.lab.demo.tally import Tally
from tokentill.rules.money import format_amount

FRAMES_A_SECOND = 4
PLAIN_EVERY_SECONDS = 5.0
NEWS_LINES = 8
WIDTH = 110
"""Of the picture; a terminal takes what it has."""

CURRENCY = "USD"


COUNTS = {
    "served": "served",
    "failed": "uncharged",
    "refused": "refused",
    "bought": "bought",
    "own\narithmetic": "own",
    "journal": "journal",
    "missing in\nbalance": "balance",
}
"""The columns of numbers, each with the field of a `Row` it sums."""

COLUMNS = ("organization", "plan", *COUNTS, "")
SPARED = ("plan", "failed", "bought")
WIDTH_TABLE = 104
"""Where the terminal is narrower, the spared columns are left out."""


class Facts(Struct, frozen=True):
    """What does not change: `traffic` says in words what is replayed, `seconds` how long it takes."""

    traffic: str
    seconds: float
    organizations: int
    users: int


def frame(facts: Facts, tally: Tally, clock: float) -> RenderableType:
    """The state of things, for a terminal; once everything is played it stands still."""
    clock = clock if tally.played is None else tally.played
    head = Table.grid(padding=(0, 2), expand=True)
    head.add_column(ratio=1)
    head.add_column(justify="right")
    done = ProgressBar(total=max(1, tally.requests), completed=tally.asked)
    asked = f"{tally.asked:,} of {tally.requests:,} requests"
    head.add_row(done, Text(f"{asked}   {_time(clock)} of about {_time(facts.seconds)}"))
    boxes = Columns([_use(tally), _refused(tally), _till(tally, clock)], padding=(0, 4))
    news = Table.grid(padding=(0, 1))
    for moment, text in list(tally.news)[-NEWS_LINES:]:
        line = Text(text, no_wrap=True, overflow="ellipsis")
        news.add_row(Text(_time(moment), style="dim"), line)
    for _ in range(NEWS_LINES - min(NEWS_LINES, len(tally.news))):
        news.add_row("", "")
    who = f"{facts.organizations} organizations, {facts.users} users"
    return Panel(
        Group(head, Text(""), boxes, Text(""), news),
        title="[bold]tokentill demo[/]",
        subtitle=f"{facts.traffic}, {who}, a simulated AI",
        padding=(1, 2),
    )


def _facts(title: str, rows: Iterable[tuple[str, str]]) -> Table:
    made = Table(
        title=title, title_justify="left", title_style="bold", show_header=False, box=None, pad_edge=False
    )
    made.add_column(no_wrap=True)
    made.add_column(justify="right", no_wrap=True)
    for name, value in rows:
        made.add_row(name, value)
    return made


def _use(tally: Tally) -> Table:
    uncharged = tally.uncharged
    return _facts(
        "Requests",
        [
            ("served and charged", f"{tally.served:,}"),
            ("tokens charged", f"[bold green]{tally.tokens:,}[/]"),
            ("failed → 0 charged", f"{uncharged['failed']:,}"),
            ("timed out → 0 charged", f"{uncharged['timed out'] + uncharged['too late']:,}"),
            ("host vanished → 0 charged", f"{uncharged['vanished']:,}"),
            ("sent twice, done once", f"{tally.repeated:,}"),
            ("running", f"{tally.in_flight:,}"),
        ],
    )


def _refused(tally: Tally) -> Table:
    rows = [(name, f"[yellow]{count:,}[/]") for name, count in sorted(tally.refusals.items())]
    return _facts("Refused", rows or [("nobody yet", "")])


def _till(tally: Tally, clock: float) -> Table:
    return _facts(
        "Till",
        [
            ("calls a second", f"{tally.rate(clock):,.0f}"),
            ("latency p50", f"{tally.latency(0.5, recent=True) * 1000:.1f} ms"),
            ("latency p99", f"{tally.latency(0.99, recent=True) * 1000:.1f} ms"),
            ("calls", f"{tally.calls:,}"),
            ("tried again", f"{tally.tried_again:,}"),
            ("packs and plans sold", f"{tally.sold:,}"),
            ("for", format_amount(tally.revenue, CURRENCY)),
        ],
    )


def line(tally: Tally, clock: float) -> str:
    """The state of things on one line."""
    clock = clock if tally.played is None else tally.played
    uncharged = tally.uncharged.total()
    return (
        f"{_time(clock)}  {tally.asked:,} of {tally.requests:,} requests, {tally.served:,} served, "
        f"{tally.tokens:,} tokens charged, {uncharged:,} not served → 0 charged, {tally.refused:,} refused, "
        f"{tally.rate(clock):,.0f} calls/s, p50 {tally.latency(0.5, recent=True) * 1000:.1f} ms, "
        f"p99 {tally.latency(0.99, recent=True) * 1000:.1f} ms"
    )


@contextlib.asynccontextmanager
async def shown(
    console: Console, facts: Facts, tally: Tally, clock: Callable[[], float]
) -> AsyncIterator[None]:
    """Show the evening while the block runs, and its last state at the end."""
    task = asyncio.create_task(
        _live(console, facts, tally, clock) if console.is_terminal else _plain(console, tally, clock)
    )
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _live(console: Console, facts: Facts, tally: Tally, clock: Callable[[], float]) -> None:
    with Live(console=console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False) as live:
        try:
            while True:
                live.update(frame(facts, tally, clock()), refresh=True)
                await asyncio.sleep(1 / FRAMES_A_SECOND)
        finally:
            live.update(frame(facts, tally, clock()), refresh=True)


async def _plain(console: Console, tally: Tally, clock: Callable[[], float]) -> None:
    told, due = 0, PLAIN_EVERY_SECONDS
    try:
        while True:
            told = _tell(console, tally, told)
            if clock() >= due:
                console.print(Text(line(tally, clock())))
                due += PLAIN_EVERY_SECONDS
            await asyncio.sleep(1 / FRAMES_A_SECOND)
    finally:
        _tell(console, tally, told)
        console.print(Text(line(tally, clock())))


def _tell(console: Console, tally: Tally, told: int) -> int:
    fresh = tally.news_count - told
    for moment, text in list(tally.news)[-fresh:] if fresh else ():
        console.print(Text(f"{_time(moment)}  {text}"))
    return tally.news_count


def summary(reckoning: Reckoning, tally: Tally, width: int) -> RenderableType:
    """Who used what, counted three times, and the statements that were checked, for `width` columns."""
    columns = COLUMNS if width >= WIDTH_TABLE else tuple(name for name in COLUMNS if name not in SPARED)
    title = "What was charged, counted three times"
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    for name in columns:
        table.add_column(name, justify="left" if name in ("organization", "plan") else "right", no_wrap=True)
    others = [row for row in reckoning.rows if row.part == "developer" and row.agrees]
    for row in reckoning.rows:
        if row not in others:
            _add(table, columns, row.organization, row.plan or "packs", [row])
    if others:
        _add(table, columns, f"{len(others)} more", "developer", others)
    table.add_section()
    _add(table, columns, "all", "", reckoning.rows, style="bold")
    p50, p99 = tally.latency(0.5) * 1000, tally.latency(0.99) * 1000
    calls = Text(
        f"{tally.calls:,} calls to the till over HTTP, latency p50 {p50:.1f} ms, p99 {p99:.1f} ms; "
        f"{tally.sold:,} packs and plans sold for {format_amount(tally.revenue, CURRENCY)}"
    )
    return Group(table, calls, Text(""), *map(_check, reckoning.checks))


def _add(
    table: Table, columns: Sequence[str], name: str, plan: str, rows: Sequence[Row], style: str = ""
) -> None:
    """A line of the table: one organization, or several together."""
    cells = {"organization": name, "plan": plan, "": "[green]=[/]"}
    if not all(row.agrees for row in rows):
        cells[""] = "[bold red]≠[/]"
    for column, field in COUNTS.items():
        cells[column] = _count(sum(getattr(row, field) for row in rows))
    table.add_row(*(cells[column] for column in columns), style=style)


def _count(value: int) -> str:
    return f"{value:,}" if value else "·"


def _check(check: Check) -> Text:
    if not check.wrong:
        return Text.assemble(("✓ ", "green"), check.statement)
    cases = "".join(f"\n    {case}" for case in check.wrong)
    return Text.assemble(("✗ NOT TRUE: ", "bold red"), check.statement, (cases, "red"))


def _time(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"
