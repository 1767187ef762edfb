"""test_identity_start.py - `slipway init`, the first key and a schema that grows, cut off anywhere.

Touches  one process at a time, a scratch folder.
Never    leaves a root behind with which the next start cannot go on.

Killed or without power at any effect: init, asked again, works or finds the administrator it made;
a password that was shown opens the door; what a key signed verifies; a migration is done or not.
TOK-49, CONC-02; keys (3).
"""
import fcntl
import os
import pathlib
import random
import re
import shutil
import sqlite3
import subprocess
import time

import pytest

from crash import checks, control, identity, rig, trace
from support import process, tokens, wire

CONFLICT = 5
ANY = control.CREATE | control.WRITE | control.ANY_SYNC | control.TRUNCATE | control.ALLOCATE | \
    control.UNLINK | control.MKDIR | control.RENAME
KILLS = 5 if process.sanitized() else 12
IMAGES = 6 if process.sanitized() else 16
HALF_WRITTEN = ".20260101T000000Z-x.pem.new"


def init_again(server):
    """What somebody does after a crash: works, or tells that it is done."""
    done = identity.init(server)
    assert done.returncode in (0, CONFLICT), done.stderr
    return done.returncode == CONFLICT


def sign_in(server, password=identity.ROOT[1]):
    """A token, by password."""
    return tokens.fetch(server.client(), (), identity.ROOT[0], password)


def verifies(server, token):
    return server.client().get("/v2/", headers=[tokens.bearer(token)]).status == 200


def check_keys(server):
    names = os.listdir(server.root / "keys")
    assert names and not [name for name in names if not re.fullmatch(r"\d{8}T\d{6}Z-.{43}\.pem", name)]


def steps(die, last, count):
    """Some of 1 to last, and both ends."""
    return sorted({1, 2, last, *die.sample(range(1, last + 1), min(last, count))})


def image(disk_of, cut, fate, target):
    """The disk after a cut of the record, below target."""
    disk = trace.Disk()
    for record in disk_of:
        if record.sequence <= cut:
            disk.feed(record)
    shutil.rmtree(target, ignore_errors=True)
    disk.build(target, fate)


def count(one):
    """From now on hits() tells how many effects there were."""
    one.control.rule(0, ANY, control.FAIL, first=10**6)


# --- init ---

def effects_of_init(folder):
    one = rig.Rig(folder, identity.SETTINGS, workers=0)
    count(one)
    assert identity.init(one.server).returncode == 0
    last = one.control.hits()
    one.control.close()
    return last


@pytest.mark.parametrize("action", [control.KILL_AFTER, control.KILL_MID], ids=["after", "inside"])
@pytest.mark.spec("TOK-49")
def test_init_killed_at_any_effect(scratch, seed, say, action):
    die, killed = random.Random(seed), 0
    for number in steps(die, effects_of_init(scratch / "count"), KILLS):
        one = rig.Rig(scratch / f"kill{number}", identity.SETTINGS, workers=0)
        one.control.rule(0, ANY, action, first=number)
        killed += identity.init(one.server).returncode != 0
        one.control.disarm()
        init_again(one.server)
        (one.server.root / "keys" / HALF_WRITTEN).write_bytes(b"-----BEGIN")
        one.start()
        token = sign_in(one.server)
        check_keys(one.server)
        one.server.kill()
        one.start()
        assert verifies(one.server, token)
        one.kill()
        one.close()
    say(f"init killed {killed} times")
    assert killed > KILLS // 2


@pytest.mark.spec("TOK-49")
def test_init_without_power_at_any_effect(scratch, seed, say):
    die, done = random.Random(seed), 0
    one = rig.Rig(scratch / "one", identity.SETTINGS, trace=True, workers=0)
    assert identity.init(one.server).returncode == 0
    acked = one.control.sequence
    records = trace.read(one.trace)
    after = rig.Server(scratch / "after", one.control, identity.SETTINGS)
    for cut in steps(die, acked, IMAGES) + [acked] * 3:
        image(records, cut, trace.fates(die) if cut < acked else trace.Lost(), after.watched)
        was_there = init_again(after)
        assert was_there or cut < acked, "an administrator that was acknowledged is gone"
        after.start()
        assert verifies(after, sign_in(after))
        check_keys(after)
        after.kill()
        done += 1
    one.control.close()
    say(f"{done} power cuts of init")


