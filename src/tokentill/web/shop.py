"""The shop's routes: offers, purchases, top-ups, payment methods and subscriptions of one organization.

A handler here takes the shop and a call, and gives a view or a refusal. `sold` makes it a route; the client in this
process calls the same handlers, so both ways in do the same.

An order's idempotency key is the order: its repetition goes on where the first try stopped and answers how the
purchase stands now.

Requirement ids: R-PACK-1, R-PACK-2, R-PACK-4, R-PACK-5, R-PACK-6, R-PACK-7, R-PACK-11, R-PLAN-4, R-SALE-3, R-LED-10.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from msgspec import Struct

from tokentill.flows.checkout import Ask
from tokentill.flows.pay import Terms, provider_down, provider_refused
from tokentill.flows.shop import Shop
from tokentill.ports import VendorDown, VendorRefused
from tokentill.rules.account import Account
from tokentill.rules.purchases import Purchase
from tokentill.rules.refusals import Code, Refusal, unknown_organization
from tokentill.rules.rows import Payer
from tokentill.web import problems, shop_views
from tokentill.web.asgi import Answer
from tokentill.web.call import Call
from tokentill.web.shop_bodies import PayBody, PurchaseBody, SubscriptionBody
from tokentill.web.site import Run, Site

Handle = Callable[[Shop, Call], Awaitable[Struct | Refusal]]
"""What a route of the shop does: a view, or why nothing was done. Raises `StoreDown`."""

UNKNOWN = unknown_organization()

_encode = msgspec.json.Encoder().encode


def sold(handle: Handle, status: int = 200) -> Run:
    """A handler of the shop as a route."""

    async def run(site: Site, call: Call) -> Answer:
        found = await handle(site.selling, call)
        if isinstance(found, Refusal):
            site.telemetry.refused(found.code)
            return problems.of_refusal(found)
        return Answer(status, _encode(found))

    return run


def wrong(message: str, field: str) -> Refusal:
    """A request that contradicts itself."""
    return Refusal(Code.INVALID, f"{message} Nothing was changed.", detail=field)


async def account_of(shop: Shop, organization: str) -> Account | Refusal:
    """The organization's account."""
    return await shop.means.ledger.account(organization) or UNKNOWN


# ---- packs and purchases -----------------------------------------------------------------------------------


async def packs(shop: Shop, call: Call) -> shop_views.PacksView | Refusal:
    """The packs as the organization's customer sees them now (R-PACK-1, R-PACK-6)."""
    query = call.query
    found = await shop.offers.packs(call.organization, missing=query.missing, code=query.promo)
    return found if isinstance(found, Refusal) else shop_views.packs(found, shop.means.ledger.catalog.refunds)


async def buy(shop: Shop, call: Call) -> shop_views.PurchaseView | Refusal:
    """Order a pack or a plan (R-PACK-2)."""
    body: PurchaseBody = call.body
    refused = _contradiction(body)
    if refused is not None:
        return refused
    ask = _ask(call, body)
    if body.pack is not None:
        # The method used last may be another by now; what is repeated is what was asked for.
        again = await shop.checkout.again(ask, ask.digest("pack", body.pack, body.promo))
        if again is not None:
            return _bought(again)
    payer = await _payer(shop, call.organization, body)
    if isinstance(payer, Refusal):
        return payer
    ask = msgspec.structs.replace(ask, payer=None if payer is None else payer.id)
    if body.pack is not None:
        found = await shop.checkout.buy_pack(ask, body.pack, body.promo or None)
    else:
        found = await shop.subscribing.start(ask, body.plan or "")
    return _bought(found)


def _contradiction(body: PurchaseBody) -> Refusal | None:
    if (body.pack is None) == (body.plan is None):
        return wrong("An order names one `pack` or one `plan`.", "pack")
    saved = body.one_click or body.payer is not None
    if body.one_click and body.payer is not None:
        return wrong("`one_click` takes the method used last; leave it out where `payer` names one.", "payer")
    if body.plan is not None and (saved or body.promo):
        field = "promo" if body.promo else "payer"
        return wrong(
            f"`{field}` is for packs. A plan begins by a checkout, where its payment method is saved.", field
        )
    return None


