"""A till that is stopped: running calls end, those that last too long are cut and cost nothing (R-LED-3)."""

import asyncio
from pathlib import Path
from typing import Any

import aiohttp

from tests.support.desk import SECRET
from tests.support.gateways import running_gateway
from tokentill.settings import Settings
from tokentill.wiring import open_ledger

# R-SALE-5


async def test_a_stop_lets_short_calls_end_and_cuts_long_ones(tmp_path: Path) -> None:
    database = str(tmp_path / "till.db")
    async with aiohttp.ClientSession() as client:
        async with running_gateway(tmp_path, database) as gateway:
            url, headers = f"{gateway.url}/v1/chat/completions", {"authorization": f"Bearer {gateway.key}"}

            async def ask(script: str, **body: Any) -> str:
                asked = {"model": "big", "messages": [{"role": "user", "content": script}], **body}
                try:
                    async with client.post(url, json=asked, headers=headers) as answer:
                        return f"{answer.status} {await answer.text()}"
                except aiohttp.ClientError:
                    return "cut"

            short = asyncio.ensure_future(ask("answer=3 delay=0.5"))
            long = asyncio.ensure_future(ask("answer=190 pace=0.1", stream=True))
            await gateway.until("calls", 2)
            file = str(tmp_path / "gateway.toml")
        assert (await short).startswith("200 ")
        assert "[DONE]" not in await long
    async with open_ledger(Settings(database=database, catalog=file, secret=SECRET.hex())) as ledger:
        account = await ledger.account("acme")
        assert account is not None
        assert not account.state.holds
        assert account.free == 100_000 - (2 + 3)
