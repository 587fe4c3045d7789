"""A till on a loopback port, over the real ledger of each engine, with a clock and ids that the test owns."""

import itertools
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, cast

import aiohttp
import pytest
import pytest_asyncio

from tokentill.flows.keys import create_operator_key
from tokentill.flows.shop import Shop
from tokentill.ports import Health, Ledger
from tokentill.rules.commands import Envelope, Open
from tokentill.settings import Settings
from tokentill.web.app import Application, build_app
from tokentill.web.serving import serving
from tokentill.wiring import Address, make_shop, open_ledger

SECRET = bytes(range(32))
START = 1_767_225_600_000
"""The first of January 2026."""


class TestClock:
    """A clock that stands still until it is told."""

    __test__ = False

    def __init__(self) -> None:
        self.time = START

    def now(self) -> int:
        return self.time

    def pass_ms(self, milliseconds: int) -> None:
        self.time += milliseconds


class TestIds:
    """Ids that count, and secrets that tell each other apart."""

    __test__ = False

    def __init__(self) -> None:
        self._count = itertools.count(1)

    def operation(self) -> str:
        return f"{next(self._count):032x}"

    def secret(self) -> str:
        return f"canary-{next(self._count):036d}"


class Moody:
    """The real ledger, until it is told to fail: with whatever `trouble` is, on every call."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.catalog = ledger.catalog
        self.trouble: Exception | None = None
        self.healths: list[Health] = []
        """What is answered when it is asked how it is, instead of the truth; each once."""
        self.used: list[tuple[str, int]] = []
        """Which operator keys it was told are used, and when."""

    async def health(self) -> Health:
        if self.trouble is not None:
            raise self.trouble
        return self.healths.pop(0) if self.healths else await self.ledger.health()

    def key_used(self, key_id: str, at: int) -> None:
        if self.trouble is not None:
            raise self.trouble
        self.used.append((key_id, at))
        self.ledger.key_used(key_id, at)

    def __getattr__(self, name: str) -> Any:
        if self.trouble is not None:
            raise self.trouble
        return getattr(self.ledger, name)


class Reply:
    """An answer: status, headers, and the body both as bytes and as JSON."""

    def __init__(self, status: int, headers: Any, raw: bytes) -> None:
        self.status = status
        self.headers = headers
        self.raw = raw

    @property
    def json(self) -> Any:
        return json.loads(self.raw)

    @property
    def code(self) -> str:
        """The code of a problem, after seeing that it is one in every respect."""
        assert self.headers["content-type"] == "application/problem+json"
        problem = self.json
        assert problem["status"] == self.status
        assert problem["type"] == f"urn:tokentill:problem:{problem['code']}"
        assert problem["title"]
        assert problem["detail"]
        return str(problem["code"])


class Till:
    """A running till and a client that holds an operator key."""

    def __init__(
        self,
        app: Application,
        url: str,
        key: str,
        ledger: Ledger,
        moods: Moody,
        clock: TestClock,
        ids: TestIds,
        client: aiohttp.ClientSession,
    ) -> None:
        self.app = app
        self.url = url
        self.key = key
        self.ledger = ledger
        self.moods = moods
        self.clock = clock
        self.ids = ids
        self.client = client

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        raw: bytes | None = None,
        key: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> Reply:
        """Send a request as the operator; `key` is its idempotency key, `raw` a body as it is."""
        sent = {"Authorization": f"Bearer {self.key}"} | ({} if key is None else {"Idempotency-Key": key})
        data = raw
        if body is not None or raw is not None:
            sent["Content-Type"] = "application/json"
            data = json.dumps(body).encode() if raw is None else raw
        sent |= headers or {}
        async with self.client.request(method, self.url + path, data=data, headers=sent) as answer:
            return Reply(answer.status, answer.headers, await answer.read())

    async def done(self, method: str, path: str, body: Any = None, *, key: str | None = None) -> Any:
        """What a request answers that must succeed."""
        reply = await self.ask(method, path, body, key=key)
        assert 200 <= reply.status < 300, reply.raw
        return reply.json

    @property
    def shop(self) -> Shop:
        assert self.app.site.shop is not None
        return self.app.site.shop

    async def press(self, url: str, **fields: str) -> int:
        """Press a button on a page of the till, as a browser does; the status."""
        async with self.client.post(url, data=fields, allow_redirects=False) as answer:
            return answer.status

    async def entries(self, organization: str = "acme") -> int:
        """How many entries the journal of an organization has."""
        account = await self.ledger.account(organization)
        return 0 if account is None else account.state.seq


@asynccontextmanager
async def running_till(
    database: str,
    catalog: str = "goals",
    served: dict[str, Any] | None = None,
    chosen: dict[str, Any] | None = None,
    **params: Any,
) -> AsyncIterator[Till]:
    """A till over a new database, with an operator key and the organization `acme` on the plan pro.

    `served` are settings of the server, `chosen` further ones of the till, `params` of the application.
    """
    clock, ids = TestClock(), TestIds()
    async with AsyncExitStack() as stack:
        settings = Settings(database=database, catalog=catalog, secret=SECRET.hex(), **(chosen or {}))
        ledger = await stack.enter_async_context(open_ledger(settings, clock=clock, ids=ids))
        _, key = await create_operator_key(ledger, clock, ids, "backend")
        moods = Moody(ledger)
        address = Address(settings)
        shop = make_shop(settings, cast("Ledger", moods), address, clock=clock, ids=ids, environment={})
        stack.push_async_callback(shop.close)
        params = {
            "secret": SECRET,
            "clock": clock,
            "ids": ids,
            "wrong_keys_burst": 10_000,
            "shop": shop,
            **params,
        }
        app = build_app(moods, **params)
        url = await stack.enter_async_context(serving(app, **(served or {})))
        address.listening(url)
        client = await stack.enter_async_context(aiohttp.ClientSession())
        if catalog == "goals":
            await ledger.submit(Envelope("acme", Open(plan="pro"), ids.operation()))
        yield Till(app, url, key, ledger, moods, clock, ids, client)


@pytest.fixture
async def till() -> AsyncIterator[Till]:
    """A till in memory."""
    async with running_till(":memory:") as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_till() -> AsyncIterator[Till]:
    """A till in memory for all tests of a module that change nothing, or only what is their own."""
    async with running_till(":memory:") as running:
        yield running


@pytest.fixture(params=["sqlite", "postgres"])
async def each_till(request: pytest.FixtureRequest, tmp_path: Any) -> AsyncIterator[Till]:
    """A till on each engine."""
    database = (
        request.getfixturevalue("postgres_url") if request.param == "postgres" else str(tmp_path / "till.db")
    )
    async with running_till(database) as running:
        yield running
