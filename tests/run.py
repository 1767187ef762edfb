"""run.py - runs every kind of test and adds them up; the last line is what people and CI read.

Touches  nothing itself: it starts the test programs of build/<mode> and one pytest a folder.
Never    hides a failure: a program that dies, or a pytest that does not report, counts as failed.
"""
import argparse
import os
import pathlib
import re
import subprocess
import sys
import time
import xml.etree.ElementTree

TOP = pathlib.Path(__file__).resolve().parents[1]


def environment(**more):
    """What sanitizers are told: a report fails the program; what is not ours to mend stands, with why, in
    leaks.txt and races.txt."""
    support = TOP / "tests/support"
    return {**os.environ, "LSAN_OPTIONS": f"suppressions={support}/leaks.txt:print_suppressions=0",
            "UBSAN_OPTIONS": "print_stacktrace=1",
            "TSAN_OPTIONS": f"suppressions={support}/races.txt:exitcode=66:second_deadlock_stack=1", **more}


class Totals:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    def add(self, passed, failed, skipped=0):
        self.passed += passed
        self.failed += failed
        self.skipped += skipped

    def __str__(self):
        skipped = f", {self.skipped} skipped" if self.skipped else ""
        return f"{self.passed} passed, {self.failed} failed{skipped}"


def tell(name, passed, failed, skipped, started):
    more = f", {skipped} skipped" if skipped else ""
    print(f"{name}: {passed} passed, {failed} failed{more} ({time.monotonic() - started:.1f} s)", flush=True)


def run_program(words, seconds=600, **more):
    """Exit status (None: it hung) and everything it said."""
    try:
        done = subprocess.run(words, cwd=TOP, env=environment(**more), timeout=seconds,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    except subprocess.TimeoutExpired as stuck:
        return None, (stuck.stdout or b"").decode(errors="replace")
    return done.returncode, done.stdout.decode(errors="replace")


def run_unit(build, totals):
    """Each tests/unit and tests/drivers program reports its cases in TAP."""
    for source in sorted([*TOP.glob("tests/unit/test_*.c"), *TOP.glob("tests/drivers/test_*.c")]):
        started = time.monotonic()
        name = source.relative_to(TOP).with_suffix("")
        status, text = run_program([build / name], CMOCKA_MESSAGE_OUTPUT="TAP")
        passed = len(re.findall(r"^ok \d+(?!.*# SKIP)", text, re.M))
        skipped = len(re.findall(r"^ok \d+.*# SKIP", text, re.M))
        failed = len(re.findall(r"^not ok ", text, re.M))
        if status != 0 and not failed:
            failed = 1  # a crash, a hang, a sanitizer's report
        if failed:
            print(f"{text}\n{name}: ended with {status}")
        tell(name, passed, failed, skipped, started)
        totals.add(passed, failed, skipped)


def run_replays(build, totals):
    """Every committed input of every fuzz target; without inputs a target proves nothing."""
    for source in sorted(TOP.glob("tests/fuzz/fuzz_*.c")):
        started = time.monotonic()
        name = source.stem.removeprefix("fuzz_")
        status, text = run_program([build / f"tests/fuzz/replay_{name}", f"tests/fuzz/corpus/{name}"])
        if status != 0:
            print(f"{text}\nfuzz {name}: ended with {status}")
        tell(f"fuzz replay {name}", int(status == 0), int(status != 0), 0, started)
        totals.add(int(status == 0), int(status != 0))


def run_pytest(folder, build, totals, words):
    """One pytest for each folder below tests/ that has a pytest.ini."""
    started = time.monotonic()
    report = build / f"pytest-{folder.name}.xml"
    report.unlink(missing_ok=True)
    status = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", *words, folder], cwd=TOP, check=False,
        env=environment(SLIPWAY_BIN=str(build / "slipway"), SLIPWAY_BUILD=str(build),
                        PYTHONDONTWRITEBYTECODE="1")).returncode
    passed = failed = skipped = 0
    if report.exists():
        for suite in xml.etree.ElementTree.parse(report).getroot().iter("testsuite"):
            failed += int(suite.get("failures")) + int(suite.get("errors"))
            skipped += int(suite.get("skipped"))
            passed += int(suite.get("tests"))
        passed -= failed + skipped
    if status != 0 and not failed:
        failed = 1
    tell(folder.relative_to(TOP), passed, failed, skipped, started)
    totals.add(passed, failed, skipped)


def run_build(build, chosen):
    totals = Totals()
    words = chosen.words
    run_unit(build, totals)
    run_replays(build, totals)
    if chosen.no_clients:
        words = [*words, "--ignore-glob=*/test_clients_*"]
        print("left out: docker, podman, skopeo and containerd", flush=True)
    if not chosen.no_pytest:
        for settings in sorted(TOP.glob("tests/*/pytest.ini")):
            run_pytest(settings.parent, build, totals, words)
    return totals


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--build", type=pathlib.Path, nargs="+", default=[TOP / "build/release"])
    options.add_argument("--no-pytest", action="store_true", help="only what needs no server")
    options.add_argument("--no-clients", action="store_true", help="no real clients")
    options.add_argument("words", nargs="*", help="further words for pytest, after --")
    chosen = options.parse_args()
    every = {}
    for build in chosen.build:
        every[build.name] = run_build(build.resolve(), chosen)
    for name, totals in every.items():
        print(f"{name}: {totals}" if len(every) > 1 else totals, flush=True)
    sys.exit(1 if any(totals.failed for totals in every.values()) else 0)


if __name__ == "__main__":
    main()
