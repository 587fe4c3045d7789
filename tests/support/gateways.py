"""A served till that sells models of an upstream of the lab, for tests of the endpoint."""

from __future__ import annotations

import asyncio
import io
import json
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import uvicorn

from tests.support.desk import SECRET
from tests.support.flaky import FlakyLedger
from tokentill.flows.api_keys import Issued, Scope
from tokentill.flows.charge import Charging
from tokentill.flows.send import LedgerBooks, Retry
from tokentill.flows.ways import Ways
from tokentill.gatefit import Gatefit
from tokentill.lab.upstream.server import LabUpstream
from tokentill.ports import Ledger
from tokentill.rules import commands as c
from tokentill.rules.account import Account
from tokentill.settings import Settings
from tokentill.store.intents import FileIntents
from tokentill.vendors.upstream import HttpUpstreams
from tokentill.web.app import Application, build_app
from tokentill.web.serving import listen, serving, url_of
from tokentill.wiring import SystemClock, SystemIds, open_ledger

CATALOG = """
name = "gateway"
hold_margin_ms = 200

[no_plan]
features = "all"

[packs.small]
title = "Small"
tokens = 100
price = "5.00"

[features.tokens]
title = "Model tokens"
metered = true
input_per_1000 = 1000
output_per_1000 = 1000
cached_per_1000 = 500

[features.call]
title = "A call"
tokens = 10

[upstreams.lab]
base_url = "{lab}"
key_env = "LAB_KEY"

[upstreams.claude]
kind = "anthropic"
base_url = "{lab}"
key_env = "LAB_KEY"

[upstreams.nobody]
base_url = "http://127.0.0.1:9/v1"

[upstreams.echo]
kind = "echo"

[models.big]
feature = "tokens"
upstreams = ["lab:big-there", "claude:claude-there"]
first_byte_ms = {first_byte_ms}
total_ms = {total_ms}
output_tokens_max = 500

[models.fixed]
feature = "call"
upstreams = ["lab:fixed-there"]

[models.spare]
feature = "tokens"
upstreams = ["nobody:x", "lab:spare-there"]

[models.lost]
feature = "tokens"
upstreams = ["nobody:x"]

[models.echo]
feature = "tokens"
upstreams = ["echo:echo"]

[abuse]
output_tokens_max = 200
attempts_max = 5
"""
LAB_KEY = "sk-lab-canary-5up3rs3cr3t"


class Reply:
    """An answer: status, headers, raw body; `events` of a stream as JSON, `[DONE]` as that text."""

    def __init__(self, status: int, headers: Any, raw: bytes) -> None:
        self.status = status
        self.headers = headers
        self.raw = raw

    @property
    def json(self) -> Any:
        return json.loads(self.raw)

    @property
    def events(self) -> list[Any]:
        found: list[Any] = []
        for block in self.raw.decode().split("\n\n"):
            data = [line[6:] for line in block.splitlines() if line.startswith("data: ")]
            if data:
                found.append(data[0] if data[0] == "[DONE]" else json.loads(data[0]))
        return found

    @property
    def text(self) -> str:
        """What a chat said, whole or in pieces."""
        if "event-stream" in self.headers["content-type"]:
            deltas = [
                one["choices"][0]["delta"]
                for one in self.events
                if isinstance(one, dict) and one.get("choices")
            ]
            return "".join(delta.get("content") or "" for delta in deltas)
        return str(self.json["choices"][0]["message"]["content"])

    @property
    def receipt(self) -> dict[str, Any]:
        """The receipt, out of the headers or out of the last chunk."""
        if "event-stream" in self.headers["content-type"]:
            [found] = [
                one["tokentill"] for one in self.events if isinstance(one, dict) and "tokentill" in one
            ]
            return dict(found)
        names = [name for name in self.headers if name.lower().startswith("x-tokentill-")]
        values = {name.lower().removeprefix("x-tokentill-"): self.headers[name] for name in names}
        return {
            name: int(value) if value.isdigit() and name != "operation" else value
            for name, value in values.items()
        }


