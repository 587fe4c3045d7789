"""Ports of messages: e-mail, webhooks to other systems, and a seal for what must not lie in plain text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from tokentill.rules.letters import Letter


class Undelivered(Exception):
    """A message did not arrive. `for_ever`: trying again will not help; the message says why, without its content."""

    def __init__(self, message: str, *, for_ever: bool = False) -> None:
        super().__init__(message)
        self.for_ever = for_ever


@runtime_checkable
class Mail(Protocol):
    """Sends e-mail."""

    async def send(self, to: str, letter: Letter, message_id: str) -> None:
        """Hand the letter to the mail server; `message_id` is the same at every try. Raises `Undelivered`."""
        ...


@runtime_checkable
class Outbound(Protocol):
    """Calls addresses that customers gave, which may be anything."""

    def check(self, url: str) -> str | None:
        """What is wrong with an address, in words; None where it may be called."""
        ...

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        """Post to a public address and give the status. Raises `Undelivered`, also for a private address."""
        ...

    async def close(self) -> None:
        """Let connections go."""
        ...


@runtime_checkable
class Seal(Protocol):
    """Encrypts what is kept, under a key made from the till's secret."""

    def close(self, plain: str, about: str) -> str:
        """The text sealed; `about` must be the same when it is opened, so that seals cannot be swapped."""
        ...

    def open(self, sealed: str, about: str) -> str:
        """The text again. Raises `ValueError` where it is none of this till's, or was changed."""
        ...
