"""Reading a TOML document so that every mistake in it is reported at once, each in a sentence.

A `Table` hands out values by key and kind. What is missing or wrong becomes a `Finding` (file, line where
found, path of the key, what is wrong, what is allowed) and a harmless stand-in is returned, so that reading
goes on; `end` reports the keys that nobody asked for, with the nearest known key. Nothing here knows what a
catalog is; `tokentill.rules.catalog_file` does.

Amounts are decimal strings, durations are whole numbers of the unit in the key's name (`timeout_seconds`),
limits are whole numbers or "off", dates are ISO dates (a day in UTC) or times with their offset. A number
with a decimal point is refused wherever it stands.

Requirement ids: R-PLAN-9.
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar

from msgspec import Struct, field

from tokentill.rules.durations import DAY_MS
from tokentill.rules.money import MoneyError, parse_amount

T = TypeVar("T")

TEXT_MAX = 500
SHOWN_MAX = 40
DURATION_MS_MAX = 10 * 366 * 86_400_000
OFF = "off"
DATE_ALLOWED = "write a date such as 2026-03-31, or a time with its offset such as 2026-03-31T18:00:00Z"
ID_ALLOWED = "write 1 to 64 of a-z 0-9 . _ -, beginning with a letter or digit"

CODE_ALLOWED = "write 3 to 32 of A-Z 0-9 -, in capitals, beginning with a letter or digit"

_DATE_LENGTH = len("2026-03-31")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS_MS = {"ms": 1, "seconds": 1_000, "minutes": 60_000, "hours": 3_600_000}
_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_CODE = re.compile(r"[A-Z0-9][A-Z0-9-]{2,31}")
_HEADER = re.compile(r"\s*\[(\[?)([^\[\]]+)\]")
_KEY = re.compile(r"""\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*=(.*)""")
_PART = re.compile(r"""[\w-]+|"[^"]*"|'[^']*'""")


class Finding(Struct, frozen=True):
    """One thing wrong or dubious at `path` of `file`; `line` is None where it was not found cheaply.

    `code` names the check that found something dubious; it is empty for a mistake.
    """

    file: str
    path: str
    line: int | None
    wrong: str
    allowed: str = ""
    code: str = ""

    def as_text(self) -> str:
        """The finding on one line, as compilers write: file:line: path: what is wrong; what is allowed."""
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.path + ': ' if self.path else ''}{self.wrong}" + (
            f"; {self.allowed}" if self.allowed else ""
        )


class Findings(Struct):
    """What has been found so far in one file. `lines` maps the path of a key to its line."""

    file: str
    lines: dict[str, int] = field(default_factory=dict)
    found: list[Finding] = field(default_factory=list)

    def add(self, path: str, wrong: str, allowed: str = "", code: str = "") -> None:
        """Record one finding, at the line of the key or of the nearest table around it."""
        line, around = self.lines.get(path), path
        while line is None and around:
            around = around[: max(around.rfind("."), around.rfind("["), 0)]
            line = self.lines.get(around)
        self.found.append(Finding(self.file, path, line, wrong, allowed, code))

    def in_order(self) -> tuple[Finding, ...]:
        """What has been found, in the order of the file; what has no line comes first."""
        return tuple(sorted(self.found, key=lambda finding: finding.line or 0))


def parse(text: str, findings: Findings) -> dict[str, Any] | None:
    """The document's values, or None with the syntax error recorded."""
    try:
        data = tomllib.loads(text, parse_float=Decimal)
    except (ValueError, RecursionError) as error:
        line = re.search(r"at line (\d+)", str(error))
        wrong = "nested too deeply" if isinstance(error, RecursionError) else f"not TOML: {error}"
        findings.found.append(Finding(findings.file, "", int(line[1]) if line else None, wrong))
        return None
    findings.lines.update(_lines(text))
    return data


def _lines(text: str) -> dict[str, int]:
    """Each key's path and line, found by looking at line beginnings: good enough to point at."""
    lines: dict[str, int] = {}
    rows: Counter[str] = Counter()
    table, quote = "", ""
    for number, line in enumerate(text.split("\n"), 1):
        if quote:
            quote = "" if line.count(quote) % 2 else quote
        elif header := _HEADER.match(line):
            table = _path(header[2])
            lines.setdefault(table.partition(".")[0], number)
            rows[table] += 1
            table += f"[{rows[table]}]" if header[1] else ""
            lines[table] = number
        elif key := _KEY.match(line):
            lines[_join(table, _path(key[1]))] = number
            quote = next((mark for mark in ('"""', "'''") if key[2].count(mark) % 2), "")
    return lines


