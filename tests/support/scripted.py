"""A payment provider that is scripted by tests, but is a real one otherwise: it remembers what it was asked.

Sessions, charges and subscriptions live in one SQLite file, so that several processes, or one that was killed
and its successor, speak to the same provider. A call repeated under its key gets the first answer and moves no
money. What happens is told as signed events, which a test may hold back, repeat and shuffle.
"""

import hashlib
import hmac
import json
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from tokentill.ports import BadSignature, Inbound, Order, Started, VendorDown, VendorRefused
from tokentill.rules import happenings as h
from tokentill.rules.purchases import Purchase
from tokentill.rules.rows import Payer, ProviderEvent, Subscription

SECRET = b"the scripted provider's secret"
HOUR = 3_600_000
MONTH = 30 * 24 * HOUR


class Told(Struct, frozen=True):
    """An event as it travels."""

    id: str
    type: str
    happenings: tuple[h.AnyHappening, ...]


class Scripted:
    """The provider. `fail` makes the next calls of a method raise; `log` says what it was asked."""

    def __init__(
        self, path: str, now: Callable[[], int], name: str = "scripted", *, own_ids: bool = True
    ) -> None:
        self.name = name
        self.now = now
        self.own_ids = own_ids
        """Whether it sends our own purchase id back with everything it tells."""
        self.log: list[str] = []
        self.steps: dict[str, int] = {}
        """In how many minor units it moves money of a currency, where that is not every one."""
        self.leasts: dict[str, int] = {}
        """The least that it takes of a currency, where that is more than one."""
        self.refunds = "done"
        """What becomes of refunds: done, pending or failed."""
        self.fail: dict[str, list[Exception]] = {}
        self.refuse: dict[str, str] = {}
        """Purchases of which nothing is given back, each with the reason."""
        self._db = sqlite3.connect(path, isolation_level=None, timeout=30)
        self._db.execute(
            "create table if not exists things (kind text, id text, body text, primary key (kind, id))"
        )

    # ---- what it remembers ---------------------------------------------------------------------------

    def _get(self, kind: str, ident: str) -> Any:
        found = self._db.execute(
            "select body from things where kind = ? and id = ?", (kind, ident)
        ).fetchone()
        return None if found is None else json.loads(found[0])

    def _set(self, kind: str, ident: str, body: Any) -> None:
        self._db.execute("insert or replace into things values (?, ?, ?)", (kind, ident, json.dumps(body)))

    def all(self, kind: str) -> dict[str, Any]:
        """Everything of a kind, by id."""
        rows = self._db.execute("select id, body from things where kind = ? order by rowid", (kind,))
        return {ident: json.loads(body) for ident, body in rows}

    def money(self, purchase: str) -> int:
        """What was taken for the purchase in all."""
        return sum(one["amount"] for one in self.all("payment").values() if one["purchase"] == purchase)

    def _asked(self, call: str) -> None:
        self.log.append(call)
        waiting = self.fail.get(call)
        if waiting:
            raise waiting.pop(0)

    def _once(self, key: str, make: Callable[[], str]) -> str:
        """The id that the call under this key made, now or before."""
        known = self._get("call", key)
        if known is None:
            known = make()
            self._set("call", key, known)
        return str(known)

    def _new(self, prefix: str) -> str:
        number = (self._get("count", prefix) or 0) + 1
        self._set("count", prefix, number)
        own = "" if self.name == "scripted" else f"{self.name}_"  # no two providers' ids are alike
        return f"{prefix}_{own}{number}"

    def _whose(self, one: Any) -> dict[str, Any]:
        if not self.own_ids:
            return {}
        return {"purchase": one["purchase"], "organization": one["organization"]}

    # ---- the port ------------------------------------------------------------------------------------

    def step(self, currency: str) -> int:
        return self.steps.get(currency, 1)

    def least(self, currency: str) -> int:
        return self.leasts.get(currency, 1)

    async def checkout(self, order: Order, key: str) -> Started:
        self._asked("checkout")

        def make() -> str:
            ident = self._new("cs")
            purchase = order.purchase
            self._set("session", ident, {
                "purchase": purchase.id, "organization": purchase.organization, "amount": purchase.amount,
                "currency": purchase.currency, "state": "open", "plan": purchase.item if order.interval else None,
                "recurring": purchase.list_amount or purchase.amount, "save": order.save_method,
                "trial_days": order.trial_days, "expires_at": self.now() + HOUR // 2,
            })  # fmt: skip
            return ident

        ident = self._once(key, make)
        return Started(ident, f"https://pay.test/{ident}", self._get("session", ident)["expires_at"])

    async def close_checkout(self, purchase: Purchase) -> None:
        self._asked("close_checkout")
        session = self._get("session", purchase.checkout or "")
        if session["state"] == "paid":
            raise VendorRefused("paid", "It is paid already.")
        self._set("session", purchase.checkout or "", {**session, "state": "closed"})

    async def charge_saved(self, order: Order, payer: Payer, key: str) -> Sequence[h.AnyHappening] | Started:
        self._asked("charge_saved")
        if payer.saved == "pm_declined":
            raise VendorRefused("card_declined", "The card was declined.")
        if payer.saved == "pm_confirm":
            return await self.checkout(order, key + "confirm")
        purchase = order.purchase
        ident = self._once(
            key,
            lambda: self._paid(purchase.id, purchase.organization, purchase.amount, purchase.currency, None),
        )
        self._asked("charge_saved.answer")
        return self.facts_of_payment(ident)

    async def look(self, purchase: Purchase) -> Sequence[h.AnyHappening]:
        self._asked("look")
        found: list[h.AnyHappening] = []
        for ident, one in self.all("payment").items():
            if one["purchase"] == purchase.id:
                found += self.facts_of_payment(ident)
                if self.refunded(ident):
                    found.append(self.fact_of_refunds(ident))
        session = self._get("session", purchase.checkout or "")
        over = session is not None and (session["state"] == "closed" or session["expires_at"] <= self.now())
        if not found and over:
            found.append(h.Ended(at=self.now(), purchase=purchase.id, organization=purchase.organization))
        return found

    async def refund(self, purchase: Purchase, amount: int, key: str) -> Sequence[h.AnyHappening]:
        payment = purchase.payment or ""
        if self._get("refusal", key) is not None:
            raise VendorRefused("refused", "This key was refused before.")
        if self._get("refund", key) is None:
            try:
                self._asked("refund")
                if purchase.id in self.refuse:
                    raise VendorRefused(self.refuse[purchase.id], "No.")  # noqa: TRY301 as one that was scripted
            except VendorRefused:
                self._set("refusal", key, {})
                raise
            if amount % self.step(purchase.currency):
                raise VendorRefused("amount", "This currency moves in larger steps.")
            if self.refunded(payment) + amount > self._taken(payment):
                raise VendorRefused("over_refund", "More than was paid cannot be given back.")
            self._set("refund", key, {"payment": payment, "amount": amount, "state": self.refunds})
        self._asked("refund.answer")
        state = self._get("refund", key)["state"]
        if state == "pending":
            return []
        if state == "failed":
            return [self.fact_of_failure(key)]
        return [self.fact_of_refunds(payment)]

    def _taken(self, payment: str) -> int:
        """How much the payment was; that of an invoice is called after it."""
        invoice = self._get("invoice", payment.removeprefix("pi_"))
        return int((invoice or self.all("payment")[payment])["amount"])

    def refunded(self, payment: str) -> int:
        """What was given back of the payment, or is on its way."""
        made = self.all("refund").values()
        return sum(one["amount"] for one in made if one["payment"] == payment and one["state"] != "failed")

    def fact_of_refunds(self, payment: str) -> h.Refunded:
        made = self.all("refund").values()
        done = [one["amount"] for one in made if one["payment"] == payment and one["state"] == "done"]
        return h.Refunded(at=self.now(), payment=payment, refunded=sum(done), currency="USD")

    def fact_of_failure(self, key: str) -> h.RefundFailed:
        one = self._get("refund", key)
        return h.RefundFailed(
            at=self.now(), payment=one["payment"], refund=key, amount=one["amount"], currency="USD"
        )

    def refund_outside(self, payment: str, amount: int) -> h.Refunded:
        """Somebody gives money back in the provider's dashboard."""
        self._set("refund", self._new("re"), {"payment": payment, "amount": amount, "state": "done"})
        return self.fact_of_refunds(payment)

    def end_refunds(self, state: str) -> None:
        """Refunds that were pending are through, or failed."""
        for key, one in self.all("refund").items():
            if one["state"] == "pending":
                self._set("refund", key, {**one, "state": state})

    async def portal(self, customer: str, return_url: str) -> str | None:
        return f"https://pay.test/portal/{customer}"

    async def change_subscription(
        self, subscription: Subscription, order: Order, credit: int, key: str
    ) -> Sequence[h.AnyHappening] | Started:
        self._asked("change_subscription")
        if subscription.saved == "pm_declined":
            raise VendorRefused("card_declined", "The card was declined.")

        def make() -> str:
            standing = self._get("subscription", subscription.ref)
            standing |= {
                "plan": order.purchase.item,
                "amount": order.purchase.list_amount,
                "start": self.now(),
            }
            self._set("subscription", subscription.ref, standing)
            return self.bill(subscription.ref, "update", order.purchase.amount, order.purchase.id)

        invoice = self._once(key, make)
        self._asked("change_subscription.answer")
        return [self.fact_of_invoice(invoice)]

    async def end_subscription(self, subscription: Subscription, *, now: bool, key: str) -> None:
        self._asked("end_subscription")
        standing = self._get("subscription", subscription.ref)
        self._set("subscription", subscription.ref, {**standing, "ends": True, "ended": now})

    async def renew_as(self, subscription: Subscription, order: Order | None, key: str) -> None:
        self._asked("renew_as")
        standing = self._get("subscription", subscription.ref) | {"ends": False}
        if order is not None:
            standing |= {"plan": order.purchase.item, "amount": order.purchase.list_amount}
        self._set("subscription", subscription.ref, standing)

    async def apply_credit(self, purchase: Purchase, key: str) -> bool:
        self._asked("apply_credit")
        invoice = self._get("invoice", purchase.invoice or "")
        if invoice["credit"] is None and invoice["draft"]:
            invoice |= {"credit": key, "amount": invoice["amount"] - purchase.credit_used}
            self._set("invoice", purchase.invoice or "", invoice)
        self._asked("apply_credit.answer")
        return bool(invoice["credit"] == key)

    async def event(self, inbound: Inbound, now: int) -> ProviderEvent:
        given = inbound.headers.get("x-signature", "")
        if not hmac.compare_digest(given, self._sign(inbound.body)):
            raise BadSignature("The signature does not fit.")
        told = msgspec.json.decode(inbound.body, type=Told)
        return ProviderEvent(
            id=f"{self.name}:{told.id}",
            created_at=now,
            provider=self.name,
            type=told.type,
            body=inbound.body.decode(),
        )

    async def happenings(self, event: ProviderEvent) -> Sequence[h.AnyHappening]:
        self._asked("happenings")
        return msgspec.json.decode(event.body, type=Told).happenings

    async def close(self) -> None:
        self._db.close()

    # ---- what customers, banks and time do -----------------------------------------------------------

    def pay(self, checkout: str, method: str = "card_a") -> tuple[h.AnyHappening, ...]:
        """The customer pays in an open checkout; what there is to tell."""
        session = self._get("session", checkout)
        if session["state"] != "open" or session["expires_at"] <= self.now():
            return ()
        self._set("session", checkout, {**session, "state": "paid"})
        if session["plan"] is not None:
            return self._subscribe(checkout, session)
        ident = self._paid(
            session["purchase"], session["organization"], session["amount"], session["currency"], checkout, method,
            save=session["save"],
        )  # fmt: skip
        return tuple(self.facts_of_payment(ident))

    def _subscribe(self, checkout: str, session: Any) -> tuple[h.AnyHappening, ...]:
        ident = self._new("sub")
        self._set("subscription", ident, {
            "purchase": session["purchase"], "organization": session["organization"], "plan": session["plan"],
            "amount": session["recurring"], "start": self.now(), "ends": False, "ended": False,
        })  # fmt: skip
        invoice = self.bill(ident, "create", session["amount"], session["purchase"])
        paid = h.Paid(
            at=self.now(), payment=f"pi_{invoice}", amount=session["amount"], currency="USD", checkout=checkout,
            method="card_a", saved="pm_a", customer="cus_1", **self._whose(session),
        )  # fmt: skip
        return (paid, self.fact_of_invoice(invoice), self.standing(ident))

    def _paid(
        self, purchase: str, organization: str, amount: int, currency: str, checkout: str | None,
        method: str = "card_a", *, save: bool = True,
    ) -> str:  # fmt: skip
        ident = self._new("pi")
        self._set("payment", ident, {
            "purchase": purchase, "organization": organization, "amount": amount, "currency": currency, "at": self.now(),
            "checkout": checkout, "method": method, "saved": f"pm_{method}" if save else None,
        })  # fmt: skip
        return ident

    def facts_of_payment(self, ident: str) -> list[h.AnyHappening]:
        one = self._get("payment", ident)
        return [
            h.Paid(
                at=one["at"], payment=ident, amount=one["amount"], currency=one["currency"], checkout=one["checkout"],
                method=one["method"], saved=one["saved"], customer="cus_1", **self._whose(one),
            )
        ]  # fmt: skip

    def bill(
        self, subscription: str, reason: str, amount: int | None = None, purchase: str | None = None,
        *, draft: bool = False,
    ) -> str:  # fmt: skip
        """An invoice of the subscription for a period from now on, paid or drafted."""
        standing = self._get("subscription", subscription)
        ident = self._new("in")
        self._set("invoice", ident, {
            "subscription": subscription, "reason": reason, "plan": standing["plan"], "start": self.now(),
            "amount": standing["amount"] if amount is None else amount, "end": self.now() + MONTH, "paid_at": self.now(),
            "purchase": purchase or standing["purchase"], "organization": standing["organization"],
            "draft": draft, "credit": None,
        })  # fmt: skip
        return ident

    def fact_of_draft(self, ident: str) -> h.InvoiceDrafted:
        one = self._get("invoice", ident)
        return h.InvoiceDrafted(
            at=one["paid_at"], subscription=one["subscription"], invoice=ident, plan=one["plan"], start=one["start"],
            organization=one["organization"],
        )  # fmt: skip

    def collect(self, ident: str) -> h.InvoicePaid:
        """A drafted invoice is paid."""
        self._set("invoice", ident, {**self._get("invoice", ident), "draft": False, "paid_at": self.now()})
        return self.fact_of_invoice(ident)

    def fact_of_invoice(self, ident: str) -> h.InvoicePaid:
        one = self._get("invoice", ident)
        return h.InvoicePaid(
            at=one["paid_at"], subscription=one["subscription"], invoice=ident, plan=one["plan"], amount=one["amount"],
            currency="USD", start=one["start"], end=one["end"], reason=one["reason"], payment=f"pi_{ident}",
            method="card_a", customer="cus_1", **self._whose(one),
        )  # fmt: skip

    def failed(self, ident: str, at: int | None = None) -> h.InvoiceFailed:
        """What is told where the invoice could not be collected (yet)."""
        one = self._get("invoice", ident)
        return h.InvoiceFailed(
            at=at or one["paid_at"], subscription=one["subscription"], invoice=ident, amount=one["amount"],
            currency="USD", reason=one["reason"], **self._whose(one),
        )  # fmt: skip

    def standing(self, ident: str, **more: Any) -> h.Subscribed:
        """Where the subscription stands."""
        one = self._get("subscription", ident)
        fields = {"status": "active", "plan": one["plan"], "customer": "cus_1", "saved": "pm_a", **more}
        return h.Subscribed(at=self.now(), subscription=ident, **fields, **self._whose(one))

    def told(self, *facts: h.AnyHappening, name: str | None = None) -> Inbound:
        """The facts as an event on its way; the same facts make the same event."""
        body = msgspec.json.encode(facts)
        ident = name or hashlib.blake2b(body, digest_size=8).hexdigest()
        kind = str(facts[0].__struct_config__.tag) if facts else "other"
        body = msgspec.json.encode(Told(ident, kind, facts))
        return Inbound(body, {"x-signature": self._sign(body)})

    def _sign(self, body: bytes) -> str:
        return hmac.new(SECRET, body, hashlib.sha256).hexdigest()


DOWN = VendorDown("no answer")
