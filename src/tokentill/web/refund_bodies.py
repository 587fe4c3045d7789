"""Bodies and queries of refunds. None of them states what is given back, but the operator's own decision."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from tokentill.rules.refund_policy import Reason as Why
from tokentill.rules.refund_rows import RefundState
from tokentill.rules.refunds import Choice
from tokentill.web.bodies import Body, Name, Query, Reason, Text, Time
from tokentill.web.shop_bodies import Before, Limit, Minor


class RefundQuoteBody(Body, frozen=True, kw_only=True):
    """Ask what could be given back. The guarantee asks for no `reason`; `text` is the customer's own words.

    `region` is where the customer lives, as the catalog names regions whose law gives a right of withdrawal.
    """

    NAMES: ClassVar[tuple[str, ...]] = ("user", "region")
    TEXTS: ClassVar[tuple[str, ...]] = ()
    reason: Why | None = None
    text: Annotated[str, Meta(max_length=2000)] = ""
    user: Name | None = None
    region: Name | None = None


class RefundAcceptBody(Body, frozen=True, kw_only=True):
    """Take one of the options of the quote; of several upgrades the one to `item`.

    `payer` pays an upgrade at once, `use_credit` with money credit as far as it reaches.
    """

    NAMES: ClassVar[tuple[str, ...]] = ("item",)
    TEXTS: ClassVar[tuple[str, ...]] = ("payer",)
    choice: Choice
    item: Name | None = None
    payer: Text | None = None
    use_credit: bool = False


class RefundDecisionBody(Body, frozen=True, kw_only=True):
    """Why an operator approves or denies; it stands on the record with the operator's name."""

    TEXTS: ClassVar[tuple[str, ...]] = ("reason",)
    reason: Reason


class RefundAdjustBody(Body, frozen=True, kw_only=True):
    """Another `amount` of money or credit, in minor units, that counts as approved by who says so."""

    TEXTS: ClassVar[tuple[str, ...]] = ("reason",)
    amount: Minor
    reason: Reason


class RefundQueueQuery(Query, frozen=True, kw_only=True):
    """Refunds that stand so; by default those that wait for an operator."""

    TEXTS: ClassVar[tuple[str, ...]] = ("before",)
    state: RefundState = "waiting"
    before: Before | None = None
    limit: Limit = 50


class RefundReportQuery(Query, frozen=True, kw_only=True):
    """Purchases that were paid since `since`, epoch milliseconds."""

    since: Time = 0
