"""Purchases: from an order to delivered tokens, as facts that are merged and steps that follow from them.

A purchase is one row. What the payment provider tells is merged into its facts (`merge`): facts are sets and
maxima, so events may come twice, late and in any order and the row ends the same (R-PACK-3). Where the
purchase stands (`state`) is read off the facts. What must happen to the account next (`next_step`) follows
from the facts and from the steps already done; a step is written down before it is taken (`doing`) and its
command carries a key made from the purchase (`step_key`), so that a crash at any moment repeats it without
doing it twice.

Amount and currency are checked against what was ordered here, never against what an event claims: a payment
of anything else leaves the purchase `mismatched`, nothing is delivered, and a person must look.

    created → pending → paid → delivered → partly_refunded | refunded | disputed → delivered | charged_back
    created → pending → failed | abandoned        (a payment that still arrives is honoured)

Slots: a purchase counts toward the limit of packs (R-PACK-4) until `slot_until`: while its checkout is open,
until it ends by itself; once paid, for `slot_ms` from then. The use of a promo code counts alike until
`promo_until`, once paid for ever.

The money of a subscription is told by its invoices alone: a `Paid` adds nothing to a plan, renewal or upgrade,
and one is delivered when its invoice has told the period that it pays for.

What the steps ask of the account is `tokentill.rules.deliveries`. Amounts are minor units, times epoch
milliseconds. Nothing here knows a provider.

Requirement ids: R-PACK-2, R-PACK-3, R-PACK-4, R-PACK-10, R-PLAN-4, R-LIC-1, R-LIC-3, R-REF-6, R-LED-6.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Literal, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from tokentill.rules import claims
from tokentill.rules import happenings as h
from tokentill.rules.claims import after_taking, credit_step, has_credit, next_taking, wants_aside
from tokentill.rules.legs import Claimable, disputed, gone, legs, paid_money, spared
from tokentill.rules.outgoes import Outgo, told

T = TypeVar("T", int, str)

Kind = Literal["pack", "plan", "renewal", "upgrade", "overage", "code"]
Mode = Literal["checkout", "saved", "invoice", "free"]
Source = Literal["customer", "topup", "operator", "provider"]
Step = Literal[
    "deliver", "set_aside", "give_back", "take_back", "freeze", "restore", "carry",
    "spend_credit", "return_credit", "apply_credit",
]  # fmt: skip
State = Literal[
    "created", "pending", "paid", "delivered", "failed", "abandoned", "mismatched",
    "disputed", "charged_back", "partly_refunded", "refunded",
]  # fmt: skip

HONOURED_MS = 3_600_000
"""How long after its end a checkout may still be paid at the provider; until then it keeps its slot."""

FOREVER = 2**53
"""A time that does not come."""

BILLED: frozenset[Kind] = frozenset({"plan", "renewal", "upgrade"})
"""Kinds that are paid by invoices of a subscription."""

DECLINES_MAX = 50
"""Tries to pay that are remembered of one purchase."""


class Payment(Struct, frozen=True, array_like=True):
    """Money that arrived for a purchase. A second one is an overpayment, which a person gives back."""

    at: int
    payment: str
    amount: int
    currency: str
    method: str | None = None


class Purchase(Claimable, frozen=True, kw_only=True):
    """One order and everything that is known of it; see the module's page."""

    # what was ordered, on the terms of that moment
    kind: Kind
    item: str
    """The id of the pack or plan; for a redeemed code what it stands for."""
    title: str
    currency: str
    list_amount: int = 0
    """What it costs without promotion."""
    tokens: int = 0
    bonus: int = 0
    """Tokens on top, by promotion or bundle; a lot of their own."""
    valid_days: int | None = None
    promo: str | None = None
    mode: Mode = "checkout"
    source: Source = "customer"
    user: str | None = None
    slot_ms: int = 0
    asked: str = ""
    """What was asked for under its key, as a digest; empty where no caller's key made it."""
    credit: int = 0
    """Of an upgrade: what the unused share of the plan before was worth."""
    offered_at: int | None = None
    """When the offer was shown that led to the order, epoch ms; None where nobody said."""
    approach: str | None = None
    """The variant of the sales approach that led here; None where nobody tried any."""
    withdrawal_waived_at: int | None = None
    """When the customer gave up the right of withdrawal; None where nobody did."""
    payer: str | None = None
    """The saved method it is charged to, by the id of its row."""
    return_url: str = ""
    """Where the customer comes back to, if a saved method must be confirmed."""
    problem: str | None = None
    """Why it could not be started, charged or delivered, in words for a person."""
    plan_start: int | None = None
    plan_end: int | None = None
    """The period that a plan, renewal or upgrade pays for, as the provider bills it."""
    periods: int = 1
    """How many of the plan's periods one payment covers; the provider's end is that of the last."""
    flagged: str | None = None
    """Why a person should look at it: over the limit, mismatched, paid twice, a refund that failed."""

    # facts, each a set or a maximum
    checkout: str | None = None
    url: str | None = None
    expires_at: int | None = None
    payments: tuple[Payment, ...] = ()
    declines: tuple[tuple[str, int], ...] = ()
    """Tries to pay that failed, each with when."""
    decline_code: str | None = None
    ended: bool = False
    refunds_failed: tuple[str, ...] = ()
    """Refunds that did not reach the customer, by the provider's ids."""
    suspicions: tuple[str, ...] = ()
    outgoes: tuple[Outgo, ...] = ()
    """When which part of the money went back."""
    subscription: str | None = None
    invoice: str | None = None
    failed_at: int | None = None
    voided: bool = False

    # what was done about them
    doing: Step | None = None
    done: tuple[Step, ...] = ()
    delivered_at: int | None = None
    lots: tuple[int, ...] = ()
    carried: int | None = None
    """Of an upgraded pack: the tokens that its owner keeps of the one before, decided once."""

    # read off the above, kept as columns so that they can be counted and found
    state: State = "created"
    refunded: int = 0
    """What went back of its own payment; of earlier ones their own purchases know."""
    slot_until: int = 0
    promo_until: int = 0


