"""api.py - a client of the management API that holds every answer against openapi.json.

Touches  a server under test, over a socket.
Never    asserts what a test is about: only what holds for every answer of the API.
"""
import base64
import functools
import json
import pathlib
import re

import jsonschema

from support import wire

BASE = "/api/v1"
DESCRIPTION = pathlib.Path(__file__).resolve().parents[2] / "registry/api/openapi.json"


@functools.cache
def description():
    return json.loads(DESCRIPTION.read_text())


@functools.cache
def templates():
    """Patterns of paths with their items, those with an ending first; a repository's name has slashes."""
    found = []
    for template, item in description()["paths"].items():
        words = re.split(r"(\{\w+\})", template)
        pattern = "".join("(.+)" if word == "{name}" else "([^/]+)" if word.startswith("{") else re.escape(word)
                          for word in words)
        found.append((re.compile(BASE + pattern), template, item))
    return sorted(found, key=lambda entry: (entry[1].endswith("}"), -len(entry[1])))


def operation(method, path):
    """What the description says of it; None: that there is no such thing."""
    path = path.partition("?")[0]
    for pattern, _, item in templates():
        if pattern.fullmatch(path):
            return item.get("get" if method == "HEAD" else method.lower())
    return None


def resolved(value):
    while "$ref" in value:
        place = description()
        for word in value["$ref"].removeprefix("#/").split("/"):
            place = place[word]
        value = place
    return value


@functools.cache
def validator(schema):
    """schema: as JSON text."""
    whole = {**json.loads(schema), "components": description()["components"]}
    return jsonschema.Draft202012Validator(whole, format_checker=jsonschema.FormatChecker())


def check_body(content, response, where):
    kind = response["Content-Type"].split(";")[0]
    assert kind in content, where
    if "json" not in kind:
        return
    judge = validator(json.dumps(content[kind]["schema"]))
    bodies = [json.loads(line) for line in response.body.splitlines()] if kind.endswith("jsonl") else [response.json()]
    for body in bodies:
        faults = [f"{'/'.join(map(str, fault.path))}: {fault.message}" for fault in judge.iter_errors(body)]
        assert not faults, f"{where}\n{faults}"


def check_problem(response, where):
    problem = response.json()
    assert problem["status"] == response.status and problem["request_id"] == response["X-Request-Id"], where
    assert not re.search(r"SELECT|INSERT|/tmp/|/var/|\.c:\d|sqlite|slipway_pat_\w{40}", problem["detail"]), where


def check(method, path, response):
    """What holds for every answer."""
    where = f"{method} {path} -> {response!r}"
    assert response["X-Content-Type-Options"] == "nosniff" and response["X-Request-Id"], where
    assert response["Cache-Control"] == "no-store", where
    assert not any(value.lower().startswith("basic") for value in response.all("WWW-Authenticate")), where
    assert response.status != 401 or "WWW-Authenticate" in response, where
    for link in response.all("Link"):
        assert re.fullmatch(r'</api/v1/[^<>"\s]*>; rel="next"', link), where
    described = operation(method, path)
    if described is None:
        assert response.status in (404, 405), where
        return
    answers = described["responses"]
    assert str(response.status) in answers or response.status == 405 or response.status >= 500, where
    answer = resolved(answers.get(str(response.status), answers["default"]))
    if method == "HEAD" or response.status in (204, 304, 416):
        assert not response.body, where
        return
    check_body(answer["content"], response, where)
    if response.status >= 400:
        check_problem(response, where)
    for name in answer.get("headers", {}):
        assert name == "Link" or name in response, where


class Api:
    """Requests of one caller. who: (name, secret) by Basic, a token by Bearer, or None for nobody; a session's
    cookie is kept like a browser keeps it."""

    def __init__(self, target, who=None, timeout=60):
        self.client, self.who, self.cookie = wire.Client(target, timeout), who, None

    def close(self):
        self.client.close()

    def credentials(self):
        if self.cookie:
            return [("Cookie", self.cookie)]
        if isinstance(self.who, tuple):
            return [("Authorization", "Basic " + base64.b64encode(":".join(self.who).encode()).decode())]
        return [("Authorization", f"Bearer {self.who}")] if self.who else []

    def call(self, method, path, body=None, headers=(), raw=None):
        """body: an object; raw: bytes instead."""
        path = path if path.startswith("/api") else BASE + path
        headers = [*self.credentials(), *headers]
        data = raw if raw is not None else None if body is None else json.dumps(body).encode()
        names = {name.lower() for name, _ in headers}
        if data is not None and "content-type" not in names:
            headers.append(("Content-Type", "application/json"))
        if data is None and method in ("POST", "PUT", "PATCH"):
            data = b""
        response = self.client.request(method, path, data, headers)
        check(method, path, response)
        for cookie in response.all("Set-Cookie"):
            value = cookie.split(";")[0]
            self.cookie = value if not value.endswith("=") else None
        return response

    def get(self, path, *headers):
        return self.call("GET", path, headers=headers)

    def post(self, path, body=None, *headers):
        return self.call("POST", path, body, headers)

    def put(self, path, body=None, *headers):
        return self.call("PUT", path, body, headers)

    def patch(self, path, body, *headers):
        return self.call("PATCH", path, body, headers)

    def delete(self, path, *headers):
        return self.call("DELETE", path, headers=headers)

    def items(self, path):
        """All pages of a list."""
        items, seen = [], set()
        while path:
            assert path not in seen, f"{path} leads to itself"
            seen.add(path)
            response = self.get(path)
            assert response.status == 200, response
            page = response.json()
            items += page["items"]
            assert ("Link" in response) == (page["next"] is not None)
            path = re.match("<([^>]*)>", response["Link"])[1] if page["next"] else None
        return items

    def sign_in(self, name, password):
        response = self.post("/session", {"username": name, "password": password})
        assert response.status == 204, response
        return response
