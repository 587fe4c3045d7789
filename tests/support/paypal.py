"""A PayPal on this machine whose every request, answer and event is held against schemas.

`tests/data/paypal/README.md` tells which. What does not fit is noted in `Checked.misfits`, and the fixture that
serves it fails the test.
"""

import functools
import json
import os
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import parse_qs

import aiohttp
import jsonschema_rs

from tokentill.lab.paypal.server import Lab, Message, Receive, Scope, Send, serving

VARIABLE = "TOKENTILL_PAYPAL_OPENAPI"
OWN = Path(__file__).parent.parent / "data/paypal/wire.json"
PUBLISHED = ("checkout_orders_v2", "payments_payment_v2", "customer_disputes_v1", "notifications_webhooks_v1")
RESOURCES = {"checkout-order": "order", "capture": "capture", "refund": "refund", "dispute": "dispute"}


class Document:
    """An OpenAPI document that can say what is wrong with a message."""

    def __init__(self, path: Path) -> None:
        self.name = path.stem
        self._whole: dict[str, Any] = json.loads(path.read_text())
        self._paths = [(_pattern(path), path) for path in self._whole["paths"]]

    @functools.cache  # noqa: B019 - documents live as long as the run
    def _validator(self, schema: str) -> jsonschema_rs.Draft4Validator:
        return jsonschema_rs.Draft4Validator({**json.loads(schema), "components": self._whole["components"]})

    def knows(self, schema: str) -> bool:
        return schema in self._whole["components"]["schemas"]

    def named(self, schema: str, value: object) -> list[str]:
        """What is wrong with a value of a named schema."""
        return self._faults({"$ref": f"#/components/schemas/{schema}"}, value)

    def operation(self, method: str, path: str) -> tuple[dict[str, Any], dict[str, str]] | None:
        """What is asked for, and what stands for the names in its path."""
        for pattern, template in self._paths:
            match = pattern.fullmatch(path)
            if match and method.lower() in self._whole["paths"][template]:
                return self._whole["paths"][template][method.lower()], match.groupdict()
        return None

    def request(
        self, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes
    ) -> list[str]:
        """What is wrong with a request."""
        found = self.operation(method, path)
        assert found is not None, "asked of a document that has it"
        operation, named = found
        faults = []
        asked = {name: values[0] for name, values in parse_qs(query).items()}
        for entry in operation.get("parameters", []):
            parameter = self._resolved(entry)
            places: dict[str, Mapping[str, str]] = {"path": named, "query": asked, "header": headers}
            name = parameter["name"].lower() if parameter["in"] == "header" else parameter["name"]
            value = places[parameter["in"]].get(name)
            if value is None:
                faults += [f"{name} is missing"] if parameter.get("required") else []
            else:
                faults += self._faults(parameter["schema"], value)
            asked.pop(name, None)
        faults += [f"{name} is not asked for" for name in asked]
        content = self._resolved(operation.get("requestBody", {})).get("content")
        if content is not None:
            faults += self._faults(content["application/json"]["schema"], json.loads(body or b"null"))
        elif body:
            faults.append("there is a body where none belongs")
        return faults

    def answer(self, method: str, path: str, status: int, body: bytes) -> list[str]:
        """What is wrong with an answer."""
        found = self.operation(method, path)
        assert found is not None, "asked of a document that has it"
        responses = found[0]["responses"]
        response = self._resolved(responses[str(status) if str(status) in responses else "default"])
        content = response.get("content", {}).get("application/json")
        if content is None:
            return []
        faults = self._faults(content["schema"], json.loads(body))
        # The words of an error are PayPal's own, and nobody reads them.
        return [fault for fault in faults if not fault.startswith(f"{self.name}: message: ")]

    def _resolved(self, entry: dict[str, Any]) -> dict[str, Any]:
        while "$ref" in entry:
            _, _, kind, name = entry["$ref"].split("/")
            entry = self._whole["components"][kind][name]
        return entry

    def _faults(self, schema: Mapping[str, Any], value: object) -> list[str]:
        errors = self._validator(json.dumps(schema)).iter_errors(value)
        return [
            f"{self.name}: {'/'.join(map(str, error.instance_path))}: {error.message}" for error in errors
        ]


