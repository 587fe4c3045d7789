"""Bad input gets a clear refusal and changes nothing (proof.md, security checks; R-LED-9, R-LED-10)."""

import asyncio
import json

import pytest

from tests.web.conftest import Till
from tokentill.web.bodies import TIME_MAX

pytestmark = pytest.mark.asyncio(loop_scope="module")

ORG = "/v1/organizations/acme"
HOLDS, CHARGES, GRANTS = f"{ORG}/holds", f"{ORG}/charges", f"{ORG}/grants"

NO_NUMBERS = [
    "-1",
    "1.0",
    "1.5",
    "1e0",
    "1e308",
    "-1e308",
    "1e400",
    "9223372036854775808",
    "1000000000000000000000000000000",
    "1" * 5000,
    '"1"',
    "true",
    "[1]",
    "{}",
]
NOT_JSON = [
    b"",
    b"{",
    b"nonsense",
    b'{"tokens":NaN}',
    b'{"tokens":Infinity}',
    b'{"tokens":-Infinity}',
    '{"tokens":١}'.encode(),
    b'{"tokens":1x10}',
    b'{"tokens":1_000}',
    b'{"tokens":+1}',
    b'{"tokens":1,}',
    b"{'tokens':1}",
    b'{"tokens":1}{"tokens":2}',
    b'\xef\xbb\xbf{"tokens":1}',
    '{"tokens":1}'.encode("utf-16"),
    b'{"tokens":1, "reason":"\xff"}',
    b'{"tokens":1, "reason":"\xed\xa0\x80"}',
    b'{"tokens":1, "reason":"\\ud800"}',
    b'{"tokens":1, "reason":"a\x00b"}',
]
BAD_NAMES = [
    "",
    " ",
    " a",
    "a ",
    ".",
    "..",
    "a" * 129,
    "a\x00b",
    "a\nb",
    "\x7f",
    "\x85",
    "a\u200bb",
    "\u202eabc",
    "\ufeff",
    "\ue000",
    "e\u0301",
]
GOOD_NAMES = [
    "a",
    "a b",
    "Åsa",
    "株式会社",
    "a/b",
    "a%b",
    "a?b#c",
    "maria@example.org",
    "x" * 128,
    "🙂",
    "0" * 32,
]


async def refused(till: Till, path: str, raw: bytes, status: int, code: str) -> dict[str, object]:
    """Send a body that must be refused without a trace."""
    before = await till.entries()
    reply = await till.ask("POST", path, raw=raw)
    assert (reply.status, reply.code) == (status, code), reply.raw
    assert await till.entries() == before
    return dict(reply.json)


@pytest.mark.parametrize("number", ["0", *NO_NUMBERS], ids=lambda n: n[:30])
@pytest.mark.parametrize("field", ["quantity", "least", "timeout_ms"])
async def test_a_number_that_is_none(shared_till: Till, field: str, number: str) -> None:
    # R-LED-10
    problem = await refused(
        shared_till,
        HOLDS,
        f'{{"feature":"generate_goal","{field}":{number}}}'.encode(),
        422,
        "invalid_request",
    )
    assert problem["field"] == field
    assert "Nothing was changed." in str(problem["detail"])


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (GRANTS, '{"tokens":%s}'),
        (GRANTS, '{"tokens":1,"expires_at":%s}'),
        (f"{ORG}/plan", '{"plan":%s}'),
        (f"{ORG}/cap", '{"cap":%s}'),
        (f"{ORG}/freeze", '{"failed_at":%s}'),
        (f"{ORG}/reset", '{"end":%s}'),
        (f"{ORG}/charges/{'0' * 32}/refund", '{"tokens":%s}'),
        (f"{HOLDS}/{'0' * 32}/settle", '{"tokens":%s}'),
        (f"{HOLDS}/{'0' * 32}/settle", '{"output_tokens":%s}'),
        (f"{HOLDS}/{'0' * 32}/extend", '{"timeout_ms":%s}'),
        ("/v1/organizations", '{"id":"other","anchor":%s}'),
    ],
)
async def test_no_number_at_all(shared_till: Till, path: str, body: str) -> None:
    numbers = [n for n in NO_NUMBERS if not ('"plan"' in body and n == '"1"')]
    for number in numbers:
        await refused(shared_till, path, (body % number).encode(), 422, "invalid_request")


