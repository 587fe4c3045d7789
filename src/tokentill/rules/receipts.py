"""Receipts: what a caller is told when a command was done, read off the entry alone.

Because a receipt is a function of one journal entry, a duplicate of a command gets the very answer the
first one got, however long ago that was (R-LED-9); only `replayed` tells them apart.

Requirement ids: R-LED-3, R-LED-7, R-LED-9.
"""

from __future__ import annotations

from msgspec import Struct

from tokentill.rules import entries as e


class Receipt(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The answer to a command that was done.

    operation: its id, which is also the hold's id for a reserve and a settle. kind: the journal's word
    (hold, charge, release, refund, purchase, …). tokens: what it moved. balance: free tokens after it; held:
    reserved tokens after it. released: tokens a partial settle gave back. deadline: until when the hold
    lasts, epoch ms. beyond: tokens that came from no lot, costing `amount` minor units. output_tokens_max:
    the cap to ask of the upstream (R-ABU-4). replayed: this is the answer of an earlier command with the
    same key. entry: sequence number of the journal entry. lot: number of the lot a grant made.
    """

    operation: str
    kind: str
    tokens: int
    balance: int
    held: int
    entry: int
    time: int
    released: int = 0
    deadline: int | None = None
    beyond: int = 0
    amount: int = 0
    output_tokens_max: int | None = None
    lot: int | None = None
    plan: str | None = None
    period_end: int | None = None
    credit: int = 0
    due: int = 0
    replayed: bool = False


def receipt(entry: e.Entry, *, replayed: bool = False) -> Receipt:
    """The receipt of the entry that carries a command's key."""
    kind = type(entry)
    if kind is e.Held:
        return of_hold(entry, replayed=replayed)  # type: ignore[arg-type]  # its type was just seen
    if kind is e.Charged:
        return of_charge(entry, replayed=replayed)  # type: ignore[arg-type]  # its type was just seen
    return Receipt(
        operation=entry.hold if isinstance(entry, e.Extended) else entry.key or "",
        kind=e.movement(entry),
        tokens=entry.tokens,
        balance=entry.balance + getattr(entry, "brings", 0),
        held=entry.held,
        entry=entry.seq,
        time=entry.time,
        released=entry.tokens if isinstance(entry, e.Released) else 0,
        deadline=getattr(entry, "deadline", None),
        beyond=getattr(entry, "beyond", 0),
        amount=getattr(entry, "amount", 0),
        lot=getattr(entry, "lot", None),
        plan=getattr(entry, "plan", None),
        period_end=getattr(entry, "end", None),
        credit=getattr(entry, "credit", 0),
        due=getattr(entry, "due", 0),
        replayed=replayed,
    )


def of_hold(entry: e.Held, *, replayed: bool = False) -> Receipt:
    """The receipt of a hold."""
    return Receipt(
        operation=entry.key or "",
        kind="hold",
        tokens=entry.tokens,
        balance=entry.balance,
        held=entry.held,
        entry=entry.seq,
        time=entry.time,
        deadline=entry.deadline,
        beyond=entry.beyond,
        output_tokens_max=entry.output_tokens_max,
        replayed=replayed,
    )


def of_charge(entry: e.Charged, *, replayed: bool = False) -> Receipt:
    """The receipt of a charge, by settling a hold or in one shot."""
    released = 0
    if entry.returned or entry.lapsed:
        released = sum([n for _, n in entry.returned + entry.lapsed])
    return Receipt(
        operation=entry.key or "",
        kind="charge",
        tokens=entry.tokens,
        balance=entry.balance,
        held=entry.held,
        entry=entry.seq,
        time=entry.time,
        released=released,
        beyond=entry.beyond,
        amount=entry.amount,
        output_tokens_max=entry.output_tokens_max,
        replayed=replayed,
    )
