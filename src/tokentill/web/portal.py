"""The test portal of the embedded provider: where a customer sees and changes what is billed (R-PLAT-1).

It does what the portals of real providers do: plan, next payment, card and invoices; an invoice that is owed is paid,
the card replaced, the plan cancelled at the period's end and that withdrawn. All of it happens at the provider, and
the account hears of it by the very way of every provider's webhooks.

Its address is a link of the provider's own: it lets whoever holds it in for an hour, and a request without it changes
nothing. There is no cookie, so no other site can press anything here in a customer's name.

Requirement ids: R-PLAT-1, R-PLAN-4, R-LIC-1, R-LIC-3, R-PACK-7.
"""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlencode

from litestar import Request, Response, get, post
from litestar.enums import RequestEncodingType
from litestar.handlers import HTTPRouteHandler
from litestar.params import Body
from msgspec import Struct

from tokentill.flows.pay import Terms
from tokentill.flows.shop import Shop
from tokentill.flows.standing import status_of
from tokentill.flows.testclock import tell
from tokentill.ports import EmbeddedPayments, Paying
from tokentill.rules.delivery import day
from tokentill.rules.links import Link
from tokentill.rules.money import format_amount
from tokentill.rules.purchases import Purchase
from tokentill.rules.refusals import Refusal
from tokentill.rules.rows import EmbeddedPayment, Subscription
from tokentill.web.checkout import HEADERS, NEW_CARDS, NOTICES, rhythm_of, templates

PATH = "/test-portal"
INVOICES_MAX = 24
"""So many of the newest payments are listed."""

ENDED = "This link has ended. Open the page again from the shop."
STANDS = {
    "trialing": "This is a trial. Nothing has been taken for it yet.",
    "past_due": "The last invoice could not be collected. Until it is paid AI is off and the tokens are set aside.",
}
PAID = {
    "paid": "paid",
    "delivered": "paid",
    "disputed": "disputed",
    "charged_back": "went back by the bank",
    "partly_refunded": "partly given back",
    "refunded": "given back",
}
"""For each state of a purchase that was paid, how it is listed."""


class Pressed(Struct):
    """What was pressed: `do`, with the subscription or the invoice that it is about."""

    do: str = ""
    subscription: str = ""
    invoice: str = ""


class Plan(Struct, frozen=True, kw_only=True):
    """A subscription as the page shows it; amounts and days are written out."""

    payment: EmbeddedPayment
    title: str
    price: str
    due: str
    """What is owed, or will be collected next: the price, less credit that was taken off it."""
    rhythm: str
    stands: str
    card: str
    card_does: str
    next_on: str
    ends_on: str
    then: str


class Line(Struct, frozen=True, kw_only=True):
    """A payment in the list. `due`: the id of an invoice that is paid by a checkout of its own; else empty."""

    on: str
    title: str
    amount: str
    state: str
    due: str = ""


