"""test_rebase.py - a rebase of many repositories that is killed moved all of its tags or none, and so did its undo.

Touches  a server under the preloaded library, a scratch folder.
Never    clients beside it: tests/s2i/test_rebase_all.py has them. Spec: s2i 15.1; rebases (1), (2)
"""
import os

from crash import checks, control, rig
from support import wire
from support.grounds import Ground

EFFECTS = control.WRITE | control.ANY_SYNC | control.CREATE | control.UNLINK
STEP = 1 if os.environ.get("SLIPWAY_LONG") else 73
TAGS = [f"team/app{number % 4}:v{number}" for number in range(8)]


class Stage:
    def __init__(self, scratch):
        self.control = control.Control(scratch / "control")
        self.control.boot(rig.BOOTS.format(1))
        self.server = rig.Server(scratch, self.control, {"gc.undo": "1h"})
        self.server.start()
        self.ground = Ground(self.server)
        self.ground.renew({"etc/base": "1\n"})
        for number, tag in enumerate(TAGS):
            self.ground.image(*tag.split(":"), files={"app": f"{number % 5}\n"})
        self.before = self.ground.stand(*TAGS)
        self.ground.renew({"etc/base": "2\n"})

    def kill_at(self, first, action, question):
        """Whether it died at that effect of what is asked; then it is there again."""
        self.control.rule(0, EFFECTS, action, "root/*", first)
        try:
            question()
        except (OSError, wire.Broken):
            assert self.server.wait_dead(60), self.server.tail()
        self.control.disarm()
        killed = self.server.dies_of(self.control)  # what goes on behind the answer may have come to it as well
        if killed:
            wrong, leaks = checks.Offline().check(self.server.root, self.server.folder / "copy")
            assert not wrong and not leaks, (wrong, leaks)
            self.server.start()
            self.ground.call.close()
        return killed

    def rebases(self):
        return [item["id"] for item in self.ground.call.items("/rebases")]


def test_all_or_nothing(scratch):
    """Killed at one effect after the other, until it comes to its end; then the same of the way back."""
    stage = Stage(scratch)
    kills = moved = 0
    for first in range(1, 2000, STEP):
        action = (control.KILL_BEFORE, control.KILL_MID, control.KILL_AFTER)[first % 3]
        if not stage.kill_at(first, action, stage.ground.rebase):
            break
        kills += 1
        now = stage.ground.stand(*TAGS)
        known = stage.rebases()
        if now == stage.before:
            assert known == [], "a row of what did not move"
            continue
        moved += 1
        assert not set(now.items()) & set(stage.before.items()), "some moved and some did not"
        assert len(known) == 1 and stage.ground.undo(known[0])
        break
    else:
        raise AssertionError("it did not come to an end")
    print(f"{kills} kills, {moved} after it moved")
    assert kills > 3
    if not stage.rebases() or stage.ground.stand(*TAGS) == stage.before:
        stage.ground.renew({"etc/base": "3\n"})
        stage.ground.rebase()
    after, newest = stage.ground.stand(*TAGS), stage.rebases()[0]
    for first in range(1, 200, 1 if STEP == 1 else 4):
        if not stage.kill_at(first, control.KILL_MID, lambda: stage.ground.undo(newest)):
            break
        now = stage.ground.stand(*TAGS)
        assert now in (after, stage.before), "some went back and some did not"
        if now == stage.before:
            break
    assert stage.ground.stand(*TAGS) == stage.before
    stage.ground.call.close()
    stage.server.stop()
    stage.server.check_log()
    stage.control.close()
