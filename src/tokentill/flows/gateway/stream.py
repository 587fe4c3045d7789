"""Streams: an answer passed on as it comes, and charged before its last event leaves.

    complete            what the upstream reported; where it said nothing, what came, counted and flagged
    client gone         the upstream is cut; what was delivered is charged, counted
    upstream fails      nothing, and nothing either where no output came
    above its cap       cut there and flagged; never more than was held is charged

The events that end a stream are held back until the charge is stored, and the last of them has the receipt. An
explicit 0 is a report like any other. Settling never depends on the client still being there.

Requirement ids: R-SALE-5, R-LED-3, R-ABU-4.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, Protocol

from tokentill.flows.charge import Charge, Hold
from tokentill.flows.gateway.line import Line, of_down
from tokentill.flows.gateway.outcome import Broken, Counted, Trouble, receipt
from tokentill.ports import StoreDown
from tokentill.ports.gateway import UpstreamDown
from tokentill.rules import answers
from tokentill.rules.calls import ModelCall
from tokentill.rules.usage import Events, Seen, Usage, json_of, see, see_text

Held = list[tuple[Any, bytes]]
DONE = b"data: [DONE]\n\n"


class Bill(Protocol):
    """Ends the hold of a call, in one of two ways; both go on to their end whoever goes away."""

    def charge(self, usage: Usage, counted: Counted) -> Coroutine[Any, Any, Charge]:
        """The call ran and used so much."""
        ...

    def drop(self, outcome: str, usage: Usage | None = None) -> Coroutine[Any, Any, None]:
        """The call came to nothing. `usage`: what the upstream did for it all the same."""
        ...

    def reads(self) -> int:
        """What the call read, counted, where the upstream has not said it."""
        ...


class Pump:
    """One stream. `gone` says whether the client has gone; `later` runs what must be done whoever waits for it.

    `keep` is given what was sent, to be given again, None where that is too much; without it nothing is remembered.
    """

    def __init__(
        self,
        call: ModelCall,
        hold: Hold,
        limit: int | None,
        line: Line,
        bill: Bill,
        gone: Callable[[], bool],
        later: Callable[[Coroutine[Any, Any, Any]], object],
        keep: Callable[[bytes | None], Awaitable[None]] | None,
    ) -> None:
        self._call = call
        self._hold = hold
        self._limit = limit
        self._line = line
        self._bill = bill
        self._gone = gone
        self._later = later
        self._keep = keep
        self._seen = Seen()
        self._strip = call.kind in ("chat", "completions") and not call.tells_usage
        self._ended = False
        self._cut = False
        self._said = b""
        """The data of the last event, of which a cut stream's end has the names."""

    async def chunks(self) -> AsyncIterator[bytes]:
        """The answer as it is to be sent. Raises `Broken` where it came to nothing."""
        kept: list[bytes] | None = None if self._keep is None else []
        size = 0
        try:
            held: Held = []
            events = Events()
            while not (self._seen.done or self._cut or self._seen.failed):
                chunk = await self._line.next()
                if not chunk:
                    break
                part = self._take(events, chunk, held)
                if part:
                    if kept is not None:
                        size += len(part)
                        kept.append(part)
                        if size > answers.KEPT_BYTES_MAX:
                            kept = None
                    yield part
            end = await self._finish(held, events)
            if self._keep is not None:
                await self._keep(None if kept is None else b"".join((*kept, end)))
            yield end
            await self._line.finish()
        except (UpstreamDown, ValueError) as down:
            raise await self._broken(of_down(down) if isinstance(down, UpstreamDown) else None) from down
        except StoreDown as down:
            # The hold could not be made to last: what came is free, for the till is to blame.
            message = "The till cannot reach its database, so the answer ends here. Nothing was charged."
            raise await self._broken(Trouble("store_unavailable", message)) from down
        except (asyncio.CancelledError, GeneratorExit):
            if not self._ended:
                self._later(self._left())
            raise
        except Exception:
            # A fault of ours: what came is free, and nothing stays held.
            await self._broken(None)
            raise
        finally:
            await self._line.close()

    def _take(self, events: Events, chunk: bytes, held: Held) -> bytes:
        """What of these bytes may leave now; what ends the stream is held back."""
        seen, out = self._seen, []
        for raw, data in events.feed(chunk):
            if not data:
                out.append(raw)
                continue
            if not held and see_text(seen, data):
                self._said = data
                out.append(raw)
            else:
                out += self._sorted(raw, data, held)
            if answers.excess(self._limit, self._call.answers, None, seen.size, seen.pieces):
                self._cut = True
                break
        return out[0] if len(out) == 1 else b"".join(out)

    def _sorted(self, raw: bytes, data: bytes, held: Held) -> list[bytes]:
        """What may leave now that this event has come. Raises `ValueError` if it is none."""
        event = see(self._seen, data)
        if event is not None:
            self._said = data
        elif data != b"[DONE]":
            raise ValueError("the upstream sent what is no event")
        out = []
        end = event is None or answers.is_end(event)
        if held and not (end and (event is None or not event.get("choices"))):
            # It was not the end after all: of several answers one had ended, or each piece says so.
            out = [one for was, one in held if not (self._strip and answers.is_only_usage(was))]
            held.clear()
        if end:
            held.append((event, raw))
        else:
            out.append(raw)
        return out

    async def _finish(self, held: Held, events: Events) -> bytes:
        """Charge, and give the events that were held back, with the receipt. Raises `Broken`."""
        seen = self._seen
        if seen.failed or not (seen.done or self._cut or (held and not events.rest)):
            raise await self._broken(None)
        usage, counted = seen.usage, "reported"
        if self._cut:
            usage, counted = Usage(self._read(), seen.counted), "cut"
        elif usage is None:
            if not seen.counted:
                raise await self._broken(None)
            usage, counted = Usage(self._read(), seen.counted), "estimated"
        self._ended = True
        charge = await self._bill.charge(usage, counted)  # type: ignore[arg-type]  # one of the words
        told = receipt(self._hold, charge, counted)  # type: ignore[arg-type]  # see above
        return self._ending(held, told)

    def _ending(self, held: Held, told: dict[str, Any]) -> bytes:
        if self._cut:
            return cut_ending(self._call.kind, self._said, self._seen, told)
        left = [(event, raw) for event, raw in held if not (self._strip and answers.is_only_usage(event))]
        at = next((at for at in range(len(left) - 1, -1, -1) if left[at][0] is not None), None)
        parts = [
            answers.with_receipt(event, told) if number == at else raw
            for number, (event, raw) in enumerate(left)
        ]
        return b"".join(parts)

    def _read(self) -> int:
        """What was read: as the upstream told, else counted."""
        told = self._seen.told if self._seen.usage is None else self._seen.usage.read
        return self._bill.reads() if told is None else told

    def _wasted(self) -> Usage:
        """What the upstream did for a stream that nobody pays for."""
        return Usage(self._read(), self._seen.counted)

    async def _broken(self, trouble: Trouble | None) -> Broken:
        if not self._ended:
            self._ended = True
            why = None if trouble is None else trouble.why
            outcome = {"upstream_slow": "slow", "store_unavailable": "stopped"}.get(why or "", "failed")
            await self._bill.drop(outcome, self._wasted())
        return Broken(
            trouble
            or Trouble("upstream_failed", "The model ended its answer too early. Nothing was charged.")
        )

    async def _left(self) -> None:
        """The client has gone, or the till is stopping: charge what was delivered, nothing where we are to blame."""
        self._ended = True
        seen = self._seen
        if not self._gone() or not seen.counted:
            await self._bill.drop("gone" if self._gone() else "stopped", self._wasted())
            return
        usage = Usage(self._read(), seen.counted)
        if seen.done and seen.usage is not None:
            usage = seen.usage
        await self._bill.charge(usage, "delivered")
        if self._keep is not None:
            await self._keep(None)


