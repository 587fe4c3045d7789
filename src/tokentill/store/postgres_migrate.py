"""Migrations on PostgreSQL: roles, schema and secret, as the login role, under a lock.

The roles belong to the whole server, so other databases may be making them at the same moment. The login role
may become each of them and has the rights of neither until it does: a connection that forgot to is bound by the
policies like any other, and sees nothing.

Requirement ids: R-PLAT-2, R-PLAT-5.
"""

from __future__ import annotations

import asyncpg
import structlog

from tokentill.ports import StoreDown
from tokentill.store import faults
from tokentill.store.migrations import check_secret, pending
from tokentill.store.postgres_connection import ROLES, Connection, connect, describe
from tokentill.store.statements import statements

SQL = statements("postgres")
POSTGRES_MIN = 15
"""Views that respect row-level security begin here."""
GRANTS_APART = 16
"""From here on a grant says by itself whether its rights are inherited; before, only the login role does."""
ROLE_TRIES = 20

log = structlog.get_logger("tokentill.migrate")


async def migrate(url: str, secret: bytes) -> int:
    """Bring the schema up to date; the shift of this server's transaction ids in the journal.

    Raises `StoreDown` if the server is too old, the login role may too little, or the secret is another one.
    """
    connection = await connect(url, None, patient=True)
    try:
        version = connection.get_server_version().major
        if version < POSTGRES_MIN:
            raise StoreDown(f"PostgreSQL {version} is too old; {POSTGRES_MIN} or newer is needed.")
        await _provide_roles(connection, version)
        return await _migrate(connection, secret)
    except asyncpg.InsufficientPrivilegeError as trouble:
        raise StoreDown(
            f"The login role may not make the tables: {trouble}. Let it own the database or the schema."
        ) from trouble
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as trouble:
        raise StoreDown(f"The database could not be prepared: {describe(trouble)}") from trouble
    finally:
        connection.terminate()


async def _provide_roles(connection: Connection, version: int) -> None:
    how = " with inherit false, set true" if version >= GRANTS_APART else ""
    for role in ROLES:
        for tried in range(ROLE_TRIES):
            try:
                if await connection.fetchval(SQL["missing_role"], role):
                    await connection.execute(f"create role {role} nologin")
                if not await connection.fetchval(SQL["can_set_role"], role):
                    await connection.execute(f"grant {role} to current_user{how}")
                break
            except (asyncpg.DuplicateObjectError, asyncpg.UniqueViolationError, asyncpg.InternalServerError):
                # Another database of this server was at it; an internal error is how two grants collide.
                if tried == ROLE_TRIES - 1:
                    raise
            except asyncpg.InsufficientPrivilegeError as trouble:
                raise StoreDown(
                    f"The login role may not provide the role {role}. Let it (`alter role … createrole`), or "
                    f"have an administrator run, once: create role {' nologin; create role '.join(ROLES)} "
                    f"nologin; grant {', '.join(ROLES)} to your login role{how}."
                ) from trouble
    for role in ROLES:
        if await connection.fetchval(SQL["inherits_role"], role):
            _warn(role, await connection.fetchval("select quote_ident(session_user)"), version)


def _warn(role: str, login: str, version: int) -> None:
    """Say that the database is less strict than it could be, and what mends it."""
    mend = (
        f"revoke inherit option for {role} from {login}"
        if version >= GRANTS_APART
        # The owner of a database may make tables in it by inheriting a role, too.
        else f"grant create on schema public to {login}; alter role {login} noinherit"
    )
    log.warning(
        "the login role inherits the rights of a role that it should only be able to become",
        role=role,
        mend=f"as an administrator: {mend}",
    )


async def _migrate(connection: Connection, secret: bytes) -> int:
    async with connection.transaction():
        await connection.execute(SQL["migration_lock"])
        faults.hit("open.locked")
        done = 0
        if await connection.fetchval(SQL["has_meta"]):
            done = int(await connection.fetchval(SQL["meta"], "schema"))
        for migration in pending("postgres", done):
            await connection.execute(migration.sql)
            await connection.execute(SQL["set_meta"], "schema", str(migration.number))
        known = await connection.fetchval(SQL["meta"], "secret")
        mark = check_secret(secret, known)
        if known is None:
            await connection.execute(SQL["set_meta"], "secret", mark)
        shift = await _shift(connection)
        faults.hit("open.migrated")
    faults.hit("open.committed")
    return shift


async def _shift(connection: Connection) -> int:
    """What is added to transaction ids, so that cursors go on after a dump was restored on another server.

    Its transactions may be numbered below those that wrote the journal; then they are moved above.
    """
    shift = int(await connection.fetchval(SQL["meta"], "xid_shift") or 0)
    await connection.execute("set local role tokentill_audit")
    newest: int | None = await connection.fetchval(SQL["newest_xid"])
    following: int = await connection.fetchval(SQL["next_xid"])
    await connection.execute("reset role")
    if newest is None or newest < following + shift:
        return shift
    shift = newest + 1
    await connection.execute(
        f"alter table entry alter column xid set default (pg_current_xact_id()::text::bigint + {shift:d})"
    )
    await connection.execute(SQL["set_meta"], "xid_shift", str(shift))
    return shift
