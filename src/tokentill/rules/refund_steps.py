"""Refund steps: a refund from its quote to its end, as changes of its row; what each asks of purchase and account.

Every function here takes a row and gives a row, so that it can be made anew on any state of it; what does not fit the
state leaves it as it is. Nothing is done here: `tokentill.flows.refunding` does it, each step after it was written
down.

Requirement ids: R-REF-4, R-REF-5, R-REF-6.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from tokentill.rules import commands as c
from tokentill.rules.catalog import Pack
from tokentill.rules.legs import Claim
from tokentill.rules.money import half_up, payable
from tokentill.rules.purchases import Mode, Purchase
from tokentill.rules.refund_policy import RefundPolicy
from tokentill.rules.refund_review import Review, agreed
from tokentill.rules.refund_rows import FINAL, Opinion, Refund, RefundState, part_given
from tokentill.rules.refunds import Choice, Option, Quote

Edit = Callable[[Refund], Refund]

PAY_MS = 82_800_000
"""How long an unanswered refund is asked for again under its key; providers remember a key for a day at least."""

AGAIN_MS = 1_000
POLL_MS_MAX = 3_600_000


def option_of(quote: Quote, choice: Choice, item: str | None = None) -> Option | None:
    """The option of the quote that was chosen; of several upgrades the one to `item`, or the first."""
    fits = [one for one in quote.options if one.choice == choice and item in (None, one.item)]
    return fits[0] if fits else None


def worse(shown: Option, now: Option | None) -> bool:
    """Whether the customer would get less than was shown, or pay more."""
    if now is None:
        return True
    if shown.choice == "upgrade":
        return now.pay > shown.pay
    return (now.money, now.credit, now.tokens) != (shown.money, shown.credit, shown.tokens)


def accept(
    row: Refund, option: Option, at: int, upgrade: str, payer: str | None = None, *, use_credit: bool = False
) -> Refund:
    """The refund once the customer has chosen. `upgrade` is the id that a larger pack's purchase would have."""
    if row.state != "quoted":
        return row
    return replace(
        row,
        state="accepted",
        choice=option.choice,
        larger=option.item,
        payer=payer,
        accepted_at=at,
        money=option.money,
        credit=option.credit,
        tokens=option.tokens,
        ends_plan=option.ends_plan,
        use_credit=use_credit and option.choice == "upgrade",
        guarantee=row.quote.guarantee and option.choice == "cash",
        upgrade=upgrade if option.choice == "upgrade" else None,
    )


def larger(row: Refund, old: Purchase, pack: Pack, pay: int, credit: int, at: int, provider: str) -> Purchase:
    """The order of the larger pack for the difference `pay`, of which `credit` is paid with money credit (R-REF-4)."""
    mode: Mode = "checkout" if row.payer is None else "saved"
    return Purchase(
        id=row.upgrade or "", organization=row.organization, created_at=at, kind="pack", item=pack.id,
        title=pack.title, amount=pay - credit, credit_used=credit, currency=old.currency, list_amount=pack.price,
        tokens=pack.tokens, valid_days=pack.valid_days, provider=provider, mode="free" if credit == pay else mode,
        user=row.user, payer=row.payer, replaces=old.id, approach=old.approach,
    )  # fmt: skip


def claim_for(row: Refund) -> Claim:
    """What the refund asks of its purchase."""
    if row.choice == "bonus":
        return Claim(row.id, takes=False, closes=True, aside=False)
    if row.choice == "upgrade":
        return Claim(row.upgrade or row.id, closes=True, aside=False, sweeps=False)
    return Claim(row.id, money=row.money, credit=row.credit, closes=row.choice == "credit")


def reviewed(row: Refund, review: Review, *, guarantee: bool) -> Refund:
    """The refund once it is known who must agree, and whether it uses the guarantee."""
    if row.state != "accepted":
        return row
    row = replace(row, needs=review.needs, signals=review.signals, seen=review.seen, guarantee=guarantee)
    return replace(row, state="waiting" if review.needs != "nobody" else _agreed(row))


def _agreed(row: Refund) -> RefundState:
    if row.choice == "upgrade":
        return "buying"
    return "paying" if row.money else "giving"


def approvers(row: Refund) -> tuple[str, ...]:
    """Who has agreed to the figures as they are, and knows what was refused: who adjusted last, who approved since."""
    found: list[str] = []
    for opinion in row.opinions:
        if opinion.what in ("adjust", "refused"):
            found = []
        if opinion.what != "refused":
            found.append(opinion.actor)
    return tuple(found)


