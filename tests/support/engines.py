"""engines.py - real clients: Docker Engine and containerd as own processes, and the tools.

Touches  child processes, folders of the run.
Never    the machine's engines and their storage; iptables, bridges.

A client that is not installed is a loud skip, never a silent pass.
"""
import os
import pathlib
import secrets
import shutil
import signal
import subprocess
import tempfile

import pytest

from support import process


def scratch():
    """A new temporary folder of letters and digits: podman and buildah make an image's name of the path of a layout,
    where no part may end in "_" or have it after "-", as every twentieth of mkdtemp does."""
    path = pathlib.Path(tempfile.gettempdir()) / f"sw{secrets.token_hex(5)}"
    path.mkdir(mode=0o700)
    return path


def need(program):
    """The program's path; Debian's own before one in /usr/local."""
    path = next((p for p in (f"/usr/bin/{program}", f"/usr/sbin/{program}") if os.path.exists(p)),
                shutil.which(program))
    if not path:
        pytest.skip(f"{program} is not installed: its tests did not run")
    return path


def run(*words, env=None, timeout=600, check=True, **more):
    """Standard output. On failure the test shows what the client said."""
    result = subprocess.run([str(word) for word in words], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, timeout=timeout,
                            env={**clean_environment(), **(env or {})}, **more)
    if check and result.returncode != 0:
        pytest.fail(f"{' '.join(map(str, words))}\nexit status {result.returncode}\n"
                    f"{result.stdout[-3000:]}\n{result.stderr[-3000:]}")
    return result.stdout if check else result


def clean_environment():
    drop = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "DOCKER_HOST",
            "DOCKER_CONTEXT", "DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "SSL_CERT_FILE")
    return {key: value for key, value in os.environ.items() if key not in drop}


class Engine:
    """A daemon of ours: started with its own folders, ended by pid."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.socket = self.folder / "s"
        self.child = None

    def launch(self, words):
        self.folder.mkdir(parents=True, exist_ok=True)
        self.log = self.folder / "log"
        with open(self.log, "wb") as log:
            self.child = subprocess.Popen([str(word) for word in words], stdout=log, stderr=log,
                                          stdin=subprocess.DEVNULL, env=clean_environment(),
                                          start_new_session=True)
        process.wait_for(self.answers, 180, f"the engine answers, see {self.log}", 0.1)

    def answers(self):
        if self.child.poll() is not None:
            pytest.fail(f"the engine ended: {self.log.read_text()[-3000:]}")
        return self.socket.exists() and self.ping().returncode == 0

    def stop(self):
        if self.child and self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
            self.child.wait(120)
        unmount_below(self.folder)
        shutil.rmtree(self.folder, ignore_errors=True)


def unmount_below(folder):
    with open("/proc/self/mounts", encoding="utf-8") as mounts:
        points = [line.split()[1] for line in mounts]
    for point in sorted((p for p in points if p.startswith(f"{folder}/")), reverse=True):
        subprocess.run(["umount", "-l", point], check=False)


class Docker(Engine):
    """Docker Engine with its own data root, exec root, socket and pid file; no network."""

    def start(self):
        need("docker")
        self.launch([need("dockerd"), "--data-root", self.folder / "d",
                     "--exec-root", self.folder / "e", "-H", f"unix://{self.socket}",
                     "--pidfile", self.folder / "p", "--iptables=false", "--bridge=none",
                     "--ip-forward=false"])

    def ping(self):
        return self("version", check=False)

    def environment(self):
        return {"DOCKER_CONFIG": str(self.folder / "config"), "DOCKER_BUILDKIT": "0"}

    def __call__(self, *words, **more):
        env = {**self.environment(), **more.pop("env", {})}
        return run(need("docker"), "-H", f"unix://{self.socket}", *words, env=env, **more)

    def begin(self, *words):
        """The same, not waited for."""
        return subprocess.Popen([need("docker"), "-H", f"unix://{self.socket}", *words],
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                env={**clean_environment(), **self.environment()})


class Containerd(Engine):
    """containerd with its own root, state and socket, driven by ctr."""

    def start(self):
        need("ctr")
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "config.toml").write_text(
            f'version = 2\nroot = "{self.folder}/r"\nstate = "{self.folder}/t"\n'
            f'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
            f'[grpc]\naddress = "{self.socket}"\n[ttrpc]\naddress = "{self.folder}/tt"\n')
        self.launch([need("containerd"), "--config", self.folder / "config.toml"])

    def ping(self):
        return self("version", check=False)

    def __call__(self, *words, **more):
        return run(need("ctr"), "--address", self.socket, *words, **more)


class Tools:
    """Programs without a daemon. http and https: the words each needs to speak to a server."""

    def __init__(self, folder, ca):
        self.folder, self.ca = pathlib.Path(folder), ca
        self.folder.mkdir(parents=True)
        self.storage = ["--root", self.folder / "st", "--runroot", self.folder / "rr"]
        self.env = {"XDG_RUNTIME_DIR": str(self.folder), "TMPDIR": str(self.folder),
                    "SSL_CERT_FILE": str(ca)}

    def skopeo(self, *words, **more):
        return run(need("skopeo"), *words, env=self.env, **more)

    def podman(self, *words, **more):
        return run(need("podman"), *self.storage, *words, env=self.env, **more)

    def buildah(self, *words, **more):
        return run(need("buildah"), *self.storage, *words, env=self.env, **more)

    def umoci(self, *words, **more):
        return run(need("umoci"), *words, env=self.env, **more)

    def clean(self):
        unmount_below(self.folder)


def verify_flags(server, *kinds):
    """--tls-verify=false for a plain server, nothing for https: its authority is trusted."""
    return [] if server.tls else [f"--{kind}tls-verify=false" for kind in kinds or ("",)]


