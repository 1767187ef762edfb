#!/usr/bin/python3
"""run.py - mutation testing: each committed one-line change must turn a test red.

Touches  build/mutants: copies of the tree, one for each job.
Never    the tree itself; counts a hang, a failed build or a server that did not start as caught.

mutants.txt holds entries of this form, separated by blank lines:

    [UPL-11] registry/v2/upload.c
    @ static int claim(
    - the line as it stands (blanks at the ends do not count; it must be unique in the file)
    + the line it becomes (nothing after the sign: the line goes)
    ? tests/unit/test_digest.c
    ? tests/e2e/test_blobs.py::test_single_range

The identifier is the requirement the change breaks (spec_ids.txt); words in parentheses stand for
one that is not the distribution API's. With an @ line the old line is the first one below the only
line that begins so. The tests run are those that cite the identifier (`pytest --spec`, without the
real clients), unless lines with a question mark name others: a unit test's source, or what to give
to pytest. A mutant that does not compile is a mistake in the list. What runs must be green without
any mutant; that is looked at first.
"""
import argparse
import concurrent.futures
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
BUILD = "build/release"
HEADER = re.compile(r"\[(\([^)]+\)|[A-Z0-9-]+)\] (\S+)$")
UNIT_SECONDS, PYTEST_SECONDS = 180, 900


class Mutant:
    def __init__(self, block, known):
        lines = block.splitlines()
        match = HEADER.match(lines[0])
        if not match:
            sys.exit(f"mutants.txt: not an entry: {lines[0]}")
        self.requirement, self.file = match.groups()
        if not self.requirement.startswith("(") and self.requirement not in known:
            sys.exit(f"mutants.txt: {lines[0]}: no such requirement")
        old, new, below = ([line[2:].strip() for line in lines[1:] if line.startswith(sign)]
                           for sign in "-+@")
        tests = [line[2:].strip() for line in lines[1:] if line.startswith("? ")]
        if len(old) != 1 or len(new) != 1 or len(below) > 1 or \
                len(old + new + below + tests) != len(lines) - 1:
            sys.exit(f"mutants.txt: {lines[0]}: one old line, one new line, then tests")
        self.old, self.new, self.below = old[0], new[0], below[0] if below else None
        self.tests = [Tests(words) for words in tests] or [Tests("tests/e2e", self.requirement)]

    def __str__(self):
        return f"[{self.requirement}] {self.file}: {self.old} -> {self.new or '(nothing)'}"

    def apply(self, top):
        """The mutated text; an error when the line is not there."""
        lines = (top / self.file).read_text().split("\n")
        start = -1
        if self.below:
            starts = [n for n, line in enumerate(lines) if line.strip().startswith(self.below)]
            if len(starts) != 1:
                raise ValueError(f"{len(starts)} lines begin with: {self.below}")
            start = starts[0]
        places = [n for n, line in enumerate(lines) if n > start and line.strip() == self.old]
        if not places or (len(places) > 1 and not self.below):
            raise ValueError(f"the line stands {len(places)} times in the file")
        old = lines[places[0]]
        indent = old[:len(old) - len(old.lstrip())]
        lines[places[0]] = indent + self.new if self.new else ""
        return "\n".join(lines)


class Tests:
    """What is run for a mutant: one unit test program, or one pytest in one folder."""

    def __init__(self, text, cited=None):
        words = shlex.split(text)
        self.unit = words[0][:-len(".c")] if words[0].endswith(".c") else None
        self.paths = [word for word in words if word.startswith("tests/")]
        self.options = tuple(word for word in words if not word.startswith("tests/"))
        self.folder = "/".join(self.paths[0].split("/")[:2])
        self.cited = [cited] if cited else []
        if not (TOP / self.paths[0].split("::")[0]).exists():
            sys.exit(f"mutants.txt: there is no {self.paths[0]}")

    def key(self):
        """Tests of one key can run together."""
        return self.unit, self.folder, self.options, bool(self.cited)

    def with_all(self, others):
        both = Tests(shlex.join([*self.paths, *self.options]))
        both.cited = sorted({name for tests in others for name in tests.cited})
        both.paths = list(dict.fromkeys(path for tests in others for path in tests.paths))
        return both

    def targets(self):
        """What make has to build beside the program."""
        programs = [self.unit] if self.unit else ["interpose.so", "tests/support/routes", "tests/support/layer_probe",
                                                        "tests/support/source_probe"]
        return {f"{BUILD}/{program}" for program in programs}

    def command(self):
        if self.unit:
            return [f"{BUILD}/{self.unit}"], UNIT_SECONDS
        cited = [f"--spec={name}" for name in self.cited]
        ignored = ["--ignore-glob=*/test_clients_*"] if self.cited else []
        return ["/usr/bin/python3", "-m", "pytest", *self.paths, *self.options, *cited, *ignored,
                "-v", "-x", "--tb=short"], PYTEST_SECONDS

    def failed(self, status, text):
        """The name of the test that failed; None when what failed was not a test."""
        if self.unit:
            found = re.search(r"\[  FAILED  \] (\w+)$", text, re.M)
            return found.group(1) if found else f"{self.unit} (status {status})"
        found = re.search(r"^(\S.*?) FAILED( |$)", text, re.M)
        return found.group(1) if status in (1, 3) and found else None  # 3: its server died as well


