"""Routing: from the path of a request to its route, on the bytes as they came.

Segments are split before they are unquoted, so that an id may hold a slash (`%2F`) and none can climb out
of its place. The path is matched exactly: no second slash, no slash at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec

from tokentill.rules import names
from tokentill.web import problems
from tokentill.web.bodies import Body, Query
from tokentill.web.call import Call, decode, query
from tokentill.web.routes import Route

_NO_BODY = b"{}"


_FAULTS: dict[str, Callable[[str], str | None]] = {
    "org": names.fault,
    "user": names.fault,
    "alert": names.row_fault,
    "message": names.row_fault,
    "event": names.row_fault,
}
"""What a name in a path must be, where it is not printable ASCII."""

Checks = list[tuple[str, Callable[[str], str | None]]]


def _checks(kind: type[Body | Query]) -> Checks:
    """What the texts of a body or a query must be, field by field."""
    named: Checks = [(field, names.fault) for field in kind.NAMES]
    return named + [(field, names.text_fault) for field in kind.TEXTS]


def _hold(value: object, checks: Checks) -> None:
    for field, fault in checks:
        text = getattr(value, field)
        if type(text) is str:
            wrong = fault(text)
            if wrong is not None:
                raise problems.invalid(f"`{field}` {wrong}.", field)


class Bound:
    """A route made ready: its decoder, and what its parameters and fields must be."""

    __slots__ = ("_body_checks", "_decoder", "_faults", "_params", "_query_checks", "has_body", "route")

    def __init__(self, route: Route) -> None:
        self.route = route
        self.has_body = route.body is not None
        self._decoder: Any = None if route.body is None else msgspec.json.Decoder(route.body)
        self._body_checks = [] if route.body is None else _checks(route.body)
        self._query_checks = [] if route.query is None else _checks(route.query)
        self._params = [part[1:-1] for part in route.path.split("/") if part[:1] == "{"]
        self._faults: list[Callable[[str], str | None]] = [
            _FAULTS.get(param, names.key_fault) for param in self._params
        ]

    def params(self, segments: Sequence[bytes]) -> list[str]:
        """The names in the path, or `Halt`."""
        found = []
        for at, segment in enumerate(segments):
            raw = unquote_to_bytes(segment) if b"%" in segment else segment
            try:
                text = raw.decode()
            except UnicodeDecodeError:
                raise problems.invalid(
                    f"`{self._params[at]}` in the path is not UTF-8.", self._params[at]
                ) from None
            wrong = self._faults[at](text)
            if wrong is not None:
                raise problems.invalid(f"`{self._params[at]}` in the path {wrong}.", self._params[at])
            found.append(text)
        return found

    def read(self, call: Call, body: bytes, query_string: bytes) -> None:
        """The body and the query as values, or `Halt`."""
        if self._decoder is not None:
            value = call.body = decode(self._decoder, body or _NO_BODY)
            if self._body_checks:
                _hold(value, self._body_checks)
        if self.route.query is not None:
            call.query = query(self.route.query, query_string)
            _hold(call.query, self._query_checks)
        elif query_string:
            raise problems.invalid("This route takes no query parameters.")


class Node:
    """One place in the tree of paths."""

    __slots__ = ("allow", "children", "param", "path", "routes")

    def __init__(self) -> None:
        self.children: dict[bytes, Node] = {}
        self.param: Node | None = None
        self.routes: dict[str, Bound] = {}
        self.allow = b""
        self.path = ""


class Router:
    """The tree of paths of all routes."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._root = Node()
        for route in routes:
            node = self._root
            for part in route.path.encode().split(b"/")[1:]:
                if part[:1] == b"{":
                    node.param = node = node.param or Node()
                else:
                    node = node.children.setdefault(part, Node())
            assert route.method not in node.routes, f"{route.method} {route.path} stands twice in the table"
            bound = Bound(route)
            node.path = route.path
            node.routes[route.method] = bound
            if route.method == "GET":
                node.routes["HEAD"] = bound
            node.allow = ", ".join(sorted(node.routes)).encode()

    def find(self, raw_path: bytes) -> tuple[Node | None, list[bytes]]:
        """The place of a path, None if there is none, and the segments that stand for parameters."""
        node = self._root
        params: list[bytes] = []
        for part in raw_path.split(b"/")[1:]:
            child = node.children.get(part)
            if child is None:
                child = node.param
                if child is None or not part:
                    return None, params
                params.append(part)
            node = child
        return (node if node.routes else None), params
