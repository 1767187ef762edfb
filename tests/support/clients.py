"""clients.py - real clients behind one face: log in, push, pull, log out, each as one person.

Touches  the engines of the run (engines.py), a folder of its own for credentials and images.
Never    asserts what a server decided: every act returns the finished process.

Each holds at most one image, whose bytes nobody else has: made when first pushed, or what it pulled
last. A pull begins without it, so that everything is asked for.
"""
import itertools
import json
import re

from support import images, people
from support.content import fresh

numbers = itertools.count(1)


def cast(to):
    """Below team/ ana writes, eve reads and max maintains; the robot build writes below team/ci/;
    bob may nothing. public/app may be pulled by everybody."""
    for name, pattern, rights in (("ana", "team/*", people.WRITE), ("eve", "team/*", people.READ),
                                  ("max", "team/*", people.MAINTAIN), ("bob", None, 0)):
        to.user(name)
        if pattern:
            to.grant(name, pattern, rights)
    to.public("public/app")
    to.secrets = {"build": to.robot("build")[1], "ana": to.token("ana"),
                  "look": to.token("ana", "repository:team/*:pull")}
    to.grant("build", "team/ci/*", people.WRITE)


def ok(result):
    """The finished process of an act that had to work."""
    assert result.returncode == 0, f"{result.args}\n{result.stdout[-2000:]}\n{result.stderr[-3000:]}"
    return result


def refused(result, pattern=None):
    """The finished process of one that had to fail, and to say why."""
    assert result.returncode != 0, f"{result.args} was not refused\n{result.stdout[-2000:]}"
    said = result.stdout + result.stderr
    assert pattern is None or re.search(pattern, said, re.IGNORECASE), said[-3000:]
    return result


class Client:
    """server: whom to speak to; host: another way to it, as through a proxy; tls: how that way speaks."""

    NO_RIGHT = "denied|unauthorized|authentication required|authorization failed|no basic auth credentials"

    def __init__(self, session, server, host=None, tls=None):
        self.session, self.host = session, host or server.host
        self.tls = bool(server.tls) if tls is None else tls
        self.home = session.folder / f"home-{next(numbers)}"
        self.home.mkdir(parents=True)
        self.image = None

    def where(self, name, tag="latest"):
        return f"{self.host}/{name}:{tag}"

    def tar(self):
        path = self.home / "rootfs.tar"
        path.write_bytes(images.tar({"data": fresh(3000)}))
        return path

    def layout(self):
        """An OCI layout of an image of our own."""
        layout = images.Layout(self.home / f"layout-{next(numbers)}")
        layout.tag("latest", layout.image([layout.layer({"data": fresh(3000)})]))
        return layout.path

    def push(self, name, tag="latest"):
        self.image = self.image or self.make()
        return self.send(self.where(name, tag))

    def pull(self, name, tag="latest"):
        self.forget()
        return self.fetch(self.where(name, tag))

    def forget(self):
        if self.image:
            self.remove(self.image)
        self.image = None

    def remove(self, image):
        pass


class Docker(Client):
    """Credentials in DOCKER_CONFIG; the engine speaks for it."""

    def __call__(self, *words, **more):
        return self.session.docker(*words, env={"DOCKER_CONFIG": str(self.home)}, check=False, **more)

    @property
    def credentials(self):
        return self.home / "config.json"

    def stored(self):
        """What the configuration holds for this registry."""
        return json.loads(self.credentials.read_text()).get("auths", {}).get(self.host)

    def login(self, user, secret):
        return self("login", "--username", user, "--password-stdin", self.host, input=secret)

    def logout(self):
        return self("logout", self.host)

    def make(self):
        return ok(self("import", self.tar())).stdout.strip()

    def send(self, where):
        ok(self("tag", self.image, where))
        return self("push", where)

    def fetch(self, where):
        result = self("pull", where)
        if result.returncode == 0:
            self.image = ok(self("image", "inspect", "--format", "{{.Id}}", where)).stdout.strip()
        return result

    def remove(self, image):
        self("rmi", "--force", image)  # another of us may have removed it: the storage is shared


class WithFile(Client):
    """The programs that share one format of a file of credentials, and the words for it."""

    def __init__(self, *words, **more):
        super().__init__(*words, **more)
        self.read(self.home / "auth.json")
        self.credentials.write_text("{}")

    def read(self, credentials):
        """From now on credentials come from this file, which docker may have written."""
        self.credentials = credentials
        self.words = ["--authfile", credentials] + ([] if self.tls else ["--tls-verify=false"])

    def login(self, user, secret):
        return self("login", *self.words, "--username", user, "--password-stdin", self.host, input=secret)

    def logout(self):
        return self("logout", "--authfile", self.credentials, self.host)


