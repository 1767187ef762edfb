"""test_auth_attacks.py - what somebody tries who wants in: guessing, lying about who he is, using one secret as another.

Touches  servers of its own.
Never    what a JWT must look like (test_token_verify), what ends a token (test_token_revoked): those stand there.

Every server here writes down what it was sent (Secrets); at its end neither its log nor its files may hold any of it.
"""
import base64
import contextlib
import datetime
import itertools
import json
import pathlib
import re
import threading
import time

import pytest

from support import api, people, plan, process, tokens, wire

PATH = f"/v2/team/app/manifests/{plan.TAG}"
JSON = ("Content-Type", "application/json")
numbers = itertools.count(1)


def secret(what="guess"):
    """A wrong password that can be found again wherever it was written."""
    return f"{what}-that-nobody-may-write-down-{next(numbers)}"


def basic(name, password):
    """From bytes, too."""
    pair = (name if isinstance(name, bytes) else name.encode()) + b":" + \
        (password if isinstance(password, bytes) else password.encode())
    return "Authorization", "Basic " + base64.b64encode(pair).decode()


@pytest.fixture(scope="module")
def target(folder):
    """Tells its log everything it ever tells."""
    server = people.Registry(folder / "attacked", {"log.level": "debug", "auth.anonymous": "pull"}, people=plan.accounts)
    server.start()
    plan.content(server, ["team/app", "public/tool"])
    server.secrets = [*server.accounts.secrets.values(), people.ROOT[1], server.pair("ana")[1], server.pair("max")[1]]
    yield server
    server.finish()
    check_silence(server, server.secrets)


def check_silence(server, secrets):
    """Spec: TOK-68, TOK-27, TOK-65: secrets are hashed where they are kept, and told to nobody."""
    text = server.log.read_text(errors="replace")
    files = {path: path.read_bytes() for path in server.root.rglob("*") if path.is_file() and path.suffix != ".pem"}
    assert "http.request" in text and files
    for value in [*secrets, "that-nobody-may-write-down"]:
        for form in {value, base64.b64encode(value.encode()).decode().rstrip("="), *value.split(".")[2:]}:
            assert form not in text, form[:12]
            assert not any(form.encode() in data for data in files.values()), form[:12]


@pytest.fixture
def client(target):
    with contextlib.closing(target.client()) as value:
        yield value


def sign_in(client, name, password, *headers):
    body = json.dumps({"username": name, "password": password}).encode()
    return client.post("/api/v1/session", body, headers=[JSON, *headers])


def ways_in(client, name, password, *headers):
    """The answers of every place that takes a name and a password."""
    return {
        "v2": client.get(PATH, headers=[basic(name, password), *headers]),
        "get": tokens.get(client, [], headers=[basic(name, password), *headers]),
        "post": tokens.post(client, {"grant_type": "password", "username": name, "password": password}, headers=headers),
        "api": client.get("/api/v1/me", headers=[basic(name, password), *headers]),
        "session": sign_in(client, name, password, *headers),
    }


# --- guessing ---

RATES = {"auth.login_rate.account": "10/1h", "auth.login_rate.address": "40/1h"}  # nothing drains while a test runs


@pytest.fixture
def proxied(make_registry):
    """Behind a proxy that tells where requests come from."""
    return make_registry({**RATES, "server.trusted_proxies": "127.0.0.1"})


def came_from(address):
    return "X-Forwarded-For", address


def guess(client, name, address, password=None):
    return tokens.get(client, [], headers=[basic(name, password or secret()), came_from(address)])


def pause_of(response):
    return int(response["Retry-After"]) if response.status == 429 else 0


def is_pause(response):
    return 1 <= pause_of(response) <= 60


def until_paused(guess_again):
    """Guesses until one is refused unseen; how many were looked at. A pause that ends meanwhile is followed by one twice
    as long, so a test that was stopped for a while finds one all the same."""
    return next(count for count in itertools.count() if guess_again(count).status == 429)


def in_a_pause(guess_again, act):
    """What act() returned, all of it within a pause: guess_again() is refused before and after, by the same pause."""
    while True:
        left = pause_of(guess_again())
        if left < 3:
            time.sleep(left / 4)
            continue
        began = time.monotonic()
        found = act()
        if time.monotonic() - began < left - 1:
            return found


