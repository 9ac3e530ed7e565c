"""Sockets of this process that a fork must not keep: what is noted here is left to the parent."""

import os
from contextlib import suppress
from typing import Any
from weakref import WeakSet

_noted: WeakSet[Any] = WeakSet()  # whatever has a `fileno`


def note(connection: Any) -> None:
    """Keep a connection to this process: neither a fork nor a program that it starts has it."""
    _noted.add(connection)
    os.set_inheritable(connection.fileno(), False)  # not every driver does by itself


def leave_to_the_parent() -> None:
    """
    Let go of what was noted, in a fork.

    A server would not hear of the parent's death as long as a fork holds its sockets, nor let go of its locks.
    """
    # Not closed: the driver may still write to that number, which would soon be another file's.
    nothing = os.open(os.devnull, os.O_RDWR)
    for connection in list(_noted):
        with suppress(Exception):  # each driver has its own error for one that is closed
            os.dup2(nothing, connection.fileno(), inheritable=False)
    os.close(nothing)
