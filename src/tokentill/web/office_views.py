"""Views of the office: codes, switches, alerts, contacts, webhook endpoints, messages and events.

None of them shows a secret: not the text of a code, not that of a message, not the body of an event.

Requirement ids: R-PACK-4, R-PACK-8, R-PACK-9, R-PLAN-8.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from tokentill.rules.rows import (
    Alert,
    Contact,
    Endpoint,
    Message,
    ProviderEvent,
    RedemptionCode,
    Row,
    Switch,
)
from tokentill.web.shop_views import same


class NewCodes(Struct, frozen=True, kw_only=True):
    """Codes that were made; they are shown this once."""

    batch: str
    tokens: int
    codes: tuple[str, ...]


class CodeView(Struct, frozen=True, kw_only=True):
    """A code without what it is written as; `shown` are its last four letters."""

    id: str
    shown: str
    batch: str
    tokens: int
    title: str
    valid_days: int | None
    expires_at: int | None
    created_at: int
    used_at: int | None
    used_by: str | None
    purchase: str | None
    revoked: bool


class CodeList(Struct, frozen=True, kw_only=True):
    """Codes; `next` is the `before` of the page after, null at the end."""

    codes: tuple[CodeView, ...]
    next: str | None


class SwitchView(Struct, frozen=True, kw_only=True):
    """A switch, who turned it, when and why; one that nobody ever turned is on."""

    switch: str
    on: bool
    reason: str
    actor: str
    at: int | None


class SwitchList(Struct, frozen=True, kw_only=True):
    """Every switch there is."""

    switches: tuple[SwitchView, ...]


class AlertView(Struct, frozen=True, kw_only=True):
    """Something an operator should look at."""

    id: str
    organization: str
    code: str
    text: str
    created_at: int
    seen_by: str | None
    seen_at: int | None


class AlertList(Struct, frozen=True, kw_only=True):
    """Alerts; `next` is the `before` of the page after, null at the end. A page may have fewer than asked for."""

    alerts: tuple[AlertView, ...]
    next: str | None


class ContactView(Struct, frozen=True, kw_only=True):
    """Where the organization gets its e-mail; `email` null where nobody said."""

    email: str | None
    name: str
    quiet: tuple[str, ...]


class Removed(Struct, frozen=True, kw_only=True):
    """`removed` is false where there was nothing to remove."""

    removed: bool


class EndpointView(Struct, frozen=True, kw_only=True):
    """An address that gets signed webhooks. `failing_since`: since when it does not answer as it should."""

    id: str
    url: str
    events: tuple[str, ...]
    enabled: bool
    failing_since: int | None
    created_at: int


class NewEndpoint(Struct, frozen=True, kw_only=True):
    """A new endpoint. `secret` signs what it gets (Standard Webhooks) and is shown this once."""

    id: str
    url: str
    events: tuple[str, ...]
    secret: str


class EndpointList(Struct, frozen=True, kw_only=True):
    """Endpoints, newest first."""

    endpoints: tuple[EndpointView, ...]


class MessageView(Struct, frozen=True, kw_only=True):
    """A notice on its way by `channel` (mail or webhook), without its text and its receiver's address."""

    id: str
    organization: str
    channel: str
    type: str
    state: str
    tries: int
    problem: str | None
    created_at: int
    due_at: int | None
    sent_at: int | None


class MessageList(Struct, frozen=True, kw_only=True):
    """Messages; `next` is the `before` of the page after, null at the end."""

    messages: tuple[MessageView, ...]
    next: str | None


class EventView(Struct, frozen=True, kw_only=True):
    """An event of a payment provider, without its body."""

    id: str
    provider: str
    type: str
    state: str
    tries: int
    problem: str | None
    created_at: int
    due_at: int | None


class EventList(Struct, frozen=True, kw_only=True):
    """Events; `next` is the `before` of the page after, null at the end."""

    events: tuple[EventView, ...]
    next: str | None


class ClockView(Struct, frozen=True, kw_only=True):
    """Where the simulated clock stands now, and how many invoices were billed or tried on the way."""

    time: int
    invoices: int


def code(row: RedemptionCode) -> CodeView:
    """A redemption code."""
    return same(CodeView, row)


def switch(row: Switch) -> SwitchView:
    """A switch that was turned."""
    return same(SwitchView, row, switch=row.id)


def alert(row: Alert) -> AlertView:
    """An alert."""
    return same(AlertView, row)


def contact(row: Contact | None) -> ContactView:
    """Where mail goes."""
    return ContactView(email=None, name="", quiet=()) if row is None else same(ContactView, row)


def endpoint(row: Endpoint) -> EndpointView:
    """An endpoint without its secret."""
    return same(EndpointView, row)


def message(row: Message) -> MessageView:
    """A message without its content."""
    return same(MessageView, row)


def event(row: ProviderEvent) -> EventView:
    """An event without its body."""
    return same(EventView, row)


def following(found: Sequence[Row], limit: int) -> str | None:
    """Where the page after begins; None where this is the last."""
    return found[-1].id if len(found) == limit else None
