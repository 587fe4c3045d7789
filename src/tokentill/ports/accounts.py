"""Ports of the accounts: the ledger, durable intents, time and ids."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Literal, Protocol, runtime_checkable

from msgspec import Struct

from tokentill.ports.shop import Rows
from tokentill.rules.account import Account
from tokentill.rules.catalog import Catalog
from tokentill.rules.commands import Envelope, Settle
from tokentill.rules.entries import Entry
from tokentill.rules.receipts import Receipt
from tokentill.rules.refusals import Refusal


class StoreDown(Exception):
    """The database cannot be reached or refused to write; nothing of the command is known to be stored.

    Sending the same envelope again (same key) is safe: if the first try was stored after all, its answer
    comes back. `retry_after_ms`: how long the other side asked to be left alone, None if it did not say.
    """

    retry_after_ms: int | None = None


class JournalRow(Struct, frozen=True):
    """One entry as it was stored; `id` rises within an organization.

    `user_name` is the host's name of the user where it has not been erased, `link` the hash chain's link in hex.
    """

    id: int
    organization: str
    entry: Entry
    user_name: str | None
    link: str


class Page(Struct, frozen=True):
    """Entries newest first; `next` is the cursor of the page after, None at the end."""

    rows: tuple[JournalRow, ...]
    next: int | None


class Stretch(Struct, frozen=True):
    """Entries of all organizations in the journal's order, each organization's own in sequence and complete.

    `position` is where the next stretch begins; keep it as it is. It says nothing outside this database.
    """

    rows: tuple[JournalRow, ...]
    position: str


class OperatorKey(Struct, frozen=True):
    """An operator's API key without its secret. Times in epoch ms."""

    id: str
    name: str
    created_at: int
    last_used_at: int | None
    revoked_at: int | None


class Finding(Struct, frozen=True):
    """What `verify` found wrong: the first entry of an organization that does not fit, and why."""

    organization: str
    entry: int | None
    row: int | None
    problem: str


class Head(Struct, frozen=True):
    """Where an organization's journal ends: its newest entry's number and link, in hex."""

    organization: str
    entry: int
    link: str


class Heads(Struct, frozen=True):
    """Where every journal ended at an earlier `verify`, and the `head` it gave, which seals them."""

    head: str
    accounts: tuple[Head, ...]


class Verdict(Struct, frozen=True):
    """The outcome of `verify`. `head` is one digest over all accounts and their number, to be kept elsewhere.

    `accounts` is what it is made of: where the journal of each organization ends, by name.
    """

    organizations: int
    entries: int
    head: str
    findings: tuple[Finding, ...]
    accounts: tuple[Head, ...] = ()

    def heads(self) -> Heads:
        """What to keep elsewhere, and to give to a later `verify`."""
        return Heads(self.head, self.accounts)


class Traffic(Struct, frozen=True):
    """What this process has committed since it opened the store: commands, and in how many batches."""

    batches: int
    commands: int


class Health(Struct, frozen=True):
    """`ok` only if every part is: database answers, clocks agree within 2 s, the sweeper keeps up."""

    ok: bool
    engine: str
    clock_skew_ms: int
    overdue_ms: int
    problems: tuple[str, ...]


@runtime_checkable
class Ledger(Protocol):
    """The account store: the only writer of accounts (design idea 3)."""

    catalog: Catalog
    rows: Rows
    """What is kept beside the journal, in the same database."""

    def submit(self, envelope: Envelope) -> Awaitable[Receipt | Refusal]:
        """Decide and store one command; returns after it is durable. Raises `StoreDown`."""
        ...

    def opaque(self, organization: str, user: str) -> str:
        """The id under which the journal and the account know the host's user."""
        ...

    async def account(self, organization: str) -> Account | None:
        """The account as of the last commit with everything due applied (not stored); None if unknown."""
        ...

    async def journal(self, organization: str, before: int | None = None, limit: int = 50) -> Page | None:
        """The organization's entries, newest first, older than row id `before`; None if unknown."""
        ...

    async def operation(self, organization: str, operation: str) -> Sequence[JournalRow] | None:
        """Every entry of one operation (hold, its end, its refund), oldest first.

        None if the organization is unknown.
        """
        ...

    async def follow(self, position: str = "", limit: int = 1000) -> Stretch:
        """The journal after `position` ("" = from its beginning), for consumers with a cursor (design idea 5)."""
        ...

    async def organizations(self, after: str = "", limit: int = 100) -> Sequence[str]:
        """Organization ids in order, after the id `after`."""
        ...

    async def forget_user(self, organization: str, user: str) -> bool:
        """Erase the name of a user; the journal keeps only the opaque id. False if there was none."""
        ...

    async def operator_keys(self) -> Sequence[OperatorKey]:
        """All operator keys, oldest first."""
        ...

    async def add_operator_key(self, key: OperatorKey, digest: bytes) -> bool:
        """Store a new operator key by the SHA-256 of its secret; False, and nothing stored, if its id is taken."""
        ...

    async def find_operator_key(self, key_id: str) -> tuple[OperatorKey, bytes] | None:
        """The operator key and its digest."""
        ...

    def key_used(self, key_id: str, at: int) -> None:
        """Remember that an operator key was used at `at` (epoch ms); stored within seconds, lost if the process dies."""
        ...

    async def revoke_operator_key(self, key_id: str) -> bool:
        """Revoke; False if unknown or revoked already."""
        ...

    async def verify(self, older: Heads | None = None) -> Verdict:
        """Replay the whole journal against what is stored (invariants 1–3, R-LED-5).

        `older`: where the journals ended before. What they went through then must still be there.
        """
        ...

    async def health(self) -> Health:
        """How the store is doing."""
        ...

    def traffic(self) -> Traffic:
        """How much this process has committed, for its metrics (R-PLAT-3)."""
        ...

    async def close(self) -> None:
        """Finish what was submitted and let the store go."""
        ...


class Intent(Struct, frozen=True):
    """A charge still to be stored: its operation succeeded, storing its `settle` did not (R-LED-4).

    `tokens` is what it charges; `at` when the operation had succeeded and `deadline` until when its hold
    lasts, epoch ms.
    """

    organization: str
    settle: Settle
    tokens: int
    at: int
    deadline: int | None = None


IntentOutcome = Literal["settled", "reviewed"]
"""How an intent ended: charged after all, or, its hold having ended, charged 0 and listed for a person."""


class IntentState(Struct, frozen=True):
    """An intent and how it ended; `outcome` None = still to be stored, `ended_at` epoch ms."""

    intent: Intent
    outcome: IntentOutcome | None = None
    ended_at: int | None = None


class Intents(Protocol):
    """Durable memory of charges that could not be stored yet (R-LED-4), apart from the store that failed."""

    async def keep(self, intent: Intent) -> None:
        """Remember `intent`; returns after it is durable. Raises `OSError` if it cannot be."""
        ...

    async def end(self, intent: Intent, outcome: IntentOutcome, at: int) -> None:
        """Remember how `intent` ended, so that it is not tried again."""
        ...

    async def states(self) -> Sequence[IntentState]:
        """Every intent that was ever kept, oldest first."""
        ...


class Clock(Protocol):
    """The time. Epoch milliseconds for what is stored, monotonic seconds for what is waited for."""

    def now(self) -> int:
        """Epoch milliseconds."""
        ...


class Ids(Protocol):
    """Where ids come from."""

    def operation(self) -> str:
        """A new operation id: the 32 hex digits of a UUIDv7."""
        ...

    def secret(self) -> str:
        """256 random bits as URL-safe text, for keys."""
        ...
