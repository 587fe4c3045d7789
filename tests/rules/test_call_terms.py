"""What a model call can cost at most, how much may be written for that, and what it did cost (R-SALE-5, R-ABU-4)."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokentill.rules import call_terms
from tokentill.rules.calls import BadCall, ModelCall, read
from tokentill.rules.catalog import Feature
from tokentill.rules.models import Model, Target
from tokentill.rules.usage import Usage

METERED = Feature("m", "M", metered=True, input_per_1000=1000, output_per_1000=3000, cached_per_1000=100)
FIXED = Feature("f", "F", tokens=7)
MODEL = Model("m", "M", "m", (Target("u", "m"),), context_tokens=8_000, output_tokens_max=4_000)


def call(kind: Any = "chat", **body: Any) -> ModelCall:
    found = read(kind, json.dumps({"model": "m", **body}).encode())
    assert not isinstance(found, BadCall)
    return found


@pytest.mark.parametrize(
    ("body", "cap", "size", "limit"),
    [
        ({}, None, None, 4_000),  # what the model can write
        ({"max_tokens": 50}, None, None, 50),  # what was asked for
        ({"max_tokens": 9_999}, None, None, 4_000),
        ({}, 2_000, None, 2_000),  # the cap
        ({"n": 4}, 2_000, None, 500),  # which several answers share
        ({"n": 100}, 50, None, 1),
        ({}, None, 310, 100),  # what fits under the size of a request: 10 are read
    ],
)
def test_the_limit_is_the_least_of_all(
    body: dict[str, Any], cap: int | None, size: int | None, limit: int
) -> None:
    asked = call(**body)
    found = call_terms.terms(asked, MODEL, METERED, cap, size)
    if size is not None:
        limit = (size * 1000 - asked.reads * 1000) // 3000
    assert found.limit == limit
    assert found.tokens == asked.reads + limit * asked.answers * 3


def test_a_fixed_price_is_held_for_each_answer_and_nothing_is_written_into_embeddings() -> None:
    found = call_terms.terms(call(n=3), MODEL, FIXED, 2_000, None)
    assert (found.tokens, found.least, found.quantity, found.limit) == (None, None, 3, 666)
    made = call_terms.terms(call("embeddings", input="x"), MODEL, METERED, 2_000, None)
    assert made.limit is None
    assert call_terms.afforded(made, call("embeddings", input="x"), METERED, 1, 5) is None
    assert call_terms.cost(FIXED, Usage(5, 5), 3) == 21


def test_what_is_read_is_never_more_than_the_model_can_read() -> None:
    found = call_terms.terms(call(messages=[{"content": "word " * 50_000}]), MODEL, METERED, 10, None)
    assert found.reads == 8_000


def test_a_dearer_cache_is_reckoned_with() -> None:
    dear = Feature("m", "M", metered=True, input_per_1000=1000, cached_per_1000=5000)
    assert call_terms.most(dear, 100, 10, 1) == 500


rates = st.integers(0, 100_000)


@given(rates, rates, rates, st.integers(1, 8), st.integers(1, 4_000), st.integers(0, 50_000), st.data())
def test_an_answer_within_its_limit_never_costs_more_than_was_held(
    paid: int, cached: int, out: int, answers: int, asked: int, words: int, data: st.DataObject
) -> None:
    feature = Feature(
        "m", "M", metered=True, input_per_1000=paid, output_per_1000=out, cached_per_1000=cached
    )
    one = call(n=answers, max_tokens=asked, messages=[{"content": "x" * words}])
    found = call_terms.terms(one, MODEL, feature, None, None)
    assert found.tokens is not None
    held = data.draw(st.integers(found.least if found.least is not None else found.tokens, found.tokens))
    limit = call_terms.afforded(found, one, feature, held, None)
    assert limit is not None
    assert 1 <= limit <= asked
    read_ = data.draw(st.integers(0, found.reads))
    usage = Usage(read_, limit * answers, data.draw(st.integers(0, read_)))
    assert call_terms.cost(feature, usage, answers) <= held
