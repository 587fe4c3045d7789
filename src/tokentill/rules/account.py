"""The account: an organization's whole standing as one aggregate, folded from its journal (design idea 2).

`State` is exactly what a snapshot stores; `Account` adds what is derived from it (burn order, sums, timers)
and is rebuilt on loading. Only `tokentill.rules.evolve` changes either.

Lots. For each: granted = available + held + spent + expired + revoked, none negative (invariant 1). Burn
order is priority, then expiry (soonest first, never last), then age (R-LED-2). A lapsed lot takes no new
hold; what is still held in it stays chargeable by that hold, what comes back expires.

Setting aside (R-LIC-1) moves nothing between lots: while `failed_at` is set no token can be spent, plan
lots go on lapsing with their period, bought lots stop ageing and get the time back on restore. A single lot
is set aside while a refund or a dispute about it is in progress (R-REF-5): what is available in it is then
not free and not in the burn order; it ages and lapses as ever, and running holds on it stay chargeable.

Times are epoch milliseconds; amounts whole tokens; money minor units.

Requirement ids: R-LED-1, R-LED-2, R-LIC-1, R-PLAN-5, R-PLAN-6, R-REF-5, R-ABU-2, R-ABU-3, R-ABU-5, R-ABU-6.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort

import msgspec
from msgspec import Struct, field

from tokentill.rules.entries import Beyond, LotUnit, Moves, Origin, Standing

NEVER = 1 << 62
"""Sorts after every expiry."""

PLAN_PRIORITY = 0
BOUGHT_PRIORITY = 10

LOT_KEPT_MS = 400 * 86_400_000
"""A lot with nothing left in it is kept this long after it was granted, for refunds; then only its sums are."""

RANK_HOLD, RANK_LOT, RANK_STAGE, RANK_PERIOD, RANK_WARN = range(5)
"""Order of what is due in the same millisecond: holds give back before lots lapse before the reset; warnings last."""


class Misfit(Exception):
    """An entry does not fit the account it is applied to: `what` says why."""


class Lot(Struct, array_like=True):
    """A grant of tokens with origin, burn priority and expiry; money credit when `unit` says so."""

    id: int
    origin: Origin
    priority: int
    unit: LotUnit
    at: int
    expires_at: int | None
    granted: int
    available: int
    held: int = 0
    spent: int = 0
    expired: int = 0
    revoked: int = 0
    spent_before: int = 0
    """Spent before the current period began; the view of a period leaves it out."""
    lapsed: bool = False
    reference: str | None = None


class Hold(Struct, array_like=True, gc=False):
    """Tokens reserved for a running operation; ends exactly once."""

    tokens: int
    deadline: int
    at: int
    moves: Moves
    user: str | None = None
    feature: str | None = None
    beyond: int = 0
    beyond_kind: Beyond | None = None
    price: int = 0
    output_tokens_max: int | None = None
    rated: bool = True
    burned: bool = True


class User(Struct, array_like=True):
    """Abuse counters of one user, all from entries; dropped after an idle hour unless it still blocks.

    `recent`: admitted requests of the last minute as flat pairs time, count. `burn`: tokens charged in the
    last hour as flat pairs minute, tokens. `attempts`: times of failed attempts. `refused`: the minute in
    which each refusal code last reached the journal. `alerts`: when each alert last fired.
    """

    seen: int = 0
    last: int = -NEVER
    recent: list[int] = field(default_factory=list)
    burn: list[int] = field(default_factory=list)
    attempts: list[int] = field(default_factory=list)
    blocked_until: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    alerts: dict[str, int] = field(default_factory=dict)


class Period(Struct, array_like=True, frozen=True):
    """A period of the plan: `number` counted from the anchor, start inclusive, end exclusive."""

    number: int
    start: int
    end: int


class State(Struct, omit_defaults=True):
    """What a snapshot stores. `failed_at` set = payment has failed and everything is set aside."""

    seq: int = 0
    time: int = 0
    opened: bool = False
    anchor: int = 0
    plan: str | None = None
    period: Period | None = None
    unpaid: bool = False
    """The current period began while payment was failed; its allowance is granted on restore."""
    scheduled: bool = False
    scheduled_plan: str | None = None
    paid_price: int | None = None
    paid_periods: int = 1
    paid_first: int = 0
    """The last payment for the plan: minor units, for how many periods, and the number of the first of them."""
    allowance: int = 0
    """What the low-balance percentage refers to: the plan's allowance, or the newest bought lot without one."""
    failed_at: int | None = None
    standing: Standing = "active"
    stage_at: int | None = None
    cap: int | None = None
    overage_tokens: int = 0
    overage_amount: int = 0
    overage_held: int = 0
    grace_used: int = 0
    unlimited_used: int = 0
    unlimited_held: int = 0
    lot_next: int = 1
    lots: dict[int, Lot] = field(default_factory=dict)
    holds: dict[str, Hold] = field(default_factory=dict)
    users: dict[str, User] = field(default_factory=dict)
    users_pruned_at: int = 0
    warned: dict[str, int] = field(default_factory=dict)
    dropped: list[int] = field(default_factory=lambda: [0, 0, 0, 0])
    """Sums over lots closed too long ago to keep: granted, spent, expired, revoked (tokens)."""
    aside: dict[int, str] = field(default_factory=dict)
    """Token lots that are set aside one by one, each with the reference it was set aside under."""
    simulated: bool = False
    """Its clock stands still and moves only when it is told to, by `Advance`."""
    paid_until: int | None = None
    renewal_by: int | None = None
    """Where a payment provider bills the plan: the end of what its last invoice paid for, and until when the next
    invoice is waited for; None where the plan renews itself."""
    scheduled_billed: bool = False
    """The scheduled plan is billed by the provider, so that it begins with its invoice."""
    counted_from: int = 0
    """When the period began to count, where that is later than its start: its invoice was waited for."""
    carried: int = 0
    """Tokens that roll over into the next period that is paid; what an unpaid one could not bring."""
    overage_credit: int = 0
    """Minor units of overage that was billed and then given back; the next bill is less by them."""
    expiring: dict[int, int] = field(default_factory=dict)
    """When it will be warned that a lot expires, by the lot's number, until that was done."""
    set_aside_at: int | None = None
    """Since when bought lots do not age, where that is not `failed_at`: the failure was told late."""
    hand_at: int | None = None
    owed_at: int | None = None
    """Since when an operator wants everything set aside, and since when an invoice is owed; `failed_at` is the first."""
    paid_from: int | None = None
    """Where a payment provider bills the plan: since when its last invoice pays, as far as it said."""
    paid_reference: str | None = None
    """The purchase that the running period was paid with; its tokens carry it."""
    contested: str | None = None
    """The purchase whose later periods bring tokens that are set aside, too; of use while it is `paid_reference`."""
    purses: dict[str, list[int]] = field(default_factory=dict)
    """What was spent and what is held under each purse (`tokentill.rules.purses`), kept for ever."""
    purse_of: dict[str, str] = field(default_factory=dict)
    """The purse of each open hold that names one."""

    @property
    def awaits_renewal(self) -> bool:
        """The running period is the last that is paid, and only the provider's next invoice begins another."""
        if self.period is None or self.paid_until is None or self.period.end < self.paid_until:
            return False
        return self.scheduled_billed or not self.scheduled


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(State, strict=False)


