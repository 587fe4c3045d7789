"""Route: one line of the table of everything the API answers (`tokentill.web.routes`)."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from tokentill.rules.receipts import Receipt
from tokentill.rules.refusals import Code
from tokentill.web import bodies
from tokentill.web.shop import Handle
from tokentill.web.site import Run


class Route(Struct, frozen=True, kw_only=True):
    """One method of one path.

    `refusals` are the codes this route can answer beside those that every one can. `attempts`: invalid
    requests of a known user count toward the block (R-ABU-6). `mutates`: it takes an `Idempotency-Key`.
    """

    method: str
    path: str
    name: str
    summary: str
    run: Run
    reply: type[Struct] | None
    status: int = 200
    body: type[bodies.Body] | None = None
    query: type[bodies.Query] | None = None
    refusals: tuple[Code, ...] = ()
    open: bool = False
    attempts: bool = False
    mutates: bool = False
    raw: bool = False
    """The handler gets the body as bytes, and the headers: what it holds is signed as it is."""
    trade: Handle | None = None
    """Of a route of the shop: what it does, for a client in the same process."""


ORG = "/v1/organizations/{org}"


def order(
    path: str, name: str, summary: str, run: Run, body: type[bodies.Body], *refusals: Code, **more: Any
) -> Route:
    """A route that changes an account by one command."""
    return Route(
        method="POST",
        path=path,
        name=name,
        summary=summary,
        run=run,
        body=body,
        reply=Receipt,
        refusals=refusals,
        mutates=True,
        **more,
    )


def read(path: str, name: str, summary: str, run: Run, reply: type[Struct] | None, **more: Any) -> Route:
    """A route that changes nothing."""
    return Route(method="GET", path=path, name=name, summary=summary, run=run, reply=reply, **more)
