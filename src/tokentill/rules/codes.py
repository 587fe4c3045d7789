"""Redemption codes: how they are made, read back from what people type, and kept.

A code is 75 bits of chance as fifteen characters of Crockford's alphabet and one that checks them, in four groups:
`7ZQK-3M0V-9XHD-PW2C`. The alphabet has no I, L, O and U; O is read as 0, I and L as 1, in any case, with or
without dashes and spaces. The last character is a weighted sum in the field of 32 elements, so that any one
wrong character and any two exchanged ones are noticed before anybody is asked.

The till keeps no code, only its digest under a secret of its own, which is the id of its row, and the last group
to tell it by. Whoever reads the database can redeem nothing.

Requirement ids: R-PACK-8.
"""

from __future__ import annotations

from hashlib import blake2b

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
BYTES = 10
"""Bytes of chance that a code is made of; five bits of them are left over."""

_LENGTH = 16
_GROUP = 4
_BITS = 5
_READ = {character: value for value, character in enumerate(ALPHABET)} | {"O": 0, "I": 1, "L": 1}
_FIELD = 0b100101
"""x^5 + x^2 + 1, by which the field of 32 elements is made."""


def make(chance: bytes) -> str:
    """The code of `BYTES` random bytes, as it is handed out."""
    assert len(chance) == BYTES
    number = int.from_bytes(chance) >> (BYTES * 8 - (_LENGTH - 1) * _BITS)
    values = [number >> (_BITS * place) & 31 for place in range(_LENGTH - 1)]
    plain = "".join(ALPHABET[value] for value in [*values, _check(values)])
    return "-".join(plain[at : at + _GROUP] for at in range(0, _LENGTH, _GROUP))


def read(typed: str) -> str | None:
    """The code that was typed, in capitals without dashes; None if it cannot be one."""
    values = [_READ.get(character, -1) for character in typed.upper() if character not in "- \t"]
    if len(values) != _LENGTH or -1 in values or _check(values[:-1]) != values[-1]:
        return None
    return "".join(ALPHABET[value] for value in values)


def digest(key: bytes, code: str) -> str:
    """The id (32 hex digits) under which a code that was `read` is kept; `key` is the till's own."""
    return blake2b(code.encode(), digest_size=16, key=key, person=b"redemption code").hexdigest()


def tail(code: str) -> str:
    """The last group of a code, by which people tell it from others."""
    return code[-_GROUP:]


def _check(values: list[int]) -> int:
    """The character that makes the weighted sum of all, itself with weight one, come to zero."""
    found, weight = 0, 2
    for value in values:
        found ^= _times(value, weight)
        weight = _times(weight, 2)
    return found


def _times(a: int, b: int) -> int:
    """The product of two elements of the field."""
    found = 0
    while b:
        if b & 1:
            found ^= a
        a <<= 1
        if a & 32:
            a ^= _FIELD
        b >>= 1
    return found
