#!/usr/bin/python3
"""spec_coverage.py - every MUST and SHOULD of source to image is cited by a test.

Touches  nothing: reads spec_ids.txt and the tests of builds and units.
Never    judges whether a test proves what it cites.

A citation is "s2i 13.44, 13.45", "s2i 4.20 to 4.25" in a docstring or comment. Exit status 1 and one line a fault.
"""
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from support import citing  # noqa: E402

ID = r"\d+\.\d+"
CITATION = re.compile(rf"\bs2i\s+({ID}(?:(?:\s+to\s+|,\s+(?:and\s+)?|\s+and\s+){ID})*)")


def ids_of(text):
    """Of "4.1, 4.20 to 4.22": 4.1, 4.20, 4.21, 4.22."""
    last = None
    for word in re.findall(rf"{ID}|to", text):
        if word == "to":
            continue
        section, number = map(int, word.split("."))
        first = last[1] + 1 if last and re.search(rf"{last[0]}\.{last[1]}\s+to\s+{re.escape(word)}\b", text) else number
        for one in range(first, number + 1):
            yield f"{section}.{one}"
        last = section, number


def citations():
    for path in sorted([*HERE.glob("test_*.py"), *(HERE.parent / "unit").glob("test_*.c")]):
        text = re.sub(r"\n[ */#]*", " ", path.read_text(encoding="utf-8"))
        for found in CITATION.finditer(text):
            for name in ids_of(found.group(1)):
                yield name, path.name


def faults():
    lines = (HERE / "spec_ids.txt").read_text(encoding="utf-8").splitlines()
    levels = dict(line.split() for line in lines if not line.startswith("#"))
    cited = {name for name, _ in citations()}
    for name, level in levels.items():
        if level != "BENCH" and name not in cited:
            yield f"{name} ({level}) is cited by no test"


if __name__ == "__main__":
    sys.exit(citing.told(faults()))
