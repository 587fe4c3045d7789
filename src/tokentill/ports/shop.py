"""Ports of the shop: rows beside the journal, and payment providers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Generic, Literal, Protocol, TypeVar, runtime_checkable

from msgspec import Struct

from tokentill.rules.happenings import AnyHappening, DisputeState
from tokentill.rules.links import Link
from tokentill.rules.purchases import Purchase
from tokentill.rules.rows import EmbeddedPayment, Payer, ProviderEvent, Row, Subscription

R = TypeVar("R", bound=Row)


class Room(Struct, frozen=True):
    """A limit on rows that is checked in the very transaction that adds one.

    There is room while fewer than `most` rows have all the values of `equal` and, in the column `above[0]`, more
    than `above[1]`.
    """

    most: int
    equal: tuple[tuple[str, str | int], ...]
    above: tuple[str, int] | None = None


class Added(Struct, Generic[R], frozen=True):
    """What became of an `add`: the row as it is stored now, and whether it is new, was there, or found no room."""

    row: R
    how: Literal["new", "there", "full"]


@runtime_checkable
class Rows(Protocol):
    """What the shop keeps beside the journal (`tokentill.rules.rows`). Every call is one transaction.

    All calls raise `StoreDown` when the database cannot be reached.
    """

    async def add(self, row: R, *rooms: Room) -> Added[R]:
        """Store a new row as version 1; a row of this id that is there already stays as it is."""
        ...

    async def put(self, row: R) -> R | None:
        """Store the changed row if nobody changed it since it was read; None if somebody did (read it again)."""
        ...

    async def get(self, kind: type[R], row_id: str, organization: str = "") -> R | None:
        """The row of this id; `organization` as the row has it."""
        ...

    async def look(self, kind: type[R], row_id: str) -> R | None:
        """The row of this id, whosever it is, as it is stored now: for what every call asks for."""
        ...

    async def find(
        self,
        kind: type[R],
        equal: Mapping[str, str | int],
        *,
        above: tuple[str, int] | None = None,
        before: str | None = None,
        limit: int = 100,
    ) -> Sequence[R]:
        """Rows of these values, newest id first, older than id `before`; `above`: where that column is larger."""
        ...

    async def count(self, kind: type[R], room: Room) -> int:
        """How many rows take up the room, counted no further than it is full, so that it costs no more than that."""
        ...

    async def tally(self, kind: type[R], column: str) -> Mapping[str, int]:
        """How many rows there are of each value of the column, for metrics."""
        ...

    async def among(self, kind: type[R], ids: Sequence[str]) -> Sequence[R]:
        """The rows of these ids that there are, of any organization, all as of one moment."""
        ...

    async def claim(self, kind: type[R], now: int, lease_ms: int, limit: int = 100) -> Sequence[R]:
        """Rows that are due, soonest first, theirs for `lease_ms`: until then no other claim gets them."""
        ...

    async def drop(self, kind: type[R], row_id: str, organization: str = "") -> bool:
        """Delete the row; False if it was not there."""
        ...

    async def position(self, consumer: str) -> str:
        """How far a consumer of the journal has read; "" at first."""
        ...

    async def keep_position(self, consumer: str, position: str) -> None:
        """Remember how far a consumer has read."""
        ...


class VendorDown(Exception):
    """The payment provider could not be reached or failed on its side; whether it acted is not known.

    Asking again under the same key is safe.
    """


class VendorRefused(Exception):
    """The payment provider refused: `code` is its reason, the message says what to do. Asking again will not help."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class BadSignature(Exception):
    """What claims to be a webhook of the provider is not: forged, altered, too old, or for another account."""


class Started(Struct, frozen=True):
    """A checkout that can be paid: where to send the customer, and until when."""

    checkout: str
    url: str
    expires_at: int


class Order(Struct, frozen=True, kw_only=True):
    """What a provider needs to know of a purchase to take money for it."""

    purchase: Purchase
    success_url: str
    cancel_url: str
    email: str | None = None
    customer: str | None = None
    """The provider's own id of the customer, if it has one."""
    price_ref: str | None = None
    """The provider's price id of the pack or plan, where the catalog or the environment names one."""
    interval: Literal["month", "year", "days"] | None = None
    """How often a plan is paid; None for a single payment."""
    interval_days: int = 30
    trial_days: int = 0
    save_method: bool = False


class Inbound(Struct, frozen=True):
    """A webhook as it came: raw body and lower-case header names."""

    body: bytes
    headers: Mapping[str, str]


