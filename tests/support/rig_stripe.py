"""What is outside of the till in the rig of plans, in a process of its own: Stripe, its time, and a mail server.

It outlives every process of the till that is killed, and can be put back to how it was when a story began.
"""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Sequence
from typing import Any, cast

import aiohttp

from tests.support.post import PostOffice, post_office
from tests.support.rig_processes import Channel
from tests.support.rig_store import Still
from tests.support.stripe import T0
from tokentill.lab.stripe import StripeLab, serving
from tokentill.lab.stripe.api import read_body

PATH = "/_rig/"
EVENTS = frozenset({
    "checkout.session.completed", "charge.succeeded", "payment_intent.succeeded", "payment_intent.payment_failed",
    "invoice.created", "invoice.paid", "invoice.payment_failed", "invoice.voided", "customer.subscription.created",
    "customer.subscription.updated", "customer.subscription.deleted", "customer.created",
})  # fmt: skip
"""What the endpoint asks for: those in docs/how-to/stripe.md that come in a story, and one that the till ignores."""


class Outside:
    """The lab behind its socket, and beside it what the rig asks for; an ASGI application."""

    def __init__(self, office: PostOffice) -> None:
        self.clock = Still(T0)
        self.office = office
        self.lab = StripeLab(self.clock)
        self._kept: Any = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """One request: to Stripe, or under `PATH` one of the methods below with its arguments as JSON."""
        if scope["type"] == "http" and scope["path"].startswith(PATH):
            given = json.loads(await read_body(receive))
            found = getattr(self, scope["path"].removeprefix(PATH))(**given)
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": json.dumps(found).encode()})
        else:
            await self.lab(scope, receive, send)

    def time(self, to: int = 0) -> int:
        """The time here, epoch ms, moved on to `to` where that is later, through all that is due meanwhile."""
        self.clock.time = max(self.clock.time, to)
        self.lab.catch_up()
        return self.clock.time

    def events(self, but: Sequence[str]) -> list[Any]:
        """Every event that the endpoint ever asked for, oldest first, but for these."""
        told = self.lab.world.tables.get("event", {}).values()
        return [one for one in told if one["type"] in EVENTS and one["id"] not in but]

    def keep(self) -> None:
        """Remember how everything stands now."""
        world, letters = self.lab.world, self.office.letters
        held = (world.tables, world.index, world.notes, world._count, self.lab.api._kept, letters)
        self._kept = (self.clock.time, copy.deepcopy(held))

    def back(self) -> None:
        """Let everything be as it was at `keep`."""
        self.clock.time, held = self._kept
        self.lab = StripeLab(self.clock)
        world = self.lab.world
        world.tables, world.index, world.notes, world._count, kept, letters = copy.deepcopy(held)
        self.lab.api._kept = kept
        self.office.letters[:] = letters

    def facts(self) -> dict[str, Any]:
        """What was taken and given back, what is billed from here on, and who got which letters."""
        charges, subscriptions = self.lab.world.all("charge"), self.lab.world.all("subscription")
        letters = {str(one["Message-ID"]): str(one["Subject"]) for one in self.office.letters}
        return {
            "taken": sorted(one["amount"] for one in charges if one["status"] == "succeeded"),
            "refunded": sum(one["amount_refunded"] for one in charges),
            "billed": sorted(
                [one["status"], one["cancel_at_period_end"], one["items"]["data"][0]["price"]["unit_amount"]]
                for one in subscriptions
            ),
            "invoices": sorted([one["status"], one["amount_paid"]] for one in self.lab.world.all("invoice")),
            "letters": sorted(letters.values()),
        }


def stand(channel: Channel) -> None:
    """Be the world outside until the test goes away; the first line says where it is."""

    async def run() -> None:
        async with post_office() as office, serving(cast("StripeLab", Outside(office))) as base:
            channel.write({"base": base, "mail": office.url})
            await asyncio.to_thread(channel.read)

    asyncio.run(run())


class Street:
    """The way there, for the test and for processes of the till."""

    def __init__(self, base: str) -> None:
        self.base = base
        self._session = aiohttp.ClientSession()

    async def ask(self, name: str, **arguments: Any) -> Any:
        """Call a method of `Outside`."""
        async with self._session.post(f"{self.base}{PATH}{name}", json=arguments) as answer:
            assert answer.status == 200, (name, await answer.text())
            return json.loads(await answer.read())

    async def do(self, name: str, **arguments: Any) -> Any:
        """What a customer or a bank does: a helper of the lab, and its answer."""
        async with self._session.post(f"{self.base}/_test/{name}", json=arguments) as answer:
            return await answer.json()

    async def close(self) -> None:
        await self._session.close()