def _burn_key(lot: Lot) -> tuple[int, int, int]:
    return (lot.priority, NEVER if lot.expires_at is None else lot.expires_at, lot.id)


class Account:
    """The aggregate in memory: `state` and what is derived from it.

    `free`/`held`: tokens free in lots that have not lapsed / reserved, beyond the lots included; `beyond`: of
    the reserved those that come from no lot; `aside`: available in lots that are set aside one by one. `order`:
    burn keys of token lots with something free. `timers`: heap of (time, rank, id) of what may fall due;
    entries that no longer hold are skipped when they surface.
    """

    __slots__ = ("aside", "beyond", "free", "held", "order", "state", "timers")

    def __init__(self, state: State | None = None) -> None:
        self.state = State() if state is None else state
        self.free = 0
        self.held = 0
        self.beyond = 0
        self.aside = 0
        self.order: list[tuple[int, int, int]] = []
        self.timers: list[tuple[int, int, str | int]] = []
        if state is not None:
            self._derive()

    @classmethod
    def load(cls, snapshot: bytes | str) -> Account:
        """The account of a stored snapshot; raises `msgspec.DecodeError` if the bytes are none."""
        return cls(_decoder.decode(snapshot))

    @property
    def left(self) -> int:
        """Tokens of lots that are not spent yet, free and held; what a low balance is measured by (R-PLAN-8)."""
        return self.free + self.held - self.beyond

    def dump(self) -> bytes:
        """The snapshot: `state` as JSON, the same bytes for the same fold."""
        return _encoder.encode(self.state)

    def _derive(self) -> None:
        state = self.state
        self.aside = sum(state.lots[number].available for number in state.aside)
        self.free = sum(lot.available for lot in state.lots.values() if lot.unit == "token") - self.aside
        self.held = sum(hold.tokens for hold in state.holds.values())
        self.beyond = sum(hold.beyond for hold in state.holds.values())
        self.order = sorted(
            _burn_key(lot)
            for lot in state.lots.values()
            if lot.available > 0 and lot.unit == "token" and lot.id not in state.aside
        )
        self.rebuild_timers()

    def rebuild_timers(self) -> None:
        """The heap of everything that may fall due, from the state alone."""
        state = self.state
        timers: list[tuple[int, int, str | int]] = [
            (hold.deadline, RANK_HOLD, key) for key, hold in state.holds.items()
        ]
        timers += [
            (lot.expires_at, RANK_LOT, lot.id)
            for lot in state.lots.values()
            if lot.expires_at is not None and not lot.lapsed and lot.priority != PLAN_PRIORITY
        ]
        timers += [(at, RANK_WARN, number) for number, at in state.expiring.items()]
        if state.stage_at is not None:
            timers.append((state.stage_at, RANK_STAGE, 0))
        if (due := self.period_due()) is not None:
            timers.append((due, RANK_PERIOD, 0))
        heapq.heapify(timers)
        self.timers = timers

    def moment(self, now: int) -> int:
        """What time it is for this account when the clock says `now`: never earlier than its last entry.

        A simulated account has a time of its own, that of its last entry (R-PLAN-4).
        """
        time = self.state.time
        return time if self.state.simulated else max(now, time)

    def push(self, time: int, rank: int, ident: str | int) -> None:
        """Remember that something may fall due at `time`; the heap stays within twice what is live."""
        timers = self.timers
        heapq.heappush(timers, (time, rank, ident))
        size = len(timers)
        if size > 128 and size > 2 * (len(self.state.holds) + len(self.state.lots) + 2):
            self.rebuild_timers()

    def next_due(self) -> tuple[int, int, str | int] | None:
        """The earliest deadline that still holds, as (time, rank, id); None when nothing will happen by itself."""
        timers = self.timers
        while timers:
            time, rank, ident = top = timers[0]
            if rank == RANK_HOLD:
                hold = self.state.holds.get(ident)  # type: ignore[arg-type]  # the rank says it is a str
                if hold is not None and hold.deadline == time:
                    return top
            elif self._still_due(time, rank, ident):
                return top
            heapq.heappop(timers)
        return None

    def _still_due(self, time: int, rank: int, ident: str | int) -> bool:
        state = self.state
        if rank == RANK_LOT:
            lot = state.lots.get(ident)  # type: ignore[arg-type]  # the rank says it is an int
            # While payment is failed bought lots do not age; evolving the restore pushes their new times.
            return lot is not None and not lot.lapsed and lot.expires_at == time and state.failed_at is None
        if rank == RANK_STAGE:
            return state.stage_at == time
        if rank == RANK_WARN:
            lot = state.lots.get(ident)  # type: ignore[arg-type]  # the rank says it is an int
            pending = lot is not None and state.expiring.get(lot.id) == time and state.failed_at is None
            return pending and lot is not None and lot.available > 0
        return self.period_due() == time

    def period_due(self) -> int | None:
        """When something happens to the running period: it ends, or its renewal has been waited for long enough.

        While payment is failed, a period that awaits its renewal ends for the tokens it brought, if any are left but
        those set aside.
        """
        state = self.state
        if state.period is None:
            return None
        if not state.awaits_renewal:
            return state.period.end
        if state.failed_at is None:
            return state.renewal_by
        live = any(
            lot.priority == PLAN_PRIORITY and not lot.lapsed and lot.id not in state.aside
            for lot in state.lots.values()
        )
        return state.period.end if live else None

    def push_period(self) -> None:
        """Remember when something happens to the running period."""
        if (due := self.period_due()) is not None:
            self.push(due, RANK_PERIOD, 0)

    def list_lot(self, lot: Lot) -> None:
        """Put a token lot with something free into the burn order, once; one that is set aside stays out."""
        if lot.id in self.state.aside:
            return
        key = _burn_key(lot)
        at = bisect_left(self.order, key)
        if at == len(self.order) or self.order[at] != key:
            insort(self.order, key)

    def unlist_lot(self, lot: Lot) -> None:
        """Take a lot out of the burn order, if it is in it."""
        key = _burn_key(lot)
        at = bisect_left(self.order, key)
        if at < len(self.order) and self.order[at] == key:
            del self.order[at]

    def freed(self, moves: Moves) -> int:
        """Tokens of `moves` that are free once they are back in their lots; those of lots set aside are not."""
        aside = self.state.aside
        return sum([tokens for number, tokens in moves if number not in aside])

    def newest_bought(self) -> int:
        """What the newest lot brought that is not the plan's, 0 without one."""
        for lot in reversed(self.state.lots.values()):
            if lot.unit == "token" and lot.priority != PLAN_PRIORITY and not lot.lapsed:
                return lot.granted
        return 0

    def drop_old_lots(self) -> None:
        """Let go of lots with nothing left in them that were granted long ago; their sums stay in `dropped`."""
        state = self.state
        old = [
            lot
            for lot in state.lots.values()
            if lot.available == 0 and lot.held == 0 and lot.at + LOT_KEPT_MS < state.time
        ]
        for lot in old:
            if lot.unit == "token":
                sums = (lot.granted, lot.spent, lot.expired, lot.revoked)
                state.dropped = [a + b for a, b in zip(state.dropped, sums, strict=True)]
            del state.lots[lot.id]
            state.aside.pop(lot.id, None)
            state.expiring.pop(lot.id, None)
