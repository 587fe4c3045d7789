"""The show: the demo from its first line to its last, and what it returns.

    0    everything added up
    1    something did not, or the till could not be used
    130  stopped before the end

Without `once` the till is left open at the end for a look around, until Ctrl+C. The files of a demo that
did not add up are kept.

Requirement ids: R-LED-3, R-LED-5, R-PLAT-5.
"""

from __future__ import annotations

import asyncio
import io
import re
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from msgspec import Struct
from rich.console import Console, Group
from rich.text import Text

from tokentill import catalogs
from tokentill.lab import trace
from tokentill.lab.demo import screen
from tokentill.lab.demo.customers import Customers
from tokentill.lab.demo.house import CATALOG, House, HouseTrouble
from tokentill.lab.demo.reckoning import Books, Prices, Reckoning, reckon
from tokentill.lab.demo.replay import Pace, Replay
from tokentill.lab.demo.script import Script, write
from tokentill.lab.demo.tally import Tally
from tokentill.lab.demo.tariff import Tariff
from tokentill.lab.demo.till import Till, TillTrouble

GOOD, WRONG, STOPPED = 0, 1, 130

FONTS = re.compile(r" *@font-face {.*?}\n", re.DOTALL)
"""What a picture would load from elsewhere; the reader's own monospaced font does as well."""

FIRST_MINUTE = 27
"""The busiest part of the hour begins here."""

MINUTES = 5
SPEED = 6.0
WHOLE_MINUTES = 60
WHOLE_SPEED = 30.0
SEED = 2023
READS_MAX = 3
"""How often the books are read until nothing was added meanwhile: counted refusals are filed each minute."""


class Options(Struct, frozen=True, kw_only=True):
    """What was asked for. `speed` is how many times as fast as it happened; None takes what suits."""

    once: bool = False
    whole: bool = False
    speed: float | None = None
    minutes: int | None = None
    folder: Path | None = None
    export: Path | None = None
    seed: int = SEED

    @property
    def pace(self) -> float:
        """How many times as fast as it happened."""
        return self.speed or (WHOLE_SPEED if self.whole else SPEED)

    def lines(self) -> tuple[trace.Line, ...]:
        """What is replayed."""
        if self.whole:
            return trace.hour()
        return trace.minutes(FIRST_MINUTE, self.minutes or MINUTES)

    def traffic(self) -> str:
        """What is replayed, in words."""
        count = self.minutes or MINUTES
        minutes = "an hour" if self.whole else "a minute" if count == 1 else f"{count} minutes"
        return f"{minutes} of real chat traffic, {self.pace:g} times as fast"


