"""What a SQLite lane stores outside the accounts, such as rows and operator keys.

Requirement ids: R-PLAT-5, R-PACK-3.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import apsw

from tokentill.ports import StoreDown
from tokentill.store import faults
from tokentill.store.sqlite_connection import DOWN
from tokentill.store.statements import statements
from tokentill.store.turnstile import NoTurnstile, Turnstile

SQL = statements("sqlite")


class Call:
    """Something else to be written, outside the accounts: `work` is stored whole or not at all, whatever else is."""

    __slots__ = ("future", "outcome", "trouble", "work")

    def __init__(self, work: Callable[[apsw.Connection], Any], future: asyncio.Future[Any]) -> None:
        self.work = work
        self.future = future
        self.outcome: Any = None
        self.trouble: BaseException | None = None


def store(connection: apsw.Connection, turnstile: Turnstile | NoTurnstile, calls: Sequence[Call]) -> None:
    """One transaction for all of them, then tell the callers; one that fails by its own fault fails alone."""
    try:
        with turnstile:
            connection.execute(SQL["begin"])
            faults.hit("call.begun")
            for call in calls:
                _work_off(connection, call)
            faults.hit("call.worked")
            connection.execute(SQL["commit"])
            faults.hit("call.committed")
        faults.hit("call.unlocked")
    except Exception as error:  # noqa: BLE001 it is handed to the callers
        if connection.in_transaction:
            connection.execute(SQL["rollback"])
        down = isinstance(error, DOWN)
        for call in calls:
            call.trouble = StoreDown(f"The database did not take it: {error}") if down else error
    by_loop: dict[asyncio.AbstractEventLoop, list[Call]] = {}
    for call in calls:
        by_loop.setdefault(call.future.get_loop(), []).append(call)
    for loop, some in by_loop.items():
        with suppress(RuntimeError):  # a loop that has ended has nobody left to be told
            loop.call_soon_threadsafe(_tell, some)


def _work_off(connection: apsw.Connection, call: Call) -> None:
    connection.execute(SQL["savepoint"])
    try:
        call.outcome = call.work(connection)
    except DOWN:
        raise
    except Exception as error:  # noqa: BLE001 it is handed to the caller
        call.trouble = error
        connection.execute(SQL["undo"])
    connection.execute(SQL["release"])


def _tell(calls: Sequence[Call]) -> None:
    for call in calls:
        if call.future.done():
            continue
        if call.trouble is None:
            call.future.set_result(call.outcome)
        else:
            call.future.set_exception(call.trouble)
