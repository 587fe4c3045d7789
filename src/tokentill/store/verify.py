"""Verify: the journal replayed from its first entry, and compared with everything that is stored (R-LED-5).

For each entry: it follows its organization's entry before it, its link is the keyed hash of the link before
and its bytes, its columns repeat its bytes, it evolves, and the balance it states is the one that results.
For each account: sequence, head and last row are those of its last entry; its snapshot is the fold up to
the snapshot's sequence; its lots add up. The head over all accounts and their number can be kept outside
the database, so that a truncated journal or a deleted account shows.

Requirement ids: R-LED-5, R-LED-1, R-LED-2.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b
from typing import Any, Protocol

import apsw
import msgspec

from tokentill.ports import Finding, Verdict
from tokentill.rules import chain
from tokentill.rules import entries as e
from tokentill.rules.account import Account
from tokentill.rules.evolve import Misfit, evolve
from tokentill.store.statements import statements

ROWS = 5_000
FINDINGS_MAX = 100


class Source(Protocol):
    """What is stored, to be verified: one consistent view of it."""

    def organizations(self) -> Iterator[tuple[int, str, int, bytes, int]]:
        """(number, name, seq, head, last row) of every account, by number."""
        ...

    def snapshots(self) -> Iterator[tuple[int, int, int]]:
        """(number, seq, last row) of every snapshot."""
        ...

    def snapshot(self, number: int) -> bytes:
        """The state of a snapshot."""
        ...

    def entries(self) -> Iterator[tuple[Any, ...]]:
        """Every entry in the journal's order, columns as the table has them."""
        ...


class SqliteSource:
    """A SQLite connection inside a read transaction."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._sql = statements("sqlite")

    def organizations(self) -> Iterator[tuple[int, str, int, bytes, int]]:
        """Every account."""
        return iter(self._connection.execute(self._sql["every_organization"]))

    def snapshots(self) -> Iterator[tuple[int, int, int]]:
        """Every snapshot's place."""
        return iter(self._connection.execute(self._sql["every_snapshot"]))

    def snapshot(self, number: int) -> bytes:
        """The state of a snapshot."""
        state: bytes = self._connection.execute(self._sql["snapshot"], (number,)).fetchall()[0][2]
        return state

    def entries(self) -> Iterator[tuple[Any, ...]]:
        """Every entry, some thousand rows at a time."""
        after = 0
        while rows := self._connection.execute(self._sql["every_entry"], (after, ROWS)).fetchall():
            yield from rows
            after = rows[-1][0]


class _Replay:
    """One account being rebuilt."""

    __slots__ = ("account", "broken", "head", "name", "row", "snapshot_seq")

    def __init__(self, name: str, head: bytes) -> None:
        self.name = name
        self.account = Account()
        self.head = head
        self.row = 0
        self.snapshot_seq: int | None = None
        self.broken = False


def verify(source: Source, key: bytes) -> Verdict:
    """Replay everything in `source` under the chain's key; findings name the first misfit of each account."""
    stored = {number: (name, seq, head, last) for number, name, seq, head, last in source.organizations()}
    replays = {number: _Replay(row[0], chain.root(key, row[0])) for number, row in stored.items()}
    findings: list[Finding] = []
    for number, seq, _row in source.snapshots():
        if number in replays:
            replays[number].snapshot_seq = seq
    count = 0
    for row in source.entries():
        count += 1
        replay = replays.get(row[1])
        if replay is None:
            _add(findings, Finding(f"#{row[1]}", row[3], row[0], "the entry's organization is not there"))
            continue
        if replay.broken:
            continue
        problem = _misfit(replay, row, key)
        if problem is None and replay.account.state.seq == replay.snapshot_seq:
            if replay.account.dump() != source.snapshot(row[1]):
                problem = "the snapshot is not the fold of the entries up to it"
        if problem is not None:
            replay.broken = True
            _add(findings, Finding(replay.name, row[3], row[0], problem))
    for number, (name, seq, head, last) in stored.items():
        problem = None if replays[number].broken else _end_misfit(replays[number], seq, head, last)
        if problem is not None:
            _add(findings, Finding(name, replays[number].account.state.seq, last, problem))
    return Verdict(len(stored), count, _head(key, stored), tuple(findings))


def _add(findings: list[Finding], finding: Finding) -> None:
    if len(findings) < FINDINGS_MAX:
        findings.append(finding)


def _misfit(replay: _Replay, row: tuple[Any, ...], key: bytes) -> str | None:
    """Why this row does not follow what came before; evolves the account if it does."""
    body = row[15]
    if row[2] != replay.row:
        return f"its previous row is said to be {row[2]}, but that was {replay.row}"
    link = chain.link(key, replay.head, body)
    if link != row[14]:
        return "its hash does not follow from the entry before it and its content"
    try:
        entry = e.decode(body)
        if _columns(entry) != row[3:14]:
            return "its columns do not repeat its content"
        evolve(replay.account, entry)
    except (msgspec.DecodeError, Misfit) as trouble:
        return str(trouble)
    if entry.balance != replay.account.free or entry.held != replay.account.held:
        return (
            f"it states {entry.balance} free and {entry.held} held tokens, but the entries add up to "
            f"{replay.account.free} and {replay.account.held}"
        )
    replay.head, replay.row = link, row[0]
    return None


def _columns(entry: e.Entry) -> tuple[Any, ...]:
    return (
        entry.seq,
        entry.time,
        e.movement(entry),
        entry.status,
        entry.user,
        entry.feature,
        entry.tokens,
        entry.balance,
        getattr(entry, "reference", None),
        None if entry.key is None else bytes.fromhex(entry.key),
        entry.part,
    )


def _end_misfit(replay: _Replay, seq: int, head: bytes, last: int) -> str | None:
    account = replay.account
    if (account.state.seq, replay.head, replay.row) != (seq, head, last):
        return f"the account stands at entry {seq}, but the journal ends at {account.state.seq}"
    if replay.snapshot_seq is not None and replay.snapshot_seq > seq:
        return "the snapshot is ahead of the journal"
    for lot in account.state.lots.values():
        parts = (lot.available, lot.held, lot.spent, lot.expired, lot.revoked)
        if min(parts) < 0 or sum(parts) != lot.granted:
            return f"lot {lot.id} does not add up: {lot.granted} granted, {parts} accounted for"
    return None


def _head(key: bytes, stored: dict[int, tuple[str, int, bytes, int]]) -> str:
    digest = blake2b(key=key, digest_size=32, person=b"tokentill head")
    digest.update(len(stored).to_bytes(8, "big"))
    for name, seq, head, _ in sorted(stored.values()):
        digest.update(
            len(name.encode()).to_bytes(4, "big") + name.encode() + seq.to_bytes(8, "big") + bytes(head)
        )
    return digest.hexdigest()
