"""test_proxy_hostile.py - builds with network "proxy" that try to get further than its list: other spellings of addresses,
names that lead inside, requests that look like two, floods, and roads around it.

Touches  builders of the module's own, at both levels; listeners on loopback that must hear nothing.

Acceptance 20.8 and s2i 16.9, 16.10.
"""
import contextlib
import pathlib
import shutil
import socket
import tempfile
import time

import pytest

from support import building, listener, nameserver, process, workshop
from support.workshop import ask_proxy, connect, done

GET = ask_proxy("GET / HTTP/1.1\\r\\n\\r\\n")  # which it does not serve
HOSTS = {"open.test": "127.0.0.1", "private.test": "10.1.2.3", "meta.test": "169.254.169.254", "lan.test": "192.168.1.1",
         "zero.test": "0.0.0.0", "shared.test": "100.64.0.1"}


class Ear(listener.Listener):
    """Whoever comes is noted, and answered."""

    def __init__(self):
        self.heard = []
        super().__init__(self.note)

    def note(self, one):
        self.heard.append(one)
        with one, contextlib.suppress(OSError):  # who has gone already was heard, too
            one.sendall(b"answer\n")


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    one = nameserver.NameServer(tmp_path_factory.mktemp("names"), HOSTS)
    yield one
    one.close()


@pytest.fixture(scope="module", params=["root", pytest.param("user", marks=pytest.mark.long)])
def shop(request, names):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="sw-"))
    made = workshop.unprivileged(folder) if request.param == "user" else workshop.Workshop(folder / "builder", names=names)
    made.level = request.param
    assert made.hello["level"] == request.param, made.hello
    yield made
    made.finish()
    shutil.rmtree(folder)


@pytest.fixture
def ear():
    one = Ear()
    yield one
    one.close()


def run(shop, script, allow=("*:*",), **more):
    image = workshop.Image([building.base_tar({"assemble": "#!/bin/sh\n" + script + "\nexit 0\n", "run": building.RUN}, {})])
    return done(shop.build(image, {"index.html": "x"}, options={"network": "proxy", "allow": list(allow)}, **more))


def ask_all(shop, requests, **more):
    """Each request's first line of answer; '' where the proxy said nothing. Requests are for printf."""
    lines = "".join(f"echo \"{number} $({ask_proxy(text)} | head -n 1)\"\n" for number, text in enumerate(requests))
    said = run(shop, lines, **more).out.decode().splitlines()
    answers = dict(line.rstrip("\r").split(" ", 1) for line in said)
    return [answers[str(number)].strip() for number in range(len(requests))]


PRIVATE = ["127.0.0.1:{p}", "127.1:{p}", "2130706433:{p}", "0x7f000001:{p}", "0177.0.0.1:{p}", "0:{p}", "0.0.0.0:{p}", "127.255.255.254:{p}",
           "localhost:{p}", "LOCALHOST:{p}", "[::1]:{p}", "[::]:{p}", "[::ffff:127.0.0.1]:{p}", "[::ffff:7f00:1]:{p}", "[::127.0.0.1]:{p}",
           "[64:ff9b::7f00:1]:{p}", "[2002:7f00:1::]:{p}", "[0:0:0:0:0:0:0:1]:{p}", "169.254.169.254:80", "[fe80::1]:{p}", "[fd00:ec2::254]:80",
           "10.0.0.1:80", "172.16.0.1:80", "192.168.0.1:80", "100.64.0.1:80", "224.0.0.1:80", "[ff02::1]:80", "255.255.255.255:80",
           "198.18.0.1:80", "240.0.0.1:80"]


def test_addresses_inside_are_refused_however_they_are_written(shop, ear):
    """s2i 16.10: though the list says everything."""
    targets = [target.format(p=ear.port) for target in PRIVATE]
    answers = ask_all(shop, [connect(target) for target in targets])
    assert [target for target, answer in zip(targets, answers) if not answer.startswith("HTTP/1.1 403")] == []
    assert ear.heard == []


