"""The hash chain: tampering with the journal is detectable offline (R-LED-5).

Each entry's link is keyed BLAKE2b over the link before it and the entry's canonical bytes. The first link
stands on the organization's name, so an entry cannot be moved to another account. Links have a fixed
length, so link and bytes cannot run into each other. Without the key nobody can recompute a chain; a
truncated tail shows against a head kept elsewhere.

Requirement ids: R-LED-5.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b

LINK_BYTES = 16
KEY_BYTES = 32


def root(key: bytes, organization: str) -> bytes:
    """The link before the first entry of `organization`. `key` is 32 secret bytes."""
    return blake2b(organization.encode(), digest_size=LINK_BYTES, key=key, person=b"tokentill root").digest()


def linker(key: bytes) -> Callable[[bytes, bytes], bytes]:
    """What makes the link of an entry from the link before it and its canonical bytes.

    For many entries: to copy the state under a key is cheaper than to take the key in again for each.
    """
    copy = blake2b(digest_size=LINK_BYTES, key=key).copy

    def link(before: bytes, body: bytes) -> bytes:
        state = copy()
        state.update(before + body)
        return state.digest()

    return link


def link(key: bytes, before: bytes, body: bytes) -> bytes:
    """The link of the entry whose canonical bytes are `body`, after the link `before`."""
    return linker(key)(before, body)


def pseudonym(key: bytes, organization: str, user: str) -> str:
    """The opaque id under which the journal knows a user (16 characters); keyed, so it cannot be guessed back."""
    text = f"{len(organization)}:{organization}{user}"
    return blake2b(text.encode(), digest_size=8, key=key, person=b"tokentill user").hexdigest()


def operation_id(key: bytes, text: str) -> str:
    """The 32 hex digits of an operation named by any text; a UUID keeps its own digits (R-LED-9)."""
    digits = text.replace("-", "").lower() if len(text) in (32, 36) else ""
    if is_operation(digits):
        return digits
    return blake2b(text.encode(), digest_size=16, key=key, person=b"tokentill key").hexdigest()


def is_operation(text: str) -> bool:
    """Whether `text` is an operation's id: 32 hex digits in small letters."""
    try:
        return len(text) == 32 and bytes.fromhex(text).hex() == text
    except ValueError:
        return False


def fingerprint(body: bytes) -> str:
    """Sixteen hex digits of a command's canonical bytes, to notice a key reused with another body (R-LED-9)."""
    return blake2b(body, digest_size=8).hexdigest()
