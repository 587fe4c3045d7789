"""`docs/rules.md` is true: each requirement, the symbol that implements it, the test that proves it.

A row of the index reads

    | R-LED-1 | what it asks for | `tokentill.rules.ledger:available` | `tests/rules/test_ledger.py::test_x` |

with any number of symbols and tests; a row with neither is still to be implemented. An id may be cited
in src and tests only if the index lists it, and an implemented one is cited in both.
"""

import ast
import importlib
import re
from dataclasses import dataclass

import pytest

from tests.tidy import source

INDEX = source.ROOT / "docs/rules.md"
ID = re.compile(r"\bR-[A-Z]{2,}-[0-9]+\b")
ROW = re.compile(r"^\|\s*(?P<id>R-[A-Z]{2,}-[0-9]+)\s*\|(?P<rest>.*)\|\s*$")
SYMBOL = re.compile(r"`(?P<module>tokentill(?:\.\w+)*):(?P<path>\w+(?:\.\w+)*)`")
TEST = re.compile(r"`(?P<file>tests/[\w/]+\.py)::(?P<path>\w+(?:::\w+)*)`")

pytestmark = pytest.mark.filterwarnings("default")
active = pytest.mark.skipif(not INDEX.exists(), reason="docs/rules.md is not written yet")


@dataclass(frozen=True)
class Rule:
    id: str
    symbols: list[tuple[str, str]]
    tests: list[tuple[str, str]]


def index() -> list[Rule]:
    rows = filter(None, map(ROW.match, INDEX.read_text().splitlines()))
    return [Rule(row["id"], SYMBOL.findall(row["rest"]), TEST.findall(row["rest"])) for row in rows]


def cited(top: str) -> dict[str, set[str]]:
    """The ids cited under a folder, each with the files that cite it."""
    found: dict[str, set[str]] = {}
    for name, text in source.texts().items():
        if name.startswith(f"{top}/") and not name.startswith("tests/tidy/"):
            for identifier in ID.findall(text):
                found.setdefault(identifier, set()).add(name)
    return found


def has_symbol(module: str, path: str) -> bool:
    try:
        found: object = importlib.import_module(module)
        for step in path.split("."):
            found = getattr(found, step)
    except (ImportError, AttributeError):
        return False
    return True


def has_test(file: str, path: str) -> bool:
    if not (source.ROOT / file).is_file():
        return False
    body: list[ast.stmt] = source.tree(source.ROOT / file).body
    for step in path.split("::"):
        kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
        found = next((node for node in body if isinstance(node, kinds) and node.name == step), None)
        if found is None:
            return False
        body = found.body
    return True


@active
def test_the_index_lists_each_id_once() -> None:
    ids = [rule.id for rule in index()]
    assert ids
    assert sorted({rule for rule in ids if ids.count(rule) > 1}) == []


@active
def test_what_the_index_names_exists() -> None:
    rules = index()
    missing = [f"{r.id} {m}:{p}" for r in rules for m, p in r.symbols if not has_symbol(m, p)]
    missing += [f"{r.id} {f}::{p}" for r in rules for f, p in r.tests if not has_test(f, p)]
    assert missing == []


@active
def test_what_is_implemented_is_proved_and_the_reverse() -> None:
    assert [rule.id for rule in index() if bool(rule.symbols) != bool(rule.tests)] == []


@active
def test_every_id_cited_is_in_the_index() -> None:
    known = {rule.id for rule in index()}
    unknown = {i: sorted(f) for top in ("src", "tests") for i, f in cited(top).items() if i not in known}
    assert unknown == {}


@active
def test_what_is_implemented_is_cited_by_its_code_and_its_test() -> None:
    in_src, in_tests = cited("src"), cited("tests")
    gaps = []
    for rule in index():
        if rule.symbols and rule.id not in in_src:
            gaps.append(f"{rule.id} is not cited in src")
        if rule.tests and not in_tests.get(rule.id, set()) & {file for file, _ in rule.tests}:
            gaps.append(f"{rule.id} is not cited in the test that proves it")
    assert gaps == []
