"""The usage page: what an organization has and what it used, for whoever holds its link or one of its keys.

Nothing is shown to anybody else: without a link that opens something the page asks for a key, by the endpoint's own
gate and its limit on wrong keys, and a right one is answered by a link for an hour. The page has no script and
nothing from elsewhere, is kept in no cache and tells its address to nobody.

Requirement ids: R-SALE-4, R-SALE-6, R-SALE-8, R-ABU-6.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import urlencode

from litestar import Request, Response, get, post
from litestar.enums import RequestEncodingType
from litestar.handlers import HTTPRouteHandler
from litestar.params import Body
from msgspec import Struct

from tokentill.flows.dashboard import Board, board, opened
from tokentill.flows.handing import BUY_PATH, USAGE_PATH
from tokentill.flows.shop import Shop
from tokentill.rules import links
from tokentill.rules.delivery import day
from tokentill.rules.durations import HOUR_MS
from tokentill.rules.links import Link
from tokentill.rules.money import format_amount
from tokentill.web.asgi import Answer
from tokentill.web.checkout import HEADERS, templates
from tokentill.web.gateway.gate import KeyGate
from tokentill.web.problems import TITLES

LINK_MS = HOUR_MS
"""How long a link lasts that a key was pasted for."""

ENDED = "This link has ended, or the key that it came with works no more. Paste a key of yours instead."
ORIGINS = {
    "plan": "Plan", "rollover": "Carried over", "pack": "Bought", "bonus": "Bonus", "grant": "Given",
    "adjustment": "Given", "refund": "Given back", "credit": "Credit",
}  # fmt: skip


class Pasted(Struct):
    """What the form sends."""

    key: str = ""


class Asking:
    """The form of a page that is opened by pasting a key. `why`: what the page is for, `gate`: of the endpoint."""

    def __init__(self, gate: KeyGate | None, path: str, title: str, why: str) -> None:
        self._gate = gate
        self._about = {"path": path, "title": title, "purpose": why, "possible": gate is not None}
        self._path = path

    def page(self, why: str = "", status: int = 200) -> Response[str]:
        """The form, and why it is there again."""
        page = templates().get_template("ask_key.html").render(why=why, **self._about)
        return Response(page, status_code=status, headers=HEADERS, media_type="text/html")

    async def paste(self, shop: Shop, request: Request[Any, Any, Any], text: str) -> Response[str]:
        """Where a key leads that was pasted: to the page by a link for an hour, or back to the form."""
        if self._gate is None:
            return self.page(ENDED, 403)
        client = request.client
        presented = {b"authorization": b"Bearer " + text.strip().encode()}
        key = await self._gate.admit("chat", presented, "" if client is None else client.host)
        if isinstance(key, Answer):
            return self.page(_why(key), key.status)
        link = Link(key.organization, shop.means.clock.now() + LINK_MS, key=key.id)
        address = f"{self._path}?{urlencode({'link': links.write(shop.means.secret, link)})}"
        return Response("", status_code=303, headers={**HEADERS, "location": address})


def routes(shop: Shop, gate: KeyGate | None) -> list[HTTPRouteHandler]:
    """The handlers, for the pages' application. `gate`: of the endpoint; without one no key can be pasted."""
    means = shop.means
    asked = Asking(gate, USAGE_PATH, "Usage", "to see what you have and what you used")

    @get(USAGE_PATH, media_type="text/html")
    async def usage(request: Request[Any, Any, Any]) -> Response[str]:
        text = request.query_params.get("link", "")
        if not text:
            return asked.page()
        link = links.read(means.secret, text, means.clock.now())
        sight = None if link is None else await opened(means, link)
        if link is None or sight is None:
            return asked.page(ENDED, 403)
        buy = (
            f"{BUY_PATH}?{urlencode({'link': text})}"
            if means.ledger.catalog.packs and sight.key is None
            else ""
        )
        return _show(shop, await board(means, link.organization, sight.key), buy)

    @post(USAGE_PATH, media_type="text/html", status_code=200, request_max_body_size=2_000)
    async def paste(
        request: Request[Any, Any, Any],
        data: Annotated[Pasted, Body(media_type=RequestEncodingType.URL_ENCODED)],
    ) -> Response[str]:
        return await asked.paste(shop, request, data.key)

    return [usage, paste]


def _why(answer: Answer) -> str:
    if answer.status == 429:
        return "Too many wrong keys came from your address. Wait a moment, then try again."
    return "This is no key that works here."


def _show(shop: Shop, its: Board, buy: str) -> Response[str]:
    """The page; `buy` leads to more, empty for who may order nothing."""
    catalog = shop.means.ledger.catalog
    plan = catalog.plans.get(its.balance.plan or "")
    page = templates().get_template("usage.html").render(
        its=its,
        buy=buy,
        shop=catalog.title,
        unit=catalog.unit.many,
        plan=None if plan is None else plan.title,
        credit=format_amount(its.balance.credit, catalog.currency) if its.balance.credit else "",
        moment=moment,
        day=day,
        origins=ORIGINS,
        titles=TITLES,
    )  # fmt: skip
    return Response(page, headers=HEADERS)


def moment(at: int) -> str:
    """A time as a person reads it, in UTC."""
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%d %H:%M")
