"""Claims: what refunds ask of a purchase, and which of its tokens are taken back for money that went back.

A refund that is being carried out has a claim on its purchase: it is open while the money is on its way, then
settled or failed. Of all claims of a purchase one is open at a time, and what open and settled ones give back never
exceeds what was paid; both are decided on the purchase's own row, so that of many at once one is first. While a
claim is open the purchase's tokens are set aside.

A provider tells the sum that it has given back of a payment, whoever asked for it. What is above our own claims was
given back in the provider's dashboard (`outside`): it takes back its share of the tokens that are unspent then, and
with the last of the money all of them. So our own refund, told by its webhook, takes nothing twice. A lost dispute
takes everything.

Tokens that running operations hold are never taken from them. Where everything was to be taken, what they give back
later is taken too (`sweep`), and until then the purchase's lots stay set aside.

Credit that a purchase is paid with is taken before the provider is asked, and given back where nothing comes of it.

A larger pack stands on several payments, its own and those of the packs that it took the place of
(`tokentill.rules.legs`). The money of a claim is spread over them (`Part`), the newest first, and no part is more than
what is left of its payment. What went back of one payment from outside takes its share of the whole, and so does one of
several that is lost to a dispute. The pack that was replaced takes nothing back; what is told of it is passed on.

Requirement ids: R-REF-4, R-REF-5, R-REF-6, R-LED-6.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeVar

from msgspec.structs import replace

from tokentill.rules.legs import (
    Claim,
    Claimable,
    ClaimState,
    Part,
    Taking,
    claim_of,
    done_of,
    given_back,
    is_lost,
    left_of,
    legs,
    outside,
    paid_credit,
    paid_money,
    standing,
    told_of,
)

OUTSIDE = "outside"
LOST = "lost"
"""As from outside, where one of several payments is lost to a dispute."""
DISPUTE = "dispute"
SWEEP = "sweep"

P = TypeVar("P", bound=Claimable)


def closed(purchase: Claimable) -> bool:
    """Whether nothing more can be asked: an alternative was taken, or a dispute decides."""
    settled = any(one.closes and one.state == "settled" for one in purchase.claims)
    return settled or any(one.state != "won" for one in purchase.disputes)


def open_claim(purchase: Claimable) -> Claim | None:
    """The claim that is open, if there is one."""
    return next((one for one in purchase.claims if one.state == "open"), None)


def claimed(purchase: P, claim: Claim, step: int = 1) -> P:
    """The purchase with the claim on it; unchanged where another is open, it is closed, or too much would go.

    `step`: minor units that the providers of its payments move money in.
    """
    known = claim_of(purchase, claim.refund)
    if known is not None and known.state != "failed":
        return purchase
    others = tuple(one for one in purchase.claims if one.refund != claim.refund)
    if open_claim(purchase) is not None or closed(purchase):
        return purchase
    parts = _spread(purchase, claim.money, step)
    if parts is None or not _fits(purchase, claim):
        return purchase
    return replace(purchase, claims=(*others, replace(claim, parts=parts)))


def _fits(purchase: Claimable, claim: Claim) -> bool:
    """Whether no more than the price would have gone back with the claim."""
    back = given_back(purchase, beside=claim.refund) + claim.money + claim.credit
    return back <= paid_money(purchase) + paid_credit(purchase)


def _spread(purchase: Claimable, money: int, step: int) -> tuple[Part, ...] | None:
    """The money over the payments, the newest first, of each no more than is left of it; None where it is too much."""
    parts = []
    for leg in legs(purchase):
        take = min(money, left_of(purchase, leg, step))
        money -= take
        if take:
            parts.append(Part(leg.purchase, take, told_of(purchase, leg)))
    return None if money else tuple(parts)


def resized(purchase: P, refund: str, money: int, credit: int, step: int = 1) -> P:
    """The purchase with other figures in an open claim; unchanged where too much would go, or money is on its way."""
    known = claim_of(purchase, refund)
    if known is None or known.state != "open" or known.fixed:
        return purchase
    without = replace(purchase, claims=tuple(one for one in purchase.claims if one.refund != refund))
    changed = claimed(without, replace(known, money=money, credit=credit), step)
    return purchase if changed == without else changed


def fixed(purchase: P, refund: str, money: int) -> P:
    """The purchase with an open claim whose figures change no more, `money` of them at most."""
    known = claim_of(purchase, refund)
    if known is None or known.state != "open" or known.fixed:
        return purchase
    parts, rest = [], min(money, known.money)
    for part in known.parts:
        take = min(part.money, rest)
        rest -= take
        if take:
            parts.append(replace(part, money=take))
    claim = replace(known, money=sum(part.money for part in parts), parts=tuple(parts), fixed=True)
    return _with(purchase, refund, lambda _: claim)


def rebased(purchase: P, refund: str) -> P:
    """The purchase after a provider refused a part of an open claim: what went back otherwise meanwhile is its own part.

    So only what is missing is asked for the next time.
    """
    known = claim_of(purchase, refund)
    if known is None or known.state != "open":
        return purchase
    by_name = {leg.purchase: leg for leg in legs(purchase)}
    parts: list[Part] = []
    for part in known.parts:
        now = told_of(purchase, by_name[part.purchase])
        went = now - part.before
        if 0 < went < part.money:
            parts += [replace(part, money=went), Part(part.purchase, part.money - went, now)]
        else:
            parts.append(part)
    return _with(purchase, refund, lambda one: replace(one, parts=tuple(parts)))


def trimmed(purchase: P, refund: str, credit: int) -> P:
    """The purchase with what has gone back of an open claim's money, and `credit` for all the rest of the claim.

    Unchanged where more than was paid would go back.
    """
    known = claim_of(purchase, refund)
    if known is None or known.state != "open":
        return purchase
    done = done_of(purchase, known)
    claim = replace(known, money=sum(part.money for part in done), credit=credit, parts=done)
    return _with(purchase, refund, lambda _: claim) if _fits(purchase, claim) else purchase


def _with(purchase: P, refund: str, edit: Callable[[Claim], Claim]) -> P:
    """The purchase after an edit of its open claim of this refund."""
    claims = tuple(
        edit(one) if one.refund == refund and one.state == "open" else one for one in purchase.claims
    )
    return replace(purchase, claims=claims)


def ended(purchase: P, refund: str, state: ClaimState) -> P:
    """The purchase with this open claim settled or failed."""
    return _with(purchase, refund, lambda one: replace(one, state=state))


def next_taking(purchase: Claimable) -> Taking | None:
    """Which tokens are to be taken back next; None where everything that is due was taken."""
    for one in purchase.claims:
        if one.state == "settled" and one.takes and one.refund not in purchase.taken:
            return Taking(one.refund, sweeps=one.sweeps)
    if purchase.replaced_by is not None:
        return None
    if purchase.state == "charged_back" and DISPUTE not in purchase.taken:
        return Taking(DISPUTE)
    if purchase.sweep == "now":
        return Taking(SWEEP)
    more = outside(purchase) - purchase.accounted
    if more <= 0 or DISPUTE in purchase.taken:
        return None
    own = sum(one.money + one.credit for one in standing(purchase))
    rest = paid_money(purchase) + paid_credit(purchase) - own - purchase.accounted
    cause = LOST if any(is_lost(purchase, leg) for leg in legs(purchase)) else OUTSIDE
    return Taking(cause, more, rest) if more < rest else Taking(cause)


def wants_aside(purchase: Claimable) -> bool:
    """Whether the purchase's tokens are to be set aside."""
    if purchase.replaced_by is not None:
        return False
    claim = open_claim(purchase)
    return purchase.state == "disputed" or bool(purchase.sweep) or (claim is not None and claim.aside)


