"""front.py - nginx before a server: it ends TLS and tells the server so.

Touches  a folder of its own, a child process ended by pid.
Never    the machine's nginx and its configuration.
"""
import signal
import socket
import subprocess

from support import engines, process

CONFIGURATION = """
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/f;
    uwsgi_temp_path {folder}/u;
    scgi_temp_path {folder}/s;
    client_max_body_size 0;
    server {{
        listen 127.0.0.1:{port} ssl reuseport;
        ssl_certificate {tls.certificate};
        ssl_certificate_key {tls.key};
        location / {{
            proxy_pass http://{host};
            proxy_http_version 1.1;
            proxy_request_buffering off;
            proxy_buffering off;
            proxy_read_timeout 300s;
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Proto $scheme;
        }}
    }}
}}
"""


def port_held():
    """A socket with a port that nobody else gets: who binds it as well must share ports and be of this user."""
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    held.bind(("127.0.0.1", 0))
    return held


class Nginx:
    """Speaks https for one server."""

    def __init__(self, folder, server, authority):
        self.folder, self.held = folder, port_held()
        self.port = self.held.getsockname()[1]
        folder.mkdir(parents=True)
        path = folder / "nginx.conf"
        path.write_text(CONFIGURATION.format(folder=folder, port=self.port, host=server.host, tls=authority))
        with open(folder / "output", "wb") as output:
            self.child = subprocess.Popen([engines.need("nginx"), "-c", path, "-e", folder / "error.log"],
                                          stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        process.wait_for(self.answers, 60, f"nginx listens, see {folder}")

    @property
    def host(self):
        return f"127.0.0.1:{self.port}"

    def answers(self):
        assert self.child.poll() is None, (self.folder / "output").read_text()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self):
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
            self.child.wait(60)
        self.held.close()
