"""rig.py - a server under the preloaded library, and the clients that work on it.

Touches  a scratch folder: <folder>/watched/root is the server's, beside it control file and log.
Never    a process it did not start.
"""
import signal
import subprocess

from crash import checks, control, workload
from support import process

BOOTS = "00000000-0000-4000-8000-{:012x}"
# Bytes go soon after their rows, so that removal is crashed into as well.
SETTINGS = {"gc.late": "0s", "gc.undo": "0s", "gc.interval": "100ms", "log.access": "false",
            "server.drain_timeout": "2s"}


class Server(process.Server):
    """The root's parent is watched as well: the root itself must be made durable."""

    def __init__(self, folder, control_file, settings=None, trace=None):
        super().__init__(folder, {**SETTINGS, **(settings or {})})
        self.place = process.reserved()  # while it is dead nobody else gets its port
        self.port = self.place.getsockname()[1]
        self.watched = self.folder / "watched"
        self.watched.mkdir(exist_ok=True)
        self.root = self.watched / "root"
        self.environment = control_file.environment(self.watched, trace)
        preload = [*process.runtime(), self.environment["LD_PRELOAD"]]
        self.environment["LD_PRELOAD"] = ":".join(preload)

    def arguments(self):
        given = [f"{name}={value}" for name, value in self.environment.items()]
        return ["/usr/bin/env", *given, *super().arguments()]

    def spawn(self):
        """Starts without waiting for it to listen."""
        with open(self.log, "ab") as log:
            self.child = subprocess.Popen(self.arguments(), stdin=subprocess.DEVNULL, stdout=log,
                                          stderr=log, cwd=self.folder, start_new_session=True,
                                          env=process.clean_environment())

    def dies_of(self, control, number=0):
        """Whether a rule that kills, disarmed by now, has killed it. One may have come to its effect behind an
        answer; from there to the end of the process it takes as long as it takes."""
        process.wait_for(lambda: not self.running() or not control.struck(number), 60, "the end of it")
        return not self.running()

    def wait_dead(self, seconds):
        """Until a rule has killed it; True when one did."""
        try:
            self.child.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True


class Rig:
    def __init__(self, folder, settings=None, trace=False, workers=3, seed=1,
                 client=workload.Worker):
        self.folder = folder
        self.folder.mkdir(exist_ok=True)
        self.control = control.Control(folder / "control")
        self.trace = folder / "trace" if trace else None
        self.server = Server(folder, self.control, settings, self.trace)
        self.seeds = iter(range(seed * 1000, seed * 1000 + 1000000))
        self.workers, self.count, self.client = [], workers, client
        self.offline = checks.Offline()
        self.boot(1)

    def boot(self, number):
        self.control.boot(BOOTS.format(number))

    def start(self):
        self.server.start()
        return self

    def work(self, limit=None):
        """Clients begin, or go on with what they know."""
        target = self.server.target
        if self.workers:
            self.workers = [worker.again(target, next(self.seeds)) for worker in self.workers]
        else:
            self.workers = [self.client(number, target, self.control, next(self.seeds))
                            for number in range(self.count)]
        for worker in self.workers:
            worker.limit = limit
            worker.start()

    def rest(self):
        """Clients end; returns what surprised them."""
        for worker in self.workers:
            worker.stopping.set()
        return self.join()

    def join(self):
        wrong = []
        for worker in self.workers:
            if worker.ident is not None:
                worker.join(60)
                if worker.is_alive():
                    wrong.append(f"client {worker.number} hangs")
            wrong += worker.surprises
            worker.surprises = []
        return wrong

    def kill(self):
        if self.server.running():
            self.server.kill()
        status = self.server.child.returncode
        assert status == -signal.SIGKILL, f"ended by itself with {status}: {self.server.tail()}"

    def check_disk(self):
        """After a kill: nothing may be wrong and nothing may be left over."""
        wrong, leaks = self.offline.check(self.server.root, self.folder / "copy")
        return wrong + ([f"files without a row: {leaks}"] if leaks else [])

    def counts(self):
        total = {}
        for worker in self.workers:
            for what, number in worker.counts.items():
                total[what] = total.get(what, 0) + number
        return total

    def close(self):
        self.rest()
        if self.server.running() and process.sanitized():
            self.server.stop()  # in order, so that it tells what was leaked
        elif self.server.running():
            self.server.kill()
        self.server.check_log()
        misuse = self.control.misuse
        self.control.close()
        assert misuse == 0, "bytes reached a file in a way the harness cannot see"


def told(counts):
    return ", ".join(f"{what}: {number}" for what, number in sorted(counts.items()))