def purchase_id(provider: str, name: str) -> str:
    """The id (32 hex digits) of the purchase that `provider` names so: an invoice, a customer's own key, an entry."""
    text = f"{len(provider)}:{provider}:{name}"  # no two pairs of names are one text
    return blake2b(text.encode(), digest_size=16, person=b"purchase").hexdigest()


# ---- facts -------------------------------------------------------------------------------------------------


def merge(purchase: Purchase, fact: h.AnyHappening) -> Purchase:
    """The purchase with `fact` among its facts. Merging twice, or in another order, gives the same purchase."""
    if isinstance(fact, h.Paid):
        if purchase.kind not in BILLED:
            paid = Payment(fact.at, fact.payment, fact.amount, fact.currency, fact.method)
            purchase = replace(purchase, payments=_with(purchase.payments, paid))
        purchase = replace(purchase, checkout=_least(purchase.checkout, fact.checkout))
    elif isinstance(fact, h.InvoicePaid):
        name = fact.payment or fact.invoice
        paid = Payment(fact.at, name, fact.amount, fact.currency, fact.method)
        purchase = replace(
            purchase, payments=_with(purchase.payments, paid), invoice=_least(purchase.invoice, fact.invoice),
            subscription=_least(purchase.subscription, fact.subscription),
            plan_start=_least(purchase.plan_start, fact.start), plan_end=_least(purchase.plan_end, fact.end),
        )  # fmt: skip
    elif isinstance(fact, h.InvoiceFailed):
        purchase = replace(
            purchase, failed_at=_least(purchase.failed_at, fact.at), invoice=_least(purchase.invoice, fact.invoice),
            subscription=_least(purchase.subscription, fact.subscription),
        )  # fmt: skip
    elif isinstance(fact, h.InvoiceVoided):
        purchase = replace(purchase, voided=True)
    elif isinstance(fact, h.Declined):
        known = dict(purchase.declines)
        known[fact.attempt] = min(known.get(fact.attempt, fact.at), fact.at)
        tries = tuple(sorted(known.items()))[:DECLINES_MAX]
        code = max(purchase.decline_code or "", fact.code)
        purchase = replace(purchase, declines=tries, decline_code=code)
    elif isinstance(fact, h.Ended):
        purchase = replace(purchase, ended=True)
    elif isinstance(fact, h.Refunded):
        sums = dict(purchase.refunds)
        sums[fact.payment] = max(sums.get(fact.payment, 0), fact.refunded)
        purchase = replace(purchase, refunds=tuple(sorted(sums.items())))
    elif isinstance(fact, h.RefundFailed):
        purchase = replace(purchase, refunds_failed=tuple(sorted({*purchase.refunds_failed, fact.refund})))
    elif isinstance(fact, h.Disputed):
        purchase = replace(purchase, disputes=disputed(purchase.disputes, fact))
    elif isinstance(fact, h.Suspected):
        purchase = replace(purchase, suspicions=tuple(sorted({*purchase.suspicions, fact.warning})))
    return derive(replace(purchase, outgoes=told(purchase.outgoes, fact)))


