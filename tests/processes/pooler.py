"""Between a worker and its database: something that keeps wake-ups to itself, as poolers do."""

import contextlib
import json
import os
import re
import socket
import threading

from tests import servers

# What a client says in order to be woken, and what reaches the server instead: as long, and without that effect.
SWALLOWED = {
    "postgresql": (re.compile(rb"(?<!UN)LISTEN m"), lambda match: b"SELECT--"),
    "mariadb": (re.compile(rb"SLEEP\([\d.]+\) /\* mainspring"), lambda match: match[0].replace(b"spring", b"autumn")),
}


class Pooler:
    """Passes on what its clients and a server say to each other, but for what it swallows, and counts that."""

    def __init__(self, server):
        self.swallowed = 0
        self._port = server.port
        self._pattern, self._replace = SWALLOWED[server.vendor]
        self._door = socket.create_server(("127.0.0.1", 0))
        self._ends = [self._door]
        self._threads = []

    def __enter__(self):
        self._start(self._let_in)
        return self

    def __exit__(self, *exc_info):
        for end in self._ends:
            _hang_up(end)
        for thread in self._threads:
            thread.join()
        for end in self._ends:
            end.close()

    @property
    def environment(self):
        """What leads a process here instead of to the server."""
        databases = json.loads(os.environ[servers.ENVIRONMENT])
        for database in databases.values():
            database["PORT"] = str(self._door.getsockname()[1])
        return {servers.ENVIRONMENT: json.dumps(databases)}

    def _start(self, function, *arguments):
        self._threads.append(threading.Thread(target=function, args=arguments))
        self._threads[-1].start()

    def _let_in(self):
        with contextlib.suppress(OSError):  # the door was closed
            while True:
                client, _ = self._door.accept()
                server = socket.create_connection(("127.0.0.1", self._port))
                self._ends += [client, server]
                self._start(self._pass_on, client, server, self._swallow)
                self._start(self._pass_on, server, client, bytes)

    def _pass_on(self, source, target, change):
        with contextlib.suppress(OSError):  # one of them was ended
            while said := source.recv(1 << 20):
                target.sendall(change(said))
        _hang_up(source)
        _hang_up(target)

    def _swallow(self, said):
        said, number = self._pattern.subn(self._replace, said)
        self.swallowed += number
        return said


def _hang_up(end):
    with contextlib.suppress(OSError):  # it has been
        end.shutdown(socket.SHUT_RDWR)
