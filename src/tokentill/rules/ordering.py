"""Ordering: from what somebody asks for to a purchase on the terms of this moment, or the reason why not.

The amount comes from the catalog and a promotion and from nowhere else. What is ordered is written down with its
price, tokens and validity, so that an edit of the catalog changes nothing that was ordered before.

Plans: an order is a first payment or an upgrade, which takes effect at once and is credited with the unused
share of the present period. A lower plan, or the same one in another rhythm, costs nothing now and waits for the
period's end; that is a change of plan and not an order. Where a subscription begins with a trial the amount is 0
and the checkout takes the payment method only; tokens bundled with a payment come with the first real one.

Money credit pays for a pack, for the first payment of a plan, for an upgrade and for a bill of overage, also in part. A
plan of which it pays everything still begins at the provider, who takes the method that its next payments come from.

What costs nothing otherwise needs no provider: its mode is "free". What is refused first follows `Code`.

What it does not decide: whether there is still room under a limit when the order is stored; `limits` names what
must be checked then.

Requirement ids: R-PACK-1, R-PACK-2, R-PACK-4, R-PACK-8, R-PACK-9, R-PLAN-4, R-REF-1.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from tokentill.rules.catalog import Catalog, Plan
from tokentill.rules.credit import usable
from tokentill.rules.money import ANY, Coins
from tokentill.rules.promos import Uses, terms
from tokentill.rules.purchases import Mode, Purchase, Source, Step, derive, purchase_id
from tokentill.rules.refusals import Code, Refusal
from tokentill.rules.rows import RedemptionCode
from tokentill.rules.selling import Shopper, pack_refused, payment_failed, plan_of, shown, unknown_pack


class Order(Struct, frozen=True, kw_only=True):
    """What every order says: its id, when, by whom, and how it is to be paid.

    `providers` are those that are set up; `mode` is "checkout" or, with a saved method (`payer`), "saved".
    """

    id: str
    now: int
    provider: str = ""
    providers: Collection[str] = ()
    mode: Mode = "checkout"
    source: Source = "customer"
    user: str | None = None
    payer: str | None = None
    return_url: str = ""
    asked: str = ""
    """A digest of what the caller asked for under its key."""
    offered_at: int | None = None
    """When the offer was shown that led to it, epoch ms; None where nobody said."""
    credit: int = 0
    """Money credit that may pay for it."""
    own: Coins = ANY
    """What can be paid at the order's own provider; credit leaves no other rest."""
    coins: Coins = ANY
    """What can be paid at every provider that is set up; a price that a code lowers is such an amount."""
    withdrawal_waived: bool = False
    """The customer gives up the right of withdrawal with this order (readings, statutory rights)."""


class Limit(Struct, frozen=True):
    """Room that must be there when the order is stored: fewer than `most` rows of `equal` whose column is later."""

    most: int
    equal: tuple[tuple[str, str | int], ...]
    column: Literal["slot_until", "promo_until"]


def order_pack(
    catalog: Catalog,
    shopper: Shopper,
    order: Order,
    pack_id: str,
    code: str | None = None,
    uses: Uses | None = None,
) -> Purchase | Refusal:
    """The purchase of a pack, with the promotion code that was typed (R-PACK-1, R-PACK-8)."""
    pack = catalog.packs.get(pack_id)
    if pack is None or not shown(catalog, shopper, pack):
        return unknown_pack(catalog, shopper, pack_id)
    deal = terms(catalog, pack, order.now, code, uses, shopper.bought, order.coins)
    if isinstance(deal, Refusal):
        return _unknown_provider(order) or deal
    price = max(0, deal.price)
    credit = usable(price, order.credit, order.own)
    refused = _unknown_provider(order) if price > credit else None
    refused = (
        refused or pack_refused(catalog, shopper, pack, order.now) or waiver_missing(catalog, order, price)
    )
    if refused is not None:
        return refused
    return _purchase(
        catalog,
        shopper,
        order,
        free=price == credit,
        kind="pack",
        item=pack.id,
        title=pack.title,
        amount=price - credit,
        credit_used=credit,
        list_amount=pack.price,
        tokens=pack.tokens,
        bonus=deal.bonus,
        valid_days=pack.valid_days,
        promo=deal.promo,
        slot_ms=catalog.checkout.packs_window_ms,
    )


