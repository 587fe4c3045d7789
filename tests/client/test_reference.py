"""The page about the client says what the code does."""

from __future__ import annotations

from pathlib import Path

from tokentill.client.reference import page

PAGE = Path(__file__).parents[2] / "docs/reference/client.md"


def test_the_page_is_in_step() -> None:
    """Render it again: python -m tests.client.test_reference."""
    assert PAGE.read_text() == page()


if __name__ == "__main__":
    PAGE.write_text(page())
