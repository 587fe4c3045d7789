"""The replay: every request of the script through the till, at its moment: reserve, run, settle or release.

The operation in between is the only thing made up: it takes the trace's token counts, answers after a short
delay, and for a stated share fails, takes too long, or vanishes with its host. Its host charges what was used
and nothing otherwise; a hold nobody ends is ended by the till.

Requirement ids: R-LED-3, R-LED-4, R-LED-9, R-ABU-6, R-LIC-1, R-LIC-3.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable

from tokentill.lab.demo.customers import Customers
from tokentill.lab.demo.record import Record, Served, Uncharged
from tokentill.lab.demo.script import Act, Request, Script
from tokentill.lab.demo.tally import Tally
from tokentill.lab.demo.till import Answer, Refused, Till, TillTrouble
from tokentill.rules.pricing import metered_cost
from tokentill.rules.refusals import Code

WRITTEN_MAX = 1_000
"""What every request lets the AI write, in model tokens; reserved beforehand, the unused part comes back."""

AT_ONCE = 256
WAITS = 8
HOLD_MARGIN_SECONDS = 5.0
"""The till lets a hold outlive its operation's timeout by this much."""

SWEEP_SECONDS = 4.0
HOLD_LOOK_SECONDS = 0.25
LATE = (Code.HOLD_EXPIRED, Code.HOLD_ENDED)


class OperationFailed(Exception):
    """The AI answered with an error."""


class Pace:
    """How long operations take at a speed, in seconds: what takes 20 s in life is over in 20 / `speed`.

    The timeout never falls below a second, so that a busy machine does not time out what it would answer.
    """

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self.timeout = min(3.0, max(1.0, 20 / speed))

    def delay(self, written: int) -> float:
        """How long writing so many model tokens takes; always well within the timeout."""
        return min(self.timeout / 2, (0.3 + 0.02 * written) / self._speed)


