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

Requirement ids: R-REF-5, R-REF-6, R-LED-6.
"""

from __future__ import annotations

from typing import Literal, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from tokentill.rules.happenings import DisputeState
from tokentill.rules.rows import Row

ClaimState = Literal["open", "settled", "failed"]
Sweep = Literal["", "wait", "now"]
OUTSIDE = "outside"
DISPUTE = "dispute"
SWEEP = "sweep"


class Claim(Struct, frozen=True, array_like=True):
    """What one refund (`refund`, its id) asks of its purchase.

    `money` goes back to where it came from, `credit` as credit. `takes`: tokens are taken back once it is settled.
    `closes`: nothing more can be asked afterwards. `aside`: the tokens are set aside while it is open. `sweeps`: what
    running operations give back later is taken too. `before`: what the provider had given back when it began.
    """

    refund: str
    state: ClaimState = "open"
    money: int = 0
    credit: int = 0
    takes: bool = True
    closes: bool = False
    aside: bool = True
    sweeps: bool = True
    before: int = 0


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
    payment: str | None = None
    refunds: tuple[tuple[str, int], ...] = ()
    """For each payment what was given back of it, in sum."""
    disputes: tuple[Dispute, ...] = ()
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


P = TypeVar("P", bound=Claimable)


def told(purchase: Claimable) -> int:
    """What the provider has given back of the purchase's payment, in sum, as far as it has told."""
    return 0 if purchase.payment is None else dict(purchase.refunds).get(purchase.payment, 0)


def standing(purchase: Claimable) -> tuple[Claim, ...]:
    """The claims that count: open ones and settled ones."""
    return tuple(claim for claim in purchase.claims if claim.state != "failed")


def given_back(purchase: Claimable, beside: str | None = None) -> int:
    """What was given back of the price, money and credit; what is on its way counts, but the refund `beside`."""
    own = [one for one in standing(purchase) if beside is None or one.refund != beside]
    return max(told(purchase), sum(one.money for one in own)) + sum(one.credit for one in own)


def outside(purchase: Claimable) -> int:
    """What was given back by others than our own claims, such as in the provider's dashboard."""
    return max(0, min(told(purchase), purchase.amount) - sum(one.money for one in standing(purchase)))


def closed(purchase: Claimable) -> bool:
    """Whether nothing more can be asked: an alternative was taken, or a dispute decides."""
    settled = any(one.closes and one.state == "settled" for one in purchase.claims)
    return settled or any(one.state != "won" for one in purchase.disputes)


def open_claim(purchase: Claimable) -> Claim | None:
    """The claim that is open, if there is one."""
    return next((one for one in purchase.claims if one.state == "open"), None)


def claim_of(purchase: Claimable, refund: str) -> Claim | None:
    """The claim of this refund."""
    return next((one for one in purchase.claims if one.refund == refund), None)


def claimed(purchase: P, claim: Claim) -> P:
    """The purchase with the claim on it; unchanged where another is open, it is closed, or too much would go."""
    known = claim_of(purchase, claim.refund)
    if known is not None and known.state != "failed":
        return purchase
    others = tuple(one for one in purchase.claims if one.refund != claim.refund)
    money = max(told(purchase), sum(one.money for one in standing(purchase))) + claim.money
    if open_claim(purchase) is not None or closed(purchase) or money > purchase.amount:
        return purchase
    if given_back(purchase) + claim.money + claim.credit > purchase.amount + purchase.credit_used:
        return purchase
    return replace(purchase, claims=(*others, replace(claim, before=told(purchase))))


def resized(purchase: P, refund: str, money: int, credit: int) -> P:
    """The purchase with other figures in an open claim; unchanged where too much would go."""
    known = claim_of(purchase, refund)
    if known is None or known.state != "open":
        return purchase
    without = replace(purchase, claims=tuple(one for one in purchase.claims if one.refund != refund))
    changed = claimed(without, replace(known, money=money, credit=credit))
    return purchase if changed == without else changed


def ended(purchase: P, refund: str, state: ClaimState) -> P:
    """The purchase with this open claim settled or failed."""
    changed = tuple(
        replace(one, state=state) if one.refund == refund and one.state == "open" else one
        for one in purchase.claims
    )
    return replace(purchase, claims=changed)


def next_taking(purchase: Claimable) -> Taking | None:
    """Which tokens are to be taken back next; None where everything that is due was taken."""
    for one in purchase.claims:
        if one.state == "settled" and one.takes and one.refund not in purchase.taken:
            return Taking(one.refund, sweeps=one.sweeps)
    if purchase.state == "charged_back" and DISPUTE not in purchase.taken:
        return Taking(DISPUTE)
    if purchase.sweep == "now":
        return Taking(SWEEP)
    more = outside(purchase) - purchase.accounted
    if more <= 0 or DISPUTE in purchase.taken:
        return None
    own = sum(one.money + one.credit for one in standing(purchase))
    rest = purchase.amount + purchase.credit_used - own - purchase.accounted
    return Taking(OUTSIDE, more, rest) if more < rest else Taking(OUTSIDE)


def wants_aside(purchase: Claimable) -> bool:
    """Whether the purchase's tokens are to be set aside."""
    claim = open_claim(purchase)
    return purchase.state == "disputed" or bool(purchase.sweep) or (claim is not None and claim.aside)


def after_taking(purchase: P, held: int) -> P:
    """The purchase once what `taking` says was taken; running operations still hold `held` tokens of it."""
    taking = purchase.taking
    assert taking is not None, "nothing was being taken"
    found = replace(purchase, taking=None)
    if taking.cause == OUTSIDE:
        more = outside(purchase) - purchase.accounted if taking.whole == 0 else taking.part
        found = replace(found, accounted=purchase.accounted + more)
    elif taking.cause != SWEEP:
        found = replace(found, taken=(*purchase.taken, taking.cause))
    if taking.whole or not taking.sweeps:
        return found
    return replace(found, sweep="wait" if held else "")


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
