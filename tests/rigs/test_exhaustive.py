"""Every order of up to four operations on one account with two lots, none left out (R-LED-1 to R-LED-9).

The account starts with a plan lot and a pack that expires soon. From there each sequence of operations of the
alphabet below, with repetition, is played on the till, the naive model and the auditor: whatever clients that
run side by side send, the account sees one of these orders. Time is part of it: two letters let the hold's
deadline or the pack's expiry pass. The count is printed and held to what the alphabet makes it.
"""

import copy
from collections.abc import Iterator

import pytest

from tests.support.rig_faulty import FAULTS
from tests.support.rig_model import ORGANIZATION, START, Disagreement, Execute, Memory, Trio
from tokentill.lab import toys
from tokentill.lab.auditor import Auditor, Violation
from tokentill.lab.naive import Naive
from tokentill.lab.workload import Coverage, Step
from tokentill.rules import commands as c
from tokentill.rules import decide
from tokentill.rules.account import Account
from tokentill.rules.catalog import Catalog

CATALOG = toys.catalog()
HOLD_MS = 10_000 + CATALOG.hold_margin_ms
PACK_MS = 60_000
FIRST, SECOND, USE = "a" * 32, "b" * 32, "c" * 32

Letter = tuple[str, int, c.Command, str]
"""Name, milliseconds that pass before it, command, key."""

ALPHABET: tuple[Letter, ...] = (
    ("hold most", 0, c.Reserve(feature="model", tokens=22, timeout_ms=10_000), FIRST),
    ("hold the rest", 0, c.Reserve(feature="model", tokens=9, least=2, timeout_ms=200_000), SECOND),
    ("charge", 0, c.Charge(feature="model", tokens=21), USE),
    ("settle part", 0, c.Settle(hold=FIRST, tokens=21), "1" * 32),
    ("settle all", 0, c.Settle(hold=SECOND), "2" * 32),
    ("release", 0, c.Release(hold=FIRST), "3" * 32),
    ("extend", 0, c.Extend(hold=FIRST, timeout_ms=90_000), "4" * 32),
    ("refund", 0, c.Refund(operation=USE, tokens=2), "5" * 32),
    ("refund the settled", 0, c.Refund(operation=FIRST), "6" * 32),
    ("take back", 0, c.Revoke(lot=2, tokens=3), "7" * 32),
    ("set aside", 0, c.SetAside(lot=2), "f1" * 16),
    ("give back", 0, c.GiveBack(lot=2), "f2" * 16),
    ("deadline passes", HOLD_MS, c.Tick(), "8" * 32),
    ("pack expires", PACK_MS, c.Tick(), "9" * 32),
    ("payment fails", 0, c.Freeze(), "0" * 32),
    ("payment fixed", 1_000, c.Restore(), "d" * 32),
    ("reset", 1, c.Reset(), "e" * 32),
)


def start(execute: Execute = decide.execute) -> Trio:
    """20 tokens of a plan and 5 of a pack."""
    trio = Trio(Memory(CATALOG, execute), CATALOG, Coverage())
    pack = c.Grant(tokens=5, origin="pack", expires_at=START + PACK_MS)
    trio.step(Step(START, c.Envelope(ORGANIZATION, c.Open(plan="hard"), f"{1:032x}", keyed=True)))
    trio.step(Step(START, c.Envelope(ORGANIZATION, pack, f"{2:032x}", keyed=True)))
    return trio


def copied(trio: Trio) -> Trio:
    """Another trio that goes on from here."""
    till = trio.till
    assert isinstance(till, Memory)
    other = Memory(CATALOG, till.execute)
    other.now_account = Account.load(till.now_account.dump())
    other.journal = list(till.journal)
    other.operations = {key: list(entries) for key, entries in till.operations.items()}
    twin = Trio(other, CATALOG, trio.coverage)
    twin.naive = copied_model(trio.naive, CATALOG)
    twin.auditor = copied_books(trio.auditor)
    return twin


def copied_model(naive: Naive, catalog: Catalog) -> Naive:
    twin = Naive(catalog)
    shelf = {k: v for k, v in vars(naive.book).items() if k != "catalog"}
    for name, value in shelf.items():
        setattr(twin.book, name, _copy(value))
    return twin


def copied_books(auditor: Auditor) -> Auditor:
    twin = Auditor()
    for name, value in vars(auditor).items():
        setattr(twin, name, _copy(value))
    twin.living = {number: twin.lots[number] for number in auditor.living}
    return twin


def _copy(value: object) -> object:
    """Two levels deep, which is as deep as anything changes in place."""
    if isinstance(value, list):
        return [copy.copy(each) for each in value]
    if isinstance(value, dict):
        return {key: copy.copy(each) for key, each in value.items()}
    return copy.copy(value)


def play(trio: Trio, now: int, letters: int, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every way on from here, `letters` long at most; yields each once it was played."""
    for name, passes, command, key in ALPHABET:
        twin, then, here = copied(trio), now + passes, (*path, name)
        try:
            twin.step(Step(then, c.Envelope(ORGANIZATION, command, key, keyed=True)))
        except Exception as failure:
            failure.add_note(" → ".join(here))
            raise
        yield here
        if letters > 1:
            yield from play(twin, then, letters - 1, here)


def orders(letters: int) -> int:
    """How many there are."""
    return sum(len(ALPHABET) ** length for length in range(1, letters + 1))


def test_every_order_of_four_operations() -> None:
    count = sum(1 for _ in play(start(), START, 4))
    print(f"{count} orders")
    assert count == orders(4) == 88_740


@pytest.mark.nightly
def test_every_order_of_five_operations() -> None:
    count = sum(1 for _ in play(start(), START, 5))
    print(f"{count} orders")
    assert count == orders(5) == 1_508_597


@pytest.mark.parametrize(
    "fault",
    [
        "settle twice",
        "missing burn order",
        "released tokens of an expired lot come back",
        "hold expiry ignored",
        "overspend by one",
    ],
)
def test_some_order_shows_each_planted_fault(fault: str) -> None:
    """The negative control: faults that keep nothing from one command to the next."""
    with pytest.raises((Violation, Disagreement)):
        for _ in play(start(FAULTS[fault]()), START, 4):
            pass
