"""Refunds on the page of a purchase: what could be given back, asked for and accepted by the customer.

The same quotes as over HTTP, the money first, each with its arithmetic. A larger pack in the place of this one is paid
for, and so is offered where the host shows it, not here.

Requirement ids: R-REF-4, R-REF-5, R-SALE-4.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from tokentill.flows.refund_facts import not_refundable
from tokentill.flows.shop import Shop
from tokentill.rules.handovers import GOOD
from tokentill.rules.purchases import Purchase
from tokentill.rules.refund_policy import REASONS
from tokentill.rules.refund_rows import Refund
from tokentill.rules.refusals import Refusal
from tokentill.web import refund_views as views

TAKEN = ("cash", "credit", "bonus")
"""What can be chosen here, in the order of the quote, where the money stands first."""


class Pressed(Struct):
    """What a form of the page sends."""

    do: str = ""
    reason: str = ""
    refund: str = ""
    choice: str = ""


async def press(shop: Shop, purchase: Purchase, form: Pressed) -> Refund | Refusal | None:
    """Quote or accept, as was pressed; None where it was neither."""
    organization = purchase.organization
    if form.do == "quote":
        reason = next((one for one in REASONS if one == form.reason), None)
        return await shop.refunding.quote(organization, purchase.id, reason)
    if form.do == "accept" and form.choice in TAKEN:
        row = await shop.refund_desk.refund(organization, form.refund[:64])
        if row is not None and row.purchase == purchase.id:
            return await shop.refunding.accept(organization, row.id, form.choice)  # type: ignore[arg-type]  # one of three
    return None


def part(shop: Shop, purchase: Purchase, found: Refund | Refusal | None) -> dict[str, Any] | None:
    """What the page says of refunds; None where nothing of the purchase can be given back and none was asked for.

    The page of a pack that was turned into a larger one says which purchase that is.
    """
    policy = shop.means.ledger.catalog.refunds
    texts = policy.texts
    refused = not_refundable(shop.means.ledger.catalog, purchase)
    possible = refused is None and purchase.state in GOOD
    if found is None and purchase.replaced_by is not None:
        found = refused  # whoever follows the link of the pack before is shown the way
    if not possible and found is None:
        return None
    shown: dict[str, Any] = {
        "title": policy.title, "text": policy.text, "texts": texts,
        "reasons": [(name, getattr(texts, f"why_{name}")) for name in REASONS],
        "possible": possible, "quote": None, "says": "",
    }  # fmt: skip
    if isinstance(found, Refusal):
        shown["says"] = found.message
    elif found is not None and found.state == "quoted":
        quote = views.refund(found, shop.means.ledger.catalog)
        options = [
            (one, getattr(texts, f"take_{one.choice}")) for one in quote.options if one.choice in TAKEN
        ]
        shown |= {"quote": quote, "options": options, "says": quote.refused_text or ""}
    elif found is not None:
        stands = getattr(texts, f"is_{found.state}", texts.going_on)
        shown["says"] = policy.waiting if found.state == "waiting" else stands
    return shown
