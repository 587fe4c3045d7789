"""Names: what may name an organization, a user, a feature or a plan at the edge.

1 to 128 printable characters of Unicode in its composed form (NFC), with no space at either end, so that
two names that look alike to a person are alike to the till. Control, formatting and private characters are
refused, and so are "." and "..", which clients and proxies resolve away in a path.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

NAME_CHARS_MAX = 128
KEY_CHARS_MAX = 255
TEXT_CHARS_MAX = 200
ROW_CHARS_MAX = 400
_REMEMBERED = 4_096
"""So many names are not looked at again; most requests name somebody who was named a moment ago."""


@lru_cache(_REMEMBERED)
def fault(name: str) -> str | None:
    """What is wrong with a name, None if nothing is."""
    if not name or len(name) > NAME_CHARS_MAX:
        return f"must be 1 to {NAME_CHARS_MAX} characters long"
    if not name.isprintable():
        return "must have printable characters only"
    if name[0] == " " or name[-1] == " " or name in (".", ".."):
        return "must neither begin nor end with a space, nor be one or two points"
    if not name.isascii() and not unicodedata.is_normalized("NFC", name):
        return "must be in Unicode's composed form (NFC)"
    return None


def key_fault(key: str) -> str | None:
    """What is wrong with an idempotency key, None if nothing is."""
    if type(key) is not str:
        return "must be a text"
    if not key or len(key) > KEY_CHARS_MAX:
        return f"must be 1 to {KEY_CHARS_MAX} characters long"
    if not (key.isascii() and key.isprintable()):
        return "must have printable ASCII characters only"
    return None


def row_fault(ident: str) -> str | None:
    """What is wrong with the id of a row that names an organization, None if nothing is."""
    if not ident or len(ident) > ROW_CHARS_MAX:
        return f"must be 1 to {ROW_CHARS_MAX} characters long"
    return None if ident.isprintable() else "must have printable characters only"


def text_fault(text: str) -> str | None:
    """What is wrong with a line of free text, None if nothing is."""
    if len(text) > TEXT_CHARS_MAX:
        return f"must be at most {TEXT_CHARS_MAX} characters long"
    if not text.isprintable() and not text.replace("\n", "").replace("\t", "").isprintable():
        return "must have printable characters only"
    return None


def own_words(text: str, chars_max: int) -> str:
    """Somebody's own words, cut to `chars_max`, without characters that no page could show and no store could keep."""
    return "".join(char for char in text[:chars_max] if char.isprintable() or char in "\n\t")
