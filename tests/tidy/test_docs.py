"""The documentation is true: what it lists is what there is, and its examples run."""

import re
from collections import defaultdict

import pytest

from tests.tidy import source
from tokentill.rules import catalog_checks, catalog_file
from tokentill.rules.catalog_reader import Table
from tokentill.rules.refusals import LAYERS, RETRYABLE, Code
from tokentill.web.problems import STATUS

DOCS = source.ROOT / "docs"


def page(name: str) -> str:
    return (DOCS / name).read_text()


def sections(text: str) -> dict[str, str]:
    """The text below each heading of the second level that is a code or a key, by its name."""
    parts = re.split(r"^## `([^`]+)`\n", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


# docs/reference/refusals.md


def test_every_refusal_is_described_in_order_of_precedence() -> None:
    described = re.findall(r"^## `([a-z_]+)`$", page("reference/refusals.md"), flags=re.MULTILINE)
    assert described == [str(code) for code in Code]


@pytest.mark.parametrize("code", Code)
def test_a_refusal_is_described_as_it_is(code: Code) -> None:
    text = sections(page("reference/refusals.md"))[code]
    facts = re.search(r"^\*Layer (\w+)\. HTTP (\d+)\. Retry: ([^.]+)\.\*$", text, flags=re.MULTILINE)
    assert facts is not None
    assert facts[1] == LAYERS.get(code, "request")
    assert int(facts[2]) == STATUS[code]
    assert (facts[3] == "wait") == (code in RETRYABLE)


# docs/reference/catalog.md

EVERY_TABLE = """
name = "whole"
rollover = { mode = "none" }
[unit]
[cycle]
[exhaustion]
overage = { price = "1.00" }
[plans.pro]
title = "Pro"
price = "1.00"
tokens = 1
features = "all"
[packs.small]
title = "Small"
tokens = 1
price = "1.00"
[features.fixed]
title = "Fixed"
tokens = 1
[features.metered]
title = "Metered"
metered = true
[licence]
steps = [{ group = "ai_features", after_days = 0 }]
"""


def keys_read(monkeypatch: pytest.MonkeyPatch) -> dict[str, set[str]]:
    """The keys the loader asks for, by the table they stand in."""
    read: dict[str, set[str]] = defaultdict(set)

    def note(table: Table) -> None:
        place = re.sub(r"^(plans|packs|features)\.\w+", r"\1.<id>", table.path)
        place = re.sub(r"\[\d+\]$", "", place)
        own = re.search(r"(abuse|cycle|rollover|exhaustion(\.overage)?)$", place)
        units = "_(ms|seconds|minutes|hours)(_min)?$"
        read[own[0] if own else place] |= {re.sub(units, r"_<unit>\2", key) for key in table.known}

    monkeypatch.setattr(Table, "end", note)
    catalog_file.load(EVERY_TABLE, "catalog.toml")
    return read


def test_every_key_of_a_catalog_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    text = page("reference/catalog.md")
    top = text.partition("## Top of the file\n")[2].partition("\n## ")[0]
    rows: dict[str, set[str]] = {}
    for name, section in {"": top, **sections(text)}.items():
        cells = re.findall(r"^\| (`.*?) \|", section.partition("\n## ")[0], flags=re.MULTILINE)
        rows[name] = {key for cell in cells for key in re.findall(r"`([^`]+)`", cell)}
    assert rows == keys_read(monkeypatch)


def test_every_warning_about_a_catalog_is_described() -> None:
    source_text = (source.SRC / "tokentill/rules/catalog_checks.py").read_text()
    codes = set(re.findall(r'yield \(?\s*"([a-z-]+)"', source_text))
    described = page("reference/catalog.md").partition("## What is warned of\n")[2]
    assert set(re.findall(r"^\| `([a-z-]+)` \|", described, flags=re.MULTILINE)) == codes
    assert catalog_checks.__doc__
