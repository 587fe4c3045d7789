"""The gate of the endpoint: whose key it is, and whether it still works.

The store is asked for the key at every request, and answers with what is stored now (decision 20), so a key that was
revoked anywhere is refused from the next request on, on every process. Wrong keys are limited by the client's address;
once an address has used up its tries only keys that were right before in this process are looked up from there, as for
operators (`tokentill.web.gate`).

Requirement ids: R-SALE-8, R-ABU-6.
"""

from __future__ import annotations

from collections.abc import Mapping

from tokentill.flows.api_keys import ApiKeys
from tokentill.ports import Clock
from tokentill.rules import keys
from tokentill.rules.api_keys import wrong_with
from tokentill.rules.rows import ApiKey
from tokentill.web import problems
from tokentill.web.asgi import Answer
from tokentill.web.gateway import errors
from tokentill.web.limiter import Limiter

_RIGHT_MAX = 10_000
_CHALLENGE = (b"www-authenticate", b'Bearer realm="tokentill"')
_HOW = "Send your key as `Authorization: Bearer tt_sk_…`, or as `x-api-key`."


class KeyGate:
    """Admits keys of customers. One for each application."""

    def __init__(self, api_keys: ApiKeys, clock: Clock, wrong_keys: Limiter) -> None:
        self._keys = api_keys
        self._clock = clock
        self._wrong_keys = wrong_keys
        self._right: set[tuple[str, bytes]] = set()

    async def admit(self, kind: str, headers: Mapping[bytes, bytes], address: str) -> ApiKey | Answer:
        """The key that the headers present, as it is stored now; or the answer to give instead."""
        text = _presented(headers)
        if text is None:
            return _unauthorized(kind, f"This request carries no key. {_HOW}")
        key = keys.read(text)
        now = self._clock.now()
        known = None if key is None else (key.id, keys.digest(key.secret))
        wait_ms = 0 if known in self._right else self._wrong_keys.wait_ms(address, now)
        if wait_ms:
            message = (
                "Too many wrong keys came from this address. Wait, then send the request with a right key."
            )
            return errors.answer(kind, 429, "too_many_wrong_keys", message, (problems.retry_after(wait_ms),))
        if key is not None and key.kind == "sk":
            found = await self._keys.find(key.id)
            assert known is not None, "it was just made of the key"
            if found is not None and keys.same(known[1], found.digest):
                self._remember(known)
                wrong = wrong_with(found, now)
                if wrong is not None:
                    return _unauthorized(kind, wrong.message)
                self._keys.used(found, now)
                return found
        self._wrong_keys.take(address, now)
        if key is not None and key.kind == "op":
            return _unauthorized(
                kind, f"This is the key of an operator; models are called with a customer's. {_HOW}"
            )
        return _unauthorized(kind, f"This is no key of this till. {_HOW}")

    def _remember(self, known: tuple[str, bytes]) -> None:
        if len(self._right) >= _RIGHT_MAX:
            self._right.clear()
        self._right.add(known)


def _presented(headers: Mapping[bytes, bytes]) -> str | None:
    """The text of the key; Authorization counts before x-api-key."""
    value = headers.get(b"authorization")
    if value is not None:
        scheme, _, text = value.decode("latin-1").partition(" ")
        return text.strip(" ") if scheme.lower() == "bearer" else ""
    value = headers.get(b"x-api-key")
    return None if value is None else value.decode("latin-1").strip(" ")


def _unauthorized(kind: str, message: str) -> Answer:
    return errors.answer(kind, 401, "invalid_api_key", message, (_CHALLENGE,))
