"""The PostgreSQL of the tests: there is one, and what it acknowledged it keeps."""

import asyncpg
import pytest

from tests.support.postgres import Cluster, Server


async def test_a_test_has_an_empty_database_of_its_own(postgres_url: str) -> None:
    connection = await asyncpg.connect(postgres_url)
    try:
        assert await connection.fetchval("select count(*) from pg_stat_user_tables") == 0
        assert await connection.fetchval("show synchronous_commit") == "on"
        assert await connection.fetchval("show server_encoding") == "UTF8"
    finally:
        await connection.close()


async def test_a_template_is_filled_once_and_copied(postgres_server: Server) -> None:
    async def fill(url: str) -> None:
        connection = await asyncpg.connect(url)
        await connection.execute("create table t as select 7 as n")
        await connection.close()

    template = postgres_server.template("own_test", fill)
    assert postgres_server.template("own_test", fill) == template
    database = postgres_server.create_database(template)
    connection = await asyncpg.connect(postgres_server.url(database))
    assert await connection.fetchval("select n from t") == 7
    await connection.close()
    postgres_server.drop_database(database)


@pytest.mark.parametrize("how", ["immediate", "kill"])
async def test_a_private_server_keeps_what_it_acknowledged(postgres_cluster: Cluster, how: str) -> None:
    connection = await asyncpg.connect(postgres_cluster.url())
    await connection.execute("create table t as select 7 as n")
    postgres_cluster.stop("kill" if how == "kill" else "immediate")
    connection.terminate()
    postgres_cluster.start()
    connection = await asyncpg.connect(postgres_cluster.url())
    assert await connection.fetchval("select n from t") == 7
    await connection.close()
