"""The connections that scripts run on, ready for the next one."""

import os
from contextlib import suppress
from inspect import signature
from typing import Any

from redis import ConnectionPool

from mainspring.brokers.sockets import is_readable

# What a pool wants to know of the command that a connection is for, until redis-py 5.3.
NAME = () if signature(ConnectionPool.get_connection).parameters["command_name"].default is None else ("EVALSHA",)


class Connections:
    """
    Lends the connections of a pool, and keeps what comes back by itself.

    For each script the pool's own bookkeeping takes a third of the client's time, 25 of 75 µs.
    """

    def __init__(self, pool: ConnectionPool) -> None:
        self.pool = pool
        self._idle: list[Any] = []
        self._pid = os.getpid()

    def take(self) -> Any:
        """Return a connection that is connected; it is the caller's until `put_back`."""
        if self._pid != os.getpid():  # a fork must not use what its parent uses
            self._pid, self._idle = os.getpid(), []
        try:
            connection = self._idle.pop()
        except IndexError:
            return self.pool.get_connection(*NAME)
        socket = connection._sock
        if socket is not None and not is_readable(socket):
            return connection
        connection.disconnect()  # by the server already, most likely
        self.pool.release(connection)
        return self.pool.get_connection(*NAME)

    def put_back(self, connection: Any) -> None:
        """Take a connection back, connected or not."""
        if connection._sock is None:
            self.pool.release(connection)
        else:
            self._idle.append(connection)

    def close_idle(self) -> None:
        """Close what nobody uses, so that the next connection asks the address again."""
        with suppress(IndexError):  # one by one from the same list: others put back meanwhile
            while True:
                connection = self._idle.pop()
                connection.disconnect()
                self.pool.release(connection)