@functools.cache
def documents() -> tuple[Document, ...]:
    folder = os.environ.get(VARIABLE)
    published = [Path(folder) / f"{name}.json" for name in PUBLISHED] if folder else []
    return tuple(Document(path) for path in (OWN, *published))


@dataclass
class Checked:
    """Stands before the lab and holds everything that passes against the schemas."""

    lab: Lab
    misfits: list[str] = field(default_factory=list)
    seen: int = 0

    def __post_init__(self) -> None:
        tell = self.lab.book.tell

        def told(kind: str, type_: str, resource: dict[str, Any]) -> None:
            self.event(kind, type_, resource)
            tell(kind, type_, resource)

        self.lab.book.tell = told

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method, path = scope["method"], scope["path"]
        concerned = [one for one in documents() if one.operation(method, path)]
        if path.startswith(("/v1/customer", "/v2/")) and not any(one.name == OWN.stem for one in concerned):
            self.misfits.append(f"{method} {path}: {OWN.name} does not know it")
        body, whole = b"", False
        status, answer = 0, b""

        async def heard() -> Message:
            nonlocal body, whole
            message = await receive()
            body += message.get("body", b"")
            if message["type"] == "http.request" and not message.get("more_body") and not whole:
                whole = True
                headers = {name.decode().lower(): value.decode() for name, value in scope["headers"]}
                for one in concerned:
                    faults = one.request(method, path, scope["query_string"].decode(), headers, body)
                    self.misfits += [f"{method} {path}: {fault}" for fault in faults]
                    self.seen += 1
            return message

        async def sent(message: Message) -> None:
            nonlocal status, answer
            status = message.get("status", status)
            answer += message.get("body", b"")
            await send(message)

        faulty = bool(self.lab.faults)
        await self.lab(scope, heard, sent)
        if not faulty and status:
            for one in concerned:
                self.misfits += [
                    f"{method} {path} {status}: {f}" for f in one.answer(method, path, status, answer)
                ]

    def event(self, kind: str, type_: str, resource: object) -> None:
        """Hold an event's object against the schema of its kind."""
        if type_ == "CHECKOUT.PAYMENT-APPROVAL.REVERSED":
            return
        for one in documents():
            if one.knows(RESOURCES[kind]) and (one.name == OWN.stem or kind in _PUBLISHED_IN[one.name]):
                self.misfits += [f"{type_}: {fault}" for fault in one.named(RESOURCES[kind], resource)]


class Elsewhere:
    """A lab that runs in a process of its own, for `Checked` to stand before; its events are not seen."""

    def __init__(self, base: str) -> None:
        self.there, self.base = base, ""
        self.faults: list[object] = []
        self.book = SimpleNamespace(tell=None, base="")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on, and the answer back."""
        message = await receive()
        body = message.get("body", b"")
        while message.get("more_body"):
            message = await receive()
            body += message.get("body", b"")
        headers = [(name.decode(), value.decode()) for name, value in scope["headers"] if name != b"host"]
        url = f"{self.there}{scope['path']}?{scope['query_string'].decode()}".rstrip("?")
        async with (
            aiohttp.ClientSession() as session,
            session.request(
                scope["method"], url, data=body, headers=headers, allow_redirects=False
            ) as answer,
        ):
            kind = answer.headers.get("content-type", "application/json").encode()
            start = {
                "type": "http.response.start",
                "status": answer.status,
                "headers": [(b"content-type", kind)],
            }
            await send(start)
            await send({"type": "http.response.body", "body": await answer.read()})


@asynccontextmanager
async def held(base: str) -> AsyncIterator[tuple[str, Checked]]:
    """An address that leads to a lab elsewhere, whatever passes being held against the schemas."""
    lab = cast("Lab", Elsewhere(base))
    checked = Checked(lab)
    async with serving(lab, checked) as here:
        yield here, checked


_PUBLISHED_IN: dict[str, tuple[str, ...]] = {
    "checkout_orders_v2": ("checkout-order",),
    "payments_payment_v2": ("capture", "refund"),
    "customer_disputes_v1": ("dispute",),
    "notifications_webhooks_v1": (),
}


def _pattern(template: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", template))
