"""The server: PayPal's addresses over a book, as an ASGI application and on a port of this machine.

Beside PayPal's own addresses there are the customer's: `/checkoutnow?token=ORDER` approves as a customer would and
leads back to the shop, with `&cancel=1` it leads to where a customer gives up. Under `/lab/` are the things that
otherwise banks and PayPal do; each takes a POST and answers 204 (`/lab/help` lists them).

`faults` makes the next requests of the API fail: `("cut", 0)` breaks off in the answer after doing what was asked,
`("silent", 0)` does it and never answers, `("lost", 0)` does nothing and never answers, `("status", 503)` answers so,
`("slow", 500)` waits that many ms and then goes on, `("garbage", 0)` does it and answers what is no JSON, `("huge", 0)`
does it and answers without end.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode

import aiohttp
import uvicorn

from tokentill.lab.paypal.authority import Authority
from tokentill.lab.paypal.book import Book, Json, Refusal, numbers, unknown
from tokentill.lab.paypal.outbox import Outbox

if TYPE_CHECKING:
    from typing_extensions import override
else:

    def override(method: Any) -> Any:
        """Mark a method that replaces one of its parent; Python has it since 3.12."""
        return method


Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

TOKEN_SECONDS = 32_400
ANSWER_SECONDS = 10.0
KEEP_ALIVE_SECONDS = 600
"""An idle connection is kept for longer than a client leaves it, which would else meet its end with a request."""

DELIVER_SECONDS = 0.05
"""How often the outbox is looked at."""

NAMES = {403: "NOT_AUTHORIZED", 404: "RESOURCE_NOT_FOUND", 429: "RATE_LIMIT_REACHED"}
CERTIFICATE = "/v1/notifications/certs/CERT-lab"


class Lab:
    """One PayPal with one shop. It is an ASGI application; `base` is set by `serving`."""

    def __init__(
        self,
        now: Callable[[], int],
        authority: Authority,
        *,
        ids: Iterator[str] | None = None,
        client_id: str = "lab-client",
        secret: str = "lab-secret",  # noqa: S107 - of a server that only tests reach
        webhook_id: str = "LABWEBHOOK1",
    ) -> None:
        self.client_id, self.secret, self.webhook_id = client_id, secret, webhook_id
        self.ids = numbers() if ids is None else ids
        self.book = Book(now, self.ids)
        self.outbox = Outbox(
            authority, webhook_id, self.ids, self.book.stamp, lambda: self.base + CERTIFICATE
        )
        self.book.tell = self.outbox.tell
        self.authority = authority
        self.base = ""
        self.faults: list[tuple[str, int]] = []
        self.tokens: dict[str, int] = {}
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        """Every request: method, path and headers."""
        self.certificate = authority.chain
        self._now = now

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        assert scope["type"] == "http", "there is no lifespan and no websocket here"
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        headers = {name.decode().lower(): value.decode() for name, value in scope["headers"]}
        self.asked.append((scope["method"], scope["path"], headers))
        fault, figure = self.faults.pop(0) if self.faults and not self._aside(scope["path"]) else ("", 0)
        if fault == "slow":
            await asyncio.sleep(figure / 1000)
        if fault == "lost":
            await _gone(receive)
            return
        if fault == "status":
            await _reply(
                send,
                figure,
                {
                    "name": NAMES.get(figure, "INTERNAL_SERVER_ERROR"),
                    "message": "as asked",
                    "debug_id": "lab",
                },
            )
            return
        status, answer, location = self._answer(scope, headers, body)
        if fault == "silent":
            await _gone(receive)
        elif fault == "cut":
            await send(
                {"type": "http.response.start", "status": status, "headers": [(b"content-length", b"99")]}
            )
            await send({"type": "http.response.body", "body": b"{", "more_body": True})
        elif fault in ("garbage", "huge"):
            await _reply(send, status, b"<html>" * (1 if fault == "garbage" else 1_000_000))
        else:
            await _reply(send, status, answer, location)

    def _aside(self, path: str) -> bool:
        return path.startswith(("/lab/", "/checkoutnow", "/v1/oauth2/"))

    def _answer(self, scope: Scope, headers: dict[str, str], body: bytes) -> tuple[int, object, str]:
        method, path = scope["method"], scope["path"]
        query = {name: values[0] for name, values in parse_qs(scope["query_string"].decode()).items()}
        try:
            if path == CERTIFICATE:
                return 200, self.certificate, ""
            if path == "/v1/oauth2/token":
                return self._token(headers, body)
            if path == "/checkoutnow":
                return self._customer(query)
            if path.startswith("/lab/"):
                return self._lab(path.removeprefix("/lab/").split("/"), query)
            if self.tokens.get(headers.get("authorization", "").removeprefix("Bearer "), 0) <= self._now():
                return 401, {"error": "invalid_token", "error_description": "Access Token not found"}, ""
            return (*self._api(method, path, query, headers, body), "")
        except Refusal as refusal:
            problem = {"name": refusal.name, "message": refusal.name, "debug_id": "lab0", "links": []}
            return refusal.status, {**problem, "details": [{"issue": refusal.issue}]}, ""

    def _token(self, headers: dict[str, str], body: bytes) -> tuple[int, object, str]:
        given = base64.b64decode(headers.get("authorization", "").removeprefix("Basic ")).decode()
        if given != f"{self.client_id}:{self.secret}" or body != b"grant_type=client_credentials":
            return 401, {"error": "invalid_client", "error_description": "Client Authentication failed"}, ""
        token = f"A21AA{next(self.ids)}"
        self.tokens[token] = self._now() + TOKEN_SECONDS * 1000
        answer = {"scope": "all", "access_token": token, "token_type": "Bearer", "app_id": "APP-1"}
        return 200, {**answer, "expires_in": TOKEN_SECONDS, "nonce": "lab"}, ""

    def _customer(self, query: dict[str, str]) -> tuple[int, object, str]:
        ident = query["token"]
        context = self.book.orders[ident]["context"]
        if "cancel" in query:
            return 302, None, f"{context['cancel_url']}?{urlencode({'token': ident})}"
        self.book.approve(ident)
        return 302, None, f"{context['return_url']}?{urlencode({'token': ident, 'PayerID': 'LABPAYER22222'})}"

    def _lab(self, parts: list[str], query: dict[str, str]) -> tuple[int, object, str]:
        deeds: dict[str, Callable[..., object]] = {
            "approve": self.book.approve, "void": self.book.void, "lapse": self.book.lapse,
            "settle": self.book.settle, "settle_refund": self.book.settle_refund, "reverse": self.book.reverse,
            "dispute": self.book.dispute, "review": self.book.review, "resolve": self.book.resolve,
        }  # fmt: skip
        if parts == ["help"]:
            return (
                200,
                {
                    "post": [f"/lab/{name}/ID" for name in deeds],
                    "query": ["payer", "status", "value", "outcome"],
                },
                "",
            )
        if (
            len(parts) != 2
            or parts[0] not in deeds
            or parts[1]
            not in (self.book.orders | self.book.captures | self.book.refunds | self.book.disputes)
        ):
            raise unknown()
        deeds[parts[0]](parts[1], **query)
        return 204, None, ""

    def _api(
        self, method: str, path: str, query: dict[str, str], headers: dict[str, str], body: bytes
    ) -> tuple[int, object]:
        match (method, path.strip("/").split("/")):
            case ("POST", ["v2", "checkout", "orders"]):
                return self._once(path, headers, lambda: self._created(json.loads(body)))
            case ("GET", ["v2", "checkout", "orders", ident]):
                return 200, self.book.order(ident)
            case ("PATCH", ["v2", "checkout", "orders", ident]):
                self.book.patch(ident, json.loads(body))
                return 204, None
            case ("POST", ["v2", "checkout", "orders", ident, "capture"]):
                self.book.order(ident)
                return self._once(path, headers, lambda: self._captured(ident))
            case ("GET", ["v2", "payments", "captures", ident]) if ident in self.book.captures:
                return 200, self.book.captures[ident]
            case ("POST", ["v2", "payments", "captures", ident, "refund"]):
                return self._once(path, headers, lambda: self._refunded(ident, json.loads(body)))
            case ("GET", ["v2", "payments", "refunds", ident]) if ident in self.book.refunds:
                return 200, self.book.refunds[ident]
            case ("GET", ["v1", "customer", "disputes"]):
                return 200, self.book.disputes_of(query.get("disputed_transaction_id"))
            case ("GET", ["v1", "customer", "disputes", ident]) if ident in self.book.disputes:
                return 200, self.book.disputes[ident]
        raise unknown()

    def _created(self, body: Json) -> Callable[[], Json]:
        ident = str(self.book.create(body)["id"])
        return lambda: self.book.order(ident)

    def _captured(self, ident: str) -> Callable[[], Json]:
        self.book.capture(ident)
        return lambda: self.book.order(ident)

    def _refunded(self, ident: str, body: Json) -> Callable[[], Json]:
        refund = self.book.refund(ident, body)
        return lambda: refund

    def _once(
        self, path: str, headers: dict[str, str], deed: Callable[[], Callable[[], Json]]
    ) -> tuple[int, object]:
        """Do it, unless the request id has done it: then show what became of it."""
        key = (path, headers["paypal-request-id"])
        if key in self.book.done:
            return (201 if path.endswith("/refund") else 200), self.book.done[key]()
        try:
            self.book.done[key] = deed()
        except Refusal as refusal:
            again = refusal

            def refuse() -> Json:
                raise again

            self.book.done[key] = refuse
        return 201, self.book.done[key]()


async def _gone(receive: Receive) -> None:
    """Wait until the client has given up."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _reply(send: Send, status: int, answer: object, location: str = "") -> None:
    body = answer if isinstance(answer, bytes) else b"" if answer is None else json.dumps(answer).encode()
    kind = b"application/x-pem-file" if isinstance(answer, bytes) else b"application/json"
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
    if location:
        headers.append((b"location", location.encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    @override
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    @override
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


@contextlib.asynccontextmanager
async def serving(
    lab: Lab,
    app: Callable[[Scope, Receive, Send], Awaitable[None]] | None = None,
    tls: Mapping[str, str] | None = None,
    port: int = 0,
) -> AsyncIterator[str]:
    """The server on a port of this machine (0: a free one), in this loop: its base address. `app` may stand before it.

    `tls` makes it speak TLS, with the files `ssl_certfile` and `ssl_keyfile`.
    """
    # The protocol is named, since asyncio sends small packets at once (no delay) only where it is.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", port))
        port = listener.getsockname()[1]
        files = tls or {}
        config = uvicorn.Config(
            app or lab, lifespan="off", ws="none", log_config=None, access_log=False, timeout_graceful_shutdown=1,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            ssl_certfile=files.get("ssl_certfile"), ssl_keyfile=files.get("ssl_keyfile"),
        )  # fmt: skip
        server = _Server(config)
        lab.base = lab.book.base = f"http{'s' if tls else ''}://127.0.0.1:{port}"
        task = asyncio.ensure_future(server.serve([listener]))
        await server.ready.wait()
        try:
            yield lab.base
        finally:
            server.should_exit = True
            await task


async def keep_delivering(lab: Lab, url: str) -> None:
    """Send each webhook once to an address as it comes, whatever is answered, until cancelled."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS)) as session:
        while True:
            for one in lab.outbox.take():
                with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
                    async with session.post(url, data=one.body, headers=dict(one.headers)):
                        pass
            await asyncio.sleep(DELIVER_SECONDS)
