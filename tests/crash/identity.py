"""identity.py - administrators that make, change and delete accounts, tokens and grants until the
server dies.

Touches  the management API over HTTP, the token endpoint, its own history; the database by reading.
Never    two administrators on one name: each has its own accounts and repositories.

Keys of the history beside those of history.py:
    ("account", kind, name)       "on", "off" (disabled) or None
    ("secret", account, token)    True while the robot's token opens the door, or None
    ("password", account, text)   the same for a user's password
    ("grant", account, pattern)   the level or None
    ("public", repository, "")    True, False or None
    ("audit", request, "")        how many events tell of this request, or None
    ("jwt", "", token)            True: nobody takes it back
    ("kid", "", key)              True: published keys stay
A request and its event are one operation, so that one without the other is half applied. The
secrets of what was deleted, changed or disabled are asked for as long as the history lives.
"""
import base64
import collections
import hashlib
import json
import pathlib
import sqlite3
import subprocess
import urllib.parse

from crash import rig, workload
from support import process

ROOT = ("root", "correct horse battery")
SETTINGS = {"auth.mode": "token", "auth.login_rate.account": "0/1m",
            "auth.login_rate.address": "0/1m", "server.trusted_proxies": "127.0.0.1/32"}
LEVELS = {1: "read", 3: "write", 7: "maintain", 15: "admin"}
NAMES = 12  # of each kind, so that they come back
PATTERNS = ["team/*", "team/app", "*"]


def basic(name, secret):
    return "Authorization", "Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode()


def init_words(server, *words):
    """`slipway init` under the preloaded library, on the root of a server that does not run."""
    given = [f"{name}={value}" for name, value in server.environment.items()]
    return ["/usr/bin/env", *given, process.binary(), "init", "--admin", ROOT[0], *words,
            "--set", f"storage.root={server.root}"]


def init(server):
    return subprocess.run(init_words(server, "--password-file", "-"), input=ROOT[1] + "\n",
                          capture_output=True, text=True, cwd=server.folder, check=False,
                          env=process.clean_environment())


def made(folder, seed=1, workers=2, trace=False, rules=()):
    """A rig whose root has its administrator; not started. rules: armed before, from 1 on."""
    value = rig.Rig(folder, SETTINGS, trace, workers, seed, Administrator)
    for number, rule in enumerate(rules):
        value.control.rule(number + 1, *rule)
    done = init(value.server)
    assert done.returncode == 0, done.stderr
    return value


