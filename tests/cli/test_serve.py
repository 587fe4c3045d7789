"""`tokentill serve` as a process of its own, from its first start to its quiet end."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.conftest import Shell


@contextmanager
def served(
    folder: Path, *words: str, **environment: str
) -> Iterator[tuple[subprocess.Popen[str], str, list[str]]]:
    """A running `tokentill serve`, its address, and the lines it printed until it was there."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TOKENTILL_")}
    process = subprocess.Popen(
        [sys.executable, "-c", "from tokentill.cli import main; main()", "serve", "--port", "0", *words],
        cwd=folder,
        env={**clean, "TOKENTILL_DATABASE": "till.db", "PYTHONUNBUFFERED": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        first = process.stdout.readline()
        address = re.search(r"http://\S+", first)
        assert address is not None, (first, process.communicate(timeout=30))
        lines = [first, process.stdout.readline()]
        yield process, address[0], lines
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=30)


@pytest.fixture
def over_http(shell: Shell) -> Iterator[Shell]:
    """The command line over HTTP, on a till that just started for the first time."""
    with served(shell.folder) as (process, url, _):
        key = shell.json("key", "create", "me")["key"]
        shell.environment |= {"TOKENTILL_URL": url, "TOKENTILL_KEY": key}
        yield shell
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def test_the_first_start_makes_the_database_and_says_how_to_begin(tmp_path: Path) -> None:
    """R-PLAT-5: one command, nothing to install."""
    with served(tmp_path, "--catalog", "shop", OPENAI_API_KEY="") as (process, url, lines):
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", url)
        assert "AI token shop" in lines[1]
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        assert process.stdout is not None
        assert process.stderr is not None
        out, err = process.stdout.read(), process.stderr.read()
        # What another terminal is told to run is for this database and what it sells.
        assert "tokentill key create me --database till.db\n" in out
        assert "tokentill org open acme --database till.db --catalog shop\n" in out
        assert "keep a copy" in err
        assert "OPENAI_API_KEY" in err
        assert "Traceback" not in err
    assert (tmp_path / "till.db.key").stat().st_mode & 0o077 == 0


def test_the_command_line_over_http(over_http: Shell) -> None:
    """R-LED-8: the same commands, in the name of the operator key."""
    shell = over_http
    shell.done("org", "open", "acme", "--plan", "pro")
    shell.done("adjust", "acme", "5", "--reason", "a gift")
    assert shell.json("balance", "acme")["remaining"] == 205
    assert shell.json("journal", "acme", "--limit", "1")["entries"][0]["actor"] == "me"
    refused = shell("consume", "acme", "generate_goal", "--quantity", "9")
    assert refused.code == 3
    assert "too_large" in refused.err
    assert shell.json("health")["ok"]
    assert shell.json("catalog", "show")["name"] == "goals"
    assert [key["name"] for key in shell.json("key", "list")] == ["me"]
    denied = shell("balance", "acme", "--key", "tt_op_wrong")
    assert denied.code == 5
    assert "TOKENTILL_KEY" in denied.err
    # Without a URL the same database is worked on directly, beside the running server.
    assert shell("balance", "acme", "--json", TOKENTILL_URL="").json["remaining"] == 205


def test_a_port_that_is_taken_is_said(tmp_path: Path, shell: Shell) -> None:
    with served(tmp_path) as (_, url, _lines):
        ran = shell("serve", "--port", url.rpartition(":")[2])
    assert ran.code == 5
    assert "Cannot listen" in ran.err
    assert "--port" in ran.err


def test_events_can_be_json(tmp_path: Path) -> None:
    """R-PLAT-3."""
    with served(tmp_path, "--log-format", "json", "--log-level", "info") as (process, _, _lines):
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=30)
    assert [line for line in err.splitlines() if not line.startswith("{")] == []


def test_the_server_going_away_is_said(shell: Shell) -> None:
    with served(shell.folder) as (process, url, _):
        key = shell.json("key", "create", "me")["key"]
        process.kill()
        process.wait(30)
    shell.environment |= {"TOKENTILL_URL": url, "TOKENTILL_KEY": key}
    ran = shell("org", "list")
    assert ran.code == 4
    assert "cannot be reached" in ran.err


def test_what_a_till_at_rest_does_not_need_is_not_loaded(tmp_path: Path) -> None:
    """R-PLAT-5: on SQLite no PostgreSQL, and no ciphers before something is sealed."""
    with served(tmp_path) as (process, _, _):
        maps = Path(f"/proc/{process.pid}/maps")
        if not maps.exists():
            pytest.skip("Linux alone tells what a process has loaded")
        loaded = maps.read_text()
        assert "/apsw/" in loaded
        assert [name for name in ("asyncpg", "cryptography") if f"/{name}/" in loaded] == []