def test_names_that_lead_inside_are_refused(shop, names, ear):
    """The address that was looked at is the one that counts; a name is asked for once."""
    if shop.level == "user":
        pytest.skip("the test's own name server is for the builder that is root")
    before = len(names.asked)
    answers = ask_all(shop, [connect(f"{host}:{ear.port}") for host in HOSTS])
    assert [answer[:12] for answer in answers] == ["HTTP/1.1 403"] * len(HOSTS), answers
    asked = names.asked[before:]
    assert ear.heard == [] and all(asked.count(host) <= 2 for host in HOSTS), asked  # A and AAAA
    named = ask_all(shop, [connect(f"open.test:{ear.port}")], allow=[f"open.test:{ear.port}"])
    assert named[0].startswith("HTTP/1.1 200"), named  # by its own name: who runs the server wants it
    process.wait_for(lambda: ear.heard, 10, "whoever was connected")
    assert len(ear.heard) == 1


ODD = ["CONNECT  127.0.0.1:{p} HTTP/1.1\\r\\n\\r\\n", "CONNECT\\t127.0.0.1:{p}\\tHTTP/1.1\\r\\n\\r\\n", "CONNECT 127.0.0.1:{p}\\r\\n\\r\\n",
       "CONNECT http://127.0.0.1:{p}/ HTTP/1.1\\r\\n\\r\\n", "CONNECT u@127.0.0.1:{p} HTTP/1.1\\r\\n\\r\\n",
       "CONNECT listed.test:443#127.0.0.1:{p} HTTP/1.1\\r\\n\\r\\n", "CONNECT listed.test:443:{p} HTTP/1.1\\r\\n\\r\\n",
       "CONNECT listed.test:443\\\\000.127.0.0.1:{p} HTTP/1.1\\r\\n\\r\\n", "CONNECT listed.test HTTP/1.1\\r\\n\\r\\n",
       "CONNECT listed.test:0 HTTP/1.1\\r\\n\\r\\n", "CONNECT listed.test:65536 HTTP/1.1\\r\\n\\r\\n", "CONNECT listed.test:-1 HTTP/1.1\\r\\n\\r\\n",
       "CONNECT listed.test:+443 HTTP/1.1\\r\\n\\r\\n", "CONNECT :443 HTTP/1.1\\r\\n\\r\\n", "CONNECT []:443 HTTP/1.1\\r\\n\\r\\n",
       "CONNECT [listed.test:443 HTTP/1.1\\r\\n\\r\\n", "CONNECT listed.test:443 SSH/2.0\\r\\n\\r\\n", "CONNECT [fe80::1%%lo]:{p} HTTP/1.1\\r\\n\\r\\n",
       "connect 127.0.0.1:{p} HTTP/1.1\\r\\n\\r\\n", "GET http://127.0.0.1:{p}/ HTTP/1.1\\r\\n\\r\\n", "GET / HTTP/1.1\\r\\nHost: 127.0.0.1:{p}\\r\\n\\r\\n",
       "POST http://listed.test/ HTTP/1.1\\r\\nHost: 127.0.0.1:{p}\\r\\n\\r\\n", "OPTIONS * HTTP/1.1\\r\\n\\r\\n", "\\r\\n\\r\\n",
       "PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n"]


def test_requests_that_are_odd_are_refused(shop, ear):
    """Never served by guessing; nothing of a refused request is served as another one."""
    behind = connect(f"127.0.0.1:{ear.port}")
    requests = [text.format(p=ear.port) for text in ODD]
    requests += [connect("other.test:443", behind),
                 f"CONNECT other.test:443 HTTP/1.1\\r\\nHost: 127.0.0.1:{ear.port}\\r\\n\\r\\n",
                 f"CONNECT other.test:443 HTTP/1.1\\r\\nContent-Length: 0\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n0\\r\\n\\r\\n{behind}"]
    answers = ask_all(shop, requests, allow=["listed.test:443"])
    wrong = [(text, answer) for text, answer in zip(requests, answers) if answer[:12] not in ("HTTP/1.1 400", "HTTP/1.1 403", "HTTP/1.1 405")]
    assert wrong == [] and ear.heard == []


