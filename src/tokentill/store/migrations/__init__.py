"""Migrations: numbered plain SQL files for each engine, applied once each, in order, each in a transaction."""

from __future__ import annotations

from importlib.resources import files

from msgspec import Struct


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
