#!/usr/bin/python3
"""spec_coverage.py - every MUST and SHOULD of the distribution API is cited by a test, or waits for a reason.

Touches  nothing: reads spec_ids.txt, spec_later.txt and the test files beside it.
Never    judges whether a test proves what it cites.

A citation is @pytest.mark.spec("ID", ...) on a test. Exit status 1 and one line a fault.
"""
import ast
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from support import citing  # noqa: E402



def lines(name):
    text = (HERE / name).read_text(encoding="utf-8")
    return [line.split(None, 1) for line in text.splitlines() if line and not line.startswith("#")]


def citations(path):
    """(id, test) of every marker on a test of this file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.FunctionDef) or not node.name.startswith("test_"):
            continue
        for mark in node.decorator_list:
            if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.spec":
                for argument in mark.args:
                    yield ast.literal_eval(argument), f"{path.name}::{node.name}"


def faults():
    levels = {name: level.strip() for name, level in lines("spec_ids.txt")}
    later = {name: reason for name, reason in lines("spec_later.txt")}
    cited = {}
    for path in sorted(HERE.glob("test_*.py")):
        for name, test in citations(path):
            cited.setdefault(name, []).append(test)
    for name, tests in sorted(cited.items()):
        if name not in levels:
            yield f"{tests[0]} cites {name}, which is no requirement"
        if name in later:
            yield f"{name} is cited by {tests[0]} and still listed in spec_later.txt"
    for name in sorted(later):
        if name not in levels:
            yield f"spec_later.txt lists {name}, which is no requirement"
    for name, level in levels.items():
        if level in ("MUST", "SHOULD") and name not in cited and name not in later:
            yield f"{name} ({level}) is cited by no test"


if __name__ == "__main__":
    sys.exit(citing.told(faults()))
