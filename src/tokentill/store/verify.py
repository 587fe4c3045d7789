"""Verify: the journal replayed from its first entry, and compared with everything that is stored (R-LED-5).

For each entry: it follows its organization's entry before it, its link is the keyed hash of the link before
and its bytes, its columns repeat its bytes, it evolves, and the balance it states is the one that results.
For each account: sequence, head and last row are those of its last entry; its snapshot is the fold up to
the snapshot's sequence; its lots and purses add up; the sweeper will come in time. Each name that is kept
of a user is the one that the user's opaque id was made from.

A journal that was cut short fits in itself, and an account that was deleted with all its entries leaves no
trace. They show against heads kept outside the database: each account must have passed through the entry at
which it stood then, with the very link. The heads are sealed by one keyed digest over them and their number.

Nothing here speaks to a database; an engine feeds what it reads.

Requirement ids: R-LED-5, R-LED-1, R-LED-2, R-SALE-8.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from hashlib import blake2b
from typing import Any

import msgspec

from tokentill.ports import Finding, Head, Heads, Verdict
from tokentill.rules import chain, purses
from tokentill.rules import entries as e
from tokentill.rules.account import Account
from tokentill.rules.evolve import Misfit, evolve

FINDINGS_MAX = 100


class _Replay:
    """One account being rebuilt."""

    __slots__ = ("account", "broken", "head", "name", "older", "row", "snapshot", "state")

    def __init__(self, name: str, head: bytes, older: Head | None) -> None:
        self.name = name
        self.older = older
        self.account = Account()
        self.head = head
        self.row = 0
        self.snapshot: tuple[int, int] | None = None
        self.state: bytes | None = None
        """Digest of the fold at the snapshot's place."""
        self.broken = False


class Verification:
    """One consistent view of what is stored, fed in order: organizations, snapshots, entries, states, persons."""

    def __init__(self, key: bytes, older: Heads | None = None) -> None:
        self._key = key
        self._older = {} if older is None else {each.organization: each for each in older.accounts}
        self._linked = chain.linker(key)
        self._stored: dict[int, tuple[str, int, bytes, int, int | None]] = {}
        self._replays: dict[int, _Replay] = {}
        self._findings: list[Finding] = []
        self._count = 0
        if older is not None and not _is_sealed(key, older):
            self._older = {}
            self._add(Finding("", None, None, "the older heads were changed, or are those of another till"))

    def organizations(self, rows: Iterable[tuple[Any, ...]]) -> None:
        """(number, name, seq, head, last row, due_at) of every account."""
        for number, name, *rest in rows:
            if not _is_account(name, *rest):
                self._add(Finding(str(name), None, None, "the account's columns hold what they cannot hold"))
                continue
            self._stored[number] = (name, *rest)
            self._replays[number] = _Replay(name, chain.root(self._key, name), self._older.pop(name, None))

    def snapshots(self, rows: Iterable[tuple[Any, ...]]) -> None:
        """(number, seq, last row) of every snapshot."""
        for number, seq, row in rows:
            replay = self._replays.get(number)
            if replay is None:
                self._add(Finding(f"#{number}", seq, row, "the snapshot's organization is not there"))
            else:
                replay.snapshot = (seq, row)

    def entries(self, rows: Iterable[tuple[Any, ...]]) -> None:
        """Every entry in the journal's order: id, organization, previous and the columns as `Writes` has them."""
        for row in rows:
            self._count += 1
            replay = self._replays.get(row[1])
            if replay is None:
                self._add(Finding(f"#{row[1]}", row[3], row[0], "the entry's organization is not there"))
                continue
            if replay.broken:
                continue
            problem = _misfit(replay, row, self._linked) or _other_than_before(replay)
            if problem is not None:
                replay.broken = True
                self._add(Finding(replay.name, row[3], row[0], problem))
            elif replay.snapshot == (replay.account.state.seq, replay.row):
                replay.state = _digest(replay.account.dump())

    def states(self, rows: Iterable[tuple[Any, ...]]) -> None:
        """(number, state) of every snapshot."""
        for number, state in rows:
            replay = self._replays.get(number)
            known = type(state) is bytes and _digest(state)
            if replay is not None and not replay.broken and replay.state != known:
                replay.broken = True
                seq, row = replay.snapshot or (0, 0)
                self._add(
                    Finding(replay.name, seq, row, "the snapshot is not the fold of the entries up to it")
                )

    def persons(self, rows: Iterable[tuple[Any, ...]]) -> None:
        """(number, opaque id, name) of every user whose name is kept."""
        for number, user, name in rows:
            replay = self._replays.get(number)
            if replay is None:
                self._add(Finding(f"#{number}", None, None, "the user's organization is not there"))
            elif replay.broken:
                continue
            elif type(name) is not str or chain.pseudonym(self._key, replay.name, name) != user:
                self._add(
                    Finding(replay.name, None, None, f"the name of user {user} is not that of this user")
                )

    def verdict(self) -> Verdict:
        """What was found, once everything was fed."""
        for number, replay in self._replays.items():
            _name, seq, head, last, due_at = self._stored[number]
            problem = None if replay.broken else _end_misfit(replay, (seq, head, last), due_at)
            if problem is not None:
                self._add(Finding(replay.name, replay.account.state.seq, last, problem))
        for name, older in self._older.items():
            self._add(Finding(name, None, None, f"the account is gone; it had {older.entry} entries before"))
        stored = sorted((name, seq, head) for name, seq, head, _, _ in self._stored.values())
        accounts = tuple(Head(name, seq, head.hex()) for name, seq, head in stored)
        return Verdict(
            len(stored), self._count, _head(self._key, stored), tuple(self._findings), accounts=accounts
        )

    def _add(self, finding: Finding) -> None:
        if len(self._findings) < FINDINGS_MAX:
            self._findings.append(finding)


