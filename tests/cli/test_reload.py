"""test_reload.py - what a running server reads again, on SIGHUP and by itself; what it only tells."""
import http.client
import os
import re
import signal
import socket
import ssl
import time

import pytest

from conftest import HUP, wait_for
from support import certificate

POLL = 60  # seconds within which a change is noticed without a signal: looks come every ten


class Tls:
    """A server with a certificate; `live` is a link that is swapped as a whole, as volumes are."""

    def __init__(self, serve, folder):
        self.folder = folder
        self.live = folder / "live"
        self.authorities = []
        self.swap()
        self.server = serve("server.listen=https://127.0.0.1:0", f"server.tls.certificate={self.live}/certificate.pem",
                            f"server.tls.key={self.live}/key.pem")
        self.host, port = self.server.url.removeprefix("http://").split(":")
        self.port = int(port)

    def swap(self):
        """Other files behind the same names."""
        self.authorities.append(certificate.Authority(self.folder / str(len(self.authorities))))
        link = self.folder / "next"
        link.symlink_to(self.authorities[-1].folder)
        os.replace(link, self.live)

    def shown(self):
        """The number of the certificate that a new connection sees."""
        pem = ssl.get_server_certificate((self.host, self.port))
        texts = [ssl.PEM_cert_to_DER_cert(each.certificate.read_text()) for each in self.authorities]
        return texts.index(ssl.PEM_cert_to_DER_cert(pem))

    def connect(self):
        context = ssl.create_default_context(cafile=self.authorities[0].ca)
        connection = http.client.HTTPSConnection(self.host, self.port, context=context, timeout=10)
        connection.connect()
        return connection


def ask(connection):
    socket_before = connection.sock
    connection.request("GET", "/livez")
    reply = connection.getresponse()
    assert (reply.status, reply.read()) == (200, b"ok\n")
    assert connection.sock is socket_before, "the connection was not kept"


@pytest.fixture
def tls(serve, tmp_path):
    return Tls(serve, tmp_path / "tls")


@pytest.fixture(autouse=True)
def folder(tmp_path):
    (tmp_path / "tls").mkdir()


def test_a_hangup_reads_certificates_again(tls):
    old = tls.connect()
    ask(old)
    tls.swap()
    assert tls.shown() == 0
    tls.server.signal(HUP)
    wait_for(lambda: tls.shown() == 1, what="the new certificate")
    wait_for(lambda: re.search(r"msg=tls\.reloaded days_left=[12]\n", tls.server.text()), what="a line about it")
    ask(old)


def test_a_changed_certificate_is_noticed(tls):
    """Also by a server that is stopped for moments meanwhile: the wait for the next look does not begin anew."""
    old = tls.connect()
    ask(old)
    tls.swap()

    def shown():
        tls.server.signal(signal.SIGSTOP)
        tls.server.signal(signal.SIGCONT)
        return tls.shown()
    wait_for(lambda: shown() == 1, POLL, "the new certificate")
    ask(old)
    time.sleep(11)  # one more look
    assert tls.server.text().count("msg=tls.reloaded") == 1, "what did not change was read again"


def test_a_certificate_that_cannot_be_used_leaves_the_old(tls):
    tls.swap()
    broken = tls.authorities[1].certificate.read_text()
    tls.authorities[1].certificate.write_text("nothing")
    tls.server.signal(HUP)
    wait_for(lambda: "msg=tls.reload_failed" in tls.server.text(), what="a line about the failure")
    assert "certificate.pem" in tls.server.text()
    tls.authorities[1].certificate.write_text(broken)
    assert tls.shown() == 0
    tls.server.signal(HUP)
    wait_for(lambda: tls.shown() == 1, what="the repaired certificate")


def test_settings_that_differ_are_told_once(serve, tmp_path):
    file = tmp_path / "c.yml"
    file.write_text("gc:\n  grace: 48h\n")
    server = serve(config=file)
    server.signal(HUP)
    wait_for(lambda: "msg=auth.reloaded" in server.text(), what="the end of the reload")
    assert "settings." not in server.text()
    file.write_text("gc:\n  grace: 24h\nlog: {access: false}\n")
    for count in (2, 3):
        server.signal(HUP)
        wait_for(lambda: server.text().count("msg=auth.reloaded") == count, what="the end of the reload")
    wait_for(lambda: "msg=settings.need_restart" in server.text(), what="a line about the settings")
    assert server.text().count("msg=settings.need_restart settings=gc.grace,log.access") == 1
    file.write_text("gc:\n  grace: 24\nlog: {access: 0}\n")
    server.signal(HUP)
    wait_for(lambda: server.text().count("msg=settings.refused") == 2, what="both mistakes")
    assert server.get("/livez") == (200, "ok\n")


def test_the_service_manager_is_told(serve, tmp_path):
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path)
        manager.settimeout(60)
        server = serve(environment={"NOTIFY_SOCKET": path})
        assert manager.recv(100) == b"READY=1"
        server.signal(HUP)
        first, second = manager.recv(100).split(b"\n")
        assert first == b"RELOADING=1"
        name, value = second.split(b"=")
        assert name == b"MONOTONIC_USEC" and int(value) > 0
        assert manager.recv(100) == b"READY=1"
