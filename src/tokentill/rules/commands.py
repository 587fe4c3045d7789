"""Commands: what can be asked of an account. Plain values; deciding is `tokentill.rules.decide`.

A command names no time, no key and no organization: those come with its `Envelope`, so that the fingerprint
of a command is the same however often it is sent (R-LED-9). None states a balance (R-LED-10).

Amounts are whole tokens. A command built by hand may hold any number at all; deciding refuses what is
negative, zero or above `catalog.TOKENS_MAX` with a reason, and changes nothing.

Requirement ids: R-LED-3, R-LED-7, R-LED-8, R-LED-9, R-LED-10, R-PLAN-4, R-PLAN-6, R-REF-5, R-LIC-1, R-LIC-3,
R-ABU-6, R-SALE-8.
"""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

from tokentill.rules.catalog import AbuseLimits
from tokentill.rules.entries import LotUnit, Origin
from tokentill.rules.entry import ModelUse


class Base(
    Struct,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    tag_field="do",
    forbid_unknown_fields=True,
    gc=False,
):
    """A command; `do` is its name on the wire."""


class Open(Base, frozen=True, kw_only=True, tag="open"):
    """Begin an account, on `plan` or the catalog's default (None there = no plan). `anchor` epoch ms, default now.

    `simulated`: its clock stands still from here on and is moved by `Advance` only, to try out what time does.
    """

    plan: str | UnsetType | None = UNSET
    anchor: int | None = None
    simulated: bool = False


class Advance(Base, frozen=True, kw_only=True, tag="advance"):
    """Move the clock of a simulated account on to `to` (epoch ms); everything due until then happens in order."""

    to: int


class Reserve(Base, frozen=True, kw_only=True, tag="reserve"):
    """Hold what `quantity` uses of `feature` cost, or `tokens` of a metered feature, for `timeout_ms` (R-LED-3).

    `limits` replaces the catalog's abuse limits; only trusted callers (a key's own limits) may set it.
    `least`: a metered reservation may be cut down to what is affordable, but not below this many tokens.
    `purse`: what it counts toward (R-SALE-8), which may spend and hold `purse_max` in all; trusted callers only, too.
    """

    feature: str
    user: str | None = None
    quantity: int = 1
    tokens: int | None = None
    least: int | None = None
    timeout_ms: int | None = None
    limits: AbuseLimits | None = None
    purse: str | None = None
    purse_max: int | None = None


class Settle(Base, frozen=True, kw_only=True, tag="settle"):
    """Charge `tokens` of the hold (None = all of it) and give the rest back. Keyed by the hold itself.

    `output_tokens`: size of the AI's answer, checked against the cap (R-ABU-4). `use`: what a call of a model used, for
    the record; trusted callers only.
    """

    hold: str
    tokens: int | None = None
    output_tokens: int | None = None
    use: ModelUse | None = None


class Release(Base, frozen=True, kw_only=True, tag="release"):
    """End the hold and charge nothing (R-LED-3). Keyed by the hold itself. `use` as in `Settle`."""

    hold: str
    reason: Literal["failed", "timeout", "cancelled"] = "failed"
    use: ModelUse | None = None


class Extend(Base, frozen=True, kw_only=True, tag="extend"):
    """Let the hold last until `timeout_ms` from now plus the catalog's margin; never shortens it."""

    hold: str
    timeout_ms: int


class Charge(Base, frozen=True, kw_only=True, tag="charge"):
    """Reserve and settle in one step (`consumeToken`, R-LED-7)."""

    feature: str
    user: str | None = None
    quantity: int = 1
    tokens: int | None = None
    limits: AbuseLimits | None = None
    purse: str | None = None
    purse_max: int | None = None


class Refund(Base, frozen=True, kw_only=True, tag="refund"):
    """Give back the charge of `operation` whose work failed (`refundToken`, R-LED-7), whole or in part, once."""

    operation: str
    tokens: int | None = None
    reason: str = "failed"


class Grant(Base, frozen=True, kw_only=True, tag="grant"):
    """Add a lot of `tokens` (minor units where `unit` is money). `expires_at` epoch ms, None = never."""

    tokens: int
    origin: Origin = "grant"
    expires_at: int | None = None
    unit: LotUnit = "token"
    reference: str | None = None
    reason: str | None = None
    actor: str | None = None


class Adjust(Base, frozen=True, kw_only=True, tag="adjust"):
    """Correct the balance by hand, up or down, with a reason and a name (R-LED-8). Down touches unheld tokens only."""

    tokens: int
    reason: str
    actor: str


class Revoke(Base, frozen=True, kw_only=True, tag="revoke"):
    """Take `tokens` back from lots, unheld ones only (refunds, disputes); None = all that is unheld.

    Without `lot` all token lots of the purchase `reference` are meant, the oldest first. `share` (part, whole) takes
    that share of what is unheld, rounded down, instead of a number.
    """

    lot: int | None = None
    tokens: int | None = None
    share: tuple[int, int] | None = None
    origin: Literal["refund", "dispute"] = "refund"
    reference: str | None = None
    reason: str | None = None


class SetAside(Base, frozen=True, kw_only=True, tag="set_aside"):
    """Set a token lot aside while a refund or a dispute about it is in progress: it cannot be spent (R-REF-5).

    Running holds on it stay chargeable; what they give back stays set aside. Without `lot` all token lots of
    the purchase `reference` are meant.
    """

    lot: int | None = None
    reference: str | None = None
    reason: str | None = None


