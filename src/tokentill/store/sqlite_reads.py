"""What is read from a SQLite ledger, as plain functions over a connection. None of them writes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import apsw

from tokentill.ports import Heads, JournalRow, OperatorKey, Page, Stretch, Verdict
from tokentill.rules import entries as e
from tokentill.rules.chain import is_operation
from tokentill.store.lane import CATCH_UP_MAX, Book, Cached
from tokentill.store.statements import for_rows, statements
from tokentill.store.verify import Verification

SQL = statements("sqlite")
ROWS_A_STATEMENT = 64
"""At every statement another thread may take the interpreter, so many rows go into one."""
VERIFY_ROWS = 5_000
STRAY_ROWS = 4
"""To read so many entries in a row for each that is wanted costs no more than to search for that one."""

Known = tuple[Cached, tuple[str, int, int, bytes, int, int | None]]
"""A remembered account, and its row: name, number, seq, head, last_row, due_at."""

_OPERATIONS = for_rows(SQL["operations"], ROWS_A_STATEMENT)


def load(connection: apsw.Connection, book: Book, name: str) -> Cached | None:
    """The account as the connection sees it, from its snapshot and the entries after it; None if unknown."""
    row = connection.execute(SQL["organization"], (name,)).fetchone()
    if row is None:
        return None
    number, _seq, head, last_row, due_at = row
    found = connection.execute(SQL["snapshot"], (number,)).fetchone()
    since, state = (0, None) if found is None else (found[1], found[2])
    tail = [body for (body,) in connection.execute(SQL["tail"], (last_row, since))]
    return book.load(name, (number, head, last_row, due_at), state, tail)


def catch_up(connection: apsw.Connection, book: Book, known: Sequence[Known]) -> list[str]:
    """Make remembered accounts what their rows say; the names of those that must be loaded anew."""
    anew = []
    behind: list[Known] = []
    for cached, (name, number, seq, head, last_row, due_at) in known:
        lacks = seq - cached.account.state.seq
        if number != cached.number or not 0 <= lacks <= CATCH_UP_MAX:
            anew.append(name)
        elif lacks:
            behind.append((cached, (name, number, seq, head, last_row, due_at)))
        elif not book.catch_up(cached, (head, last_row, due_at), ()):
            anew.append(name)
    tails = _tails(connection, behind)
    for cached, (name, number, _, head, last_row, due_at) in behind:
        if not book.catch_up(cached, (head, last_row, due_at), tails[number]):
            anew.append(name)
    return anew


def _tails(connection: apsw.Connection, behind: Sequence[Known]) -> dict[int, list[bytes]]:
    """The entries that each of these accounts lacks, oldest first: in one look where they lie close together."""
    if not behind:
        return {}
    since = {cached.number: cached.last_row for cached, _ in behind}
    first, last = min(since.values()), max(row[4] for _, row in behind)
    if last - first > STRAY_ROWS * sum(row[2] - cached.account.state.seq for cached, row in behind):
        return {
            number: [body for (body,) in connection.execute(SQL["tail"], (row[4], since[number]))]
            for number, row in ((row[1], row) for _, row in behind)
        }
    tails: dict[int, list[bytes]] = {number: [] for number in since}
    for row_id, number, body in connection.execute(SQL["between"], (first, last)):
        if row_id > since.get(number, last):
            tails[number].append(body)
    return tails


def operations(
    connection: apsw.Connection, wanted: Iterable[tuple[int, str]]
) -> dict[tuple[int, str], list[e.Entry]]:
    """The entries of many operations, each named by its organization's number and its id, oldest first."""
    found: dict[tuple[int, str], list[e.Entry]] = {pair: [] for pair in wanted}
    keys = [(number, bytes.fromhex(key)) for number, key in found]
    for start in range(0, len(keys), ROWS_A_STATEMENT):
        some = keys[start : start + ROWS_A_STATEMENT]
        for number, body in connection.execute(_OPERATIONS[len(some)], tuple(chain.from_iterable(some))):
            entry = e.decode(body)
            assert entry.key is not None, "it was found by its key"
            found[number, entry.key].append(entry)
    return found


def operation(connection: apsw.Connection, number: int, key: str) -> list[tuple[int, e.Entry, bytes]]:
    """The entries of an operation as (row, entry, link), oldest first; none of what is no operation's id."""
    if not is_operation(key):
        return []
    rows = connection.execute(SQL["operation"], (bytes.fromhex(key), number))
    return [(row, e.decode(body), link) for row, body, link in rows]


def page(connection: apsw.Connection, name: str, before: int | None, limit: int) -> Page | None:
    """A page of an organization's journal, newest first; None if the organization is unknown."""
    found = connection.execute(SQL["organization"], (name,)).fetchone()
    if found is None:
        return None
    number, start = found[0], found[3]
    if before is not None:
        previous = connection.execute(SQL["previous_of"], (before, number)).fetchone()
        start = 0 if previous is None else previous[0]
    rows = list(connection.execute(SQL["page"], (start, limit)))
    following = rows[-1][0] if len(rows) == limit and rows[-1][1] > 0 else None
    return Page(
        tuple(JournalRow(row, name, e.decode(body), user, link.hex()) for row, _, body, link, user in rows),
        following,
    )


def rows_of_operation(connection: apsw.Connection, name: str, key: str) -> Sequence[JournalRow] | None:
    """The journal rows of an operation; None if the organization is unknown."""
    found = connection.execute(SQL["organization"], (name,)).fetchone()
    if found is None:
        return None
    rows = []
    for row, entry, link in operation(connection, found[0], key):
        person = connection.execute(SQL["person"], (found[0], entry.user)).fetchone() if entry.user else None
        rows.append(JournalRow(row, name, entry, None if person is None else person[0], link.hex()))
    return rows


def organizations(connection: apsw.Connection, after: str, limit: int) -> list[str]:
    """Names after `after`, in order."""
    return [name for (name,) in connection.execute(SQL["organizations"], (after, limit))]


def operator_keys(connection: apsw.Connection) -> list[OperatorKey]:
    """All operator keys, oldest first."""
    return [OperatorKey(*row) for row in connection.execute(SQL["operator_keys"])]


def operator_key(connection: apsw.Connection, key_id: str) -> tuple[OperatorKey, bytes] | None:
    """An operator key and its digest."""
    row = connection.execute(SQL["operator_key"], (key_id,)).fetchone()
    return None if row is None else (OperatorKey(*row[:5]), row[5])


def follow(connection: apsw.Connection, position: str, limit: int) -> Stretch:
    """Entries of every organization after a row. There is one writer at a time, so rows appear in order."""
    rows: list[Any] = connection.execute(SQL["follow"], (int(position or 0), limit)).fetchall()
    entries = tuple(
        JournalRow(row, name, e.decode(body), user, link.hex()) for row, name, body, link, user in rows
    )
    return Stretch(entries, str(rows[-1][0]) if rows else position)


def verify(connection: apsw.Connection, key: bytes, older: Heads | None = None) -> Verdict:
    """Replay everything the connection sees, some thousand rows at a time, under the chain's key."""
    verification = Verification(key, older)
    verification.organizations(connection.execute(SQL["every_organization"]))
    verification.snapshots(connection.execute(SQL["every_snapshot"]))
    after: Any = 0
    while rows := connection.execute(SQL["every_entry"], (after, VERIFY_ROWS)).fetchall():
        verification.entries(rows)
        after = rows[-1][0]
    verification.states(connection.execute(SQL["every_state"]))
    verification.persons(connection.execute(SQL["every_person"]))
    return verification.verdict()
