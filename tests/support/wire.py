"""A wire to PostgreSQL that can be cut: a proxy that knows a COMMIT when it sees one.

It passes bytes on as they are. `cut` says what to do with the next COMMITs: drop the connection before the
server hears of it, or after the server has answered and before the client hears that.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qs, urlsplit

Cut = Literal["before", "after"]
COMMIT = b"Q\x00\x00\x00\x0bcommit\x00"


class Wire:
    """Between clients and one server. `cuts` are used up from the left, one for each COMMIT; None lets it pass."""

    def __init__(self, url: str, folder: Path) -> None:
        parts = urlsplit(url)
        query = parse_qs(parts.query)
        self._host = query.get("host", [parts.hostname or ""])[0]
        self._port = parts.port or 5432
        self._folder = folder
        self.url = f"postgresql://{parts.username or 'postgres'}@{parts.path}?host={folder}"
        if parts.password:
            self.url = self.url.replace("@", f":{parts.password}@", 1)
        self.cuts: deque[Cut | None] = deque()
        self.cut = 0
        self.commits = 0
        self.refuse = False
        """Whether new connections are turned away."""
        self._open: set[asyncio.StreamWriter] = set()

    @contextlib.asynccontextmanager
    async def __call__(self) -> AsyncIterator["Wire"]:
        server = await asyncio.start_unix_server(self._serve, self._folder / ".s.PGSQL.5432")
        try:
            yield self
        finally:
            server.close()
            self.drop()

    def drop(self) -> None:
        """Cut every connection."""
        for writer in list(self._open):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refuse:
            writer.transport.abort()
            return
        if self._host.startswith("/"):
            there = await asyncio.open_unix_connection(f"{self._host}/.s.PGSQL.{self._port}")
        else:
            there = await asyncio.open_connection(self._host, self._port)
        self._open |= {writer, there[1]}
        dying = asyncio.Event()
        try:
            await asyncio.gather(
                self._to_server(reader, there[1], dying), self._to_client(there[0], writer, dying)
            )
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._open -= {writer, there[1]}
            writer.transport.abort()
            there[1].transport.abort()

    async def _to_server(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, dying: asyncio.Event
    ) -> None:
        while data := await reader.read(1 << 16):
            if COMMIT in data:
                self.commits += 1
                cut = self.cuts.popleft() if self.cuts else None
                if cut is not None:
                    self.cut += 1
                if cut == "before":
                    raise ConnectionAbortedError
                if cut == "after":
                    dying.set()
            writer.write(data)
            await writer.drain()
        raise ConnectionAbortedError

    async def _to_client(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, dying: asyncio.Event
    ) -> None:
        while data := await reader.read(1 << 16):
            if dying.is_set():
                raise ConnectionAbortedError
            writer.write(data)
            await writer.drain()
        raise ConnectionAbortedError
