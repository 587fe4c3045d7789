"""Operators: their keys, and what they may do to people: erase a name.

Requirement ids: R-SALE-8, R-FIN-4.
"""

from __future__ import annotations

import msgspec

from tokentill.flows.forget import forget_user
from tokentill.flows.keys import create_named_operator_key, create_operator_key
from tokentill.rules.refusals import unknown_organization
from tokentill.web import problems, views
from tokentill.web.asgi import Answer
from tokentill.web.call import Call
from tokentill.web.site import Site

_encode = msgspec.json.Encoder().encode


async def list_keys(site: Site, _call: Call) -> Answer:
    """Every operator key without its secret."""
    return Answer(200, _encode(views.OperatorKeyList(keys=tuple(await site.ledger.operator_keys()))))


async def create_key(site: Site, call: Call) -> Answer:
    """Make a key and show it once.

    With an idempotency key its id follows from that, so that a duplicate makes no second key; it cannot
    show the secret again either, because the till does not have it.
    """
    who = (site.ledger, site.clock, site.ids, call.body.name)
    if call.key is None:
        made, text = await create_operator_key(*who)
    else:
        key_id = site.operation_id(f"operator key {call.key}")[:16]
        # The store decides which of several is the first, however close together they come.
        created = await create_named_operator_key(*who, key_id)
        if created is None:
            detail = (
                f"The operator key {key_id} was made by an earlier request with this Idempotency-Key, and its "
                "secret was shown then. If it is lost, revoke that key and make another with a new one."
            )
            return problems.plain(409, "operator_key_exists", detail)
        made, text = created
    view = views.NewOperatorKey(id=made.id, name=made.name, created_at=made.created_at, key=text)
    return Answer(201, _encode(view))


async def revoke_key(site: Site, call: Call) -> Answer:
    """Revoke a key; it is refused within a second everywhere. Revoking it again changes nothing."""
    key_id = call.params[0]
    await site.ledger.revoke_operator_key(key_id)
    site.gate.forget(key_id)
    found = await site.ledger.find_operator_key(key_id)
    if found is None:
        return problems.plain(404, "unknown_operator_key", "There is no operator key of this id.")
    return Answer(200, _encode(found[0]))


async def erase_user(site: Site, call: Call) -> Answer:
    """Erase the name of a user, and what it wrote with refunds. The journal keeps the opaque id alone, as it must."""
    organization, user = call.params
    if await site.ledger.account(organization) is None:
        unknown = unknown_organization()
        site.telemetry.refused(unknown.code)
        return problems.of_refusal(unknown)
    erased = await forget_user(site.ledger, site.clock, site.ids, organization, user)
    return Answer(200, _encode(views.Erasure(user=user, erased=erased)))
