"""test_collect.py - kills while collectors, deleters and restorers work: nothing promised is lost,
nothing is left behind.

Touches  as collecting.py.
Never    passes on a run that held few promises or collected little.

metadata-and-gc: leases, undo, rows before bytes, one owner of a locator. CONC-02, CONC-04.
"""
import pytest

from crash import collecting, rig
from support import process

KILLS = 60 if process.sanitized() else 500
COLLECTED = 2 if process.sanitized() else 10  # blobs a kill, at least


@pytest.mark.spec("CONC-02", "CONC-04")
def test_no_promised_blob_is_lost_and_nothing_leaks(scratch, seed, say, request):
    hours = request.config.getoption("--hours")
    kills = request.config.getoption("--kills") or KILLS
    outcome = collecting.sessions(scratch, seed, 10**9 if hours else kills, hours=hours)
    kills = outcome.kills
    say(f"{kills} kills, {outcome.collected} blobs collected, {outcome.roots} roots, "
        f"{outcome.runs} runs, {outcome.pauses} pauses; {outcome.violations} violations, "
        f"{outcome.leaks} leaks")
    say(f"{rig.told(outcome.tallies)}; points: {rig.told(outcome.reached)}")
    assert not outcome.wrong, "\n".join(outcome.wrong)
    assert outcome.collected >= COLLECTED * kills
    assert outcome.tallies["promises held against answers"] > 10 * kills
    missed = [point for point in collecting.POINTS if not outcome.reached[point]]
    assert not missed or kills < 20 * len(collecting.POINTS), f"never reached: {missed}"