def cut_ending(kind: str, said: bytes, seen: Seen, told: dict[str, Any]) -> bytes:
    """The events that end a stream which was cut at what may be written, in the shape of its API.

    `said`: the data of the event it is cut after.
    """
    event: dict[str, Any]
    if kind == "messages":
        delta = {"stop_reason": "max_tokens", "stop_sequence": None}
        event = {"type": "message_delta", "delta": delta, "usage": {"output_tokens": seen.counted}}
        return answers.server_event(event) + answers.with_receipt({"type": "message_stop"}, told)
    if kind == "responses":
        details = {"reason": "max_output_tokens"}
        whole = {**(seen.response or {}), "incomplete_details": details, "status": "incomplete"}
        number = _named(said, "sequence_number").get("sequence_number", 0)
        event = {"type": "response.incomplete", "sequence_number": number + 1, "response": whole}
        return answers.with_receipt(event, told)
    event = _named(said, "id", "object", "created", "model")
    empty: dict[str, Any] = {"delta": {}} if kind == "chat" else {"text": "", "logprobs": None}
    choice = {"index": 0, **empty, "finish_reason": "length"}
    return answers.with_receipt({**event, "choices": [choice]}, told) + DONE


def _named(said: bytes, *names: str) -> dict[str, Any]:
    """What an event has under these names."""
    event = json_of(said)
    return {name: event[name] for name in names if name in event}
