"""Findings of the auditor: how one is told, and what can be found in entries without any books.

Requirement ids: R-LED-5, R-LED-9.
"""

from __future__ import annotations

from collections.abc import Sequence

from tokentill.rules import chain
from tokentill.rules import entries as e


class Violation(Exception):
    """An invariant does not hold: its number, the entry where it shows, and what was found."""

    def __init__(self, invariant: str, seq: int, found: str) -> None:
        super().__init__(f"{invariant} broken at entry {seq}: {found}")
        self.invariant = invariant


_ACTS = (
    e.Opened | e.Advanced | e.Held | e.Extended | e.Charged | e.Refunded | e.Revoked | e.SetAside | e.GivenBack
    | e.CreditSpent | e.Frozen | e.Restored | e.CapSet | e.Unblocked | e.Reviewed
)  # fmt: skip


def acts(entry: e.Entry) -> bool:
    """Whether only a command that was done may have written this entry, never the clock or a refusal."""
    if isinstance(entry, e.Released):
        return entry.reason != "timeout"
    if isinstance(entry, e.Frozen):
        return entry.reason != "renewal missing"
    if isinstance(entry, e.SetAside):
        return entry.reason != "payment contested"
    return isinstance(entry, _ACTS)


def check_links(secret: bytes, organization: str, entries: Sequence[e.Entry], links: Sequence[str]) -> None:
    """Every link of the chain is what the entries up to it make it (I8)."""
    link = chain.root(secret, organization)
    for entry, stored in zip(entries, links, strict=True):
        link = chain.link(secret, link, e.encode(entry))
        if link.hex() != stored:
            raise Violation("I8", entry.seq, f"link {stored} where the chain gives {link.hex()}")
