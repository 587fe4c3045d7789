"""Execute-then-charge over a real ledger of each engine, behind a line that can be cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.support.desk import SECRET
from tests.support.flaky import FlakyLedger, ManualClock, charging_on
from tests.support.post import post_office, receiver
from tests.support.postgres import Server
from tests.support.shops import World as ShopWorld
from tests.support.shops import make_world
from tests.support.stores import Store, prepared, sqlite_url
from tests.support.telling import Telling
from tokentill.flows.charge import Charging, Hold
from tokentill.ports import IntentState
from tokentill.rules import commands as c
from tokentill.rules.balance import Balance, balance
from tokentill.rules.entries import movement
from tokentill.settings import Settings
from tokentill.store.intents import FileIntents
from tokentill.wiring import SystemIds, open_ledger

FEATURE = "generate_goal"
PRICE = 3
ALLOWANCE = 200


class World:
    """The organization `acme` on the plan pro of the preset `goals`: 200 tokens, 3 for a goal."""

    def __init__(self, ledger: FlakyLedger, spool: Path, clock: ManualClock) -> None:
        self.ledger = ledger
        self.spool = spool
        self.clock = clock
        self.charging = charging_on(ledger, spool, clock)
        self._all = [self.charging]
        self.ran = 0

    def restart(self) -> Charging:
        """Another process on the same spool, with nothing in memory."""
        self.charging = charging_on(self.ledger, self.spool, self.clock)
        self._all.append(self.charging)
        return self.charging

    async def close(self) -> None:
        for charging in self._all:
            await charging.close()

    def operation(
        self, tokens: int | None = None, fail: Exception | None = None
    ) -> Callable[[Hold], Awaitable[str]]:
        async def operation(hold: Hold) -> str:
            self.ran += 1
            if fail is not None:
                raise fail
            if tokens is not None:
                hold.charge(tokens)
            return "a goal"

        return operation

    async def run(
        self,
        operation: Callable[[Hold], Awaitable[str]],
        timeout_ms: int = 30_000,
        key: str | None = None,
        user: str = "u1",
    ) -> object:
        return await self.charging.run(
            "acme", c.Reserve(feature=FEATURE, user=user), operation, timeout_ms, key
        )

    async def balance(self) -> Balance:
        account = await self.ledger.account("acme")
        assert account is not None
        return balance(account, self.ledger.catalog)

    async def kinds(self) -> list[str]:
        """What happened to acme's tokens since it was opened, oldest first."""
        page = await self.ledger.journal("acme", None, 500)
        return [movement(row.entry) for row in reversed(page.rows)][4:]

    async def intents(self) -> list[IntentState]:
        return list(await FileIntents(self.spool).states())

    async def until(self, kind: str) -> None:
        """Until the journal has an entry of `kind`; every turn lets other tasks go on."""
        async with asyncio.timeout(30):
            while kind not in await self.kinds():  # noqa: ASYNC110 the journal has no event
                await asyncio.sleep(0)


@pytest.fixture
def postgres_url(postgres_server: Server) -> Iterator[str]:
    """The URL of a database of the test's own, in which a ledger with the secret of tests was set up."""
    database = postgres_server.create_database(postgres_server.template("store", prepared))
    yield postgres_server.url(database)
    postgres_server.drop_database(database)


@pytest.fixture(params=["sqlite", "postgres"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    database = (
        request.getfixturevalue("postgres_url") if request.param == "postgres" else str(tmp_path / "till.db")
    )
    clock = ManualClock()
    settings = Settings(database=database, catalog="goals", secret=SECRET.hex())
    async with open_ledger(settings, clock=clock, ids=SystemIds()) as ledger:
        await ledger.submit(c.Envelope("acme", c.Open(plan="pro"), SystemIds().operation()))
        made = World(FlakyLedger(ledger), tmp_path / "spool", clock)
        yield made
        await made.close()


@pytest.fixture(params=["sqlite", "postgres"])
async def shop_world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ShopWorld]:
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else sqlite_url(tmp_path)
    store = Store(request.param, url)
    made = await make_world(store, tmp_path)
    yield made
    await made.shop.close()
    await store.close()


@pytest.fixture
async def telling(shop_world: ShopWorld) -> AsyncIterator[Telling]:
    async with AsyncExitStack() as stack:
        office, hook = (
            await stack.enter_async_context(post_office()),
            await stack.enter_async_context(receiver()),
        )
        made = Telling(shop_world, office, hook)
        await shop_world.begin("acme")
        await shop_world.follow()
        yield made
