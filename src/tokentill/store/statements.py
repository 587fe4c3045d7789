"""Named statements: all SQL of an engine in one file, `-- name: word` above each (style habit 7)."""

from __future__ import annotations

from functools import cache
from importlib.resources import files


@cache
def statements(engine: str) -> dict[str, str]:
    """The statements of `engine` (sqlite or postgres) by name. Raises ValueError on a name used twice."""
    text = files("tokentill.store").joinpath("sql", f"{engine}.sql").read_text(encoding="utf-8")
    found: dict[str, str] = {}
    for block in text.split("-- name: ")[1:]:
        name, _, body = block.partition("\n")
        if name.strip() in found:
            raise ValueError(f"{engine}.sql names {name.strip()} twice")
        found[name.strip()] = body.strip()
    return found
