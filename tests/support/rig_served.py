"""A till served over HTTP by a process of its own, and clients that notice everything."""

import asyncio
import json
import os
import re
import signal
import sys
import time
from pathlib import Path
from typing import Any

from msgspec import Struct

from tests.support.rig_processes import Channel, Child, Processes
from tests.support.rig_store import SECRET, Engine, open_ledger
from tokentill.catalogs import preset_text
from tokentill.cli import main
from tokentill.flows.keys import create_operator_key
from tokentill.ports import Clock
from tokentill.rules import catalog_file
from tokentill.rules.catalog import Catalog
from tokentill.rules.commands import Envelope, Open
from tokentill.wiring import SystemClock, SystemIds

PATIENCE_SECONDS = 60.0


def serve(channel: Channel, *, arguments: list[str], environment: dict[str, str]) -> None:
    """`tokentill serve`, its standard output into the channel."""
    for name in [name for name in os.environ if name.startswith("TOKENTILL_")]:
        del os.environ[name]
    os.environ.update(environment)
    os.dup2(channel.socket.fileno(), 1)
    sys.argv = ["tokentill", "serve", *arguments]
    try:
        main()
    except SystemExit as end:
        sys.stdout.flush()
        os._exit(end.code if isinstance(end.code, int) else int(end.code is not None))


class Shop(Struct, frozen=True):
    """Where a till keeps its accounts, what it sells, and a key to it."""

    engine: Engine
    database: str
    catalog_path: Path
    catalog: Catalog
    key: str

    @classmethod
    async def open(
        cls, engine: Engine, database: str, folder: Path, allowance: int, organization: str
    ) -> "Shop":
        """Make the database, with one organization and one operator key."""
        text = preset_text("bench").replace("tokens = 1_000_000_000_000", f"tokens = {allowance}")
        path = folder / "catalog.toml"
        path.write_text(text)
        catalog, _ = catalog_file.load(text, "catalog.toml")
        clock: Clock = SystemClock()
        ledger = await open_ledger(engine, database, catalog, clock=clock)
        await ledger.submit(Envelope(organization, Open(), "0" * 32))
        _, key = await create_operator_key(ledger, clock, SystemIds(), "rig")
        await ledger.close()
        return cls(engine, database, path, catalog, key)

    def serve(self, processes: Processes) -> "Served":
        """A process that serves it; returns when it takes requests."""
        arguments = ["--database", self.database, "--catalog", str(self.catalog_path), "--port", "0"]
        child = processes.start(serve, arguments=arguments, environment={"TOKENTILL_SECRET": SECRET.hex()})
        said = b""
        while not (address := re.search(rb"http://([\d.]+):(\d+)", said)):
            more = child.channel.socket.recv(4096)
            assert more, processes.errors()
            said += more
        return Served(child, self, address[1].decode(), int(address[2]))


class Served:
    """A running server."""

    def __init__(self, child: Child, shop: Shop, host: str, port: int) -> None:
        self.child = child
        self.shop = shop
        self.host = host
        self.port = port
        self.stopped_at = float("inf")

    def terminate(self) -> None:
        """SIGTERM."""
        self.stopped_at = time.monotonic()
        os.kill(self.child.pid, signal.SIGTERM)


class Broken(Exception):
    """There was no answer. `sent` is when the request had been handed to the kernel, None if it never was."""

    def __init__(self, sent: float | None) -> None:
        super().__init__(f"no answer; sent {sent}")
        self.sent = sent


class Answer(Struct, frozen=True):
    """What came back, and when the request had gone out."""

    status: int
    headers: dict[str, str]
    body: Any
    sent: float


class Line:
    """One connection, one request at a time."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, path: str, body: dict[str, Any], key: str | None = None) -> Answer:
        """Send a request and read its answer; raises `Broken`."""
        sent = None
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                if self._streams is None:
                    self._streams = await asyncio.open_connection(self._served.host, self._served.port)
                reader, writer = self._streams
                content = json.dumps(body).encode()
                head = (
                    f"POST {path} HTTP/1.1\r\nHost: till\r\nAuthorization: Bearer {self._served.shop.key}\r\n"
                )
                head += f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n"
                head += f"Idempotency-Key: {key}\r\n\r\n" if key else "\r\n"
                writer.write(head.encode() + content)
                await writer.drain()
                sent = time.monotonic()
                return await self._read(reader, sent)
        except (OSError, EOFError) as trouble:
            self.close()
            raise Broken(sent) from trouble

    async def _read(self, reader: asyncio.StreamReader, sent: float) -> Answer:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {
            name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)
        }
        content = await reader.readexactly(int(headers.get("content-length", "0")))
        if headers.get("connection") == "close":
            self.close()
        return Answer(int(head[0].split()[1]), headers, json.loads(content or b"null"), sent)

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None
