"""The transport over HTTP: each command to its route, each problem back to the refusal it was.

A connection that cannot be made, breaks or stays silent, and an answer of 502, 503 or 504, are `StoreDown`:
whether the command was stored is not known, and whoever sent it sends it again under the same key. Questions
are asked again here. Redirects are not followed and proxies of the environment not used, for every request
carries the operator key.

Requirement ids: R-LED-9, R-LED-10, R-PLAN-7, R-ABU-7.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote, urlencode

import aiohttp
import msgspec
from msgspec import Struct, structs
from yarl import URL

from tokentill import wiring
from tokentill.client.errors import Fault, NotAllowed, NotHere, Refused
from tokentill.client.transport import Trade
from tokentill.ports import Heads, Health, OperatorKey, StoreDown, Verdict
from tokentill.rules import commands as c
from tokentill.rules import wellformed
from tokentill.rules.balance import Balance
from tokentill.rules.receipts import Receipt
from tokentill.rules.refusals import Code, Refusal, Status, WayOut
from tokentill.wiring import (
    CatalogView,
    Checks,
    Ending,
    Features,
    JournalView,
    NewOperatorKey,
    OperationView,
    Retry,
    insist,
)

T = TypeVar("T")
S = TypeVar("S", bound=Struct)
TIMEOUT_MS = 30_000
CODES = frozenset(Code)

_HERE = "/v1/organizations"
_ROUTES: dict[type[c.Base], str] = {
    c.Open: "",
    c.Reserve: "/holds",
    c.Settle: "/holds/{hold}/settle",
    c.Release: "/holds/{hold}/release",
    c.Extend: "/holds/{hold}/extend",
    c.Charge: "/charges",
    c.Refund: "/charges/{operation}/refund",
    c.Grant: "/grants",
    c.Adjust: "/adjustments",
    c.Freeze: "/freeze",
    c.Restore: "/restore",
    c.ChangePlan: "/plan",
    c.Reset: "/reset",
    c.SetCap: "/cap",
    c.Unblock: "/users/{user}/unblock",
    c.Review: "/reviews",
}
"""Where each command goes, below its organization. The names in braces are fields of the command."""

_SERVER_SIDE = frozenset({"do", "actor", "limits"})
"""Fields that the server fills in itself: who acts is whose key it is (R-LED-10)."""

log = logging.getLogger(__name__)


class _Problem(Struct, frozen=True):
    """A problem (RFC 9457) as far as a client acts on it."""

    code: str = ""
    detail: str = ""
    field: str | None = None
    about: str | None = None
    filed: Status | None = None
    headline: str | None = None
    retry_after_ms: int | None = None
    balance: int | None = None
    needed: int | None = None
    held: int | None = None
    reset_at: int | None = None
    purchase_link: str | None = None
    ways_out: tuple[WayOut, ...] = ()
    problems: tuple[str, ...] = ()


class _Organizations(Struct, frozen=True):
    organizations: tuple[str, ...]


class _Keys(Struct, frozen=True):
    keys: tuple[OperatorKey, ...]


class _Erasure(Struct, frozen=True):
    erased: bool


class _Answer(NamedTuple):
    status: int
    body: bytes
    replayed: bool
    retry_after_ms: int | None


class Remote:
    """A transport to the till at `url`, with the operator key `key`."""

    def __init__(self, url: str, key: str | None, retry: Retry | None = None) -> None:
        self._base = URL(url)
        if self._base.scheme not in ("http", "https") or not self._base.host:
            raise ValueError(f"{url!r} is no address of a till; one looks like http://127.0.0.1:8420")
        if key is not None and self._base.scheme == "http" and not _is_loopback(self._base.host):
            log.warning("the operator key is sent to %s without encryption; use https", self._base.host)
        self._headers = {"Accept": "application/json"}
        if key is not None:
            self._headers["Authorization"] = f"Bearer {key.strip()}"
        self._retry = retry or Retry()
        self._session: aiohttp.ClientSession | None = None
        self._timeouts: dict[str, int] | None = None

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    # ---- commands ------------------------------------------------------------------------------------

    async def submit(self, envelope: c.Envelope) -> Receipt | Refusal:
        """Send one command once. Raises `StoreDown` if it is not known whether it was stored."""
        try:
            return await self._submit(envelope)
        except UnicodeEncodeError:
            # Half a character cannot be sent at all; it is refused in the words that the till has for it.
            wrong = wellformed.refused(envelope)
            if wrong is None:
                raise
            return wrong

    async def _submit(self, envelope: c.Envelope) -> Receipt | Refusal:
        command = envelope.command
        fields: dict[str, Any] = msgspec.to_builtins(command)
        route = _ROUTES.get(type(command))
        if route is None:
            raise NotHere(f"{fields['do']} is no command that can be sent over HTTP.")
        inside = {name for name in fields if f"{{{name}}}" in route}
        path = route.format(**{name: _segment(fields[name]) for name in inside})
        body = {name: value for name, value in fields.items() if name not in _SERVER_SIDE | inside}
        if type(command) is c.Open:
            body["id"] = envelope.organization
            path = _HERE
        else:
            path = f"{_HERE}/{_segment(envelope.organization)}{path}"
        answer = await self._ask("POST", path, body, envelope.key)
        if answer.status < 300:
            return structs.replace(_read(answer.body, Receipt), replayed=answer.replayed)
        return _refusal(answer)

    async def ending(self, organization: str, hold: str) -> Ending | None:
        """How the hold ended, None while it is open."""
        view = await self.operation(organization, hold)
        if view is None or view.state == "held":
            return None
        return "released" if view.state == "released" else "charged"

    async def trade(self, trade: Trade, kind: type[S]) -> S | Refusal:
        """What the shop answers; sent again under its key while the till cannot be reached."""
        method, path = wiring.trade_places()[trade.name]
        for param in trade.params:
            head, _, rest = path.partition("{")
            path = f"{head}{_segment(param)}{rest.partition('}')[2]}"
        if trade.query:
            path += f"?{urlencode(trade.query)}"
        body = trade.body if method in ("POST", "PUT") else None
        send = partial(self._ask, method, path, body or None, trade.key)
        answer = await insist(lambda _again: send(), self._retry, trade.key or path)
        return _read(answer.body, kind) if answer.status < 300 else _refusal(answer)

    # ---- questions -----------------------------------------------------------------------------------

    async def timeout_ms(self, feature: str) -> int:
        """How long an operation of `feature` may run, by the till's catalog, which is asked for once."""
        if self._timeouts is None:
            self._timeouts = {one.id: one.timeout_ms for one in (await self.catalog()).features}
        return self._timeouts.get(feature, TIMEOUT_MS)

    async def balance(self, organization: str) -> Balance | None:
        """The balance as of the last commit (R-LED-1)."""
        return await self._about(organization, "/balance", Balance)

    async def journal(self, organization: str, before: str | None, limit: int) -> JournalView | None:
        """A page of the journal, newest first (R-LED-5)."""
        return await self._about(organization, "/journal", JournalView, before=before, limit=limit)

    async def operation(self, organization: str, operation: str) -> OperationView | None:
        """Everything that happened to one operation."""
        return await self._about(organization, f"/operations/{_segment(operation)}", OperationView)

    async def organizations(self, after: str, limit: int) -> Sequence[str]:
        """Organization ids in order."""
        path = f"{_HERE}?{urlencode({'after': after, 'limit': limit})}"
        return _value(await self._get(path), _Organizations).organizations

    async def features(self, organization: str) -> Features | None:
        """Every feature with on/off and the reason (R-LIC-4)."""
        return await self._about(organization, "/features", Features)

    async def check(self, organization: str, use: c.Reserve) -> Checks | Refusal | None:
        """What every layer says to a use, changing nothing (R-ABU-8)."""
        asked = {"feature": use.feature, "user": use.user, "quantity": use.quantity, "tokens": use.tokens}
        answer = await self._get(_path(organization, "/checks", asked))
        if answer.status < 300:
            return _read(answer.body, Checks)
        refusal = _refusal(answer)
        return None if refusal.code is Code.UNKNOWN_ORGANIZATION else refusal

    async def catalog(self) -> CatalogView:
        """What is sold."""
        return _value(await self._get("/v1/catalog"), CatalogView)

    async def health(self) -> Health:
        """How the till is doing."""
        answer = await self._ask("GET", "/v1/health")
        problem = _problem(answer)
        if problem.code == "unhealthy":
            return Health(False, "unknown", 0, 0, problem.problems)
        return _value(answer, Health)

    async def forget_user(self, organization: str, user: str) -> bool | None:
        """Erase the name of a user; False if there was none."""
        path = _path(organization, f"/users/{_segment(user)}")
        answer = await insist(lambda _again: self._ask("DELETE", path), self._retry, path)
        found = _value_or_none(answer, _Erasure)
        return None if found is None else found.erased

    async def operator_keys(self) -> Sequence[OperatorKey]:
        """Every operator key, oldest first."""
        return _value(await self._get("/v1/operator-keys"), _Keys).keys

    async def create_operator_key(self, name: str, key: str) -> NewOperatorKey:
        """A new operator key; its text is shown this once. `key` names the creation."""
        path = "/v1/operator-keys"
        answer = await insist(lambda _again: self._ask("POST", path, {"name": name}, key), self._retry, key)
        return _value(answer, NewOperatorKey)

    async def revoke_operator_key(self, key_id: str) -> bool:
        """Revoke an operator key; False if it is unknown or revoked already."""
        known = next((key for key in await self.operator_keys() if key.id == key_id), None)
        if known is None or known.revoked_at is not None:
            return False
        path = f"/v1/operator-keys/{_segment(key_id)}"
        answer = await insist(lambda _again: self._ask("DELETE", path), self._retry, path)
        return _value(answer, OperatorKey).revoked_at is not None

    async def verify(self, older: Heads | None = None) -> Verdict:
        """Not over HTTP: the journal is replayed where it is."""
        del older
        raise NotHere("The journal is verified where its database is: run `tokentill verify` there.")

    # ---- HTTP ----------------------------------------------------------------------------------------

    async def _about(self, organization: str, place: str, kind: type[T], **query: object) -> T | None:
        return _value_or_none(await self._get(_path(organization, place, query)), kind)

    async def _get(self, path: str) -> _Answer:
        return await insist(lambda _again: self._ask("GET", path), self._retry, path)

    async def _ask(
        self, method: str, path: str, body: dict[str, Any] | None = None, key: str | None = None
    ) -> _Answer:
        """One request and its whole answer. Raises `StoreDown`, `NotAllowed`."""
        if self._session is None:
            # Each try has its limit where it is sent again; this one is for whoever does not.
            limit = aiohttp.ClientTimeout(total=60, sock_connect=5)
            # No limit on connections: a command that waits for one would count as lost.
            connector = aiohttp.TCPConnector(limit=0)
            self._session = aiohttp.ClientSession(
                headers=self._headers, timeout=limit, trust_env=False, connector=connector
            )
        headers = {} if key is None else {"Idempotency-Key": key}
        data = None
        if body is not None:
            data = msgspec.json.encode(body)
            headers["Content-Type"] = "application/json"
        url = URL(f"{str(self._base).rstrip('/')}{path}", encoded=True)
        try:
            async with self._session.request(
                method, url, data=data, headers=headers, allow_redirects=False
            ) as response:
                answer = _Answer(
                    response.status,
                    await response.read(),
                    response.headers.get("Idempotent-Replayed") == "true",
                    _retry_after(response.headers.get("Retry-After")),
                )
        except (TimeoutError, aiohttp.ClientError, OSError) as lost:
            why = str(lost) or type(lost).__name__
            raise StoreDown(f"The till at {self._base} cannot be reached: {why}.") from lost
        problem = _problem(answer)
        if answer.status in (502, 503, 504) and problem.code != "unhealthy" and problem.code not in CODES:
            down = StoreDown(problem.detail or f"The till at {self._base} answered {answer.status}.")
            down.retry_after_ms = answer.retry_after_ms
            raise down
        if problem.code in ("unauthorized", "too_many_wrong_keys"):
            raise NotAllowed(problem.detail)
        return answer


