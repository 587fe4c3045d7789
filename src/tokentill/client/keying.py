"""Keying: the keys with which customers call models. The same in this process and over HTTP.

Requirement ids: R-SALE-8.
"""

from __future__ import annotations

from collections.abc import Sequence

from tokentill.client.selling import Selling
from tokentill.wiring import key_views as k


class Keying(Selling):
    """What a till can do about customers' keys."""

    async def create_api_key(  # noqa: PLR0913 each is a term of the key
        self,
        organization: str,
        name: str,
        *,
        user: str | None = None,
        features: Sequence[str] = (),
        models: Sequence[str] = (),
        read_only: bool = False,
        spend_max: int | None = None,
        expires_at: int | None = None,
        idempotency_key: str | None = None,
    ) -> k.NewKey:
        """A key for the organization's programs; its text is shown this once (R-SALE-8).

        `features`, `models`: what it may be used for, none = everything. `user`: on whose behalf it calls.
        `spend_max`: tokens it may spend in all, with the keys that replace it.
        """
        body = {
            "name": name,
            "user": user,
            "features": list(features),
            "models": list(models),
            "read_only": read_only,
            "spend_max": spend_max,
            "expires_at": expires_at,
        }
        return await self._do(k.NewKey, "createApiKey", organization, key=idempotency_key, body=body)

    async def api_keys(self, organization: str) -> Sequence[k.KeyView]:
        """Every key of the organization, newest first, without its secret."""
        return (await self._ask(k.KeyList, "listApiKeys", organization)).keys

    async def rotate_api_key(
        self, organization: str, key_id: str, *, overlap_ms: int = 0, idempotency_key: str | None = None
    ) -> k.NewKey:
        """A new key in the place of one, which goes on working for `overlap_ms`. What was spent still counts."""
        body = {"overlap_ms": overlap_ms}
        params = (organization, key_id)
        return await self._do(k.NewKey, "rotateApiKey", *params, key=idempotency_key, body=body)

    async def limit_api_key(self, organization: str, key_id: str, spend_max: int | None) -> k.KeyView:
        """Let a key spend so many tokens in all from its next call on, None = as many as there are (R-SALE-8).

        Keys that replaced one another share one count. What was spent while a limit stood still counts.
        """
        body = {"spend_max": spend_max}
        return await self._do(k.KeyView, "limitApiKey", organization, key_id, body=body)

    async def revoke_api_key(self, organization: str, key_id: str) -> k.KeyView:
        """Revoke a key; it is refused from its next request on, everywhere."""
        return await self._do(k.KeyView, "revokeApiKey", organization, key_id)
