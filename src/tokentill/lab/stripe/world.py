"""The world of one Stripe account: every object, every event, the time, and where ids come from.

Objects are plain tables, as the API answers them; other objects are named by their ids and put in whole only
where a client asks (`expand`). What a client never sees (card numbers, how a method was set up) is in `notes`.
Ids follow from the seed alone and times from the clock that is handed in, so that the same requests make the
same world. `advance` moves this world ahead of its clock.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Any

from tokentill.lab.stripe.refusals import Refused, missing
from tokentill.ports import Clock

API_VERSION = "2026-10-28.endive"
Object = dict[str, Any]
_LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


class World:
    """All objects of one account."""

    def __init__(self, clock: Clock, *, seed: str = "lab", account: str = "acct_lab") -> None:
        self.clock = clock
        self.account = account
        self.public: str | None = None
        """Where the pages for customers are, if this world has any; else addresses are as at Stripe."""
        self.ahead_ms = 0
        self.tables: dict[str, dict[str, Object]] = {}
        self.index: dict[str, Object] = {}
        self.notes: dict[str, Object] = {}
        self.told: list[Object] = []
        """Events of this request, until `tell` hands them on."""
        self.on_event: list[Callable[[Object], None]] = []
        self.request: Object = {"id": None, "idempotency_key": None}
        self._seed = seed
        self._count = 0

    @property
    def now(self) -> int:
        """This world's time in seconds."""
        return (self.clock.now() + self.ahead_ms) // 1000

    def id(self, prefix: str, letters: int = 24) -> str:
        """A new id, as long as Stripe's are."""
        self._count += 1
        digest = blake2b(f"{self._seed}:{self._count}".encode(), digest_size=64).digest()
        return prefix + "".join(_LETTERS[byte % 62] for byte in digest[:letters])

    def add(self, found: Object) -> Object:
        """Keep a new object."""
        self.tables.setdefault(found["object"], {})[found["id"]] = found
        self.index[found["id"]] = found
        return found

    def get(self, kind: str, ident: str | None, param: str = "id") -> Object:
        """The object of this kind and id; `Refused` if there is none."""
        found = self.tables.get(kind, {}).get(ident or "")
        if found is None:
            raise missing(kind, ident or "", param)
        return found

    def all(self, kind: str) -> list[Object]:
        """Every object of a kind, newest first."""
        return list(reversed(self.tables.get(kind, {}).values()))

    def note(self, ident: str) -> Object:
        """What is remembered of an object beside it."""
        return self.notes.setdefault(ident, {})

    def emit(self, kind: str, found: Object, before: Mapping[str, Any] | None = None) -> Object:
        """Something happened to an object: an event with the object as it is now."""
        data: Object = {"object": copy.deepcopy(found)}
        if before is not None:
            data["previous_attributes"] = dict(before)
        event = self.add(
            {
                "id": self.id("evt_"),
                "object": "event",
                "api_version": API_VERSION,
                "created": self.now,
                "data": data,
                "livemode": False,
                "pending_webhooks": 1,
                "request": dict(self.request),
                "type": kind,
            }
        )
        self.told.append(event)
        return event

    def tell(self) -> None:
        """Hand the events of this request to whoever listens."""
        events, self.told = self.told, []
        for event in events:
            for listener in self.on_event:
                listener(event)

    def untell(self, prefix: str, since: int) -> None:
        """Forget events of a request that were told of what then did not happen."""
        for event in self.told[since:]:
            if event["type"].startswith(prefix):
                self.told.remove(event)
                self.drop(event)

    def drop(self, found: Object) -> None:
        """Forget an object."""
        del self.tables[found["object"]][found["id"]]
        del self.index[found["id"]]

    def change(self, kind: str, found: Object, **values: Any) -> None:
        """Change an object and tell of it."""
        before = {name: found.get(name) for name, value in values.items() if found.get(name) != value}
        found.update(values)
        self.emit(kind, found, before)


def listed(
    found: list[Object],
    url: str,
    *,
    limit: int = 10,
    after: str | None = None,
    before: str | None = None,
) -> Object:
    """One page of a list, newest first."""
    if not 1 <= limit <= 100:
        raise Refused("Limit must be between 1 and 100", param="limit", code="parameter_invalid_integer")
    names = [one["id"] for one in found]
    if after is not None:
        if after not in names:
            raise missing("object", after, "starting_after")
        found = found[names.index(after) + 1 :]
        more = len(found) > limit
        found = found[:limit]
    elif before is not None:
        if before not in names:
            raise missing("object", before, "ending_before")
        found = found[: names.index(before)]
        more = len(found) > limit
        found = found[-limit:]
    else:
        more = len(found) > limit
        found = found[:limit]
    return {"object": "list", "data": found, "has_more": more, "url": url}


def expanded(world: World, found: Object, paths: list[str]) -> Object:
    """A copy of the object with the named other objects in it whole."""
    answer = copy.deepcopy(found)
    for path in paths:
        parts = path.split(".")
        if len(parts) > 4:
            raise Refused("You cannot expand more than 4 levels of a property.", param="expand")
        _expand(world, answer, parts, path)
    return answer


def _expand(world: World, within: Any, parts: list[str], path: str) -> None:
    if not parts or within is None:
        return
    if isinstance(within, list):
        for one in within:
            _expand(world, one, parts, path)
        return
    name, rest = parts[0], parts[1:]
    if (within.get("object"), name) in INCLUDED and name not in within:
        within[name] = copy.deepcopy(INCLUDED[within["object"], name](world, within["id"]))
    if name not in within:
        raise Refused(f"This property cannot be expanded ({path}).", param="expand")
    value = within[name]
    if isinstance(value, str):
        if value not in world.index:
            raise Refused(f"This property cannot be expanded ({path}).", param="expand")
        within[name] = value = copy.deepcopy(world.index[value])
    _expand(world, value, rest, path)


def _payments_of(world: World, invoice: str) -> Object:
    found = [one for one in world.all("invoice_payment") if one["invoice"] == invoice]
    return listed(found, f"/v1/invoice_payments?invoice={invoice}")


def _lines_of(world: World, session: str) -> Object:
    return listed(world.note(session).get("lines", []), f"/v1/checkout/sessions/{session}/line_items")


def _refunds_of(world: World, charge: str) -> Object:
    found = [one for one in world.all("refund") if one["charge"] == charge]
    return listed(found, f"/v1/charges/{charge}/refunds")


INCLUDED: dict[tuple[str, str], Callable[[World, str], Object]] = {
    ("invoice", "payments"): _payments_of,
    ("checkout.session", "line_items"): _lines_of,
    ("charge", "refunds"): _refunds_of,
}
"""Lists that an object has only where a client asks for them."""