async def test_adjustments_go_both_ways_and_not_beyond(shared_till: Till) -> None:
    # R-LED-8
    for number in [n for n in NO_NUMBERS if n != "-1"]:
        raw = f'{{"tokens":{number},"reason":"x"}}'.encode()
        await refused(shared_till, f"{ORG}/adjustments", raw, 422, "invalid_request")
    await refused(shared_till, f"{ORG}/adjustments", b'{"tokens":0,"reason":"x"}', 422, "invalid_request")
    await refused(shared_till, f"{ORG}/adjustments", b'{"tokens":5,"reason":" "}', 422, "invalid_request")
    await refused(shared_till, f"{ORG}/adjustments", b'{"tokens":5}', 422, "invalid_request")


@pytest.mark.parametrize("raw", NOT_JSON, ids=lambda raw: repr(raw)[:40])
async def test_what_is_not_json(shared_till: Till, raw: bytes) -> None:
    if raw:
        await refused(shared_till, GRANTS, raw, 400, "malformed_json")
    else:
        # An empty body is one without fields, and this one lacks a field.
        await refused(shared_till, GRANTS, raw, 422, "invalid_request")


@pytest.mark.parametrize("opening", ["[", '{"a":', '{"tokens":[', '{"tokens":1,"reason":['])
async def test_deep_nesting(shared_till: Till, opening: str) -> None:
    raw = (opening * 10_000)[:60_000].encode()
    before = await shared_till.entries()
    reply = await shared_till.ask("POST", GRANTS, raw=raw)
    assert (reply.status, reply.code) in {(400, "malformed_json"), (422, "invalid_request")}
    assert await shared_till.entries() == before


@pytest.mark.parametrize("body", ["[]", "null", "1", '"tokens"', "true", '[{"tokens":1}]'])
async def test_what_is_no_object(shared_till: Till, body: str) -> None:
    await refused(shared_till, GRANTS, body.encode(), 422, "invalid_request")


@pytest.mark.parametrize(
    "field", ["organization", "org_id", "balance", "role", "price", "limits", "actor", "key", "do"]
)
@pytest.mark.parametrize("path", [HOLDS, CHARGES, GRANTS, "/v1/operator-keys"])
async def test_a_field_that_does_not_exist(shared_till: Till, path: str, field: str) -> None:
    # R-LED-10
    own: dict[str, dict[str, object]] = {
        HOLDS: {"feature": "generate_goal"},
        CHARGES: {"feature": "generate_goal"},
        GRANTS: {"tokens": 1},
    }
    body = {**own.get(path, {"name": "x"}), field: 1}
    problem = await refused(shared_till, path, json.dumps(body).encode(), 422, "invalid_request")
    assert problem["field"] == field


@pytest.mark.parametrize(
    "raw",
    [
        b'{"tokens":1,"tokens":2}',
        b'{"tokens":1,"reason":"a","tokens":1}',
        b'{"tokens":1,"\\u0074okens":500}',
        b' { "tokens" : 1 , "tokens" : 1 } ',
    ],
)
async def test_a_field_that_stands_twice(shared_till: Till, raw: bytes) -> None:
    problem = await refused(shared_till, GRANTS, raw, 422, "invalid_request")
    assert problem["field"] == "tokens"


@pytest.mark.parametrize("bad", BAD_NAMES, ids=ascii)
async def test_a_name_that_is_none(shared_till: Till, bad: str) -> None:
    quoted = "".join(f"%{byte:02X}" for byte in bad.encode())
    for path, body in [
        ("/v1/organizations", {"id": bad}),
        (CHARGES, {"feature": bad}),
        (CHARGES, {"feature": "generate_goal", "user": bad}),
        (f"{ORG}/plan", {"plan": bad}),
        ("/v1/operator-keys", {"name": bad}),
        *([(f"/v1/organizations/{quoted}/charges", {"feature": "generate_goal"})] if bad else []),
        *([(f"{ORG}/users/{quoted}/unblock", {"reason": "x"})] if bad else []),
    ]:
        reply = await raw_path(shared_till, "POST", path, json.dumps(body).encode())
        assert b" 422 " in reply.splitlines()[0], (path, reply)
        assert b'"code":"invalid_request"' in reply


