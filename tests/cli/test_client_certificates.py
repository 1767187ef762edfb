"""test_client_certificates.py - server.tls.client_ca: who has no certificate of it gets no byte."""
import re
import shutil
import socket
import ssl

import pytest

from conftest import HUP, wait_for
from support import certificate

ASK = b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n"


class Gate:
    """A server that asks for certificates of `clients`; `ca` is the file it reads."""

    def __init__(self, serve, folder):
        self.folder = folder
        self.own = certificate.Authority(folder / "server")
        self.clients = certificate.Authority(folder / "clients")
        self.ca = folder / "client-ca.pem"
        self.admit(self.clients)
        self.server = serve("server.listen=https://127.0.0.1:0", f"server.tls.certificate={self.own.certificate}",
                            f"server.tls.key={self.own.key}", f"server.tls.client_ca={self.ca}")
        host, port = self.server.url.removeprefix("http://").split(":")
        self.address = host, int(port)

    def admit(self, authority):
        shutil.copy(authority.ca, self.folder / "next")
        (self.folder / "next").replace(self.ca)

    def context(self, pair=None, newest=True):
        value = ssl.create_default_context(cafile=self.own.ca)
        if not newest:
            value.maximum_version = ssl.TLSVersion.TLSv1_2
        if pair:
            value.load_cert_chain(*pair)
        return value

    def ask(self, context, session=None):
        """Whether a request was answered; the session, and whether it was an old one."""
        with socket.create_connection(self.address, timeout=10) as raw:
            with context.wrap_socket(raw, server_hostname=self.address[0], session=session) as connection:
                connection.sendall(ASK)
                answered = connection.recv(65536).startswith(b"HTTP/1.1 200 ")
                return answered, connection.session, connection.session_reused

    def refuses(self, context, session=None):
        try:
            return not self.ask(context, session)[0]
        except (ssl.SSLError, ConnectionError):
            return True


@pytest.fixture
def gate(serve, tmp_path):
    return Gate(serve, tmp_path)


@pytest.mark.parametrize("newest", [True, False], ids=["1.3", "1.2"])
def test_only_certificates_of_the_authority_are_served(gate, tmp_path, newest):
    stranger = certificate.Authority(tmp_path / "stranger")
    assert gate.ask(gate.context(gate.clients.client("known"), newest))[0]
    assert gate.refuses(gate.context(None, newest))
    assert gate.refuses(gate.context(stranger.client("unknown"), newest))
    # a server's certificate is none of a client's, whoever signed it
    assert gate.refuses(gate.context((gate.clients.certificate, gate.clients.key), newest))


@pytest.mark.parametrize("newest", [True, False], ids=["1.3", "1.2"])
def test_a_session_is_resumed_until_the_authority_changes(gate, tmp_path, newest):
    context = gate.context(gate.clients.client("known"), newest)
    _, session, reused = gate.ask(context)
    assert not reused
    answered, _, reused = gate.ask(context, session)
    assert answered and reused
    others = certificate.Authority(tmp_path / "others")
    gate.admit(others)
    gate.server.signal(HUP)
    wait_for(lambda: gate.refuses(context), what="the new authority")
    assert gate.refuses(context, session), "a ticket of the old authority let it in"
    assert gate.ask(gate.context(others.client("new"), newest))[0]


def test_an_authority_that_cannot_be_read_leaves_the_old(gate):
    context = gate.context(gate.clients.client("known"))
    gate.ca.write_text("no certificate\n")
    gate.server.signal(HUP)
    wait_for(lambda: re.search(r"client-ca\.pem cannot be used", gate.server.text()), what="the complaint")
    assert gate.ask(context)[0]
    assert gate.refuses(gate.context())