@pytest.mark.spec("TOK-20")
def test_guessing_from_many_addresses(proxied):
    """The account's budget holds, though the server remembers the right password, and the proxy's connection was granted
    by it; who signed in lately is not shut out; and a pause is all there is."""
    client, (name, password) = proxied.client(), proxied.pair("ana")
    home = "198.51.100.7"
    assert guess(client, name, home, password).status == 200
    answers = [guess(client, name, f"203.0.113.{number}") for number in range(10)]
    assert [answer.status for answer in answers] == [401] * 10
    spread, began, tries = (f"192.0.2.{number}" for number in itertools.count(1)), time.monotonic(), 0
    while pause_of(answers[-1]) < 4:
        time.sleep(pause_of(answers[-1]) / 4)
        answers.append(guess(client, name, next(spread)))
        tries += answers[-1].status == 401
    assert 2 ** (tries - 1) - 1 <= time.monotonic() - began  # pauses double: one guess each
    assert "ana" not in answers[-1].body.decode()
    far = (came_from(f"198.18.0.{number}") for number in itertools.count(1))  # not even with the right password
    paused = in_a_pause(lambda: guess(client, name, next(spread)), lambda: ways_in(client, name, password, next(far)))
    for way, response in paused.items():
        assert is_pause(response), way
    for way, response in ways_in(client, name, password, came_from(home)).items():
        assert response.status in (200, 204, 404), way
    assert guess(client, "bob", "203.0.113.1", proxied.pair("bob")[1]).status == 200
    # never for good, though somebody goes on guessing into the pause
    process.wait_for(lambda: guess(client, name, "203.0.113.202", password).status == 200, 120, "the pause's end", 0.2)


@pytest.mark.spec("TOK-20")
def test_a_pause_is_the_same_for_names_that_are_none(proxied):
    client = proxied.client()
    for name in ("ana", "no-such-name", "build", "old"):
        began = time.monotonic()
        count = until_paused(lambda number: guess(client, name, f"203.0.113.{number}"))
        # the eleventh begins the pause, and each one after it waited for a longer one to end
        assert 11 <= count and 2 ** (count - 11) - 1 <= time.monotonic() - began, name


@pytest.mark.spec("TOK-20")
def test_one_address_at_many_names(proxied):
    """Whatever is guessed, and whichever way: IPv6 counts by /64."""
    client, count, began = proxied.client(), 0, time.monotonic()
    for number in range(9):
        address = came_from(f"2001:db8:0:1::{number:x}")
        answers = ways_in(client, f"name-{number}", secret(), address)
        answers["bearer"] = client.get("/api/v1/me", headers=[tokens.bearer(people.secret_text()), address])
        answers["refresh"] = tokens.post(client, {"grant_type": "refresh_token", "refresh_token": people.secret_text("ref")},
                                         headers=[address])
        statuses = {way: response.status for way, response in answers.items()}
        assert set(statuses.values()) <= {401, 429}, statuses
        count += sum(status == 401 for status in statuses.values())
    assert 40 < count <= 41 + (time.monotonic() - began)  # at most one for each pause, which is a second or more
    until_paused(lambda number: guess(client, f"somebody-{number}", f"2001:db8:0:1::ff{number}"))
    assert guess(client, "somebody", "2001:db8:0:2::1").status == 401
    assert guess(client, "ana", "203.0.113.9", proxied.pair("ana")[1]).status == 200


@pytest.mark.spec("TOK-20")
def test_tokens_are_not_shut_out_by_guessing(proxied):
    """Whoever has a token goes on while others guess the password of its account."""
    client, made = proxied.client(), proxied.accounts.secrets["ana"]
    jwt = tokens.fetch(client, ["repository:team/app:pull,push"], *proxied.pair("ana"), headers=[came_from("198.51.100.7")])
    for number in range(15):
        guess(client, "ana", f"203.0.113.{number}")
    where = came_from("198.51.100.99")
    assert client.post("/v2/team/app/blobs/uploads/", headers=[tokens.bearer(jwt), where]).status == 202
    assert client.get("/api/v1/me", headers=[tokens.bearer(made), where]).status == 200
    assert guess(client, "ana", "198.51.100.99", made).status == 200