async def _payer(shop: Shop, organization: str, body: PurchaseBody) -> Payer | Refusal | None:
    """The saved method that is to be charged; None for a checkout."""
    if body.payer is None and not body.one_click:
        return None
    if await shop.means.ledger.account(organization) is None:
        return UNKNOWN
    saved = [row for row in await shop.reader.payers(organization) if row.saved is not None]
    for row in saved:
        if body.payer in (None, shop_views.method_id(row)):
            return row
    message = "There is no saved payment method" + ("." if body.payer is None else " of this id.")
    return Refusal(Code.NOT_POSSIBLE, f"{message} Order by a checkout.", detail="payer")


def _ask(call: Call, body: PurchaseBody | SubscriptionBody) -> Ask:
    last = "one click" if getattr(body, "one_click", False) else ""
    return Ask(
        organization=call.organization,
        key=call.key,
        user=body.user,
        provider=body.provider or "",
        method=getattr(body, "payer", None) or last,
        use_credit=body.use_credit,
        withdrawal_waived=body.withdrawal_waived,
        offered_at=getattr(body, "offered_at", None),
        terms=_terms(body),
    )


def _terms(body: PurchaseBody | SubscriptionBody | PayBody) -> Terms:
    return Terms(
        success_url=body.success_url or "",
        cancel_url=body.cancel_url or "",
        email=body.email,
        save_method=getattr(body, "save_method", False),
    )


def _bought(found: Purchase | Refusal) -> shop_views.PurchaseView | Refusal:
    """The purchase, or that the saved method was declined."""
    if isinstance(found, Refusal):
        return found
    if found.mode == "saved" and found.state == "failed":
        why = f" ({found.decline_code})" if found.decline_code else ""
        message = (
            f"The payment was declined{why}. Nothing was bought. Pay by a checkout, or with another method."
        )
        return Refusal(Code.PAYMENT_DECLINED, message, detail=found.id)
    return shop_views.purchase(found)


async def purchases(shop: Shop, call: Call) -> shop_views.PurchaseList | Refusal:
    """The organization's purchases, newest first (R-PACK-7)."""
    account = await account_of(shop, call.organization)
    if isinstance(account, Refusal):
        return account
    query = call.query
    found = await shop.checkout.history(call.organization, query.before, query.limit)
    following = found[-1].id if len(found) == query.limit else None
    return shop_views.PurchaseList(purchases=tuple(map(shop_views.purchase, found)), next=following)


async def purchase(shop: Shop, call: Call) -> shop_views.PurchaseView | Refusal:
    """One purchase as it stands."""
    account = await account_of(shop, call.organization)
    if isinstance(account, Refusal):
        return account
    found = await shop.checkout.purchase(call.organization, call.params[1])
    if found is None:
        return Refusal(Code.UNKNOWN_PURCHASE, "This organization has no purchase of this id.")
    return shop_views.purchase(found)


async def cancel(shop: Shop, call: Call) -> shop_views.PurchaseView | Refusal:
    """Leave an open checkout."""
    return await _about(shop, call, shop.checkout.cancel(call.organization, call.params[1]))


async def look(shop: Shop, call: Call) -> shop_views.PurchaseView | Refusal:
    """The customer came back: ask the provider now."""
    return await _about(shop, call, shop.checkout.look(call.organization, call.params[1]))


async def pay(shop: Shop, call: Call) -> shop_views.PurchaseView | Refusal:
    """Open a checkout for an invoice that is still to be paid (R-PLAN-6)."""
    body: PayBody = call.body
    paying = shop.checkout.pay(call.organization, call.params[1], body.provider or "", _terms(body))
    return await _about(shop, call, paying)


async def _about(
    shop: Shop, call: Call, asked: Awaitable[Purchase | Refusal]
) -> shop_views.PurchaseView | Refusal:
    found = await asked
    if not isinstance(found, Refusal):
        return shop_views.purchase(found)
    if found.code is Code.UNKNOWN_PURCHASE and await shop.means.ledger.account(call.organization) is None:
        return UNKNOWN
    return found


# ---- top-up and payment methods ----------------------------------------------------------------------------


async def topup(shop: Shop, call: Call) -> shop_views.TopUpView | Refusal:
    """How the top-up is set (R-PACK-11)."""
    account = await account_of(shop, call.organization)
    if isinstance(account, Refusal):
        return account
    return shop_views.topup(await shop.topups.get(call.organization), shop.means.ledger.catalog.currency)


async def set_topup(shop: Shop, call: Call) -> shop_views.TopUpView | Refusal:
    """Switch the top-up on with these figures."""
    body = call.body
    found = await shop.topups.set(
        call.organization,
        threshold=body.threshold,
        pack=body.pack,
        ceiling=body.ceiling,
        use_credit=body.use_credit,
    )
    if isinstance(found, Refusal):
        return found
    return shop_views.topup(found, shop.means.ledger.catalog.currency)


