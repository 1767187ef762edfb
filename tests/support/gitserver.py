"""gitserver.py - a server of Git repositories over HTTP, by git http-backend, that can misbehave.

Touches  a port of loopback, a folder of bare repositories.
Never    anything outside that folder.
"""
import base64
import http.server
import os
import pathlib
import socket
import ssl
import subprocess
import threading

ENVIRONMENT = {"PATH": "/usr/bin:/bin", "GIT_CONFIG_NOSYSTEM": "1", "HOME": "/nonexistent", "LC_ALL": "C",
               "GIT_AUTHOR_NAME": "Ann", "GIT_AUTHOR_EMAIL": "ann@example.org",
               "GIT_COMMITTER_NAME": "Cy", "GIT_COMMITTER_EMAIL": "cy@example.org",
               "GIT_AUTHOR_DATE": "1600000000 +0000", "GIT_COMMITTER_DATE": "1600000000 +0000"}


def git(folder, *words, text=None):
    """Runs git there; what it says."""
    done = subprocess.run(["git", *map(str, words)], cwd=folder, env=ENVIRONMENT, input=text, text=True,
                          check=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    return done.stdout.strip()


class GitServer:
    """Repositories below `folder`, at http(s)://127.0.0.1:port/<name>.git.

    user: (name, password) it asks for. old: speaks protocol 0 only. redirect: where everything leads.
    stall: answers nothing at all. asked: (path, authorization) of each request."""

    def __init__(self, folder, authority=None, address="127.0.0.1"):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.user, self.old, self.redirect, self.stall = None, False, None, None
        self.asked, self.bodies, self.headers = [], [], []
        kind = http.server.ThreadingHTTPServer
        if ":" in address:
            kind = type("Server6", (kind,), {"address_family": socket.AF_INET6})
        self.server = kind((address, 0), self.handler())
        if authority is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(authority.certificate, authority.key)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        self.scheme = "http" if authority is None else "https"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        if self.stall is not None:
            self.stall.set()
        self.server.shutdown()
        self.server.server_close()

    def url(self, name, host="127.0.0.1"):
        return f"{self.scheme}://{host}:{self.port}/{name}.git"

    def repository(self, name, files):
        """A new repository with one commit on main of these files; the commit's id."""
        bare = self.folder / f"{name}.git"
        git(self.folder, "init", "-q", "--bare", "-b", "main", bare)
        return self.commit(name, files)

    def commit(self, name, files, branch="main"):
        """Puts the files on top of the branch; the commit's id."""
        bare = self.folder / f"{name}.git"
        lines = [f"commit refs/heads/{branch}", "committer Cy <cy@example.org> 1600000000 +0000", "data 1", "x"]
        if subprocess.run(["git", "rev-parse", "-q", "--verify", f"refs/heads/{branch}"], cwd=bare,
                          env=ENVIRONMENT, stdout=subprocess.DEVNULL, check=False).returncode == 0:
            lines.append(f"from refs/heads/{branch}^0")
        for path, text in files.items():
            if isinstance(text, tuple):  # a gitlink
                lines.append(f"M 160000 {text[0]} {path}")
            else:
                lines += [f"M 100644 inline {path}", f"data {len(text)}", text]
        git(bare, "fast-import", "--quiet", text="\n".join(lines) + "\n")
        return git(bare, "rev-parse", f"refs/heads/{branch}")

    def handler(outer):  # pylint: disable=no-self-argument
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def refuse(self, status, **headers):
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def body(self):
                if self.headers.get("Transfer-Encoding") != "chunked":
                    return self.rfile.read(int(self.headers.get("Content-Length", 0)))
                data = b""
                while size := int(self.rfile.readline(), 16):
                    data += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return data

            def allowed(self):
                wanted = base64.b64encode(":".join(outer.user).encode()).decode() if outer.user else None
                return wanted is None or self.headers.get("Authorization") == f"Basic {wanted}"

            def answer(self):
                body = self.body()
                outer.asked.append((self.path, self.headers.get("Authorization")))
                outer.bodies.append(body)
                outer.headers.append(dict(self.headers))
                stall = outer.stall
                if stall is not None:
                    stall.wait(60)
                    self.close_connection = True
                    return
                if outer.redirect is not None:
                    self.refuse(302, Location=outer.redirect + self.path)
                elif not self.allowed():
                    self.refuse(401, WWW_Authenticate='Basic realm="git"')
                else:
                    self.backend(body)

            def backend(self, body):
                path, _, query = self.path.partition("?")
                environment = {**ENVIRONMENT, "GIT_PROJECT_ROOT": str(outer.folder), "GIT_HTTP_EXPORT_ALL": "1",
                               "PATH_INFO": path, "QUERY_STRING": query, "REQUEST_METHOD": self.command,
                               "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                               "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                               "CONTENT_LENGTH": str(len(body)), "REMOTE_ADDR": "127.0.0.1"}
                if not outer.old and self.headers.get("Git-Protocol"):
                    environment["GIT_PROTOCOL"] = self.headers["Git-Protocol"]
                done = subprocess.run(["git", "http-backend"], env=environment, input=body,
                                      stdout=subprocess.PIPE, check=False, cwd=os.sep)
                head, _, content = done.stdout.partition(b"\r\n\r\n")
                fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line)
                self.send_response(int(fields.pop("Status", "200").split()[0]))
                for name, value in fields.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = answer
        return Handler
