"""Heads in a file: where every journal ended, kept outside the database for a later `verify` (R-LED-5).

JSON lines: first how many accounts there are and the digest that seals them, then one line for each account.
Without the till's secret nobody can change the file so that it still fits its seal.

Requirement ids: R-LED-5.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
from msgspec import Struct

from tokentill.ports import Head, Heads


class _First(Struct, frozen=True, forbid_unknown_fields=True):
    """The first line."""

    accounts: int
    head: str


_encode = msgspec.json.Encoder().encode
_first = msgspec.json.Decoder(_First).decode
_account = msgspec.json.Decoder(Head).decode


def read(path: Path) -> Heads | None:
    """The heads of a file, None if there is no file. Raises ValueError if it cannot be read or is not whole."""
    try:
        lines = path.read_bytes().splitlines()
        first = _first(lines[0] if lines else b"")
        accounts = tuple(_account(line) for line in lines[1:])
    except FileNotFoundError:
        return None
    except OSError as trouble:
        raise ValueError(f"{path} cannot be read: {trouble.strerror}.") from trouble
    except msgspec.DecodeError as trouble:
        raise ValueError(f"{path} is no file of heads, or it was damaged: {trouble}.") from trouble
    if len(accounts) != first.accounts:
        raise ValueError(f"{path} names {len(accounts)} accounts where it says {first.accounts}.")
    return Heads(first.head, accounts)


def write(path: Path, heads: Heads) -> None:
    """Put the heads in the place of what the file held, whole or not at all. Raises ValueError if that fails."""
    lines = [_encode(_First(len(heads.accounts), heads.head)), *map(_encode, heads.accounts)]
    draft = path.with_name(path.name + ".new")
    try:
        with draft.open("wb") as file:
            file.write(b"\n".join(lines) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as trouble:
        raise ValueError(f"{path} cannot be written: {trouble.strerror}.") from trouble
