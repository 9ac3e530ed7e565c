"""The line between a supervisor and one of its children: small JSON messages over a pair of sockets."""

import json
import socket
import threading
from typing import Any


class Channel:
    """
    Sends and receives messages, one JSON object a line.

    `is_open` turns False when the other side has gone, however it went: the kernel closes its end. With `waits` False
    `receive` returns at once, also when nothing has come.
    """

    def __init__(self, sock: socket.socket, *, waits: bool = True) -> None:
        self._socket = sock
        self._socket.setblocking(waits)
        self._sending = threading.Lock()
        self._rest = b""
        self._unsent = b""  # of a message that has been sent in part
        self.is_open = True

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, **message: Any) -> None:
        """
        Send a message without ever waiting.

        It is dropped when nobody is there to read it or the other side has not read for very long: every message is
        a hint, or backed by a deadline. One that was sent in part is completed before the next.
        """
        line = json.dumps(message).encode() + b"\n"
        try:
            with self._sending:
                while self._unsent:
                    self._unsent = self._unsent[self._socket.send(self._unsent, socket.MSG_DONTWAIT) :]
                self._unsent = line[self._socket.send(line, socket.MSG_DONTWAIT) :]
        except BlockingIOError:
            return
        except OSError:
            self.is_open = False

    def send_all(self, **message: Any) -> None:
        """Send a message that must not be dropped, waiting until the other side has read enough of it."""
        try:
            with self._sending:
                unsent, self._unsent = self._unsent, b""
                self._socket.sendall(unsent + json.dumps(message).encode() + b"\n")
        except OSError:
            self.is_open = False

    def receive(self) -> list[dict[str, Any]]:
        """Return the messages that have come, waiting for something to read, if only the end."""
        try:
            data = self._socket.recv(65536)
        except BlockingIOError:
            return []
        except OSError:
            data = b""
        if not data:
            self.is_open = False
            return []
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [json.loads(line) for line in lines]

    def close(self) -> None:
        self.is_open = False
        self._socket.close()
