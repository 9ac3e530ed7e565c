"""The line between a supervisor and one of its children: small JSON messages over a pair of sockets."""

import json
import socket
import threading
from contextlib import suppress
from typing import Any

READ_SIZE = 65_536


class Channel:
    """
    Sends and receives messages, one JSON object a line.

    `is_open` turns False when `receive` finds that the other side has gone, however it went: the kernel closes its
    end. With `waits` False `receive` returns at once, also when nothing has come.
    """

    def __init__(self, sock: socket.socket, *, waits: bool = True) -> None:
        self._socket = sock
        self._socket.setblocking(waits)
        self._waits = waits
        self._sending = threading.Lock()
        self._unsent = b""  # the rest of a message of which the first part has gone
        self._rest = b""  # the first part of a message of which the rest has yet to come
        self.is_open = True

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, **message: Any) -> bool:
        """
        Send a message without ever waiting; return False if it was dropped.

        That is when nobody is there to read it or the other side has not read for very long: such a message is a
        hint, or backed by a deadline, or said again.
        """
        with self._sending:
            self._unsent = self._what_is_left_of(self._unsent)
            if self._unsent:
                return False
            line = _line(message)
            left = self._what_is_left_of(line)
            if left == line:
                return False
            self._unsent = left
            return True

    def send_all(self, **message: Any) -> None:
        """Send a message that must not be dropped, waiting until the other side has read enough of it."""
        with self._sending, suppress(OSError):  # it has gone, and `receive` says so
            self._socket.sendall(self._unsent + _line(message))
            self._unsent = b""

    def receive(self) -> list[dict[str, Any]]:
        """Return the messages that have come, waiting for something to read, if only the end."""
        *lines, self._rest = (self._rest + self._read()).split(b"\n")
        return [json.loads(line) for line in lines]

    def close(self) -> None:
        self.is_open = False
        self._socket.close()

    def _what_is_left_of(self, data: bytes) -> bytes:
        """Send as much as can be sent at once, and return the rest."""
        try:
            return data[self._socket.send(data, socket.MSG_DONTWAIT) :] if data else data
        except OSError:
            return data

    def _read(self) -> bytes:
        """Read something or, where that cannot keep us waiting, everything."""
        data = b""
        while self.is_open and not (self._waits and data):
            try:
                part = self._socket.recv(READ_SIZE)
            except BlockingIOError:
                break
            except OSError:
                part = b""
            data += part
            self.is_open = bool(part)
        return data


def _line(message: dict[str, Any]) -> bytes:
    return json.dumps(message).encode() + b"\n"
