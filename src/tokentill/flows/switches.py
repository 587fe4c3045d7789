"""Switches: stop selling something at once, and begin again (R-PACK-9). What was bought stays good.

Requirement ids: R-PACK-9.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from tokentill.flows.means import Means
from tokentill.flows.shopper import Reader
from tokentill.rules.refusals import Code, Refusal
from tokentill.rules.rows import Switch

WHOLE = ("packs", "plans", "topups")
"""What can be switched as a whole; a single pack is `pack:<id>`."""


class Switches:
    """The kill switches."""

    def __init__(self, means: Means, reader: Reader) -> None:
        self._means = means
        self._reader = reader

    async def all(self) -> Sequence[Switch]:
        """Every switch that was ever touched; what has none is on."""
        return await self._reader.switches()

    async def turn(self, switch_id: str, *, on: bool, reason: str, actor: str) -> Switch | Refusal:
        """Switch on or off, from the next order on. `actor` is who does it, by hand."""
        packs = self._means.ledger.catalog.packs
        if switch_id not in WHOLE and switch_id.removeprefix("pack:") not in packs:
            known = ", ".join((*WHOLE, *(f"pack:{name}" for name in packs)))
            return Refusal(
                Code.INVALID, f"There is no switch of this name. There is: {known}.", detail="switch"
            )
        if not reason.strip() or not actor.strip():
            return Refusal(
                Code.INVALID, "A switch needs a reason and the name of who turns it.", detail="reason"
            )
        at = self._means.clock.now()
        row = Switch(id=switch_id, created_at=at, on=on, reason=reason, actor=actor, at=at)
        return await self._means.upsert(
            row, lambda known: replace(known, on=on, reason=reason, actor=actor, at=at)
        )
