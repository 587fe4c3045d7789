"""Connections to SQLite, set up alike, and the schema brought up to date.

Durability: WAL with synchronous=FULL, so what was answered survives a power cut. SQLite 3.51.3 or newer is
required: older ones can corrupt a WAL file with several connections.

The journal's triggers are for statements by hand. On our own connections they are off, because the one that
looks for what an insert would replace makes it a fifth dearer (13.5 instead of 11.3 µs of processor time for an
entry); there no statement that changes or deletes an entry can be prepared at all.

Requirement ids: R-PLAT-5, R-LED-5.
"""

from __future__ import annotations

import os

import apsw

from tokentill.ports import StoreDown
from tokentill.store import faults
from tokentill.store.migrations import check_secret, pending
from tokentill.store.statements import statements

SQL = statements("sqlite")
SQLITE_MIN = (3, 51, 3)
WAL_PAGES = 8_000
"""How many pages the write-ahead log grows to (32 MB) before it is copied into the database.

A page that many batches write is then copied once: with a million accounts, a fifth more commands than at
SQLite's own 1,000 pages.
"""

CACHE_KB = 8_192
"""Pages that a connection keeps. Eight times as much made no command faster with ten million entries in place."""

DOWN = (
    apsw.BusyError,
    apsw.LockedError,
    apsw.FullError,
    apsw.IOError,
    apsw.ReadOnlyError,
    apsw.CantOpenError,
    apsw.CorruptError,
    apsw.NotADBError,
)
"""Trouble of the database, not of a command; recognised by code."""


def check_version(version: str) -> None:
    """Raise `StoreDown` if this version of SQLite is too old: it could damage a file that several connections use."""
    if tuple(int(part) for part in version.split(".")) < SQLITE_MIN:
        needed = ".".join(map(str, SQLITE_MIN))
        raise StoreDown(f"SQLite {version} is too old; {needed} or newer is needed. Install a newer apsw.")


def connect(path: str, vfs: str | None = None) -> apsw.Connection:
    """A connection set up as every one of ours is. Raises `StoreDown` if SQLite is too old.

    `vfs` names the layer below SQLite's files, None for the operating system's own.
    """
    check_version(apsw.sqlite_lib_version())
    if vfs is None and path != ":memory:":
        keep_private(path)
    try:
        connection = apsw.Connection(path, vfs=vfs, statementcachesize=1024)
        connection.set_busy_timeout(10_000)
        connection.pragma("journal_mode", "wal")
        connection.pragma("synchronous", "full")
        connection.pragma("cache_size", -CACHE_KB)
        connection.wal_autocheckpoint(WAL_PAGES)
        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, 0)
        connection.authorizer = _only_append
    except DOWN as trouble:
        raise StoreDown(f"{path} cannot be opened: {trouble}") from trouble
    return connection


def _only_append(operation: int, table: str | None, *_rest: str | None) -> int:
    """SQLite asks this when it prepares a statement, so a statement that is used again costs nothing."""
    changes = operation in (apsw.SQLITE_UPDATE, apsw.SQLITE_DELETE) and table == "entry"
    return apsw.SQLITE_DENY if changes else apsw.SQLITE_OK


def keep_private(path: str) -> None:
    """Make a new database file readable by its owner alone; SQLite gives its other files the same rights."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        return
    except OSError as trouble:
        raise StoreDown(f"{path} cannot be opened: {trouble}") from trouble


def _version(connection: apsw.Connection) -> int:
    """The number of the last migration that was done. Raises `StoreDown` where there are tables, but no till's."""
    done: int = connection.pragma("user_version")
    if done == 0 and connection.execute(SQL["tables"]).get:
        raise StoreDown("The file is the database of another program. Name one of its own for the till.")
    return done


def migrate(connection: apsw.Connection, secret: bytes) -> None:
    """Bring the schema up to date and make sure the secret is the one this journal was begun with.

    Raises `StoreDown`. If it raises, the connection is closed.
    """
    try:
        connection.authorizer = None  # a migration may change the table itself
        connection.execute(SQL["begin"])
        faults.hit("open.locked")
        for migration in pending("sqlite", _version(connection)):
            connection.execute(migration.sql)
            connection.pragma("user_version", migration.number)
        known = connection.execute(SQL["meta"], ("secret",)).get
        mark = check_secret(secret, known)
        if known is None:
            connection.execute(SQL["set_meta"], ("secret", mark))
        faults.hit("open.migrated")
        connection.execute(SQL["commit"])
        connection.authorizer = _only_append
        faults.hit("open.committed")
    except BaseException as trouble:
        connection.close()
        if isinstance(trouble, DOWN):
            raise StoreDown(f"The database cannot be brought up to date: {trouble}.") from trouble
        raise
