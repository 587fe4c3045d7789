"""A rig that never fails proves nothing: each has a planted fault that it must catch."""

import ast

from tests.tidy import source

RIGS = source.ROOT / "tests/rigs"
ELSEWHERE = {"test_model.py": "test_planted.py"}
"""Rigs whose planted faults are in a file of their own."""

CONTROL = ("caught", "planted", "would_be_found", "sees_the_fault")
"""What the name of a test says that plants a fault."""


def test_every_rig_has_a_planted_fault_that_it_must_catch() -> None:
    without = []
    for rig in sorted(RIGS.glob("test_*.py")):
        place = RIGS / ELSEWHERE.get(rig.name, rig.name)
        tests = [
            node.name
            for node in source.tree(place).body
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
        ]
        if not any(word in name for name in tests for word in CONTROL):
            without.append(rig.name)
    assert without == []
