"""sshserver.py - a server of Git repositories over ssh that knows one key, by paramiko.

Touches  a port of loopback, a folder of bare repositories.
Never    a command but git-upload-pack on a repository of that folder; the machine's own ssh.
"""
import pathlib
import shlex
import subprocess
import threading

import paramiko

from support import gitserver, listener


class SshServer:
    """Lets `key` (a public one of paramiko's) in, as any user; `host_key` is its own."""

    def __init__(self, folder, key):
        self.folder, self.key = pathlib.Path(folder), key
        self.host_key = paramiko.ECDSAKey.generate()
        self.commands = []
        self.listener = listener.Listener(self.meet)
        self.port, self.close = self.listener.port, self.listener.close

    def known_hosts(self, key=None):
        key = key or self.host_key
        return f"[127.0.0.1]:{self.port} {key.get_name()} {key.get_base64()}\n"

    def meet(self, connection):
        threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        transport = paramiko.Transport(connection)
        transport.add_server_key(self.host_key)
        try:
            transport.start_server(server=self.rights())
            channel = transport.accept(10)
            while channel is not None and not channel.closed:
                channel = transport.accept(10)
        except (paramiko.SSHException, EOFError, OSError):
            pass
        finally:
            transport.close()

    def rights(outer):  # pylint: disable=no-self-argument
        class Rights(paramiko.ServerInterface):
            def get_allowed_auths(self, username):
                return "publickey"

            def check_auth_publickey(self, username, key):
                return paramiko.AUTH_SUCCESSFUL if key == outer.key else paramiko.AUTH_FAILED

            def check_channel_request(self, kind, chanid):
                return paramiko.OPEN_SUCCEEDED

            def check_channel_env_request(self, channel, name, value):
                return True

            def check_channel_exec_request(self, channel, command):
                threading.Thread(target=outer.execute, args=(channel, command.decode()), daemon=True).start()
                return True
        return Rights()

    def execute(self, channel, command):
        self.commands.append(command)
        program, path = shlex.split(command)
        assert program == "git-upload-pack"
        child = subprocess.Popen(["git", "upload-pack", str(self.folder / path.lstrip("/"))], stdin=subprocess.PIPE,
                                 stdout=subprocess.PIPE, env=gitserver.ENVIRONMENT)

        def forward():
            while data := channel.recv(65536):
                child.stdin.write(data)
                child.stdin.flush()
            child.stdin.close()
        threading.Thread(target=forward, daemon=True).start()
        while data := child.stdout.read1(65536):
            channel.sendall(data)
        channel.send_exit_status(child.wait())
        channel.close()
