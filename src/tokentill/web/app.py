"""The application: every request from its head to its answer, in one place for every route.

In this order: shutting down or too busy (503) → unknown place (404) or method (405) → operator key (401,
429) → content type (415) and size (413) → idempotency key and body (400, 422) → the ledger. So a request
that is refused at the edge has asked nothing of the account; the exception is an invalid request of a user
who can be read off it, which is put on that user's record (R-ABU-6).

Settling never depends on the client still being there: a request that reached the ledger is finished.

Requirement ids: R-ABU-6, R-PLAT-3.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import msgspec
import structlog

from tokentill.flows.shop import Shop
from tokentill.ports import Clock, Ids, Ledger, StoreDown
from tokentill.rules import commands as c
from tokentill.rules import names
from tokentill.web import problems
from tokentill.web.asgi import EXCHANGE, Answer, Asgi, Exchange, Message, Receive, Scope, Send
from tokentill.web.call import Call, Head, idempotency_key, is_json, read_body
from tokentill.web.gate import Gate
from tokentill.web.gateway.endpoint import Endpoint, Opening, place_of
from tokentill.web.limiter import Limiter
from tokentill.web.openapi import document
from tokentill.web.pages import build_pages
from tokentill.web.problems import Halt
from tokentill.web.routes import ROUTES
from tokentill.web.routing import Bound, Node, Router
from tokentill.web.site import Site
from tokentill.web.telemetry import Telemetry

RAW_BYTES_MAX = 1024 * 1024
"""Largest event of a payment provider; theirs are far smaller."""

OTHER = "other"
"""The route label of whatever is not in the table of routes."""

log = structlog.get_logger("tokentill.web")


class _User(msgspec.Struct):
    user: str | None = None


_user_of = msgspec.json.Decoder(_User).decode


class Application:
    """The ASGI application. Built by `build_app`, run by `tokentill.web.serving.serve`."""

    def __init__(
        self,
        site: Site,
        pages: Asgi,
        in_flight_max: int,
        timer: Callable[[], float],
        endpoint: Endpoint | None = None,
    ) -> None:
        self.site = site
        self.endpoint = endpoint
        self.draining = False
        self._pages = pages
        self._router = Router(ROUTES)
        self._in_flight_max = in_flight_max
        self._timer = timer
        self._idle = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or take part in the server's start and end."""
        if scope["type"] != "http":
            await self._other(scope, receive, send)
            return
        started = self._timer()
        telemetry = self.site.telemetry
        telemetry.in_flight += 1
        if self.endpoint is not None:
            place = place_of(scope["raw_path"])
            if place is not None:
                await self._call(self.endpoint, place, scope, receive, send, started)
                return
        node, segments = self._router.find(scope["raw_path"])
        place = OTHER if node is None else node.path
        try:
            if node is None:
                status = await self._page(scope, receive, send)
            else:
                answer = await self._answer(node, segments, scope, receive)
                exchange: Exchange | None = scope.get(EXCHANGE)
                if exchange is None or not exchange.send(answer):
                    await answer.send(send)
                status = answer.status
            telemetry.answered(place, status, self._timer() - started)
        finally:
            telemetry.in_flight -= 1
            if self.draining and not telemetry.in_flight:
                self._idle.set()

    async def _call(
        self, endpoint: Endpoint, place: str, scope: Scope, receive: Receive, send: Send, started: float
    ) -> None:
        """Answer one model call."""
        telemetry = self.site.telemetry
        try:
            if self.draining or telemetry.in_flight > self._in_flight_max:
                unable = endpoint.unable(scope, draining=self.draining)
                await unable.send(send)
                status = unable.status
            else:
                status = await endpoint(scope, receive, send, lambda error: self._incident(place, error))
            telemetry.answered(place, status, self._timer() - started)
        except asyncio.CancelledError:
            # The drain took too long: the call was cut, costs nothing, and its connection closes.
            if not self.draining:
                raise
        finally:
            telemetry.in_flight -= 1
            if self.draining and not telemetry.in_flight:
                self._idle.set()

    def _incident(self, place: str, error: Exception) -> str:
        problem = msgspec.json.decode(self.site.incident(place, error).body)
        return str(problem["incident"])

    async def drain(self, seconds: float) -> bool:
        """Refuse what comes from now on and wait for what is being answered; False if that took too long."""
        self.draining = True
        if not self.site.telemetry.in_flight:
            return True
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    async def _answer(self, node: Node, segments: list[bytes], scope: Scope, receive: Receive) -> Answer:
        try:
            if self.draining or self.site.telemetry.in_flight > self._in_flight_max:
                return self._unable()
            bound = node.routes.get(scope["method"])
            if bound is None:
                return _not_allowed(scope["method"], node)
            return await self._serve(bound, segments, scope, receive)
        except Halt as halt:
            return halt.answer
        except asyncio.CancelledError:
            if not self.draining:
                raise
            # The drain took too long. What was asked may or may not be stored: the same key will tell.
            return self._unable()
        except StoreDown:
            return problems.unavailable("store_unavailable", "The database cannot be reached at the moment.")
        except Exception as error:  # noqa: BLE001 - whatever a bug raises becomes an incident, not a stack trace
            return self.site.incident(node.path, error)

    async def _serve(self, bound: Bound, segments: list[bytes], scope: Scope, receive: Receive) -> Answer:
        site, route = self.site, bound.route
        head = Head(scope["headers"])
        operator = None
        if not route.open:
            operator = site.gate.admit_known(head.authorization)
            if operator is None:
                client = scope["client"]
                operator = await site.gate.admit(head.authorization, client[0] if client else "")
        if head.doubled:
            raise problems.invalid("A header that names one thing stands twice.")
        body = b""
        if route.raw:
            call = Call(bound.params(segments), None)
            call.body = await read_body(scope.get(EXCHANGE), receive, head.length, RAW_BYTES_MAX)
            call.headers = {
                name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
            }
            return await route.run(site, call)
        if bound.has_body:
            body = await read_body(scope.get(EXCHANGE), receive, head.length)
            if body and not is_json(head.content_type):
                raise _unsupported()
        call = Call(bound.params(segments), operator)
        try:
            if head.key is not None and route.mutates:
                call.key = idempotency_key(head.key)
            bound.read(call, body, scope["query_string"])
        except Halt as halt:
            if route.attempts:
                await self._report(call.organization, body, halt)
            raise
        return await route.run(site, call)

    async def _report(self, organization: str, body: bytes, halt: Halt) -> None:
        """Put an invalid request on the record of its user, if one can be read off it (R-ABU-6)."""
        try:
            user = _user_of(body).user
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return
        if user is None or names.fault(user) is not None:
            return
        attempt = c.Attempt(user=user, reason=f"invalid {halt.field or 'request'}"[:100])
        try:
            await self.site.ledger.submit(c.Envelope(organization, attempt, self.site.ids.operation()))
        except StoreDown:
            # The request is invalid whether or not that could be put on the record.
            log.warning("an invalid request could not be put on the record")

    async def _page(self, scope: Scope, receive: Receive, send: Send) -> int:
        """Whatever is not in the table is a page, or nothing."""
        status = 500

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        if self.draining:
            await self._unable().send(noting)
        else:
            await self._pages(scope, receive, noting)
        return status

    async def _other(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._pages(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1000})

    def _unable(self) -> Answer:
        if self.draining:
            return problems.unavailable("shutting_down", "The till is shutting down.", close=True)
        return problems.unavailable("overloaded", "Too many requests are being answered at once.")


