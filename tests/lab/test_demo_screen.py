"""What the demo prints, in a terminal and elsewhere."""

import asyncio
import io

import pytest
from rich.console import Console, RenderableType

from tokentill.lab.demo import screen
from tokentill.lab.demo.reckoning import Check, Reckoning, Row
from tokentill.lab.demo.tally import Tally

WIDE = 104
FACTS = screen.Facts("5 minutes of real chat traffic, 6 times as fast", 50.0, 40, 132)


def row(name: str, part: str, journal: int = 1_200) -> Row:
    return Row(
        organization=name, part=part, plan="developer", served=3, uncharged=1, refused=0, bought=0,
        own=1_200, journal=journal, balance=1_200,
    )  # fmt: skip


def busy() -> Tally:
    tally = Tally(requests=2_364)
    tally.asked, tally.served, tally.tokens, tally.in_flight = 500, 480, 654_321, 7
    tally.uncharged.update({"failed": 9, "timed out": 4})
    tally.refusals.update({"402 exhausted": 12, "429 rate_limited": 3})
    tally.sold, tally.revenue = 2, 800
    for each in range(100):
        tally.answered(clock=each / 25, seconds=0.002 if each < 98 else 0.040)
    tally.tell(3.0, "fig-design has run out of tokens")
    return tally


def text_of(what: RenderableType, width: int) -> str:
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(what)
    return console.export_text()


@pytest.mark.parametrize("width", [60, 80, 104, 110, 200])
def test_a_frame_shows_the_state_and_fits(width: int) -> None:
    text = text_of(screen.frame(FACTS, busy(), clock=4.0), width)
    for what in ("654,321", "402 exhausted", "fig-design has run out", "40.0 ms", "2.0 ms", "$8.00"):
        assert what in text
    assert max(map(len, text.splitlines())) <= width
    boxes = [line for line in text.splitlines() if "Requests" in line]
    assert ("Refused" in boxes[0] and "Till" in boxes[0]) == (width >= WIDE)


def test_a_line_says_the_same_in_plain_words() -> None:
    assert screen.line(busy(), clock=4.0) == (
        "0:04  500 of 2,364 requests, 480 served, 654,321 tokens charged, 13 not served → 0 charged, 15 refused, "
        "25 calls/s, p50 2.0 ms, p99 40.0 ms"
    )


def test_without_a_terminal_there_are_lines_and_each_piece_of_news_comes_once() -> None:
    out = io.StringIO()
    tally = busy()

    async def evening() -> None:
        async with screen.shown(Console(file=out, width=160), FACTS, tally, lambda: 4.0):
            await asyncio.sleep(0.01)
            tally.tell(4.0, "oak-labs takes a way out")

    asyncio.run(evening())
    said = out.getvalue()
    assert "\x1b" not in said
    assert said.count("fig-design has run out") == 1
    assert said.count("oak-labs takes a way out") == 1
    assert said.splitlines()[-1].startswith("0:04  500 of 2,364 requests")


def test_more_news_than_the_screen_remembers_does_not_break_it() -> None:
    out = io.StringIO()
    tally = Tally(requests=1)

    async def evening() -> None:
        async with screen.shown(Console(file=out, width=160), FACTS, tally, lambda: 0.0):
            for each in range(1_000):
                tally.tell(0.0, f"news {each}")
            await asyncio.sleep(0)

    asyncio.run(evening())
    assert "news 999" in out.getvalue()


def test_in_a_terminal_the_last_state_stays() -> None:
    out = io.StringIO()
    tally = busy()

    async def evening() -> None:
        console = Console(file=out, width=110, force_terminal=True)
        async with screen.shown(console, FACTS, tally, lambda: 4.0):
            await asyncio.sleep(0.01)
            tally.tokens = 777_777

    asyncio.run(evening())
    assert "777,777" in out.getvalue()


def test_the_summary_names_what_is_wrong_and_who_it_is() -> None:
    rows = (
        row("acacia-labs", "developer"),
        row("alder-books", "developer", journal=1_201),
        row("fig", "small"),
    )
    checks = (Check("sums agree", ("alder-books: own 1,200, journal 1,201",)), Check("nothing is reserved"))
    text = text_of(screen.summary(Reckoning(rows, checks), busy(), 110), 110)
    lines = text.splitlines()
    assert any("alder-books" in line and line.rstrip().endswith("≠") for line in lines)
    assert any("1 more" in line and line.rstrip().endswith("=") for line in lines)
    assert any(line.lstrip().startswith("all ") and "3,601" in line and "≠" in line for line in lines)
    assert "✗ NOT TRUE: sums agree" in text
    assert "    alder-books: own 1,200, journal 1,201" in text
    assert "✓ nothing is reserved" in text


def test_a_narrow_summary_keeps_the_figures_whole() -> None:
    text = text_of(screen.summary(Reckoning((row("alder-books", "small"),), ()), busy(), 80), 80)
    assert "alder-books" in text
    assert text.count("1,200") == 6
    assert "…" not in text
