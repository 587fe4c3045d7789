"""The command line, run in this process on a database of the test's own."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from typer.testing import CliRunner

from tokentill.cli import app


class Ran:
    """What a command printed, and its exit code."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Shell:
    """Runs commands with an environment of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {"TOKENTILL_DATABASE": str(folder / "till.db")}

    def __call__(self, *words: str, **environment: str) -> Ran:
        known = {name: None for name in os.environ if name.startswith("TOKENTILL_")}
        result = CliRunner().invoke(app, list(words), env={**known, **self.environment, **environment})
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Ran(result.exit_code, result.stdout, result.stderr)

    def done(self, *words: str) -> str:
        """What a command prints that must succeed."""
        ran = self(*words)
        assert ran.code == 0, ran.err
        return ran.out

    def json(self, *words: str) -> Any:
        """What a command that must succeed prints for programs."""
        return json.loads(self.done(*words, "--json"))


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield Shell(tmp_path)
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
