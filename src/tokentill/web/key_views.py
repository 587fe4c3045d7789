"""Bodies and views of customers' keys.

Requirement ids: R-SALE-8.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta, Struct

from tokentill.flows.api_keys import Issued
from tokentill.rules.api_keys import OVERLAP_MS_MAX
from tokentill.rules.purses import Purse
from tokentill.rules.rows import ApiKey
from tokentill.web.bodies import Body, Name, Reason, Time, Tokens

Names = Annotated[tuple[Name, ...], Meta(max_length=100)]


class NewKeyBody(Body, frozen=True, kw_only=True):
    """A key called `name`. `features`, `models`: what it may be used for, none = everything.

    `user`: on whose behalf it calls, by default its own. `read_only`: it may ask for the balance and the models, and
    run nothing. `expires_at`: when it stops working. `spend_max`: tokens it may spend in all.
    """

    NAMES: ClassVar[tuple[str, ...]] = ("user",)
    TEXTS: ClassVar[tuple[str, ...]] = ("name",)
    name: Reason
    user: Name | None = None
    features: Names = ()
    models: Names = ()
    read_only: bool = False
    spend_max: Tokens | None = None
    expires_at: Time | None = None


class RotateBody(Body, frozen=True, kw_only=True):
    """The key that is replaced goes on working for `overlap_ms`."""

    overlap_ms: Annotated[int, Meta(ge=0, le=OVERLAP_MS_MAX)] = 0


class LimitBody(Body, frozen=True, kw_only=True):
    """`spend_max`: tokens that it and those it shares a count with may spend in all, by default as many as there are."""

    spend_max: Tokens | None = None


class KeyView(Struct, frozen=True, kw_only=True):
    """A customer's key without its secret; `shown` are the last four characters of its text.

    `revoked_at` may lie ahead: until then a key that was replaced goes on working. `spent`, `held`: tokens that it and
    those it replaced have spent, and that its running calls hold; counted only where there is a `spend_max`.
    """

    id: str
    name: str
    shown: str
    created_at: int
    user: str | None
    features: tuple[str, ...]
    models: tuple[str, ...]
    read_only: bool
    spend_max: int | None
    expires_at: int | None
    revoked_at: int | None
    used_at: int | None
    spent: int
    held: int


class KeyList(Struct, frozen=True, kw_only=True):
    """Keys, newest first."""

    keys: tuple[KeyView, ...]


class NewKey(Struct, frozen=True, kw_only=True):
    """A key that was just made. `text` is what the customer presents; it is shown this once."""

    key: KeyView
    text: str


def view(key: ApiKey, purse: Purse) -> KeyView:
    """A key as the API shows it, with what its purse says."""
    own = {name: getattr(key, name) for name in KeyView.__struct_fields__ if name not in ("spent", "held")}
    return KeyView(**own, spent=purse.spent, held=purse.held)


def made(issued: Issued, purse: Purse) -> NewKey:
    """A key that was just made."""
    return NewKey(key=view(issued.key, purse), text=issued.text)