class GiveBack(Base, frozen=True, kw_only=True, tag="give_back"):
    """Let a lot that was set aside be spent again; named as in `SetAside`."""

    lot: int | None = None
    reference: str | None = None
    reason: str | None = None


class SpendCredit(Base, frozen=True, kw_only=True, tag="spend_credit"):
    """Pay `amount` minor units of the purchase `reference` with money credit, the soonest to expire first (R-REF-4).

    0 pays nothing and stays on record, so that nothing can be paid under the same key any more.
    """

    amount: int
    reference: str
    reason: str | None = None


class Freeze(Base, frozen=True, kw_only=True, tag="freeze"):
    """Payment failed at `failed_at` (epoch ms, default now): set the tokens aside (R-LIC-1).

    `by_hand`: an operator says so, and no invoice that is paid later lifts it; False: an invoice could not be collected.
    """

    failed_at: int | None = None
    reason: str | None = None
    by_hand: bool = True


class Restore(Base, frozen=True, kw_only=True, tag="restore"):
    """Payment is fixed: give everything back at once (R-LIC-3).

    `by_hand`: an operator says so, whatever was the cause; False: nothing is owed any more, which does not lift what was
    frozen by hand.
    """

    reason: str | None = None
    by_hand: bool = True


class ChangePlan(Base, frozen=True, kw_only=True, tag="change_plan"):
    """Move to `plan` (None = cancel). `when` auto: upgrades now, downgrades and cancels at period end.

    `billed`: a payment provider bills the plan from now on (see `Reset`), and `end` (epoch ms) is the end of what it
    was paid for, default by the plan's cycle. A change that waits for the period's end begins with its invoice if
    it is `billed`, and then has no use for an `end`.
    `start`, `paid`, `reference` as in `Reset`.
    """

    plan: str | None
    when: Literal["auto", "now", "period_end"] = "auto"
    end: int | None = None
    billed: bool = False
    start: int | None = None
    paid: int | None = None
    reference: str | None = None


class Reset(Base, frozen=True, kw_only=True, tag="reset"):
    """Begin a new period, as the payment provider bills it; `end` epoch ms, default by the plan's cycle.

    `billed`: the provider's invoice until `end` was paid, and its next one is waited for: the end of the period
    does not begin another by itself. An account once billed stays so until its plan is changed without `billed`.
    A period that was waited for begins where the one before ended. A paid invoice mends a failed payment.

    `start` (epoch ms, with `end`): since when the provider's invoice pays. The period then begins there; and an invoice
    that pays for a time that is over, or before what the account is on, begins nothing. `plan`: the plan it pays for,
    default the present or the scheduled one. `paid`: minor units the period is worth, default the plan's price.
    `reference`: the purchase that it is; the tokens of its periods carry it.
    """

    end: int | None = None
    billed: bool = False
    reason: str | None = None
    start: int | None = None
    plan: str | None = None
    paid: int | None = None
    reference: str | None = None


class SetCap(Base, frozen=True, kw_only=True, tag="set_cap"):
    """Set the customer's spending cap for overage in minor units; None = the plan's own cap."""

    cap: int | None


class Attempt(Base, frozen=True, kw_only=True, tag="attempt"):
    """An invalid request of a known user that never became a command (R-ABU-6)."""

    user: str
    reason: str


class Unblock(Base, frozen=True, kw_only=True, tag="unblock"):
    """Lift a user's block (R-ABU-6)."""

    user: str
    reason: str
    actor: str


class CountRefusals(Base, frozen=True, kw_only=True, tag="count_refusals"):
    """Put on the record the refusals of one minute that were counted in memory (user, code, minute, count)."""

    refusals: tuple[tuple[str | None, str, int, int], ...]


class Review(Base, frozen=True, kw_only=True, tag="review"):
    """List a settle that could not be stored in time for a person to look at (R-LED-4).

    `tokens` were lost; 0 where the loss is on record already, because the settle came after the hold's deadline.
    """

    hold: str
    tokens: int
    reason: str


class Tick(Base, frozen=True, kw_only=True, tag="tick"):
    """Apply what is due and nothing else."""


Command = (
    Open
    | Advance
    | Reserve
    | Settle
    | Release
    | Extend
    | Charge
    | Refund
    | Grant
    | Adjust
    | Revoke
    | SetAside
    | GiveBack
    | SpendCredit
    | Freeze
    | Restore
    | ChangePlan
    | Reset
    | SetCap
    | Attempt
    | Unblock
    | CountRefusals
    | Review
    | Tick
)


class Envelope(Struct, frozen=True, gc=False):
    """A command on its way to an account.

    `key`: 32 hex digits naming the operation; for a Reserve it becomes the hold's id. `keyed` True: the
    caller chose the key, so a duplicate is possible and is looked up; False: it was made here for this one
    envelope. `retry` True: an earlier try of this very envelope may have been stored.
    """

    organization: str
    command: Command
    key: str | None = None
    keyed: bool = False
    retry: bool = False


encode = msgspec.json.Encoder().encode
"""Canonical bytes of a command."""


def body(command: Command) -> bytes:
    """What a command asks for, the body of its fingerprint.

    Who asks by hand does not make it another command, nor what the key may spend by then.
    """
    if getattr(command, "purse_max", None) is not None:
        return encode(msgspec.structs.replace(command, purse_max=None))
    actor = getattr(command, "actor", None)
    return encode(command if actor is None else msgspec.structs.replace(command, actor=""))
