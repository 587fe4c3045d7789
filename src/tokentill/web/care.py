"""Care: what customers are told of tokens, what they say about them, and what a month has left.

As in `tokentill.web.shop`, a handler takes the shop and a call, and gives a view or a refusal.

Requirement ids: R-PACK-7, R-FIN-1, R-FIN-4.
"""

from __future__ import annotations

from tokentill.flows import forget
from tokentill.flows.shop import Shop
from tokentill.rules.explaining import Explanation, explain
from tokentill.rules.margins import MarginReport
from tokentill.rules.refusals import Code, Refusal
from tokentill.web import care_bodies as bodies
from tokentill.web.call import Call
from tokentill.web.office_views import Removed, following
from tokentill.web.route import ORG
from tokentill.web.shop import account_of
from tokentill.web.shop_routes import trade


async def faq(shop: Shop, call: Call) -> Explanation | Refusal:
    """What monthly and additional tokens are for this organization (R-PACK-7)."""
    account = await account_of(shop, call.organization)
    if isinstance(account, Refusal):
        return account
    catalog = shop.means.ledger.catalog
    return explain(catalog, catalog.plans.get(account.state.plan or ""))


async def rate(shop: Shop, call: Call) -> bodies.FeedbackView | Refusal:
    """Keep a rating (R-FIN-4)."""
    body: bodies.RatingBody = call.body
    found = await shop.feedback.rate(call.organization, body.score, body.text, body.purchase, call.key)
    return found if isinstance(found, Refusal) else bodies.view(found)


async def ticket(shop: Shop, call: Call) -> bodies.FeedbackView | Refusal:
    """Keep that there was a support ticket (R-FIN-4)."""
    body: bodies.TicketBody = call.body
    found = await shop.feedback.ticket(call.organization, body.topic, body.text, body.purchase, call.key)
    return found if isinstance(found, Refusal) else bodies.view(found)


async def feedback(shop: Shop, call: Call) -> bodies.FeedbackList | Refusal:
    """Ratings or tickets of every organization."""
    query: bodies.FeedbackQuery = call.query
    found = await shop.feedback.listed(query.what, query.before, query.limit)
    return bodies.FeedbackList(feedback=tuple(map(bodies.view, found)), next=following(found, query.limit))


async def feedback_months(shop: Shop, _call: Call) -> bodies.FeedbackMonths | Refusal:
    """How many ratings and tickets there were, and how satisfied customers are (R-FIN-4)."""
    return bodies.FeedbackMonths(months=await shop.feedback.months())


async def forget_words(shop: Shop, call: Call) -> Removed | Refusal:
    """Erase what a customer wrote; scores and topics stay (R-FIN-4)."""
    account = await account_of(shop, call.organization)
    if isinstance(account, Refusal):
        return account
    return Removed(removed=await forget.forget_words(shop.means, call.organization))


async def margin(shop: Shop, call: Call) -> MarginReport | Refusal:
    """What plans, packs and organizations have left in a month (R-FIN-1)."""
    return await shop.margins.report(call.query.month, call.query.organization)


_SAID = (Code.UNKNOWN_PURCHASE, Code.KEY_REUSED)

CARE = (
    trade("GET", f"{ORG}/faq", "getFaq", "What monthly and additional tokens are, and what customers ask about them",
          faq, Explanation),
    trade("POST", f"{ORG}/ratings", "rate", "Keep how satisfied a customer is",
          rate, bodies.FeedbackView, *_SAID, body=bodies.RatingBody, status=201),
    trade("POST", f"{ORG}/tickets", "recordTicket", "Keep that a customer asked for support",
          ticket, bodies.FeedbackView, *_SAID, body=bodies.TicketBody, status=201),
    trade("DELETE", f"{ORG}/words", "forgetWords", "Erase what a customer wrote with ratings, tickets and refunds",
          forget_words, Removed),
    trade("GET", "/v1/feedback", "listFeedback", "Ratings or tickets, newest first",
          feedback, bodies.FeedbackList, query=bodies.FeedbackQuery),
    trade("GET", "/v1/feedback/months", "countFeedback", "Ratings with their average, and tickets, month by month",
          feedback_months, bodies.FeedbackMonths),
    trade("GET", "/v1/margin", "getMargin", "What plans and packs have left in a month, and whether it is enough",
          margin, MarginReport, Code.UNKNOWN_ORGANIZATION, Code.NOT_POSSIBLE, query=bodies.MarginQuery),
)  # fmt: skip
"""The part of the table of routes that is about customers' questions and about what a month has left."""
