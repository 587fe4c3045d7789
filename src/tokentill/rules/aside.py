"""Lots set aside one by one: what a refund or a dispute in progress does to the lot it is about.

Part of evolving. Setting aside moves nothing between the columns of a lot: what is available in it stays
there, is not free to spend, and is free again when the lot is given back. Where the lot is what the running plan was
paid with, the periods that the same payment still brings are set aside with it (`contested`).

Requirement ids: R-REF-5, R-LED-1.
"""

from __future__ import annotations

from tokentill.rules import entries as e
from tokentill.rules.account import Account, Misfit


def set_aside(account: Account, entry: e.SetAside) -> None:
    """Evolve by lots that were set aside."""
    state = account.state
    for number in entry.lots:
        lot = state.lots.get(number)
        if lot is None or lot.unit != "token" or number in state.aside:
            raise Misfit(f"lot {number} cannot be set aside")
        account.unlist_lot(lot)
        state.aside[number] = entry.reference or ""
        account.free -= lot.available
        account.aside += lot.available
    if entry.reference is not None and entry.reference == state.paid_reference:
        state.contested = entry.reference


def given_back(account: Account, entry: e.GivenBack) -> None:
    """Evolve by lots that can be spent again."""
    state = account.state
    for number in entry.lots:
        lot = state.lots.get(number)
        if lot is None or number not in state.aside:
            raise Misfit(f"lot {number} is not set aside")
        del state.aside[number]
        account.aside -= lot.available
        account.free += lot.available
        if lot.available:
            account.list_lot(lot)
    if entry.reference == state.contested:
        state.contested = None
    if state.failed_at is not None:
        account.push_period()  # these are tokens of a period that may be over