def _least(known: T | None, told: T | None) -> T | None:
    """The lesser of what is known; so that it does not matter which was told first."""
    return told if known is None else known if told is None else min(known, told)


def _with(payments: tuple[Payment, ...], one: Payment) -> tuple[Payment, ...]:
    """The payments with `one`; of the same payment told twice the earlier, fuller account stays."""
    by_name = {payment.payment: payment for payment in payments}
    known = by_name.get(one.payment)
    if known is not None:
        method = max(known.method or "", one.method or "") or None
        one = replace(min(known, one, key=_order), method=method)
    by_name[one.payment] = one
    return tuple(sorted(by_name.values(), key=_order))


def _order(payment: Payment) -> tuple[int, str, int, str]:
    return (payment.at, payment.payment, payment.amount, payment.currency)


def matches(purchase: Purchase, payment: Payment) -> bool:
    """Whether the payment is what was ordered."""
    return payment.amount == purchase.amount and payment.currency == purchase.currency


def is_trial(purchase: Purchase) -> bool:
    """Whether it begins a plan with a trial, of which nothing is paid; one that credit pays whole is none."""
    unpaid = purchase.amount == 0 and not purchase.credit_used
    return purchase.kind == "plan" and unpaid and purchase.list_amount > 0


def derive(purchase: Purchase) -> Purchase:
    """The purchase with the columns that are read off its facts; call it after every change."""
    right = [payment for payment in purchase.payments if matches(purchase, payment)]
    # Of two that were paid the one that went back is not the one that counts.
    first = next(
        (payment for payment in right if not _went_back(purchase, payment)), right[0] if right else None
    )
    if first is None and purchase.mode == "free" and (has_credit(purchase) or not purchase.credit_used):
        covered_at = purchase.further[-1][0] if purchase.further else purchase.created_at
        first = Payment(covered_at, "", purchase.amount, purchase.currency)
    flagged = purchase.flagged
    if len(right) < len(purchase.payments) and not settling(purchase):
        flagged = "mismatched"
    elif len(purchase.payments) > 1:
        flagged = "paid_twice"
    elif purchase.refunds_failed:
        flagged = "refund_failed"
    found = replace(
        purchase,
        paid_at=None if first is None else first.at,
        payment=None if first is None else first.payment,
        method=None if first is None else first.method,
        flagged=flagged,
    )
    found = replace(found, refunded=gone(found, legs(found)[0]))
    found = replace(found, state=_state(found))
    slot = _slot_until(found)
    promo = 0 if found.promo is None else slot if found.paid_at is None else FOREVER
    return replace(found, slot_until=slot, promo_until=promo)


def _went_back(purchase: Purchase, payment: Payment) -> bool:
    """Whether the whole of a payment was given back, or lost to the customer's bank."""
    lost = any(one.state == "lost" and one.payment == payment.payment for one in purchase.disputes)
    return lost or 0 < payment.amount <= dict(purchase.refunds).get(payment.payment, 0)


def _state(purchase: Purchase) -> State:
    if purchase.paid_at is None:
        if purchase.payments and not settling(purchase):
            return "mismatched"
        if purchase.voided or (purchase.ended and purchase.mode != "invoice"):
            return "abandoned"  # an invoice stays open when a try to pay it ends
        if purchase.failed_at is not None or (purchase.declines and purchase.mode == "saved"):
            return "failed"
        return "created" if purchase.checkout is None and purchase.url is None else "pending"
    # One of a payment that does not count, paid twice or wrong, is no reason to touch what the other pays for.
    others = {payment.payment for payment in purchase.payments} - {purchase.payment}
    standing = {dispute.state for dispute in purchase.disputes if dispute.payment not in others}
    if "lost" in standing and not spared(purchase):
        return "charged_back"
    if "open" in standing:
        return "disputed"
    back = sum(gone(purchase, leg) for leg in legs(purchase))
    if back:
        return "refunded" if back >= paid_money(purchase) else "partly_refunded"
    return "delivered" if "deliver" in purchase.done else "paid"