class Administrator(workload.Worker):
    def __init__(self, number, target, control, seed, before=None):
        super().__init__(number, target, control, seed, before)
        self.names = [f"a{number}"]
        self.ids = before.ids if before else {}  # token or (account, pattern) -> id in the API
        self.events = None                       # request -> how often in the audit

    # --- talking ---

    def ask(self, method, path, body=None, headers=()):
        if not any(name == "Authorization" for name, _ in headers):
            headers = [*headers, basic(*ROOT)]
        return super().ask(method, path, body, headers)

    def change(self, changes, expected, method, path, body=None, learn=None, events=1):
        """One request of the API, and what it changes with its event. learn(answer): keys that are
        known from the answer on, of the same operation."""
        request = f"{self.number}.{self.random.getrandbits(64):x}"
        issued, headers = self.control.sequence, [("X-Request-Id", request)]
        if body is not None:
            headers.append(("Content-Type", "application/json"))
            body = json.dumps(body).encode()
        answer = self.attempt({**changes, ("audit", request, ""): events}, expected, method,
                              "/api/v1/" + path, body, headers)
        if answer is not None and learn:
            self.learn(issued, learn(answer.json()))
        return answer

    def learn(self, issued, changes):
        self.history.begin(changes, issued).acked = self.control.sequence

    def look(self, keys):
        self.events = None
        super().look(keys)

    def get(self, path, **query):
        text = urllib.parse.urlencode(query)
        answer = self.read(f"/api/v1/{path}" + ("?" + text if text else ""))
        if answer.status == 404:
            return None
        assert answer.status == 200, f"GET {path}: {answer!r}"
        return answer.json()

    def pages(self, path, **query):
        page = self.get(path, limit=100, **query)
        yield from page["items"]
        while page["next"]:
            page = self.get(path, limit=100, cursor=page["next"], **query)
            yield from page["items"]

    def opens(self, name, secret):
        answer = self.ask("GET", "/v2/", headers=[basic(name, secret)])
        assert answer.status in (200, 401), f"{name} at the door: {answer!r}"
        return True if answer.status == 200 else None

    def see(self, key):
        kind, owner, what = key
        if kind == "account":
            account = self.get(f"{owner}/{what}")
            return account and ("off" if account["disabled"] else "on")
        if kind in ("secret", "password"):
            return self.opens(owner, what)
        if kind == "grant":
            return self.see_grant(owner, what)
        if kind == "public":
            repository = self.get(f"repos/{owner}")
            return repository and repository["visibility"] == "public"
        if kind == "audit":
            if self.events is None:
                self.events = collections.Counter(event["request_id"] for event in self.pages("audit"))
            return self.events[owner] or None
        if kind == "jwt":
            answer = self.ask("GET", "/v2/", headers=[("Authorization", f"Bearer {what}")])
            assert answer.status in (200, 401), f"a token at the door: {answer!r}"
            return True if answer.status == 200 else None
        return True if what in self.published() else None

    def see_grant(self, account, pattern):
        if self.see(("account", self.kind_of(account), account)) is None:
            return None
        for grant in self.pages("grants", account=account):
            if grant["pattern"] == pattern:
                self.ids[account, pattern] = grant["id"]
                return grant["level"]
        return None

    def published(self):
        answer = self.read("/.well-known/jwks.json")
        assert answer.status == 200, answer
        return {key["kid"] for key in answer.json()["keys"]}

    # --- choosing ---

    @staticmethod
    def kind_of(account):
        return "robots" if "-r" in account else "users"

    def some(self, kind, owner=None):
        """A key that is certainly there, or None."""
        keys = [key for key in list(self.history.keys) if key[0] == kind
                and owner in (None, key[1]) and self.history.sure(key) not in (None, False)]
        return self.random.choice(keys) if keys else None

    def of(self, account, *kinds):
        """Keys of what the account ever held."""
        return [key for key in self.history.keys if key[0] in kinds and key[1] == account]

    # --- accounts ---

    def absent(self, name, letter):
        """A name nobody has now; sometimes one that somebody had."""
        names = [f"{name}-{letter}{number}" for number in range(NAMES)]
        free = [one for one in names
                if self.history.possible(("account", self.kind_of(one), one)) == {None}]
        return self.random.choice(free) if free else None

    def make_user(self, name):
        account, password = self.absent(name, "u"), f"password {self.random.getrandbits(40):x}"
        if account:
            self.change({("account", "users", account): "on", ("password", account, password): True},
                        201, "POST", "users", {"name": account, "password": password})

    def make_robot(self, name):
        account = self.absent(name, "r")
        if not account:
            return
        grants = self.random.sample(PATTERNS, self.random.randrange(3))
        wanted = [{"pattern": pattern, "level": "write"} for pattern in grants]
        self.change({("account", "robots", account): "on",
                     **{("grant", account, pattern): "write" for pattern in grants}},
                    201, "POST", "robots", {"name": account, "grants": wanted},
                    lambda answer: self.secret(account, answer["token"]), events=2 + len(grants))

    def secret(self, account, token):
        self.ids[token["secret"]] = token["id"]
        return {("secret", account, token["secret"]): True}

    def new_password(self, name):
        key = self.some("password")
        if key:
            text = f"password {self.random.getrandbits(40):x}"
            self.change({key: None, ("password", key[1], text): True}, 200, "PATCH",
                        f"users/{key[1]}", {"password": text})

    def delete_account(self, name):
        key = self.some("account")
        if key:
            held = self.of(key[2], "secret", "password", "grant")
            self.change({key: None, **{one: None for one in held}}, 204, "DELETE",
                        f"{key[1]}/{key[2]}")

    def switch(self, name):
        """Off, and whatever it holds with it; and on again."""
        key = self.some("account")
        if not key:
            return
        _, kind, account = key
        if self.history.sure(key) == "on":
            held = [one for one in self.of(account, "secret", "password")
                    if self.history.sure(one)]
            self.ids[key] = held
            self.change({key: "off", **{one: None for one in held}}, 200, "POST",
                        f"{kind}/{account}:disable")
        else:
            self.change({key: "on", **{one: True for one in self.ids[key]}}, 200, "POST",
                        f"{kind}/{account}:enable")

    # --- tokens ---

    def make_token(self, name):
        key = self.some("account", "robots")
        if key and self.history.sure(key) == "on":
            self.change({}, 201, "POST", f"robots/{key[2]}/tokens", {"label": "more"},
                        lambda answer: self.secret(key[2], answer))

    def delete_token(self, name):
        key = self.some("secret")
        if key:
            self.change({key: None}, 204, "DELETE", f"tokens/{self.ids[key[2]]}")

    def rotate_token(self, name):
        key = self.some("secret")
        if key:
            self.change({key: None}, 201, "POST", f"tokens/{self.ids[key[2]]}:rotate",
                        {"overlap_s": 0}, lambda answer: self.secret(key[1], answer))

    def fetch_jwt(self, name):
        """What it signs, it verifies until it ends."""
        issued = self.control.sequence
        answer = self.ask("GET", "/token?service=slipway")
        self.count(f"GET {answer.status}")
        if answer.status == 200:
            self.learn(issued, {("jwt", "", answer.json()["token"]): True})
        else:
            assert answer.status >= 500, f"GET /token: {answer!r}"

    def rotate_keys(self, name):
        """409: one key waits already."""
        answer = self.ask("POST", "/api/v1/system/keys:rotate")
        self.count(f"POST {answer.status}")
        assert answer.status in (204, 409) or answer.status >= 500, f"keys:rotate: {answer!r}"
        issued = self.control.sequence
        for key in self.published():
            self.learn(issued, {("kid", "", key): True})

    # --- rights ---

    def put_grant(self, name):
        key = self.some("account")
        if not key:
            return
        account, pattern = key[2], self.random.choice(PATTERNS)
        grant, level = ("grant", account, pattern), self.random.choice(list(LEVELS.values()))
        answer = self.change({grant: level}, 200 if self.history.sure(grant) else 201, "POST",
                             "grants", {"account": account, "pattern": pattern, "level": level})
        if answer is not None:
            self.ids[account, pattern] = answer.json()["id"]

    def delete_grant(self, name):
        key = self.some("grant")
        if key:
            self.see(key)  # learns its id
            self.change({key: None}, 204, "DELETE", f"grants/{self.ids[key[1], key[2]]}")

    def show(self, name):
        repository = f"{name}/r{self.random.randrange(4)}"
        key = ("public", repository, "")
        wanted = self.random.random() < 0.5
        body = {"visibility": "public" if wanted else "private"}
        if self.history.possible(key) == {None}:
            self.change({key: wanted}, 201, "POST", "repos", {"name": repository, **body})
        else:
            self.change({key: wanted}, 200, "PATCH", f"repos/{repository}", body)

    STEPS = [(make_user, 0.3), (make_robot, 4), (new_password, 0.3), (delete_account, 1.5),
             (switch, 2), (make_token, 4), (delete_token, 2), (rotate_token, 2), (fetch_jwt, 1),
             (rotate_keys, 0.6), (put_grant, 4), (delete_grant, 2), (show, 2)]


