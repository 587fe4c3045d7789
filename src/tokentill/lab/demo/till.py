"""The till as the demo's host reaches it: its public HTTP API and nothing else.

Whatever may have got lost is sent again under the same idempotency key, as any host should (R-LED-9). A
refusal is a value; only a till that stays away or fails raises.

Requirement ids: R-LED-9, R-PLAN-7.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, Self

import aiohttp
import msgspec
from msgspec import Struct

from tokentill.lab.demo.tally import Tally
from tokentill.rules.catalog import Feature
from tokentill.rules.refusals import WayOut

TRIES = 6
BACKOFF_SECONDS = 0.1
CALL_SECONDS_MAX = 20.0
PAGE = 500
UNAVAILABLE = 503
FAULT = 500
UNAUTHORIZED = 401
REFUSED = 400


class TillTrouble(Exception):
    """The till stays away, or answers what no host can act on."""


class Receipt(Struct):
    """What the demo reads of a receipt."""

    operation: str
    tokens: int
    balance: int


class Refused(Struct):
    """What the demo reads of a problem."""

    status: int
    code: str
    detail: str = ""
    retry_after_ms: int | None = None
    ways_out: tuple[WayOut, ...] = ()


class Answer(Struct):
    """A receipt, and whether it is that of an earlier call under the same key."""

    receipt: Receipt
    replayed: bool


class Pack(Struct):
    """What the demo reads of a pack."""

    id: str
    title: str
    valid_days: int | None


class Catalog(Struct):
    """What the demo reads of the catalog."""

    title: str
    packs: tuple[Pack, ...]
    features: tuple[Feature, ...]


class Balance(Struct):
    """What the demo reads of a balance."""

    remaining: int
    set_aside: int
    held: int
    holds: int


class JournalLine(Struct):
    """What the demo reads of a line of the journal."""

    kind: str
    tokens: int
    operation: str | None = None
    reason: str | None = None


class _Operation(Struct):
    state: str


class _Page(Struct):
    entries: tuple[JournalLine, ...]
    next: str | None


class Till:
    """The API at `url` with an operator key. Used inside `async with`."""

    def __init__(self, url: str, key: str, tally: Tally, clock: Callable[[], float]) -> None:
        self._session = aiohttp.ClientSession(
            url,
            headers={"Authorization": f"Bearer {key}"},
            connector=aiohttp.TCPConnector(limit=64),
            timeout=aiohttp.ClientTimeout(total=CALL_SECONDS_MAX),
            trust_env=False,
        )
        self._tally = tally
        self._clock = clock

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def open(self, organization: str, plan: str | None) -> Answer | Refused:
        """Open an account on a plan, or without one."""
        return await self._order(
            "/v1/organizations", {"id": organization, "plan": plan}, f"open {organization}"
        )

    async def reserve(
        self, organization: str, user: str, feature: str, tokens: int, timeout_ms: int, key: str
    ) -> Answer | Refused:
        """Hold tokens for an operation that is about to run."""
        body = {"feature": feature, "user": user, "tokens": tokens, "timeout_ms": timeout_ms}
        return await self._order(f"/v1/organizations/{organization}/holds", body, key)

    async def settle(self, organization: str, hold: str, tokens: int, written: int) -> Answer | Refused:
        """Charge what the operation used."""
        body = {"tokens": tokens, "output_tokens": written}
        return await self._order(f"/v1/organizations/{organization}/holds/{hold}/settle", body)

    async def release(self, organization: str, hold: str, reason: str) -> Answer | Refused:
        """End a hold and charge nothing."""
        return await self._order(f"/v1/organizations/{organization}/holds/{hold}/release", {"reason": reason})

    async def grant_pack(
        self, organization: str, pack: str, tokens: int, expires_at: int | None, key: str
    ) -> Answer | Refused:
        """Deliver a pack that was paid for."""
        body = {"origin": "pack", "tokens": tokens, "expires_at": expires_at, "reference": pack}
        return await self._order(f"/v1/organizations/{organization}/grants", body, key)

    async def take_plan(self, organization: str, plan: str, key: str) -> Answer | Refused:
        """Move to a plan."""
        return await self._order(f"/v1/organizations/{organization}/plan", {"plan": plan}, key)

    async def freeze(self, organization: str, reason: str) -> Answer | Refused:
        """Payment failed."""
        return await self._order(f"/v1/organizations/{organization}/freeze", {"reason": reason}, "freeze")

    async def restore(self, organization: str, reason: str) -> Answer | Refused:
        """Payment is mended."""
        return await self._order(f"/v1/organizations/{organization}/restore", {"reason": reason}, "restore")

    async def unblock(self, organization: str, user: str, reason: str) -> Answer | Refused:
        """Lift a user's block."""
        path = f"/v1/organizations/{organization}/users/{user}/unblock"
        return await self._order(path, {"reason": reason}, "unblock")

    async def catalog(self) -> Catalog:
        """What is sold."""
        return msgspec.json.decode(await self._read("/v1/catalog"), type=Catalog)

    async def balance(self, organization: str) -> Balance:
        """An organization's balance."""
        return msgspec.json.decode(
            await self._read(f"/v1/organizations/{organization}/balance"), type=Balance
        )

    async def is_held(self, organization: str, hold: str) -> bool:
        """Whether the journal says that a hold has not ended yet."""
        content = await self._read(f"/v1/organizations/{organization}/operations/{hold}")
        return msgspec.json.decode(content, type=_Operation).state == "held"

    async def journal(self, organization: str) -> Sequence[JournalLine]:
        """The whole journal of an organization, newest first."""
        lines: list[JournalLine] = []
        before: str | None = ""
        while before is not None:
            query = f"limit={PAGE}" + (f"&before={before}" if before else "")
            content = await self._read(f"/v1/organizations/{organization}/journal?{query}")
            page = msgspec.json.decode(content, type=_Page)
            lines += page.entries
            before = page.next
        return lines

    async def _order(self, path: str, body: dict[str, Any], key: str | None = None) -> Answer | Refused:
        headers = {} if key is None else {"Idempotency-Key": key}
        status, content, replayed = await self._send("POST", path, body, headers)
        if status >= REFUSED:
            return msgspec.json.decode(content, type=Refused)
        return Answer(msgspec.json.decode(content, type=Receipt), replayed)

    async def _read(self, path: str) -> bytes:
        status, content, _ = await self._send("GET", path, None, {})
        if status >= REFUSED:
            raise TillTrouble(f"The till answered {status} to GET {path}: {_detail(content)}")
        return content

    async def _send(
        self, method: str, path: str, body: dict[str, Any] | None, headers: dict[str, str]
    ) -> tuple[int, bytes, bool]:
        """One call, sent again while it gets no answer or is asked to wait."""
        trouble = ""
        for attempt in range(TRIES):
            if attempt:
                self._tally.tried_again += 1
                await asyncio.sleep(BACKOFF_SECONDS * 2**attempt)
            started = time.perf_counter()
            try:
                async with self._session.request(method, path, json=body, headers=headers) as response:
                    content = await response.read()
            except (aiohttp.ClientError, TimeoutError) as error:
                trouble = f"It does not answer ({type(error).__name__}: {error})."
                continue
            self._tally.answered(self._clock(), time.perf_counter() - started)
            if response.status == UNAVAILABLE:
                trouble = _detail(content)
                continue
            if response.status >= FAULT or response.status == UNAUTHORIZED:
                raise TillTrouble(
                    f"The till answered {response.status} to {method} {path}: {_detail(content)}"
                )
            return response.status, content, "Idempotent-Replayed" in response.headers
        raise TillTrouble(f"The till cannot be reached any more. {trouble}")


def _detail(content: bytes) -> str:
    try:
        return msgspec.json.decode(content, type=Refused).detail
    except msgspec.MsgspecError:
        return repr(content[:200])
