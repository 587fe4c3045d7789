"""Transport: how a client reaches the till, in this process or over HTTP. Both give the same values.

A refusal is a value. What is asked of an organization that does not exist is None. `StoreDown` says that
the till could not be reached or could not store; sending the same envelope again is safe then.

Requirement ids: R-LED-9, R-LED-10.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any, Protocol, TypeVar

from msgspec import Struct

from tokentill.ports import Heads, Health, OperatorKey, Verdict
from tokentill.rules.balance import Balance
from tokentill.rules.commands import Envelope, Reserve
from tokentill.rules.receipts import Receipt
from tokentill.rules.refusals import Refusal
from tokentill.wiring import CatalogView, Checks, Ending, Features, JournalView, NewOperatorKey, OperationView

T = TypeVar("T", bound=Struct)


class Trade(Struct, frozen=True, kw_only=True):
    """Something asked of the shop: the name of its route, the names in its path, its body, query and key."""

    name: str
    params: tuple[str, ...] = ()
    body: dict[str, Any] = {}
    query: dict[str, Any] = {}
    key: str | None = None


class Transport(Protocol):
    """What both ways can do."""

    async def trade(self, trade: Trade, kind: type[T]) -> T | Refusal:
        """What the shop answers. Raises `StoreDown`; the same key may be sent again."""
        ...

    def submit(self, envelope: Envelope) -> Awaitable[Receipt | Refusal]:
        """Decide and store one command. Raises `StoreDown`. A keyed envelope's key may be any text."""
        ...

    async def ending(self, organization: str, hold: str) -> Ending | None:
        """How the hold ended, None while it is open."""
        ...

    async def timeout_ms(self, feature: str) -> int:
        """How long an operation of `feature` may run."""
        ...

    async def balance(self, organization: str) -> Balance | None:
        """The balance as of the last commit (R-LED-1)."""
        ...

    async def journal(self, organization: str, before: str | None, limit: int) -> JournalView | None:
        """A page of the journal, newest first (R-LED-5)."""
        ...

    async def operation(self, organization: str, operation: str) -> OperationView | None:
        """Everything that happened to one operation; None if it or its organization is unknown."""
        ...

    async def organizations(self, after: str, limit: int) -> Sequence[str]:
        """Organization ids in order."""
        ...

    async def features(self, organization: str) -> Features | None:
        """Every feature with on/off and the reason (R-LIC-4)."""
        ...

    async def check(self, organization: str, use: Reserve) -> Checks | Refusal | None:
        """What every layer says to a use, changing nothing (R-ABU-8)."""
        ...

    async def catalog(self) -> CatalogView:
        """What is sold."""
        ...

    async def health(self) -> Health:
        """How the till is doing."""
        ...

    async def forget_user(self, organization: str, user: str) -> bool | None:
        """Erase the name of a user; False if there was none."""
        ...

    async def operator_keys(self) -> Sequence[OperatorKey]:
        """Every operator key, oldest first."""
        ...

    async def create_operator_key(self, name: str, key: str) -> NewOperatorKey:
        """A new operator key, its text shown this once. `key` names the creation: a retry makes no other."""
        ...

    async def revoke_operator_key(self, key_id: str) -> bool:
        """Revoke an operator key; False if it is unknown or revoked already."""
        ...

    async def verify(self, older: Heads | None = None) -> Verdict:
        """Replay the whole journal, against `older` heads too (R-LED-5). Raises `NotHere` over HTTP."""
        ...

    async def close(self) -> None:
        """Let the connection or the database go."""
        ...