def test_a_password_is_shown_when_it_is_durable(scratch):
    """init stands still while it shows the password, for nobody reads; then the power goes."""
    one = rig.Rig(scratch / "one", identity.SETTINGS, trace=True, workers=0)
    reader, writer = os.pipe()
    size = fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    os.write(writer, b" " * size)
    words = identity.init_words(one.server, "--generate-password")
    with subprocess.Popen(words, stdout=writer, stderr=subprocess.PIPE, text=True,
                          env=process.clean_environment()) as child:
        os.close(writer)
        for line in child.stderr:
            if "shown only now" in line:
                break
        time.sleep(0.05)
        cut = one.control.sequence
        with os.fdopen(reader) as told:
            password = told.read().strip()
        child.stderr.read()
    assert child.returncode == 0 and len(password) > 15
    after = rig.Server(scratch / "after", one.control, identity.SETTINGS)
    image(trace.read(one.trace), cut, trace.Lost(), after.watched)
    after.start()
    assert verifies(after, sign_in(after, password))
    after.kill()
    one.control.close()


# --- keys ---

UNSYNCED = {"the root": (control.MKDIR, "root"), "a key": (control.RENAME, "root/keys/*")}


@pytest.mark.parametrize("what", UNSYNCED)
@pytest.mark.spec("TOK-49", "CONC-02")
def test_names_left_unsynced_by_a_killed_start_are_synced_by_the_next(scratch, what):
    """The page cache outlives the process: the next one sees a name that is on no disk yet."""
    one = rig.Rig(scratch / "one", identity.SETTINGS, trace=True, workers=0)
    calls, pattern = UNSYNCED[what]
    one.control.rule(0, calls, control.KILL_AFTER, pattern)
    assert identity.init(one.server).returncode != 0 and one.control.hits() == 1
    one.control.disarm()
    assert not init_again(one.server)
    one.start()
    token = sign_in(one.server)
    cut = one.control.sequence
    one.kill()
    after = rig.Server(scratch / "after", one.control, identity.SETTINGS)
    image(trace.read(one.trace), cut, trace.Lost(), after.watched)
    one.boot(2)
    after.start()
    assert verifies(after, token) and verifies(after, sign_in(after))
    after.kill()
    one.control.close()


@pytest.mark.spec("TOK-49")
def test_a_folder_of_keys_left_unsynced_is_synced_by_the_next(scratch):
    """In a root that served without keys, so that no commit of the database syncs its names."""
    one = rig.Rig(scratch / "one", {**identity.SETTINGS, "auth.mode": "none"}, trace=True, workers=0)
    one.start()
    assert one.server.stop() == 0
    one.server.settings["auth.mode"] = "token"
    one.control.rule(0, control.MKDIR, control.KILL_AFTER, "root/keys")
    one.server.spawn()
    assert one.server.wait_dead(60), "the rule did not kill the server"
    one.kill()
    one.control.disarm()
    one.start()
    key = tokens.jwt.get_unverified_header(tokens.fetch(one.server.client()))["kid"]
    cut = one.control.sequence
    one.kill()
    after = rig.Server(scratch / "after", one.control, identity.SETTINGS)
    image(trace.read(one.trace), cut, trace.Lost(), after.watched)
    after.start()
    published = after.client().get("/.well-known/jwks.json").json()["keys"]
    assert key in [one["kid"] for one in published]
    after.kill()
    one.control.close()


# --- a schema that grows ---

SCHEMA = pathlib.Path(control.TOP, "storage/schema")
WORDS = {"@BYTEWISE": "", "@ID": "INTEGER PRIMARY KEY AUTOINCREMENT", "@BYTES": "BLOB",
         "@TIGHT": "WITHOUT ROWID, STRICT", "@STRICT": "STRICT", "BIGINT": "INTEGER"}


def old_database(path):
    """As the first schema left it: a repository in the catalogue, an upload of nobody."""
    text = (SCHEMA / "0001.sql").read_text()
    for ours, theirs in WORDS.items():
        text = text.replace(ours, theirs)
    database = sqlite3.connect(path)
    database.executescript("PRAGMA journal_mode = WAL; BEGIN;" + text + """
        CREATE TABLE schema_version(version INTEGER NOT NULL PRIMARY KEY, applied_at INTEGER NOT NULL);
        INSERT INTO schema_version VALUES (1, 1);
        INSERT INTO repositories(name, created_at, first_manifest_at) VALUES ('team/old', 1, 1);
        COMMIT;""")
    database.close()


