"""test_sync_mutants.py - each sync removed in turn: the power-cut harness must notice.

Touches  as test_powercut.py.
Never    passes because a sync was not reached: each must have been skipped at least once.

The preloaded library answers a sync with success and does nothing, as if the line were not in the
source; and in the record it does not exist. README.md says which source mutants cover the same.
"""
import random

import pytest

from crash import control, test_identity, trace
from crash.test_powercut import Recording, explain, run_cuts

SYNCS = {
    "the blob's file": "root/blobs/??/*",
    "the folder of the blob's file, or of a removed one": "root/blobs/??",
    "the folder of folders": "root/blobs",
    "the root": "root",
    "the root's parent": ".",
    "the write-ahead log": "root/meta.db-wal",
    "the database, at a checkpoint": "root/meta.db",
}
CUTS, RECORDINGS = 60, 8  # at most, until it is noticed


@pytest.mark.parametrize("what", SYNCS)
def test_a_removed_sync_is_noticed(scratch, seed, say, what):
    rules = [(control.ANY_SYNC, control.SKIP, SYNCS[what], 1, 0)]
    die, skipped = random.Random(seed), 0
    for number in range(RECORDINGS):
        recording = Recording(scratch / f"mutant{number}", seed + number, steps=60, rules=rules)
        skipped += recording.hits
        cuts = recording.acknowledgements()
        cuts = sorted(die.sample(cuts, min(len(cuts), CUTS)))
        found, images = run_cuts(recording, scratch / f"mutant{number}", cuts, die, lambda _: trace.Lost())
        recording.rig.close()
        if found:
            break
    assert skipped > 0, f"{what}: there is no such sync"
    assert found, f"{skipped} syncs of {what} were skipped and nothing was lost"
    say(f"without the sync of {what}: {explain(found, images).splitlines()[1][:150]}")


@pytest.mark.parametrize("pattern", ["root/keys/*", "root/keys"])
@pytest.mark.spec("TOK-49")
def test_a_removed_sync_of_keys_is_noticed(scratch, seed, say, pattern):
    rules = [(control.ANY_SYNC, control.SKIP, pattern, 1, 0)]
    die = random.Random(seed)
    for number in range(RECORDINGS):
        recording = test_identity.Recording(scratch / f"mutant{number}", seed + number, steps=20, rules=rules)
        assert recording.hits > 0, f"{pattern}: there is no such sync"
        found, images = run_cuts(recording, scratch / f"mutant{number}", recording.cuts(die, 20), die,
                                 lambda _: trace.Lost(), test_identity.Identities)
        recording.rig.close()
        if found:
            break
    assert found, f"syncs of {pattern} were skipped and nothing was lost"
    say(f"without the sync of {pattern}: {explain(found, images).splitlines()[1][:150]}")
