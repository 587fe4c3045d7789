"""Webhooks in: events of payment providers, taken in raw, because their signature covers the bytes.

200 says that the event is stored, so that nothing loses it; what it means for an account follows at once, on this
process or another. 4xx says that it is none of ours and must not be sent again as it is; 503 that it should be.

Requirement ids: R-PACK-3, R-PACK-10.
"""

from __future__ import annotations

from msgspec import Struct
from msgspec.json import encode

from tokentill.flows.webhook import UnknownProvider
from tokentill.ports import BadSignature, Inbound, VendorDown
from tokentill.web import problems
from tokentill.web.asgi import Answer
from tokentill.web.call import Call
from tokentill.web.site import Site


class Received(Struct, frozen=True):
    """The event is kept. `known`: it had been sent before, so nothing follows from it."""

    known: bool


async def receive(site: Site, call: Call) -> Answer:
    """Keep an event of the provider that the path names."""
    provider, count = call.params[0], site.telemetry.event
    try:
        new = await site.selling.receive(provider, Inbound(call.body, call.headers))
    except UnknownProvider:
        detail = "There is no payment provider of this name here. Nothing was changed."
        return problems.plain(404, "unknown_provider", detail)
    except BadSignature as wrong:
        count(provider, "forged")
        return problems.plain(400, "bad_signature", f"{wrong} Nothing was changed.")
    except VendorDown:
        count(provider, "unchecked")
        detail = "What the event must be checked with cannot be reached."
        return problems.unavailable("provider_unavailable", detail)
    count(provider, "new" if new else "known")
    return Answer(200, encode(Received(not new)))
