"""Usage of a model call, as the upstream reports it or as it is counted (R-SALE-5, R-LED-3)."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokentill.rules import speech
from tokentill.rules.answers import encode, is_end
from tokentill.rules.usage import (
    EVENT_BYTES_MAX,
    Events,
    Seen,
    Usage,
    count,
    data_of,
    of_answer,
    see,
    see_text,
)


@pytest.mark.parametrize(
    ("said", "usage"),
    [
        ({"prompt_tokens": 3, "completion_tokens": 5}, Usage(3, 5)),
        ({"prompt_tokens": 3, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 2}}, Usage(3, 5, 2)),
        ({"prompt_tokens": 3, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 9}}, Usage(3, 5, 3)),
        ({"prompt_tokens": 3, "total_tokens": 3}, Usage(3, 0)),
        ({"prompt_tokens": 0, "completion_tokens": 0}, Usage(0, 0)),  # an explicit 0 stays 0
        ({"input_tokens": 3, "output_tokens": 5, "input_tokens_details": {"cached_tokens": 1}}, Usage(3, 5, 1)),
        (
            {"input_tokens": 3, "output_tokens": 5, "cache_read_input_tokens": 10, "cache_creation_input_tokens": 4},
            Usage(17, 5, 10),
        ),
        ({"prompt_tokens": -1, "completion_tokens": 5}, None),
        ({"prompt_tokens": "many", "completion_tokens": 5}, None),
        ({"prompt_tokens": 3.5, "completion_tokens": 5}, None),
        ({"prompt_tokens": True, "completion_tokens": 5}, None),
        ({"prompt_tokens": 10**12, "completion_tokens": 5}, None),
        ({}, None), (None, None), ([], None),
    ],
)  # fmt: skip
def test_what_is_believed(said: Any, usage: Usage | None) -> None:  # R-SALE-5
    assert of_answer({"usage": said}) == usage


STREAMS: dict[str, Any] = {
    "chat": lambda usage: speech.chat_stream("1", "m", ["a ", "b ", "é"], usage, "stop", tells=True),
    "completions": lambda usage: speech.completion_stream(
        "1", "m", ["a ", "b ", "é"], usage, "stop", tells=True
    ),
    "responses": lambda usage: speech.response_stream("1", "m", ["a ", "b ", "é"], usage, "stop"),
    "messages": lambda usage: speech.message_stream("1", "m", ["a ", "b ", "é"], usage, "stop"),
}


@pytest.mark.parametrize("kind", STREAMS)
@given(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=60))
def test_a_stream_is_read_alike_in_whatever_pieces_it_comes(kind: str, sizes: list[int]) -> None:  # R-SALE-5
    whole = b"".join(STREAMS[kind]((7, 3)))
    events, seen, out = Events(), Seen(), []
    at = turn = 0
    while at < len(whole):
        size = sizes[turn % len(sizes)]
        for event, data in events.feed(whole[at : at + size]):
            out.append(event)
            see(seen, data)
        at, turn = at + size, turn + 1
    assert b"".join(out) == whole
    assert (seen.usage, seen.done, seen.failed, seen.pieces, seen.size) == (Usage(7, 3), True, False, 3, 6)


_TEXTS = st.one_of(st.none(), st.text(max_size=4), st.integers(0, 1))
_DELTAS = st.dictionaries(
    st.sampled_from(["role", "content", "refusal", "reasoning", "tool_calls", "function_call", "audio"]),
    _TEXTS,
)
_CHOICES = st.fixed_dictionaries(
    {},
    optional={"index": st.just(0), "delta": _DELTAS | st.none(), "text": _TEXTS, "finish_reason": _TEXTS},
)
_EVENTS = st.fixed_dictionaries(
    {"choices": st.lists(_CHOICES, max_size=2)},
    optional={
        "object": _TEXTS,
        "type": _TEXTS | st.just("error"),
        "usage": st.none() | _DELTAS,
        "error": _TEXTS,
    },
)


@given(_EVENTS)
def test_what_only_brings_text_is_seen_alike_by_the_short_way(event: dict[str, Any]) -> None:  # R-SALE-5
    data, short, whole = json.dumps(event).encode(), Seen(), Seen()
    came = see_text(short, data)
    see(whole, data)
    assert short == (whole if came else Seen())
    assert not (came and is_end(event))


@pytest.mark.parametrize("kind", ["chat", "completions"])
def test_most_events_of_a_stream_go_the_short_way(kind: str) -> None:  # R-SALE-5
    events = list(STREAMS[kind]((7, 3)))
    assert sum(see_text(Seen(), data_of(event)) for event in events) >= 2


@pytest.mark.parametrize("kind", STREAMS)
def test_where_nothing_is_said_what_came_is_counted(kind: str) -> None:  # R-SALE-5
    seen = Seen()
    for event in STREAMS[kind](None):
        see(seen, data_of(event))
    assert (seen.usage, seen.counted) == (None, 3)


@pytest.mark.parametrize(
    ("delta", "counted"),
    [
        ({"function_call": {"name": "look", "arguments": '{"a":1}'}}, 3),
        ({"tool_calls": [{"index": 0, "function": {"name": "look", "arguments": '{"a":1}'}}]}, 3),
        ({"content": [{"type": "text", "text": "nine bits"}, {"type": "text", "text": "!"}]}, 3),
        ({"audio": {"data": "A" * 400}}, 1),
        ({"audio": {"data": "A" * 400, "transcript": "nine bits"}}, 3),
        ({"audio": {"id": "a", "expires_at": 1}}, 0),
    ],
)
def test_whatever_a_piece_brings_is_counted(delta: dict[str, Any], counted: int) -> None:  # R-SALE-5
    seen = Seen()
    data = json.dumps({"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta}]}).encode()
    assert not see_text(seen, data)
    see(seen, data)
    assert seen.counted == counted


def test_half_a_surrogate_pair_is_text() -> None:  # R-SALE-5: some upstreams cut between the halves
    delta, seen = b'{"choices":[{"delta":{"content":"a\\ud83d"}}]}', Seen()
    assert see(seen, delta)["choices"][0]["delta"]["content"] == "a\ud83d"
    assert (seen.pieces, seen.size) == (1, 4)
    assert encode(see(Seen(), delta)) == b'{"choices": [{"delta": {"content": "a\\ud83d"}}]}'
    assert see(Seen(), b'{"choices":"\\ud83d') is None


def test_what_anthropics_own_tools_read_comes_on_top() -> None:  # R-SALE-5
    seen = Seen()
    begun = {"input_tokens": 10, "output_tokens": 1, "cache_read_input_tokens": 4}
    see(seen, json.dumps({"type": "message_start", "message": {"usage": begun}}).encode())
    see(seen, b'{"type":"message_delta","delta":{},"usage":{"output_tokens":5}}')
    assert seen.usage == Usage(14, 5, 4)
    see(seen, b'{"type":"message_delta","delta":{},"usage":{"output_tokens":7,"input_tokens":500}}')
    assert seen.usage == Usage(500, 7, 4)


def test_counting_is_by_pieces_or_by_four_bytes() -> None:  # R-SALE-5
    assert [count(0, 0), count(3, 6), count(1, 400), count(5, 1)] == [0, 3, 100, 5]


def test_lines_may_end_as_on_windows() -> None:  # RFC-like event streams allow both
    events = [(b"data: a\r\n\r\n", b"a"), (b"data: b\n\n", b"b")]
    assert list(Events().feed(b"data: a\r\n\r\ndata: b\n\n")) == events
    assert [each for event, _ in events for each in Events().feed(event)] == events


def test_an_event_may_have_several_lines_of_data() -> None:  # as above
    two, one = b"event: x\ndata: a\ndata:b\n\n", b": ping\n\n"
    assert [*Events().feed(two), *Events().feed(one), *Events().feed(two + one)] == [
        (two, b"a\nb"),
        (one, b""),
    ] * 2


def test_an_endless_event_ends_the_call() -> None:  # R-SALE-5
    events, half = Events(), b"x" * (EVENT_BYTES_MAX // 2)
    assert [*events.feed(half), *events.feed(half)] == []
    with pytest.raises(ValueError, match="larger"):
        list(events.feed(half))


@given(st.binary(max_size=200))
def test_garbage_is_never_taken_for_usage(data: bytes) -> None:  # R-SALE-5
    seen = Seen()
    see(seen, data)
    assert seen.usage is None