def _path(dotted: str) -> str:
    return ".".join(part.strip("\"'") for part in _PART.findall(dotted))


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _kind(value: object) -> str:
    """How a TOML value is shown in a message."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return json.dumps(
                value if len(value) <= SHOWN_MAX else value[:SHOWN_MAX] + "...", ensure_ascii=False
            )
        case dict():
            return "a table"
        case list():
            return "a list"
        case int():
            return f"{value}" if abs(value) < 10**SHOWN_MAX else "a huge number"
        case _:
            return str(value)[:SHOWN_MAX]


def _moment(value: object, last: bool) -> int | None:  # noqa: FBT001  # one caller, who names it
    """The instant of a date or time, written as TOML has it or as text; None for anything else."""
    if isinstance(value, str):
        try:
            value = date.fromisoformat(value) if len(value) == _DATE_LENGTH else datetime.fromisoformat(value)
        except ValueError:
            return None
    if isinstance(value, datetime):
        return None if value.tzinfo is None else (value - _EPOCH) // timedelta(milliseconds=1)
    return ((value - _EPOCH.date()).days + last) * DAY_MS if isinstance(value, date) else None


def nearest(key: str, known: Iterable[str]) -> str:
    """What is allowed instead of an unknown name: the nearest known one, else all of them."""
    names = sorted(known)
    alike = {name.lower(): name for name in names}
    close = difflib.get_close_matches(key.lower(), alike, 1)
    if close:
        return f'did you mean "{alike[close[0]]}"?'
    return f"allowed here: {', '.join(names)}" if names else "nothing is allowed here"


class Table:
    """One table of the document: values by key and kind, with every mistake recorded in `findings`."""

    def __init__(self, data: dict[str, Any], path: str, findings: Findings, *, broken: bool = False) -> None:
        self.data = data
        self.path = path
        self.findings = findings
        self.broken = broken
        self.known: set[str] = set()
        self.written = set(data)

    def bad(self, key: str, wrong: str, allowed: str = "") -> None:
        """Record a mistake at a key of this table."""
        self.findings.add(_join(self.path, key), wrong, allowed)

    def has(self, key: str) -> bool:
        """Whether the key is written in the file."""
        self.known.add(key)
        return key in self.data

    def is_word(self, key: str, word: str) -> bool:
        """Whether the key is written and is this very word, which stands for "none" or "no limit"."""
        self.known.add(key)
        return self.data.get(key) == word

    def id(self, key: str, default: str | None = None) -> str:
        """An id; required when there is no default."""
        value = self.text(key, default)
        if not _ID.fullmatch(value) and key in self.data:
            return self._wrong(key, value, ID_ALLOWED, default or "")
        return value

    def text(self, key: str, default: str | None = None, most: int = TEXT_MAX) -> str:
        """A text on one line of at most `most` characters; required when there is no default."""
        value = self._value(key, default, "a text in quotes")
        if not isinstance(value, str):
            return self._wrong(key, value, "write a text in quotes", default or "")
        empty = not value and default is None
        if empty or not value.isprintable() or len(value) > most or value != value.strip():
            return self._wrong(key, value, f"write 1 to {most} characters on one line, no spaces around", "")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts, empty by default."""
        value = self._value(key, [], "")
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            return self._wrong(key, value, "write a list of texts", ())
        if not all(item.isprintable() and 0 < len(item) <= TEXT_MAX for item in value):
            return self._wrong(key, value, f"write texts of 1 to {TEXT_MAX} printable characters", ())
        return tuple(value)

    def whole(self, key: str, default: int | None, least: int, most: int) -> int:
        """A whole number from `least` to `most`; required when the default is None."""
        value = self._value(key, default, "a whole number")
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            return self._wrong(key, value, f"write a whole number from {least} to {most}", least)
        return value

    def limit(self, key: str, default: int | None, least: int, most: int) -> int | None:
        """A whole number from `least` to `most`, or "off", which is None."""
        value = self._value(key, OFF if default is None else default, "")
        if value == OFF:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            return self._wrong(key, value, f'write a whole number from {least} to {most}, or "off"', None)
        return value

    def flag(self, key: str, *, default: bool) -> bool:
        """True or false."""
        value = self._value(key, default, "")
        return value if isinstance(value, bool) else self._wrong(key, value, "write true or false", default)

    def choice(self, key: str, default: str, allowed: Iterable[str]) -> str:
        """One of the allowed words."""
        value = self._value(key, default, "")
        if isinstance(value, str) and value in allowed:
            return value
        names = tuple(allowed)
        hint = nearest(value, names) if isinstance(value, str) else f"allowed: {', '.join(names)}"
        return self._wrong(key, value, hint, default)

    def money(self, key: str, currency: str, default: int | None = None) -> int:
        """Minor units of a decimal text such as "149.00"; required when the default is None."""
        value = self._value(key, default, 'an amount such as "149.00"')
        if key not in self.data:
            return default or 0
        if not isinstance(value, str):
            return self._wrong(key, value, 'write an amount as text, such as "149.00"', 0)
        try:
            return parse_amount(value, currency)
        except MoneyError as error:
            self.bad(key, str(error), f'write an amount in {currency} as text, such as "149.00"')
            return 0

    def duration_ms(self, stem: str, default: int | None, *, end: str = "", least: int = 1) -> int | None:
        """Milliseconds of whichever key is written: `stem_ms`, `stem_seconds`, `stem_minutes`, `stem_hours`.

        `end` follows the unit (`spacing_seconds_min`). Where `least` is 0, both 0 and "off" are None.
        """
        keys = {f"{stem}_{unit}{end}": size for unit, size in _UNITS_MS.items()}
        self.known |= keys.keys()
        written = [key for key in keys if key in self.data]
        if not written:
            return default
        if len(written) > 1:
            self.bad(written[1], f"says the same as {written[0]}", "keep one of them")
        key = written[0]
        self.written.add(f"{stem}_ms{end}")
        most = DURATION_MS_MAX // keys[key]
        found = self.limit(key, None, least, most) if least == 0 else self.whole(key, None, least, most)
        return found * keys[key] if found else None

    def moment(self, key: str, *, last: bool = False) -> int | None:
        """Epoch milliseconds of a date or of a time with its offset; None when it is not written.

        A date is the midnight in UTC at which it begins, or, where it is the `last` day, at which it ends.
        """
        value = self._value(key, "", "")
        if key not in self.data:
            return None
        found = _moment(value, last)
        return self._wrong(key, value, DATE_ALLOWED, 0) if found is None or found < 0 else found

    def names(self, key: str, known: Iterable[str]) -> frozenset[str]:
        """A list of names that must all be known, or "all" of them; none by default."""
        allowed = frozenset(known)
        value = self._value(key, [], "")
        if value == "all":
            return allowed
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            return self._wrong(key, value, 'write a list of names, or "all"', frozenset())
        for unknown in (item for item in value if item not in allowed):
            self.bad(key, f"{_kind(unknown)} is not known", nearest(unknown, allowed))
        return frozenset(value) & allowed

    def inner(self, key: str, value: object, index: str = "") -> Table:
        """The table that a value is; what is no table is a mistake and reads as one that misses nothing."""
        path = _join(self.path, key) + index
        if isinstance(value, dict):
            return Table(value, path, self.findings)
        self.findings.add(path, f"{_kind(value)} does not fit here", "write a table")
        return Table({}, path, self.findings, broken=True)

    def table(self, key: str) -> Table:
        """The table at a key, empty when it is missing."""
        return self.inner(key, self._value(key, {}, ""))

    def tables(self, key: str, *, codes: bool = False) -> dict[str, Table]:
        """The tables at a key by their ids (or promotion codes), in the order of the file."""
        outer = self.table(key)
        inner = {}
        for name, value in outer.data.items():
            if (_CODE if codes else _ID).fullmatch(name):
                inner[name] = outer.inner(name, value)
            else:
                what, allowed = ("a code", CODE_ALLOWED) if codes else ("an id", ID_ALLOWED)
                outer.bad(name, f"is not {what}", allowed)
        return inner

    def rows(self, key: str) -> list[Table]:
        """The list of tables at a key, empty when it is missing."""
        value = self._value(key, [], "")
        if not isinstance(value, list):
            return self._wrong(key, value, "write a list of tables", [])
        return [self.inner(key, row, f"[{number}]") for number, row in enumerate(value, 1)]

    def end(self) -> None:
        """Report every key that is written but that nobody asked for."""
        for key in self.data:
            if key not in self.known:
                self.bad(key, "unknown key", nearest(key, self.known))

    def _value(self, key: str, default: object, missing: str) -> object:
        self.known.add(key)
        if key in self.data:
            return self.data[key]
        if default is None and not self.broken:
            self.bad(key, "missing", f"write {missing}")
        return default

    def _wrong(self, key: str, value: object, allowed: str, stand_in: T) -> T:
        if key in self.data:
            self.bad(key, f"{_kind(value)} does not fit here", allowed)
        return stand_in
