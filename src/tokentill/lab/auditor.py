"""The auditor: a second set of books, kept from the journal alone, that must agree with the account.

It shares no code with `tokentill.rules.evolve`. It posts every entry to books of its own, checks each against
what the invariants allow (I1 to I10 and I12 of the test plan), and compares the books with the account's state
whenever it is asked. It decides nothing and never looks at a catalog.

    I1  every lot: granted = available + held + spent + expired + revoked, none negative
    I2  what is free is what the lots have free; nothing is owed
    I3  the account is the fold of its journal: books, stamps and snapshot agree
    I4  a hold ends at most once, in time, for at most what it held, and gives the rest back at once
    I5  tokens leave the lots in burn order: priority, expiry, age
    I6  the same key and body get the same answer
    I7  a refused command leaves nothing behind but its own record
    I8  sequence without gap, time never backwards, hash chain unbroken
    I9  an operation reported failed or timed out charged nothing
    I10 what comes back to a lapsed lot expires
    I12 one plan grant for each plan and period start

Beside them: a low balance warns once for each crossing (R-PLAN-8); a purse never spends and holds more than it may
(R-SALE-8); nothing but a command of its own lifts what a hand froze (R-LIC-3).

Requirement ids: R-LED-1, R-LED-2, R-LED-3, R-LED-4, R-LED-5, R-LED-9, R-PLAN-8, R-LIC-3, R-SALE-5, R-SALE-8.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

from msgspec import structs

from tokentill.lab.books import FAR, PLAN_PRIORITY, BookHold, BookLot, by_lot, draw_credit, first, total
from tokentill.lab.findings import Violation, acts, check_links
from tokentill.rules import commands as c
from tokentill.rules import entries as e
from tokentill.rules.account import Account
from tokentill.rules.receipts import Receipt
from tokentill.rules.refusals import Refusal

__all__ = ["Auditor", "Violation", "check_links"]


class Auditor:
    """The books of one organization. `post` entries in order; every method raises `Violation` on a finding."""

    def __init__(self) -> None:
        self.seq = 0
        self.time = 0
        self.lots: dict[int, BookLot] = {}
        self.living: dict[int, BookLot] = {}
        """Token lots that have not lapsed."""
        self.holds: dict[str, BookHold] = {}
        self.held = 0
        """Tokens reserved by open holds, those beyond the lots included."""
        self.ended: set[str] = set()
        self.charges: dict[str, e.Charged] = {}
        self.refunded: set[str] = set()
        self.frozen = self.by_hand = False
        self.plan: str | None = None
        self.period_start: int | None = None
        self.grants: set[tuple[str | None, int | None]] = set()
        self.warned: dict[str, int] = {}
        self.answers: dict[str, tuple[bytes, Receipt]] = {}
        self.purses: dict[str, list[int]] = {}
        """What was spent and is held under each."""

    @property
    def free(self) -> int:
        """Tokens free in lots that have not lapsed and are not set aside."""
        return sum(lot.available for lot in self.living.values() if not lot.aside)

    @property
    def left(self) -> int:
        """Tokens of lots that are not spent yet, free and held."""
        return self.free + sum(total(hold.moves) for hold in self.holds.values())

    def expect(self, invariant: str, holds: bool, found: object) -> None:  # noqa: FBT001  # reads as an assertion
        """Raise `Violation` unless the invariant holds here."""
        if not holds:
            raise Violation(invariant, self.seq, str(found))

    def post(self, entry: e.Entry) -> None:
        """Put one entry into the books, if it follows from what is in them."""
        self.expect("I8", entry.seq == self.seq + 1, f"sequence {entry.seq} follows {self.seq}")
        self.expect("I8", entry.time >= self.time, f"time {entry.time} follows {self.time}")
        self.expect("I1", entry.tokens >= 0, f"{entry.tokens} tokens moved")
        self.seq, self.time = entry.seq, entry.time
        handler = self._handlers.get(type(entry))
        if handler is not None:
            handler(self, entry)
        touched = [n for name in ("moves", "returned", "lapsed") for n, _ in getattr(entry, name, ())]
        for lot in (self.lots[number] for number in touched):
            self.expect("I1", min(lot.columns()) >= 0, f"lot {lot.number} is {lot}")
        stamps, books = (entry.balance, entry.held), (self.free, self.held)
        self.expect("I3", stamps == books, f"{e.movement(entry)} is stamped {stamps}, books say {books}")
        self.warned = {code: threshold for code, threshold in self.warned.items() if self.left <= threshold}

    def post_all(self, entries: Iterable[e.Entry]) -> None:
        """Post entries in order."""
        for entry in entries:
            self.post(entry)

    def _granted(self, entry: e.Granted) -> None:
        self.expect("I8", entry.lot == len(self.lots) + 1, f"lot {entry.lot} follows {len(self.lots)}")
        self.expect("I1", entry.tokens > 0, f"lot {entry.lot} of {entry.tokens} tokens")
        if entry.origin == "plan":
            grant = (self.plan, self.period_start)
            self.expect("I12", grant not in self.grants, f"second grant of plan and period {grant}")
            self.grants.add(grant)
        lot = BookLot(entry.lot, entry.priority, entry.unit, entry.expires_at, entry.tokens)
        lot.warn_at = entry.warn_at
        self.lots[entry.lot] = lot
        if entry.unit == "token":
            self.living[entry.lot] = lot

    def _draw(self, entry: e.Held | e.Charged) -> None:
        """Moves out of lots are the greedy draw in burn order; beyond them only when they are empty."""
        left, expected = total(entry.moves), []
        for lot in sorted(self.living.values(), key=lambda lot: lot.rank):
            take = min(left, lot.available) if lot.drawable(self.time) else 0
            if take:
                expected.append((lot.number, take))
            left -= take
        self.expect("I2", left == 0, f"{total(entry.moves)} tokens drawn, {left} more than are free")
        self.expect("I5", tuple(expected) == entry.moves, f"drew {entry.moves}, burn order gives {expected}")
        self.expect("I2", not (entry.moves and self.frozen), "tokens drawn while they are set aside")
        if entry.beyond:
            alone = entry.beyond_kind == "unlimited" and not entry.moves
            rest = self.free - total(entry.moves)
            self.expect("I5", alone or rest == 0, f"went beyond the lots with {rest} tokens free")
        made = total(entry.moves) + entry.beyond
        self.expect("I3", entry.tokens == made, f"{entry.tokens} tokens are made of {made}")

    def _purse(self, name: str | None, spent: int, held: int, most: int | None = None) -> None:
        """Count tokens toward a purse; a use that says how much it may have in all fits into that."""
        if name is None:
            return
        now = [a + b for a, b in zip(self.purses.get(name, (0, 0)), (spent, held), strict=True)]
        fair = min(now) >= 0 and (most is None or not spent + held or sum(now) <= most)
        self.expect("R-SALE-8", fair, f"purse {name} of {most} has spent and holds {now}")
        self.purses[name] = now

    def _held(self, entry: e.Held) -> None:
        key = entry.key or ""
        known = key in self.holds or key in self.ended or key in self.charges
        self.expect("I4", bool(key) and not known, f"operation {key} begins again")
        self._draw(entry)
        for number, tokens in entry.moves:
            self.lots[number].held += tokens
        self.holds[key] = BookHold(entry.tokens, entry.deadline, entry.moves, entry.beyond, entry.purse)
        self._purse(entry.purse, 0, entry.tokens, entry.purse_max)
        self.held += entry.tokens

    def _extended(self, entry: e.Extended) -> None:
        hold = self.holds.get(entry.hold)
        if hold is None:
            raise Violation("I4", self.seq, f"extends hold {entry.hold}, which is not open")
        fair = self.time < hold.deadline <= entry.deadline
        self.expect("I4", fair, f"at {self.time} deadline {hold.deadline} became {entry.deadline}")
        hold.deadline = entry.deadline

    def _end(self, key: str | None) -> BookHold:
        hold = self.holds.pop(key or "", None)
        if hold is None:
            raise Violation("I4", self.seq, f"ends hold {key}, which is not open")
        self.ended.add(key or "")
        self.held -= hold.tokens
        self._purse(hold.purse, 0, -hold.tokens)
        for number, tokens in hold.moves:
            self.lots[number].held -= tokens
        return hold

    def _back(self, returned: e.Moves, lapsed: e.Moves) -> None:
        """What comes back is free again in a living lot and expires in a lapsed one."""
        for number, _ in returned:
            self.expect("I10", not self.lots[number].lapsed, f"tokens came back to lapsed lot {number}")
        for number, tokens in lapsed:
            self.expect("I10", self.lots[number].lapsed, f"tokens of living lot {number} expired")
            self.lots[number].expired += tokens

    def _charged(self, entry: e.Charged) -> None:
        key = entry.key or ""
        self.expect("I4", key not in self.charges, f"operation {key} charged again")
        self.charges[key] = entry
        if entry.part == 0:
            self.expect("I4", key not in self.holds and key not in self.ended, f"{key} is a hold")
            self._draw(entry)
        else:
            hold = self._end(entry.key)
            self.expect("I9", self.time < hold.deadline, f"charged {self.time - hold.deadline} ms too late")
            self.expect("I4", entry.tokens <= hold.tokens, f"charged {entry.tokens} of {hold.tokens} held")
            self.expect("I4", 0 <= entry.beyond <= hold.beyond, f"{entry.beyond} beyond of {hold.beyond}")
            parts = by_lot(entry.moves, entry.returned, entry.lapsed)
            self.expect("I4", parts == by_lot(hold.moves), f"hold of {hold.moves} ended as {parts}")
            kept = first(hold.moves, total(entry.moves))
            self.expect("I5", entry.moves == kept, f"charged {entry.moves}, order gives {kept}")
            self._back(entry.returned, entry.lapsed)
            self.expect("R-SALE-8", entry.purse == hold.purse, f"{entry.purse} pays for {hold.purse}")
        self._purse(entry.purse, entry.tokens, 0, entry.purse_max)
        for number, tokens in entry.moves:
            self.lots[number].spent += tokens
        made = total(entry.moves) + entry.beyond
        self.expect("I3", entry.tokens == made, f"{entry.tokens} tokens are made of {made}")

    def _released(self, entry: e.Released) -> None:
        hold = self._end(entry.key)
        parts = by_lot(entry.returned, entry.lapsed)
        self.expect("I9", parts == by_lot(hold.moves), f"hold of {hold.moves} gave back {parts}")
        self.expect("I4", entry.tokens == hold.tokens, f"released {entry.tokens} of {hold.tokens}")
        self._back(entry.returned, entry.lapsed)

    def _refunded(self, entry: e.Refunded) -> None:
        key = entry.key or ""
        charge = self.charges.get(key)
        if charge is None or key in self.refunded:
            raise Violation("I4", self.seq, f"refunds {key}, which was not charged or is refunded")
        self.refunded.add(key)
        made = total(entry.returned) + total(entry.lapsed) + entry.beyond
        fair = entry.tokens == made <= charge.tokens and entry.beyond <= charge.beyond
        self.expect("I4", fair, f"{made} of {charge.tokens} refunded")
        self.expect("R-SALE-8", entry.purse == charge.purse, f"{entry.purse} given back of {charge.purse}")
        self.expect("R-SALE-5", entry.use == charge.use, f"{entry.use} given back of {charge.use}")
        self._purse(entry.purse, -entry.tokens, 0)
        spent = by_lot(charge.moves)
        for number, tokens in by_lot(entry.returned, entry.lapsed).items():
            self.expect("I4", tokens <= spent.get(number, 0), f"refunds {tokens} tokens to lot {number}")
            self.lots[number].spent -= tokens
        self._back(entry.returned, entry.lapsed)

    def _revoked(self, entry: e.Revoked) -> None:
        self.expect("I3", entry.tokens == total(entry.moves), "tokens are not the sum of moves")
        for number, tokens in entry.moves:
            self.lots[number].revoked += tokens

    def _set_aside(self, entry: e.SetAside) -> None:
        self._marked(entry, aside=True)

    def _given_back(self, entry: e.GivenBack) -> None:
        self._marked(entry, aside=False)

    def _marked(self, entry: e.SetAside | e.GivenBack, *, aside: bool) -> None:
        """Lots are set aside or given back, each once, with all that is available in them."""
        has = tuple((n, self.lots[n].available) for n in entry.lots if self.lots[n].available)
        self.expect("I3", has == entry.moves, f"{entry.moves} moved, the lots have {has}")
        self.expect("I3", entry.tokens == total(entry.moves), "tokens are not the sum of moves")
        for lot in (self.lots[number] for number in entry.lots):
            self.expect("I2", lot.unit == "token" and lot.aside != aside, f"lot {lot.number} is {lot}")
            lot.aside = aside

    def _credit_spent(self, entry: e.CreditSpent) -> None:
        """Credit is drawn from living money lots, the soonest to expire first, then the oldest."""
        expected = draw_credit(self.lots.values(), entry.tokens)
        self.expect("I5", expected == entry.moves, f"drew {entry.moves}, burn order gives {expected}")
        for number, amount in entry.moves:
            self.lots[number].spent += amount

    def _expired(self, entry: e.Expired) -> None:
        moved = by_lot(entry.moves)
        self.expect("I1", moved.keys() <= set(entry.lots), "tokens expired in a living lot")
        for number in entry.lots:
            lot = self.lots[number]
            past = lot.expires_at is not None and lot.expires_at <= self.time
            due = past or lot.priority == PLAN_PRIORITY
            self.expect("I5", due and not lot.lapsed, f"lot {number} lapsed before its time or twice")
            self.expect("I1", moved.get(number, 0) == lot.available, f"lot {number} kept tokens")
            lot.expired += lot.available
            lot.lapsed = True
            self.living.pop(number, None)

    def _period_started(self, entry: e.PeriodStarted) -> None:
        self.period_start = entry.start

    def _plan_changed(self, entry: e.PlanChanged) -> None:
        self.plan = entry.plan
        self.period_start = None
        self.warned.clear()

    def _frozen(self, entry: e.Frozen) -> None:
        self.frozen, self.by_hand = True, entry.hand_at is not None

    def _restored(self, entry: e.Restored) -> None:
        self.expect("R-LIC-3", not self.by_hand or entry.key is not None, "an invoice lifted a hand's freeze")
        self.frozen = self.by_hand = False
        for number, expires_at in entry.extended:
            before = self.lots[number].expires_at
            self.expect("I5", before is not None and expires_at >= before, f"lot {number} lost time")
            warn_at = self.lots[number].warn_at
            if warn_at is not None:
                self.lots[number].warn_at = warn_at + expires_at - (before or 0)
            self.lots[number].expires_at = expires_at

    def _warned(self, entry: e.Warned) -> None:
        if entry.lot is not None:
            lot = self.lots[entry.lot]
            due = not lot.lapsed and lot.warn_at is not None and lot.warn_at <= self.time
            fair = due and not self.frozen and 0 < entry.tokens == lot.available
            self.expect("R-PLAN-8", fair, f"warned of lot {lot}")
            lot.warn_at = None
            return
        self.expect("R-PLAN-8", self.left <= entry.threshold, f"{self.left} left, of {entry.threshold}")
        self.expect("R-PLAN-8", entry.code not in self.warned, f"warned of {entry.code} twice")
        self.warned[entry.code] = entry.threshold

    _handlers: ClassVar[dict[type[e.Base], Callable[[Auditor, Any], None]]] = {
        e.Granted: _granted,
        e.Held: _held,
        e.Extended: _extended,
        e.Charged: _charged,
        e.Released: _released,
        e.Refunded: _refunded,
        e.Revoked: _revoked,
        e.SetAside: _set_aside,
        e.GivenBack: _given_back,
        e.CreditSpent: _credit_spent,
        e.Expired: _expired,
        e.PeriodStarted: _period_started,
        e.PlanChanged: _plan_changed,
        e.Frozen: _frozen,
        e.Restored: _restored,
        e.Warned: _warned,
    }

    def compare(self, account: Account) -> None:
        """The account says what the books say (I1 to I4), and what it derives follows from its state."""
        state = account.state
        at, ours = (state.seq, state.time), (self.seq, self.time)
        # An account that is read, not decided on, may show a later moment.
        self.expect(
            "I3", at[0] == ours[0] and at[1] >= ours[1], f"the account is at {at}, the books at {ours}"
        )
        theirs = {
            number: (
                lot.granted, lot.available, lot.held, lot.spent, lot.expired, lot.revoked,
                FAR if lot.expires_at is None else lot.expires_at, int(lot.lapsed), int(number in state.aside),
            )
            for number, lot in state.lots.items()
        }  # fmt: skip
        kept = {n: lot for n, lot in self.lots.items() if n in theirs or lot.available or lot.held}
        lots = {number: lot.columns() for number, lot in kept.items()}
        self.expect("I1", lots == theirs, f"lots are {theirs}, books {lots}")
        gone = [lot for n, lot in self.lots.items() if n not in kept and lot.unit == "token"]
        sums = [
            sum(getattr(lot, name) for lot in gone) for name in ("granted", "spent", "expired", "revoked")
        ]
        self.expect("I1", sums == state.dropped, f"dropped lots sum to {state.dropped}, books {sums}")
        of = state.purse_of
        holds = {
            k: BookHold(h.tokens, h.deadline, h.moves, h.beyond, of.get(k)) for k, h in state.holds.items()
        }
        self.expect("I4", holds == self.holds, f"open holds are {holds}, books {self.holds}")
        self.expect("R-SALE-8", state.purses == self.purses, f"purses {state.purses}, books {self.purses}")
        derived = (account.free, account.held, account.left)
        books = (self.free, self.held, self.left)
        self.expect("I2", derived == books, f"account derives {derived}, books {books}")
        order = sorted(lot.rank for lot in self.living.values() if lot.available and not lot.aside)
        self.expect("I5", order == account.order, f"burn order is {account.order}, books {order}")
        deadlines = [hold.deadline for hold in self.holds.values()]
        deadlines += [at for at in (state.stage_at, self._period_deadline(account)) if at is not None]
        if not self.frozen:
            aging = [lot for lot in kept.values() if lot.priority != PLAN_PRIORITY and not lot.lapsed]
            deadlines += [lot.expires_at for lot in aging if lot.expires_at is not None]
            deadlines += [lot.warn_at for lot in aging if lot.warn_at is not None and lot.available]
        due, soonest = account.next_due(), min(deadlines, default=None)
        self.expect("I3", (None if due is None else due[0]) == soonest, f"next due {due}, books {soonest}")

    def _period_deadline(self, account: Account) -> int | None:
        """When the period ends by itself, or its renewal has been waited for long enough (R-PLAN-4)."""
        state = account.state
        if state.period is None or state.paid_until is None or state.period.end < state.paid_until:
            return None if state.period is None else state.period.end
        if state.scheduled and not state.scheduled_billed:
            return state.period.end
        if not self.frozen:
            return state.renewal_by
        left = [lot for lot in self.living.values() if lot.priority == PLAN_PRIORITY and not lot.aside]
        return state.period.end if left else None

    def answered(self, envelope: c.Envelope, reply: Receipt | Refusal, wrote: Sequence[e.Entry]) -> None:
        """What one command answered and put on the record: I6 and I7. `wrote` are its entries, due ones included."""
        done = [entry for entry in wrote if acts(entry)]
        if isinstance(reply, Refusal):
            self.expect("I7", not done, f"refused as {reply.code} but wrote {done}")
            return
        self.expect("I6", not (reply.replayed and done), f"replayed but wrote {done}")
        command = envelope.command
        if isinstance(command, c.Settle | c.Release):
            ends = [
                one for one in done if isinstance(one, e.Charged | e.Released) and one.key == command.hold
            ]
            self.expect("R-SALE-5", all(one.use == command.use for one in ends), f"{command.use} of {ends}")
        if envelope.key is None or not envelope.keyed or isinstance(command, _KEYED_OTHERWISE):
            return
        answer = (c.body(command), structs.replace(reply, replayed=False))
        before = self.answers.setdefault(envelope.key, answer)
        self.expect("I6", before == answer, f"key {envelope.key} answered {answer} after {before}")


_KEYED_OTHERWISE = (c.Settle, c.Release, c.Refund, c.Tick, c.CountRefusals)
"""Commands keyed by the operation they are about, or that leave nothing of their own to answer with."""