class Show:
    """One evening. `now` tells epoch ms; `program` is how the command line is called here."""

    def __init__(
        self,
        options: Options,
        house: House,
        console: Console,
        now: Callable[[], int],
        program: str = "tokentill",
        prices: Prices | None = None,
    ) -> None:
        self._options = options
        self._house = house
        self._console = console
        self._now = now
        self._program = program
        self._prices = prices or Tariff(catalogs.preset_text(CATALOG))
        self._code: int | None = None

    def run(self) -> int:
        """Run it; the exit code. Ctrl+C and SIGTERM end it cleanly at any moment."""
        return asyncio.run(self._guarded())

    async def _guarded(self) -> int:
        options = self._options
        evening = asyncio.ensure_future(self._evening())
        loop = asyncio.get_running_loop()
        asked = 0

        def stop() -> None:
            nonlocal asked
            asked += 1
            if asked == 1:
                evening.cancel()
            else:
                self._house.hurry()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop)
        try:
            return await evening
        except asyncio.CancelledError:
            if self._code is not None:
                return self._code
            left = "Nothing of it is left behind." if options.folder is None else f"See {options.folder}."
            self._say(f"Stopped before the end. {left}")
            return STOPPED
        except (HouseTrouble, TillTrouble, OSError) as trouble:
            self._say("The demo could not go on.", "bold red")
            self._say(str(trouble))
            if isinstance(trouble, TillTrouble) and (words := self._house.last_words()):
                self._say(f"The last the till wrote in its log:\n{words}")
            return WRONG

    async def _evening(self) -> int:
        options = self._options
        script = write(options.lines(), options.pace, options.seed)
        self._say(f"Starting a till of the demo's own, selling the catalog “{CATALOG}” …", "dim")
        async with self._house as house:
            self._say(f"It is open at {house.url}; its database is {house.database}.", "dim")
            reckoning = await self._while_open(self._play(script))
            if not reckoning.adds_up:
                house.keep()
                self._say(f"Not everything adds up. The files stay in {house.folder} for a look.", "bold red")
            self._code = GOOD if reckoning.adds_up else WRONG
            if not options.once:
                self._invite(kept=options.folder is not None or self._code == WRONG)
                await house.closed()
            return self._code

    async def _while_open(self, playing: Coroutine[Any, Any, Reckoning]) -> Reckoning:
        """What `playing` comes to; should the till end meanwhile, that is said at once."""
        played, closed = asyncio.ensure_future(playing), asyncio.ensure_future(self._house.closed())
        try:
            await asyncio.wait((played, closed), return_when=asyncio.FIRST_COMPLETED)
            if closed.done():
                closed.result()
            return await played
        finally:
            played.cancel()
            closed.cancel()
            await asyncio.wait((played, closed))

    async def _play(self, script: Script) -> Reckoning:
        """Replay the script and reckon it up."""
        loop = asyncio.get_running_loop()
        tally = Tally(len(script.requests))
        began = loop.time()

        def clock() -> float:
            return loop.time() - began

        async with Till(self._house.url, self._house.key, tally, clock) as till:
            customers = Customers(till, await till.catalog(), tally, self._now, clock)
            await customers.open_all(script.cast, script.requests)
            facts = screen.Facts(
                self._options.traffic(),
                script.seconds,
                len(script.cast),
                len({(each.organization, each.user) for each in script.requests}),
            )
            began = loop.time()
            replay = Replay(script, till, customers, tally, Pace(self._options.pace), clock)
            async with screen.shown(self._console, facts, tally, clock):
                await replay.run()
            last = screen.frame(facts, tally, clock())
            self._say("Adding everything up again …", "dim")
            reckoning = await self._reckon(till, customers)
        self._console.print(screen.summary(reckoning, tally, self._console.width))
        if self._options.export is not None:
            self._export(
                Group(last, Text(""), screen.summary(reckoning, tally, screen.WIDTH)), self._options.export
            )
        return reckoning

    async def _reckon(self, till: Till, customers: Customers) -> Reckoning:
        """Read the till's books and compare them with what the demo did."""
        reads = 0
        while True:
            books = {
                name: Books(await till.journal(name), await till.balance(name)) for name in customers.records
            }
            verdict = await self._house.verify()
            reads += 1
            if sum(len(of.journal) for of in books.values()) == verdict.entries or reads == READS_MAX:
                return reckon(customers.records.values(), books, self._prices, verdict)

    def _export(self, content: Group, path: Path) -> None:
        """Write the screen as a picture."""
        paper = Console(record=True, width=screen.WIDTH, file=io.StringIO(), force_terminal=True)
        paper.print(content)
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = FONTS.sub("", paper.export_svg(title="make demo"))
        path.write_text(picture, encoding="utf-8")
        self._say(f"The screen is in {path}.", "dim")

    def _invite(self, *, kept: bool) -> None:
        """Say where the till is and how to look around."""
        house, program = self._house, self._program
        lines = [
            "",
            f"The till is still open at {house.url}/",
            "Look around from another terminal; its key is shown this once:",
            "",
            f"  {program} verify --database {house.database} --catalog {CATALOG}",
            f"  export TOKENTILL_URL={house.url}",
            f"  export TOKENTILL_KEY={house.key}",
            f"  {program} org list",
            f"  {program} journal almond-travel --limit 10",
            f"  {program} org show bamboo-news",
            f'  curl -H "Authorization: Bearer $TOKENTILL_KEY" {house.url}/v1/organizations',
            "",
            f"Ctrl+C closes the till; its files stay in {house.folder}."
            if kept
            else "Ctrl+C closes the till and removes its files.",
        ]
        for each in lines:
            self._say(each)

    def _say(self, text: str, style: str = "") -> None:
        self._console.print(Text(text, style=style), soft_wrap=True)