@pytest.mark.parametrize("good", GOOD_NAMES, ids=ascii)
async def test_a_name_in_any_script(shared_till: Till, good: str) -> None:
    quoted = "".join(f"%{byte:02X}" for byte in good.encode())
    opened = await shared_till.ask("POST", "/v1/organizations", {"id": good, "plan": "pro"})
    assert opened.status == 201, opened.raw
    balance = await raw_path(shared_till, "GET", f"/v1/organizations/{quoted}/balance", b"")
    assert b'"remaining":200' in balance
    charged = await shared_till.ask("POST", CHARGES, {"feature": "generate_goal", "user": good})
    assert charged.status == 201, charged.raw


async def raw_path(till: Till, method: str, path: str, body: bytes) -> bytes:
    """Ask with a path exactly as it stands; clients like to tidy it."""
    host, port = till.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = (
        f"{method} {path} HTTP/1.1\r\nhost: till\r\nauthorization: Bearer {till.key}\r\nconnection: close\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


@pytest.mark.parametrize("segment", ["%FF", "%C3%28", "%ED%A0%80", "%00", "a%0Ab"])
async def test_a_path_that_is_no_text(shared_till: Till, segment: str) -> None:
    for path in (
        f"/v1/organizations/{segment}/balance",
        f"{ORG}/operations/{segment}",
        f"/v1/operator-keys/{segment}",
    ):
        method = "DELETE" if "keys" in path else "GET"
        answer = await raw_path(shared_till, method, path, b"")
        assert b" 422 " in answer.splitlines()[0], answer


@pytest.mark.parametrize("path", ["/v1/organizations/../organizations", "/v1/organizations/%2e%2e/balance"])
async def test_no_path_climbs(shared_till: Till, path: str) -> None:
    answer = await raw_path(shared_till, "GET", path, b"")
    assert answer.split(b" ", 2)[1] in {b"404", b"422"}


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=-1",
        "limit=1.0",
        "limit=",
        "limit=٣",
        "limit=9223372036854775808",
        "limit=1&limit=2",
        "after=a&after=b",
        "order=desc",
        "limit",
        "after=%FF",
        "&&",
        "after=" + "a" * 129,
        "&".join(f"a{n}=1" for n in range(50)),
    ],
)
async def test_a_query_that_is_not_understood(shared_till: Till, query: str) -> None:
    reply = await shared_till.ask("GET", f"/v1/organizations?{query}")
    assert (reply.status, reply.code) == (422, "invalid_request")


async def test_a_query_where_none_is_taken(shared_till: Till) -> None:
    assert (await shared_till.ask("GET", f"{ORG}/balance?as=admin")).status == 422
    assert (await shared_till.ask("POST", f"{GRANTS}?dry_run=1", {"tokens": 1})).status == 422


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("", "The query lacks the parameter `feature`."),
        ("user=u", "The query lacks the parameter `feature`."),
        ("feature=", "The parameter `feature` is not valid: expected a text of length >= 1."),
        ("feature=generate_goal&price=1", "The query has no parameter `price`."),
        (
            "feature=generate_goal&quantity=0",
            "The parameter `quantity` is not valid: expected a whole number >= 1.",
        ),
        (
            "feature=generate_goal&quantity=-1",
            "The parameter `quantity` is not valid: expected a whole number >= 1.",
        ),
        ("feature=generate_goal&tokens=1e3", "expected a whole number or null, got a text."),
        ("feature=a%00", "`feature` must have printable characters only."),
    ],
)
async def test_a_check_that_is_not_valid(shared_till: Till, query: str, says: str) -> None:
    reply = await shared_till.ask("GET", f"{ORG}/checks?{query}")
    assert (reply.status, reply.code) == (422, "invalid_request")
    assert says in reply.json["detail"]
    unknown = await shared_till.ask("GET", f"{ORG}/checks?feature=nothing")
    assert (unknown.status, unknown.code) == (404, "unknown_feature")


@pytest.mark.parametrize("key", ["", " ", "a" * 256, "kö", "a\tb", '""'])
async def test_an_idempotency_key_that_is_none(shared_till: Till, key: str) -> None:
    # R-LED-9
    before = await shared_till.entries()
    reply = await shared_till.ask("POST", GRANTS, {"tokens": 1}, headers={"Idempotency-Key": key})
    assert (reply.status, reply.code, reply.json["field"]) == (422, "invalid_request", "Idempotency-Key")
    assert await shared_till.entries() == before


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json; charset=utf-16",
        "application/json, text/plain",
        "application/jsonp",
        "",
    ],
)
async def test_a_content_type_that_is_not_json(shared_till: Till, content_type: str) -> None:
    before = await shared_till.entries()
    reply = await shared_till.ask("POST", GRANTS, {"tokens": 1}, headers={"Content-Type": content_type})
    assert (reply.status, reply.code) == (415, "unsupported_media_type")
    assert await shared_till.entries() == before


