"""The routes of refunds: quote, accept, withdraw, and the operator's desk.

As in `tokentill.web.shop`, a handler takes the shop and a call, and gives a view or a refusal.

Requirement ids: R-REF-4, R-REF-5, R-REF-6.
"""

from __future__ import annotations

from tokentill.flows.pay import unknown_purchase
from tokentill.flows.refunding import unknown_refund
from tokentill.flows.shop import Shop
from tokentill.rules.refund_rows import Refund
from tokentill.rules.refusals import Code, Refusal
from tokentill.web import refund_views as views
from tokentill.web import shop_views
from tokentill.web.call import Call
from tokentill.web.office_views import following
from tokentill.web.shop import account_of


def _shown(shop: Shop, found: Refund | Refusal) -> views.RefundView | Refusal:
    return found if isinstance(found, Refusal) else views.refund(found, shop.means.ledger.catalog)


def _case(shop: Shop, found: Refund | Refusal) -> views.CaseView | Refusal:
    return found if isinstance(found, Refusal) else views.case(found, shop.means.ledger.catalog)


async def reasons(shop: Shop, call: Call) -> views.ReasonList | Refusal:
    """Reasons that the till sees by itself."""
    purchase = await shop.checkout.purchase(call.organization, call.params[1])
    if purchase is None:
        return unknown_purchase()
    seen = await shop.refunding.facts.suggestions(purchase)
    return views.ReasonList(
        suggestions=tuple(views.SuggestionView(reason=one.reason, why=one.why) for one in seen)
    )


async def quote(shop: Shop, call: Call) -> views.RefundView | Refusal:
    """What could be given back now; under a key it is the same quote again (R-REF-5)."""
    body = call.body
    found = await shop.refunding.quote(
        call.organization, call.params[1], body.reason, body.text, body.user, region=body.region, key=call.key
    )
    return _shown(shop, found)


async def accept(shop: Shop, call: Call) -> views.RefundView | Refusal:
    """Take one of the options; a quote that is stale or got worse is answered by a new one, and nothing is done."""
    body, payer = call.body, None
    if body.payer is not None:
        rows = await shop.reader.payers(call.organization)
        payer = next(
            (row.id for row in rows if row.saved is not None and shop_views.method_id(row) == body.payer),
            None,
        )
        if payer is None:
            return Refusal(Code.NOT_POSSIBLE, "There is no saved payment method of this id.", detail="payer")
    return _shown(
        shop,
        await shop.refunding.accept(
            call.organization, call.params[1], body.choice, body.item, payer, use_credit=body.use_credit
        ),
    )


async def withdraw(shop: Shop, call: Call) -> views.RefundView | Refusal:
    """The customer thinks better of it."""
    return _shown(shop, await shop.refunding.withdraw(call.organization, call.params[1]))


async def refund(shop: Shop, call: Call) -> views.RefundView | Refusal:
    """One refund as it stands."""
    found = await shop.refund_desk.refund(call.organization, call.params[1])
    return _shown(shop, unknown_refund() if found is None else found)


async def refunds(shop: Shop, call: Call) -> views.RefundList | Refusal:
    """The organization's refunds."""
    account = await account_of(shop, call.organization)
    if isinstance(account, Refusal):
        return account
    query, catalog = call.query, shop.means.ledger.catalog
    found = await shop.refund_desk.of(call.organization, query.before, query.limit)
    shown = tuple(views.refund(row, catalog) for row in found)
    return views.RefundList(refunds=shown, next=following(found, query.limit))


async def queue(shop: Shop, call: Call) -> views.CaseList | Refusal:
    """Refunds of all organizations that wait for an operator, or stand otherwise (R-REF-6)."""
    query, catalog = call.query, shop.means.ledger.catalog
    found = await shop.refund_desk.queue(query.state, query.before, query.limit)
    return views.CaseList(
        cases=tuple(views.case(row, catalog) for row in found), next=following(found, query.limit)
    )


async def approve(shop: Shop, call: Call) -> views.CaseView | Refusal:
    """Agree to a refund as it is."""
    desk, number = shop.refund_desk, call.params[1]
    return _case(shop, await desk.approve(call.organization, number, call.actor, call.body.reason))


async def deny(shop: Shop, call: Call) -> views.CaseView | Refusal:
    """Refuse a refund; the tokens come back."""
    desk, number = shop.refund_desk, call.params[1]
    return _case(shop, await desk.deny(call.organization, number, call.actor, call.body.reason))


async def adjust(shop: Shop, call: Call) -> views.CaseView | Refusal:
    """Agree to another amount."""
    desk, number, body = shop.refund_desk, call.params[1], call.body
    return _case(shop, await desk.adjust(call.organization, number, body.amount, call.actor, body.reason))


async def report(shop: Shop, call: Call) -> views.RefundReport | Refusal:
    """Refund rates by pack or plan, segment and sales approach (R-REF-6)."""
    since = call.query.since
    return views.RefundReport(since=since, shares=tuple(await shop.refund_desk.report(since)))
