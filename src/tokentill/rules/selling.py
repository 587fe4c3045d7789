"""Selling: who may buy which pack now, and why not.

A pack is refused for the first reason that holds, in the order of `Code`: it is unknown (also where it is being
introduced to others), not sold any more, switched off, above the limit of packs in a stretch of time, the last
payment failed, not for this plan. Every question is about the present: nothing here changes what was bought.

The limit counts purchases whose slot is still taken (`Purchase.slot_until`): paid ones for the window of the
catalog, open checkouts for as long as they can be paid. When a slot frees is told to the millisecond.

Requirement ids: R-PACK-1, R-PACK-4, R-PACK-9, R-LIC-1.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from tokentill.rules.catalog import HOUR_MS, Catalog, Pack, Plan
from tokentill.rules.exhaustion import packs_for, upgrade_ways
from tokentill.rules.refusals import Code, Refusal, WayOut
from tokentill.rules.rollout import PLACES, offered


class Shopper(Struct, frozen=True, kw_only=True):
    """Who asks, in figures that were read from rows and the journal.

    `place`: of the rollout (`tokentill.rules.rollout`). `slots`: `slot_until` of its pack purchases. `bought`: packs
    it ever paid for. `switched_off`: ids of switches that stand on off. `packs_…`: packs paid for since the period
    began, or in the last `history_days` without one: how many, for how much, with how many tokens.
    """

    organization: str
    plan: str | None = None
    failed: bool = False
    place: int = PLACES - 1
    slots: tuple[int, ...] = ()
    bought: int = 0
    switched_off: frozenset[str] = frozenset()
    packs_count: int = 0
    packs_amount: int = 0
    packs_tokens: int = 0


def plan_of(catalog: Catalog, shopper: Shopper) -> Plan | None:
    """The catalog's plan the shopper is on; None without one."""
    return None if shopper.plan is None else catalog.plans.get(shopper.plan)


def shown(catalog: Catalog, shopper: Shopper, pack: Pack) -> bool:
    """Whether the shopper is among those who are offered the pack at all (R-PACK-9)."""
    rollout = catalog.rollout if pack.rollout is None else pack.rollout
    return offered(rollout, shopper.organization, shopper.place)


def unknown_pack(catalog: Catalog, shopper: Shopper, name: str) -> Refusal:
    """There is no such pack for this shopper; says which there are."""
    plan = plan_of(catalog, shopper)
    known = [pack.id for pack in packs_for(catalog, plan) if shown(catalog, shopper, pack)]
    names = f"It can buy: {', '.join(known)}." if known else "It can buy none at the moment."
    return Refusal(
        Code.UNKNOWN_PACK, f"There is no pack of this name for this organization. {names}", detail=name[:128]
    )


def not_sold(shopper: Shopper, pack: Pack) -> Refusal | None:
    """Why the pack is sold to nobody now: taken off the list, or switched off (R-PACK-9)."""
    if not pack.enabled:
        return Refusal(
            Code.PACK_DISABLED,
            f"{pack.title} is not sold any more. Choose another pack; what was bought stays good.",
            detail=pack.id,
        )
    if shopper.switched_off & {"packs", f"pack:{pack.id}"}:
        return Refusal(
            Code.PACKS_OFF,
            f"{pack.title} is not sold at the moment. What was bought stays good. Try again later.",
            detail=pack.id,
        )
    return None


def slots_left(catalog: Catalog, shopper: Shopper, now: int) -> int | None:
    """How many packs may still be bought now; None without a limit (R-PACK-4)."""
    most = catalog.checkout.packs_max
    return None if most is None else max(0, most - sum(until > now for until in shopper.slots))


def slot_free_at(catalog: Catalog, shopper: Shopper, now: int) -> int | None:
    """When the next slot frees, epoch milliseconds; None while one is free."""
    most = catalog.checkout.packs_max
    taken = sorted(until for until in shopper.slots if until > now)
    return None if most is None or len(taken) < most else taken[len(taken) - most]


def over_limit(catalog: Catalog, shopper: Shopper, now: int) -> Refusal | None:
    """The refusal of a pack above the limit, with when a slot frees; None while there is room (R-PACK-4)."""
    free_at = slot_free_at(catalog, shopper, now)
    if free_at is None:
        return None
    return limit_refusal(catalog, free_at - now)


