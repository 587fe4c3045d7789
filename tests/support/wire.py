"""A wire to PostgreSQL that can be cut: a proxy that knows a COMMIT when it sees one.

It passes bytes on as they are, but for the settings of a session that it was told to forget. `cut` says what to do
with the next COMMITs: drop the connection before the server hears of it, or after the server has answered and before
the client hears that.
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
        self.forgets: set[bytes] = set()
        """Settings that a session asks for and the server never hears of, as a pooler may be told to do."""
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
            there[1].write(await self._beginning(reader))
            await asyncio.gather(
                self._to_server(reader, there[1], dying), self._to_client(there[0], writer, dying)
            )
        except (ConnectionError, EOFError, asyncio.CancelledError):
            pass
        finally:
            self._open -= {writer, there[1]}
            writer.transport.abort()
            there[1].transport.abort()

    async def _beginning(self, reader: asyncio.StreamReader) -> bytes:
        """A client's first message: its length, the protocol's version, then names and values, each ended by a 0."""
        size = await reader.readexactly(4)
        message = await reader.readexactly(int.from_bytes(size, "big") - 4)
        if not self.forgets:
            return size + message
        words = message[4:].split(b"\0")
        kept = [
            name + b"\0" + value + b"\0"
            for name, value in zip(words[::2], words[1::2], strict=False)
            if name and name not in self.forgets
        ]
        told = message[:4] + b"".join(kept) + b"\0"
        return (len(told) + 4).to_bytes(4, "big") + told

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
