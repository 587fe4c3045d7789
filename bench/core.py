"""The core alone: decide, evolve, encode and hash, without a store.

The yardstick beside the target is what encoding and hashing the very same entries costs by itself: that much
of a command is the price of a tamper-evident journal, whatever decides.
"""

from __future__ import annotations

import time

from bench.report import Figure, at_most, known, median
from bench.world import SECRET, Options, catalog
from tokentill.rules import chain
from tokentill.rules import commands as c
from tokentill.rules import entries as e
from tokentill.rules.account import Account
from tokentill.rules.catalog import Catalog
from tokentill.rules.decide import execute
from tokentill.rules.refusals import Refusal

TITLE = "decide, evolve, encode and hash one command"

TARGET_US = 30


class Bench:
    """One account under one catalog; every operation is 5 s after the one before, so that no limit bites."""

    def __init__(self, rules: Catalog, feature: str) -> None:
        self.catalog = rules
        self.feature = feature
        self.account = Account()
        self.now = 1_700_000_000_000
        self.head = chain.root(SECRET, "o")
        plan = list(rules.plans)[-1]
        self.do(c.Envelope("o", c.Open(plan=plan), "0" * 32))
        self.do(c.Envelope("o", c.Grant(tokens=10**12, origin="pack"), "f" * 32))

    def do(self, envelope: c.Envelope) -> list[e.Entry]:
        """One command, as a lane does it."""
        outcome = execute(self.account, envelope, self.catalog, self.now)
        assert type(outcome.reply) is not Refusal, outcome.reply
        for entry in outcome.entries:
            self.head = chain.link(SECRET, self.head, e.encode(entry))
        return outcome.entries

    def pairs(self, count: int) -> float:
        """Reserve and settle `count` times; microseconds a command."""
        do, user, feature = self.do, "u1", self.feature
        started = time.perf_counter()
        for _ in range(count):
            self.now += 5_000
            key = f"{self.now:032x}"
            do(c.Envelope("o", c.Reserve(feature=feature, user=user), key))
            do(c.Envelope("o", c.Settle(hold=key)))
        return (time.perf_counter() - started) / count / 2 * 1e6

    def charges(self, count: int) -> float:
        """Charge at once `count` times; microseconds a command."""
        do, user, feature = self.do, "u1", self.feature
        started = time.perf_counter()
        for _ in range(count):
            self.now += 5_000
            do(c.Envelope("o", c.Charge(feature=feature, user=user), f"{self.now:032x}"))
        return (time.perf_counter() - started) / count * 1e6

    def sealing(self, count: int) -> float:
        """Only encode and hash entries made before; microseconds an entry."""
        self.now += 5_000
        key = f"{self.now:032x}"
        entries = self.do(c.Envelope("o", c.Reserve(feature=self.feature, user="u1"), key))
        entries += self.do(c.Envelope("o", c.Settle(hold=key)))
        head = self.head
        started = time.perf_counter()
        for _ in range(count):
            for entry in entries:
                head = chain.link(SECRET, head, e.encode(entry))
        return (time.perf_counter() - started) / count / len(entries) * 1e6


def run(options: Options) -> list[Figure]:
    """Measure."""
    count = 500 if options.quick else 5_000
    plain = Bench(catalog("bench"), "op")
    limits = Bench(catalog("goals"), "generate_goal")
    found: dict[str, list[float]] = {"pairs": [], "charges": [], "limits": [], "sealing": []}
    for _ in range(options.rounds * 2):
        found["pairs"].append(plain.pairs(count))
        found["charges"].append(plain.charges(count))
        found["limits"].append(limits.pairs(count))
        found["sealing"].append(plain.sealing(count))
    middle = {name: median(values) for name, values in found.items()}
    return [
        at_most("a command of reserve + settle", middle["pairs"], TARGET_US, "µs"),
        at_most("a charge at once", middle["charges"], TARGET_US, "µs"),
        at_most(
            "a command of reserve + settle, every limit on",
            middle["limits"],
            TARGET_US,
            "µs",
            "catalog `goals`",
        ),
        known(
            "encoding and hashing, as a share of a command",
            100 * middle["sealing"] / middle["pairs"],
            note="the entry's JSON and its keyed link, nothing else",
        ),
    ]
