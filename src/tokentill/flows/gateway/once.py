"""Once: a call under an idempotency key runs once, and its answer is kept to be given again.

A row for each key says how far its call came. It is written before the call is reserved, so two requests under one
key never both run. An answer is kept encrypted until it expires; after that, and where there was none to keep, the
key is refused for ever and never runs again. A call that did not run, or failed and cost nothing, frees its key.

A process that dies in the middle leaves "running". Then the account tells: a hold that was charged has run, one that
was given back has not, and where there is none nothing was begun.

Requirement ids: R-LED-9, R-SALE-5.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog
from msgspec import Struct
from msgspec.structs import replace

from tokentill.flows.gateway.outcome import Trouble, Whole
from tokentill.flows.send import Books
from tokentill.ports import Clock, Ledger, StoreDown
from tokentill.ports.messages import Seal
from tokentill.rules import entries as e
from tokentill.rules.answers import KEPT_BYTES_MAX
from tokentill.rules.rows import StoredAnswer

BEGINNING_MS_MAX = 30_000
"""How long a request may take from its row to its hold."""
RETRY_MS = 1_000
SWEEP_SECONDS = 60.0
LEASE_MS = 60_000

log = structlog.get_logger("tokentill.gateway")


class Claim(Struct):
    """The right to run a call under a key. `hold` names its reservation."""

    row: StoredAnswer

    @property
    def hold(self) -> str:
        """The id of the hold that this try will have."""
        return self.row.hold


class Once:
    """The stored answers of a till. `name_of` gives the operation that a text names."""

    def __init__(
        self,
        ledger: Ledger,
        books: Books,
        clock: Clock,
        seal: Seal,
        name_of: Callable[[str], str],
        kept_ms: int,
    ) -> None:
        self._ledger = ledger
        self._rows = ledger.rows
        self._books = books
        self._clock = clock
        self._seal = seal
        self._name_of = name_of
        self._kept_ms = kept_ms
        self._sweeping: asyncio.Task[None] | None = None

    async def claim(self, organization: str, purse: str, text: str, digest: str) -> Claim | Whole | Trouble:
        """The right to run the call, the answer it had, or why there is neither."""
        ident = self._name_of(f"answer {purse} {text}")
        now = self._clock.now()
        row = StoredAnswer(
            id=ident,
            organization=organization,
            created_at=now,
            digest=digest,
            state="running",
            attempt=1,
            hold=self._name_of(f"answer {ident} 1"),
            started_at=now,
            expires_at=now + self._kept_ms,
        )
        added = await self._rows.add(row)
        if added.how == "new":
            return Claim(added.row)
        there = added.row
        if there.digest != digest:
            return Trouble("key_reused", "This Idempotency-Key was used for another request. Use a new key.")
        if there.state == "done" and there.expires_at > now:
            return self._replay(there)
        if there.state in ("done", "gone"):
            return _gone()
        if there.state == "running":
            ended = await self._ended(there, now)
            if isinstance(ended, Trouble):
                return ended
        again = await self._rows.put(
            replace(
                there,
                state="running",
                attempt=there.attempt + 1,
                hold=self._name_of(f"answer {ident} {there.attempt + 1}"),
                started_at=now,
                expires_at=now + self._kept_ms,
                due_at=None,
            )
        )
        return _running() if again is None else Claim(again)

    async def keep(self, claim: Claim, answer: Whole) -> None:
        """The call ran, and this is its answer, also for whoever asks again."""
        row = claim.row
        text = None
        if len(answer.body) <= KEPT_BYTES_MAX:
            try:
                text = answer.body.decode()
            except UnicodeDecodeError:
                text = None
        if text is None:
            await self.gone(claim)
            return
        facts = (("content-type", answer.content_type), *answer.facts)
        await self._put(
            replace(
                row,
                state="done",
                status=answer.status,
                facts=facts,
                sealed=self._seal.close(text, row.id),
                due_at=row.expires_at,
            )
        )

    async def gone(self, claim: Claim) -> None:
        """The call ran, and there is no answer to keep."""
        await self._put(replace(claim.row, state="gone"))

    async def free(self, claim: Claim) -> None:
        """The call did not run, or failed and cost nothing: it may be sent again under its key."""
        await self._put(replace(claim.row, state="free"))

    async def sweep(self) -> int:
        """Wipe the answers that have expired; how many there were."""
        now = self._clock.now()
        rows = await self._rows.claim(StoredAnswer, now, LEASE_MS)
        for row in rows:
            await self._rows.put(replace(row, state="gone", sealed="", facts=(), due_at=None))
        return len(rows)

    def start(self) -> None:
        """Wipe expired answers in the background."""
        if self._sweeping is None:
            self._sweeping = asyncio.create_task(self._sweep())

    async def close(self) -> None:
        """Stop wiping."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            await asyncio.wait({self._sweeping})

    async def _sweep(self) -> None:
        while True:
            try:
                while await self.sweep():
                    pass
            except StoreDown:
                log.warning("expired answers could not be wiped; it is tried again")
            await asyncio.sleep(SWEEP_SECONDS)

    def _replay(self, row: StoredAnswer) -> Whole | Trouble:
        try:
            body = self._seal.open(row.sealed, row.id).encode()
        except ValueError:
            log.warning("a stored answer cannot be read", answer=row.id)
            return _gone()
        (_, content_type), *facts = row.facts
        return Whole(row.status, content_type, body, tuple(facts), replayed=True)

    async def _ended(self, row: StoredAnswer, now: int) -> Trouble | None:
        """Whether a call that is said to run has ended without being able to say so; None = it may run again."""
        entries = await self._ledger.operation(row.organization, row.hold) or ()
        for one in entries:
            if isinstance(one.entry, e.Charged):
                await self._put(replace(row, state="gone"))
                return _gone()
            if isinstance(one.entry, e.Released):
                return None
        if entries or now - row.started_at < BEGINNING_MS_MAX:
            return _running()
        return None

    async def _put(self, row: StoredAnswer) -> None:
        try:
            stored = await self._rows.put(row)
        except StoreDown:
            stored = None
        if stored is None:
            # The account knows how the call ended, and is asked by whoever comes next.
            log.warning("what became of a call could not be stored under its key", answer=row.id)


def _running() -> Trouble:
    return Trouble("running", "A call under this Idempotency-Key is still running.", retry_after_ms=RETRY_MS)


def _gone() -> Trouble:
    return Trouble(
        "answer_gone",
        "A call under this Idempotency-Key has run, and its answer is not kept any more. Use a new key to run it again.",
    )
