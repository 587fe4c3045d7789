"""Selling: what a host does about packs, purchases, subscriptions and everything around them.

The same in this process and over HTTP. An order's idempotency key is the order: sending it again makes no second one
and answers how the purchase stands now. Money is minor units, times are epoch milliseconds.

Requirement ids: R-PACK-1, R-PACK-2, R-PACK-4, R-PACK-5, R-PACK-6, R-PACK-7, R-PACK-8, R-PACK-9, R-PACK-11, R-PLAN-4,
R-PLAN-8, R-PLAT-1, R-SALE-3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from msgspec import Struct

from tokentill.client.errors import Refused
from tokentill.client.transport import Trade, Transport
from tokentill.ports import Ids
from tokentill.rules.refusals import Refusal
from tokentill.wiring import office_views as o
from tokentill.wiring import shop_views as v

T = TypeVar("T", bound=Struct)


class Selling:
    """What a till can do about sales."""

    _transport: Transport
    _ids: Ids

    # ---- packs and purchases -------------------------------------------------------------------------

    async def packs(self, organization: str, *, promo: str | None = None, missing: int = 0) -> v.PacksView:
        """The packs as the organization's customer sees them now, and which is recommended (R-PACK-6).

        `promo`: a code that was typed. `missing`: tokens that an operation at hand lacks.
        """
        return await self._ask(v.PacksView, "getPacks", organization, promo=promo, missing=missing)

    async def buy(  # noqa: PLR0913 each is a term of the order
        self,
        organization: str,
        pack: str | None = None,
        *,
        plan: str | None = None,
        promo: str | None = None,
        provider: str | None = None,
        payer: str | None = None,
        one_click: bool = False,
        user: str | None = None,
        email: str | None = None,
        success_url: str | None = None,
        cancel_url: str | None = None,
        save_method: bool = False,
        use_credit: bool = False,
        withdrawal_waived: bool = False,
        offered_at: int | None = None,
        idempotency_key: str | None = None,
    ) -> v.PurchaseView:
        """Order a pack or a plan; send the customer to the purchase's `url` (R-PACK-2).

        `payer` charges a saved method at once, `one_click` the one used last (R-SALE-3). `save_method`: the customer
        agrees to save the method that pays. `withdrawal_waived`: the customer agrees to the text of `withdrawal` in
        `packs` and gives up the right of withdrawal; never say so unasked. `offered_at`: `shown_at` of the offer.
        """
        body = {
            "pack": pack,
            "plan": plan,
            "promo": promo,
            "provider": provider,
            "payer": payer,
            "one_click": one_click,
            "user": user,
            "email": email,
            "success_url": success_url,
            "cancel_url": cancel_url,
            "save_method": save_method,
            "use_credit": use_credit,
            "withdrawal_waived": withdrawal_waived,
            "offered_at": offered_at,
        }
        return await self._do(v.PurchaseView, "buy", organization, key=idempotency_key, body=body)

    async def purchases(
        self, organization: str, *, before: str | None = None, limit: int = 50
    ) -> v.PurchaseList:
        """The organization's purchases, newest first (R-PACK-7); `before` is the `next` of the page before."""
        return await self._ask(v.PurchaseList, "listPurchases", organization, before=before, limit=limit)

    async def purchase(self, organization: str, purchase: str) -> v.PurchaseView:
        """One purchase and where it stands."""
        return await self._ask(v.PurchaseView, "getPurchase", organization, purchase)

    async def look_at_purchase(self, organization: str, purchase: str) -> v.PurchaseView:
        """The customer came back: ask the payment provider now."""
        return await self._do(v.PurchaseView, "lookAtPurchase", organization, purchase)

    async def cancel_purchase(self, organization: str, purchase: str) -> v.PurchaseView:
        """Leave an open checkout, so that it can be paid no more and its slot is free (R-PACK-4)."""
        return await self._do(v.PurchaseView, "cancelPurchase", organization, purchase)

    async def pay_invoice(
        self,
        organization: str,
        purchase: str,
        *,
        provider: str | None = None,
        email: str | None = None,
        success_url: str | None = None,
        cancel_url: str | None = None,
    ) -> v.PurchaseView:
        """Open a checkout for an invoice that is still to be paid (R-PLAN-6)."""
        body = {"provider": provider, "email": email, "success_url": success_url, "cancel_url": cancel_url}
        return await self._do(v.PurchaseView, "payInvoice", organization, purchase, body=body)

    # ---- top-up and payment methods ------------------------------------------------------------------

    async def topup(self, organization: str) -> v.TopUpView:
        """How the automatic top-up is set (R-PACK-11)."""
        return await self._ask(v.TopUpView, "getTopUp", organization)

    async def set_topup(
        self, organization: str, *, threshold: int, pack: str, ceiling: int, use_credit: bool = True
    ) -> v.TopUpView:
        """Buy `pack` when fewer than `threshold` tokens are left, for at most `ceiling` minor units a month.

        The ceiling is what the saved method is charged at most; money credit pays first, unless `use_credit` is false,
        and does not count. Without a saved method credit has to pay for the whole pack.
        """
        body = {"threshold": threshold, "pack": pack, "ceiling": ceiling, "use_credit": use_credit}
        return await self._do(v.TopUpView, "setTopUp", organization, body=body)

    async def stop_topup(self, organization: str) -> v.TopUpView:
        """Switch the automatic top-up off; an order on its way goes on."""
        return await self._do(v.TopUpView, "stopTopUp", organization)

    async def payment_methods(self, organization: str) -> Sequence[v.PaymentMethod]:
        """Saved payment methods, the one used last first (R-SALE-3)."""
        return (await self._ask(v.PaymentMethodList, "listPaymentMethods", organization)).methods

    async def forget_payment_method(self, organization: str, method: str) -> Sequence[v.PaymentMethod]:
        """Charge a saved method no more; those that are left."""
        return (await self._do(v.PaymentMethodList, "forgetPaymentMethod", organization, method)).methods

    async def portal(self, organization: str, return_url: str) -> str:
        """The address where the customer changes the payment method at the provider; for this customer alone."""
        return (await self._do(v.PortalView, "openPortal", organization, body={"return_url": return_url})).url

    # ---- subscription --------------------------------------------------------------------------------

    async def subscription(self, organization: str) -> v.SubscriptionView:
        """The plan and who bills it."""
        return await self._ask(v.SubscriptionView, "getSubscription", organization)

    async def change_subscription(  # noqa: PLR0913 each is a term of the order
        self,
        organization: str,
        plan: str,
        *,
        provider: str | None = None,
        user: str | None = None,
        email: str | None = None,
        success_url: str | None = None,
        cancel_url: str | None = None,
        use_credit: bool = False,
        withdrawal_waived: bool = False,
        idempotency_key: str | None = None,
    ) -> v.SubscriptionChange:
        """Move to `plan`: up at once, down at the period's end; the present plan withdraws a change (R-PLAN-4).

        `use_credit` and `withdrawal_waived` as in `buy`, for what is paid now.
        """
        body = {
            "plan": plan,
            "provider": provider,
            "user": user,
            "email": email,
            "success_url": success_url,
            "cancel_url": cancel_url,
            "use_credit": use_credit,
            "withdrawal_waived": withdrawal_waived,
        }
        return await self._do(
            v.SubscriptionChange, "changeSubscription", organization, key=idempotency_key, body=body
        )

    async def cancel_subscription(
        self, organization: str, *, idempotency_key: str | None = None
    ) -> v.SubscriptionChange:
        """Leave the plan when the period ends; until then everything stays as it is."""
        return await self._do(v.SubscriptionChange, "cancelSubscription", organization, key=idempotency_key)

    async def move_clock(self, organization: str, to: int) -> o.ClockView:
        """Move the clock of a simulated organization to `to`, and let everything due happen (R-PLAT-1)."""
        return await self._do(o.ClockView, "moveClock", organization, body={"to": to})

    # ---- codes ---------------------------------------------------------------------------------------

    async def redeem(self, organization: str, code: str, *, user: str | None = None) -> v.PurchaseView:
        """Bring the tokens of a code, once for all (R-PACK-8)."""
        return await self._do(v.PurchaseView, "redeemCode", organization, body={"code": code, "user": user})

    async def create_codes(
        self,
        batch: str,
        tokens: int,
        *,
        count: int = 1,
        title: str = "",
        valid_days: int | None = None,
        expires_at: int | None = None,
        idempotency_key: str | None = None,
    ) -> o.NewCodes:
        """Make redemption codes of `tokens` each; they are shown this once (R-PACK-8)."""
        body = {
            "batch": batch,
            "tokens": tokens,
            "count": count,
            "title": title,
            "valid_days": valid_days,
            "expires_at": expires_at,
        }
        return await self._do(o.NewCodes, "createCodes", key=idempotency_key, body=body)

    async def codes(
        self, batch: str | None = None, *, before: str | None = None, limit: int = 100
    ) -> o.CodeList:
        """Redemption codes of a batch or of all, without what they are written as."""
        return await self._ask(o.CodeList, "listCodes", batch=batch, before=before, limit=limit)

    async def revoke_code(self, code_id: str) -> o.CodeView:
        """Withdraw a code that was not redeemed yet, by its id."""
        return await self._do(o.CodeView, "revokeCode", code_id)

    # ---- the office ----------------------------------------------------------------------------------

    async def switches(self) -> Sequence[o.SwitchView]:
        """What is sold at the moment and what is stopped (R-PACK-9)."""
        return (await self._ask(o.SwitchList, "listSwitches")).switches

    async def switch(self, switch: str, *, on: bool, reason: str) -> o.SwitchView:
        """Stop selling something at once, or begin again: packs, plans, topups, or `pack:` and its id."""
        body = {"switch": switch, "on": on, "reason": reason}
        return await self._do(o.SwitchView, "turnSwitch", body=body)

    async def alerts(self, *, seen: bool = False, before: str | None = None, limit: int = 100) -> o.AlertList:
        """What an operator should look at; with `seen` also what somebody has seen."""
        return await self._ask(o.AlertList, "listAlerts", seen=int(seen), before=before, limit=limit)

    async def see_alert(self, alert: str) -> o.AlertView:
        """Say that the alert has been looked at."""
        return await self._do(o.AlertView, "seeAlert", alert)

    async def events(self, state: str = "dead", *, before: str | None = None, limit: int = 50) -> o.EventList:
        """Events of payment providers that stand so: new, waiting, done, ignored or dead."""
        return await self._ask(o.EventList, "listEvents", state=state, before=before, limit=limit)

    async def retry_event(self, event: str) -> o.EventView:
        """Try an event of a payment provider once more, also one that was given up."""
        return await self._do(o.EventView, "retryEvent", event)

    async def contact(self, organization: str) -> o.ContactView:
        """Where the organization gets its e-mail."""
        return await self._ask(o.ContactView, "getContact", organization)

    async def set_contact(
        self, organization: str, email: str, *, name: str = "", quiet: Sequence[str] = ()
    ) -> o.ContactView:
        """Say where the organization gets its e-mail; `quiet` are notices that it does not want (R-PLAN-8)."""
        body = {"email": email, "name": name, "quiet": list(quiet)}
        return await self._do(o.ContactView, "setContact", organization, body=body)

    async def forget_contact(self, organization: str) -> bool:
        """Erase the address; False if there was none."""
        return (await self._do(o.Removed, "forgetContact", organization)).removed

    async def endpoints(self, organization: str | None = None) -> Sequence[o.EndpointView]:
        """Addresses that get webhooks: the organization's, or the operator's own, which are told of all."""
        name = "listEndpoints" if organization is None else "listOwnEndpoints"
        return (await self._ask(o.EndpointList, name, *_of(organization))).endpoints

    async def add_endpoint(
        self,
        url: str,
        *,
        organization: str | None = None,
        events: Sequence[str] = (),
        idempotency_key: str | None = None,
    ) -> o.NewEndpoint:
        """Tell this address of what happens; the secret that signs it is shown this once (R-PLAN-8)."""
        name = "addEndpoint" if organization is None else "addOwnEndpoint"
        body = {"url": url, "events": list(events)}
        return await self._do(o.NewEndpoint, name, *_of(organization), key=idempotency_key, body=body)

    async def remove_endpoint(self, endpoint: str, *, organization: str | None = None) -> bool:
        """Tell this address nothing more; False if there was none."""
        name = "removeEndpoint" if organization is None else "removeOwnEndpoint"
        return (await self._do(o.Removed, name, *_of(organization), endpoint)).removed

    async def messages(
        self, state: str = "dead", *, before: str | None = None, limit: int = 50
    ) -> o.MessageList:
        """E-mails and webhooks that stand so: pending, sent or dead."""
        return await self._ask(o.MessageList, "listMessages", state=state, before=before, limit=limit)

    async def send_message(self, message: str) -> o.MessageView:
        """Try a message once more from the beginning."""
        return await self._do(o.MessageView, "sendMessage", message)

    # ---- inside --------------------------------------------------------------------------------------

    async def _ask(self, kind: type[T], name: str, *params: str, **query: Any) -> T:
        asked = {key: value for key, value in query.items() if value is not None}
        return await self._traded(kind, Trade(name=name, params=params, query=asked))

    async def _do(
        self,
        kind: type[T],
        name: str,
        *params: str,
        key: str | None = None,
        body: dict[str, Any] | None = None,
    ) -> T:
        said = {field: value for field, value in (body or {}).items() if value is not None}
        key = key or self._ids.operation()
        return await self._traded(kind, Trade(name=name, params=params, body=said, key=key))

    async def _traded(self, kind: type[T], trade: Trade) -> T:
        answer = await self._transport.trade(trade, kind)
        if isinstance(answer, Refusal):
            raise Refused(answer)
        return answer


def _of(organization: str | None) -> tuple[str, ...]:
    return () if organization is None else (organization,)
