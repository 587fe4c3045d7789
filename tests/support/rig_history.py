"""Linearizability: what every caller saw must be explained by one order of the commands, which is the journal's.

For each organization: a command answered before another was sent comes before it (real time); replaying the
commands in the order of their entries gives exactly those entries and answers; an answer that left no entry
(a repetition, a refusal that is only counted) is the answer of some moment while the command was under way.
"""

from collections.abc import Sequence

from msgspec import Struct

from tests.support.rig_crowd import Seen
from tests.support.rig_store import plain
from tokentill.ports import JournalRow
from tokentill.rules import entries as e
from tokentill.rules.account import Account
from tokentill.rules.catalog import Catalog
from tokentill.rules.decide import Outcome, execute
from tokentill.rules.evolve import evolve
from tokentill.rules.receipts import Receipt


class NotLinear(AssertionError):
    """No order of the commands explains what was seen."""


class Tally(Struct):
    """What was explained: commands with an entry, and answers without one."""

    ordered: int = 0
    between: int = 0


class _Floating(Struct):
    """An answer without an entry, and the states it may be the answer of."""

    seen: Seen
    first: int
    last: int


def check(seen: Sequence[Seen], rows: Sequence[JournalRow], catalog: Catalog, now: int) -> Tally:
    """Explain everything `seen` of one organization by its journal; raises `NotLinear`."""
    entries = [row.entry for row in rows]
    refused = {entry.key: entry for entry in entries if isinstance(entry, e.Refused) and entry.key}
    placed: dict[int, Seen] = {}
    floating: list[Seen] = []
    # Of callers under one key the first sent may always count as the one that did it.
    for each in sorted(seen, key=lambda each: each.sent):
        seq = _place(each, refused)
        if seq is None:
            floating.append(each)
        elif seq in placed:
            raise NotLinear(f"entry {seq} is the answer to {each} and to {placed[seq]}")
        else:
            placed[seq] = each
    bounds = _Bounds(placed)
    bounds.check()
    waiting = [_Floating(each, *bounds.of(each, len(entries))) for each in floating]
    replay = _Replay(entries, placed, waiting, catalog, now)
    replay.run()
    refusals = sum(each.refusal is not None for each in floating) - replay.repeated
    if replay.refused != refusals:
        raise NotLinear(f"{refusals} commands were refused, {replay.refused} are on the record")
    return Tally(len(placed), len(floating))


def _place(each: Seen, refused: dict[str, e.Refused]) -> int | None:
    """The entry a command wrote, None if it wrote none."""
    if each.receipt is not None:
        return None if each.receipt.replayed else each.receipt.entry
    key = each.envelope.key or ""
    entry = refused.get(key)
    if entry is None or entry.refusal != each.refusal:
        return None
    del refused[key]
    return entry.seq


class _Bounds:
    """Between which entries something may have happened, by real time."""

    def __init__(self, placed: dict[int, Seen]) -> None:
        self._placed = placed
        self._by_answer = sorted((each.answered, seq) for seq, each in placed.items())
        self._by_sending = sorted((each.sent, seq) for seq, each in placed.items())
        self._highest: list[int] = []
        self._lowest: list[int] = []
        for _, seq in self._by_answer:
            self._highest.append(max(seq, self._highest[-1] if self._highest else 0))
        for _, seq in reversed(self._by_sending):
            self._lowest.append(min(seq, self._lowest[-1] if self._lowest else seq))
        self._lowest.reverse()

    def of(self, each: Seen, end: int) -> tuple[int, int]:
        """After the last entry answered before it was sent, before the first sent after it was answered."""
        before = _count(self._by_answer, each.sent)
        after = _count(self._by_sending, each.answered + 1)
        first = self._highest[before - 1] if before else 0
        last = self._lowest[after] - 1 if after < len(self._lowest) else end
        return first, last

    def check(self) -> None:
        for seq, each in self._placed.items():
            first, _ = self.of(each, 0)
            if first >= seq:
                raise NotLinear(
                    f"entry {first} was answered before {each} was sent, and yet it is entry {seq}"
                )


