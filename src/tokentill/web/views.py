"""Views: what the API answers where that is not a receipt.

Requirement ids: R-LED-1, R-LED-5, R-LIC-4, R-ABU-8, R-PLAN-7, R-PACK-1, R-PACK-8.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import Struct

from tokentill.ports import JournalRow, OperatorKey
from tokentill.rules.balance import Balance
from tokentill.rules.catalog import Catalog, Cycle, Exhaustion, Pack, Rollover, Unit
from tokentill.rules.entries import Base, Standing, movement
from tokentill.rules.money import per_token
from tokentill.rules.prices import launched_until, price_now, saving
from tokentill.rules.refusals import Status

OperationState = Literal["held", "charged", "released", "refunded", "refused", "done"]


class OrganizationView(Struct, frozen=True, kw_only=True):
    """An organization: its plan, its licence's standing and its balance."""

    id: str
    plan: str | None
    standing: Standing
    balance: Balance


class OrganizationList(Struct, frozen=True, kw_only=True):
    """Ids in order; `next` is the `after` of the page after, null at the end."""

    organizations: tuple[str, ...]
    next: str | None


class JournalLine(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One entry of the journal (R-LED-5).

    `entry` counts within the organization, `kind` is the movement. `user` is the opaque id the journal
    knows the user by, `user_name` the host's name where it has not been erased. `link` is the hash chain's
    link. `details` has what only this kind of entry has.
    """

    entry: int
    time: int
    kind: str
    status: Status
    tokens: int
    balance: int
    held: int
    catalog: str
    link: str
    user: str | None = None
    user_name: str | None = None
    feature: str | None = None
    operation: str | None = None
    reason: str | None = None
    actor: str | None = None
    details: dict[str, Any] = {}


class JournalView(Struct, frozen=True, kw_only=True):
    """A page of the journal, newest first; `next` is the `before` of the page after, null at the end."""

    entries: tuple[JournalLine, ...]
    next: str | None


class OperationView(Struct, frozen=True, kw_only=True):
    """Everything that happened to one operation, oldest first, and where it stands."""

    operation: str
    state: OperationState
    entries: tuple[JournalLine, ...]


class PlanView(Struct, frozen=True, kw_only=True):
    """A plan as it is sold. `price` in minor units for each payment, null = custom."""

    id: str
    rank: int
    title: str
    audience: str
    price: int | None
    periods_per_payment: int
    tokens: int
    unlimited: bool
    fair_use: int | None
    features: tuple[str, ...]
    cycle: Cycle
    rollover: Rollover
    exhaustion: Exhaustion


class PackView(Struct, frozen=True, kw_only=True):
    """A pack as it is sold now (R-PACK-1, R-PACK-8).

    `price` is the launch price while that holds: then `usual_price` says what the pack costs from `until` on. `bonus`
    tokens come on top of `tokens`; `per_token`, the price of one token as text, counts both. `saving` is against
    `list_price`.
    """

    id: str
    title: str
    tokens: int
    bonus: int
    price: int
    usual_price: int | None
    until: int | None
    per_token: str
    list_price: int | None
    saving: int | None
    saving_percent: str | None
    best_for: str
    valid_days: int | None
    plans: tuple[str, ...]
    model: str


class FeatureView(Struct, frozen=True, kw_only=True):
    """A feature and what it costs: `tokens` a use, or rates for 1,000 model tokens where it is metered."""

    id: str
    title: str
    group: str
    metered: bool
    tokens: int
    input_per_1000: int
    output_per_1000: int
    cached_per_1000: int
    timeout_ms: int


class CatalogView(Struct, frozen=True, kw_only=True):
    """The part of the catalog that customers may see: no costs, no margins, no limits of abuse prevention."""

    name: str
    title: str
    version: str
    currency: str
    unit: Unit
    default_plan: str | None
    packs_title: str
    packs_text: str
    purchase_link: str
    plans: tuple[PlanView, ...]
    packs: tuple[PackView, ...]
    features: tuple[FeatureView, ...]


class OperatorKeyList(Struct, frozen=True, kw_only=True):
    """Every operator key, oldest first, without its secret."""

    keys: tuple[OperatorKey, ...]


class NewOperatorKey(Struct, frozen=True, kw_only=True):
    """A new operator key. `key` is its whole text and is shown this once."""

    id: str
    name: str
    created_at: int
    key: str


class Erasure(Struct, frozen=True, kw_only=True):
    """`erased` is false where the till knew no name of this user any more."""

    user: str
    erased: bool


_COMMON = frozenset(Base.__struct_fields__) | {"kind"}


def line(row: JournalRow) -> JournalLine:
    """An entry as the API shows it."""
    entry = row.entry
    details = {k: v for k, v in msgspec.to_builtins(entry).items() if k not in _COMMON}
    return JournalLine(
        entry=entry.seq,
        time=entry.time,
        kind=movement(entry),
        status=entry.status,
        tokens=entry.tokens,
        balance=entry.balance,
        held=entry.held,
        catalog=entry.catalog,
        link=row.link,
        user=entry.user,
        user_name=row.user_name,
        feature=entry.feature,
        operation=entry.key,
        reason=entry.reason,
        actor=entry.actor,
        details=details,
    )


_STATES: dict[str, OperationState] = {
    "hold": "held",
    "charge": "charged",
    "release": "released",
    "refund": "refunded",
    "refused": "refused",
}


def operation(ident: str, rows: tuple[JournalLine, ...]) -> OperationView:
    """An operation out of its entries, oldest first."""
    state: OperationState = "done"
    for row in rows:
        state = _STATES.get(row.kind, state)
    return OperationView(operation=ident, state=state, entries=rows)


def _pack(full: Catalog, pack: Pack, now: int) -> PackView:
    price, until = price_now(pack, now), launched_until(pack, now)
    saved, saved_percent = saving(pack, price)
    return PackView(
        id=pack.id,
        title=pack.title,
        tokens=pack.tokens,
        bonus=pack.bonus_tokens,
        price=price,
        usual_price=None if until is None else pack.price,
        until=until,
        per_token=per_token(price, pack.tokens + pack.bonus_tokens, full.currency),
        list_price=pack.list_price,
        saving=saved,
        saving_percent=saved_percent,
        best_for=pack.best_for,
        valid_days=pack.valid_days,
        plans=tuple(sorted(pack.plans)),
        model=pack.model,
    )


def catalog(full: Catalog, now: int) -> CatalogView:
    """The public part of a catalog, with the prices of this moment."""
    return CatalogView(
        name=full.name,
        title=full.title,
        version=full.version,
        currency=full.currency,
        unit=full.unit,
        default_plan=full.default_plan,
        packs_title=full.texts.packs_title,
        packs_text=full.texts.packs_text,
        purchase_link=full.texts.purchase_link,
        plans=tuple(
            PlanView(
                id=plan.id,
                rank=plan.rank,
                title=plan.title,
                audience=plan.audience,
                price=plan.price,
                periods_per_payment=plan.periods_per_payment,
                tokens=plan.tokens,
                unlimited=plan.unlimited,
                fair_use=plan.fair_use,
                features=tuple(sorted(plan.features)),
                cycle=plan.cycle,
                rollover=plan.rollover,
                exhaustion=plan.exhaustion,
            )
            for plan in sorted(full.plans.values(), key=lambda plan: (plan.rank, plan.id))
        ),
        packs=tuple(_pack(full, pack, now) for pack in full.packs.values() if pack.enabled),
        features=tuple(
            FeatureView(**{name: getattr(feature, name) for name in FeatureView.__struct_fields__})
            for feature in full.features.values()
        ),
    )
