"""Planted faults of the rigs that kill a shop: ways of working that are right until a process is killed."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from tokentill.rules import commands as c

HASTY = "acknowledges before it keeps"
ANEW = "grants under a new key"
TWICE = "charges under a new key"
KEEPS = "gives money back and leaves the tokens"
PLANTS = (HASTY, ANEW, TWICE, KEEPS)


class GrantsAnew:
    """A ledger that is asked under a key of the moment instead of the step's own."""

    def __init__(self, ledger: Any) -> None:
        self._ledger = ledger

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    async def submit(self, envelope: Any) -> Any:
        """As if the key of a grant were made up at each try."""
        if isinstance(envelope.command, c.Grant):
            envelope = replace(envelope, key=secrets.token_hex(16))
        return await self._ledger.submit(envelope)


class ChargesAnew:
    """A provider that is asked under a key of the moment."""

    def __init__(self, payments: Any) -> None:
        self._payments = payments

    def __getattr__(self, name: str) -> Any:
        return getattr(self._payments, name)

    async def charge_saved(self, order: Any, payer: Any, _key: str) -> Any:
        """As if the key were made up at each try."""
        return await self._payments.charge_saved(order, payer, secrets.token_hex(16))


class TakesOne:
    """A ledger that takes one token back where all that is unheld was asked for."""

    def __init__(self, ledger: Any) -> None:
        self._ledger = ledger

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    async def submit(self, envelope: Any) -> Any:
        """As if a refund were of money alone."""
        command = envelope.command
        if isinstance(command, c.Revoke) and command.tokens is None and command.share is None:
            envelope = replace(envelope, command=replace(command, tokens=1))
        return await self._ledger.submit(envelope)


def plant(name: str, ports: Mapping[str, Any]) -> dict[str, Any]:
    """The ports, one of them with the fault of this name; none with an empty one."""
    if name == ANEW:
        return {**ports, "ledger": GrantsAnew(ports["ledger"])}
    if name == TWICE:
        return {**ports, "stripe": ChargesAnew(ports["stripe"])}
    if name == KEEPS:
        return {**ports, "ledger": TakesOne(ports["ledger"])}
    return dict(ports)


def plant_in(world: Any, name: str) -> None:
    """Put the fault of this name into the ledger or the provider of a world, and open its shop anew over them."""
    if name:
        ports = plant(name, {"ledger": world.ledger, "stripe": world.provider})
        world.ledger, world.provider = ports["ledger"], ports["stripe"]
        world.restart()
