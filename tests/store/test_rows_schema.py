"""The tables of rows are their structs, and every search that is allowed has its index."""

import re
from pathlib import Path
from typing import Any

import apsw
import pytest

from tests.support.stores import Store, connect
from tokentill.ports import Room
from tokentill.rules.purchases import Purchase
from tokentill.rules.rows import Row
from tokentill.store import rows as its
from tokentill.store.rows import INDEXES, KINDS, table

# R-PLAT-2, R-PLAT-5, R-PACK-4

TYPES = {
    "sqlite": {"integer": "INTEGER", "truth": "INTEGER", "text": "TEXT", "bytes": "BLOB", "json": "TEXT"},
    "postgres": {"integer": "bigint", "truth": "bigint", "text": "text", "bytes": "bytea", "json": "text"},
}


def quoted(index: tuple[str, ...]) -> str:
    return ", ".join(f'"{name}"' if name == "to" else name for name in index)


async def described(store: Store) -> dict[str, set[tuple[str, str, bool]]]:
    """Columns of every table: name, type, whether null is refused."""
    await (await store.open()).close()
    found: dict[str, set[tuple[str, str, bool]]] = {}
    if store.engine == "postgres":
        connection = await connect(store)
        rows = await connection.fetch(
            "select table_name, column_name, data_type, is_nullable from information_schema.columns "
            "where table_schema = 'public'"
        )
        await connection.close()
        for name, column, kind, null in rows:
            found.setdefault(str(name), set()).add((column, kind, null == "NO"))
        return found
    database = apsw.Connection(store.url)
    for (name,) in database.execute("select name from sqlite_schema where type = 'table'").fetchall():
        for _, column, kind, required, *_ in database.execute(f'pragma table_info("{name}")'):
            found.setdefault(str(name), set()).add((column, kind.upper(), bool(required)))
    database.close()
    return found


async def test_the_columns_of_a_table_are_the_fields_of_its_struct(lasting: Store) -> None:
    tables = await described(lasting)
    types = TYPES[lasting.engine]
    for kind in KINDS:
        known = table(kind, "$")
        fields = {(column.name, types[column.sort], not column.null) for column in known.columns}
        assert tables[known.name] == fields, f"{known.name}: change its migration of {lasting.engine}"


@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
def test_what_can_be_searched_by_is_what_is_indexed(engine: str) -> None:
    folder = Path(its.__file__).parent / "migrations" / engine
    found = set()
    files = (file for file in sorted(folder.glob("*.sql")) if not file.name.startswith("0001_"))
    for line in re.findall(r"create index (.+);", "".join(file.read_text() for file in files)):
        matched = re.fullmatch(r"\w+ on (\w+) \(([^)]+)\)(?: where (\S+) is not null)?", line)
        assert matched is not None, line
        name, columns, some = matched.groups()
        assert some is None or columns.startswith(some), line
        found.add((name, columns))
    assert found == {
        (table(kind, "$").name, columns)
        for kind in KINDS
        for columns in ("id", "due_at", *(quoted(index) for index in INDEXES[kind]))
    }


def searches() -> list[tuple[type[Row], dict[str, Any]]]:
    found: list[tuple[type[Row], dict[str, Any]]] = []
    for kind in KINDS:
        known = table(kind, "?")
        sorts = {column.name: column.sort for column in known.columns}
        for index in known.indexes:
            for length in range(len(index) + 1):
                given = {name: "x" if sorts[name] == "text" else 1 for name in index[:length]}
                found += [(kind, given), (kind, given | {"organization": "acme"})]
        found.append((kind, {name: "x" if sorts[name] == "text" else 1 for name in known.findable}))
    return found


async def test_no_search_reads_a_whole_table(lasting: Store) -> None:
    await (await lasting.open()).close()
    statements: list[tuple[str, list[Any]]] = []
    mark: Any = "$" if lasting.engine == "postgres" else "?"
    for kind, equal in searches():
        statements.append(table(kind, mark).find(equal, None, None, 10))
        statements.append(table(kind, mark).find(equal, None, "x", 10))
        statements.append((table(kind, mark).due, [1, 10]))
    slots = Room(2, (("organization", "acme"), ("kind", "pack")), ("slot_until", 1))
    promo = Room(2, (("promo", "MAY"),), ("promo_until", 1))
    card = Room(2, (("method", "x"), ("kind", "pack")), ("slot_until", 1))
    counts = [table(Purchase, mark).count(room) for room in (slots, promo, card)]
    packs = {"organization": "acme", "kind": "pack"}
    later = [table(Purchase, mark).find(packs, (name, 1), None, 10) for name in ("slot_until", "paid_at")]
    if lasting.engine == "postgres":
        connection = await connect(lasting)
        for name in ("seqscan", "hashjoin", "mergejoin"):  # as the till's own connections are set
            await connection.execute(f"set enable_{name} = off")
        for statement, given in statements + counts + later:
            lines = "\n".join(row[0] for row in await connection.fetch(f"explain {statement}", *given))
            assert "Seq Scan" not in lines, (statement, lines)
        await connection.close()
        return
    database = apsw.Connection(lasting.url)

    def plan(statement: str, given: list[Any]) -> str:
        return "\n".join(row[3] for row in database.execute(f"explain query plan {statement}", given))

    for statement, given in statements:
        found = plan(statement, given)
        assert "SEARCH" in found or re.search(r"SCAN \w+ USING INDEX \w+_id", found), (statement, found)
    assert "purchase_slot_until (organization=? AND kind=? AND slot_until>?)" in plan(*counts[0])
    assert "purchase_promo (promo=? AND promo_until>?)" in plan(*counts[1])
    assert "purchase_method (method=? AND slot_until>?)" in plan(*counts[2])
    for name, (statement, given) in zip(("slot_until", "paid_at"), later, strict=True):
        assert f"purchase_{name} (organization=? AND kind=? AND {name}>?)" in plan(statement, given)
    of_one = table(Purchase, "?").find({"organization": "acme", "state": "paid"}, None, None, 10)
    assert plan(*of_one) == "SEARCH purchase USING INDEX sqlite_autoindex_purchase_1 (organization=?)"
    database.close()