def after_taking(purchase: P, held: int) -> P:
    """The purchase once what `taking` says was taken; running operations still hold `held` tokens of it."""
    taking = purchase.taking
    assert taking is not None, "nothing was being taken"
    found = replace(purchase, taking=None)
    if taking.cause in (OUTSIDE, LOST):
        more = outside(purchase) - purchase.accounted if taking.whole == 0 else taking.part
        found = replace(found, accounted=purchase.accounted + more)
    elif taking.cause != SWEEP:
        found = replace(found, taken=(*purchase.taken, taking.cause))
    if taking.whole or not taking.sweeps:
        return found
    return replace(found, sweep="wait" if held else "")


def spending(purchase: Claimable) -> int:
    """How much credit the step that spends it spends: all at first, of a bill later what came since."""
    return purchase.further[-1][1] if purchase.further else purchase.credit_used


def after_spending(purchase: P, *, spent: bool = True) -> P:
    """The bill once credit that came after it was made is spent on it, or for good is not."""
    *before, (at, more) = purchase.further
    more = more if spent else 0
    rest, used = purchase.amount - more, purchase.credit_used + more
    mode = purchase.mode if rest else "free"
    return replace(purchase, further=(*before, (at, more)), amount=rest, credit_used=used, mode=mode)


def has_credit(purchase: Claimable) -> bool:
    """Whether the credit that the purchase is paid with was taken and not given back."""
    return purchase.done.count("spend_credit") > purchase.done.count("return_credit")


def credit_step(purchase: Claimable) -> Literal["spend_credit", "return_credit"] | None:
    """What is to be done about the credit: it is taken before anything else, and given back if nothing was bought."""
    if not purchase.credit_used:
        return None
    over = purchase.state in ("failed", "abandoned")
    if has_credit(purchase):
        return "return_credit" if over else None
    return None if over else "spend_credit"
