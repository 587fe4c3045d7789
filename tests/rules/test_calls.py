"""Calls to models: what is known of them, and what of them is changed (R-SALE-5, R-ABU-4)."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokentill.rules.calls import (
    IMAGE_TOKENS,
    PATHS,
    TOKENS_ASKED_MAX,
    BadCall,
    Kind,
    ModelCall,
    counted,
    estimate,
    read,
    written,
)


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
        (body(stream="yes"), "stream"), (body(stream=1), "stream"),
        (body(max_tokens=-1), "max_tokens"), (body(max_tokens=0), "max_tokens"),
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


FILE: dict[str, Any] = {"type": "input_file", "file_url": "https://x.test/book.pdf"}
SAID = [{"role": "user", "content": [{"type": "input_text", "text": "Hello"}, FILE]}]


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("responses", {"input": SAID}),
        ("responses", {"previous_response_id": "resp_1"}),
        ("responses", {"conversation": "conv_1"}),
        ("responses", {"prompt": {"id": "pmpt_1"}}),
        ("responses", {"tools": [{"type": "web_search_preview"}]}),
        ("chat", {"web_search_options": {}}),
        ("chat", {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}]}),
        ("messages", {"tools": [{"type": "web_fetch_20250910", "name": "web_fetch"}]}),
        ("messages", {"messages": [{"role": "user", "content": [{"type": "document", "source": {}}]}]}),
    ],
)
def test_what_the_body_does_not_show_counts_as_all_that_can_be_read(kind: Kind, more: dict[str, Any]) -> None:
    assert call(kind, **more).reads == TOKENS_ASKED_MAX  # R-SALE-5, R-LED-3


def test_text_counts_in_full_whatever_it_looks_like() -> None:  # R-SALE-5, R-LED-3
    """Long text without a space, and text that only looks like an image, are read word for word by a model."""
    long = "A" * 300_000
    picture = {"type": "image", "source": long}
    asked = {"role": "assistant", "content": [{"type": "tool_use", "input": {"content": [picture]}}]}
    schema = {"type": "function", "function": {"name": "f", "parameters": {"properties": {"a": picture}}}}
    for more in ({"messages": [{"content": long}]}, {"messages": [asked]}, {"tools": [schema]}):
        assert 100_000 <= call("chat", **more).reads < 100_200


@given(st.text(max_size=400))
def test_the_estimate_is_never_below_a_third_of_the_bytes(text: str) -> None:  # R-SALE-5
    raw = text.encode("utf-8", "surrogatepass")
    assert estimate(text) * 3 >= len(raw)


NAMES = st.sampled_from(
    ["type", "content", "tools", "input", "messages", "prompt", "stream", "n", "stream_options", "user"]
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["image", "file"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
)


@given(st.sampled_from([*PATHS]), st.dictionaries(NAMES, ANYTHING, max_size=4))
def test_any_object_leads_to_a_call_or_to_words(kind: Kind, more: dict[str, Any]) -> None:  # R-SALE-5
    found = read(kind, json.dumps({"model": "gpt-4"} | more).encode())
    assert isinstance(found, BadCall) or counted(found.body) >= 0


@given(st.binary(max_size=300))
def test_any_bytes_lead_to_a_call_or_to_words(raw: bytes) -> None:  # R-SALE-5
    assert isinstance(read("chat", raw), BadCall | ModelCall)


def test_an_answer_that_comes_later_cannot_be_charged() -> None:  # R-SALE-5
    found = read("responses", body(background=True))
    assert isinstance(found, BadCall)
    assert found.field == "background"
    assert call("responses", background=False).body["background"] is False
