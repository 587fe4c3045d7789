"""Sealing: AES-256-GCM for the few secrets that the till must be able to read again.

Each purpose has a key of its own, derived from the till's secret; each seal a fresh random nonce. What a seal is
about (the id of its row) is authenticated with it, so a sealed text cannot be moved to another row.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from functools import cached_property
from hashlib import blake2b
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

NONCE_BYTES = 12


class AesSeal:
    """The `Seal` port. `random` gives random bytes; `purpose` has at most 16 characters."""

    def __init__(self, secret: bytes, purpose: str, random: Callable[[int], bytes]) -> None:
        self._key = blake2b(secret, digest_size=32, person=purpose.encode()).digest()
        self._random = random

    @cached_property
    def _cipher(self) -> AESGCM:
        # What few tills need when they start, and takes 7 MB.
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 see above

        return AESGCM(self._key)

    def close(self, plain: str, about: str) -> str:
        """The text sealed."""
        nonce = self._random(NONCE_BYTES)
        data = nonce + self._cipher.encrypt(nonce, plain.encode(), about.encode())
        return base64.urlsafe_b64encode(data).decode()

    def open(self, sealed: str, about: str) -> str:
        """The text again. Raises `ValueError` where it is none of this till's, or was changed."""
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415 as above

        try:
            data = base64.urlsafe_b64decode(sealed.encode())
            return self._cipher.decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], about.encode()).decode()
        except (InvalidTag, binascii.Error, ValueError) as trouble:
            raise ValueError("this text was not sealed here, or was changed") from trouble
