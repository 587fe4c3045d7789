"""A turn: one command being decided on one account, and what the decisions share.

Deciding functions take a turn and a command, check everything first, and only then emit entries. Emitting
evolves the account at once, so what is decided next in the same turn sees it. A turn that raises leaves an
account that must be thrown away; a turn that refuses has emitted at most what was due and the refusal's own
record.

Requirement ids: R-LED-9, R-ABU-7.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct

from tokentill.rules import entries as e
from tokentill.rules.account import Account, State
from tokentill.rules.catalog import TOKENS_MAX, Catalog, Plan
from tokentill.rules.evolve import evolve
from tokentill.rules.refusals import Code, Refusal

Find = Callable[[str], Sequence[e.Entry]]
"""Every entry of an operation, by its id, oldest first; empty if there is none."""


class Turn(Struct, eq=False, gc=False):
    """One command on one account at `now`, which never runs behind the account's own time; see `begin`.

    What it holds never leads back to it, so that it needs no collector.
    """

    account: Account
    state: State
    catalog: Catalog
    now: int
    find: Find
    key: str | None = None
    keyed: bool = False
    body: str | None = None
    entries: list[e.Entry] = []
    counted: tuple[str | None, Code, int] | None = None

    @classmethod
    def begin(cls, account: Account, catalog: Catalog, now: int, find: Find) -> Turn:
        """A turn of nobody's command, for what is due or only asked."""
        state = account.state
        return cls(account, state, catalog, account.moment(now), find)

    def emit(self, entry: e.Entry) -> None:
        """Put an entry on the record and into the account."""
        evolve(self.account, entry)
        self.entries.append(entry)

    def stamp(self, free: int = 0, held: int = 0) -> dict[str, Any]:
        """The fields every entry has, given how much it changes what is free and what is held."""
        account = self.account
        return {
            "seq": account.state.seq + 1,
            "time": self.now,
            "catalog": self.catalog.version,
            "balance": account.free + free,
            "held": account.held + held,
        }

    def signed(self, free: int = 0, held: int = 0) -> dict[str, Any]:
        """As `stamp`, for the entry that answers the command: it carries the command's key."""
        fields = self.stamp(free, held)
        fields["key"] = self.key
        fields["body"] = self.body
        return fields

    def current_plan(self) -> Plan | None:
        """The catalog's plan of this account; None without a plan or when the catalog no longer has it."""
        name = self.state.plan
        return None if name is None else self.catalog.plans.get(name)

    def scheduled_plan(self) -> Plan | None:
        """The catalog's plan that waits for the period's end; None when none does, as after a cancellation."""
        name = self.state.scheduled_plan
        return None if name is None else self.catalog.plans.get(name)


def bad_amount(tokens: int, least: int = 1, what: str = "tokens") -> Refusal | None:
    """A refusal unless `tokens` is a whole number from `least` to TOKENS_MAX."""
    if type(tokens) is not int:
        return Refusal(Code.INVALID, f"{what} must be a whole number, and this is none.", detail=what)
    if least <= tokens <= TOKENS_MAX:
        return None
    message = f"{what} must be from {least} to {TOKENS_MAX}, and {tokens} is not. Nothing was changed."
    return Refusal(Code.INVALID, message[:300], detail=what)
