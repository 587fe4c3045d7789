"""Customers' keys, for operators: issue, list, limit, replace with an overlap, revoke.

Requirement ids: R-SALE-8.
"""

from __future__ import annotations

from tokentill.flows.api_keys import ApiKeys, Issued, Scope
from tokentill.flows.shop import Shop
from tokentill.rules import chain
from tokentill.rules.purses import purse
from tokentill.rules.refusals import Code, Refusal
from tokentill.web import key_views as views
from tokentill.web.call import Call
from tokentill.web.route import ORG
from tokentill.web.shop import UNKNOWN
from tokentill.web.shop_routes import trade

ID_CHARS = 20


def _keys(shop: Shop) -> ApiKeys:
    return ApiKeys(shop.means.ledger, shop.means.clock, shop.means.ids)


def _named(shop: Shop, call: Call) -> str | None:
    """The id of the key that a request under an idempotency key makes, so that a second one makes no other."""
    if call.key is None:
        return None
    return chain.operation_id(shop.means.secret, f"api key {call.organization} {call.key}")[:ID_CHARS]


async def _made(shop: Shop, found: Issued | Refusal) -> views.NewKey | Refusal:
    return found if isinstance(found, Refusal) else views.made(found, await _keys(shop).spent(found.key))


async def create(shop: Shop, call: Call) -> views.NewKey | Refusal:
    """Make a key and show it once."""
    body = call.body
    scope = Scope(
        user=body.user,
        features=body.features,
        models=body.models,
        read_only=body.read_only,
        spend_max=body.spend_max,
        expires_at=body.expires_at,
    )
    found = await _keys(shop).issue(call.organization, body.name, scope, key_id=_named(shop, call))
    return await _made(shop, found)


async def listed(shop: Shop, call: Call) -> views.KeyList | Refusal:
    """Every key without its secret."""
    found = await _keys(shop).list(call.organization)
    account = await shop.means.ledger.account(call.organization)
    if found is None or account is None:
        return UNKNOWN
    return views.KeyList(keys=tuple(views.view(key, purse(account, key.purse)) for key in found))


async def rotate(shop: Shop, call: Call) -> views.NewKey | Refusal:
    """A new key in the place of one that works."""
    organization, key_id = call.params
    overlap_ms = call.body.overlap_ms
    found = await _keys(shop).rotate(organization, key_id, overlap_ms, new_id=_named(shop, call))
    return await _made(shop, found)


async def limit(shop: Shop, call: Call) -> views.KeyView | Refusal:
    """How much a key may spend in all, from its next call on."""
    found = await _keys(shop).limit(call.organization, call.params[1], call.body.spend_max)
    return found if isinstance(found, Refusal) else views.view(found, await _keys(shop).spent(found))


async def revoke(shop: Shop, call: Call) -> views.KeyView | Refusal:
    """Revoke a key, everywhere from its next request on. Again changes nothing."""
    found = await _keys(shop).revoke(*call.params)
    return found if isinstance(found, Refusal) else views.view(found, await _keys(shop).spent(found))


KEYS = (
    trade("POST", f"{ORG}/keys", "createApiKey", "Make a customer's key; its text is shown this once",
          create, views.NewKey, Code.NOT_POSSIBLE, body=views.NewKeyBody, status=201),
    trade("GET", f"{ORG}/keys", "listApiKeys", "Every key of the organization, without its secret",
          listed, views.KeyList),
    trade("POST", f"{ORG}/keys/{{key}}/rotate", "rotateApiKey", "Replace a key by a new one, shown this once",
          rotate, views.NewKey, Code.NOT_POSSIBLE, body=views.RotateBody, status=201),
    trade("PUT", f"{ORG}/keys/{{key}}/spend-max", "limitApiKey", "Say what a key may spend in all from now on",
          limit, views.KeyView, Code.NOT_POSSIBLE, body=views.LimitBody),
    trade("DELETE", f"{ORG}/keys/{{key}}", "revokeApiKey", "Revoke a key, everywhere from its next request on",
          revoke, views.KeyView, Code.NOT_POSSIBLE),
)  # fmt: skip
