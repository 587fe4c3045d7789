"""Views of handovers: the delivery message of a purchase, and how long purchases took.

Requirement ids: R-SALE-1, R-SALE-4.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from tokentill.rules.catalog import Unit
from tokentill.rules.delivery import Delivered, guide, message
from tokentill.rules.handovers import TARGETS, Measured, Times, measured
from tokentill.web.shop_views import same


class HandoverView(Struct, frozen=True, kw_only=True):
    """The delivery message of a purchase. `key` is there the first time it is asked for, and never again.

    `key_shown`: the last four characters of the key that works. `endpoint`: the base URL for clients. `dashboard`,
    `refunds`: pages of the till for this customer, opened by the link itself. `message`: all of it as text, `guide`:
    two examples of a first call.
    """

    purchase: str
    title: str
    tokens: int
    key: str | None
    key_shown: str | None
    endpoint: str
    model: str
    dashboard: str
    refunds: str
    valid_until: int | None
    message: str
    guide: str


class TimesView(Struct, frozen=True, kw_only=True):
    """When what happened of one purchase, epoch ms, and how long it took in ms; null until it has happened.

    `offered_at`: as the order said; without it the first clock begins with the order.
    """

    purchase: str
    organization: str
    title: str
    offered_at: int | None
    ordered_at: int
    paid_at: int | None
    ready_at: int | None
    first_call_at: int | None
    offer_to_paid_ms: int | None
    paid_to_key_ms: int | None
    paid_to_first_call_ms: int | None


class HandoverList(Struct, frozen=True, kw_only=True):
    """Each clock over the purchases of this page, and these, newest first; `next` is the `before` of the page after."""

    clocks: tuple[Measured, ...]
    purchases: tuple[TimesView, ...]
    next: str | None


def handover(delivered: Delivered, unit: Unit) -> HandoverView:
    """The delivery message."""
    return same(HandoverView, delivered, message=message(delivered, unit), guide=guide(delivered))


def handovers(found: Sequence[tuple[str, Times]], limit: int) -> HandoverList:
    """How long these purchases took."""
    return HandoverList(
        clocks=measured(times for _, times in found),
        purchases=tuple(_times(times) for _, times in found),
        next=found[-1][0] if len(found) == limit else None,
    )


def _times(times: Times) -> TimesView:
    took = {f"{clock}_ms": times.took(clock) for clock in TARGETS}
    return same(TimesView, times, **took)
