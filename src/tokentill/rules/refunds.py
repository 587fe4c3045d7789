"""Refunds: what a purchase is worth to give back, each step of the arithmetic shown.

`quote` is a function of values alone: the purchase, the use of its own lot, who the customer is, the stated
reason and the moment. It answers with the money first, always, and then with every alternative that is
allowed, ranked by what it is worth to this customer (R-REF-4); only those that beat the money are recommended. An
alternative is instead of the money: once some went back, the rest of what can be asked for is money.

The rate. A base by usage band and reason (R-REF-1), times the customer's value (R-REF-2), times the time since
payment (R-REF-3); the product is clamped to 100 percent once, at the end. The factors multiply, because the
document's matrix itself is a product. Where the customer's first purchase makes a second reason hold, the
larger rate counts. After all factors come the floors: the guarantee (half within 24 hours, no reason asked, once
for a customer and payment method), and a right of withdrawal where the law gives one. The amount is rounded
once, half up, in minor units; what was given back before is taken off, so the sum never exceeds what was paid.

Usage is what was spent of the purchase's own lot, compared in integers: bands are [0,5) [5,25) [25,50) [50,100].
Tokens that running operations hold are neither used nor taken back; an expired lot is judged by what was spent.

Boundaries: within one hour includes 3600.000 s, within 24 h 86,400.000 s; after seven days begins above
604,800.000 s. The clock starts when the payment was confirmed. Spent strictly more than $100, than $1000.

A plan's period, where the catalog gives periods back, is quoted alike over the tokens that its own payment brings; of a
payment for several periods that is all of them. Money or credit for the period that runs ends the plan at once, and
no larger package is offered for it. What was counted toward an upgrade, or carried into the next period, is not
given back once more.

Not decided here: whether a person must agree (`tokentill.rules.refund_review`), and anything that happens.

Requirement ids: R-REF-1, R-REF-2, R-REF-3, R-REF-4, R-REF-5.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from tokentill.rules.durations import DAY_MS
from tokentill.rules.money import half_up, payable
from tokentill.rules.refund_policy import Band, Reason, RefundPolicy

Choice = Literal["cash", "bonus", "credit", "upgrade"]
Step = Literal[
    "usage", "technical", "quality", "unused", "first_time", "customer", "early", "late", "clamp", "unused_share",
    "guarantee", "withdrawal", "waived", "refunded_before", "payable",
]  # fmt: skip
Refused = Literal["settled", "refunded", "counted", "carried", "too_late", "not_first", "no_tokens", "free"]
FULL = 100**4
"""The product of four percents that means 100 percent."""


class Usage(Struct, frozen=True):
    """The purchase's own lots: tokens bought, and of all its lots what was spent, is held, is left to take back.

    `spent` is of the bought lot; `left` and `held` of the bought lot and of what came with it.
    """

    granted: int
    spent: int
    held: int
    left: int
    coming: int = 0
    """Of `granted`: what later periods of the same payment bring."""


class Bought(Struct, frozen=True, kw_only=True):
    """The purchase as the quote sees it. `paid` minor units in money, `credit` in money credit; `price` both."""

    id: str
    item: str
    title: str
    currency: str
    paid: int
    paid_at: int
    credit: int = 0
    list_price: int = 0
    """What it costs without a promotion; an upgrade pays the difference to that."""
    refunded: int = 0
    refunded_money: int = 0
    """Of what was given back, the part that was money."""
    settled: bool = False
    """The claim is closed: an alternative was taken, or a dispute decides."""
    waived: bool = False
    """The customer gave up the right of withdrawal at the purchase, on the record."""
    renewal: bool = False
    """It goes on with what was ordered before; a right of withdrawal was there once, with the order."""
    step: int = 1
    """Minor units that its provider moves money in; the money is rounded up to them."""
    plan: bool = False
    runs: bool = False
    """The plan runs on this payment now, so that giving it back ends the plan."""
    refused: Literal["counted", "carried"] | None = None
    """What was unused was counted toward an upgrade, or carried into the period after."""

    @property
    def price(self) -> int:
        """What it cost, however it was paid."""
        return self.paid + self.credit


class Customer(Struct, frozen=True, kw_only=True):
    """Who asks. `spent`: net money spent in life without this purchase, minor units."""

    spent: int = 0
    first_purchase: bool = False
    guarantee_used: bool = False
    """The guarantee was used before, by this customer or with this payment method."""
    region: str | None = None


class Larger(Struct, frozen=True):
    """A larger package that the purchase may be turned into by paying the difference of list prices."""

    item: str
    title: str
    tokens: int
    price: int


class Line(Struct, frozen=True, gc=False):
    """One step of the arithmetic: what, by which factor, and from which figures (`value` of `of`).

    `percent` multiplies what stands before it; None where the step is no factor. The sentence of a line is
    `tokentill.rules.refund_texts.sentence`.
    """

    name: Step
    percent: int | None = None
    value: int = 0
    of: int = 0


class Option(Struct, frozen=True, kw_only=True, gc=False):
    """One thing the customer may choose. Amounts are minor units.

    `worth`: what it is worth to the customer, at the price this purchase was bought for. `cost`: what it costs the
    operator, with tokens at what the catalog says they cost. `take_back`: unspent tokens that go. `pay`: what the
    customer pays on top (an upgrade). `recommended`: it is worth more than the money.
    `ends_plan`: the plan ends with it.
    """

    choice: Choice
    worth: int
    cost: int
    money: int = 0
    credit: int = 0
    tokens: int = 0
    take_back: int = 0
    pay: int = 0
    item: str | None = None
    recommended: bool = False
    ends_plan: bool = False


class Quote(Struct, frozen=True, kw_only=True):
    """A refund as it would be now. `options[0]` is the money, always; `lines` are the arithmetic, in order.

    `rate_millionths`: the rate after all of it, in millionths of the price. `refused`: why nothing can be given
    back; then there is no option. The sentences are in `tokentill.rules.refund_texts`.
    """

    purchase: str
    reason: Reason | None
    at: int
    valid_until: int
    currency: str
    price: int
    usage: Usage
    rate_millionths: int
    amount: int
    lines: tuple[Line, ...]
    options: tuple[Option, ...]
    guarantee: bool = False
    """The guarantee is what makes it this much, so accepting uses it up."""
    refused: Refused | None = None


def quote(
    bought: Bought,
    usage: Usage,
    customer: Customer,
    reason: Reason | None,
    now: int,
    policy: RefundPolicy,
    *,
    larger: tuple[Larger, ...] = (),
    cost_per_million: int = 0,
) -> Quote:
    """What can be given back for the purchase at `now` (epoch ms), for `reason`; None states none.

    `larger`: packages the purchase could be upgraded to. `cost_per_million`: minor units that a million tokens
    cost the operator.
    """
    refusal = _refusal(bought, usage, customer, reason, now, policy)
    lines: list[Line] = []
    product = 0
    if refusal is None and reason is not None:
        product = _product(bought, usage, customer, reason, now, policy, lines)
    numerator, denominator = min(product, FULL), FULL
    if product > FULL:
        lines.append(Line("clamp", 100))
    if policy.unused_share and reason is not None:
        unused = max(0, usage.granted - usage.spent)
        if numerator * usage.granted > unused * denominator:
            numerator, denominator = unused, usage.granted
            lines.append(Line("unused_share", None, unused, usage.granted))
    guaranteed = False
    if refusal is None:
        numerator, denominator, guaranteed = _floors(
            bought, usage, customer, now, policy, lines, (numerator, denominator)
        )
    whole = half_up(bought.price * numerator, denominator)
    amount = max(0, whole - bought.refunded)
    if bought.refunded and refusal is None:
        lines.append(Line("refunded_before", None, bought.refunded, whole))
    money = 0 if refusal else _money(bought, amount)
    if money > amount:
        lines.append(Line("payable", None, money, amount))
        amount = money
    options = () if refusal else _options(bought, usage, (amount, money), policy, larger, cost_per_million)
    return Quote(
        purchase=bought.id,
        reason=reason,
        at=now,
        valid_until=now + policy.quote_ms,
        currency=bought.currency,
        price=bought.price,
        usage=usage,
        rate_millionths=half_up(numerator * 1_000_000, denominator),
        amount=amount,
        lines=tuple(lines),
        options=options,
        guarantee=guaranteed,
        refused=refusal,
    )


def _refusal(
    bought: Bought, usage: Usage, customer: Customer, reason: Reason | None, now: int, policy: RefundPolicy
) -> Refused | None:
    if bought.settled:
        return "settled"
    if bought.price == 0:
        return "free"
    if bought.refunded >= bought.price:
        return "refunded"
    if bought.refused is not None:
        return bought.refused
    if now - bought.paid_at > policy.window_days * DAY_MS:
        return "too_late"
    if reason == "first_time" and not customer.first_purchase:
        return "not_first"
    return None if usage.granted else "no_tokens"


# ---- the rate ------------------------------------------------------------------------------------------------


def band_of(usage: Usage, policy: RefundPolicy) -> Band:
    """The band of the usage, compared in integers."""
    return next(band for band in policy.bands if usage.spent * 100 < band.below * usage.granted)


def _product(
    bought: Bought,
    usage: Usage,
    customer: Customer,
    reason: Reason,
    now: int,
    policy: RefundPolicy,
    lines: list[Line],
) -> int:
    """Base times reason times value times time, each in percent."""
    band = band_of(usage, policy)
    lines.append(Line("usage", band.rate, usage.spent, usage.granted))
    factor = policy.reasons[reason]
    if customer.first_purchase and policy.reasons["first_time"] > factor:
        reason, factor = "first_time", policy.reasons["first_time"]
    lines.append(Line(reason, factor))
    product = band.rate * factor
    value = next((tier for tier in policy.tiers if customer.spent > tier.above), None)
    if value is not None:
        lines.append(Line("customer", value.percent, value.above))
        product *= value.percent
    else:
        product *= 100
    elapsed = now - bought.paid_at
    if elapsed <= policy.early_s * 1000:
        lines.append(Line("early", policy.early_percent, policy.early_s))
        return product * policy.early_percent
    if elapsed > policy.late_s * 1000:
        lines.append(Line("late", policy.late_percent, policy.late_s))
        return product * policy.late_percent
    return product * 100


def _floors(
    bought: Bought,
    usage: Usage,
    customer: Customer,
    now: int,
    policy: RefundPolicy,
    lines: list[Line],
    rate: tuple[int, int],
) -> tuple[int, int, bool]:
    """The rate raised to what the guarantee or the law gives at least; whether the guarantee did it."""
    numerator, denominator = rate
    elapsed = now - bought.paid_at
    guaranteed = False
    floor = policy.guarantee_percent
    open_for = not customer.guarantee_used and elapsed <= policy.guarantee_s * 1000
    if floor is not None and open_for and numerator * 100 < floor * denominator:
        numerator, denominator, guaranteed = floor, 100, True
        lines.append(Line("guarantee", floor, policy.guarantee_s))
    law = None if bought.renewal else policy.withdrawal.get(customer.region or "")
    unused = max(0, usage.granted - usage.spent)
    holds = law is not None and elapsed <= law.days * DAY_MS
    if holds and numerator * usage.granted < unused * denominator:
        if bought.waived:
            lines.append(Line("waived", None, unused, usage.granted))
        else:
            numerator, denominator, guaranteed = unused, usage.granted, False
            lines.append(Line("withdrawal", None, unused, usage.granted))
    return numerator, denominator, guaranteed


# ---- what can be chosen ----------------------------------------------------------------------------------------


def _money(bought: Bought, amount: int) -> int:
    """Of the amount what goes back as money: the part of the price that was, in steps that can be paid."""
    share = 0 if bought.price == 0 else half_up(amount * bought.paid, bought.price)
    most = min(bought.paid - bought.refunded_money, bought.price - bought.refunded)
    return min(payable(share, bought.step), most - most % bought.step)


def _options(
    bought: Bought,
    usage: Usage,
    whole: tuple[int, int],
    policy: RefundPolicy,
    larger: tuple[Larger, ...],
    cost_per_million: int,
) -> tuple[Option, ...]:
    """The money, then the alternatives, best for the customer first; `whole` is the amount and what of it is money."""
    amount, money = whole

    def served(tokens: int) -> int:
        return half_up(tokens * cost_per_million, 1_000_000)

    def valued(tokens: int) -> int:
        return half_up(bought.price * tokens, usage.granted)

    cash = Option(
        choice="cash",
        worth=amount,
        cost=amount,
        money=money,
        credit=amount - money,
        take_back=usage.left if amount else 0,
        ends_plan=bought.runs and amount > 0,
    )
    others: list[Option] = []
    if policy.bonus_percent is not None and not bought.refunded and bought.runs == bought.plan:
        bonus = usage.granted * policy.bonus_percent // 100
        keep = usage.left + usage.coming + bonus
        others.append(Option(choice="bonus", worth=valued(keep), cost=served(keep), tokens=bonus))
    if policy.credit_percent is not None and not bought.refunded:
        credit = min(half_up(bought.price * policy.credit_percent, 100), bought.price)
        buys = 0 if bought.price == 0 else usage.granted * credit // bought.price
        others.append(
            Option(
                choice="credit", worth=credit, cost=served(buys), credit=credit, take_back=usage.left,
                ends_plan=bought.runs,
            )
        )  # fmt: skip
    if policy.upgrade and not bought.plan and not bought.refunded:
        others += [_upgrade(bought, usage, to, served) for to in larger if to.price > _listed(bought)]
    ranked = sorted(others, key=lambda option: (-option.worth, option.cost, option.choice))
    return (cash, *(replace(option, recommended=option.worth > amount) for option in ranked))


def _listed(bought: Bought) -> int:
    return max(bought.list_price, bought.price)


def _upgrade(bought: Bought, usage: Usage, to: Larger, served: Callable[[int], int]) -> Option:
    pay = to.price - _listed(bought)
    keeps = max(0, to.tokens - usage.spent)
    return Option(
        choice="upgrade",
        worth=half_up(to.price * keeps, to.tokens) - pay,
        cost=served(keeps) - pay,
        tokens=keeps,
        take_back=usage.left,
        pay=pay,
        item=to.item,
    )
