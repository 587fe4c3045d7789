"""The gateway: a model call from a customer's key to its charge.

    key → call → the most it can cost is held → that limit is sent upstream → answer → charged by what it used

The hold is committed before the upstream is called, the charge before the last byte leaves. Holding, charging and
giving back are `tokentill.flows.charge`'s, so that a charge which cannot be stored is kept and stored later (R-LED-4).
Where only holds of other calls stand in the way, they are waited for briefly, and then the caller is told to.

Requirement ids: R-SALE-5, R-SALE-8, R-LED-3, R-LED-4, R-LED-9, R-ABU-4.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, Literal

import structlog
from msgspec import Struct

from tokentill.flows.charge import AlreadyRan, Charge, Charging, Hold
from tokentill.flows.gateway.leash import Leash
from tokentill.flows.gateway.line import HOLD_TIMES, Line, of_down, targets
from tokentill.flows.gateway.once import Claim, Once
from tokentill.flows.gateway.outcome import (
    Counted,
    Notes,
    Outcome,
    PassedOn,
    Stream,
    Trouble,
    Whole,
    facts,
    receipt,
)
from tokentill.flows.gateway.stream import Pump
from tokentill.ports import Clock, Ledger
from tokentill.ports.gateway import UpstreamDown, Upstreams
from tokentill.rules import answers, call_terms
from tokentill.rules.abuse import limits_of
from tokentill.rules.api_keys import caller, wrong_with
from tokentill.rules.call_terms import Terms
from tokentill.rules.calls import PATHS, ModelCall, counted
from tokentill.rules.catalog import TOKENS_MAX, Catalog, Feature
from tokentill.rules.commands import Reserve
from tokentill.rules.entry import ModelUse
from tokentill.rules.models import Model, Target
from tokentill.rules.refusals import Code, Refusal
from tokentill.rules.rows import ApiKey
from tokentill.rules.usage import Usage, json_of, of_answer

WAITS_MS = (50, 100, 150, 200, 300, 400, 400, 400)
"""How long a call waits for what others hold, and between its tries: two seconds in all."""

_NOTHING = Usage(0, 0)
log = structlog.get_logger("tokentill.gateway")


class _Limits(Struct, frozen=True):
    """What every plan allows: whether all have the one `cap` on output, and one size of a request, `smallest`."""

    one_cap: bool
    cap: int | None
    one_size: bool
    smallest: int | None


class Gateway:
    """Calls of models. One for each application; `close` lets what runs end."""

    def __init__(
        self, ledger: Ledger, charging: Charging, upstreams: Upstreams, once: Once, clock: Clock, notes: Notes
    ) -> None:
        self.catalog: Catalog = ledger.catalog
        self.once = once
        self.charging = charging
        self.upstreams = upstreams
        self.notes = notes
        self._ledger = ledger
        self._clock = clock
        self._tasks: set[asyncio.Task[Any]] = set()
        self._limits: dict[str, _Limits] = {}
        self._targets = {
            (model.id, kind): targets(self.catalog, model, kind)
            for model in self.catalog.models.values()
            for kind in PATHS
        }

    def targets(self, call: ModelCall) -> Sequence[Target]:
        """Who may answer the call, in order; nobody where there is no such model for calls of its kind."""
        return self._targets.get((call.model, call.kind), ())

    async def run(
        self,
        key: ApiKey,
        call: ModelCall,
        headers: Mapping[str, str],
        leash: Leash,
        name: str | None = None,
        digest: str = "",
    ) -> Outcome:
        """What the call comes to. `name`: the caller's idempotency key, `digest` then of all that was asked."""
        if not self.targets(call):
            return Trouble("unknown_model", f"There is no model {call.model[:100]!r} for calls of this kind.")
        model = self.catalog.models[call.model]
        wrong = wrong_with(key, self._clock.now(), model.id, model.feature)
        if wrong is not None:
            return Trouble("key_scope", wrong.message)
        claim: Claim | None = None
        if name is not None:
            found = await self.once.claim(key.organization, key.purse, name, digest)
            if not isinstance(found, Claim):
                return found
            claim = found
        running = Running(self, key, call, model, claim)
        try:
            return await running.run(headers, leash)
        except BaseException:
            if not running.over:
                self.later(running.drop("gone" if leash.gone else "stopped"))
            raise

    async def terms(self, organization: str, call: ModelCall, model: Model, feature: Feature) -> Terms:
        """The terms of a call; the account is asked only where its plan makes a difference."""
        limits = self._limits.get(feature.id) or self._limits_of_all(feature.id)
        if limits.one_cap:
            found = call_terms.terms(call, model, feature, limits.cap, None)
            if found.tokens is None or limits.smallest is None or found.tokens <= limits.smallest:
                return found
            if limits.one_size:
                return call_terms.terms(call, model, feature, limits.cap, limits.smallest)
        account = await self._ledger.account(organization)
        own = limits_of(self.catalog, None if account is None else account.state.plan, feature.id)
        return call_terms.terms(call, model, feature, own.output_tokens_max, own.tokens_per_request_max)

    def _limits_of_all(self, feature: str) -> _Limits:
        """What the plans, and having none, allow of output and of tokens in a request."""
        catalog = self.catalog
        tables = [catalog.no_plan_abuse, *(plan.abuse for plan in catalog.plans.values())]
        caps = {table[feature].output_tokens_max for table in tables}
        sizes = {table[feature].tokens_per_request_max for table in tables}
        smallest = min((size for size in sizes if size is not None), default=None)
        known = _Limits(len(caps) == 1, caps.pop(), len(sizes) == 1, smallest)
        self._limits[feature] = known
        return known

    def later(self, work: Coroutine[Any, Any, Any]) -> None:
        """Run `work` to its end, whoever goes away meanwhile."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    async def close(self) -> None:
        """Let what runs end, and the upstreams go."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=10)
        await self.once.close()
        await self.charging.close()
        await self.upstreams.close()

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("a call could not be ended", error=type(task.exception()).__qualname__)