async def stop_topup(shop: Shop, call: Call) -> shop_views.TopUpView | Refusal:
    """Switch the top-up off; an order on its way goes on."""
    account = await account_of(shop, call.organization)
    if isinstance(account, Refusal):
        return account
    return shop_views.topup(await shop.topups.off(call.organization), shop.means.ledger.catalog.currency)


async def methods(shop: Shop, call: Call) -> shop_views.PaymentMethodList | Refusal:
    """Payment methods that can be charged with one click (R-SALE-3)."""
    account = await account_of(shop, call.organization)
    if isinstance(account, Refusal):
        return account
    rows = await shop.reader.payers(call.organization)
    saved = tuple(shop_views.method(row) for row in rows if row.saved is not None)
    return shop_views.PaymentMethodList(methods=saved)


async def forget_method(shop: Shop, call: Call) -> shop_views.PaymentMethodList | Refusal:
    """Charge a saved method no more. A subscription goes on with the method that its provider knows."""
    for row in await shop.reader.payers(call.organization):
        if shop_views.method_id(row) == call.params[1]:
            await shop.means.forget(row)
    return await methods(shop, call)


async def portal(shop: Shop, call: Call) -> shop_views.PortalView | Refusal:
    """Where the customer changes the payment method at the provider."""
    account = await account_of(shop, call.organization)
    if isinstance(account, Refusal):
        return account
    running = await shop.reader.subscription(call.organization)
    known = [(row.provider, row.customer) for row in await shop.reader.payers(call.organization)]
    if running is not None:
        known.insert(0, (running.provider, running.customer))
    for provider, customer in known:
        payments = shop.means.payments.get(provider)
        if payments is None or customer is None:
            continue
        try:
            url = await payments.portal(customer, call.body.return_url)
        except VendorDown:
            return provider_down()
        except VendorRefused as refused:
            return provider_refused(refused)
        if url is not None:
            return shop_views.PortalView(url=url)
    message = "No payment provider of this organization has a page for that, or nothing was paid there yet."
    return Refusal(Code.NOT_POSSIBLE, message, detail="portal")


# ---- subscription ------------------------------------------------------------------------------------------


async def subscription(shop: Shop, call: Call) -> shop_views.SubscriptionView | Refusal:
    """The organization's plan and who bills it."""
    account = await account_of(shop, call.organization)
    if isinstance(account, Refusal):
        return account
    last = await shop.reader.last_subscription(call.organization)
    now = account.moment(shop.means.clock.now())
    return shop_views.subscription(account.state, last, now, shop.means.ledger.catalog.currency)


async def change_subscription(shop: Shop, call: Call) -> shop_views.SubscriptionChange | Refusal:
    """Up now, down when the period ends, or stay after all (R-PLAN-4)."""
    account = await account_of(shop, call.organization)
    if isinstance(account, Refusal):
        return account
    body: SubscriptionBody = call.body
    plans = shop.means.ledger.catalog.plans
    before, wanted = plans.get(account.state.plan or ""), plans.get(body.plan)
    if before is not None and wanted is not None and wanted.id == before.id:
        return await _changed(shop, call, await shop.subscribing.resume(call.organization, call.key))
    if before is not None and wanted is not None and wanted.rank <= before.rank:
        down = shop.subscribing.downgrade(call.organization, wanted.id, call.key)
        return await _changed(shop, call, await down)
    bought = _bought(await shop.subscribing.start(_ask(call, body), body.plan))
    return bought if isinstance(bought, Refusal) else await _changed(shop, call, bought)


async def cancel_subscription(shop: Shop, call: Call) -> shop_views.SubscriptionChange | Refusal:
    """Leave the plan when the period ends."""
    return await _changed(shop, call, await shop.subscribing.cancel(call.organization, call.key))


async def _changed(shop: Shop, call: Call, done: Any) -> shop_views.SubscriptionChange | Refusal:
    """How the subscription stands after a change."""
    if isinstance(done, Refusal):
        return done
    now = await subscription(shop, call)
    if isinstance(now, Refusal):
        return now
    bought = isinstance(done, shop_views.PurchaseView)
    return shop_views.SubscriptionChange(
        subscription=now, purchase=done if bought else None, receipt=None if bought else done
    )