def judged(row: Refund, opinion: Opinion) -> Refund:
    """The refund after an operator approved or denied it; of one that went back in part, the rest."""
    if row.state != "waiting":
        return row
    row = replace(row, opinions=(*row.opinions, opinion))
    if opinion.what == "deny" and part_given(row):
        return undo(replace(row, money=part_given(row), credit=0), "settled")
    if opinion.what == "deny":
        return undo(row, "denied", opinion.reason)
    return replace(row, state=_agreed(row)) if agreed(row.needs, approvers(row)) else row


def adjusted(
    row: Refund, opinion: Opinion, money: int, credit: int, policy: RefundPolicy, given: int = 0
) -> Refund:
    """The refund with the figures of an operator, which count as agreed to by that one.

    `given`: what other refunds of the purchase gave back, money and credit.
    """
    if row.state != "waiting":
        return row
    high = policy.four_eyes_above is not None and money + credit + given > policy.four_eyes_above
    row = replace(
        row, money=money, credit=credit, needs="two_operators" if high else "operator",
        opinions=(*row.opinions, opinion),
    )  # fmt: skip
    return replace(row, state=_agreed(row)) if agreed(row.needs, approvers(row)) else row


def split(amount: int, row: Refund, left: int, step: int = 1) -> tuple[int, int]:
    """An operator's amount as money and credit, in the proportion of the quote.

    `left` is the most that can be money, `step` the minor units that its provider moves money in.
    """
    whole = row.money + row.credit
    if row.choice != "cash":
        return 0, amount
    money = amount if whole == 0 else half_up(amount * row.money, whole)
    most = min(left, amount)
    money = min(payable(money, step), most - most % step)
    return money, amount - money


def undo(row: Refund, ends: RefundState, problem: str | None = None) -> Refund:
    """The refund as one that comes to nothing: what it set aside is to be given back."""
    if row.state in FINAL or row.state in ("giving", "ending", "undoing", "quoted"):
        return row
    return replace(row, state="undoing", ends=ends, problem=problem)


def refused(row: Refund, opinion: Opinion) -> Refund:
    """The refund after a provider refused what it was asked for, as `opinion` says: it comes to nothing.

    Where a part of the money has gone back by then, operators say what becomes of the rest.
    """
    if row.state != "paying":
        return row
    if not opinion.amount:
        return undo(row, "failed", opinion.reason)
    needs = "operator" if row.needs == "nobody" else row.needs
    opinions = (*row.opinions, opinion)
    return replace(row, state="waiting", needs=needs, opinions=opinions, problem=opinion.reason)


def paid(row: Refund) -> Refund:
    """The refund once the provider has given the money back."""
    return replace(row, state="giving", problem=None) if row.state == "paying" else row


def given(row: Refund, at: int, *, runs: bool) -> Refund:
    """The refund once everything is given: the plan that `runs` on the payment is to be ended, or it is settled."""
    if row.state != "giving":
        return row
    if row.ends_plan and runs:
        return replace(row, state="ending", problem=None)
    return settled(replace(row, ends_plan=False), at)


def settled(row: Refund, at: int) -> Refund:
    """The refund at its end."""
    if row.state not in ("giving", "ending", "buying"):
        return row
    return replace(row, state="settled", settled_at=at, due_at=None, problem=None)


def undone(row: Refund, at: int) -> Refund:
    """The refund once everything is as it was before, or as what went back leaves it."""
    if row.state != "undoing":
        return row
    ends = row.ends or "failed"
    return replace(row, state=ends, due_at=None, settled_at=at if ends == "settled" else row.settled_at)


def again(row: Refund, now: int, problem: str) -> Refund:
    """The refund, to be taken up later: soon at first, every hour in the end."""
    due_at = now + min(POLL_MS_MAX, AGAIN_MS << min(row.tries, 12))
    return replace(row, tries=row.tries + 1, problem=problem, due_at=due_at)


def grants(row: Refund, expires_at: int | None) -> tuple[tuple[str, c.Grant], ...]:
    """What the account is granted, each with the part of its key: credit that never expires, or bonus tokens."""
    found: list[tuple[str, c.Grant]] = []
    if row.credit:
        credit = c.Grant(
            tokens=row.credit, origin="credit", unit="money", reference=row.purchase, reason="refund"
        )
        found.append(("credit", credit))
    if row.choice == "bonus" and row.tokens:
        bonus = c.Grant(
            tokens=row.tokens, origin="bonus", expires_at=expires_at, reference=row.purchase, reason="refund"
        )
        found.append(("bonus", bonus))
    return tuple(found)
