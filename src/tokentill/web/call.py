"""Call: one request as a handler sees it, and how its body and query become values.

Everything is read strictly and once: JSON with the right types only (1.0 is no whole number, "1" neither),
no unknown field, no field twice, at most 64 KiB. What is wrong is refused before anything is asked of the
account, in words that name the field.

Requirement ids: R-LED-9, R-LED-10, R-ABU-6.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import msgspec
from msgspec import Struct, inspect

from tokentill.ports import OperatorKey
from tokentill.rules import names, wellformed
from tokentill.web import problems
from tokentill.web.asgi import Exchange, Message, Receive
from tokentill.web.problems import Halt

BODY_BYTES_MAX = 64 * 1024
QUERY_FIELDS_MAX = 10

Body = TypeVar("Body")
Query = TypeVar("Query", bound=Struct)


class Call:
    """A request of an operator: `params` are the path's names in order, `key` the caller's idempotency key."""

    __slots__ = ("body", "headers", "key", "operator", "params", "query")

    def __init__(self, params: list[str], operator: OperatorKey | None) -> None:
        self.params = params
        self.operator = operator
        self.key: str | None = None
        self.body: Any = None
        self.query: Any = None
        self.headers: Mapping[str, str] = {}

    @property
    def organization(self) -> str:
        """The organization that the path names."""
        return self.params[0]

    @property
    def actor(self) -> str:
        """Who is calling, for the record: the name of the operator key."""
        assert self.operator is not None, "only routes behind the gate ask who is calling"
        return self.operator.name


class Head:
    """The headers that the API reads. `doubled`: one that names who or what is asked stands twice."""

    __slots__ = ("authorization", "content_type", "doubled", "key", "length")

    def __init__(self, headers: Sequence[tuple[bytes, bytes]]) -> None:
        found = dict(headers)
        self.authorization = found.get(b"authorization")
        self.content_type = found.get(b"content-type")
        self.length = found.get(b"content-length")
        self.key = found.get(b"idempotency-key")
        self.doubled = len(found) != len(headers) and any(
            sum(header == one for header, _ in headers) > 1 for one in (b"authorization", b"idempotency-key")
        )


async def read_body(
    exchange: Exchange | None, receive: Receive, declared: bytes | None, most: int = BODY_BYTES_MAX
) -> bytes:
    """The whole body, at most `most` bytes; `declared` is the content-length header.

    How long it may take is the server's to say (`tokentill.web.protocol`).
    """
    if declared is not None and (not declared.isdigit() or int(declared[:20]) > most):
        raise _too_large(most)
    body = None if exchange is None else exchange.body()
    if body is None:
        body = await _read_on(receive, await receive(), most)
    if len(body) > most:
        raise _too_large(most)
    return body


async def _read_on(receive: Receive, message: Message, most: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while message["type"] == "http.request":
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > most or not message.get("more_body"):
            return b"".join(parts)
        message = await receive()
    # Nobody is there to read this; what was sent of the body is not what was meant.
    raise Halt(
        problems.plain(
            400, "malformed_http", "The connection ended before the body did. Nothing was changed."
        )
    )


def _too_large(most: int) -> Halt:
    detail = f"A request body may have at most {most} bytes here. Nothing was changed."
    # The connection stays: closing it on a client that is still sending would lose the answer.
    return Halt(problems.plain(413, "body_too_large", detail))


def is_json(content_type: bytes | None) -> bool:
    """Whether a content type says JSON in UTF-8."""
    if content_type == b"application/json":
        return True
    kind, _, params = (content_type or b"").partition(b";")
    charset = params.strip().lower().replace(b'"', b"")
    return kind.strip().lower() == b"application/json" and charset in (b"", b"charset=utf-8")


def _once(pairs: list[tuple[str, Any]]) -> None:
    if len(pairs) != len({name for name, _ in pairs}):
        twice = next(name for at, (name, _) in enumerate(pairs) if name in dict(pairs[:at]))
        raise problems.invalid(f"The field {twice!r:.80} stands twice in the body.", twice[:80])


_scan = json.JSONDecoder(object_pairs_hook=_once).decode
_loosely = msgspec.json.Decoder().decode


def decode(decoder: msgspec.json.Decoder[Body], body: bytes) -> Body:
    """The body as its type, or `Halt` with what is wrong with it."""
    try:
        value = decoder.decode(body)
    except msgspec.ValidationError as error:
        raise _invalid_field(str(error), decoder.type, "body", "field") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        detail = "The body is not JSON in UTF-8. Nothing was changed. Correct it and send it again."
        raise Halt(problems.plain(400, "malformed_json", detail)) from None
    colons = body.count(b":")
    # msgspec lets the last of two equal names win; what a body says twice is not what it means. As many colons as
    # names: no name stands twice, and none is further inside. Only otherwise is it worth a look at each.
    if colons > 1 and colons != len(_loosely(body)):
        _scan(body.decode())
    return value


_UNKNOWN = re.compile(r"Object contains unknown field `(?P<place>.*)`", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(?P<place>\w+)`")
_WHOLE = re.compile(r"-?[0-9]{1,20}")


def _invalid_field(message: str, kind: Any, whole: str, part: str) -> Halt:
    """A msgspec message about a body or query (`whole`) of this type, whose fields are each a `part` of it."""
    for pattern, text in ((_UNKNOWN, "has no"), (_MISSING, "lacks the")):
        match = pattern.match(message)
        if match is not None:
            field = match["place"][:80]
            return problems.invalid(f"The {whole} {text} {part} `{field}`.", field)
    what, field = wellformed.explained(message)
    if what.startswith("invalid enum value"):
        what += _choices(kind, field)
    where = f"The {part} `{field}`" if field else f"The {whole}"
    return problems.invalid(f"{where} is not valid: {what}.", field or None)


def _choices(kind: Any, field: str) -> str:
    """Which words a field of this type may hold, to go on a message with; nothing for what is further inside."""
    found = next((one for one in inspect.type_info(kind).fields if one.encode_name == field), None)  # type: ignore[attr-defined]  # a struct's
    if found is None:
        return ""
    types = getattr(found.type, "types", (found.type,))
    words = [str(word) for one in types if isinstance(one, inspect.LiteralType) for word in one.values]
    return f"; it can be {', '.join(words)}" if words else ""


def query(kind: type[Query], text: bytes) -> Query:
    """The query string as a struct of texts and whole numbers, as strict as a body."""
    try:
        pairs = parse_qsl(
            text.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=bool(text),
            errors="strict",
            max_num_fields=QUERY_FIELDS_MAX,
        )
    except ValueError:
        raise problems.invalid("The query string cannot be read.") from None
    found: dict[str, Any] = {}
    numbers = {field.encode_name for field in msgspec.structs.fields(kind) if "int" in str(field.type)}
    for name, value in pairs:
        if name in found:
            raise problems.invalid(f"The query parameter {name!r:.80} stands twice.", name[:80])
        found[name] = value
        if name in numbers and _WHOLE.fullmatch(value):
            found[name] = int(value)
    try:
        return msgspec.convert(found, kind)
    except msgspec.ValidationError as error:
        raise _invalid_field(str(error), kind, "query", "parameter") from None


def idempotency_key(value: bytes) -> str:
    """The caller's key from its header, with or without the quotes that the IETF draft puts around it."""
    text = value.decode("latin-1")
    if text[:1] == '"' == text[-1:] and len(text) > 1:
        text = text[1:-1]
    wrong = names.key_fault(text)
    if wrong is not None:
        raise problems.invalid(f"The header Idempotency-Key {wrong}.", "Idempotency-Key")
    return text
