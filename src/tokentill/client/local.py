"""The transport in this process: straight to the ledger, no server needed.

Requirement ids: R-PLAT-5, R-LED-10.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from msgspec import Struct

from tokentill import wiring
from tokentill.client.errors import NotHere, Refused
from tokentill.client.transport import Trade
from tokentill.ports import Clock, Heads, Health, Ids, Ledger, OperatorKey, Verdict
from tokentill.rules import wellformed
from tokentill.rules.balance import Balance, balance
from tokentill.rules.commands import Envelope, Open, Reserve
from tokentill.rules.receipts import Receipt
from tokentill.rules.refusals import Refusal
from tokentill.wiring import (
    CatalogView,
    Checks,
    Ending,
    Features,
    JournalView,
    NewOperatorKey,
    OperationView,
)

if TYPE_CHECKING:
    from tokentill.wiring import Shop, Trader

T = TypeVar("T", bound=Struct)

TIMEOUT_MS = 30_000
"""For a feature the catalog does not know; the reservation refuses it anyway."""
MARK_CHARS_MAX = 19
"""The mark of a page is the number of an entry, which a database can hold."""


class Local:
    """A transport on a `Ledger` of this process, which it closes; `key` is the ledger's secret.

    `open_shop` builds what is sold, when it is first asked for something. `actor` stands on the record.
    """

    def __init__(
        self,
        ledger: Ledger,
        key: bytes,
        clock: Clock,
        ids: Ids,
        open_shop: Callable[[], Shop] | None = None,
        actor: str = "library",
    ) -> None:
        self._open_shop = open_shop
        self._actor = actor
        self._trader: Trader | None = None
        self._ledger = ledger
        self._ways = None if open_shop is None else wiring.Ways.over(ledger, clock, ids, key)
        self._books = wiring.LedgerBooks(ledger, key, None if self._ways is None else self._ways.refusal)
        self._clock = clock
        self._ids = ids

    @property
    def trader(self) -> Trader:
        """The shop of this process. Raises `NotHere` where there is none."""
        if self._trader is None:
            if self._open_shop is None:
                raise NotHere("This till was made from a ledger alone, so it sells nothing.")
            self._trader = wiring.trader(self._open_shop(), self._actor)
        return self._trader

    def begin(self) -> None:
        """Take up what is due of sales in this process too."""
        self.trader.shop.clerk.start()

    async def trade(self, trade: Trade, kind: type[T]) -> T | Refusal:
        """What the shop answers. Raises `StoreDown`."""
        found = await self.trader.trade(trade.name, trade.params, trade.body, trade.query, trade.key)
        assert isinstance(found, kind | Refusal), "the table of routes says what is answered"
        return found

    async def submit(self, envelope: Envelope) -> Receipt | Refusal:
        """Decide and store one command, if it is what its fields say. Raises `StoreDown`."""
        wrong = wellformed.refused(envelope)
        if wrong is not None:
            return wrong
        if isinstance(envelope.command, Open) and envelope.command.simulated:
            refused = self.trader.no_simulation()
            if refused is not None:
                return refused
        return await self._books.submit(envelope)

    async def ending(self, organization: str, hold: str) -> Ending | None:
        """How the hold ended, None while it is open."""
        return await self._books.ending(organization, hold)

    async def timeout_ms(self, feature: str) -> int:
        """How long an operation of `feature` may run, by the catalog."""
        known = self._ledger.catalog.features.get(feature)
        return TIMEOUT_MS if known is None else known.timeout_ms

    async def balance(self, organization: str) -> Balance | None:
        """The balance as of the last commit (R-LED-1)."""
        account = await self._ledger.account(organization)
        if account is None or self._ways is None:
            return None if account is None else balance(account, self._ledger.catalog)
        return await self._ways.balance(organization, account)

    async def journal(self, organization: str, before: str | None, limit: int) -> JournalView | None:
        """A page of the journal, newest first (R-LED-5)."""
        if before is not None and not (
            before.isascii() and before.isdigit() and len(before) < MARK_CHARS_MAX
        ):
            raise Refused(wellformed.mark_refused())
        page = await self._ledger.journal(organization, None if before is None else int(before), limit)
        return None if page is None else wiring.journal_view(page)

    async def operation(self, organization: str, operation: str) -> OperationView | None:
        """Everything that happened to one operation."""
        operation = self._books.operation_id(operation)
        rows = await self._ledger.operation(organization, operation)
        return wiring.operation_view(operation, rows) if rows else None

    async def organizations(self, after: str, limit: int) -> Sequence[str]:
        """Organization ids in order."""
        return await self._ledger.organizations(after, limit)

    async def features(self, organization: str) -> Features | None:
        """Every feature with on/off and the reason (R-LIC-4)."""
        return await wiring.features(self._ledger, self._clock, organization)

    async def check(self, organization: str, use: Reserve) -> Checks | Refusal | None:
        """What every layer says to a use, changing nothing (R-ABU-8)."""
        wrong = wellformed.refused(Envelope(organization, use))
        found = wrong or await wiring.battery(self._ledger, self._clock, organization, use)
        if self._ways is None or not isinstance(found, Checks):
            return found
        return await self._ways.checks(organization, found)

    async def catalog(self) -> CatalogView:
        """What is sold."""
        return wiring.catalog_view(self._ledger.catalog, self._clock.now())

    async def health(self) -> Health:
        """How the store is doing."""
        return await self._ledger.health()

    async def forget_user(self, organization: str, user: str) -> bool | None:
        """Erase the name of a user; False if there was none."""
        if await self._ledger.account(organization) is None:
            return None
        return await wiring.forget_user(self._ledger, self._clock, self._ids, organization, user)

    async def operator_keys(self) -> Sequence[OperatorKey]:
        """Every operator key, oldest first."""
        return await self._ledger.operator_keys()

    async def create_operator_key(self, name: str, key: str) -> NewOperatorKey:
        """A new operator key; its text is shown this once."""
        del key  # nothing is sent twice in one process
        wrong = wellformed.name_refused(name, "name")
        if wrong is not None:
            raise Refused(wrong)
        made, text = await wiring.create_operator_key(self._ledger, self._clock, self._ids, name)
        return NewOperatorKey(id=made.id, name=made.name, created_at=made.created_at, key=text)

    async def revoke_operator_key(self, key_id: str) -> bool:
        """Revoke an operator key; False if it is unknown or revoked already."""
        return await self._ledger.revoke_operator_key(key_id)

    async def verify(self, older: Heads | None = None) -> Verdict:
        """Replay the whole journal (R-LED-5)."""
        return await self._ledger.verify(older)

    async def close(self) -> None:
        """Close the shop and the ledger."""
        try:
            if self._trader is not None:
                await self._trader.shop.close()
        finally:
            await self._ledger.close()