@pytest.mark.parametrize(
    "content_type", ["application/json; charset=utf-8", 'Application/JSON; charset="UTF-8"']
)
async def test_json_by_another_spelling(shared_till: Till, content_type: str) -> None:
    reply = await shared_till.ask("POST", GRANTS, {"tokens": 1}, headers={"Content-Type": content_type})
    assert reply.status == 201


async def test_a_body_that_is_too_large(shared_till: Till) -> None:
    before = await shared_till.entries()
    for size in (64 * 1024 + 1, 900_000):
        raw = b'{"tokens":1' + b" " * size + b"}"
        reply = await shared_till.ask("POST", GRANTS, raw=raw)
        assert (reply.status, reply.code) == (413, "body_too_large")
    largest = b'{"tokens":1' + b" " * (64 * 1024 - 12) + b"}"
    assert (await shared_till.ask("POST", GRANTS, raw=largest)).status == 201
    assert await shared_till.entries() == before + 1


async def test_a_body_in_endless_chunks(shared_till: Till) -> None:
    host, port = shared_till.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = f"POST {GRANTS} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {shared_till.key}\r\n"
    writer.write(head.encode() + b"content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n")
    for _ in range(17):
        writer.write(b"1000\r\n" + b" " * 4096 + b"\r\n")
    # Answered as soon as it is too large, without waiting for its end.
    assert b" 413 " in await reader.readuntil(b"\r\n\r\n")
    writer.close()


async def test_texts_are_printable_and_short(shared_till: Till) -> None:
    for bad in ("a" * 201, "a\x00b", "a\x1b[31mb", "\u202e"):
        body = {"tokens": 1, "reason": bad}
        await refused(shared_till, GRANTS, json.dumps(body).encode(), 422, "invalid_request")
    assert (
        await shared_till.ask("POST", GRANTS, {"tokens": 1, "reason": "two\nlines\tof Ünicode"})
    ).status == 201


async def test_times_have_an_end(shared_till: Till) -> None:
    await refused(
        shared_till, GRANTS, f'{{"tokens":1,"expires_at":{TIME_MAX + 1}}}'.encode(), 422, "invalid_request"
    )


async def test_a_header_that_stands_twice(shared_till: Till) -> None:
    host, port = shared_till.url.removeprefix("http://").split(":")
    for twice in ("idempotency-key: a\r\nidempotency-key: b", f"authorization: Bearer {shared_till.key}"):
        reader, writer = await asyncio.open_connection(host, int(port))
        head = f"POST {GRANTS} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {shared_till.key}\r\n{twice}\r\n"
        writer.write(
            head.encode() + b'content-type: application/json\r\ncontent-length: 12\r\n\r\n{"tokens":1}'
        )
        answer = await reader.readuntil(b"\r\n")
        assert b" 422 " in answer
        writer.close()


async def test_invalid_requests_of_a_user_count_toward_the_block(shared_till: Till) -> None:
    # R-ABU-6
    bodies = [
        {"feature": "generate_goal", "user": "eve", "quantity": -1},
        {"feature": "generate_goal", "user": "eve", "balance": 5},
        {"feature": "", "user": "eve"},
        {"user": "eve"},
    ]
    for body in bodies:
        assert (await shared_till.ask("POST", CHARGES, body)).code == "invalid_request"
    fine = {"feature": "generate_goal", "user": "eve"}
    assert (await shared_till.ask("POST", HOLDS, fine, key="")).status == 422
    blocked = await shared_till.ask("POST", CHARGES, fine)
    assert (blocked.status, blocked.code) == (429, "blocked")
    # Nobody else is blocked by it, and who cannot be read off a request cannot be blocked by it either.
    for raw in (b'{"user":"bob"', b'{"user":5}', b'{"user":"a\\u0000b"}'):
        await refused(
            shared_till,
            CHARGES,
            raw,
            400 if raw[-1:] != b"}" else 422,
            ("malformed_json" if raw[-1:] != b"}" else "invalid_request"),
        )
    assert (await shared_till.ask("POST", CHARGES, {**fine, "user": "bob"})).status == 201
    unknown = await shared_till.ask("POST", "/v1/organizations/nobody/charges", {"user": "eve"})
    assert unknown.status == 422
