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
from tokentill.flows.handing import USAGE_PATH
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


def routes(shop: Shop, gate: KeyGate | None) -> list[HTTPRouteHandler]:
    """The handlers, for the pages' application. `gate`: of the endpoint; without one no key can be pasted."""
    means = shop.means

    @get(USAGE_PATH, media_type="text/html")
    async def usage(request: Request[Any, Any, Any]) -> Response[str]:
        text = request.query_params.get("link", "")
        if not text:
            return _ask(gate)
        link = links.read(means.secret, text, means.clock.now())
        sight = None if link is None else await opened(means, link)
        if link is None or sight is None:
            return _ask(gate, ENDED, 403)
        return _show(shop, await board(means, link.organization, sight.key))

    @post(USAGE_PATH, media_type="text/html", status_code=200, request_max_body_size=2_000)
    async def paste(
        request: Request[Any, Any, Any],
        data: Annotated[Pasted, Body(media_type=RequestEncodingType.URL_ENCODED)],
    ) -> Response[str]:
        if gate is None:
            return _ask(gate, ENDED, 403)
        client = request.client
        presented = ((b"authorization", b"Bearer " + data.key.strip().encode()),)
        key = await gate.admit("chat", presented, "" if client is None else client.host)
        if isinstance(key, Answer):
            return _ask(gate, _why(key), key.status)
        link = Link(key.organization, means.clock.now() + LINK_MS, key=key.id)
        address = f"{USAGE_PATH}?{urlencode({'link': links.write(means.secret, link)})}"
        return Response("", status_code=303, headers={**HEADERS, "location": address})

    return [usage, paste]


def _why(answer: Answer) -> str:
    if answer.status == 429:
        return "Too many wrong keys came from your address. Wait a moment, then try again."
    return "This is no key that works here."


def _ask(gate: KeyGate | None, why: str = "", status: int = 200) -> Response[str]:
    page = templates().get_template("usage_ask.html").render(why=why, possible=gate is not None)
    return Response(page, status_code=status, headers=HEADERS, media_type="text/html")


def _show(shop: Shop, its: Board) -> Response[str]:
    catalog = shop.means.ledger.catalog
    page = templates().get_template("usage.html").render(
        its=its,
        shop=catalog.title,
        unit=catalog.unit.many,
        plan=catalog.plans[its.balance.plan].title if its.balance.plan in catalog.plans else None,
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
