"""Rows as tables: what both engines share of the row store (the port `Rows`).

A struct of `tokentill.rules` is a table and each of its fields a column, by one rule: whole numbers and truths
are integers, text is text, bytes are bytes, anything else is JSON text. The statements are made from that here,
once for both engines, which differ in how they mark a parameter. The tables themselves are plain SQL in the
migrations; a test holds them to the structs and to `INDEXES`.

Requirement ids: R-PLAT-2, R-PLAT-5, R-PACK-3, R-PACK-4.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Generic, Literal, TypeVar

import msgspec
from msgspec import Struct
from msgspec import inspect as shapes

from tokentill.ports import Room
from tokentill.rules import rows as r
from tokentill.rules.feedback import Feedback
from tokentill.rules.margins import MarginCheck, MarginMonth
from tokentill.rules.purchases import Purchase
from tokentill.rules.refund_rows import Guarantee, Refund
from tokentill.rules.rows import Row
from tokentill.store.statements import statements

R = TypeVar("R", bound=Row)
Sort = Literal["integer", "truth", "text", "bytes", "json"]
Mark = Literal["?", "$"]
"""How an engine marks the first parameter, less its 1."""

SQL = statements("rows")
ID_MAX = 400
"""Longest id, and longest text in any column that is indexed; longer ones do not fit into PostgreSQL's indexes."""
ORGANIZATION_MAX = 128

KINDS: tuple[type[Row], ...] = (Purchase, *r.ROWS, Feedback, MarginMonth, MarginCheck, Refund, Guarantee)
INDEXES: Mapping[type[Row], tuple[tuple[str, ...], ...]] = {
    Purchase: (
        ("organization", "kind", "slot_until"),
        ("organization", "kind", "paid_at"),
        ("promo", "promo_until"),
        ("method", "slot_until"),
        ("state", "id"),
        ("flagged", "id"),
        ("subscription", "id"),
        ("invoice",),
    ),
    r.Reference: (("purchase",),),
    r.ProviderEvent: (("state", "id"), ("type", "id")),
    r.Subscription: (("status", "id"), ("plan", "id"), ("customer",)),
    r.Payer: (("method", "used_at"), ("customer",)),
    r.TopUp: (),
    r.Alert: (("code", "id"),),
    r.Switch: (),
    r.RedemptionCode: (("batch", "id"), ("purchase",)),
    r.Contact: (("email",),),
    r.Endpoint: (),
    r.Message: (("state", "id"), ("to", "id"), ("type", "id")),
    r.EmbeddedPayment: (("purchase",),),
    r.ApiKey: (("organization", "bought", "works_until"), ("organization", "works_until"), ("purse", "id")),
    r.Handover: (("organization", "waiting"),),
    r.StoredAnswer: (),
    Feedback: (("tally", "id"), ("kind", "id")),
    MarginMonth: (("month", "id"),),
    MarginCheck: (),
    Refund: (("purchase",), ("state", "id")),
    Guarantee: (),
}
"""What each table can be searched by, beside its primary key (organization, id), `id` and `due_at`.

`find` and a `Room` need the first column of one of these, `organization` or `id` among the values they give, and
may name no column that is in none of them.
"""


class Column(Struct, frozen=True):
    """A column: which sort of value it holds, whether null is one, and the type of what is JSON."""

    name: str
    sort: Sort
    null: bool
    decoder: msgspec.json.Decoder[Any] | None

    def write(self, value: Any) -> Any:
        """The value as the database has it. Raises ValueError on text that PostgreSQL cannot hold."""
        if value is None:
            return None
        if self.sort == "json":
            return msgspec.json.encode(value).decode()
        if self.sort == "truth":
            return int(value)
        if self.sort == "text" and "\0" in value:
            raise ValueError(f"{self.name} has a null character")
        return value

    def read(self, value: Any) -> Any:
        """The value as the struct has it."""
        if value is None:
            return None
        if self.decoder is not None:
            return self.decoder.decode(value)
        return bool(value) if self.sort == "truth" else value


_SORTS: Mapping[type[shapes.Type], Sort] = {
    shapes.IntType: "integer",
    shapes.BoolType: "truth",
    shapes.StrType: "text",
    shapes.BytesType: "bytes",
}


def _column(field: msgspec.structs.FieldInfo) -> Column:
    shape = shapes.type_info(field.type)
    parts = shape.types if isinstance(shape, shapes.UnionType) else (shape,)
    some = [part for part in parts if not isinstance(part, shapes.NoneType)]
    sort: Sort = "json"
    if len(some) == 1:
        one = some[0]
        text = isinstance(one, shapes.LiteralType) and all(isinstance(value, str) for value in one.values)
        sort = "text" if text else _SORTS.get(type(one), "json")
    decoder = msgspec.json.Decoder(field.type) if sort == "json" else None
    return Column(field.name, sort, len(some) < len(parts), decoder)


