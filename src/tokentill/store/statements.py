"""Named statements: all SQL of an engine in one file, `-- name: word` above each (style habit 7)."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files


@cache
def statements(engine: str) -> dict[str, str]:
    """The statements of `engine` (sqlite, postgres; rows: both) by name. Raises ValueError on a name used twice."""
    text = files("tokentill.store").joinpath("sql", f"{engine}.sql").read_text(encoding="utf-8")
    found: dict[str, str] = {}
    for block in text.split("-- name: ")[1:]:
        name, _, body = block.partition("\n")
        if name.strip() in found:
            raise ValueError(f"{engine}.sql names {name.strip()} twice")
        found[name.strip()] = body.strip()
    return found


def for_rows(sql: str, most: int) -> list[str]:
    """A statement with one row of question marks, for 0 to `most` rows: the n-th takes n."""
    found = re.search(r"\(\?(, \?)*\)", sql)
    assert found is not None, "it shows no row of question marks"
    before, row, after = sql[: found.start()], found[0], sql[found.end() :]
    return [before + ", ".join([row] * count) + after for count in range(most + 1)]
