"""Calls to models: what is known of them, and what of them is changed (R-SALE-5, R-ABU-4)."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokentill.rules.calls import IMAGE_TOKENS, BadCall, Kind, ModelCall, estimate, read, written


def body(**more: Any) -> bytes:
    return json.dumps({"model": "gpt-4", "messages": [{"role": "user", "content": "Hello"}], **more}).encode()


def call(kind: Kind = "chat", **more: Any) -> ModelCall:
    found = read(kind, body(**more))
    assert isinstance(found, ModelCall), found
    return found


@pytest.mark.parametrize(
    ("kind", "more", "asked", "answers"),
    [
        ("chat", {}, None, 1),
        ("chat", {"max_tokens": 7}, 7, 1),
        ("chat", {"max_completion_tokens": 9, "max_tokens": 7, "n": 3}, 7, 3),
        ("completions", {"prompt": ["a", "b"], "max_tokens": 5, "n": 2, "best_of": 4}, 5, 8),
        ("responses", {"max_output_tokens": 11}, 11, 1),
        ("messages", {"max_tokens": 13, "n": 5}, 13, 1),
        ("embeddings", {"max_tokens": 13}, None, 1),
    ],
)
def test_how_much_a_call_may_write(kind: Kind, more: dict[str, Any], asked: int | None, answers: int) -> None:
    found = call(kind, **more)  # R-SALE-5
    assert (found.asked, found.answers) == (asked, answers)


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        (b"", None), (b"[]", None), (b"\xff", None), (b"[" * 100_000, None), (b"{}", "model"),
        (body(model=7), "model"), (body(model=""), "model"), (body(model="x" * 201), "model"),
        (body(stream="yes"), "stream"), (body(max_tokens=-1), "max_tokens"), (body(max_tokens=0), "max_tokens"),
        (body(max_tokens=1.5), "max_tokens"), (body(max_tokens=True), "max_tokens"),
        (body(max_tokens=10**9), "max_tokens"),
        (body(n=0), "n"), (body(n=-5), "n"), (body(n=1_000), "n"), (body(n="2"), "n"),
    ],
)  # fmt: skip
def test_what_is_no_call_is_refused_with_the_field(raw: bytes, field: str | None) -> None:  # R-SALE-5
    found = read("chat", raw)
    assert isinstance(found, BadCall)
    assert found.field == field
    assert found.message.endswith(".")


def test_of_a_field_that_stands_twice_one_counts_here_and_upstream() -> None:  # R-SALE-5
    found = read("chat", b'{"model":"a","max_tokens":1,"max_tokens":1000}')
    assert isinstance(found, ModelCall)
    assert (found.asked, written(found, "b", 1000, "max_tokens")) == (
        1000,
        b'{"model":"b","max_tokens":1000}',
    )


@pytest.mark.parametrize(
    ("kind", "more", "sent"),
    [
        ("chat", {}, {"max_completion_tokens": 5}),
        ("chat", {"max_tokens": 900}, {"max_tokens": 5}),
        (
            "chat",
            {"max_tokens": 900, "max_completion_tokens": 800},
            {"max_tokens": 5, "max_completion_tokens": 5},
        ),
        ("completions", {}, {"max_tokens": 5}),
        ("responses", {}, {"max_output_tokens": 5}),
        ("messages", {"max_tokens": 900}, {"max_tokens": 5}),
        ("embeddings", {}, {}),
        (
            "chat",
            {"stream": True},
            {"stream": True, "max_completion_tokens": 5, "stream_options": {"include_usage": True}},
        ),
    ],
)
def test_the_limit_is_lowered_before_it_is_sent(
    kind: Kind, more: dict[str, Any], sent: dict[str, Any]
) -> None:
    found = json.loads(written(call(kind, **more), "there", 5, "max_completion_tokens"))  # R-ABU-4
    assert found.pop("messages") == [{"role": "user", "content": "Hello"}]
    assert found == {"model": "there", **sent}


def test_everything_else_passes_through() -> None:  # R-SALE-5
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    more = {
        "tools": tools,
        "tool_choice": "auto",
        "response_format": {"type": "json_object"},
        "new_in_2030": [1],
    }
    sent = json.loads(written(call("chat", **more), "there", None, "max_tokens"))
    assert {name: sent[name] for name in more} == more


def test_an_image_counts_the_same_however_large_it_is() -> None:  # R-SALE-5
    def image(size: int) -> dict[str, Any]:
        return {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * size}}

    small, large = estimate([image(10)]), estimate([image(1_000_000)])
    assert small == large
    assert IMAGE_TOKENS <= small < IMAGE_TOKENS + 50
    assert estimate("A" * 1_000_000) == IMAGE_TOKENS


@given(st.text(max_size=400))
def test_the_estimate_is_never_below_a_third_of_the_bytes(text: str) -> None:  # R-SALE-5
    raw = text.encode("utf-8", "surrogatepass")
    assert estimate(text) * 3 >= len(raw)


@given(st.binary(max_size=300))
def test_any_bytes_lead_to_a_call_or_to_words(raw: bytes) -> None:  # R-SALE-5
    assert isinstance(read("chat", raw), BadCall | ModelCall)
