"""Handing: what goes with the delivery of a purchase: the key that comes with it, and the delivery message.

`prepare` is a part of the step that delivers, before the tokens, and may be repeated: the key is made from the
handover's seed, which is stored first. The message is put together when it is sent or shown, so no key lies in one
that waits.

Requirement ids: R-SALE-1, R-SALE-4, R-SALE-8.
"""

from __future__ import annotations

from tokentill.flows.api_keys import ApiKeys
from tokentill.flows.carry import lots_of
from tokentill.flows.means import Means
from tokentill.flows.refund_facts import RefundFacts
from tokentill.rules import keys, links
from tokentill.rules.api_keys import LIVE_MAX, serves, wrong_with
from tokentill.rules.catalog import DAY_MS
from tokentill.rules.delivery import Delivered, first_model
from tokentill.rules.handovers import KEPT_MS, handed_over, handover_id, key_id, key_of, key_when
from tokentill.rules.links import Link
from tokentill.rules.purchases import Purchase
from tokentill.rules.rows import ApiKey, Handover

LINK_MS = 30 * DAY_MS
"""How long a link that comes with a purchase opens its pages, from the order on."""

PURCHASE_PATH = "/account/purchases/"
USAGE_PATH = "/account/usage"
BUY_PATH = "/account/buy-credits"
"""Of the till's own page of packs, where refusals and warnings lead unless the catalog names another."""


async def prepare(means: Means, purchase: Purchase) -> None:
    """Put in place what will be handed over: the row, and the key where one comes with the purchase."""
    if not handed_over(purchase):
        return
    catalog, now = means.ledger.catalog, means.clock.now()
    when = key_when(catalog, purchase)
    wanted = when == "always" or (when == "first" and await serving(means, purchase.organization) is None)
    row = Handover(
        id=handover_id(purchase),
        organization=purchase.organization,
        created_at=now,
        due_at=now + KEPT_MS if wanted else None,
        purchase=purchase.id,
        seed=means.ids.secret() if wanted else "",
    )
    row = (await means.rows.add(row)).row
    key = key_of(means.secret, row, now)
    if key is not None:
        bringing = ApiKeys(means.ledger, means.clock, means.ids)
        await bringing.bring(purchase.organization, purchase.title, key, first=when == "first")


async def serving(means: Means, organization: str) -> ApiKey | None:
    """The newest key that can use whatever the organization buys; None if it has none."""
    now = means.clock.now()
    found = await means.rows.find(ApiKey, {"organization": organization}, limit=10 * LIVE_MAX)
    return next((key for key in found if serves(key, now)), None)


async def brought(means: Means, row: Handover) -> ApiKey | None:
    """The key that came with the purchase; None where none did."""
    return await means.rows.get(ApiKey, key_id(means.secret, row), row.organization)


async def delivered(means: Means, purchase: Purchase, *, key: bool) -> Delivered:
    """What the delivery message says now. `key`: with the key itself, as long as it can be handed out."""
    catalog, now = means.ledger.catalog, means.clock.now()
    row = await means.rows.get(Handover, handover_id(purchase), purchase.organization)
    own = None if row is None else await brought(means, row)
    shown = (
        own
        if own is not None and wrong_with(own, now) is None
        else await serving(means, purchase.organization)
    )
    text = None
    if key and row is not None and own is not None and shown is own:
        made = key_of(means.secret, row, now)
        text = None if made is None else keys.write(made)
    lots = [lot for lot in await lots_of(means, purchase) if lot.origin == "pack"]
    ends = [lot.expires_at for lot in lots if lot.expires_at is not None]
    pack = catalog.packs.get(purchase.item) if purchase.kind == "pack" else None
    plan = catalog.plans.get(purchase.item) if pack is None else None
    features = catalog.features if plan is None else plan.features
    model, api = first_model(catalog, "" if pack is None else pack.model, features)
    return Delivered(
        purchase=purchase.id,
        title=purchase.title,
        tokens=purchase.tokens - (purchase.carried or 0) + purchase.bonus,
        endpoint=f"{means.address()}/v1",
        dashboard=usage_page(means, purchase),
        refunds=purchase_page(means, purchase),
        model=model,
        api=api,
        key=text,
        key_shown=None if shown is None else shown.shown,
        valid_until=min(ends, default=None),
        uses=() if pack is None else pack.uses,
        tip="" if pack is None else pack.tip,
        refund_line=pack.refund_line if pack is not None and await _guaranteed(means, purchase) else "",
    )


def link_of(secret: bytes, purchase: Purchase) -> str:
    """The link that comes with a purchase; always the same, so that an order may be repeated."""
    return links.write(secret, Link(purchase.organization, purchase.created_at + LINK_MS, purchase.id))


def purchase_page(means: Means, purchase: Purchase) -> str:
    """The till's own page of the purchase, opened by its link."""
    return f"{means.address()}{PURCHASE_PATH}{purchase.id}?link={link_of(means.secret, purchase)}"


def usage_page(means: Means, purchase: Purchase) -> str:
    """The till's own usage page of the organization, opened by the purchase's link."""
    return f"{means.address()}{USAGE_PATH}?link={link_of(means.secret, purchase)}"


async def _guaranteed(means: Means, purchase: Purchase) -> bool:
    """Whether the guarantee is open to this customer for this purchase, so that the refund line is true (R-REF-4)."""
    policy, now = means.ledger.catalog.refunds, means.clock.now()
    if not policy.enabled or not policy.guarantee_percent or not purchase.amount or purchase.paid_at is None:
        return False
    return now <= purchase.paid_at + policy.guarantee_s * 1000 and not await RefundFacts(means).guarantees(
        purchase
    )
