"""The shop's part of the table of routes."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from tokentill.rules.refusals import Code
from tokentill.web import office, office_views, shop
from tokentill.web import shop_bodies as bodies
from tokentill.web import shop_views as views
from tokentill.web.route import ORG, Route
from tokentill.web.shop import Handle, sold

_PAY = (Code.PAYMENT_DECLINED, Code.CHECKOUT_FAILED, Code.UNKNOWN_PROVIDER, Code.NOT_POSSIBLE)
_ORDER = (
    *_PAY, Code.KEY_REUSED, Code.UNKNOWN_PACK, Code.UNKNOWN_PLAN, Code.PROMO_INVALID, Code.PRICE_CUSTOM,
    Code.PACK_DISABLED, Code.PACKS_OFF, Code.PLANS_OFF, Code.PACK_LIMIT, Code.PAYMENT_FAILED, Code.PACK_NOT_FOR_PLAN,
)  # fmt: skip
_ONE = (Code.UNKNOWN_PURCHASE,)


def trade(
    method: str,
    path: str,
    name: str,
    summary: str,
    handle: Handle,
    reply: type[Struct],
    *refusals: Code,
    **more: Any,
) -> Route:
    """A route of the shop: whatever changes something takes an idempotency key."""
    return Route(
        method=method,
        path=path,
        name=name,
        summary=summary,
        run=sold(handle, more.get("status", 200)),
        trade=handle,
        reply=reply,
        refusals=refusals,
        mutates=method != "GET",
        **more,
    )


_BOUGHT = f"{ORG}/purchases/{{purchase}}"

SHOP = (
    trade("GET", f"{ORG}/packs", "getPacks", "The packs as the customer sees them now, and which is recommended",
          shop.packs, views.PacksView, query=bodies.PacksQuery),
    trade("POST", f"{ORG}/purchases", "buy", "Order a pack or a plan; `url` says where it is paid",
          shop.buy, views.PurchaseView, *_ORDER, body=bodies.PurchaseBody, status=201),
    trade("GET", f"{ORG}/purchases", "listPurchases", "Every purchase, newest first",
          shop.purchases, views.PurchaseList, query=bodies.PageQuery),
    trade("GET", _BOUGHT, "getPurchase", "One purchase and where it stands",
          shop.purchase, views.PurchaseView, *_ONE),
    trade("POST", f"{_BOUGHT}/cancel", "cancelPurchase", "Leave an open checkout, so that it can be paid no more",
          shop.cancel, views.PurchaseView, *_ONE, Code.NOT_POSSIBLE, Code.CHECKOUT_FAILED),
    trade("POST", f"{_BOUGHT}/look", "lookAtPurchase", "The customer came back: ask the payment provider now",
          shop.look, views.PurchaseView, *_ONE, Code.CHECKOUT_FAILED),
    trade("POST", f"{_BOUGHT}/pay", "payInvoice", "Open a checkout for an invoice that is still to be paid",
          shop.pay, views.PurchaseView, *_ONE, Code.NOT_POSSIBLE, Code.CHECKOUT_FAILED, Code.UNKNOWN_PROVIDER,
          body=bodies.PayBody),
    trade("GET", f"{ORG}/topup", "getTopUp", "How the automatic top-up is set", shop.topup, views.TopUpView),
    trade("PUT", f"{ORG}/topup", "setTopUp", "Switch the automatic top-up on with these figures",
          shop.set_topup, views.TopUpView, Code.NOT_POSSIBLE, Code.UNKNOWN_PACK, Code.PACK_DISABLED, Code.PACKS_OFF,
          Code.PACK_NOT_FOR_PLAN, body=bodies.TopUpBody),
    trade("DELETE", f"{ORG}/topup", "stopTopUp", "Switch the automatic top-up off",
          shop.stop_topup, views.TopUpView),
    trade("GET", f"{ORG}/payment-methods", "listPaymentMethods", "Saved payment methods, the one used last first",
          shop.methods, views.PaymentMethodList),
    trade("DELETE", f"{ORG}/payment-methods/{{method}}", "forgetPaymentMethod", "Charge a saved method no more",
          shop.forget_method, views.PaymentMethodList),
    trade("POST", f"{ORG}/portal", "openPortal", "Where the customer changes the payment method at the provider",
          shop.portal, views.PortalView, Code.NOT_POSSIBLE, Code.CHECKOUT_FAILED, body=bodies.PortalBody),
    trade("GET", f"{ORG}/subscription", "getSubscription", "The plan and who bills it",
          shop.subscription, views.SubscriptionView),
    trade("PUT", f"{ORG}/subscription", "changeSubscription",
          "Change the plan: up at once, down when the period ends, or stay after all",
          shop.change_subscription, views.SubscriptionChange, *_PAY, Code.KEY_REUSED, Code.UNKNOWN_PLAN,
          Code.PRICE_CUSTOM, Code.PLANS_OFF, Code.PAYMENT_FAILED, body=bodies.SubscriptionBody),
    trade("DELETE", f"{ORG}/subscription", "cancelSubscription", "Leave the plan when the period ends",
          shop.cancel_subscription, views.SubscriptionChange, Code.NOT_POSSIBLE, Code.CHECKOUT_FAILED,
          Code.KEY_REUSED),
    trade("POST", f"{ORG}/codes/redeem", "redeemCode", "Bring the tokens of a code, once for all",
          office.redeem, views.PurchaseView, Code.CODE_INVALID, body=bodies.RedeemBody),
    trade("POST", f"{ORG}/clock", "moveClock", "Move the clock of a simulated organization",
          office.move_clock, office_views.ClockView, Code.NOT_POSSIBLE, body=bodies.ClockBody),
)  # fmt: skip
