"""Public: the routes that anybody may ask. They name no organization and hold no secret.

Requirement ids: R-PLAT-3.
"""

from __future__ import annotations

import msgspec

from tokentill.web import problems
from tokentill.web.asgi import Answer
from tokentill.web.call import Call
from tokentill.web.site import Site

_encode = msgspec.json.Encoder().encode


async def health(site: Site, _call: Call) -> Answer:
    """200 while the till can charge, 503 with the reasons otherwise.

    Asked by anybody, so the store is asked at most once a second.
    """
    found = await site.health()
    if found.ok:
        return Answer(200, _encode(found))
    what = "; ".join(found.problems)
    problem = problems.Problem(
        type=f"{problems.URN}unhealthy",
        title=problems.TITLES["unhealthy"],
        status=503,
        code="unhealthy",
        detail=f"The till does not work as it should: {what}.",
        problems=found.problems,
    )
    return problems.answer(problem, (problems.retry_after(1000),))


async def openapi(site: Site, _call: Call) -> Answer:
    """The document that describes every route."""
    return Answer(200, site.openapi)
