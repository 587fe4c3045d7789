"""Keys: make an operator's key. Finding and revoking one are plain questions to the ledger.

Requirement ids: R-SALE-8.
"""

from __future__ import annotations

from tokentill.ports import Clock, Ids, Ledger, OperatorKey
from tokentill.rules import keys


async def create_operator_key(ledger: Ledger, clock: Clock, ids: Ids, name: str) -> tuple[OperatorKey, str]:
    """Store a new operator key called `name`; return it and its text, which is shown this once."""
    # The last 16 digits of a UUIDv7 are its random half.
    made = await create_named_operator_key(ledger, clock, ids, name, ids.operation()[-16:])
    assert made is not None, "64 random bits are nobody else's"
    return made


async def create_named_operator_key(
    ledger: Ledger, clock: Clock, ids: Ids, name: str, key_id: str
) -> tuple[OperatorKey, str] | None:
    """The same under an id by which a duplicate can be told; None, and nothing stored, if there is one already."""
    key = keys.Key("op", key_id, ids.secret())
    stored = OperatorKey(key.id, name, clock.now(), None, None)
    added = await ledger.add_operator_key(stored, keys.digest(key.secret))
    return (stored, keys.write(key)) if added else None
