"""Whatever bytes come as a body or a query: they are read as they stand or refused in words (R-LED-10)."""

import json
from collections.abc import Callable
from typing import TypeVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokentill.web.asgi import Message
from tokentill.web.bodies import Body, HoldBody, ListQuery
from tokentill.web.call import decode, query, read_body
from tokentill.web.problems import Halt
from tokentill.web.refund_bodies import RefundAcceptBody, RefundQuoteBody

T = TypeVar("T")

_decoder = msgspec.json.Decoder(HoldBody)
_scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
_members = (
    st.sampled_from(["feature", "user", "quantity", "tokens", "least", "timeout_ms", "x", ""]) | st.text()
)
_bodies = st.lists(
    st.tuples(_members, _scalars | st.lists(_scalars) | st.dictionaries(st.text(), _scalars)), max_size=5
)


def answered(read: Callable[[], T]) -> T | None:
    """What is read, or None where it is refused in words."""
    try:
        return read()
    except Halt as halt:
        refused = halt.answer
    assert refused.status in (400, 422)
    assert msgspec.json.decode(refused.body)["detail"].endswith("again.")
    return None


@given(st.binary())
def test_no_bytes_are_a_bug(raw: bytes) -> None:
    answered(lambda: decode(_decoder, raw))


@given(_bodies, st.booleans())
def test_a_body_is_taken_as_it_stands_or_not_at_all(
    members: list[tuple[str, object]], ascii_only: bool
) -> None:
    # R-LED-10
    parts = [
        f"{json.dumps(k, ensure_ascii=ascii_only)}: {json.dumps(v, ensure_ascii=ascii_only)}"
        for k, v in members
    ]
    try:
        raw = ("{" + ", ".join(parts) + "}").encode()
    except UnicodeEncodeError:
        return
    body = answered(lambda: decode(_decoder, raw))
    if body is not None:
        assert len({name for name, _ in members}) == len(members)
        for name, value in members:
            assert getattr(body, name) == value
            assert type(getattr(body, name)) is type(value)


@given(st.binary() | st.text("alimtfer&=%+0123456789").map(str.encode))
def test_no_query_is_a_bug(text: bytes) -> None:
    found = answered(lambda: query(ListQuery, text))
    assert found is None or 1 <= found.limit <= 1000


@pytest.mark.parametrize(
    ("kind", "body", "says"),
    [
        (RefundQuoteBody, {"reason": "nonsense"}, "it can be first_time, quality, technical, unused"),
        (RefundAcceptBody, {"choice": "money"}, "it can be bonus, cash, credit, upgrade"),
    ],
)
def test_a_word_that_is_none_of_those_possible_is_refused_with_those_that_are(
    kind: type[Body], body: dict[str, str], says: str
) -> None:
    # R-LED-10
    with pytest.raises(Halt) as halt:
        decode(msgspec.json.Decoder(kind), json.dumps(body).encode())
    assert says in msgspec.json.decode(halt.value.answer.body)["detail"]


async def test_a_connection_that_ends_before_the_body_is_no_bug() -> None:
    messages: list[Message] = [
        {"type": "http.disconnect"},
        {"type": "http.request", "body": b'{"tok', "more_body": True},
    ]

    async def receive() -> Message:
        return messages.pop()

    with pytest.raises(Halt) as halted:
        await read_body(None, receive, b"12")
    assert (halted.value.answer.status, halted.value.answer.code) == (400, "malformed_http")
