"""Well-formed: is a command what its fields say it is? Asked before any rule reads it.

Over HTTP a body is decoded strictly and its names are looked at. A program in the same process may pass
anything, and what it passes would stand in a journal that is never changed: a lot of an unknown unit could not
be read again. So the same is asked of it: types, names and free text. Amounts are not looked at here; the rules
refuse those that are out of range, each with its reason.

Requirement ids: R-LED-9, R-LED-10.
"""

from __future__ import annotations

import re

import msgspec

from tokentill.rules import commands as c
from tokentill.rules import names
from tokentill.rules.refusals import Code, Refusal

ENTRIES_A_PAGE_MAX = 500
ORGANIZATIONS_A_PAGE_MAX = 1000
_NAMES = ("user", "feature", "plan")
_TEXTS = ("reason", "reference", "actor")
_PLACE = re.compile(r" - at `\$\.?(?P<place>[^`]*)`$")
_KINDS = {
    "int": "a whole number",
    "float": "a fraction",
    "str": "a text",
    "bool": "true or false",
    "null": "null",
    "object": "an object",
    "array": "a list",
}
_KIND = "|".join(_KINDS)
_NAMED = re.compile(rf"`(?P<kinds>(?:{_KIND})(?: \| (?:{_KIND}))*)`")


def explained(error: str) -> tuple[str, str]:
    """What is wrong, in plain words, and with which field ("" = with the whole), from a message of msgspec."""
    match = _PLACE.search(error)
    what = error if match is None else error[: match.start()]
    what = _NAMED.sub(lambda found: " or ".join(_KINDS[kind] for kind in found["kinds"].split(" | ")), what)
    what = what.replace("Expected", "expected").replace("Invalid", "invalid")
    return what[:200], "" if match is None else match["place"]


def refused(envelope: c.Envelope) -> Refusal | None:
    """Why the command cannot even be looked at, None if it can."""
    wrong = name_refused(envelope.organization, "organization")
    if wrong is not None:
        return wrong
    command = envelope.command
    try:
        msgspec.convert(msgspec.to_builtins(command), type(command))
    except (msgspec.ValidationError, TypeError) as error:
        what, field = explained(str(error))
        return _refusal(f"The field `{field}` is not valid: {what}.", field)
    for field in _NAMES:
        name = getattr(command, field, None)
        if type(name) is str and (wrong := name_refused(name, field)) is not None:
            return wrong
    for field in _TEXTS:
        text = getattr(command, field, None)
        if type(text) is str and (fault := names.text_fault(text)) is not None:
            return _refusal(f"`{field}` {fault}.", field)
    return None


def page_refused(limit: int, most: int) -> Refusal | None:
    """Why a page cannot have so many lines, None if it can."""
    if type(limit) is int and 1 <= limit <= most:
        return None
    return _refusal(f"`limit` must be a whole number from 1 to {most}.", "limit")


def name_refused(name: str, field: str) -> Refusal | None:
    """Why a name is none, None if it is one."""
    fault = names.fault(name) if type(name) is str else "must be a text"
    return None if fault is None else _refusal(f"`{field}` {fault}.", field)


def mark_refused() -> Refusal:
    """What `before` is answered with where it is the mark of no page."""
    return _refusal("`before` is no cursor of this journal; take the `next` of a page.", "before")


def _refusal(message: str, field: str) -> Refusal:
    return Refusal(
        Code.INVALID, f"{message} Nothing was changed. Correct it and send it again.", detail=field
    )
