#!/usr/bin/python3
"""bench.py - runs the rows of the table, prints it and writes it as JSON.

Touches  a temporary folder and loopback, through rows.py; the JSON file.
Never    hides a miss: a row that failed stands in the table with its reason.

Exit status: 0 when all rows ran, whether targets were met or not; 1 when one could not run.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time

import build
import collect
import identity
import rows
from servers import Registry, Slipway

ROWS = {**rows.ROWS, **identity.ROWS, **collect.ROWS, **build.ROWS}


def parse():
    parser = argparse.ArgumentParser(description="Slipway beside docker-registry and nginx.")
    parser.add_argument("--slipway", default=Slipway.binary, help="the program to measure")
    parser.add_argument("--load", default="build/release/tests/bench/load", help="the load program")
    parser.add_argument("--rows", default="", help="comma-separated: " + ",".join(ROWS))
    parser.add_argument("--repetitions", type=int, default=0, help="default 5; quick: 2")
    parser.add_argument("--quick", action="store_true", help="smaller and shorter, for a glance")
    parser.add_argument("--live", type=int, default=0, help="blobs that live, of collect; 100,000; quick: 20,000")
    parser.add_argument("--dead", type=int, default=0, help="blobs that are dead beside them; 10,000")
    parser.add_argument("--root", default="/tmp", help="folder of the stores, e.g. on a tmpfs")
    parser.add_argument("--json", default="build/bench.json", help="where the figures go")
    options = parser.parse_args()
    options.names = [name for name in options.rows.split(",") if name] or list(ROWS)
    for name in options.names:
        if name not in ROWS:
            parser.error(f"no row '{name}'; there are {', '.join(ROWS)}")
    if not os.access(options.slipway, os.X_OK):
        parser.error(f"no program at {options.slipway}; build it first")
    Slipway.binary = options.slipway
    return options


def figure(values):
    """Median and spread, in three digits."""
    if not values:
        return "-"
    median = statistics.median(values)
    spread = (max(values) - min(values)) / 2 / median * 100 if median else 0
    text = f"{median:,.0f}" if median >= 1000 else f"{median:.3g}"
    return f"{text} ±{spread:.0f}%"


def print_line(line):
    """One line of the table; it is printed as soon as its row is done."""
    owed = line.target is not None
    target = f"{line.sense} {line.target:g}{'x' if line.theirs else ''}" if owed else "-"
    judged = ("pass" if line.passed() else "MISS") if owed else ""
    print(
        f"{line.work:<40} {line.against:<16} {line.unit:<10} {figure(line.ours):>15} "
        f"{figure(line.theirs):>15} {line.value():>9.3g} {target:>9} "
        f"{judged}",
        flush=True,
    )


def print_head():
    titles = ("work", "against", "unit", "slipway", "peer", "ratio", "target", "")
    print("{:<40} {:<16} {:<10} {:>15} {:>15} {:>9} {:>9} {}".format(*titles))


def as_json(line):
    return {
        "work": line.work, "against": line.against, "unit": line.unit, "slipway": line.ours,
        "peer": line.theirs, "ratio": line.value(), "sense": line.sense, "target": line.target,
        "passed": line.passed(), "mode": line.mode, "note": line.note,
    }  # fmt: skip


def run_rows(bench, names):
    """Runs each row; returns its lines by name, and the reasons of those that could not run."""
    done, failed = {}, {}
    for name in names:
        try:
            done[name] = ROWS[name](bench)
        except (RuntimeError, OSError) as problem:
            failed[name] = str(problem)
            print(f"{name}: could not run: {problem}", flush=True)
        for line in done.get(name, []):
            print_line(line)
    return done, failed


def print_notes(bench, done):
    lines = [line for group in done.values() for line in group]
    owed = [line for line in lines if line.target is not None]
    missed = sum(not line.passed() for line in owed)
    for line in lines:
        if line.note:
            print(f"  {line.work}, {line.against}: {line.note}")
    print(f"durability: slipway {Slipway.durability}; registry {Registry.durability}")
    print(
        f"{len(owed) - missed} pass, {missed} miss; {bench.repetitions} repetitions, medians, "
        f"half the range in per cent; {os.cpu_count()} cores"
        + ("; quick: figures are rough" if bench.quick else "")
    )


def main():
    options = parse()
    bench = rows.Bench(options)
    started = time.time()
    print_head()
    done, failed = run_rows(bench, options.names)
    print_notes(bench, done)
    os.makedirs(os.path.dirname(os.path.abspath(options.json)), exist_ok=True)
    with open(options.json, "w") as file:
        json.dump(
            {
                "started": int(started), "seconds": round(time.time() - started), "quick": bench.quick,
                "repetitions": bench.repetitions, "cores": os.cpu_count(),
                "kernel": platform.release(),
                "durability": {kind.name: kind.durability for kind in (Slipway, Registry)},
                "rows": {name: [as_json(line) for line in group] for name, group in done.items()},
                "failed": failed,
            },
            file, indent=1,
        )  # fmt: skip
        file.write("\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