class Old:
    """A root of the version before."""

    def __init__(self, folder, traced=False):
        self.rig = rig.Rig(folder, trace=traced, workers=0)
        root = self.rig.server.root
        root.mkdir(mode=0o700)
        (root / "blobs").mkdir(mode=0o700)
        old_database(root / "meta.db")

    def wait_started(self):
        """Until it listens or is dead."""
        server = self.rig.server
        process.wait_for(lambda: not server.running() or process.LISTENING.search(server.tail()), 60, "a start or an end")

    def check(self, server):
        """It starts, and what was there before is there."""
        server.start()
        assert server.client().get("/v2/_catalog").json() == {"repositories": ["team/old"]}
        server.kill()
        look_at_schema(server.root, {4})


def look_at_schema(root, versions):
    """One step is whole: with its row, its tables and its columns, or without all of them."""
    copy = checks.copied(root, pathlib.Path(root).parent.parent / "copy")
    database = sqlite3.connect(copy)
    newest = database.execute("SELECT max(version) FROM schema_version").fetchone()[0]
    tables = {row[0] for row in database.execute("SELECT name FROM sqlite_schema")}
    columns = {row[1] for row in database.execute("PRAGMA table_info(uploads)")}
    assert database.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    database.close()
    assert newest in versions
    assert [name in tables for name in ("accounts", "audit", "grants")] == [newest > 1] * 3
    assert ("owner" in columns) == (newest > 1)
    assert [name in tables for name in ("builds", "build_turns")] == [newest > 3] * 2


@pytest.mark.spec("CONC-02")
def test_a_migration_killed_at_any_effect(scratch, seed, say):
    die, killed = random.Random(seed), 0
    one = Old(scratch / "count")
    count(one.rig)
    one.rig.start()
    last = one.rig.control.hits()
    one.rig.kill()
    for number in steps(die, last, KILLS):
        one = Old(scratch / f"kill{number}")
        one.rig.control.rule(0, ANY, die.choice((control.KILL_AFTER, control.KILL_MID)), first=number)
        one.rig.server.spawn()
        one.wait_started()
        one.rig.control.disarm()
        if one.rig.server.dies_of(one.rig.control):
            killed += 1
            look_at_schema(one.rig.server.root, {1, 4})
        one.rig.kill()
        one.check(one.rig.server)
        one.rig.close()
    say(f"{killed} migrations killed")
    assert killed > KILLS // 2


@pytest.mark.spec("CONC-02")
def test_a_migration_without_power_at_any_effect(scratch, seed, say):
    die = random.Random(seed)
    one = Old(scratch / "one", traced=True)
    before = scratch / "before"
    shutil.copytree(one.rig.server.watched, before)
    one.check(one.rig.server)
    records, last = trace.read(one.rig.trace), one.rig.control.sequence
    after = rig.Server(scratch / "after", one.rig.control)
    cuts = steps(die, last, IMAGES)
    for cut in cuts:
        disk = trace.Disk(before)
        for record in records:
            if record.sequence <= cut:
                disk.feed(record)
        shutil.rmtree(after.watched)
        disk.build(after.watched, trace.fates(die))
        one.check(after)
    one.rig.control.close()
    say(f"{len(cuts)} power cuts of a migration")


# --- sessions ---

@pytest.mark.spec("TOK-55")
def test_an_upload_knows_its_owner_after_a_crash(scratch):
    """Opened by an account whose token ends; the server is killed; he goes on, another does not."""
    one = identity.made(scratch / "one", workers=0)
    one.start()
    here = [identity.basic(*identity.ROOT)]
    grants = b'"grants":[{"pattern":"team/*","level":"write"}]}'
    secrets = {}
    for name in (b"ci", b"other"):
        made = one.server.client().post("/api/v1/robots", b'{"name":"%s",%s' % (name, grants), headers=[
            *here, ("Content-Type", "application/json")])
        assert made.status == 201, made
        secrets[name.decode()] = made.json()["token"]["secret"]
    fresh = {name: tokens.fetch(one.server.client(), ["repository:team/app:pull,push"], name, secret)
             for name, secret in secrets.items()}
    where = one.server.client().post("/v2/team/app/blobs/uploads/", b"", headers=[
        tokens.bearer(fresh["ci"])])["Location"]
    one.kill()
    database = sqlite3.connect(one.server.root / "meta.db")
    database.execute("UPDATE uploads SET started_at = started_at - 7200 * 1000000")
    database.commit()
    database.close()
    one.start()
    forge, end = tokens.Forge(one.server), int(time.time()) - 3600
    old = {name: forge.like(token, exp=end, iat=end - 900, nbf=end - 900) for name, token in fresh.items()}
    client = wire.Client(one.server.target, 20)
    assert client.patch(where, b"data", headers=[tokens.bearer(old["other"])]).status == 401
    assert client.patch(where, b"data", headers=[tokens.bearer(old["ci"])]).status == 202
    one.kill()
    one.close()
