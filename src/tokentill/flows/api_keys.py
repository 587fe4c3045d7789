"""Keys of customers: issued, listed, replaced with an overlap, revoked; and found again when they are presented.

The text of a key is returned where it is made, once; the till keeps a digest of it.

Requirement ids: R-SALE-8.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from msgspec import Struct
from msgspec.structs import replace

from tokentill.ports import Added, Clock, Ids, Ledger, Room, StoreDown
from tokentill.rules import keys
from tokentill.rules.api_keys import LIVE_MAX, NEVER, OVERLAP_MS_MAX, revoked
from tokentill.rules.catalog import TOKENS_MAX
from tokentill.rules.purses import Purse, purse
from tokentill.rules.refusals import Code, Refusal, unknown_organization
from tokentill.rules.rows import ApiKey

SHOWN_CHARS = 4
USED_EVERY_MS = 60_000
TRIES_MAX = 20
_NOTED_MAX = 10_000


class Scope(Struct, frozen=True, kw_only=True):
    """What a new key may be used for, as `ApiKey` says it; `spend_max` tokens in all."""

    user: str | None = None
    features: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    read_only: bool = False
    spend_max: int | None = None
    expires_at: int | None = None


class Issued(Struct, frozen=True):
    """A key that was just made, and its text, which is shown this once."""

    key: ApiKey
    text: str


class ApiKeys:
    """The keys of every organization of a till."""

    def __init__(self, ledger: Ledger, clock: Clock, ids: Ids) -> None:
        self._ledger = ledger
        self._rows = ledger.rows
        self._clock = clock
        self._ids = ids
        self._noted: dict[str, int] = {}
        self._noting: set[asyncio.Task[None]] = set()

    async def issue(
        self, organization: str, name: str, scope: Scope | None = None, *, key_id: str | None = None
    ) -> Issued | Refusal:
        """A new key. `key_id`: an id by which a second try of the same request can be told from another."""
        scope = scope or Scope()
        wrong = self._unknown(scope)
        if wrong is None and await self._ledger.account(organization) is None:
            wrong = unknown_organization()
        if wrong is not None:
            return wrong
        if _bad_limit(scope.spend_max):
            return _limit_refused()
        if scope.expires_at is not None and scope.expires_at <= self._clock.now():
            return Refusal(Code.INVALID, "expires_at has passed already.", detail="expires_at")
        return await self._add(organization, name, scope, key_id)

    async def list(self, organization: str) -> Sequence[ApiKey] | None:
        """Every key of the organization, newest first, without its secret; None if there is no such organization."""
        if await self._ledger.account(organization) is None:
            return None
        return await self._rows.find(ApiKey, {"organization": organization}, limit=10 * LIVE_MAX)

    async def rotate(
        self, organization: str, key_id: str, overlap_ms: int = 0, *, new_id: str | None = None
    ) -> Issued | Refusal:
        """A new key in the place of one that works, which goes on for `overlap_ms`. What was spent still counts."""
        if not 0 <= overlap_ms <= OVERLAP_MS_MAX:
            message = f"overlap_ms must be from 0 to {OVERLAP_MS_MAX}, which is 30 days."
            return Refusal(Code.INVALID, message, detail="overlap_ms")
        old = await self._rows.get(ApiKey, key_id, organization)
        now = self._clock.now()
        if old is None:
            return _unknown_key()
        if old.works_until <= now:
            return Refusal(Code.NOT_POSSIBLE, "The key does not work any more. Make a new one.")
        scope = Scope(
            user=old.user,
            features=old.features,
            models=old.models,
            read_only=old.read_only,
            spend_max=old.spend_max,
            expires_at=old.expires_at,
        )
        made = await self._add(organization, old.name, scope, new_id, old)
        if isinstance(made, Issued):
            await self._end(old, now + overlap_ms)
        return made

    async def revoke(self, organization: str, key_id: str) -> ApiKey | Refusal:
        """Revoke a key; it is refused from the next request on, everywhere. Again changes nothing."""
        key = await self._rows.get(ApiKey, key_id, organization)
        return _unknown_key() if key is None else await self._end(key, self._clock.now())

    async def limit(self, organization: str, key_id: str, spend_max: int | None) -> ApiKey | Refusal:
        """Let a key spend `spend_max` tokens in all from its next call on, None = as many as there are.

        The same holds for those that it replaced or that replace it. What was spent while a limit stood still counts.
        """
        if _bad_limit(spend_max):
            return _limit_refused()
        key = await self._rows.get(ApiKey, key_id, organization)
        if key is None:
            return _unknown_key()
        equal = {"purse": key.purse, "organization": organization}
        changed = {
            one.id: await self._change(one, lambda row: replace(row, spend_max=spend_max))
            for one in await self._rows.find(ApiKey, equal, limit=10 * LIVE_MAX)
        }
        return changed[key.id]

    async def bring(self, organization: str, name: str, key: keys.Key, *, first: bool) -> ApiKey | None:
        """The key that comes with a purchase, stored once however often it is brought.

        `first`: only where no key that came with a purchase works yet, also if many are brought at once; then None.
        """
        room = Room(1, (("organization", organization), ("bought", 1)), ("works_until", self._clock.now()))
        added = await self._store(
            organization, name, Scope(), key, rooms=(room,) if first else (), bought=True
        )
        return None if added.how == "full" else added.row

    async def find(self, key_id: str) -> ApiKey | None:
        """The key of this id as it is stored now, whosever it is."""
        return await self._rows.look(ApiKey, key_id)

    async def spent(self, key: ApiKey) -> Purse:
        """What the key and those it replaced have spent and hold; counted only where there is a `spend_max`."""
        account = await self._ledger.account(key.organization)
        assert account is not None, "a key is of an organization that is there"
        return purse(account, key.purse)

    def used(self, key: ApiKey, now: int) -> None:
        """Remember that a key was used, at most once a minute, in the background."""
        if now - max(key.used_at or 0, self._noted.get(key.id, 0)) < USED_EVERY_MS:
            return
        if len(self._noted) >= _NOTED_MAX:
            self._noted.clear()
        self._noted[key.id] = now
        task = asyncio.ensure_future(self._note(key, now))
        self._noting.add(task)
        task.add_done_callback(self._noting.discard)

    async def close(self) -> None:
        """Finish what was begun."""
        if self._noting:
            await asyncio.wait(set(self._noting))

    def _unknown(self, scope: Scope) -> Refusal | None:
        """What the catalog does not have of what a key shall be for."""
        catalog = self._ledger.catalog
        for field, wanted, known in (
            ("features", scope.features, catalog.features.keys()),
            ("models", scope.models, catalog.models.keys()),
        ):
            strangers = set(wanted) - known
            if strangers:
                message = f"The catalog has no {field} of this name. It has: {', '.join(sorted(known)[:20])}."
                return Refusal(Code.INVALID, message, detail=field)
        return None

    async def _add(
        self, organization: str, name: str, scope: Scope, key_id: str | None, old: ApiKey | None = None
    ) -> Issued | Refusal:
        fresh = self._ids.operation()
        # The first 12 digits are the time, so that keys sort by it; the last are random.
        ident = key_id or fresh[:12] + fresh[-8:]
        key = keys.Key("sk", ident, self._ids.secret())
        purse, bought = (None, False) if old is None else (old.purse, old.bought)
        added = await self._store(organization, name, scope, key, purse, bought=bought)
        if added.how == "full":
            message = f"An organization has at most {LIVE_MAX} keys that work. Revoke one first."
            return Refusal(Code.NOT_POSSIBLE, message)
        if added.how == "there":
            message = (
                f"The key {ident} was made by an earlier request with this Idempotency-Key, and its text was shown "
                "then. If it is lost, revoke that key and make another with a new one."
            )
            return Refusal(Code.NOT_POSSIBLE, message, detail=ident)
        return Issued(added.row, keys.write(key))

    async def _store(
        self,
        organization: str,
        name: str,
        scope: Scope,
        key: keys.Key,
        purse: str | None = None,
        rooms: tuple[Room, ...] = (),
        *,
        bought: bool = False,
    ) -> Added[ApiKey]:
        """Store the digest of a key, if there is room for one more that works."""
        now = self._clock.now()
        row = ApiKey(
            id=key.id,
            organization=organization,
            created_at=now,
            digest=keys.digest(key.secret),
            name=name,
            shown=keys.write(key)[-SHOWN_CHARS:],
            purse=purse or key.id,
            works_until=NEVER if scope.expires_at is None else scope.expires_at,
            user=scope.user,
            features=scope.features,
            models=scope.models,
            read_only=scope.read_only,
            bought=bought,
            spend_max=scope.spend_max,
            expires_at=scope.expires_at,
        )
        room = Room(LIVE_MAX, (("organization", organization),), ("works_until", now))
        return await self._rows.add(row, room, *rooms)

    async def _end(self, key: ApiKey, at: int) -> ApiKey:
        return await self._change(key, lambda row: revoked(row, at))

    async def _change(self, key: ApiKey, edit: Callable[[ApiKey], ApiKey]) -> ApiKey:
        for _ in range(TRIES_MAX):
            edited = edit(key)
            stored = key if edited == key else await self._rows.put(edited)
            if stored is not None:
                return stored
            read = await self._rows.get(ApiKey, key.id, key.organization)
            assert read is not None, "keys are never deleted"
            key = read
        raise AssertionError("the key changes all the time")

    async def _note(self, key: ApiKey, now: int) -> None:
        try:
            # If somebody changed it meanwhile, that it was used is told at its next use.
            await self._rows.put(replace(key, used_at=now))
        except StoreDown:
            self._noted.pop(key.id, None)


def _bad_limit(spend_max: int | None) -> bool:
    return spend_max is not None and not (type(spend_max) is int and 0 <= spend_max <= TOKENS_MAX)


def _limit_refused() -> Refusal:
    message = f"spend_max must be a whole number of tokens from 0 to {TOKENS_MAX}."
    return Refusal(Code.INVALID, message, detail="spend_max")


def _unknown_key() -> Refusal:
    return Refusal(Code.NOT_POSSIBLE, "The organization has no key of this id.", detail="unknown_key")
