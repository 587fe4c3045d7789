"""The page of the embedded provider, where a test card pays for what was ordered (R-PLAT-1).

Its address holds the payment's id, which nobody can guess; there is nothing else to know. What happens on it
goes to the account by the very way of every provider's webhooks.

Requirement ids: R-PLAT-1, R-PACK-2.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import cache
from importlib.resources import files
from typing import Annotated

from jinja2 import Environment, PackageLoader, StrictUndefined
from litestar import Response, get, post
from litestar.enums import RequestEncodingType
from litestar.exceptions import NotFoundException
from litestar.handlers import HTTPRouteHandler
from litestar.params import Body, FromPath
from msgspec import Struct

from tokentill.flows.checkout import Checkout
from tokentill.flows.testclock import Deliver, tell
from tokentill.ports import Clock, EmbeddedPayments, Paying
from tokentill.rules.money import format_amount
from tokentill.rules.rows import EmbeddedPayment

TimeOf = Callable[[str], Awaitable[int]]
"""The time of an organization, whose clock may be simulated."""

HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'; "
    "form-action 'self'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
}
NOTICES = {
    "card_declined": "The card was declined. Nothing was paid. Try another one.",
    "insufficient_funds": "The card has not enough money. Nothing was paid. Try another one.",
    "not_a_test_card": "Only the test cards below are accepted. Nothing was paid.",
    "refused": "The payment was not confirmed. Nothing was paid. Try again, or cancel.",
}
NEW_CARDS = {"mend": "4242424242424242", "spoil": "4000000000000341"}
"""Cards that a customer may give for the invoices to come: one that pays them, and one that does not."""

RHYTHMS = {"month": "a month", "year": "a year"}


class Choice(Struct):
    """What was pressed on the page."""

    do: str = ""
    card: str = ""
    waive: str = ""
    """"yes" where the customer ticked that the right of withdrawal is given up."""


@cache
def templates() -> Environment:
    """The templates of all pages; they escape what they print."""
    return Environment(
        loader=PackageLoader("tokentill.web"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )


class Page:
    """The page over the provider; `deliver` takes the events on to the accounts, `desk` knows the orders."""

    def __init__(
        self, provider: EmbeddedPayments, deliver: Deliver, clock: Clock, desk: Checkout, time_of: TimeOf
    ) -> None:
        self._provider = provider
        self._deliver = deliver
        self._clock = clock
        self._desk = desk
        self._time_of = time_of

    async def find(self, ident: str) -> EmbeddedPayment:
        """The payment of this id, or there is nothing at this address."""
        found = await self._provider.payment(ident) if len(ident) < 100 else None
        if found is None:
            raise NotFoundException
        return found

    async def act(self, ident: str, choice: Choice) -> str | None:
        """Do what was pressed; the code of what is to be told about it."""
        provider = self._provider
        if choice.do == "pay":
            return await self._pay(ident, choice)
        if choice.do == "confirm":
            return await self._take(await provider.confirm(ident))
        if choice.do == "cancel":
            return await self._take(await provider.cancel(ident))
        if choice.do == "refuse":
            await self._take(await provider.pay(ident, "4000000000000002"))
            return "refused"
        if choice.do in ("dispute", "won", "lost"):
            state = "open" if choice.do == "dispute" else choice.do
            return await self._take(await provider.dispute(ident, state))  # type: ignore[arg-type]  # one of three
        if choice.do in NEW_CARDS:
            now = await self._time_of((await self.find(ident)).organization)
            return await self._take(await provider.change_card(ident, NEW_CARDS[choice.do], now))
        return None

    async def _pay(self, ident: str, choice: Choice) -> str | None:
        """Pay, with what was ticked beside it; what was ticked for a payment that fails is ticked for nothing."""
        payment = await self.find(ident)
        whose = payment.organization, payment.purchase
        purchase = await self._desk.purchase(*whose)
        ticked = choice.waive == "yes" and purchase is not None and purchase.withdrawal_waived_at is None
        if ticked:
            await self._desk.waive_withdrawal(*whose)
        paying = await self._provider.pay(ident, choice.card[:30])
        code = await self._take(paying)
        if ticked and paying.state not in ("paid", "confirming"):
            await self._desk.waive_withdrawal(*whose, waived=False)
        return code

    async def _take(self, paying: Paying) -> str | None:
        return (await tell(self._provider, paying, self._deliver)).code

    async def render(self, payment: EmbeddedPayment, notice: str | None) -> str:
        """The page as it stands now."""
        purchase = await self._desk.purchase(payment.organization, payment.purchase)
        waived = purchase is not None and purchase.withdrawal_waived_at is not None
        closed = payment.state in ("cancelled", "expired")
        return (
            templates()
            .get_template("checkout.html")
            .render(
                payment=payment,
                amount=format_amount(payment.amount, payment.currency),
                refunded=format_amount(payment.refunded, payment.currency),
                rhythm=rhythm_of(payment),
                trial=payment.trial_days if payment.state == "open" else 0,
                notice=NOTICES.get(notice or ""),
                over=closed or self._clock.now() >= payment.expires_at,
                cards=self._provider.cards,
                waiver=self._desk.waiver,
                waived=waived,
            )
        )


def rhythm_of(payment: EmbeddedPayment) -> str:
    """How often a plan is paid, in words; empty for what is paid once."""
    every = f"every {payment.interval_days} days"
    return RHYTHMS.get(payment.interval, every) if payment.interval else ""


def routes(page: Page) -> list[HTTPRouteHandler]:
    """The handlers of the page, for the pages' application."""

    @get("/checkout/{ident:str}", media_type="text/html")
    async def show(ident: FromPath[str]) -> Response[str]:
        return Response(await page.render(await page.find(ident), None), headers=HEADERS)

    @post("/checkout/{ident:str}", media_type="text/html", status_code=200, request_max_body_size=10_000)
    async def press(
        ident: FromPath[str], data: Annotated[Choice, Body(media_type=RequestEncodingType.URL_ENCODED)]
    ) -> Response[str]:
        await page.find(ident)
        notice = await page.act(ident, data)
        found = await page.find(ident)
        if notice is None:  # so that reloading the page presses nothing again
            return Response("", status_code=303, headers={**HEADERS, "location": f"/checkout/{ident}"})
        return Response(await page.render(found, notice), headers=HEADERS)

    return [show, press]


@get("/assets/{name:str}", media_type="text/css", sync_to_thread=False)
def asset(name: FromPath[str]) -> Response[bytes]:
    """A style sheet of the pages."""
    found = next(
        (file for file in files("tokentill.web").joinpath("assets").iterdir() if file.name == name), None
    )
    if found is None:
        raise NotFoundException
    headers = {"x-content-type-options": "nosniff", "cache-control": "public, max-age=3600"}
    return Response(found.read_bytes(), media_type="text/css", headers=headers)
