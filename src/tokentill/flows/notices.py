"""Notices: the journal's readers that tell people and other systems, by e-mail and by signed webhooks.

`tell` follows the journal: for every notice it writes one message to each who wants it, under an id made from the
entry and the receiver, so that reading twice sends once. `receipt` does the same for a purchase that was
delivered. `send` takes a message to the mail server or to its address, and tries again after `WAITS_MS`; what is given
up stays on a list and can be sent again by hand.

Webhooks carry the headers of the Standard Webhooks specification (https://www.standardwebhooks.com): webhook-id,
webhook-timestamp and webhook-signature, `v1,` and the HMAC-SHA256 of "id.timestamp.body" in base64 under the
endpoint's secret. A receiver may get a message twice and must look at its id; an answer of 2xx is the only yes,
410 switches the endpoint off.

Requirement ids: R-PLAN-8, R-PACK-7, R-LIC-1, R-LIC-3.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

import msgspec
import structlog
from msgspec import structs
from msgspec.structs import replace

from tokentill.flows.handing import delivered
from tokentill.flows.means import Means, deed_key, later
from tokentill.flows.ways import Ways
from tokentill.ports import JournalRow
from tokentill.ports.messages import Mail, Outbound, Seal, Undelivered
from tokentill.rules import refund_notices, topups
from tokentill.rules.balance import balance
from tokentill.rules.delivery import letter as delivery_letter
from tokentill.rules.handovers import handed_over
from tokentill.rules.letters import letter
from tokentill.rules.notices import ALWAYS, MAILED, TYPES, Notice, notice_of, ready_of, receipt_of
from tokentill.rules.purchases import Purchase
from tokentill.rules.refund_rows import Refund
from tokentill.rules.refusals import Code, Refusal
from tokentill.rules.rows import Contact, Endpoint, Message, TopUp
from tokentill.rules.warnings import notice as low_notice

WAITS_MS = (5_000, 300_000, 1_800_000, 7_200_000, 18_000_000, 36_000_000, 50_400_000, 72_000_000, 86_400_000)
"""How long to wait after each try that failed: about three and a half days in all."""

ENDPOINTS_MAX = 20
SECRET_PREFIX = "whsec_"  # noqa: S105 the published prefix of a secret, not one
ALLOWED_STATUS = range(200, 300)

log = structlog.get_logger("tokentill.notices")

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Notice).decode


@dataclass(frozen=True)
class Posting:
    """What messages are sent with. `mail` None: no mail server is set up, so nobody gets e-mail."""

    mail: Mail | None
    outbound: Outbound
    seal: Seal


class Notices:
    """Tells of what happened. `mail` None: no mail server is set up, so nobody gets e-mail."""

    def __init__(self, means: Means, mail: Mail | None, outbound: Outbound, seal: Seal) -> None:
        self._means = means
        self._ways = Ways(means)
        self._mail = mail
        self._outbound = outbound
        self._seal = seal

    async def close(self) -> None:
        """Let connections to other systems go."""
        await self._outbound.close()

    # ---- from the journal to messages ----------------------------------------------------------------------

    async def tell(self, rows: Sequence[JournalRow]) -> None:
        """Write the messages that these entries are worth (a consumer of the journal)."""
        for row in rows:
            notice = notice_of(row.organization, row.entry)
            if notice is not None:
                await self._write(notice)

    async def receipt(self, purchase: Purchase) -> None:
        """Write the receipt of a purchase that brings no lot of its own, once however often it is asked (R-PACK-7)."""
        account = await self._means.ledger.account(purchase.organization)
        if account is not None:
            now = account.moment(self._means.clock.now())
            left = balance(account, self._means.ledger.catalog, now).remaining
            await self._write(receipt_of(purchase, now, left))

    async def refund(self, row: Refund) -> None:
        """Tell of a refund as it stands, once however often it is asked (R-REF-6)."""
        account = await self._means.ledger.account(row.organization)
        if account is not None:
            now = account.moment(self._means.clock.now())
            await self._write(refund_notices.notice_of(row, now, account.free))

    async def stopped(self, row: TopUp) -> None:
        """Tell why a top-up stopped itself, once for each stop however often it is asked (R-PACK-11)."""
        account = await self._means.ledger.account(row.organization)
        if account is not None:
            for stop in row.untold:
                at = account.moment(stop.at)
                await self._write(topups.notice_of(row, stop, at, account.free))

    async def ready(self, purchase: Purchase) -> None:
        """Write the delivery message of a purchase, once however often it is asked (R-SALE-4)."""
        account = await self._means.ledger.account(purchase.organization)
        if account is not None and self._means.ledger.catalog.models and handed_over(purchase):
            now = account.moment(self._means.clock.now())
            await self._write(ready_of(purchase, now, account.free))

    async def _write(self, notice: Notice) -> None:
        rows = self._means.rows
        contact = await rows.get(Contact, notice.organization, notice.organization)
        if self._mail is not None and contact is not None and _is_wanted(contact, notice):
            await self._add(notice, "mail", contact.email, f"{notice.id}:mail")
        for owner in {notice.organization, ""}:
            for endpoint in await rows.find(Endpoint, {"organization": owner}, limit=ENDPOINTS_MAX):
                if endpoint.enabled and (not endpoint.events or notice.type in endpoint.events):
                    await self._add(notice, "webhook", endpoint.id, f"{notice.id}:{endpoint.id}", owner=owner)

    async def _add(self, notice: Notice, channel: str, to: str, name: str, owner: str | None = None) -> None:
        now = self._means.clock.now()
        message = Message(
            id=name, organization=notice.organization if owner is None else owner, created_at=now, due_at=now,
            channel=channel, to=to, type=notice.type, body=_encode(notice).decode(),
        )  # fmt: skip
        await self._means.rows.add(message)

    # ---- from messages to the world ------------------------------------------------------------------------

    async def send(self, message: Message) -> Message:
        """Send a message that is due; how it stands then. Raises `StoreDown`, and then it may be sent twice."""
        if message.state != "pending":
            return await self._means.change(message, lambda row: later(row, None))
        try:
            if message.channel == "mail":
                await self._post_letter(message)
            else:
                await self._call(message)
        except Undelivered as trouble:
            return await self._again(message, str(trouble), for_ever=trouble.for_ever)
        now = self._means.clock.now()
        return await self._means.change(
            message,
            lambda row: later(
                replace(row, state="sent", sent_at=now, problem=None, tries=message.tries + 1), None
            ),
        )

    async def _post_letter(self, message: Message) -> None:
        if self._mail is None:
            raise Undelivered("No mail server is set up.")
        means, notice = self._means, _decode(message.body)
        named = notice.data.get("purchase")
        purchase = None
        if isinstance(named, str):
            purchase = await means.rows.get(Purchase, named, notice.organization)
        low = None
        if notice.type.startswith("balance."):
            account = await means.ledger.account(notice.organization)
            now = await means.time_of(notice.organization)
            if account is not None:
                closed = await self._ways.closed(notice.organization)
                low = low_notice(account, means.ledger.catalog, now, closed)
        if notice.type == "purchase.ready" and purchase is not None:
            text = delivery_letter(await delivered(means, purchase, key=True), means.ledger.catalog.unit)
        else:
            text = letter(notice, means.ledger.catalog, means.address(), purchase=purchase, low=low)
        await self._mail.send(message.to, text, deed_key(message.id))

    async def _call(self, message: Message) -> None:
        rows = self._means.rows
        endpoint = await rows.get(Endpoint, message.to, message.organization)
        if endpoint is None or not endpoint.enabled:
            raise Undelivered("The endpoint was removed or switched off.", for_ever=True)
        body = await self._body(message, endpoint)
        key = _secret_bytes(self._seal.open(endpoint.secret, endpoint.id))
        headers = signed(deed_key(message.id), self._means.clock.now() // 1000, body, key)
        try:
            status = await self._outbound.post(endpoint.url, body, headers)
        except Undelivered:
            await self._failing(endpoint)
            raise
        if status == 410:
            await self._means.change(endpoint, lambda row: replace(row, enabled=False))
            raise Undelivered("The endpoint answered 410 and was switched off.", for_ever=True)
        if status not in ALLOWED_STATUS:
            await self._failing(endpoint)
            raise Undelivered(f"The endpoint answered {status}.")
        if endpoint.failing_since is not None:
            await self._means.change(endpoint, lambda row: replace(row, failing_since=None))

    async def _body(self, message: Message, endpoint: Endpoint) -> bytes:
        """What a webhook says. A key goes to who asks for that type of notice by name, and to nobody else (R-SALE-4)."""
        notice = _decode(message.body)
        if notice.type != "purchase.ready":
            return message.body.encode()
        means, named = self._means, notice.data["purchase"]
        purchase = await means.rows.get(Purchase, named, notice.organization)
        assert purchase is not None, "a purchase is never deleted"
        trusted = notice.type in endpoint.events
        told = structs.asdict(await delivered(means, purchase, key=trusted))
        if not trusted:
            told = {
                name: value for name, value in told.items() if name not in ("key", "dashboard", "refunds")
            }
        return _encode(replace(notice, data=told))

    async def _failing(self, endpoint: Endpoint) -> None:
        now = self._means.clock.now()
        if endpoint.failing_since is None:
            await self._means.change(
                endpoint, lambda row: replace(row, failing_since=row.failing_since or now)
            )

    async def _again(self, message: Message, problem: str, *, for_ever: bool) -> Message:
        tries = message.tries + 1
        over = for_ever or tries > len(WAITS_MS)
        due_at = None if over else self._means.clock.now() + WAITS_MS[tries - 1]
        if over:
            log.warning("a message was given up", channel=message.channel, type=message.type, problem=problem)
            text = f"A message of type {message.type} was given up after {tries} tries: {problem}"
            await self._means.alert(message.organization, "undelivered_message", message.id, text)
        state = "dead" if over else "pending"
        return await self._means.change(
            message, lambda row: later(replace(row, state=state, tries=tries, problem=problem[:300]), due_at)
        )

    # ---- who is told ---------------------------------------------------------------------------------------

    async def set_contact(
        self, organization: str, email: str, name: str, quiet: Sequence[str]
    ) -> Contact | Refusal:
        """Where the organization gets its e-mail, and which notices it does not want."""
        wrong = _bad_email(email) or _unknown_type(quiet)
        if wrong is not None:
            return wrong
        new = Contact(
            id=organization, organization=organization, created_at=self._means.clock.now(), email=email
        )

        def edit(row: Contact) -> Contact:
            return replace(row, email=email, name=name[:200], quiet=tuple(sorted(set(quiet))))

        return await self._means.upsert(new, edit)

    async def contact(self, organization: str) -> Contact | None:
        """Where the organization gets its e-mail."""
        return await self._means.rows.get(Contact, organization, organization)

    async def forget_contact(self, organization: str) -> bool:
        """Erase the address; False if there was none."""
        return await self._means.rows.drop(Contact, organization, organization)

    async def add_endpoint(
        self, organization: str, url: str, events: Sequence[str], key: str | None = None
    ) -> tuple[Endpoint, str] | Refusal:
        """A new endpoint and its secret, which is shown this once. `organization` "": told of all of them.

        Under the same idempotency key it is the same endpoint again.
        """
        wrong = self._outbound.check(url)
        if wrong is not None:
            return Refusal(Code.INVALID, wrong, detail="url")
        bad = _unknown_type(events)
        if bad is not None:
            return bad
        means = self._means
        ident = means.ids.operation() if key is None else deed_key("endpoint", organization, key)
        known = await means.rows.get(Endpoint, ident, organization)
        if known is not None:
            return self._same(known, url, events)
        if (
            len(await means.rows.find(Endpoint, {"organization": organization}, limit=ENDPOINTS_MAX))
            >= ENDPOINTS_MAX
        ):
            return Refusal(
                Code.NOT_POSSIBLE, f"There are {ENDPOINTS_MAX} endpoints already. Remove one first."
            )
        raw = sha256(means.ids.secret().encode()).digest()
        secret = SECRET_PREFIX + base64.b64encode(raw).decode()
        endpoint = Endpoint(
            id=ident, organization=organization, created_at=means.clock.now(), url=url,
            secret=self._seal.close(secret, ident), events=tuple(sorted(set(events))),
        )  # fmt: skip
        added = await means.rows.add(endpoint)
        return (added.row, secret) if added.how == "new" else self._same(added.row, url, events)

    def _same(self, known: Endpoint, url: str, events: Sequence[str]) -> tuple[Endpoint, str] | Refusal:
        """The endpoint that was made under the key before, if it is the one that is asked for."""
        if (known.url, known.events) != (url, tuple(sorted(set(events)))):
            return Refusal(
                Code.KEY_REUSED, "This idempotency key was used for another endpoint. Use a new key."
            )
        return known, self._seal.open(known.secret, known.id)

    async def endpoints(self, organization: str) -> Sequence[Endpoint]:
        """The endpoints of the organization, newest first."""
        return await self._means.rows.find(Endpoint, {"organization": organization}, limit=ENDPOINTS_MAX)

    async def drop_endpoint(self, organization: str, ident: str) -> bool:
        """Remove an endpoint; what was on its way to it is given up."""
        return await self._means.rows.drop(Endpoint, ident, organization)

    async def messages(self, state: str, before: str | None = None, limit: int = 50) -> Sequence[Message]:
        """Messages that stand so (pending, sent, dead), newest first."""
        return await self._means.rows.find(Message, {"state": state}, before=before, limit=limit)

    async def send_again(self, organization: str, ident: str) -> Message | None:
        """Try a message once more from the beginning; None if there is none."""
        message = await self._means.rows.get(Message, ident, organization)
        if message is None:
            return None
        now = self._means.clock.now()
        return await self._means.change(
            message, lambda row: later(replace(row, state="pending", tries=0, problem=None), now)
        )


def signed(ident: str, seconds: int, body: bytes, key: bytes) -> dict[str, str]:
    """The headers of a webhook by the Standard Webhooks specification."""
    name = f"msg_{ident}"
    text = f"{name}.{seconds}.".encode() + body
    signature = base64.b64encode(hmac.new(key, text, sha256).digest()).decode()
    return {
        "content-type": "application/json", "user-agent": "tokentill", "webhook-id": name,
        "webhook-timestamp": str(seconds), "webhook-signature": f"v1,{signature}",
    }  # fmt: skip


def _secret_bytes(secret: str) -> bytes:
    return base64.b64decode(secret.removeprefix(SECRET_PREFIX))


def _is_wanted(contact: Contact, notice: Notice) -> bool:
    return notice.type in MAILED and (notice.type in ALWAYS or notice.type not in contact.quiet)


def _unknown_type(types: Sequence[str]) -> Refusal | None:
    unknown = sorted(set(types) - set(TYPES))
    if not unknown:
        return None
    message = f"There is no notice of this type: {unknown[0][:60]}. There are: {', '.join(TYPES)}."
    return Refusal(Code.INVALID, message, detail="events")


def _bad_email(email: str) -> Refusal | None:
    local, at, host = email.rpartition("@")
    plain = email.isascii() and email.isprintable() and " " not in email and len(email) <= 254
    if at and local and "." in host.strip(".") and plain and not set(email) & set('<>,;:"()[]\\'):
        return None
    return Refusal(Code.INVALID, "This is no e-mail address.", detail="email")
