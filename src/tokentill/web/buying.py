"""The buying page: the packs as one organization may buy them now, where refusals and warnings lead by default.

It is opened by the links of the usage page, or by pasting a key that can use everything; a key that is narrowed may
spend and not order. An order is what it is over HTTP, and leads to the purchase's own page and from there to the
checkout, so nothing is bought here without somebody paying there. A form that is sent twice is one order.

Requirement ids: R-PLAN-7, R-PLAN-8, R-PACK-1, R-PACK-2, R-PACK-4, R-SALE-1.
"""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Request, Response, get, post
from litestar.enums import RequestEncodingType
from litestar.handlers import HTTPRouteHandler
from litestar.params import Body
from msgspec import Struct

from tokentill.flows.checkout import Ask
from tokentill.flows.dashboard import opened
from tokentill.flows.handing import BUY_PATH, purchase_page
from tokentill.flows.shop import Shop
from tokentill.rules import links
from tokentill.rules.durations import HOUR_MS
from tokentill.rules.money import format_amount
from tokentill.rules.refusals import Refusal
from tokentill.web import usage
from tokentill.web.checkout import HEADERS, templates
from tokentill.web.gateway.gate import KeyGate

ORDER_CHARS_MAX = 64
NARROWED = "This key may spend tokens and not order any. Paste one that may use everything."


class Ordered(Struct):
    """What a form sends: a pasted `key`, or a `pack` with the `order` that the form stands for and when it was shown."""

    key: str = ""
    pack: str = ""
    order: str = ""
    shown: str = ""


def routes(shop: Shop, gate: KeyGate | None) -> list[HTTPRouteHandler]:
    """The handlers, for the pages' application. `gate`: of the endpoint; without one no key can be pasted."""
    asked = usage.Asking(gate, BUY_PATH, "Buy", "to buy more")

    @get(BUY_PATH, media_type="text/html")
    async def packs(request: Request[Any, Any, Any]) -> Response[str]:
        text = request.query_params.get("link", "")
        if not text:
            return asked.page()
        organization, why = await _buyer(shop, text)
        return asked.page(why, 403) if why else await _show(shop, organization)

    @post(BUY_PATH, media_type="text/html", status_code=200, request_max_body_size=2_000)
    async def order(
        request: Request[Any, Any, Any],
        data: Annotated[Ordered, Body(media_type=RequestEncodingType.URL_ENCODED)],
    ) -> Response[str]:
        if not data.pack:
            return await asked.paste(shop, request, data.key)
        organization, why = await _buyer(shop, request.query_params.get("link", ""))
        if why:
            return asked.page(why, 403)
        bought = await shop.checkout.buy_pack(_ask(shop, organization, data), data.pack)
        if isinstance(bought, Refusal):
            return await _show(shop, organization, bought.message)
        address = purchase_page(shop.means, bought)
        return Response("", status_code=303, headers={**HEADERS, "location": address})

    return [packs, order]


async def _buyer(shop: Shop, text: str) -> tuple[str, str]:
    """The organization that the link may order for, or why for none."""
    link = links.read(shop.means.secret, text, shop.means.clock.now())
    sight = None if link is None else await opened(shop.means, link)
    if link is None or sight is None:
        return "", usage.ENDED
    return ("", NARROWED) if sight.key is not None else (link.organization, "")


def _ask(shop: Shop, organization: str, data: Ordered) -> Ask:
    """The order. When it was shown counts where it can be true: before now, and no longer ago than a link lasts."""
    now = shop.means.clock.now()
    shown = int(data.shown) if data.shown.isascii() and data.shown.isdigit() and len(data.shown) < 16 else 0
    offered_at = shown if now - HOUR_MS <= shown <= now else None
    key = f"page {data.order[:ORDER_CHARS_MAX]}" if data.order else None
    return Ask(organization=organization, key=key, offered_at=offered_at)


async def _show(shop: Shop, organization: str, why: str = "") -> Response[str]:
    found = await shop.offers.packs(organization)
    if isinstance(found, Refusal):
        return Response(found.message, status_code=404, headers=HEADERS)
    catalog = shop.means.ledger.catalog
    page = templates().get_template("buy.html").render(
        its=found,
        why=why,
        shop=catalog.title,
        unit=catalog.unit.many,
        order=shop.means.ids.operation(),
        price=lambda amount: format_amount(amount, found.currency),
    )  # fmt: skip
    return Response(page, headers=HEADERS)
