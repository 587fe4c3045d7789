"""The Stripe lab: a server of our own that speaks Stripe's wire protocol, for tests and for trying a shop out.

It is what the official SDK is tested against, over a real socket. Whoever uses it has three ways in: the API
under `/v1` as at Stripe; what a customer, a bank or time does, by the methods below or by `POST /_test/<name>`
with their arguments as JSON; and pages under `/pay/` where a person picks a test card.

Requirement ids: R-PLAT-1 (proof).
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from typing import Any

from tokentill.lab.stripe.api import Answer, Api, Fault, Receive, Reply, read_body, reply
from tokentill.lab.stripe.billing import Billing
from tokentill.lab.stripe.checkout import Checkout
from tokentill.lab.stripe.goods import Goods
from tokentill.lab.stripe.hooks import Delivery, Hooks, Mischief, Send
from tokentill.lab.stripe.invoices import Invoices
from tokentill.lab.stripe.pages import Pages
from tokentill.lab.stripe.paying import Customer, Paying
from tokentill.lab.stripe.refusals import Refused
from tokentill.lab.stripe.renewing import Renewing
from tokentill.lab.stripe.routes import Routes
from tokentill.lab.stripe.schedules import Schedules
from tokentill.lab.stripe.world import Object, World
from tokentill.ports import Clock

DEFAULT_KEY = "sk_test_lab"
HELPERS = (
    "listen", "pay", "settle", "expire", "dispute", "decide", "warn", "finish_refund", "pay_invoice",
    "change_card", "advance", "catch_up", "misbehave", "fail",
)  # fmt: skip
"""What `POST /_test/<name>` does, by the names of the methods."""


class StripeLab:
    """One Stripe account in test mode; an ASGI application.

    `clock` is its time, from which `advance` moves away; ids and choices follow from `seed`.
    """

    def __init__(
        self, clock: Clock, *, seed: str = "lab", account: str = "acct_lab", key: str = DEFAULT_KEY
    ) -> None:
        self.world = World(clock, seed=seed, account=account)
        self.key = key
        self.hooks = Hooks(self.world, seed)
        self.paying = Paying(self.world)
        goods = Goods(self.world)
        self.invoices = Invoices(self.world, self.paying)
        self.billing = Billing(self.world, goods, self.invoices)
        self.checkout = Checkout(self.world, goods, self.paying, self.billing)
        schedules = Schedules(self.world, goods)
        self._renewing = Renewing(self.world, self.checkout, self.billing, self.invoices, schedules)
        self.routes = Routes(
            self.world, goods, self.paying, self.checkout, self.billing, self.invoices, schedules
        )
        self.api = Api(self.world, self.routes.table, key, self._renewing.catch_up)
        self._pages = Pages(self)

    # ---- what the customer does --------------------------------------------------------------------------

    def pay(
        self,
        session: str,
        card: str,
        *,
        email: str = "customer@example.com",
        bank: Customer = "confirms",
        later: bool = False,
    ) -> Object:
        """Pay a checkout with a test card: the session afterwards, or the error of a declined card.

        `bank`: what the customer does if the bank asks (confirms, fails, leaves). `later`: the money comes, or
        does not, by `settle`.
        """
        return self._done(lambda: self.checkout.pay(session, card, email=email, bank=bank, later=later))

    def settle(self, session: str, *, succeeds: bool = True) -> Object:
        """The money of a checkout that was paid `later` arrives, or does not."""
        return self._done(lambda: self.checkout.settle(session, succeeds=succeeds))

    def pay_invoice(self, invoice: str, card: str | None = None, *, bank: Customer = "confirms") -> Object:
        """Pay an open invoice on its page: with another card, or by confirming the one that is saved."""

        def paid() -> Object:
            found = self.world.get("invoice", invoice)
            of = self.billing.of_invoice(found)
            method = self.paying.method(card) if card is not None else of and self.billing.method_of(of)
            self.invoices.collect(found, method, off_session=False, customer=bank)
            return found

        return self._done(paid)

    def change_card(self, subscription: str, card: str) -> Object:
        """The customer gives another card in the portal, for a subscription."""

        def changed() -> Object:
            found = self.world.get("subscription", subscription)
            method = self.paying.method(card)
            self.paying.attach(method, self.world.get("customer", found["customer"]))
            self.world.note(method["id"])["set_up"] = True
            self.world.change("customer.subscription.updated", found, default_payment_method=method["id"])
            return found

        return self._done(changed)

    # ---- what banks do -----------------------------------------------------------------------------------

    def dispute(self, payment: str, *, status: str = "needs_response", amount: int | None = None) -> Object:
        """The bank disputes a payment (intent or charge), or inquires: `warning_needs_response`."""
        charge = self.paying.charge_of
        return self._done(lambda: self.paying.dispute(charge(payment), status=status, amount=amount))

    def decide(self, dispute: str, status: str) -> Object:
        """A dispute goes on (`under_review`) or ends: `won`, `lost`, `warning_closed`."""

        def decided() -> Object:
            found = self.world.get("dispute", dispute)
            self.paying.decide(found, status)
            return found

        return self._done(decided)

    def warn(self, payment: str) -> Object:
        """An early fraud warning of a payment."""
        return self._done(lambda: self.paying.warn(self.paying.charge_of(payment)))

    def finish_refund(self, refund: str, *, succeeds: bool = True) -> Object:
        """A pending refund arrives; or one, even one that had arrived, fails."""

        def finished() -> Object:
            found = self.world.get("refund", refund)
            self.paying.finish_refund(found, succeeds=succeeds)
            return found

        return self._done(finished)

    # ---- what time does ----------------------------------------------------------------------------------

    def expire(self, session: str) -> Object:
        """The checkout's time is over."""
        return self._done(lambda: self.checkout.expire(session))

    def advance(self, seconds: int) -> Object:
        """Move this world ahead of its clock, through everything that happens meanwhile."""
        self.world.ahead_ms += seconds * 1000
        return self.catch_up()

    def catch_up(self) -> Object:
        """Do what is due by now; after the clock that was handed in has moved."""

        def caught_up() -> Object:
            self._renewing.catch_up()
            return {"now": self.world.now}

        return self._done(caught_up)

    # ---- webhooks and faults -----------------------------------------------------------------------------

    def listen(self, url: str, events: Sequence[str] = ("*",)) -> Object:
        """Send webhooks to an address; the endpoint, with its secret."""
        return self._done(lambda: self.routes.endpoint(url, list(events)))

    def misbehave(self, **mischief: Any) -> Object:
        """What is done to deliveries from now on; see `Mischief`."""
        self.hooks.mischief = Mischief(**mischief)
        return {"mischief": mischief}

    def fail(self, fault: Fault, times: int = 1) -> Object:
        """Let the next requests fail: error, limit, done_then_error, done_then_silence."""
        self.api.faults.extend([fault] * times)
        return {"faults": list(self.api.faults)}

    def webhooks(self) -> list[Delivery]:
        """Take every webhook that waits to be sent, instead of sending it."""
        return self.hooks.take()

    async def deliver(self, send: Send) -> int:
        """Send every webhook that waits; how many were not taken and wait again."""
        return await self.hooks.deliver(send)

    def _done(self, deed: Callable[[], Object]) -> Object:
        """Do it, then tell of it; a refusal of a card comes back as Stripe's error object."""
        try:
            return copy.deepcopy(deed())
        except Refused as refused:
            return refused.body()
        finally:
            self.world.tell()

    # ---- ASGI --------------------------------------------------------------------------------------------

    async def __call__(self, scope: Any, receive: Receive, send: Reply) -> None:
        """One request over HTTP."""
        if scope["type"] != "http":
            return
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]
        }
        body = await read_body(receive)
        path = scope["path"]
        if path.startswith("/pay/"):
            await self._pages.answer(scope["method"], path, body, send)
            return
        if path.startswith("/_test/"):
            await reply(send, self._helped(scope["method"], path.removeprefix("/_test/"), body))
            return
        query = scope["query_string"].decode("latin-1")
        target = f"{path}?{query}" if query else path
        await reply(send, await self.api.answer(scope["method"], target, headers, body))

    def _helped(self, method: str, name: str, body: bytes) -> Answer:
        """What the test asks for."""
        if method == "GET" and name == "events":
            return Answer(200, {"data": list(self.world.tables.get("event", {}).values())})
        if method == "GET" and name == "webhooks":
            taken = [
                {"url": one.url, "body": one.body.decode(), "headers": one.headers} for one in self.webhooks()
            ]
            return Answer(200, {"data": taken})
        if method != "POST" or name not in HELPERS:
            return Answer(
                404, {"error": {"message": f"There is no helper {name}; there are {', '.join(HELPERS)}."}}
            )
        try:
            arguments = json.loads(body or b"{}")
            found = getattr(self, name)(**arguments)
        except (ValueError, TypeError) as error:
            return Answer(400, {"error": {"message": f"The helper {name} does not take this: {error}"}})
        return Answer(400 if "error" in found else 200, found)
