"""Legs: the payments that a purchase stands on, and what of each has gone back or is asked for.

A pack stands on its own payment. A larger pack that was paid for by the difference stands on that, and on the payments
of the packs that it took the place of: together they are its price. What providers tell, what claims ask
(`tokentill.rules.claims`) and what can still be given back is counted for each payment by itself, so that none ever
gives back more than it was.

Requirement ids: R-REF-4, R-REF-5, R-REF-6.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from tokentill.rules.happenings import Disputed, DisputeState
from tokentill.rules.rows import Row

ClaimState = Literal["open", "settled", "failed"]
Sweep = Literal["", "wait", "now"]
_RANK = {"open": 0, "won": 1, "lost": 2}


class Part(Struct, frozen=True, array_like=True):
    """What of a claim's money the payment of `purchase` gives back; `before`: what had gone back of it by then."""

    purchase: str
    money: int
    before: int = 0


class Claim(Struct, frozen=True, array_like=True):
    """What one refund (`refund`, its id) asks of its purchase.

    `money` goes back to where it came from, `credit` as credit. `takes`: tokens are taken back once it is settled.
    `closes`: nothing more can be asked afterwards. `aside`: the tokens are set aside while it is open. `sweeps`: what
    running operations give back later is taken too. `parts`: the money by payment, in the order of giving it back.
    `fixed`: the money is on its way, so that its figures change no more.
    """

    refund: str
    state: ClaimState = "open"
    money: int = 0
    credit: int = 0
    takes: bool = True
    closes: bool = False
    aside: bool = True
    sweeps: bool = True
    parts: tuple[Part, ...] = ()
    fixed: bool = False


class Leg(Struct, frozen=True, array_like=True):
    """One of the payments that a purchase stands on: that of `purchase`, `amount` in money and `credit` in credit."""

    purchase: str
    amount: int
    credit: int
    payment: str | None
    provider: str
    method: str | None
    paid_at: int


class Taking(Struct, frozen=True, array_like=True):
    """Tokens that are being taken back: the share `part` of `whole`, all where `whole` is 0. `cause`: why."""

    cause: str
    part: int = 0
    whole: int = 0
    sweeps: bool = True


class Dispute(Struct, frozen=True, array_like=True, order=True):
    """A dispute of a payment; it ends once, as won or lost."""

    dispute: str
    state: DisputeState
    amount: int
    payment: str = ""


class Claimable(Row, frozen=True, kw_only=True):
    """What of a purchase claims are about; the rest is `tokentill.rules.purchases.Purchase`."""

    amount: int
    credit_used: int = 0
    """What is paid with money credit; `amount` is what is left for the provider to take."""
    further: tuple[tuple[int, int], ...] = ()
    """Of a bill: credit that came after it was made, each with when, and 0 where it was not spent in the end.

    The last is being spent while the step is, and is no part of `credit_used` before.
    """
    provider: str = ""
    payment: str | None = None
    method: str | None = None
    paid_at: int | None = None
    replaces: str | None = None
    """The purchase that this one is an upgrade of, for the difference; what was used of it counts."""
    replaced_by: str | None = None
    """The larger pack that took the place of this one, with its payments and what is told of them."""
    earlier: tuple[Leg, ...] = ()
    """Of a larger pack: the payments of the packs before, the newest first."""
    refunds: tuple[tuple[str, int], ...] = ()
    """For each payment what was given back of it, in sum."""
    disputes: tuple[Dispute, ...] = ()
    mode: str = "checkout"
    state: str = "created"
    done: tuple[str, ...] = ()
    claims: tuple[Claim, ...] = ()
    taking: Taking | None = None
    """What the step `take_back` that is being taken takes."""
    taken: tuple[str, ...] = ()
    accounted: int = 0
    """What was given back from outside and has been answered by taking tokens back."""
    sweep: Sweep = ""
    """Whether running operations still hold tokens that are to be taken."""


def disputed(disputes: tuple[Dispute, ...], fact: Disputed) -> tuple[Dispute, ...]:
    """The disputes with what was told of one; one that was decided is not opened again."""
    by_name = {dispute.dispute: dispute for dispute in disputes}
    known = by_name.get(fact.dispute)
    if known is None:
        by_name[fact.dispute] = Dispute(fact.dispute, fact.state, fact.amount, fact.payment)
    else:
        state = max(known.state, fact.state, key=_RANK.__getitem__)
        amount, payment = max(known.amount, fact.amount), max(known.payment, fact.payment)
        by_name[fact.dispute] = Dispute(fact.dispute, state, amount, payment)
    return tuple(sorted(by_name.values()))


