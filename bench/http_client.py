"""A client that is never the bottleneck: prepared requests on connections that stay open, answers barely read."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from typing import cast

from msgspec import Struct, field

from tokentill.web.asgi import override

_END = b"\r\n\r\n"
_LENGTH = b"content-length: "
_LAST = b"\r\n0\r\n\r\n"


class Load(Struct):
    """What a crowd of connections did, how long each request took, and the processor time here and at the server.

    All times in seconds.
    """

    requests: int = 0
    seconds: float = 0.0
    processor: float = 0.0
    server: float = 0.0
    latencies: list[float] = field(default_factory=list)
    statuses: Counter[bytes] = field(default_factory=Counter)

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds


class _Connection(asyncio.Protocol):
    """One connection that sends its next request when it has the answer to the one before."""

    def __init__(self, requests: Iterator[bytes], load: Load, until: float) -> None:
        self._requests = requests
        self._load = load
        self._until = until
        self._sent = 0.0
        self._buffer = b""
        self.done = asyncio.get_running_loop().create_future()

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._send()

    def _send(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(next(self._requests))

    @override
    def data_received(self, data: bytes) -> None:
        if self._buffer:
            data = self._buffer + data
        if not _is_whole(data):
            self._buffer = data
            return
        self._buffer = b""
        load = self._load
        load.requests += 1
        load.latencies.append(time.perf_counter() - self._sent)
        status = data[9:12]
        if status[:1] != b"2":
            load.statuses[status] += 1
        if time.monotonic() < self._until:
            self._send()
        else:
            self._transport.close()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        if self._buffer or exc is not None:
            self._load.statuses[b"cut"] += 1
        self.done.set_result(None)


def _is_whole(data: bytes) -> bool:
    """Whether an answer has come to its end: that of its length, or the last piece of one that streams."""
    end = data.find(_END)
    at = data.find(_LENGTH, 0, max(end, 0))
    if at < 0:
        return end >= 0 and data.endswith(_LAST)
    length = int(data[at + len(_LENGTH) : data.index(b"\r", at)])
    return len(data) >= end + len(_END) + length


async def drive(host: str, port: int, scripts: Sequence[Iterator[bytes]], seconds: float) -> Load:
    """One connection for each script, each sending one request after the other for so long."""
    load = Load()
    loop = asyncio.get_running_loop()
    started, processor = time.monotonic(), time.process_time()
    until = started + seconds
    connections = [_Connection(script, load, until) for script in scripts]
    for connection in connections:
        await loop.create_connection(partial(_itself, connection), host, port)
    await asyncio.gather(*(connection.done for connection in connections))
    load.seconds = time.monotonic() - started
    load.processor = time.process_time() - processor
    return load


def _itself(connection: _Connection) -> _Connection:
    return connection
