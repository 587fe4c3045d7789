"""The lane: how a batch of commands becomes rows, whatever the engine (design idea 3).

A lane's engine opens a transaction, locks the batch's accounts, tells the `Book` what it read, lets it
decide, writes what it decided, commits, and only then delivers the replies. The book holds the cache of
accounts; it is exact only while the engine says so, and any failure forgets the batch's accounts.

Nothing here speaks to a database and nothing waits.

Requirement ids: R-LED-3, R-LED-5, R-LED-9.
"""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from tokentill.rules import chain
from tokentill.rules import commands as c
from tokentill.rules import entries as e
from tokentill.rules.account import Account
from tokentill.rules.catalog import Catalog
from tokentill.rules.decide import execute, hold_of, lookup_also, lookup_key, may_look_up
from tokentill.rules.evolve import evolve
from tokentill.rules.receipts import Receipt
from tokentill.rules.refusals import Code, Refusal, unknown_organization

CACHE_ACCOUNTS_MAX = 20_000
CATCH_UP_MAX = 200
"""Up to so many entries that others wrote are followed one by one instead of loading the account anew."""
SNAPSHOT_BYTES_MIN = 16_384
"""A snapshot is written when the entries since the last one outweigh it, and not before so many bytes."""

_encode = e.encode
_movement = e.movement
_KINDS = {kind: name for kind, name in e.KINDS.items() if "reference" not in kind.__struct_fields__}
"""The others have a reference, and the kind of movement of some depends on their content."""


class Cached:
    """An account in memory and where it stands in the database."""

    __slots__ = (
        "account",
        "due_at",
        "head",
        "last_row",
        "name",
        "near",
        "number",
        "snapshot_bytes",
        "tail_bytes",
        "version",
    )

    def __init__(self, name: str, number: int, account: Account, head: bytes, last_row: int) -> None:
        self.name = name
        self.number = number
        self.account = account
        self.head = head
        self.last_row = last_row
        self.due_at: int | None = None
        self.snapshot_bytes = 0
        self.tail_bytes = 0
        self.version = -1
        """The engine's mark of the database state in which this was seen to be exact."""
        self.near = False
        """Whether its row is known to lie among those of other accounts in use (SQLite)."""


class Job(Struct, eq=False):
    """A command waiting in a lane, and whom to tell. `person` is the user's opaque id and name, if it has one."""

    envelope: c.Envelope
    future: asyncio.Future[Receipt | Refusal]
    person: tuple[str, str] | None
    reply: Receipt | Refusal | None = None
    trouble: BaseException | None = None


class Writes(Struct):
    """What a batch stores. Tuples are in the order of the statements' parameters.

    entries: id, organization, previous, seq, time, kind, status, user, feature, tokens, balance, reference,
    key, part, link, body. accounts: seq, head, last_row, due_at, number, seq before; of some of these due_at is
    another than before, dues: due_at, number. snapshots: number, seq, last_row, state. persons: number, user, name.
    counted: refusals that are stored by their number later.
    """

    entries: list[tuple[Any, ...]]
    accounts: list[tuple[Any, ...]]
    dues: list[tuple[int | None, int]]
    snapshots: list[tuple[Any, ...]]
    persons: list[tuple[Any, ...]]
    unopened: list[int]
    counted: list[tuple[str, str | None, Code, int]]

    def join(self, later: Writes) -> None:
        """Take in what was decided right after this, so that both are stored as one."""
        accounts = {row[4]: row for row in self.accounts}
        for row in later.accounts:
            first = accounts.get(row[4])
            accounts[row[4]] = row if first is None else (*row[:5], first[5])
        self.accounts = list(accounts.values())
        self.entries += later.entries
        self.dues += later.dues
        self.snapshots += later.snapshots
        self.persons += later.persons
        self.unopened += later.unopened
        self.counted += later.counted


