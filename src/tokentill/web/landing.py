"""Where a customer lands who comes back from paying, and the catalog names no page of the host's own.

The address holds the purchase's id, which nobody can guess, and says how that purchase stands and nothing else. What
no webhook has told yet is asked of the provider at this moment.

Requirement ids: R-PACK-2, R-PACK-3, R-PACK-7, R-PACK-10.
"""

from __future__ import annotations

from litestar import Response, get
from litestar.exceptions import NotFoundException
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from tokentill.flows.shop import Shop
from tokentill.rules.explaining import explain
from tokentill.rules.money import format_amount
from tokentill.rules.purchases import Purchase, State
from tokentill.web.checkout import HEADERS, templates

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

    @get("/account/purchases/{ident:str}", media_type="text/html")
    async def purchase(ident: FromPath[str]) -> Response[str]:
        found = await _stands(shop, ident)
        if found is None:
            raise NotFoundException
        mood, text = TEXTS[found.state]
        waiting = found.state == "pending" and shop.means.clock.now() < (found.expires_at or 0)
        amount = format_amount(found.amount, found.currency)
        about = ""
        if found.kind in ("pack", "code"):
            catalog = shop.means.ledger.catalog
            account = await shop.means.ledger.account(found.organization)
            about = explain(
                catalog, catalog.plans.get(account.state.plan or "") if account else None
            ).additional
        page = _render(found.title, text, mood, amount, found.url if waiting else None, about)
        return Response(page, headers=HEADERS)

    return [purchase]


def nothing_here() -> Response[str]:
    """What a person sees, and not a program, at an address that is none of the till's."""
    text = "There is no page at this address. Go back to where you came from; nothing was changed."
    return Response(
        _render("Nothing is here", text), status_code=404, headers=HEADERS, media_type="text/html"
    )


def _render(
    title: str, text: str, mood: str = "", amount: str = "", url: str | None = None, about: str = ""
) -> str:
    page = templates().get_template("landing.html")
    return page.render(title=title, text=text, mood=mood, amount=amount, url=url, about=about)


async def _stands(shop: Shop, ident: str) -> Purchase | None:
    """The purchase of this id as it stands now, at the provider too."""
    known = await shop.means.rows.find(Purchase, {"id": ident}, limit=1) if len(ident) <= 64 else ()
    if not known:
        return None
    looked = await shop.checkout.look(known[0].organization, ident)
    return looked if isinstance(looked, Purchase) else known[0]
