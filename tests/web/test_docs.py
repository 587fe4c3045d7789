"""The reference of the HTTP API is true: its routes, fields and problems are those of the code."""

import re
from pathlib import Path

import msgspec

from tokentill.rules.names import KEY_CHARS_MAX, NAME_CHARS_MAX, TEXT_CHARS_MAX
from tokentill.rules.refusals import Code
from tokentill.web import problems
from tokentill.web.call import BODY_BYTES_MAX
from tokentill.web.protocol import HEAD_BYTES_MAX, REQUEST_SECONDS_MAX
from tokentill.web.routes import ROUTES, Route

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "http.md").read_text(encoding="utf-8")


def row(route: Route) -> str:
    kind = route.body or route.query
    fields = () if kind is None else msgspec.structs.fields(kind)
    listed = ", ".join(f"`{field.encode_name}{'' if field.required else '?'}`" for field in fields)
    return f"| `{route.method} {route.path}` | {route.summary} | {listed} |"


def test_every_route_stands_on_the_page_as_it_is() -> None:
    rows = re.findall(r"^\| `(?:GET|POST|PUT|DELETE) .*$", PAGE, flags=re.MULTILINE)
    assert sorted(rows) == sorted(map(row, ROUTES))


def test_every_problem_that_is_no_refusal_stands_on_the_page() -> None:
    listed = re.findall(r"^\| `([a-z_]+)` \| ([0-9]{3}) \|", PAGE, flags=re.MULTILINE)
    assert {code for code, _ in listed} == set(problems.TITLES) - set(Code)
    assert [int(status) for _, status in listed] == sorted(int(status) for _, status in listed)


def test_the_figures_on_the_page_are_the_codes() -> None:
    text = " ".join(PAGE.split())
    for said in (
        f"at most {BODY_BYTES_MAX // 1024} KiB",
        f"at most {HEAD_BYTES_MAX // 1024} KiB",
        f"has {REQUEST_SECONDS_MAX:g} seconds to arrive",
        f"1 to {KEY_CHARS_MAX} printable ASCII",
        f"1 to {NAME_CHARS_MAX} printable characters",
        f"up to {TEXT_CHARS_MAX} printable characters",
        f"`{problems.URN}<code>`",
    ):
        assert said in text
