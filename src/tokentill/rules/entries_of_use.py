"""Entries of uses: how an operation's tokens are held, charged, given back and lost. See `tokentill.rules.entries`.

Requirement ids: R-LED-3, R-LED-4, R-LED-5, R-LED-7, R-SALE-8.
"""

from __future__ import annotations

from tokentill.rules.entry import Base, Beyond, ModelUse, Moves


class Held(Base, frozen=True, kw_only=True, tag="hold"):
    """`tokens` reserved for a running operation until `deadline`; `key` is the hold's id.

    `beyond` of them come from no lot: overage at `price` each, a grace use, or an unlimited plan.
    `rated`/`burned` False: this feature has no rate or burn limit, so no counter is kept for the user.
    `purse`: what it counts toward (`tokentill.rules.purses`), which may spend and hold `purse_max` in all.
    """

    moves: Moves
    deadline: int
    beyond: int = 0
    beyond_kind: Beyond | None = None
    price: int = 0
    output_tokens_max: int | None = None
    rated: bool = True
    burned: bool = True
    purse: str | None = None
    purse_max: int | None = None


class Extended(Base, frozen=True, kw_only=True, tag="extend"):
    """The hold `hold` now lasts until `deadline`; `key` is that of the extension itself, if it has one."""

    hold: str
    deadline: int


class Charged(Base, frozen=True, kw_only=True, tag="charge"):
    """`tokens` spent: by settling the hold `key` (part 1) or in one shot (part 0).

    `moves` are what the lots gave for good, `returned` what a partial settle gave back to its lots and
    `lapsed` the part of the rest whose lot had expired meanwhile. `beyond` tokens came from no lot;
    `amount` is what they cost the customer (0 for grace uses, unlimited plans and while payment fails).
    `purse` is that of the hold; `purse_max` is said in one shot only. `use`: what a call of a model used.
    """

    moves: Moves
    returned: Moves = ()
    lapsed: Moves = ()
    beyond: int = 0
    beyond_kind: Beyond | None = None
    price: int = 0
    amount: int = 0
    waived: bool = False
    output_tokens_max: int | None = None
    rated: bool = True
    burned: bool = True
    purse: str | None = None
    purse_max: int | None = None
    use: ModelUse | None = None


class Released(Base, frozen=True, kw_only=True, tag="release"):
    """The hold `key` ended with nothing charged; `reason` is failed, timeout or cancelled (R-LED-3, R-LED-4)."""

    returned: Moves = ()
    lapsed: Moves = ()
    beyond: int = 0
    use: ModelUse | None = None


class Refunded(Base, frozen=True, kw_only=True, tag="refund"):
    """`tokens` of the charge `key` given back (R-LED-7): `returned` to their lots, `lapsed` lots that had expired.

    `beyond` tokens and their `amount` are taken off the period's overage; `credited` minor units of it were
    billed already, so that the next bill is less by them. The `purse` of the charge has them again.
    """

    returned: Moves = ()
    lapsed: Moves = ()
    beyond: int = 0
    beyond_kind: Beyond | None = None
    amount: int = 0
    credited: int = 0
    purse: str | None = None
    use: ModelUse | None = None
    """That of the charge."""


class Late(Base, frozen=True, kw_only=True, tag="late"):
    """A success arrived after its hold had ended: 0 charged, `lost` tokens are the operator's (readings)."""

    lost: int
    use: ModelUse | None = None


class Reviewed(Base, frozen=True, kw_only=True, tag="review"):
    """A settle that could not be stored in time, listed for review by a person (R-LED-4)."""

    lost: int
