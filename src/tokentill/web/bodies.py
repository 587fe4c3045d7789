"""Bodies: what the requests of the API hold, field by field. Strict: no other field is taken.

A body never states a balance, a price or who is calling (R-LED-10). `NAMES` are the fields that must be a
name, `TEXTS` those that are free text (`tokentill.rules.names`).

Units: tokens are whole numbers of the catalog's unit, money whole minor units, times epoch milliseconds.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from tokentill.rules.catalog import TOKENS_MAX
from tokentill.rules.ledger import HOLD_MAX_MS
from tokentill.rules.names import NAME_CHARS_MAX, TEXT_CHARS_MAX
from tokentill.rules.wellformed import ENTRIES_A_PAGE_MAX, ORGANIZATIONS_A_PAGE_MAX

TIME_MAX = 253_402_300_799_999
"""The last millisecond of the year 9999."""

Name = Annotated[str, Meta(min_length=1, max_length=NAME_CHARS_MAX)]
Text = Annotated[str, Meta(max_length=TEXT_CHARS_MAX)]
Reason = Annotated[str, Meta(min_length=1, max_length=TEXT_CHARS_MAX, pattern=r"\S")]
Tokens = Annotated[int, Meta(ge=1, le=TOKENS_MAX)]
TokensOrNone = Annotated[int, Meta(ge=0, le=TOKENS_MAX)]
Change = Annotated[int, Meta(ge=-TOKENS_MAX, le=TOKENS_MAX)]
Time = Annotated[int, Meta(ge=0, le=TIME_MAX)]
TimeoutMs = Annotated[int, Meta(ge=1, le=HOLD_MAX_MS)]


class Body(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every body is."""

    NAMES: ClassVar[tuple[str, ...]] = ()
    TEXTS: ClassVar[tuple[str, ...]] = ()


