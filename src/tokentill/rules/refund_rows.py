"""What the refund engine keeps: each quote that was shown with what became of it, and who used the guarantee.

A `Refund` begins as a quote and is the learning record too (R-REF-6): the reason, the customer's own words, the time
since the purchase, what led to the purchase, the choice that was made and how it ended. Its state says what is done
next, and is written down before that is done (`tokentill.flows.refunding`):

    quoted → accepted → waiting → paying → giving → settled
                                           giving → ending → settled        (the payment of a plan that runs)
             accepted → buying → settled                          (an upgrade, paid like any order)
             accepted | waiting | paying | buying → undoing → denied | failed | withdrawn | changed
                                  paying → waiting                (of several payments one was refused after another)
                                           waiting → undoing → settled           (and it is left at what went back)

accepted: the tokens are being set aside. waiting: for operators. paying: the provider gives the money back. giving:
the tokens are taken back and what was chosen instead is granted. ending: the plan is ended. undoing: the tokens are
given back; `ends` is how it ends then. changed: use or time made the figures worse before the tokens were set aside,
so that a new quote is shown.

A larger pack's money goes back payment by payment. Where a provider refuses one after another one has gone back,
operators say what becomes of the rest (`part_given`).

Times are epoch milliseconds, amounts minor units.

Requirement ids: R-REF-4, R-REF-5, R-REF-6.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from tokentill.rules.refund_policy import Reason
from tokentill.rules.refund_review import Needs, Signal
from tokentill.rules.refunds import Choice, Quote
from tokentill.rules.rows import Row

RefundState = Literal[
    "quoted", "accepted", "waiting", "paying", "giving", "ending", "buying", "undoing", "settled", "denied",
    "failed", "withdrawn", "changed",
]  # fmt: skip
FINAL: frozenset[RefundState] = frozenset({"settled", "denied", "failed", "withdrawn", "changed"})
RUNNING: tuple[RefundState, ...] = (
    "accepted", "waiting", "paying", "giving", "ending", "buying", "undoing",
)  # fmt: skip


class Opinion(Struct, frozen=True, array_like=True):
    """What an operator decided, with a reason: approve, deny, or adjust to `amount`.

    Or what a provider (`actor`) refused for a reason after `amount` had gone back; operators then decide anew.
    """

    at: int
    actor: str
    what: Literal["approve", "deny", "adjust", "refused"]
    reason: str
    amount: int | None = None


class Refund(Row, frozen=True, kw_only=True):
    """One quote and what became of it; see the module's page."""

    purchase: str
    quote: Quote
    item: str
    """The pack or plan that was bought."""
    segment: str = ""
    """The plan of the organization when it asked; empty without one."""
    approach: str | None = None
    """The variant of the sales approach that led to the purchase."""
    reason: Reason | None = None
    text: str = ""
    since_ms: int = 0
    """How long after the payment it was asked for."""
    user: str | None = None
    region: str | None = None
    """Where the customer's right of withdrawal is looked up; None where nobody said."""
    state: RefundState = "quoted"
    choice: Choice | None = None
    larger: str | None = None
    """The larger pack that an upgrade turns the purchase into."""
    payer: str | None = None
    accepted_at: int | None = None
    money: int = 0
    credit: int = 0
    tokens: int = 0
    guarantee: bool = False
    needs: Needs = "nobody"
    signals: tuple[Signal, ...] = ()
    seen: tuple[str, ...] = ()
    """Each of the signals in a sentence, with its figures at the time."""
    opinions: tuple[Opinion, ...] = ()
    ends: RefundState | None = None
    problem: str | None = None
    tries: int = 0
    next: str | None = None
    """The quote that was shown instead of this one."""
    upgrade: str | None = None
    """The purchase of the larger pack."""
    settled_at: int | None = None
    use_credit: bool = False
    """An upgrade is to be paid with money credit as far as that reaches."""
    ends_plan: bool = False
    """The plan was to end with it; once settled, that it did."""
    told: RefundState | None = None
    """The last state of which the customer was told (`tokentill.rules.refund_notices`)."""


def part_given(row: Refund) -> int:
    """Of the money what had gone back when a provider refused more, minor units; 0 where none did."""
    return max((one.amount or 0 for one in row.opinions if one.what == "refused"), default=0)


class Guarantee(Row, frozen=True, kw_only=True):
    """A use of the guarantee, once for each: `id` is `organization:<id>` or `method:<provider>:<method>`."""

    refund: str
    owner: str
    """The organization whose refund it was."""
