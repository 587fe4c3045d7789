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
from typing import Literal, TypeAlias, TypeVar

import asyncpg

from tokentill.ports import StoreDown

T = TypeVar("T")
Role = Literal["tokentill_app", "tokentill_audit"]
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

ROLES: tuple[Role, ...] = ("tokentill_app", "tokentill_audit")
CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 15.0
"""After so long without an answer a connection counts as lost; the server's own limits are shorter."""
READERS_MAX = 4

_SETTINGS = {
    "client_min_messages": "warning",
    "timezone": "UTC",
    # Statements keep their plan however old the statistics are: each is planned anew for what it is given,
    # and all but the audit's find their rows by an index.
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
    if role == "tokentill_app":
        settings |= _BY_INDEX
    if patient:
        settings |= _UNLIMITED
    try:
        return await asyncpg.connect(
            url,
            timeout=CONNECT_SECONDS,
            command_timeout=None if patient else ANSWER_SECONDS,
            server_settings=settings,
        )
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as trouble:
        raise StoreDown(f"PostgreSQL cannot be reached: {describe(trouble)}") from trouble


def describe(trouble: BaseException) -> str:
    """What went wrong, in a line that is never empty."""
    return f"{type(trouble).__name__}: {trouble}" if str(trouble) else type(trouble).__name__


class Pool:
    """A few connections of one role, each used for one short transaction at a time."""

    def __init__(self, url: str, role: Role) -> None:
        self._url = url
        self._role = role
        self._free = asyncio.Semaphore(READERS_MAX)
        self._idle: list[Connection] = []
        self._closed = False

    async def read(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """What `work` reads in a transaction. A connection that had died is replaced, once."""
        async with self._free:
            if self._idle:
                connection = self._idle.pop()
                try:
                    return await self._run(connection, work, "begin read only")
                except Exception as trouble:
                    if not lost(trouble):
                        raise
                    # They probably died together.
                    for idle in self._idle:
                        idle.terminate()
                    self._idle.clear()
            return await self._last(work, "begin read only")

    async def write(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """What `work` does in a transaction. On `StoreDown` it may have been stored; `work` must bear repeating."""
        async with self._free:
            return await self._last(work, "begin")

    async def _last(self, work: Callable[[Connection], Awaitable[T]], begin: str) -> T:
        connection = self._idle.pop() if self._idle else await connect(self._url, self._role)
        try:
            return await self._run(connection, work, begin)
        except Exception as trouble:
            if not lost(trouble):
                raise
            raise StoreDown(f"PostgreSQL did not answer: {describe(trouble)}") from trouble

    async def _run(self, connection: Connection, work: Callable[[Connection], Awaitable[T]], begin: str) -> T:
        try:
            await connection.execute(begin)
            outcome = await work(connection)
            await connection.execute("commit")
        except BaseException:
            connection.terminate()
            raise
        if self._closed:
            connection.terminate()
        else:
            self._idle.append(connection)
        return outcome

    async def close(self) -> None:
        """Let the connections go; one that is in use goes when it is done."""
        self._closed = True
        while self._idle:
            await self._idle.pop().close()