@pytest.mark.parametrize("allow, target", [
    ("listed.test:443", "listed.test:444"), ("listed.test:443", "listed.test.evil.test:443"), ("*.listed.test:443", "listed.test.evil:443"),
    ("*.listed.test:443", "evil-listed.test:443"), ("127.0.0.1:443", "127.0.0.1:{p}"), ("127.0.0.1:{p}", "127.1:{p}"),
    ("localhost:443", "localhost:{p}")])
def test_the_list_is_met_as_a_whole(shop, ear, allow, target):
    answer = ask_all(shop, [connect(target.format(p=ear.port))], allow=[allow.format(p=ear.port)])[0]
    assert answer.startswith("HTTP/1.1 403") and ear.heard == []


def test_a_head_that_is_too_large_is_not_read_on(shop, ear):
    script = f"(printf 'CONNECT 127.0.0.1:{ear.port} HTTP/1.1\\r\\nX: '; head -c 100000 /dev/zero | tr '\\0' x; printf '\\r\\n\\r\\n') " \
             f"| nc 127.0.0.1 3128 | wc -c; echo after; {GET} | head -n 1"
    said = run(shop, script).out
    assert said.startswith(b"0\n") and b"HTTP/1.1 405" in said and ear.heard == []


def test_many_and_idle_connections(shop, ear):
    """Past the limit one is told so; the others go on; what idles does not hold up the end."""
    script = "for i in $(seq 1 90); do (sleep 300 | nc 127.0.0.1 3128 | head -n 1) & done\n" \
             f"n=0; while [ $n -lt 600 ]; do said=$({GET} | head -n 1); " \
             "case $said in *503*) echo full; break;; esac; n=$((n + 1)); sleep 0.05; done\n" \
             "kill $(ps | grep 'sleep 30[0]' | sed 's/^ *//; s/ .*//') 2>/dev/null\n" \
             f"n=0; while [ $n -lt 600 ]; do said=$({GET} | head -n 1); " \
             "case $said in *405*) echo again; break;; esac; n=$((n + 1)); sleep 0.05; done\n" \
             "for i in $(seq 1 20); do (sleep 300 | nc 127.0.0.1 3128) & done"
    begun = time.monotonic()
    outcome = run(shop, script, limits={"processes": 400, "timeout_ms": 200000, "silence_ms": 200000})
    assert b"full\n" in outcome.out and b"again\n" in outcome.out, outcome.text
    assert time.monotonic() - begun < 100 and ear.heard == []


def test_there_is_no_other_road(shop, ear):
    """No route, no name server, no socket of the machine's; the proxy is bound to the namespace's loopback only."""
    outside = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    outside.bind(b"\0slipway-test-" + str(ear.port).encode())
    outside.listen()
    script = f"nc -w 2 127.0.0.1 {ear.port} </dev/null && echo broken: loopback\n" \
             "wget -q -T 2 -O - http://198.51.100.1/ && echo broken: route\n" \
             "echo x | nc -w 1 -u 127.0.0.53 53 | grep . && echo broken: names\n" \
             f"grep -q slipway-test-{ear.port} /proc/net/unix && echo broken: abstract sockets\n" \
             "grep -v '^Iface\\|^lo' /proc/net/route | grep . && echo broken: a route\n" \
             "grep -c : /proc/net/dev; echo end"
    said = run(shop, script).out.decode()
    assert "broken" not in said and said.endswith("1\nend\n"), said
    with socket.socket() as probe:  # nor does it listen on the machine
        assert probe.connect_ex(("127.0.0.1", 3128)) != 0
    outside.close()
    assert ear.heard == []
