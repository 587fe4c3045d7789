"""What the naive model writes down, and every figure worked out from it by scanning.

Lots, holds and charges are plain records that are never removed. A lot does not know what it has left: that
is its grant less everything the records say was held, spent or revoked. A lapsed lot has nothing to give.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field

from tokentill.rules.catalog import AbuseLimits, Catalog, Plan
from tokentill.rules.refusals import Code

Draws = list[tuple[int, int]]
BOUGHT = 10
FOREVER = 1 << 62


class Answer(Struct, frozen=True):
    """What the model expects: `code` of a refusal, None when done; `figures`, all it says of the reply's fields."""

    code: Code | None
    figures: dict[str, Any] = {}
    remembered: bool = False
    """Whether a duplicate under the same key is due exactly this answer."""


def done(kind: str, tokens: int = 0, **figures: object) -> Answer:
    """What a command that was done must answer."""
    return Answer(None, {"kind": kind, "tokens": tokens, **figures})


class LotNote(Struct):
    """A lot as it was given; `revoked` is the only figure that is written here."""

    number: int
    origin: str
    unit: str
    given_at: int
    expires_at: int | None
    tokens: int
    of_plan: bool
    revoked: int = 0
    lapsed: bool = False
    gone: bool = False
    """Empty and given so long ago that only its sums are kept."""
    spent_before: int = 0
    reference: str | None = None
    warn_at: int | None = None
    """When the customer is told that it will expire, until that was done."""
    aside: bool = False
    """A refund or a dispute about it is in progress."""
    aside_for: str | None = None
    """The purchase that it is about."""


class UseNote(Struct):
    """A hold or a one-shot charge and how it went on: open, settled, released or timeout."""

    key: str
    user: str | None
    at: int
    tokens: int
    draws: Draws
    beyond: int
    kind: str | None
    price: int
    burns: bool = False
    """Whether it counts toward the user's burn of the hour."""
    feature: str = ""
    deadline: int = FOREVER
    state: str = "open"
    charged: int = 0
    charged_at: int = 0
    charged_beyond: int = 0
    amount: int = 0
    spent: Draws = []
    refund: Draws | None = None
    refund_answer: Answer | None = None
    end_answer: Answer | None = None
    purse: str | None = None


class UserNote(Struct):
    """What a user did that abuse limits look at."""

    admitted: list[int] = field(default_factory=list)
    attempts: list[int] = field(default_factory=list)
    blocked_until: int = 0
    alerts: list[int] = field(default_factory=list)


class Disputed(Struct, frozen=True):
    """Tokens of a period that was closed and that are set aside, each with the purchase that this is about.

    With the free ones they are `every`, of which the plan of that period lets `most` go on.
    """

    lots: list[tuple[str, int]] = []
    every: int = 0
    most: int = 0


