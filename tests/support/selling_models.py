"""A served till that sells models: its shop, its endpoint with an echo that needs no network, and a browser's eye."""

from __future__ import annotations

import re
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from tests.support.desk import SECRET
from tokentill.catalogs import preset_text
from tokentill.flows.charge import Charging
from tokentill.flows.send import LedgerBooks
from tokentill.flows.shop import Shop
from tokentill.gatefit import Gatefit
from tokentill.ports import Ledger
from tokentill.rules import commands as c
from tokentill.settings import Settings
from tokentill.store.intents import FileIntents
from tokentill.web.app import Application, build_app
from tokentill.web.serving import serving
from tokentill.wiring import Address, SystemClock, SystemIds, make_shop, open_ledger

PAYS = "4242424242424242"


class Store:
    """The preset `shop`, whose packs are for the echo, and the organization `acme` without a plan."""

    def __init__(
        self, app: Application, url: str, ledger: Ledger, shop: Shop, fit: Gatefit, client: aiohttp.ClientSession
    ) -> None:  # fmt: skip
        self.app, self.url, self.ledger, self.shop = app, url, ledger, shop
        self.fit, self.client = fit, client

    async def open(self, *organizations: str) -> None:
        for name in organizations:
            await self.ledger.submit(c.Envelope(name, c.Open(plan=None)))

    async def page(self, url: str, **pressed: str) -> tuple[int, str]:
        """What stands at an address, or what a browser shows after a button was pressed there."""
        method = "POST" if pressed else "GET"
        address = url if url.startswith("http") else self.url + url
        async with self.client.request(method, address, data=pressed or None) as answer:
            return answer.status, await answer.text()

    async def paid(self, url: str) -> str:
        """Pay at the checkout, and where the customer lands."""
        _, text = await self.page(url, do="pay", card=PAYS)
        found = re.search(r'class="button" href="([^"]+)"', text)
        assert found is not None, text
        return found[1].replace("&amp;", "&")

    async def call(self, key: str, text: str = "Hello", **more: Any) -> int:
        """A chat with the echo; its status."""
        body = {"model": "echo", "messages": [{"role": "user", "content": text}], **more}
        headers = {"authorization": f"Bearer {key}"}
        async with self.client.post(f"{self.url}/v1/chat/completions", json=body, headers=headers) as answer:
            await answer.read()
            return answer.status


def keys_in(text: str) -> set[str]:
    """Whole keys that stand in a text."""
    return set(re.findall(r"tt_sk_[0-9a-z]{8,32}_[\w-]{43}_[0-9a-f]{8}", text))


@asynccontextmanager
async def running_store(
    folder: Path, database: str, catalog: str = "shop", **params: Any
) -> AsyncIterator[Store]:
    """A till that sells and answers; its clerk works."""
    file = folder / "echoing.toml"
    file.write_text(preset_text(catalog).replace('model = "gpt-4"  ', 'model = "echo" '))
    settings = Settings(database=database, catalog=str(file), secret=SECRET.hex())
    clock, ids = SystemClock(), SystemIds()
    async with AsyncExitStack() as stack:
        ledger = await stack.enter_async_context(open_ledger(settings))
        address = Address(settings)
        shop = make_shop(settings, ledger, address, environment={})
        stack.push_async_callback(shop.close)
        charging = Charging(LedgerBooks(ledger, SECRET), FileIntents(folder / "spool", "store"), clock, ids)
        fit = Gatefit(ledger, charging, SECRET, clock, ids, secrets.token_bytes, {}, address=address)
        app = build_app(ledger, secret=SECRET, clock=clock, ids=ids, shop=shop, opening=fit.open, **params)
        stack.push_async_callback(fit.close)
        url = await stack.enter_async_context(serving(app))
        address.listening(url)
        shop.clerk.start()
        client = await stack.enter_async_context(aiohttp.ClientSession())
        store = Store(app, url, ledger, shop, fit, client)
        await store.open("acme", "other")
        yield store
