"""The demo itself, whole: a real server on a database of its own, real traffic over HTTP, and the reckoning."""

import asyncio
import io
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import aiohttp
import pytest
from rich.console import Console

from tokentill import catalogs
from tokentill.lab import trace
from tokentill.lab.demo import script
from tokentill.lab.demo.house import SERVER, House
from tokentill.lab.demo.reckoning import Prices
from tokentill.lab.demo.show import FIRST_MINUTE, SEED, STOPPED, WRONG, Options, Show
from tokentill.lab.demo.tariff import Tariff
from tokentill.web.asgi import override
from tokentill.wiring import SystemClock

TOKENTILL = (sys.executable, "-c", "from tokentill.cli import main; main()")
QUICK = ("--minutes", "1", "--speed", "40")
SECONDS_MAX = 60

MISCHIEF = """
from tokentill.rules import commands
from tokentill.web import orders

def release(site, call):
    return commands.Settle(hold=site.operation_id(call.params[1]))

orders.release = release
"""
"""A till that charges what failed."""


SUDDEN_DEATH = """
import itertools, os, sys
from tokentill.web import orders

calls, reserve = itertools.count(1), orders.reserve

def reserve_or_die(site, call):
    if next(calls) == 50:
        print("out of memory", file=sys.stderr, flush=True)
        os._exit(7)
    return reserve(site, call)

orders.reserve = reserve_or_die
"""
"""A till that is gone in the middle."""


def surroundings(tmp: Path) -> dict[str, str]:
    """An environment whose settings the demo must not touch, and whose temporary folder is `tmp`."""
    return {
        **os.environ,
        "TMPDIR": str(tmp),
        "TOKENTILL_DATABASE": str(tmp / "theirs.db"),
        "TOKENTILL_CATALOG": "goals",
        "TOKENTILL_URL": "http://127.0.0.1:9",
        "TOKENTILL_KEY": "theirs",
    }


def started(tmp: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*TOKENTILL, "demo", *arguments],
        env=surroundings(tmp),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def read_until(demo: subprocess.Popen[str], what: str) -> str:
    """Everything the demo says up to the line that holds `what`."""
    assert demo.stdout is not None
    said = ""
    for line in demo.stdout:
        said += line
        if what in line:
            return said
    raise AssertionError(f"never said {what!r}:\n{said}")


def finished(demo: subprocess.Popen[str], said: str = "") -> str:
    """Wait for the end; everything it said."""
    rest, _ = demo.communicate(timeout=SECONDS_MAX)
    return said + rest


def calm_seed(minutes: int = 1) -> int:
    """A seed by which no host vanishes, so that nobody waits for a hold to time out."""
    lines = trace.minutes(FIRST_MINUTE, minutes)
    return next(
        seed
        for seed in range(100)
        if all(request.fate != "vanishes" for request in script.write(lines, 40, seed).requests)
    )


def test_a_minute_of_traffic_adds_up_to_the_token(tmp_path: Path) -> None:
    """R-LED-3, R-LED-5, R-LED-9: the command a stranger runs, and the numbers it states."""
    picture = tmp_path / "pictures" / "demo.svg"
    demo = started(tmp_path, "--once", *QUICK, "--export", str(picture))
    said = finished(demo)
    assert demo.returncode == 0, said
    requests = script.write(trace.minutes(FIRST_MINUTE, 1), 40, SEED).requests
    assert "NOT TRUE" not in said
    assert said.count("✓ ") == 7
    found = re.search(r"each of ([\d,]+) served operations was charged once", said)
    served = int(found[1].replace(",", "")) if found else 0
    ends = [each for each in requests if each.fate == "answers"]
    assert 0.8 * len(ends) < served < len(ends)
    assert re.search(r"each of [1-9]\d* that failed, timed out or vanished was charged 0", said)
    assert f"{len(requests)} of {len(requests)} requests" in said
    for code in ("402 “You've reached", "Buy 20000 tokens", "blocked", "requests a minute", "payment mended"):
        assert code in said
    assert picture.read_text().startswith("<svg")
    assert "@font-face" not in picture.read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pictures"], "only what was asked for is left"


