"""Speech: an answer of words in OpenAI's and Anthropic's shapes, whole and as the events of a stream.

For the upstreams that are no models: the built-in echo, and the one of the lab. Shapes as in the public API references
of both; a word is a token.

Requirement ids: R-SALE-5.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

Body = dict[str, Any]
_encode = msgspec.json.Encoder().encode


def words(count: int) -> list[str]:
    """An answer of so many words."""
    return [f"w{number} " for number in range(count)]


def chat(ident: str, model: str, text: str, usage: tuple[int, int] | None, finish: str) -> Body:
    """A chat completion."""
    body: Body = {
        "id": f"chatcmpl-{ident}", "object": "chat.completion", "created": 1_770_000_000, "model": model,
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": text, "refusal": None}, "finish_reason": finish}
        ],
    }  # fmt: skip
    return body | _chat_usage(usage)


def completion(ident: str, model: str, text: str, usage: tuple[int, int] | None, finish: str | None) -> Body:
    """A completion of the older API."""
    body: Body = {
        "id": f"cmpl-{ident}", "object": "text_completion", "created": 1_770_000_000, "model": model,
        "choices": [{"index": 0, "text": text, "logprobs": None, "finish_reason": finish}],
    }  # fmt: skip
    return body | _chat_usage(usage)


def response(ident: str, model: str, text: str, usage: tuple[int, int] | None, finish: str) -> Body:
    """An answer of the responses API."""
    body: Body = {
        "id": f"resp_{ident}", "object": "response", "created_at": 1_770_000_000, "model": model,
        "status": "completed" if finish == "stop" else "incomplete", "error": None,
        "incomplete_details": None if finish == "stop" else {"reason": "max_output_tokens"},
        "output": [
            {
                "id": f"msg_{ident}", "type": "message", "role": "assistant", "status": "completed",
                "content": [{"type": "output_text", "text": text, "annotations": []}],
            }
        ],
        "parallel_tool_calls": True, "tool_choice": "auto", "tools": [],
    }  # fmt: skip
    if usage is not None:
        body["usage"] = {
            "input_tokens": usage[0], "input_tokens_details": {"cached_tokens": 0}, "output_tokens": usage[1],
            "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": sum(usage),
        }  # fmt: skip
    return body


def message(ident: str, model: str, text: str, usage: tuple[int, int] | None, finish: str) -> Body:
    """An answer of Anthropic's messages API."""
    return {
        "id": f"msg_{ident}", "type": "message", "role": "assistant", "model": model,
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn" if finish == "stop" else "max_tokens", "stop_sequence": None,
        "usage": None if usage is None else {"input_tokens": usage[0], "output_tokens": usage[1]},
    }  # fmt: skip


def embeddings(model: str, count: int, read: int) -> Body:
    """Embeddings of `count` texts."""
    data = [{"object": "embedding", "index": at, "embedding": [0.0, 0.5, 1.0]} for at in range(count)]
    return {
        "object": "list", "data": data, "model": model,
        "usage": {"prompt_tokens": read, "total_tokens": read},
    }  # fmt: skip


def _chat_usage(usage: tuple[int, int] | None) -> Body:
    if usage is None:
        return {}
    return {
        "usage": {
            "prompt_tokens": usage[0], "completion_tokens": usage[1], "total_tokens": sum(usage),
            "prompt_tokens_details": {"cached_tokens": 0}, "completion_tokens_details": {"reasoning_tokens": 0},
        }
    }  # fmt: skip


def event(data: Body | str, name: str | None = None) -> bytes:
    """One server-sent event."""
    text = data.encode() if isinstance(data, str) else _encode(data)
    head = b"" if name is None else b"event: " + name.encode() + b"\n"
    return head + b"data: " + text + b"\n\n"


def chat_stream(
    ident: str, model: str, parts: Sequence[str], usage: tuple[int, int] | None, finish: str, *, tells: bool
) -> Iterator[bytes]:
    """The events of a streamed chat completion; `tells`: usage was asked for."""
    base: Body = {
        "id": f"chatcmpl-{ident}", "object": "chat.completion.chunk", "created": 1_770_000_000, "model": model,
    }  # fmt: skip

    def choice(delta: Body, reason: str | None = None) -> Body:
        body = base | {"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}
        return body | {"usage": None} if tells else body

    yield event(choice({"role": "assistant", "content": ""}))
    for part in parts:
        yield event(choice({"content": part}))
    yield event(choice({}, finish))
    if tells and usage is not None:
        yield event(base | {"choices": []} | _chat_usage(usage))
    yield event("[DONE]")


def completion_stream(
    ident: str, model: str, parts: Sequence[str], usage: tuple[int, int] | None, finish: str, *, tells: bool
) -> Iterator[bytes]:
    """The events of a streamed completion of the older API."""
    for at, part in enumerate(parts, 1):
        reason = finish if at == len(parts) else None
        yield event(completion(ident, model, part, None, reason) | {"usage": None})
    if tells and usage is not None:
        yield event(completion(ident, model, "", usage, finish) | {"choices": []})
    yield event("[DONE]")


def response_stream(
    ident: str, model: str, parts: Sequence[str], usage: tuple[int, int] | None, finish: str
) -> Iterator[bytes]:
    """The events of a streamed answer of the responses API."""
    begun = response(ident, model, "", None, "stop") | {"status": "in_progress", "output": []}
    whole = response(ident, model, "".join(parts), usage, finish)
    [item] = whole["output"]
    [part] = item["content"]
    of_item: Body = {"output_index": 0}
    of_part: Body = {"item_id": item["id"], "output_index": 0, "content_index": 0}
    empty = item | {"status": "in_progress", "content": []}
    events: list[tuple[str, Body]] = [
        ("response.created", {"response": begun}),
        ("response.in_progress", {"response": begun}),
        ("response.output_item.added", of_item | {"item": empty}),
        ("response.content_part.added", of_part | {"part": part | {"text": ""}}),
        *(("response.output_text.delta", of_part | {"delta": one, "logprobs": []}) for one in parts),
        ("response.output_text.done", of_part | {"text": part["text"], "logprobs": []}),
        ("response.content_part.done", of_part | {"part": part}),
        ("response.output_item.done", of_item | {"item": item}),
        ("response.completed" if finish == "stop" else "response.incomplete", {"response": whole}),
    ]
    for number, (name, data) in enumerate(events):
        yield event({"type": name, "sequence_number": number, **data}, name)


def message_stream(
    ident: str, model: str, parts: Sequence[str], usage: tuple[int, int] | None, finish: str
) -> Iterator[bytes]:
    """The events of a streamed answer of Anthropic's messages API."""
    begun = message(ident, model, "", None if usage is None else (usage[0], 1), "stop")
    begun |= {"content": [], "stop_reason": None}
    yield event({"type": "message_start", "message": begun}, "message_start")
    block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    yield event(block, "content_block_start")
    for part in parts:
        delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": part}}
        yield event(delta, "content_block_delta")
    yield event({"type": "content_block_stop", "index": 0}, "content_block_stop")
    end: Body = {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn" if finish == "stop" else "max_tokens", "stop_sequence": None},
    }
    if usage is not None:
        end["usage"] = {"output_tokens": usage[1]}
    yield event(end, "message_delta")
    yield event({"type": "message_stop"}, "message_stop")
