"""The endpoint: model calls over HTTP, from the head of the request to the last byte of the answer.

In this order: shutting down or too busy (503) → method (405) → key (401, 429) → size (413) → body (400) → the
gateway. An invalid body of a key that is right counts toward its block, as for any other user (R-ABU-6).

A client that goes away ends its call at once, whatever it waits for (`tokentill.flows.gateway.leash`).

Requirement ids: R-SALE-5, R-SALE-8, R-ABU-6.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from hashlib import blake2b
from urllib.parse import unquote

import msgspec
import structlog

from tokentill.flows.gateway.gateway import Gateway
from tokentill.flows.gateway.leash import Gone, Leash
from tokentill.flows.gateway.outcome import Broken, Notes, PassedOn, Stream, Trouble, Whole
from tokentill.flows.ways import Ways
from tokentill.ports import Ids, Ledger, StoreDown
from tokentill.rules import answers, calls
from tokentill.rules import commands as c
from tokentill.rules.api_keys import caller, names
from tokentill.rules.calls import BadCall, Kind, ModelCall
from tokentill.rules.purses import purse
from tokentill.rules.rows import ApiKey
from tokentill.web import problems
from tokentill.web.asgi import EXCHANGE, JSON, NO_STORE, Answer, Exchange, Message, Receive, Scope, Send
from tokentill.web.call import idempotency_key, read_body
from tokentill.web.gateway import errors
from tokentill.web.gateway.gate import KeyGate
from tokentill.web.limiter import Limiter
from tokentill.web.problems import Halt

BODY_BYTES_MAX = 20 * 1024 * 1024
KINDS: dict[bytes, Kind] = {f"/v1{path}".encode(): kind for kind, path in calls.PATHS.items()}
MODELS = b"/v1/models"
ONE_MODEL = "/v1/models/{model}"
READS = frozenset({MODELS, b"/v1/balance"})
PATHS = frozenset(KINDS) | READS
PASSED_IN = (b"anthropic-version", b"anthropic-beta", b"openai-beta")
"""Headers that go upstream as they are."""
HEADER_CHARS_MAX = 1_000
GONE = 499
"""What the metrics say of a client that did not wait; nobody is there to read it."""

log = structlog.get_logger("tokentill.web")
Opening = Callable[[Notes, Limiter], "Endpoint"]
"""Makes the endpoint, given who counts its calls and how many wrong keys an address may present."""
encode = msgspec.json.Encoder().encode


class Endpoint:
    """Answers everything below `PATHS`. One for each application."""

    def __init__(
        self,
        gateway: Gateway,
        gate: KeyGate,
        ledger: Ledger,
        ids: Ids,
        address: Callable[[], str],
        ways: Ways,
    ) -> None:
        self.gateway = gateway
        self.gate = gate
        self._ledger = ledger
        self._ids = ids
        self._address = address
        self._ways = ways

    async def __call__(
        self, scope: Scope, receive: Receive, send: Send, incident: Callable[[Exception], str]
    ) -> int:
        """Answer one request; the status that was sent. `incident` logs a bug and names it."""
        path: bytes = scope["raw_path"]
        kind = KINDS.get(path)
        shape = kind or "chat"
        try:
            return await self._serve(kind, scope, receive, send)
        except Halt as halt:
            detail = msgspec.json.decode(halt.answer.body).get("detail", "")
            status = halt.answer.status
            answer = errors.answer(
                shape, status, halt.answer.code or "invalid_request", detail, (), halt.field
            )
        except StoreDown:
            message = "The till cannot reach its database. Nothing was charged; try again."
            answer = errors.answer(shape, 503, "store_unavailable", message, (problems.retry_after(1_000),))
        except Exception as error:  # noqa: BLE001 - whatever a bug raises becomes an incident, not a stack trace
            message = f"The till failed on this request and logged it as incident {incident(error)}."
            answer = errors.answer(shape, 500, "internal_error", message)
        await answer.send(send)
        return answer.status

    def unable(self, scope: Scope, *, draining: bool) -> Answer:
        """The answer while the till is shutting down, or overloaded."""
        shape = KINDS.get(scope["raw_path"]) or "chat"
        code = "shutting_down" if draining else "overloaded"
        message = (
            "The till is shutting down." if draining else "Too many requests are being answered at once."
        )
        return errors.answer(shape, 503, code, message, (problems.retry_after(1_000),))

    async def _serve(self, kind: Kind | None, scope: Scope, receive: Receive, send: Send) -> int:
        shape = kind or "chat"
        method = "GET" if kind is None else "POST"
        if scope["method"] != method:
            allow = ((b"allow", method.encode()),)
            message = f"{scope['method'][:20]} is not possible here; {method} is."
            return await _sent(errors.answer(shape, 405, "method_not_allowed", message, allow), scope, send)
        client = scope["client"]
        headers = dict(reversed(scope["headers"]))  # of several of one name the first counts
        key = await self.gate.admit(shape, headers, client[0] if client else "")
        if isinstance(key, Answer):
            return await _sent(key, scope, send)
        if kind is None:
            path: bytes = scope["raw_path"]
            answer = self._models(key, path) if path.startswith(MODELS) else await self._balance(key)
            return await _sent(answer, scope, send)
        body = await read_body(scope.get(EXCHANGE), receive, headers.get(b"content-length"), BODY_BYTES_MAX)
        call = calls.read(kind, body)
        if isinstance(call, BadCall):
            await self._report(key, call)
            answer = errors.answer(kind, 400, "invalid_request", call.message, (), call.field)
            return await _sent(answer, scope, send)
        name = headers.get(b"idempotency-key")
        text = None if name is None else idempotency_key(name)
        digest = "" if text is None else blake2b(scope["raw_path"] + b" " + body, digest_size=16).hexdigest()
        return await self._run(key, call, _passed(headers), (text, digest), scope, receive, send)

    async def _run(
        self,
        key: ApiKey,
        call: ModelCall,
        headers: dict[str, str],
        name: tuple[str | None, str],
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> int:
        leash = Leash()
        unwatch = _watch(scope, receive, leash.pull)
        try:
            with leash:
                outcome = await self.gateway.run(key, call, headers, leash, *name)
                if isinstance(outcome, Stream):
                    return await self._stream(call.kind, outcome, scope.get(EXCHANGE), send)
            return await _sent(self._answer(call, outcome), scope, send)
        except Gone:
            return GONE
        finally:
            unwatch()

    def _answer(self, call: ModelCall, outcome: Trouble | PassedOn | Whole | Stream) -> Answer:
        match outcome:
            case Trouble():
                return errors.of_trouble(call.kind, outcome, self._address())
            case PassedOn():
                try:
                    msgspec.json.decode(outcome.body)
                except (msgspec.DecodeError, UnicodeDecodeError):
                    message = "The model refused the request."
                    return errors.answer(call.kind, outcome.status, "refused_by_model", message)
                return Answer(outcome.status, outcome.body, JSON)
            case Whole():
                headers = [(name.encode(), value.encode()) for name, value in outcome.facts]
                if outcome.replayed:
                    headers.append((b"idempotent-replayed", b"true"))
                kind = (b"content-type", outcome.content_type.encode())
                return Answer(outcome.status, outcome.body, kind, tuple(headers))
            case Stream():
                raise AssertionError("a stream is sent as it comes")

    async def _stream(self, kind: Kind, stream: Stream, exchange: Exchange | None, send: Send) -> int:
        headers = [(b"content-type", b"text/event-stream; charset=utf-8"), NO_STORE]
        headers += [(name.encode(), value.encode()) for name, value in stream.facts]
        chunks = stream.chunks
        try:
            if exchange is not None and not exchange.begin(headers):
                exchange = None
            if exchange is None:
                await send({"type": "http.response.start", "status": 200, "headers": headers})
            async for chunk in chunks:
                if exchange is None or not exchange.write(chunk):
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
        except Broken as broken:
            status, code = errors.status_of(broken.trouble)
            error = errors.shape(kind, status, code, broken.trouble.message)
            await send(
                {"type": "http.response.body", "body": answers.failed_event(kind, error), "more_body": True}
            )
        finally:
            await chunks.aclose()  # type: ignore[attr-defined]  # it is a generator
        await send({"type": "http.response.body", "body": b""})
        return 200

    def _models(self, key: ApiKey, path: bytes) -> Answer:
        """The models that the key may call, as OpenAI lists them; or the one that the path names."""
        data = {
            model.id: {
                "id": model.id,
                "object": "model",
                "created": 0,
                "owned_by": "tokentill",
                "title": model.title,
            }
            for model in self.gateway.catalog.models.values()
            if names(key, model.id, model.feature)
        }
        if path == MODELS:
            return Answer(200, encode({"object": "list", "data": list(data.values())}))
        name = unquote(path[len(MODELS) + 1 :].decode("latin-1"))
        if name in data:
            return Answer(200, encode(data[name]))
        message = f"There is no model {name[:100]!r} that this key may call. GET /v1/models lists them."
        return errors.answer("chat", 404, "model_not_found", message, (), "model")

    async def _balance(self, key: ApiKey) -> Answer:
        """The balance of the key's organization, and what the key itself may spend (R-SALE-8)."""
        account = await self._ledger.account(key.organization)
        assert account is not None, "a key is of an organization that is there"
        its, most = purse(account, key.purse), key.spend_max
        left = None if most is None else its.left(most)
        own = {"id": key.id, "spend_max": most, "spent": its.spent, "held": its.held, "left": left}
        now = await self._ways.balance(key.organization, account)
        return Answer(200, encode({**msgspec.structs.asdict(now), "key": own}))

    async def _report(self, key: ApiKey, bad: BadCall) -> None:
        """Put an invalid call on the record of its user (R-ABU-6)."""
        attempt = c.Attempt(user=caller(key), reason=f"invalid {bad.field or 'request'}"[:100])
        try:
            await self._ledger.submit(c.Envelope(key.organization, attempt, self._ids.operation()))
        except StoreDown:
            log.warning("an invalid request could not be put on the record")


