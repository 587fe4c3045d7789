"""Entries: what the journal holds, one immutable struct for each kind of movement (R-LED-5, R-LED-6).

An entry says what happened in numbers that are already resolved: which lots gave how many tokens, until
when a hold lasts, what an overage token cost. `tokentill.rules.evolve` needs nothing else, so the journal
alone rebuilds every account, whatever the catalog says today. `catalog` names the version that decided it.

Fields every entry has
  seq       1, 2, 3 … within its organization, without a gap
  time      epoch milliseconds; never smaller than the entry before it
  balance   tokens free to spend after this entry; `held` tokens reserved after it
  tokens    what this entry moved, always ≥ 0; its kind says which way
  status    done | prevented | failed | fraud_flagged (R-ABU-7)
  key       the operation it belongs to (32 hex digits) and `part`, its place in it: 0 the operation itself,
            1 how its hold ended, 2 its refund, 3 a settle that came too late. (key, part) is unique within
            an organization; that is what makes every mutation happen once (R-LED-9)
  body      fingerprint of the command that carried a caller's key; another body under the same key is refused

The canonical bytes of an entry are its JSON as `encode` writes it: fields in declaration order, defaults
left out. The hash chain covers exactly these bytes (`tokentill.rules.chain`). `moves` are pairs (lot, tokens).
Money is minor units. An entry is never changed or removed; a mistake is mended by a further entry (R-LED-8).

Requirement ids: R-LED-5, R-LED-6, R-LED-9, R-ABU-7.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from tokentill.rules.entries_of_use import Charged, Extended, Held, Late, Refunded, Released, Reviewed
from tokentill.rules.entry import Base, Beyond, LotUnit, Moves, Origin, Standing
from tokentill.rules.refusals import Code, Refusal

__all__ = [
    "Base", "Beyond", "Charged", "Extended", "Held", "Late", "LotUnit", "Moves", "Origin", "Refunded", "Released",
    "Reviewed", "Standing",
]  # fmt: skip
"""What is made elsewhere and belongs here as much."""


class Opened(Base, frozen=True, kw_only=True, tag="open"):
    """The account begins; `anchor` is the moment periods are counted from. `brings`: tokens that follow at once.

    `simulated`: the account has a clock of its own.
    """

    anchor: int
    brings: int = 0
    simulated: bool = False


class Advanced(Base, frozen=True, kw_only=True, tag="advance"):
    """The clock of a simulated account was moved on from `since` to this entry's time."""

    since: int


class Granted(Base, frozen=True, kw_only=True, tag="grant"):
    """A new lot of `tokens`. Burn order: `priority`, then `expires_at` (None last), then `lot`.

    `warn_at`: when it will be warned that what is left of it expires.
    """

    lot: int
    origin: Origin
    priority: int
    expires_at: int | None = None
    unit: LotUnit = "token"
    reference: str | None = None
    warn_at: int | None = None


class Revoked(Base, frozen=True, kw_only=True, tag="revoke"):
    """Unheld tokens taken back: by an adjustment of an operator, a refund, a dispute (`origin` says which)."""

    moves: Moves
    origin: Literal["adjustment", "refund", "dispute"] = "adjustment"
    unit: LotUnit = "token"
    reference: str | None = None


class SetAside(Base, frozen=True, kw_only=True, tag="set_aside"):
    """`lots` are set aside while a refund or a dispute about them is in progress; `moves` is what was free in them."""

    moves: Moves
    lots: tuple[int, ...]
    reference: str | None = None


class GivenBack(Base, frozen=True, kw_only=True, tag="give_back"):
    """`lots` that were set aside can be spent again; `moves` is what is free in them now."""

    moves: Moves
    lots: tuple[int, ...]
    reference: str | None = None


class CreditSpent(Base, frozen=True, kw_only=True, tag="credit_spent"):
    """`tokens` minor units of money credit paid for the purchase `reference`; `moves` is what the money lots gave."""

    moves: Moves
    reference: str


class Expired(Base, frozen=True, kw_only=True, tag="expiry"):
    """Lots that lapsed; `moves` is what was free in them, `lots` all that closed for new holds.

    `carried`: of a period whose invoice was not paid, what rolls over into the next that is.
    """

    moves: Moves
    lots: tuple[int, ...]
    unit: LotUnit = "token"
    carried: int = 0


class PeriodStarted(Base, frozen=True, kw_only=True, tag="reset"):
    """Period `number` of the plan begins; `tokens` is the allowance (0 while payment is failed).

    `brings`: all the tokens that follow at once, carried ones included. `price` minor units were or will be
    paid for `periods` periods, of which number `first` was the first; None for a custom price or no plan.
    Where a payment provider bills: it was paid `paid_until` then, and its next invoice is waited for `renewal_by`
    then. `carried`: tokens that would roll over into an unpaid period wait for the payment.
    `since`: from when the provider's invoice pays. `reference`: the purchase that the period was paid with.
    """

    number: int
    start: int
    end: int
    plan: str | None
    unpaid: bool = False
    brings: int = 0
    price: int | None = None
    periods: int = 1
    first: int = 0
    paid_until: int | None = None
    renewal_by: int | None = None
    carried: int = 0
    since: int | None = None
    reference: str | None = None


