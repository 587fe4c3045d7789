"""A server that answers model calls byte by byte as it is told, and the till's client of it (R-SALE-5)."""

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tokentill.rules.models import Upstream
from tokentill.vendors.upstream import HttpUpstreams

KEY = "sk-secret-of-the-upstream"
Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


class Server:
    """Answers each request with what `answer` writes, `hasty`: before it has read its body.

    `heads`, `bodies`: of the requests; `connections`: how many came.
    """

    def __init__(self, answer: Answer, *, hasty: bool) -> None:
        self.hasty = hasty
        self.answer = answer
        self.heads: list[str] = []
        self.bodies: list[bytes] = []
        self.connections = 0
        self.port = 0
        self.handlers: list[Any] = []
        self.closed = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.handlers.append(asyncio.current_task())
        try:
            while True:
                await self._one(reader, writer)
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError, ssl.SSLError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                await writer.wait_closed()
            self.closed.set()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.heads.append(head)
        if self.hasty:
            await self.answer(writer)
        [length] = [line[16:] for line in head.splitlines() if line.lower().startswith("content-length: ")]
        self.bodies.append(await reader.readexactly(int(length)))
        if not self.hasty:
            await self.answer(writer)
        await writer.drain()


@asynccontextmanager
async def serving(
    answer: Answer, tls: ssl.SSLContext | None = None, *, hasty: bool = False
) -> AsyncIterator[tuple[Server, Upstream]]:
    made = Server(answer, hasty=hasty)
    running = await asyncio.start_server(made.serve, "127.0.0.1", 0, ssl=tls)
    made.port = running.sockets[0].getsockname()[1]
    scheme = "http" if tls is None else "https"
    try:
        yield made, Upstream("lab", "openai", f"{scheme}://127.0.0.1:{made.port}/v1", "KEY")
    finally:
        running.close()
        for handler in made.handlers:
            handler.cancel()
        await asyncio.gather(*made.handlers, return_exceptions=True)


@asynccontextmanager
async def client() -> AsyncIterator[HttpUpstreams]:
    made = HttpUpstreams({"KEY": KEY})
    try:
        yield made
    finally:
        await made.close()


async def ask(
    upstreams: HttpUpstreams, upstream: Upstream, body: bytes = b"{}", first_byte_ms: int = 5_000
) -> tuple[int, dict[str, str], bytes]:
    reply = await upstreams.open(upstream, "/chat/completions", body, {"openai-beta": "x"}, first_byte_ms)
    try:
        body = b""
        while chunk := await reply.read():
            body += chunk
        return reply.status, dict(reply.headers), body
    finally:
        await reply.close()


def says(*parts: bytes, then: Callable[[asyncio.StreamWriter], object] = lambda _: None) -> Answer:
    """Write the parts, each by itself."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0)
        then(writer)

    return answer


def close(writer: asyncio.StreamWriter) -> None:
    writer.close()


def abort(writer: asyncio.StreamWriter) -> None:
    """Reset the connection."""
    linger = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()


OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
WHOLE = OK + b"content-length: 5\r\n\r\nhello"


def certified(folder: Path) -> ssl.SSLContext:
    """A server's context with a certificate of its own for 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    certificate = made.add_extension(names, critical=False).sign(key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    (folder / "cert.pem").write_bytes(certificate.public_bytes(pem))
    form = serialization.PrivateFormat.PKCS8
    (folder / "key.pem").write_bytes(key.private_bytes(pem, form, serialization.NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context
