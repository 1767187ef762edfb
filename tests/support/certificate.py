"""certificate.py - an authority and a certificate for 127.0.0.1, made by openssl.

Touches  files below the folder given.
Never    a key that outlives the run.
"""
import pathlib
import subprocess

EXTENSIONS = """subjectAltName=IP:127.0.0.1,DNS:localhost
basicConstraints=CA:FALSE
extendedKeyUsage=serverAuth
"""
CLIENT_EXTENSIONS = """basicConstraints=CA:FALSE
extendedKeyUsage=clientAuth
"""
CURVE = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]


class Authority:
    """ca.pem, and certificate.pem with key.pem signed by it."""

    def __init__(self, folder):
        folder = pathlib.Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.ca, self.ca_key = folder / "ca.pem", folder / "ca-key.pem"
        self.certificate, self.key = folder / "certificate.pem", folder / "key.pem"
        self.make()

    def make(self):
        openssl("req", "-x509", *CURVE, "-subj", "/CN=test authority", "-days", "2",
                "-keyout", self.ca_key, "-out", self.ca)
        self.sign("127.0.0.1", EXTENSIONS, self.certificate, self.key)

    def client(self, name):
        """A client's certificate and key."""
        certificate, key = self.folder / f"{name}.pem", self.folder / f"{name}-key.pem"
        self.sign(name, CLIENT_EXTENSIONS, certificate, key)
        return certificate, key

    def sign(self, name, extensions, certificate, key):
        request, described = self.folder / "request.pem", self.folder / "extensions"
        described.write_text(extensions)
        openssl("req", *CURVE, "-subj", f"/CN={name}", "-keyout", key, "-out", request)
        openssl("x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", self.ca_key,
                "-CAcreateserial", "-days", "2", "-extfile", described, "-out", certificate)


def openssl(*words):
    subprocess.run(["openssl", *map(str, words)], check=True, stdout=subprocess.PIPE,
                   stderr=subprocess.PIPE)
