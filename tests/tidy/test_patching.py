"""Tests work with what is there: nothing of the product is replaced while they run.

What a test needs to be otherwise is an argument, a server of the lab that misbehaves, a real line that is cut, or
enough real rows. The environment and the working folder may be changed: they are arguments of a process.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tidy import source

REPLACING = {"setattr", "delattr", "setitem", "delitem"}
MOCKS = {"unittest.mock", "mock", "pytest_mock"}

# Where something is set in this way all the same, each with its reason.
NEEDED = {
    "tests/rigs/test_exhaustive.py": "copies a till of its own field by field, to go on from it twice",
    "tests/support/rig_served.py": "a forked process has a command line of its own",
}


def replaced(path: Path) -> Iterator[str]:
    """What a file replaces, with its line: by pytest, by name, in what it imports, or by a mock."""
    nodes = list(ast.walk(source.tree(path)))
    imports = [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {alias.asname or alias.name.partition(".")[0] for node in imports for alias in node.names}
    for node in nodes:
        if isinstance(node, ast.Attribute):
            owner = node.value.id if isinstance(node.value, ast.Name) else ""
            if node.attr in REPLACING or (not isinstance(node.ctx, ast.Load) and owner in names):
                yield f"{node.lineno}: {owner}.{node.attr}"
        elif isinstance(node, ast.Name) and node.id in REPLACING:
            yield f"{node.lineno}: {node.id}"
    yield from MOCKS & source.imported(path)


def test_nothing_is_patched() -> None:
    found = {source.name(path): list(replaced(path)) for path in source.python("tests", "bench")}
    assert {name: lines for name, lines in found.items() if lines and name not in NEEDED} == {}
    assert [name for name in NEEDED if not found.get(name)] == [], "an exception that is no longer needed"


@pytest.mark.parametrize(
    "text",
    [
        "monkeypatch.setattr(a, 'b', 1)", "with monkeypatch.context() as away:\n    away.delattr(a, 'b')",
        "change = context.setitem", "setattr(a, 'b', 1)", "from unittest import mock", "import unittest.mock",
        "from unittest.mock import patch", "import a.b\na.b = 1", "from a import b\nb.LIMIT = 1", "import a\ndel a.b",
    ],
)  # fmt: skip
def test_every_way_to_patch_is_seen(text: str, tmp_path: Path) -> None:
    file = tmp_path / "one.py"
    file.write_text(text)
    assert list(replaced(file)) != []


def test_what_may_be_changed_is_not_taken_for_it(tmp_path: Path) -> None:
    file = tmp_path / "one.py"
    file.write_text(
        "import a\nmonkeypatch.setenv('A', 'b')\nmonkeypatch.chdir(folder)\nself.a = clock.time = a.b\n"
    )
    assert list(replaced(file)) == []
