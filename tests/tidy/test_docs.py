"""The documentation is true: what it lists is what there is. Its examples are run by tests/docs."""

import json
import re
import shlex
import tomllib
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import typer
from msgspec import structs

from tests.tidy import source
from tokentill import cli
from tokentill.rules import catalog_file
from tokentill.rules.refund_sentences import RefundTexts
from tokentill.rules.refusals import LAYERS, RETRYABLE, Code
from tokentill.web.problems import STATUS

DOCS = source.ROOT / "docs"


def page(name: str) -> str:
    return (DOCS / name).read_text()


def pages() -> dict[str, str]:
    """The text of every page, by its path in the repository."""
    return {name: text for name, text in source.texts().items() if name.endswith(".md")}


def sections(text: str) -> dict[str, str]:
    """The text below each heading of the second level that is a code or a key, by its name."""
    parts = re.split(r"^## `([^`]+)`\n", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


# docs/reference/refusals.md


def test_every_refusal_is_described_in_order_of_precedence() -> None:
    assert list(sections(page("reference/refusals.md"))) == [str(code) for code in Code]


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
[exhaustion]
overage = { price = "1.00" }
[promos.CODE]
percent_off = 10
packs = ["small"]
uses_max = 1
[[alerts]]
pattern = "declines"
[plans.pro]
title = "Pro"
price = "1.00"
tokens = 1
features = "all"
[packs.small]
title = "Small"
tokens = 1
price = "1.00"
rollout = { percent = 10 }
[features.fixed]
title = "Fixed"
tokens = 1
[features.metered]
title = "Metered"
metered = true
[upstreams.there]
base_url = "https://example.com/v1"
key_env = "KEY"
[models.fixed]
upstreams = ["there:x"]
[licence]
steps = [{ group = "ai_features", after_days = 0 }]
[refunds]
bands = [{ below = 50, rate = 100 }, { rate = 50 }]
tiers = [{ above = "1.00", percent = 110 }]
withdrawal.eu.days = 14
[[faq]]
question = "Why?"
answer = "Because."
"""


STRANGER = "qqqqqqqq"
"""A key that no table knows, and that is like none: the loader answers with those that are allowed there."""


def toml(value: Any) -> str:
    """A value as TOML writes it on one line."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key} = {toml(inner)}' for key, inner in value.items())}}}"
    return f"[{', '.join(map(toml, value))}]" if isinstance(value, list) else json.dumps(value)


def asking(value: Any, path: str, known: dict[str, set[str]]) -> Any:
    """The value with a stranger in each of its tables, and a table in the place of each known key that is missing."""
    if isinstance(value, list):
        return [asking(item, f"{path}[{number}]", known) for number, item in enumerate(value, 1)]
    if not isinstance(value, dict):
        return value
    whole: dict[str, Any] = {key: {} for key in known.get(path, ())} | value
    return {key: asking(inner, f"{path}.{key}".strip("."), known) for key, inner in whole.items()} | {
        STRANGER: 0
    }


def keys_known() -> dict[str, set[str]]:
    """The keys that the loader allows in each table, by its path, as it says itself."""
    known: dict[str, set[str]] = defaultdict(set)
    size = -1
    while size != (size := sum(map(len, known.values()))):
        document = asking(tomllib.loads(EVERY_TABLE), "", known)
        with pytest.raises(catalog_file.CatalogError) as caught:
            catalog_file.load("\n".join(f"{key} = {toml(value)}" for key, value in document.items()), "")
        for problem in caught.value.problems:
            path, _, key = f".{problem.path}".rpartition(".")
            if key == STRANGER and problem.wrong == "unknown key":
                known[path[1:]] |= set(problem.allowed.removeprefix("allowed here: ").split(", "))
    return known


def keys_read() -> dict[str, set[str]]:
    """The keys that are known, by the name under which their table is described."""
    read: dict[str, set[str]] = defaultdict(set)
    for path, keys in keys_known().items():
        place = re.sub(r"^(plans|packs|features|upstreams|models)\.\w+", r"\1.<id>", path)
        place = re.sub(r"^refunds.withdrawal\.\w+", "refunds.withdrawal.<region>", place)
        place = re.sub(r"^promos\.\w+", "promos.<CODE>", place)
        place = re.sub(r"\[\d+\]$", "", place)
        own = re.search(r"(abuse|cycle|rollover|rollout|prices|exhaustion(\.overage)?)$", place)
        units = "_(ms|seconds|minutes|hours)(_min)?$"
        read[own[0] if own else place] |= {re.sub(units, r"_<unit>\2", key) for key in keys}
    return read


def test_every_key_of_a_catalog_is_described() -> None:
    text = page("reference/catalog.md")
    described: dict[str, set[str]] = {}
    for name, section in {"": text.partition("## Top of the file\n")[2], **sections(text)}.items():
        cells = re.findall(r"^\| (`.*?) \|", section.partition("\n## ")[0], flags=re.MULTILINE)
        described[name] = {key for cell in cells for key in re.findall(r"`([^`]+)`", cell)}
    assert described == keys_read()


def test_every_text_of_refunds_is_described_as_it_is() -> None:
    described = sections(page("reference/catalog.md"))["refunds.texts"]
    found = dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", described, flags=re.MULTILINE))
    assert found == structs.asdict(RefundTexts())


def test_every_warning_about_a_catalog_is_described() -> None:
    files = (source.SRC / "tokentill/rules").glob("catalog_*checks.py")
    checks = "".join(file.read_text() for file in files)
    codes = set(re.findall(r'yield \(?\s*"([a-z-]+)"', checks))
    described = page("reference/catalog.md").partition("## What is warned of\n")[2]
    assert set(re.findall(r"^\| `([a-z-]+)` \|", described, flags=re.MULTILINE)) == codes


# Links, commands and make targets, on every page


def anchors(text: str) -> set[str]:
    """What can be linked to in a page: its headings, as GitHub names them."""
    plain = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", plain, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(name: str, text: str) -> list[tuple[str, Path, str]]:
    """The links of a page that lead into the repository: as written, the file, the anchor."""
    written = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if not re.match(r"[a-z]+:", link)]
    here = source.ROOT / name
    return [
        (link, here.parent / path if path else here, anchor)
        for link in written
        for path, _, anchor in [link.partition("#")]
    ]


