"""The reckoning: everything added up again from the demo's own record, and compared with what the till says.

Three accounts of one evening must agree for every organization: what the served requests cost by the
tariff, what the journal says was charged, and what is missing from the balance. Beyond the sums, each
operation is looked up: who was served was charged once and exactly, who was not was charged nothing.

Requirement ids: R-LED-1, R-LED-3, R-LED-4, R-LED-5, R-LED-9.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from msgspec import Struct

from tokentill.lab.demo.record import Record
from tokentill.lab.demo.till import Balance, JournalLine
from tokentill.ports import Verdict
from tokentill.rules.refusals import Code

SCENES = (
    ("small", Code.EXHAUSTED),
    ("late_payer", Code.LICENCE),
    ("flooder", Code.TOO_LARGE),
    ("flooder", Code.BLOCKED),
    ("burster", Code.RATE),
)
"""Who must have met which refusal."""

SHOWN_MAX = 3
"""How many cases a failed check names."""


class Prices(Protocol):
    """What the reckoning needs to know of prices; `tariff.Tariff` is one."""

    def request(self, feature: str, read: int, written: int) -> int:
        """Tokens that one served request costs."""
        ...

    def pack(self, ident: str) -> int:
        """Tokens in a pack."""
        ...

    def plan(self, ident: str | None) -> int:
        """Tokens a plan brings when it begins."""
        ...


class Books(Struct, frozen=True):
    """What the till says of one organization."""

    journal: Sequence[JournalLine]
    balance: Balance


class Row(Struct, frozen=True):
    """One organization in the final table. `own`, `journal` and `balance` are tokens charged, three times counted."""

    organization: str
    part: str
    plan: str | None
    served: int
    uncharged: int
    refused: int
    bought: int
    own: int
    journal: int
    balance: int

    @property
    def agrees(self) -> bool:
        """Whether the three accounts are one."""
        return self.own == self.journal == self.balance


class Check(Struct, frozen=True):
    """One statement about the evening; `wrong` names cases where it does not hold, none where it does."""

    statement: str
    wrong: tuple[str, ...] = ()


class Reckoning(Struct, frozen=True):
    """The outcome: a row for each organization and the statements checked."""

    rows: tuple[Row, ...]
    checks: tuple[Check, ...]

    @property
    def adds_up(self) -> bool:
        """Whether every statement holds."""
        return not any(check.wrong for check in self.checks)


def reckon(
    records: Iterable[Record], books: Mapping[str, Books], prices: Prices, verdict: Verdict
) -> Reckoning:
    """Compare the record with the till's books."""
    ordered = sorted(records, key=lambda record: record.organization)
    rows = tuple(_row(record, books[record.organization], prices) for record in ordered)
    each = [(record, books[record.organization]) for record in ordered]
    served = sum(row.served for row in rows)
    uncharged = sum(row.uncharged for row in rows)
    entries = sum(len(of.journal) for of in books.values())
    checks = (
        Check(
            f"{sum(row.own for row in rows):,} tokens charged: own arithmetic = journal = balances, "
            f"in each of {len(rows)} organizations",
            _some(_sums(row) for row in rows if not row.agrees),
        ),
        Check(
            f"each of {served:,} served operations was charged once, to the token",
            _some(wrong for record, of in each for wrong in _served(record, of, prices)),
        ),
        Check(
            f"each of {uncharged:,} that failed, timed out or vanished was charged 0",
            _some(wrong for record, of in each for wrong in _uncharged(record, of)),
        ),
        Check(
            "nothing is left reserved",
            _some(_reserved(record, of) for record, of in each if of.balance.holds),
        ),
        Check(
            "every scene was met: out of tokens, unpaid and restored, too large and blocked, too fast",
            _some(_scenes(ordered)),
        ),
        Check("nothing odd was answered", _some(odd for record in ordered for odd in record.odd)),
        Check(
            f"verify replayed {verdict.entries:,} entries of {verdict.organizations} organizations: "
            "chains unbroken, balances the sum of their entries",
            _some(_verdict(verdict, len(rows), entries)),
        ),
    )
    return Reckoning(rows, checks)


def _row(record: Record, books: Books, prices: Prices) -> Row:
    own = sum(prices.request(each.feature, each.read, each.written) for each in record.served)
    journal = sum(line.tokens for line in books.journal if line.kind == "charge")
    journal -= sum(line.tokens for line in books.journal if line.kind == "refund")
    brought = prices.plan(record.plan) + record.opening
    brought += sum(map(prices.pack, record.packs)) + sum(map(prices.plan, record.plans))
    return Row(
        organization=record.organization,
        part=record.part,
        plan=record.plans[-1] if record.plans else record.plan,
        served=len(record.served),
        uncharged=len(record.uncharged),
        refused=record.refusals.total(),
        bought=len(record.packs) + len(record.plans),
        own=own,
        journal=journal,
        balance=brought - books.balance.remaining - books.balance.set_aside - books.balance.held,
    )


def _sums(row: Row) -> str:
    return f"{row.organization}: own {row.own:,}, journal {row.journal:,}, balance {row.balance:,}"


def _served(record: Record, books: Books, prices: Prices) -> Iterable[str]:
    """What is wrong with the charges of served operations, and with charges that belong to none."""
    due = Counter(
        (each.operation, prices.request(each.feature, each.read, each.written)) for each in record.served
    )
    charged = Counter((line.operation or "", line.tokens) for line in books.journal if line.kind == "charge")
    for operation, tokens in (due - charged).elements():
        yield f"{record.organization}: no charge of {tokens:,} for operation {operation}"
    for operation, tokens in (charged - due).elements():
        yield f"{record.organization}: {tokens:,} charged for operation {operation}, which is not due"


def _uncharged(record: Record, books: Books) -> Iterable[str]:
    """Operations that were not served, and yet cost something or never ended."""
    ends: dict[str | None, list[JournalLine]] = defaultdict(list)
    for line in books.journal:
        if line.kind in ("charge", "release"):
            ends[line.operation].append(line)
    for operation, why in record.uncharged.items():
        found = ends[operation]
        if any(line.kind == "charge" for line in found):
            yield f"{record.organization}: operation {operation} {why} and was charged"
        elif len(found) != 1:
            yield f"{record.organization}: the hold of operation {operation}, which {why}, ended {len(found)} times"


def _reserved(record: Record, books: Books) -> str:
    return f"{record.organization}: {books.balance.held:,} tokens in {books.balance.holds} holds"


def _scenes(records: Sequence[Record]) -> Iterable[str]:
    """Scenes that the till let pass as if they were nothing."""
    for part, code in SCENES:
        if not any(record.refusals[code] for record in records if record.part == part):
            yield f"no {part.replace('_', ' ')} was refused with {code}"
    if not any(record.packs for record in records):
        yield "nobody bought a pack"


def _verdict(verdict: Verdict, organizations: int, entries: int) -> Iterable[str]:
    for finding in verdict.findings:
        yield f"{finding.organization}, entry {finding.entry}: {finding.problem}"
    if verdict.organizations != organizations:
        yield f"it found {verdict.organizations} organizations, the demo opened {organizations}"
    if verdict.entries != entries:
        yield f"it found {verdict.entries:,} entries, the API lists {entries:,}"


def _some(cases: Iterable[str]) -> tuple[str, ...]:
    """The first few cases, and how many more."""
    found = list(cases)
    more = len(found) - SHOWN_MAX
    return (*found[:SHOWN_MAX], f"… and {more:,} more") if more > 0 else tuple(found)
