"""Margins: what a month brought and cost, by plan, by pack and by organization, from what was really used (R-FIN-1).

A plan counts by whole periods, in the month in which they end, so that what was paid stands beside all that was used
for it: what a period was sold for by the journal, the tokens that were used in it beside those of packs, and its
overage. One that an upgrade ended early counts for the share of its time. In the present month the period that runs
counts as it stands: its margin can only get less. A period that was not paid, and a trial, bring nothing. Packs, and
tokens that were given away, count by the month itself: what was paid in it, and what was used of them in it. What money
credit pays of a pack or of overage brings nothing: its money was counted when it came, with the purchase that it was the
refund of. Where it pays of a bill that was made before, that is a line of overage of its own, less than 0, in the month
in which it pays, whichever plan the bill was beyond.

Money that goes back is a line of its own (`refund`) in the month in which it does; a month that is over stays as it was
(`tokentill.rules.takings`). What was paid in a month for plans and overage, less what was earned of them in it, is the
line `deferred`: it is more than 0 where a year is paid at once, and less in the months that follow, where a bill is
owed, or where credit paid. So the lines of a month together are the money that came in less the money that went out. A
period that no purchase of the till's stands for was paid to the host, and counts as money that came in.

The cost of tokens is the catalog's, rounded once for each line, and what a period has earned is rounded once. What was
given back of a charge is taken off when it was.

S2's rule: what one payment for a plan leaves, after the cost of its tokens, must be more than the catalog's
`margin_min` (Pro > $100, Enterprise > $300). Otherwise "increase price or reduce token allocation".

Months are those of UTC. What it does not decide: card fees are shown and are no part of the rule, as in S2.

Requirement ids: R-FIN-1.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from datetime import UTC, datetime
from fractions import Fraction
from typing import Literal

from msgspec import Struct

from tokentill.rules import entries as e
from tokentill.rules.catalog import Catalog, Costs
from tokentill.rules.money import format_amount, half_up
from tokentill.rules.pricing import Margin, card_fee, token_cost
from tokentill.rules.rows import Row

Kind = Literal["plan", "pack", "overage", "given", "deferred", "refund"]
OVERAGE = "overage"
"""The item of what is deferred of bills of overage, whichever plan they are beyond."""

MILLION = 1_000_000
Source = tuple[Kind, str]
"""What tokens or money belong to: a kind and the id of the plan or pack."""


class Line(Struct, frozen=True, kw_only=True):
    """What one plan or pack brought and used in a month. `payments` in millionths; money in minor units.

    `deferred`: what was paid in other months than it was earned in; `refund`: what went back.
    """

    kind: Kind
    item: str
    payments: int = 0
    revenue: int = 0
    fees: int = 0
    tokens: int = 0


class MarginMonth(Row, frozen=True, kw_only=True):
    """The lines of an organization in a month that is over; `id` is `month:organization`.

    `booked`: the money that was booked in this month and all before it, in sum.
    """

    month: str
    lines: tuple[Line, ...]
    booked: tuple[Line, ...] = ()


class MarginCheck(Row, frozen=True, kw_only=True):
    """The check of a month, whose name is its id. `reached`: the organization that was summed last."""

    reached: str = ""
    done_at: int | None = None


class MarginLine(Struct, frozen=True, kw_only=True):
    """A line with its margin. `payments`: how many, with two decimals. `per_payment`: what one leaves before fees.

    `below`: that is not more than `margin_min`, which the catalog wants.
    """

    kind: Kind
    item: str
    payments: str | None
    revenue: int
    tokens: int
    cost: int
    fees: int
    gross: int
    net: int
    gross_percent: str | None
    net_percent: str | None
    per_payment: int | None
    margin_min: int | None
    below: bool


class MarginReport(Struct, frozen=True, kw_only=True):
    """The margins of a month. `closed`: it is over and was summed. `below`: organizations whose plan left too little.

    The revenue of all `lines` together is the money that came in in the month less the money that went out. Two kinds of
    line are no sale: `refund`, what went back in the month, whenever it had been paid; and `deferred`, what was paid in
    the month for plans and overage less what was earned of them in it.
    """

    month: str
    currency: str
    closed: bool
    organizations: int
    lines: tuple[MarginLine, ...]
    below: tuple[str, ...]
    remedies: tuple[str, ...]


def span(month: str) -> tuple[int, int]:
    """First moment of the month and of the next, epoch milliseconds. Raises ValueError on what is no month."""
    begin = datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC)
    following = begin.replace(year=begin.year + begin.month // 12, month=begin.month % 12 + 1)
    return int(begin.timestamp() * 1000), int(following.timestamp() * 1000)


def month_before(month: str) -> str:
    """The month before the month."""
    begin = datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC)
    return f"{begin.year - (begin.month == 1):04}-{(begin.month - 2) % 12 + 1:02}"


class Reading:
    """Sums the entries of one organization, newest first, for the month from `start` until before `end`.

    `now` is its time, `plan` the plan it is on. `source`: what a lot belongs to, None = the plan that ran. `trials`:
    times that nothing was paid for. `bought`: purchases that plans are paid with. `billed`: what credit paid of the bill
    of the entry of this number when it was made, None where the till has not made it yet; then `unbilled` says so.
    """

    def __init__(
        self,
        start: int,
        end: int,
        now: int,
        plan: str | None,
        source: Callable[[int], Source | None],
        trials: Iterable[tuple[int, int]] = (),
        bought: Container[str] = (),
        billed: Callable[[int], int | None] = lambda _: None,
    ) -> None:
        self._start, self._end, self._now = start, end, now
        self._plan = plan
        self._source = source
        self._trials = tuple(trials)
        self._bought = bought
        self._billed = billed
        self._ends: int | None = None
        """Where the period that is read next ended early, or was followed by another."""
        self._covered = False
        """Whether the period that runs at `start` was read."""
        self._period = _Sums()
        """What was used in the period that is being read, and billed beyond it."""
        self._sums = _Sums()
        self.unbilled = False

    def take(self, entry: e.Entry, costs: Costs) -> bool:
        """Count an entry; False once what is older does not matter."""
        if isinstance(entry, e.Charged):
            self._spent(entry.time, entry.moves, entry.beyond, entry.beyond_kind, 1)
        elif isinstance(entry, e.Refunded):
            self._spent(entry.time, (*entry.returned, *entry.lapsed), entry.beyond, entry.beyond_kind, -1)
        elif isinstance(entry, e.OverageBilled):
            credit = self._billed(entry.seq) if entry.amount else 0
            self.unbilled = self.unbilled or credit is None
            charged = entry.amount - (credit or 0)
            self._period.earn(("overage", self._plan or ""), charged, card_fee(charged, costs))
            self._period.earn(("deferred", OVERAGE), -charged, 0)
        elif isinstance(entry, e.PeriodStarted):
            self._began(entry, costs)
        elif isinstance(entry, e.PlanChanged):
            self._ends = entry.anchor if self._ends is None else min(self._ends, entry.anchor)
            self._plan = entry.before
        return entry.time >= self._start or (self._plan is not None and not self._covered)

    def book(self, lines: Iterable[Line]) -> None:
        """Count money that is booked in the month."""
        for one in lines:
            part = Fraction(one.payments, MILLION)
            self._sums.earn((one.kind, one.item), one.revenue, one.fees, part)

    def lines(self) -> tuple[Line, ...]:
        """What was summed, by kind and id."""
        return self._sums.lines()

    def _began(self, entry: e.PeriodStarted, costs: Costs) -> None:
        """All of a period was read: count it, if it is one of this month."""
        runs = self._ends is None and entry.end > self._now
        ends = entry.end if self._ends is None else min(entry.end, self._ends)
        used, self._period, self._ends = self._period, _Sums(), entry.start
        self._covered = self._covered or entry.start <= self._start
        if not (self._start <= self._now < self._end if runs else self._start < ends <= self._end):
            return
        self._sums.add(used)
        if entry.plan is None or entry.unpaid or any(a <= entry.start < b for a, b in self._trials):
            return
        part = Fraction(ends - entry.start, entry.end - entry.start) / entry.periods
        price = entry.price or 0
        earned = _whole(price * part)
        self._sums.earn(("plan", entry.plan), earned, card_fee(price, costs) * part, part)
        if entry.reference is not None and entry.reference in self._bought:
            self._sums.earn(("deferred", entry.plan), -earned, 0)

    def _spent(self, at: int, moves: e.Moves, beyond: int, kind: e.Beyond | None, sign: int) -> None:
        own: Source = ("plan", self._plan or "")
        for lot, tokens in moves:
            source = self._source(lot)
            if source is None:
                self._period.use(own, sign * tokens)
            elif self._start <= at < self._end:
                self._sums.use(source, sign * tokens)
        if beyond:
            self._period.use(("overage", own[1]) if kind == "overage" else own, sign * beyond)


class _Sums:
    """Tokens, money and payments, each by what it belongs to."""

    def __init__(self) -> None:
        self.tokens: dict[Source, int] = {}
        self.money: dict[Source, tuple[int, Fraction, Fraction]] = {}
        """Revenue, fees, payments."""

    def use(self, source: Source, tokens: int) -> None:
        self.tokens[source] = self.tokens.get(source, 0) + tokens

    def earn(self, source: Source, amount: int, fee: Fraction | int, part: Fraction = Fraction()) -> None:
        revenue, fees, payments = self.money.get(source, (0, Fraction(), Fraction()))
        self.money[source] = (revenue + amount, fees + fee, payments + part)

    def add(self, other: _Sums) -> None:
        for source, tokens in other.tokens.items():
            self.use(source, tokens)
        for source, (amount, fee, part) in other.money.items():
            self.earn(source, amount, fee, part)

    def lines(self) -> tuple[Line, ...]:
        found = []
        for kind, item in sorted({*self.tokens, *self.money}):
            revenue, fees, payments = self.money.get((kind, item), (0, Fraction(), Fraction()))
            if kind == "deferred" and not revenue:
                continue
            found.append(
                Line(
                    kind=kind,
                    item=item,
                    payments=_whole(payments * MILLION),
                    revenue=revenue,
                    fees=_whole(fees),
                    tokens=self.tokens.get((kind, item), 0),
                )
            )
        return tuple(found)


def _whole(amount: Fraction) -> int:
    return half_up(amount.numerator, amount.denominator)


def total(lines: Iterable[Line]) -> tuple[Line, ...]:
    """Lines of the same kind and id put together."""
    found: dict[Source, Line] = {}
    for one in lines:
        known = found.get((one.kind, one.item), Line(kind=one.kind, item=one.item))
        found[one.kind, one.item] = Line(
            kind=one.kind,
            item=one.item,
            payments=one.payments + known.payments,
            revenue=one.revenue + known.revenue,
            fees=one.fees + known.fees,
            tokens=one.tokens + known.tokens,
        )
    return tuple(found[source] for source in sorted(found))


def judged(catalog: Catalog, line: Line) -> MarginLine:
    """The line with its cost, its margin, and whether that is enough (R-FIN-1)."""
    margin = Margin(line.revenue, token_cost(line.tokens, catalog.costs), line.fees)
    plan = catalog.plans.get(line.item) if line.kind == "plan" else None
    wanted = None if plan is None or plan.price is None else plan.margin_min
    counted = line.payments if line.kind in ("plan", "pack") else 0
    hundredths = half_up(counted * 100, MILLION)
    return MarginLine(
        kind=line.kind,
        item=line.item,
        payments=f"{hundredths // 100}.{hundredths % 100:02}" if counted else None,
        revenue=line.revenue,
        tokens=line.tokens,
        cost=margin.cost,
        fees=margin.fee,
        gross=margin.gross,
        net=margin.net,
        gross_percent=margin.gross_percent(),
        net_percent=margin.net_percent(),
        per_payment=half_up(margin.gross * MILLION, counted) if counted else None,
        margin_min=wanted,
        below=wanted is not None and counted > 0 and margin.gross * MILLION <= wanted * counted,
    )


def report(
    catalog: Catalog, month: str, by_organization: Mapping[str, tuple[Line, ...]], *, closed: bool
) -> MarginReport:
    """The margins of a month from the lines of its organizations."""
    lines = tuple(
        judged(catalog, line) for line in total(one for own in by_organization.values() for one in own)
    )
    below = sorted(
        name for name, own in by_organization.items() if any(judged(catalog, one).below for one in own)
    )
    return MarginReport(
        month=month,
        currency=catalog.currency,
        closed=closed,
        organizations=len(by_organization),
        lines=lines,
        below=tuple(below[:100]),
        remedies=tuple(remedy(catalog, month, one) for one in lines if one.below),
    )


def remedy(catalog: Catalog, month: str, line: MarginLine) -> str:
    """What is wrong with a plan's margin, and what S2 says to do."""
    left = format_amount(line.per_payment or 0, catalog.currency)
    wanted = format_amount(line.margin_min or 0, catalog.currency)
    title = catalog.plans[line.item].title
    return (
        f"In {month} a payment for {title} left {left}, which is not more than {wanted}. Increase its price or reduce "
        "its tokens."
    )