def legs(purchase: Claimable) -> tuple[Leg, ...]:
    """The payments that the purchase stands on, its own first, then the earlier ones."""
    own = Leg(
        purchase.id, purchase.amount, purchase.credit_used, purchase.payment, purchase.provider, purchase.method,
        purchase.paid_at or 0,
    )  # fmt: skip
    return (own, *purchase.earlier)


def paid_money(purchase: Claimable) -> int:
    """What was paid for it in money, over all payments."""
    return sum(leg.amount for leg in legs(purchase))


def paid_credit(purchase: Claimable) -> int:
    """What was paid for it in credit, over all payments."""
    return sum(leg.credit for leg in legs(purchase))


def told_of(purchase: Claimable, leg: Leg) -> int:
    """What the provider has given back of one payment, in sum, as far as it has told."""
    return 0 if leg.payment is None else min(dict(purchase.refunds).get(leg.payment, 0), leg.amount)


def told(purchase: Claimable) -> int:
    """What the providers have given back of the purchase, in sum, as far as they have told."""
    return sum(told_of(purchase, leg) for leg in legs(purchase))


def is_lost(purchase: Claimable, leg: Leg) -> bool:
    """Whether a dispute of the payment was lost."""
    return any(one.state == "lost" and one.payment == leg.payment for one in purchase.disputes)


def spared(purchase: Claimable) -> bool:
    """Whether of several payments at least one was not lost to a dispute."""
    paid = [leg for leg in legs(purchase) if leg.amount]
    return bool(purchase.earlier) and not all(is_lost(purchase, leg) for leg in paid)


def gone(purchase: Claimable, leg: Leg) -> int:
    """What is not here any more of one payment: it went back or, where there are several, was lost to a dispute."""
    return leg.amount if purchase.earlier and is_lost(purchase, leg) else told_of(purchase, leg)


def standing(purchase: Claimable) -> tuple[Claim, ...]:
    """The claims that count: open ones and settled ones."""
    return tuple(claim for claim in purchase.claims if claim.state != "failed")


def claim_of(purchase: Claimable, refund: str) -> Claim | None:
    """The claim of this refund."""
    return next((one for one in purchase.claims if one.refund == refund), None)


def done_of(purchase: Claimable, claim: Claim) -> tuple[Part, ...]:
    """The parts of the claim's money that have gone back, as far as the providers have told."""
    by_name = {leg.purchase: leg for leg in legs(purchase)}
    return tuple(
        part
        for part in claim.parts
        if part.purchase in by_name and told_of(purchase, by_name[part.purchase]) >= part.before + part.money
    )


def _claimed_of(purchase: Claimable, leg: Leg, beside: str | None = None) -> int:
    """What claims, but that of the refund `beside`, ask of one payment."""
    own = [one for one in standing(purchase) if one.refund != beside]
    return sum(part.money for one in own for part in one.parts if part.purchase == leg.purchase)


def _back(purchase: Claimable, leg: Leg, beside: str | None = None) -> int:
    """What was given back of one payment; what is on its way counts, but what the refund `beside` gives does not."""
    known = None if beside is None else claim_of(purchase, beside)
    done = () if known is None or known.state == "failed" else done_of(purchase, known)
    given = sum(part.money for part in done if part.purchase == leg.purchase)
    return max(told_of(purchase, leg) - given, _claimed_of(purchase, leg, beside))


def given_back(purchase: Claimable, beside: str | None = None) -> int:
    """What was given back of the price, money and credit; what is on its way counts, but the refund `beside`."""
    credit = sum(one.credit for one in standing(purchase) if one.refund != beside)
    return sum(_back(purchase, leg, beside) for leg in legs(purchase)) + credit


def gone_back(purchase: Claimable) -> int:
    """What is gone of the price: what the claims that are settled gave back, and what went without them."""
    settled = [one for one in purchase.claims if one.state == "settled"]
    credit = sum(one.credit for one in settled)
    return sum(gone(purchase, leg) for leg in legs(purchase)) + credit


def left_of(purchase: Claimable, leg: Leg, step: int = 1, beside: str | None = None) -> int:
    """What can still be given back of one payment, in minor units that are a multiple of `step`."""
    left = max(0, leg.amount - _back(purchase, leg, beside))
    return left - left % step


def left(purchase: Claimable, step: int = 1, beside: str | None = None) -> int:
    """What can still be given back in money, over all payments."""
    return sum(left_of(purchase, leg, step, beside) for leg in legs(purchase))


def outside(purchase: Claimable) -> int:
    """What went back by others than our own claims, such as in the provider's dashboard."""
    return sum(max(0, gone(purchase, leg) - _claimed_of(purchase, leg)) for leg in legs(purchase))
