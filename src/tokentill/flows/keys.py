"""Keys: make an operator's key. Finding and revoking one are plain questions to the ledger.

Requirement ids: R-SALE-8.
"""

from __future__ import annotations

from tokentill.ports import Clock, Ids, Ledger, OperatorKey
from tokentill.rules import keys


async def create_operator_key(
    ledger: Ledger, clock: Clock, ids: Ids, name: str, key_id: str | None = None
) -> tuple[OperatorKey, str]:
    """Store a new operator key called `name`; return it and its text, which is shown this once.

    `key_id` makes the creation one that a duplicate can be told by; the caller has seen that it is free.
    """
    # The last 16 digits of a UUIDv7 are its random half.
    key = keys.Key("op", key_id or ids.operation()[-16:], ids.secret())
    stored = OperatorKey(key.id, name, clock.now(), None, None)
    await ledger.add_operator_key(stored, keys.digest(key.secret))
    return stored, keys.write(key)