def _is_loopback(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")


def _segment(text: str) -> str:
    return quote(text, safe="")


def _path(organization: str, place: str, query: Mapping[str, object] | None = None) -> str:
    asked = {name: value for name, value in (query or {}).items() if value is not None}
    return f"{_HERE}/{_segment(organization)}{place}" + (f"?{urlencode(asked)}" if asked else "")


def _retry_after(header: str | None) -> int | None:
    return int(header) * 1000 if header is not None and header.isdecimal() and len(header) < 7 else None


def _read(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.MsgspecError as error:
        raise Fault(f"The till answered what is no {kind.__name__}: {error}.") from error


def _problem(answer: _Answer) -> _Problem:
    if answer.status < 400:
        return _Problem()
    try:
        return msgspec.json.decode(answer.body, type=_Problem)
    except msgspec.MsgspecError:
        return _Problem()


def _refusal(answer: _Answer) -> Refusal:
    """The refusal that a problem carries; raises `Fault` if it is none."""
    problem = _problem(answer)
    if problem.code not in CODES:
        raise Fault(f"The till answered {answer.status}: {problem.detail or answer.body[:200]!r}")
    return Refusal(
        code=Code(problem.code),
        message=problem.detail,
        status=problem.filed or "prevented",
        retry_after_ms=problem.retry_after_ms,
        headline=problem.headline,
        detail=problem.about if problem.field is None else problem.field,
        balance=problem.balance,
        needed=problem.needed,
        held=problem.held,
        reset_at=problem.reset_at,
        purchase_link=problem.purchase_link,
        ways_out=problem.ways_out,
    )


def _value(answer: _Answer, kind: type[T]) -> T:
    if answer.status >= 300:
        # Raises `Fault` unless the till says that the question is not valid.
        refusal = _refusal(answer)
        if refusal.code is Code.INVALID:
            raise Refused(refusal)
        raise Fault(f"The till answered {answer.status}: {refusal.message}")
    return _read(answer.body, kind)


def _value_or_none(answer: _Answer, kind: type[T]) -> T | None:
    if _problem(answer).code in (Code.UNKNOWN_ORGANIZATION, Code.UNKNOWN_OPERATION):
        return None
    return _value(answer, kind)
