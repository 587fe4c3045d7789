"""Form bodies as Stripe's clients write them: names with brackets become tables and lists.

`items[0][price]=p&metadata[a]=b&expand[]=c` is `{"items": [{"price": "p"}], "metadata": {"a": "b"}, "expand":
["c"]}`. Every value is text; who reads it says what it means. `whole`, `flag` and the like do so and refuse
what does not fit, in Stripe's words for a wrong parameter.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qsl

from tokentill.lab.stripe.refusals import Refused

PAIRS_MAX = 1000
DEPTH_MAX = 8
LIST_MAX = 1000
_PART = re.compile(r"\[([^\[\]]*)\]")

Form = dict[str, Any]


def parse(text: str) -> Form:
    """The nested values of a form body or query; raises `Refused` for one that contradicts itself."""
    try:
        pairs = parse_qsl(
            text, keep_blank_values=True, strict_parsing=False, errors="strict", max_num_fields=PAIRS_MAX
        )
    except ValueError:
        raise Refused("The request could not be read as a form.") from None
    found: Form = {}
    for name, value in pairs:
        head, _, rest = name.partition("[")
        parts = [head, *_PART.findall(f"[{rest}")] if rest else [head]
        if len(parts) > DEPTH_MAX:
            raise Refused(f"Invalid parameter: {name} is nested too deeply", param=head)
        _put(found, parts, value, name)
    return {name: _lists(value, name) for name, value in found.items()}


def _put(into: Form, parts: list[str], value: str, name: str) -> None:
    for part in parts[:-1]:
        inner = into.setdefault(part or str(len(into)), {})
        if not isinstance(inner, dict):
            raise Refused(f"Invalid {name}: both a value and a table", param=parts[0])
        into = inner
    into[parts[-1] or str(len(into))] = value


def _lists(value: Any, name: str) -> Any:
    """The value with tables whose names are 0, 1, 2 … as lists."""
    if not isinstance(value, dict):
        return value
    inner = {key: _lists(part, name) for key, part in value.items()}
    if inner and len(inner) <= LIST_MAX and all(key.isdigit() for key in inner):
        return [inner[key] for key in sorted(inner, key=int)]
    return inner


def text(form: Form, name: str, default: str | None = None) -> str | None:
    """A text; empty text is what a client writes to unset a value."""
    value = form.get(name, default)
    if value is not None and not isinstance(value, str):
        raise Refused(f"Invalid string: {name}", param=name)
    return value


def needed(form: Form, name: str, within: str = "") -> str:
    """A text that must be there."""
    value = text(form, name)
    if not value:
        path = f"{within}[{name}]" if within else name
        raise Refused(f"Missing required param: {path}.", param=path, code="parameter_missing")
    return value


def whole(form: Form, name: str, default: int | None = None, *, least: int | None = None) -> int | None:
    """A whole number."""
    value = form.get(name)
    if value is None:
        return default
    if not isinstance(value, str) or not re.fullmatch(r"-?[0-9]{1,15}", value):
        raise Refused(f"Invalid integer: {value}", param=name, code="parameter_invalid_integer")
    number = int(value)
    if least is not None and number < least:
        raise Refused(
            f"This value must be greater than or equal to {least}.",
            param=name,
            code="parameter_invalid_integer",
        )
    return number


def flag(form: Form, name: str, *, default: bool = False) -> bool:
    """True or false."""
    value = form.get(name)
    if value is None:
        return default
    if value not in ("true", "false"):
        raise Refused(f"Invalid boolean: {value}", param=name)
    return bool(value == "true")


def choice(form: Form, name: str, among: tuple[str, ...], default: str | None = None) -> str | None:
    """One of a few words."""
    value = text(form, name, default)
    if value is not None and value not in among:
        raise Refused(f"Invalid {name}: must be one of {', '.join(among)}", param=name)
    return value


def table(form: Form, name: str) -> Form:
    """A nested table; empty if it is not there."""
    value = form.get(name) or {}
    if not isinstance(value, dict):
        raise Refused(f"Invalid object: {name}", param=name)
    return value


def rows(form: Form, name: str) -> list[Form]:
    """A list of tables; empty if it is not there."""
    value = form.get(name) or []
    if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
        raise Refused(f"Invalid array: {name}", param=name)
    return value


def words(form: Form, name: str) -> list[str]:
    """A list of texts; empty if it is not there."""
    value = form.get(name) or []
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise Refused(f"Invalid array: {name}", param=name)
    return value


def metadata(form: Form, known: dict[str, str] | None = None) -> dict[str, str]:
    """Metadata after this request: named keys replaced, those sent empty removed."""
    told = form.get("metadata")
    if told == "":
        return {}
    found = dict(known or {})
    for key, value in table(form, "metadata").items():
        if not isinstance(value, str) or len(key) > 40 or len(value) > 500:
            raise Refused("Metadata keys have at most 40 characters and values 500.", param="metadata")
        found[key] = value
    return {key: value for key, value in found.items() if value != ""}