class Replay:
    """One run of a script. `clock` counts the seconds since the run began."""

    def __init__(
        self,
        script: Script,
        till: Till,
        customers: Customers,
        tally: Tally,
        pace: Pace,
        clock: Callable[[], float],
    ) -> None:
        self._script = script
        self._till = till
        self._customers = customers
        self._tally = tally
        self._pace = pace
        self._clock = clock
        self._room = asyncio.Semaphore(AT_ONCE)
        self._turns: defaultdict[tuple[str, str], asyncio.Lock] = defaultdict(asyncio.Lock)

    async def run(self) -> None:
        """Play everything at its moment, and wait until every hold has ended."""
        try:
            async with asyncio.TaskGroup() as group:
                for item in self._script.in_order():
                    await asyncio.sleep(item.at - self._clock())
                    if isinstance(item, Act):
                        await self._act(item)
                        continue
                    await self._room.acquire()
                    group.create_task(self._play(item))
        except ExceptionGroup as group:
            troubles = group.subgroup(TillTrouble)
            raise group if troubles is None else troubles.exceptions[0] from None
        self._tally.played = self._clock()
        await self._holds_end()

    async def _play(self, request: Request) -> None:
        """One request from first to last. A user sends the next one when the till has answered the one before."""
        self._tally.asked += 1
        self._tally.in_flight += 1
        try:
            async with self._turns[request.organization, request.user]:
                hold = await self._reserve(request)
            if hold is not None:
                await self._run(request, hold)
        finally:
            self._tally.in_flight -= 1
            self._room.release()

    async def _reserve(self, request: Request) -> str | None:
        """The hold for a request, None if the till refused it for good."""
        feature = self._customers.feature(request.feature)
        tokens = metered_cost(feature, request.read, WRITTEN_MAX)
        record = self._customers.records[request.organization]
        for _ in range(WAITS):
            before = self._customers.purchases(request.organization)
            answer = await self._hold(request, tokens)
            if isinstance(answer, Answer):
                if request.twice:
                    self._same(record, answer, await self._hold(request, tokens), "reserve")
                return answer.receipt.operation
            self._note(record, request, answer)
            if answer.code == Code.EXHAUSTED:
                if not await self._customers.run_out(request.organization, answer, before):
                    return None
            elif answer.code == Code.HELD:
                await asyncio.sleep((answer.retry_after_ms or 0) / 1000)
            else:
                return None
        return None

    async def _hold(self, request: Request, tokens: int) -> Answer | Refused:
        timeout_ms = int(self._pace.timeout * 1000)
        return await self._till.reserve(
            request.organization, request.user, request.feature, tokens, timeout_ms, f"request {request.n}"
        )

    async def _run(self, request: Request, hold: str) -> None:
        """Run the operation and charge it, if it answers."""
        record = self._customers.records[request.organization]
        try:
            async with asyncio.timeout(self._pace.timeout):
                await operate(request, self._pace)
        except OperationFailed:
            await self._release(record, hold, "failed")
        except TimeoutError:
            if request.fate == "vanishes":
                self._uncharged(record, hold, "vanished")
            else:
                await self._release(record, hold, "timeout")
        else:
            await self._settle(record, request, hold)

    async def _settle(self, record: Record, request: Request, hold: str) -> None:
        tokens = metered_cost(self._customers.feature(request.feature), request.read, request.written)
        answer = await self._till.settle(record.organization, hold, tokens, request.written)
        if isinstance(answer, Refused):
            if answer.code not in LATE:
                record.odd.append(f"settling {hold} was refused: {answer.detail} ({answer.code})")
            self._uncharged(record, hold, "too late")
            return
        if request.twice:
            again = await self._till.settle(record.organization, hold, tokens, request.written)
            self._same(record, answer, again, "settle")
        record.served.append(Served(hold, request.feature, request.read, request.written))
        self._tally.served += 1
        self._tally.tokens += answer.receipt.tokens

    async def _release(self, record: Record, hold: str, reason: str) -> None:
        answer = await self._till.release(record.organization, hold, reason)
        if isinstance(answer, Refused) and answer.code not in LATE:
            record.odd.append(f"releasing {hold} was refused: {answer.detail} ({answer.code})")
        self._uncharged(record, hold, "failed" if reason == "failed" else "timed out")

    def _uncharged(self, record: Record, hold: str, why: Uncharged) -> None:
        record.uncharged[hold] = why
        self._tally.uncharged[why] += 1

    def _same(self, record: Record, first: Answer, again: Answer | Refused, what: str) -> None:
        """A call sent twice must be done once: the second answer is the first one's, and says so."""
        self._tally.repeated += 1
        if isinstance(again, Refused) or not again.replayed or again.receipt != first.receipt:
            record.odd.append(f"a {what} sent twice was answered {again} after {first}")

    def _note(self, record: Record, request: Request, refusal: Refused) -> None:
        """Count a refusal; the first of its kind in an organization is news."""
        self._tally.refusals[f"{refusal.status} {refusal.code}"] += 1
        record.refusals[refusal.code] += 1
        if record.refusals[refusal.code] == 1 and refusal.code not in (Code.EXHAUSTED, Code.HELD):
            text = f"{record.organization}, user {request.user}: {refusal.detail}"
            self._tally.tell(self._clock(), text)

    async def _act(self, act: Act) -> None:
        if act.do == "freeze":
            answer = await self._till.freeze(act.organization, "the card was declined")
            text = f"{act.organization}: payment failed, AI off, tokens set aside"
        elif act.do == "restore":
            answer = await self._till.restore(act.organization, "the card was replaced")
            text = f"{act.organization}: payment mended, everything is back"
        else:
            answer = await self._till.unblock(act.organization, act.user or "", "talked to them")
            text = f"{act.organization}, user {act.user}: the operator lifted the block"
        if isinstance(answer, Refused):
            self._customers.records[act.organization].odd.append(f"{act.do} was refused: {answer.detail}")
        else:
            self._tally.tell(self._clock(), text)

    async def _holds_end(self) -> None:
        """Wait until the till has ended the holds whose hosts vanished; what stays open the reckoning finds."""
        waiting = {
            (record.organization, hold)
            for record in self._customers.records.values()
            for hold, why in record.uncharged.items()
            if why == "vanished"
        }
        enough = self._clock() + self._pace.timeout + HOLD_MARGIN_SECONDS + SWEEP_SECONDS
        told = False
        while self._clock() < enough:
            waiting = {each for each in waiting if await self._till.is_held(*each)}
            if not waiting:
                break
            if not told:
                self._tally.tell(self._clock(), "waiting for the till to end the holds whose hosts vanished")
                told = True
            await asyncio.sleep(HOLD_LOOK_SECONDS)


async def operate(request: Request, pace: Pace) -> None:
    """The operation of the AI, simulated: it answers, fails, or does neither in time."""
    await asyncio.sleep(pace.delay(request.written))
    if request.fate == "fails":
        raise OperationFailed
    if request.fate != "answers":
        await asyncio.sleep(pace.timeout)
