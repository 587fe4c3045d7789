"""Handovers: what a customer is handed with a purchase, by what key, and how long it took.

A key that comes with a purchase is made from the till's secret and a random seed that is kept in the handover until
it was handed out, at most `KEPT_MS`. So whoever delivers the purchase again, after a crash or in another process,
makes the same key, nothing readable is stored, and once the seed is gone nobody can make the key again. It is handed
out once each way: on the page where the customer lands (or to a host that asks instead), by e-mail, and by webhook.

Refunds and disputes move tokens, never keys: a key is the organization's, and without tokens it buys nothing.

Three clocks (R-SALE-1): from the offer to the payment, from the payment to a key that works with the tokens there,
from the payment to the first charge. Where nobody said when the offer was shown, the first begins with the order.

Requirement ids: R-SALE-1, R-SALE-4, R-SALE-8.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import Literal

from msgspec import Struct

from tokentill.rules.catalog import DAY_MS, Catalog
from tokentill.rules.catalog_shop import KeyWhen
from tokentill.rules.keys import LETTERS, SECRET_CHARS, Key
from tokentill.rules.purchases import Kind, Purchase, State
from tokentill.rules.rows import Handover

KINDS: frozenset[Kind] = frozenset({"pack", "code", "plan", "upgrade"})
"""What somebody waits for; a renewal and a bill of overage hand nothing over, nor does an automatic top-up."""

GOOD: frozenset[State] = frozenset({"delivered", "partly_refunded"})
"""States in which a purchase's key is handed out."""

KEPT_MS = 4 * DAY_MS
"""How long a key can still be handed out: somewhat longer than messages are tried."""

Clock = Literal["offer_to_paid", "paid_to_key", "paid_to_first_call"]
TARGETS: dict[Clock, int] = {"offer_to_paid": 30_000, "paid_to_key": 2_000, "paid_to_first_call": 300_000}
"""What each clock shall stay below, in milliseconds."""


def handed_over(purchase: Purchase) -> bool:
    """Whether somebody waits for what the purchase brings."""
    return purchase.kind in KINDS and purchase.source != "topup"


def key_when(catalog: Catalog, purchase: Purchase) -> KeyWhen:
    """When the purchase brings a key: as its pack or plan says, else as the catalog does.

    By default with the first purchase where the catalog sells models, and never where it sells none.
    """
    item = catalog.packs.get(purchase.item) if purchase.kind == "pack" else catalog.plans.get(purchase.item)
    own = None if item is None else item.key
    return own or catalog.checkout.key or ("first" if catalog.models else "never")


def handover_id(purchase: Purchase) -> str:
    """The id of the purchase's handover; handovers sort by when the purchases were ordered."""
    return f"{purchase.created_at:012x}-{purchase.id}"


def key_of(secret: bytes, row: Handover, now: int) -> Key | None:
    """The key that the handover brings, as long as it can be handed out. `secret`: the till's own, 32 bytes."""
    if not row.seed or now >= row.created_at + KEPT_MS:
        return None
    text = f"{len(row.organization)}:{row.organization}{row.id}:{row.seed}"
    raw = blake2b(text.encode(), digest_size=32, key=secret, person=b"tokentill handed").digest()
    return Key("sk", key_id(secret, row), _letters(raw))


def key_id(secret: bytes, row: Handover) -> str:
    """The id of the key that the handover brings; the first 12 digits are the time, as in every key's."""
    text = f"{len(row.organization)}:{row.organization}{row.id}"
    return (
        row.id[:12]
        + blake2b(text.encode(), digest_size=4, key=secret, person=b"tokentill key id").hexdigest()
    )


def _letters(raw: bytes) -> str:
    """The 256 bits as 43 characters of a key's secret."""
    number = int.from_bytes(raw)
    return "".join(LETTERS[number >> 6 * at & 63] for at in range(SECRET_CHARS))


# ---- clocks ------------------------------------------------------------------------------------------------


class Times(Struct, frozen=True, kw_only=True):
    """One purchase and when what happened, epoch ms; `offered_at` None where nobody said, others until they happen."""

    purchase: str
    organization: str
    title: str
    offered_at: int | None
    ordered_at: int
    paid_at: int | None
    ready_at: int | None
    first_call_at: int | None

    def took(self, clock: Clock) -> int | None:
        """Milliseconds by this clock, None while it runs. What two machines' clocks disagree by is no time."""
        begin, end = self.paid_at, self.ready_at
        if clock == "offer_to_paid":
            begin = self.ordered_at if self.offered_at is None else self.offered_at
            end = self.paid_at
        elif clock == "paid_to_first_call":
            end = self.first_call_at
        return None if begin is None or end is None else max(0, end - begin)


class Measured(Struct, frozen=True, kw_only=True):
    """One clock over many purchases: how many it has stopped for, how many within `target` ms, and how long it took.

    `median`, `p95`: milliseconds that half, and nineteen of twenty, stayed within; None where none was measured.
    """

    clock: Clock
    target: int
    count: int
    within: int
    median: int | None
    p95: int | None


def times_of(row: Handover, purchase: Purchase) -> Times:
    """The clocks of one purchase."""
    return Times(
        purchase=purchase.id,
        organization=purchase.organization,
        title=purchase.title,
        offered_at=purchase.offered_at,
        ordered_at=purchase.created_at,
        paid_at=purchase.paid_at,
        ready_at=purchase.delivered_at,
        first_call_at=row.first_call_at,
    )


def measured(times: Iterable[Times]) -> tuple[Measured, ...]:
    """Each clock over these purchases."""
    every = list(times)
    found = []
    for clock, target in TARGETS.items():
        took = sorted(one for one in (each.took(clock) for each in every) if one is not None)
        within = sum(one < target for one in took)
        median, p95 = (_rank(took, 50), _rank(took, 95)) if took else (None, None)
        found.append(
            Measured(clock=clock, target=target, count=len(took), within=within, median=median, p95=p95)
        )
    return tuple(found)


def _rank(ordered: list[int], percent: int) -> int:
    """The smallest value that so many percent of all are not above."""
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]