class Running:
    """One call on its way. It ends once, by `charge` or by `drop`."""

    def __init__(
        self, gateway: Gateway, key: ApiKey, call: ModelCall, model: Model, claim: Claim | None
    ) -> None:
        self._gateway = gateway
        self._key = key
        self._call = call
        self._model = model
        self._claim = claim
        self._feature: Feature = gateway.catalog.features[model.feature]
        self._hold: Hold | None = None
        self._line: Line | None = None
        self.over = False

    async def run(self, headers: Mapping[str, str], leash: Leash) -> Outcome:
        """From the reservation to the answer."""
        held = await self._reserve()
        if isinstance(held, Trouble):
            return held
        terms, hold = held
        gateway, call = self._gateway, self._call
        limit = call_terms.afforded(terms, call, self._feature, hold.tokens, hold.output_tokens_max)
        self._line = line = Line(gateway.upstreams, gateway.charging, hold, self._model, leash.pull)
        failed = await line.open(gateway.catalog, gateway.targets(call), call, limit, headers)
        if failed is not None:
            await self.drop("refused" if isinstance(failed, PassedOn) else failed.why)
            return failed
        if not call.stream:
            return await self._whole(line, hold, limit)
        if "event-stream" not in line.content_type:
            await self.drop("upstream_failed")
            return Trouble("upstream_failed", "The model did not stream. Nothing was charged.")
        keep = None if self._claim is None else self._keep_stream
        pump = Pump(call, hold, limit, line, self, lambda: leash.gone, gateway.later, keep)
        begun = {"operation": hold.id, "held": hold.receipt.held, "balance": hold.receipt.balance}
        self.over = True  # from here on the stream ends it
        return Stream(pump.chunks(), facts(begun))

    async def _reserve(self) -> tuple[Terms, Hold] | Trouble:
        """Hold the most that the call can cost; where only other holds stand in the way, wait for them a while."""
        gateway, key, feature = self._gateway, self._key, self._feature
        terms = await gateway.terms(key.organization, self._call, self._model, feature)
        reserve = Reserve(
            feature=feature.id,
            user=caller(key),
            quantity=terms.quantity,
            tokens=terms.tokens,
            least=terms.least,
            timeout_ms=HOLD_TIMES * self._model.first_byte_ms,
            purse=None if key.spend_max is None else key.purse,
            purse_max=key.spend_max,
        )
        name = None if self._claim is None else self._claim.hold
        for wait_ms in (*WAITS_MS, 0):
            try:
                answer = await gateway.charging.begin(
                    key.organization, reserve, HOLD_TIMES * self._model.first_byte_ms, name
                )
            except AlreadyRan:
                return Trouble("running", "A call under this key is running.", retry_after_ms=1_000)
            if isinstance(answer, Hold):
                self._hold = answer
                return terms, answer
            if answer.code is not Code.HELD or not wait_ms:
                return await self._refused(answer)
            await asyncio.sleep(wait_ms / 1000)
        raise AssertionError("the last try has no wait")

    async def _refused(self, refusal: Refusal) -> Trouble:
        self.over = True
        if self._claim is not None:
            await self._gateway.once.free(self._claim)
        self._gateway.notes.called(self._key, self._model.id, "refused", 0, 0)
        return Trouble("refused", refusal.message, refusal, refusal.retry_after_ms)

    async def _whole(self, line: Line, hold: Hold, limit: int | None) -> Outcome:
        """Read the answer whole and charge it."""
        call = self._call
        parts: list[bytes] = []
        try:
            while part := await line.next():
                parts.append(part)
        except UpstreamDown as down:
            trouble = of_down(down)
            await self.drop(trouble.why, Usage(self.reads(), 0))
            return trouble
        await line.close()
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        answer = json_of(body)
        said: Counted = "reported"
        usage = of_answer(answer)
        if isinstance(answer, dict) and usage is None:
            said = "estimated"
            is_embedding = call.kind == "embeddings"
            written = 0 if is_embedding else answers.counted(answer)
            usage = Usage(self.reads(), written) if written or (is_embedding and answer.get("data")) else None
        if not isinstance(answer, dict) or usage is None or answer.get("error") is not None:
            await self.drop("upstream_failed", Usage(self.reads(), 0))
            return Trouble("upstream_failed", "The model's answer cannot be read. Nothing was charged.")
        # What is shorter in all than its text may be needs no measuring.
        short = limit is None or len(body) <= limit * call.answers * answers.BYTES_OF_TOKEN
        if answers.excess(limit, call.answers, usage, 0 if short else answers.size(answer)):
            assert limit is not None, "without a limit there is no excess"
            answers.cut(answer, limit, call.answers, usage)
            said, body = "cut", answers.encode(answer)
        charge = await self.charge(usage, said)
        told = facts(receipt(hold, charge, said))
        whole = Whole(200, "application/json", body, told)
        if self._claim is not None:
            await self._gateway.once.keep(self._claim, whole)
        return whole

    # ---- how it ends ---------------------------------------------------------------------------------

    def reads(self) -> int:
        """What the call read, counted by the rule of `tokentill.rules.calls`."""
        return counted(self._call.body)

    async def charge(self, usage: Usage, counted: Counted) -> Charge:
        """The call ran: charge what it used, at most what was held. Goes on to the end whoever goes away."""
        self.over = True
        hold = self._hold
        assert hold is not None, "what was not reserved is not charged"
        use = self._use(usage, counted)
        hold.use = use
        hold.charge(use.cost, min(usage.written, TOKENS_MAX))
        charge = await self._gateway.charging.finish(hold)
        self._gateway.notes.called(self._key, self._model.id, counted, charge.tokens, charge.uncollected)
        if counted == "estimated":
            log.warning(
                "an upstream told no usage, so it was counted", model=self._model.id, operation=hold.id
            )
        return charge

    def _use(self, usage: Usage, counted: Counted | Literal["none"]) -> ModelUse:
        """What the call used, for the record."""
        times = self._call.answers
        cost = 0 if counted == "none" else call_terms.cost(self._feature, usage, times)
        return ModelUse(
            model=self._model.id,
            key=self._key.id,
            upstream=None if self._line is None else self._line.upstream,
            read=usage.read,
            written=usage.written,
            cached=usage.cached,
            times=times,
            counted=counted,
            cost=min(cost, TOKENS_MAX),
        )

    async def drop(self, outcome: str, usage: Usage | None = None) -> None:
        """The call came to nothing: give everything back. `usage`: what the upstream did for it all the same."""
        self.over = True
        if self._line is not None:
            await self._line.close()
        if self._hold is not None:
            came = usage is not None and self._line is not None and self._line.upstream is not None
            self._hold.use = self._use(usage or _NOTHING, "estimated" if came else "none")
            reason = "timeout" if outcome in ("upstream_slow", "slow") else "failed"
            await self._gateway.charging.abandon(self._hold, "cancelled" if outcome == "gone" else reason)  # type: ignore[arg-type]  # one of the words
        if self._claim is not None:
            await self._gateway.once.free(self._claim)
        self._gateway.notes.called(self._key, self._model.id, outcome, 0, 0)

    async def _keep_stream(self, body: bytes | None) -> None:
        assert self._claim is not None, "only what has a key is kept"
        if body is None:
            await self._gateway.once.gone(self._claim)
        else:
            await self._gateway.once.keep(self._claim, Whole(200, "text/event-stream", body, ()))