# --- what the database says, without the server ---

HELD = """
    SELECT 'account', CASE kind WHEN 2 THEN 'robots' ELSE 'users' END, name,
           CASE disabled WHEN 1 THEN 'off' ELSE 'on' END FROM accounts
     UNION ALL
    SELECT 'grant', a.name, g.pattern, g.actions FROM grants g JOIN accounts a ON a.id = g.account_id
     UNION ALL
    SELECT 'public', name, '', public FROM repositories
     UNION ALL
    SELECT 'audit', request_id, '', count(*) FROM audit GROUP BY request_id
     UNION ALL
    SELECT 'secret', a.name, lower(hex(secret_hash)), 1 FROM tokens t
      JOIN accounts a ON a.id = t.account_id AND NOT a.disabled WHERE rotated_at IS NULL
"""


def held(root):
    """Keys and values as far as the database can tell them; secrets by their hash."""
    database = sqlite3.connect(pathlib.Path(root) / "meta.db")
    rows = database.execute(HELD).fetchall()
    database.close()
    words = {"grant": LEVELS.get, "public": bool, "secret": bool}
    return {tuple(row[:3]): words.get(row[0], lambda value: value)(row[3]) for row in rows}


def compare_held(history, found, cut):
    """What is wrong with the database after a cut."""
    seen, wrong = {}, []
    for key in history.keys:
        kind, owner, what = key
        if kind in ("password", "jwt", "kid") or history.keys[key][0][0].issued >= cut:
            continue
        place = (kind, owner, hashlib.sha256(what.encode()).hexdigest()) if kind == "secret" else key
        seen[key] = found.get(place)
        possible = history.possible(key, cut)
        if seen[key] not in possible:
            wrong.append(f"{key} is {seen[key]} in the database, may be {possible}")
    wrong += [f"half applied: {operation.changes}" for operation in history.doubtful(cut)
              if history.torn(operation, seen, cut)]
    return wrong


def few_passwords(keys, most=3):
    """Each costs the time of a log-in; the newest tell most."""
    dear = [key for key in keys if key[0] == "password"]
    return [key for key in keys if key[0] != "password"] + dear[-most:]
