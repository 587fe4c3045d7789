"""Rows: what the shop keeps beside the journal, each a small value with an id, a version and a deadline.

A purchase, an event of a payment provider, a message to be sent: each is one row that is read, changed as a
value and put back only if nobody changed it meanwhile (`version`). Whatever must happen later is `due_at`:
a clerk takes rows that are due and takes them one step further, so a crash between two steps loses nothing
(design idea 5). Tokens never move here; they move in accounts, by commands whose keys come from the row.

Times are epoch milliseconds. `organization` is empty for what belongs to the operator alone.
"""

from __future__ import annotations

from msgspec import Struct

from tokentill.rules import happenings as h


class Row(Struct, frozen=True, kw_only=True):
    """What every row has. `version` 0 = not stored yet; the store counts it up at every change."""

    id: str
    organization: str = ""
    version: int = 0
    created_at: int = 0
    due_at: int | None = None
    """When the clerk shall look at it next; None = nothing will happen by itself."""


class Reference(Row, frozen=True, kw_only=True):
    """Which purchase an object of a provider belongs to; `id` is `provider:ref`, and `organization` empty."""

    purchase: str
    owner: str
    """The organization of the purchase."""


class ProviderEvent(Row, frozen=True, kw_only=True):
    """An event as a provider sent it, kept whether or not we know its type; `id` is `provider:event id`.

    `state`: new → done | ignored (nothing in it for us) | waiting (its purchase is not known yet) | dead.
    """

    provider: str
    type: str
    body: str
    state: str = "new"
    tries: int = 0
    problem: str | None = None


class Subscription(Row, frozen=True, kw_only=True):
    """A subscription at a provider; `id` is `provider:ref`. The account holds the plan, this who bills it.

    `amount` of `currency` is what its next invoice shall be for, on `next_plan` where that will be another plan.
    """

    provider: str
    ref: str
    plan: str | None
    status: str
    amount: int | None = None
    currency: str = ""
    next_plan: str | None = None
    change: str | None = None
    """A change that was asked for and is not done yet: `verb:plan:moment`."""
    customer: str | None = None
    saved: str | None = None
    period_end: int | None = None
    ends_at: int | None = None
    trial_end: int | None = None
    read_at: int = 0
    """When the provider was last asked how it stands."""
    card: str | None = None
    """Of the embedded provider: the test card that pays its invoices."""


class Payer(Row, frozen=True, kw_only=True):
    """A payment method an organization has used; `id` is `provider:organization:method`.

    `method` is the provider's fingerprint, the same for the same card wherever it is used. `saved` names it
    for a purchase in one click; None where the customer did not agree to that.
    """

    provider: str
    method: str
    customer: str | None = None
    saved: str | None = None
    label: str = ""
    used_at: int = 0
    forgotten_at: int | None = None
    """When the customer last had it forgotten; an order from before does not bring it back."""


class TopUpStop(Struct, frozen=True, array_like=True):
    """A stop of an auto top-up by itself. `number`: the version of the row that it ended, so no two have one."""

    number: int
    at: int
    reason: str
    pack: str
    purchase: str | None
    """The purchase that it was waiting for, if any."""


class TopUp(Row, frozen=True, kw_only=True):
    """Auto top-up of an organization (R-PACK-11); `id` is the organization. Off by itself, on only by hand.

    `ceiling`: most minor units a calendar month that the saved method is charged. `use_credit`: money credit pays first.
    `stopped`: why it stopped itself, None while it runs.
    """

    enabled: bool
    threshold: int
    pack: str
    ceiling: int
    use_credit: bool = True
    stopped: str | None = None
    stopped_at: int | None = None
    month: str = ""
    spent: int = 0
    purchase: str | None = None
    """The purchase it is waiting for; one at a time."""
    untold: tuple[TopUpStop, ...] = ()
    """Stops of which the customer was not told yet, oldest first."""


class Alert(Row, frozen=True, kw_only=True):
    """Something an operator should look at; `id` names the cause, so that it is raised once."""

    code: str
    text: str
    seen_by: str | None = None
    seen_at: int | None = None


class Switch(Row, frozen=True, kw_only=True):
    """A kill switch (R-PACK-9); `id` is `packs`, `pack:<id>`, `plans` or `topups`. No row = on."""

    on: bool
    reason: str
    actor: str
    at: int


class RedemptionCode(Row, frozen=True, kw_only=True):
    """A code that brings tokens once (R-PACK-8); `id` is a keyed digest of it, `shown` its last four letters."""

    shown: str
    batch: str
    tokens: int
    title: str
    valid_days: int | None = None
    expires_at: int | None = None
    used_at: int | None = None
    used_by: str | None = None
    """The organization that redeemed it."""
    purchase: str | None = None
    revoked: bool = False


class Contact(Row, frozen=True, kw_only=True):
    """Where an organization gets its e-mail; `id` is the organization."""

    email: str
    name: str = ""
    quiet: tuple[str, ...] = ()
    """Notices it does not want; receipts and failed payments are always sent."""


