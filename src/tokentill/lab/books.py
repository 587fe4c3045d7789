"""What the auditor writes down of one account: lots and holds as the journal alone makes them."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from tokentill.rules.entries import Moves

FAR = 1 << 62
PLAN_PRIORITY = 0


class BookLot(Struct):
    """A lot in the auditor's books."""

    number: int
    priority: int
    unit: str
    expires_at: int | None
    granted: int
    held: int = 0
    spent: int = 0
    expired: int = 0
    revoked: int = 0
    lapsed: bool = False
    aside: bool = False
    warn_at: int | None = None

    @property
    def available(self) -> int:
        """What is left: granted less everything that went elsewhere."""
        return self.granted - self.held - self.spent - self.expired - self.revoked

    @property
    def rank(self) -> tuple[int, int, int]:
        """Its place in the burn order (R-LED-2)."""
        return (self.priority, FAR if self.expires_at is None else self.expires_at, self.number)

    def columns(self) -> tuple[int, ...]:
        """Everything an account says about a lot."""
        far = FAR if self.expires_at is None else self.expires_at
        moved = (self.available, self.held, self.spent, self.expired, self.revoked)
        return (self.granted, *moved, far, int(self.lapsed), int(self.aside))

    def drawable(self, time: int) -> bool:
        """Whether tokens may be drawn from it at `time`; plan lots live until their period's reset."""
        alive = self.expires_at is None or self.expires_at > time or self.priority == PLAN_PRIORITY
        usable = self.unit == "token" and not self.lapsed and not self.aside
        return usable and alive and self.available > 0


class BookHold(Struct):
    """A hold in the auditor's books."""

    tokens: int
    deadline: int
    moves: Moves
    beyond: int
    purse: str | None = None


def total(moves: Iterable[tuple[int, int]]) -> int:
    """Tokens of all moves together."""
    return sum(tokens for _, tokens in moves)


def by_lot(*parts: Moves) -> dict[int, int]:
    """Tokens of all parts together, for each lot."""
    added: dict[int, int] = {}
    for moves in parts:
        for number, tokens in moves:
            added[number] = added.get(number, 0) + tokens
    return added


def first(moves: Moves, tokens: int) -> Moves:
    """The part of `moves` that makes up the first `tokens`."""
    kept: list[tuple[int, int]] = []
    for number, each in moves:
        if tokens:
            kept.append((number, min(each, tokens)))
        tokens -= min(each, tokens)
    return tuple(kept)


def draw_credit(lots: Iterable[BookLot], amount: int) -> Moves:
    """What living money lots pay of the amount: the soonest to expire first, then the oldest; short if there is less."""
    money = [lot for lot in lots if lot.unit == "money" and not lot.lapsed and lot.available]
    moves = []
    for lot in sorted(money, key=lambda lot: (FAR if lot.expires_at is None else lot.expires_at, lot.number)):
        take = min(amount, lot.available)
        amount -= take
        if take:
            moves.append((lot.number, take))
    return tuple(moves)