def read_list(path):
    known = {line.split()[0] for line in (TOP / "tests/e2e/spec_ids.txt").read_text().splitlines()
             if line and not line.startswith("#")}
    text = "\n".join(line for line in path.read_text().splitlines() if not line.startswith("# "))
    return [Mutant(block, known) for block in re.split(r"\n\s*\n", text.strip()) if block.strip()]


class Slot:
    """A copy of the tree that one job builds and tests in."""

    def __init__(self, number, targets):
        self.top = TOP / "build" / "mutants" / f"slot{number}"
        self.top.mkdir(parents=True, exist_ok=True)
        listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                                cwd=TOP, capture_output=True, check=True).stdout.decode().split("\0")
        names = {name for name in listed if name and (TOP / name).is_file()}
        for name in names:
            source, copy = TOP / name, self.top / name
            if not copy.exists() or source.read_bytes() != copy.read_bytes():
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, copy)
        for path in [path for path in self.top.rglob("*") if path.is_file()]:
            name = path.relative_to(self.top)
            if name.parts[0] != "build" and str(name) not in names:
                path.unlink()
        self.build(targets).check_returncode()

    def build(self, targets):
        done = self.command(["make", "-s", "-j2", "all", *sorted(targets)], 900)
        if done.returncode != 0:
            print(done.stdout[-3000:])
        return done

    def command(self, words, seconds):
        environment = {**os.environ, "SLIPWAY_BIN": str(self.top / BUILD / "slipway"),
                       "SLIPWAY_BUILD": str(self.top / BUILD), "PYTHONDONTWRITEBYTECODE": "1"}
        return subprocess.run(words, cwd=self.top, timeout=seconds, stdin=subprocess.DEVNULL, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, errors="replace",
                              env=environment, check=False)

    def judge(self, mutant):
        """(verdict, what ran last, its last lines)"""
        path = self.top / mutant.file
        kept = path.read_text()
        try:
            path.write_text(mutant.apply(self.top))
            if self.build({name for tests in mutant.tests for name in tests.targets()}).returncode != 0:
                return "NO BUILD", "", ""
            return self.test(mutant.tests)
        except ValueError as error:
            return "NO PLACE", str(error), ""
        finally:
            path.write_text(kept)

    def test(self, all_tests):
        for tests in all_tests:
            words, seconds = tests.command()
            try:
                ran = self.command(words, seconds)
            except subprocess.TimeoutExpired:
                return "HUNG", shlex.join(words), ""
            if ran.returncode != 0:
                name = tests.failed(ran.returncode, ran.stdout)
                return ("caught" if name else "BROKEN"), name or shlex.join(words), ran.stdout[-4000:]
        return "SURVIVED", "", ""

    def green_without_mutant(self, mutants):
        """The tests that fail by themselves: one run for all that can run together, else each."""
        groups = {}
        for tests in [tests for mutant in mutants for tests in mutant.tests]:
            groups.setdefault(tests.key(), []).append(tests)
        self.build({name for group in groups.values() for name in group[0].targets()}).check_returncode()
        red = []
        for group in groups.values():
            if self.test([group[0].with_all(group)])[0] == "SURVIVED":
                continue
            for tests in group:
                verdict, what, text = self.test([tests])
                if verdict != "SURVIVED":
                    print(f"red without any mutant: {what}\n{text}")
                    red.append(tests)
        return red


def check(mutants):
    """Lines move and change: then their entries have to follow."""
    lost = 0
    for mutant in mutants:
        try:
            mutant.apply(TOP)
        except ValueError as error:
            lost += 1
            print(f"tests/mutants/mutants.txt: {mutant}: {error}")
    return lost > 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", default="", help="regular expression over entries")
    parser.add_argument("--check", action="store_true", help="only whether each entry has its place")
    parser.add_argument("--verbose", action="store_true", help="show what the tests said")
    options = parser.parse_args()
    started = time.monotonic()
    mutants = [mutant for mutant in read_list(TOP / "tests/mutants/mutants.txt")
               if re.search(options.only, str(mutant))]
    if options.check:
        return check(mutants)
    slots = [Slot(number, []) for number in range(min(options.jobs, len(mutants)))]
    free = list(slots)
    red = slots[0].green_without_mutant(mutants) if slots else []
    print(f"the tests are {'red' if red else 'green'} without mutants "
          f"({time.monotonic() - started:.0f} s)", flush=True)

    def run(mutant):
        begun = time.monotonic()
        slot = free.pop()
        try:
            if any(tests in red for tests in mutant.tests):
                return mutant, ("RED BEFORE", "", ""), 0.0
            return mutant, slot.judge(mutant), time.monotonic() - begun
        finally:
            free.append(slot)

    failed = 0
    with concurrent.futures.ThreadPoolExecutor(len(slots) or 1) as pool:
        for mutant, (verdict, what, text), seconds in pool.map(run, mutants):
            print(f"{verdict:10} {seconds:5.1f} s  {mutant}  {what}", flush=True)
            failed += verdict != "caught"
            if options.verbose or verdict not in ("caught", "SURVIVED"):
                print(text)
    print(f"{len(mutants) - failed} mutants caught, {failed} not, in {time.monotonic() - started:.0f} s")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
