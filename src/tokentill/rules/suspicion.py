"""Suspicion: which patterns around payments an operator is told of (R-PACK-4, S1 §9 risk 2).

Which patterns, and from how many on, says the catalog. A pattern becomes one alert for one cause: the id of the
alert names it, so that the same cause raises it once however often it is seen. Alerts block nobody.

`declines`: tries of an organization that failed within the window, over all its purchases; once in each stretch
of a window's length. `shared_method`: organizations that one card or account paid for within the window. The
others are single events that stand in the purchase. Money that is where it should not be (`MONEY`) is told of whatever
the catalog lists.

Requirement ids: R-PACK-4, R-REF-6.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec import Struct

from tokentill.rules.catalog import Catalog
from tokentill.rules.catalog_shop import AlertRule, Pattern
from tokentill.rules.happenings import DisputeState
from tokentill.rules.money import format_amount
from tokentill.rules.purchases import Purchase, matches, settling
from tokentill.rules.rows import Alert

MONEY = frozenset({"mismatched", "paid_twice", "refund_failed"})
"""Somebody has to give money back by hand: nobody can wish not to hear of that."""


class Seen(Struct, frozen=True):
    """What was counted within the windows of the catalog (`rule_of`), this purchase included.

    Organizations are counted no further than the catalog's rule asks.
    """

    declines: int = 0
    organizations: int = 0
    aside: int = 0
    """Tokens of the purchase that are set aside now."""


def window(catalog: Catalog, pattern: Pattern) -> int | None:
    """Over how many milliseconds a pattern is counted; None where the catalog does not ask for it."""
    rule = rule_of(catalog, pattern)
    return None if rule is None else rule.window_ms


def declines(purchases: Iterable[Purchase], since: int) -> int:
    """Tries to pay that failed after `since`, over these purchases."""
    return sum(at > since for purchase in purchases for _, at in purchase.declines)


def above_limit(catalog: Catalog, paid_at: int, others: Iterable[int]) -> bool:
    """Whether a pack paid at `paid_at` was one too many, given when the organization's other packs were paid.

    It is honoured and flagged `over_limit` (readings).
    """
    most, span = catalog.checkout.packs_max, catalog.checkout.packs_window_ms
    return most is not None and sum(paid_at - span < other <= paid_at for other in others) >= most


def alerts(catalog: Catalog, purchase: Purchase, seen: Seen, now: int) -> tuple[Alert, ...]:
    """The alerts that this purchase, as it stands, is a cause of; `now` is when they are raised."""
    found = []
    for pattern, cause, text in _suspicions(catalog, purchase, seen, now):
        if pattern in MONEY or rule_of(catalog, pattern) is not None:
            found.append(
                Alert(
                    id=f"{pattern}:{cause}",
                    # What several organizations have part in is nobody's own, so that it is raised once.
                    organization="" if pattern == "shared_method" else purchase.organization,
                    created_at=now,
                    code=pattern,
                    text=text,
                )
            )
    return tuple(found)


def rule_of(catalog: Catalog, pattern: str) -> AlertRule | None:
    """What the catalog says of a pattern; None where it does not ask for it."""
    return next((rule for rule in catalog.alerts if rule.pattern == pattern), None)


def _suspicions(catalog: Catalog, purchase: Purchase, seen: Seen, now: int) -> Iterator[tuple[str, str, str]]:
    """Pattern, cause and text of everything suspicious about the purchase."""
    who, what = purchase.organization, f"{purchase.title} ({purchase.id})"
    counted, shared = rule_of(catalog, "declines"), rule_of(catalog, "shared_method")
    if counted is not None and counted.window_ms and purchase.declines and seen.declines >= counted.count:
        stretch = now // counted.window_ms
        text = f"{seen.declines} payments of {who} were declined within {_hours(counted)}."
        yield "declines", f"{who}:{stretch}", f"{text} The last was for {what}."
    if shared is not None and purchase.method is not None and seen.organizations >= shared.count:
        text = f"One payment method has paid for {shared.count} or more organizations within {_hours(shared)}"
        yield "shared_method", f"{purchase.provider}:{purchase.method}", f"{text}, for {who} last."
    for warning in purchase.suspicions:
        text = f"The card network warns that the payment for {what} of {who} may be fraud."
        yield "fraud_warning", warning, f"{text} Giving it back now may spare a dispute."
    for dispute in purchase.disputes:
        amount = format_amount(dispute.amount, purchase.currency)
        text = f"{who} disputes {amount} of {what}; {_fate(purchase, dispute.state, seen.aside)}."
        yield "dispute", dispute.dispute, f"{text} Answer it at {purchase.provider}."
    if purchase.flagged == "over_limit":
        text = f"{who} has paid for {what} above the limit of packs. Its tokens were delivered."
        yield "over_limit", purchase.id, text
    unknown = settling(purchase)
    for wrong in (one for one in purchase.payments if not unknown and not matches(purchase, one)):
        paid, due = (format_amount(one.amount, one.currency) for one in (wrong, purchase))
        text = f"{who} paid {paid} for {what}, which costs {due}. Nothing was delivered for it; give it back."
        yield "mismatched", f"{purchase.id}:{wrong.payment}", text
    right = [payment for payment in purchase.payments if matches(purchase, payment)]
    for again in right[1:]:
        text = f"{who} paid for {what} twice. Give {again.payment} back."
        yield "paid_twice", f"{purchase.id}:{again.payment}", text
    for refund in purchase.refunds_failed:
        text = f"A refund of {what} did not reach {who}. Give the money back in another way."
        yield "refund_failed", f"{purchase.id}:{refund}", text


def _fate(purchase: Purchase, dispute: DisputeState, aside: int) -> str:
    """What became of the tokens of a purchase that is disputed."""
    if "deliver" not in purchase.done:
        return "none of its tokens are delivered yet"
    if dispute == "won":
        return "it is won, so its tokens can be used again"
    if dispute == "lost":
        return "it is lost, so its unspent tokens are taken back"
    if aside:
        return f"its unspent tokens ({aside}) are set aside"
    return "none of its tokens are left to set aside, because they are spent or their time is over"


def _hours(rule: AlertRule) -> str:
    """The window of a rule for people."""
    minutes = (rule.window_ms or 0) // 60_000
    for size, unit in ((1440, "day"), (60, "hour"), (1, "minute")):
        if minutes >= size and minutes % size == 0:
            count = minutes // size
            return f"{count} {unit}s" if count > 1 else f"one {unit}"
    return f"{(rule.window_ms or 0) / 1000:g} seconds"