def _slot_until(purchase: Purchase) -> int:
    """Until when the purchase counts toward the limit."""
    if purchase.paid_at is not None:
        return purchase.paid_at + purchase.slot_ms
    if purchase.state in ("failed", "abandoned", "mismatched"):
        return 0
    return (purchase.expires_at or purchase.created_at) + HONOURED_MS


# ---- steps -------------------------------------------------------------------------------------------------


def next_step(purchase: Purchase) -> Step | None:
    """What the account must be told next; None where facts and deeds agree."""
    done = purchase.done
    if purchase.doing is not None:
        return purchase.doing
    step = credit_step(purchase)
    if step == "return_credit" and not keeps_credit(purchase):
        return step
    if step == "spend_credit" or (applies(purchase) and "apply_credit" not in done):
        return step or "apply_credit"
    if "deliver" not in done and deliverable(purchase):
        return "deliver" if purchase.replaces is None or purchase.carried is not None else "carry"
    frozen = done.count("freeze") > done.count("restore")
    failed = purchase.failed_at is not None and purchase.paid_at is None
    # A failure that is told after its invoice was voided ends the period before as it would have, and is over then.
    owed = failed and (not purchase.voided or "freeze" not in done)
    if owed != frozen:
        return "freeze" if owed else "restore"
    if "deliver" not in done or purchase.kind == "overage":
        return None
    if next_taking(purchase) is not None:
        return "take_back"
    aside = done.count("set_aside") > done.count("give_back")
    # The periods that a payment still brings are worth nothing once the money has gone.
    gone = purchase.kind in BILLED and purchase.state in ("charged_back", "refunded")
    if (gone or wants_aside(purchase)) != aside:
        return "give_back" if aside else "set_aside"
    return None


def keeps_credit(purchase: Purchase) -> bool:
    """Whether it is owed still where a try to pay it fails, so that what credit has paid of it stays paid."""
    return purchase.kind == "overage" or (purchase.kind == "renewal" and not purchase.voided)


def applies(purchase: Purchase) -> bool:
    """Whether its credit is to be taken off an invoice that the provider has drafted, once it is spent here."""
    return purchase.kind == "renewal" and has_credit(purchase) and purchase.credit_used > 0


def settling(purchase: Purchase) -> bool:
    """Whether it is not known yet how much of a drafted invoice credit pays, so that no payment of it is wrong."""
    return purchase.kind == "renewal" and purchase.doing in ("spend_credit", "apply_credit")


def deliverable(purchase: Purchase) -> bool:
    """Whether it is paid and everything is known that its delivery needs."""
    if purchase.paid_at is None:
        return False
    if purchase.credit_used and not has_credit(purchase):
        return False
    return purchase.kind not in BILLED or purchase.mode == "free" or purchase.plan_end is not None


def begin(purchase: Purchase) -> Purchase:
    """The purchase with its next step written down; store this before taking the step."""
    doing = next_step(purchase)
    begun = doing == "take_back" and purchase.doing is None
    return replace(purchase, doing=doing, taking=next_taking(purchase) if begun else purchase.taking)


def finish(purchase: Purchase, at: int, lots: tuple[int, ...] = (), figure: int = 0) -> Purchase:
    """The purchase after the step in `doing` was taken.

    `figure`: of a taking what running operations still hold, of a carrying what is kept of the pack before.
    """
    assert purchase.doing is not None, "no step was begun"
    found = replace(purchase, doing=None, done=(*purchase.done, purchase.doing))
    if purchase.doing == "deliver":
        found = replace(found, delivered_at=at, lots=lots)
    elif purchase.doing == "take_back":
        found = after_taking(found, figure)
    elif purchase.doing == "carry":
        found = replace(found, carried=figure)
    elif purchase.doing == "spend_credit" and purchase.further:
        found = claims.after_spending(found)
    elif purchase.doing == "apply_credit":
        found = replace(found, amount=purchase.list_amount - purchase.credit_used)
    return derive(found)


def step_key(purchase: Purchase, part: str = "") -> str:
    """The idempotency key (32 hex digits) of the command that takes the step in `doing`."""
    assert purchase.doing is not None, "no step was begun"
    nth = purchase.done.count(purchase.doing)
    name = f"{purchase.id}:{purchase.doing}:{nth}:{part}"
    return blake2b(name.encode(), digest_size=16, person=b"purchase step").hexdigest()