def _is_account(name: Any, seq: Any, head: Any, last_row: Any, due_at: Any) -> bool:
    """Whether an account's columns are of their kinds, which SQLite does not see to."""
    numbers = (seq, last_row, 0 if due_at is None else due_at)
    return type(name) is str and type(head) is bytes and all(type(number) is int for number in numbers)


def _digest(state: bytes) -> bytes:
    return blake2b(state, digest_size=16).digest()


def _misfit(replay: _Replay, row: tuple[Any, ...], linked: Callable[[bytes, bytes], bytes]) -> str | None:
    """Why this row does not follow what came before; evolves the account if it does."""
    body = row[15]
    if type(body) is not bytes:
        return "its content is not stored as bytes"
    if row[2] != replay.row:
        return f"its previous row is said to be {row[2]}, but that was {replay.row}"
    link = linked(replay.head, body)
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


def _other_than_before(replay: _Replay) -> str | None:
    older = replay.older
    if older is None or older.entry != replay.account.state.seq or older.link == replay.head.hex():
        return None
    return "it is not the entry that was there before: this history was written anew"


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


def _end_misfit(replay: _Replay, end: tuple[int, bytes, int], due_at: int | None) -> str | None:
    account = replay.account
    if (account.state.seq, replay.head, replay.row) != end:
        return f"the account stands at entry {end[0]}, but the journal ends at {account.state.seq}"
    if replay.older is not None and account.state.seq < replay.older.entry:
        return f"the journal ends at entry {account.state.seq}, but went to {replay.older.entry} before"
    for lot in account.state.lots.values():
        parts = (lot.available, lot.held, lot.spent, lot.expired, lot.revoked)
        if min(parts) < 0 or sum(parts) != lot.granted:
            return f"lot {lot.id} does not add up: {lot.granted} granted, {parts} accounted for"
    if (wrong := purses.misfit(account.state)) is not None:
        return wrong
    due = None if account.state.simulated else account.next_due()
    if due is not None and (due_at is None or due_at > due[0]):
        return f"its next deadline is {due[0]}, but the sweeper would come at {due_at}"
    return None


def _is_sealed(key: bytes, heads: Heads) -> bool:
    try:
        plain = sorted((each.organization, each.entry, bytes.fromhex(each.link)) for each in heads.accounts)
        return _head(key, plain) == heads.head
    except (OverflowError, ValueError):
        return False


def _head(key: bytes, stored: list[tuple[str, int, bytes]]) -> str:
    digest = blake2b(key=key, digest_size=32, person=b"tokentill head")
    digest.update(len(stored).to_bytes(8, "big"))
    for name, seq, head in stored:
        digest.update(
            len(name.encode()).to_bytes(4, "big") + name.encode() + seq.to_bytes(8, "big") + bytes(head)
        )
    return digest.hexdigest()
