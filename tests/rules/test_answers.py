"""How large an answer is, how it is cut, which events end a stream, and where the receipt goes (R-SALE-5, R-ABU-4)."""

import json
from typing import Any

import pytest

from tokentill.rules import answers, speech
from tokentill.rules.usage import Usage

LONG = "a" * 1_000
SHAPES: list[dict[str, Any]] = [
    speech.chat("1", "m", LONG, (1, 1), "stop"),
    speech.completion("1", "m", LONG, (1, 1), "stop"),
    speech.response("1", "m", LONG, (1, 1), "stop"),
    speech.message("1", "m", LONG, (1, 1), "stop"),
    {
        "choices": [
            {"message": {"content": None, "tool_calls": [{"function": {"name": "f", "arguments": LONG}}]}}
        ]
    },
]


@pytest.mark.parametrize("answer", SHAPES)
def test_the_text_of_every_shape_is_measured_and_cut(answer: dict[str, Any]) -> None:
    assert answers.size(answer) == 1_000
    assert answers.counted(answer) == 250
    copy = json.loads(json.dumps(answer))
    answers.cut(copy, 10, 1, Usage(1, 40))
    assert answers.size(copy) == 1_000 * 10 // 63  # at least a token for 16 bytes
    answers.cut(answer, 10, 1, Usage(1, 1_000))
    assert answers.size(answer) == 10


@pytest.mark.parametrize(
    ("usage", "size", "pieces", "too_much"),
    [
        (None, 160, 10, False),
        (None, 161, 0, True),
        (None, 0, 11, True),
        (Usage(0, 10), 0, 0, False),
        (Usage(0, 11), 0, 0, True),
    ],
)
def test_what_is_too_much(usage: Usage | None, size: int, pieces: int, too_much: bool) -> None:
    assert answers.excess(10, 1, usage, size, pieces) is too_much
    assert answers.excess(5, 2, usage, size, pieces) is too_much
    assert not answers.excess(None, 1, usage, size, pieces)


@pytest.mark.parametrize(
    ("event", "end"),
    [
        ({"choices": [{"delta": {"content": "x"}, "finish_reason": None}]}, False),
        ({"choices": [{"delta": {}, "finish_reason": "stop"}]}, True),
        ({"choices": [], "usage": {"prompt_tokens": 1}}, True),
        ({"type": "response.output_text.delta", "delta": "x"}, False),
        ({"type": "response.completed", "response": {}}, True),
        ({"type": "message_delta"}, False),
        ({"type": "message_stop"}, True),
        ({"error": {"message": "x"}}, True),
        ("text", False),
    ],
)
def test_which_events_end_a_stream(event: object, end: bool) -> None:
    assert answers.is_end(event) is end


def test_the_receipt_stands_in_the_event_and_its_name_stays() -> None:
    said = answers.with_receipt({"type": "message_stop"}, {"charged": 3})
    assert said == b'event: message_stop\ndata: {"type":"message_stop","tokentill":{"charged":3}}\n\n'
    chat = answers.with_receipt({"choices": []}, {"charged": 3})
    assert chat == b'data: {"choices":[],"tokentill":{"charged":3}}\n\n'


def test_a_failure_is_told_as_each_api_tells_it() -> None:
    assert answers.failed_event("chat", {"error": {"code": "x"}}).startswith(b'data: {"error"')
    assert answers.failed_event("messages", {"type": "error", "error": {}}).startswith(b"event: error\n")
    assert b'"type":"error","code":"x"' in answers.failed_event("responses", {"error": {"code": "x"}})