def order_plan(
    catalog: Catalog,
    shopper: Shopper,
    order: Order,
    plan_id: str,
    *,
    credit: int = 0,
    subscribed: bool = False,
    trial: bool = False,
) -> Purchase | Refusal:
    """The first payment of a plan, or an upgrade where the organization is `subscribed` already (R-PLAN-4).

    `credit`: minor units of the unused share (`tokentill.rules.plans.unused_credit`), which only an upgrade is
    credited with; what of it is above the price comes as money credit. `trial`: the organization has had none and no
    paid plan, so the plan's trial may begin.
    """
    plan = catalog.plans.get(plan_id)
    if plan is None:
        known = ", ".join(catalog.plans)
        return Refusal(
            Code.UNKNOWN_PLAN, f"The catalog has no plan of this name. It has: {known}.", detail=plan_id[:128]
        )
    price = plan.price or 0
    refused = _plan_refused(catalog, shopper, order, plan) or waiver_missing(catalog, order, price)
    if refused is not None:
        return refused
    tried = trial and not subscribed and plan.trial_days > 0 and price > 0
    credit = max(0, credit) if subscribed else 0
    due = 0 if tried else max(0, price - credit)
    due -= due % order.own.step if credit else 0  # a rest that cannot be paid is not asked for
    money = usable(due, order.credit, order.own)
    return _purchase(
        catalog,
        shopper,
        order,
        free=due <= 0 and not tried,
        kind="upgrade" if subscribed else "plan",
        item=plan.id,
        title=plan.title,
        amount=due - money,
        credit_used=money,
        list_amount=price,
        credit=credit,
        tokens=plan.tokens,
        bonus=0 if tried else plan.bundled_tokens,
        periods=plan.periods_per_payment,
    )


def order_code(
    catalog: Catalog, shopper: Shopper, order: Order, row: RedemptionCode | None
) -> Purchase | Refusal:
    """The purchase, already paid, that a redemption code stands for (R-PACK-8); its tokens are honoured always."""
    if row is None:
        return _no_code("There is no code like this. Check how it is spelled.")
    if row.revoked:
        return _no_code("The code was withdrawn. Ask whoever gave it to you.")
    if row.used_at is not None and row.purchase != order.id:
        return _no_code("The code was redeemed before. Each code brings its tokens once.")
    if row.used_at is None and row.expires_at is not None and order.now >= row.expires_at:
        return _no_code("The code has expired. Ask whoever gave it to you.")
    return _purchase(
        catalog,
        shopper,
        order,
        free=True,
        kind="code",
        item=row.batch,
        title=row.title,
        amount=0,
        tokens=row.tokens,
        valid_days=row.valid_days,
    )


def bill_id(organization: str, seq: int) -> str:
    """The id of the purchase that a bill of overage becomes, by the number of the organization's entry that it is."""
    return purchase_id("overage", f"{organization}:{seq}")


def bill_with(bill: Purchase, credit: int) -> Purchase:
    """The bill, of which credit pays so much, and the saved method or later a checkout the rest (R-PLAN-6, R-REF-4)."""
    rest = bill.list_amount - credit
    mode: Mode = "free" if not rest else "invoice" if bill.payer is None else "saved"
    return derive(replace(bill, amount=rest, credit_used=credit, mode=mode))


def is_open(bill: Purchase) -> bool:
    """Whether it is a bill of overage that waits to be paid by a checkout, or by credit (R-PLAN-6, R-REF-4)."""
    waits = bill.mode == "invoice" and bill.state in ("created", "pending")
    return bill.kind == "overage" and waits and bill.paid_at is None and not bill.voided


def more_credit(bill: Purchase, credit: int, now: int) -> Purchase:
    """The open bill, of which so much credit that came after it was made is to pay a part now (R-REF-4).

    No checkout of it may be open any more: the next one is for the rest.
    """
    if not is_open(bill) or bill.doing is not None or credit <= 0:
        return bill
    more = (*bill.further, (now, credit))
    return derive(replace(bill, further=more, doing="spend_credit", checkout=None, url=None))


def renewal_with(renewal: Purchase, credit: int) -> Purchase:
    """The renewal, whose invoice was drafted, with so much credit to be applied to it; asked once (R-REF-4).

    It costs what it did until the provider has taken the credit off.
    """
    settled = renewal.credit_used or renewal.doing is not None or renewal.done
    if renewal.kind != "renewal" or renewal.state != "created" or settled:
        return renewal
    return replace(renewal, credit_used=credit)