def place_of(path: bytes) -> str | None:
    """The path as it stands in the metrics, if requests to it are the endpoint's to answer."""
    if path in PATHS:
        return path.decode()
    return ONE_MODEL if path.startswith(MODELS + b"/") else None


def _passed(headers: Mapping[bytes, bytes]) -> dict[str, str]:
    """The headers that go upstream: few, and each one line of printable text."""
    found = {}
    for name in PASSED_IN:
        value = headers.get(name)
        if value is not None:
            text = value.decode("latin-1")
            if text.isascii() and text.isprintable() and len(text) <= HEADER_CHARS_MAX:
                found[name.decode()] = text
    return found


def _watch(scope: Scope, receive: Receive, gone: Callable[[], None]) -> Callable[[], object]:
    """Have `gone` called when the client goes away; what comes back ends that."""
    exchange = scope.get(EXCHANGE)
    if exchange is not None:
        return exchange.watch(gone)  # type: ignore[no-any-return]  # the scope is a plain mapping
    watching = asyncio.ensure_future(_wait(receive, gone))
    return watching.cancel


async def _wait(receive: Callable[[], Awaitable[Message]], gone: Callable[[], None]) -> None:
    with contextlib.suppress(asyncio.CancelledError):
        while (await receive())["type"] != "http.disconnect":
            pass
        gone()


async def _sent(answer: Answer, scope: Scope, send: Send) -> int:
    exchange = scope.get(EXCHANGE)
    if exchange is None or not exchange.send(answer):
        await answer.send(send)
    return answer.status