def login_threads(server):
    """Their folders in /proc."""
    found = []
    for task in pathlib.Path(f"/proc/{server.pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # another thread, which has ended meanwhile
            if (task / "comm").read_text().strip() == "http-login":
                found.append(task)
    return found


def login_nanoseconds(server):
    """Of processor that log-in threads used: the machine's other work does not count. A thread that has answered may
    run a moment longer, and what a running one used is not all told: they are waited for."""
    def sleep():
        return all((task / "stat").read_text().rsplit(")", 1)[1].split()[0] == "S" for task in threads)
    threads = login_threads(server)
    process.wait_for(sleep, what="log-in threads at rest", pause=0.001)
    return sum(int((task / "schedstat").read_text().split()[0]) for task in threads)


@pytest.mark.spec("TOK-20", "TOK-61", "TOK-69")
def test_names_cost_the_same_whether_they_exist(target, client):
    """Work on the password, by the processor's time: of one who is there and one who is not, of a robot, of one who has
    no password, of one who may not sign in."""
    if process.sanitized():
        pytest.skip("figures of time do not hold for sanitizer builds")
    root = api.Api(target.target, people.ROOT)
    for name in ("timed", "timed-off", "timed-none"):
        more = {} if name == "timed-none" else {"password": "a long password"}
        assert root.post("/users", {"name": name, **more}).status == 201
    assert root.post("/users/timed-off:disable").status == 200
    taken = {}
    for number in range(15):
        for kind, name, password in (("wrong", "timed", None), ("unknown", f"timed-unknown-{number}", None),
                                     ("robot", "build", None), ("none", "timed-none", None), ("strange", "Not A Name", None),
                                     ("off", "timed-off", "a long password"), ("long", "timed", "x" * 500)):
            before = login_nanoseconds(target)
            response = tokens.get(client, [], headers=[basic(name, password or secret())])
            assert response.status == 401, kind
            taken.setdefault(kind, []).append(login_nanoseconds(target) - before)
    least = {kind: min(times) for kind, times in taken.items()}  # all else is the machine's
    assert max(least.values()) < 1.5 * min(least.values()), least
    bodies = {re.sub(rb'"[0-9a-f]{32}"', b"", tokens.get(client, [], headers=[basic(name, secret())]).body)
              for name in ("timed", "timed-unknown", "build", "timed-none", "timed-off")}
    assert len(bodies) == 1  # and is told the same


# --- lying about where one comes from, and who one is ---

LIES = [("X-Forwarded-For", "192.0.2.66"), ("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "evil.example"),
        ("Forwarded", 'for=192.0.2.66;host=evil.example;proto=https;by="root"'), ("X-Real-IP", "192.0.2.66"),
        ("X-Forwarded-User", "root"), ("X-Remote-User", "root"), ("Remote-User", "root"), ("X-Webauth-User", "root"),
        ("X-Forwarded-Email", "root"), ("X-Forwarded-Prefix", "/evil"), ("X-Original-URL", "/livez"),
        ("X-Rewrite-URL", "/livez"), ("X-HTTP-Method-Override", "DELETE"), ("X-Request-Id", "evil-id"),
        ("X-Forwarded-Client-Cert", "Subject=root"), ("X-SSL-Client-S-DN", "CN=root"),
        ("Proxy-Authorization", "Basic cm9vdDpyb290")]


def record_of(server, text):
    """The log's line of a request that holds this text."""
    return process.wait_for(lambda: re.search(rf".*http\.request.*{re.escape(text)}.*\n", server.log.read_text()),
                            what="the log")[0]


@pytest.mark.spec("TOK-01", "TOK-04", "HTTP-25")
def test_what_strangers_say_of_themselves_is_not_believed(make_registry):
    server = make_registry(RATES)
    client = server.client()
    honest, lied = client.get("/v2/"), client.get("/v2/", headers=LIES)
    assert lied.status == 401 and lied["WWW-Authenticate"] == honest["WWW-Authenticate"]
    assert tokens.parse_challenge(lied)["realm"] == f"http://{server.host}/token" and lied["X-Request-Id"] != "evil-id"
    for path in ("/api/v1/me", "/api/v1/users", PATH, "/v2/_catalog"):
        assert client.get(path, headers=LIES).status == 401, path
    anonymous = tokens.get(client, ["repository:team/app:pull,push"], headers=LIES).json()["token"]
    assert tokens.payload(anonymous)["sub"] == "" and tokens.access(anonymous)[("repository", "team/app")] == set()
    given = sign_in(client, *server.pair("ana"), *LIES)
    assert given.status == 204 and "Secure" not in given["Set-Cookie"] and "__Host-" not in given["Set-Cookie"]
    client.get("/v2/no/such/place", headers=LIES)
    line = record_of(server, "/v2/no/such/place")
    assert "remote=127.0.0.1" in line and "user=root" not in line
    text = server.log.read_text()
    assert "192.0.2.66" not in text and "evil" not in text
    statuses = [guess(client, f"name-{number}", f"203.0.113.{number}").status for number in range(45)]
    assert statuses[:39] == [401] * 39 and 429 in statuses  # its own address is what counts


@pytest.mark.spec("TOK-01")
def test_a_trusted_proxy_says_where_from_and_not_who(proxied):
    client = proxied.client()
    told = [lie for lie in LIES if not lie[0].startswith("X-Forwarded-Host")]
    for path in ("/api/v1/me", PATH):
        assert client.get(path, headers=told).status == 401
    response = client.get("/v2/", headers=LIES)
    assert tokens.parse_challenge(response)["realm"] == "https://evil.example/token"  # a proxy's word is taken
    secure = sign_in(client, *proxied.pair("ana"), *told)["Set-Cookie"]
    assert secure.startswith("__Host-slipway=") and "; Secure" in secure
    assert client.get("/api/v1/me", headers=[("Cookie", secure.split(";")[0])]).status == 401  # not without TLS


HOSTS = ['evil"', 'evil",scope="repository:x:pull', 'evil", Basic realm="x', "evil\\", "evil/path", "user@evil", "evil,other",
         "evil other", "evil%22", "evil;x", "evil:5000:1", "evil:x", "evil:99999", "[::1", "[evil]", "::1", "", " ", "evil?x",
         "evil#x", "ev\til", "\xe9vil", "a" * 300, "evil.example", "evil.example:5000", "[::1]:5000", "127.0.0.1"]
REALM = re.compile(r"http://(localhost|[A-Za-z0-9._-]+(:\d{1,5})?|\[[0-9a-f:.]+\](:\d{1,5})?)/token")


@pytest.mark.spec("TOK-01", "TOK-05", "TOK-03")
@pytest.mark.parametrize("host", HOSTS, ids=range(len(HOSTS)))
def test_a_host_stays_in_its_quotes(target, host):
    """At worst a client is told nonsense about the host it named; never another parameter or scheme."""
    with target.connect() as connection:
        connection.send(f"GET /v2/ HTTP/1.1\r\nHost: {host}\r\n\r\n".encode("latin-1"))
        response = connection.response()
    assert response.status in (400, 401)
    if response.status == 401:
        challenge = tokens.parse_challenge(response)
        assert set(challenge) == {"realm", "service"} and REALM.fullmatch(challenge["realm"]), challenge


@pytest.mark.spec("TOK-01", "TOK-04")
def test_a_public_url_is_the_realm_whatever_the_host(make_registry):
    server = make_registry({"server.public_url": "https://registry.example"})
    for host in ("evil.example", "127.0.0.1", server.host):
        with server.connect() as connection:
            response = connection.request("GET", "/v2/", headers=LIES, host=host)
        assert tokens.parse_challenge(response)["realm"] == "https://registry.example/token"


# --- one secret in the place of another ---

# What goes through, by hand: a password, a personal token, an access token, a refresh token, a session's cookie.
PLACES = {            # password  personal  access  refresh  cookie
    "v2 bearer":         "-         -         +       -        -",
    "v2 basic":          "+         +         -       -        -",
    "v2 cookie":         "-         -         -       -        -",
    "token basic":       "+         +         -       +        -",
    "token bearer":      "-         -         -       -        -",
    "token password":    "+         +         -       +        -",
    "token refresh":     "-         -         -       +        -",
    "api basic":         "+         +         -       -        -",
    "api bearer":        "-         +         -       -        -",
    "api cookie":        "-         -         -       -        +",
    "session":           "+         -         -       -        -",
    "setup":             "-         -         -       -        -",
}


@pytest.fixture(scope="module")
def kinds(target):
    """The five of them, all of ana's."""
    with contextlib.closing(target.client()) as client:
        given = tokens.get(client, ["repository:team/app:pull,push"], *target.pair("ana"), offline_token="true").json()
        cookie = sign_in(client, *target.pair("ana"))["Set-Cookie"].split(";")[0].partition("=")[2]
    found = (target.pair("ana")[1], target.accounts.secrets["ana"], given["token"], given["refresh_token"], cookie)
    target.secrets += found
    return found


def try_in(client, place, value):
    where, how = (place.split() + [""])[:2]
    shown = {"bearer": ("Authorization", f"Bearer {value}"), "basic": basic("ana", value),
             "cookie": ("Cookie", f"slipway={value}")}
    if where == "session":
        return sign_in(client, "ana", value)
    if where == "setup":
        body = {"token": value, "username": "thief", "password": "a long password"}
        return client.post("/api/v1/setup", json.dumps(body).encode(), headers=[JSON])
    if how == "password":
        return tokens.post(client, {"grant_type": "password", "username": "ana", "password": value})
    if how == "refresh":
        return tokens.post(client, {"grant_type": "refresh_token", "refresh_token": value})
    path = {"v2": "/v2/", "token": "/token", "api": "/api/v1/me"}[where]
    if (where, how) == ("v2", "bearer"):
        path = PATH
    return client.get(path, headers=[shown[how]])


ELSE = {("setup", 422), ("session", 422)}  # too long for what is asked there


@pytest.mark.spec("TOK-70", "TOK-27", "TOK-59")
@pytest.mark.parametrize("place", PLACES)
def test_each_secret_has_its_places(client, kinds, place):
    """On one connection, so that what was granted to one secret does not rub off on the next."""
    if place.startswith("token"):
        assert client.get("/token", headers=[basic("ana", kinds[0])]).status == 200
    for _ in range(2):
        for value, sign in zip(kinds, PLACES[place].split()):
            response = try_in(client, place, value)
            expected = response.status in (200, 204) if sign == "+" else \
                response.status == 401 or (place, response.status) in ELSE
            assert expected, f"{place}, secret {kinds.index(value)}: {response!r}"


@pytest.mark.spec("TOK-70")
def test_a_secret_belongs_to_its_name(client, target, kinds):
    """The name in Basic is not decoration; two secrets in one request are not two chances."""
    for name in ("root", "max", "no-such", "ANA", "ana ", "ana\u0301"):
        for value in kinds:
            response = client.get("/api/v1/me", headers=[basic(name, value)])
            assert response.status == 401, name
    cookie = ("Cookie", f"slipway={kinds[4]}")
    assert client.get("/api/v1/me", headers=[basic("ana", secret()), cookie]).status == 401  # the header is meant
    assert client.get("/api/v1/me", headers=[basic("max", target.pair("max")[1]), cookie]).json()["name"] == "max"
    assert client.get("/api/v1/me", headers=[cookie, ("Cookie", "slipway=" + "0" * 64)]).status == 400
    assert client.get("/api/v1/me", headers=[("Cookie", f"slipway={kinds[4]}; slipway={'0' * 64}")]).status == 401


# --- sessions of browsers ---


@pytest.mark.spec("TOK-70")
def test_a_session_is_never_one_that_the_client_brought(client, target):
    """Fixation: the cookie somebody planted stays worthless when its victim signs in."""
    planted = "slipway=" + "ab" * 32
    given = sign_in(client, *target.pair("ana"), ("Cookie", planted), ("Sec-Fetch-Site", "same-origin"))
    cookie = given["Set-Cookie"].split(";")[0]
    target.secrets.append(cookie.partition("=")[2])
    assert given.status == 204 and cookie != planted
    assert client.get("/api/v1/me", headers=[("Cookie", planted)]).status == 401
    again = sign_in(client, *target.pair("ana"), ("Cookie", cookie), ("Sec-Fetch-Site", "same-origin"))
    fresh = again["Set-Cookie"].split(";")[0]
    target.secrets.append(fresh.partition("=")[2])
    assert fresh not in (cookie, planted)
    assert client.get("/api/v1/me", headers=[("Cookie", cookie)]).status == 401  # what was known before is over
    assert client.get("/api/v1/me", headers=[("Cookie", fresh)]).status == 200


FOREIGN = [[], [("Sec-Fetch-Site", "cross-site")], [("Sec-Fetch-Site", "same-site")], [("Sec-Fetch-Site", "none")],
           [("Origin", "https://evil.example")], [("Origin", "null")], [("Origin", "")],
           [("Origin", "http://127.0.0.1")], [("Referer", "http://127.0.0.1/")],
           [("Sec-Fetch-Site", "cross-site"), ("Origin", "http://HOST")]]


@pytest.mark.spec("AUTHZ-01")
@pytest.mark.parametrize("headers", FOREIGN, ids=range(len(FOREIGN)))
def test_another_page_changes_nothing(client, target, kinds, headers):
    headers = [(name, value.replace("HOST", target.host)) for name, value in headers]
    cookie = ("Cookie", f"slipway={kinds[4]}")
    for method, path, body in (("POST", "/me/tokens", b'{"label":"x"}'), ("PATCH", "/me", b'{"description":"x"}'),
                               ("PUT", "/me/password", b"{}"), ("DELETE", "/session", None), ("DELETE", "/me/sessions/1", None),
                               ("POST", "/repos", b'{"name":"team/x"}')):
        kind = [JSON] if body else []
        response = client.request(method, "/api/v1" + path, body, [cookie, *kind, *headers])
        assert (response.status, response.json()["code"]) == (403, "csrf"), path
    assert client.get("/api/v1/me", headers=[cookie, *headers]).status == 200  # reading is harmless: no CORS header
    assert not any(name.lower().startswith("access-control") for name, _ in client.get("/api/v1/me").headers)
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/jsonx"):
        response = client.post("/api/v1/me/tokens", b'{"label":"x"}', headers=[
            cookie, ("Content-Type", kind), ("Sec-Fetch-Site", "same-origin")])
        assert (response.status, response.json()["code"]) == (403, "csrf"), kind


# --- what ends, ends everywhere ---


def in_seconds(count):
    return datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0) + datetime.timedelta(seconds=count)


def is_past(moment):
    return datetime.datetime.now(datetime.timezone.utc) >= moment


def sleep_until(moment):
    """Clocks that are read coarsely lag behind by some milliseconds."""
    time.sleep(max(0, (moment - datetime.datetime.now(datetime.timezone.utc)).total_seconds()) + 0.05)


@pytest.mark.spec("TOK-28", "TOK-65", "TOK-70")
@pytest.mark.parametrize("how", ["deleted", "made again", "disabled", "expired"])
def test_cookies_and_personal_tokens_end_with_the_account(target, how):
    """On connections that remember them, and on fresh ones."""
    root, name, password = api.Api(target.target, people.ROOT), f"ended-{next(numbers)}", secret("password")
    target.secrets.append(password)
    user = {"name": name, "password": password, "role": "admin"}
    assert root.post("/users", user).status == 201
    owner = api.Api(target.target, (name, password))
    made = owner.post("/me/tokens", {"label": "x"}).json()["secret"]
    cookie = sign_in(owner.client, name, password)["Set-Cookie"].split(";")[0]
    target.secrets += [made, cookie.partition("=")[2]]
    shown = [tokens.bearer(made), basic(name, made), basic(name, password), ("Cookie", cookie)]
    kept = [target.client() for _ in shown]
    for path in ("/api/v1/users", "/api/v1/me"):
        assert [client.get(path, headers=[header]).status for client, header in zip(kept, shown)] == [200] * 4
    if how in ("deleted", "made again"):
        assert root.delete(f"/users/{name}").status == 204
    if how == "made again":
        assert root.post("/users", {**user, "password": "another password"}).status == 201
    if how == "disabled":
        assert root.post(f"/users/{name}:disable").status == 200
    if how == "expired":
        for seconds in (2, 10, 60):
            soon = in_seconds(seconds)
            given = root.patch(f"/users/{name}", {"expires_at": soon.strftime("%Y-%m-%dT%H:%M:%SZ")})
            if given.status == 200 or not is_past(soon):
                break
        assert given.status == 200
        sleep_until(soon)
    for path in ("/api/v1/users", "/api/v1/me"):
        assert [client.get(path, headers=[header]).status for client, header in zip(kept, shown)] == [401] * 4
        assert [target.client().get(path, headers=[header]).status for header in shown] == [401] * 4


@pytest.mark.spec("TOK-65")
@pytest.mark.parametrize("how", ["expired", "disabled", "rotated"])
def test_a_personal_token_ends_where_it_is_remembered(target, how):
    """Itself, as Basic and as Bearer, and the access tokens that came of it."""
    owner = api.Api(target.target, target.pair("max"))

    def statuses():
        return [client.get(path, headers=[header]).status for client, (path, header) in zip(kept, shown)]
    for seconds in (2, 10, 60):  # time enough to show it thrice
        soon = in_seconds(seconds)
        more = {"expires_at": soon.strftime("%Y-%m-%dT%H:%M:%SZ")} if how == "expired" else {}
        made = owner.post("/me/tokens", {"label": how, **more})
        if made.status != 201 and is_past(soon):
            continue
        made = made.json()
        target.secrets.append(made["secret"])
        jwt = tokens.get(owner.client, ["repository:team/app:pull"], "max", made["secret"])
        if jwt.status != 200 and is_past(soon):
            continue
        shown = [(PATH, tokens.bearer(jwt.json()["token"])), (PATH, basic("max", made["secret"])),
                 ("/api/v1/me", tokens.bearer(made["secret"]))]
        kept = [target.client() for _ in shown]
        before = statuses()
        if how != "expired" or before == [200] * 3 or not is_past(soon):
            break
    assert before == [200] * 3
    if how == "rotated":
        assert owner.post(f"/me/tokens/{made['id']}:rotate").status == 201
    elif how == "disabled":
        assert api.Api(target.target, people.ROOT).post(f"/tokens/{made['id']}:disable").status == 200
    else:
        sleep_until(soon)
    assert statuses() == [401] * 3
    assert [target.client().get(path, headers=[header]).status for path, header in shown] == [401] * 3


# --- what no client would send ---


@pytest.mark.spec("TOK-42", "TOK-71")
@pytest.mark.parametrize("size", [4 * 1024, 8 * 1024, 16 * 1024, 32 * 1024])
@pytest.mark.parametrize("path", [PATH, "/token", "/api/v1/me"])
def test_oversized_credentials(client, size, path):
    for value in ("Bearer " + "a" * size, "Bearer " + "a." * (size // 2), "Basic " + "A" * (size // 4 * 4),
                  "Basic " + base64.b64encode(b"ana:" + b"x" * (size // 4 * 3)).decode(), "Basic" + " " * size + "x",
                  "Digest " + "x" * size, "x" * size):
        response = client.get(path, headers=[("Authorization", value)])
        assert response.status in (401, 431), response.status
    for cookie in ("slipway=" + "a" * size, "; ".join(f"c{number}=x" for number in range(size // 8))):
        assert client.get("/api/v1/me", headers=[("Cookie", cookie)]).status in (401, 431)
    assert client.get("/v2/").status == 401  # it serves on


BASIC = [b"", b":", b"ana", b"\0:x", b"ana\0:x", b"ana:\0", b"ana:pass\0word", b"ana:\x01", b"\x7f:x", b"ana\n:x", b"ana:\r\nx",
         b"\xff\xfe:x", b"ana:\xff\xfe", b"\xc0\xae:x", b"\xed\xa0\x80:x", "\u202eana:x".encode(), "\uff41na:x".encode(),
         b"a" * 6000 + b":x", b"ana:" + b"x" * 6000, b"'; DROP TABLE accounts; --:x", b"%s%n:x", b"../../etc/passwd:x",
         b"<script>:x", b"local:x", b"*:x", b"ana:", b":x", b"root:", b'"},{"x":":x', b"\x1b[2J:x"]


@pytest.mark.spec("TOK-60", "TOK-58", "TOK-68")
@pytest.mark.parametrize("pair", BASIC, ids=range(len(BASIC)))
def test_names_and_passwords_that_are_none(target, client, pair):
    """Refused, and told to log and audit in a form that both can hold."""
    header = ("Authorization", "Basic " + base64.b64encode(pair).decode())
    expected = (200, 401) if pair == b":" else (401,)
    for path in ("/v2/", "/token", "/api/v1/me"):
        assert client.get(path, headers=[header]).status in expected, path
    name, _, password = pair.partition(b":")
    body = json.dumps({"username": name.decode("latin-1"), "password": password.decode("latin-1")}).encode()
    assert client.post("/api/v1/session", body, headers=[JSON]).status in (400, 401, 422)
    assert client.post("/api/v1/session", b'{"username":"' + name + b'","password":"' + password + b'"}',
                       headers=[JSON]).status in (400, 401, 422)
    form = b"grant_type=password&username=" + name.hex(" ").replace(" ", "%").encode() + b"&password=x"
    assert tokens.post(client, form).status in ((400, 401) if len(form) < 16384 else (413,))
    text = target.log.read_bytes()
    text = text[:text.rindex(b"\n") + 1]  # whole lines: it grows meanwhile
    text.decode()
    assert not re.search(rb"[\x00-\x09\x0b-\x1f\x7f]", text)


@pytest.mark.spec("TOK-71")
def test_two_authorization_headers(client, target, kinds):
    """Both right, both the same, one empty: no way to choose is right."""
    good = basic("ana", kinds[0])
    for pair in ([good, good], [good, ("authorization", "")], [("Authorization", ""), good], [good, tokens.bearer(kinds[2])],
                 [tokens.bearer(kinds[2]), good], [("Authorization", "x"), ("X-Other", "1"), good]):
        for path in ("/v2/", PATH, "/token", "/api/v1/me", "/livez"):
            assert client.get(path, headers=pair).status == 400, path


@pytest.mark.spec("TOK-11", "TOK-23", "TOK-42")
def test_a_thousand_scopes(client, target):
    """Few milliseconds and a token that is still a header, whichever way they come."""
    names = [f"repository:team/app{number}:pull,push,delete" for number in range(1000)]
    header = [basic(*target.pair("ana"))]
    fields = {"grant_type": "password", "username": "ana", "password": target.pair("ana")[1]}
    form = tokens.post(client, {**fields, "scope": " ".join(names[:300])})
    assert form.status == 200 and len(form.json()["token"]) <= 8 * 1024
    assert tokens.post(client, {**fields, "scope": " ".join(names)}).status in (200, 413)
    query = client.get("/token?scope=" + "+".join(names[:150]), headers=header)
    assert query.status == 200 and len(query.json()["token"]) <= 8 * 1024
    assert client.get("/token?scope=" + "+".join(names), headers=header).status in (200, 400, 414, 431)
    for scope in ("repository:" * 1000, ":" * 5000, "a" * 8000, " " * 8000, "repository:a:" + "pull," * 1500):
        assert tokens.post(client, {**fields, "scope": scope}).status == 200


# --- the audit ---


def refusals(root, query=""):
    return root.items(f"/audit?action=login.refused&limit=500{query}")


@pytest.mark.spec("TOK-68")
def test_refused_log_ins_are_told_and_do_not_flood(make_registry):
    """Every way in; a guesser's thousand attempts are a few rows that count."""
    server = make_registry({"log.level": "debug"})
    client, root = server.client(), api.Api(server.target, people.ROOT)
    guessed = secret("guess")
    for name in ("ana", "no-such-name", "old", 'a"b', "x" * 500):
        assert {response.status for response in ways_in(client, name, guessed).values()} == {401}
    client.get("/api/v1/me", headers=[tokens.bearer(people.secret_text())])
    tokens.post(client, {"grant_type": "refresh_token", "refresh_token": people.secret_text("ref")})

    def counted(target):
        return sum(row["repeats"] for row in refusals(root) if row["target"] == target)
    for target, count in (("user/ana", 5), ("user/no-such-name", 5), ("user/old", 5), ('user/a"b', 5),
                          ("user/" + "x" * 64, 5), ("token", 2)):
        process.wait_for(lambda: counted(target) == count, what=f"{target}: {count} refusals, not {counted(target)}")
    before = len(root.items("/audit?limit=500"))
    header = [("Authorization", "Bearer " + people.secret_text())]
    for _ in range(1000):
        assert client.get("/api/v1/me", headers=header).status == 401
    process.wait_for(lambda: counted("token") == 1002, what="a thousand refusals")
    assert len(root.items("/audit?limit=500")) - before <= 3  # one a minute, and the test may see a minute end
    for row in refusals(root):
        assert row["outcome"] == "refused" and row["remote"] == "127.0.0.1"
    assert server.stop() == 0
    check_silence(server, [guessed, header[0][1].split()[1], people.ROOT[1]])


# --- a crowd that signs in ---


class Storm:
    """Clients that do nothing but sign in, each with a password that is not in memory."""

    def __init__(self, server, count):
        self.server, self.running, self.statuses = server, True, []
        self.threads = [threading.Thread(target=self.run, daemon=True) for _ in range(count)]
        for thread in self.threads:
            thread.start()

    def run(self):
        with contextlib.suppress(OSError, wire.Broken, AssertionError):
            client = self.server.client(30)
            while self.running:
                self.statuses.append(client.exchange("GET", "/token", None, [basic("root", secret())], False, None).status)

    def end(self):
        """What it asked last is answered, however long that takes: the server's end is no part of it."""
        self.running = False
        for thread in self.threads:
            thread.join()


@pytest.mark.spec("TOK-20", "TOK-61")
def test_a_login_storm_leaves_pulls_alone(make_registry):
    """Password hashes are few at once, whatever comes; whoever has a token goes on pulling, and can still sign in."""
    server = make_registry({"server.threads.login": "2"})
    plan.content(server, ["team/app"])
    headers = [tokens.bearer(server.token("ana", "repository:team/app:pull"))]
    honest, threads = server.client(), server.threads()
    memory = server.memory()
    storm = Storm(server, 200)
    try:
        process.wait_for(lambda: len(storm.statuses) > 4, 60, "the storm")
        for number in range(300):
            assert honest.get(PATH, headers=headers).status == 200
            if number % 50 == 0:
                assert len(login_threads(server)) == 2 and server.threads() <= threads + 2
        assert process.sanitized() or server.memory() - memory < 200 * 2**20  # 200 hashes at once would take gigabytes
        assert honest.get("/livez").status == 200
        jwt = tokens.get(honest, [], headers=[tokens.basic("ana", server.accounts.secrets["ana"])])
        assert jwt.status == 200  # a personal token is not hashed, so it does not stand in that queue
    finally:
        storm.end()
    assert set(storm.statuses) <= {401, 429, 503}
