"""A desk: one organization under the pure rules, with a clock in hand. What rule tests read like.

desk = Desk(goals(), plan="pro", at="2025-01-01")
desk.charge("generate_goal")
assert desk.view().remaining == 197
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from msgspec import structs

from tokentill.catalogs import preset_text
from tokentill.rules import chain
from tokentill.rules import commands as c
from tokentill.rules import entries as e
from tokentill.rules.account import Account
from tokentill.rules.balance import Balance, balance
from tokentill.rules.catalog import AbuseLimits, Catalog
from tokentill.rules.catalog_file import load
from tokentill.rules.decide import execute
from tokentill.rules.evolve import evolve
from tokentill.rules.receipts import Receipt
from tokentill.rules.refusals import Refusal

SECRET = b"only for tests, 32 bytes of them"
DAY = 86_400_000
HOUR = 3_600_000
MINUTE = 60_000
SECOND = 1_000


def ms(text: str) -> int:
    """Epoch milliseconds of an ISO date or time, in UTC."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def preset(name: str) -> Catalog:
    return load(preset_text(name), f"{name}.toml")[0]


def change_plan(catalog: Catalog, plan: str, **changes: Any) -> Catalog:
    """The catalog with one of its plans changed."""
    return structs.replace(
        catalog, plans={**catalog.plans, plan: structs.replace(catalog.plans[plan], **changes)}
    )


def without_limits(catalog: Catalog) -> Catalog:
    """The catalog with every abuse limit off, for rules that are about something else."""
    off = {name: AbuseLimits() for name in catalog.features}
    plans = {name: structs.replace(plan, abuse=off) for name, plan in catalog.plans.items()}
    return structs.replace(catalog, plans=plans, no_plan_abuse=off)


class Desk:
    """One account; `now` moves only by `wait`."""

    def __init__(
        self, catalog: Catalog, plan: str | None = None, at: str = "2025-01-01", anchor: str | None = None
    ) -> None:
        self.catalog = catalog
        self.account = Account()
        self.now = ms(at)
        self.journal: list[e.Entry] = []
        self.last: list[e.Entry] = []
        self._keys = 0
        self.ok(c.Open(plan=plan, anchor=None if anchor is None else ms(anchor)))

    def find(self, operation: str) -> list[e.Entry]:
        return [entry for entry in self.journal if entry.key == operation]

    def do(self, command: c.Command, key: str | None = None) -> Receipt | Refusal:
        """Decide one command; `key` is a caller's own idempotency key."""
        self._keys += 1
        operation = f"{self._keys:032x}" if key is None else chain.operation_id(SECRET, key)
        envelope = c.Envelope("acme", command, operation, key is not None)
        outcome = execute(self.account, envelope, self.catalog, self.now, self.find)
        self.last = outcome.entries
        self.journal += outcome.entries
        return outcome.reply

    def ok(self, command: c.Command, key: str | None = None) -> Receipt:
        reply = self.do(command, key)
        assert isinstance(reply, Receipt), reply
        return reply

    def no(self, command: c.Command, key: str | None = None) -> Refusal:
        reply = self.do(command, key)
        assert isinstance(reply, Refusal), reply
        return reply

    def wait(self, **units: int) -> None:
        """Let time pass: days, hours, minutes, seconds, ms."""
        sizes = {"days": DAY, "hours": HOUR, "minutes": MINUTE, "seconds": SECOND, "ms": 1}
        self.now += sum(sizes[unit] * count for unit, count in units.items())

    def until(self, text: str) -> None:
        assert ms(text) >= self.now
        self.now = ms(text)

    def hold(self, feature: str, user: str | None = "ann", **more: Any) -> str:
        return self.ok(c.Reserve(feature=feature, user=user, **more)).operation

    def charge(self, feature: str, times: int = 1, user: str | None = "ann", **more: Any) -> None:
        for _ in range(times):
            self.ok(c.Charge(feature=feature, user=user, **more))

    def view(self) -> Balance:
        """The balance now, with everything due applied."""
        self.ok(c.Tick())
        return balance(self.account, self.catalog, self.now)

    def kinds(self) -> list[str]:
        """What the last command put on the record, in the requirement's words."""
        return [e.movement(entry) for entry in self.last]

    def replayed(self) -> Account:
        """The account as its journal alone rebuilds it."""
        account = Account()
        for entry in self.journal:
            evolve(account, e.decode(e.encode(entry)))
        return account