class Table(Generic[R]):
    """The table of a struct, and its statements for one engine. Get it from `table`."""

    def __init__(self, kind: type[R], mark: Mark) -> None:
        self.kind = kind
        self.name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", kind.__name__).lower()
        self.columns = tuple(_column(field) for field in msgspec.structs.fields(kind))
        self.mark = mark
        indexes = (*INDEXES[kind], ("organization", "id"), ("id",))
        self.indexes = indexes
        self.findable = frozenset(name for index in indexes for name in index)
        self._by_name = {column.name: column for column in self.columns}
        self._changed = [column for column in self.columns if column.sort in ("json", "truth")]
        self._filled = {
            "table": f'"{self.name}"',
            "columns": ", ".join(f'"{column.name}"' for column in self.columns),
            "own_columns": ", ".join(f'its."{column.name}"' for column in self.columns),
        }
        place = {column.name: f"{mark}{number}" for number, column in enumerate(self.columns, 1)}
        changes = [f'"{name}" = {its}' for name, its in place.items() if name not in ("id", "organization")]
        self.add = self._statement("add", values=", ".join(place.values()))
        self.get = self._statement("get")
        self.among = self._statement("among", one=f"{mark}1" if mark == "?" else f"any({mark}1::text[])")
        self.put = self._statement("put", **(place | {"changes": ", ".join(changes)}))
        self.moved = self._statement("moved")
        self.drop = self._statement("drop")
        self.due = self._statement("due")
        self.lease = self._statement("lease")
        self.claim = self._statement("claim")

    def _statement(self, name: str, /, **filled: str) -> str:
        return SQL[name].replace("@", self.mark).format_map(filled | self._filled)

    # ---- values --------------------------------------------------------------------------------------

    def values(self, row: R, version: int) -> tuple[Any, ...]:
        """The row as values of the columns, with this version. Raises ValueError on what no column holds."""
        if not 1 <= len(row.id) <= ID_MAX:
            raise ValueError(f"the id of a row has 1 to {ID_MAX} characters")
        if len(row.organization) > ORGANIZATION_MAX:
            raise ValueError(f"the organization of a row has at most {ORGANIZATION_MAX} characters")
        found = []
        for column in self.columns:
            value = version if column.name == "version" else column.write(getattr(row, column.name))
            if isinstance(value, str) and column.name in self.findable and len(value) > ID_MAX:
                raise ValueError(f"{column.name} has at most {ID_MAX} characters, because it is indexed")
            found.append(value)
        return tuple(found)

    def row(self, values: Sequence[Any]) -> R:
        """The row from values of the columns."""
        found = dict(zip(self._by_name, values, strict=True))
        for column in self._changed:
            found[column.name] = column.read(found[column.name])
        return self.kind(**found)

    # ---- statements that depend on what is asked -----------------------------------------------------

    def find(
        self, equal: Mapping[str, str | int], above: tuple[str, int] | None, before: str | None, limit: int
    ) -> tuple[str, list[str | int]]:
        """The statement of `Rows.find` and its parameters. Raises ValueError where there is no index for it."""
        given: list[str | int] = []
        where = self._where(equal, given, above)
        if before is not None:
            given.append(before)
            where.append(f"id < {self.mark}{len(given)}")
        given.append(limit)
        condition = " and ".join(where) or "true"
        # What is above a number is little: sorted, rather than read in order among everything else.
        newest = "+id" if self.mark == "?" and above is not None else "id"
        limits = f"{self.mark}{len(given)}"
        return self._statement("find", condition=condition, newest=newest, limit=limits), given

    def tally(self, column: str) -> str:
        """The statement of `Rows.tally`. Raises ValueError where no index begins with the column."""
        if all(index[0] != column for index in self.indexes):
            raise ValueError(f"{self.name} has no index that begins with {column}")
        return self._statement("tally", column=column)

    def count(self, room: Room) -> tuple[str, list[str | int]]:
        """How many rows take up the room, counted no further than it is full. ValueError where there is no index."""
        if not room.equal:
            raise ValueError("a room is for rows that have some value")
        given: list[str | int] = []
        where = self._where(dict(room.equal), given, room.above)
        given.append(room.most)
        condition = " and ".join(where)
        return self._statement("count", condition=condition, limit=f"{self.mark}{len(given)}"), given

    def _where(
        self, equal: Mapping[str, str | int], given: list[str | int], above: tuple[str, int] | None
    ) -> list[str]:
        later = None if above is None else above[0]
        named = set(equal) if later is None else {*equal, later}
        unknown = named - self.findable
        if unknown:
            raise ValueError(f"{self.name} is not indexed by {', '.join(sorted(unknown))}")
        chosen = self._index(frozenset(equal), later)
        where = []
        for name, value in equal.items():
            if isinstance(value, str) != (self._by_name[name].sort == "text"):
                raise ValueError(f"{name} of {self.name} is not compared with {value!r}")
            given.append(int(value) if isinstance(value, bool) else value)
            # SQLite, which knows no statistics, shall take the index that is meant.
            plus = "+" if self.mark == "?" and name not in chosen else ""
            where.append(f'{plus}"{name}" = {self.mark}{len(given)}')
        if above is not None:
            given.append(above[1])
            where.append(f'"{above[0]}" > {self.mark}{len(given)}')
        return where

    def _index(self, equal: frozenset[str], above: str | None) -> tuple[str, ...]:
        """The index that leaves the fewest rows to look at: an organization's own, then the one that fits longest."""
        if not equal:
            return ("id",)

        def worth(index: tuple[str, ...]) -> tuple[bool, int]:
            fits = 0
            while fits < len(index) and index[fits] in equal:
                fits += 1
            one = "id" in index[:fits] or (index[0] == "organization" and fits > 0)
            return one, fits + (fits < len(index) and index[fits] == above) if fits else 0

        best = max(self.indexes, key=worth)
        if worth(best)[1] == 0:
            raise ValueError(f"{self.name} has no index that begins with any of {', '.join(sorted(equal))}")
        return best


@cache
def table(kind: type[R], mark: Mark) -> Table[R]:
    """The table of a struct for an engine. Raises KeyError if it is none of `KINDS`."""
    return Table(kind, mark)
