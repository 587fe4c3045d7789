"""The same till in each of its faces: in this process on each engine, over HTTP, and without async."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from contextvars import copy_context
from pathlib import Path
from typing import Any, cast

import pytest

from tests.support.desk import SECRET
from tests.support.flaky import INSIST, FlakyLedger, ManualClock
from tokentill.client import SyncTill, Till
from tokentill.flows.shop import Shop
from tokentill.ports import Ledger
from tokentill.rules import commands as c
from tokentill.settings import Settings
from tokentill.web.app import build_app
from tokentill.web.serving import serving
from tokentill.wiring import SystemIds, make_shop, open_ledger

FACES = ["embedded", "postgres", "http", "sync"]


class Awaited:
    """A `SyncTill` that is awaited, so that one suite asks all faces the same. Its calls run in threads."""

    def __init__(self, till: SyncTill) -> None:
        self.sync = till

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.sync, name)

        @functools.wraps(method)
        async def call(*args: Any, **kwargs: Any) -> Any:
            return await asyncio.to_thread(method, *args, **kwargs)

        return call

    @asynccontextmanager
    async def hold(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        holding = self.sync.hold(*args, **kwargs)
        block = copy_context()  # a block is entered and left in one context
        hold = await asyncio.to_thread(block.run, holding.__enter__)
        try:
            yield hold
        except BaseException as error:
            await asyncio.to_thread(block.run, holding.__exit__, type(error), error, error.__traceback__)
            raise
        await asyncio.to_thread(block.run, holding.__exit__, None, None, None)

    async def charge(
        self, organization: str, feature: str, operation: Callable[[Any], Awaitable[Any]], **terms: Any
    ) -> Any:
        loop = asyncio.get_running_loop()

        def run(hold: Any) -> Any:
            return asyncio.run_coroutine_threadsafe(_awaited(operation, hold), loop).result()

        charge: Callable[..., Any] = self.sync.charge
        return await asyncio.to_thread(charge, organization, feature, run, **terms)


async def _awaited(operation: Callable[[Any], Awaitable[Any]], hold: Any) -> Any:
    return await operation(hold)


class World:
    """A till in one of its faces, the ledger behind it, and the clock of that ledger."""

    def __init__(
        self, face: str, till: Till, ledger: FlakyLedger, clock: ManualClock, spool: Path, shop: Shop
    ) -> None:
        self.face = face
        self.shop = shop
        self.till = till
        self.ledger = ledger
        self.clock = clock
        self.spool = spool

    async def remaining(self) -> int:
        return (await self.till.balance("acme")).remaining

    async def kinds(self) -> list[str]:
        """What happened to acme's tokens since it was opened, oldest first."""
        page = await self.till.journal("acme", limit=500)
        return [line.kind for line in reversed(page.entries)][4:]

    async def until(self, kind: str) -> None:
        """Until the journal has an entry of `kind`."""
        async with asyncio.timeout(30):
            while kind not in await self.kinds():  # noqa: ASYNC110 the journal has no event
                await asyncio.sleep(0)


@asynccontextmanager
async def world_of(face: str, database: str, spool: Path, catalog: str = "goals") -> AsyncIterator[World]:
    """The organization `acme` on the plan pro of the preset `goals`, behind a till with the given face."""
    clock, ids = ManualClock(), SystemIds()
    settings = Settings(database=database, catalog=catalog, secret=SECRET.hex())
    async with AsyncExitStack() as stack:
        ledger = await stack.enter_async_context(open_ledger(settings, clock=clock, ids=ids))
        await ledger.submit(c.Envelope("acme", c.Open(plan="pro"), ids.operation()))
        flaky = FlakyLedger(ledger)
        there = cast("Ledger", flaky)
        shop = make_shop(settings, there, lambda: "http://till.test", clock=clock, ids=ids, environment={})
        stack.push_async_callback(shop.close)
        direct = Till.over(
            there, SECRET, spool, clock=clock, ids=ids, retry=INSIST, actor="backend", open_shop=lambda: shop
        )
        till: Any = direct
        if face in ("embedded", "postgres"):
            await stack.enter_async_context(direct)
        else:
            key = (await direct.create_key("backend")).key
            app = build_app(there, secret=SECRET, clock=clock, ids=ids, shop=shop)
            url = await stack.enter_async_context(serving(app))
            if face == "http":
                till = await stack.enter_async_context(Till.connect(url, key, spool=spool, retry=INSIST))
            else:
                sync = await asyncio.to_thread(SyncTill.connect, url, key, spool=spool, retry=INSIST)
                stack.push_async_callback(asyncio.to_thread, sync.close)
                till = Awaited(sync)
        yield World(face, till, flaky, clock, spool, shop)


@pytest.fixture(params=FACES)
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    on_postgres = request.param == "postgres"
    database = request.getfixturevalue("postgres_url") if on_postgres else str(tmp_path / "till.db")
    async with world_of(request.param, database, tmp_path / "spool") as made:
        yield made


def public_coroutines(kind: type) -> set[str]:
    """The names of a class's public async methods."""
    return {
        name
        for name, member in inspect.getmembers(kind)
        if not name.startswith("_") and inspect.iscoroutinefunction(member)
    }
