"""Pricing: what an operation costs in tokens, and what a sale leaves the operator in money.

Tokens: a feature has a fixed price for each use, or is metered. A metered request costs its model tokens
times the feature's rates for 1,000, summed and rounded up once, for each request (readings: "a token"):
a request that used anything at all costs at least one token unless its rates are zero.

Money: a margin is revenue less what the tokens cost the operator; net of fees it is also less the card fee
(basis points of the price plus a fixed part). Cost and fee are each rounded once, half-up, to minor units.
Margins are stated on granted tokens by default (the worst case: all are used) or on the tokens really used.

Boundaries: a free plan has no revenue, so no percentage; a plan whose price is asked for, or one without a
token limit and without a fair-use cap, has no margin on granted tokens and yields None.
What it does not decide: whether a margin is healthy (`Plan.margin_min` says what it must exceed), discounts,
refunds, or how many tokens were used.

Requirement ids: R-FIN-1, R-PACK-1, R-PLAN-1, R-PLAN-2.
"""

from __future__ import annotations

from msgspec import Struct

from tokentill.rules.catalog import Costs, Feature, Pack, Plan
from tokentill.rules.money import half_up, percent

BASIS_POINTS = 10_000
MILLION = 1_000_000


class Margin(Struct, frozen=True):
    """What one payment of `revenue` leaves, all in minor units: `cost` of its tokens, card `fee`."""

    revenue: int
    cost: int
    fee: int

    @property
    def gross(self) -> int:
        """Revenue less the cost of the tokens."""
        return self.revenue - self.cost

    @property
    def net(self) -> int:
        """Gross less the card fee."""
        return self.gross - self.fee

    def gross_percent(self, places: int = 1) -> str | None:
        """Gross margin in percent of revenue, half-up; None when nothing came in."""
        return percent(self.gross, self.revenue, places) if self.revenue > 0 else None

    def net_percent(self, places: int = 1) -> str | None:
        """Margin net of the card fee in percent of revenue, half-up; None when nothing came in."""
        return percent(self.net, self.revenue, places) if self.revenue > 0 else None


def cost(feature: Feature, quantity: int = 1) -> int:
    """Tokens that `quantity` uses of a feature with a fixed price cost."""
    assert not feature.metered, f"{feature.id} is metered: its cost follows from the model tokens"
    assert quantity >= 0
    return feature.tokens * quantity


def metered_cost(feature: Feature, input_tokens: int, output_tokens: int, cached_tokens: int = 0) -> int:
    """Tokens that one request of a metered feature costs, rounded up once.

    `cached_tokens` are those of the `input_tokens` that the model read from its cache, so never more.
    """
    assert feature.metered, f"{feature.id} has a fixed price"
    assert 0 <= cached_tokens <= input_tokens
    assert output_tokens >= 0
    thousandths = (
        (input_tokens - cached_tokens) * feature.input_per_1000
        + cached_tokens * feature.cached_per_1000
        + output_tokens * feature.output_per_1000
    )
    return -(-thousandths // 1000)


def token_cost(tokens: int, costs: Costs) -> int:
    """Minor units that `tokens` cost the operator, half-up."""
    return half_up(tokens * costs.per_million_tokens, MILLION)


def card_fee(price: int, costs: Costs) -> int:
    """Minor units that taking one payment of `price` costs, half-up; a payment of nothing costs nothing."""
    return half_up(price * costs.fee_basis_points, BASIS_POINTS) + costs.fee_fixed if price else 0


def plan_margin(plan: Plan, costs: Costs, tokens_used: int | None = None) -> Margin | None:
    """What one payment for a plan leaves, on all the tokens it brings or on `tokens_used` in that time.

    None when the price is custom, or when nothing bounds the tokens and none are stated.
    """
    granted = plan.fair_use if plan.unlimited else plan.tokens
    if plan.price is None or (tokens_used is None and granted is None):
        return None
    brought = (granted or 0) * plan.periods_per_payment + plan.bundled_tokens
    tokens = brought if tokens_used is None else tokens_used
    return Margin(plan.price, token_cost(tokens, costs), card_fee(plan.price, costs))


def pack_margin(pack: Pack, costs: Costs, tokens_used: int | None = None) -> Margin:
    """What the sale of a pack at its usual price leaves, on all it brings or on `tokens_used` of that."""
    tokens = pack.tokens + pack.bonus_tokens if tokens_used is None else tokens_used
    return Margin(pack.price, token_cost(tokens, costs), card_fee(pack.price, costs))