class OverageBilled(Base, frozen=True, kw_only=True, tag="overage"):
    """The closed period's overage: `tokens` for `amount` minor units, due with the next invoice (Option B).

    `credit`: what was given back of earlier bills, taken off already.
    """

    amount: int
    currency: str
    start: int
    end: int
    credit: int = 0


class PlanChanged(Base, frozen=True, kw_only=True, tag="plan"):
    """The plan is now `plan` (None = none), from `anchor` on. `credit` is the unused share of the old price.

    `brings`: tokens that follow at once with the first period.
    """

    plan: str | None
    before: str | None
    anchor: int
    credit: int = 0
    due: int = 0
    currency: str | None = None
    brings: int = 0


class PlanScheduled(Base, frozen=True, kw_only=True, tag="plan_scheduled"):
    """The plan becomes `plan` at period end; `cancelled` withdraws what was scheduled.

    `billed`: it begins with the payment provider's invoice, not by itself.
    """

    plan: str | None
    at: int | None = None
    cancelled: bool = False
    billed: bool = False


class Frozen(Base, frozen=True, kw_only=True, tag="freeze"):
    """Payment failed at `failed_at`: AI off, `tokens` set aside (R-LIC-1). `again`: it had failed already.

    `since`: the tokens are set aside only since then, because it was told late; None = since `failed_at`. `hand_at`
    and `owed_at`: since when an operator wants it, and since when an invoice is owed; `failed_at` is the earlier one.
    """

    failed_at: int
    stage_at: int | None = None
    again: bool = False
    since: int | None = None
    hand_at: int | None = None
    owed_at: int | None = None


class StandingChanged(Base, frozen=True, kw_only=True, tag="licence"):
    """The licence reached the next rung of the ladder; `off` lists the groups switched off (R-LIC-2)."""

    standing: Standing
    off: tuple[str, ...]
    stage_at: int | None = None


class Restored(Base, frozen=True, kw_only=True, tag="restore"):
    """Payment fixed: everything back, whole (R-LIC-3). `extended`: bought lots get back the time they were set aside.

    `renewal_by`: the invoice of a period that is over is waited for anew, until then.
    """

    extended: tuple[tuple[int, int], ...] = ()
    brings: int = 0
    """Tokens that follow at once, where a period began unpaid."""
    renewal_by: int | None = None


class CapSet(Base, frozen=True, kw_only=True, tag="cap"):
    """The customer's spending cap for overage is now `cap` minor units (None = the plan's own)."""

    cap: int | None = None


class Refused(Base, frozen=True, kw_only=True, tag="refused"):
    """A command that changed nothing, on the record (R-ABU-7). `count` of them in the minute from `minute`.

    `refusal` is kept whole where it must be given again to a duplicate of the same key.
    """

    code: Code
    count: int = 1
    minute: int | None = None
    refusal: Refusal | None = None
    attempt: bool = False
    """It counts toward the block (R-ABU-6)."""
    rated: bool = False
    """It counts as a request of the user: it is remembered under a key, and the feature's requests are limited."""


class Blocked(Base, frozen=True, kw_only=True, tag="block"):
    """The user is blocked until `until` after `attempts` failed attempts (R-ABU-6)."""

    until: int
    attempts: int


class Unblocked(Base, frozen=True, kw_only=True, tag="unblock"):
    """An operator lifted the block (R-ABU-6)."""


class Alerted(Base, frozen=True, kw_only=True, tag="alert"):
    """Something suspicious that blocks nothing: `code` burn, burn_share or output_cap (R-ABU-4, R-ABU-5)."""

    code: Literal["burn", "burn_share", "output_cap"]
    observed: int
    limit: int


class Warned(Base, frozen=True, kw_only=True, tag="warning"):
    """The balance crossed `threshold` tokens downward (R-PLAN-8); `code` says which threshold.

    Expiring: `tokens` are left in the bought `lot`, which ends at `expires_at`; there is no threshold.
    """

    code: Literal["percent", "tokens", "exhausted", "expiring"]
    threshold: int
    lot: int | None = None
    expires_at: int | None = None


Entry = (
    Opened | Advanced | Granted | Held | Extended | Charged | Released | Refunded | Revoked | SetAside
    | GivenBack | CreditSpent | Expired | PeriodStarted | OverageBilled | PlanChanged | PlanScheduled
    | Frozen | StandingChanged | Restored | CapSet | Refused | Blocked | Unblocked | Alerted | Warned | Late
    | Reviewed
)  # fmt: skip

KINDS: dict[type[Base], str] = {kind: str(kind.__struct_config__.tag) for kind in Entry.__args__}
"""The tag of each entry struct, as the journal's `kind` column holds it."""

_GRANT_KINDS: dict[Origin, str] = {
    "plan": "grant",
    "grant": "grant",
    "pack": "purchase",
    "rollover": "rollover",
    "bonus": "bonus",
    "credit": "credit",
    "adjustment": "adjustment",
    "refund": "refund",
}

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Entry)
encode = _encoder.encode
"""Canonical bytes of an entry."""
decode = _decoder.decode
"""The entry of canonical bytes; raises `msgspec.DecodeError` on anything else."""


def movement(entry: Base) -> str:
    """The kind of transaction in the requirement's words (R-LED-6), for the journal's `kind` column."""
    if type(entry) is Granted:
        return _GRANT_KINDS[entry.origin]
    if type(entry) is Revoked and entry.origin == "adjustment":
        return "adjustment"
    return KINDS[type(entry)]
