"""Bodies and queries of the shop. As everywhere, none of them states a price or an amount that is charged.

An address that a customer comes back to is the host's own; the till only sends the customer there.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from tokentill.rules.catalog import TOKENS_MAX
from tokentill.rules.money import MONEY_MAX
from tokentill.rules.names import ROW_CHARS_MAX, TEXT_CHARS_MAX
from tokentill.web.bodies import Body, Name, Query, Reason, Text, Time, Tokens

Url = Annotated[str, Meta(max_length=2000, pattern=r"^https?://[!-~]+$")]
Email = Annotated[str, Meta(min_length=3, max_length=254)]
Minor = Annotated[int, Meta(ge=1, le=MONEY_MAX)]
Limit = Annotated[int, Meta(ge=1, le=500)]
Before = Annotated[str, Meta(min_length=1, max_length=ROW_CHARS_MAX)]
Days = Annotated[int, Meta(ge=1, le=36_500)]
Types = Annotated[tuple[Annotated[str, Meta(max_length=60)], ...], Meta(max_length=50)]


class PacksQuery(Query, frozen=True, kw_only=True):
    """The packs with the code `promo`, for an operation that lacks `missing` tokens."""

    TEXTS: ClassVar[tuple[str, ...]] = ("promo",)
    promo: Annotated[str, Meta(min_length=1, max_length=64)] | None = None
    missing: Annotated[int, Meta(ge=0, le=TOKENS_MAX)] = 0


class PurchaseBody(Body, frozen=True, kw_only=True):
    """An order of one `pack` or one `plan`, at the catalog's price with the code `promo`.

    A pack is paid at a checkout, or at once with a saved method: `payer` names it, `one_click` takes the one used
    last. A plan begins by a checkout; where a subscription runs, the order is an upgrade that its method pays.
    `provider`: stripe, paypal or embedded, by default the first that is set up. `success_url`, `cancel_url`: where
    the customer comes back to, with `{purchase}` for the id. `save_method`: the customer agrees to save the method.
    `use_credit`: money credit pays for a pack as far as it reaches. `withdrawal_waived`: the customer agrees to the
    text of `withdrawal` in the packs, and so gives up the right of withdrawal; never send it unasked. `offered_at`: when
    the offer was shown, as it says.
    """

    NAMES: ClassVar[tuple[str, ...]] = ("pack", "plan", "user")
    TEXTS: ClassVar[tuple[str, ...]] = ("promo", "provider", "payer", "email")
    pack: Name | None = None
    plan: Name | None = None
    promo: Annotated[str, Meta(max_length=64)] | None = None
    provider: Text | None = None
    payer: Text | None = None
    one_click: bool = False
    user: Name | None = None
    email: Email | None = None
    success_url: Url | None = None
    cancel_url: Url | None = None
    save_method: bool = False
    use_credit: bool = False
    withdrawal_waived: bool = False
    offered_at: Time | None = None


class PayBody(Body, frozen=True, kw_only=True):
    """How an invoice that is still open is to be paid; see the order of a pack."""

    TEXTS: ClassVar[tuple[str, ...]] = ("provider", "email")
    provider: Text | None = None
    email: Email | None = None
    success_url: Url | None = None
    cancel_url: Url | None = None
    save_method: bool = False


class PageQuery(Query, frozen=True, kw_only=True):
    """A page; `before` is the `next` of the page before."""

    TEXTS: ClassVar[tuple[str, ...]] = ()
    before: Before | None = None
    limit: Limit = 50


class TopUpBody(Body, frozen=True, kw_only=True):
    """Buy `pack` when fewer than `threshold` tokens are left, for at most `ceiling` minor units a calendar month.

    The ceiling is what the saved method is charged at most. `use_credit`: money credit pays as far as it reaches, which
    does not count toward the ceiling; false keeps it for other purchases. Without a saved method credit pays alone, and
    has to suffice for the whole pack.
    """

    NAMES: ClassVar[tuple[str, ...]] = ("pack",)
    threshold: Tokens
    pack: Name
    ceiling: Minor
    use_credit: bool = True


class PortalBody(Body, frozen=True, kw_only=True):
    """Where the customer comes back to from the provider's page."""

    return_url: Url