@runtime_checkable
class Payments(Protocol):
    """A payment provider (R-PLAT-1). `key` makes a call repeatable: the same key never moves money twice.

    Calls raise `VendorDown` (unknown outcome, ask again) or `VendorRefused` (a reason to show).
    """

    name: str

    def step(self, currency: str) -> int:
        """In how many minor units of the currency money moves here: amounts are multiples of it."""
        ...

    def least(self, currency: str) -> int:
        """The least that can be paid here, in minor units of the currency."""
        ...

    async def checkout(self, order: Order, key: str) -> Started:
        """Begin a hosted checkout for one payment or a subscription."""
        ...

    async def close_checkout(self, purchase: Purchase) -> None:
        """End an open checkout, so that it cannot be paid any more."""
        ...

    async def charge_saved(self, order: Order, payer: Payer, key: str) -> Sequence[AnyHappening] | Started:
        """Take the money from a saved method, now; `Started` where the customer must confirm first (R-SALE-3)."""
        ...

    async def look(self, purchase: Purchase) -> Sequence[AnyHappening]:
        """What the provider knows of the purchase now, as happenings; for whatever no webhook told us."""
        ...

    async def refund(self, purchase: Purchase, amount: int, key: str) -> Sequence[AnyHappening]:
        """Give back `amount` minor units to where they came from; no happening yet where it is pending."""
        ...

    async def portal(self, customer: str, return_url: str) -> str | None:
        """Where the customer changes payment method and sees invoices; None if the provider has no such page."""
        ...

    async def change_subscription(
        self, subscription: Subscription, order: Order, credit: int, key: str
    ) -> Sequence[AnyHappening] | Started:
        """Move a subscription to the order's plan now: its price less `credit` is due at once, a new period begins."""
        ...

    async def end_subscription(self, subscription: Subscription, *, now: bool, key: str) -> None:
        """Cancel at the end of what is paid, or now."""
        ...

    async def renew_as(self, subscription: Subscription, order: Order | None, key: str) -> None:
        """From the next invoice on bill the order's plan (None = the one billed now); nothing is due today.

        A cancellation that was to come at the end of what is paid is withdrawn.
        """
        ...

    async def apply_credit(self, purchase: Purchase, key: str) -> bool:
        """Take the purchase's `credit_used` off its invoice, which was drafted; whether it is off, now or before.

        False: the invoice is collected whole, or was, and asking again can change nothing.
        """
        ...

    async def event(self, inbound: Inbound, now: int) -> ProviderEvent:
        """The webhook as an event to keep, once its signature, age and account are right; `BadSignature` if not."""
        ...

    async def happenings(self, event: ProviderEvent) -> Sequence[AnyHappening]:
        """What the event says, empty where it says nothing to us. May ask the provider for the current state."""
        ...

    async def close(self) -> None:
        """Let connections go."""
        ...


class Paying(Struct, frozen=True):
    """What became of a try to pay a test payment: its state, why it was declined, and the events to deliver."""

    state: str
    events: tuple[Inbound, ...] = ()
    code: str | None = None


class TestCard(Struct, frozen=True):
    """A card number that does one thing, and what that is, in words."""

    __test__ = False  # it is no test, whatever its name begins with

    number: str
    text: str


@runtime_checkable
class EmbeddedPayments(Payments, Protocol):
    """The embedded provider: what its page, a test clock and a person trying the shop may do beyond the port.

    Events that come back are to be delivered by the way in of webhooks, and then to be told as `heard`; nothing has
    reached an account yet. Whoever dies in between leaves a payment that is due, with what is `untold` of it.
    """

    cards: tuple[TestCard, ...]

    async def payment(self, ident: str) -> EmbeddedPayment | None:
        """The payment of this id."""
        ...

    async def pay(self, ident: str, number: str) -> Paying:
        """The customer enters a card: paid, declined, confirming, expired, or not_a_test_card."""
        ...

    async def confirm(self, ident: str) -> Paying:
        """The customer confirms in the name of the bank."""
        ...

    async def cancel(self, ident: str) -> Paying:
        """The customer leaves without paying."""
        ...

    async def dispute(self, ident: str, state: DisputeState) -> Paying:
        """The customer's bank opens or decides a dispute."""
        ...

    async def renew(self, ident: str, now: int) -> Paying:
        """Do one thing that is due of a subscription at `now`; idle where nothing is.

        Its next invoice is drafted, an hour before it is paid or declined; one is tried again; or it is ended.
        """
        ...

    def acts_at(self, payment: EmbeddedPayment) -> int | None:
        """When it does something about the payment by itself, the next time; None where it never will."""
        ...

    async def untold(self, ident: str) -> Paying:
        """What became true of a payment and was not heard yet."""
        ...

    async def heard(self, event: Inbound) -> None:
        """The event is kept, so it is told no more."""
        ...

    async def change_card(self, ident: str, number: str, now: int) -> Paying:
        """The customer gives another card for a subscription; an open invoice is tried with it at once."""
        ...

    def visitor(self, link: str) -> Link | None:
        """Whose portal a link opens now, and where it leads back to; None if we did not make it or it has ended."""
        ...

    async def subscriptions(self, organization: str) -> Sequence[EmbeddedPayment]:
        """The organization's subscriptions that run, newest first."""
        ...

    async def collect(self, ident: str, now: int) -> Paying:
        """The customer pays the invoice that is owed of a subscription, with the card that it has; else idle."""
        ...

    async def leave(self, ident: str, now: int, *, leaving: bool) -> Paying:
        """The customer cancels a subscription at the end of its period, or withdraws that."""
        ...