def renewal_without(renewal: Purchase) -> Purchase:
    """The renewal whose invoice is collected whole; no more is tried."""
    done: tuple[Step, ...] = (*renewal.done, "apply_credit")
    return derive(replace(renewal, doing=None, done=done, credit_used=0, amount=renewal.list_amount))


def limits(catalog: Catalog, purchase: Purchase) -> tuple[Limit, ...]:
    """What must be checked in the transaction that stores the order (R-PACK-4, R-PACK-8)."""
    found = []
    if purchase.kind == "pack" and catalog.checkout.packs_max is not None:
        own = (("organization", purchase.organization), ("kind", "pack"))
        found.append(Limit(catalog.checkout.packs_max, own, "slot_until"))
    promo = None if purchase.promo is None else catalog.promos.get(purchase.promo)
    if promo is not None:
        if promo.once_per_organization or promo.first_purchase_only:
            own = (("organization", purchase.organization), ("promo", promo.code))
            found.append(Limit(1, own, "promo_until"))
        if promo.uses_max is not None:
            found.append(Limit(promo.uses_max, (("promo", promo.code),), "promo_until"))
    return tuple(found)


def _plan_refused(catalog: Catalog, shopper: Shopper, order: Order, plan: Plan) -> Refusal | None:
    """Why the plan cannot be ordered now."""
    if plan.price and (refused := _unknown_provider(order)):
        return refused
    current = plan_of(catalog, shopper)
    if plan.id == shopper.plan:
        return Refusal(Code.NOT_POSSIBLE, "The organization is on this plan already.", detail=plan.id)
    if current is not None and plan.rank <= current.rank:
        what = "another rhythm of the present plan" if plan.rank == current.rank else "a lower plan"
        return Refusal(
            Code.NOT_POSSIBLE,
            f"{plan.title} is {what}, so nothing is paid now. Change the plan; it begins when the period ends.",
            detail=plan.id,
        )
    if plan.price is None:
        return Refusal(
            Code.PRICE_CUSTOM,
            f"The price of {plan.title} is on request. Ask for it.",
            detail=plan.id,
            purchase_link=catalog.texts.purchase_link,
        )
    if "plans" in shopper.switched_off:
        return Refusal(
            Code.PLANS_OFF,
            "Plans are not sold at the moment. Plans that are running go on. Try again later.",
            detail=plan.id,
        )
    return payment_failed(shopper)


def _unknown_provider(order: Order) -> Refusal | None:
    if order.provider in order.providers:
        return None
    known = ", ".join(order.providers)
    there_is = f"There is: {known}." if known else "None is set up."
    return Refusal(
        Code.UNKNOWN_PROVIDER,
        f"No payment provider of this name is set up. {there_is}",
        detail=order.provider[:128],
    )


def waiver_missing(catalog: Catalog, order: Order, price: int) -> Refusal | None:
    """The refusal of a customer's order without the waiver that the catalog asks for; None by default.

    Nobody is there to agree where a top-up buys by itself or an operator orders: those keep the right.
    """
    policy = catalog.refunds
    asked = policy.waiver_required and bool(policy.withdrawal) and order.source == "customer"
    if not asked or not price or order.withdrawal_waived:
        return None
    message = f"This is sold only to customers who agree to this: “{policy.waiver_text}” Nothing was bought."
    return Refusal(Code.NOT_POSSIBLE, message, detail="withdrawal_waived")


def _no_code(message: str) -> Refusal:
    return Refusal(Code.CODE_INVALID, message)


def _purchase(catalog: Catalog, shopper: Shopper, order: Order, *, free: bool, **what: object) -> Purchase:
    """The row of an order, with the columns that are read off it."""
    open_until = order.now + catalog.checkout.open_ms if order.mode == "checkout" and not free else None
    return derive(
        Purchase(
            id=order.id,
            organization=shopper.organization,
            created_at=order.now,
            currency=catalog.currency,
            provider=order.provider,
            mode="free" if free else order.mode,
            source=order.source,
            user=order.user,
            payer=order.payer,
            asked=order.asked,
            return_url=order.return_url,
            withdrawal_waived_at=order.now if order.withdrawal_waived else None,
            offered_at=None if order.offered_at is None else min(order.offered_at, order.now),
            expires_at=open_until,
            **what,  # type: ignore[arg-type]  # the callers above name the fields
        )
    )
