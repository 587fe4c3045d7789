"""The HTTP side: who may ask, in which version, whether it was asked before, and in what shape is answered.

One request is one step of the world, so there is no concurrency inside it. `latency_seconds` holds requests up
before they are done, to let others come in between; `faults` makes the next requests fail: before anything is
done, after all is done, or by an answer that breaks off.
"""

from __future__ import annotations

import asyncio
import copy
import json
import re
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Literal

from msgspec import Struct

from tokentill.lab.stripe import form as f
from tokentill.lab.stripe.form import Form
from tokentill.lab.stripe.refusals import Refused, unauthorized
from tokentill.lab.stripe.routes import Route
from tokentill.lab.stripe.world import Object, World, expanded, listed

VERSION_MIN = "2025-03-31"
"""The shapes here are those since then."""

KEYS_KEPT_SECONDS = 86_400
BODY_BYTES_MAX = 1_000_000
_VERSION = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})(\.[a-z]+)?(; .*)?")

Fault = Literal["error", "limit", "done_then_error", "done_then_silence"]


class Answer(Struct):
    """What goes back over the wire."""

    status: int
    body: Object
    headers: dict[str, str] = {}
    broken: bool = False
    instead: Answer | None = None
    """What is sent in its place this once, as when something between fails after all was done."""


class Kept(Struct, frozen=True):
    """The answer to a key, and to which request."""

    request: str
    answer: Answer
    at: int