class Notebook:
    """The records of one account and the sums over them."""

    disputed = Disputed()

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self.opened = False
        self.now = 0
        self.simulated = False
        self.anchor = 0
        self.plan_id: str | None = None
        self.number = 0
        self.start: int | None = None
        self.end: int | None = None
        self.unpaid = False
        self.paid: tuple[int | None, int, int] = (None, 1, 0)
        """The last payment for the plan: minor units, for how many periods, the number of the first of them."""
        self.paid_until: int | None = None
        """Where a provider bills: the end of what its last invoice paid for."""
        self.wait_until: int | None = None
        """And until when the next one is waited for."""
        self.invoice_start: int | None = None
        """The beginning of what that invoice paid for, if it said."""
        self.paid_by: str | None = None
        """The purchase that the running period was paid with."""
        self.coming: tuple[int | None, str | None, int | None] = (None, None, None)
        """The same two of a payment whose period is about to begin, and its worth, None = the plan's price."""
        self.contested: str | None = None
        """The purchase whose plan tokens are set aside as they come."""
        self.kept = 0
        """Tokens that would have been carried into a period that was not paid."""
        self.counted_from = 0
        """When this period began to count: at its start, or when the invoice came that was waited for."""
        self.scheduled_billed = False
        self.aside_since = 0
        """Since when tokens are set aside, while payment is failed."""
        self.scheduled = False
        self.scheduled_plan: str | None = None
        self.failed_at: int | None = None
        self.by_hand_at: int | None = None
        self.owed_at: int | None = None
        """Since when an operator wants it frozen, and since when an invoice is owed."""
        self.standing = "active"
        self.cap: int | None = None
        self.lots: list[LotNote] = []
        self.uses: list[UseNote] = []
        self.overage: list[tuple[int, int]] = []
        """This period's overage as it came and went: (tokens, amount), negative when given back."""
        self.overage_credit = 0
        """Minor units given back after they had been billed."""
        self.unlimited: list[int] = []
        self.grace: int = 0
        self.credit_uses: list[Draws] = []
        """What money lots paid for purchases."""
        self.users: dict[str | None, UserNote] = {}
        self.measure = 0
        """What a low balance is a share of: the plan's allowance, else what the newest bought lot brought."""
        self.warned: dict[str, int] = {}
        self.warnings: list[tuple[str, int, int | None]] = []
        """Low-balance warnings: code, threshold, and the lot that expires."""
        self.bills: list[tuple[int, int, int]] = []
        """Overage billed at a period's end: tokens, minor units, the period's start."""
        self.alerts: list[tuple[str, int, int]] = []
        """Burn alerts: user, tokens of the hour, limit."""
        self.answers: dict[str, tuple[bytes | None, Answer]] = {}

    @property
    def plan(self) -> Plan | None:
        """The plan the account is on."""
        return None if self.plan_id is None else self.catalog.plans[self.plan_id]

    def lot(self, number: int) -> LotNote | None:
        """The lot of that number."""
        return next((lot for lot in self.lots if lot.number == number and not lot.gone), None)

    def open_holds(self) -> list[UseNote]:
        """Holds that have not ended."""
        return [use for use in self.uses if use.state == "open"]

    def held_in(self, lot: LotNote) -> int:
        """Tokens of a lot that open holds reserve."""
        return sum(n for use in self.open_holds() for number, n in use.draws if number == lot.number)

    def spent_in(self, lot: LotNote) -> int:
        """Tokens of a lot that charges took for good."""
        took = sum(n for use in self.uses for number, n in use.spent if number == lot.number)
        gave = sum(n for use in self.uses for number, n in use.refund or [] if number == lot.number)
        paid = sum(n for draws in self.credit_uses for number, n in draws if number == lot.number)
        return took - gave + paid

    def left_in(self, lot: LotNote) -> int:
        """Tokens of a lot that can still be given out."""
        if lot.lapsed:
            return 0
        return lot.tokens - lot.revoked - self.held_in(lot) - self.spent_in(lot)

    def free(self) -> int:
        """Tokens free to spend."""
        return sum(self.left_in(lot) for lot in self.lots if lot.unit == "token" and not lot.aside)

    def aside(self) -> int:
        """Tokens in lots that are set aside one by one."""
        return sum(self.left_in(lot) for lot in self.lots if lot.aside)

    def held(self) -> int:
        """Tokens reserved by open holds, from lots and beyond."""
        return sum(use.tokens for use in self.open_holds())

    def left(self) -> int:
        """Tokens of lots that are not spent yet, free and held."""
        return self.free() + sum(n for use in self.open_holds() for _, n in use.draws)

    def purse(self, name: str) -> tuple[int, int]:
        """What uses of that purse have spent, less what was given back of it, and what they hold."""
        own = [use for use in self.uses if use.purse == name]
        back = sum(use.refund_answer.figures["tokens"] for use in own if use.refund_answer is not None)
        held = sum(use.tokens for use in own if use.state == "open")
        return sum(use.charged for use in own) - back, held

    def purses(self) -> dict[str, list[int]]:
        """Every purse that was ever used."""
        return {use.purse: [*self.purse(use.purse)] for use in self.uses if use.purse is not None}

    def draw(self, tokens: int) -> Draws:
        """Where `tokens` come from: plan lots first, then the soonest to expire, then the oldest (R-LED-2)."""
        alive = [lot for lot in self.lots if lot.unit == "token" and not lot.aside and self.left_in(lot) > 0]

        def turn(lot: LotNote) -> tuple[bool, int, int]:
            return (not lot.of_plan, FOREVER if lot.expires_at is None else lot.expires_at, lot.number)

        draws: Draws = []
        for lot in sorted(alive, key=turn):
            take = min(tokens, self.left_in(lot))
            if take:
                draws.append((lot.number, take))
                tokens -= take
        assert tokens == 0
        return draws

    def overage_now(self) -> tuple[int, int]:
        """This period's overage: tokens and minor units. What is given back never makes it negative."""
        tokens = amount = 0
        for more, cost in self.overage:
            tokens, amount = max(0, tokens + more), max(0, amount + cost)
        return tokens, amount

    def unlimited_now(self) -> int:
        """Tokens metered by an unlimited plan in this period."""
        used = 0
        for more in self.unlimited:
            used = max(0, used + more)
        return used

    def limits(self, feature: str) -> AbuseLimits:
        """The abuse limits of a user on a feature."""
        return self.catalog.no_plan_abuse[feature] if self.plan is None else self.plan.abuse[feature]

    def user(self, name: str | None) -> UserNote:
        """What is noted about a user; the nameless ones are one user."""
        return self.users.setdefault(name, UserNote())

    def balance(self) -> dict[str, Any]:
        """The balance as R-LED-1 lists it."""
        figures = dict.fromkeys(("monthly", "additional", "used", "reserved", "credit"), 0)
        for lot in self.lots:
            if lot.lapsed or lot.gone:
                continue
            if lot.unit == "money":
                figures["credit"] += self.left_in(lot)
                continue
            brought = lot.tokens - lot.revoked - lot.spent_before
            figures["monthly" if lot.of_plan else "additional"] += brought
            figures["used"] += self.spent_in(lot) - lot.spent_before
            figures["reserved"] += self.held_in(lot)
        free, frozen = self.free(), self.failed_at is not None
        overage_tokens, overage_amount = self.overage_now()
        return figures | {
            "plan": self.plan_id,
            "standing": self.standing,
            "remaining": 0 if frozen else free,
            "billed": self.paid_until is not None,
            "renewal_due": self.paid_until is not None and self.paid_until <= self.now,
            "simulated": self.simulated,
            "set_aside": self.aside() + (free if frozen else 0),
            "lots_set_aside": self.aside(),
            "held": self.held(),
            "holds": len(self.open_holds()),
            "overage_tokens": overage_tokens,
            "overage_credit": self.overage_credit,
            "overage_amount": overage_amount,
            "cap": self.cap,
            "grace_used": self.grace,
            "unlimited_used": self.unlimited_now(),
            "period_start": self.start,
            "reset_at": self.end,
            "scheduled": self.scheduled,
            "scheduled_plan": self.scheduled_plan,
        }


def split(draws: Draws, tokens: int) -> Draws:
    """The first `tokens` of what was drawn."""
    kept: Draws = []
    for number, n in draws:
        if tokens:
            kept.append((number, min(n, tokens)))
        tokens -= min(n, tokens)
    return kept
