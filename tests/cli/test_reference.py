"""The pages about the command line and the settings say what the code does."""

from __future__ import annotations

from pathlib import Path

import pytest

from tokentill import settings
from tokentill.cli import app
from tokentill.cli.reference import page

REFERENCE = Path(__file__).parents[2] / "docs/reference"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        pytest.param("cli.md", page(app), id="cli"),
        pytest.param("settings.md", settings.reference(), id="settings"),
    ],
)
def test_the_page_is_in_step(name: str, text: str) -> None:
    """Render it again: python -m tests.cli.test_reference."""
    assert (REFERENCE / name).read_text() == text


if __name__ == "__main__":
    (REFERENCE / "cli.md").write_text(page(app))
    (REFERENCE / "settings.md").write_text(settings.reference())