class Book:
    """The accounts a lane knows, and the one way to change them."""

    accounts_max = CACHE_ACCOUNTS_MAX
    snapshot_bytes_min = SNAPSHOT_BYTES_MIN

    def __init__(self, catalog: Catalog, secret: bytes) -> None:
        self.catalog = catalog
        self.key = secret[: chain.KEY_BYTES]
        self._link = chain.linker(self.key)
        self.cache: OrderedDict[str, Cached] = OrderedDict()
        self.counted: dict[tuple[str, str | None, Code, int], int] = {}
        self._counting = threading.Lock()
        self._opaque: dict[tuple[str, str], str] = {}
        self._known: set[tuple[str, str]] = set()

    # ---- what comes in -------------------------------------------------------------------------------

    def opaque(self, organization: str, user: str) -> str:
        """The id under which journal and account know the host's user."""
        found = self._opaque.get((organization, user))
        if found is None:
            if len(self._opaque) > 100_000:
                self._opaque.clear()
            found = self._opaque[organization, user] = chain.pseudonym(self.key, organization, user)
        return found

    def job(self, envelope: c.Envelope, future: asyncio.Future[Receipt | Refusal]) -> Job:
        """The envelope as a job, its user under the opaque id."""
        command = envelope.command
        name = getattr(command, "user", None)
        if name is None:
            return Job(envelope, future, None)
        user = self.opaque(envelope.organization, name)
        envelope = replace(envelope, command=replace(command, user=user))
        return Job(envelope, future, (user, name))

    def forget_person(self, organization: str, user: str) -> None:
        """The person's name was erased: the next command that brings it stores it anew."""
        self._known.discard((organization, self.opaque(organization, user)))
        self._opaque.pop((organization, user), None)

    # ---- what the engine read ------------------------------------------------------------------------

    def put(self, cached: Cached) -> None:
        """Remember an account as the database has it now."""
        self.cache[cached.name] = cached

    def forget(self, names: Iterable[str]) -> None:
        """Forget accounts whose memory may differ from the database."""
        for name in names:
            self.cache.pop(name, None)

    def root(self, organization: str) -> bytes:
        """The chain's link before an organization's first entry."""
        return chain.root(self.key, organization)

    def load(
        self,
        name: str,
        row: tuple[int, bytes, int, int | None],
        snapshot: bytes | None,
        tail: Sequence[bytes],
    ) -> Cached:
        """Build an account from its row (number, head, last_row, due_at), snapshot and the entries after it."""
        number, head, last_row, due_at = row
        account = Account() if snapshot is None else Account.load(snapshot)
        cached = Cached(name, number, account, head, last_row)
        cached.due_at = due_at
        cached.snapshot_bytes = 0 if snapshot is None else len(snapshot)
        self._advance(cached, tail)
        return cached

    def catch_up(self, cached: Cached, row: tuple[bytes, int, int | None], tail: Sequence[bytes]) -> bool:
        """Bring an account up to its row (head, last_row, due_at) by the entries that others wrote after those it knows.

        False, and nothing changed, if the row does not follow from the account by just these entries: then it
        must be loaded anew.
        """
        link = cached.head
        for body in tail:
            link = self._link(link, body)
        if link != row[0]:
            return False
        self._advance(cached, tail)
        cached.head, cached.last_row, cached.due_at = row
        return True

    def _advance(self, cached: Cached, tail: Iterable[bytes]) -> None:
        for body in tail:
            evolve(cached.account, e.decode(body))
            cached.tail_bytes += len(body)

    def lookups(self, jobs: Sequence[Job]) -> list[tuple[int, str]]:
        """The operations (organization number, id) whose entries must be read before deciding."""
        found: list[tuple[int, str]] = []
        ending: set[str] = set()
        cache = self.cache
        for job in jobs:
            envelope = job.envelope
            hold = hold_of(envelope)
            if hold is None and not may_look_up(envelope):
                continue
            cached = cache.get(envelope.organization)
            if cached is None:
                continue
            key = lookup_key(cached.account, envelope)
            if hold is not None:
                # Open now, but an earlier job of this very batch may end it.
                if key is None and hold in ending and chain.is_operation(hold):
                    key = hold
                ending.add(hold)
            if key is not None:
                found.append((cached.number, key))
            if (key := lookup_also(envelope)) is not None:
                found.append((cached.number, key))
        return found

    # ---- deciding ------------------------------------------------------------------------------------

    def decide(
        self, jobs: Sequence[Job], now: int, row: int, stored: dict[tuple[int, str], list[e.Entry]]
    ) -> Writes:
        """Decide the jobs in order; rows are numbered from `row`. Replies are left in the jobs, not sent."""
        writes = Writes([], [], [], [], [], [], [])
        decided: list[tuple[Cached, e.Entry]] = []
        touched: dict[str, tuple[Cached, int]] = {}
        swept: set[str] = set()
        catalog, cache, known = self.catalog, self.cache, self._known
        number = 0

        def find(operation: str) -> Sequence[e.Entry]:
            return stored.get((number, operation), ())

        for job in jobs:
            envelope = job.envelope
            name = envelope.organization
            cached = cache.get(name)
            if cached is None:
                job.reply = unknown_organization()
                continue
            account, number = cached.account, cached.number
            if name not in touched:
                touched[name] = (cached, account.state.seq)
            outcome = execute(account, envelope, catalog, now, find)
            job.reply = outcome.reply
            if outcome.entries:
                for entry in outcome.entries:
                    decided.append((cached, entry))
                    if entry.key is not None:
                        stored.setdefault((number, entry.key), []).append(entry)
                person = job.person
                if person is not None and (name, person[0]) not in known:
                    writes.persons.append((number, *person))
            if outcome.counted is not None:
                writes.counted.append((name, *outcome.counted))
            if type(envelope.command) is c.Tick:
                swept.add(name)
        # One work after the other for the whole batch: taking turns command by command costs a fifteenth more.
        writes.entries = self._rows(decided, row)
        self._finish(writes, touched, swept)
        return writes

    def _rows(self, decided: Iterable[tuple[Cached, e.Entry]], row: int) -> list[tuple[Any, ...]]:
        """The rows of entries, each with its link, numbered from `row`."""
        rows = []
        link, encode, kinds, digits = self._link, _encode, _KINDS.get, bytes.fromhex
        for cached, entry in decided:
            body = encode(entry)
            head = cached.head = link(cached.head, body)
            kind = kinds(type(entry))
            reference = None
            if kind is None:
                kind, reference = _movement(entry), entry.reference  # type: ignore[union-attr]  # these have one
            operation = entry.key
            rows.append(
                (
                    row,
                    cached.number,
                    cached.last_row,
                    entry.seq,
                    entry.time,
                    kind,
                    entry.status,
                    entry.user,
                    entry.feature,
                    entry.tokens,
                    entry.balance,
                    reference,
                    None if operation is None else digits(operation),
                    entry.part,
                    head,
                    body,
                )
            )
            cached.last_row = row
            cached.tail_bytes += len(body)
            row += 1
        return rows

    def _finish(self, writes: Writes, touched: dict[str, tuple[Cached, int]], swept: set[str]) -> None:
        for name, (cached, before) in touched.items():
            account = cached.account
            seq = account.state.seq
            if not account.state.opened:
                writes.unopened.append(cached.number)
                continue
            due = None if account.state.simulated else account.next_due()
            due_at = cached.due_at
            if due is not None and (due_at is None or due[0] < due_at):
                due_at = due[0]
            if name in swept:
                due_at = None if due is None else due[0]
            if due_at != cached.due_at:
                cached.due_at = due_at
                writes.dues.append((due_at, cached.number))
            elif seq == before:
                continue
            writes.accounts.append((seq, cached.head, cached.last_row, due_at, cached.number, before))
            if cached.tail_bytes > max(self.snapshot_bytes_min, cached.snapshot_bytes):
                state = account.dump()
                writes.snapshots.append((cached.number, seq, cached.last_row, state))
                cached.snapshot_bytes, cached.tail_bytes = len(state), 0

    def stored(self, jobs: Sequence[Job], writes: Writes) -> None:
        """The batch is durable: remember whose names are stored.

        Only now are its refusals counted: a batch that failed is sent again, and would count them twice.
        """
        if writes.counted:
            with self._counting:
                for key in writes.counted:
                    self.counted[key] = self.counted.get(key, 0) + 1
        if writes.persons:
            if len(self._known) > 1_000_000:
                self._known.clear()
            self._known.update(
                (job.envelope.organization, job.person[0]) for job in jobs if job.person is not None
            )

    def drop(self, unopened: Iterable[int]) -> None:
        """Forget organizations that came to nothing, and accounts beyond those that are kept.

        Once a batch is done, because it needs all of its accounts until then.
        """
        if unopened:
            gone = set(unopened)
            self.forget([name for name, cached in self.cache.items() if cached.number in gone])
        while len(self.cache) > self.accounts_max:
            self.cache.popitem(last=False)

    def take_counted(self, now: int) -> list[c.Envelope]:
        """The refusals of past minutes that were counted in memory, as commands that put them on the record."""
        minute = now // 60_000
        found: dict[str, list[tuple[str | None, str, int, int]]] = {}
        with self._counting:  # a lane may be counting in a thread of its own
            past = [key for key in self.counted if key[3] < minute]
            for key in past:
                name, user, code, when = key
                found.setdefault(name, []).append((user, str(code), when, self.counted.pop(key)))
        return [c.Envelope(name, c.CountRefusals(refusals=tuple(rows))) for name, rows in found.items()]


def deliver(jobs: Sequence[Job]) -> None:
    """Tell the callers, on their loop. A caller that went away is skipped: what was stored stays stored."""
    for job in jobs:
        future = job.future
        if future.done():
            continue
        if job.trouble is not None:
            future.set_exception(job.trouble)
        else:
            assert job.reply is not None
            future.set_result(job.reply)
