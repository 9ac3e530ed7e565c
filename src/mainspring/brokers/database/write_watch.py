"""Whether somebody writes to a file, as Linux tells it (inotify), at no cost while nobody does."""

import ctypes
import os
from collections.abc import Iterable
from contextlib import suppress

NEXT_WRITE = 0x2 | 0x80000000  # IN_MODIFY | IN_ONESHOT
SIZE = 4096  # bytes of events; a few come from one call of `arm`


class WriteWatch:
    """
    Becomes readable (`fileno`) with the first write to one of the files after a call of `arm`, and then no more.

    Raise OSError where the kernel cannot tell.
    """

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        if not hasattr(self._libc, "inotify_init1"):
            raise OSError("this system has no inotify")
        self._fd = self._checked(self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))

    def arm(self, paths: Iterable[str]) -> None:
        """Watch these files, those of them that are there, until one of them is written to."""
        for path in paths:
            with suppress(FileNotFoundError):
                self._checked(self._libc.inotify_add_watch(self._fd, os.fsencode(path), ctypes.c_uint32(NEXT_WRITE)))

    def fileno(self) -> int:
        return self._fd

    def take_in(self) -> bool:
        """Return whether there has been a write since the last call."""
        try:
            return bool(os.read(self._fd, SIZE))
        except BlockingIOError:
            return False

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _checked(self, result: int) -> int:
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return result
