"""freezing.py - pushes that stop at a named step, so that a test may kill the server there.

Touches  the hooks of a server under test, which its next start makes anew.
Never    another server.
"""
import os

from support import process

# Runs before or after the hook of ours, in whose place it stands; a state is of reference-transaction only.
WRAPPER = """#!/bin/sh
stop() {{ [ "$1$2" = "{when}{state}" ] || return 0; : > {mark}; while [ -e {mark} ]; do sleep 0.02; done; }}
stop before "$1"
{real} "$@"
status=$?
stop after "$1"
exit $status
"""


class Frozen:
    """hook: its name; when: before or after it; state: of a transaction, "" for other hooks.

    Such a push goes no further, until go() or whoever waits for it is killed."""

    def __init__(self, server, repository, hook, when, state=""):
        hooks = server.root / "builds/hooks"
        self.mark = server.root / "builds/repos" / f"{repository}.git" / "step-is-reached"
        real = hooks / "real"
        real.mkdir(exist_ok=True)
        self.link = real / hook
        self.path = hooks / hook
        ours = self.path.is_symlink()
        if ours and not self.link.exists():
            self.link.symlink_to(self.path.readlink())
        self.path.unlink(missing_ok=True)
        self.path.write_text(WRAPPER.format(when=when, state=state, mark=self.mark, real=self.link if ours else ":"))
        self.path.chmod(0o755)
        self.ours = ours

    def reached(self):
        process.wait_for(self.mark.exists, 30, "the step")

    def go(self):
        """The push goes on, and the next ones are not stopped."""
        self.path.unlink()
        if self.ours:
            self.path.symlink_to(self.link.readlink())
        self.mark.unlink(missing_ok=True)


def tidy(server, repository):
    """What no killed push may leave: folders of objects on their way, locks; scratch folders of builds."""
    left = list((server.root / "builds/scratch").glob("*"))
    for at, folders, files in os.walk(server.root / "builds/repos" / f"{repository}.git"):  # what goes meanwhile is no matter
        left += [f"{at}/{name}" for name in folders + files
                 if name.startswith(("tmp_objdir", "incoming", "tmp_pack")) or name.endswith(".lock")]
    return left
