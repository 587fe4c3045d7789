"""Migrations: numbered plain SQL files for each engine, applied once each, in order, each in a transaction."""

from __future__ import annotations

from hashlib import blake2b
from importlib.resources import files

from msgspec import Struct

from tokentill.ports import StoreDown


class Migration(Struct, frozen=True):
    """One file: its number, its name and its SQL."""

    number: int
    name: str
    sql: str


def migrations(engine: str) -> tuple[Migration, ...]:
    """The migrations of `engine` (sqlite or postgres) in order. Raises ValueError on a gap in the numbers."""
    folder = files("tokentill.store.migrations").joinpath(engine)
    found = sorted(
        (
            Migration(int(file.name[:4]), file.name, file.read_text(encoding="utf-8"))
            for file in folder.iterdir()
            if file.name.endswith(".sql")
        ),
        key=lambda migration: migration.number,
    )
    if [migration.number for migration in found] != list(range(1, len(found) + 1)):
        raise ValueError(f"the migrations of {engine} are not numbered 1, 2, 3 …")
    return tuple(found)


def pending(engine: str, done: int) -> tuple[Migration, ...]:
    """The migrations after number `done`. Raises `StoreDown` if the database is ahead of this program."""
    known = migrations(engine)
    if done > len(known):
        raise StoreDown(
            f"The database's schema is number {done}, and this tokentill knows {len(known)}: the database was "
            "opened by a newer one. Use that, or a backup from before."
        )
    return known[done:]


def check_secret(secret: bytes, known: str | None) -> str:
    """The mark by which a database knows its secret. Raises `StoreDown` if it is not the `known` one."""
    mark = blake2b(b"tokentill secret", key=secret[:32], digest_size=16).hexdigest()
    if known is not None and known != mark:
        raise StoreDown(
            "The secret is not the one this database was begun with, so its journal could not be "
            "verified. Give the first secret again (TOKENTILL_SECRET or the key file beside the database)."
        )
    return mark
