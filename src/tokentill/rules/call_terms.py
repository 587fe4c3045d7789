"""Terms of a model call: the most it can cost, how much may be written for that, and what it did cost.

Before the call: what is read is estimated on the high side, what is written is limited. The limit is the least of
what was asked for, what the model can write, the cap on output (R-ABU-4), what fits under the size limit of a
request, and what the customer can afford; it is sent upstream, so that the answer stays within the hold. The cap
holds for all answers of a call together, so that asking for several does not get around it.

Afterwards: what the upstream reported, priced by the feature and rounded up once. A feature with a fixed price costs
it for each answer asked for, whatever was written.

Requirement ids: R-SALE-5, R-LED-3, R-ABU-4.
"""

from __future__ import annotations

from msgspec import Struct

from tokentill.rules.calls import ModelCall
from tokentill.rules.catalog import TOKENS_MAX, Feature
from tokentill.rules.models import Model
from tokentill.rules.pricing import metered_cost
from tokentill.rules.usage import Usage

OUTPUT_LEAST = 16
"""An answer is cut down to what the customer can afford, but not below so many tokens: then it is refused."""


class Terms(Struct, frozen=True):
    """What to reserve, and how much each answer may have.

    `tokens`: the most the call can cost, `least`: the least that is worth running it for; None for a fixed price,
    of which `quantity` are reserved. `reads`: tokens read at most. `limit`: tokens of each answer, None where
    nothing is written.
    """

    tokens: int | None
    least: int | None
    quantity: int
    reads: int
    limit: int | None


def terms(
    call: ModelCall, model: Model, feature: Feature, output_cap: int | None, size_max: int | None
) -> Terms:
    """The terms of a call whose user may have `output_cap` tokens written, and spend `size_max` on a request."""
    reads = min(call.reads, model.context_tokens)
    limit: int | None = None
    if call.kind != "embeddings":
        limit = min(call.asked or model.output_tokens_max, model.output_tokens_max)
        if output_cap is not None:
            limit = min(limit, max(1, output_cap // call.answers))
    if not feature.metered:
        return Terms(None, None, call.answers, reads, limit)
    if limit is not None and size_max is not None:
        limit = min(limit, max(1, _room(feature, reads, size_max, call.answers, limit)))
    tokens = most(feature, reads, limit, call.answers)
    least = most(feature, reads, None if limit is None else min(limit, OUTPUT_LEAST), call.answers)
    return Terms(tokens, least if 0 < least < tokens else None, 1, reads, limit)


def afforded(
    terms: Terms, call: ModelCall, feature: Feature, tokens: int, output_cap: int | None
) -> int | None:
    """How much each answer may have when `tokens` were reserved and the account's own cap is `output_cap`."""
    limit = terms.limit
    if limit is None:
        return None
    if output_cap is not None:
        limit = min(limit, max(1, output_cap // call.answers))
    if terms.tokens is not None and tokens < terms.tokens:
        limit = min(limit, max(1, _room(feature, terms.reads, tokens, call.answers, limit)))
    return limit


def most(feature: Feature, reads: int, limit: int | None, answers: int) -> int:
    """The most that reading and writing so much can cost, whether what is read comes from a cache or not."""
    cached = reads if feature.cached_per_1000 > feature.input_per_1000 else 0
    return min(metered_cost(feature, reads, (limit or 0) * answers, cached), TOKENS_MAX)


def cost(feature: Feature, usage: Usage, quantity: int) -> int:
    """What a call costs that used so much."""
    if not feature.metered:
        return feature.tokens * quantity
    return metered_cost(feature, usage.read, usage.written, usage.cached)


def _room(feature: Feature, reads: int, tokens: int, answers: int, limit: int) -> int:
    """Tokens of each answer that `tokens` pay for, at most `limit`."""
    rate = feature.output_per_1000 * answers
    if not rate:
        return limit
    paid = reads * max(feature.input_per_1000, feature.cached_per_1000)
    return min(limit, (tokens * 1000 - paid) // rate)
