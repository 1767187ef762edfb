#!/usr/bin/python3
"""run.py - mutation testing: each committed one-line change must turn a test red.

Touches  build/mutants: copies of the tree, one for each job.
Never    the tree itself.

mutants.txt holds entries of this form, separated by blank lines:

    [UPL-11] registry/v2/upload.c
    - the line as it stands (blanks at the ends do not count; it must be unique in the file)
    + the line it becomes (nothing after the sign: the line goes)
    ? tests/unit/test_digest.c

The identifier is the requirement the change breaks. The tests run are those that cite it
(`pytest --spec`), unless a line with a question mark names others: a pytest argument below tests/,
or a unit test's source. A mutant that does not compile is a mistake in the list.
"""
import argparse
import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
HEADER = re.compile(r"\[([A-Za-z0-9() _.-]+)\] (\S+)$")


class Mutant:
    def __init__(self, block):
        lines = block.splitlines()
        match = HEADER.match(lines[0])
        if not match:
            sys.exit(f"mutants.txt: not an entry: {lines[0]}")
        self.requirement, self.file = match.groups()
        self.old = [line[2:].strip() for line in lines[1:] if line.startswith("- ")]
        self.new = [line[2:].strip() for line in lines[1:] if line.startswith("+")]
        self.tests = [line[2:].strip() for line in lines[1:] if line.startswith("? ")]
        if len(self.old) != 1 or len(self.new) != 1:
            sys.exit(f"mutants.txt: {lines[0]}: one old and one new line")

    def __str__(self):
        return f"[{self.requirement}] {self.file}: {self.old[0]}"

    def apply(self, top):
        """The mutated text; an error when the line is not there exactly once."""
        lines = (top / self.file).read_text().split("\n")
        places = [n for n, line in enumerate(lines) if line.strip() == self.old[0]]
        if len(places) != 1:
            raise ValueError(f"the line stands {len(places)} times in the file")
        indent = lines[places[0]][:len(lines[places[0]]) - len(lines[places[0]].lstrip())]
        lines[places[0]] = indent + self.new[0] if self.new[0] else ""
        return "\n".join(lines)


def read_list(path):
    text = "\n".join(line for line in path.read_text().splitlines() if not line.startswith("#"))
    return [Mutant(block) for block in re.split(r"\n\s*\n", text.strip()) if block.strip()]


class Slot:
    """A copy of the tree that one job builds and tests in."""

    def __init__(self, number):
        self.top = TOP / "build" / "mutants" / f"slot{number}"
        self.top.mkdir(parents=True, exist_ok=True)
        files = subprocess.run(["git", "ls-files", "-z", "--cached", "--others",
                                "--exclude-standard"], cwd=TOP, capture_output=True, check=True)
        for name in files.stdout.decode().split("\0"):
            source, copy = TOP / name, self.top / name
            if name and source.is_file() and (not copy.exists() or
                                              source.read_bytes() != copy.read_bytes()):
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, copy)
        self.command(["make", "-s", "-j2", "all"], 900).check_returncode()

    def command(self, words, timeout, **environment):
        return subprocess.run(words, cwd=self.top, timeout=timeout, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              env={**os.environ, **environment})

    def judge(self, mutant):
        """(verdict, seconds, the last lines of what ran)"""
        start = time.monotonic()
        path = self.top / mutant.file
        kept = path.read_text()
        try:
            path.write_text(mutant.apply(self.top))
            built = self.command(["make", "-s", "-j2", "all"], 300)
            if built.returncode != 0:
                return "does not compile", time.monotonic() - start, built.stdout[-2000:]
            verdict, text = self.test(mutant)
            return verdict, time.monotonic() - start, text
        except ValueError as error:
            return str(error), time.monotonic() - start, ""
        finally:
            path.write_text(kept)

    def test(self, mutant):
        units = [test for test in mutant.tests if test.endswith(".c")]
        others = [test for test in mutant.tests if not test.endswith(".c")]
        for unit in units:
            made = self.command(["make", "-s", f"unit-{pathlib.Path(unit).stem}"], 300)
            if made.returncode != 0:
                return "caught", made.stdout[-2000:]
        if units and not others:
            return "SURVIVED", ""
        words = others or ["--spec", mutant.requirement, "tests/e2e"]
        try:
            ran = self.command(["/usr/bin/python3", "-m", "pytest", "-q", "-x", *words], 600)
        except subprocess.TimeoutExpired:
            return "caught", "the tests hung"
        if ran.returncode == 1:
            return "caught", ran.stdout[-2000:]
        return ("SURVIVED" if ran.returncode == 0 else f"pytest ended with {ran.returncode}",
                ran.stdout[-2000:])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", default="", help="regular expression over entries")
    parser.add_argument("--verbose", action="store_true", help="show what the tests said")
    options = parser.parse_args()
    mutants = [mutant for mutant in read_list(TOP / "tests/mutants/mutants.txt")
               if re.search(options.only, str(mutant))]
    slots = [Slot(number) for number in range(min(options.jobs, len(mutants)))]
    free = list(slots)

    def run(mutant):
        slot = free.pop()
        try:
            return mutant, slot.judge(mutant)
        finally:
            free.append(slot)

    failed = 0
    with concurrent.futures.ThreadPoolExecutor(len(slots) or 1) as pool:
        for mutant, (verdict, seconds, text) in pool.map(run, mutants):
            print(f"{verdict:10} {seconds:6.1f} s  {mutant}", flush=True)
            failed += verdict != "caught"
            if options.verbose or verdict not in ("caught", "SURVIVED"):
                print(text)
    print(f"{len(mutants) - failed} mutants caught, {failed} not")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
