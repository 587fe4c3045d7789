"""A store of the test's own, on every engine or on some."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.postgres import Server
from tests.support.stores import Engine, Store, prepared, sqlite_url


async def _made(engine: Engine, folder: Path, request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    if engine == "postgres":
        server: Server = request.getfixturevalue("postgres_server")
        database = server.create_database(server.template("store", prepared))
        store = Store(engine, server.url(database))
        yield store
        await store.close()
        server.drop_database(database)
    else:
        store = Store(engine, sqlite_url(folder) if engine == "sqlite" else ":memory:")
        yield store
        await store.close()


@pytest.fixture(params=["sqlite", "memory", "postgres"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """Every engine."""
    async for made in _made(request.param, tmp_path, request):
        yield made


@pytest.fixture(params=["sqlite", "postgres"])
async def lasting(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """Every engine whose database outlives a ledger and can be opened twice."""
    async for made in _made(request.param, tmp_path, request):
        yield made


@pytest.fixture
async def postgres(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """PostgreSQL alone."""
    async for made in _made("postgres", tmp_path, request):
        yield made


@pytest.fixture
async def sqlite(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """SQLite in a file alone."""
    async for made in _made("sqlite", tmp_path, request):
        yield made
