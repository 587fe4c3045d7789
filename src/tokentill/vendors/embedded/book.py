"""The book: payments of the embedded provider, each changed in one write together with what is to be told of it.

What becomes true of a payment is an event that must reach the till. It stands on the row (`untold`) from the very
write that makes it true until the way in of webhooks has kept it, so a process may end in between and the next one
tells it. Whoever made the change tells it at once; after `LEASE_MS` the clerk does. Telling twice is harmless, because
an event is called after its payment and its name.

Requirement ids: R-PLAT-1, R-PACK-3.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from tokentill.ports import Clock, Inbound, Paying, Rows, VendorDown
from tokentill.rules import happenings as h
from tokentill.rules.rows import EmbeddedPayment, Untold
from tokentill.rules.waiting import LEASE_MS
from tokentill.vendors.embedded import billing
from tokentill.vendors.embedded.facts import Facts
from tokentill.vendors.embedded.signing import Signing, told

UNTOLD_MAX = 100
"""So many events of one payment may wait to be told; nothing more happens to it until they are."""

Edit = Callable[[EmbeddedPayment], EmbeddedPayment]


class Book:
    """The rows of payments; `key` signs events and makes the fingerprints of cards."""

    def __init__(self, rows: Rows, key: bytes, clock: Clock) -> None:
        self.rows = rows
        self.facts = Facts(key)
        self._signing = Signing(key, clock)
        self._clock = clock

    async def payment(self, ident: str) -> EmbeddedPayment | None:
        """The payment of this id."""
        found = await self.rows.find(EmbeddedPayment, {"id": ident}, limit=1)
        return found[0] if found else None

    async def change(self, ident: str, edit: Edit) -> EmbeddedPayment | None:
        """The payment after `edit`, whatever others made of it meanwhile; None if there is none."""
        while (payment := await self.payment(ident)) is not None:
            changed = edit(payment)
            if changed == payment:
                return payment
            due_at, lease = billing.acts_at(changed), self._clock.now() + LEASE_MS
            if changed.untold:
                due_at = lease
            elif due_at is not None and _terms(changed) != _terms(payment):
                # Whoever changes the plan is left to know of it before it is drafted.
                due_at = max(due_at, lease)
            stored = await self.rows.put(replace(changed, due_at=due_at))
            if stored is not None:
                return stored
        return None

    def paying(self, payment: EmbeddedPayment, state: str | None = None, code: str | None = None) -> Paying:
        """What became of a try, with everything that is still to be told of the payment."""
        events = tuple(self._signing.event_of(payment.id, one) for one in payment.untold)
        return Paying(payment.state if state is None else state, events, code)

    async def heard(self, event: Inbound) -> None:
        """The event is kept: it is told no more."""
        ident, _, name = told(event.body).id.partition(".")

        def without(row: EmbeddedPayment) -> EmbeddedPayment:
            return replace(row, untold=tuple(one for one in row.untold if one.name != name))

        await self.change(ident, without)

    def now(self, payment: EmbeddedPayment, least: int = 0) -> int:
        """The time of an event: never before what it follows, whose account may be on a clock of its own."""
        return max(self._clock.now(), payment.created_at, payment.paid_at or 0, least)


def _terms(row: EmbeddedPayment) -> tuple[str | None, int]:
    return row.plan, row.recurring


def say(row: EmbeddedPayment, name: str, *facts: h.AnyHappening) -> EmbeddedPayment:
    """The row with an event of these facts to be told. Raises `VendorDown` where too many wait."""
    if not facts:
        return row
    if len(row.untold) >= UNTOLD_MAX:
        raise VendorDown("Too much of this payment could not be told yet.")
    return replace(row, untold=(*row.untold, Untold(name, facts)))