class Api:
    """The API of one world under one secret key."""

    def __init__(self, world: World, routes: list[Route], key: str, catch_up: Callable[[], None]) -> None:
        self.world = world
        self.routes = routes
        self.key = key
        self.latency_seconds = 0.0
        self.faults: deque[Fault] = deque()
        self.asked: list[tuple[str, str, Form, dict[str, str]]] = []
        """Every request that was let in: method, path, form, headers."""
        self._catch_up = catch_up
        self._kept: dict[str, Kept] = {}
        self._running: set[str] = set()
        self._count = 0

    async def answer(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Answer:
        """The answer to a request; never raises."""
        self._count += 1
        ident = f"req_lab{self._count:08}"
        try:
            self._let_in(headers)
            found = await self._once(method, target, headers, body, ident)
        except Refused as refused:
            found = Answer(refused.status, refused.body())
        found.headers = {
            "request-id": ident,
            "stripe-version": headers.get("stripe-version", ""),
            **found.headers,
        }
        return found

    def _let_in(self, headers: dict[str, str]) -> None:
        scheme, _, key = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not key:
            raise unauthorized("You did not provide an API key.")
        if key != self.key:
            raise unauthorized(f"Invalid API Key provided: {key[:8]}{'*' * 8}{key[-4:]}")
        version = _VERSION.fullmatch(headers.get("stripe-version", VERSION_MIN))
        if version is None or version[1] < VERSION_MIN:
            raise Refused(f"Invalid Stripe API version: {headers.get('stripe-version')}")
        account = headers.get("stripe-account", self.world.account)
        if account != self.world.account:
            raise Refused("The key has no access to this account.", status=403, code="account_invalid")

    async def _once(
        self, method: str, target: str, headers: dict[str, str], body: bytes, ident: str
    ) -> Answer:
        """Do it, unless a request of this key was done before or is being done."""
        key = headers.get("idempotency-key", "")
        request = f"{method} {target} {body.decode(errors='replace')}"
        if method != "POST" or not key:
            found = await self._held(method, target, headers, body, ident)
            return found.instead or found
        kept = self._kept.get(key)
        if kept is not None and kept.at + KEYS_KEPT_SECONDS < self.world.now:
            kept = None
        if kept is not None and kept.request != request:
            raise Refused(
                "Keys for idempotent requests can only be used with the same parameters they were first used "
                f"with. Try using a key other than '{key}' if you meant to execute a different request.",
                kind="idempotency_error",
            )
        if kept is not None:
            again = copy.deepcopy(kept.answer)
            again.headers["idempotent-replayed"] = "true"
            return again
        if key in self._running:
            raise Refused(
                f"There is currently another in-progress request using this Idempotent Key '{key}'.",
                status=409,
                kind="idempotency_error",
                code="idempotency_key_in_use",
            )
        self._running.add(key)
        try:
            found = await self._held(method, target, headers, body, ident)
        finally:
            self._running.discard(key)
        if found.status < 300 or found.status in (402, 500):
            whole = Answer(found.status, copy.deepcopy(found.body))
            self._kept[key] = Kept(request, whole, self.world.now)
        return found.instead or found

    async def _held(
        self, method: str, target: str, headers: dict[str, str], body: bytes, ident: str
    ) -> Answer:
        if self.latency_seconds:
            await asyncio.sleep(self.latency_seconds)
        fault = self.faults.popleft() if self.faults else None
        if fault == "error":
            raise Refused("An unknown error occurred.", status=503, kind="api_error")
        if fault == "limit":
            raise Refused("Too many requests.", status=429, code="rate_limit")
        found = self._do(method, target, headers, body, ident)
        if fault == "done_then_error":
            found.instead = Answer(503, Refused("An unknown error occurred.", kind="api_error").body())
        found.broken = fault == "done_then_silence"
        return found

    def _do(self, method: str, target: str, headers: dict[str, str], body: bytes, ident: str) -> Answer:
        path, _, query = target.partition("?")
        told = f.parse(body.decode() if method == "POST" else query or body.decode())
        self.asked.append((method, path, told, headers))
        self.world.request = {"id": ident, "idempotency_key": headers.get("idempotency-key")}
        try:
            self._catch_up()
            return Answer(200, self._routed(method, path, told))
        except Refused as refused:
            return Answer(refused.status, refused.body())
        finally:
            self.world.request = {"id": None, "idempotency_key": None}
            self.world.tell()

    def _routed(self, method: str, path: str, told: Form) -> Object:
        for route in self.routes:
            ids = route.match(method, path)
            if ids is not None:
                return self._called(route, ids, path, told)
        raise Refused(
            f"Unrecognized request URL ({method}: {path}). If you are trying to list objects, remove the "
            "trailing slash.",
            status=404,
        )

    def _called(self, route: Route, ids: tuple[str, ...], path: str, told: Form) -> Object:
        unknown = sorted(set(told) - {"expand", *route.params.split()})
        if unknown:
            raise Refused(
                f"Received unknown parameter: {unknown[0]}", param=unknown[0], code="parameter_unknown"
            )
        expand = f.words(told, "expand")
        found: Any = route.handler(*ids, told)
        if path.endswith("/search"):
            found = {
                "object": "search_result",
                "data": found,
                "has_more": False,
                "next_page": None,
                "url": path,
            }
        elif route.lists:
            found = listed(
                found,
                path,
                limit=f.whole(told, "limit", 10) or 0,
                after=f.text(told, "starting_after"),
                before=f.text(told, "ending_before"),
            )
        return expanded(self.world, found, expand)


Receive = Callable[[], Awaitable[Any]]
Reply = Callable[[Any], Awaitable[None]]


async def read_body(receive: Receive) -> bytes:
    """The whole body of an ASGI request, up to `BODY_BYTES_MAX`."""
    parts: list[bytes] = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if sum(map(len, parts)) > BODY_BYTES_MAX or not message.get("more_body"):
            return b"".join(parts)


async def reply(send: Reply, answer: Answer) -> None:
    """Send an answer; a broken one stops in the middle."""
    body = json.dumps(answer.body, indent=2).encode()
    headers = {"content-type": "application/json", "content-length": str(len(body)), **answer.headers}
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": pairs})
    if answer.broken:
        body = body[: len(body) // 2]
    await send({"type": "http.response.body", "body": body})