def test_links_lead_somewhere() -> None:
    broken = [
        f"{name}: {link}"
        for name, text in pages().items()
        for link, target, anchor in links(name, text)
        if not target.exists() or (anchor and anchor not in anchors(target.read_text()))
    ]
    assert broken == []


def test_the_readme_leads_to_every_page() -> None:
    known: set[str] = set()
    new = {"README.md"}
    while new:
        known |= new
        reached = {
            source.name(target.resolve())
            for name in new
            for _, target, _ in links(name, pages().get(name, ""))
            if target.exists()
        }
        new = {page for page in pages() for place in reached if f"{page}/".startswith(f"{place}/")} - known
    assert {name for name in pages() if name.startswith("docs/")} - known == set()


def command_lines(text: str) -> list[str]:
    """Every mention of the command line: in a block, after a prompt or without one, and between backticks."""
    blocks = re.findall(r"^```\w*\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    blocks += re.findall(r"^ {4}(.*)$", text, flags=re.MULTILINE)
    shown = r"^(?:\$ )?(?:[A-Z_]+=\S+ )*(tokentill [a-z].*)$"
    lines = [line for block in blocks for line in re.findall(shown, block, flags=re.MULTILINE)]
    return lines + re.findall(r"`(tokentill [a-z][^`]*)`", text)


def test_commands_exist() -> None:
    wrong = []
    for name, text in pages().items():
        for line in command_lines(text):
            command: Any = typer.main.get_command(cli.app)
            words = [word for word in shlex.split(line.partition(" > ")[0])[1:] if word != "&"]
            while words and hasattr(command, "commands"):
                command = command.commands.get(words.pop(0))
            known = {option for parameter in getattr(command, "params", ()) for option in parameter.opts}
            used = {word.partition("=")[0] for word in words if re.match(r"--\w", word)}
            if command is None or used - known:
                wrong.append(f"{name}: {line}")
    assert wrong == []


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (source.ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = {
        (name, target)
        for name, text in pages().items()
        for target in re.findall(r"^ {4}make ([a-z]+)|`make ([a-z]+)", text, flags=re.MULTILINE)
    }
    assert [(name, *both) for name, both in named if "".join(both) not in targets] == []


def test_the_benchmarks_of_the_readme_are_those_that_are_run() -> None:
    """Names and targets; what was measured is of the run that the README names."""
    kept = (source.ROOT / "bench/results/latest.md").read_text()
    figures = {
        (name, figure.strip(), " ".join(target.split()))
        for name, section in re.findall(
            r"^## (\w+): .*?\n(.*?)(?=^## |\Z)", kept, flags=re.MULTILINE | re.DOTALL
        )
        for figure, target in re.findall(r"^\| (.*?) \| .*? \| (.*?) \|", section, flags=re.MULTILINE)
    }
    table = pages()["README.md"].partition("## How fast it is\n")[2].partition("\n## ")[0]
    named = re.findall(r"^\| (\w+) \| (.*?) \| [^|]* \| ([≤≥] .*?) \|", table, flags=re.MULTILINE)
    assert named
    assert set(named) - figures == set()
