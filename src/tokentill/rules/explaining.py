"""Explaining: what monthly and additional tokens are, in sentences that are true of this catalog (R-PACK-7).

S1 §9 (risk 4, customer confusion) asks for a FAQ about token packs and for tooltips that explain the difference
between monthly and additional tokens; it gives no texts. These follow from the catalog: whether a plan carries
tokens over, whether packs end, how many can be bought in a stretch of time. An operator may write others, with
`[[faq]]`, `texts.monthly` and `texts.additional`; then those are shown as they stand.

Requirement ids: R-PACK-7.
"""

from __future__ import annotations

from msgspec import Struct

from tokentill.rules.catalog import Catalog, Plan, Rollover
from tokentill.rules.catalog_shop import Question
from tokentill.rules.exhaustion import packs_for
from tokentill.rules.selling import window_text


class Explanation(Struct, frozen=True, kw_only=True):
    """What a customer should know of tokens. `monthly` and `additional` fit into a tooltip, `faq` on a page."""

    monthly: str
    additional: str
    faq: tuple[Question, ...]


def explain(catalog: Catalog, plan: Plan | None) -> Explanation:
    """What holds for an organization on `plan`."""
    monthly = catalog.texts.monthly or monthly_text(catalog, plan)
    additional = catalog.texts.additional or additional_text(catalog, plan)
    faq = catalog.faq or _questions(catalog, plan, monthly, additional)
    return Explanation(monthly=monthly, additional=additional, faq=faq)


def monthly_text(catalog: Catalog, plan: Plan | None) -> str:
    """What the tokens of a plan are, and what becomes of them when the next period begins (R-PLAN-5)."""
    many = catalog.unit.many
    if plan is None:
        return f"Monthly {many} come with a plan, anew in each period. You have no plan."
    if plan.unlimited:
        return f"Your plan {plan.title} has no limit: you use as many {many} as you need."
    if not plan.tokens:
        return f"Monthly {many} come with a plan, anew in each period. Your plan {plan.title} brings none."
    return f"Your plan {plan.title} brings {plan.tokens:,} {many} in each period. {_rest(catalog, plan.rollover)}"


def _rest(catalog: Catalog, rollover: Rollover) -> str:
    if rollover.mode == "none":
        return "What is left of them when a new period begins is gone."
    if rollover.mode == "unlimited":
        return "What is left of them goes on into the new period."
    most = "as many as your plan brings" if rollover.cap is None else f"{rollover.cap:,} {catalog.unit.many}"
    return f"What is left of them goes on into the new period, up to {most}."


def additional_text(catalog: Catalog, plan: Plan | None) -> str:
    """What bought tokens are, how long they last and when they are spent (R-LED-2)."""
    many = catalog.unit.many
    packs = packs_for(catalog, plan)
    lasting = "They do not expire."
    if any(pack.valid_days is not None for pack in packs):
        lasting = "Each pack says how long its own can be used."
    spent = "They are not used while your plan has no limit." if plan is not None and plan.unlimited else ""
    if not spent and plan is not None and plan.tokens:
        spent = "They are spent after the monthly ones."
    words = (
        f"Additional {many} are those that you bought or were given. They stay when a new period begins.",
        lasting,
        spent,
    )
    return " ".join(filter(None, words))


def _questions(catalog: Catalog, plan: Plan | None, monthly: str, additional: str) -> tuple[Question, ...]:
    many, most = catalog.unit.many, catalog.checkout.packs_max
    found = [
        Question(f"What are monthly {many}?", monthly),
        Question(f"What are additional {many}?", additional),
        Question(
            f"Which {many} are used first?",
            "Those of your plan, then those that end soonest, then those that you have had longest.",
        ),
    ]
    if packs_for(catalog, plan):
        found.append(
            Question(
                "When can I use what I buy?",
                "As soon as your payment has arrived. A pack is paid once and changes nothing about your plan.",
            )
        )
        if most is not None:
            packs = "1 pack" if most == 1 else f"{most} packs"
            found.append(
                Question("How many packs can I buy?", f"You can buy {packs} in {window_text(catalog)}.")
            )
    if plan is not None:
        found.append(
            Question(
                f"What becomes of my {many} if a payment for my plan fails?",
                f"They are set aside until the payment is made. Then additional {many} come back, and monthly ones "
                "if their period still runs.",
            )
        )
    return tuple(found)