class Gateway:
    """A running till and its upstream, the organization `acme` with tokens, and a key of it."""

    def __init__(
        self, app: Application, url: str, ledger: Ledger, line: FlakyLedger, fit: Gatefit, lab: LabUpstream,
        charging: Charging, client: aiohttp.ClientSession,
    ) -> None:  # fmt: skip
        self.app = app
        self.url = url
        self.ledger = ledger
        self.line = line
        self.fit = fit
        self.lab = lab
        self.charging = charging
        self.client = client
        self.key = ""

    async def open(self, tokens: int, organization: str = "acme", scope: Scope | None = None) -> str:
        """An organization with so many tokens; the text of a key of it."""
        await self.ledger.submit(c.Envelope(organization, c.Open()))
        if tokens:
            await self.ledger.submit(
                c.Envelope(organization, c.Grant(tokens=tokens), SystemIds().operation())
            )
        made = await self.fit.keys.issue(organization, "server", scope)
        assert isinstance(made, Issued), made
        return made.text

    async def ask(
        self, path: str, body: Any, *, key: str | None = None, raw: bytes | None = None, method: str = "POST",
        **headers: str,
    ) -> Reply:  # fmt: skip
        """Send a call; underscores in names of headers are hyphens."""
        sent = {
            "authorization": f"Bearer {self.key if key is None else key}",
            "content-type": "application/json",
        }
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        data: Any = raw if raw is not None else (None if body is None else json.dumps(body).encode())
        if data is not None and len(data) > 500_000:
            data = io.BytesIO(data)
        async with self.client.request(method, self.url + path, data=data, headers=sent) as answer:
            return Reply(answer.status, answer.headers, await answer.read())

    async def chat(self, text: str, model: str = "big", key: str | None = None, **body: Any) -> Reply:
        """A chat of one message."""
        headers = body.pop("headers", {})
        asked = {"model": model, "messages": [{"role": "user", "content": text}], **body}
        return await self.ask("/v1/chat/completions", asked, key=key, **headers)

    async def account(self, organization: str = "acme") -> Account:
        account = await self.ledger.account(organization)
        assert account is not None
        return account

    async def until(self, count: str, least: int = 1) -> None:
        """Until the upstream counts so many `calls`, or calls that were `cancelled`."""
        for _ in range(1_000):
            if getattr(self.lab, count) >= least:
                return
            await asyncio.sleep(0.01)
        raise AssertionError(f"the upstream never had {least} {count}")

    async def quiet(self, organization: str = "acme") -> Account:
        """The account once nothing of it runs any more."""
        for _ in range(500):
            account = await self.account(organization)
            if not account.state.holds:
                return account
            await asyncio.sleep(0.01)
        raise AssertionError("a hold is left open")

    async def spent(self, before: int, organization: str = "acme") -> int:
        """What was spent of `before` tokens once nothing runs any more."""
        return before - (await self.quiet(organization)).free


@asynccontextmanager
async def upstream(lab: LabUpstream) -> AsyncIterator[str]:
    """Serve the upstream of the lab; its base URL."""
    listening = listen("127.0.0.1", 0)
    config = uvicorn.Config(
        lab, lifespan="off", log_config=None, access_log=False, timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]  # of older versions
    running = asyncio.ensure_future(server.serve(sockets=[listening]))
    try:
        yield f"{url_of(listening)}/v1"
    finally:
        server.should_exit = server.force_exit = True
        await running


@asynccontextmanager
async def running_gateway(
    folder: Path,
    database: str = ":memory:",
    *,
    first_byte_ms: int = 5_000,
    total_ms: int = 20_000,
    catalog: str = CATALOG,
    tokens: int = 100_000,
    limit: dict[str, Any] | None = None,
) -> AsyncIterator[Gateway]:
    """A till with the catalog over an upstream of the lab."""
    async with AsyncExitStack() as stack:
        lab = LabUpstream(LAB_KEY)
        base = await stack.enter_async_context(upstream(lab))
        file = folder / "gateway.toml"
        text = catalog.replace("{lab}", base).replace("{first_byte_ms}", str(first_byte_ms))
        file.write_text(text.replace("{total_ms}", str(total_ms)))
        settings = Settings(database=database, catalog=str(file), secret=SECRET.hex())
        ledger = await stack.enter_async_context(open_ledger(settings))
        line: Any = FlakyLedger(ledger)
        clock, ids = SystemClock(), SystemIds()
        retry = Retry(tries_max=2, delay_ms_min=10, delay_ms_max=20, total_ms_max=500)
        charging = Charging(
            LedgerBooks(line, SECRET, Ways.over(line, clock, ids, SECRET).refusal),
            FileIntents(folder / "spool", "gateway"),
            clock,
            ids,
            retry,
        )
        fit = Gatefit(
            line, charging, SECRET, clock, ids, secrets.token_bytes, {"LAB_KEY": LAB_KEY},
            address=lambda: "https://till.test", upstreams=HttpUpstreams({"LAB_KEY": LAB_KEY}),
        )  # fmt: skip
        app = build_app(
            line,
            secret=SECRET,
            clock=clock,
            ids=ids,
            opening=fit.open,
            **({"wrong_keys_burst": 1_000} | (limit or {})),
        )
        stack.push_async_callback(fit.close)
        url = await stack.enter_async_context(serving(app, drain_seconds=2))
        client = await stack.enter_async_context(aiohttp.ClientSession())
        gateway = Gateway(app, url, ledger, line, fit, lab, charging, client)
        gateway.key = await gateway.open(tokens)
        yield gateway