class SubscriptionBody(Body, frozen=True, kw_only=True):
    """Move to `plan`: a higher one at once, a lower one when the period ends; the present one withdraws a change.

    `use_credit` and `withdrawal_waived` as in the order of a pack, for what is paid now.
    """

    NAMES: ClassVar[tuple[str, ...]] = ("plan", "user")
    TEXTS: ClassVar[tuple[str, ...]] = ("provider", "email")
    plan: Name
    provider: Text | None = None
    user: Name | None = None
    email: Email | None = None
    success_url: Url | None = None
    cancel_url: Url | None = None
    use_credit: bool = False
    withdrawal_waived: bool = False


class RedeemBody(Body, frozen=True, kw_only=True):
    """The code as the customer types it."""

    NAMES: ClassVar[tuple[str, ...]] = ("user",)
    TEXTS: ClassVar[tuple[str, ...]] = ("code",)
    code: Annotated[str, Meta(min_length=1, max_length=64)]
    user: Name | None = None


class CodesBody(Body, frozen=True, kw_only=True):
    """Make `count` codes of `tokens` each, called `batch` on the record and `title` where customers see it.

    `valid_days`: how long the tokens last once redeemed. `expires_at`: until when a code can be redeemed.
    """

    TEXTS: ClassVar[tuple[str, ...]] = ("batch", "title")
    batch: Annotated[str, Meta(min_length=1, max_length=100, pattern=r"\S")]
    tokens: Tokens
    count: Annotated[int, Meta(ge=1, le=1000)] = 1
    title: Annotated[str, Meta(max_length=100)] = ""
    valid_days: Days | None = None
    expires_at: Time | None = None


class CodesQuery(Query, frozen=True, kw_only=True):
    """Codes of one batch, or of all."""

    TEXTS: ClassVar[tuple[str, ...]] = ("batch",)
    batch: Annotated[str, Meta(min_length=1, max_length=100)] | None = None
    before: Before | None = None
    limit: Limit = 100


class SwitchBody(Body, frozen=True, kw_only=True):
    """Turn one switch: `packs`, `plans`, `topups`, or `pack:` and the id of a pack."""

    TEXTS: ClassVar[tuple[str, ...]] = ("switch", "reason")
    switch: Text
    on: bool
    reason: Reason


class AlertsQuery(Query, frozen=True, kw_only=True):
    """What nobody has seen yet, with `seen` 1 everything."""

    seen: Annotated[int, Meta(ge=0, le=1)] = 0
    before: Before | None = None
    limit: Limit = 100


class ContactBody(Body, frozen=True, kw_only=True):
    """Where the organization gets its e-mail; `quiet` are types of notices that it does not want."""

    TEXTS: ClassVar[tuple[str, ...]] = ("email", "name")
    email: Email
    name: Annotated[str, Meta(max_length=TEXT_CHARS_MAX)] = ""
    quiet: Types = ()


class EndpointBody(Body, frozen=True, kw_only=True):
    """An address (https) that is told of what happens; without `events` of everything."""

    url: Annotated[str, Meta(min_length=1, max_length=2000)]
    events: Types = ()


class MessagesQuery(Query, frozen=True, kw_only=True):
    """Messages that stand so: pending, sent or dead."""

    state: Annotated[str, Meta(pattern="^(pending|sent|dead)$")] = "dead"
    before: Before | None = None
    limit: Limit = 50


class EventsQuery(Query, frozen=True, kw_only=True):
    """Events of payment providers that stand so: new, waiting, done, ignored or dead."""

    state: Annotated[str, Meta(pattern="^(new|waiting|done|ignored|dead)$")] = "dead"
    before: Before | None = None
    limit: Limit = 50


class ClockBody(Body, frozen=True, kw_only=True):
    """Where the organization's simulated clock shall stand, epoch milliseconds."""

    to: Time
