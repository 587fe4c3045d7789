"""The official SDK's own types as JSON schemas, so that what goes over the wire is held to Stripe's API.

The SDK's classes are made from Stripe's OpenAPI document: an object's class says its fields and their types, a
`…Params` says what a request takes. They are read from the SDK's source as it is installed, so nothing is copied
and the version is the one that is run. A field without `Optional` must be there and may not be null; no field
may be there that the SDK does not know.
"""

from __future__ import annotations

import ast
import functools
from pathlib import Path
from typing import Any

import jsonschema_rs
import stripe

ROOT = Path(stripe.__file__).parent
Schema = dict[str, Any]
PLAIN: dict[str, Schema] = {
    "str": {"type": "string"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
    "Decimal": {"type": ["string", "number"]},
    "Any": {},
    "object": {},
    "UntypedStripeObject": {"type": "object"},
    "None": {"type": "null"},
}
WIRE: dict[str, Schema] = {
    **PLAIN,
    "int": {"type": "string", "pattern": "^-?[0-9]+$"},
    "float": {"type": "string", "pattern": "^-?[0-9.]+$"},
    "bool": {"enum": ["true", "false"]},
}
"""Plain types as a form carries them, where everything is text."""

MODULES = {"Price": "_price", "Plan": "_plan", "SubscriptionItem": "_subscription_item",
           "InvoiceLineItem": "_invoice_line_item", "Refund": "_refund", "LineItem": "_line_item"}  # fmt: skip


class Reader:
    """The classes of one module of the SDK."""

    def __init__(self, module: str, plain: dict[str, Schema]) -> None:
        tree = ast.parse((ROOT / f"{module}.py").read_text())
        self.classes: dict[str, ast.ClassDef] = {}
        self._collect(tree.body, "")
        self.params = "params" in module
        self.open: set[str] = set()
        self.plain = plain

    def _collect(self, body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            if isinstance(node, ast.ClassDef):
                self.classes[prefix + node.name] = node
                self._collect(node.body, f"{prefix}{node.name}.")

    def object(self, name: str) -> Schema:
        """The schema of a class and what it refers to; of itself within itself only that it is an object."""
        self.open.add(name)
        try:
            return self._object(name)
        finally:
            self.open.discard(name)

    def _object(self, name: str) -> Schema:
        fields: dict[str, Schema] = {}
        required = []
        for node in self.classes[name].body:
            if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
                continue
            said = ast.unparse(node.annotation)
            if said.startswith("ClassVar"):
                continue
            fields[node.target.id] = self.type(node.annotation, name)
            if not said.startswith(("Optional", "NotRequired")):
                required.append(node.target.id)
        closed = self.params or "." not in name
        return {
            "type": "object",
            "properties": fields,
            "required": required,
            "additionalProperties": not closed,
        }

    def type(self, node: ast.expr, within: str) -> Schema:
        """The schema of an annotation."""
        if isinstance(node, ast.Constant):
            if node.value is None:
                return PLAIN["None"]
            return self.type(ast.parse(str(node.value), mode="eval").body, within)
        if isinstance(node, ast.BinOp):
            return {"anyOf": [self.type(node.left, within), self.type(node.right, within)]}
        if isinstance(node, ast.Name):
            return self.named(node.id, within)
        assert isinstance(node, ast.Subscript), ast.dump(node)
        outer = ast.unparse(node.value)
        inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        if outer == "Literal":
            return {"enum": [ast.literal_eval(part) for part in inner]}
        if outer == "ExpandableField":
            return {"anyOf": [PLAIN["str"], {"type": "object"}]}
        found = [self.type(part, within) for part in inner]
        built: dict[str, Schema] = {
            "Optional": {"anyOf": [*found, PLAIN["None"]]},
            "Union": {"anyOf": found},
            "List": {"type": "array", "items": found[0]},
            "Dict": {"type": "object"},
            "UntypedStripeObject": {"type": "object"},
            "ListObject": {
                "type": "object",
                "properties": {"data": {"type": "array", "items": found[0]}},
                "required": ["data", "has_more", "url"],
            },
            "NotRequired": found[0],
        }
        return built[outer]

    def named(self, name: str, within: str) -> Schema:
        """The schema of a name: plain, nested in the class or around it, or another object of the SDK."""
        if name in self.plain:
            return self.plain[name]
        while within:
            if f"{within}.{name}" in self.classes:
                return self.object(f"{within}.{name}")
            within = within.rpartition(".")[0]
        if name in self.classes and name not in self.open:
            return self.object(name)
        return schema(MODULES[name], name, wire=False) if name in MODULES else {"type": "object"}


@functools.cache
def schema(module: str, name: str, *, wire: bool) -> Schema:
    """The schema of a class of a module, such as `_charge`, `Charge`; `wire`: as a form carries it."""
    return Reader(module, WIRE if wire else PLAIN).object(name)


@functools.cache
def _validator(module: str, name: str, *, wire: bool) -> jsonschema_rs.Validator:
    return jsonschema_rs.validator_for(schema(module, name, wire=wire))


def problems(value: Any, module: str, name: str, *, wire: bool = False) -> list[str]:
    """What in `value` is not as the SDK's class says."""
    found = _validator(module, name, wire=wire).iter_errors(value)
    return [f"{'/'.join(map(str, error.instance_path))}: {error.message}" for error in found]
