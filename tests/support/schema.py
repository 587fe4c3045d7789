"""A database's schema as text, as the engine itself knows it, to be compared with the one that was committed.

`python -m tests.support.schema` writes the committed ones anew, once a migration was added.
"""

import asyncio
import tempfile
from pathlib import Path

import apsw
import asyncpg

from tests.support import postgres, run
from tokentill.store.postgres_migrate import migrate as migrate_postgres
from tokentill.store.sqlite_connection import connect, migrate

FOLDER = Path(__file__).parents[1] / "store"
SECRET = b"only a schema is wanted, 32 byte"

_POSTGRES = """
with own as (select oid, relname, relkind, relacl, reloptions, relrowsecurity, relforcerowsecurity
             from pg_class where relnamespace = 'public'::regnamespace)
select format('table %s%s%s%s', relname, ' ' || reloptions::text,
              case when relrowsecurity then ' row-level' end, case when relforcerowsecurity then ' forced' end) as line
from own where relkind = 'r'
union all
select format('column %s.%s %s%s%s%s', relname, attname, format_type(atttypid, atttypmod),
              case when attnotnull and relkind = 'r' then ' not null' end,
              case when attcollation not in (0, 100) then ' collate ' || attcollation::regcollation::text end,
              ' default ' || pg_get_expr(adbin, adrelid))
from own join pg_attribute on attrelid = own.oid and attnum > 0 and not attisdropped
left join pg_attrdef on adrelid = attrelid and adnum = attnum
where relkind in ('r', 'v')
union all
select format('constraint %s.%s %s', relname, conname, pg_get_constraintdef(pg_constraint.oid))
from own join pg_constraint on conrelid = own.oid where contype <> 'n'
union all
select pg_get_indexdef(indexrelid) from own join pg_index on indrelid = own.oid
union all
select pg_get_triggerdef(pg_trigger.oid) from own join pg_trigger on tgrelid = own.oid where not tgisinternal
union all
select format('policy %s on %s %s to %s using (%s) check (%s)', polname, relname, polcmd, polroles::regrole[],
              pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid))
from own join pg_policy on polrelid = own.oid
union all
select format('sequence %s increment %s', relname, seqincrement) from own join pg_sequence on seqrelid = own.oid
union all
select format('view %s %s %s', relname, reloptions, pg_get_viewdef(oid)) from own where relkind = 'v'
union all
select format('grant %s on %s to %s', privilege_type, relname, grantee::regrole)
from own, aclexplode(relacl) where grantee <> 0 and grantee::regrole::text like 'tokentill%'
union all
select pg_get_functiondef(oid) from pg_proc where pronamespace = 'public'::regnamespace
order by 1
"""


async def of_postgres(url: str) -> str:
    connection = await asyncpg.connect(url)
    rows = await connection.fetch(_POSTGRES)
    await connection.close()
    return "\n".join(row["line"].rstrip() for row in rows) + "\n"


def of_sqlite(path: str) -> str:
    database = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READONLY)
    rows = database.execute(
        "select sql from sqlite_schema where sql is not null order by type, name"
    ).fetchall()
    version = database.pragma("user_version")
    database.close()
    return f"-- number {version}\n" + "".join(f"{sql};\n" for (sql,) in rows)


async def _write(url: str, path: str) -> None:
    await migrate_postgres(url, SECRET)
    (FOLDER / "schema.postgres.txt").write_text(await of_postgres(url))
    connection = connect(path)
    migrate(connection, SECRET)
    connection.close()
    (FOLDER / "schema.sqlite.txt").write_text(of_sqlite(path))


if __name__ == "__main__":
    run.join(controller=True)
    try:
        server = postgres.shared_server()
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(_write(server.url(server.create_database()), f"{folder}/till.db"))
    finally:
        run.leave(controller=True)
