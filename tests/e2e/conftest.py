"""conftest.py - what the end-to-end tests share: servers, clients of them, engines, images.

Touches  a temporary folder of the run, child processes ended by pid.
Never    the machine's own docker, containerd or image storage.

Session-wide servers serve all tests that only talk; a test that needs a setting, a restart or a
look at the process takes its own from `make_server`.
"""
import itertools
import pathlib
import shutil
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from support import api, certificate, clients, engines, images, people, plan, process  # noqa: E402

names = itertools.count(1)


def pytest_addoption(parser):
    parser.addoption("--spec", action="append", default=[], metavar="ID",
                     help="only the tests that cite this requirement; may be given again")


def pytest_collection_modifyitems(config, items):
    wanted = set(config.getoption("--spec"))
    if not wanted:
        return
    cites = [wanted & {name for mark in item.iter_markers("spec") for name in mark.args} for item in items]
    config.hook.pytest_deselected(items=[item for item, cited in zip(items, cites) if not cited])
    items[:] = [item for item, cited in zip(items, cites) if cited]


@pytest.fixture(scope="session")
def folder():
    """A short path: UNIX sockets of engines must fit below it."""
    path = engines.scratch()
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def authority(folder):
    return certificate.Authority(folder / "tls")


def served(server):
    server.start()
    yield server
    server.finish()


@pytest.fixture(scope="session")
def plain(folder):
    yield from served(process.Server(folder / "plain"))


@pytest.fixture(scope="session")
def tls(folder, authority):
    yield from served(process.Server(folder / "https", tls=authority))


@pytest.fixture(scope="session")
def guarded(folder):
    """Asks who is there; accounts, content and rights as in support/plan.py. Nothing changes them."""
    server = people.Registry(folder / "guarded", {"auth.anonymous": "pull"}, people=plan.accounts)
    server.start()
    server.manifest = plan.content(server)
    yield server
    server.finish()


@pytest.fixture(scope="session")
def managed(folder):
    """Asks who is there, and is changed: tests of the management API make what they need, each by its own names."""
    server = people.Registry(folder / "managed", {"auth.anonymous": "pull"}, people=plan.accounts)
    yield from served(server)


@pytest.fixture
def call(managed):
    """call("ana"): the management API as this user of the plan, or (name, secret), or a token, or nobody."""
    made = []

    def make(who=None):
        known = isinstance(who, str) and not who.startswith("slipway_")
        made.append(api.Api(managed.target, managed.pair(who) if known else who))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def root(call):
    """Its administrator."""
    return call("root")


@pytest.fixture
def stranger(guarded):
    """Without credentials, and without doing anything about a challenge."""
    client = guarded.client()
    yield client
    client.close()


@pytest.fixture(params=["http", "https"])
def server(request):
    """Both ways a request can come in: bodies and replies take different roads below."""
    return request.getfixturevalue("plain" if request.param == "http" else "tls")


@pytest.fixture
def client(server):
    value = server.client()
    yield value
    value.close()


@pytest.fixture
def name(request):
    """A repository nobody else uses."""
    word = "".join(c if c.isalnum() else "-" for c in request.function.__name__.lower())
    return f"t{next(names)}/{word.replace('_', '-')[:60].strip('-')}"


@pytest.fixture
def make_server(folder):
    """make_server(setting=value, tls=authority): started, ended and checked after the test."""
    made = []

    def make(settings=None, tls=None, start=True, files=None):
        server = process.Server(folder / f"own-{next(names)}", settings, tls)
        made.append(server)
        return server.start(files) if start else server

    yield make
    failures = []
    for server in made:
        try:
            if server.child:
                server.finish()
        except AssertionError as failure:
            failures.append(failure)
        finally:
            shutil.rmtree(server.root, ignore_errors=True)
    if failures:
        raise failures[0]


@pytest.fixture
def make_registry(folder):
    """The same of servers that ask who is there; people(accounts) fills them in."""
    made = []

    def make(settings=None, people_of=plan.accounts, tls=None, start=True):
        server = people.Registry(folder / f"own-{next(names)}", settings, tls, people_of)
        made.append(server)
        return server.start() if start else server

    yield make
    for server in made:
        if server.child:
            server.finish()
        shutil.rmtree(server.folder, ignore_errors=True)


@pytest.fixture(scope="session")
def docker(folder):
    engine = engines.Docker(folder / "dk")
    engine.start()
    yield engine
    engine.stop()


@pytest.fixture(scope="session")
def containerd(folder):
    engine = engines.Containerd(folder / "cd")
    engine.start()
    yield engine
    engine.stop()


@pytest.fixture(scope="session")
def tools(folder, authority):
    """podman, buildah, skopeo, umoci with storage of their own."""
    value = engines.Tools(folder / "tools", authority.ca)
    yield value
    value.clean()


@pytest.fixture(scope="session")
def layouts(folder):
    """The images of these tests, as OCI layouts, each made when first asked for."""
    return images.Shelf(folder / "layouts")


# --- real clients of servers that ask who is there: support/clients.py ---


@pytest.fixture(scope="session")
def doors(folder, authority):
    """By "http" and "https": servers with the accounts of clients.cast, open for anonymous pulls."""
    servers = {}
    for scheme, tls in (("http", None), ("https", authority)):
        servers[scheme] = people.Registry(folder / f"door-{scheme}", {"auth.anonymous": "pull"}, tls, clients.cast)
        servers[scheme].start()
    yield servers
    for server in servers.values():
        server.finish()


@pytest.fixture
def door(doors):
    return doors["http"]


@pytest.fixture
def client_of(request, folder):
    """client_of(kind, server): a client of its own; kind: docker, podman, buildah, skopeo, ctr."""
    session = clients.Session(request, folder / f"clients-{next(names)}")
    yield session.make
    session.end()
