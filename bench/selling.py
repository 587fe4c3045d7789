"""Selling over HTTP: from a webhook to tokens that can be spent, beside load, and a burst of webhooks.

One server process with one worker and its clerk, as `tokentill serve` runs it, on SQLite; the embedded provider signs
the webhooks. Each webhook brings the pack of one organization. The first figure asks for the balance over and over
until the tokens are there, while other connections reserve and settle without a pause. The burst keeps its pace
whether or not the server keeps up; nothing may be lost, so that every pack is delivered in the end.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp
from msgspec import Struct

from bench import world
from bench.http_client import drive
from bench.report import Figure, at_least, at_most, known, percentile
from bench.web import pairs
from bench.world import Options
from tokentill import wiring
from tokentill.catalogs import preset_text
from tokentill.flows.keys import create_operator_key
from tokentill.flows.shop import Ask, Shop
from tokentill.ports import EmbeddedPayments
from tokentill.rules.purchases import Purchase
from tokentill.settings import Settings
from tokentill.web.serving import new_event_loop, serve

TITLE = "from a webhook to usable tokens, beside load and in a burst"

TOKENS = 7
PACK = f"""
[packs.small]
title = "Small"
tokens = {TOKENS}
price = "1.00"
"""
NO_ALERTS = "alerts = []\n"
"""All buyers pay by one test card, which a rule about cards shared by organizations would look at each time."""

CARD = "4242424242424242"
LOADING = 100
"""Organizations that are charged beside the webhooks."""

CONNECTIONS = 4
"""So many charge without a pause beside the webhooks: a busy server, and not one at its limit."""

BURST_CONNECTIONS = 100
WANTED = 1_000
"""So many webhooks of a burst should be answered a second."""

PACE = 1_100
"""Webhooks that are sent a second in the burst, kept whether or not the till keeps up: more than it should answer."""

AT_ONCE = 32
PATIENCE_SECONDS = 120.0

_spawn = multiprocessing.get_context("spawn")


class Event(Struct):
    """A webhook that brings the pack of an organization."""

    organization: str
    body: bytes
    headers: dict[str, str]


def _serve(path: str, catalog: str, count: int, pipe: Any) -> None:
    """The server process: says where it is and which webhooks are to come, and counts purchases when asked."""

    async def work() -> None:
        settings = Settings(database=path, catalog=catalog)
        ledger = await wiring.make_ledger(settings)
        address = wiring.Address(settings)
        shop = wiring.make_shop(settings, ledger, address, environment={})
        await world.open_organizations(ledger, [f"org-{number}" for number in range(LOADING)])
        names = [f"buyer-{number}" for number in range(count)]
        await world.open_organizations(ledger, names)
        events = await _ordered(shop, names)
        _, key = await create_operator_key(ledger, wiring.SystemClock(), wiring.SystemIds(), "bench")
        await shop.clerk.once()  # the journal so far
        shop.clerk.start()
        counting = asyncio.create_task(_count(shop, pipe))
        app = wiring.build(settings, ledger, shop)
        await serve(app, "127.0.0.1", 0, ready=lambda url: pipe.send((url, key, events)))
        counting.cancel()
        await shop.close()
        await ledger.close()

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(work())


async def _ordered(shop: Shop, names: Sequence[str]) -> list[Event]:
    """A pack ordered and paid by each organization, of which the till was not told yet."""
    provider = shop.means.payments["embedded"]
    assert isinstance(provider, EmbeddedPayments)
    slots = asyncio.Semaphore(AT_ONCE)

    async def order(name: str) -> Event:
        async with slots:
            placed = await shop.checkout.buy_pack(Ask(organization=name), "small")
            assert isinstance(placed, Purchase), placed
            [told] = (await provider.pay(placed.checkout or "", CARD)).events
            await provider.heard(told)  # or the clerk would tell it by itself before the webhook comes
            return Event(name, told.body, dict(told.headers))

    return await asyncio.gather(*map(order, names))


async def _count(shop: Shop, pipe: Any) -> None:
    """Answer how many packs were delivered, as often as it is asked."""
    while True:
        if pipe.poll():
            pipe.recv()
            pipe.send((await shop.means.rows.tally(Purchase, "state")).get("delivered", 0))
        await asyncio.sleep(0.02)


class Serving:
    """A server process while it runs."""

    def __init__(self, folder: Path, count: int) -> None:
        catalog = folder / "selling.toml"
        catalog.write_text(NO_ALERTS + preset_text("bench").replace("packs = false", "packs = true") + PACK)
        self._pipe, theirs = _spawn.Pipe()
        path = str(folder / "till.db")
        self._process = _spawn.Process(target=_serve, args=(path, str(catalog), count, theirs))
        self._process.start()
        theirs.close()
        self.url, self.key, self.events = self._pipe.recv()

    def delivered(self) -> int:
        """How many packs were delivered so far."""
        self._pipe.send("count")
        return int(self._pipe.recv())

    def stop(self) -> None:
        """Stop it as an operator would."""
        assert self._process.pid is not None
        os.kill(self._process.pid, signal.SIGTERM)
        self._process.join()


async def _tell(client: aiohttp.ClientSession, url: str, event: Event) -> int:
    """Send a webhook; the status."""
    async with client.post(f"{url}/v1/webhooks/embedded", data=event.body, headers=event.headers) as answer:
        await answer.read()
        return answer.status


async def _usable(client: aiohttp.ClientSession, serving: Serving, event: Event) -> float:
    """Seconds from sending a webhook until the balance has its tokens."""
    balance = f"{serving.url}/v1/organizations/{event.organization}/balance"
    own = {"Authorization": f"Bearer {serving.key}"}
    started = time.perf_counter()
    status = await _tell(client, serving.url, event)
    assert status == 200, status
    while True:
        async with client.get(balance, headers=own) as answer:
            if (await answer.json())["additional"] == TOKENS:
                return time.perf_counter() - started
        await asyncio.sleep(0.001)


async def _beside(serving: Serving, events: Sequence[Event], seconds: float) -> tuple[list[float], float]:
    """How long each webhook took while others reserved and settled, and how much of that was done a second."""
    names = [f"org-{number}" for number in range(LOADING)]
    scripts = [pairs(serving.key.encode(), names[at:] + names[:at]) for at in range(CONNECTIONS)]
    port = int(serving.url.rpartition(":")[2])
    load = asyncio.create_task(drive("127.0.0.1", port, scripts, seconds))
    took = []
    async with aiohttp.ClientSession() as client:
        every = seconds / len(events)
        for event in events:
            took.append(await _usable(client, serving, event))
            await asyncio.sleep(max(0.0, every - took[-1]))
    return took, (await load).rate


async def _burst(serving: Serving, events: Sequence[Event]) -> tuple[float, list[float], int]:
    """Seconds from the first to the last answer, how late each answer was, and how many were no 200."""
    started = time.perf_counter() + 0.05
    late: list[float] = []
    wrong = 0

    async def send(client: aiohttp.ClientSession, first: int) -> None:
        nonlocal wrong
        for at in range(first, len(events), BURST_CONNECTIONS):
            due = started + at / PACE
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            wrong += await _tell(client, serving.url, events[at]) != 200
            late.append(time.perf_counter() - due)

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as client:
        await asyncio.gather(*(send(client, first) for first in range(BURST_CONNECTIONS)))
    return time.perf_counter() - started, late, wrong


def run(options: Options) -> list[Figure]:
    """Measure."""
    probes, burst = (10, 100) if options.quick else (300, 2_000)
    with world.folder() as folder:
        serving = Serving(folder, 2 * probes + burst)
        try:
            alone, _ = world.run(_beside_nothing(serving, serving.events[:probes]))
            beside, rate = world.run(
                _beside(serving, serving.events[probes : 2 * probes], 5 * options.seconds)
            )
            started = time.perf_counter()
            seconds, late, wrong = world.run(_burst(serving, serving.events[2 * probes :]))
            while serving.delivered() < 2 * probes + burst:
                if time.perf_counter() - started > PATIENCE_SECONDS:
                    break
                time.sleep(0.05)
            whole = time.perf_counter() - started
            lost = 2 * probes + burst - serving.delivered()
        finally:
            serving.stop()
    return [
        at_most("webhook to usable tokens, p99, beside load", 1e3 * percentile(beside, 0.99), 50, "ms"),
        known("webhook to usable tokens, p50, beside load", 1e3 * percentile(beside, 0.5), "ms"),
        known("webhook to usable tokens, p99, alone", 1e3 * percentile(alone, 0.99), "ms"),
        known("webhook to usable tokens, p50, alone", 1e3 * percentile(alone, 0.5), "ms"),
        known("the load: reserve and settle", rate, "/s", f"{CONNECTIONS} connections without a pause"),
        at_least("a burst of webhooks, answered a second", burst / seconds, WANTED, "/s", f"{burst} sent"),
        known("answer to a webhook of the burst, p99", 1e3 * percentile(late, 0.99), "ms"),
        at_most("webhooks of the burst not answered 200", wrong, 0, ""),
        at_most("packs lost", lost, 0, ""),
        known("until the last tokens of the burst were there", whole, "s"),
    ]  # fmt: skip


async def _beside_nothing(serving: Serving, events: Sequence[Event]) -> tuple[list[float], float]:
    async with aiohttp.ClientSession() as client:
        return [await _usable(client, serving, event) for event in events], 0.0