class Podman(WithFile):
    PULL = ("pull", "--quiet")

    def __call__(self, *words, **more):
        return self.session.tools.podman(*words, check=False, **more)

    def make(self):
        return ok(self("import", "--quiet", self.tar())).stdout.strip()

    def send(self, where):
        return self("push", *self.words, self.image, f"docker://{where}")

    def fetch(self, where):
        result = self(*self.PULL, *self.words, where)
        self.image = result.stdout.strip() or None
        return result

    def remove(self, image):
        self("rmi", "--force", image)  # another of us may have removed it: the storage is shared


class Buildah(Podman):
    PULL = ("pull", "--quiet", "--policy", "always")

    def __call__(self, *words, **more):
        return self.session.tools.buildah(*words, check=False, **more)

    def make(self):
        return ok(self("pull", "--quiet", f"oci:{self.layout()}:latest")).stdout.strip()

    def send(self, where):
        return self("push", "--quiet", *self.words, self.image, f"docker://{where}")


class Skopeo(WithFile):
    """An image is an OCI layout; the only one that deletes."""

    def __call__(self, *words, **more):
        return self.session.tools.skopeo(*words, check=False, **more)

    def side(self, side):
        return ["--authfile", self.credentials] + ([] if self.tls else [f"--{side}-tls-verify=false"])

    def make(self):
        return self.layout()

    def send(self, where):
        return self("copy", *self.side("dest"), f"oci:{self.image}:latest", f"docker://{where}")

    def fetch(self, where):
        path = self.home / f"pulled-{next(numbers)}"
        result = self("copy", *self.side("src"), f"docker://{where}", f"oci:{path}:latest")
        self.image = path if result.returncode == 0 else None
        return result

    def delete(self, name, tag="latest"):
        return self("delete", *self.words, f"docker://{self.where(name, tag)}")

    def inspect(self, name, tag="latest"):
        return self("inspect", *self.words, f"docker://{self.where(name, tag)}")

    def tags(self, name):
        return self("list-tags", *self.words, f"docker://{self.host}/{name}")


class Ctr(Client):
    """containerd keeps no credentials: they come with every call. It sends a manifest through a pipe. When the refusal
    arrives before or in the very moment in which it has written all of it, it picks at random between telling the
    answer and telling that the pipe was closed; on a loopback every tenth push is that quick."""

    NO_RIGHT = Client.NO_RIGHT + "|read/write on closed pipe"

    def __init__(self, *words, **more):
        super().__init__(*words, **more)
        self.user, self.words = [], ["--plain-http"]
        if self.tls:
            hosts = self.home / "hosts" / self.host
            hosts.mkdir(parents=True)
            (hosts / "hosts.toml").write_text(
                f'server = "https://{self.host}"\n[host."https://{self.host}"]\nca = "{self.session.authority.ca}"\n')
            self.words = ["--hosts-dir", self.home / "hosts"]

    def __call__(self, *words, **more):
        return self.session.containerd(*words, check=False, **more)

    def login(self, user, secret):
        """Only kept: it is judged at the first call."""
        self.user = ["--user", f"{user}:{secret}"]

    def login_by_refresh_token(self, token):
        self.user = ["--refresh", token]

    def logout(self):
        self.user = []

    def make(self):
        archive, name = self.home / "archive.tar", f"local/image-{next(numbers)}"
        ok(self.session.tools.skopeo("copy", f"oci:{self.layout()}:latest", f"oci-archive:{archive}:latest",
                                     check=False))
        ok(self("images", "import", "--base-name", name, "--snapshotter", "native", archive))
        return f"{name}:latest"

    def send(self, where):
        ok(self("images", "tag", "--force", self.image, where))
        result = self("images", "push", *self.words, *self.user, where)
        if self.image != where:
            ok(self("images", "rm", where))
        return result

    def fetch(self, where):
        result = self("images", "pull", "--snapshotter", "native", *self.words, *self.user, where)
        self.image = where if result.returncode == 0 else None
        return result

    def remove(self, image):
        ok(self("images", "rm", "--sync", image))


KINDS = {"docker": Docker, "podman": Podman, "buildah": Buildah, "skopeo": Skopeo, "ctr": Ctr}


class Session:
    """What they all need, taken from the fixtures of the run when first wanted."""

    def __init__(self, request, folder):
        self.request, self.folder, self.made = request, folder, []

    def __getattr__(self, fixture):
        if fixture not in ("docker", "containerd", "tools", "authority"):
            raise AttributeError(fixture)
        return self.request.getfixturevalue(fixture)

    def make(self, kind, server, **more):
        client = KINDS[kind](self, server, **more)
        self.made.append(client)
        return client

    def end(self):
        for client in self.made:
            client.forget()


