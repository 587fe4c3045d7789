"""E-mail over SMTP: a letter as text and as HTML in one message (multipart/alternative).

The server is named by one address, `smtp://user:password@host:587` or `smtps://host:465`. On `smtp://` the
connection is upgraded by STARTTLS wherever a password is sent or the server offers it. Addresses and subjects come
from outside; the message is built by the standard library, which refuses line breaks in headers.

Requirement ids: R-PACK-7, R-PLAN-8.
"""

from __future__ import annotations

from datetime import UTC, datetime
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP as POLICY
from email.utils import format_datetime
from functools import cache
from urllib.parse import unquote, urlsplit

import aiosmtplib
from jinja2 import Environment, PackageLoader, StrictUndefined, Template, select_autoescape

from tokentill.ports import Clock
from tokentill.ports.messages import Undelivered
from tokentill.rules.letters import Letter

SECONDS = 30.0


class SmtpMail:
    """The `Mail` port. `sender`: the address letters come from, `shop`: the name beside it."""

    def __init__(self, url: str, sender: str, shop: str, clock: Clock) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("smtp", "smtps") or not parts.hostname:
            raise ValueError("the mail server is written smtp://host:587 or smtps://host:465")
        self._host = parts.hostname
        self._tls = parts.scheme == "smtps"
        self._port = parts.port or (465 if self._tls else 587)
        self._user = None if parts.username is None else unquote(parts.username)
        self._password = None if parts.password is None else unquote(parts.password)
        self._sender = sender
        self._shop = shop
        self._clock = clock

    async def send(self, to: str, letter: Letter, message_id: str) -> None:
        """Hand the letter to the mail server."""
        try:
            message = self.message(to, letter, message_id)
        except (ValueError, MessageError) as trouble:
            raise Undelivered(
                "The address or the subject cannot stand in a letter.", for_ever=True
            ) from trouble
        try:
            await aiosmtplib.send(
                message, hostname=self._host, port=self._port, username=self._user, password=self._password,
                use_tls=self._tls, start_tls=True if self._password and not self._tls else None, timeout=SECONDS,
            )  # fmt: skip
        except aiosmtplib.SMTPRecipientsRefused as trouble:
            codes = [refused.code for refused in trouble.recipients]
            for_ever = all(500 <= code < 600 for code in codes)
            raise Undelivered(
                f"The mail server refused the receiver ({codes[0]}).", for_ever=for_ever
            ) from trouble
        except aiosmtplib.SMTPResponseException as trouble:
            raise Undelivered(
                f"The mail server answered {trouble.code}.", for_ever=trouble.code == 552
            ) from trouble
        except (aiosmtplib.SMTPException, OSError) as trouble:
            raise Undelivered(f"The mail server cannot be reached ({type(trouble).__name__}).") from trouble

    def message(self, to: str, letter: Letter, message_id: str) -> EmailMessage:
        """The letter as a message. Raises `ValueError` on an address or subject that cannot be one."""
        found = EmailMessage(policy=POLICY)
        found["From"] = Address(self._shop, addr_spec=self._sender)
        found["To"] = Address(addr_spec=to)
        found["Subject"] = " ".join(letter.subject.split())  # a title may have been typed on two lines
        found["Date"] = format_datetime(_moment(self._clock.now()))
        found["Message-ID"] = f"<{message_id}@{self._sender.rpartition('@')[2]}>"
        found["Auto-Submitted"] = "auto-generated"
        found.set_content(_template("letter.txt").render(letter=letter, shop=self._shop))
        html = _template("letter.html").render(letter=letter, shop=self._shop)
        found.add_alternative(html, subtype="html")
        return found


def _moment(now: int) -> datetime:
    return datetime.fromtimestamp(now / 1000, UTC)


@cache
def _template(name: str) -> Template:
    return Environment(
        loader=PackageLoader("tokentill.vendors.mail"),
        autoescape=select_autoescape(("html",)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    ).get_template(name)