def limit_refusal(catalog: Catalog, wait_ms: int) -> Refusal:
    """The refusal itself, for whoever found no room while storing the order: `wait_ms` until a slot may free."""
    most = catalog.checkout.packs_max
    packs = "1 pack" if most == 1 else f"{most} packs"
    return Refusal(
        Code.PACK_LIMIT,
        f"An organization can buy {packs} in {window_text(catalog)}, and an open checkout counts. The next can be "
        f"bought in {_span(wait_ms)}, or as soon as an open checkout is cancelled.",
        retry_after_ms=max(1, wait_ms),
    )


def window_text(catalog: Catalog) -> str:
    """The stretch of time in which packs are counted, for people."""
    window = catalog.checkout.packs_window_ms
    hours, rest = divmod(window, HOUR_MS)
    return f"{window // 60_000} minutes" if rest else f"{hours} hour{'s' if hours > 1 else ''}"


def not_for_plan(catalog: Catalog, shopper: Shopper, pack: Pack) -> Refusal | None:
    """Why the shopper's plan does not go with the pack; None if it does."""
    plan = plan_of(catalog, shopper)
    if pack in packs_for(catalog, plan) or not pack.enabled:
        return None
    on = "without a plan" if plan is None else f"on the plan {plan.title}"
    return Refusal(
        Code.PACK_NOT_FOR_PLAN,
        f"{pack.title} is not sold to organizations {on}.",
        detail=pack.id,
        purchase_link=catalog.texts.purchase_link,
        ways_out=() if "plans" in shopper.switched_off else tuple(upgrade_ways(catalog, plan)),
    )


def payment_failed(shopper: Shopper) -> Refusal | None:
    """Why nothing is sold to whoever owes a payment: new tokens would be set aside with the others (R-LIC-1)."""
    if not shopper.failed:
        return None
    return Refusal(
        Code.PAYMENT_FAILED,
        "The last payment for the plan has failed, and its tokens are set aside until it is mended; new ones would "
        "be too. Update the payment, then order again.",
    )


def pack_refused(catalog: Catalog, shopper: Shopper, pack: Pack, now: int) -> Refusal | None:
    """Why the shopper cannot buy the pack now, the first reason in the order of codes; None if it can."""
    if not shown(catalog, shopper, pack):
        return unknown_pack(catalog, shopper, pack.id)
    return (
        not_sold(shopper, pack)
        or over_limit(catalog, shopper, now)
        or payment_failed(shopper)
        or not_for_plan(catalog, shopper, pack)
    )


def closed_ways(catalog: Catalog, shopper: Shopper, now: int) -> frozenset[tuple[str, str]]:
    """The ways, by kind and id, that are closed to the shopper now: packs it cannot buy, plans that are switched off.

    The account knows every way that the catalog has; rollout, switches and the limit are known here (R-PACK-9).
    """
    packs = [
        ("pack", pack.id)
        for pack in catalog.packs.values()
        if pack_refused(catalog, shopper, pack, now) is not None
    ]
    plans = [("upgrade", plan) for plan in catalog.plans] if "plans" in shopper.switched_off else []
    return frozenset((*packs, *plans))


def open_ways(ways: Sequence[WayOut], closed: frozenset[tuple[str, str]]) -> tuple[WayOut, ...]:
    """The ways out without those that are closed."""
    return tuple(way for way in ways if (way.kind, way.id or "") not in closed)


def narrowed(catalog: Catalog, refusal: Refusal, closed: frozenset[tuple[str, str]]) -> Refusal:
    """The refusal with the ways out that are open; where nothing can be bought its words do not say so (R-PLAN-7)."""
    ways = open_ways(refusal.ways_out, closed)
    if len(ways) == len(refusal.ways_out):
        return refusal
    texts, message, link = catalog.texts, refusal.message, refusal.purchase_link
    if message == texts.exhausted and all(way.kind not in ("pack", "upgrade") for way in ways):
        message = texts.exhausted_closed
    if all(way.link is None for way in ways):
        link = None
    return replace(refusal, ways_out=ways, message=message, purchase_link=link)


def _span(ms: int) -> str:
    """A stretch of time for people, rounded up to minutes."""
    minutes = max(1, -(-ms // 60_000))
    hours, minutes = divmod(minutes, 60)
    parts = [f"{n} {unit}{'s' if n > 1 else ''}" for n, unit in ((hours, "hour"), (minutes, "minute")) if n]
    return " and ".join(parts)
