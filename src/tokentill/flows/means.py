"""Means: what the flows of the shop work with, and how they change a row that others change too.

A row is read, changed as a value and put back; if somebody changed it meanwhile it is read again and the change
is made anew (`change`). So a change must be one that can be made on any state of the row.

Requirement ids: R-PACK-3.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from math import lcm
from typing import TypeVar

import structlog
from msgspec.structs import replace

from tokentill.flows.send import Retry, insist
from tokentill.ports import Clock, EmbeddedPayments, Ids, Ledger, Payments, Rows
from tokentill.rules import commands as c
from tokentill.rules.account import Account
from tokentill.rules.money import Coins
from tokentill.rules.receipts import Receipt
from tokentill.rules.refusals import Refusal
from tokentill.rules.rows import Alert, Payer, Reference, Row

R = TypeVar("R", bound=Row)

PATIENCE = Retry(tries_max=3, delay_ms_min=20, delay_ms_max=200, attempt_ms_max=5_000, total_ms_max=6_000)
"""How long a step insists by itself; the clerk takes it up again later."""

PAGE = 500
"""Rows that are read at a time."""

TRIES_MAX = 1_000
"""So often a row is not changed by others between reading and putting; more is a bug."""

log = structlog.get_logger("tokentill.shop")


@dataclass(frozen=True)
class Means:
    """What the flows of the shop are given. `secret` is the till's own, from which codes get their digest."""

    ledger: Ledger
    rows: Rows
    payments: Mapping[str, Payments]
    clock: Clock
    ids: Ids
    secret: bytes
    address: Callable[[], str] = str
    """Where customers reach the till's own pages, without a slash at the end; empty where nobody said."""
    prices: Mapping[str, str] = field(default_factory=dict)
    """Price ids of payment providers, by the names that the environment gives them."""
    patience: Retry = PATIENCE

    async def submit(self, organization: str, command: c.Command, key: str) -> Receipt | Refusal:
        """Have the account take a step that an earlier try may have taken already. Raises `StoreDown`."""
        envelope = c.Envelope(organization, command, key, keyed=False, retry=True)
        return await insist(lambda _again: self.ledger.submit(envelope), self.patience, key)

    async def time_of(self, organization: str) -> int:
        """The account's own time: now, or where it stands still, its time there."""
        account = await self.ledger.account(organization)
        now = self.clock.now()
        return now if account is None else account.moment(now)

    def selling_time(self, account: Account | None) -> int:
        """The moment of an order: now, or where a simulated clock is ahead of it, the time there."""
        now = self.clock.now()
        return now if account is None else max(now, account.state.time)

    def providers(self, account: Account | None) -> tuple[str, ...]:
        """The payment providers that may take money of the account: on a simulated clock none that takes real money."""
        simulated = account is not None and account.state.simulated
        return tuple(
            name for name, one in self.payments.items() if not simulated or isinstance(one, EmbeddedPayments)
        )

    def step(self, provider: str, currency: str) -> int:
        """In how many minor units of the currency the provider moves money; 1 where it is not set up here."""
        payments = self.payments.get(provider)
        return 1 if payments is None else payments.step(currency)

    def coins(self, provider: str | None = None) -> Coins:
        """What can be paid of the catalog's currency at the provider, by default at every one that is set up."""
        currency = self.ledger.catalog.currency
        found = [one for name, one in self.payments.items() if provider in (None, name)]
        step = lcm(*(one.step(currency) for one in found))
        return Coins(step, max((one.least(currency) for one in found), default=1))

    async def change(self, row: R, edit: Callable[[R], R]) -> R:
        """The row after `edit`, whatever others made of it meanwhile; unchanged rows are not written."""
        kind = type(row)
        for _ in range(TRIES_MAX):
            edited = edit(row)
            if edited == row:
                return row
            stored = await self.rows.put(edited)
            if stored is not None:
                return stored
            read = await self.rows.get(kind, row.id, row.organization)
            assert read is not None, f"{kind.__name__} {row.id} has gone"
            row = read
        raise AssertionError(f"{kind.__name__} {row.id} changes all the time")

    async def upsert(self, row: R, edit: Callable[[R], R]) -> R:
        """The row after `edit`; where there is none of its id yet, `row` after `edit` is stored."""
        read = await self.rows.get(type(row), row.id, row.organization)
        if read is None:
            added = await self.rows.add(edit(row))
            if added.how == "new":
                return added.row
            read = added.row
        return await self.change(read, edit)

    async def forget(self, payer: Payer) -> Payer:
        """A saved method that is charged no more; only an order from after this moment may save it again (R-SALE-3)."""
        now = self.clock.now()
        return await self.change(payer, lambda row: replace(row, saved=None, forgotten_at=now))

    async def every(self, kind: type[R], equal: Mapping[str, str | int]) -> list[R]:
        """All rows whose columns have these values, newest id first, however many they are."""
        found: list[R] = []
        before: str | None = None
        while page := await self.rows.find(kind, equal, before=before, limit=PAGE):
            found += page
            before = page[-1].id
            if len(page) < PAGE:
                break
        return found

    async def refer(self, provider: str, refs: set[str], purchase: str, owner: str) -> None:
        """Remember that these objects of the provider belong to the purchase."""
        for ref in sorted(refs):
            ident = f"{provider}:{ref}"
            # Most are known already, and looking does not wait for the writer as adding does.
            if await self.rows.get(Reference, ident) is None:
                row = Reference(id=ident, purchase=purchase, owner=owner, created_at=self.clock.now())
                await self.rows.add(row)

    async def alert(self, organization: str, code: str, cause: str, text: str) -> None:
        """Ask an operator to look at something, once for each cause."""
        row = Alert(
            id=f"{code}:{cause}",
            organization=organization,
            code=code,
            text=text,
            created_at=self.clock.now(),
        )
        if (await self.rows.add(row)).how == "new":
            log.warning("an operator should look", code=code, organization=organization, cause=cause)


def deed_key(*names: str | int) -> str:
    """An idempotency key (32 hex digits) of something done for a cause."""
    text = "".join(f"{len(name)}:{name}" for name in map(str, names))  # no two rows of names are one text
    return blake2b(text.encode(), digest_size=16, person=b"tokentill deed").hexdigest()


def later(row: R, due_at: int | None) -> R:
    """The row, to be looked at again at `due_at`."""
    return row if row.due_at == due_at else replace(row, due_at=due_at)
