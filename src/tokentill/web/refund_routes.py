"""The refunds' part of the table of routes."""

from __future__ import annotations

from tokentill.rules.refusals import Code
from tokentill.web import refund_bodies as bodies
from tokentill.web import refund_views as views
from tokentill.web import refunds
from tokentill.web.route import ORG
from tokentill.web.shop_bodies import PageQuery
from tokentill.web.shop_routes import trade

_ONE = f"{ORG}/refunds/{{refund}}"
_OF = f"{ORG}/purchases/{{purchase}}"
_NO = (Code.UNKNOWN_PURCHASE, Code.NOT_POSSIBLE)

REFUNDS = (
    trade("GET", f"{_OF}/refund-reasons", "suggestRefundReasons", "Reasons that the till sees by itself",
          refunds.reasons, views.ReasonList, Code.UNKNOWN_PURCHASE),
    trade("POST", f"{_OF}/refunds", "quoteRefund", "What could be given back now, and what else there is",
          refunds.quote, views.RefundView, *_NO, Code.KEY_REUSED, body=bodies.RefundQuoteBody, status=201),
    trade("GET", f"{ORG}/refunds", "listRefunds", "Every quote that was shown, and what became of it",
          refunds.refunds, views.RefundList, query=PageQuery),
    trade("GET", _ONE, "getRefund", "One refund and where it stands",
          refunds.refund, views.RefundView, Code.UNKNOWN_PURCHASE),
    trade("POST", f"{_ONE}/accept", "acceptRefund", "Take one of the options; a stale quote is answered by a new one",
          refunds.accept, views.RefundView, *_NO, body=bodies.RefundAcceptBody),
    trade("POST", f"{_ONE}/withdraw", "withdrawRefund", "Think better of it, before any money has moved",
          refunds.withdraw, views.RefundView, *_NO, Code.CHECKOUT_FAILED),
    trade("GET", "/v1/refunds", "listRefundQueue", "Refunds that wait for an operator",
          refunds.queue, views.CaseList, query=bodies.RefundQueueQuery),
    trade("GET", "/v1/refunds/report", "reportRefunds", "Refund rates by pack or plan, segment and sales approach",
          refunds.report, views.RefundReport, query=bodies.RefundReportQuery),
    trade("POST", f"{_ONE}/approve", "approveRefund", "Agree to a refund that waits",
          refunds.approve, views.CaseView, *_NO, body=bodies.RefundDecisionBody),
    trade("POST", f"{_ONE}/deny", "denyRefund", "Refuse a refund that waits; the tokens come back",
          refunds.deny, views.CaseView, *_NO, body=bodies.RefundDecisionBody),
    trade("POST", f"{_ONE}/adjust", "adjustRefund", "Agree to another amount of money or credit",
          refunds.adjust, views.CaseView, *_NO, body=bodies.RefundAdjustBody),
)  # fmt: skip
