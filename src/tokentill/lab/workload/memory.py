"""What a client of one account knows: what it sent, what it was told, and how to choose at random."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol, TypeVar

from msgspec import Struct

from tokentill.rules import commands as c
from tokentill.rules.catalog import TOKENS_MAX, Catalog
from tokentill.rules.receipts import Receipt
from tokentill.rules.refusals import Refusal

T = TypeVar("T")
NO_SUCH_KEY = "f" * 32


class Dice(Protocol):
    """Where chance comes from; `random.Random` is one."""

    def randrange(self, stop: int, /) -> int:
        """A number from 0 to `stop` - 1."""
        ...


class Known(Struct):
    """An operation the client was told of: a hold or a charge with its tokens."""

    key: str
    tokens: int
    deadline: int
    kind: Literal["hold", "charge"]
    ended: bool = False


class Memory:
    """Dice, a clock, and everything replies said so far."""

    def __init__(self, dice: Dice, catalog: Catalog, start: int) -> None:
        self.dice = dice
        self.catalog = catalog
        self.now = start
        self.opened = False
        self.simulated = False
        self.time = 0
        """The account's own time, as far as replies say it."""
        self.free = 0
        self.lots: list[tuple[int, int]] = []
        self.known: list[Known] = []
        self.sent: list[c.Envelope] = []

    def pick(self, choices: Sequence[T]) -> T:
        """One of the choices."""
        return choices[self.dice.randrange(len(choices))]

    def chance(self, percent: int) -> bool:
        """True in `percent` of a hundred cases."""
        return self.dice.randrange(100) < percent

    def odd_amount(self) -> int:
        """An amount no command may name."""
        return self.pick((0, -1, -7, TOKENS_MAX + 1, 2**63, 10**30))

    def amount(self) -> int:
        """A small amount, often around the balance, seldom an odd one."""
        if self.chance(4):
            return self.odd_amount()
        if self.chance(25):
            return max(1, self.free + self.pick((-1, 0, 1, 2)))
        return 1 + self.dice.randrange(12)

    def hold(self) -> Known:
        """A hold, most often one that is open still, now and then one that never was."""
        fresh = [each for each in self.known[-10:] if not each.ended and each.kind == "hold"]
        if fresh and self.chance(80):
            return self.pick(fresh)
        if self.known and self.chance(70):
            return self.pick(self.known[-30:])
        return Known(NO_SUCH_KEY, 3, 0, "hold")

    def learn(self, envelope: c.Envelope, reply: Receipt | Refusal) -> None:
        """Remember what was sent and what a client learns from the reply."""
        self.sent.append(envelope)
        if isinstance(reply, Refusal):
            return
        command = envelope.command
        self.opened = True
        self.free = reply.balance
        if not reply.replayed:
            self.time = reply.time
        if isinstance(command, c.Open):
            self.simulated = command.simulated
        if isinstance(command, c.Settle | c.Release):
            for each in self.known:
                if each.key == command.hold:
                    each.ended = True
                    each.kind = "charge" if isinstance(command, c.Settle) else "hold"
        elif reply.replayed:
            return
        elif reply.lot is not None:
            self.lots.append((reply.lot, reply.tokens))
        elif isinstance(command, c.Reserve):
            self.known.append(Known(reply.operation, reply.tokens, reply.deadline or 0, "hold"))
        elif isinstance(command, c.Charge):
            self.known.append(Known(reply.operation, reply.tokens, 0, "charge"))
