"""The test clock: run an organization through a year of resets, invoices and failures in seconds.

Only for an account that was opened on a simulated clock, and only where the embedded provider takes the money.
Its time stands still until it is moved here, and is moved from one deadline to the next: to the next invoice of a
subscription, which is drafted an hour before, so that credit can pay for it, and then billed (or fails, and is tried
again), or to where it shall stand. Everything due in between happens in the account itself, in order, at its own
moment (design idea 4). What a process that died has left untold is told before anything else.

An organization on the real clock that tries a plan with test payments is billed there when it is due (`Billing`).

Requirement ids: R-PLAN-4, R-LIC-1, R-LIC-3, R-PLAT-1, R-PACK-3, R-REF-4.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from msgspec import Struct

from tokentill.flows.means import Means, later
from tokentill.ports import EmbeddedPayments, Ids, Inbound, Ledger, Paying
from tokentill.rules import commands as c
from tokentill.rules.catalog import DAY_MS
from tokentill.rules.refusals import Refusal
from tokentill.rules.rows import EmbeddedPayment

Deliver = Callable[[str, Inbound], Awaitable[object]]
"""The way in of webhooks: the provider's name and what it sent."""

STOPS_MAX = 4_000
"""Drafts, invoices and tries in one move; enough for a century of months."""

STEP_MS = 365 * DAY_MS
"""An account's clock moves no further in one step."""


async def tell(provider: EmbeddedPayments, paying: Paying, deliver: Deliver) -> Paying:
    """Deliver the events of the embedded provider that came of a deed, each until it is kept."""
    for event in paying.events:
        await deliver(provider.name, event)
        await provider.heard(event)
    return paying


class Billing:
    """Bills subscriptions of the embedded provider in real time; `deliver` as for the test clock."""

    def __init__(self, means: Means, provider: EmbeddedPayments, deliver: Deliver) -> None:
        self._means = means
        self._provider = provider
        self._deliver = deliver

    async def attend(self, row: EmbeddedPayment) -> object:
        """Tell what is untold, else bill what is due, unless the organization has a clock of its own."""
        means = self._means
        if row.untold:
            return await tell(self._provider, await self._provider.untold(row.id), self._deliver)
        account = await means.ledger.account(row.organization)
        if account is None or account.state.simulated or row.next_at is None:
            return await means.change(row, lambda known: known if known.untold else later(known, None))
        return await tell(
            self._provider, await self._provider.renew(row.id, means.clock.now()), self._deliver
        )


class Moved(Struct, frozen=True):
    """Where the clock stands now, and how many invoices were billed or tried on the way."""

    time: int
    invoices: int


class TestClock:
    """Moves simulated clocks; `deliver` takes an event in and returns when the account knows of it."""

    __test__ = False  # it is no test, whatever its name begins with

    def __init__(self, ledger: Ledger, provider: EmbeddedPayments, deliver: Deliver, ids: Ids) -> None:
        self._ledger = ledger
        self._provider = provider
        self._deliver = deliver
        self._ids = ids

    async def advance(self, organization: str, to: int) -> Moved | Refusal:
        """Move the clock to `to` (epoch ms). Refused for accounts on the real clock, and backwards."""
        invoices = 0
        for _ in range(STOPS_MAX):
            account = await self._ledger.account(organization)
            now = to if account is None else account.state.time
            due = await self._next(organization, to)
            stop = min(to, now + STEP_MS) if due is None else max(now, due[0])
            stop = min(stop, now + STEP_MS)
            moved = await self._ledger.submit(
                c.Envelope(organization, c.Advance(to=stop), self._ids.operation())
            )
            if isinstance(moved, Refusal):
                return moved
            if due is not None and due[0] <= stop:
                done = await self._provider.renew(due[1], stop)
                invoices += done.state in ("paid", "declined")
                await tell(self._provider, done, self._deliver)
            elif stop >= to:
                break
        return Moved(to, invoices)

    async def _next(self, organization: str, to: int) -> tuple[int, str] | None:
        """When something of a subscription is due next, up to `to`, and of which."""
        rows = await self._payments(organization)
        due = [(at, row.id) for row in rows if (at := self._provider.acts_at(row)) is not None]
        return min((one for one in due if one[0] <= to), default=None)

    async def _payments(self, organization: str) -> Sequence[EmbeddedPayment]:
        """The organization's payments, once everything of them is told."""
        while True:
            found = await self._ledger.rows.find(EmbeddedPayment, {"organization": organization}, limit=1_000)
            untold = [row for row in found if row.untold]
            if not untold:
                return found
            for row in untold:
                await tell(self._provider, await self._provider.untold(row.id), self._deliver)
