"""Pages: what a person sees who opens the till's address. Litestar serves them; the API does not pass here.

Plain and true: the version, the database engine, where the documents are. No script, nothing from elsewhere.
"""

from __future__ import annotations

from html import escape
from typing import Any, cast

from litestar import Litestar, MediaType, Request, Response, get
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler

from tokentill import __version__
from tokentill.ports import EmbeddedPayments, StoreDown
from tokentill.web import buying, checkout, landing, portal, problems, usage
from tokentill.web.asgi import Answer, Asgi
from tokentill.web.gateway.gate import KeyGate
from tokentill.web.site import Site

_HEADERS = {
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
}

_HOME = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>{title}</title><meta name="viewport" content="width=device-width"></head>
<body>
<h1>tokentill</h1>
<p>A self-hosted till for AI tokens. Version {version}, selling the catalog “{catalog}”.</p>
<p>Database: {engine}. {state}</p>
<ul>
<li><a href="/openapi.json">The API as an OpenAPI 3.1 document</a></li>
<li><a href="/v1/health">Health</a></li>
</ul>
<p>Every other address under /v1 needs an operator key:
<code>tokentill key create NAME</code> makes one.</p>
</body>
</html>
"""


def build_pages(site: Site, gate: KeyGate | None = None) -> Asgi:
    """The pages as an ASGI application, which also answers for every address that is nothing.

    `gate`: of the endpoint for model calls, by which a customer may open the usage page with a key.
    """

    @get("/", media_type=MediaType.HTML)
    async def home() -> Response[str]:
        try:
            health = await site.health()
            engine, state = health.engine, "All is well." if health.ok else "; ".join(health.problems)
        except StoreDown:
            engine, state = "unknown", "It cannot be reached at the moment."
        catalog = site.ledger.catalog
        text = _HOME.format(
            title=escape(f"tokentill {__version__}"),
            version=escape(__version__),
            catalog=escape(catalog.title),
            engine=escape(engine),
            state=escape(state),
        )
        return Response(text, headers=_HEADERS)

    def refuse(request: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
        headers = {name.lower(): value for name, value in (error.headers or {}).items()}
        if error.status_code == 405:
            allow = headers.get("allow", "GET, HEAD")
            detail = f"{request.method[:20]} is not possible here; {allow} is. Nothing was changed."
            answer = problems.plain(405, "method_not_allowed", detail, ((b"allow", allow.encode()),))
        elif "text/html" in request.headers.get("accept", ""):
            return landing.nothing_here()
        else:
            answer = problems.plain(404, "not_found", "There is nothing at this address. See /openapi.json.")
        return _response(answer)

    def fail(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
        return _response(site.incident(f"page {request.method[:20]}", error))

    handlers: list[HTTPRouteHandler] = [home, checkout.asset]
    if site.shop is not None:
        handlers += [
            *landing.routes(site.shop),
            *usage.routes(site.shop, gate),
            *buying.routes(site.shop, gate),
        ]
        embedded = site.shop.means.payments.get("embedded")
        if isinstance(embedded, EmbeddedPayments):
            handlers += checkout.routes(
                checkout.Page(
                    embedded, site.shop.take_in, site.clock, site.shop.checkout, site.shop.means.time_of
                )
            )
            handlers += portal.routes(portal.Portal(embedded, site.shop))
    app = Litestar(
        handlers,
        openapi_config=None,
        logging_config=None,
        exception_handlers={HTTPException: refuse, Exception: fail},
        request_max_body_size=None,
    )
    return cast("Asgi", app)


def _response(answer: Answer) -> Response[bytes]:
    headers = {name.decode(): value.decode() for name, value in answer.headers}
    return Response(
        answer.body,
        status_code=answer.status,
        headers={"cache-control": "no-store", **headers},
        media_type="application/problem+json",
    )