def test_the_till_is_left_open_with_a_key_until_ctrl_c(tmp_path: Path) -> None:
    demo = started(tmp_path, *QUICK)
    said = read_until(demo, "Ctrl+C closes the till")
    found = re.search(r"TOKENTILL_URL=(\S+)\s+export TOKENTILL_KEY=(\S+)", said)
    assert found is not None, said
    url, key = found[1], found[2]
    listed = subprocess.run(
        [*TOKENTILL, "org", "list"],
        env={**os.environ, "TOKENTILL_URL": url, "TOKENTILL_KEY": key},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "willow-design" in listed.stdout
    demo.send_signal(signal.SIGINT)
    said = finished(demo, said)
    assert demo.returncode == 0, said
    assert "Traceback" not in said
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(aiohttp.ClientConnectionError):
        asyncio.run(ask(url))


async def ask(url: str) -> None:
    async with aiohttp.ClientSession() as session, session.get(f"{url}/v1/health") as answer:
        await answer.read()


@pytest.mark.parametrize(
    ("sent", "after"),
    [
        (signal.SIGINT, "Starting a till"),
        (signal.SIGTERM, "It is open at"),
        (signal.SIGINT, "run out of tokens"),
    ],
)
def test_it_can_be_stopped_at_any_time(tmp_path: Path, sent: signal.Signals, after: str) -> None:
    demo = started(tmp_path, "--minutes", "2", "--speed", "10")
    said = read_until(demo, after)
    demo.send_signal(sent)
    said = finished(demo, said)
    assert demo.returncode == STOPPED, said
    assert "Stopped before the end" in said
    assert "Traceback" not in said
    assert list(tmp_path.iterdir()) == []


def test_the_server_ends_even_if_the_demo_is_killed(tmp_path: Path) -> None:
    demo = started(tmp_path, "--minutes", "2", "--speed", "10")
    said = read_until(demo, "It is open at")
    found = re.search(r"http://[\d.:]+\d", said)
    assert found is not None
    demo.kill()
    finished(demo)
    give_up = time.monotonic() + 15
    while time.monotonic() < give_up:
        try:
            asyncio.run(ask(found[0]))
        except aiohttp.ClientConnectionError:
            return
        time.sleep(0.1)
    raise AssertionError("the server is still there")


def show(tmp_path: Path, house: House, prices: Prices | None = None) -> tuple[int, str]:
    """The exit code of a quick evening in this process, and what it said."""
    out = io.StringIO()
    options = Options(once=True, minutes=1, speed=40.0, seed=calm_seed())
    code = Show(options, house, Console(file=out, width=160), SystemClock().now, prices=prices).run()
    return code, out.getvalue()


class OffByOne:
    """The tariff, but with one token more for the first request it is asked about."""

    def __init__(self) -> None:
        tariff = Tariff(catalogs.preset_text("shop"))
        self.pack, self.plan, self.right = tariff.pack, tariff.plan, tariff.request
        self.first: tuple[str, int, int] | None = None

    def request(self, feature: str, read: int, written: int) -> int:
        asked = (feature, read, written)
        self.first = self.first or asked
        return self.right(feature, read, written) + (self.first == asked)


def test_a_reckoning_that_is_off_by_one_token_is_a_failure(tmp_path: Path) -> None:
    code, said = show(tmp_path, House(tmp_path / "demo"), OffByOne())
    assert code == WRONG
    assert said.count("NOT TRUE") == 2
    assert "Not everything adds up" in said
    assert (tmp_path / "demo" / "demo.db").exists()


def test_ctrl_c_does_not_make_a_wrong_evening_right(tmp_path: Path) -> None:
    out = io.StringIO()

    class Impatient(House):
        @override
        async def closed(self) -> None:
            if "Ctrl+C closes the till" in out.getvalue():
                os.kill(os.getpid(), signal.SIGINT)
            await super().closed()

    options = Options(minutes=1, speed=40.0, seed=calm_seed())
    house = Impatient(tmp_path / "demo")
    code = Show(options, house, Console(file=out, width=160), SystemClock().now, prices=OffByOne()).run()
    assert code == WRONG
    assert f"its files stay in {tmp_path / 'demo'}" in out.getvalue()


def test_a_till_that_charges_failures_is_found_out(tmp_path: Path) -> None:
    server: Sequence[str] = (SERVER[0], SERVER[1], MISCHIEF + SERVER[2])
    code, said = show(tmp_path, House(tmp_path / "demo", server=server))
    assert code == WRONG
    assert "NOT TRUE: each of" in said
    assert "failed and was charged" in said


def test_a_till_that_dies_is_reported_in_words(tmp_path: Path) -> None:
    server: Sequence[str] = (SERVER[0], SERVER[1], SUDDEN_DEATH + SERVER[2])
    code, said = show(tmp_path, House(tmp_path / "demo", server=server))
    assert code == WRONG
    assert "The demo could not go on." in said
    assert "The till ended by itself" in said
    assert "out of memory" in said
    assert "Traceback" not in said


def test_a_till_that_does_not_start_is_reported_with_its_own_words(tmp_path: Path) -> None:
    server: Sequence[str] = (SERVER[0], SERVER[1], "raise SystemExit('no room for a till')")
    code, said = show(tmp_path, House(tmp_path / "demo", server=server))
    assert code == WRONG
    assert "The till did not start." in said
    assert "no room for a till" in said


def test_somebody_s_database_is_never_written_over(tmp_path: Path) -> None:
    theirs = tmp_path / "demo.db"
    theirs.write_bytes(b"precious")
    demo = started(tmp_path, "--once", *QUICK, "--folder", str(tmp_path))
    said = finished(demo)
    assert demo.returncode == WRONG, said
    assert "never writes over one" in said
    assert theirs.read_bytes() == b"precious"
    assert list(tmp_path.iterdir()) == [theirs]
