"""What a refund quote says, in plain sentences: each step of the arithmetic, each choice, and why not.

The words are the catalog's (`tokentill.rules.refund_sentences`); which sentences are said, and in which order, is not.
Money first, nothing hidden, nothing urgent: what a choice takes away is said in the same breath as what it gives.

Requirement ids: R-REF-4, R-REF-5.
"""

from __future__ import annotations

from msgspec import Struct

from tokentill.rules.money import format_amount, percent
from tokentill.rules.refund_policy import RefundPolicy
from tokentill.rules.refund_sentences import RefundTexts
from tokentill.rules.refunds import Line, Option, Quote


def sentences(quote: Quote, texts: RefundTexts) -> list[str]:
    """The arithmetic of the quote, a sentence a step: the rate, what it is of the price, what is done with that."""
    after = [line for line in quote.lines if line.name in ("refunded_before", "payable")]
    told = [sentence(line, quote, texts) for line in quote.lines]
    whole = after[0].of if after else quote.amount
    share = f"{quote.rate_millionths // 10_000}.{quote.rate_millionths % 10_000:04d}".rstrip("0").rstrip(".")
    price, amount = format_amount(quote.price, quote.currency), format_amount(whole, quote.currency)
    told.insert(len(told) - len(after), texts.total.format(rate=share, price=price, amount=amount))
    return told


def sentence(line: Line, quote: Quote, texts: RefundTexts) -> str:
    """One step of the arithmetic; its text has the step's name."""
    template: str = getattr(texts, line.name)
    return template.format(
        percent=line.percent,
        used=line.value,
        unused=line.value,
        bought=line.of,
        share=percent(line.value, line.of) if line.of else "",
        amount=format_amount(line.value, quote.currency),
        rest=format_amount(max(0, line.of - line.value), quote.currency),
        span=span(line.value, texts),
    )


def span(seconds: int, texts: RefundTexts) -> str:
    """A length of time in the largest unit that fits."""
    units = (
        (86_400, texts.day, texts.days), (3_600, texts.hour, texts.hours), (60, texts.minute, texts.minutes),
        (1, texts.second, texts.seconds),
    )  # fmt: skip
    size, one, many = next(
        unit for unit in units if unit[0] == 1 or (seconds >= unit[0] and not seconds % unit[0])
    )
    return one if seconds == size else many.format(count=seconds // size)


def choice(option: Option, quote: Quote, titles: dict[str, str], texts: RefundTexts) -> str:
    """What a choice gives and what it takes. `titles`: the packages by id."""
    title = titles.get(option.item or "", option.item or "")
    told = _gives(option, texts).format(
        money=format_amount(option.money, quote.currency),
        credit=format_amount(option.credit, quote.currency),
        pay=format_amount(option.pay, quote.currency),
        left=quote.usage.left,
        tokens=option.tokens,
        title=title,
    )
    parts = [told]
    if option.choice in ("cash", "credit") and option.take_back:
        parts.append(texts.tokens_go.format(left=quote.usage.left))
    if option.ends_plan:
        parts.append(texts.plan_ends)
    return " ".join(parts)


def _gives(option: Option, texts: RefundTexts) -> str:
    """The text of what a choice gives; of the money, a part may be credit (readings)."""
    if option.choice != "cash":
        return {"bonus": texts.bonus, "credit": texts.credit, "upgrade": texts.upgrade}[option.choice]
    if not option.worth:
        return texts.no_cash
    if not option.credit:
        return texts.cash
    return texts.cash_and_credit if option.money else texts.cash_as_credit


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
    hint = policy.texts.waiver_needed if policy.waiver_required else policy.texts.waiver_free
    return Waiver(policy.waiver_text, hint, policy.waiver_required)


def why_not(quote: Quote, policy: RefundPolicy) -> str | None:
    """Why nothing can be given back, and what can be done; None where something can. Its text has the refusal's name."""
    if quote.refused is None:
        return None
    template: str = getattr(policy.texts, quote.refused)
    return template.format(days=policy.window_days)
