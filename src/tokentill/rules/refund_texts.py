"""What a refund quote says, in plain sentences: each step of the arithmetic, each choice, and why not.

Money first, nothing hidden, nothing urgent: what a choice takes away is said in the same breath as what it gives.

Requirement ids: R-REF-4, R-REF-5.
"""

from __future__ import annotations

from msgspec import Struct

from tokentill.rules.money import format_amount, percent
from tokentill.rules.refund_policy import RefundPolicy
from tokentill.rules.refunds import Line, Option, Quote

_REASONS = {
    "technical": "The reason is a technical problem",
    "quality": "The reason is the quality of the answers",
    "unused": "The reason is tokens that are not needed",
    "first_time": "It was a first purchase",
}


def sentences(quote: Quote) -> list[str]:
    """The arithmetic of the quote, a sentence a step, ending with the amount."""
    told = [sentence(line, quote) for line in quote.lines]
    share = f"{quote.rate_millionths // 10_000}.{quote.rate_millionths % 10_000:04d}".rstrip("0").rstrip(".")
    price, amount = format_amount(quote.price, quote.currency), format_amount(quote.amount, quote.currency)
    return [*told, f"That is {share} % of {price}: {amount}."]


def sentence(line: Line, quote: Quote) -> str:
    """One step of the arithmetic."""
    name = line.name
    if name == "usage":
        used = percent(line.value, line.of)
        return f"{line.value} of {line.of} tokens were used ({used} %): {line.percent} % is the base."
    if name in _REASONS:
        return f"{_REASONS[name]}: times {line.percent} %."
    if name == "customer":
        return f"More than {format_amount(line.value, quote.currency)} was spent here before: times {line.percent} %."
    if name == "early":
        return f"The payment was within {span(line.value)}: times {line.percent} %."
    if name == "late":
        return f"The payment was more than {span(line.value)} ago: times {line.percent} %."
    if name == "clamp":
        return "Never more than the whole price: 100 %."
    if name == "unused_share":
        return f"Never more than the unused share: {line.value} of {line.of} tokens."
    if name == "guarantee":
        return f"The guarantee gives at least {line.percent} % within {span(line.value)}, once, no questions asked."
    if name == "payable":
        return f"Rounded up to {format_amount(line.value, quote.currency)}, the next amount that can be paid."
    if name == "waived":
        return "The right of withdrawal was given up at the purchase."
    if name == "withdrawal":
        return f"The right of withdrawal gives at least the unused share: {line.value} of {line.of} tokens."
    return f"{format_amount(line.value, quote.currency)} was given back before and is taken off."


def span(seconds: int) -> str:
    """A length of time in the largest unit that fits."""
    for unit, size in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds % size == 0 and seconds >= size:
            count = seconds // size
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return f"{seconds} seconds"


def choice(option: Option, quote: Quote, titles: dict[str, str]) -> str:
    """What a choice gives and what it takes. `titles`: the packages by id."""
    left = quote.usage.left
    gone = f" Your {left} unspent tokens go." if option.take_back else ""
    if option.ends_plan:
        gone += " Your plan ends at once, and nothing more is charged for it. Tokens of packs stay yours."
    if option.choice == "cash" and not option.worth:
        return "No money can be given back for this now."
    if option.choice == "cash":
        parts = []
        if option.money:
            parts.append(f"{format_amount(option.money, quote.currency)} back to where it came from")
        if option.credit:
            parts.append(f"{format_amount(option.credit, quote.currency)} back as credit")
        return f"Get {' and '.join(parts)}.{gone}"
    if option.choice == "bonus":
        return f"Keep your {left} unspent tokens and get {option.tokens} more. The purchase is then settled."
    if option.choice == "credit":
        shown = format_amount(option.credit, quote.currency)
        return f"Get {shown} as credit for any later purchase; it never expires.{gone}"
    pay = format_amount(option.pay, quote.currency)
    title = titles.get(option.item or "", option.item or "")
    return f"Turn it into {title} for {pay} more. What you have used counts: {option.tokens} tokens are left."


class Waiver(Struct, frozen=True):
    """Giving up the right of withdrawal, as it is put to a customer: a box with `text`, never ticked beforehand.

    `hint` stands beside it and says what follows from ticking it and from not.
    """

    text: str
    hint: str
    required: bool


def waiver(policy: RefundPolicy) -> Waiver | None:
    """What is asked about the right of withdrawal at a purchase; None where no law gives one (readings)."""
    if not policy.withdrawal:
        return None
    hint = "You need not tick this. Your tokens come at once either way, and unticked you keep the right of withdrawal."
    if policy.waiver_required:
        hint = "Without this nothing is bought here. Tick it only if you agree."
    return Waiver(policy.waiver_text, hint, policy.waiver_required)


def why_not(quote: Quote, policy: RefundPolicy) -> str | None:
    """Why nothing can be given back, and what can be done; None where something can."""
    texts = {
        "settled": "This purchase has been settled already.",
        "refunded": "This purchase has been given back in full already.",
        "counted": "What was unused of this period was counted toward your upgrade. Ask for that one instead.",
        "carried": "What was unused of this period was carried into the next one. Ask for that one instead.",
        "too_late": f"Refunds can be asked for within {policy.window_days} days of the payment.",
        "not_first": "This reason holds for a first purchase only. Choose the one that fits.",
        "no_tokens": "This purchase brought no tokens that could be taken back. Write to us instead.",
        "free": "Nothing was paid for this, so there is nothing to give back.",
    }
    return None if quote.refused is None else texts[quote.refused]
