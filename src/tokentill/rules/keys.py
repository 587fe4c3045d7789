"""Keys: the text of a secret that opens the till, made, read and checked without asking the store.

    tt_op_<id>_<secret>_<checksum>

`op` is the kind: an operator's key; `sk` is a customer's, which opens the endpoint for model calls. The id (8 to
32 lower-case letters and digits) finds the key in the store; the secret is 256 random bits as 43 URL-safe
characters; the checksum (8 hex digits over everything before it) tells a mistyped or cut key from a wrong one
without a look-up, and lets scanners of secrets recognise a leaked one for certain.

The store keeps the SHA-256 of the secret, never the secret: with 256 random bits there is nothing to guess,
so a slow hash would only cost time on every request. Digests are compared in constant time.

What it does not decide: whether a key exists, is revoked, or what it may do.

Requirement ids: R-SALE-8.
"""

from __future__ import annotations

import hmac
import re
from hashlib import blake2b, sha256
from typing import Literal, cast

from msgspec import Struct

Kind = Literal["op", "sk"]

SECRET_CHARS = 43
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
"""What a secret is written with."""
ID_CHARS_MAX = 32

_KEY = re.compile(r"tt_(op|sk)_([0-9a-z]{8,32})_([A-Za-z0-9_-]{43})_([0-9a-f]{8})")
_SECRETIVE = re.compile(r"(tt_[a-z]{2}_[0-9a-z]{8,32})_[A-Za-z0-9_-]{8,}")


class Key(Struct, frozen=True):
    """A key taken apart. Its representation never shows the secret."""

    kind: Kind
    id: str
    secret: str

    def __repr__(self) -> str:  # type: ignore[explicit-override]  # typing has the decorator from 3.12 on only
        return f"Key(kind={self.kind!r}, id={self.id!r})"


def write(key: Key) -> str:
    """The text of a key, to be shown once to whoever will use it."""
    text = f"tt_{key.kind}_{key.id}_{key.secret}"
    text = f"{text}_{_checksum(text)}"
    assert _KEY.fullmatch(text), "a key's id is 8 to 32 of 0-9a-z and its secret 43 URL-safe characters"
    return text


def read(text: str) -> Key | None:
    """The key of a text; None if it is none or its checksum does not fit."""
    match = _KEY.fullmatch(text)
    if match is None or _checksum(text[:-9]) != match[4]:
        return None
    return Key(cast("Kind", match[1]), match[2], match[3])


def digest(secret: str) -> bytes:
    """What the store keeps of a secret: its SHA-256."""
    return sha256(secret.encode()).digest()


def matches(secret: str, stored: bytes) -> bool:
    """Whether `secret` is the one whose digest is `stored`, in constant time."""
    return same(digest(secret), stored)


def same(presented: bytes, stored: bytes) -> bool:
    """Whether two digests are the same, in constant time."""
    return hmac.compare_digest(presented, stored)


def redact(text: str) -> str:
    """The text with the secret part of everything that looks like a key taken out; ids stay."""
    return _SECRETIVE.sub(r"\1_…", text)


def _checksum(text: str) -> str:
    return blake2b(text.encode(), digest_size=4, person=b"tokentill sum").hexdigest()