def _count(times: list[tuple[int, int]], limit: int) -> int:
    """How many of the sorted times are below the limit."""
    low, high = 0, len(times)
    while low < high:
        middle = (low + high) // 2
        if times[middle][0] < limit:
            low = middle + 1
        else:
            high = middle
    return low


class _Replay:
    """The commands again, in the order of their entries."""

    def __init__(
        self,
        entries: list[e.Entry],
        placed: dict[int, Seen],
        waiting: list[_Floating],
        catalog: Catalog,
        now: int,
    ) -> None:
        self._entries = entries
        self._placed = placed
        self._waiting = sorted(waiting, key=lambda each: -each.first)
        self._active: list[_Floating] = []
        self._catalog = catalog
        self._now = now
        self._account = Account()
        self._stored: dict[str, list[e.Entry]] = {}
        self.refused = 0
        """Refusals on the record without a key, one by one or by their number."""
        self.repeated = 0
        """Refusals that need no record: they were given before."""

    def run(self) -> None:
        at = 0
        self._look(at)
        while at < len(self._entries):
            # States between the entries of one command were never seen by anybody.
            at += self._do(at)
            self._look(at)

    def _find(self, operation: str) -> Sequence[e.Entry]:
        return self._stored.get(operation, ())

    def _do(self, at: int) -> int:
        """Do the command whose entry comes after `at` entries; the number of its entries."""
        each = self._placed.get(at + 1)
        if each is None:
            self._do_nobodys(self._entries[at])
            return 1
        outcome = execute(self._account, each.envelope, self._catalog, self._now, self._find)
        wrote = self._entries[at : at + len(outcome.entries)]
        if outcome.entries != wrote or not wrote:
            raise NotLinear(f"{each} should have written {outcome.entries}, the journal has {wrote}")
        if plain(outcome.reply) != plain(each.reply):
            raise NotLinear(f"{each} should have been answered {outcome.reply}")
        for entry in wrote:
            if entry.key is not None:
                self._stored.setdefault(entry.key, []).append(entry)
        return len(wrote)

    def _do_nobodys(self, entry: e.Entry) -> None:
        """An entry that names no caller: the first refusal of a minute, or the number of the others."""
        if not isinstance(entry, e.Refused):
            raise NotLinear(f"nobody was told of {entry}")
        if entry.minute is None:
            self.refused += 1
            for each in sorted(self._active, key=lambda each: each.last):
                outcome, _ = self._try(each.seen)
                if outcome.entries == [entry] and plain(outcome.reply) == plain(each.seen.reply):
                    self._active.remove(each)
                    break
            else:
                raise NotLinear(f"nobody was refused as {entry} says")
        else:
            self.refused += entry.count
        evolve(self._account, entry)

    def _look(self, at: int) -> None:
        """Which of the answers without an entry are explained by the state after `at` entries."""
        while self._waiting and self._waiting[-1].first <= at:
            self._active.append(self._waiting.pop())
        self._active = [each for each in self._active if each.last < at or not self._explains(each.seen)]
        for each in self._active:
            if each.last <= at:
                raise NotLinear(
                    f"no state from entry {each.first} to {each.last} gives the answer of {each.seen}"
                )

    def _explains(self, each: Seen) -> bool:
        """Whether the command, sent in this state, gets this answer and leaves nothing behind."""
        outcome, repeated = self._try(each)
        same = plain(outcome.reply) == plain(each.reply)
        if same and not outcome.entries and repeated == (each.receipt is not None):
            self.repeated += each.refusal is not None and outcome.counted is None
            return True
        return False

    def _try(self, each: Seen) -> tuple[Outcome, bool]:
        """The outcome of the command in this state, which it does not change, and whether that is a repetition."""
        copy = Account.load(self._account.dump())
        outcome = execute(copy, each.envelope, self._catalog, self._now, self._find)
        return outcome, isinstance(outcome.reply, Receipt) and outcome.reply.replayed
