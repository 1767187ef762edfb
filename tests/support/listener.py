"""listener.py - a listening socket, and the thread that takes its connections.

Touches  a port, a thread.
Never    leaves its thread waiting at a closed descriptor. The kernel begins an interrupted accept again by the number, and
         a process is interrupted whenever it is stopped, or the machine is: the thread would take a connection of whoever
         listens at that number by then.
"""
import socket
import threading


class Listener(threading.Thread):
    """Calls meet(connection), which owns the connection, for each that comes, one after the other, until closed."""

    def __init__(self, meet):
        super().__init__(daemon=True)
        self.meet = meet
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.start()

    def run(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            self.meet(connection)

    def close(self):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.join()
        self.socket.close()
