"""Where a customer lands who comes back from paying, and the catalog names no page of the host's own.

The address holds the purchase's id and says how that purchase stands and nothing else. What no webhook has told yet is
asked of the provider at this moment. With the link that came with the purchase (`tokentill.rules.links`) it is the
delivery message too, and where a refund is asked for. The key is shown once, when a button is pressed, so that nothing
which merely opens the page uses it up.

Requirement ids: R-PACK-2, R-PACK-3, R-PACK-7, R-PACK-10, R-REF-4, R-SALE-4.
"""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Request, Response, get, post
from litestar.enums import RequestEncodingType
from litestar.exceptions import NotFoundException
from litestar.handlers import HTTPRouteHandler
from litestar.params import Body, FromPath

from tokentill.flows.handing import PURCHASE_PATH, usage_page
from tokentill.flows.shop import Shop
from tokentill.rules import links
from tokentill.rules.delivery import Delivered, day, examples, headline
from tokentill.rules.explaining import explain
from tokentill.rules.money import format_amount
from tokentill.rules.purchases import Purchase, State
from tokentill.rules.refund_rows import Refund
from tokentill.rules.refusals import Refusal
from tokentill.web import refund_page
from tokentill.web.checkout import HEADERS, templates

ADDRESS = f"{PURCHASE_PATH}{{ident:str}}"
_WAITING = "Your payment has not arrived yet. When it does, what you ordered is in your account. Look again in a moment."
_NOTHING = "Nothing was paid, and nothing was ordered."
TEXTS: dict[State, tuple[str, str]] = {
    "created": ("", _WAITING),
    "pending": ("", _WAITING),
    "paid": ("good", "Your payment has arrived. What you ordered is put into your account right now."),
    "delivered": ("good", "Your payment has arrived. What you ordered is in your account."),
    "failed": ("bad", "The payment was declined. Nothing was paid."),
    "abandoned": ("", _NOTHING),
    "mismatched": ("bad", "A payment arrived that is not what was ordered. Somebody looks at it."),
    "disputed": ("", "Your bank disputes this payment."),
    "charged_back": ("", "This payment went back to you by your bank."),
    "partly_refunded": ("", "A part of this payment was given back to you."),
    "refunded": ("", "This payment was given back to you."),
}
"""For each state how it looks, and what it means to the customer."""


def routes(shop: Shop) -> list[HTTPRouteHandler]:
    """The handlers, for the pages' application."""

    @get(ADDRESS, media_type="text/html")
    async def purchase(ident: FromPath[str], request: Request[Any, Any, Any]) -> Response[str]:
        found = await _stands(shop, ident)
        if found is None:
            raise NotFoundException
        if not _opened(shop, request, found):
            return await _page(shop, found)
        looked = await shop.handovers.look(found)
        its, ready = (None, False) if looked is None else looked
        return await _page(shop, found, its, ready=ready, opened=True)

    @post(ADDRESS, media_type="text/html", status_code=200, request_max_body_size=1_000)
    async def press(
        ident: FromPath[str],
        request: Request[Any, Any, Any],
        data: Annotated[refund_page.Pressed, Body(media_type=RequestEncodingType.URL_ENCODED)],
    ) -> Response[str]:
        found = await _stands(shop, ident)
        if found is None or not _opened(shop, request, found):
            raise NotFoundException
        if data.do == "key":
            shown = await shop.handovers.show(found.organization, found.id)
            its = shown if isinstance(shown, Delivered) and shop.means.ledger.catalog.models else None
            return await _page(shop, found, its, opened=True)
        asked = await refund_page.press(shop, found, data)
        now = await shop.checkout.purchase(found.organization, found.id)
        return await _page(shop, now or found, opened=True, asked=asked)

    return [purchase, press]


def _opened(shop: Shop, request: Request[Any, Any, Any], purchase: Purchase) -> bool:
    """Whether the request carries the link that came with the purchase."""
    link = links.read(shop.means.secret, request.query_params.get("link", ""), shop.means.clock.now())
    return link is not None and (link.organization, link.purchase) == (purchase.organization, purchase.id)


async def _page(
    shop: Shop,
    purchase: Purchase,
    its: Delivered | None = None,
    *,
    ready: bool = False,
    opened: bool = False,
    asked: Refund | Refusal | None = None,
) -> Response[str]:
    """The page of a purchase. `its`: the delivery message, `ready`: a key can be shown, `opened`: by its own link.

    `asked`: the refund that was asked for just now.
    """
    mood, text = TEXTS[purchase.state]
    catalog = shop.means.ledger.catalog
    waiting = purchase.state == "pending" and shop.means.clock.now() < (purchase.expires_at or 0)
    more: dict[str, Any] = {}
    if purchase.kind in ("pack", "code"):
        account = await shop.means.ledger.account(purchase.organization)
        plan = None if account is None else catalog.plans.get(account.state.plan or "")
        more["about"] = explain(catalog, plan).additional
    if its is not None:
        more |= {
            "headline": headline(its, catalog.unit),
            "until": None if its.valid_until is None else day(its.valid_until),
            "examples": examples(its),
            "shop": catalog.title,
        }
    page = _render(
        purchase.title,
        text,
        mood=mood,
        amount=format_amount(purchase.amount, purchase.currency),
        url=purchase.url if waiting else None,
        again=purchase.state == "paid",
        its=its,
        ready=ready,
        dashboard=usage_page(shop.means, purchase) if opened else "",
        refund=refund_page.part(shop, purchase, asked) if opened else None,
        **more,
    )
    return Response(page, headers=HEADERS)


def nothing_here() -> Response[str]:
    """What a person sees, and not a program, at an address that is none of the till's."""
    text = "There is no page at this address. Go back to where you came from; nothing was changed."
    return Response(
        _render("Nothing is here", text), status_code=404, headers=HEADERS, media_type="text/html"
    )


def _render(title: str, text: str, **more: Any) -> str:
    bare = {
        "mood": "",
        "amount": "",
        "url": None,
        "about": "",
        "again": False,
        "its": None,
        "dashboard": "",
        "refund": None,
    }
    return templates().get_template("landing.html").render(title=title, text=text, **{**bare, **more})


async def _stands(shop: Shop, ident: str) -> Purchase | None:
    """The purchase of this id as it stands now, at the provider too."""
    known = await shop.means.rows.find(Purchase, {"id": ident}, limit=1) if len(ident) <= 64 else ()
    if not known:
        return None
    looked = await shop.checkout.look(known[0].organization, ident)
    return looked if isinstance(looked, Purchase) else known[0]