def _not_allowed(method: str, node: Node) -> Answer:
    allow = node.allow.decode()
    detail = f"{method[:20]} is not possible here; {allow} is. Nothing was changed."
    return problems.plain(405, "method_not_allowed", detail, ((b"allow", node.allow),))


def _unsupported() -> Halt:
    detail = "The body must be JSON in UTF-8: send the header `Content-Type: application/json`. Nothing was changed."
    return Halt(problems.plain(415, "unsupported_media_type", detail))


def build_app(  # noqa: PLR0913 the parts of an application, each with its default
    ledger: Ledger,
    *,
    secret: bytes,
    clock: Clock,
    ids: Ids,
    in_flight_max: int = 2_000,
    wrong_keys_burst: int = 20,
    wrong_key_interval_ms: int = 3_000,
    timer: Callable[[], float] = time.perf_counter,
    shop: Shop | None = None,
    opening: Opening | None = None,
) -> Application:
    """The HTTP API and the pages over an open ledger, to be given to `tokentill.web.serving.serve`.

    `secret`: the 32 bytes that also seal the journal; an idempotency key becomes an operation's id under it,
    so every process and every way in must use the same. `in_flight_max`: requests answered at once, more get
    503. `wrong_keys_burst`, `wrong_key_interval_ms`: how many wrong operator keys an address may present,
    and how soon it gets back one try. `timer`: seconds for the latency metric. `shop`: what is sold; None =
    nothing is, and its routes answer 404. `opening`: makes the endpoint for model calls; None = there is none. The
    caller closes the ledger, the shop and the endpoint's gateway.
    """
    telemetry = Telemetry(ledger, clock, shop)
    gate = Gate(ledger, clock, Limiter(wrong_keys_burst, wrong_key_interval_ms))
    site = Site(ledger, secret, clock, ids, gate, telemetry, document(ROUTES), shop)
    endpoint = None
    if opening is not None:
        endpoint = opening(telemetry.calls, Limiter(wrong_keys_burst, wrong_key_interval_ms))
    return Application(
        site, build_pages(site, None if endpoint is None else endpoint.gate), in_flight_max, timer, endpoint
    )
