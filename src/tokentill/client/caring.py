"""Caring: what customers are told of tokens, and what they say about them, in this process and over HTTP.

Requirement ids: R-PACK-7.
"""

from __future__ import annotations

from tokentill.client.keying import Keying
from tokentill.wiring import Explanation


class Caring(Keying):
    """What a till can do about customers' questions."""

    async def faq(self, organization: str) -> Explanation:
        """What monthly and additional tokens are for this organization, and what customers ask (R-PACK-7)."""
        return await self._ask(Explanation, "getFaq", organization)
