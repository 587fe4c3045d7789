"""Outcomes: what a model call comes to, for the way in to say in the words of its API.

Requirement ids: R-SALE-5, R-LED-3.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, Literal, Protocol

from msgspec import Struct

from tokentill.flows.charge import Charge, Hold
from tokentill.rules.refusals import Refusal
from tokentill.rules.rows import ApiKey

Why = Literal[
    "unknown_model",
    "key_scope",
    "refused",
    "upstream_failed",
    "upstream_slow",
    "upstream_busy",
    "store_unavailable",
    "running",
    "answer_gone",
    "key_reused",
]
Counted = Literal["reported", "estimated", "delivered", "cut"]
"""How what was charged was found out: said by the upstream; counted where it said nothing; counted of what was
delivered before the client went away; or cut at what may be written."""


class Trouble(Struct, frozen=True):
    """The call did not run, or brought nothing, and costs nothing. `refusal` is the till's own, with the ways out."""

    why: Why
    message: str
    refusal: Refusal | None = None
    retry_after_ms: int | None = None


class PassedOn(Struct, frozen=True):
    """The upstream refused the call as it is: its own answer. Nothing was charged."""

    status: int
    body: bytes


class Whole(Struct, frozen=True):
    """An answer at once. `facts` are the headers of the receipt; `replayed`: it is that of an earlier call."""

    status: int
    content_type: str
    body: bytes
    facts: tuple[tuple[str, str], ...]
    replayed: bool = False


class Stream(Struct, frozen=True):
    """An answer that streams. Whoever gets it reads `chunks` to the end or closes it; `Broken` ends it early."""

    chunks: AsyncIterator[bytes]
    facts: tuple[tuple[str, str], ...]


Outcome = Trouble | PassedOn | Whole | Stream


class Broken(Exception):
    """A stream that had begun came to nothing; nothing was charged."""

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(trouble.why)
        self.trouble = trouble


class Notes(Protocol):
    """Who counts what calls came to."""

    def called(self, key: ApiKey, model: str, outcome: str, tokens: int, uncollected: int) -> None:
        """A call of the model with this key ended; `outcome` is one of few words."""
        ...


def receipt(hold: Hold, charge: Charge | None, counted: Counted | None) -> dict[str, Any]:
    """The receipt of a call; without a charge nothing was charged."""
    found: dict[str, Any] = {"operation": hold.id, "charged": 0}
    if charge is not None:
        found["charged"] = charge.tokens
        if charge.receipt is not None:
            found |= {
                "balance": charge.receipt.balance,
                "held": charge.receipt.held,
                "entry": charge.receipt.entry,
            }
        elif charge.state == "pending":
            found["pending"] = True
    if counted is not None:
        found["usage"] = counted
    return found


def facts(receipt: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """A receipt as headers."""
    return tuple(
        [(f"x-tokentill-{name}", "true" if value is True else str(value)) for name, value in receipt.items()]
    )
