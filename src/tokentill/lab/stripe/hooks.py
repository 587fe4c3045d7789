"""Webhooks: every event signed and sent to every endpoint, in order and once, or not, as told.

`Mischief` is what a network and a forger do: sending twice, in another order, late, altered, or with a wrong
signature. What was not taken (no answer, or not 2xx) stays in the line and is sent again at the next `deliver`.
Order and choice come from a seed.

A delivery is dated by the real time of the clock, not by how far the world was moved ahead: as with Stripe's
test clocks, the objects live in simulated time and the network does not.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Awaitable, Callable, Mapping
from hashlib import blake2b, sha256

from msgspec import Struct

from tokentill.lab.stripe.world import Object, World


class Delivery(Struct):
    """One webhook on its way: raw body and headers as they go over the wire."""

    event: str
    type: str
    url: str
    body: bytes
    headers: dict[str, str]
    tries: int = 0


class Mischief(Struct, frozen=True):
    """What is done to deliveries. `copies` of each in all; the others are shares in percent of deliveries."""

    copies: int = 1
    shuffle: bool = False
    lose: int = 0
    """Not sent this time, and kept for the next."""
    alter: int = 0
    """The body is changed after it was signed, and sent beside the true one."""
    forge: int = 0
    """Signed with a secret that is not the endpoint's, and sent beside the true one."""
    age_seconds: int = 0
    """Signed as if so long ago."""


Send = Callable[[str, bytes, Mapping[str, str]], Awaitable[int]]
"""Posts a body to an address with headers; the status of the answer, 0 for none."""


def sign(body: bytes, secret: str, at: int) -> str:
    """The `Stripe-Signature` of a body: HMAC-SHA256 over the time and the body."""
    mac = hmac.new(secret.encode(), f"{at}.".encode() + body, sha256).hexdigest()
    return f"t={at},v1={mac}"


class Hooks:
    """The line of webhooks of one world."""

    def __init__(self, world: World, seed: str = "lab") -> None:
        self.world = world
        self.mischief = Mischief()
        self.line: list[Delivery] = []
        self._seed = seed
        self._drawn = 0
        world.on_event.append(self._enqueue)

    def _enqueue(self, event: Object) -> None:
        for endpoint in self.world.all("webhook_endpoint"):
            wanted = endpoint["enabled_events"]
            if endpoint["status"] == "enabled" and ("*" in wanted or event["type"] in wanted):
                self.line += [self.delivery(event, endpoint) for _ in range(self.mischief.copies)]

    def delivery(
        self, event: Object, endpoint: Object, *, secret: str | None = None, altered: bool = False
    ) -> Delivery:
        """An event for an endpoint, signed now; `secret` is a forger's, `altered` changes it after signing."""
        body = json.dumps(event, indent=2).encode()
        key = secret or self.world.note(endpoint["id"])["secret"]
        at = self.world.clock.now() // 1000 - self.mischief.age_seconds
        headers = {"content-type": "application/json; charset=utf-8", "stripe-signature": sign(body, key, at)}
        if altered:
            body = body.replace(b'"livemode": false', b'"livemode":  false', 1)
        return Delivery(event["id"], event["type"], endpoint["url"], body, headers)

    def take(self) -> list[Delivery]:
        """Everything in the line, as mischief has it, and leave the line empty."""
        line, self.line = self.line, []
        if self.mischief.shuffle:
            drawn = [(self._draw(1 << 32), nth) for nth in range(len(line))]
            line = [line[nth] for _, nth in sorted(drawn)]
        return line

    async def deliver(self, send: Send) -> int:
        """Send what is in the line; how many were not taken and will be sent again."""
        for one in self.take():
            if self._draw(100) < self.mischief.lose:
                self.line.append(one)
                continue
            await self._send_false(one, send)
            fresh = self._again(one) if one.tries else one
            status = await send(fresh.url, fresh.body, fresh.headers)
            fresh.tries = one.tries + 1
            if not 200 <= status < 300:
                self.line.append(fresh)
        return len(self.line)

    async def _send_false(self, one: Delivery, send: Send) -> None:
        if self._draw(100) < self.mischief.alter:
            await send(one.url, one.body.replace(b'"amount', b'"amount_', 1) + b" ", one.headers)
        if self._draw(100) < self.mischief.forge:
            at = self.world.clock.now() // 1000
            false = {**one.headers, "stripe-signature": sign(one.body, "whsec_of_a_forger", at)}
            await send(one.url, one.body, false)

    def _again(self, one: Delivery) -> Delivery:
        """The same event, signed anew, as each try is."""
        event = self.world.get("event", one.event)
        for endpoint in self.world.all("webhook_endpoint"):
            if endpoint["url"] == one.url:
                return self.delivery(event, endpoint)
        return one

    def _draw(self, among: int) -> int:
        """The next number of the seed, below `among`."""
        self._drawn += 1
        digest = blake2b(f"{self._seed}:{self._drawn}".encode(), digest_size=8).digest()
        return int.from_bytes(digest) % among
