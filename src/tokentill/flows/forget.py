"""Forget: erase of a person or an organization what the shop's rows say of them (R-FIN-4).

The journal never had it; figures, scores, topics and amounts stay, because they are of nobody in particular.

Requirement ids: R-FIN-4.
"""

from __future__ import annotations

from msgspec.structs import replace

from tokentill.flows.means import Means
from tokentill.ports import Clock, Ids, Ledger
from tokentill.rules.feedback import Feedback
from tokentill.rules.purchases import Purchase
from tokentill.rules.refund_rows import Refund


async def forget_user(ledger: Ledger, clock: Clock, ids: Ids, organization: str, user: str) -> bool:
    """Erase the name of a user, here, in orders and in refunds, with what the user wrote; False if there was none."""
    means = Means(ledger, ledger.rows, {}, clock, ids, b"")  # nothing is signed here
    found = await ledger.forget_user(organization, user)
    own = {"organization": organization}
    for order in await means.every(Purchase, own):
        if order.user == user:
            await means.change(order, lambda row: replace(row, user=None))
            found = True
    for asked in await means.every(Refund, own):
        if asked.user == user:
            await means.change(asked, lambda row: replace(row, user=None, text=""))
            found = True
    return found


async def forget_words(means: Means, organization: str) -> bool:
    """Erase what the organization wrote with ratings, tickets and refunds; False if there was nothing."""
    own, found = {"organization": organization}, False
    for said in await means.every(Feedback, own):
        if said.text:
            await means.change(said, lambda row: replace(row, text=""))
            found = True
    for asked in await means.every(Refund, own):
        if asked.text:
            await means.change(asked, lambda row: replace(row, text=""))
            found = True
    return found
