"""Connections to PostgreSQL: the role each one acts as, its limits, and what its troubles mean.

Three roles. The login role of the URL owns the tables and is used for migrations alone. `tokentill_app`
writes accounts and reads one organization at a time, under row-level security. `tokentill_audit` reads
everything and writes nothing: verify, cursors, the sweeper's list. Settings that name organizations are
local to a transaction, so a connection that is used again has forgotten them.

Requirement ids: R-PLAT-2, R-PLAT-5.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Literal, TypeAlias, TypeVar

import asyncpg

from tokentill.ports import StoreDown
from tokentill.store import faults

T = TypeVar("T")
Role = Literal["tokentill_app", "tokentill_audit"]
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

ROLES: tuple[Role, ...] = ("tokentill_app", "tokentill_audit")
CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 15.0
"""After so long without an answer a connection counts as lost; the server's own limits are shorter."""
READERS_MAX = 4
READ_TRIES = 3

_SETTINGS = {
    "client_min_messages": "warning",
    "timezone": "UTC",
    # Each statement is planned anew for what it is given: a plan made for an empty table and kept took 60 times
    # as long on a full one.
    "plan_cache_mode": "force_custom_plan",
    "jit": "off",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    # A process that froze while it held locks must not keep others out for longer than they wait.
    "lock_timeout": "6000",
    "statement_timeout": "8000",
    "idle_in_transaction_session_timeout": "5000",
}
# However old the statistics are, rows are found by an index.
_BY_INDEX = {"enable_seqscan": "off", "enable_hashjoin": "off", "enable_mergejoin": "off"}
_UNLIMITED = {"statement_timeout": "0", "idle_in_transaction_session_timeout": "60000"}

_AGAIN = frozenset({"40001", "40P01"})
"""Serialization failure and deadlock: the transaction is over, trying it again can succeed."""
_DOWN_CLASSES = frozenset({"08", "53", "57", "58"})
"""Connection lost, out of disk or connections, shut down or cancelled, system error."""
_DOWN = frozenset({"25006", "25P03", "25P04", "55P03"})
"""A standby, a transaction or a lock that took too long."""


def lost(trouble: BaseException) -> bool:
    """Whether this is trouble of the database and not of a command; recognised by code, never by message."""
    if isinstance(trouble, asyncpg.PostgresError):
        state = trouble.sqlstate or ""
        return state in _DOWN or state in _AGAIN or state[:2] in _DOWN_CLASSES
    if isinstance(trouble, asyncpg.InterfaceError):
        return not isinstance(trouble, asyncpg.DataError)
    return isinstance(trouble, OSError | TimeoutError | asyncpg.InternalClientError)


async def connect(url: str, role: Role | None, *, patient: bool = False) -> Connection:
    """A connection that acts as `role`, None for the login role. `patient` ones may take their time.

    Raises `StoreDown` if there is none to be had.
    """
    settings = dict(_SETTINGS)
    if role is not None:
        settings["role"] = role
        settings["application_name"] = role.replace("_", " ")
    settings |= _UNLIMITED if patient else _BY_INDEX
    try:
        connection = await asyncpg.connect(
            url,
            timeout=CONNECT_SECONDS,
            command_timeout=None if patient else ANSWER_SECONDS,
            server_settings=settings,
        )
        if role is not None:
            await _make_sure(connection, role)
    except (
        asyncpg.PostgresError,
        asyncpg.InterfaceError,
        asyncpg.InternalClientError,
        OSError,
        TimeoutError,
    ) as trouble:
        raise StoreDown(f"PostgreSQL cannot be reached: {describe(trouble)}") from trouble
    return connection


async def part(connection: Connection) -> None:
    """Close a connection, which may be broken without anybody having noticed."""
    try:
        await connection.close(timeout=CONNECT_SECONDS)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        connection.terminate()


async def _make_sure(connection: Connection, role: Role) -> None:
    """The connection acts as it was asked to, and what is answered on it survives a crash.

    A server may ask for more than `synchronous_commit = on`, never for less.
    """
    try:
        acts = await connection.fetchval("select current_user")
        if await connection.fetchval("show synchronous_commit") not in ("on", "remote_apply"):
            await connection.execute("set synchronous_commit = on")
    except BaseException:
        connection.terminate()
        raise
    if acts != role:
        connection.terminate()
        raise StoreDown(
            f"A connection acts as {acts} and not as {role}: something between the till and PostgreSQL, such "
            "as a pooler, drops what a session asks for. Let the till connect to PostgreSQL itself."
        )


def describe(trouble: BaseException) -> str:
    """What went wrong, in a line that is never empty."""
    return f"{type(trouble).__name__}: {trouble}" if str(trouble) else type(trouble).__name__


class _LostOnTheWay(StoreDown):
    """The connection was there and broke."""


class Pool:
    """A few connections of one role, each used for one short transaction at a time."""

    def __init__(self, url: str, role: Role) -> None:
        self._url = url
        self._role = role
        self._free = asyncio.Semaphore(READERS_MAX)
        self._idle: list[Connection] = []
        self._closed = False

    async def read(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """What `work` reads in a transaction; again on another connection where one was lost on the way."""
        for _ in range(READ_TRIES - 1):
            with suppress(_LostOnTheWay):
                return await self._run(work, "begin read only")
        return await self._run(work, "begin read only")

    async def look(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """What `work` reads in a single statement; again on another connection as above."""
        for _ in range(READ_TRIES - 1):
            with suppress(_LostOnTheWay):
                return await self._run(work, None)
        return await self._run(work, None)

    async def write(self, work: Callable[[Connection], Awaitable[T]], *, single: bool = False) -> T:
        """What `work` does in a transaction; `single`: in statements that are one each, which spares two answers.

        On `StoreDown` it may have been stored; `work` must bear repeating.
        """

        async def write(connection: Connection) -> T:
            faults.hit("call.begun")
            outcome = await work(connection)
            faults.hit("call.worked")
            return outcome

        outcome = await self._run(write, None if single else "begin")
        faults.hit("call.committed")
        return outcome

    async def _run(self, work: Callable[[Connection], Awaitable[T]], begin: str | None) -> T:
        async with self._free:
            connection = await self._begun(begin)
            try:
                outcome = await work(connection)
                if begin is not None:
                    await connection.execute("commit")
            except BaseException as trouble:
                connection.terminate()
                if lost(trouble):
                    raise _LostOnTheWay(f"PostgreSQL did not answer: {describe(trouble)}") from trouble
                raise
            if self._closed:
                connection.terminate()
            else:
                self._idle.append(connection)
            return outcome

    async def _begun(self, begin: str | None) -> Connection:
        """A connection, in a transaction if it is to begin one. One that died while it was idle is replaced."""
        if self._closed:
            raise StoreDown("The store is closing. Send it again in a moment.")
        while self._idle:
            connection = self._idle.pop()
            if connection.is_closed():
                continue
            try:
                if begin is not None:
                    await connection.execute(begin)
            except BaseException as trouble:
                connection.terminate()
                if not lost(trouble):
                    raise
            else:
                return connection
        connection = await connect(self._url, self._role)
        try:
            if begin is not None:
                await connection.execute(begin)
        except BaseException as trouble:
            connection.terminate()
            if lost(trouble):
                raise _LostOnTheWay(f"PostgreSQL did not answer: {describe(trouble)}") from trouble
            raise
        return connection

    async def close(self) -> None:
        """Let the connections go; one that is in use goes when it is done."""
        self._closed = True
        while self._idle:
            await part(self._idle.pop())
