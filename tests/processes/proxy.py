"""Between a process and its database server: it passes on what they say to each other."""

import contextlib
import json
import os
import socket
import threading

from tests import servers


class Link:
    """One connection of a client through a proxy to the server."""

    def __init__(self, client, server):
        self.client = client
        self.server = server

    def cut(self):
        for end in (self.client, self.server):
            with contextlib.suppress(OSError):  # it has been
                end.shutdown(socket.SHUT_RDWR)

    def close(self):
        self.client.close()
        self.server.close()


class Proxy:
    """
    Passes on everything; what is to be changed or lost on the way, `asked` and `answered` say.

    Both get the link and what was said on it, and return what to pass on; None cuts the link.
    """

    def __init__(self, server):
        self._server_port = server.port
        self._server_vendor = server.vendor
        self._door = socket.create_server(("127.0.0.1", 0))
        self._links = []
        self._threads = []

    def __enter__(self):
        self._start(self._let_in)
        return self

    def __exit__(self, *exc_info):
        with contextlib.suppress(OSError):
            self._door.shutdown(socket.SHUT_RDWR)
        for link in self._links:
            link.cut()
        for thread in self._threads:
            thread.join()
        for link in [*self._links, self._door]:
            link.close()

    @property
    def environment(self):
        """What leads a process here instead of to the server."""
        if self._server_vendor == "redis":
            return {servers.REDIS_ENVIRONMENT: f"redis://127.0.0.1:{self._door.getsockname()[1]}/0"}
        databases = json.loads(os.environ[servers.ENVIRONMENT])
        for database in databases.values():
            database["PORT"] = str(self._door.getsockname()[1])
        return {servers.ENVIRONMENT: json.dumps(databases)}

    def asked(self, link, said):
        return said

    def answered(self, link, said):
        return said

    def _start(self, function, *arguments):
        self._threads.append(threading.Thread(target=function, args=arguments))
        self._threads[-1].start()

    def _let_in(self):
        with contextlib.suppress(OSError):  # the door was closed
            while True:
                client, _ = self._door.accept()
                link = Link(client, socket.create_connection(("127.0.0.1", self._server_port)))
                self._links.append(link)
                self._start(self._pass_on, link, link.client, link.server, self.asked)
                self._start(self._pass_on, link, link.server, link.client, self.answered)

    def _pass_on(self, link, source, target, change):
        with contextlib.suppress(OSError):  # one of them was ended
            while said := source.recv(1 << 20):
                changed = change(link, said)
                if changed is None:
                    break
                target.sendall(changed)
        link.cut()
