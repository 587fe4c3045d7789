"""Rollout: who is offered something that is being introduced (R-PACK-9).

An organization has a place from 0 to 9,999, a keyed hash of its name. It is offered what is rolled out to `n`
percent when its place is below `n` times 100, so that raising the percentage never takes an offer away and the
same organizations come first everywhere. Those who are named are offered it in any case. The key is the till's
own, so that nobody can choose a name for its place.

What it does not decide: what was bought stays good whatever becomes of a rollout.

Requirement ids: R-PACK-9.
"""

from __future__ import annotations

from hashlib import blake2b

from tokentill.rules.catalog_shop import Rollout

PLACES = 10_000


def place(key: bytes, organization: str) -> int:
    """The organization's place, 0 to 9,999; `key` has up to 64 bytes and stays the same for a till's life."""
    digest = blake2b(organization.encode(), digest_size=8, key=key, person=b"rollout").digest()
    return int.from_bytes(digest) % PLACES


def offered(rollout: Rollout, organization: str, at: int) -> bool:
    """Whether the organization at this place is offered what is rolled out so."""
    return organization in rollout.organizations or at * 100 < rollout.percent * PLACES
