"""Gate: who may call. Every route asks it unless the table of routes says "open".

An operator key is looked up by its id and compared by the digest of its secret in constant time. What the
store said is trusted for less than a second, so a key revoked on one process is refused on all within a
second; requests that arrive during a look-up share it.

Wrong keys are limited by the client's address, for they belong to no user (R-ABU-6, readings). Once an
address has used up its tries only keys that were right before in this process are looked up from there, so
that nobody behind the same proxy can lock out a customer who is already calling.

That a key was used is noted when it is looked up, so at most once a second and never by a request that was
admitted from memory; the store writes it down in its own time.

Requirement ids: R-SALE-8, R-ABU-6.
"""

from __future__ import annotations

import asyncio
from hashlib import sha256

from tokentill.ports import Clock, Ledger, OperatorKey
from tokentill.rules import keys
from tokentill.web import problems
from tokentill.web.limiter import Limiter
from tokentill.web.problems import Halt

FRESH_MS = 900
"""How long an answer of the store is trusted; below a second, with room for the request itself."""
USED_EVERY_MS = 60_000
"""When a key was last used is recorded at most this often, by whichever process finds it older."""

_KEYS_MAX = 1000
_CHALLENGE = (b"www-authenticate", b'Bearer realm="tokentill"')
_CHALLENGE_WRONG = (b"www-authenticate", b'Bearer realm="tokentill", error="invalid_token"')
_HOW = "Send the header `Authorization: Bearer tt_op_…` with an operator key that is not revoked."


class _Seen:
    """An operator key as the store had it at `at` (epoch ms), asked for before the answer came."""

    __slots__ = ("at", "digest", "key")

    def __init__(self, at: int, key: OperatorKey, digest: bytes) -> None:
        self.at = at
        self.key = key
        self.digest = digest


class Gate:
    """Admits operator keys. One for each application."""

    def __init__(self, ledger: Ledger, clock: Clock, wrong_keys: Limiter) -> None:
        self._ledger = ledger
        self._clock = clock
        self._wrong_keys = wrong_keys
        self._seen: dict[str, _Seen] = {}
        self._admitted: dict[bytes, _Seen] = {}
        self._asking: dict[str, asyncio.Future[_Seen | None]] = {}
        self._noted: dict[str, int] = {}

    def forget(self, key_id: str) -> None:
        """Ask the store again at the next request, because the key was revoked here."""
        self._seen.pop(key_id, None)
        self._admitted.clear()

    def admit_known(self, header: bytes | None) -> OperatorKey | None:
        """The operator whose very header was admitted less than a second ago; None says to ask `admit`.

        Headers are known by their digest, so that no secret is kept and none can be guessed by timing.
        """
        if header is None:
            return None
        seen = self._admitted.get(sha256(header).digest())
        return seen.key if seen is not None and 0 <= self._clock.now() - seen.at < FRESH_MS else None

    async def admit(self, header: bytes | None, address: str) -> OperatorKey:
        """The operator whose key the `Authorization` header holds; raises `Halt` with 401 or 429."""
        if header is None:
            raise _unauthorized("This request carries no operator key.", wrong=False)
        scheme, _, text = header.decode("latin-1").partition(" ")
        key = keys.read(text.strip(" ")) if scheme.lower() == "bearer" else None
        now = self._clock.now()
        seen = None if key is None else self._seen.get(key.id)
        was_right = key is not None and seen is not None and keys.matches(key.secret, seen.digest)
        wait_ms = 0 if was_right else self._wrong_keys.wait_ms(address, now)
        if wait_ms:
            raise _too_many(wait_ms)
        if key is not None:
            if seen is None or not 0 <= now - seen.at < FRESH_MS:
                seen = await self._ask(key.id)
            if seen is not None and seen.key.revoked_at is None and keys.matches(key.secret, seen.digest):
                self._remember(header, seen)
                self._note(seen.key, now)
                return seen.key
        self._wrong_keys.take(address, now)
        raise _unauthorized("This is no key of an operator, or it was revoked.", wrong=True)

    def _remember(self, header: bytes, seen: _Seen) -> None:
        if len(self._admitted) >= _KEYS_MAX:
            self._admitted.clear()
        self._admitted[sha256(header).digest()] = seen

    def _note(self, key: OperatorKey, now: int) -> None:
        """Have the store remember that the key is used, if that was not done within the minute."""
        last = max(key.last_used_at or 0, self._noted.get(key.id, 0))
        if now - last >= USED_EVERY_MS:
            if len(self._noted) >= _KEYS_MAX:
                self._noted.clear()
            self._noted[key.id] = now
            self._ledger.key_used(key.id, now)

    async def _ask(self, key_id: str) -> _Seen | None:
        asking = self._asking.get(key_id)
        if asking is None:
            asking = asyncio.ensure_future(self._look_up(key_id))
            self._asking[key_id] = asking
            asking.add_done_callback(lambda _: self._asking.pop(key_id, None))
        return await asyncio.shield(asking)

    async def _look_up(self, key_id: str) -> _Seen | None:
        at = self._clock.now()
        found = await self._ledger.find_operator_key(key_id)
        if found is None:
            self._seen.pop(key_id, None)
            return None
        if len(self._seen) >= _KEYS_MAX:
            self._seen.clear()
        seen = self._seen[key_id] = _Seen(at, *found)
        return seen


def _unauthorized(why: str, *, wrong: bool) -> Halt:
    challenge = _CHALLENGE_WRONG if wrong else _CHALLENGE
    return Halt(problems.plain(401, "unauthorized", f"{why} {_HOW}", (challenge,)))


def _too_many(wait_ms: int) -> Halt:
    detail = "Too many wrong keys came from this address. Wait, then send the request with a right key."
    return Halt(problems.plain(429, "too_many_wrong_keys", detail, (problems.retry_after(wait_ms),)))