class Portal:
    """The page over the provider and the shop."""

    def __init__(self, provider: EmbeddedPayments, shop: Shop) -> None:
        self._provider = provider
        self._shop = shop

    def visitor(self, request: Request[Any, Any, Any]) -> Link | None:
        """Whom the request lets in."""
        return self._provider.visitor(request.query_params.get("link", ""))

    async def act(self, visitor: Link, pressed: Pressed, here: str) -> tuple[str, str]:
        """Do what was pressed: what is to be told about it, and where it goes on; `here` is the page itself."""
        shop, provider = self._shop, self._provider
        if pressed.do == "bill":
            terms = Terms(success_url=here, cancel_url=here)
            bill = await shop.checkout.pay(visitor.organization, pressed.invoice, provider.name, terms)
            return (bill.message, "") if isinstance(bill, Refusal) else ("", f"/checkout/{bill.checkout}")
        running = await provider.subscriptions(visitor.organization)
        ident = next((row.id for row in running if row.id == pressed.subscription), None)
        if ident is None:
            return "", here
        now = await shop.means.time_of(visitor.organization)
        done = Paying("idle")
        if pressed.do == "pay":
            done = await provider.collect(ident, now)
        elif pressed.do in NEW_CARDS:
            done = await provider.change_card(ident, NEW_CARDS[pressed.do], now)
        elif pressed.do in ("leave", "stay"):
            done = await provider.leave(ident, now, leaving=pressed.do == "leave")
        await tell(provider, done, shop.take_in)
        return NOTICES.get(done.code or "", ""), here

    async def render(self, visitor: Link, notice: str = "") -> str:
        """The page as it stands now."""
        shop, organization = self._shop, visitor.organization
        account = await shop.means.ledger.account(organization)
        assert account is not None, "only who has an account has paid"
        now = account.moment(shop.means.clock.now())
        plans = []
        for payment in await self._provider.subscriptions(organization):
            ident = f"{self._provider.name}:{payment.id}"
            row = await shop.means.rows.get(Subscription, ident, organization)
            status = "active" if row is None else status_of(row, account.state, now)
            plans.append(self._plan(payment, row, status))
        open_bills = {row.id for row in await shop.overages.open(organization)}
        bought = await shop.checkout.history(organization)
        own = [row for row in bought if row.provider == self._provider.name]
        lines = [line for row in own if (line := _line(row, open_bills)) is not None]
        return templates().get_template("portal.html").render(
            organization=organization,
            shop=shop.means.ledger.catalog.title,
            plans=plans,
            lines=lines[:INVOICES_MAX],
            notice=notice,
            back=visitor.back,
            ended="",
        )  # fmt: skip

    def _plan(self, payment: EmbeddedPayment, row: Subscription | None, status: str) -> Plan:
        plans = self._shop.means.ledger.catalog.plans
        now, then = (payment.plan, None) if row is None else (row.plan, row.next_plan)
        due = payment.recurring if payment.draft is None else payment.draft.owed
        card = next((card for card in self._provider.cards if card.number == payment.card), None)
        return Plan(
            payment=payment,
            title=plans[now].title if now is not None and now in plans else payment.title,
            price=format_amount(payment.recurring, payment.currency),
            due=format_amount(due, payment.currency),
            rhythm=rhythm_of(payment),
            stands=STANDS.get(status, ""),
            card=payment.card[-4:],
            card_does="" if card is None else card.text,
            next_on="" if payment.next_at is None else day(payment.next_at),
            ends_on="" if payment.ends_at is None else day(payment.ends_at),
            then=plans[then].title if then is not None and then in plans else "",
        )


def _line(row: Purchase, open_bills: set[str]) -> Line | None:
    """The payment as it is listed; None where nothing was paid and nothing is owed."""
    due = row.id in open_bills
    owed = due or (row.state == "failed" and row.failed_at is not None)
    state = "owed" if owed else PAID.get(row.state)
    if state is None:
        return None
    amount = format_amount(row.amount, row.currency)
    at = row.paid_at or row.created_at
    return Line(on=day(at), title=row.title, amount=amount, state=state, due=row.id if due else "")


def routes(portal: Portal) -> list[HTTPRouteHandler]:
    """The handlers of the page, for the pages' application."""

    @get(PATH, media_type="text/html")
    async def show(request: Request[Any, Any, Any]) -> Response[str]:
        visitor = portal.visitor(request)
        return _ended() if visitor is None else Response(await portal.render(visitor), headers=HEADERS)

    @post(PATH, media_type="text/html", status_code=200, request_max_body_size=1_000)
    async def press(
        request: Request[Any, Any, Any],
        data: Annotated[Pressed, Body(media_type=RequestEncodingType.URL_ENCODED)],
    ) -> Response[str]:
        visitor = portal.visitor(request)
        if visitor is None:
            return _ended()
        here = f"{PATH}?{urlencode({'link': request.query_params['link']})}"
        notice, on = await portal.act(visitor, data, here)
        if notice:
            return Response(await portal.render(visitor, notice), headers=HEADERS)
        # so that reloading the page presses nothing again
        return Response("", status_code=303, headers={**HEADERS, "location": on})

    return [show, press]


def _ended() -> Response[str]:
    page = templates().get_template("portal.html").render(ended=ENDED, back="", notice="")
    return Response(page, status_code=403, headers=HEADERS, media_type="text/html")
