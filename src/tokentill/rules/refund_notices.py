"""Refund notices: at which states of a refund its customer is told, and what (R-REF-6).

A refund is no entry of the journal, so its notices are read off its row, whose id and state they have; told twice
they are one. `Refund.told` says which state was told last, so that a crash between the two loses none.

    refund.waiting    an operator decides; the tokens are kept until then
    refund.settled    the money is on its way back, or what was chosen instead is there
    refund.denied     an operator said no, with the reason
    refund.failed     it could not be carried out; nothing was taken

A customer whose refund never began, because another one of the purchase was under way, was told so on the spot.

Requirement ids: R-REF-4, R-REF-6.
"""

from __future__ import annotations

from tokentill.rules.notices import Notice, Type
from tokentill.rules.refund_rows import Refund, RefundState, part_given

TOLD: dict[RefundState, Type] = {
    "waiting": "refund.waiting",
    "settled": "refund.settled",
    "denied": "refund.denied",
    "failed": "refund.failed",
}
IN_PROGRESS = "in_progress"
"""The problem of a refund that another one of the same purchase kept from beginning."""


def untold(row: Refund) -> bool:
    """Whether the customer is to be told of where the refund stands."""
    return row.state in TOLD and row.told != row.state and row.problem != IN_PROGRESS


def notice_of(row: Refund, at: int, balance: int) -> Notice:
    """What the customer is told of the refund as it stands; `reason` is an operator's, for no or for less.

    `given`: what of the money had gone back when a provider refused the rest. `share`: it was left at that, so that
    only a share of the unspent tokens is gone.
    """
    judged = [one.reason for one in row.opinions if one.what in ("deny", "adjust")]
    return Notice(
        id=f"{row.organization}:{row.id}:{row.state}",
        type=TOLD[row.state],
        organization=row.organization,
        at=at,
        balance=balance,
        data={
            "refund": row.id, "purchase": row.purchase, "choice": row.choice, "money": row.money, "credit": row.credit,
            "tokens": row.tokens, "ends_plan": row.ends_plan, "item": row.larger, "currency": row.quote.currency,
            "reason": judged[-1] if judged else None, "given": part_given(row), "share": row.ends == "settled",
        },
    )  # fmt: skip
