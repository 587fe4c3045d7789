"""Views of refunds: the quote with its arithmetic in sentences and as data, what can be chosen, and how it stands.

The money stands first, always. What a choice costs the operator and what looked suspicious is in the operator's view
only. Amounts are minor units, times epoch milliseconds.

Requirement ids: R-REF-4, R-REF-5, R-REF-6.
"""

from __future__ import annotations

from msgspec import Struct

from tokentill.flows.refund_desk import Share
from tokentill.rules.catalog import Catalog
from tokentill.rules.refund_policy import Reason
from tokentill.rules.refund_review import Needs, Signal
from tokentill.rules.refund_rows import Opinion, Refund, RefundState, part_given
from tokentill.rules.refund_texts import choice, sentence, sentences, why_not
from tokentill.rules.refunds import Choice, Refused, Step


class LineView(Struct, frozen=True, kw_only=True):
    """One step of the arithmetic: its name, the factor in percent, the figures it comes from, and a sentence."""

    name: Step
    percent: int | None
    value: int
    of: int
    text: str


class OptionView(Struct, frozen=True, kw_only=True):
    """One thing the customer may choose. `worth`: what it is worth at the price paid. `take_back`: tokens that go.

    `recommended`: it is worth more than the money. `ends_plan`: the plan ends at once with it.
    """

    choice: Choice
    item: str | None
    text: str
    worth: int
    money: int
    credit: int
    tokens: int
    take_back: int
    pay: int
    recommended: bool
    ends_plan: bool


class RefundView(Struct, frozen=True, kw_only=True):
    """A refund and where it stands; `options[0]` is the money. `refused_text`: why nothing can be given back.

    `state`: quoted, accepted, waiting, paying, giving, ending, buying, undoing, settled, denied, failed, withdrawn or
    changed. `next`: the quote that is shown instead of this one. `upgrade`: the purchase of the larger pack, to be paid.
    `given`: of `money` what had gone back when a provider refused the rest, of which an operator decides; else 0.
    `held`: tokens of running operations, neither used nor taken back.
    """

    id: str
    organization: str
    purchase: str
    state: RefundState
    title: str
    text: str
    reason: Reason | None
    said: str
    price: int
    currency: str
    amount: int
    rate_millionths: int
    used: int
    bought: int
    held: int
    left: int
    lines: tuple[LineView, ...]
    explained: tuple[str, ...]
    options: tuple[OptionView, ...]
    refused: Refused | None
    refused_text: str | None
    created_at: int
    valid_until: int
    choice: Choice | None
    item: str | None
    money: int
    given: int
    credit: int
    tokens: int
    guarantee: bool
    upgrade: str | None
    next: str | None
    problem: str | None
    settled_at: int | None


class RefundList(Struct, frozen=True, kw_only=True):
    """Refunds; `next` is the `before` of the page after, null at the end."""

    refunds: tuple[RefundView, ...]
    next: str | None


class CaseView(Struct, frozen=True, kw_only=True):
    """A refund as an operator judges it: who must agree, what was seen, what it costs, and who decided what.

    `seen`: each of the signals in a sentence, with its figures.
    """

    refund: RefundView
    needs: Needs
    signals: tuple[Signal, ...]
    seen: tuple[str, ...]
    opinions: tuple[Opinion, ...]
    costs: dict[str, int]
    item: str
    segment: str
    approach: str | None
    since_ms: int


class CaseList(Struct, frozen=True, kw_only=True):
    """Refunds of all organizations; `next` is the `before` of the page after, null at the end."""

    cases: tuple[CaseView, ...]
    next: str | None


class SuggestionView(Struct, frozen=True, kw_only=True):
    """A reason that the till itself sees, and what it saw."""

    reason: Reason
    why: str


class ReasonList(Struct, frozen=True, kw_only=True):
    """Reasons that the till sees by itself. The customer states one of them, another one, or none."""

    suggestions: tuple[SuggestionView, ...]


class RefundReport(Struct, frozen=True, kw_only=True):
    """Of the purchases since `since` how many were refunded, by pack or plan, by segment and by sales approach."""

    since: int
    shares: tuple[Share, ...]


def refund(row: Refund, catalog: Catalog) -> RefundView:
    """The refund for its customer."""
    quote = row.quote
    titles = {pack.id: pack.title for pack in catalog.packs.values()}
    policy, texts = catalog.refunds, catalog.refunds.texts
    return RefundView(
        id=row.id,
        organization=row.organization,
        purchase=row.purchase,
        state=row.state,
        title=policy.title,
        text=policy.waiting if row.state == "waiting" else policy.text,
        reason=row.reason,
        said=row.text,
        price=quote.price,
        currency=quote.currency,
        amount=quote.amount,
        rate_millionths=quote.rate_millionths,
        used=quote.usage.spent,
        bought=quote.usage.granted,
        held=quote.usage.held,
        left=quote.usage.left,
        lines=tuple(
            LineView(name=one.name, percent=one.percent, value=one.value, of=one.of, text=sentence(one, quote, texts))
            for one in quote.lines
        ),
        explained=() if quote.refused else tuple(sentences(quote, texts)),
        options=tuple(
            OptionView(
                choice=one.choice, item=one.item, text=choice(one, quote, titles, texts), worth=one.worth,
                money=one.money, credit=one.credit, tokens=one.tokens, take_back=one.take_back, pay=one.pay,
                recommended=one.recommended, ends_plan=one.ends_plan,
            )
            for one in quote.options
        ),
        refused=quote.refused,
        refused_text=why_not(quote, policy),
        created_at=row.created_at,
        valid_until=quote.valid_until,
        choice=row.choice,
        item=row.larger,
        money=row.money,
        given=part_given(row),
        credit=row.credit,
        tokens=row.tokens,
        guarantee=row.guarantee,
        upgrade=row.upgrade,
        next=row.next,
        problem=row.problem,
        settled_at=row.settled_at,
    )  # fmt: skip


def case(row: Refund, catalog: Catalog) -> CaseView:
    """The refund for an operator."""
    return CaseView(
        refund=refund(row, catalog),
        needs=row.needs,
        signals=row.signals,
        seen=row.seen,
        opinions=row.opinions,
        costs={":".join(filter(None, (one.choice, one.item))): one.cost for one in row.quote.options},
        item=row.item,
        segment=row.segment,
        approach=row.approach,
        since_ms=row.since_ms,
    )
