"""A mail server and a webhook receiver on loopback: what tests of messages share. Both are real servers."""

from __future__ import annotations

import asyncio
import base64
import hmac
import mailbox
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from hashlib import sha256
from pathlib import Path
from typing import Any

from aiohttp import web
from aiosmtpd.smtp import SMTP


class PostOffice:
    """Keeps the letters it is given; `answer` refuses them with a status line."""

    def __init__(self) -> None:
        self.letters: list[EmailMessage] = []
        self.to: list[str] = []
        self.answer: str | None = None
        self.refused_to: str | None = None
        self.url = ""

    async def handle_RCPT(  # noqa: N802 aiosmtpd's own name
        self, _server: Any, _session: Any, envelope: Any, address: str, _options: list[str]
    ) -> str:
        if self.refused_to is not None:
            return self.refused_to
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802 aiosmtpd's own name
        if self.answer is not None:
            return self.answer
        found = message_from_bytes(envelope.content, policy=default)
        assert isinstance(found, EmailMessage)
        self.letters.append(found)
        self.to += envelope.rcpt_tos
        return "250 OK"

    @property
    def subjects(self) -> list[str]:
        return [str(letter["Subject"]) for letter in self.letters]


@asynccontextmanager
async def post_office() -> AsyncIterator[PostOffice]:
    """A mail server, and its address as a setting has it."""
    office = PostOffice()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(office, loop=loop), "127.0.0.1", 0)
    office.url = f"smtp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield office
    finally:
        server.close()
        await server.wait_closed()


class Receiver:
    """Keeps the webhooks it is sent and answers with `status`."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.status = 204
        self.url = ""

    async def take(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.got.append((headers, await request.read()))
        location = {"location": f"{self.url}/elsewhere"} if 300 <= self.status < 400 else {}
        return web.Response(status=self.status, headers=location)

    def check(self, secret: str) -> bool:
        """Whether every webhook so far is signed by the secret, as the specification says."""
        key = base64.b64decode(secret.removeprefix("whsec_"))
        for headers, body in self.got:
            text = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
            expected = base64.b64encode(hmac.new(key, text, sha256).digest()).decode()
            if headers["webhook-signature"] != f"v1,{expected}":
                return False
        return bool(self.got)


@asynccontextmanager
async def receiver() -> AsyncIterator[Receiver]:
    """Somebody's system that gets webhooks."""
    found = Receiver()
    app = web.Application()
    app.router.add_post("/{path:.*}", found.take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert runner.addresses
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    try:
        yield found
    finally:
        await runner.cleanup()


@asynccontextmanager
async def mail_server(folder: Path) -> AsyncIterator[tuple[str, Callable[[], list[EmailMessage]]]]:
    """A mail server in a process of its own; its address as a setting has it, and the letters it has kept so far."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "aiosmtpd", "-n", "-d", "-c", "aiosmtpd.handlers.Mailbox", "-l", f"127.0.0.1:{port}",
        str(folder), stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr is not None
    async with asyncio.timeout(30):
        while b"listening" not in (line := await process.stderr.readline()):
            assert line, "it ended at once"
    try:
        yield f"smtp://127.0.0.1:{port}", lambda: [_letter(one) for one in mailbox.Maildir(folder)]
    finally:
        process.terminate()
        await process.communicate()


def _letter(kept: mailbox.MaildirMessage) -> EmailMessage:
    found = message_from_bytes(kept.as_bytes(), policy=default)
    assert isinstance(found, EmailMessage)
    return found
