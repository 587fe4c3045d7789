"""Functions fit on a screen and files in a head."""

import ast

from tests.tidy import source

FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 400

# What may be longer, each with its reason. Empty is right.
LONG_FUNCTIONS: dict[str, str] = {}
LONG_FILES: dict[str, str] = {}


def test_functions_are_short() -> None:
    long = {}
    for path in source.python("src"):
        for node in ast.walk(source.tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > FUNCTION_LINES_MAX:
                    long[f"{source.module(path)}:{node.name}"] = lines
    assert {name: lines for name, lines in long.items() if name not in LONG_FUNCTIONS} == {}
    assert set(LONG_FUNCTIONS) <= set(long), "an exception that is no longer needed"


def test_files_are_short() -> None:
    lines = {source.name(path): len(path.read_text().splitlines()) for path in source.python("src")}
    long = {name: count for name, count in lines.items() if count > FILE_LINES_MAX}
    assert {name: count for name, count in long.items() if name not in LONG_FILES} == {}
    assert set(LONG_FILES) <= set(long), "an exception that is no longer needed"