class Query(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every query is."""

    NAMES: ClassVar[tuple[str, ...]] = ()
    TEXTS: ClassVar[tuple[str, ...]] = ()


class OrganizationBody(Body, frozen=True, kw_only=True):
    """A new organization. Without `plan` it gets the catalog's default plan, with null none.

    `anchor` is the moment its periods are counted from, by default now. `simulated`: its clock stands still and is
    moved by hand, to try out what time does; only where the embedded payment provider is set up.
    """

    NAMES: ClassVar[tuple[str, ...]] = ("id", "plan")
    id: Name
    plan: Name | UnsetType | None = UNSET
    anchor: Time | None = None
    simulated: bool = False


class HoldBody(Body, frozen=True, kw_only=True):
    """Reserve what `quantity` uses of `feature` cost, or `tokens` of a metered one (R-LED-3).

    `least`: take what is free if the whole is not, but not less than this. `timeout_ms`: how long the
    operation may run, by default the feature's own timeout.
    """

    NAMES: ClassVar[tuple[str, ...]] = ("feature", "user")
    feature: Name
    user: Name | None = None
    quantity: Tokens = 1
    tokens: TokensOrNone | None = None
    least: Tokens | None = None
    timeout_ms: TimeoutMs | None = None


class SettleBody(Body, frozen=True, kw_only=True):
    """Charge `tokens` of the hold, all of it without, and give the rest back.

    `output_tokens` is the size of the AI's answer, checked against the cap (R-ABU-4).
    """

    tokens: TokensOrNone | None = None
    output_tokens: TokensOrNone | None = None


class ReleaseBody(Body, frozen=True, kw_only=True):
    """Give the whole hold back and charge nothing."""

    reason: Literal["failed", "timeout", "cancelled"] = "failed"


class ExtendBody(Body, frozen=True, kw_only=True):
    """Let the hold last at least this long from now; it is never shortened."""

    timeout_ms: TimeoutMs


class ChargeBody(Body, frozen=True, kw_only=True):
    """Reserve and settle in one step (R-LED-7)."""

    NAMES: ClassVar[tuple[str, ...]] = ("feature", "user")
    feature: Name
    user: Name | None = None
    quantity: Tokens = 1
    tokens: TokensOrNone | None = None


class RefundBody(Body, frozen=True, kw_only=True):
    """Give back `tokens` of the charge, all of it without."""

    TEXTS: ClassVar[tuple[str, ...]] = ("reason",)
    tokens: Tokens | None = None
    reason: Reason = "failed"


class GrantBody(Body, frozen=True, kw_only=True):
    """Add a lot of `tokens` (minor units of money credit where `unit` is money); no `expires_at` = it never lapses."""

    TEXTS: ClassVar[tuple[str, ...]] = ("reference", "reason")
    tokens: Tokens
    origin: Literal["grant", "pack", "bonus", "credit"] = "grant"
    expires_at: Time | None = None
    unit: Literal["token", "money"] = "token"
    reference: Text | None = None
    reason: Reason | None = None


class AdjustmentBody(Body, frozen=True, kw_only=True):
    """Correct the balance by `tokens`, up or down, with a reason (R-LED-8). Down touches unheld tokens only."""

    TEXTS: ClassVar[tuple[str, ...]] = ("reason",)
    tokens: Change
    reason: Reason


class FreezeBody(Body, frozen=True, kw_only=True):
    """Payment failed at `failed_at`, by default now (R-LIC-1)."""

    TEXTS: ClassVar[tuple[str, ...]] = ("reason",)
    failed_at: Time | None = None
    reason: Reason | None = None


class RestoreBody(Body, frozen=True, kw_only=True):
    """Payment is fixed (R-LIC-3)."""

    TEXTS: ClassVar[tuple[str, ...]] = ("reason",)
    reason: Reason | None = None


class PlanBody(Body, frozen=True, kw_only=True):
    """Move to `plan`, null to cancel. `auto`: upgrades now, downgrades and cancels at the period's end (R-PLAN-4)."""

    NAMES: ClassVar[tuple[str, ...]] = ("plan",)
    plan: Name | None
    when: Literal["auto", "now", "period_end"] = "auto"


class ResetBody(Body, frozen=True, kw_only=True):
    """Begin a new period now, until `end` or by the plan's own cycle."""

    TEXTS: ClassVar[tuple[str, ...]] = ("reason",)
    end: Time | None = None
    reason: Reason | None = None


class CapBody(Body, frozen=True, kw_only=True):
    """The customer's spending cap for overage in minor units; null = the plan's own (R-PLAN-6)."""

    cap: TokensOrNone | None


class UnblockBody(Body, frozen=True, kw_only=True):
    """Why the block is lifted (R-ABU-6)."""

    TEXTS: ClassVar[tuple[str, ...]] = ("reason",)
    reason: Reason


class ReviewBody(Body, frozen=True, kw_only=True):
    """An operation that succeeded and could not be charged: its hold, the tokens it used, and why (R-LED-4)."""

    NAMES: ClassVar[tuple[str, ...]] = ("hold",)
    TEXTS: ClassVar[tuple[str, ...]] = ("reason",)
    hold: Name
    tokens: TokensOrNone
    reason: Reason


class OperatorKeyBody(Body, frozen=True, kw_only=True):
    """What the key is called; the name stands on the record beside what is done with it."""

    NAMES: ClassVar[tuple[str, ...]] = ("name",)
    name: Name


class ListQuery(Query, frozen=True, kw_only=True):
    """A page of organizations in order of their ids, after the id `after`."""

    after: Annotated[str, Meta(max_length=NAME_CHARS_MAX)] = ""
    limit: Annotated[int, Meta(ge=1, le=ORGANIZATIONS_A_PAGE_MAX)] = 100


class JournalQuery(Query, frozen=True, kw_only=True):
    """A page of the journal, newest first; `before` is the `next` of the page before."""

    before: Annotated[str, Meta(min_length=1, max_length=32)] | None = None
    limit: Annotated[int, Meta(ge=1, le=ENTRIES_A_PAGE_MAX)] = 50


class CheckQuery(Query, frozen=True, kw_only=True):
    """The use to be checked: `quantity` uses of a feature, or `tokens` of a metered one."""

    NAMES: ClassVar[tuple[str, ...]] = ("feature", "user")
    feature: Name
    user: Name | None = None
    quantity: Tokens = 1
    tokens: TokensOrNone | None = None