class Endpoint(Row, frozen=True, kw_only=True):
    """An address that gets signed webhooks; of one organization, or of the operator (all organizations)."""

    url: str
    secret: str
    """Encrypted at rest; shown once."""
    events: tuple[str, ...] = ()
    """Types of event it wants; empty = all."""
    enabled: bool = True
    failing_since: int | None = None


class Message(Row, frozen=True, kw_only=True):
    """A notice on its way: one e-mail, or one event to one endpoint. `id` names the cause and the receiver.

    `state`: pending → sent | dead (given up; can be sent again by hand).
    """

    channel: str
    to: str
    type: str
    body: str
    state: str = "pending"
    tries: int = 0
    problem: str | None = None
    sent_at: int | None = None


class Draft(Struct, frozen=True, array_like=True):
    """The next invoice of a subscription of the embedded provider, on the terms it was drafted with (R-REF-4)."""

    invoice: str
    plan: str | None
    amount: int
    credit: int = 0
    """What was taken off it."""

    @property
    def owed(self) -> int:
        """What is collected."""
        return self.amount - self.credit


class Untold(Struct, frozen=True, array_like=True):
    """An event that the embedded provider has still to tell: its name, once for each payment, and the facts in it."""

    name: str
    facts: tuple[h.AnyHappening, ...]


class EmbeddedPayment(Row, frozen=True, kw_only=True):
    """What the embedded provider remembers of one payment, or of the subscription that it began.

    No money moves anywhere. `id` is both the name of the payment and the unguessable part of its page's address.
    `state`: open → confirming → paid | declined | expired | cancelled. `billed`: periods of the subscription that
    were invoiced; `failed_at`: its open invoice could not be collected since then.
    """

    purchase: str
    title: str
    amount: int
    currency: str
    expires_at: int
    success_url: str
    cancel_url: str
    state: str = "open"
    card: str = ""
    tries: int = 0
    paid_at: int | None = None
    refunded: int = 0
    refund_keys: tuple[tuple[str, int], ...] = ()
    """Keys under which money was given back, each with how much."""
    invoice_refunds: tuple[tuple[str, str, int], ...] = ()
    """Of later invoices of a subscription: the invoice, the key, and how much was given back."""
    dispute: str | None = None
    warned: bool = False
    plan: str | None = None
    recurring: int = 0
    interval: str | None = None
    interval_days: int = 30
    trial_days: int = 0
    anchor: int = 0
    billed: int = 0
    next_at: int | None = None
    failed_at: int | None = None
    failures: int = 0
    ends_at: int | None = None
    ended: bool = False
    draft: Draft | None = None
    """Its next invoice, from when it is drafted until it is paid."""
    edition: int = 0
    """How often a draft was dropped or another period was begun; makes the names of later invoices new ones."""
    credited: tuple[str, ...] = ()
    """Invoices that credit was taken off."""
    untold: tuple[Untold, ...] = ()
    """What became true and is not kept as an event yet, oldest first (R-PLAT-1)."""


class ApiKey(Row, frozen=True, kw_only=True):
    """A customer's key (R-SALE-8). `digest`: SHA-256 of its secret; `shown`: the last four characters of its text.

    `features`, `models`: what it may be used for, empty = everything. `read_only`: it may ask for the balance and the
    models, and run nothing. `purse`: keys that count toward one `spend_max`, the first of them; a key that replaces
    another keeps its purse. `works_until` is when it stops working, by `expires_at` or `revoked_at`.
    """

    digest: bytes
    name: str
    shown: str
    purse: str
    works_until: int
    user: str | None = None
    """On whose behalf it calls; None = the key is its own user."""
    features: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    read_only: bool = False
    bought: bool = False
    """It came with a purchase, or replaces one that did."""
    spend_max: int | None = None
    expires_at: int | None = None
    revoked_at: int | None = None
    used_at: int | None = None
    """When it was last used, to the minute."""


class Handover(Row, frozen=True, kw_only=True):
    """What is handed to a customer with a `purchase`, and when what happened (R-SALE-1, R-SALE-4).

    `seed`: what the key that comes with it is made from, until it was handed out; empty where none comes or none is
    left.
    """

    purchase: str
    seed: str = ""
    shown_at: int | None = None
    """When the key was shown to who landed after paying, or to a host that asked."""
    first_call_at: int | None = None
    waiting: bool = True
    """Nothing was charged to the organization since."""


class StoredAnswer(Row, frozen=True, kw_only=True):
    """What a call under an idempotency key answered; `id` names key and organization (R-LED-9).

    `digest`: of what was asked. `state`: running → done (an answer is kept until `expires_at`, `sealed`) | gone (it
    ran, and no answer is kept) | free (it did not run: the next try does). `attempt` counts the tries, of which each
    has a hold of its own. `facts`: headers to answer with again.
    """

    digest: str
    state: str
    attempt: int
    hold: str
    started_at: int
    expires_at: int
    status: int = 0
    facts: tuple[tuple[str, str], ...] = ()
    sealed: str = ""


ROWS: tuple[type[Row], ...] = (
    Reference,
    ProviderEvent,
    Subscription,
    Payer,
    TopUp,
    Alert,
    Switch,
    RedemptionCode,
    Contact,
    Endpoint,
    Message,
    EmbeddedPayment,
    ApiKey,
    Handover,
    StoredAnswer,
)
