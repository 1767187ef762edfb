"""people.py - a server that asks who is there, with the accounts its tests need.

Touches  a server's root: the first administrator by `slipway init`, others as rows of its database,
         before the server starts.
Never    changes accounts of a running server: that is the management API's (api.py).
"""
import binascii
import contextlib
import hashlib
import itertools
import secrets
import sqlite3
import string
import subprocess
import time
import warnings

from support import process, tokens

USER, ROBOT = 1, 2
ADMIN, OPERATOR, AUDITOR = 1, 2, 3  # roles; 0 is a plain user
PULL, PUSH, DELETE, MANAGE = 1, 2, 4, 8
READ, WRITE, MAINTAIN = PULL, PULL | PUSH, PULL | PUSH | DELETE
PERSONAL = 1
BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
ROOT = ("root", "correct horse: battery staple")  # the administrator; passwords hold colons (TOK-60)

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import crypt


def password_of(name):
    return f"pass:{name} word"


def now_us():
    return time.time_ns() // 1000


def hash_password(password):
    """yescrypt at its cheapest: what is tested is not its cost."""
    return crypt.crypt(password, "$y$j75$" + "".join(secrets.choice(BASE62) for _ in range(16)) + "$")


def secret_text(kind="pat"):
    """As the server makes them: the checksum tells a token from a password."""
    text = f"slipway_{kind}_" + "".join(secrets.choice(BASE62) for _ in range(40))
    rest, digits = binascii.crc32(text.encode()), ""
    for _ in range(6):
        rest, digit = divmod(rest, 62)
        digits = BASE62[digit] + digits
    return text + digits


class People:
    """Accounts of a server that does not run yet."""

    def __init__(self, server):
        self.path = server.root / "meta.db"
        self.ids = {}

    @contextlib.contextmanager
    def rows(self):
        connection = sqlite3.connect(self.path, timeout=60)
        connection.execute("PRAGMA foreign_keys = ON")
        try:
            with connection:
                yield connection
        finally:
            connection.close()

    def insert(self, table, **values):
        marks = ", ".join("?" * len(values))
        with self.rows() as connection:
            return connection.execute(f"INSERT INTO {table}({', '.join(values)}) VALUES ({marks})",
                                      list(values.values())).lastrowid

    def user(self, name, role=0, **more):
        self.ids[name] = self.insert("accounts", name=name, kind=USER, role=role, created_at=now_us(),
                                     password_hash=hash_password(password_of(name)), password_at=now_us(), **more)
        return name, password_of(name)

    def robot(self, name, **more):
        """The robot with a personal token: what it signs in with."""
        self.ids[name] = self.insert("accounts", name=name, kind=ROBOT, created_at=now_us(), **more)
        return name, self.token(name)

    def grant(self, name, pattern, rights):
        self.insert("grants", account_id=self.ids[name], pattern=pattern, actions=rights, created_at=now_us())

    def token(self, name, scopes="", **more):
        text = secret_text()
        more.setdefault("expires_at", now_us() + 3600 * 1000000)
        self.insert("tokens", account_id=self.ids[name], kind=PERSONAL, hint=text[:16], label="test", scopes=scopes,
                    secret_hash=hashlib.sha256(text.encode()).digest(), created_at=now_us(), **more)
        return text

    def public(self, name):
        self.insert("repositories", name=name, created_at=now_us(), public=1)


numbers = itertools.count(1)


class Registry(process.Server):
    """A server in mode token. `people` fills in accounts before it starts."""

    def __init__(self, folder, settings=None, tls=None, people=None):
        quick = {"auth.mode": "token", "auth.login_rate.account": "0/1m", "auth.login_rate.address": "0/1m"}
        super().__init__(folder, {**quick, **(settings or {})}, tls)
        self.accounts, self.fill = People(self), people

    def start(self, files=None):
        if not self.root.exists():
            self.initialise()
        return super().start(files)

    def initialise(self):
        words = [process.binary(), "init", "--admin", ROOT[0], "--password-file", "-",
                 "--set", f"storage.root={self.root}"]
        done = subprocess.run(words, input=ROOT[1] + "\n", capture_output=True, text=True, cwd=self.folder,
                              env=process.clean_environment(), check=False)
        assert done.returncode == 0, done.stderr
        if self.fill:
            self.fill(self.accounts)

    def caller(self, who=None, **more):
        """Signs in as clients do; who: a name of the plan, a pair of name and secret, or nobody."""
        name, secret = (None, "") if who is None else who if isinstance(who, tuple) else self.pair(who)
        return tokens.Caller(self, name, secret, **more)

    def pair(self, name):
        return ROOT if name == ROOT[0] else (name, password_of(name))

    def token(self, who, *scopes, **parameters):
        """An access token for the scopes."""
        name, secret = (None, "") if who is None else who if isinstance(who, tuple) else self.pair(who)
        with contextlib.closing(self.client()) as client:
            return tokens.fetch(client, scopes, name, secret, **parameters)
